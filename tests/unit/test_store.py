"""The data directory: opening, schema, lock, accounts, readers, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from xmppd.store import (
    AccountExists,
    NewAccount,
    NoSuchAccount,
    RosterItem,
    SchemaTooNew,
    ScramKeys,
    Store,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreInUse,
    StoreSettings,
    StoreTimeout,
    holder,
)
from xmppd.store.migrations import APPLICATION_ID, SCHEMA_VERSION, migrate, schema_version

ROOT = Path(__file__).resolve().parents[2]
KEYS = [
    ScramKeys("SHA-1", b"salt-1", 4096, b"stored-1", b"server-1"),
    ScramKeys("SHA-256", b"salt-2", 4096, b"stored-2", b"server-2"),
]


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


def start(code: str, *args: object) -> subprocess.Popen[str]:
    """Another process with our code in it, its output a pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


# ---- opening


@in_loop
async def test_files_are_ours_alone(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "data"
    old = os.umask(0)
    try:
        async with Store.open(directory) as store:
            await store.accounts.create("alice", "example.org", KEYS)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
            assert set(modes) == {"lock", "xmppd.sqlite", "xmppd.sqlite-wal", "xmppd.sqlite-shm"}
            assert set(modes.values()) == {0o600}
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    finally:
        os.umask(old)
    assert {path.name for path in directory.iterdir()} == {"lock", "xmppd.sqlite"}  # the log is taken in


@in_loop
async def test_a_file_open_to_others_is_closed_to_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "xmppd.sqlite"
    path.touch(0o644)
    async with Store.open(tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "database file was open to others" in caplog.text


@in_loop
async def test_a_database_that_is_taken_away_is_told_and_may_come_back(tmp_path: Path) -> None:
    """What is written to a file without a name is lost when the server stops: nothing is acknowledged then."""
    path, away = tmp_path / "xmppd.sqlite", tmp_path / "away"
    async with Store.open(tmp_path) as store:
        await store.accounts.create("alice", "example.org", KEYS)
        path.rename(away)
        for why in ("no longer there", "another file"):
            with pytest.raises(StoreError, match=why):
                await store.accounts.get("alice", "example.org")
            with pytest.raises(StoreError, match=why):
                await store.accounts.create("bob", "example.org", KEYS)
            assert not store.health().ok
            path.touch()  # for the second round
        away.rename(path)
        assert await store.accounts.get("alice", "example.org") is not None
        await store.accounts.create("bob", "example.org", KEYS)
        assert store.health().ok
    async with Store.open(tmp_path) as store:
        assert await store.accounts.get("bob", "example.org") is not None


@in_loop
async def test_durable_by_default(tmp_path: Path) -> None:
    def pragmas(connection: sqlite3.Connection) -> dict[str, Any]:
        names = (
            "journal_mode",
            "synchronous",
            "foreign_keys",
            "busy_timeout",
            "wal_autocheckpoint",
            "query_only",
        )
        return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    async with Store.open(tmp_path) as store:
        found = await store.transact(pragmas)
        assert found == {
            "journal_mode": "wal",
            "synchronous": 2,  # FULL
            "foreign_keys": 1,
            "busy_timeout": 5000,
            "wal_autocheckpoint": 1000,
            "query_only": 0,
        }
        assert (await store.read(pragmas))["query_only"] == 1


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda path: path.write_bytes(b"longer than a header" * 9),
            "the file is not a database",
        ),
        (lambda path: path.mkdir(), "Is a directory"),
        (
            lambda path: sqlite3.connect(path).execute("CREATE TABLE other (id)"),
            "the database file belongs to another program",
        ),
    ],
)
def test_what_is_no_database_of_ours_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(tmp_path / "xmppd.sqlite")
    for _ in range(2):  # the second time too: the lock was given back
        with pytest.raises(StoreError, match=sentence):
            Store.open(tmp_path)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        StoreError, match=r"^the data directory .*/file/data cannot be used: Not a directory$"
    ):
        Store.open(tmp_path / "file" / "data")


