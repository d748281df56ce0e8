"""One-to-one chat messages of 360 bytes between 50 pairs, closed loop: each sender has a fixed number under way."""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario

PAIRS = 50
IN_FLIGHT = (1, 16)


def set_up(bench: Bench) -> None:
    bench.do("login", count=2 * PAIRS)
    bench.do("run", pairs=PAIRS, seconds=0.5)


def measure(bench: Bench, name: str, in_flight: int, seconds: float) -> dict[str, Sample]:
    return {name: bench.timed("messages", "run", pairs=PAIRS, in_flight=in_flight, seconds=seconds)}


def tear_down(bench: Bench) -> None:
    bench.do("logout", count=2 * PAIRS)


def scenarios(scale: Scale) -> list[Scenario]:
    return [
        Scenario(
            name=f"message-{in_flight}",
            title=f"messages between {PAIRS} pairs, {in_flight} in flight",
            operation="message",
            figures=(f"message-{in_flight}",),
            set_up=set_up,
            measure=partial(measure, name=f"message-{in_flight}", in_flight=in_flight, seconds=scale.seconds),
            tear_down=tear_down,
            accounts=2 * PAIRS,
            set_up_s=2,
            measure_s=scale.seconds + 0.5,
        )
        for in_flight in IN_FLIGHT
    ]
