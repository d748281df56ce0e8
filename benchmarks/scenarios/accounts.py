"""How cost grows with accounts: the same log-ins with servers that have few, more and many of them."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.figures import Sample, middle
from benchmarks.scenarios import Bench, Scale, Scenario, running
from benchmarks.scenarios.growth import NAMES

TIMES = 5  # measured, after one that is not


def measure(bench: Bench, sizes: tuple[int, ...], logins: int) -> dict[str, Sample]:
    found: dict[str, list[Sample]] = {f"accounts-{name}": [] for name in NAMES}
    with ExitStack() as at_end:
        others = [
            at_end.enter_context(
                running(type(bench.subject), bench.subject.folder / f"accounts-{name}", size)
            )
            for name, size in zip(NAMES, sizes, strict=True)
        ]
        for _ in range(1 + TIMES):
            for samples, other, size in zip(found.values(), others, sizes, strict=True):
                last = size - logins
                samples.append(other.timed("logins", "login", first=last, count=logins))
                other.do("logout", first=last, count=logins)
    return {name: middle(samples[1:]) for name, samples in found.items()}


def scenarios(scale: Scale) -> list[Scenario]:
    sizes = (scale.beside // 25, scale.beside // 5, scale.beside)
    return [
        Scenario(
            name="accounts",
            title="log-ins with {:,}, {:,} and {:,} accounts".format(*sizes),
            operation="log-in",
            figures=tuple(f"accounts-{name}" for name in NAMES),
            measure=partial(measure, sizes=sizes, logins=sizes[0]),
            accounts=1,
            subjects=frozenset({"xmppd"}),
            measure_s=10 + sum(sizes) / 200 + 3 * TIMES,
            rounds=1,
        )
    ]
