"""Subscription stanzas between two accounts of this server, from the commit of the one to the commit of the other.

A subscription has two halves, one in each roster. The store keeps the stanza with the first half's change and takes it
away with the second's, so that neither a death nor a failing disk leaves the two out of step: what is still there at
the start, or could not be committed, crosses then. For each pair of accounts they cross one after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from xmppd import clock
from xmppd.core.subscription import SubscriptionType
from xmppd.events import count
from xmppd.jid import JID
from xmppd.records import Crossing

Go = Callable[[], None]


class Crossings:
    """Those that are on their way, by pair of accounts."""

    def __init__(self) -> None:
        self._last = 0
        self._queues: dict[tuple[str, str], deque[tuple[Crossing, Go]]] = {}
        self._stuck: set[tuple[str, str]] = set()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def new(self, to: JID, from_: JID, type_: SubscriptionType, stanza: bytes, id_: str | None) -> Crossing:
        """One to be kept with the sender's change."""
        # a clock that never goes back: also behind what is left of an earlier run
        self._last = max(self._last + 1, int(clock.utc_now().timestamp() * 1_000_000))
        return Crossing(self._last, str(to), str(from_), type_, stanza, id_)

    def between(self, one: JID, other: JID) -> bool:
        """Whether something is on its way from one of the two accounts to the other."""
        return _key(str(one), str(other)) in self._queues

    def cross(self, crossing: Crossing, go: Go) -> None:
        """Call `go` when all earlier ones of the pair are through; it ends in `through` or `stuck`, then or later."""
        self._last = max(self._last, crossing.key)
        queue = self._queues.setdefault(_pair(crossing), deque())
        queue.append((crossing, go))
        if len(queue) == 1:
            go()

    def through(self, crossing: Crossing) -> None:
        """The other side has committed it."""
        queue = self._queues.get(_pair(crossing))
        if queue is None or queue[0][0] is not crossing:
            return
        queue.popleft()
        if queue:
            queue[0][1]()
        else:
            del self._queues[_pair(crossing)]

    def stuck(self, crossing: Crossing) -> None:
        """The other side could not commit it: see `retry`."""
        count("subscriptions_stuck")
        self._stuck.add(_pair(crossing))

    def retry(self) -> None:
        """Let those cross that could not."""
        stuck, self._stuck = self._stuck, set()
        for pair in stuck:
            if pair in self._queues:
                self._queues[pair][0][1]()


def _pair(crossing: Crossing) -> tuple[str, str]:
    return _key(crossing.to, crossing.from_)


def _key(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
