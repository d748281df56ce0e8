"""Reading captured packets, and capturing them."""

from __future__ import annotations

import socket
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.conformance.packets import ACK, FIN, PSH, RST, SYN, Capture, Packet, parse
from xmppd.conformance.verdict import CouldNotTest

ADDRESSES = {socket.AF_INET: ("127.0.0.1", "127.0.0.2"), socket.AF_INET6: ("::1", "fd00::2")}
FAMILIES = pytest.mark.parametrize("family", ADDRESSES)


def packet(family: socket.AddressFamily, traffic_class: int, flags: int, payload: bytes = b"") -> bytes:
    """A packet with an IP header (IPv4: with an option) and a TCP header (with options)."""
    tcp = struct.pack("!HHIIBBHHH", 5222, 40000, 1, 2, 8 << 4, flags, 9, 0, 0) + bytes(12) + payload
    addresses = [socket.inet_pton(family, address) for address in ADDRESSES[family]]
    if family is socket.AF_INET:
        begin = struct.pack("!BBHHHBBH", 0x46, traffic_class, 24 + len(tcp), 0, 0x4000, 64, 6, 0)
        return begin + b"".join(addresses) + bytes(4) + tcp
    begin = struct.pack("!IHBB", 6 << 28 | traffic_class << 20 | 0xABCDE, len(tcp), 6, 64)
    return begin + b"".join(addresses) + tcp


@FAMILIES
@pytest.mark.parametrize(
    ("flags", "payload", "kind"),
    [
        (SYN, b"", "SYN"),
        (SYN | ACK, b"", "SYN-ACK"),
        (ACK, b"", "ACK"),
        (ACK | PSH, b"<a/>", "data"),
        (ACK | FIN, b"<a/>", "FIN"),
        (RST, b"", "RST"),
    ],
)
def test_packets_are_read(family: socket.AddressFamily, flags: int, payload: bytes, kind: str) -> None:
    source, destination = ADDRESSES[family]
    got = parse(packet(family, 18 << 2 | 1, flags, payload))
    assert got == Packet((source, 5222), (destination, 40000), 18 << 2 | 1, flags, len(payload))
    assert got.dscp == 18
    assert got.kind == kind


@FAMILIES
def test_the_end_may_be_missing(family: socket.AddressFamily) -> None:
    whole = packet(family, 72, ACK, bytes(5000))
    got = parse(whole[:128])
    assert got is not None
    assert got.payload == 5000


@given(st.binary(max_size=128), st.sampled_from([b"", b"\x45", b"\x4f", b"\x60"]))
def test_nothing_breaks_it(data: bytes, begin: bytes) -> None:
    got = parse(begin + data)
    assert got is None or 0 <= got.dscp < 64


@FAMILIES
def test_what_is_no_tcp_is_left_out(family: socket.AddressFamily) -> None:
    whole = bytearray(packet(family, 72, ACK))
    whole[9 if family is socket.AF_INET else 6] = 17  # UDP
    assert parse(bytes(whole)) is None
    assert parse(packet(family, 72, ACK)[:40]) is None


def can_capture() -> bool:
    try:
        with Capture(socket.AF_INET, 1):
            return True
    except CouldNotTest:
        return False


@pytest.mark.req("13-1.1", "13-1.2")
@pytest.mark.skipif(not can_capture(), reason="this process may not capture packets")
@FAMILIES
def test_a_connection_is_captured_and_no_other(family: socket.AddressFamily) -> None:
    host = ADDRESSES[family][0]
    with (
        socket.create_server((host, 0), family=family) as wanted,
        socket.create_server((host, 0), family=family) as other,
        Capture(family, wanted.getsockname()[1]) as capture,
    ):
        if family is socket.AF_INET:
            wanted.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 20 << 2)
        else:
            wanted.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 20 << 2)
        for server in (other, wanted):
            client = socket.create_connection(server.getsockname()[:2])
            accepted, _ = server.accept()
            accepted.sendall(b"hello")
            assert client.recv(5) == b"hello"
            accepted.close()
            assert client.recv(5) == b""
            local = client.getsockname()[:2]
        kinds = []
        for each in capture.to(local, time.monotonic() + 5):
            kinds.append(each.kind)
            assert each.dscp == 20
            assert each.source[1] == wanted.getsockname()[1]
            if each.kind == "FIN":
                break
        assert kinds[0] == "SYN-ACK"
        assert "data" in kinds
        assert not list(capture.to(("127.0.0.9", 1), time.monotonic()))
        assert capture.lost == 0
        client.close()
