"""What every rule of the core needs to see: the served hosts, the accounts, who is connected."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from xmppd._fast.route import Resource, RouteTable
from xmppd.core.acceptance import Acceptance
from xmppd.core.accounts import Accounts, Records, Refused
from xmppd.core.activity import LastActivity
from xmppd.core.bounce import bounce as bounce
from xmppd.core.broadcasts import Broadcasts
from xmppd.core.crossings import Crossings
from xmppd.core.delivery import UC, Table
from xmppd.core.messages import Messages
from xmppd.core.offline import Offline, OfflineSettings
from xmppd.core.roster import RenderedRosters
from xmppd.errors import StanzaError
from xmppd.jid import JID

log = logging.getLogger("xmppd.core")


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """Limits and readings of the rules.

    `delivery`: the reading of RFC 6121 8.5. `iq_needs_presence`: IQs to a full address only from who sees its
    presence (RFC 6121 8.5.3.1; UC 5-21 wants them delivered).
    """

    sessions_per_account: int = 16
    answer_s: float = 10.0  # longest time a request may wait for its answer
    directed_presences: int = 1000
    kept_requests: int = 50
    kept_request_bytes: int = 4096
    roster_items: int = 10_000
    roster_name_bytes: int = 1024
    roster_groups: int = 64
    roster_bytes: int = 786_432
    roster_cache_bytes: int = 16_777_216
    document_bytes: int = 262_144
    block_list_bytes: int = 65_536
    account_jobs: int = 1000
    idle_accounts: int = 1000
    delivery: Table = field(default_factory=lambda: UC)
    iq_needs_presence: bool = False
    offline: OfflineSettings = field(default_factory=OfflineSettings)


class Remote(Protocol):
    """The way to other servers."""

    def send(self, to: JID, stanza: bytes, refused: Refused) -> object:
        """Send a complete stanza to the domain of `to`; `refused` is told, at once or later, if that fails."""


class NoFederation:
    """No other server can be reached."""

    def send(self, to: JID, stanza: bytes, refused: Refused) -> None:
        refused(StanzaError("remote-server-not-found"))


def unheard(_error: StanzaError) -> None:
    """A refusal that nobody is told."""


class Site:
    """The state that routing, presence and features share. One for each process."""

    def __init__(self, hosts: frozenset[str], records: Records, settings: CoreSettings) -> None:
        self.hosts = hosts
        self.table = RouteTable()
        self.remote: Remote = NoFederation()
        self.accounts = Accounts(
            self.table, records, hosts, idle_limit=settings.idle_accounts, queue_limit=settings.account_jobs
        )
        self.broadcasts = Broadcasts(self.table)
        self.acceptance = Acceptance()
        self.records = records
        self.rosters = RenderedRosters(settings.roster_cache_bytes)
        self.activity = LastActivity(self, records)
        self.offline = Offline(self, records)
        self.messages = Messages(self)
        self.crossings = Crossings()
        # what available resources are still to be told of others, see `presence.meet`
        self.meetings: dict[Resource, deque[str | bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.configure(settings)

    def configure(self, settings: CoreSettings) -> None:
        """Go by these settings from now on."""
        self.settings = settings
        self.table.iq_needs_presence = settings.iq_needs_presence
        self.acceptance.limit = settings.offline.queue_bytes
        self.accounts.idle_limit = settings.idle_accounts
        self.rosters.limit_bytes = settings.roster_cache_bytes
        self.accounts.queue_limit = settings.account_jobs

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
            await asyncio.wait(
                self._tasks
            )  # not gather: since Python 3.12 it lets nobody else run if all are done
        await self.accounts.drain()
