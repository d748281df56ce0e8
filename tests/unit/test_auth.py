"""Passwords and log-ins of local accounts."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import logging
import stat
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import scramp.core
from hypothesis import given, settings
from hypothesis import strategies as st

from xmppd.auth import local, scram
from xmppd.auth.local import Credentials, LocalAuth, LocalAuthSettings, load_secret
from xmppd.auth.scram import HASHES, derive, keys_from, matches
from xmppd.errors import SaslFailure
from xmppd.events import counters
from xmppd.store import Account, AccountExists, NoSuchAccount, Store, StoreError, StoreFull, StoreTimeout

ADDRESS = "192.0.2.1"
DOMAIN = "example.org"
FAST = LocalAuthSettings(scram_iterations=4096)


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


class Opened:
    """A store and its log-ins, opened and closed together."""

    def __init__(self, directory: Path, settings: LocalAuthSettings = FAST) -> None:
        self.store = Store.open(directory)
        self.auth = LocalAuth(self.store, settings)

    async def __aenter__(self) -> LocalAuth:
        return self.auth

    async def __aexit__(self, *_: object) -> None:
        await self.auth.close()
        await self.store.close()


# ---- keys


@pytest.mark.parametrize(
    ("hash_name", "salt", "auth_message", "proof", "verifier"),
    [
        (  # RFC 5802 section 5
            "SHA-1",
            "QSXCR+Q6sek8bf92",
            (
                b"n=user,r=fyko+d2lbbFgONRv9qkxdawL,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,"
                b"s=QSXCR+Q6sek8bf92,i=4096,c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j"
            ),
            "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (  # RFC 7677 section 3
            "SHA-256",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            (
                b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,"
                b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
            ),
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)
def test_the_examples_of_the_rfcs(
    hash_name: str, salt: str, auth_message: bytes, proof: str, verifier: str
) -> None:
    import hmac

    keys = keys_from(hash_name, b"pencil", base64.b64decode(salt), 4096)
    algorithm = HASHES[hash_name]
    signature = hmac.digest(keys.stored_key, auth_message, algorithm)
    client_key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
    assert hashlib.new(algorithm, client_key).digest() == keys.stored_key
    assert hmac.digest(keys.server_key, auth_message, algorithm) == base64.b64decode(verifier)


@pytest.mark.parametrize("password", ["pencil", "pässwörd", "I\u00adX", "\u00aa", "パスワード", " "])
def test_keys_are_those_of_another_implementation(password: str) -> None:
    for keys in derive(password, iterations=4096):
        mechanism = scramp.core.ScramMechanism(f"SCRAM-{keys.hash}")
        _, stored_key, server_key, _ = mechanism.make_auth_info(password, 4096, keys.salt)
        assert (keys.stored_key, keys.server_key) == (stored_key, server_key)


def test_every_password_has_salts_of_its_own() -> None:
    salts = {keys.salt for _ in range(3) for keys in derive("pencil", iterations=4096)}
    assert len(salts) == 6
    assert {len(salt) for salt in salts} == {16}
    assert [keys.hash for keys in derive("pencil")] == ["SHA-1", "SHA-256"]
    assert {keys.iterations for keys in derive("pencil")} == {10_000}


@pytest.mark.parametrize("password", ["", "\u00ad", "bell\a", "\u0627\u0031", "\ue000"])
def test_passwords_that_cannot_be_used(password: str) -> None:
    with pytest.raises(ValueError, match="the password") as caught:
        derive(password)
    assert not password.strip() or password not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_fewer_iterations_than_the_minimum() -> None:
    with pytest.raises(ValueError, match="4095 iterations are fewer than 4096"):
        derive("pencil", iterations=4095)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=12), st.text(max_size=12))
def test_only_the_password_matches(password: str, other: str) -> None:
    keys = keys_from("SHA-256", b"fixed", b"salt", 2)
    assert not matches(password, keys) or password == "fixed"
    try:
        made = derive(password, iterations=4096)
    except ValueError:
        return
    assert all(matches(password, keys) for keys in made)
    prepared = scram.saslprep(password)
    try:
        same = scram.saslprep(other, allow_unassigned=True) == prepared
    except ValueError:
        same = False
    assert all(matches(other, keys) == same for keys in made)


def test_a_password_that_cannot_be_prepared_matches_nothing() -> None:
    assert not matches("bell\a", keys_from("SHA-256", b"", b"salt", 2))


# ---- log-ins


@pytest.mark.req("3-5.1", "3-7.5", "3-23.2", "3-23.9")
@in_loop
async def test_verdicts(tmp_path: Path) -> None:
    async with Opened(tmp_path) as auth:
        await auth.create_account("juliet", DOMAIN, "r0m30myr0m30")
        await auth.create_account("rené", DOMAIN, "Cafe\u0301")  # decomposed
        assert await auth.verify("juliet", DOMAIN, "r0m30myr0m30", ADDRESS) == "ok"
        assert await auth.verify("juliet", DOMAIN, "r0m30myr0m3", ADDRESS) == "wrong"
        assert await auth.verify("juliet", DOMAIN, "", ADDRESS) == "wrong"
        assert await auth.verify("juliet", DOMAIN, "bell\a", ADDRESS) == "wrong"
        assert await auth.verify("juliet", "example.com", "r0m30myr0m30", ADDRESS) == "wrong"
        assert await auth.verify("romeo", DOMAIN, "r0m30myr0m30", ADDRESS) == "wrong"
        assert await auth.verify("rené", DOMAIN, "Café", ADDRESS) == "ok"
        assert await auth.verify("rené", DOMAIN, "Cafe", ADDRESS) == "wrong"

        await auth._store.accounts.set_enabled("juliet", DOMAIN, False)
        assert await auth.verify("juliet", DOMAIN, "r0m30myr0m30", ADDRESS) == "disabled"
        assert (
            await auth.verify("juliet", DOMAIN, "wrong", ADDRESS) == "wrong"
        )  # told only who knows the password
        assert (await auth.look_up("juliet", DOMAIN, "SCRAM-SHA-1")).if_right == "disabled"
        with pytest.raises(AccountExists):
            await auth.create_account("juliet", DOMAIN, "other")


@in_loop
async def test_an_expired_password_is_told_to_who_knows_it(tmp_path: Path) -> None:
    async with Opened(tmp_path) as auth:
        await auth.create_account("juliet", DOMAIN, "old")
        await auth._store.accounts.expire_password("juliet", DOMAIN)
        assert await auth.verify("juliet", DOMAIN, "old", ADDRESS) == "expired"
        assert await auth.verify("juliet", DOMAIN, "wrong", ADDRESS) == "wrong"
        assert (await auth.look_up("juliet", DOMAIN, "SCRAM-SHA-1")).if_right == "expired"
        await auth._store.accounts.set_enabled("juliet", DOMAIN, False)
        assert await auth.verify("juliet", DOMAIN, "old", ADDRESS) == "disabled"  # which weighs more
        await auth._store.accounts.set_enabled("juliet", DOMAIN, True)
        await auth.set_password("juliet", DOMAIN, "new")
        assert await auth.verify("juliet", DOMAIN, "new", ADDRESS) == "ok"


@in_loop
async def test_a_new_password_counts_at_once(tmp_path: Path) -> None:
    async with Opened(tmp_path) as auth:
        await auth.create_account("juliet", DOMAIN, "old")
        before = await auth.look_up("juliet", DOMAIN, "SCRAM-SHA-256")
        await auth.set_password("juliet", DOMAIN, "new")
        assert await auth.verify("juliet", DOMAIN, "old", ADDRESS) == "wrong"
        assert await auth.verify("juliet", DOMAIN, "new", ADDRESS) == "ok"
        assert (await auth.look_up("juliet", DOMAIN, "SCRAM-SHA-256")).salt != before.salt
        with pytest.raises(NoSuchAccount):
            await auth.set_password("romeo", DOMAIN, "new")
        with pytest.raises(ValueError, match="empty"):
            await auth.set_password("juliet", DOMAIN, "")
        assert await auth.verify("juliet", DOMAIN, "new", ADDRESS) == "ok"

        auth.settings = LocalAuthSettings(scram_iterations=5000)
        await auth.set_password("juliet", DOMAIN, "newer")
        assert (await auth.look_up("juliet", DOMAIN, "SCRAM-SHA-256")).iterations == 5000


@in_loop
async def test_keys_for_every_mechanism(tmp_path: Path) -> None:
    async with Opened(tmp_path) as auth:
        account = await auth.create_account("juliet", DOMAIN, "pencil")
        for hash_name in HASHES:
            for plus in ("", "-PLUS"):
                found = await auth.look_up("juliet", DOMAIN, f"SCRAM-{hash_name}{plus}")
                keys = account.keys[hash_name]
                assert (found.salt, found.iterations) == (keys.salt, keys.iterations)
                assert (found.stored_key, found.server_key) == (keys.stored_key, keys.server_key)
        with pytest.raises(SaslFailure, match="invalid-mechanism"):
            await auth.look_up("juliet", DOMAIN, "SCRAM-SHA-512")


@pytest.mark.req("3-23.9")
@in_loop
async def test_a_name_that_does_not_exist_looks_like_one_that_does(tmp_path: Path) -> None:
    names = ["romeo", "a@b", "", "\0", "tybalt"]
    async with Opened(tmp_path) as auth:
        await auth.create_account("juliet", DOMAIN, "pencil")
        real = {h: await auth.look_up("juliet", DOMAIN, f"SCRAM-{h}") for h in HASHES}
        first = {(n, h): await auth.look_up(n, DOMAIN, f"SCRAM-{h}") for n in names for h in HASHES}
    async with Opened(tmp_path) as auth:  # the same after a restart
        again = {(n, h): await auth.look_up(n, DOMAIN, f"SCRAM-{h}") for n in names for h in HASHES}
    assert again == first
    for (_, hash_name), made_up in first.items():
        assert made_up.if_right == "ok"
        assert made_up.iterations == real[hash_name].iterations
        for part in ("salt", "stored_key", "server_key"):
            assert len(getattr(made_up, part)) == len(getattr(real[hash_name], part))
    parts = [getattr(c, part) for c in first.values() for part in ("salt", "stored_key", "server_key")]
    assert len(set(parts)) == len(parts)  # nothing repeats, as nothing repeats among real accounts


@in_loop
async def test_iteration_counts_do_not_tell_who_exists(tmp_path: Path) -> None:
    async with Opened(tmp_path, LocalAuthSettings(scram_iterations=4096)) as auth:
        for i in range(3):
            await auth.create_account(f"old{i}", DOMAIN, "pencil")
    async with Opened(tmp_path, LocalAuthSettings(scram_iterations=5000)) as auth:
        await auth.create_account("new", DOMAIN, "pencil")
    async with Opened(tmp_path, LocalAuthSettings(scram_iterations=6000)) as auth:
        counts: Counter[int] = Counter()
        for i in range(400):
            found = {(await auth.look_up(f"user{i}", DOMAIN, f"SCRAM-{h}")).iterations for h in HASHES}
            assert len(found) == 1  # the same for both hashes, as a real account has it
            counts.update(found)
    assert set(counts) == {4096, 5000}
    assert 250 < counts[4096] < 350  # about three of four


@in_loop
async def test_counts_are_looked_for_once_for_all_who_come(tmp_path: Path, monkeypatch) -> None:
    """After a restart everybody comes at once, and to count goes through all keys."""
    async with Opened(tmp_path) as auth:
        await auth.create_account("juliet", DOMAIN, "pencil")
        accounts = auth._store.accounts
        count, counted, may_go_on = accounts.iterations, 0, asyncio.Event()

        async def counting() -> dict[str, dict[int, int]]:
            nonlocal counted
            counted += 1
            await may_go_on.wait()
            return await count()

        def look_up(name: str) -> asyncio.Future[Credentials]:
            return asyncio.ensure_future(auth.look_up(name, DOMAIN, "SCRAM-SHA-256"))

        monkeypatch.setattr(accounts, "iterations", counting)
        began = look_up("user")
        while not counted:
            await asyncio.sleep(0)
        began.cancel()
        others = [look_up(f"user{i}") for i in range(20)]
        await asyncio.wait([began])
        await accounts.count()  # what they have asked of the store before that has come
        assert not any(each.done() for each in others)
        may_go_on.set()
        assert {(await each).iterations for each in others} == {4096}
        assert counted == 1
        # when that has become old nobody waits for the next
        may_go_on.clear()
        auth._iterations_due_s = 0.0
        for _ in range(3):
            await look_up("romeo")
        assert counted == 2
        may_go_on.set()


@pytest.mark.req("3-23.9")
@in_loop
async def test_who_comes_when_the_counts_have_just_come_knows_them(tmp_path: Path, monkeypatch) -> None:
    async with Opened(tmp_path, LocalAuthSettings(scram_iterations=5000)) as auth:
        accounts = auth._store.accounts
        counts, no_account = (asyncio.get_running_loop().create_future() for _ in range(2))

        async def get(username: str, _domain: str) -> Account | None:
            return None if username == "first" else await no_account

        async def iterations() -> dict[str, dict[int, int]]:
            return await counts

        monkeypatch.setattr(accounts, "get", get)
        monkeypatch.setattr(accounts, "iterations", iterations)
        found = [
            asyncio.ensure_future(auth.look_up(name, DOMAIN, "SCRAM-SHA-256")) for name in ("first", "second")
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        counts.set_result({"SHA-256": {4096: 1}})
        no_account.set_result(None)  # both of one batch of reads
        assert [(await each).iterations for each in found] == [4096, 4096]


@in_loop
async def test_when_counts_cannot_be_looked_for_the_next_log_in_tries_again(
    tmp_path: Path, monkeypatch
) -> None:
    async with Opened(tmp_path) as auth:
        await auth.create_account("juliet", DOMAIN, "pencil")
        accounts = auth._store.accounts
        count = accounts.iterations

        async def failing() -> dict[str, dict[int, int]]:
            raise StoreTimeout("no answer")

        monkeypatch.setattr(accounts, "iterations", failing)
        with pytest.raises(SaslFailure, match="temporary-auth-failure"):
            await auth.look_up("romeo", DOMAIN, "SCRAM-SHA-256")
        monkeypatch.setattr(accounts, "iterations", count)
        await auth.look_up("romeo", DOMAIN, "SCRAM-SHA-256")
        # nor does one that fails later take away what is known
        monkeypatch.setattr(accounts, "iterations", failing)
        auth._iterations_due_s = 0.0
        await auth.look_up("romeo", DOMAIN, "SCRAM-SHA-256")


@pytest.mark.req("3-23.9")
@in_loop
async def test_every_attempt_costs_one_pbkdf2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs: list[tuple[str, int]] = []
    real = hashlib.pbkdf2_hmac

    def counted(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        costs.append((name, iterations))
        return real(name, password, salt, iterations)

    async with Opened(tmp_path) as auth:
        await auth.create_account("juliet", DOMAIN, "pencil")
        await auth.create_account("off", DOMAIN, "pencil")
        await auth._store.accounts.set_enabled("off", DOMAIN, False)
        monkeypatch.setattr(scram.hashlib, "pbkdf2_hmac", counted)
        for name in ("juliet", "off", "romeo"):
            for password in ("pencil", "wrong", "", "bell\a", "\u0627\u0031"):
                await auth.verify(name, DOMAIN, password, ADDRESS)
                assert costs == [("sha256", 4096)], (name, password)
                costs.clear()
        for name in ("juliet", "romeo"):
            await auth.look_up(name, DOMAIN, "SCRAM-SHA-1")
        assert costs == []


@pytest.mark.req("3-23.10")
@in_loop
async def test_a_store_that_does_not_answer_defers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: str) -> Account:
        raise StoreError("the disk reports an input/output error")

    async with Opened(tmp_path) as auth:
        monkeypatch.setattr(auth._store.accounts, "get", broken)
        assert await auth.verify("juliet", DOMAIN, "pencil", ADDRESS) == "deferred"
        with pytest.raises(SaslFailure, match="temporary-auth-failure"):
            await auth.look_up("juliet", DOMAIN, "SCRAM-SHA-1")


class Gate:
    """Holds the checks of passwords until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        monkeypatch.setattr(local, "matches", self._matches)

    def _matches(self, *_: object) -> bool:
        return self._open.wait(30)

    def open(self) -> None:
        self._open.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@in_loop
