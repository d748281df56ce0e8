"""The accounts the server works with: loaded once, changed one step after the other.

What changes an account (roster, subscriptions) waits for the disk; what routes does not. So each account has a
queue of jobs that run in order, one at a time, and nobody else waits for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeGuard

from xmppd._fast.route import ConnectedAccount, Resource, RouteTable, in_block_list
from xmppd.core.offline import Mailbox
from xmppd.core.roster import Roster, is_empty
from xmppd.errors import StanzaError
from xmppd.events import fields, limited
from xmppd.jid import JID
from xmppd.records import AccountRecord, Crossing, DocumentName, RosterChange, RosterItem, Row, Seen

log = logging.getLogger("xmppd.core.accounts")


class Records(Protocol):
    """What the core asks of the store."""

    async def load(self, account: JID) -> AccountRecord | None:
        """What is kept of an account; None if there is no such account.

        Here and below: StanzaError if the store fails.
        """

    async def put(
        self, account_id: int, item: RosterItem, crossing: Sequence[Crossing] = (), crossed: int | None = None
    ) -> int:
        """Commit one item; the roster's version after it.

        With it: what crosses to other accounts from now on is kept, what has crossed is not kept any more; if it
        was not kept, for one of its accounts was deleted, StanzaError item-not-found.
        """

    async def remove(
        self, account_id: int, contact: str, crossing: Sequence[Crossing] = (), crossed: int | None = None
    ) -> int | None:
        """Commit the removal of one item, as in `put`; the roster's version after it, None if there was none."""

    async def crossed(self, key: int) -> None:
        """Commit that one has crossed and changed nothing."""

    async def changes(self, account_id: int, since: int) -> list[RosterChange] | None:
        """How the roster differs from its version `since`, oldest change first; None if that is not known."""

    async def keep(self, rows: Sequence[Row]) -> set[int]:
        """Commit messages; the accounts among theirs that are no more, whose messages were not kept."""

    async def page(
        self, account_id: int, after: int, messages: int, octets: int
    ) -> Sequence[tuple[int, bytes]]:
        """The next kept messages, in order: at most so many, and no more than fit into `octets`, or one."""

    async def drop(self, account_id: int, up_to: int) -> None:
        """Commit the removal of an account's kept messages up to a sequence number."""

    async def document(self, account: JID, name: DocumentName) -> bytes | None:
        """XML that is kept for an account; None if there is none, or no such account."""

    async def put_documents(
        self, account_id: int, documents: Mapping[DocumentName, bytes], max_bytes: int
    ) -> bool:
        """Commit documents, an empty one for none; False: the account's would be more than `max_bytes` together."""

    async def block(self, account_id: int, add: Sequence[str], remove: Sequence[str]) -> None:
        """Commit a change of an account's block list."""

    async def saw(self, seen: Sequence[tuple[int, Seen]]) -> None:
        """Commit when accounts left."""

    async def seen(self, account_id: int) -> Seen | None:
        """When an account left, or was made; None if there is no such account."""


class Audience(NamedTuple):
    """Who is shown an account's presence: normalized addresses of this server, and contacts of others."""

    contacts: list[bytes]  # all of them: what the rest was made from
    local: list[bytes]
    remote: list[JID]


class Account:
    """A local account: its address, its roster, what waits for it. Changes go to the store first, then to memory."""

    __slots__ = (
        "_audience",
        "_hosts",
        "_records",
        "account_id",
        "blocked",
        "farewell",
        "jid",
        "mailbox",
        "roster",
        "uses",
    )

    def __init__(self, jid: JID, record: AccountRecord, records: Records, hosts: frozenset[bytes]) -> None:
        self.jid = jid
        self.account_id = record.id
        self.roster = Roster(record.version, record.items)
        self.mailbox = Mailbox(record.waiting)
        # normalized addresses, None for none (XEP-0191); changed by core.blocking
        self.blocked: frozenset[bytes] | None = frozenset(map(str.encode, record.blocked)) or None
        self.uses = 0  # see Accounts.hold
        self.farewell = ""  # the status of its last unavailable presence
        self._records = records
        self._hosts = hosts
        self._audience: Audience | None = None

    def shows_to(self, contact: JID) -> bool:
        """Whether the contact, a bare address, sees the account's presence."""
        return self.roster.shows_to(contact) and not self.blocks(contact)

    def blocks(self, jid: JID) -> bool:
        """Whether the account has blocked an address; never one of its own resources."""
        return self.blocked is not None and jid.bare != self.jid and in_block_list(jid.norm, self.blocked)

    @property
    def audience(self) -> Audience:
        """Who gets the account's broadcast presence (from or both)."""
        subscribers = self.roster.subscribers
        if self._audience is None or self._audience.contacts is not subscribers:
            self._audience = self.audience_of(subscribers)
        return self._audience

    def audience_of(self, contacts: list[bytes]) -> Audience:
        """These contacts, normalized addresses, by where they are."""
        remote = [key for key in contacts if _domain(key) not in self._hosts]
        local = [key for key in contacts if _domain(key) in self._hosts] if remote else contacts
        return Audience(contacts, local, [JID.kept(key) for key in remote])

    async def put(
        self, item: RosterItem, crossing: Sequence[Crossing] = (), crossed: Crossing | None = None
    ) -> None:
        """Commit a roster item, an empty one for none, then have it in memory. StanzaError: nothing has changed then.

        `crossing`: what the change sends to the other side; `crossed`: what has come from there, and made it.
        """
        key = crossed.key if crossed is not None else None
        if is_empty(item):
            version = await self._records.remove(self.account_id, item.jid, crossing, key)
            self.roster.remove(item, self.roster.version if version is None else version)
        else:
            self.roster.put(item, await self._records.put(self.account_id, item, crossing, key))


