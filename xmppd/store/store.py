"""The store as the rest of the program sees it: open, close, accounts, rosters, health."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self, TypeVar

from xmppd import clock
from xmppd.events import fields
from xmppd.store.accounts import Accounts
from xmppd.store.blocks import Blocks
from xmppd.store.documents import Documents
from xmppd.store.errors import StoreError, StoreInUse, explain
from xmppd.store.lock import DirectoryLock, holder, in_use
from xmppd.store.migrations import known_version, migrate
from xmppd.store.offline import Offline
from xmppd.store.readers import Readers
from xmppd.store.rosters import Rosters
from xmppd.store.writer import Writer, WriterStats

log = logging.getLogger("xmppd.store")

T = TypeVar("T")
DATABASE_NAME: Final = "xmppd.sqlite"
MINIMUM_SQLITE: Final = (3, 38, 0)  # STRICT tables, RETURNING, JSON functions


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Limits of the store; each is a key of the table `[store]`."""

    queue_jobs: int = 10_000  # writes that may wait for the disk; beyond it StoreFull
    batch_jobs: int = 1_000  # writes in one transaction
    readers: int = 2  # reading threads
    reader_queue_jobs: int = 10_000  # reads that may wait; beyond it StoreFull
    deadline_s: float = 10.0  # longest wait for an answer; beyond it StoreTimeout
    busy_timeout_s: float = 5.0  # how long SQLite waits for a lock of another program
    close_timeout_s: float = 30.0  # how long `close` may take to write what is queued
    roster_removals: int = (
        256  # of how many items that were taken out a roster remembers that they were there
    )
    # "normal" may lose the last transactions in a power cut; only for measuring what "full" costs
    synchronous: Literal["full", "normal"] = "full"


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Figures for status and metrics."""

    writer: WriterStats
    reader_depth: int
    queue_jobs: int  # the limit that `writer.depth` runs against
    database_bytes: int
    wal_bytes: int


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """Whether the last write succeeded; if not, why, since when (seconds ago), and what to do."""

    ok: bool
    problem: str | None = None
    since_s: float = 0.0


class Store:
    """The data directory of one server.

    Made by `open`. All coroutines belong to one event loop at a time; a command line without a server uses
    `async with Store.open(directory) as store` inside `asyncio.run`.
    """

    def __init__(
        self,
        directory: Path,
        settings: StoreSettings,
        lock: DirectoryLock,
        file: _DatabaseFile,
        writer: Writer,
        readers: Readers,
    ) -> None:
        self.directory = directory
        self.settings = settings
        self._lock = lock
        self._file = file
        self._writer = writer
        self._readers = readers
        self.accounts = Accounts(writer, readers, removals=settings.roster_removals)
        self.rosters = Rosters(writer, readers, removals=settings.roster_removals)
        self.offline = Offline(writer, readers)
        self.documents = Documents(writer, readers)
        self.blocks = Blocks(writer)

    @classmethod
    def open(cls, directory: Path | str, settings: StoreSettings | None = None) -> Self:
        """Lock the data directory, bring the database to today's schema, start the threads.

        A missing directory is made (mode 0700). Blocks for a moment; call it before the loop runs or where
        that does not matter.
        Raises StoreInUse, SchemaTooNew, StoreError.
        """
        if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
            needed = ".".join(map(str, MINIMUM_SQLITE))
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: {needed} is needed")
        directory = Path(directory).absolute()
        settings = settings or StoreSettings()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = DirectoryLock.acquire(directory)
        except OSError as error:
            raise StoreError(f"the data directory {directory} cannot be used: {error.strerror}") from error
        opened: list[sqlite3.Connection] = []

        def connect(*, read_only: bool) -> sqlite3.Connection:
            opened.append(_connect(path, settings, read_only=read_only))
            return opened[-1]

        path = directory / DATABASE_NAME
        try:
            file = _DatabaseFile(path)
            connection = connect(read_only=False)
            for number in migrate(connection):
                log.info("store migrated", extra=fields(schema_version=number))
            readers = Readers(
                lambda: connect(read_only=True),
                threads=settings.readers,
                queue_jobs=settings.reader_queue_jobs,
                deadline_s=settings.deadline_s,
                check=file.check,
            )
        except Exception as error:
            for each in opened:
                each.close()
            lock.release()
            told = _refused(path, error)
            if told is error:
                raise
            raise told from error
        writer = Writer(
            connection,
            queue_jobs=settings.queue_jobs,
            batch_jobs=settings.batch_jobs,
            deadline_s=settings.deadline_s,
            check=file.check,
        )
        return cls(directory, settings, lock, file, writer, readers)

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the writer's thread; returns after COMMIT (see Writer.transact).

        For the rooms of the store.
        """
        return await self._writer.transact(work)

    def submit(self, sql: str, parameters: tuple[object, ...] = ()) -> asyncio.Future[None]:
        """Queue one statement; the future resolves after COMMIT (see Writer.submit).

        For the rooms of the store.
        """
        return self._writer.submit(sql, parameters)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a reading thread (see Readers.read). For the rooms of the store."""
        return await self._readers.read(work)

    def stats(self) -> StoreStats:
        """Queue depths and sizes."""
        path = self.directory / DATABASE_NAME
        return StoreStats(
            self._writer.stats(),
            self._readers.depth,
            self.settings.queue_jobs,
            _size_bytes(path),
            _size_bytes(path.with_name(path.name + "-wal")),
        )

    def health(self) -> StoreHealth:
        """Whether the database is where it was opened, and the last write succeeded."""
        fault = self._writer.fault
        if fault is None:
            try:
                self._file.check()
            except StoreError as error:
                return StoreHealth(ok=False, problem=str(error))
            return StoreHealth(ok=True)
        return StoreHealth(ok=False, problem=fault.text, since_s=clock.monotonic_s() - fault.since_s)

    def unreadable(self, within_s: float) -> str | None:
        """What a read has met that failed within the last seconds; None if none has.

        It says nothing of others: one page of the file may be damaged.
        """
        fault = self._readers.fault
        return fault[0] if fault is not None and clock.monotonic_s() - fault[1] < within_s else None

    async def probe(self) -> None:
        """Write something and take it back, to see whether a fault has passed. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("CREATE TABLE probe (x)")
            connection.execute("INSERT INTO probe VALUES (zeroblob(65536))")
            connection.execute("DROP TABLE probe")

        await self._writer.transact(work)

    async def close(self) -> None:
        """Write what is queued, end the threads, give the lock back.

        Raises StoreTimeout if the disk does not answer.
        """
        try:
            # the writer's connection is the last to go: it takes the write-ahead log into the database
            await self._readers.close(self.settings.close_timeout_s)
        finally:
            try:
                await self._writer.close(self.settings.close_timeout_s)
            finally:
                self._lock.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def examine(directory: Path) -> None:
    """Whether `Store.open` would take the data directory, without making or changing anything in it.

    Raises StoreInUse, SchemaTooNew, StoreError.
    """
    path = directory / DATABASE_NAME
    try:
        if not _may_be_written(directory):
            return  # it will be made
        if (pid := holder(directory)) is not None:
            raise StoreInUse(in_use(directory, pid))
        for beside in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):  # SQLite's own words for what is wrong say nothing
                path.with_name(f"{DATABASE_NAME}{beside}").open("r+b").close()
        if not path.exists():
            return
        # immutable: SQLite makes no -wal and -shm beside it just to read; what a crash left in a -wal counts
        untouched = "" if path.with_name(f"{DATABASE_NAME}-wal").exists() else "&immutable=1"
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro{untouched}", uri=True)
        try:
            known_version(connection)
        finally:
            connection.close()
    except (OSError, StoreError, sqlite3.Error) as error:
        raise _refused(path, error) from error


