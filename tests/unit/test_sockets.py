"""Options are set once, on the listener: what it accepts has them from the SYN-ACK on."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.layer import Echo, Layer, connect, echoed, wait_for
from xmppd.net.sockets import Options, listener_sockets, set_dscp

ADDRESSES = ("127.0.0.1", "::1")
both_families = pytest.mark.parametrize("host", ADDRESSES)
TCP_USER_TIMEOUT = socket.TCP_USER_TIMEOUT

Make = Callable[..., socket.socket]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[socket.socket] = []

    def listen(host: str, port: int = 0, **options: Any) -> socket.socket:
        settings = {
            "dscp": 18,
            "backlog": 16,
            "keepalive_idle_s": 71,
            "keepalive_interval_s": 13,
            "keepalive_probes": 4,
            "user_timeout_ms": 23_000,
        }
        [sock] = listener_sockets(host, port, Options(**{**settings, **options}))
        made.append(sock)
        return sock

    yield listen
    for sock in made:
        sock.close()


def accepted(listener: socket.socket) -> socket.socket:
    """The server's end of a new connection."""
    with socket.socket(listener.family) as client:
        client.connect(listener.getsockname()[:2])
        listener.setblocking(True)
        sock, _ = listener.accept()
    return sock


def tcp(sock: socket.socket, option: int) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, option)


def tos(sock: socket.socket) -> int:
    """The byte that goes into the header of an IP packet."""
    if sock.family == socket.AF_INET6:
        return sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
    return sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)


@both_families
def test_tcp_options_are_inherited(make: Make, host: str) -> None:
    listener = make(host)
    with accepted(listener) as sock:
        for each in listener, sock:
            assert tcp(each, socket.TCP_NODELAY) != 0
            assert each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
            assert tcp(each, socket.TCP_KEEPIDLE) == 71
            assert tcp(each, socket.TCP_KEEPINTVL) == 13
            assert tcp(each, socket.TCP_KEEPCNT) == 4
            assert tcp(each, TCP_USER_TIMEOUT) == 23_000


@both_families
@pytest.mark.parametrize("dscp", [0, 1, 18, 46, 63])
def test_dscp_is_inherited(make: Make, host: str, dscp: int) -> None:
    listener = make(host, dscp=dscp)
    with accepted(listener) as sock:
        assert tos(listener) == tos(sock) == dscp << 2


@both_families
def test_dscp_may_be_off(make: Make, host: str) -> None:
    with accepted(make(host, dscp=None)) as sock:
        assert tos(sock) == 0


def test_dscp_of_an_outgoing_socket_covers_both_families() -> None:
    """An AF_INET6 socket may speak IPv4 (mapped addresses): with IPV6_TCLASS alone such packets would go unmarked."""
    with socket.socket(socket.AF_INET6) as sock:
        set_dscp(sock, 18)
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 18 << 2
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 18 << 2
    with socket.socket(socket.AF_INET) as sock:
        set_dscp(sock, 18)
        assert tos(sock) == 18 << 2


def test_dscp_changes_on_an_open_socket(make: Make) -> None:
    listener = make("::1", dscp=18)
    set_dscp(listener, 46)
    with accepted(listener) as sock:
        assert tos(sock) == 46 << 2


