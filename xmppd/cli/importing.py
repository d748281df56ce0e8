"""`xmppd user import`: a site moves in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from xmppd.cli.reach import Reach
from xmppd.ops.admin import CommandError

# the longest address and the longest password fit
LINE_BYTES: Final = 8_192
# what one command holds; a line is in JSON at most six times as long, and small enough for any admin.line_bytes
CHUNK: Final = 500
CHUNK_BYTES: Final = 60_000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the file."""

    line: int
    jid: str
    password: str = field(repr=False)


def read(lines: Iterable[bytes]) -> tuple[list[Row], list[dict[str, Any]]]:
    """The rows of `JID<TAB>password` lines, and what is wrong with the others. Empty lines are skipped."""
    from xmppd.jid import JID

    rows: list[Row] = []
    failures: list[dict[str, Any]] = []
    first_in: dict[str, int] = {}
    for number, raw in enumerate(lines, 1):
        if len(raw) > LINE_BYTES:
            failures.append(_failure(number, "", f"the line is longer than {LINE_BYTES} bytes"))
            continue
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            failures.append(_failure(number, "", "the line is not UTF-8"))
            continue
        if not line.strip():
            continue
        jid, tab, password = line.partition("\t")
        if not tab:
            failures.append(_failure(number, "", "there is no tab between address and password"))
            continue
        try:
            name = str(JID.parse(jid.strip()))
        except ValueError as error:
            failures.append(_failure(number, jid, f"that is no JID: {error}"))
            continue
        if (first := first_in.setdefault(name, number)) != number:
            failures.append(_failure(number, name, f"the account stands in line {first} already"))
            continue
        rows.append(Row(number, name, password))
    return rows, failures


def _failure(line: int, jid: str, why: str) -> dict[str, Any]:
    return {"line": line, "jid": jid, "why": why}


def sentences(failures: Iterable[dict[str, Any]]) -> Iterator[str]:
    """What failed and why, in the order of the lines; neighbours that failed alike share a sentence.

    So a file that is imported again does not bury its faults under the accounts that were made before.
    """
    run: list[dict[str, Any]] = []
    for failed in failures:
        if run and not (failed["why"] == run[0]["why"] and failed["line"] == run[-1]["line"] + 1):
            yield _sentence(run)
            run = []
        run.append(failed)
    if run:
        yield _sentence(run)


def _sentence(run: list[dict[str, Any]]) -> str:
    first, last = run[0], run[-1]
    if first is last:
        return f"line {first['line']}: {first['jid'] + ': ' if first['jid'] else ''}{first['why']}"
    return f"lines {first['line']} to {last['line']}: {first['why']}"


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows as one command after the other takes them."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        more = len(json.dumps([row.jid, row.password])) + 2
        if chunk and (len(chunk) == CHUNK or size + more > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += more
    if chunk:
        yield chunk


def run(reach: Reach, lines: Iterable[bytes], on_progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Import all that can be imported; what was made and what failed, by line.

    If the server or the store fails on the way, the accounts made so far stay, whole, and the lines not tried
    are named by the field `stopped`.
    """
    rows, failures = read(lines)
    created = 0
    stopped: dict[str, Any] | None = None
    start = 0
    for chunk in _chunks(rows):
        given = [[row.jid, row.password] for row in chunk]
        try:
            report = reach.call(
                "user.import",
                {"rows": given},
                lambda done, total, start=start: on_progress(start + done, len(rows)),  # type: ignore[misc]
            )
        except CommandError as error:
            stopped = {"line": chunk[0].line, "why": str(error)}
            break
        created += report["created"]
        for index, jid, why in report["failures"]:
            failures.append(_failure(chunk[index].line, jid, why))
        start += len(chunk)
        on_progress(start, len(rows))
    failures.sort(key=lambda failed: failed["line"])
    return {"created": created, "failures": failures, "stopped": stopped}
