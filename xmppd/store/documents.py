"""What an account has us keep as XML: its vCard (XEP-0054) and private storage (XEP-0049), by the element's name.

And when each account was last connected (XEP-0012).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from xmppd.records import DocumentName, Seen
from xmppd.store.errors import NoSuchAccount
from xmppd.store.readers import Readers
from xmppd.store.writer import Writer


class Documents:
    """The documents of all accounts. `local` and `domain` are normalized by the caller."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def get(self, local: str, domain: str, name: DocumentName) -> bytes | None:
        """One document; None if the account has none of that name, or is none. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> bytes | None:
            sql = """SELECT xml FROM document JOIN account ON id = account_id
                WHERE domain = ? AND local = ? AND namespace = ? AND name = ?"""
            row = connection.execute(sql, (domain, local, *name)).fetchone()
            return None if row is None else bytes(row[0])

        return await self._readers.read(work)

    async def put(self, account_id: int, documents: Mapping[DocumentName, bytes], *, max_bytes: int) -> bool:
        """Put documents in the place of those of the same names, an empty one for none; all or nothing.

        False: the account's documents would be more than `max_bytes` together. Raises NoSuchAccount, StoreError.
        """

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute("SAVEPOINT documents")
            for name, xml in documents.items():
                connection.execute(
                    "DELETE FROM document WHERE account_id = ? AND namespace = ? AND name = ?",
                    (account_id, *name),
                )
                if xml:
                    try:
                        connection.execute(
                            "INSERT INTO document VALUES (?, ?, ?, ?)", (account_id, *name, xml)
                        )
                    except sqlite3.IntegrityError as error:
                        raise NoSuchAccount(f"there is no account with the id {account_id}") from error
            sql = "SELECT coalesce(sum(length(xml)), 0) FROM document WHERE account_id = ?"
            fits = bool(connection.execute(sql, (account_id,)).fetchone()[0] <= max_bytes)
            if not fits and any(documents.values()):  # who takes something away is never refused
                connection.execute("ROLLBACK TO documents")
            connection.execute("RELEASE documents")
            return fits or not any(documents.values())

        return await self._writer.transact(work)

    async def saw(self, seen: Sequence[tuple[int, Seen]]) -> None:
        """Note that these accounts have left; those that are no more are passed over. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO last_seen SELECT id, ?, ? FROM account WHERE id = ?",
                [(left.at, left.status, account_id) for account_id, left in seen],
            )

        await self._writer.transact(work)

    async def seen(self, account_id: int) -> Seen | None:
        """When the account left, or was made if it was never there; None if it is no more. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> Seen | None:
            sql = """SELECT coalesce(at, created_at), coalesce(status, '')
                FROM account LEFT JOIN last_seen ON account_id = id WHERE id = ?"""
            row = connection.execute(sql, (account_id,)).fetchone()
            return None if row is None else Seen(*row)

        return await self._readers.read(work)
