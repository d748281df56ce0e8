"""The mark of packets, and how a reload changes it: read from the server's own sockets (UC 13-1)."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LISTENERS = ('address = "127.0.0.1:0"', 'address = "[::1]:0"\ndscp = 20')
PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def sockets_of(pid: int) -> Iterator[list[socket.socket]]:
    """Duplicates of the IP sockets of a child process."""
    process = os.pidfd_open(pid)
    found = []
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if os.readlink(entry).startswith("socket:"):
                fd = _libc.syscall(PIDFD_GETFD, process, int(entry.name), 0)
                assert fd >= 0, os.strerror(ctypes.get_errno())
                found.append(socket.socket(fileno=fd))
        yield [sock for sock in found if sock.family in (socket.AF_INET, socket.AF_INET6)]
    finally:
        os.close(process)
        for sock in found:
            sock.close()


def marks(site) -> dict[tuple[str, bool], int]:
    """Address and whether it is an established connection -> the byte in the header of its packets."""
    with sockets_of(site.pid) as sockets:
        return {
            (sock.getsockname()[0], not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)): (
                sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
                if sock.family == socket.AF_INET6
                else sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)
            )
            for sock in sockets
        }


def expect_marks(site, v4: int, v6: int) -> None:
    wanted = {("127.0.0.1", False): v4, ("127.0.0.1", True): v4, ("::1", False): v6, ("::1", True): v6}
    until = time.monotonic() + 10
    while (seen := marks(site)) != wanted and time.monotonic() < until:
        time.sleep(0.01)
    assert seen == wanted


@pytest.mark.req("13-1.1", "13-1.2", "13-1.4", "DSCP-1.1", "DSCP-2.1", "DSCP-2.2")
def test_each_listener_has_its_mark_and_a_reload_changes_it_for_all_connections(make_site):
    site = make_site(listeners=LISTENERS, profile="internet")
    ports = {each["host"]: each["port"] for each in site.status["listeners"]}
    with (
        socket.create_connection(("127.0.0.1", ports["127.0.0.1"])) as v4,
        socket.create_connection(("::1", ports["::1"])) as v6,
    ):
        for each in v4, v6:  # accepted once it is answered
            each.sendall(
                b"<stream:stream to='localhost' version='1.0' xmlns='jabber:client'"
                b" xmlns:stream='http://etherx.jabber.org/streams'>"
            )
            assert each.recv(1)
        expect_marks(site, 18 << 2, 20 << 2)
        site.write("[net]\ndscp = 46\n", listeners=LISTENERS, profile="internet")
        assert site.json("reload")["live"] == ["net.dscp"]
        expect_marks(site, 46 << 2, 20 << 2)
        bare = (LISTENERS[0], LISTENERS[0].replace("127.0.0.1", "[::1]"))
        site.write('[net]\ndscp = "off"\n', listeners=bare, profile="internet")
        assert len(site.json("reload")["live"]) == 2
        expect_marks(site, 0, 0)
    assert site.status["warnings"] == []
