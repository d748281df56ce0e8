"""Accounts of our own, checked against the keys in the store (UC 3-9: the local service accounts).

An answer never tells whether a name exists: an unknown name has keys too, made up from a secret of the
server, always the same for the same name, and no password fits them. Only who knows the password learns that
an account is disabled, or its password expired.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import os
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal

import msgspec

from xmppd import clock
from xmppd.address import address_group
from xmppd.auth.scram import (
    DEFAULT_ITERATIONS,
    DIGEST_BYTES,
    HASHES,
    SALT_BYTES,
    PasswordThreads,
    derive,
    matches,
)
from xmppd.errors import SaslFailure
from xmppd.events import count, fields
from xmppd.store import Account, NewAccount, ScramKeys, Store, StoreError

log = logging.getLogger("xmppd.auth")

# right, wrong (or no such account), right but disabled, right but expired, not checked (temporary-auth-failure)
Verdict = Literal["ok", "wrong", "disabled", "expired", "deferred"]

SECRET_NAME: Final = "auth-secret"  # noqa: S105 (a file's name)
SECRET_BYTES: Final = 32
STRONGEST_HASH: Final = "SHA-256"  # which keys a PLAIN password is held against
IMPORT_CHUNK: Final = 32  # accounts in one transaction; small, for log-ins wait behind a chunk's PBKDF2
ITERATIONS_AGE_S: Final = 300.0  # how old our picture of the iteration counts in use may grow


@dataclass(frozen=True, slots=True)
class LocalAuthSettings:
    """Each is a key of the table `[sasl]`."""

    scram_iterations: int = DEFAULT_ITERATIONS  # of new passwords
    plain_threads: int = 2  # threads that check PLAIN passwords and make keys
    # beyond each of these the verdict is "deferred"
    plain_queue: int = 1_000  # passwords that wait for a thread
    plain_per_address: int = 16  # passwords in check for one address (IPv6: for one /64)
    plain_timeout_s: float = 10.0  # longest time a check may take, its wait included


class Credentials(msgspec.Struct, frozen=True, gc=False):
    """The SCRAM keys of an account for one hash, and what a right password comes to.

    Made up for an account that is not there.
    """

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes
    if_right: Verdict


class ImportFailure(msgspec.Struct, frozen=True):
    """One account that was not imported."""

    index: int  # of the row, from 0
    jid: str
    why: str


@dataclass(slots=True)
class ImportReport:
    """What an import did; every row is either among `created` or in `failures`."""

    created: int = 0
    failures: list[ImportFailure] = field(default_factory=list)


class LocalAuth:
    """Log-ins and passwords of local accounts. Names and domains are normalized by the caller.

    `settings` may be replaced while it works; the threads and their queue stay as they were made.
    `close` ends the threads; the store stays open.
    """

    def __init__(self, store: Store, settings: LocalAuthSettings | None = None) -> None:
        """Reads the secret of the data directory, or makes it. Raises StoreError."""
        self._store = store
        self.settings = settings or LocalAuthSettings()
        self._secret = load_secret(store.directory)
        self._threads = PasswordThreads(self.settings.plain_threads, self.settings.plain_queue)
        self._checking: Counter[str] = Counter()
        self._iterations: dict[str, dict[int, int]] = {}
        self._iterations_due_s = -math.inf
        self._learning: asyncio.Task[None] | None = None

    async def look_up(self, username: str, domain: str, mechanism: str) -> Credentials:
        """The keys for a SCRAM mechanism ("SCRAM-SHA-256", -PLUS or not).

        Raises SaslFailure: invalid-mechanism, or temporary-auth-failure if the store does not answer.
        """
        hash_name = mechanism.removeprefix("SCRAM-").removesuffix("-PLUS")
        if hash_name not in HASHES:
            raise SaslFailure("invalid-mechanism")
        try:
            account = await self._store.accounts.get(username, domain)
            await self._learn_iterations()
        except StoreError as error:
            log.warning("login deferred", extra=fields(reason=str(error)))
            raise SaslFailure("temporary-auth-failure") from error
        keys, if_right = self._keys(account, username, domain, hash_name)
        return Credentials(keys.salt, keys.iterations, keys.stored_key, keys.server_key, if_right)

    async def verify(self, username: str, domain: str, password: str, address: str) -> Verdict:
        """Check a PLAIN password of a client at `address`; one PBKDF2, whether the account exists or not."""
        source = address_group(address)
        if self._checking[source] >= self.settings.plain_per_address:
            return self._deferred(address, "too many passwords of this address are being checked")
        self._checking[source] += 1
        try:
            async with asyncio.timeout(self.settings.plain_timeout_s):
                account = await self._store.accounts.get(username, domain)
                await self._learn_iterations()
                keys, if_right = self._keys(account, username, domain, STRONGEST_HASH)
                right = await self._threads.run(matches, password, keys)
        except StoreError as error:
            return self._deferred(address, str(error))
        except TimeoutError:
            return self._deferred(address, "the check took too long")
        finally:
            self._checking[source] -= 1
            if not self._checking[source]:
                del self._checking[source]
        return if_right if right else "wrong"

    def _deferred(self, address: str, reason: str) -> Verdict:
        count("logins_deferred")
        log.warning("login deferred", extra=fields(peer=address, reason=reason))
        return "deferred"

    # ---- passwords

    async def create_account(self, local: str, domain: str, password: str) -> Account:
        """Make an account. Raises ValueError (password), AccountExists, StoreError."""
        return await self._store.accounts.create(local, domain, await self._derive(password))

    async def set_password(self, local: str, domain: str, password: str) -> None:
        """Change a password; the next log-in needs it.

        Raises ValueError (password), NoSuchAccount, StoreError.
        """
        await self._store.accounts.set_password(local, domain, await self._derive(password))

    async def import_accounts(
        self, rows: Sequence[tuple[str, str, str]], on_progress: Callable[[int], object] = lambda done: None
    ) -> ImportReport:
        """Make many accounts from (local, domain, password); `on_progress` gets the number of rows done.

        An account is made wholly or not at all; whatever goes wrong with a row stands in the report. If the
        store fails, the rows not yet tried are reported with its words.
        """
        report = ImportReport()
        seen: set[tuple[str, str]] = set()
        for start in range(0, len(rows), IMPORT_CHUNK):
            chunk = range(start, min(start + IMPORT_CHUNK, len(rows)))
            try:
                why = await self._import_chunk(rows, chunk, seen)
            except StoreError as error:
                rest = range(start, len(rows))
                report.failures += [ImportFailure(i, f"{rows[i][0]}@{rows[i][1]}", str(error)) for i in rest]
                break
            report.created += len(chunk) - len(why)
            report.failures += [ImportFailure(i, f"{rows[i][0]}@{rows[i][1]}", why[i]) for i in sorted(why)]
            on_progress(chunk.stop)
        return report

    async def _import_chunk(
        self, rows: Sequence[tuple[str, str, str]], chunk: range, seen: set[tuple[str, str]]
    ) -> dict[int, str]:
        """Index -> why that row was not imported."""
        why: dict[int, str] = {}
        # asked before the keys are made: they are what takes the time
        existing = await self._store.accounts.existing(rows[i][:2] for i in chunk)
        for i in chunk:
            name = rows[i][:2]
            if name in seen:
                why[i] = "it stands twice in the import"
            elif name in existing:
                why[i] = "the account exists already"
            seen.add(name)
        todo = [i for i in chunk if i not in why]
        made = await asyncio.gather(*(self._derive(rows[i][2]) for i in todo), return_exceptions=True)
        ready: list[tuple[int, NewAccount]] = []
        for i, keys in zip(todo, made, strict=True):
            if isinstance(keys, ValueError):
                why[i] = str(keys)
            elif isinstance(keys, BaseException):
                raise keys
            else:
                ready.append((i, NewAccount(rows[i][0], rows[i][1], keys)))
        created = await self._store.accounts.import_many([account for _, account in ready])
        for (i, _), was_made in zip(ready, created, strict=True):
            if not was_made:
                why[i] = "the account exists already"
        return why

    async def _derive(self, password: str) -> tuple[ScramKeys, ...]:
        return await self._threads.run(partial(derive, password, iterations=self.settings.scram_iterations))

    async def close(self) -> None:
        """End the threads."""
        await self._threads.close()

    # ---- names that do not exist

    def _keys(
        self, account: Account | None, username: str, domain: str, hash_name: str
    ) -> tuple[ScramKeys, Verdict]:
        # 3-23: made up in any case, so that both cases take the same time
        made_up = self._made_up(hash_name, username, domain)
        if account is None or hash_name not in account.keys:
            return made_up, "ok"
        return account.keys[hash_name], _if_right(account)

    def _made_up(self, hash_name: str, username: str, domain: str) -> ScramKeys:
        name = f"{username}@{domain}".encode("utf-8", "surrogatepass")

        def noise(what: str) -> bytes:
            return hmac.digest(self._secret, what.encode() + b"\0" + name, "sha512")

        size = DIGEST_BYTES[hash_name]
        keys = noise(f"keys {hash_name}")  # as long as two of the longest
        # one count or the other as often as among the real accounts: a count that is no longer configured
        # would tell a real name. Rendezvous hashing, so that a name keeps its count when the shares change a
        # little; without the hash, for real accounts have the same count for both
        in_use = self._iterations.get(hash_name) or {self.settings.scram_iterations: 1}
        return ScramKeys(
            hash_name,
            salt=noise(f"salt {hash_name}")[:SALT_BYTES],
            iterations=next(iter(in_use))
            if len(in_use) == 1
            else max(in_use, key=lambda each: _rank(noise(f"iterations {each}"), in_use[each])),
            stored_key=keys[:size],
            server_key=keys[-size:],
        )

    async def _learn_iterations(self) -> None:
        """Keep our picture of the counts in use: one look for all who come meanwhile, for which only the first wait.

        Raises StoreError if there is none yet.
        """
        if self._learning is None and clock.monotonic_s() >= self._iterations_due_s:
            self._learning = asyncio.create_task(self._learn())
            self._learning.add_done_callback(self._learnt)
        if self._learning is not None and not self._iterations:
            await asyncio.shield(self._learning)

    async def _learn(self) -> None:
        self._iterations = await self._store.accounts.iterations()
        self._iterations_due_s = clock.monotonic_s() + ITERATIONS_AGE_S

    def _learnt(self, learning: asyncio.Task[None]) -> None:
        self._learning = None
        if not learning.cancelled():
            learning.exception()  # who waited has it, and the next log-in tries again


def _if_right(account: Account) -> Verdict:
    if not account.enabled:
        return "disabled"
    return "expired" if account.expired else "ok"


def _rank(noise: bytes, weight: int) -> float:
    """Weighted rendezvous hashing: the highest rank wins as often as its weight says."""
    uniform = (int.from_bytes(noise[:6]) + 0.5) / 2**48  # strictly between 0 and 1
    return -weight / math.log(uniform)


def load_secret(directory: Path) -> bytes:
    """The secret of the data directory, made if it is missing (mode 0600). Raises StoreError."""
    path = directory / SECRET_NAME
    try:
        if not path.exists():
            _write_secret(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be used: {error.strerror}") from error
    return _read_secret(path)


def examine_secret(directory: Path) -> None:
    """Whether `load_secret` could use what is there, without making anything. Raises StoreError."""
    if os.path.lexists(path := directory / SECRET_NAME):
        _read_secret(path)


def _read_secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be used: {error.strerror}") from error
    if len(secret) != SECRET_BYTES:
        raise StoreError(f"{path} does not hold {SECRET_BYTES} bytes; remove it and another is made")
    return secret


def _write_secret(path: Path) -> None:
    """Under another name first, so that it is there wholly or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(secrets.token_bytes(SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
