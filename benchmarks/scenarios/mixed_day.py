"""A day of a site in an hour: messages, presence, people who come and go; and the server's memory meanwhile."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.figures import Sample, total
from benchmarks.scenarios import Bench, Scale, Scenario

PEOPLE = 200  # who chat in pairs, both ways
WATCHERS = 100
COME_AND_GO = 200
SLICE_S = 20
DAY: dict[str, Any] = {
    "pairs": PEOPLE // 2,
    "both": 1,
    "rate": 200,
    "presence_from": 0,
    "presence_first": 1,
    "presence_count": WATCHERS,
    "presence_rate": 0.5,
    "churn_first": PEOPLE,
    "churn_count": COME_AND_GO,
    "churn_rate": 2,
}


def set_up(bench: Bench) -> None:
    bench.do("login", count=PEOPLE)
    bench.subscribe(0, 1, WATCHERS)


def measure(bench: Bench, seconds: float) -> dict[str, Sample]:
    slices, memory = [], []
    for n in range(max(1, round(seconds / SLICE_S))):
        slices.append(bench.timed("messages", "run", **DAY, seconds=min(seconds, SLICE_S)))
        memory.append((round((n + 1) * SLICE_S), float(bench.subject.memory_kib())))
    together = replace(
        total(slices),
        slot_s=SLICE_S,
        timeline=tuple(each.operations for each in slices),
        memory_kib=tuple(memory),
    )
    return {"mixed-day": together}


def tear_down(bench: Bench) -> None:
    bench.do("logout", count=PEOPLE)


def scenarios(scale: Scale) -> list[Scenario]:
    seconds = scale.soak_s
    return [
        Scenario(
            name="mixed-day",
            title=f"a mixed day in {seconds:,.0f} seconds",
            operation="message",
            figures=("mixed-day",),
            set_up=set_up,
            measure=partial(measure, seconds=seconds),
            tear_down=tear_down,
            accounts=PEOPLE + COME_AND_GO,
            subjects=frozenset({"xmppd"}),
            set_up_s=5,
            measure_s=seconds,
            rounds=1,
        )
    ]
