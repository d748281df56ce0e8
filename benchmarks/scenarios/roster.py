"""A log-in of somebody with 1,000 contacts, to the roster's last item."""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample, total
from benchmarks.scenarios import Bench, Scale, Scenario

TIMES = 5


def set_up(bench: Bench, account: int, items: int) -> None:
    bench.do("login", first=account, count=1)
    bench.do("contacts", account=account, count=items)
    bench.do("logout", first=account, count=1)


def measure(bench: Bench, account: int, items: int) -> dict[str, Sample]:
    samples = []
    for _ in range(TIMES):
        samples.append(bench.timed("logins", "login", first=account, count=1, items=items))
        bench.do("logout", first=account, count=1)
    return {"roster": total(samples)}


def scenarios(scale: Scale) -> list[Scenario]:
    account = 1000 + scale.crowd  # one without other contacts
    return [
        Scenario(
            name="roster",
            title=f"log-in with a roster of {scale.items:,} items",
            operation="log-in",
            figures=("roster",),
            set_up=partial(set_up, account=account, items=scale.items),
            measure=partial(measure, account=account, items=scale.items),
            accounts=account + 1,
            subjects=frozenset({"xmppd", "peer"}),
            set_up_s=1 + scale.items / 200,
            measure_s=0.6 * TIMES,
        )
    ]
