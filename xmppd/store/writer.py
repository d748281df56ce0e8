"""The one thread that writes.

Whoever wants something written appends a job to a queue and gets a future. The thread takes all that is
queued (at most `batch_jobs`), does it in one transaction, and only after COMMIT wakes the loop, once for the
whole batch. There is no artificial delay: while one COMMIT waits for the disk, the next batch gathers by
itself.

A job is either one statement (runs of the same statement become one `executemany`) or a function that works
on the connection inside a savepoint. A job that fails does not sink the others of its batch.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, TypeVar, cast

from xmppd import clock
from xmppd.events import count, fields
from xmppd.store.errors import StoreClosed, StoreError, StoreFull, StoreTimeout, explain, fault_code

log = logging.getLogger("xmppd.store")

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
# future, statement or function, parameters of the statement (None for a function), when it was given (monotonic)
Job = tuple["asyncio.Future[Any]", str | Work, Sequence[Any] | None, float]
# future, result, error
Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]

_WORK: Final = itemgetter(1)


@dataclass(frozen=True, slots=True)
class WriterStats:
    """What the writer has done and has before it."""

    depth: int  # jobs waiting or being done
    oldest_s: float  # how long the oldest of them has waited
    jobs: int  # jobs done, failed ones included
    failed: int
    batches: int  # transactions
    largest_batch: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the store, and since when (monotonic seconds)."""

    text: str
    since_s: float


