"""Everybody comes back at once after a restart of the server: few, more and many."""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario


def set_up(bench: Bench, count: int) -> None:
    bench.do("login", count=count)  # so that the clients know their SCRAM keys, as those that come back do
    bench.do("logout", count=count)


def measure(bench: Bench, name: str, count: int) -> dict[str, Sample]:
    bench.subject.stop()
    bench.subject.start()
    sample = bench.timed("logins", "login", count=count, together=count)
    bench.do("logout", count=count)
    return {name: sample}


def scenarios(scale: Scale) -> list[Scenario]:
    sizes = {"storm-small": scale.logins // 5, "storm": scale.logins, "storm-large": 5 * scale.logins}
    return [
        Scenario(
            name=name,
            title=f"{count:,} clients come back at once after a restart",
            operation="log-in",
            figures=(name,),
            set_up=partial(set_up, count=count),
            measure=partial(measure, name=name, count=count),
            accounts=count,
            subjects=frozenset({"xmppd", "peer"} if name == "storm" else {"xmppd"}),
            set_up_s=count / 300,
            measure_s=3 + count / 300,
        )
        for name, count in sizes.items()
    ]
