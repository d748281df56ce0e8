"""The accounts the server works with: loaded once, changed one step after the other.

What changes an account (roster, subscriptions) waits for the disk; what routes does not. So each account has a
queue of jobs that run in order, one at a time, and nobody else waits for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeGuard

from xmppd._fast.route import ConnectedAccount, Resource, RouteTable
from xmppd.core.roster import Roster, is_empty
from xmppd.errors import StanzaError
from xmppd.events import count, fields
from xmppd.jid import JID
from xmppd.records import RosterItem

log = logging.getLogger("xmppd.core.accounts")


class Records(Protocol):
    """What the core asks of the store."""

    async def load(self, account: JID) -> tuple[int, int, list[RosterItem]] | None:
        """Id of an account, version and items of its roster; None if there is no such account.

        Here and below: StanzaError if the store fails.
        """

    async def put(self, account_id: int, item: RosterItem) -> int:
        """Commit one item; the roster's version after it."""

    async def remove(self, account_id: int, contact: str) -> int | None:
        """Commit the removal of one item; the roster's version after it, None if there was none."""


class Audience(NamedTuple):
    """Who sees an account's presence (from or both): normalized addresses of this server, and contacts of others."""

    subscribers: list[bytes]  # of the roster, all of them: what the rest was made from
    local: list[bytes]
    remote: list[JID]


class Account:
    """A local account: its bare address and its roster. Changes go to the store first, then to memory."""

    __slots__ = ("_audience", "_hosts", "_records", "account_id", "jid", "roster")

    def __init__(
        self, jid: JID, account_id: int, roster: Roster, records: Records, hosts: frozenset[str]
    ) -> None:
        self.jid = jid
        self.account_id = account_id
        self.roster = roster
        self._records = records
        self._hosts = hosts
        self._audience: Audience | None = None

    def shows_to(self, contact: JID) -> bool:
        """Whether the contact, a bare address, sees the account's presence."""
        return self.roster.shows_to(contact)

    @property
    def audience(self) -> Audience:
        """Who gets the account's broadcast presence."""
        subscribers = self.roster.subscribers
        if self._audience is None or self._audience.subscribers is not subscribers:
            remote = [key for key in subscribers if _domain(key) not in self._hosts]
            local = [key for key in subscribers if _domain(key) in self._hosts] if remote else subscribers
            self._audience = Audience(subscribers, local, [JID.parse(key.decode()) for key in remote])
        return self._audience

    async def put(self, item: RosterItem) -> None:
        """Commit a roster item, then have it in memory. StanzaError: nothing has changed then."""
        if is_empty(item):
            await self.remove(item)
        else:
            self.roster.put(item, await self._records.put(self.account_id, item))

    async def remove(self, item: RosterItem) -> None:
        """Commit the removal of a roster item, then forget it."""
        version = await self._records.remove(self.account_id, item.jid)
        self.roster.remove(item, self.roster.version if version is None else version)


def _domain(key: bytes) -> str:
    """The domainpart of a normalized address."""
    return key.partition(b"/")[0].rpartition(b"@")[2].decode()


def owns(account: Account | None, resource: Resource) -> TypeGuard[Account]:
    """Whether a resource is this account's, and not of a former one of the same name."""
    bound_by: Account = resource.account.account
    return account is not None and account.account_id == bound_by.account_id


Job = Callable[[Account | None], Awaitable[None]]
Refused = Callable[[StanzaError], None]


class Accounts:
    """All accounts in memory: those with connected resources, and the `idle_limit` last used others."""

    def __init__(
        self,
        table: RouteTable,
        records: Records,
        hosts: frozenset[str],
        *,
        idle_limit: int,
        queue_limit: int,
    ) -> None:
        self._hosts = hosts
        self._table = table
        self._records = records
        self.idle_limit = idle_limit
        self.queue_limit = queue_limit
        self._idle: OrderedDict[bytes, Account] = OrderedDict()
        self._working: dict[bytes, Account] = {}  # a job has it: there must not be a second one
        self._jobs: dict[bytes, deque[tuple[Job, Refused]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._forgotten = 0  # how many accounts were dropped because they were deleted

    def get(self, jid: JID) -> Account | None:
        """The account of a bare address if it is in memory."""
        key = jid.norm
        connected = self._table.bare(key)
        if connected is not None and connected.account is not None:
            found: Account = connected.account
            return found
        return self._idle.get(key) or self._working.get(key)

    async def load(self, jid: JID) -> Account | None:
        """The account of a bare address; None if there is no such account."""
        while (known := self.get(jid)) is None:
            forgotten = self._forgotten
            record = await self._records.load(jid)
            if forgotten != self._forgotten:
                continue  # it may be this one that was deleted meanwhile
            if record is None:
                return None
            # another load may have been quicker: there is one Account for an address
            account_id, version, items = record
            known = self.get(jid) or Account(
                jid, account_id, Roster(version, items), self._records, self._hosts
            )
            break
        if self._table.bare(jid.norm) is None:
            self.disconnected(known)
        return known

    def connected(self, account: Account, at: ConnectedAccount) -> None:
        """A resource is bound: the account stays in memory as long as one is."""
        at.account = account
        self._idle.pop(account.jid.norm, None)

    def disconnected(self, account: Account) -> None:
        """No resource is bound: the account is kept while others were not used later."""
        self._idle[account.jid.norm] = account
        self._idle.move_to_end(account.jid.norm)
        while len(self._idle) > self.idle_limit:
            self._idle.popitem(last=False)

    def forget(self, jid: JID) -> None:
        """Drop an account that was deleted, and has no resource."""
        self._idle.pop(jid.norm, None)
        self._working.pop(jid.norm, None)
        self._forgotten += 1

    def perform(self, jid: JID, job: Job, refused: Refused) -> None:
        """Run `job` with the account of the bare address `jid` (or None) when all earlier jobs for it are done.

        `refused` is told, in its place or after it, if too many wait already, the account cannot be read, or the
        job fails.
        """
        waiting = self._jobs.get(jid.norm)
        if waiting is not None:
            if len(waiting) >= self.queue_limit:
                count("account_jobs_refused")
                refused(StanzaError("resource-constraint", app="account_jobs"))
            else:
                waiting.append((job, refused))
            return
        self._jobs[jid.norm] = deque([(job, refused)])
        task = asyncio.get_running_loop().create_task(self._run(jid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait until the queues that are at work now are empty."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def drain(self) -> None:
        """Wait until no job is left."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _run(self, jid: JID) -> None:
        jobs = self._jobs[jid.norm]
        try:
            while jobs:
                job, refused = jobs.popleft()
                try:
                    account = await self.load(jid)
                    if account is not None:
                        self._working[jid.norm] = account
                    await job(account)
                except StanzaError as error:
                    refused(error)
                except Exception:
                    log.exception("account job failed", extra=fields(account=str(jid)))
                    refused(StanzaError("internal-server-error"))
        finally:
            del self._jobs[jid.norm]
            self._working.pop(jid.norm, None)
