"""The core without a server: real routing table, router and accounts, a store that does what a test wants, clients
that are socket pairs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import socket
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from xmppd._fast.conn import NetLoop, PyHandler
from xmppd._fast.reader import Stanza
from xmppd._fast.route import Resource
from xmppd.core import broadcasts, iq
from xmppd.core.broadcasts import Broadcasts
from xmppd.core.router import Router
from xmppd.core.sessions import Sessions
from xmppd.core.site import CoreSettings, Site
from xmppd.errors import StanzaError, StreamError
from xmppd.features import blocking, disco, last, ping, private, roster, session, time, vcard, version
from xmppd.jid import JID
from xmppd.records import AccountRecord, Crossing, DocumentName, RosterChange, RosterItem, Row, Seen, Waiting

HOST = "example.org"


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine, in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 20))

    return run


class FakeRecords:
    """Rosters and messages in memory. `fail` is raised by the next calls for these accounts; `gate` holds back every answer."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.items: dict[int, dict[str, RosterItem]] = defaultdict(dict)
        self.version = 1
        self.fail_load: dict[str, Exception] = {}
        self.fail_put: dict[int, Exception] = {}
        self.gate: asyncio.Event | None = None
        self.loads = 0
        self.history: dict[tuple[int, int], list[RosterChange]] = {}
        self.kept: dict[int, dict[int, bytes]] = defaultdict(dict)
        self.documents: dict[int, dict[DocumentName, bytes]] = defaultdict(dict)
        self.blocked: dict[int, set[str]] = defaultdict(set)
        self.fail_block: Exception | None = None
        self.last: dict[int, Seen] = {}
        self.fail_saw: Exception | None = None
        self.fail_keep: Exception | None = None
        self.crossing: dict[int, Crossing] = {}
        self.fail_crossed: Exception | None = None
        self.fail_page: Exception | None = None
        self.fail_drop: Exception | None = None

    def add(self, name: str) -> int:
        self.ids[f"{name}@{HOST}"] = new = len(self.items) + 1
        self.items[new] = {}
        return new

    def delete(self, name: str) -> None:
        gone = self.ids.pop(f"{name}@{HOST}")
        self.items[gone].clear()
        self.kept[gone].clear()
        self.documents[gone].clear()
        for key, each in list(self.crossing.items()):
            if f"{name}@{HOST}" in (each.to, each.from_):
                del self.crossing[key]

    async def _wait(self) -> None:
        if self.gate is not None:
            await self.gate.wait()

    async def load(self, account: JID) -> AccountRecord | None:
        self.loads += 1
        if (error := self.fail_load.get(str(account))) is not None:
            raise error
        id_ = self.ids.get(str(account))
        found = None
        if id_ is not None:
            kept = self.kept[id_]
            waiting = Waiting(len(kept), sum(map(len, kept.values())), max(kept, default=0))
            found = AccountRecord(
                id_, self.version, list(self.items[id_].values()), waiting, tuple(self.blocked[id_])
            )
        await self._wait()
        return found

    def _cross(self, crossing: Sequence[Crossing], crossed: int | None) -> None:
        if crossed is not None and self.crossing.pop(crossed, None) is None:
            raise StanzaError("item-not-found")
        for each in crossing:
            assert each.key not in self.crossing
            self.crossing[each.key] = each

    async def crossed(self, key: int) -> None:
        await self._wait()
        if self.fail_crossed is not None:
            raise self.fail_crossed
        self.crossing.pop(key, None)

    async def put(
        self, account_id: int, item: RosterItem, crossing: Sequence[Crossing] = (), crossed: int | None = None
    ) -> int:
        await self._wait()
        if (error := self.fail_put.get(account_id)) is not None:
            raise error
        if account_id not in self.ids.values():
            raise StanzaError("item-not-found")
        self._cross(crossing, crossed)
        self.items[account_id][item.jid] = item
        self.version += 1
        return self.version

    async def remove(
        self, account_id: int, contact: str, crossing: Sequence[Crossing] = (), crossed: int | None = None
    ) -> int | None:
        await self._wait()
        if (error := self.fail_put.get(account_id)) is not None:
            raise error
        self._cross(crossing, crossed)
        self.items[account_id].pop(contact, None)
        self.version += 1
        return self.version

    async def changes(self, account_id: int, since: int) -> list[RosterChange] | None:
        await self._wait()
        return self.history.get((account_id, since))

    async def keep(self, rows: Sequence[Row]) -> set[int]:
        await self._wait()
        if self.fail_keep is not None:
            raise self.fail_keep
        known = set(self.ids.values())
        for account_id, place, stanza in rows:
            if account_id in known:
                assert place not in self.kept[account_id]
                self.kept[account_id][place] = stanza
        return {account_id for account_id, _, _ in rows} - known

    async def page(
        self, account_id: int, after: int, messages: int, octets: int
    ) -> Sequence[tuple[int, bytes]]:
        await self._wait()
        if self.fail_page is not None:
            raise self.fail_page
        found: list[tuple[int, bytes]] = []
        for place, stanza in sorted(row for row in self.kept[account_id].items() if row[0] > after)[
            :messages
        ]:
            octets -= len(stanza)
            if octets < 0 and found:
                break
            found.append((place, stanza))
        return found

    async def drop(self, account_id: int, up_to: int) -> None:
        await self._wait()
        if self.fail_drop is not None:
            raise self.fail_drop
        kept = self.kept[account_id]
        for place in [place for place in kept if place <= up_to]:
            del kept[place]

    async def document(self, account: JID, name: DocumentName) -> bytes | None:
        await self._wait()
        return self.documents[self.ids.get(str(account), 0)].get(name)

    async def put_documents(
        self, account_id: int, documents: Mapping[DocumentName, bytes], max_bytes: int
    ) -> bool:
        await self._wait()
        if account_id not in self.ids.values():
            raise StanzaError("item-not-found")
        after = {**self.documents[account_id], **documents}
        if sum(map(len, after.values())) > max_bytes and any(documents.values()):
            return False
        self.documents[account_id] = {name: xml for name, xml in after.items() if xml}
        return True

    async def block(self, account_id: int, add: Sequence[str], remove: Sequence[str]) -> None:
        await self._wait()
        if self.fail_block is not None:
            raise self.fail_block
        self.blocked[account_id] = self.blocked[account_id].difference(remove).union(add)

    async def saw(self, seen: Sequence[tuple[int, Seen]]) -> None:
        await self._wait()
        if self.fail_saw is not None:
            raise self.fail_saw
        self.last.update(seen)

    async def seen(self, account_id: int) -> Seen | None:
        await self._wait()
        return self.last.get(account_id, Seen(0))


