"""How cost grows: the same work with few, more and many connections that do nothing beside it."""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample, middle
from benchmarks.scenarios import Bench, Scale, Scenario

PAIRS = 50
NAMES = ("small", "medium", "large")
LOGINS = 100
TIMES = 3


def set_up(bench: Bench, sizes: tuple[int, ...]) -> None:
    for _ in range(2):
        bench.do("login", count=2 * PAIRS + LOGINS)
        bench.do("logout", count=LOGINS, first=2 * PAIRS)
        bench.do("logout", count=2 * PAIRS)


def measure(bench: Bench, sizes: tuple[int, ...], seconds: float) -> dict[str, Sample]:
    found = {}
    idle_from, idle = 2 * PAIRS + LOGINS, 0
    bench.do("login", count=2 * PAIRS)
    for name, size in zip(NAMES, sizes, strict=True):
        bench.do("login", first=idle_from + idle, count=size - idle)
        idle = size
        bench.do("run", pairs=PAIRS, in_flight=1, seconds=0.3)
        found[f"message-{name}"] = bench.timed("messages", "run", pairs=PAIRS, in_flight=1, seconds=seconds)
        logins = []
        for _ in range(TIMES):
            logins.append(bench.timed("logins", "login", first=2 * PAIRS, count=LOGINS))
            bench.do("logout", first=2 * PAIRS, count=LOGINS)
        found[f"login-{name}"] = middle(logins)
    bench.do("logout", first=idle_from, count=idle, together=500)
    bench.do("logout", count=2 * PAIRS)
    return found


def scenarios(scale: Scale) -> list[Scenario]:
    sizes = (scale.beside // 50, scale.beside // 5, scale.beside)
    return [
        Scenario(
            name="growth",
            title="messages and log-ins beside {:,}, {:,} and {:,} idle connections".format(*sizes),
            operation="operation",
            figures=tuple(f"{what}-{name}" for name in NAMES for what in ("message", "login")),
            set_up=partial(set_up, sizes=sizes),
            measure=partial(measure, sizes=sizes, seconds=scale.seconds),
            accounts=2 * PAIRS + LOGINS + sizes[-1],
            subjects=frozenset({"xmppd"}),
            set_up_s=3,
            measure_s=9 + 3 * scale.seconds + scale.beside / 300,
        )
    ]
