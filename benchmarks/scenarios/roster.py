"""A log-in of somebody with 1,000 contacts, to the roster's last item."""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample, total
from benchmarks.scenarios import Bench, Scale, Scenario

ITEMS = 1000
ACCOUNT = 0


def set_up(bench: Bench, account: int) -> None:
    bench.do("login", first=account, count=1)
    bench.do("contacts", account=account, count=ITEMS)
    bench.do("logout", first=account, count=1)


def measure(bench: Bench, account: int, times: int) -> dict[str, Sample]:
    samples = []
    for _ in range(times):
        samples.append(bench.timed("logins", "login", first=account, count=1, items=ITEMS))
        bench.do("logout", first=account, count=1)
    return {"roster-1000": total(samples)}


def scenarios(scale: Scale) -> list[Scenario]:
    times = 10 if scale.name == "full" else 3
    account = scale.logins  # one without other contacts
    return [
        Scenario(
            name="roster-1000",
            title=f"log-in with a roster of {ITEMS:,} items",
            operation="log-in",
            figures=("roster-1000",),
            set_up=partial(set_up, account=account),
            measure=partial(measure, account=account, times=times),
            accounts=account + 1,
            subjects=frozenset({"xmppd", "peer"}),
            set_up_s=10,
            measure_s=times,
        )
    ]
