"""The writer: group commit, failures that stay alone, bounds and deadlines."""

from __future__ import annotations

import asyncio
import functools
import logging
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmppd.events import counters
from xmppd.store import Store, StoreClosed, StoreError, StoreFull, StoreSettings, StoreTimeout
from xmppd.store.writer import Writer

INSERT = "INSERT INTO note (id, text) VALUES (?, ?)"
SCHEMA = """
CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE late (id INTEGER REFERENCES note (id) DEFERRABLE INITIALLY DEFERRED);
"""


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.02)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.sqlite"
    connection = connect(path)
    connection.executescript(SCHEMA)
    connection.close()
    return path


def rows(path: Path) -> list[tuple[int, str]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT id, text FROM note ORDER BY id").fetchall()
    finally:
        connection.close()


@contextmanager
def held(writer: Writer) -> Iterator[asyncio.Future[None]]:
    """The writer is busy with a job until the block ends: what is submitted in it makes one batch."""
    begun, release = threading.Event(), threading.Event()

    def work(_: sqlite3.Connection) -> None:
        begun.set()
        release.wait(30)

    future = writer.transact(work)
    assert begun.wait(10)
    try:
        yield future
    finally:
        release.set()


@in_loop
async def test_what_waits_is_committed_together(path: Path) -> None:
    writer = Writer(connect(path))
    with held(writer):
        jobs = [writer.submit(INSERT, (i, "x")) for i in range(500)]
    await asyncio.gather(*jobs)
    stats = writer.stats()
    assert (stats.batches, stats.largest_batch, stats.jobs, stats.depth) == (2, 500, 501, 0)
    assert len(rows(path)) == 500
    await writer.close()


@in_loop
async def test_a_batch_is_bounded(path: Path) -> None:
    writer = Writer(connect(path), batch_jobs=100)
    with held(writer):
        jobs = [writer.submit(INSERT, (i, "x")) for i in range(250)]
    await asyncio.gather(*jobs)
    assert (writer.stats().batches, writer.stats().largest_batch) == (4, 100)
    await writer.close()


@in_loop
async def test_the_loop_is_woken_once_per_batch(path: Path) -> None:
    writer = Writer(connect(path))
    loop = asyncio.get_running_loop()
    woken = []
    call = loop.call_soon_threadsafe

    def spy(*args: Any, **kwargs: Any) -> asyncio.Handle:
        woken.append(args)
        return call(*args, **kwargs)

    loop.call_soon_threadsafe = spy  # type: ignore[method-assign]
    with held(writer):
        jobs = [writer.submit(INSERT, (i, "x")) for i in range(300)]
    await asyncio.gather(*jobs)
    assert len(woken) == 2
    del loop.call_soon_threadsafe  # type: ignore[method-assign]
    await writer.close()


@in_loop
async def test_the_answer_comes_after_the_commit(path: Path) -> None:
    connection = connect(path)
    committing, release = threading.Event(), threading.Event()

    def trace(statement: str) -> None:
        if statement == "COMMIT":
            committing.set()
            release.wait(30)

    connection.set_trace_callback(trace)
    writer = Writer(connection)
    job = writer.submit(INSERT, (1, "x"))
    assert await asyncio.to_thread(committing.wait, 10)
    assert rows(path) == []
    assert not job.done()
    release.set()
    await job
    assert rows(path) == [(1, "x")]  # by another connection: it is in the file
    await writer.close()


@in_loop
async def test_a_failed_statement_fails_alone(path: Path) -> None:
    writer = Writer(connect(path))
    with held(writer):
        jobs = [writer.submit(INSERT, (i // 2, str(i))) for i in range(20)]  # every other one twice
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), sqlite3.IntegrityError] * 10
    assert rows(path) == [(i, str(2 * i)) for i in range(10)]
    assert writer.stats().failed == 10
    assert writer.fault is None  # nothing is wrong with the store
    await writer.close()


@in_loop
async def test_values_sqlite_cannot_take_fail_alone(path: Path) -> None:
    writer = Writer(connect(path))
    with held(writer):
        jobs = [writer.submit(INSERT, (i, "x")) for i in (1, 2**70, 2)]
        jobs.append(writer.submit(INSERT, (3, "\udc80")))
        jobs.append(writer.submit(INSERT, (4,)))
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    assert [answer is None for answer in answers] == [True, False, True, False, False]
    assert rows(path) == [(1, "x"), (2, "x")]
    await writer.close()


@in_loop
async def test_a_function_that_raises_undoes_what_it_wrote(path: Path) -> None:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, (2, "half"))
        raise KeyError("made")

    writer = Writer(connect(path))
    with held(writer):
        jobs = [writer.submit(INSERT, (1, "x")), writer.transact(work), writer.submit(INSERT, (3, "x"))]
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(answers[1], KeyError)
    assert rows(path) == [(1, "x"), (3, "x")]
    assert writer.stats().batches == 2  # no replay was needed
    await writer.close()


@in_loop
async def test_what_fails_at_commit_fails_alone(path: Path) -> None:
    writer = Writer(connect(path))
    with held(writer):
        jobs = [
            writer.submit(INSERT, (1, "x")),
            writer.submit("INSERT INTO late VALUES (?)", (99,)),  # refused only at COMMIT
            writer.submit("INSERT INTO late VALUES (?)", (1,)),
            writer.transact(lambda connection: connection.execute(INSERT, (2, "y")).rowcount),
        ]
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(answer, sqlite3.IntegrityError) for answer in answers] == [False, True, False, False]
    assert answers[3] == 1
    assert rows(path) == [(1, "x"), (2, "y")]
    await writer.close()


