"""Fan-out beside three memcpy in C for each recipient: goal G12."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.programs import build_module
from benchmarks.ratio import cost_ratio, judge
from xmppd._fast.conn import NetLoop, PyHandler
from xmppd._fast.reader import Stanza
from xmppd._fast.route import Resource, RouteTable, fan_out
from xmppd.jid import JID

RECIPIENTS = 200
DELIVERIES = 16  # gathered for each recipient before a flush
ROUNDS = 200

PRESENCE = (
    b"<presence xml:lang='en'><show>away</show><status>Back after lunch, call me if it is urgent</status>"
    b"<priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://example.org/client' "
    b"ver='QgayPKawpkPSDYmwT/WM94uAlu0='/><x xmlns='vcard-temp:x:update'>"
    b"<photo>01b87fcd030b72895ff8e88db57ec525450f000d</photo></x></presence>"
)


@pytest.fixture(scope="module")
def loops() -> Any:
    return build_module(Path(__file__).with_name("fan_loops.pyx"))


@pytest.fixture
def resources() -> Iterator[list[Resource]]:
    """Bound resources on connected sockets; nothing is flushed, for the loop does not run."""
    loop = asyncio.new_event_loop()
    net = NetLoop(loop, workers=1, out_limit_bytes=1 << 24)
    table = RouteTable()
    pairs = [socket.socketpair() for _ in range(RECIPIENTS)]
    bound = [
        table.bind(
            JID.parse(f"user{i}@example.org/resource"), net.adopt(ours.detach(), PyHandler()), None, None
        )
        for i, (ours, _) in enumerate(pairs)
    ]
    yield bound
    net.close()
    for _, theirs in pairs:
        theirs.close()
    loop.close()


def test_g12_fan_out_append(loops: Any, resources: list[Resource]) -> None:
    head, tail = Stanza.parse(PRESENCE).split(from_=b"juliet@example.org/balcony")
    conns = [resource.conn for resource in resources]
    addresses = [b" to='" + resource.jid.wire + b"'" for resource in resources]
    size = len(head) + len(tail) + max(map(len, addresses))
    floor = loops.Floor(RECIPIENTS, size, DELIVERIES)

    def ours() -> None:
        for _ in range(ROUNDS):
            for _ in range(DELIVERIES):
                fan_out(resources, head, tail)
            loops.empty(conns)

    def memcpy() -> None:
        for _ in range(ROUNDS):
            for _ in range(DELIVERIES):
                floor.copy(head, addresses, tail)
            floor.empty()

    assert judge("G12", cost_ratio(ours, memcpy, rounds=15)).met


def test_fan_out(benchmark: Any, loops: Any, resources: list[Resource]) -> None:
    head, tail = Stanza.parse(PRESENCE).split(from_=b"juliet@example.org/balcony")
    conns = [resource.conn for resource in resources]

    def once() -> int:
        loops.empty(conns)
        return fan_out(resources, head, tail)

    assert benchmark(once) == RECIPIENTS
