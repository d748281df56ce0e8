"""Runs the checks of a selection against one server."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from xmppd.conformance.check import Check, registered
from xmppd.conformance.launcher import LauncherFailed
from xmppd.conformance.requirements import Part, Selection, catalogue, matches
from xmppd.conformance.site import Site
from xmppd.conformance.subject import Subject
from xmppd.conformance.transcript import EVENT, Transcript
from xmppd.conformance.verdict import NO_CHECK, Ended, Outcome, Verdict, worst


@dataclass(slots=True)
class Runner:
    """One run. `transcripts` is a folder for the whole conversations, if they are wanted.

    `done` holds what was tried already, and is not tried again.
    """

    subject: Subject
    selection: Selection
    transcripts: Path | None = None
    checks: Mapping[tuple[str, str], tuple[Check, ...]] | None = (
        None  # None: those that come with the package
    )
    done: dict[Check, Verdict] = field(default_factory=dict)

    def run(self) -> Iterator[Verdict]:
        """A verdict for each selected part, in order. Raises LauncherFailed."""
        for part in self.selection.parts:
            yield self._judge(part)

    def _judge(self, part: Part) -> Verdict:
        judged, left_out = self.selection.judged(part), self.selection.left_out(part)
        if not judged:
            return Verdict(part.name, Outcome.NOT_APPLICABLE, f"area {', '.join(part.needs)}")
        checks = registered() if self.checks is None else self.checks
        found = []
        for area in judged:
            scripts = checks.get((part.name, area), ())
            if not scripts:
                why = NO_CHECK if len(part.needs) == 1 else f"{NO_CHECK} for {area}"
                found.append(Verdict(part.name, Outcome.COULD_NOT_TEST, why))
            for each in scripts:
                if each not in self.done:
                    self.done[each] = self._try(each)
                found += (self.done[each], *self._summed_up(each))
        return replace(worst(found), part=part.name, judged=judged, left_out=left_out)

    def _summed_up(self, check: Check) -> Iterator[Verdict]:
        """The verdicts, apart from good ones, on the rows that a check sums up."""
        for part in catalogue().parts:
            if any(matches(part, pattern) for pattern in check.rows):
                verdict = self._judge(part)
                if not verdict.is_good:
                    yield replace(verdict, why=f"{part.name}: {verdict.why}")

    def _try(self, check: Check) -> Verdict:
        transcript = Transcript()
        site = Site(self.subject, transcript)
        outcome, why = Outcome.MET, ""
        began = time.monotonic()
        try:
            check.script(site)
        except Ended as ended:
            outcome, why = ended.outcome, ended.why
            transcript.add("--", EVENT, f"{outcome}: {why}")
        except (LauncherFailed, KeyboardInterrupt):
            raise
        except Exception as error:  # a fault of the check says nothing about the server
            outcome, why = Outcome.COULD_NOT_TEST, f"the check itself failed: {type(error).__name__}: {error}"
            transcript.add("--", EVENT, traceback.format_exc())
        finally:
            site.end()
        # a check that had nothing to look at is no evidence, though another may show the same
        evidence = (transcript.evidence(check.doc),) if transcript.lines else ()
        verdict = Verdict(check.parts[0], outcome, why, evidence, seconds=time.monotonic() - began)
        if self.transcripts is not None:
            for part in check.parts:
                path = self.transcripts / f"{part} {check.name}.txt"
                transcript.write(path, f"{part} {outcome}: {check.name}. {check.doc}")
        return verdict
