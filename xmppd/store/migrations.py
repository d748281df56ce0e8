"""The schema, as numbered steps from an empty file to today's.

The number of the last step stands in `PRAGMA user_version`, written in the same transaction as the step; the
names and times of the steps stand in the table `_sqlite_migrations`. Steps are never changed once released:
what is wrong is put right by another step. sqlite-utils runs them (and its `transform` rebuilds tables where
SQLite cannot alter).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from xmppd.store.errors import SchemaTooNew, StoreError

if TYPE_CHECKING:
    from sqlite_utils import Database

# tells our files from other SQLite files: "XMPd"
APPLICATION_ID: Final = 0x584D5064


def _accounts(db: Database) -> None:
    # AUTOINCREMENT: the id of a removed account is never given to another, so nothing can be inherited by id
    db.execute(
        """CREATE TABLE account (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            domain TEXT NOT NULL,
            local TEXT NOT NULL,
            enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
            created_at INTEGER NOT NULL,
            UNIQUE (domain, local)
        ) STRICT"""
    )
    db.execute(
        """CREATE TABLE scram_keys (
            account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
            hash TEXT NOT NULL,
            salt BLOB NOT NULL,
            iterations INTEGER NOT NULL CHECK (iterations > 0),
            stored_key BLOB NOT NULL,
            server_key BLOB NOT NULL,
            PRIMARY KEY (account_id, hash)
        ) STRICT, WITHOUT ROWID"""
    )


def _rosters(db: Database) -> None:
    db.execute(
        """CREATE TABLE roster (
            account_id INTEGER PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
            version INTEGER NOT NULL
        ) STRICT"""
    )
    db.execute("INSERT INTO roster SELECT id, created_at * 1000000 FROM account")
    db.execute(
        """CREATE TABLE roster_item (
            account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
            contact TEXT NOT NULL,
            listed INTEGER NOT NULL CHECK (listed IN (0, 1)),
            name TEXT NOT NULL,
            subscription TEXT NOT NULL CHECK (subscription IN ('none', 'to', 'from', 'both')),
            ask INTEGER NOT NULL CHECK (ask IN (0, 1)),
            approved INTEGER NOT NULL CHECK (approved IN (0, 1)),
            groups TEXT NOT NULL CHECK (json_valid(groups)),
            pending_in BLOB,
            PRIMARY KEY (account_id, contact)
        ) STRICT, WITHOUT ROWID"""
    )
    db.execute("CREATE INDEX roster_item_contact ON roster_item (contact)")


def _offline(db: Database) -> None:
    # by account and place in one tree: what is delivered together lies together
    db.execute(
        """CREATE TABLE offline (
            account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
            place INTEGER NOT NULL,
            stanza BLOB NOT NULL,
            PRIMARY KEY (account_id, place)
        ) STRICT, WITHOUT ROWID"""
    )


def _roster_changes(db: Database) -> None:
    # which change of the roster an item is from, and what was taken out (RFC 6121 2.6); before `known_since`
    # nothing is known of either
    db.execute("ALTER TABLE roster ADD COLUMN known_since INTEGER NOT NULL DEFAULT 0")
    db.execute("UPDATE roster SET known_since = version")
    db.execute("ALTER TABLE roster_item ADD COLUMN version INTEGER NOT NULL DEFAULT 0")
    db.execute(
        """CREATE TABLE roster_removed (
            account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
            contact TEXT NOT NULL,
            version INTEGER NOT NULL,
            PRIMARY KEY (account_id, contact)
        ) STRICT, WITHOUT ROWID"""
    )


def _documents(db: Database) -> None:
    db.execute(
        """CREATE TABLE document (
            account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
            namespace TEXT NOT NULL,
            name TEXT NOT NULL,
            xml BLOB NOT NULL,
            PRIMARY KEY (account_id, namespace, name)
        ) STRICT"""
    )
    db.execute(
        """CREATE TABLE last_seen (
            account_id INTEGER PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
            at INTEGER NOT NULL,
            status TEXT NOT NULL
        ) STRICT"""
    )


def _offline_as_it_comes(db: Database) -> None:
    # a page of rows in the order in which they came, for whomever: half the cost of keeping, and a third of what is
    # written, for twice that of removing (of which a drain does much at once)
    db.execute("ALTER TABLE offline RENAME TO offline_by_account")
    db.execute(
        """CREATE TABLE offline (
            account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
            place INTEGER NOT NULL,
            stanza BLOB NOT NULL,
            PRIMARY KEY (account_id, place)
        ) STRICT"""
    )
    db.execute("INSERT INTO offline SELECT * FROM offline_by_account ORDER BY place")
    db.execute("DROP TABLE offline_by_account")


def _blocks(db: Database) -> None:
    db.execute(
        """CREATE TABLE blocked (
            account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
            address TEXT NOT NULL,
            PRIMARY KEY (account_id, address)
        ) STRICT, WITHOUT ROWID"""
    )


def _crossings(db: Database) -> None:
    db.execute(
        """CREATE TABLE crossing (
            key INTEGER PRIMARY KEY,
            recipient TEXT NOT NULL,
            sender TEXT NOT NULL,
            type TEXT NOT NULL,
            stanza BLOB NOT NULL,
            id TEXT
        ) STRICT"""
    )


def _expired_passwords(db: Database) -> None:
    db.execute("ALTER TABLE account ADD COLUMN expired INTEGER NOT NULL DEFAULT 0 CHECK (expired IN (0, 1))")


# in order; the number of a step is its place, from 1
STEPS: Final[tuple[Callable[[Database], None], ...]] = (
    _accounts,
    _rosters,
    _offline,
    _roster_changes,
    _documents,
    _offline_as_it_comes,
    _blocks,
    _crossings,
    _expired_passwords,
)
SCHEMA_VERSION: Final = len(STEPS)


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last step that the file has seen; 0 for an empty one.

    Raises StoreError if the file belongs to another program.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id == APPLICATION_ID:
        return int(version)
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id or version or tables:
        raise StoreError("the database file belongs to another program")
    return 0


def known_version(connection: sqlite3.Connection) -> int:
    """`schema_version`, if this program knows it.

    Raises SchemaTooNew for a file of a newer program, StoreError for a file of another program.
    """
    found = schema_version(connection)
    if found > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"the database has schema version {found}, this program knows versions up to {SCHEMA_VERSION}: "
            "use the program that wrote it, or a newer one"
        )
    return found


def migrate(connection: sqlite3.Connection, *, to: int = SCHEMA_VERSION) -> list[int]:
    """Bring the file to step `to`, each step in its own transaction; returns the numbers of the steps made.

    Raises SchemaTooNew and StoreError as `known_version` does.
    """
    found = known_version(connection)
    if found >= to:
        return []
    # imported only when there is something to do: it costs a tenth of a second
    from sqlite_utils import Database, Migrations

    steps = Migrations("xmppd")
    for number, make in enumerate(STEPS[:to], 1):
        steps(name=f"{number:04}{make.__name__}")(_numbered(number, make))
    connection.execute("PRAGMA foreign_keys = OFF")  # transform rebuilds tables that others refer to
    try:
        steps.apply(Database(connection, execute_plugins=False))
    finally:
        connection.execute("PRAGMA foreign_keys = ON")
    return list(range(found + 1, to + 1))


def _numbered(number: int, make: Callable[[Database], None]) -> Callable[[Database], None]:
    def step(db: Database) -> None:
        make(db)
        if broken := db.execute("PRAGMA foreign_key_check").fetchall():
            raise StoreError(f"step {number} of the schema leaves {len(broken)} rows that refer to nothing")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {number}")

    return step
