"""When a sender may take its messages for accepted.

A message that waits for the disk is decided later than it came. What the server answers to a later IQ of the same
stream is held back until all before it is decided: who has a result, and no error before it, has nothing to repeat.
"""

from __future__ import annotations

from xmppd._fast.route import Resource


class Pending:
    """Messages that are decided together, and the answers that wait for that."""

    __slots__ = ("answers", "senders")

    def __init__(self) -> None:
        self.senders: set[Resource] = set()
        self.answers: list[_Held] = []


class _Held:
    __slots__ = ("data", "sender", "waits_for")

    def __init__(self, sender: Resource, data: bytes, waits_for: set[Pending]) -> None:
        self.sender = sender
        self.data = data
        self.waits_for = waits_for


class Acceptance:
    """What is not decided yet, by sender; `limit` is how many octets of answers may wait for it."""

    def __init__(self) -> None:
        self._open: dict[Resource, set[Pending]] = {}
        self._held_octets = 0
        self.limit = 0

    def add(self, pending: Pending, sender: Resource) -> None:
        """A message of `sender` is among those."""
        if sender not in pending.senders:
            pending.senders.add(sender)
            self._open.setdefault(sender, set()).add(pending)

    def answer(self, sender: Resource, data: bytes) -> bool:
        """Send `data` to a sender when all that it said before is decided; False: too much waits already."""
        if sender not in self._open:
            sender.send(data)
        elif self._held_octets + len(data) > self.limit:
            return False
        else:
            self._hold(sender, data)
        return True

    def behind(self, resource: Resource, data: bytes) -> bool:
        """Send `data` to a resource behind the answers that are held back for it; False if none can be."""
        if resource not in self._open:
            return False
        self._hold(resource, data)
        return True

    def _hold(self, sender: Resource, data: bytes) -> None:
        found = self._open[sender]
        held = _Held(sender, data, set(found))
        self._held_octets += len(data)
        for pending in found:
            pending.answers.append(held)

    def decided(self, pending: Pending, into: Pending | None = None) -> None:
        """Those messages are decided; or else they are among `into` now, and decided with them."""
        for sender in pending.senders:
            of_sender = self._open[sender]
            of_sender.discard(pending)
            if not of_sender:
                del self._open[sender]
        for held in pending.answers:
            held.waits_for.discard(pending)
            if into is not None and held.sender in into.senders and into not in held.waits_for:
                held.waits_for.add(into)
                into.answers.append(held)
            if not held.waits_for:
                self._held_octets -= len(held.data)
                held.sender.send(held.data)