async def test_one_address_cannot_fill_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    before = counters["logins_deferred"]
    async with Opened(tmp_path, LocalAuthSettings(plain_per_address=2, plain_threads=1)) as auth:
        await auth.create_account("juliet", DOMAIN, "pencil")
        same = ["2001:db8::1", "2001:db8::2%eth0", "2001:db8::ffff:0:0:1", "2001:db8:0:0::3"]
        checks = [asyncio.ensure_future(auth.verify("juliet", DOMAIN, "pencil", a)) for a in same]
        others = ["2001:db8:0:1::1", ADDRESS, f"::ffff:{ADDRESS}", ADDRESS, "unix"]
        checks += [asyncio.ensure_future(auth.verify("juliet", DOMAIN, "pencil", a)) for a in others]
        await until(lambda: auth._threads.depth == 6)
        gate.open()
        assert await asyncio.gather(*checks) == ["ok"] * 2 + ["deferred"] * 2 + ["ok"] * 3 + ["deferred"] + [
            "ok"
        ]
        assert counters["logins_deferred"] == before + 3
        assert await auth.verify("juliet", DOMAIN, "pencil", same[2]) == "ok"  # there is room again
        assert not auth._checking


@in_loop
async def test_all_addresses_together_cannot_fill_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    async with Opened(tmp_path, LocalAuthSettings(plain_queue=3, plain_threads=1)) as auth:
        checks = [asyncio.ensure_future(auth.verify("juliet", DOMAIN, "p", f"192.0.2.{i}")) for i in range(5)]
        await until(lambda: sum(check.done() for check in checks) == 2)
        with pytest.raises(StoreFull):
            await auth.create_account("juliet", DOMAIN, "pencil")
        gate.open()
        assert sorted(await asyncio.gather(*checks)) == ["deferred"] * 2 + ["ok"] * 3


