"""Rosters (RFC 6121 section 2): who is in whose list, and how far the subscription between them has come."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from operator import attrgetter

import msgspec

from xmppd import clock
from xmppd.records import AccountRecord, Crossing, RosterChange, RosterItem, Subscription, Waiting
from xmppd.store.blocks import blocked_by
from xmppd.store.errors import NoSuchAccount, RosterFull
from xmppd.store.offline import waiting_of
from xmppd.store.readers import Readers
from xmppd.store.writer import Writer


class Roster(msgspec.Struct, frozen=True):
    """A roster at one version. The version names what clients see: equal versions mean equal rosters."""

    version: int
    items: list[RosterItem]


class Holder(msgspec.Struct, frozen=True):
    """A local account that has a certain contact in its roster (or a request from it)."""

    account_id: int
    local: str
    domain: str
    item: RosterItem


class Rosters:
    """The rosters of all accounts, by account id. JIDs are normalized by the caller."""

    def __init__(self, writer: Writer, readers: Readers, *, removals: int = 256) -> None:
        """`removals`: of how many items that were taken out each roster remembers that they were there."""
        self._writer = writer
        self._readers = readers
        self._removals = removals

    async def load(self, account_id: int) -> Roster:
        """The whole roster, items that are not listed included. Raises NoSuchAccount, StoreError."""

        def work(connection: sqlite3.Connection) -> Roster:
            return Roster(_version(connection, account_id), items_of(connection, account_id))

        return await self._readers.read(work)

    async def find(self, local: str, domain: str) -> AccountRecord | None:
        """What the server works with, by name, in one step for a log-in; None if there is no such account.

        Raises StoreError.
        """

        def work(connection: sqlite3.Connection) -> AccountRecord | None:
            row = connection.execute(_FIND, (domain, local)).fetchone()
            if row is None:
                return None
            account_id, version, has_items, has_waiting, has_blocked = row
            return AccountRecord(
                account_id,
                version,
                items_of(connection, account_id) if has_items else [],
                waiting_of(connection, account_id) if has_waiting else Waiting(),
                blocked_by(connection, account_id) if has_blocked else (),
            )

        return await self._readers.read(work)

    async def put(
        self,
        account_id: int,
        item: RosterItem,
        *,
        max_items: int | None = None,
        crossing: Sequence[Crossing] = (),
        crossed: int | None = None,
    ) -> int:
        """Store the item in the place of what was known of that contact; the roster's version after it.

        The version is a new one exactly if clients can see a difference. In the same transaction `crossing` is kept,
        and what has the key `crossed` no longer. If that was not kept any more one of its accounts has been removed:
        NoSuchAccount, and nothing has changed.
        Raises RosterFull (a new item beyond `max_items`, not listed ones counted), NoSuchAccount, StoreError.
        """

        def work(connection: sqlite3.Connection) -> int:
            _cross(connection, crossing, crossed)
            return _put(connection, account_id, item, max_items, self._removals)

        return await self._writer.transact(work)

    async def put_many(
        self, account_id: int, items: Iterable[RosterItem], *, max_items: int | None = None
    ) -> int:
        """Store all items or none, in one transaction; the version after it. Errors as in `put`."""
        given = list(items)

        def work(connection: sqlite3.Connection) -> int:
            version = _version(connection, account_id)
            for item in given:
                version = _put(connection, account_id, item, max_items, self._removals)
            return version

        return await self._writer.transact(work)

    async def remove(
        self,
        account_id: int,
        contact: str,
        *,
        crossing: Sequence[Crossing] = (),
        crossed: int | None = None,
    ) -> int:
        """Forget what is known of the contact, if anything is; the roster's version after it, as in `put`.

        Raises NoSuchAccount, StoreError.
        """

        def work(connection: sqlite3.Connection) -> int:
            _cross(connection, crossing, crossed)
            version = _version(connection, account_id)
            old = _item(connection, account_id, contact)
            if old is None:
                return version
            return _take_out(connection, account_id, old, self._removals) or version

        return await self._writer.transact(work)

    async def crossings(self) -> list[Crossing]:
        """The subscription stanzas that one side has committed and the other has not, in order. Raises StoreError."""
        sql = "SELECT key, recipient, sender, type, stanza, id FROM crossing ORDER BY key"
        return await self._readers.read(
            lambda connection: [Crossing(*row) for row in connection.execute(sql)]
        )

    async def crossed(self, key: int) -> None:
        """One of them has changed nothing on the other side. Raises StoreError."""
        await self._writer.submit(_CROSSED, (key,))

    async def changes(self, account_id: int, since: int) -> list[RosterChange] | None:
        """What clients have not seen that know version `since`, oldest first (RFC 6121 2.6.3).

        None if it is not known any more, or never was a version of this roster. Raises NoSuchAccount, StoreError.
        """

        def work(connection: sqlite3.Connection) -> list[RosterChange] | None:
            version = _version(connection, account_id)
            sql = "SELECT known_since FROM roster WHERE account_id = ?"
            if not connection.execute(sql, (account_id,)).fetchone()[0] <= since <= version:
                return None
            sql = f"""SELECT version, {_COLUMNS} FROM roster_item
                WHERE account_id = ? AND version > ? AND listed"""  # noqa: S608 (constants)
            found = [
                RosterChange(row[0], row[1], _decode(row[1:]))
                for row in connection.execute(sql, (account_id, since))
            ]
            sql = "SELECT version, contact FROM roster_removed WHERE account_id = ? AND version > ?"
            found += [
                RosterChange(row[0], row[1], None) for row in connection.execute(sql, (account_id, since))
            ]
            return sorted(found, key=attrgetter("version"))

        return await self._readers.read(work)

    async def holders_of(self, contact: str) -> list[Holder]:
        """The local accounts that know the bare JID `contact` or a full JID of it. Raises StoreError."""
        return await self._readers.read(lambda connection: holders(connection, contact))


# what there is none of is not asked for: each step of a statement gives up Python's lock, which the event loop is using
_FIND = """SELECT id, version,
        EXISTS (SELECT 1 FROM roster_item i WHERE i.account_id = a.id),
        EXISTS (SELECT 1 FROM offline o WHERE o.account_id = a.id),
        EXISTS (SELECT 1 FROM blocked b WHERE b.account_id = a.id)
    FROM account a JOIN roster r ON r.account_id = a.id WHERE domain = ? AND local = ?"""

_CROSSED = "DELETE FROM crossing WHERE key = ?"

_COLUMNS = "contact, name, subscription, ask, pending_in, approved, groups, listed"


def _decode(row: tuple[str, str, Subscription, int, bytes | None, int, str, int]) -> RosterItem:
    contact, name, subscription, ask, pending_in, approved, groups, listed = row
    return RosterItem(
        contact,
        name,
        subscription,
        bool(ask),
        pending_in,
        bool(approved),
        tuple(msgspec.json.decode(groups)) if groups != "[]" else (),
        bool(listed),
    )


def _version(connection: sqlite3.Connection, account_id: int) -> int:
    row = connection.execute("SELECT version FROM roster WHERE account_id = ?", (account_id,)).fetchone()
    if row is None:
        raise NoSuchAccount(f"there is no account with the id {account_id}")
    return int(row[0])


def _now_us() -> int:
    return int(clock.utc_now().timestamp() * 1_000_000)


def start_roster(connection: sqlite3.Connection, account_id: int) -> None:
    """Give a new account its empty roster.

    Versions are a clock that never goes back, not numbers from 1: a client that still holds the roster of a
    former account of that name, or of a data directory since put back from a backup, must not be told that it
    is current.
    """
    now = _now_us()
    sql = "INSERT INTO roster (account_id, version, known_since) VALUES (?, ?, ?)"
    connection.execute(sql, (account_id, now, now))


def _next_version(connection: sqlite3.Connection, account_id: int) -> int:
    sql = "UPDATE roster SET version = max(version + 1, ?) WHERE account_id = ? RETURNING version"
    return int(connection.execute(sql, (_now_us(), account_id)).fetchone()[0])


def items_of(connection: sqlite3.Connection, account_id: int) -> list[RosterItem]:
    """All items of an account, in the order of the contacts' JIDs."""
    sql = f"SELECT {_COLUMNS} FROM roster_item WHERE account_id = ? ORDER BY contact"  # noqa: S608 (constants)
    return [_decode(row) for row in connection.execute(sql, (account_id,))]


