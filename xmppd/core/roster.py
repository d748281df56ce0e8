"""An account's roster in memory (RFC 6121 2): what the rules ask of it, and how it is written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Protocol

from msgspec.structs import replace

from xmppd import ns
from xmppd._fast.element import escape_attr, escape_text
from xmppd.core.subscription import State
from xmppd.errors import StanzaError
from xmppd.events import limited
from xmppd.jid import JID
from xmppd.records import RosterItem


def state_of(item: RosterItem) -> State:
    """The state of RFC 6121 A.1 that an item is in."""
    return State.of(item.subscription, ask=item.ask, pending_in=item.pending_in is not None)


def moved(item: RosterItem, state: State, *, request: bytes | None = None) -> RosterItem:
    """The item in another state; one that says more than "a request came in" is shown to the client (A.1)."""
    return replace(
        item,
        subscription=state.subscription,
        ask=state.ask,
        pending_in=(item.pending_in or request) if state.pending_in else None,
        listed=item.listed or state.subscription != "none" or state.ask,
    )


def is_empty(item: RosterItem) -> bool:
    """Whether nothing is left that has to be kept."""
    return not item.listed and item.pending_in is None and not item.approved


def item_xml(item: RosterItem) -> bytes:
    """`<item/>` as a child of the roster query (RFC 6121 2.1.2)."""
    name = f" name='{escape_attr(item.name)}'" if item.name else ""
    ask = " ask='subscribe'" if item.ask else ""
    approved = " approved='true'" if item.approved else ""
    groups = "".join([f"<group>{escape_text(group)}</group>" for group in item.groups])
    end = f">{groups}</item>" if groups else "/>"
    return f"<item jid='{escape_attr(item.jid)}' subscription='{item.subscription}'{name}{ask}{approved}{end}".encode()


def _size(item: RosterItem) -> int:
    """Bytes of an item in a roster result."""
    return len(item_xml(item)) if item.listed else 0


class RosterLimits(Protocol):
    """How large a roster may be: its items, and the bytes of the result that holds them all."""

    @property
    def roster_items(self) -> int: ...
    @property
    def roster_bytes(self) -> int: ...


# shared, never changed
_NO_ITEMS: dict[bytes, RosterItem] = {}
_NOBODY: list[bytes] = []


class Roster:
    """The items of one account by normalized contact address."""

    __slots__ = ("_bytes", "_items", "_seen", "_subscribers", "listed", "requests", "version")

    def __init__(self, version: int, items: Iterable[RosterItem]) -> None:
        self.version = version
        self.listed = 0  # items that clients see
        self.requests = 0  # kept requests of contacts
        self._bytes: int | None = None  # of the listed items; counted when it is first asked for
        # most rosters of a large site are small, many are empty: those share what they hold
        self._items = {item.jid.encode(): item for item in items} or _NO_ITEMS
        self._subscribers: list[bytes] | None = None
        self._seen: list[bytes] | None = None
        for item in self._items.values():
            self._count(item, 1)

    def _count(self, item: RosterItem | None, by: int) -> None:
        if item is None:
            return
        self.listed += by * item.listed
        self.requests += by * (item.pending_in is not None)
        if self._bytes is not None:
            self._bytes += by * _size(item)

    def make_room(self, item: RosterItem, limits: RosterLimits) -> None:
        """StanzaError resource-constraint if the roster would be too large with `item` in the place of what was."""
        old = self._items.get(item.jid.encode())
        limit = None
        if item.listed and (old is None or not old.listed) and self.listed >= limits.roster_items:
            limit = "roster_items"
        else:
            grows_by = _size(item) - (_size(old) if old is not None else 0)
            if grows_by > 0 and self.octets + grows_by > limits.roster_bytes:
                limit = "roster_bytes"
        if limit is not None:
            limited(limit)
            raise StanzaError("resource-constraint", app=limit)

    @property
    def octets(self) -> int:
        """Bytes of the items in a roster result."""
        if self._bytes is None:
            self._bytes = sum(map(_size, self._items.values()))
        return self._bytes

    def __iter__(self) -> Iterator[RosterItem]:
        return iter(self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def get(self, contact: JID) -> RosterItem | None:
        """The item of a contact, listed or not."""
        return self._items.get(contact.norm)

    def named(self, address: str) -> RosterItem | None:
        """The item of this very name, which may be from a time when `addresses.rules` were others."""
        return self._items.get(address.encode())

    def state(self, contact: JID) -> State:
        """The subscription state towards a contact; none at all is NONE (RFC 6121 A.1)."""
        item = self._items.get(contact.norm)
        return state_of(item) if item is not None else State.NONE

    def put(self, item: RosterItem, version: int) -> None:
        """Enter or replace an item, after it was committed as `version`."""
        if self._items is _NO_ITEMS:
            self._items = {}
        key = item.jid.encode()
        self._count(self._items.get(key), -1)
        self._items[key] = item
        self._count(item, 1)
        self._subscribers = self._seen = None
        self.version = version

    def remove(self, item: RosterItem, version: int) -> None:
        """Take an item out, after that was committed as `version`."""
        self._count(self._items.pop(item.jid.encode(), None), -1)
        if not self._items:
            self._items = _NO_ITEMS
        self._subscribers = self._seen = None
        self.version = version

    @property
    def subscribers(self) -> list[bytes]:
        """Normalized addresses of the contacts that see this account's presence (from or both). Do not change it."""
        if self._subscribers is None:
            self._subscribers = [
                key for key, item in self._items.items() if item.subscription in ("from", "both")
            ] or _NOBODY
        return self._subscribers

    @property
    def seen(self) -> list[bytes]:
        """Normalized addresses of the contacts whose presence the account sees (to or both). Do not change it."""
        if self._seen is None:
            self._seen = [
                key for key, item in self._items.items() if item.subscription in ("to", "both")
            ] or _NOBODY
        return self._seen

    def sees(self, contact: JID) -> bool:
        """Whether the account is subscribed to the contact's presence (to or both)."""
        item = self._items.get(contact.norm)
        return item is not None and item.subscription in ("to", "both")

    def shows_to(self, contact: JID) -> bool:
        """Whether the contact is subscribed to the account's presence (from or both)."""
        item = self._items.get(contact.norm)
        return item is not None and item.subscription in ("from", "both")

    def to_xml(self) -> bytes:
        """The `<query/>` of a roster result (RFC 6121 2.1.4)."""
        return (
            f"<query xmlns='{ns.ROSTER}' ver='{self.version}'>".encode()
            + b"".join(item_xml(item) for item in self._items.values() if item.listed)
            + b"</query>"
        )


class RenderedRosters:
    """Rosters as they are sent, the last used of them, at most `limit_bytes` together."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._bytes = 0
        self._kept: OrderedDict[int, tuple[int, bytes]] = OrderedDict()  # account id -> version, XML

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, account_id: int, roster: Roster) -> bytes:
        """The roster's `to_xml`, made once for each of its versions."""
        version, xml = self._kept.pop(account_id, (None, b""))
        self._bytes -= len(xml)
        if version != roster.version:
            xml = roster.to_xml()
        if len(xml) <= self.limit_bytes:
            self._kept[account_id] = (roster.version, xml)
            self._bytes += len(xml)
            while self._bytes > self.limit_bytes:
                _, (_, oldest) = self._kept.popitem(last=False)
                self._bytes -= len(oldest)
                limited("roster_cache_bytes")
        return xml
