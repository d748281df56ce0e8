"""SCRAM keys (RFC 5802 section 3, RFC 7677): made from a password, and a password checked against them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from xmppd.auth.saslprep import saslprep
from xmppd.store import ScramKeys, StoreFull

P = ParamSpec("P")
R = TypeVar("R")

# hash as in the mechanism's name -> name in hashlib. Every account has keys of all of them
HASHES: Final[dict[str, str]] = {"SHA-1": "sha1", "SHA-256": "sha256"}
DIGEST_BYTES: Final[dict[str, int]] = {
    name: hashlib.new(algorithm).digest_size for name, algorithm in HASHES.items()
}
DEFAULT_ITERATIONS: Final = 10_000
MINIMUM_ITERATIONS: Final = 4_096  # RFC 5802 5.1, RFC 7677 4
SALT_BYTES: Final = 16
PASSWORD_BYTES: Final = (
    1_023  # of a new password, prepared, in UTF-8: clients can say that much in any mechanism
)
_UNPREPARED_MOST: Final = 4 * PASSWORD_BYTES  # characters that are prepared at all: some come to nothing


def derive(password: str, *, iterations: int = DEFAULT_ITERATIONS) -> tuple[ScramKeys, ...]:
    """The keys of a new password, one for each hash, each with a salt of its own.

    Takes milliseconds of CPU: not for the loop. Raises ValueError, whose text holds no piece of the password,
    if SASLprep refuses it, it is empty or longer than PASSWORD_BYTES, or `iterations` is below the minimum.
    """
    if iterations < MINIMUM_ITERATIONS:
        raise ValueError(f"{iterations} iterations are fewer than {MINIMUM_ITERATIONS}")
    too_long = f"the password is longer than {PASSWORD_BYTES} bytes"
    if len(password) > _UNPREPARED_MOST:
        raise ValueError(too_long)
    try:
        prepared = saslprep(password).encode()
    except ValueError as error:
        raise ValueError(f"the password cannot be used: {error}") from None
    if not prepared:
        raise ValueError("the password is empty")
    if len(prepared) > PASSWORD_BYTES:
        raise ValueError(too_long)
    return tuple(keys_from(name, prepared, secrets.token_bytes(SALT_BYTES), iterations) for name in HASHES)


def matches(password: str, keys: ScramKeys) -> bool:
    """Whether this is the password the keys were made from; always one PBKDF2, whatever the password is."""
    try:
        # what is asked for may hold unassigned code points, what is stored may not (RFC 3454 7)
        prepared, usable = saslprep(password, allow_unassigned=True).encode(), True
    except ValueError:
        prepared, usable = b"", False
    made = keys_from(keys.hash, prepared, keys.salt, keys.iterations)
    return hmac.compare_digest(made.stored_key, keys.stored_key) and usable


def keys_from(name: str, prepared: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """The keys for a password that is prepared and in UTF-8; one PBKDF2."""
    algorithm = HASHES[name]
    salted = hashlib.pbkdf2_hmac(algorithm, prepared, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    stored_key = hashlib.new(algorithm, client_key).digest()
    return ScramKeys(name, salt, iterations, stored_key, hmac.digest(salted, b"Server Key", algorithm))


class PasswordThreads:
    """A few threads for PBKDF2 (which runs without the GIL), with a bounded queue before them."""

    def __init__(self, threads: int, queue_jobs: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._queue_jobs = queue_jobs
        self._depth = 0

    @property
    def depth(self) -> int:
        """Jobs waiting or being done."""
        return self._depth

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of `work(...)`, run in a thread. Raises StoreFull, and what `work` raises."""
        if self._depth >= self._queue_jobs:
            raise StoreFull(f"{self._queue_jobs} passwords are waiting to be checked")
        job = self._pool.submit(work, *args, **kwargs)
        self._depth += 1
        future = asyncio.wrap_future(job)
        # counted until it is done, not until the caller gives up
        future.add_done_callback(self._done)
        try:
            return await asyncio.shield(future)
        finally:
            job.cancel()  # if it has not begun: nobody waits for it

    def _done(self, future: asyncio.Future[R]) -> None:
        self._depth -= 1
        if not future.cancelled():
            future.exception()  # looked at, should the caller have gone

    async def close(self) -> None:
        """Drop what has not begun, wait for the rest (milliseconds)."""
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)