class Writer:
    """Queue and thread. All methods but the thread's own belong to one event loop at a time.

    A writer may serve one loop after another (`asyncio.run` twice), never two at once.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        queue_jobs: int = 10_000,
        batch_jobs: int = 1_000,
        deadline_s: float = 10.0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`connection`: in autocommit mode, usable from another thread; the writer owns and closes it.

        `check` is called before each transaction and raises StoreError if nothing can be written.
        """
        self._connection = connection
        self._check = check
        self._queue_jobs = queue_jobs
        self._batch_jobs = batch_jobs
        self._deadline_s = deadline_s
        self._queue: deque[Job] = deque()
        self._taking = threading.Lock()  # a job is taken by the thread or withdrawn by the loop, never both
        self._wake = threading.Event()
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begun_at: float | None = None  # when the oldest job of the batch was given
        self._in_batch = self._jobs = self._failed = self._batches = self._largest_batch = 0
        self.fault: Fault | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    # ---- the loop's side

    def submit(self, sql: str, parameters: Sequence[Any] = ()) -> asyncio.Future[None]:
        """Queue one statement; the future resolves after COMMIT.

        Raises StoreFull, StoreClosed at once; the future raises StoreError or the statement's own sqlite3.Error.
        StoreTimeout means that the job had not begun by the deadline, and is not done any more: what the future says
        is what became of the data. A future that is cancelled before its job began takes the job with it.
        """
        return self._append(sql, parameters)

    def transact(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Queue a function that reads and writes; the future resolves to its result after COMMIT.

        `work` runs in the writer's thread, in a savepoint of its own; what it raises undoes what it wrote,
        and only that. It may be run a second time if its batch had to be done again, so it must change
        nothing but the data. Errors as in `submit`.
        """
        return self._append(work, None)

    def _append(self, work: str | Work, parameters: Sequence[Any] | None) -> asyncio.Future[Any]:
        if self._closing:
            raise StoreClosed("the store is closed")
        if len(self._queue) >= self._queue_jobs:
            count("store_queue_full")
            raise StoreFull(f"{self._queue_jobs} writes are waiting for the disk")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        future = loop.create_future()
        if self._timer is None:
            self._timer = loop.call_later(self._deadline_s, self._overdue)
        self._queue.append((future, work, parameters, clock.monotonic_s()))
        if not self._wake.is_set():
            self._wake.set()
        return future

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None and not self._loop.is_closed() and self._depth():
            raise RuntimeError("the store is in use by another event loop")
        self._loop = loop
        self._timer = None

    def _overdue(self) -> None:
        """Withdraw what has waited too long; look again when the next in the queue is due."""
        assert self._loop is not None  # it armed this timer
        self._timer = None
        now = clock.monotonic_s()
        late: list[Job] = []
        with self._taking:
            while self._queue and self._queue[0][3] + self._deadline_s <= now:
                late.append(self._queue.popleft())
            if self._queue:
                wait_s = max(self._queue[0][3] + self._deadline_s - now, 0.001)
                self._timer = self._loop.call_later(wait_s, self._overdue)
        for future, *_ in late:
            if not future.done():
                told = StoreTimeout(f"no answer from the disk within {self._deadline_s:g} s")
                future.set_exception(self._failed_by(told))

    def _deliver(self, outcomes: list[Outcome]) -> None:
        for future, result, error in outcomes:
            if not future.done():
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
        if self._timer is not None and not self._depth():
            self._timer.cancel()
            self._timer = None

    async def close(self, timeout_s: float = 30.0) -> None:
        """Take no more jobs, do those that are queued, end the thread.

        Raises StoreTimeout if that takes too long.
        """
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, timeout_s)
        if self._thread.is_alive():
            raise StoreTimeout(f"{self._depth()} writes could not be finished within {timeout_s:g} s")
        await asyncio.sleep(0)  # the last batch's answers are in the loop already: let them out

    def _depth(self) -> int:
        return len(self._queue) + self._in_batch

    def stats(self) -> WriterStats:
        """Figures for status and metrics."""
        with self._taking:
            since = self._begun_at or (self._queue[0][3] if self._queue else None)
        oldest_s = 0.0 if since is None else clock.monotonic_s() - since
        return WriterStats(
            self._depth(), oldest_s, self._jobs, self._failed, self._batches, self._largest_batch
        )

    # ---- the thread's side

    def _run(self) -> None:
        batch: list[Job] = []
        try:
            while not (self._closing and not self._queue):
                self._wake.wait()
                self._wake.clear()  # before the queue is looked at: a job appended from now on sets it again
                while batch := self._take():
                    outcomes = self._write(batch)
                    self._in_batch = 0  # before they are told: who was told finds it so
                    self._begun_at = None
                    self._answer(outcomes)
            with suppress(sqlite3.Error):  # only statistics for the query planner
                self._connection.execute("PRAGMA optimize")
        except Exception as error:  # a bug of ours: say so and refuse, rather than let everybody wait
            self._closing = True
            log.critical("store writer stopped", exc_info=error)
            told = self._failed_by(StoreError("the writer of the store has stopped"))
            with self._taking:
                batch += self._queue
                self._queue.clear()
            self._in_batch = 0
            self._answer([(job[0], None, told) for job in batch])
        finally:
            self._connection.close()

    def _take(self) -> list[Job]:
        batch: list[Job] = []
        with self._taking:
            while self._queue and len(batch) < self._batch_jobs:
                job = self._queue.popleft()
                if not job[0].done():  # done already means given up by who waited
                    batch.append(job)
            self._in_batch = len(batch)
            self._begun_at = batch[0][3] if batch else None
        return batch

    def _answer(self, outcomes: list[Outcome]) -> None:
        self._jobs += len(outcomes)
        self._failed += sum(error is not None for _, _, error in outcomes)
        assert self._loop is not None  # it submitted these jobs
        try:
            self._loop.call_soon_threadsafe(self._deliver, outcomes)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.info("store answered a closed loop", extra=fields(jobs=len(outcomes)))

    def _write(self, batch: list[Job]) -> list[Outcome]:
        """Do the batch as one transaction; if that is spoiled, by savepoints; if that is too, job by job."""
        self._batches += 1
        self._largest_batch = max(self._largest_batch, len(batch))
        outcomes: list[Outcome] = []
        try:
            for attempt in (self._grouped, self._by_savepoint):
                try:
                    outcomes = self._transaction(attempt, batch)
                except _Lasting:
                    raise
                except Exception as error:
                    log.debug("batch replayed", extra=fields(jobs=len(batch), error=repr(error)))
                else:
                    self._recovered()
                    return outcomes
            outcomes = []
            for job in batch:
                try:
                    outcomes += self._transaction(self._by_savepoint, [job])
                except _Lasting:
                    raise
                except Exception as error:
                    outcomes.append((job[0], None, self._failed_by(error)))
        except _Lasting as lasting:
            told = self._failed_by(lasting.error)
            outcomes += [(job[0], None, told) for job in batch[len(outcomes) :]]
        if outcomes and outcomes[-1][2] is None:
            self._recovered()
        return outcomes

    def _transaction(
        self, attempt: Callable[[list[Job]], Iterator[Outcome]], batch: list[Job]
    ) -> list[Outcome]:
        """BEGIN, attempt, COMMIT. Raises _Lasting where trying again makes no sense, else what spoiled it."""
        connection = self._connection
        try:
            self._check()
        except StoreError as error:
            raise _Lasting(error) from error
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = list(attempt(batch))
            connection.execute("COMMIT")
        except Exception as error:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            if fault_code(error) not in (None, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM):
                raise _Lasting(error) from error
            raise
        return outcomes

    def _grouped(self, batch: list[Job]) -> Iterator[Outcome]:
        # only neighbours are joined, so that every job sees what those before it wrote
        for work, run in groupby(batch, _WORK):
            if isinstance(work, str):
                jobs = list(run)
                self._connection.executemany(work, [cast(Sequence[Any], job[2]) for job in jobs])
                yield from [(job[0], None, None) for job in jobs]
            else:
                for job in run:
                    yield self._in_savepoint(job)

    def _by_savepoint(self, batch: list[Job]) -> Iterator[Outcome]:
        return map(self._in_savepoint, batch)

    def _in_savepoint(self, job: Job) -> Outcome:
        future, work, parameters, _ = job
        connection = self._connection
        connection.execute("SAVEPOINT job")
        try:
            if isinstance(work, str):
                connection.execute(work, parameters or ())
                result = None
            else:
                result = work(connection)
        except Exception as error:
            if not connection.in_transaction or fault_code(error) is not None:
                raise  # SQLite has undone the whole transaction, or soon would
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            return future, None, error
        connection.execute("RELEASE job")
        return future, result, None

    def _failed_by(self, error: BaseException) -> BaseException:
        told = explain(error)
        if isinstance(told, StoreError) and (self.fault is None or self.fault.text != str(told)):
            self.fault = Fault(str(told), clock.monotonic_s())
            log.error("store failing", extra=fields(error=str(told), detail=str(error)))
        return told

    def _recovered(self) -> None:
        if self.fault is not None:
            log.info("store works again", extra=fields(error=self.fault.text))
            self.fault = None


class _Lasting(Exception):
    """A fault of the store itself: the next job would meet it too."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error
