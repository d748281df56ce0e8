"""What the store can answer instead of a result, each as one sentence for people.

The names end as a sentence would (`StoreFull`), not all in Error.
"""

from __future__ import annotations

import sqlite3
from typing import Final


class StoreError(Exception):
    """The store could not do it: `str(error)` is one clear sentence for the log and the administrator."""


class StoreFull(StoreError):
    """The queue of the writer (or of the readers) is full; for a client this is `resource-constraint`."""


class StoreTimeout(StoreError):
    """Nothing was begun within the deadline, and nothing will be."""


class StoreClosed(StoreError):
    """The store is closed or closing."""


class StoreInUse(StoreError):
    """Another process holds the lock of the data directory."""


class SchemaTooNew(StoreError):
    """The file was written by a newer version of the program."""


class AccountExists(Exception):
    """There is an account of that name already."""


class NoSuchAccount(Exception):
    """There is no account of that name or id."""


class RosterFull(Exception):
    """The roster holds as many items as the limit allows."""


# primary result code of SQLite -> what to tell people; these are faults of the store, not of a single job
FAULTS: Final[dict[int, str]] = {
    sqlite3.SQLITE_BUSY: "the database is locked by another program",
    sqlite3.SQLITE_LOCKED: "the database is locked by another program",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_IOERR: "the disk reports an input/output error",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_PERM: "access to the database file is denied",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_FULL: "the disk is full",
}


def fault_code(error: BaseException) -> int | None:
    """The primary SQLite code if `error` is a fault of the store, None if it is a fault of one job."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    return primary if primary in FAULTS else None


def explain(error: BaseException) -> BaseException:
    """What the caller gets: a StoreError with a clear sentence for a fault, any other error as it is."""
    code = fault_code(error)
    if code is None:
        return error
    told = StoreError(FAULTS[code])
    told.__cause__ = error
    return told
