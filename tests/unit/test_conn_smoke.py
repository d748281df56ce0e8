"""The connection layer, in the large: echo in clear, over TLS, after STARTTLS, and how connections end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.certs import Cert, make_ca, make_cert
from xmppd._fast.conn import Conn, Listener, NetLoop, PyHandler
from xmppd._fast.tls import LibCtx, TicketKeys, TLSContext, X509Store

WAIT_S = 10


class Echo(PyHandler):
    """Sends back what it gets; `starttls` asks for TLS, `bye` for the end."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.opened = 0
        self.conn: Conn | None = None

    def on_data(self, conn: Conn, data: bytes) -> None:
        self.data += data
        if data == b"starttls":
            conn.write(b"proceed")
            conn.start_tls()
        elif data == b"bye":
            conn.write(b"good bye")
            conn.close()
        elif data == b"fall":
            raise RuntimeError("as asked")
        else:
            conn.write(data)

    def on_tls_open(self, conn: Conn) -> None:
        self.opened += 1

    def on_closed(self, conn: Conn, reason: str) -> None:
        assert not self.reason.done()
        self.reason.set_result(reason)

    async def ended(self) -> str:
        return await asyncio.wait_for(self.reason, WAIT_S)


class Server:
    """A NetLoop with one listener on a free port, and the handlers it made."""

    def __init__(self, net: NetLoop, listener: Listener, port: int, handlers: list[Echo]) -> None:
        self.net, self.listener, self.port, self.handlers = net, listener, port, handlers

    async def connect(self, **tls: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port, **tls), WAIT_S)


@asynccontextmanager
async def serving(
    context: TLSContext | None = None, *, direct_tls: bool = False, **settings: Any
) -> AsyncIterator[Server]:
    net = NetLoop(asyncio.get_running_loop(), workers=2, **settings)
    sock = socket.create_server(("127.0.0.1", 0))
    handlers: list[Echo] = []

    def accept(conn: Conn) -> Echo:
        handlers.append(Echo())
        handlers[-1].conn = conn
        return handlers[-1]

    listener = net.listen(sock, accept, select=lambda conn, sni: context, direct_tls=direct_tls)
    try:
        yield Server(net, listener, sock.getsockname()[1], handlers)
    finally:
        net.close()


@pytest.fixture(scope="module")
def ca() -> Cert:
    return make_ca()


@pytest.fixture
def context(ca: Cert, tmp_path: Path) -> TLSContext:
    chain, key = make_cert(ca, ["xmpp.example"]).write(tmp_path)
    return TLSContext(LibCtx(), [(chain, key)], tickets=TicketKeys())


@pytest.fixture
def trusting(ca: Cert) -> ssl.SSLContext:
    client = ssl.create_default_context()
    client.load_verify_locations(cadata=ca.pem.decode())
    return client


def run(main: Coroutine[Any, Any, None]) -> None:
    uvloop.run(asyncio.wait_for(main, 4 * WAIT_S))


def test_plain() -> None:
    async def main() -> None:
        async with serving() as server:
            reader, writer = await server.connect()
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            conn = server.handlers[0].conn
            assert conn is not None
            assert (conn.state, conn.is_tls, conn.peer) == ("plain", False, "127.0.0.1")
            assert conn.peer_port == writer.get_extra_info("sockname")[1]
            assert conn.local == ("127.0.0.1", server.port)
            assert (conn.bytes_in, conn.bytes_out) == (5, 5)
            writer.close()
            assert await server.handlers[0].ended() == "eof"
            assert conn.state == "closed"
            assert conn.handler is None
            assert server.net.stats()["connections"] == 0

    run(main())