@in_loop
async def test_a_check_that_takes_too_long_is_deferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    async with Opened(tmp_path, LocalAuthSettings(plain_timeout_s=0.05, plain_threads=1)) as auth:
        assert await auth.verify("juliet", DOMAIN, "pencil", ADDRESS) == "deferred"
        assert auth._threads.depth == 1  # still counted, for its thread is still busy
        gate.open()
        await until(lambda: auth._threads.depth == 0)


@in_loop
async def test_a_client_that_goes_takes_its_check_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    async with Opened(tmp_path, LocalAuthSettings(plain_threads=1)) as auth:
        checks = []
        for depth in (1, 2, 3):
            checks.append(asyncio.ensure_future(auth.verify("juliet", DOMAIN, "p", ADDRESS)))
            await until(lambda depth=depth: auth._threads.depth == depth)  # type: ignore[misc]
        checks[1].cancel()
        await until(lambda: auth._threads.depth == 2)
        gate.open()
        assert await checks[0] == await checks[2] == "ok"
        assert not auth._checking


@in_loop
async def test_the_loop_goes_on_while_passwords_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    real = matches

    def noted(password: str, keys: Any) -> bool:
        threads.add(threading.current_thread().name)
        return real(password, keys)

    monkeypatch.setattr(local, "matches", noted)
    async with Opened(tmp_path) as auth:
        await asyncio.gather(*(auth.verify("juliet", DOMAIN, "p", f"192.0.2.{i}") for i in range(10)))
    assert threads <= {"password_0", "password_1"}
    assert threads


