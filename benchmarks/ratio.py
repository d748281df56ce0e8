"""Ratios measured in one run: what a shared, noisy machine can be asked honestly.

Subject and reference are run in turn, several rounds, CPU time of the process; the figure is the median of
the per-round ratios. A goal is judged against `goals.toml`; every figure goes into `.benchmarks/ratios.json`.
"""

from __future__ import annotations

import json
import statistics
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
GOALS = tomllib.loads((HERE / "goals.toml").read_text(encoding="utf-8"))
RESULTS = HERE.parent / ".benchmarks" / "ratios.json"


@dataclass(frozen=True, slots=True)
class Figure:
    """One judged figure: `value` in the goal's sense, and whether it reaches `must` and `aim`."""

    goal: str
    value: float
    must: float
    aim: float
    met: bool
    aimed: bool

    def __str__(self) -> str:
        word = "met, aim reached" if self.aimed else "met" if self.met else "NOT MET"
        return f"{self.goal}: {self.value:.2f} (must {self.must:g}, aim {self.aim:g}): {word}"


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds (user and system, all threads of this process) that `work` takes."""
    before = time.process_time()
    work()
    return time.process_time() - before


def wall_s(work: Callable[[], object]) -> float:
    """Seconds that `work` takes by the clock: for what waits for a disk."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def cost_ratio(
    numerator: Callable[[], object],
    denominator: Callable[[], object],
    *,
    rounds: int = 7,
    cost: Callable[[Callable[[], object]], float] = cpu_s,
) -> float:
    """Median over `rounds` of cost(numerator) / cost(denominator), the order changing from round to round."""
    numerator()
    denominator()
    ratios = []
    for i in range(rounds):
        if i % 2:
            below = cost(denominator)
            above = cost(numerator)
        else:
            above = cost(numerator)
            below = cost(denominator)
        ratios.append(above / max(below, 1e-9))
    return statistics.median(ratios)


def judge(goal: str, value: float) -> Figure:
    """Hold `value` against the goal, and record it."""
    spec = GOALS[goal]
    at_least = spec["sense"] == "at_least"
    figure = Figure(
        goal,
        value,
        spec["must"],
        spec["aim"],
        met=value >= spec["must"] if at_least else value <= spec["must"],
        aimed=value >= spec["aim"] if at_least else value <= spec["aim"],
    )
    _record(goal, value, {"met": figure.met})
    print(figure)
    return figure


def report(goal: str, value: float, why: str) -> str:
    """Record the value of a goal that cannot be judged on this machine, and `why`; the line for people."""
    _record(goal, value, {"not_judged": why})
    line = f"{goal}: {value:.2f} (must {GOALS[goal]['must']:g}): not judged, {why}"
    print(line)
    return line


def _record(goal: str, value: float, verdict: dict[str, object]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    spec = GOALS[goal]
    known[goal] = {"value": round(value, 3), "must": spec["must"], "aim": spec["aim"], **verdict}
    RESULTS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