def test_dscp_on_the_wire(make: Make) -> None:
    """What a receiver finds in the packet; UDP shows it, TCP keeps it to itself."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        receiver.settimeout(10)
        set_dscp(sender, 18)
        sender.sendto(b"x", receiver.getsockname())
        _, ancillary, _, _ = receiver.recvmsg(1, socket.CMSG_SPACE(1))
        assert [(level, kind, data[0]) for level, kind, data in ancillary] == [
            (socket.IPPROTO_IP, socket.IP_TOS, 18 << 2)
        ]


def test_two_listeners_share_a_port_one_for_each_family(make: Make) -> None:
    four = make("0.0.0.0")  # noqa: S104 (listens for the length of the test)
    six = make("::", four.getsockname()[1])
    assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    with accepted(four) as sock:
        assert sock.getpeername()[0] == "127.0.0.1"  # not ::ffff:127.0.0.1
    with accepted(six) as sock:
        assert sock.getpeername()[0] == "::1"


@both_families
def test_restart_on_a_port_with_old_connections(make: Make, host: str) -> None:
    """Connections of the last run in TIME-WAIT do not keep the port."""
    listener = make(host)
    port = listener.getsockname()[1]
    with socket.create_connection((host, port)) as client:
        listener.setblocking(True)
        server, _ = listener.accept()
        server.close()
        assert client.recv(1) == b""
    listener.close()
    assert make(host, port).getsockname()[1] == port


@both_families
def test_a_port_in_use_is_an_error(make: Make, host: str) -> None:
    port = make(host).getsockname()[1]
    with pytest.raises(OSError, match="in use") as caught:
        make(host, port)
    assert caught.value.errno == errno.EADDRINUSE


@both_families
def test_listening_sockets_do_not_block_and_are_not_inherited_by_children(make: Make, host: str) -> None:
    listener = make(host)
    assert not listener.getblocking()
    assert not listener.get_inheritable()
    with pytest.raises(BlockingIOError):
        listener.accept()


@both_families
def test_a_connection_of_the_layer_has_the_options(make: Make, host: str) -> None:
    """Accepted by the connection layer itself, without a system call for them."""
    with Layer(workers=1) as layer:
        listener = layer.listener(direct_tls=False, handler=Echo, sock=make(host))
        port = listener.sock.getsockname()[1]
        with socket.create_connection((host, port), timeout=20) as peer:
            assert echoed(peer)
            conn = layer.accepted().conn
            assert conn.peer == host
            assert conn.peer_port == peer.getsockname()[1]
            assert conn.local == (host, port)
            with socket.socket(fileno=os.dup(conn.fileno())) as sock:
                assert tos(sock) == 18 << 2
                assert tcp(sock, socket.TCP_NODELAY) != 0
                assert tcp(sock, TCP_USER_TIMEOUT) == 23_000


def test_a_closed_listener_refuses_and_its_connections_live(make: Make) -> None:
    with Layer(workers=1) as layer:
        listener = layer.listener(direct_tls=False, sock=make("127.0.0.1"))
        port = listener.sock.getsockname()[1]
        with connect(port) as peer:
            assert echoed(peer)
            layer.call(listener.close)
            with pytest.raises(ConnectionRefusedError):
                connect(port)
            assert echoed(peer)
        wait_for(lambda: layer.stats()["connections"] == 0)


def test_a_name_is_all_addresses_that_it_has_here(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One port for all of them; what another machine has is left out, unless it is all there is."""
    real = socket.getaddrinfo
    known = {
        "both.example": ["127.0.0.1", "::1"],
        "half.example": ["192.0.2.1", "127.0.0.1"],
        "far.example": ["192.0.2.1"],
    }

    def resolve(host: str, port: int, **more: Any) -> list[Any]:
        return [entry for address in known.get(host, [host]) for entry in real(address, port, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    options = Options(
        dscp=18,
        backlog=16,
        keepalive_idle_s=71,
        keepalive_interval_s=13,
        keepalive_probes=4,
        user_timeout_ms=23_000,
    )
    found = listener_sockets("both.example", 0, options)
    try:
        assert [sock.getsockname()[0] for sock in found] == ["127.0.0.1", "::1"]
        assert len({sock.getsockname()[1] for sock in found}) == 1
    finally:
        for sock in found:
            sock.close()
    [sock] = listener_sockets("half.example", 0, options)
    assert sock.getsockname()[0] == "127.0.0.1"
    sock.close()
    with pytest.raises(OSError, match="Cannot assign requested address"):
        listener_sockets("far.example", 0, options)
