"""What a run comes to: the words for it, and JSON for programs."""

from __future__ import annotations

import datetime
import os
import platform
import ssl
import subprocess
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure
from benchmarks.judge import OURS, Goal, Profile, Verdict, faults_of, goals, passed, verdicts
from benchmarks.programs import ROOT
from benchmarks.rounds import Run
from benchmarks.scenarios import FULL

BUSY: Final = 0.1  # share of the processors above which others are in the way
FEW: Final = ("at first", "at most", "at last")
NINES: Final = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)


@dataclass(frozen=True)
class Report:
    """A run, judged."""

    run: Run
    profile: Profile
    scale: str
    rounds: int
    began: datetime.datetime
    seconds: float
    others: float  # share of the machine's processors that other programs used meanwhile

    @property
    def verdicts(self) -> list[Verdict]:
        return verdicts(self.profile, self.run)

    @property
    def goals(self) -> list[Goal]:
        return goals(self.run, self.scale)

    @property
    def passed(self) -> bool:
        return passed(self.verdicts, self.run)

    @property
    def failed(self) -> bool:
        """Whether our server did not get through something; what others do is no part of the verdict."""
        return any(each.subject == OURS for each in self.run.failures)

    @property
    def deliveries(self) -> int:
        return sum(figure.operations for figure in self.run.figures if figure.subject == OURS)


def machine() -> dict[str, str]:
    """Where it was measured."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "Machine": f"{os.cpu_count()} processors ({model}), {memory:.0f} GiB of memory",
        "System": f"{_distribution()}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"{ssl.OPENSSL_VERSION}",
    }


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def commit() -> str:
    """The commit of the source tree, or nothing outside one."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return ""
    return done.stdout.strip()


# ---- JSON ------------------------------------------------------------------------------------------------------------


def as_data(report: Report) -> dict[str, Any]:
    """Everything, as JSON has it."""
    return {
        "passed": report.passed,
        "profile": report.profile.name,
        "scale": report.scale,
        "rounds": report.rounds,
        "began": report.began.isoformat(timespec="seconds"),
        "seconds": round(report.seconds),
        "others_share": round(report.others, 3),
        "commit": commit(),
        "versions": report.run.versions,
        "machine": machine(),
        "thresholds": [
            {
                "figure": each.threshold.figure,
                "over": each.threshold.over,
                "measure": each.threshold.measure,
                "at_least": each.threshold.at_least,
                "at_most": each.threshold.at_most,
                "value": each.value,
                "met": each.met,
                "remark": each.remark,
            }
            for each in report.verdicts
        ],
        "goals": [
            {
                "figure": each.figure,
                "peer": each.peer,
                "peer_ratio": each.peer_ratio,
                "peer_goal": each.peer_goal,
                "peer_met": each.peer_met,
                "floor_ratio": each.floor_ratio,
                "floor_goal": each.floor_goal,
                "floor_met": each.floor_met,
                "why_not": each.why_not,
            }
            for each in report.goals
        ],
        "figures": [_figure_data(figure) for figure in report.run.figures],
        "failures": [
            {"scenario": each.scenario, "subject": each.subject, "why": each.why}
            for each in report.run.failures
        ],
    }


def _figure_data(figure: Figure) -> dict[str, Any]:
    return {
        "figure": figure.name,
        "scenario": figure.scenario.title,
        "subject": figure.subject,
        "operation": figure.scenario.operation,
        "operations": figure.operations,
        "rate": figure.rate,
        "beside_rate": figure.beside_rate,
        "cpu_s_per_1000": figure.cpu_us / 1e3,
        "cpu_us_by_round": [sample.cpu_us for sample in figure.samples],
        "latency_ms": {f"p{share * 100:g}": figure.latency_ms(share) for share in NINES if figure.latency_us},
        "kib": figure.kib,
        "generator_share": figure.generator_share,
        "generator_was_limit": figure.generator_was_limit,
        "faults": figure.faults,
        "timeline": {"slot_s": figure.samples[0].slot_s, "counts": figure.samples[0].timeline},
    }


# ---- words for all ---------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Three digits that mean something."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def memory(figure: Figure) -> list[str]:
    """KiB of each, at so many connections; of a figure over time the first, the most and the last."""
    found = list(figure.kib.items())
    if len(found) <= len(FEW):
        return [f"{number(kib)} at {at:,}" for at, kib in found]
    picked = zip(FEW, (found[0], max(found, key=itemgetter(1)), found[-1]), strict=True)
    return [f"{number(kib)} {when}" for when, (_, kib) in picked]


def rates(figure: Figure) -> list[str]:
    """Operations a second, and those of what ran beside."""
    beside = [f"beside {number(figure.beside_rate)}"] if figure.beside_rate else []
    return [number(figure.rate), *beside]


def wanted(verdict: Verdict) -> str:
    threshold = verdict.threshold
    words = [
        f"{word} {limit:,g}"
        for word, limit in (("at least", threshold.at_least), ("at most", threshold.at_most))
        if limit is not None
    ]
    return f"{' and '.join(words)} {threshold.unit}"


def verdict_word(met: bool | None) -> str:
    return "not measured" if met is None else "met" if met else "NOT MET"


def headline(report: Report) -> str:
    """PASSED, NOT PASSED, or INCOMPLETE if nothing is wrong but not everything was measured."""
    if report.passed:
        return "PASSED"
    wrong = report.failed or faults_of(report.run) or any(each.met is False for each in report.verdicts)
    return "NOT PASSED" if wrong else "INCOMPLETE"


def conclusion(report: Report) -> str:
    """One sentence or two."""
    name = report.profile.title.lower()
    missed = [each for each in report.verdicts if each.met is False]
    unmeasured = [each for each in report.verdicts if each.met is None]
    faults = faults_of(report.run)
    words = []
    if report.passed and report.scale != FULL.name:
        words.append(f"What a {report.scale} run can show of a {name} is met. A full one is a sign-off.")
    elif report.passed:
        words.append(f"This machine carries a {name}: {report.profile.carries}.")
    elif unmeasured and not (missed or faults or report.failed):
        words.append("What was measured is met.")
    else:
        words.append(f"This run does not show that the machine carries a {name}.")
    if missed:
        words.append(f"{len(missed)} of {len(report.verdicts)} thresholds were not met.")
    if unmeasured:
        words.append(f"{len(unmeasured)} of {len(report.verdicts)} thresholds were not measured in this run.")
    if faults:
        words.append(
            "Deliveries went wrong: "
            + ", ".join(f"{count:,} {fault}" for fault, count in faults.items())
            + "."
        )
    elif not report.failed:
        words.append(
            f"All of {report.deliveries:,} operations were counted; nothing was lost, doubled or misrouted."
        )
    if report.others > BUSY:
        words.append(
            f"Other programs used {report.others:.0%} of the processors meanwhile: "
            "rates and latencies are worse than they would be on a machine of its own."
        )
    for failure in report.run.failures:
        lacking = "" if failure.subject == OURS else ": the comparison with it is not whole there"
        words.append(f"{failure.subject} did not get through {failure.scenario}{lacking}.")
    return " ".join(words)
