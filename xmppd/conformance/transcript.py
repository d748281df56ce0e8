"""What was sent and received, when, on which connection: the evidence behind a verdict."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xmppd.conformance.verdict import Evidence

SENT: Final = "→"  # to the server
RECEIVED: Final = "←"
EVENT: Final = "·"  # of the connection: TCP, TLS, a setting that was changed

EVIDENCE_LINES: Final = 10
EVIDENCE_COLUMNS: Final = 300

# passwords and what they can be guessed from do not belong into reports
SECRETS: Final = re.compile(
    r"(<(?:[\w.-]+:)?(?:auth|response|challenge|success)\b[^<>]*>)[A-Za-z0-9+/=]{2,}(?=<|$)"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One entry."""

    at: float  # seconds since the check began
    who: str  # the connection
    mark: str  # SENT, RECEIVED, EVENT
    text: str

    def __str__(self) -> str:
        return f"{self.at:7.3f} {self.who} {self.mark} {self.text}"


class Transcript:
    """The lines of one check, in order."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._began = time.monotonic()

    def add(self, who: str, mark: str, data: bytes | str) -> None:
        """Add what was sent, was received or happened. Bytes that are not UTF-8 stand as \\xNN."""
        text = data if isinstance(data, str) else _text(data)
        self.lines.append(Line(time.monotonic() - self._began, who, mark, printable(text)))

    def evidence(self, check: str) -> Evidence:
        """The last lines, shortened: what a verdict rests on. The whole is in the file."""
        last = self.lines[-EVIDENCE_LINES:]
        return Evidence(check, tuple(_shortened(str(line)) for line in last), len(self.lines) - len(last))

    def write(self, path: Path, title: str) -> None:
        """Keep it as a text file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([f"# {title}", *map(str, self.lines)]) + "\n", encoding="utf-8")


def _text(data: bytes) -> str:
    if len(data) > 5 and data[0] in (21, 22, 23) and data[1] == 3:
        return f"({len(data)} bytes of TLS)"
    return data.decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """One line, without secrets and without control characters."""
    text = SECRETS.sub(r"\1(not shown)", text)
    if text.isprintable():  # as most is
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _shortened(text: str) -> str:
    half = EVIDENCE_COLUMNS // 2
    return text if len(text) <= EVIDENCE_COLUMNS else f"{text[:half]} … {text[-half:]}"
