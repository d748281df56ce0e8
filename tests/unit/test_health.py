"""Health objects, the supervisor's socket, the loop watchdog."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import socket
import time
from pathlib import Path

import pytest

from xmppd.ops.health import WARNABLES, Health, Warnable
from xmppd.ops.notify import Supervisor
from xmppd.ops.watchdog import LoopWatchdog


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def utc_now(self) -> datetime.datetime:
        return datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC) + datetime.timedelta(seconds=self.now_s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    warnables = (
        Warnable("disk", "Disk", "high", "Look at it."),
        Warnable("slow", "Slow", "medium", "Wait.", visible_after_s=10, depends_on=("disk",)),
        Warnable("note", "Note", "low", "Read."),
    )
    return Health(warnables, monotonic_s=clock.monotonic_s, utc_now=clock.utc_now)


def test_what_is_wrong_since_when_and_what_to_do(health: Health, clock: Clock) -> None:
    health.report("note", "A note.", "a.example")
    clock.now_s += 5
    health.report("disk", "It is full.")
    health.report("disk", "It is still full.")
    first, second = health.warnings()
    assert first.to_data() == {
        "code": "disk",
        "subject": "",
        "title": "Disk",
        "severity": "high",
        "text": "It is still full.",
        "since": "2026-01-31T00:01:45.000Z",
        "to_do": "Look at it.",
    }
    assert (second.code, second.subject) == ("note", "a.example")
    health.clear("disk")
    health.clear("disk")
    assert [warning.code for warning in health.warnings()] == ["note"]


def test_what_flickers_is_not_shown(health: Health, clock: Clock) -> None:
    health.report("slow", "It is slow.")
    assert health.warnings() == []
    clock.now_s += 10
    assert [warning.code for warning in health.warnings()] == ["slow"]
    health.set("slow", False)
    health.set("slow", True, "Again.")
    assert health.warnings() == []


def test_what_follows_from_another_fault_is_hidden(health: Health, clock: Clock) -> None:
    health.report("slow", "It is slow.")
    health.report("disk", "It is full.")
    clock.now_s += 10
    assert [warning.code for warning in health.warnings()] == ["disk"]
    health.clear("disk")
    assert [warning.code for warning in health.warnings()] == ["slow"]
    health.report("disk", "Another one is full.", "other")
    assert [warning.code for warning in health.warnings()] == ["disk", "slow"]


def test_unknown_codes_are_mistakes(health: Health) -> None:
    with pytest.raises(KeyError):
        health.report("nonsense", "?")


def test_it_is_logged_once(health: Health, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "xmppd.ops"):
        for _ in range(3):
            health.report("disk", "It is full.")
        clock.now_s += 3
        health.clear("disk")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "health"),
        ("INFO", "health restored"),
    ]


def test_the_table_is_sound() -> None:
    for warnable in WARNABLES.values():
        assert set(warnable.depends_on) <= set(WARNABLES)
        assert warnable.to_do.endswith(".")


class TestSupervisor:
    """sd_notify(3)."""

    @pytest.mark.parametrize("abstract", [False, True])
    def test_what_it_is_told(self, abstract: bool, tmp_path: Path) -> None:
        name = f"@xmppd-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind("\0" + name[1:] if abstract else name)
            listening.settimeout(10)
            supervisor = Supervisor({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000000"})
            assert supervisor.watchdog_interval_s == 10
            assert supervisor.ready("serving 2 domains")
            assert listening.recv(4096).decode().split("\n")[:2] == ["READY=1", "STATUS=serving 2 domains"]
            assert supervisor.reloading()
            first, second, _ = listening.recv(4096).decode().split("\n")
            assert first == "RELOADING=1"
            assert 0 < int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic() * 1e6
            assert supervisor.alive()
            assert listening.recv(4096) == b"WATCHDOG=1"
            assert supervisor.stopping()
            assert listening.recv(4096).startswith(b"STOPPING=1\n")

    def test_nobody_asked(self) -> None:
        supervisor = Supervisor({"WATCHDOG_USEC": "20000000"})
        assert supervisor.watchdog_interval_s is None
        assert not supervisor.ready("x")

    def test_another_process_is_watched(self) -> None:
        supervisor = Supervisor({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"})
        assert supervisor.watchdog_interval_s is None

    def test_a_supervisor_that_is_gone(self, tmp_path: Path) -> None:
        assert not Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")


def _dawdle(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_the_watchdog_names_the_culprit(caplog: pytest.LogCaptureFixture) -> None:
    late: list[tuple[float, str]] = []

    async def main() -> None:
        done = asyncio.Event()

        def on_late(late_s: float, where: str) -> None:
            late.append((late_s, where))
            done.set()

        watchdog = LoopWatchdog(asyncio.get_running_loop(), 0.05, on_late)
        watchdog.start()
        await asyncio.sleep(0)
        _dawdle(0.5)
        await asyncio.wait_for(done.wait(), 10)
        watchdog.stop()
        assert watchdog.stalls >= 1
        assert watchdog.worst_s >= 0.3

    with caplog.at_level(logging.WARNING, "xmppd.ops"):
        asyncio.run(main())
    assert late[0][0] >= 0.3
    assert "_dawdle" in late[0][1]
    held_up = next(record for record in caplog.records if record.getMessage() == "loop held up")
    assert "_dawdle < " in held_up.__dict__["fields"]["stack"]


def test_a_loop_in_time_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> int:
        watchdog = LoopWatchdog(asyncio.get_running_loop(), 5.0)
        watchdog.start()
        await asyncio.sleep(0.05)
        watchdog.stop()
        return watchdog.stalls

    assert asyncio.run(main()) == 0
    assert not caplog.records
