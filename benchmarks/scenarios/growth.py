"""How cost grows: the same work with few, more and many connections that do nothing beside it."""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample, middle
from benchmarks.scenarios import Bench, Scale, Scenario

PAIRS = 50
NAMES = ("small", "medium", "large")
LOGINS = 100
TIMES = 5


def set_up(bench: Bench, sizes: tuple[int, ...]) -> None:
    for _ in range(2):
        bench.do("login", count=2 * PAIRS + LOGINS)
        bench.do("logout", count=LOGINS, first=2 * PAIRS)
        bench.do("logout", count=2 * PAIRS)


def measure(bench: Bench, sizes: tuple[int, ...], seconds: float) -> dict[str, Sample]:
    """Through all sizes several times, so that each meets the machine as the others do."""
    found: dict[str, list[Sample]] = {f"{what}-{name}": [] for name in NAMES for what in ("message", "login")}
    idle_from = 2 * PAIRS + LOGINS
    bench.do("login", count=2 * PAIRS)
    for _ in range(TIMES):
        idle = 0
        for name, size in zip(NAMES, sizes, strict=True):
            bench.do("login", first=idle_from + idle, count=size - idle)
            idle = size
            bench.do("run", pairs=PAIRS, in_flight=1, seconds=0.3)
            found[f"message-{name}"].append(
                bench.timed("messages", "run", pairs=PAIRS, in_flight=1, seconds=seconds)
            )
            found[f"login-{name}"].append(bench.timed("logins", "login", first=2 * PAIRS, count=LOGINS))
            bench.do("logout", first=2 * PAIRS, count=LOGINS)
        bench.do("logout", first=idle_from, count=idle, together=500)
    bench.do("logout", count=2 * PAIRS)
    return {name: middle(samples) for name, samples in found.items()}


def scenarios(scale: Scale) -> list[Scenario]:
    sizes = (scale.beside // 50, scale.beside // 5, scale.beside)
    return [
        Scenario(
            name="growth",
            title="messages and log-ins beside {:,}, {:,} and {:,} idle connections".format(*sizes),
            operation="operation",
            figures=tuple(f"{what}-{name}" for name in NAMES for what in ("message", "login")),
            set_up=partial(set_up, sizes=sizes),
            measure=partial(measure, sizes=sizes, seconds=min(scale.seconds, 1.0)),
            accounts=2 * PAIRS + LOGINS + sizes[-1],
            subjects=frozenset({"xmppd"}),
            set_up_s=3,
            measure_s=TIMES * (6 + scale.beside / 700),
        )
    ]
