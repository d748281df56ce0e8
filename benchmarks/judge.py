"""Holds a run against a site's profile, and against what the server wants to reach beside its peers and the floors."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure, cost_ratio
from benchmarks.rounds import Run, scenarios_of
from benchmarks.scenarios import FULL

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = HERE / "profiles"
OURS: Final = "xmppd"
FLOOR: Final = "floor"


def _kib(figure: Figure) -> float:
    return figure.kib[max(figure.kib)]


#: measure -> how it is read off a figure, its unit
MEASURES: Final[Mapping[str, tuple[Callable[[Figure], float], str]]] = {
    "rate": (lambda figure: figure.rate, "/s"),
    "cpu_us": (lambda figure: figure.cpu_us, "µs of CPU"),
    "p50_ms": (lambda figure: figure.latency_ms(0.5), "ms at the median"),
    "p99_ms": (lambda figure: figure.latency_ms(0.99), "ms at the 99th percentile"),
    "kib": (_kib, "KiB each"),
    "beside_rate": (lambda figure: figure.beside_rate, "/s beside"),
}


class ProfileError(Exception):
    """A profile that cannot be used; the text is one sentence."""


@dataclass(frozen=True)
class Threshold:
    """One line of a profile."""

    figure: str
    measure: str
    why: str
    at_least: float | None = None
    at_most: float | None = None
    over: str | None = None
    floored: bool = (
        False  # divided by the floor's ratio, if the run has it: what caches cost is no growth of ours
    )

    @property
    def unit(self) -> str:
        return "times" if self.over else MEASURES[self.measure][1]

    def met_by(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


@dataclass(frozen=True)
class Profile:
    """What a kind of site asks for."""

    name: str
    title: str
    carries: str
    thresholds: tuple[Threshold, ...]


def profile_named(name: str) -> Profile:
    """A profile of `profiles/`, or one in a file of the same form. ProfileError if it cannot be read."""
    path = PROFILES / f"{name}.toml"
    if not path.exists():
        path = Path(name)
    own = _read(path)
    try:
        lines = [*own.pop("threshold"), *_read(PROFILES / "any.toml")["threshold"]]
        title, carries = _text(own.pop("title")), _text(own.pop("carries"))
        if own:
            raise ValueError(f"there is no {next(iter(own))} in a profile")
        return Profile(path.stem, title, carries, tuple(_threshold(line) for line in lines))
    except KeyError as wrong:
        raise ProfileError(f"{path}: {wrong} is missing") from None
    except (TypeError, ValueError) as wrong:
        raise ProfileError(f"{path}: {wrong}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value} is no text")
    return value


def _threshold(line: object) -> Threshold:
    if not isinstance(line, dict):
        raise TypeError(f"{line} is no [[threshold]]")
    found = Threshold(**line)
    _text(found.why)
    known = {name for scenario in scenarios_of(FULL, soak=True) for name in scenario.figures}
    for what, word, words in (
        ("measure", found.measure, MEASURES.keys()),
        ("figure", found.figure, known),
        ("figure", found.over or found.figure, known),
    ):
        if word not in words:
            raise ValueError(f"there is no {what} {word}; there are {', '.join(sorted(words))}")
    bounds = [bound for bound in (found.at_least, found.at_most) if bound is not None]
    if not bounds or not all(type(bound) in (int, float) for bound in bounds):
        raise ValueError(f"{found.figure}: at_least or at_most is a number")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as wrong:
        raise ProfileError(
            f"{path}: {wrong.strerror}; profiles here: {', '.join(sorted(_known()))}"
        ) from None
    except ValueError as wrong:
        raise ProfileError(f"{path}: {wrong}") from None


def _known() -> list[str]:
    return [path.stem for path in PROFILES.glob("*.toml") if path.stem != "any"]


@dataclass(frozen=True)
class Verdict:
    """A threshold and what was found; `met` is None if this run did not measure it."""

    threshold: Threshold
    title: str
    value: float | None
    met: bool | None
    remark: str = ""


def verdicts(profile: Profile, run: Run) -> list[Verdict]:
    """Every threshold held against our figures."""
    return [_verdict(threshold, run) for threshold in profile.thresholds]


def _verdict(threshold: Threshold, run: Run) -> Verdict:
    figure = run.figure(threshold.figure, OURS)
    below = run.figure(threshold.over, OURS) if threshold.over else None
    if figure is None or (threshold.over and below is None):
        return Verdict(threshold, threshold.figure, None, None)
    read = MEASURES[threshold.measure][0]
    if not all(_has(each, threshold.measure) for each in (figure, below or figure)):
        return Verdict(threshold, figure.scenario.title, None, None, "it has no such measure")
    if below is None:
        title, value = figure.scenario.title, read(figure)
    else:
        title = f"{figure.name} against {below.name}"
        value = ratio_of(threshold.measure, figure, below)
        if threshold.floored:
            title, value = _less_the_floor(threshold, title, value, run)
    met = threshold.met_by(value)
    limited = threshold.measure == "rate" and figure.generator_was_limit
    return Verdict(threshold, title, value, met, "the load generator was the limit" if limited else "")


def _has(figure: Figure, measure: str) -> bool:
    latency = figure.latency_us
    needed = {"kib": figure.kib, "p50_ms": latency, "p99_ms": latency, "beside_rate": figure.beside_rate}
    return bool(needed.get(measure, True))


def _less_the_floor(threshold: Threshold, title: str, value: float, run: Run) -> tuple[str, float]:
    above, below = (run.figure(name, FLOOR) for name in (threshold.figure, threshold.over or ""))
    if above is None or below is None:
        return title, value
    floor = ratio_of(threshold.measure, above, below)
    return f"{title}: {value:.2f} times, the floor {floor:.2f} times", value / floor


def ratio_of(measure: str, above: Figure, below: Figure) -> float:
    """`above` / `below`: of each round, and the median of those."""
    if measure == "cpu_us":
        return cost_ratio(above, below)
    read = MEASURES[measure][0]
    rounds = zip(above.each_round(), below.each_round(), strict=False)
    return statistics.median(read(a) / max(read(b), 1e-9) for a, b in rounds)


#: how far a ratio may be from what it was before: machines and moments differ
NOISE: Final = 1.3
_LESS: Final = "something has become dearer, or this machine was disturbed"


@dataclass(frozen=True)
class Goal:
    """How we stand beside the best peer and the floor; what the run did not have is None."""

    figure: str
    title: str
    peer: str | None
    peer_ratio: float | None  # best peer / ours
    peer_goal: float | None
    floor_ratio: float | None  # ours / floor
    floor_goal: float | None
    limit: str = ""  # why no more could be had, of peer_goals.toml
    known: tuple[float | None, float | None] = (None, None)  # the ratios that `limit` was found for

    @property
    def why_not(self) -> str:
        """Why what is missed is missed; nothing if nothing is."""
        if self.peer_met is not False and self.floor_met is not False:
            return ""
        by_peer, by_floor = self.known
        if self.peer_met is False and by_peer and self.peer_ratio and self.peer_ratio < by_peer / NOISE:
            return f"it has been {by_peer:g} × before: {_LESS}"
        if self.floor_met is False and by_floor and self.floor_ratio and self.floor_ratio > by_floor * NOISE:
            return f"it has been {by_floor:g} × the floor before: {_LESS}"
        if self.peer_met is False and self.peer_ratio and self.peer_goal and self.floor_ratio:
            peer_by_floor = self.peer_ratio * self.floor_ratio
            if peer_by_floor < self.peer_goal:
                return f"not even the floor reaches it, with {peer_by_floor:.3g} ×: {self.limit}"
        return self.limit or f"it has been met before: {_LESS}"

    @property
    def peer_met(self) -> bool | None:
        if self.peer_ratio is None or self.peer_goal is None:
            return None
        return self.peer_ratio >= self.peer_goal

    @property
    def floor_met(self) -> bool | None:
        if self.floor_ratio is None or self.floor_goal is None:
            return None
        return self.floor_ratio <= self.floor_goal


def goals(run: Run, scale: str = FULL.name) -> list[Goal]:
    """The goals of peer_goals.toml that this run says something about; what was found before is of full runs."""
    found, is_full = [], scale == FULL.name
    for name, goal in tomllib.loads((HERE / "peer_goals.toml").read_text(encoding="utf-8")).items():
        ours = run.figure(name, OURS)
        if ours is None:
            continue
        others = [each for each in run.figures if each.name == name and each.subject not in (OURS, FLOOR)]
        measured = [each for each in others if not each.faults]
        best = min(((_cost_ratio(each, ours), each.subject) for each in measured), default=(None, None))
        floor = run.figure(name, FLOOR)
        if floor is not None and floor.faults:
            floor = None
        if best[0] is None and (floor is None or "floor" not in goal):
            continue
        found.append(
            Goal(
                name,
                ours.scenario.title,
                best[1],
                best[0],
                goal.get("peers"),
                _cost_ratio(ours, floor) if floor and "floor" in goal else None,
                goal.get("floor"),
                goal.get("limit", "") if is_full else "a full run says why",
                (goal.get("known_peers"), goal.get("known_floor")) if is_full else (None, None),
            )
        )
    return found


def _cost_ratio(above: Figure, below: Figure) -> float:
    return _kib(above) / _kib(below) if above.kib else cost_ratio(above, below)


def faults_of(run: Run, subject: str = OURS) -> dict[str, int]:
    """What went wrong with deliveries to a subject's clients, by kind."""
    total: dict[str, int] = {}
    for figure in run.figures:
        if figure.subject == subject:
            for fault, count in figure.faults.items():
                total[fault] = total.get(fault, 0) + count
    return total


def passed(found: list[Verdict], run: Run) -> bool:
    """Whether our server met every threshold, and lost nothing."""
    ours_failed = any(failure.subject == OURS for failure in run.failures)
    return all(verdict.met for verdict in found) and not ours_failed and not faults_of(run)
