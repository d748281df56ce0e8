"""An account's presence goes to its subscribers; the next one when all have it."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario

BYSTANDERS = 10  # who see nothing of it; the floor's connections are all subscribers


def set_up(bench: Bench, count: int) -> None:
    bench.do("login", count=count + 1 + bench.subject.xmpp * BYSTANDERS)
    bench.subscribe(0, 1, count)
    bench.do("run", presence_from=0, presence_first=1, presence_count=count, seconds=0.5)


def measure(bench: Bench, name: str, count: int, seconds: float) -> dict[str, Sample]:
    parameters: dict[str, Any] = {"presence_from": 0, "presence_first": 1, "presence_count": count}
    return {name: bench.timed("presences", "run", **parameters, seconds=seconds)}


def tear_down(bench: Bench, count: int) -> None:
    bench.do("logout", count=count + 1 + bench.subject.xmpp * BYSTANDERS)


def scenarios(scale: Scale) -> list[Scenario]:
    return [
        Scenario(
            name=f"presence-{count}",
            title=f"presence to {count} subscribers",
            operation="delivery",
            figures=(f"presence-{count}",),
            set_up=partial(set_up, count=count),
            measure=partial(measure, name=f"presence-{count}", count=count, seconds=scale.seconds),
            tear_down=partial(tear_down, count=count),
            accounts=count + 1 + BYSTANDERS,
            set_up_s=2 + count / 50,
            measure_s=scale.seconds + 0.5,
        )
        for count in scale.subscribers
    ]