# ---- schema


def test_a_file_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    asyncio.run(Store.open(tmp_path).close())
    connection = sqlite3.connect(tmp_path / "xmppd.sqlite")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = (tmp_path / "xmppd.sqlite").read_bytes()
    with pytest.raises(SchemaTooNew) as caught:
        Store.open(tmp_path)
    assert str(caught.value) == (
        f"the database has schema version {SCHEMA_VERSION + 1}, this program knows versions up to "
        f"{SCHEMA_VERSION}: use the program that wrote it, or a newer one"
    )
    assert (tmp_path / "xmppd.sqlite").read_bytes() == before


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_file_of_every_older_schema_is_brought_up(tmp_path: Path, version: int) -> None:
    connection = sqlite3.connect(tmp_path / "xmppd.sqlite", isolation_level=None)
    assert migrate(connection, to=version) == list(range(1, version + 1))
    connection.execute(
        "INSERT INTO account (id, local, domain, created_at) VALUES (7, 'old', 'example.org', 1400000000)"
    )
    if version >= 2:
        connection.execute("INSERT INTO roster (account_id, version) VALUES (7, 1)")
    waiting = [(30, b"one"), (31, b"two")] if version >= 3 else []
    for row in waiting:
        connection.execute("INSERT INTO offline (account_id, place, stanza) VALUES (7, ?, ?)", row)
    connection.close()

    async def main() -> None:
        async with Store.open(tmp_path) as store:
            account = await store.accounts.get("old", "example.org")
            assert account is not None
            assert account.created_at.isoformat() == "2014-05-13T16:53:20+00:00"
            assert (await store.rosters.load(account.id)).items == []
            assert await store.offline.page(account.id, 0, 100, 1000) == waiting
            await store.rosters.put(account.id, RosterItem("friend@example.org"))
            await store.accounts.create("new", "example.org", KEYS)

    asyncio.run(main())
    connection = sqlite3.connect(tmp_path / "xmppd.sqlite")
    assert schema_version(connection) == SCHEMA_VERSION
    names = [row["name"] for row in Database(connection)["_sqlite_migrations"].rows]
    assert names == [
        "0001_accounts",
        "0002_rosters",
        "0003_offline",
        "0004_roster_changes",
        "0005_documents",
        "0006_offline_as_it_comes",
        "0007_blocks",
        "0008_crossings",
        "0009_expired_passwords",
    ]
    connection.close()


def test_a_step_that_fails_leaves_the_step_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xmppd.store import migrations

    def broken(db: Database) -> None:
        db.execute("CREATE TABLE half (id INTEGER)")
        raise RuntimeError("power cut")

    monkeypatch.setattr(migrations, "STEPS", (migrations.STEPS[0], broken))
    connection = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    with pytest.raises(RuntimeError):
        migrate(connection)
    assert schema_version(connection) == 1
    assert "half" not in Database(connection).table_names()


def test_a_step_may_not_leave_rows_that_refer_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xmppd.store import migrations

    def orphans(db: Database) -> None:
        db.execute("INSERT INTO scram_keys VALUES (5, 'SHA-1', x'00', 1, x'00', x'00')")

    monkeypatch.setattr(migrations, "STEPS", (migrations.STEPS[0], orphans))
    connection = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    with pytest.raises(StoreError, match=r"step 2 .* 1 rows"):
        migrate(connection)
    assert schema_version(connection) == 1


def test_everything_of_an_account_goes_with_it(tmp_path: Path) -> None:
    """A guard for tables to come: what names an account must cascade, and nothing may be kept by name."""
    asyncio.run(Store.open(tmp_path).close())
    connection = sqlite3.connect(tmp_path / "xmppd.sqlite")
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    for table in Database(connection).tables:
        if "account_id" in table.columns_dict:
            actions = [
                row[6]
                for row in connection.execute(f"PRAGMA foreign_key_list({table.name})")
                if row[3] == "account_id"
            ]
            assert actions == ["CASCADE"], table.name


# ---- one process at a time