@in_loop
async def test_every_job_sees_those_before_it(path: Path) -> None:
    def total(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT count(*) FROM note").fetchone()[0])

    writer = Writer(connect(path))
    with held(writer):
        jobs: list[asyncio.Future[Any]] = []
        for i in range(5):
            jobs += [writer.submit(INSERT, (i, "x")), writer.transact(total)]
    assert [answer for answer in await asyncio.gather(*jobs) if answer is not None] == [1, 2, 3, 4, 5]
    await writer.close()


KINDS = st.sampled_from(["submit", "transact", "raise", "delete"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(KINDS, st.integers(0, 4))))
def test_a_batch_does_what_its_jobs_do_one_by_one(jobs: list[tuple[str, int]]) -> None:
    """The law of the writer: joined or alone, the same rows and the same answers."""

    def job(writer: Writer, kind: str, number: int) -> asyncio.Future[Any]:
        def work(connection: sqlite3.Connection) -> int:
            connection.execute(INSERT, (number, kind))
            if kind == "raise":
                raise ValueError(number)
            return number

        if kind == "submit":
            return writer.submit(INSERT, (number, kind))
        if kind == "delete":
            return writer.submit("DELETE FROM note WHERE id = ?", (number,))
        return writer.transact(work)

    async def outcome(*, together: bool) -> tuple[list[str], list[Any]]:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.executescript(SCHEMA)
        writer = Writer(connection)
        answers: list[Any] = []
        if together:
            with held(writer):
                futures = [job(writer, *each) for each in jobs]
            answers = await asyncio.gather(*futures, return_exceptions=True)
        else:
            for each in jobs:
                answers += await asyncio.gather(job(writer, *each), return_exceptions=True)
        found = await writer.transact(lambda c: c.execute("SELECT * FROM note ORDER BY id").fetchall())
        await writer.close()
        return [repr(answer) for answer in answers], found

    assert asyncio.run(outcome(together=True)) == asyncio.run(outcome(together=False))


@in_loop
async def test_a_full_queue_refuses_and_counts(path: Path) -> None:
    writer = Writer(connect(path), queue_jobs=3)
    before = counters["store_queue_full"]
    with held(writer):
        jobs = [writer.submit(INSERT, (i, "x")) for i in range(3)]
        with pytest.raises(StoreFull, match="3 writes are waiting"):
            writer.submit(INSERT, (9, "x"))
        assert writer.stats().depth == 4
        assert 0 < writer.stats().oldest_s < 10
    assert counters["store_queue_full"] == before + 1
    await asyncio.gather(*jobs)
    await writer.submit(INSERT, (10, "x"))
    assert [i for i, _ in rows(path)] == [0, 1, 2, 10]
    await writer.close()


@in_loop
async def test_what_has_not_begun_by_the_deadline_is_withdrawn(path: Path) -> None:
    writer = Writer(connect(path), deadline_s=0.05)
    with held(writer) as begun:
        waiting = writer.submit(INSERT, (1, "x"))
        with pytest.raises(StoreTimeout, match=r"0\.05 s"):
            await waiting
        assert writer.fault is not None  # a disk that hangs is a fault too
        # what had begun has no answer before it is known
        assert not begun.done()
        assert writer.stats().depth == 1
        assert writer.stats().oldest_s >= 0.05
    await begun
    await writer.submit(INSERT, (2, "x"))  # the deadline counts for each job anew
    assert writer.fault is None
    assert rows(path) == [(2, "x")]  # what had not begun is not done any more
    await writer.close()


@in_loop
async def test_a_cancelled_job_that_has_not_begun_is_not_done(path: Path) -> None:
    writer = Writer(connect(path))
    with held(writer):
        gone = writer.submit(INSERT, (1, "x"))
        stays = writer.submit(INSERT, (2, "x"))
        gone.cancel()
    await stays
    assert rows(path) == [(2, "x")]
    await writer.close()


@in_loop
async def test_close_writes_what_is_queued(path: Path) -> None:
    writer = Writer(connect(path))
    with held(writer):
        jobs = [writer.submit(INSERT, (i, "x")) for i in range(50)]
        closing = asyncio.ensure_future(writer.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreClosed):
            writer.submit(INSERT, (99, "x"))
    await closing
    assert all(job.done() and job.exception() is None for job in jobs)
    assert len(rows(path)) == 50
    await writer.close()  # a second time does nothing


@in_loop
async def test_close_gives_up_in_time(path: Path) -> None:
    writer = Writer(connect(path))
    with held(writer), pytest.raises(StoreTimeout, match="could not be finished"):
        await writer.close(timeout_s=0.05)


def test_one_loop_after_another(path: Path) -> None:
    writer = Writer(connect(path))

    async def insert(number: int) -> None:
        await writer.submit(INSERT, (number, "x"))

    asyncio.run(insert(1))
    asyncio.run(insert(2))
    asyncio.run(writer.close())
    assert [i for i, _ in rows(path)] == [1, 2]


def test_never_two_loops_at_once(path: Path) -> None:
    writer = Writer(connect(path))

    async def other() -> None:
        writer.submit(INSERT, (2, "x"))

    async def main() -> None:
        with held(writer), pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, other())
        await writer.close()

    asyncio.run(main())


