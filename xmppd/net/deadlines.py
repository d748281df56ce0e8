"""Many coarse deadlines at a constant cost each: a wheel turned by one timer.

A connection is on the wheel once. Moving its deadline back costs nothing: it is noticed when the old slot comes up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import ceil
from typing import Final

from xmppd._fast.wire import Deadline

__all__ = ["TICK_S", "Deadline", "Wheel"]

TICK_S: Final = 0.25


class Wheel:
    """Turns every TICK_S seconds, tells `on_tick` the number of the tick, and expires what is due."""

    def __init__(self, on_tick: Callable[[int], None]) -> None:
        self.now = 1
        self._on_tick = on_tick
        self._slots: dict[int, set[Deadline]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next_at = 0.0

    def start(self) -> None:
        """Begin to turn on the running loop."""
        loop = asyncio.get_running_loop()
        self._next_at = loop.time() + TICK_S
        self._timer = loop.call_at(self._next_at, self._turn)

    def stop(self) -> None:
        """Turn no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def set(self, deadline: Deadline, seconds: float) -> None:
        """Let `deadline` expire in `seconds`, never earlier and up to a tick later; 0 takes it off."""
        if seconds <= 0:
            deadline.due = 0
            self._take(deadline)
            return
        deadline.due = self.now + max(1, ceil((seconds + self._passed_s()) / TICK_S))
        if not deadline.slot or deadline.slot > deadline.due:
            self._take(deadline)
            self._put(deadline)

    def _passed_s(self) -> float:
        """Seconds of the tick that have passed; more than a tick if the loop was held up."""
        if self._timer is None:
            return 0.0
        return asyncio.get_running_loop().time() - (self._next_at - TICK_S)

    def _take(self, deadline: Deadline) -> None:
        """Out of its slot at once: the wheel must not keep what has ended until the slot comes up."""
        if slot := self._slots.get(deadline.slot):
            slot.discard(deadline)
        deadline.slot = 0

    def _put(self, deadline: Deadline) -> None:
        deadline.slot = deadline.due
        self._slots.setdefault(deadline.due, set()).add(deadline)

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        # a loop that was held up makes up for it: no tick is left out
        while self._next_at <= loop.time():
            self._next_at += TICK_S
            self.advance()
        self._timer = loop.call_at(self._next_at, self._turn)

    def advance(self) -> None:
        """One tick."""
        self.now += 1
        self._on_tick(self.now)
        for deadline in self._slots.pop(self.now, ()):
            if deadline.slot != self.now:
                continue  # another one of this tick has taken it off or moved it
            deadline.slot = 0
            if deadline.due > self.now:
                self._put(deadline)
            else:
                deadline.due = 0
                deadline.expire()