@in_loop
async def test_no_password_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    password = "S3cret-corvus"
    settings_ = LocalAuthSettings(plain_per_address=0)
    async with Opened(tmp_path, settings_) as auth:
        await auth.create_account("juliet", DOMAIN, password)
        assert await auth.verify("juliet", DOMAIN, password, ADDRESS) == "deferred"
        with pytest.raises(AccountExists) as caught:
            await auth.create_account("juliet", DOMAIN, password)
        with pytest.raises(ValueError, match="cannot be used") as refused:
            await auth.set_password("juliet", DOMAIN, password + "\a")
        report = await auth.import_accounts([("juliet", DOMAIN, password), ("x", DOMAIN, password + "\a")])
    assert "login deferred" in caplog.text
    said = [repr(vars(record)) for record in caplog.records]
    said += [repr(caught.value), repr(refused.value), repr(refused.value.__cause__), repr(report)]
    for text in said:
        assert "corvus" not in text


# ---- import


@in_loop
async def test_import_reports_every_failure(tmp_path: Path) -> None:
    rows = [(f"user{i}", DOMAIN, f"password {i}") for i in range(70)]
    rows[5] = ("user5", DOMAIN, "")
    rows[33] = ("user1", DOMAIN, "again")
    rows[50] = ("user50", DOMAIN, "bell\a")
    done: list[int] = []
    async with Opened(tmp_path) as auth:
        await auth.create_account("user40", DOMAIN, "mine")
        report = await auth.import_accounts(rows, done.append)
        assert report.created == 66
        assert [(f.index, f.jid, f.why) for f in report.failures] == [
            (5, "user5@example.org", "the password is empty"),
            (33, "user1@example.org", "it stands twice in the import"),
            (40, "user40@example.org", "the account exists already"),
            (50, "user50@example.org", "the password cannot be used: prohibited character"),
        ]
        assert done[-1] == 70
        assert done == sorted(done)
        assert await auth._store.accounts.count() == 67
        assert await auth.verify("user69", DOMAIN, "password 69", ADDRESS) == "ok"
        assert await auth.verify("user1", DOMAIN, "password 1", ADDRESS) == "ok"
        assert await auth.verify("user40", DOMAIN, "mine", ADDRESS) == "ok"


