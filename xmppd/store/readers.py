"""A few threads with read-only connections, so that a cold page never stalls the loop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from xmppd.events import count
from xmppd.store.errors import StoreClosed, StoreFull, StoreTimeout, explain

T = TypeVar("T")


class Readers:
    """A bounded pool of reading threads; each job sees one state of the data (a read transaction)."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        *,
        threads: int = 2,
        queue_jobs: int = 1_000,
        deadline_s: float = 10.0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`connect` makes a read-only connection in autocommit mode, usable from any thread.

        `check` is called before each job and raises StoreError if nothing can be read.
        """
        self._check = check
        # as many connections as threads: a running job always finds one; last used first, its cache is warm
        self._idle = [connect() for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store-reader")
        self._queue_jobs = queue_jobs
        self._deadline_s = deadline_s
        self._depth = 0
        self._closed = False

    @property
    def depth(self) -> int:
        """Jobs waiting or being done."""
        return self._depth

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work`, run in a reading thread.

        Raises StoreFull, StoreClosed, StoreTimeout, StoreError, and what `work` raises.
        """
        if self._closed:
            raise StoreClosed("the store is closed")
        if self._depth >= self._queue_jobs:
            count("store_queue_full")
            raise StoreFull(f"{self._queue_jobs} reads are waiting for the disk")
        job = self._pool.submit(self._do, work)
        self._depth += 1
        # counted until it is done, not until the caller gives up
        future = asyncio.wrap_future(job)
        future.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._deadline_s):
                return await asyncio.shield(future)
        except TimeoutError:
            raise StoreTimeout(f"no answer from the disk within {self._deadline_s:g} s") from None
        except asyncio.CancelledError:
            if future.cancelled():  # by `close`, not by who waits here
                raise StoreClosed("the store is closed") from None
            raise
        finally:
            job.cancel()  # if it has not begun: nobody waits for it

    def _done(self, future: asyncio.Future[T]) -> None:
        self._depth -= 1
        if not future.cancelled():
            future.exception()  # looked at, should the caller have gone

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._check()
        connection = self._idle.pop()
        try:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")  # nothing was written; ends the snapshot
        except sqlite3.Error as error:
            raise explain(error) from error
        finally:
            self._idle.append(connection)

    async def close(self, timeout_s: float = 30.0) -> None:
        """Take no more jobs, drop those not begun, end the threads, close the connections."""
        self._closed = True
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)
        except TimeoutError:
            raise StoreTimeout(f"{self._depth} reads could not be finished within {timeout_s:g} s") from None
        finally:
            while self._idle:
                self._idle.pop().close()
