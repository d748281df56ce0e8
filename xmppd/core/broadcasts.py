"""Presence to very many contacts: some at a time, so that nobody waits while all are told (RFC 6121 4.2.2, 4.4.2).

What one account says reaches each contact in the order in which it was said. Until all have been told nothing more of
the sender's stream is read (RFC 6120 10.1): what follows may be for one of them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from xmppd._fast.route import Resource, RouteTable, in_block_list
from xmppd.core.turn import Turn

AT_ONCE: Final = 128  # contacts told in one piece
TURN_NS: Final = 250_000  # longest piece of many, in one turn of the event loop
# the part of the time that pieces take while others have something to do: for each account that waits, up to an eighth
SHARE: Final = 64
MOST: Final = 8


@dataclass(slots=True)
class _Broadcast:
    sender: Resource
    contacts: list[bytes]
    head: bytes
    tail: bytes
    turn: Turn
    told: int = 0  # of the contacts


class Broadcasts:
    """What has been said to many and has not reached all of them, by account.

    Of a stream no more than two wait: what it has said last, and that it has gone. A new one finishes all.
    """

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._waiting: dict[bytes, deque[_Broadcast]] = {}  # the account whose turn is next first
        self._asked = False
        self._paused = 0  # when the last piece was told, or the first was asked for; of time.monotonic_ns

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def tell(self, sender: Resource, contacts: list[bytes], head: bytes, tail: bytes) -> None:
        """As `RouteTable.broadcast`, after all that the account has said before."""
        key = sender.account.key
        if key not in self._waiting and len(contacts) <= AT_ONCE:
            self._table.broadcast(contacts, head, tail, sender)
            return
        if not self._waiting:
            self._paused = time.monotonic_ns()
        broadcast = _Broadcast(sender, contacts, head, tail, Turn(sender.session))
        self._waiting.setdefault(key, deque()).append(broadcast)
        self._ask()

    def finish(self, account: bytes) -> None:
        """All that the account, a normalized address, has said reaches whom it has not yet: now its contacts change."""
        while account in self._waiting:
            self._tell_some(account, sys.maxsize, sys.maxsize)

    def finish_all(self) -> None:
        """As `finish`, for all accounts."""
        for account in list(self._waiting):
            self.finish(account)

    def finish_of(self, addresses: frozenset[bytes]) -> None:
        """As `finish`, for all accounts on a block list."""
        for account in [key for key in self._waiting if in_block_list(key, addresses)]:
            self.finish(account)

    def _ask(self) -> None:
        if self._waiting and not self._asked:
            self._asked = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._asked = False
        now = time.monotonic_ns()
        own = now + (now - self._paused) * min(len(self._waiting), MOST) // SHARE
        until = now + TURN_NS
        try:
            while self._waiting and now <= own:
                account = next(iter(self._waiting))
                self._waiting[account] = self._waiting.pop(account)  # now it is behind the others
                self._tell_some(account, own, until)
                now = self._paused = time.monotonic_ns()
        finally:
            self._ask()

    def _tell_some(self, account: bytes, own_ns: int, until_ns: int) -> None:
        """Go on with the first that waits."""
        waiting = self._waiting[account]
        broadcast = waiting[0]
        begin, broadcast.told = broadcast.told, len(broadcast.contacts)  # if it fails, it is over
        try:
            broadcast.told = self._table.broadcast_late(
                broadcast.contacts, begin, broadcast.head, broadcast.tail, broadcast.sender, own_ns, until_ns
            )
        finally:
            if broadcast.told == len(broadcast.contacts):
                waiting.popleft()
                if not waiting:
                    del self._waiting[account]
                broadcast.turn.over()
