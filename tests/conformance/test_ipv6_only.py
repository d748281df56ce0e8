"""A host that has IPv6 alone."""

from __future__ import annotations

import shlex
import socket
import sys

import pytest

from xmppd.conformance import launchers
from xmppd.conformance.ipv6_only import IPv6OnlyHost
from xmppd.conformance.launcher import Unsupported
from xmppd.conformance.verdict import CouldNotTest

SHOW = (
    "import json, socket\n"
    "for line in __import__('sys').stdin:\n"
    "    server = socket.create_server(('::1', 0), family=socket.AF_INET6)\n"
    "    v4 = socket.socket().connect_ex(('127.0.0.1', server.getsockname()[1]))\n"
    "    print(json.dumps({'unsupported': f'{v4} {server.getsockname()[1]}'}), flush=True)\n"
)


def host(command: str) -> IPv6OnlyHost:
    try:
        return IPv6OnlyHost(command)
    except CouldNotTest as error:
        pytest.skip(error.why)


@pytest.mark.req("14-1.1")
def test_only_ipv6_is_there_and_sockets_come_from_inside() -> None:
    inside = host(shlex.join((sys.executable, "-c", SHOW)))
    try:
        with pytest.raises(Unsupported) as said:
            inside.launcher.stop()
        unreachable, port = str(said.value).split()
        assert int(unreachable) != 0
        with inside.dial(("::1", int(port)), 5) as sock:
            assert sock.family == socket.AF_INET6
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("::1", int(port)), 5)  # nobody listens there outside
    finally:
        inside.close()
    with pytest.raises(OSError, match=r"."):
        inside.dial(("::1", int(port)), 5)


def test_where_none_can_be_made_this_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(CouldNotTest, match="no network namespace with IPv6 alone can be made: its process"):
        IPv6OnlyHost("true")


def test_launchers_are_programs_too() -> None:
    assert launchers.command("xmppd") == f"{sys.executable} -m xmppd.conformance.launchers xmppd"
    assert launchers.command("some thing") == "some thing"
