"""The log: one line per event to standard error, written by a thread of its own.

A log call never waits: it puts the record into a bounded queue. What does not fit is dropped and counted, and
a later line says how many. A warning that repeats is written once per interval, with how often it came.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys
import threading
import traceback
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final, TextIO

from xmppd.clock import monotonic_s, xep0082

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# stands bare behind `key=`
_PLAIN: Final = re.compile(r"[^\s\"'=\\\x00-\x1f]+")
# line ends that JSON leaves alone, marks that turn the direction of what follows, halves of characters
_UNPRINTABLE: Final = re.compile(
    r"[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = getattr(record, "fields", None)
    return dict(found) if isinstance(found, Mapping) else {}


def _line(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says, in the order of the line."""
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    said: dict[str, Any] = {
        "time": xep0082(moment),
        "level": record.levelname.lower(),
        "room": record.name.removeprefix("xmppd."),
        "event": record.getMessage(),
    }
    said |= {name: value for name, value in _fields(record).items() if name not in said}
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        said["error"] = "".join(traceback.format_exception_only(error)).strip()
        said["traceback"] = "".join(traceback.format_exception(error)).strip()
    return said


def quoted(value: object) -> str:
    """A value as it stands behind `key=`: bare if that is safe, else as a JSON string on one line."""
    if value is True or value is False or value is None:
        return json.dumps(value)
    text = str(value)
    if not _PLAIN.fullmatch(text):
        text = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class KeyValueFormatter(logging.Formatter):
    """`time=... level=warning room=stream event="login failed" peer=192.0.2.1`"""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={quoted(value)}" for key, value in _line(record).items())


class JsonFormatter(logging.Formatter):
    """The same as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_line(record), ensure_ascii=True, default=str)


FORMATS: Final[dict[str, type[logging.Formatter]]] = {"text": KeyValueFormatter, "json": JsonFormatter}

# what makes two events of the same words different events
IDENTIFYING: Final = (
    "code",
    "kind",
    "condition",
    "subject",
    "peer",
    "account",
    "domain",
    "listener",
    "limit",
    "path",
    "reason",
    "requirement",
)


@dataclass(slots=True)
class _Seen:
    written_s: float
    left_out: int = 0
    last: logging.LogRecord | None = None  # of those left out


class Repeats:
    """Which events are written. Below warning: all. Else each once per interval, then how often it came.

    Two events are the same if level, room, words and the identifying fields are. Knows at most `size` of
    them; the one not seen for longest is forgotten first.
    """

    def __init__(self, interval_s: float, size: int = 4096) -> None:
        self.interval_s = interval_s
        self._size = size
        self._seen: OrderedDict[tuple[Any, ...], _Seen] = OrderedDict()
        self._left_out = 0

    @property
    def is_pending(self) -> bool:
        """Whether `due` will have something to say."""
        return self._left_out > 0

    def admit(self, record: logging.LogRecord, now_s: float) -> bool:
        """Whether to write the record now."""
        if self.interval_s <= 0 or record.levelno < logging.WARNING:
            return True
        said = _fields(record)
        identity = (str(said[name]) for name in IDENTIFYING if name in said)
        key = (record.levelno, record.name, record.msg, *identity)
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = _Seen(now_s)
            if len(self._seen) > self._size:
                self._left_out -= self._seen.popitem(last=False)[1].left_out
            return True
        self._seen.move_to_end(key)
        if not seen.left_out and now_s - seen.written_s >= self.interval_s:
            seen.written_s = now_s
            return True
        seen.left_out += 1
        seen.last = record
        self._left_out += 1
        return False

    def due(self, now_s: float, *, at_once: bool = False) -> list[logging.LogRecord]:
        """The last of each event that was left out, with `repeated`, once the interval has passed."""
        found = []
        for seen in self._seen.values() if self._left_out else ():
            if seen.last is not None and (at_once or now_s - seen.written_s >= self.interval_s):
                seen.last.__dict__["fields"] = _fields(seen.last) | {"repeated": seen.left_out}
                found.append(seen.last)
                self._left_out -= seen.left_out
                seen.written_s, seen.left_out, seen.last = now_s, 0, None
        return found


class LogWriter(logging.Handler):
    """Takes records in any thread without waiting; a thread formats and writes them.

    `dropped` counts the lines that did not fit into the queue, `repeats_left_out` those not written because
    they said the same again.
    """

    def __init__(
        self, stream: TextIO, formatter: logging.Formatter, queue_lines: int, repeat_s: float
    ) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.repeats = Repeats(repeat_s)
        self.dropped = 0
        self.repeats_left_out = 0
        self._stream = stream
        self._queue_lines = queue_lines
        self._queue: deque[logging.LogRecord] = deque()
        self._told_dropped = 0
        self._more = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Lines that wait to be written."""
        return len(self._queue)

    def emit(self, record: logging.LogRecord) -> None:
        # under the lock of logging.Handler.handle, so the table of repeats needs none
        if not self.repeats.admit(record, monotonic_s()):
            self.repeats_left_out += 1
            return
        if len(self._queue) >= self._queue_lines:
            self.dropped += 1
            return
        self._queue.append(record)
        self._more.set()

    def _run(self) -> None:
        while True:
            self._more.wait(self.repeats.interval_s if self.repeats.is_pending else None)
            self._more.clear()
            ending = self._ending
            while self._queue:
                self._write(self._queue.popleft())
                if self.dropped != self._told_dropped:
                    self._tell_dropped()
            with self.lock or nullcontext():
                due = self.repeats.due(monotonic_s(), at_once=ending)
            for record in due:
                self._write(record)
            if ending:
                return

    def _tell_dropped(self) -> None:
        lines, self._told_dropped = self.dropped - self._told_dropped, self.dropped
        record = logging.LogRecord("xmppd.ops", logging.WARNING, __file__, 0, "log lines dropped", None, None)
        record.__dict__["fields"] = {"lines": lines}
        self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        try:
            self._stream.write(self.format(record) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads, or the stream is closed: there is nobody to tell
            pass
        except Exception:  # a field whose str() fails must not end the log
            self._stream.write(f'level=error room=ops event="log line failed" from={record.name}\n')

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, for at most `timeout_s`."""
        self._ending = True
        self._more.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        super().close()


def start(
    level: str = "info",
    format: str = "text",  # noqa: A002 (the key's name)
    *,
    queue_lines: int = 10_000,
    repeat_s: float = 60.0,
    stream: TextIO | None = None,
) -> LogWriter:
    """Make the log of this process: everything any logger says goes through one LogWriter."""
    writer = LogWriter(stream or sys.stderr, FORMATS[format](), queue_lines, repeat_s)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(writer)
    root.setLevel(LEVELS[level])
    logging.captureWarnings(True)
    logging.raiseExceptions = False
    return writer


def change(writer: LogWriter, level: str, format: str, repeat_s: float) -> None:  # noqa: A002
    """Put other settings in force while the server runs."""
    logging.getLogger().setLevel(LEVELS[level])
    writer.setFormatter(FORMATS[format]())
    writer.repeats.interval_s = repeat_s
