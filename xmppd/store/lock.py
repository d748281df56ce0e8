"""One process at a time on a data directory: an advisory lock (flock) on `DIR/lock`.

The kernel gives the lock back when the process ends, however it ends; the file itself stays.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final, Self

from xmppd.store.errors import StoreInUse

LOCK_NAME: Final = "lock"


class DirectoryLock:
    """Holds the lock of a data directory from `acquire` until `release`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def acquire(cls, directory: Path) -> Self:
        """Take the lock now or not at all (within a tenth of a second).

        Raises StoreInUse (with the holder's process id where known), OSError if the file cannot be made.
        """
        path = directory / LOCK_NAME
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if not _lock(fd):
            pid = _read_pid(fd)
            os.close(fd)
            raise StoreInUse(in_use(directory, pid))
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return cls(path, fd)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def holder(directory: Path) -> int | None:
    """The process id of who holds the lock of `directory` now (0 if unknown), None if nobody does."""
    try:
        fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_pid(fd) or 0
    finally:
        os.close(fd)
    return None


def in_use(directory: Path, pid: int | None) -> str:
    """The sentence for a lock that process `pid` (0 or None: unknown) holds."""
    return f"the data directory {directory} is in use by {f'process {pid}' if pid else 'another process'}"


def _lock(fd: int) -> bool:
    for _ in range(5):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)  # it may be `holder` of another process, which lets go at once
        else:
            return True
    return False


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None
