"""Stanzas of one stream take effect in the order in which they came (RFC 6120 10.1).

What changes an account waits for the disk. Until it is done nothing more of its sender's stream is read: what follows
would be judged by what was true before.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Held(Protocol):
    """A stream that can be made to wait; each `hold` needs its `release`."""

    def hold(self) -> None:
        """Read nothing more."""

    def release(self) -> None:
        """Go on."""


class Turn:
    """A stream waits from now until `over`, at most `seconds`, if what it waits for could fail to come.

    None for a stream that has ended: it has nothing more to say.
    """

    __slots__ = ("_stream", "_timer")

    def __init__(self, stream: Held | None, seconds: float | None = None) -> None:
        self._stream = stream
        self._timer: asyncio.TimerHandle | None = None
        if stream is not None:
            if seconds is not None:
                self._timer = asyncio.get_running_loop().call_later(seconds, self.over)
            stream.hold()

    def over(self) -> None:
        """What the stream has waited for is done; to say it again does nothing."""
        if self._stream is not None:
            if self._timer is not None:
                self._timer.cancel()
            stream, self._stream = self._stream, None
            stream.release()
