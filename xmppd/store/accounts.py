"""Accounts: who exists, who may log in, and what proves who they are (RFC 5802), never a password."""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from xmppd import clock
from xmppd.records import RosterItem
from xmppd.store.errors import AccountExists, NoSuchAccount
from xmppd.store.readers import Readers
from xmppd.store.rosters import Holder, forget, forget_crossings, holders, items_of, start_roster
from xmppd.store.writer import Writer


class ScramKeys(msgspec.Struct, frozen=True, gc=False):
    """What RFC 5802 section 3 lets a server keep instead of a password."""

    hash: str  # as in the mechanism's name: "SHA-1", "SHA-256"
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class Account(msgspec.Struct, frozen=True):
    """An account. `local` and `domain` are normalized; `keys` maps the hash to its keys.

    `expired`: its password is good no more, and has to be changed.
    """

    id: int
    local: str
    domain: str
    enabled: bool
    expired: bool
    created_at: datetime.datetime
    keys: dict[str, ScramKeys]

    @property
    def jid(self) -> str:
        """The bare JID."""
        return f"{self.local}@{self.domain}"


class NewAccount(msgspec.Struct, frozen=True):
    """An account to be made."""

    local: str
    domain: str
    keys: Sequence[ScramKeys]


class Deleted(msgspec.Struct, frozen=True):
    """What an account was when it was removed, for the stanzas that RFC 6121 asks for."""

    account: Account
    roster: list[RosterItem]
    holders: list[Holder]  # local accounts that had it in their rosters, and no longer do


AccountList = list[Account]


