"""The loop watchdog: a thread that looks what the loop's thread does when its heartbeat is late."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final

from xmppd import clock
from xmppd.events import fields

log = logging.getLogger("xmppd.ops")

# frames of the sample that are named in the log, innermost first
_FRAMES: Final = 8


def culprit(frame: FrameType) -> tuple[str, str]:
    """Where a thread is: the innermost line of ours (or else the innermost line), and the stack in short."""
    stack = traceback.extract_stack(frame)
    ours = next((at for at in reversed(stack) if "/xmppd/" in at.filename), stack[-1])
    short = [f"{at.filename.rpartition('/')[2]}:{at.lineno} {at.name}" for at in reversed(stack)]
    where = f"{ours.filename.rpartition('/xmppd/')[2] or ours.filename}:{ours.lineno} {ours.name}"
    return where, " < ".join(short[:_FRAMES])


class LoopWatchdog:
    """Measures how late the loop is. Lateness beyond `lag_s` is logged, with the culprit.

    `on_late(late_s, where)` is called in the loop's thread when the stall is over; `worst_s` is the worst so
    far.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lag_s: float,
        on_late: Callable[[float, str], object] = lambda late_s, where: None,
    ) -> None:
        self.worst_s = 0.0
        self.stalls = 0
        self._loop = loop
        self._lag_s = lag_s
        self._interval_s = max(lag_s / 2, 0.005)
        self._on_late = on_late
        self._beat_s = clock.monotonic_s()
        self._where = ""
        self._sampled = False
        self._running = threading.Lock()  # held while it runs; waiting for it costs less than for an Event
        self._loop_thread = 0
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin; called in the loop's thread."""
        self._loop_thread = threading.get_ident()
        self._beat_s = clock.monotonic_s()
        self._timer = self._loop.call_later(self._interval_s, self._beat)
        self._running.acquire()
        self._thread.start()

    def stop(self) -> None:
        """End; called in the loop's thread."""
        if self._running.locked():
            self._running.release()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread.is_alive():
            self._thread.join(1)

    def _beat(self) -> None:
        now_s = clock.monotonic_s()
        late_s = now_s - self._beat_s - self._interval_s
        self.worst_s = max(self.worst_s, late_s)
        if late_s > self._lag_s:
            self.stalls += 1
            where = self._where or "unknown"
            log.warning("loop late", extra=fields(late_ms=round(late_s * 1000), reason=where))
            self._on_late(late_s, where)
        self._beat_s, self._sampled, self._where = now_s, False, ""
        self._timer = self._loop.call_later(self._interval_s, self._beat)

    def _watch(self) -> None:
        while not self._running.acquire(timeout=self._interval_s):
            late_s = clock.monotonic_s() - self._beat_s - self._interval_s
            if late_s <= self._lag_s or self._sampled:
                continue
            frame = sys._current_frames().get(self._loop_thread)
            if frame is not None:
                self._where, stack = culprit(frame)
                self._sampled = True
                log.warning("loop held up", extra=fields(reason=self._where, stack=stack))
