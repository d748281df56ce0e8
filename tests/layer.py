"""A server of the connection layer in a thread of its own, so that tests can be blocking clients of it.

with Layer(workers=2) as layer:
    port = layer.listen(context)                 # direct TLS; every connection gets an Echo
    with layer.connect(port) as sock: ...
    echo = layer.accepted(0)                     # what happened to the first connection
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import uvloop
from OpenSSL import SSL

from xmppd._fast.conn import Conn, Handler, Listener, NetLoop, PyHandler
from xmppd._fast.tls import TLSContext

T = TypeVar("T")
PATIENCE_S = 20.0  # how long anything may take on a busy machine before the test fails

STARTTLS = b"<starttls/>"
PROCEED = b"<proceed/>"


def wait_for(what: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """The first true value of `what`; AssertionError when it stays false."""
    end = time.monotonic() + patience_s
    while not (value := what()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)
    return value


def connect(port: int) -> socket.socket:
    """A blocking connection without Nagle's delay; reads and writes give up after PATIENCE_S."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Witness(PyHandler):
    """Notes what happens to a connection, and does nothing."""

    def __init__(self, conn: Conn) -> None:
        self.conn = conn
        self.data = bytearray()
        self.opened = 0
        self.reasons: list[str] = []
        self.overflows = 0
        self.writables = 0

    def on_data(self, conn: Conn, data: bytes) -> None:
        self.data += data

    def on_tls_open(self, conn: Conn) -> None:
        self.opened += 1

    def on_closed(self, conn: Conn, reason: str) -> None:
        self.reasons.append(reason)

    def on_writable(self, conn: Conn) -> None:
        self.writables += 1

    def on_overflow(self, conn: Conn) -> None:
        self.overflows += 1
        conn.abort()

    def reason(self) -> str:
        """Why it closed, once it has."""
        wait_for(lambda: self.reasons)
        return self.reasons[0]


class Echo(Witness):
    """Sends back what it gets."""

    def on_data(self, conn: Conn, data: bytes) -> None:
        super().on_data(conn, data)
        conn.write(data)


class StartTLS(Witness):
    """Echo behind STARTTLS, which must be the last thing that came in clear text."""

    def on_data(self, conn: Conn, data: bytes) -> None:
        super().on_data(conn, data)
        if conn.is_tls:
            conn.write(data)
        elif self.data == STARTTLS:
            conn.write(PROCEED)
            conn.start_tls()
        elif not STARTTLS.startswith(self.data):
            conn.close()


class Layer:
    """A NetLoop on a uvloop in a thread. `options` are those of NetLoop."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.handlers: list[Witness] = []
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Layer:
        self._thread.start()
        self._ready.result(PATIENCE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        async def life() -> None:
            self.loop = asyncio.get_running_loop()
            self.net = NetLoop(self.loop, **self.options)
            self._end = asyncio.Event()
            self._ready.set_result(None)
            await self._end.wait()
            self.net.close()

        try:
            uvloop.run(life())
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    def call(self, work: Callable[..., T], *args: Any, **options: Any) -> T:
        """What `work` returns, run on the loop."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work(*args, **options))
            except BaseException as error:
                done.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return done.result(PATIENCE_S)

    def listen(
        self,
        context: TLSContext | Callable[[Conn, str | None], TLSContext | None] | None = None,
        *,
        handler: Callable[[Conn], Handler | None] = Echo,
        direct_tls: bool = True,
    ) -> int:
        """Listen on a free port of 127.0.0.1 and return it. `context`: one, or what selects one by SNI."""
        return self.listener(context, handler=handler, direct_tls=direct_tls).sock.getsockname()[1]  # type: ignore[no-any-return]

    def listener(
        self,
        context: TLSContext | Callable[[Conn, str | None], TLSContext | None] | None = None,
        *,
        handler: Callable[[Conn], Handler | None] = Echo,
        direct_tls: bool = True,
        sock: socket.socket | None = None,
    ) -> Listener:
        def accept(conn: Conn) -> Handler | None:
            made = handler(conn)
            if isinstance(made, Witness):
                self.handlers.append(made)
            return made

        select = context if callable(context) else lambda conn, sni: context
        if sock is None:
            sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.call(self.net.listen, sock, accept, select=select, direct_tls=direct_tls)

    def accepted(self, index: int = -1) -> Any:
        """The handler of an accepted connection, once there are so many."""
        wait_for(lambda: len(self.handlers) > (index if index >= 0 else 0))
        return self.handlers[index]

    def stats(self) -> dict[str, int]:
        return self.call(self.net.stats)

    def connect(self, port: int) -> socket.socket:
        return connect(port)


