"""The log: lines, the queue that never makes a caller wait, repeats."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.events import fields
from xmppd.ops import logs


def _record(message: str = "login failed", level: int = logging.WARNING, **said: object) -> logging.LogRecord:
    record = logging.LogRecord("xmppd.stream", level, __file__, 1, message, None, None)
    record.created = 1769860800.25
    record.__dict__["fields"] = said
    return record


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    yield
    for handler in root.handlers[:]:
        if handler not in before[0]:
            handler.close()
    root.handlers[:], root.level, logging.raiseExceptions = before
    logging.captureWarnings(False)


def test_a_line_of_text() -> None:
    line = logs.KeyValueFormatter().format(_record(peer="2001:db8::1", mechanism="PLAIN", count=3, tls=True))
    assert line == (
        'time=2026-01-31T12:00:00.250Z level=warning room=stream event="login failed" '
        "peer=2001:db8::1 mechanism=PLAIN count=3 tls=true"
    )


def test_a_line_of_json() -> None:
    said = json.loads(logs.JsonFormatter().format(_record(peer="192.0.2.1", count=3)))
    assert said == {
        "time": "2026-01-31T12:00:00.250Z",
        "level": "warning",
        "room": "stream",
        "event": "login failed",
        "peer": "192.0.2.1",
        "count": 3,
    }


def test_an_exception_stays_on_its_line() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        record = _record()
        record.exc_info = sys.exc_info()
    line = logs.KeyValueFormatter().format(record)
    assert "\n" not in line
    assert r'error="ValueError: first\nsecond"' in line
    assert "test_logs.py" in line
    assert "second" in json.loads(logs.JsonFormatter().format(record))["traceback"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("a b", '"a b"'),
        ('a"b', r'"a\"b"'),
        ("a=b", '"a=b"'),
        ("a\nlevel=error", r'"a\nlevel=error"'),
        ("a\u2028b", r'"a\u2028b"'),
        ("a\x9bb", r"a\u009bb"),
        ("\u202egnp", r"\u202egnp"),
        ("a\ud800", r"a\ud800"),
        ("bücher", "bücher"),
        (None, "null"),
        (False, "false"),
    ],
)
def test_values(value: object, written: str) -> None:
    assert logs.quoted(value) == written


@given(st.text(), st.sampled_from(["text", "json"]))
def test_no_value_makes_a_line_or_a_field_of_its_own(value: str, format: str) -> None:  # noqa: A002
    """Whatever a peer sends: one line, that a terminal shows as it is, with no field that is not ours."""
    line = logs.FORMATS[format]().format(_record(peer=value))
    assert len(line.splitlines()) == 1
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in line)
    line.encode()
    if format == "json":
        assert json.loads(line)["peer"] == value
    else:
        prefix = logs.KeyValueFormatter().format(_record())
        assert line == f"{prefix} peer={logs.quoted(value)}"


def test_a_slow_reader_delays_nobody() -> None:
    """The pipe is full and nobody reads: log calls come back at once, what is lost is counted and said."""
    read_fd, write_fd = os.pipe()
    with os.fdopen(write_fd, "w") as stream:
        writer = logs.start(queue_lines=50, repeat_s=0, stream=stream)
        log = logging.getLogger("xmppd.test")
        started = time.monotonic()
        for number in range(5000):
            log.info("flood", extra=fields(number=number, filler="x" * 200))
        assert time.monotonic() - started < 5
        assert writer.dropped > 0
        assert writer.depth <= 50
        found = bytearray()

        def drain() -> None:
            while piece := os.read(read_fd, 65536):
                found.extend(piece)

        reader = threading.Thread(target=drain)
        reader.start()
        writer.close(timeout_s=30)
    reader.join(30)
    os.close(read_fd)
    lines = bytes(found).decode().splitlines()
    told = [int(line.rpartition("lines=")[2]) for line in lines if "log lines dropped" in line]
    assert sum(told) == writer.dropped
    assert len(lines) - len(told) == 5000 - writer.dropped
    assert "number=0 " in lines[0]


def test_close_does_not_wait_for_ever() -> None:
    read_fd, write_fd = os.pipe()
    stream = os.fdopen(write_fd, "w")
    writer = logs.start(queue_lines=5000, stream=stream)
    for _ in range(2000):
        logging.getLogger("xmppd.test").info("flood", extra=fields(filler="x" * 200))
    started = time.monotonic()
    writer.close(timeout_s=0.2)
    assert time.monotonic() - started < 5
    os.close(read_fd)  # the thread gets EPIPE and ends
    writer._thread.join(30)
    assert not writer._thread.is_alive()


def test_levels_and_settings_change_while_it_runs() -> None:
    stream = io.StringIO()
    writer = logs.start("warning", stream=stream)
    log = logging.getLogger("xmppd.test")
    log.info("unseen")
    logs.change(writer, "info", "json", 0)
    log.info("seen")
    writer.close()
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "seen"


def test_a_field_that_cannot_be_written_does_not_end_the_log() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    stream = io.StringIO()
    writer = logs.start(stream=stream)
    log = logging.getLogger("xmppd.test")
    log.info("broken", extra=fields(what=Broken()))
    log.info("after")
    writer.close()
    assert "log line failed" in stream.getvalue()
    assert "event=after" in stream.getvalue()


class TestRepeats:
    """The log says it once."""

    def test_once_per_interval_and_then_how_often(self) -> None:
        repeats = logs.Repeats(60)
        assert repeats.admit(_record(peer="192.0.2.1"), 0)
        assert not any(repeats.admit(_record(peer="192.0.2.1", port=port), 1.0 + port) for port in range(30))
        assert repeats.due(59) == []
        (record,) = repeats.due(60)
        assert record.__dict__["fields"] == {"peer": "192.0.2.1", "port": 29, "repeated": 30}
        assert repeats.due(1000) == []
        assert not repeats.admit(_record(peer="192.0.2.1"), 61)
        assert len(repeats.due(120)) == 1
        assert repeats.admit(_record(peer="192.0.2.1"), 500)

    def test_another_peer_is_another_event(self) -> None:
        repeats = logs.Repeats(60)
        assert repeats.admit(_record(peer="192.0.2.1"), 0)
        assert repeats.admit(_record(peer="192.0.2.2"), 0)
        assert repeats.admit(_record("login deferred", peer="192.0.2.2"), 0)

    def test_what_is_no_warning_is_always_written(self) -> None:
        repeats = logs.Repeats(60)
        assert all(repeats.admit(_record(level=logging.INFO), 0) for _ in range(3))

    def test_switched_off(self) -> None:
        repeats = logs.Repeats(0)
        assert all(repeats.admit(_record(), 0) for _ in range(3))

    def test_bounded(self) -> None:
        repeats = logs.Repeats(60, size=10)
        for number in range(100):
            repeats.admit(_record(peer=str(number)), 0)
            repeats.admit(_record(peer=str(number)), 0)
        assert len(repeats._seen) == 10
        assert len(repeats.due(60)) == 10
        assert not repeats.is_pending

    def test_through_the_writer(self) -> None:
        stream = io.StringIO()
        writer = logs.start(stream=stream, repeat_s=3600)
        for _ in range(5):
            logging.getLogger("xmppd.test").warning("refused", extra=fields(peer="192.0.2.1"))
        writer.close()  # says what is still unsaid
        lines = stream.getvalue().splitlines()
        assert len(lines) == 2
        assert lines[1].endswith("peer=192.0.2.1 repeated=4")
        assert writer.repeats_left_out == 4