def _item(connection: sqlite3.Connection, account_id: int, contact: str) -> RosterItem | None:
    sql = f"SELECT {_COLUMNS} FROM roster_item WHERE account_id = ? AND contact = ?"  # noqa: S608 (constants)
    row = connection.execute(sql, (account_id, contact)).fetchone()
    return None if row is None else _decode(row)


def _put(
    connection: sqlite3.Connection, account_id: int, item: RosterItem, max_items: int | None, removals: int
) -> int:
    version = _version(connection, account_id)
    old = _item(connection, account_id, item.jid)
    if old == item:
        return version
    if old is None and max_items is not None:
        sql = "SELECT count(*) FROM roster_item WHERE account_id = ?"
        if connection.execute(sql, (account_id,)).fetchone()[0] >= max_items:
            raise RosterFull(f"the roster holds {max_items} items already")
    seen = item.visible()
    if (old.visible() if old else None) == seen:
        sql = "SELECT version FROM roster_item WHERE account_id = ? AND contact = ?"
        row = connection.execute(sql, (account_id, item.jid)).fetchone()
        changed = row[0] if row is not None else 0
    else:
        version = changed = _next_version(connection, account_id)
        if seen is None:
            _remember(connection, account_id, item.jid, version, removals)
        else:
            sql = "DELETE FROM roster_removed WHERE account_id = ? AND contact = ?"
            connection.execute(sql, (account_id, item.jid))
    connection.execute(
        f"INSERT OR REPLACE INTO roster_item (account_id, version, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 (constants)
        (
            account_id,
            changed,
            item.jid,
            item.name,
            item.subscription,
            int(item.ask),
            item.pending_in,
            int(item.approved),
            msgspec.json.encode(item.groups).decode(),
            int(item.listed),
        ),
    )
    return version