def _may_be_written(directory: Path) -> bool:
    """Whether the data directory is there; StoreError if it cannot be used or made, OSError if it has no such name."""
    nearest = next(each for each in (directory, *directory.parents) if _exists(each))
    if not nearest.is_dir():
        raise StoreError(f"{directory}: is no directory, and none can be made")
    if not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        raise StoreError(f"{directory}: this user may not write to {nearest}")
    return nearest == directory


def _exists(path: Path) -> bool:
    """Whether something is there. Raises OSError where Path.exists does: a name too long, a folder that is closed."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _refused(path: Path, error: Exception) -> Exception:
    """What whoever opens the store is told: a StoreError that names the file, or a fault of ours as it is."""
    if isinstance(error, OSError):
        return StoreError(f"{error.filename or path} cannot be used: {error.strerror}")
    told = explain(error)
    if told is error and not isinstance(error, sqlite3.Error):
        return error
    return StoreError(f"{path}: {told}")


class _DatabaseFile:
    """The database file, made before SQLite does, for us alone; SQLite gives -wal and -shm the same mode."""

    def __init__(self, path: Path) -> None:
        self._path = path
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            opened = os.fstat(fd)
            if opened.st_mode & 0o077:
                log.warning("database file was open to others", extra=fields(path=str(path)))
                os.fchmod(fd, 0o600)
        finally:
            os.close(fd)
        self._identity = (opened.st_dev, opened.st_ino)

    def check(self) -> None:
        """StoreError if the file was moved, removed or replaced: what is written now would be lost.

        It may come back, a volume that is mounted again for instance.
        """
        try:
            found = os.stat(self._path)
        except OSError as error:
            raise StoreError(f"{self._path} is no longer there: {error.strerror}") from error
        if (found.st_dev, found.st_ino) != self._identity:
            raise StoreError(f"{self._path} is another file than the one that was opened")


def _connect(path: Path, settings: StoreSettings, *, read_only: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        timeout=settings.busy_timeout_s,
        isolation_level=None,  # transactions are begun and ended by name
        check_same_thread=False,  # made here, used by one thread at a time
        cached_statements=256,
    )
    try:
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        else:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(f"{path}: this file system cannot keep a write-ahead log")
            connection.execute(f"PRAGMA synchronous = {settings.synchronous.upper()}")
            connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
