"""Messages that wait for an account (XEP-0160): the stanza as it will be delivered, in the account's order."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Final

from xmppd.records import Row, Waiting
from xmppd.store.readers import Readers
from xmppd.store.writer import Writer

# many rows by one statement: each step of a statement gives up Python's lock, which the event loop is using
_INSERTS: Final = {
    rows: "INSERT INTO offline (account_id, place, stanza) VALUES " + ", ".join(["(?, ?, ?)"] * rows)  # noqa: S608 (question marks only)
    for rows in (64, 8, 1)
}


class Offline:
    """The waiting messages of all accounts, by account id. A place in an account's order is given once."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def keep(self, rows: Sequence[Row]) -> set[int]:
        """Store messages, all in one transaction; the ids among theirs that are no accounts (any more).

        Raises StoreError: none is stored.
        """

        def work(connection: sqlite3.Connection) -> set[int]:
            connection.execute("SAVEPOINT kept")
            try:
                _insert(connection, rows)
                gone: set[int] = set()
            except sqlite3.IntegrityError:  # of a foreign key: an account was deleted a moment ago
                connection.execute("ROLLBACK TO kept")
                sql = "SELECT 1 FROM account WHERE id = ?"
                gone = {row[0] for row in rows if connection.execute(sql, row[:1]).fetchone() is None}
                _insert(connection, [row for row in rows if row[0] not in gone])
            connection.execute("RELEASE kept")
            return gone

        return await self._writer.transact(work)

    async def page(self, account_id: int, after: int, messages: int, octets: int) -> list[tuple[int, bytes]]:
        """Place and stanza of the next messages behind a place: at most `messages`, together at most `octets`.

        One is given however large it is. Raises StoreError.
        """

        def work(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
            sql = (
                "SELECT place, stanza FROM offline WHERE account_id = ? AND place > ? ORDER BY place LIMIT ?"
            )
            found: list[tuple[int, bytes]] = []
            left = octets
            for place, stanza in connection.execute(sql, (account_id, after, messages)):
                left -= len(stanza)
                if left < 0 and found:
                    break
                found.append((place, stanza))
            return found

        return await self._readers.read(work)

    async def drop(self, account_id: int, up_to: int) -> None:
        """Remove an account's messages up to a place, that one included. Raises StoreError."""
        await self._writer.submit(
            "DELETE FROM offline WHERE account_id = ? AND place <= ?", (account_id, up_to)
        )


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    done = 0
    for size, statement in _INSERTS.items():
        while len(rows) - done >= size:
            connection.execute(statement, tuple(chain.from_iterable(rows[done : done + size])))
            done += size


def waiting_of(connection: sqlite3.Connection, account_id: int) -> Waiting:
    """How much waits for an account."""
    sql = "SELECT count(*), sum(length(stanza)), max(place) FROM offline WHERE account_id = ?"
    messages, octets, last = connection.execute(sql, (account_id,)).fetchone()
    return Waiting(messages, octets or 0, last or 0)
