"""A TCP proxy that changes nothing but the timing: it splits, delays, holds and cuts what passes.

One thread for each direction of each connection, so that it stands beside any test, whatever loop that runs.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal


@dataclass(frozen=True, slots=True)
class Way:
    """What is done to the bytes of one direction."""

    piece_bytes: int = 65536  # they go on in pieces of 1 to this many bytes
    random_pieces: bool = False  # of random length, or all of that length
    delay_s: float = 0.0  # before each piece
    cut_after_bytes: int | None = None  # the connection is cut when so many have gone on; None: never
    cut: Literal["fin", "rst"] = "rst"  # how: both sockets closed in order, or reset

    def pieces(self, data: bytes, dice: random.Random) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            n = dice.randint(1, self.piece_bytes) if self.random_pieces else self.piece_bytes
            yield data[at : at + n]
            at += n


STRAIGHT = Way()


def reset(sock: socket.socket) -> None:
    """Close `sock` with a RST."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def finish(sock: socket.socket) -> None:
    """Close `sock` with a FIN, whoever else waits for it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes every connection on to `target`.

    `up` is what happens to bytes towards the target, `down` to those that come back. The lengths of random
    pieces follow `seed`.
    """

    def __init__(
        self, target: tuple[str, int], up: Way = STRAIGHT, down: Way = STRAIGHT, *, seed: int = 1
    ) -> None:
        self.target, self.up, self.down = target, up, down
        self.passed_up = self.passed_down = 0
        self._dice = random.Random(seed)  # noqa: S311
        self._flowing = threading.Event()
        self._flowing.set()
        self._stopped = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def connect(self, timeout_s: float = 10.0) -> socket.socket:
        """A new connection through the proxy."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)

    def hold(self) -> None:
        """Let nothing pass until `flow`."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def cut(self, how: Literal["fin", "rst"] = "rst") -> None:
        """Cut every connection now."""
        for pair in list(self._pairs):
            self._cut(pair, how)

    def close(self) -> None:
        self._stopped.set()
        self._flowing.set()
        finish(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target, timeout=10)
            except OSError:
                reset(near)
                continue
            for sock in near, far:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = near, far
            self._pairs.append(pair)
            self._start(self._pump, pair, near, far, self.up, "passed_up")
            self._start(self._pump, pair, far, near, self.down, "passed_down")

    def _cut(self, pair: tuple[socket.socket, socket.socket], how: str) -> None:
        for sock in pair:
            (reset if how == "rst" else finish)(sock)

    def _pump(
        self,
        pair: tuple[socket.socket, socket.socket],
        source: socket.socket,
        sink: socket.socket,
        way: Way,
        counter: str,
    ) -> None:
        passed = 0
        try:
            while data := self._receive(source):
                if way.cut_after_bytes is not None:
                    data = data[: way.cut_after_bytes - passed]
                for piece in way.pieces(data, self._dice):
                    if way.delay_s and self._stopped.wait(way.delay_s):
                        return
                    self._flowing.wait()
                    self._send(sink, piece)
                    passed += len(piece)
                    setattr(self, counter, getattr(self, counter) + len(piece))
                if passed == way.cut_after_bytes:
                    self._cut(pair, way.cut)
                    return
            self._flowing.wait()
            sink.shutdown(socket.SHUT_WR)  # the half-close goes on too
        except OSError:
            self._cut(pair, "rst")

    # Nobody sleeps inside a system call on a socket: the kernel would keep it open then, and send no RST.

    def _receive(self, source: socket.socket) -> bytes:
        self._ready(source, select.POLLIN)
        return source.recv(65536)

    def _send(self, sink: socket.socket, data: bytes) -> None:
        while data:
            self._ready(sink, select.POLLOUT)
            with contextlib.suppress(BlockingIOError):
                data = data[sink.send(data) :]

    def _ready(self, sock: socket.socket, event: int) -> None:
        while not self._stopped.is_set():
            poll = select.poll()
            if (fd := sock.fileno()) < 0:
                break
            poll.register(fd, event)
            if poll.poll(20):
                return
        raise OSError("closed")
