"""What is wrong, since when, and what to do: one registry, read by `status`, the log and the metrics.

A room reports with `health.report(...)` and takes it back with `health.clear(...)`. What only flickers is not
shown, and what follows from another fault is hidden behind it.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from xmppd import clock
from xmppd.events import fields

log = logging.getLogger("xmppd.ops")

Severity = Literal["low", "medium", "high"]
_ORDER: Final[dict[Severity, int]] = {"high": 0, "medium": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class Warnable:
    """Something that can be wrong. `to_do` says what the administrator does about it."""

    code: str
    title: str
    severity: Severity
    to_do: str
    visible_after_s: float = 0.0
    depends_on: tuple[str, ...] = ()


# one line for each; a room that can report something new adds a line
WARNABLES: Final[dict[str, Warnable]] = {
    warnable.code: warnable
    for warnable in (
        Warnable(
            "store-failing",
            "The store cannot write",
            "high",
            "Look at the disk of the data directory: free space, permissions, errors in the kernel's log.",
        ),
        Warnable(
            "store-unreadable",
            "Some of the store cannot be read",
            "high",
            "Look at the disk of the data directory; if the database file is damaged, put a backup in its place.",
            depends_on=("store-failing",),
        ),
        Warnable(
            "store-slow",
            "Writes wait long for the disk",
            "medium",
            "Find out what else uses the disk of the data directory, or give the server a faster one.",
            visible_after_s=10,
            depends_on=("store-failing",),
        ),
        Warnable(
            "certificate-expiring",
            "A certificate expires soon",
            "medium",
            "Put a new certificate into the file and run `reload`.",
            depends_on=("certificate-unusable",),
        ),
        Warnable(
            "certificate-unusable",
            "A certificate cannot be used, or clients will refuse it",
            "high",
            "Run `check`, put right what it names, then run `reload`.",
        ),
        Warnable(
            "listener-not-served",
            "A configured listener is not served by this version",
            "low",
            "Remove the listener from the configuration, or wait for a version that serves it.",
        ),
        Warnable(
            "loop-late",
            "The event loop is held up",
            "medium",
            "Read the log for `loop late`, which names the culprit, and report it.",
        ),
        Warnable(
            "log-dropping",
            "Log lines are dropped",
            "low",
            "Make whatever reads standard error faster, or raise log.level.",
        ),
        Warnable(
            "restart-needed",
            "The configuration on disk needs a restart",
            "low",
            "Restart the server when it suits; until then the keys named keep their old values.",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Warning:  # noqa: A001 (that is what it is; nobody here warns in Python's sense)
    """One thing that is wrong now. `subject` tells several of a kind apart: a domain, a listener."""

    code: str
    subject: str
    title: str
    severity: Severity
    text: str
    since: datetime.datetime
    to_do: str

    def to_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "code": self.code,
            "subject": self.subject,
            "title": self.title,
            "severity": self.severity,
            "text": self.text,
            "since": clock.xep0082(self.since),
            "to_do": self.to_do,
        }


@dataclass(slots=True)
class _Entry:
    text: str
    since: datetime.datetime
    since_s: float
    was_logged: bool = False


class Health:
    """The registry. Used from the loop's thread."""

    def __init__(
        self,
        warnables: Iterable[Warnable] = WARNABLES.values(),
        *,
        monotonic_s: Callable[[], float] = clock.monotonic_s,
        utc_now: Callable[[], datetime.datetime] = clock.utc_now,
    ) -> None:
        self._warnables = {warnable.code: warnable for warnable in warnables}
        self._monotonic_s = monotonic_s
        self._utc_now = utc_now
        self._entries: dict[tuple[str, str], _Entry] = {}

    def report(self, code: str, text: str, subject: str = "") -> None:
        """`code` is wrong; `text` is one sentence with the details. KeyError for an unknown code."""
        warnable = self._warnables[code]
        entry = self._entries.get((code, subject))
        if entry is None:
            entry = self._entries[code, subject] = _Entry(text, self._utc_now(), self._monotonic_s())
        entry.text = text
        if not entry.was_logged and self._is_visible(warnable, entry):
            self._log(warnable, subject, entry)

    def clear(self, code: str, subject: str = "") -> None:
        """It is right again; nothing happens if nothing was wrong."""
        entry = self._entries.pop((code, subject), None)
        if entry is not None and entry.was_logged:
            lasted_s = round(self._monotonic_s() - entry.since_s, 1)
            log.info("health restored", extra=fields(code=code, subject=subject or None, lasted_s=lasted_s))

    def set(self, code: str, wrong: bool, text: str = "", subject: str = "") -> None:
        """`report` or `clear`, for checks that run again and again."""
        if wrong:
            self.report(code, text, subject)
        else:
            self.clear(code, subject)

    def _is_visible(self, warnable: Warnable, entry: _Entry) -> bool:
        return self._monotonic_s() - entry.since_s >= warnable.visible_after_s

    def _is_explained(self, warnable: Warnable, subject: str) -> bool:
        return any((code, about) in self._entries for code in warnable.depends_on for about in ("", subject))

    def _log(self, warnable: Warnable, subject: str, entry: _Entry) -> None:
        entry.was_logged = True
        level = logging.ERROR if warnable.severity == "high" else logging.WARNING
        said = fields(code=warnable.code, subject=subject or None, text=entry.text, to_do=warnable.to_do)
        log.log(level, "health", extra=said)

    def warnings(self) -> list[Warning]:
        """What is wrong now, worst first; without what lasts too short, and what another fault explains."""
        found = []
        for (code, subject), entry in self._entries.items():
            warnable = self._warnables[code]
            if not self._is_visible(warnable, entry) or self._is_explained(warnable, subject):
                continue
            if not entry.was_logged:
                self._log(warnable, subject, entry)
            found.append(
                Warning(
                    code, subject, warnable.title, warnable.severity, entry.text, entry.since, warnable.to_do
                )
            )
        return sorted(found, key=lambda warning: (_ORDER[warning.severity], warning.since))
