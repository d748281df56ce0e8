"""A real xmppd on this machine, driven only by its command line.

scripts/run, its --check and tests/interop share it. Nothing here imports xmppd.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

# the console script beside this interpreter; a source tree without an installation has the package only
CONSOLE_SCRIPT: Final = Path(sys.executable).with_name("xmppd")
COMMAND: Final = [str(CONSOLE_SCRIPT)] if CONSOLE_SCRIPT.exists() else [sys.executable, "-m", "xmppd"]

READY_WITHIN_S: Final = 30
STOP_WITHIN_S: Final = 20


class ServerError(Exception):
    """A command of the server did not do what it should; the text says which one and what it answered."""


def loopback_hosts() -> list[str]:
    """The loopback addresses this machine has: 127.0.0.1, and ::1 unless IPv6 is switched off."""
    return [host for host in ("127.0.0.1", "::1") if _bindable(host, 0) is not None]


def free_port(hosts: Sequence[str], first: int = 0) -> int:
    """A TCP port that is free on all `hosts`: the first one from `first` on, or any if `first` is 0."""
    for candidate in range(first, first + 200) if first else [0] * 50:
        port = _bindable(hosts[0], candidate)
        if port is not None and all(_bindable(host, port) for host in hosts[1:]):
            return port
    raise ServerError(f"no free port from {first} on" if first else "no free port")


def _bindable(host: str, port: int) -> int | None:
    """The port (chosen by the kernel if 0) if a listener can have it, None if it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as refused:
        if refused.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES):
            return None
        raise


def endpoint(host: str, port: int) -> str:
    """HOST:PORT as `xmppd init --c2s` takes it; an IPv6 address gets brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def new_password() -> str:
    """Random, 100 bits, easy to type into a client."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"  # no letters that look alike
    return "-".join("".join(secrets.choice(alphabet) for _ in range(5)) for _ in range(4))


class LocalServer:
    """One server in one folder. `output`: where its log goes, None for this process's stderr."""

    def __init__(self, folder: Path, port: int, hosts: Sequence[str], output: Path | None = None) -> None:
        self.folder: Final = folder
        self.port: Final = port
        self.hosts: Final = list(hosts)
        self.output: Final = output
        self.config: Final = folder / "xmppd.toml"
        self.ca: Final = folder / "tls" / "ca.pem"
        self.process: subprocess.Popen[bytes] | None = None

    def init(self, *domains: str, extra: Sequence[str] = ()) -> None:
        """Lay configuration, CA and certificates in the folder (`xmppd init`)."""
        names = [word for domain in domains for word in ("--domain", domain)]
        listeners = [word for host in self.hosts for word in ("--c2s", endpoint(host, self.port))]
        command([*COMMAND, "init", str(self.folder), *names, *listeners, *extra])

    def xmppd(self, *words: str, stdin: str | None = None) -> str:
        """Run `xmppd -c CONFIG words...` and give back what it printed; ServerError if it failed."""
        return command([*COMMAND, "-c", str(self.config), *words], stdin=stdin)

    def add_user(self, jid: str, password: str) -> None:
        self.xmppd("user", "add", jid, "--password-stdin", stdin=password + "\n")

    def start(self) -> None:
        """Start it and return when it says by sd_notify that it is ready; ServerError if it ends before."""
        # setpriv: should this process die hard, the server is not left behind
        words = ["/usr/bin/setpriv", "--pdeathsig", "TERM", *COMMAND, "-c", str(self.config), "run"]
        self.process = started(words, self.output)

    def wait(self) -> int:
        """Wait until it ends, whoever ended it; its exit status."""
        return self.process.wait() if self.process else 0

    def stop(self) -> int:
        """End it by SIGTERM and return its exit status; ServerError if it had to be killed."""
        return 0 if self.process is None else ended(self.process)


def started(words: Sequence[str], output: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
    """Start a server and return when it says by sd_notify that it is ready; ServerError if it ends before.

    `output`: where its log goes, None for this process's stderr.
    """
    with contextlib.ExitStack() as stack:
        notify_folder = stack.enter_context(tempfile.TemporaryDirectory())
        notify = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notify.bind(f"{notify_folder}/notify")
        notify.settimeout(0.1)
        log: IO[bytes] | None = stack.enter_context(output.open("ab")) if output else None
        process = subprocess.Popen(  # noqa: S603
            words,
            stdin=subprocess.DEVNULL,
            stderr=log,
            stdout=log,
            env=os.environ | {"NOTIFY_SOCKET": f"{notify_folder}/notify"} | environment,
            start_new_session=True,  # Ctrl-C reaches us; we stop it in good order
        )
        try:
            until = time.monotonic() + READY_WITHIN_S
            while time.monotonic() < until:
                with contextlib.suppress(TimeoutError):
                    if b"READY=1" in notify.recv(4096).split(b"\n"):
                        return process
                if process.poll() is not None:
                    raise ServerError(
                        f"the server ended with exit status {process.returncode} before it was ready"
                    )
            raise ServerError(f"the server was not ready after {READY_WITHIN_S} s")
        except BaseException:  # Ctrl-C too: nobody else knows of the process yet
            ended(process)
            raise


def ended(process: subprocess.Popen[bytes]) -> int:
    """End it by SIGTERM and return its exit status; ServerError if it had to be killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise ServerError(f"the server did not stop within {STOP_WITHIN_S} s and was killed") from None


def command(words: Sequence[str], stdin: str | None = None, timeout_s: float = 120) -> str:
    """Run a command to its end and give back its stdout; ServerError with its stderr if it fails."""
    done = subprocess.run(  # noqa: S603
        words, input=stdin or "", capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        shown = " ".join(Path(word).name if i == 0 else word for i, word in enumerate(words))
        raise ServerError(f"`{shown}` ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
