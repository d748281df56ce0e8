"""Messages to accounts that are offline, and their delivery at the next log-in."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario

SENDERS = 10
RECIPIENTS = 50


def set_up(bench: Bench) -> None:
    bench.do(
        "login", first=SENDERS, count=RECIPIENTS
    )  # an account that never logged in may not be there for a server
    bench.do("logout", first=SENDERS, count=RECIPIENTS)
    bench.do("login", count=SENDERS)


def measure(bench: Bench, each: int) -> dict[str, Sample]:
    stored = bench.timed("messages", "store", count=SENDERS, to_first=SENDERS, to_count=RECIPIENTS, each=each)
    # nothing is received yet: what was taken is what comes out below
    stored = replace(stored, operations=RECIPIENTS * each, latency_us={}, timeline=())
    waiting: dict[str, Any] = {"await": 1}
    drained = bench.timed("messages", "login", first=SENDERS, count=RECIPIENTS, **waiting)
    drained = replace(drained, latency_us={})  # since they were sent, which says nothing
    bench.do("logout", first=SENDERS, count=RECIPIENTS)
    return {"offline-store": stored, "offline-drain": drained}


def tear_down(bench: Bench) -> None:
    bench.do("login", first=SENDERS, count=RECIPIENTS)  # nothing comes twice
    bench.do("logout", count=SENDERS + RECIPIENTS)


def scenarios(scale: Scale) -> list[Scenario]:
    each = max(1, scale.logins // 10)
    return [
        Scenario(
            name="offline",
            title=f"{RECIPIENTS} accounts get {each} messages each while they are offline, then log in",
            operation="message",
            figures=("offline-store", "offline-drain"),
            set_up=set_up,
            measure=partial(measure, each=each),
            tear_down=tear_down,
            accounts=SENDERS + RECIPIENTS,
            subjects=frozenset({"xmppd", "peer"}),
            measure_s=4,
        )
    ]