@pytest.mark.parametrize("size", [1, 16384, 300_000])
def test_tls(context: TLSContext, trusting: ssl.SSLContext, size: int) -> None:
    async def main() -> None:
        async with serving(context, direct_tls=True) as server:
            reader, writer = await server.connect(ssl=trusting, server_hostname="xmpp.example")
            text = bytes(i % 251 for i in range(size))
            writer.write(text)
            assert await reader.readexactly(size) == text
            handler = server.handlers[0]
            assert handler.conn is not None
            assert handler.opened == 1
            assert handler.conn.state == "open"
            info = handler.conn.info()
            assert info is not None
            assert (info.version, info.sni, info.ems) == ("TLSv1.3", "xmpp.example", True)
            assert handler.conn.channel_binding_types == ("tls-exporter", "tls-server-end-point")
            writer.close()
            await writer.wait_closed()
            assert await handler.ended() == "close_notify"

    run(main())


def test_starttls_on_the_same_connection(context: TLSContext, trusting: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serving(context) as server:
            reader, writer = await server.connect()
            writer.write(b"clear")
            assert await reader.readexactly(5) == b"clear"
            writer.write(b"starttls")
            assert await reader.readexactly(7) == b"proceed"
            await asyncio.wait_for(writer.start_tls(trusting, server_hostname="xmpp.example"), WAIT_S)
            writer.write(b"secret")
            assert await reader.readexactly(6) == b"secret"
            assert bytes(server.handlers[0].data) == b"clearstarttlssecret"
            writer.close()

    run(main())


@pytest.mark.parametrize("tls", [False, True])
def test_close_sends_everything_first(context: TLSContext, trusting: ssl.SSLContext, tls: bool) -> None:
    async def main() -> None:
        async with serving(context, direct_tls=tls) as server:
            options = {"ssl": trusting, "server_hostname": "xmpp.example"} if tls else {}
            reader, writer = await server.connect(**options)
            writer.write(b"x" * 100_000)
            assert await reader.readexactly(100_000)
            writer.write(b"bye")
            # TLS: the end is a close_notify, or this would raise
            assert await reader.read() == b"good bye"
            writer.close()
            assert await server.handlers[0].ended() == "local"

    run(main())


def test_linger_is_bounded() -> None:
    async def main() -> None:
        async with serving(linger_s=0.1) as server:
            reader, writer = await server.connect()
            writer.write(b"bye")
            assert await reader.read() == b"good bye"
            # our side stays open: the server does not wait for ever
            assert await server.handlers[0].ended() == "local"
            assert server.net.stats()["connections"] == 0
            writer.close()

    run(main())


def test_truncation_is_not_a_close(context: TLSContext, trusting: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serving(context, direct_tls=True) as server:
            sock = socket.create_connection(("127.0.0.1", server.port))
            tls = await asyncio.to_thread(trusting.wrap_socket, sock, server_hostname="xmpp.example")
            socket.socket.shutdown(tls, socket.SHUT_WR)
            assert await server.handlers[0].ended() == "truncated"
            tls.close()

    run(main())


def test_broken_handler_ends_its_connection_only() -> None:
    async def main() -> None:
        async with serving() as server:
            good, to_good = await server.connect()
            bad, to_bad = await server.connect()
            to_good.write(b"1")
            assert await good.readexactly(1) == b"1"
            to_bad.write(b"fall")
            assert await bad.read() == b""
            assert await server.handlers[1].ended() == "error"
            to_good.write(b"2")
            assert await good.readexactly(1) == b"2"
            to_good.close()
            to_bad.close()

    run(main())


def test_handshake_has_a_deadline(context: TLSContext) -> None:
    async def main() -> None:
        async with serving(context, direct_tls=True, handshake_timeout_s=0.1) as server:
            reader, writer = await server.connect()
            assert await reader.read() == b""
            assert await server.handlers[0].ended() == "timeout"
            writer.close()

    run(main())


def test_rubbish_gets_an_alert(context: TLSContext) -> None:
    async def main() -> None:
        async with serving(context, direct_tls=True) as server:
            reader, writer = await server.connect()
            writer.write(b"\x16\x03\x01\x00\x08rubbish!")
            answer = await reader.read()
            assert answer[:1] == b"\x15"  # content type alert
            assert await server.handlers[0].ended() == "error"
            writer.close()

    run(main())


def test_outgoing(context: TLSContext, ca: Cert, tmp_path: Path) -> None:
    class Caller(PyHandler):
        def __init__(self) -> None:
            self.got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def on_tls_open(self, conn: Conn) -> None:
            conn.write(b"ping")

        def on_data(self, conn: Conn, data: bytes) -> None:
            self.got.set_result(data)

    roots, _ = ca.write(tmp_path, "ca")
    client = TLSContext(context.lib, store=X509Store(roots))

    async def main() -> None:
        async with serving(context, direct_tls=True) as server:
            sock = socket.socket()
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
            caller = Caller()
            conn = server.net.adopt(sock.detach(), caller, client, server=False, sni="xmpp.example")
            assert await asyncio.wait_for(caller.got, WAIT_S) == b"ping"
            assert conn.verify_result() == (0, -1, 0)
            assert conn.peer_chain() == list(context.certificates)
            other = server.handlers[0].conn
            assert other is not None
            for kind in conn.channel_binding_types:
                assert other.channel_binding(kind) == conn.channel_binding(kind)
            assert other.channel_binding_types == conn.channel_binding_types
            assert other.tls_version == conn.tls_version == "TLSv1.3"
            conn.close()
            assert await server.handlers[0].ended() == "close_notify"

    run(main())


@pytest.mark.parametrize("tls", [False, True])
def test_what_the_kernel_has_taken_is_told(context: TLSContext, trusting: ssl.SSLContext, tls: bool) -> None:
    """In order, each once, when the peer has made room; never for a connection that ended before."""

    async def main() -> None:
        async with serving(context, direct_tls=tls, out_limit_bytes=1 << 26) as server:
            kwargs = {"ssl": trusting, "server_hostname": "xmpp.example"} if tls else {}
            reader, writer = await server.connect(limit=1 << 16, **kwargs)
            writer.write(b"x")
            await reader.readexactly(1)
            conn = server.handlers[0].conn
            assert conn is not None
            taken: list[str] = []
            first = asyncio.Event()

            def note(what: str) -> None:
                assert not conn.pending_out or what != "third"
                taken.append(what)
                first.set()

            conn.when_taken(lambda: note("nothing"))  # all that was written is out
            await asyncio.wait_for(first.wait(), WAIT_S)
            conn.write(b"a" * 1000)
            conn.when_taken(lambda: note("first"))
            conn.write(b"b" * 20_000_000)
            conn.when_taken(lambda: note("second"))
            conn.write(b"c")
            conn.when_taken(lambda: note("third"))
            while "first" not in taken:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)  # nobody reads: no room
            assert taken == ["nothing", "first"]
            await reader.readexactly(20_001_001)
            while len(taken) < 4:
                await asyncio.sleep(0.001)
            assert taken == ["nothing", "first", "second", "third"]

            conn.write(b"d" * 50_000_000)
            conn.when_taken(lambda: note("never"))
            await asyncio.sleep(0.01)
            conn.abort()
            conn.when_taken(lambda: note("never"))
            assert await server.handlers[0].ended() == "local"
            assert taken[-1] == "third"
            writer.close()

    run(main())


def test_a_broken_callback_of_what_was_taken_ends_its_connection_only() -> None:
    async def main() -> None:
        async with serving() as server:
            reader, writer = await server.connect()
            other_reader, other_writer = await server.connect()
            writer.write(b"x")
            other_writer.write(b"y")
            await reader.readexactly(1)
            await other_reader.readexactly(1)
            conn = next(h.conn for h in server.handlers if h.data == b"x")
            assert conn is not None
            conn.when_taken(lambda: 1 / 0)
            assert await reader.read() == b""
            other_writer.write(b"z")
            assert await other_reader.readexactly(1) == b"z"
            writer.close()
            other_writer.close()

    run(main())