class FakeClient:
    """A bound resource: what it says goes to the router, what it is sent can be read."""

    def __init__(self, core: CoreSite, conn: object, peer: socket.socket) -> None:
        self.core = core
        self.conn = conn
        self.peer = peer
        self.ended: list[StreamError | None] = []
        self.held = 0
        self.unread: list[str] = []

    def close(self, error: StreamError | None) -> None:
        """What the core calls."""
        self.ended.append(error)

    def hold(self) -> None:
        """What the core calls: nothing more is read, see `send`."""
        self.held += 1

    def release(self) -> None:
        """What the core calls: it goes on, but not in the middle of that call."""
        self.held -= 1
        asyncio.get_running_loop().call_soon(self._read)

    def send(self, *stanzas: str) -> None:
        self.unread += stanzas
        self._read()

    def _read(self) -> None:
        while self.unread and not self.held:
            self.core.router.route(self.resource, Stanza.parse(self.unread.pop(0).encode()))

    def raw(self) -> bytes:
        """The bytes that came since the last look."""
        try:
            return self.peer.recv(1 << 22)
        except BlockingIOError:
            return b""

    def read(self) -> list[ET.Element]:
        """The stanzas that came since the last look."""
        return list(ET.fromstring(b"<s xmlns='jabber:client'>" + self.raw() + b"</s>"))  # noqa: S314 (our own)

    @property
    def bare(self) -> str:
        return str(self.resource.jid.bare)

    @property
    def jid(self) -> str:
        return str(self.resource.jid)


