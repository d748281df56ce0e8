"""How cost grows with accounts: the same log-ins with servers that have few, more and many of them."""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario, running
from benchmarks.scenarios.growth import NAMES


def measure(bench: Bench, sizes: tuple[int, ...], logins: int) -> dict[str, Sample]:
    found = {}
    for name, size in zip(NAMES, sizes, strict=True):
        with running(type(bench.subject), bench.subject.folder / f"accounts-{name}", size) as other:
            last = size - logins
            for _ in range(2):  # the second is measured
                found[f"accounts-{name}"] = other.timed("logins", "login", first=last, count=logins)
                other.do("logout", first=last, count=logins)
    return found


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
            measure_s=10 + sum(sizes) / 200,
            rounds=1,
        )
    ]
