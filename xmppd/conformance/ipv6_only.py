"""A host that has IPv6 and nothing else: a network namespace whose one interface is loopback, with ::1 alone.

`python -m xmppd.conformance.ipv6_only FD COMMAND...` makes the namespace and runs COMMAND, a launcher, inside. Through
the Unix socket FD it gives TCP sockets away: a socket stays in the namespace where it was made, whoever uses it. So
the server lives inside, and the checks, which stay outside, talk to it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shlex
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Final

from xmppd.conformance.launcher import ChildLauncher
from xmppd.conformance.verdict import CouldNotTest

READY_TIMEOUT_S: Final = 10.0
READY: Final = b"ready"
MESSAGE_BYTES: Final = 512

# Linux: sched.h, sockios.h, if.h
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, SIOCSIFADDR = 0x8914, 0x8916
IFF_UP: Final = 1


class IPv6OnlyHost:
    """Such a host, with a launcher in it. Raises CouldNotTest where none can be made."""

    def __init__(self, command: str) -> None:
        self._ours, theirs = socket.socketpair()
        self._ours.settimeout(READY_TIMEOUT_S)
        descriptor = theirs.fileno()
        inside = shlex.join((sys.executable, "-m", __name__, str(descriptor)))
        with theirs:
            self.launcher = ChildLauncher(f"{inside} {command}", pass_fds=(descriptor,))
        try:
            said = self._ours.recv(MESSAGE_BYTES)
        except TimeoutError:
            said = b"it did not come up in time"
        if said != READY:
            self.close()
            why = said.decode(errors="replace") or "its process ended"
            raise CouldNotTest(f"no network namespace with IPv6 alone can be made: {why}")

    def dial(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """A TCP connection inside. Raises OSError."""
        self._ours.send(b"1")
        _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
        if not descriptors:
            raise ConnectionError("the network namespace is gone")
        made = socket.socket(fileno=descriptors[0])
        made.settimeout(timeout)
        try:
            made.connect(address)
        except OSError:
            made.close()
            raise
        return made

    def close(self) -> None:
        """End the launcher and with it the host."""
        self._ours.close()
        self.launcher.close()


# ---- inside


def _enter() -> None:
    """Move this process into a network namespace that has nothing but ::1. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:  # it takes privileges, or a user namespace that has them
        user, group = os.getuid(), os.getgid()
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    up = struct.pack("16sH14x", b"lo", IFF_UP)
    nothing = struct.pack("16sHH4s8x", b"lo", socket.AF_INET, 0, bytes(4))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, up)  # which brings ::1, and 127.0.0.1
        fcntl.ioctl(sock, SIOCSIFADDR, nothing)  # which takes 127.0.0.1 away
        if sock.connect_ex(("127.0.0.1", 9)) == 0:
            raise OSError("IPv4 cannot be switched off in it")


def _give_sockets(channel: socket.socket) -> None:
    """A new socket for each byte that comes, until no more can come."""
    for descriptor in (0, 1):  # the launcher's, which it must be seen to close
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when the other side does
    while channel.recv(1):
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as made:
            socket.send_fds(channel, [b"1"], [made.fileno()])


def main(words: list[str]) -> None:
    """Make the host, and become the launcher."""
    with socket.socket(fileno=int(words[0])) as channel:
        try:
            _enter()
        except OSError as error:
            channel.send((error.strerror or str(error)).encode()[:MESSAGE_BYTES])
            sys.exit(1)
        channel.send(READY)
        if os.fork() == 0:
            _give_sockets(channel)
            os._exit(0)
    os.execvp(words[1], words[1:])  # noqa: S606 (the launcher that the user named)


if __name__ == "__main__":
    main(sys.argv[1:])
