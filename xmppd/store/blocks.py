"""Block lists (XEP-0191): whom accounts want nothing from."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from xmppd.store.errors import NoSuchAccount
from xmppd.store.writer import Writer


class Blocks:
    """The block lists of all accounts, by account id. Addresses are normalized by the caller."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def change(self, account_id: int, *, add: Sequence[str], remove: Sequence[str]) -> None:
        """Put addresses on the list, and take others off it. Raises NoSuchAccount, StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            sql = "DELETE FROM blocked WHERE account_id = ? AND address = ?"
            connection.executemany(sql, [(account_id, address) for address in remove])
            sql = "INSERT INTO blocked VALUES (?, ?) ON CONFLICT DO NOTHING"
            try:
                connection.executemany(sql, [(account_id, address) for address in add])
            except sqlite3.IntegrityError as error:
                raise NoSuchAccount(f"there is no account with the id {account_id}") from error

        await self._writer.transact(work)


def blocked_by(connection: sqlite3.Connection, account_id: int) -> tuple[str, ...]:
    """The addresses on an account's list."""
    sql = "SELECT address FROM blocked WHERE account_id = ?"
    return tuple(row[0] for row in connection.execute(sql, (account_id,)))