@in_loop
async def test_an_import_stops_where_the_store_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Opened(tmp_path) as auth:
        accounts = auth._store.accounts
        real, calls = accounts.import_many, []

        async def second_fails(new: Any) -> list[bool]:
            calls.append(new)
            if len(calls) == 2:
                raise StoreError("the disk is full")
            return await real(new)

        monkeypatch.setattr(accounts, "import_many", second_fails)
        report = await auth.import_accounts([(f"user{i}", DOMAIN, "pencil") for i in range(100)])
        assert report.created == 32 == await accounts.count()
        assert [f.index for f in report.failures] == list(range(32, 100))
        assert {f.why for f in report.failures} == {"the disk is full"}
        assert len(calls) == 2


# ---- the secret


def test_the_secret_is_ours_alone_and_stays(tmp_path: Path) -> None:
    secret = load_secret(tmp_path)
    path = tmp_path / "auth-secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(secret) == 32
    assert load_secret(tmp_path) == secret
    assert [entry.name for entry in tmp_path.iterdir()] == ["auth-secret"]
    path.write_bytes(b"short")
    with pytest.raises(StoreError, match="does not hold 32 bytes"):
        load_secret(tmp_path)
    with pytest.raises(StoreError, match="Not a directory"):
        load_secret(path)
