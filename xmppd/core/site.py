"""What every rule of the core needs to see: the served hosts, the accounts, who is connected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from xmppd._fast.route import RouteTable
from xmppd.core.accounts import Accounts, Records
from xmppd.core.bounce import bounce as bounce
from xmppd.core.delivery import UC, Table
from xmppd.core.messages import Messages
from xmppd.core.offline import Offline, OfflineSettings

log = logging.getLogger("xmppd.core")


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """Limits and readings of the rules.

    `delivery`: the reading of RFC 6121 8.5. `iq_needs_presence`: IQs to a full address only from who sees its
    presence (RFC 6121 8.5.3.1; UC 5-21 wants them delivered).
    """

    sessions_per_account: int = 20
    directed_presences: int = 1000
    roster_items: int = 5000
    roster_name_bytes: int = 1023
    roster_groups: int = 50
    delivery: Table = field(default_factory=lambda: UC)
    iq_needs_presence: bool = False
    offline: OfflineSettings = field(default_factory=OfflineSettings)


class Site:
    """The state that routing, presence and features share. One for each process."""

    def __init__(self, hosts: frozenset[str], records: Records, settings: CoreSettings) -> None:
        self.hosts = hosts
        self.settings = settings
        self.table = RouteTable()
        self.accounts = Accounts(self.table, records)
        self.offline = Offline(self, records)
        self.messages = Messages(self)
        self.table.iq_needs_presence = settings.iq_needs_presence
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` go on beside routing; a failure is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_done)

    def _spawned_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed", exc_info=error)

    async def drain(self) -> None:
        """Wait until all that was spawned and every account's queue is done."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.accounts.drain()
