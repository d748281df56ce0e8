"""Memory of connections that are bound, present and silent: by how much the server grows for each."""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario

WARM_UP = 50  # makes the process touch its code once
STEPS = (1000, 5000, 10_000)


def measure(bench: Bench, steps: tuple[int, ...]) -> dict[str, Sample]:
    bench.restart()
    bench.do("login", count=WARM_UP)
    bench.subject.settle()
    start, held = bench.subject.memory_kib(), WARM_UP
    before, cpu_s, generator_cpu_s, seconds, found = bench.subject.cpu_s(), 0.0, 0.0, 0.0, []
    for step in steps:
        result = bench.do("login", first=held, count=step - held + WARM_UP)
        held = step + WARM_UP
        bench.subject.settle()
        generator_cpu_s += result["generator_cpu_s"]
        seconds += result["seconds"]
        cpu_s = bench.subject.cpu_s() - before
        found.append((step, (bench.subject.memory_kib() - start) / step))
    bench.do("logout", count=held, together=500)
    bench.restart()
    return {"idle": Sample(steps[-1], seconds, cpu_s, generator_cpu_s, memory_kib=tuple(found))}


def scenarios(scale: Scale) -> list[Scenario]:
    steps = (*(step for step in STEPS if step < scale.connections), scale.connections)
    return [
        Scenario(
            name="idle",
            title=f"memory of an idle connection, up to {steps[-1]:,} of them",
            operation="connection",
            figures=("idle",),
            measure=partial(measure, steps=steps),
            accounts=steps[-1] + WARM_UP,
            measure_s=5 + steps[-1] / 250,
            rounds=1,
        )
    ]
