"""How cost grows with accounts: log-ins and offline messages with servers that have few, more and many of them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.figures import Sample, middle
from benchmarks.scenarios import Bench, Scale, Scenario, running
from benchmarks.scenarios.growth import NAMES, TIMES
from benchmarks.scenarios.offline import RECIPIENTS

EACH = 10  # offline messages for each account that gets some


def stored(bench: Bench, first: int, count: int) -> Sample:
    """Messages of u0 to accounts that are away. They are fetched after that, which is not measured."""
    sample = bench.timed("messages", "store", count=1, to_first=first, to_count=count, each=EACH)
    waiting: dict[str, Any] = {"await": 1}
    bench.do("login", first=first, count=count, **waiting)
    bench.do("logout", first=first, count=count)
    return replace(sample, operations=count * EACH, latency_us={}, timeline=())


def measure(bench: Bench, sizes: tuple[int, ...], logins: int) -> dict[str, Sample]:
    found: dict[str, list[Sample]] = {
        f"{what}-{name}": [] for name in NAMES for what in ("accounts", "stored")
    }
    with ExitStack() as at_end:
        others = [
            at_end.enter_context(
                running(type(bench.subject), bench.subject.folder / f"accounts-{name}", size)
            )
            for name, size in zip(NAMES, sizes, strict=True)
        ]
        for other in others:
            other.do("login", count=1)
        for _ in range(1 + TIMES):  # the first is not counted
            for name, other, size in zip(NAMES, others, sizes, strict=True):
                last = size - logins
                found[f"accounts-{name}"].append(other.timed("logins", "login", first=last, count=logins))
                other.do("logout", first=last, count=logins)
                found[f"stored-{name}"].append(stored(other, last, min(logins, RECIPIENTS)))
    return {name: middle(samples[1:]) for name, samples in found.items()}


def scenarios(scale: Scale) -> list[Scenario]:
    sizes = (scale.beside // 25, scale.beside // 5, scale.beside)
    return [
        Scenario(
            name="accounts",
            title="log-ins and offline messages with {:,}, {:,} and {:,} accounts".format(*sizes),
            operation="operation",
            figures=tuple(f"{what}-{name}" for name in NAMES for what in ("accounts", "stored")),
            measure=partial(measure, sizes=sizes, logins=sizes[0] - 1),
            accounts=1,
            subjects=frozenset({"xmppd"}),
            measure_s=10 + sum(sizes) / 200 + 4 * TIMES,
            rounds=1,
        )
    ]
