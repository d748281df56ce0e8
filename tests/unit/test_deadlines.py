"""The wheel of deadlines: each expires once, when it is due, whatever was set before."""

from __future__ import annotations

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from xmppd.net.deadlines import TICK_S, Deadline, Wheel


class Noted(Deadline):
    def __init__(self, wheel, log):
        super().__init__()
        self.wheel, self.log = wheel, log

    def expire(self):
        self.log.append(self.wheel.now)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30)), max_size=40))
def test_expires_exactly_at_the_last_deadline_set(steps):
    """A model: only the newest deadline counts."""
    ticks = []
    wheel = Wheel(ticks.append)
    log: list[int] = []
    deadline = Noted(wheel, log)
    due = None
    expected = []
    for wait, turns in steps:
        wheel.set(deadline, wait * TICK_S)
        due = wheel.now + wait if wait else None
        for _ in range(turns):
            wheel.advance()
            if due == wheel.now:
                expected.append(due)
                due = None
    assert log == expected
    assert ticks == list(range(2, wheel.now + 1))


def test_rounds_up_to_ticks():
    wheel = Wheel(lambda _: None)
    log: list[int] = []
    deadline = Noted(wheel, log)
    wheel.set(deadline, TICK_S / 10)
    wheel.advance()
    assert log == [2]


def test_an_idle_deadline_moved_back_stays_on_the_wheel_once():
    wheel = Wheel(lambda _: None)
    deadline = Noted(wheel, [])
    for _ in range(1000):
        wheel.set(deadline, 300)
    assert sum(len(slot) for slot in wheel._slots.values()) == 1


def test_the_wheel_keeps_nothing_that_was_taken_off_or_moved_forward():
    """A connection that ended would be kept for minutes, with all that hangs on it."""
    wheel = Wheel(lambda _: None)
    deadline = Noted(wheel, [])
    wheel.set(deadline, 300)
    wheel.set(deadline, 5)
    assert sum(len(slot) for slot in wheel._slots.values()) == 1
    wheel.set(deadline, 0)
    assert not any(wheel._slots.values())


def test_who_expires_may_take_another_of_the_same_tick_off():
    wheel = Wheel(lambda _: None)
    log: list[int] = []

    class Rival(Noted):
        def expire(self):
            super().expire()
            wheel.set(other[self], 0)

    one, two = Rival(wheel, log), Rival(wheel, log)
    other = {one: two, two: one}
    wheel.set(one, TICK_S)
    wheel.set(two, TICK_S)
    wheel.advance()
    assert log == [2]


def test_nothing_expires_early_on_a_loop_that_was_held_up():
    """The wheel makes up for the ticks it has missed: they are not taken from a deadline that is set before."""
    waited = []

    class Timed(Deadline):
        def expire(self):
            waited.append(time.monotonic() - self.began)

    async def main() -> None:
        wheel = Wheel(lambda _: None)
        wheel.start()
        deadlines = []
        for _ in range(4):
            await asyncio.sleep(0.07)
            deadline = Timed()
            deadlines.append(deadline)
            time.sleep(0.6)  # nothing else runs meanwhile
            deadline.began = time.monotonic()
            wheel.set(deadline, 0.5)
        while len(waited) < 4:
            await asyncio.sleep(0.05)
        wheel.stop()

    asyncio.run(main())
    assert min(waited) >= 0.49