def _domain(key: bytes) -> bytes:
    """The domainpart of a normalized address."""
    return key.partition(b"/")[0].rpartition(b"@")[2]


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
        self._hosts = frozenset(map(str.encode, hosts))
        self._table = table
        self._records = records
        self.idle_limit = idle_limit
        self.queue_limit = queue_limit
        self._idle: OrderedDict[bytes, Account] = OrderedDict()
        self._held: dict[bytes, Account] = {}  # somebody works with it: there must not be a second one
        self._loading: dict[bytes, asyncio.Task[Account | None]] = {}
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
        return self._idle.get(key) or self._held.get(key)

    async def load(self, jid: JID) -> Account | None:
        """The account of a bare address; None if there is no such account."""
        while (known := self.get(jid)) is None:
            forgotten = self._forgotten
            # who asks while it is read waits for the same answer: nothing is read anew behind its changes
            loading = self._loading.get(jid.norm)
            if loading is None:
                loading = self._loading[jid.norm] = asyncio.get_running_loop().create_task(self._load(jid))
                loading.add_done_callback(_looked_at)
            account = await asyncio.shield(loading)
            if forgotten == self._forgotten:  # else it may be this one that was deleted meanwhile
                return account
        if self._table.bare(jid.norm) is None:
            self.disconnected(known)
        return known

    async def _load(self, jid: JID) -> Account | None:
        try:
            forgotten = -1
            while forgotten != self._forgotten:
                forgotten = self._forgotten
                record = await self._records.load(jid)
            if record is None:
                return None
            account = Account(jid, record, self._records, self._hosts)
            self.disconnected(account)
            return account
        finally:
            del self._loading[jid.norm]

    def hold(self, account: Account) -> None:
        """Keep the account in memory until as many calls of `release`."""
        account.uses += 1
        self._held[account.jid.norm] = account

    def release(self, account: Account) -> None:
        """Undo one `hold`."""
        account.uses -= 1
        if not account.uses and self._held.get(account.jid.norm) is account:
            del self._held[account.jid.norm]

    def connected(self, account: Account, at: ConnectedAccount) -> None:
        """A resource is bound: the account stays in memory as long as one is."""
        at.account = account
        at.blocked = account.blocked
        self._idle.pop(account.jid.norm, None)

    def disconnected(self, account: Account) -> None:
        """No resource is bound: the account is kept while others were not used later."""
        self._idle[account.jid.norm] = account
        self._idle.move_to_end(account.jid.norm)
        while len(self._idle) > self.idle_limit:
            self._idle.popitem(last=False)
            limited("idle_accounts")

    def forget(self, jid: JID) -> None:
        """Drop an account that was deleted, and has no resource."""
        self._idle.pop(jid.norm, None)
        self._held.pop(jid.norm, None)
        self._forgotten += 1

    def perform(self, jid: JID, job: Job, refused: Refused) -> None:
        """Run `job` with the account of the bare address `jid` (or None) when all earlier jobs for it are done.

        `refused` is told, in its place or after it, if too many wait already, the account cannot be read, or the
        job fails.
        """
        waiting = self._jobs.get(jid.norm)
        if waiting is not None:
            if len(waiting) >= self.queue_limit:
                limited("account_jobs")
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
            await asyncio.wait(self._tasks)

    async def drain(self) -> None:
        """Wait until no job is left."""
        while self._tasks:
            await self.settle()

    async def _run(self, jid: JID) -> None:
        jobs = self._jobs[jid.norm]
        held: Account | None = None
        try:
            while jobs:
                job, refused = jobs.popleft()
                try:
                    account = await self.load(jid)
                    if account is not held:
                        if held is not None:
                            self.release(held)
                        if account is not None:
                            self.hold(account)
                        held = account
                    await job(account)
                except StanzaError as error:
                    refused(error)
                except Exception:
                    log.exception("account job failed", extra=fields(account=str(jid)))
                    refused(StanzaError("internal-server-error"))
        finally:
            del self._jobs[jid.norm]
            if held is not None:
                self.release(held)


def _looked_at(loading: asyncio.Task[Account | None]) -> None:
    if not loading.cancelled():
        loading.exception()  # should nobody wait any more