HOLD = """
import asyncio, sys
from xmppd.store import Store, StoreInUse
try:
    store = Store.open(sys.argv[1])
except StoreInUse as error:
    sys.exit(str(error))
print("open", flush=True)
sys.stdin.read()
asyncio.run(store.close())
"""


def test_two_processes_never_share_a_directory(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    process = start(HOLD, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    assert holder(tmp_path) == process.pid
    with pytest.raises(StoreInUse) as caught:
        Store.open(tmp_path)
    assert str(caught.value) == f"the data directory {tmp_path} is in use by process {process.pid}"
    process.communicate("")
    assert process.returncode == 0
    assert holder(tmp_path) is None
    asyncio.run(Store.open(tmp_path).close())


def test_who_only_asks_does_not_keep_others_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = os.open(tmp_path / "lock", os.O_RDONLY | os.O_CREAT)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(asking, fcntl.LOCK_UN))
    asyncio.run(Store.open(tmp_path).close())
    os.close(asking)


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(StoreError, match=r"is too old: 3\.38\.0 is needed"):
        Store.open(tmp_path)


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    process = start(HOLD, tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    assert holder(tmp_path) is None
    asyncio.run(Store.open(tmp_path).close())


def test_the_same_process_cannot_open_it_twice(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(StoreInUse):
        Store.open(tmp_path)
    asyncio.run(store.close())
    asyncio.run(store.close())


# ---- kill -9

WRITE = """
import asyncio, sys
from xmppd.store import ScramKeys, Store

async def main():
    store = Store.open(sys.argv[1])
    first = int(sys.argv[2])

    async def write(lane):
        for i in range(first + lane, 1 << 60, 8):
            keys = ScramKeys("SHA-256", b"s", 4096, b"k", b"k")
            await store.accounts.create(f"user{i}", "example.org", [keys])
            print(i, flush=True)

    await asyncio.gather(*map(write, range(8)))

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for round_ in range(5):
        process = start(WRITE, tmp_path, round_ * 1_000_000)
        assert process.stdout is not None
        for _ in range(random.randint(1, 200)):  # noqa: S311
            acknowledged.add(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()  # communicate() does not see what readline() has buffered
        process.wait()
        acknowledged.update(map(int, rest.splitlines() if rest.endswith("\n") else rest.splitlines()[:-1]))

        connection = sqlite3.connect(tmp_path / "xmppd.sqlite")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        found = {int(row[0].removeprefix("user")) for row in connection.execute("SELECT local FROM account")}
        halves = "SELECT count(*) FROM account WHERE id NOT IN (SELECT account_id FROM scram_keys)"
        assert connection.execute(halves).fetchone() == (0,)
        connection.close()
        assert acknowledged <= found
        assert len(found) - len(acknowledged) <= 8 * (round_ + 1)  # at most what was in flight


# ---- accounts


@in_loop
async def test_accounts(tmp_path: Path) -> None:
    async with Store.open(tmp_path) as store:
        made = await store.accounts.create("alice", "example.org", KEYS)
        assert made.jid == "alice@example.org"
        assert made.enabled
        assert not made.expired
        assert await store.accounts.get("alice", "example.org") == made
        assert made.keys == {"SHA-1": KEYS[0], "SHA-256": KEYS[1]}
        assert await store.accounts.get("alice", "example.com") is None
        with pytest.raises(AccountExists, match=r"alice@example\.org exists already"):
            await store.accounts.create("alice", "example.org", [])
        await store.accounts.create("alice", "example.com", KEYS)
        await store.accounts.create("bob", "example.org", KEYS)
        assert [a.jid for a in await store.accounts.list()] == [
            "alice@example.com",
            "alice@example.org",
            "bob@example.org",
        ]
        assert [a.jid for a in await store.accounts.list("example.com")] == ["alice@example.com"]
        assert await store.accounts.count() == 3
        assert await store.accounts.existing([("bob", "example.org"), ("bob", "x")]) == {
            ("bob", "example.org")
        }
        assert await store.accounts.iterations() == {"SHA-1": {4096: 3}, "SHA-256": {4096: 3}}

        other = ScramKeys("SHA-256", b"other", 10_000, b"k", b"k")
        await store.accounts.set_password("alice", "example.org", [other])
        await store.accounts.set_enabled("alice", "example.org", False)
        changed = await store.accounts.get("alice", "example.org")
        assert changed is not None
        assert (changed.keys, changed.enabled) == ({"SHA-256": other}, False)
        await store.accounts.set_enabled("alice", "example.org", True)
        assert (await store.accounts.get("alice", "example.org")).enabled  # type: ignore[union-attr]

        for call in (
            store.accounts.set_password("nobody", "example.org", KEYS),
            store.accounts.set_enabled("nobody", "example.org", True),
            store.accounts.expire_password("nobody", "example.org"),
            store.accounts.delete("nobody", "example.org"),
        ):
            with pytest.raises(NoSuchAccount, match=r"there is no account nobody@example\.org"):
                await call


@in_loop
async def test_a_deleted_account_leaves_nothing_to_inherit(tmp_path: Path) -> None:
    async with Store.open(tmp_path) as store:
        alice = await store.accounts.create("alice", "example.org", KEYS)
        bob = await store.accounts.create("bob", "example.org", KEYS)
        carol = await store.accounts.create("carol", "example.org", KEYS)
        hers = [RosterItem("bob@example.org", subscription="both"), RosterItem("x@example.net", ask=True)]
        old_version = await store.rosters.put_many(alice.id, [*hers, RosterItem("alice@example.org")])
        about_her = RosterItem("alice@example.org", name="A", subscription="both")
        bobs_version = await store.rosters.put_many(
            bob.id, [about_her, RosterItem("alice@example.org/phone"), RosterItem("alice@example.organic")]
        )
        asked = RosterItem("alice@example.org", pending_in=b"<presence/>", listed=False)
        carols_version = await store.rosters.put(carol.id, asked)

        deleted = await store.accounts.delete("alice", "example.org")
        assert deleted.account == alice
        assert deleted.roster == [RosterItem("alice@example.org"), *hers]
        assert [(h.local, h.item.jid) for h in deleted.holders] == [
            ("bob", "alice@example.org"),
            ("bob", "alice@example.org/phone"),
            ("carol", "alice@example.org"),
        ]
        assert deleted.holders[0].item == about_her
        # out of the contacts' rosters: bob's clients have something to learn, carol's have not
        bobs = await store.rosters.load(bob.id)
        assert [item.jid for item in bobs.items] == ["alice@example.organic"]
        assert bobs.version > bobs_version
        assert await store.rosters.load(carol.id) == await store.rosters.load(carol.id)
        assert (await store.rosters.load(carol.id)).items == []
        assert (await store.rosters.load(carol.id)).version == carols_version

        again = await store.accounts.create("alice", "example.org", KEYS[:1])
        assert again.id not in {alice.id, bob.id, carol.id}
        new = await store.rosters.load(again.id)
        assert new.items == []
        # a client that kept the former account's roster must not hear that it is current
        assert new.version > old_version
        assert (await store.accounts.get("alice", "example.org")).keys == {"SHA-1": KEYS[0]}  # type: ignore[union-attr]
        with pytest.raises(NoSuchAccount):
            await store.rosters.put(alice.id, RosterItem("x@example.net"))
        with pytest.raises(NoSuchAccount):
            await store.rosters.load(alice.id)

        await store.accounts.delete("alice", "example.org")  # the newest id is not given again either
        assert (await store.accounts.create("alice", "example.org", KEYS)).id > again.id


@in_loop
async def test_many_accounts_in_one_transaction(tmp_path: Path) -> None:
    async with Store.open(tmp_path) as store:
        await store.accounts.create("user7", "example.org", [])
        before = store.stats().writer.batches
        made = await store.accounts.import_many(
            [NewAccount(f"user{i}", "example.org", KEYS) for i in range(500)]
        )
        assert [i for i, was_made in enumerate(made) if not was_made] == [7]
        assert store.stats().writer.batches == before + 1
        assert (await store.accounts.get("user7", "example.org")).keys == {}  # type: ignore[union-attr]
        assert await store.accounts.count() == 500


@in_loop
async def test_an_account_is_never_half_made(tmp_path: Path) -> None:
    async with Store.open(tmp_path) as store:
        with pytest.raises(sqlite3.IntegrityError):
            await store.accounts.create("alice", "example.org", [KEYS[0], KEYS[0]])  # two of one hash
        assert await store.accounts.get("alice", "example.org") is None


def test_after_a_restore_no_version_means_another_roster(tmp_path: Path) -> None:
    async def put(contact: str) -> int:
        async with Store.open(tmp_path) as store:
            found = await store.rosters.find("alice", "example.org")
            account_id = found.id if found else (await store.accounts.create("alice", "example.org", KEYS)).id
            return await store.rosters.put(account_id, RosterItem(contact))

    asyncio.run(put("a@example.net"))
    backup = (tmp_path / "xmppd.sqlite").read_bytes()
    lost = asyncio.run(put("b@example.net"))
    (tmp_path / "xmppd.sqlite").write_bytes(backup)
    # a client may still hold the roster of the version that was lost
    assert asyncio.run(put("c@example.net")) != lost


# ---- readers


@in_loop
async def test_readers_cannot_write(tmp_path: Path) -> None:
    async with Store.open(tmp_path) as store:
        with pytest.raises(StoreError, match="read-only"):
            await store.read(lambda connection: connection.execute("DELETE FROM account"))


@in_loop
async def test_a_reader_sees_one_state(tmp_path: Path) -> None:
    looked, go_on = threading.Event(), threading.Event()

    def work(connection: sqlite3.Connection) -> tuple[int, int]:
        sql = "SELECT count(*) FROM account"
        first = connection.execute(sql).fetchone()[0]
        looked.set()
        go_on.wait(30)
        return first, connection.execute(sql).fetchone()[0]

    async with Store.open(tmp_path) as store:
        reading = asyncio.ensure_future(store.read(work))
        assert await asyncio.to_thread(looked.wait, 10)
        await store.accounts.create("alice", "example.org", KEYS)
        go_on.set()
        assert await reading == (0, 0)
        assert await store.accounts.count() == 1


@in_loop
async def test_reads_are_bounded_and_have_a_deadline(tmp_path: Path) -> None:
    release = threading.Event()
    settings = StoreSettings(readers=1, reader_queue_jobs=2, deadline_s=0.05)
    async with Store.open(tmp_path, settings) as store:
        slow = asyncio.ensure_future(store.read(lambda _: release.wait(30)))
        waiting = asyncio.ensure_future(store.read(lambda _: 1))
        await asyncio.sleep(0)
        assert store.stats().reader_depth == 2
        with pytest.raises(StoreFull, match="2 reads are waiting"):
            await store.read(lambda _: 1)
        for job in (slow, waiting):
            with pytest.raises(StoreTimeout):
                await job
        release.set()
        while store.stats().reader_depth:
            await asyncio.sleep(0)
        assert await store.read(lambda _: 2) == 2


@in_loop
async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    await store.close()
    with pytest.raises(StoreClosed):
        await store.accounts.count()
    with pytest.raises(StoreClosed):
        await store.accounts.create("alice", "example.org", [])


@in_loop
async def test_close_drops_reads_that_have_not_begun(tmp_path: Path) -> None:
    begun, release = threading.Event(), threading.Event()

    def work(_: sqlite3.Connection) -> int:
        begun.set()
        release.wait(30)
        return 1

    store = Store.open(tmp_path, StoreSettings(readers=1))
    slow = asyncio.ensure_future(store.read(work))
    assert await asyncio.to_thread(begun.wait, 10)
    waiting = asyncio.ensure_future(store.read(lambda _: 2))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(store.close())
    with pytest.raises(StoreClosed):
        await waiting
    release.set()
    assert await slow == 1
    await closing
