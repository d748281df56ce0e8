"""Messages at a fixed rate, whatever the server does: latency from the time each was meant to be sent at."""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario

PAIRS = 50
RATES = (1000, 5000)  # messages a second


def set_up(bench: Bench) -> None:
    bench.do("login", count=2 * PAIRS)
    bench.do("run", pairs=PAIRS, seconds=0.5)


def measure(bench: Bench, name: str, rate: int, seconds: float) -> dict[str, Sample]:
    return {name: bench.timed("messages", "run", pairs=PAIRS, rate=rate, seconds=seconds)}


def tear_down(bench: Bench) -> None:
    bench.do("logout", count=2 * PAIRS)


def scenarios(scale: Scale) -> list[Scenario]:
    return [
        Scenario(
            name=f"rate-{rate}",
            title=f"{rate:,} messages a second, open loop",
            operation="message",
            figures=(f"rate-{rate}",),
            set_up=set_up,
            measure=partial(measure, name=f"rate-{rate}", rate=rate, seconds=scale.seconds),
            tear_down=tear_down,
            accounts=2 * PAIRS,
            set_up_s=2,
            measure_s=scale.seconds + 0.5,
        )
        for rate in RATES
    ]
