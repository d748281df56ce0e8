"""The proxy of the adversity tests does what it says."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.adversity.proxy import Proxy, Way

TEXT = bytes(range(256)) * 40


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A blocking echo server that answers a half-close with one."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(65536):
                    sock.sendall(data)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


@pytest.mark.parametrize("way", [Way(), Way(piece_bytes=7), Way(piece_bytes=999, random_pieces=True)])
def test_changes_no_byte_and_passes_the_half_close(echo: tuple[str, int], way: Way) -> None:
    with Proxy(echo, up=way, down=way) as proxy, proxy.connect() as sock:
        sock.sendall(TEXT)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == TEXT
        assert (proxy.passed_up, proxy.passed_down) == (len(TEXT), len(TEXT))


def test_delays_each_piece(echo: tuple[str, int]) -> None:
    with Proxy(echo, up=Way(piece_bytes=10, delay_s=0.01)) as proxy, proxy.connect() as sock:
        start = time.monotonic()
        sock.sendall(TEXT[:100])
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == TEXT[:100]
        assert time.monotonic() - start >= 0.1


def test_cuts_after_so_many_bytes(echo: tuple[str, int]) -> None:
    with Proxy(echo, up=Way(cut_after_bytes=10, cut="fin")) as proxy, proxy.connect() as sock:
        sock.sendall(TEXT)
        with contextlib.suppress(ConnectionResetError):  # bytes that were never read make a reset of the FIN
            assert len(read_all(sock)) <= 10
        assert proxy.passed_up == 10


def test_resets(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy, proxy.connect() as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_holds_and_lets_flow(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy, proxy.connect() as sock:
        proxy.hold()
        sock.sendall(b"x")
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(10)
        proxy.flow()
        assert sock.recv(1) == b"x"
