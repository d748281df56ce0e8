"""The server under test as a child process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from xmppd.conformance.launcher import LauncherFailed

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.02
COMMAND_TIMEOUT_S: Final = 60.0


class ServerProcess:
    """One process at a time, started again and again; what it prints is kept in a file."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = False

    @property
    def is_up(self) -> bool:
        """Whether it was started, and not told to stop since."""
        return self._process is not None and not self._is_stopping

    def start(
        self, command: Sequence[str], ready: Callable[[], bool], more: Mapping[str, str] | None = None
    ) -> None:
        """Start it, and ask until it is ready. `more` is added to the environment. Raises LauncherFailed."""
        self._is_stopping = False
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(more or {})}
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LauncherFailed(f"{command[0]} does not start: {self.last_words()}")
            time.sleep(POLL_S)

    def last_words(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(encoding="utf-8", errors="replace").strip()[-500:]

    def stop(self) -> None:
        """Tell it to stop, once; do not wait."""
        if self._process is not None and not self._is_stopping:
            self._is_stopping = True
            self._process.terminate()

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self.wait()

    def wait(self) -> None:
        """Wait for its end; it is killed if that takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
        self._process = None


def run(
    command: Sequence[str], stdin: str | None = None, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of the server to its end. Raises LauncherFailed if that does not come."""
    try:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            env={**os.environ, **(more or {})},
        )
    except subprocess.TimeoutExpired:
        raise LauncherFailed(f"{command[0]}: not done within {COMMAND_TIMEOUT_S:g} s") from None


# ---- servers of other makers, and ports


def program(name: str) -> list[str]:
    """How to run a program of another maker: `$XMPPD_PEERS NAME`, that of the PATH, or that of `scripts/peers`.

    Raises LauncherFailed if there is none.
    """
    if enter := os.environ.get("XMPPD_PEERS"):
        return [enter, name]
    if shutil.which(name):
        return [name]
    unpacked = Path(__file__).parents[3] / ".cache" / "peers" / "trixie" / "enter"
    if unpacked.exists():
        return [str(unpacked), name]
    raise LauncherFailed(
        f"there is no {name} here: install it, or let scripts/peers unpack it and XMPPD_PEERS name the `enter` it made"
    )


def free_port(*hosts: str) -> int:
    """A TCP port that is free at all these addresses. Raises LauncherFailed."""
    for _ in range(100):
        with socket.create_server((hosts[0], 0), family=_family(hosts[0])) as first:
            port = int(first.getsockname()[1])
            try:
                for host in hosts[1:]:
                    socket.create_server((host, port), family=_family(host)).close()
            except OSError:
                continue
            return port
    raise LauncherFailed(f"no port is free at {', '.join(hosts)}")


def has_ipv6() -> bool:
    """Whether this host has ::1, which containers may lack."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
