"""Log-ins, each followed by the log-out, of somebody with 1,000 contacts, to the roster's last item."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario

LOGINS_PER_S = 10


def set_up(bench: Bench, account: int, items: int) -> None:
    bench.do("login", first=account, count=1)
    bench.do("contacts", account=account, count=items)
    bench.do("logout", first=account, count=1)


def measure(bench: Bench, account: int, items: int, seconds: float) -> dict[str, Sample]:
    churn: dict[str, Any] = {
        "churn_first": account,
        "churn_count": 1,
        "churn_rate": LOGINS_PER_S,
        "churn_items": items,
    }
    return {"roster": bench.timed("logins", "run", seconds=seconds, **churn)}


def scenarios(scale: Scale) -> list[Scenario]:
    account = 1000 + scale.crowd  # one without other contacts
    return [
        Scenario(
            name="roster",
            title=f"log-in with a roster of {scale.items:,} items",
            operation="log-in",
            figures=("roster",),
            set_up=partial(set_up, account=account, items=scale.items),
            measure=partial(measure, account=account, items=scale.items, seconds=3 * scale.seconds),
            accounts=account + 1,
            subjects=frozenset({"xmppd", "peer"}),
            set_up_s=1 + scale.items / 200,
            measure_s=3 * scale.seconds + 1,
        )
    ]