@in_loop
async def test_a_bug_in_the_thread_refuses_instead_of_hanging(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(connect(path), deadline_s=0.5)

    def broken(_: Any) -> Any:
        raise AssertionError("a bug")

    monkeypatch.setattr(writer, "_write", broken)
    with pytest.raises(StoreError):
        await writer.submit(INSERT, (1, "x"))
    with pytest.raises(StoreClosed):
        writer.submit(INSERT, (2, "x"))
    assert writer.fault is not None
    assert "store writer stopped" in caplog.text


# ---- what the disk and other programs do to us


@in_loop
async def test_a_read_only_database_is_told_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Store.open(tmp_path) as store:
        await store.transact(lambda connection: connection.execute("PRAGMA query_only = ON").fetchall())
        for _ in range(3):
            with pytest.raises(StoreError, match=r"^the database is read-only$"):
                await store.submit("DELETE FROM account")
        health = store.health()
        assert (health.ok, health.problem) == (False, "the database is read-only")
        store._writer._connection.execute("PRAGMA query_only = OFF")
        await store.submit("DELETE FROM account")
        assert store.health().ok
    said = [record.message for record in caplog.records if record.name == "xmppd.store"]
    assert said.count("store failing") == 1
    assert said.count("store works again") == 1


@in_loop
async def test_a_lock_of_another_program_is_told_and_survived(tmp_path: Path) -> None:
    async with Store.open(tmp_path, StoreSettings(busy_timeout_s=0.02)) as store:
        other = sqlite3.connect(tmp_path / "xmppd.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        statements: list[str] = []
        store._writer._connection.set_trace_callback(statements.append)
        answers = await asyncio.gather(
            *(store.submit("DELETE FROM account") for _ in range(20)), return_exceptions=True
        )
        assert {str(answer) for answer in answers} == {"the database is locked by another program"}
        # one wait for the lock for each batch, not for each job: the first may have gone alone
        assert statements.count("BEGIN IMMEDIATE") <= 2
        assert not store.health().ok
        assert await store.accounts.count() == 0  # reading goes on
        other.execute("ROLLBACK")
        other.close()
        await store.submit("DELETE FROM account")
        assert store.health().ok


@in_loop
async def test_a_full_disk_is_told_and_survived(path: Path) -> None:
    connection = connect(path)
    writer = Writer(connection)
    await writer.submit(INSERT, (1, "x" * 100_000))
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with held(writer):
        jobs = [
            writer.submit(INSERT, (2, "x" * 50_000)),
            writer.submit(INSERT, (3, "small")),
            writer.transact(lambda c: c.execute(INSERT, (4, "x" * 50_000)).rowcount),
            writer.submit("DELETE FROM note WHERE id = 1"),
            writer.submit(INSERT, (5, "x" * 50_000)),  # there is room again
        ]
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    assert [str(answer) for answer in answers] == [
        "the disk is full",
        "None",
        "the disk is full",
        "None",
        "None",
    ]
    assert [i for i, _ in rows(path)] == [3, 5]
    assert writer.fault is None
    await writer.close()