class Accounts:
    """The accounts of all served domains. `local` and `domain` are normalized by the caller."""

    def __init__(self, writer: Writer, readers: Readers, *, removals: int = 256) -> None:
        """`removals` as in `Rosters`."""
        self._writer = writer
        self._readers = readers
        self._removals = removals

    async def create(self, local: str, domain: str, keys: Sequence[ScramKeys]) -> Account:
        """Make an account, enabled. Raises AccountExists, StoreError."""

        def work(connection: sqlite3.Connection) -> Account:
            account = _insert(connection, local, domain, keys)
            if account is None:
                raise AccountExists(f"{local}@{domain} exists already")
            return account

        return await self._writer.transact(work)

    async def import_many(self, accounts: Sequence[NewAccount]) -> list[bool]:
        """Make all of them in one transaction; for each, whether it was made (False: it exists).

        Raises StoreError.
        """

        def work(connection: sqlite3.Connection) -> list[bool]:
            return [_insert(connection, a.local, a.domain, a.keys) is not None for a in accounts]

        return await self._writer.transact(work)

    async def get(self, local: str, domain: str) -> Account | None:
        """The account with its keys, None if there is none. Raises StoreError."""
        return await self._readers.read(lambda connection: _select(connection, local, domain))

    async def existing(self, jids: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of the (local, domain) pairs that are accounts. Raises StoreError."""
        asked = list(jids)

        def work(connection: sqlite3.Connection) -> set[tuple[str, str]]:
            sql = "SELECT 1 FROM account WHERE domain = ? AND local = ?"
            return {(at, on) for at, on in asked if connection.execute(sql, (on, at)).fetchone()}

        return await self._readers.read(work)

    async def set_password(self, local: str, domain: str, keys: Sequence[ScramKeys]) -> None:
        """Put these keys, of a password that is good, in the place of all the account had.

        Raises NoSuchAccount, StoreError.
        """

        def work(connection: sqlite3.Connection) -> None:
            account_id = _id(connection, local, domain)
            connection.execute("UPDATE account SET expired = 0 WHERE id = ?", (account_id,))
            connection.execute("DELETE FROM scram_keys WHERE account_id = ?", (account_id,))
            _insert_keys(connection, account_id, keys)

        await self._writer.transact(work)

    async def expire_password(self, local: str, domain: str) -> None:
        """Let the password be good no more, until another is set. Raises NoSuchAccount, StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            account_id = _id(connection, local, domain)
            connection.execute("UPDATE account SET expired = 1 WHERE id = ?", (account_id,))

        await self._writer.transact(work)

    async def set_enabled(self, local: str, domain: str, enabled: bool) -> None:
        """Let the account log in, or not. Raises NoSuchAccount, StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            account_id = _id(connection, local, domain)
            connection.execute("UPDATE account SET enabled = ? WHERE id = ?", (int(enabled), account_id))

        await self._writer.transact(work)

    async def delete(self, local: str, domain: str) -> Deleted:
        """Remove the account, all that belongs to it, and every mention of it in local rosters.

        One transaction. A new account of that name inherits nothing. Raises NoSuchAccount, StoreError.
        """

        def work(connection: sqlite3.Connection) -> Deleted:
            account = _select(connection, local, domain)
            if account is None:
                raise NoSuchAccount(f"there is no account {local}@{domain}")
            roster = items_of(connection, account.id)
            held = [holder for holder in holders(connection, account.jid) if holder.account_id != account.id]
            forget(connection, held, self._removals)
            forget_crossings(connection, account.jid)
            connection.execute(
                "DELETE FROM account WHERE id = ?", (account.id,)
            )  # the rest by ON DELETE CASCADE
            return Deleted(account, roster, held)

        return await self._writer.transact(work)

    async def count(self) -> int:
        """How many accounts there are. Raises StoreError."""
        sql = "SELECT count(*) FROM account"
        return await self._readers.read(lambda connection: int(connection.execute(sql).fetchone()[0]))

    async def iterations(self) -> dict[str, dict[int, int]]:
        """How many accounts have which iteration count, by hash. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> dict[str, dict[int, int]]:
            found: dict[str, dict[int, int]] = {}
            sql = "SELECT hash, iterations, count(*) FROM scram_keys GROUP BY hash, iterations"
            for hash_name, iterations, accounts in connection.execute(sql):
                found.setdefault(hash_name, {})[iterations] = accounts
            return found

        return await self._readers.read(work)

    # last in the class: below this line `list` names this method
    async def list(self, domain: str | None = None) -> AccountList:
        """All accounts (of one domain), by domain and name, without their keys. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> AccountList:
            where, parameters = ("", ()) if domain is None else ("WHERE domain = ?", (domain,))
            sql = f"SELECT {_COLUMNS} FROM account {where} ORDER BY domain, local"  # noqa: S608 (constants)
            return [_account(row, {}) for row in connection.execute(sql, parameters)]

        return await self._readers.read(work)


_COLUMNS = "id, local, domain, enabled, expired, created_at"


def _account(row: tuple[int, str, str, int, int, int], keys: Mapping[str, ScramKeys]) -> Account:
    account_id, local, domain, enabled, expired, created_at = row
    moment = datetime.datetime.fromtimestamp(created_at, datetime.UTC)
    return Account(account_id, local, domain, bool(enabled), bool(expired), moment, dict(keys))


# one statement: each step of one gives up Python's lock, which the event loop is using. What is asked of the keys is
# asked in any case, so that a name that is not there takes about as long (3-23.9)
_ACCOUNT_WITH_KEYS = """SELECT a.id, a.local, a.domain, a.enabled, a.expired, a.created_at,
        k.hash, k.salt, k.iterations, k.stored_key, k.server_key
    FROM (SELECT ? AS domain, ? AS local) asked
    LEFT JOIN account a ON a.domain = asked.domain AND a.local = asked.local
    LEFT JOIN scram_keys k ON k.account_id = coalesce(a.id, 0)"""


def _select(connection: sqlite3.Connection, local: str, domain: str) -> Account | None:
    rows = connection.execute(_ACCOUNT_WITH_KEYS, (domain, local)).fetchall()
    keys = {row[6]: ScramKeys(*row[6:]) for row in rows if row[6] is not None}
    return _account(rows[0][:6], keys) if rows[0][0] is not None else None


def _id(connection: sqlite3.Connection, local: str, domain: str) -> int:
    row = connection.execute(
        "SELECT id FROM account WHERE domain = ? AND local = ?", (domain, local)
    ).fetchone()
    if row is None:
        raise NoSuchAccount(f"there is no account {local}@{domain}")
    return int(row[0])


def _insert(
    connection: sqlite3.Connection, local: str, domain: str, keys: Iterable[ScramKeys]
) -> Account | None:
    sql = f"""INSERT INTO account (local, domain, created_at) VALUES (?, ?, ?)
        ON CONFLICT DO NOTHING RETURNING {_COLUMNS}"""  # noqa: S608 (constants)
    row = connection.execute(sql, (local, domain, int(clock.utc_now().timestamp()))).fetchone()
    if row is None:
        return None
    _insert_keys(connection, row[0], keys)
    start_roster(connection, row[0])
    return _account(row, {key.hash: key for key in keys})


def _insert_keys(connection: sqlite3.Connection, account_id: int, keys: Iterable[ScramKeys]) -> None:
    connection.executemany(
        "INSERT INTO scram_keys (account_id, hash, salt, iterations, stored_key, server_key)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(account_id, k.hash, k.salt, k.iterations, k.stored_key, k.server_key) for k in keys],
    )