def _cross(connection: sqlite3.Connection, crossing: Iterable[Crossing], crossed: int | None) -> None:
    connection.executemany(
        "INSERT INTO crossing (key, recipient, sender, type, stanza, id) VALUES (?, ?, ?, ?, ?, ?)",
        [(each.key, each.to, each.from_, each.type, each.stanza, each.id) for each in crossing],
    )
    if crossed is not None and not connection.execute(_CROSSED, (crossed,)).rowcount:
        raise NoSuchAccount("one of the two accounts is gone")


def forget_crossings(connection: sqlite3.Connection, account: str) -> None:
    """Nothing crosses any more to or from the bare JID `account`."""
    connection.execute("DELETE FROM crossing WHERE recipient = ? OR sender = ?", (account, account))


def _take_out(connection: sqlite3.Connection, account_id: int, item: RosterItem, removals: int) -> int | None:
    """Delete an item; the new version if clients saw it."""
    sql = "DELETE FROM roster_item WHERE account_id = ? AND contact = ?"
    connection.execute(sql, (account_id, item.jid))
    if not item.listed:
        return None
    version = _next_version(connection, account_id)
    _remember(connection, account_id, item.jid, version, removals)
    return version


def _remember(
    connection: sqlite3.Connection, account_id: int, contact: str, version: int, removals: int
) -> None:
    """Note that clients no longer see an item; of more than `removals` the oldest are forgotten."""
    sql = "INSERT OR REPLACE INTO roster_removed (account_id, contact, version) VALUES (?, ?, ?)"
    connection.execute(sql, (account_id, contact, version))
    sql = "SELECT version FROM roster_removed WHERE account_id = ? ORDER BY version DESC LIMIT 1 OFFSET ?"
    if (row := connection.execute(sql, (account_id, removals)).fetchone()) is not None:
        connection.execute(
            "DELETE FROM roster_removed WHERE account_id = ? AND version <= ?", (account_id, row[0])
        )
        connection.execute("UPDATE roster SET known_since = ? WHERE account_id = ?", (row[0], account_id))


def holders(connection: sqlite3.Connection, contact: str) -> list[Holder]:
    """The accounts that know the bare JID `contact` or a full JID of it."""
    sql = f"""SELECT a.id, a.local, a.domain, {_COLUMNS}
        FROM roster_item i JOIN account a ON a.id = i.account_id
        WHERE i.contact = ? OR (i.contact > ? AND i.contact < ?)
        ORDER BY a.domain, a.local, i.contact"""  # noqa: S608 (constants)
    # "0" is the character after "/": every full JID of the contact lies between
    rows = connection.execute(sql, (contact, f"{contact}/", f"{contact}0"))
    return [Holder(row[0], row[1], row[2], _decode(row[3:])) for row in rows]


def forget(connection: sqlite3.Connection, held: Iterable[Holder], removals: int) -> None:
    """Take these items out of their holders' rosters; `removals` as in `Rosters`."""
    for holder in held:
        _take_out(connection, holder.account_id, holder.item, removals)
