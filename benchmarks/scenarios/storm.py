"""Everybody comes back at once after a restart of the server."""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario


def set_up(bench: Bench, count: int) -> None:
    bench.do("login", count=count)  # so that the clients know their SCRAM keys, as those that come back do
    bench.do("logout", count=count)


def measure(bench: Bench, count: int) -> dict[str, Sample]:
    bench.subject.stop()
    bench.subject.start()
    sample = bench.timed("logins", "login", count=count, together=count)
    bench.do("logout", count=count)
    return {"storm": sample}


def scenarios(scale: Scale) -> list[Scenario]:
    count = scale.logins
    return [
        Scenario(
            name="storm",
            title=f"{count} clients come back at once after a restart",
            operation="log-in",
            figures=("storm",),
            set_up=partial(set_up, count=count),
            measure=partial(measure, count=count),
            accounts=count,
            subjects=frozenset({"xmppd", "peer"}),
            set_up_s=count / 300,
            measure_s=3 + count / 300,
        )
    ]
