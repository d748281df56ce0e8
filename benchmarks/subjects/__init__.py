"""The servers that are measured, each started in a scratch folder, with an ECDSA P-256 certificate and TLS 1.3.

A subject's accounts are u0 to u<N-1> of the domain localhost, all with one password.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Final

DOMAIN: Final = "localhost"
PASSWORD: Final = "bench-secret"  # noqa: S105, of accounts that live as long as a run, on a loopback address
ADDRESS: Final = "127.0.0.1"
ITERATIONS: Final = 4096  # of PBKDF2 for a password: ejabberd knows no other number


class Subject(ABC):
    """One server. `start` and `stop` may be called several times; its accounts and rosters stay."""

    name: ClassVar[str]
    #: "xmppd", "peer" or "floor": which scenarios it takes part in
    kind: ClassVar[str]
    #: whether it speaks XMPP; a floor does not
    xmpp: ClassVar[bool] = True
    #: about how long it takes to make one account, seconds
    account_s: ClassVar[float] = 0.0

    def __init__(self, folder: Path, accounts: int, cpu: int | None) -> None:
        self.folder: Final = folder
        self.accounts: Final = accounts
        self.cpu: Final = cpu
        self.port = 0
        self.pid = 0

    @property
    def version(self) -> str:
        """What is measured, for the report."""
        return self.name

    @abstractmethod
    def prepare(self) -> None:
        """Lay out configuration, certificate and accounts."""

    @abstractmethod
    def start(self) -> None:
        """Start it; it listens when this returns. Sets `pid` and `port`."""

    @abstractmethod
    def stop(self) -> None:
        """End it in good order."""

    def pinned(self) -> list[str]:
        """Words in front of a command that keep it on the server's processor."""
        return [] if self.cpu is None else ["taskset", "--cpu-list", str(self.cpu)]

    # what is read off its processes

    def pids(self) -> list[int]:
        """The server's process and its descendants."""
        found = [self.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, task.read_text().split())
        return found

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of all its processes since their start: clock_getcpuclockid(3)."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.pids())

    def memory_kib(self) -> int:
        """Proportional set size of all its processes."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total

    def settle(self, quiet_s: float = 0.2, patience_s: float = 20.0) -> None:
        """Wait until it has nothing to do: until it has used no more than 2 % of a processor for `quiet_s`."""
        end = time.monotonic() + patience_s
        before, at = self.cpu_s(), time.monotonic()
        while time.monotonic() < end:
            time.sleep(quiet_s)
            now, then = self.cpu_s(), time.monotonic()
            if now - before <= 0.02 * (then - at):
                return
            before, at = now, then


def processors() -> tuple[int | None, int | None]:
    """The processor for the server and that for the generator; None, None if there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 else (None, None)
