"""Log-ins, 50 at a time: TCP, STARTTLS with a full handshake, SASL, bind, roster, presence.

The floor's log-in is the bare handshake.
"""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario

TOGETHER = 50
# figure -> mechanism; PLAIN has no floor of its own
MECHANISMS = {"login-scram": "SCRAM-SHA-1", "login-plain": "PLAIN"}


def set_up(bench: Bench, count: int, mechanism: str) -> None:
    # clients keep their SCRAM keys: the first log-in of each account is not measured
    bench.do("login", count=count, together=TOGETHER, mechanism=mechanism)
    bench.do("logout", count=count)


def measure(bench: Bench, name: str, count: int, mechanism: str) -> dict[str, Sample]:
    sample = bench.timed("logins", "login", count=count, together=TOGETHER, mechanism=mechanism)
    bench.do("logout", count=count)
    return {name: sample}


def scenarios(scale: Scale) -> list[Scenario]:
    return [
        Scenario(
            name=name,
            title=f"log-in with {mechanism}, {TOGETHER} at a time",
            operation="log-in",
            figures=(name,),
            set_up=partial(set_up, count=scale.logins, mechanism=mechanism),
            measure=partial(measure, name=name, count=scale.logins, mechanism=mechanism),
            accounts=scale.logins,
            set_up_s=scale.logins / 300,
            measure_s=1 + scale.logins / 400,
        )
        for name, mechanism in MECHANISMS.items()
    ]
