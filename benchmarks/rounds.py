"""Runs scenarios: the subjects take turns in every round, so that all of a round meet the same machine."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, Sample
from benchmarks.scenarios import MODULES, SOAK, Bench, Scale, Scenario, running
from benchmarks.subjects import Subject

#: Told what goes on now, and by how many of the estimated seconds the work has advanced.
Told = Callable[[str, float], None]
START_S: Final = 3.0


def scenarios_of(scale: Scale, *, soak: bool = False, only: Sequence[str] = ()) -> list[Scenario]:
    """What is run at this scale; `only` names scenarios, beside the soak. LookupError for a name that there is not."""
    if soak and only:
        only = (*only, "mixed-day")
    names = MODULES + (SOAK if soak or "mixed-day" in only else ())
    found = [
        scenario
        for name in names
        for scenario in import_module(f"benchmarks.scenarios.{name}").scenarios(scale)
    ]
    known = {scenario.name for scenario in found}
    for name in only:
        if name not in known:
            raise LookupError(f"there is no scenario {name}; there are {', '.join(sorted(known))}")
    return [scenario for scenario in found if not only or scenario.name in only]


@dataclass(frozen=True)
class Failure:
    """A scenario that a subject did not get through."""

    scenario: str
    subject: str
    why: str


@dataclass
class Run:
    """What came out: figures in the order of the scenarios, and what failed."""

    figures: list[Figure] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def figure(self, name: str, subject: str) -> Figure | None:
        return next((each for each in self.figures if (each.name, each.subject) == (name, subject)), None)


def accounts_for(scenarios: Sequence[Scenario], kind: str) -> int:
    return max((each.accounts for each in scenarios if kind in each.subjects), default=0)


def estimated_s(scenarios: Sequence[Scenario], subjects: Sequence[type[Subject]], rounds: int) -> float:
    """About how long `run` takes."""
    servers = [[each for each in scenarios if not each.alone], *([each] for each in scenarios if each.alone)]
    found = 0.0
    for subject in subjects:
        for served in servers:
            if accounts := accounts_for(served, subject.kind):
                found += START_S + subject.account_s * accounts
        found += sum(_scenario_s(each, rounds) for each in scenarios if subject.kind in each.subjects)
    return found


def _scenario_s(scenario: Scenario, rounds: int) -> float:
    return scenario.set_up_s + scenario.measure_s * (scenario.rounds or rounds)


def run(
    scenarios: Sequence[Scenario],
    subjects: Sequence[type[Subject]],
    *,
    folder: Path,
    rounds: int,
    told: Told,
) -> Run:
    """Measure every scenario with every subject it is for."""
    result = Run()
    shared = [each for each in scenarios if not each.alone]
    with _started(subjects, shared, folder, told, result) as together:
        for scenario in scenarios:
            if scenario.alone:
                with _started(subjects, [scenario], folder / scenario.name, told, result) as own:
                    _run_one(scenario, own, rounds, told, result)
            else:
                benches = [each for each in together if each.subject.kind in scenario.subjects]
                _run_one(scenario, benches, rounds, told, result)
    return result


@contextlib.contextmanager
def _started(
    subjects: Sequence[type[Subject]], scenarios: Sequence[Scenario], folder: Path, told: Told, result: Run
) -> Iterator[list[Bench]]:
    """The subjects that these scenarios need, with as many accounts as they need."""
    with contextlib.ExitStack() as at_end:
        benches = []
        for kind in subjects:
            accounts = accounts_for(scenarios, kind.kind)
            if not accounts:
                continue
            told(f"starting {kind.name} with {accounts:,} accounts", 0)
            try:
                bench = at_end.enter_context(running(kind, folder, accounts))
            except Exception as failed:  # the others can be measured
                result.failures.append(Failure("its start", kind.name, _words(failed)))
                continue
            result.versions[kind.name] = bench.subject.version
            benches.append(bench)
            told(f"started {kind.name}", START_S + kind.account_s * accounts)
        yield benches


def _words(failed: Exception) -> str:
    return str(failed) or type(failed).__name__


def _run_one(scenario: Scenario, benches: list[Bench], rounds: int, told: Told, result: Run) -> None:
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    active = list(benches)

    def attempt(bench: Bench, what: str, step: Callable[[Bench], object], worth_s: float) -> object:
        told(f"{scenario.name}, {bench.subject.name}: {what}", 0)
        try:
            return step(bench)
        except Exception as failed:  # the server or a client did not do what was asked for: the others go on
            result.failures.append(Failure(scenario.name, bench.subject.name, _words(failed)))
            active.remove(bench)
            try:
                bench.restart()
            except Exception as again:
                result.failures.append(Failure("a restart", bench.subject.name, _words(again)))
            return None
        finally:
            told(f"{scenario.name}, {bench.subject.name}", worth_s)

    for bench in benches:
        attempt(bench, "set up", scenario.set_up, scenario.set_up_s)
    for n in range(scenario.rounds or rounds):
        turn = n % max(len(active), 1)
        for bench in active[turn:] + active[:turn]:
            found = attempt(bench, f"round {n + 1}", scenario.measure, scenario.measure_s)
            for name, sample in (found or {}).items():  # type: ignore[attr-defined]
                samples[name, bench.subject.name].append(sample)
    for bench in list(active):
        attempt(bench, "tear down", scenario.tear_down, 0)
    result.figures += [
        Figure(name, bench.subject.name, scenario, tuple(samples[name, bench.subject.name]))
        for name in scenario.figures
        for bench in benches
        if samples[name, bench.subject.name]
    ]
