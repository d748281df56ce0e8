"""Memory of connections that are bound, present and silent: by how much the server grows for each."""

from __future__ import annotations

import resource
from functools import partial
from pathlib import Path

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario

WARM_UP = 50  # makes the process touch its code once
STEPS = (1000, 5000, 10_000)
MARGIN = 1000  # file descriptors and ports for other things
EACH_KIB = 64  # server, generator and kernel together


def most(bound: int) -> tuple[int, str]:
    """As many connections as this machine lets be held, `bound` at most, and what does not let there be more."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free_kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    limits = [
        (bound, "what a run of this length has time for"),
        (high - low - MARGIN, f"{high - low:,} ports of an address"),
        (free_kib // 2 // EACH_KIB, f"half of {free_kib / 2**20:.1f} GiB of free memory"),
    ]
    if files != resource.RLIM_INFINITY:
        limits.append((files - MARGIN, f"{files:,} file descriptors for a process"))
    return min(limits)


def measure(bench: Bench, name: str, steps: tuple[int, ...]) -> dict[str, Sample]:
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
    return {name: Sample(steps[-1], seconds, cpu_s, generator_cpu_s, memory_kib=tuple(found))}


def scenarios(scale: Scale) -> list[Scenario]:
    steps = (*(step for step in STEPS if step < scale.connections), scale.connections)
    last, limit = most(scale.most)
    return [
        Scenario(
            name="idle",
            title=f"memory of an idle connection, up to {steps[-1]:,} of them",
            operation="connection",
            figures=("idle",),
            measure=partial(measure, name="idle", steps=steps),
            accounts=steps[-1] + WARM_UP,
            measure_s=5 + steps[-1] / 250,
            rounds=1,
        ),
        Scenario(
            name="idle-most",
            title=f"memory of an idle connection with {last:,} of them; the limit: {limit}",
            operation="connection",
            figures=("idle-most",),
            measure=partial(measure, name="idle-most", steps=(last,)),
            accounts=last + WARM_UP,
            subjects=frozenset({"xmppd"}),
            measure_s=5 + last / 250,
            rounds=1,
            alone=True,
        ),
    ]
