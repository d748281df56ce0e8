"""A few threads with read-only connections, so that a cold page never stalls the loop.

What is asked for in one turn of the loop goes to a thread together, in batches, and comes back together: waking a
thread and being woken by it costs more than most reads do.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from xmppd import clock
from xmppd.events import count
from xmppd.store.errors import StoreClosed, StoreError, StoreFull, StoreTimeout, explain

T = TypeVar("T")
Job = tuple["asyncio.Future[Any]", Callable[[sqlite3.Connection], Any]]
# future, result, error
Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]

BATCH: Final = 16  # jobs in one batch; few, so that the other threads get some too


class Readers:
    """A bounded queue before a few reading threads.

    Each job sees one state of the data, none older than when it was given: a batch is one read transaction, begun
    after all of its jobs were given.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        *,
        threads: int = 2,
        queue_jobs: int = 10_000,
        deadline_s: float = 10.0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`connect` makes a read-only connection in autocommit mode, usable from any thread.

        `check` is called before each batch and raises StoreError if nothing can be read.
        """
        self._check = check
        self._queue_jobs = queue_jobs
        self._deadline_s = deadline_s
        self._given: list[Job] = []  # in this turn of the loop
        self._batches: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._due: dict[asyncio.Future[Any], float] = {}  # of those waited for; the oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._depth = 0
        self._closed = False
        self.fault: tuple[str, float] | None = (
            None  # what the last read that failed has met, and when (monotonic)
        )
        connections = [connect() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name=f"store-reader-{n}", daemon=True)
            for n, each in enumerate(connections)
        ]
        for thread in self._threads:
            thread.start()

    # ---- the loop's side

    @property
    def depth(self) -> int:
        """Jobs waiting or being done: counted until they are done, not until who asked gives up."""
        return self._depth

    def read(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """The result of `work`, run in a reading thread.

        Raises StoreFull and StoreClosed at once; the future raises StoreClosed, StoreTimeout, StoreError, and what
        `work` raises. If it is cancelled before the work has begun, that is not done.
        """
        if self._closed:
            raise StoreClosed("the store is closed")
        if self._depth >= self._queue_jobs:
            count("store_queue_full")
            raise StoreFull(f"{self._queue_jobs} reads are waiting for the disk")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # one after another: of what the last one gave nobody waits for anything
            self._loop, self._timer, self._given, self._due, self._depth = loop, None, [], {}, 0
        future = loop.create_future()
        self._depth += 1
        if not self._given:
            loop.call_soon(self._hand_over)
        self._given.append((future, work))
        self._due[future] = clock.monotonic_s() + self._deadline_s
        if self._timer is None:
            self._timer = loop.call_later(self._deadline_s, self._overdue)
        return future

    def _hand_over(self) -> None:
        given, self._given = self._given, []
        for first in range(0, len(given), BATCH):
            self._batches.put(given[first : first + BATCH])

    def _overdue(self) -> None:
        """Let those go that have waited too long; look again when the next is due."""
        assert self._loop is not None  # it armed this timer
        self._timer = None
        now = clock.monotonic_s()
        for future, due in list(self._due.items()):
            if due > now:
                self._timer = self._loop.call_later(due - now, self._overdue)
                return
            del self._due[future]
            if not future.done():
                future.set_exception(StoreTimeout(f"no answer from the disk within {self._deadline_s:g} s"))

    def _deliver(self, outcomes: list[Outcome]) -> None:
        self._depth -= len(outcomes)
        for future, result, error in outcomes:
            self._due.pop(future, None)
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        if self._timer is not None and not self._due:
            self._timer.cancel()
            self._timer = None

    async def close(self, timeout_s: float = 30.0) -> None:
        """Take no more jobs, drop those not begun, end the threads, which close their connections.

        Raises StoreTimeout if that takes too long.
        """
        self._closed = True
        dropped, self._given = self._given, []
        with suppress(Empty):
            while True:
                dropped += self._batches.get_nowait() or ()
        self._deliver([(future, None, StoreClosed("the store is closed")) for future, _ in dropped])
        for _ in self._threads:
            self._batches.put(None)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.to_thread(self._join, timeout_s)
        except TimeoutError:
            raise StoreTimeout(f"{self._depth} reads could not be finished within {timeout_s:g} s") from None
        await asyncio.sleep(0)  # the last answers are in the loop already: let them out

    def _join(self, timeout_s: float) -> None:
        end_s = clock.monotonic_s() + timeout_s
        for thread in self._threads:
            thread.join(max(end_s - clock.monotonic_s(), 0))
            if thread.is_alive():
                raise TimeoutError

    # ---- the threads' side

    def _run(self, connection: sqlite3.Connection) -> None:
        try:
            while (batch := self._batches.get()) is not None:
                outcomes = self._read(connection, batch)
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    batch[0][0].get_loop().call_soon_threadsafe(self._deliver, outcomes)
        finally:
            connection.close()

    def _read(self, connection: sqlite3.Connection, batch: list[Job]) -> list[Outcome]:
        try:
            self._check()
        except StoreError as error:
            return [(future, None, error) for future, _ in batch]
        outcomes: list[Outcome] = []
        for future, work in batch:
            if future.done():  # given up by who waited
                outcomes.append((future, None, None))
            elif self._closed:
                outcomes.append((future, None, StoreClosed("the store is closed")))
            else:
                outcomes.append(self._done(connection, future, work))
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")  # nothing was written; ends the snapshot
        return outcomes

    def _done(
        self,
        connection: sqlite3.Connection,
        future: asyncio.Future[Any],
        work: Callable[[sqlite3.Connection], Any],
    ) -> Outcome:
        try:
            if not connection.in_transaction:  # the first, or one before it has met a fault
                connection.execute("BEGIN")
            return future, work(connection), None
        except Exception as error:
            told = explain(error)
            if told is not error:
                self.fault = str(told), clock.monotonic_s()
            return future, None, told