# -- peers -----------------------------------------------------------------------------------------


def client_context(
    version: str | None = None,
    *,
    cert: tuple[Path, Path] | None = None,
    alpn: list[str] | None = None,
    ciphers: str | None = None,
) -> ssl.SSLContext:
    """A context of Python's ssl (the system's OpenSSL) that trusts everybody. version: "1.2" or "1.3"."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        wanted = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
        context.minimum_version = context.maximum_version = wanted
    if cert:
        context.load_cert_chain(*cert)
    if alpn:
        context.set_alpn_protocols(alpn)
    if ciphers:
        context.set_ciphers(ciphers)
    return context


@contextlib.contextmanager
def ssl_client(
    port: int,
    context: ssl.SSLContext | None = None,
    *,
    sni: str | None = None,
    session: ssl.SSLSession | None = None,
) -> Iterator[ssl.SSLSocket]:
    """A handshaken connection of Python's ssl; a missing close_notify is an error."""
    sock = connect(port)
    try:
        wrapped = (context or client_context()).wrap_socket(
            sock, server_hostname=sni, session=session, suppress_ragged_eofs=False
        )
    except BaseException:
        sock.close()
        raise
    with wrapped:
        yield wrapped


@contextlib.contextmanager
def openssl_client(
    port: int, version: str | None = None, *, cert: tuple[Path, Path] | None = None, sni: bytes | None = None
) -> Iterator[SSL.Connection]:
    """A handshaken connection of pyOpenSSL, whose wheel carries an OpenSSL of its own."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version:
        wanted = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}[version]
        context.set_min_proto_version(wanted)
        context.set_max_proto_version(wanted)
    if cert:
        context.use_certificate_chain_file(str(cert[0]))
        context.use_privatekey_file(str(cert[1]))
    with connect(port) as sock:
        sock.settimeout(None)  # pyOpenSSL knows no Python timeouts; the test's own ends it
        conn = SSL.Connection(context, sock)
        if sni:
            conn.set_tlsext_host_name(sni)
        conn.set_connect_state()
        conn.do_handshake()
        yield conn


def echoed(peer: ssl.SSLSocket | SSL.Connection | socket.socket, text: bytes = b"hello") -> bool:
    """Whether `text` comes back."""
    peer.sendall(text)
    got = b""
    while len(got) < len(text):
        more = peer.recv(65536)
        if not more:
            return False
        got += more
    return got == text


class Bare:
    """A TLS client over a buffer, whose ciphertext a test can send as it likes."""

    def __init__(self, context: ssl.SSLContext | None = None, *, sni: str | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or client_context()).wrap_bio(self.incoming, self.outgoing, server_hostname=sni)

    def step(self, data: bytes = b"") -> tuple[bool, bytes]:
        """Give it what the server sent; (whether the handshake is done, what is to be sent)."""
        if data:
            self.incoming.write(data)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False, self.outgoing.read()
        return True, self.outgoing.read()

    def read(self, data: bytes = b"") -> bytes:
        """Cleartext of what the server sent, so far."""
        if data:
            self.incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            return self.tls.read(65536)
        return b""