class FakeRemote:
    """The other servers: what they were sent is kept; `refuses` is what they answer everything with."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.refuses: StanzaError | None = None

    def send(self, to: JID, stanza: bytes, refused: Callable[[StanzaError], None]) -> None:
        if self.refuses is not None:
            refused(self.refuses)
        else:
            self.sent.append(stanza)

    def read(self) -> list[ET.Element]:
        """The stanzas since the last look."""
        sent, self.sent = self.sent, []
        return [ET.fromstring(b"<s xmlns='jabber:client'>" + stanza + b"</s>")[0] for stanza in sent]  # noqa: S314


class CoreSite:
    """Use as `async with`."""

    def __init__(self, names: Iterable[str] = ("ann", "ben"), **settings: object) -> None:
        self.records = FakeRecords()
        for name in names:
            self.records.add(name)
        self.site = Site(frozenset([HOST]), self.records, CoreSettings(**settings))  # type: ignore[arg-type]
        modules = (roster, blocking, vcard, private, last, ping, version, time, session)
        routes = iq.merge([disco.routes(disco.FEATURES), *(module.ROUTES for module in modules)])
        self.router = Router(self.site, routes)
        self.sessions = Sessions(self.site)
        self.remote = FakeRemote()
        self._peers: list[socket.socket] = []
        self._clients: list[FakeClient] = []

    async def __aenter__(self) -> CoreSite:
        self.net = NetLoop(asyncio.get_running_loop(), workers=1)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.net.close()
        for peer in self._peers:
            peer.close()

    def connection(self) -> FakeClient:
        """A connection without a resource."""
        ours, peer = socket.socketpair()
        peer.setblocking(False)
        self._peers.append(peer)
        client = FakeClient(self, self.net.adopt(ours.detach(), PyHandler()), peer)
        self._clients.append(client)
        return client

    async def login(self, name: str, resource: str | None = None) -> FakeClient:
        client = self.connection()
        await self.bind(client, name, resource)
        return client

    async def bind(
        self, client: FakeClient, name: str, resource: str | None = None, lang: bytes | None = None
    ) -> None:
        account = JID.parse(f"{name}@{HOST}")
        bound = self.sessions.bind(account, resource, client.conn, lang, client)
        client.resource = bound if isinstance(bound, Resource) else await bound

    def federate(self) -> FakeRemote:
        """From now on other servers can be reached."""
        self.site.remote = self.remote
        return self.remote

    def receive(self, from_: str, stanza: str) -> None:
        """Presence from another server."""
        parsed = Stanza.parse(stanza.encode())
        self.router.receive_presence(JID.parse(from_), parsed, JID.parse(parsed.to))

    async def settle(self) -> None:
        """Until all that was asked has been done and sent."""

        def heard() -> bool:
            return not self.site.broadcasts and not any(
                each.unread and not each.held for each in self._clients
            )

        before = None
        while before != (before := sum(len(each.unread) for each in self._clients)):
            await self.until(heard)
            await self.site.drain()
            for _ in range(4):
                await asyncio.sleep(0)

    def item(self, name: str, contact: str) -> RosterItem | None:
        """What the store has; memory must agree."""
        stored = self.records.items[self.records.ids[f"{name}@{HOST}"]].get(contact)
        account = self.site.accounts.get(JID.parse(f"{name}@{HOST}"))
        if account is not None:
            assert account.roster.get(JID.parse(contact)) == stored
        return stored

    async def until(self, wanted: Callable[[], object]) -> None:
        """Let the loop turn until `wanted()`."""
        for _ in range(1000):
            if wanted():
                return
            await asyncio.sleep(0)
        raise AssertionError("it did not come to that")


@contextlib.contextmanager
def broadcasts_cut_up(most_at_once: int) -> Iterator[None]:
    """Presence to more contacts than that is told in pieces as short as can be, one in eight turns of the loop."""
    turns = itertools.count(1)
    go_on = Broadcasts._go_on

    def rarely(self: Broadcasts) -> None:
        if next(turns) % 8:
            self._asked = False
            self._ask()
        else:
            go_on(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(broadcasts, "AT_ONCE", most_at_once)
        patched.setattr(broadcasts, "TURN_NS", -1)
        patched.setattr(broadcasts, "SHARE", 1 << 60)
        patched.setattr(Broadcasts, "_go_on", rarely)
        yield


async def subscribe(core: CoreSite, ann: FakeClient, ben: FakeClient) -> None:
    """Both see each other's presence; what they were sent is thrown away."""
    for one, other in ((ann, ben), (ben, ann)):
        one.send(f"<presence type='subscribe' to='{other.bare}'/>")
        await core.settle()
        other.send(f"<presence type='subscribed' to='{one.bare}'/>")
        await core.settle()
    ann.raw()
    ben.raw()
