"""What came of a part: met, not met, not applicable, or could not be tested; and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    """The four answers, best first."""

    MET = "met"
    NOT_APPLICABLE = "not applicable"
    COULD_NOT_TEST = "could not test"
    NOT_MET = "not met"


SEVERITY: Final = {outcome: number for number, outcome in enumerate(Outcome)}
NO_CHECK: Final = "no check yet"


class Ended(Exception):
    """A check is over before its last line; `why` is one phrase, without a full stop."""

    outcome: Outcome

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class NotMet(Ended):
    """The server did something else than the requirement says; `why` is what was seen."""

    outcome = Outcome.NOT_MET


class NotApplicable(Ended):
    """The requirement does not concern this server."""

    outcome = Outcome.NOT_APPLICABLE


class CouldNotTest(Ended):
    """Nothing is known about the server: something that the check needs is missing."""

    outcome = Outcome.COULD_NOT_TEST


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one check saw: the last lines of its transcript."""

    check: str  # what it shows, and from where that is
    lines: tuple[str, ...]
    before: int = 0  # lines of the transcript above these


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one part."""

    part: str
    outcome: Outcome
    why: str = ""
    evidence: tuple[Evidence, ...] = ()
    judged: tuple[str, ...] = ()  # areas in which the part was looked at
    left_out: tuple[str, ...] = ()  # areas that it needs, too, which were not selected
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether a run that has only such verdicts succeeds."""
        return self.outcome in (Outcome.MET, Outcome.NOT_APPLICABLE)

    def __str__(self) -> str:
        """One line, as it is printed: `1-7.1 not met: no answer within 5 s`."""
        line = f"{self.part} {self.outcome}" + (f": {self.why}" if self.why else "")
        return f"{line} ({self.scope})" if self.scope else line

    @property
    def scope(self) -> str:
        """In words, if the part was judged by some of its areas only."""
        if not self.left_out or not self.judged:
            return ""
        return f"judged for {' and '.join(self.judged)} only, not for {' and '.join(self.left_out)}"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict for a part that was looked at in several ways: the worst, with the evidence of that one.

    If all are met, with the evidence of all.
    """
    found = list(verdicts)
    bad = max(found, key=lambda verdict: SEVERITY[verdict.outcome])
    seconds = sum(verdict.seconds for verdict in found)
    if bad.outcome is Outcome.MET:
        return replace(bad, evidence=tuple(one for each in found for one in each.evidence), seconds=seconds)
    return replace(bad, seconds=seconds)


def overall(verdicts: Iterable[Verdict]) -> Outcome:
    """One word for a requirement: the worst of its parts that are applicable."""
    outcomes = {verdict.outcome for verdict in verdicts}
    return max(outcomes - {Outcome.NOT_APPLICABLE} or outcomes, key=SEVERITY.__getitem__)
