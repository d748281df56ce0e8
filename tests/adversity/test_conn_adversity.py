"""The connection layer against bad networks and bad peers: who misbehaves is dropped, the others notice nothing."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversity.proxy import Proxy, Way, reset
from tests.certs import make_ca, make_cert
from tests.layer import (
    PATIENCE_S,
    PROCEED,
    STARTTLS,
    Bare,
    Echo,
    Layer,
    StartTLS,
    Witness,
    client_context,
    connect,
    echoed,
    ssl_client,
    wait_for,
)
from xmppd._fast.conn import Conn
from xmppd._fast.tls import LibCtx, TLSContext

ROOT = Path(__file__).resolve().parents[2]
TEXT = bytes(range(256)) * 400


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> TLSContext:
    chain, key = make_cert(make_ca(), ["localhost"]).write(tmp_path_factory.mktemp("certs"))
    return TLSContext(LibCtx(), [(chain, f"file:{key}")])


@pytest.fixture
def layer() -> Iterator[Layer]:
    with Layer(workers=2) as running:
        yield running


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def bystander(port: int) -> Iterator[list[float]]:
    """A good client that echoes all the while; the seconds each echo took. Fails if one is wrong or the last."""
    took: list[float] = []
    stop = threading.Event()
    failed: list[BaseException] = []

    def talk() -> None:
        try:
            with ssl_client(port) as peer:
                while True:
                    start = time.monotonic()
                    assert echoed(peer)
                    took.append(time.monotonic() - start)
                    if stop.wait(0.005):
                        return
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        wait_for(lambda: took or failed)
        yield took
        seen = len(took)
        wait_for(lambda: len(took) > seen or failed)
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not failed, failed[0]


# -- networks that split, delay and cut -------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize(
    ("up", "down"),
    [
        (Way(piece_bytes=1), Way()),
        (Way(piece_bytes=1400, random_pieces=True), Way(piece_bytes=1400, random_pieces=True)),
        (Way(piece_bytes=4096, delay_s=0.001), Way(piece_bytes=700)),
    ],
)
def test_a_network_that_splits_and_delays_changes_nothing(
    layer: Layer, context: TLSContext, version: str, up: Way, down: Way
) -> None:
    port = layer.listen(context, handler=StartTLS, direct_tls=False)
    text = TEXT[:4096] if up.piece_bytes == 1 else TEXT
    with Proxy(("127.0.0.1", port), up, down) as proxy, proxy.connect(PATIENCE_S) as sock:
        sock.sendall(STARTTLS)
        got = b""
        while len(got) < len(PROCEED):
            got += sock.recv(len(PROCEED) - len(got))
        assert got == PROCEED
        with client_context(version).wrap_socket(sock, suppress_ragged_eofs=False) as tls:
            assert echoed(tls, text)
            tls.unwrap().close()
    assert layer.accepted().reason() == "close_notify"


@pytest.mark.parametrize("cut", ["fin", "rst"])
def test_a_connection_cut_anywhere_ends_once(layer: Layer, context: TLSContext, cut: str) -> None:
    port = layer.listen(context, handler=Echo)
    with bystander(port):
        layer.accepted(0)
        before = descriptors()
        for after_bytes in (1, 5, 100, 250, 300, 330, 400, 600, 5000, 20_000):
            way = Way(cut_after_bytes=after_bytes, cut=cut)  # type: ignore[arg-type]
            for up, down in (way, Way()), (Way(), way):
                with (
                    Proxy(("127.0.0.1", port), up, down) as proxy,
                    contextlib.suppress(OSError, ssl.SSLError),
                    ssl_client(proxy.port) as peer,
                ):
                    assert not echoed(peer, TEXT)
        rest = layer.handlers[1:]
        wait_for(lambda: all(handler.reasons for handler in rest))
        assert {len(handler.reasons) for handler in rest} == {1}
        assert {handler.reasons[0] for handler in rest} <= {"eof", "truncated", "error", "alert"}
        wait_for(lambda: descriptors() <= before)
    wait_for(lambda: layer.stats()["connections"] == 0)


def test_a_held_network_resumes_where_it_stood(layer: Layer, context: TLSContext) -> None:
    port = layer.listen(context)
    with Proxy(("127.0.0.1", port)) as proxy, ssl_client(proxy.port) as peer:
        assert echoed(peer)
        proxy.hold()
        peer.sendall(TEXT[:50_000])
        layer.call(layer.accepted().conn.write, b"while it stood")
        with bystander(port):
            proxy.flow()
            got = b""
            while len(got) < 50_000 + len(b"while it stood"):
                got += peer.recv(65536)
        assert got == b"while it stood" + TEXT[:50_000]


# -- peers that do not read ---------------------------------------------------------------------------


class Patient(Witness):
    """Goes on when output overflows."""

    def on_overflow(self, conn: Conn) -> None:
        self.overflows += 1


def small_buffers(port: int) -> socket.socket:
    """A connection whose peer's kernel takes little on its behalf."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(PATIENCE_S)
    sock.connect(("127.0.0.1", port))
    return sock


@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_never_reads_is_dropped_at_the_limit(context: TLSContext, tls: bool) -> None:
    limit_bytes = 64 * 1024
    with Layer(workers=1, out_limit_bytes=limit_bytes) as layer:
        port = layer.listen(context)
        bad = layer.listen(context, direct_tls=tls)
        with bystander(port) as took, small_buffers(bad) as sock:
            peer = client_context().wrap_socket(sock) if tls else sock
            handler = layer.accepted(1)
            most = 0
            with peer, contextlib.suppress(OSError, ssl.SSLError):
                while not handler.reasons:
                    peer.sendall(TEXT[:8192])
                    most = max(most, handler.conn.pending_out)
            assert handler.reason() == "local"  # Witness.on_overflow aborts
            assert handler.overflows == 1
            assert most < 2 * limit_bytes + 65536
            assert max(took) < PATIENCE_S / 4


def test_overflow_is_told_once_and_writable_when_it_has_fallen(context: TLSContext) -> None:
    limit_bytes = 64 * 1024
    with Layer(workers=1, out_limit_bytes=limit_bytes) as layer:
        port = layer.listen(context, handler=Patient)
        with small_buffers(port) as sock, client_context().wrap_socket(sock) as peer:
            handler = layer.accepted(0)
            wait_for(lambda: handler.opened)
            sent = 0
            while not handler.overflows:
                layer.call(handler.conn.write, TEXT[:16384])
                sent += 16384
            for _ in range(3):
                layer.call(handler.conn.write, b"x")
                sent += 1
            assert handler.overflows == 1
            assert handler.writables == 0
            got = 0
            while got < sent:
                got += len(peer.recv(65536))
            wait_for(lambda: handler.writables == 1)
            assert got == sent
            assert handler.conn.pending_out == 0
            assert not handler.reasons


@pytest.mark.parametrize("tls", [False, True])
def test_no_handler_can_pile_up_output_without_end(context: TLSContext, tls: bool) -> None:
    """However patient it is: at four times the limit the connection is given up."""
    limit_bytes = 64 * 1024
    with Layer(workers=1, out_limit_bytes=limit_bytes) as layer:
        port = layer.listen(context, handler=Patient, direct_tls=tls)
        with small_buffers(port) as sock:
            peer = client_context().wrap_socket(sock) if tls else sock
            handler = layer.accepted(0)
            wait_for(lambda: handler.opened or not tls)
            most = 0
            for _ in range(10_000):
                if handler.reasons:
                    break
                layer.call(handler.conn.write, TEXT[:16384])
                most = max(most, handler.conn.pending_out)
            assert handler.reason() == "error"
            assert most <= 5 * limit_bytes + 2 * 65536
            peer.close()


def test_output_of_one_pass_is_bounded_too(layer: Layer) -> None:
    port = layer.listen(handler=Patient, direct_tls=False)
    with connect(port):
        handler = layer.accepted()

        def pour() -> int:
            for _ in range(1000):
                handler.conn.write(TEXT)
            return int(handler.conn.pending_out)

        assert layer.call(pour) <= 5 << 20
        assert handler.reason() == "error"


def test_what_was_written_before_close_arrives_late_but_whole(layer: Layer, context: TLSContext) -> None:
    port = layer.listen(context)
    with Proxy(("127.0.0.1", port), down=Way(piece_bytes=30_000, delay_s=0.005)) as proxy:
        with ssl_client(proxy.port) as peer:
            handler = layer.accepted()
            wait_for(lambda: handler.opened)
            layer.call(lambda: (handler.conn.write(TEXT * 5), handler.conn.close()))
            got = b""
            while more := peer.recv(65536):
                got += more
            assert got == TEXT * 5
            peer.unwrap().close()
        assert handler.reason() == "local"


def test_a_paused_connection_is_not_read(layer: Layer) -> None:
    """Its bytes wait in the kernel, in order, and all come with resume()."""

    class Paused(Witness):
        def on_data(self, conn: Conn, data: bytes) -> None:
            super().on_data(conn, data)
            if len(self.data) == len(data):
                conn.pause()

    port = layer.listen(handler=Paused, direct_tls=False)
    with connect(port) as peer:
        peer.sendall(b"first ")
        handler = layer.accepted()
        wait_for(lambda: handler.data)
        sender = threading.Thread(target=peer.sendall, args=(TEXT * 20,))
        sender.start()
        with connect(port) as other:  # served after those bytes came
            other.sendall(b"x")
            wait_for(lambda: layer.accepted(1).data)
        assert handler.data == b"first "
        layer.call(handler.conn.resume)
        wait_for(lambda: len(handler.data) == 6 + len(TEXT) * 20)
        assert handler.data == b"first " + TEXT * 20
        sender.join(PATIENCE_S)


# -- half-open sockets and floods -----------------------------------------------------------------------


def test_half_open_connections_cost_nothing_but_time(context: TLSContext) -> None:
    """Hundreds that never say a word, beside a good one; the deadline takes them."""
    with Layer(workers=1, handshake_timeout_s=1) as layer, contextlib.ExitStack() as stack:
        port = layer.listen(context)
        with bystander(port) as took:
            for i in range(300):
                sock = stack.enter_context(connect(port))
                if i % 2:
                    sock.sendall(b"\x16\x03\x01\x02\x00\x01")
            wait_for(lambda: sum(handler.reasons == ["timeout"] for handler in layer.handlers) == 300)
            assert max(took) < PATIENCE_S / 4
        assert layer.stats()["handshakes_timeout"] == 300


def test_a_half_closed_connection_gets_what_was_written(layer: Layer) -> None:
    port = layer.listen(direct_tls=False)
    with connect(port) as peer:
        peer.sendall(TEXT)
        peer.shutdown(socket.SHUT_WR)
        got = b""
        while more := peer.recv(65536):
            got += more
        assert got == TEXT
    assert layer.accepted().reason() == "eof"


def test_a_flood_of_connections(context: TLSContext) -> None:
    """They come faster than handshakes go, in every kind of rudeness: none stays, the good one goes on."""
    with Layer(workers=2, max_queue=16, handshake_timeout_s=5) as layer:
        port = layer.listen(context, handler=Echo)
        dice = random.Random(5)  # noqa: S311
        with bystander(port) as took:
            before = descriptors()
            for _ in range(10):
                socks = [connect(port) for _ in range(50)]
                for sock in socks:
                    with contextlib.suppress(OSError):
                        sock.sendall(dice.choice((b"", b"GET / HTTP/1.1\r\n\r\n", Bare().step()[1])))
                for sock in socks:
                    (reset if dice.random() < 0.5 else socket.socket.close)(sock)
            wait_for(lambda: layer.stats()["connections"] == 1)
            assert layer.stats()["accepted"] >= 501
            wait_for(lambda: all(handler.reasons for handler in layer.handlers[1:]))
            wait_for(lambda: descriptors() <= before)
            assert max(took) < PATIENCE_S / 4


# -- connections that die while a worker has them ------------------------------------------------------


@pytest.mark.parametrize("how", ["rst", "fin", "server"])
def test_a_connection_dies_while_its_job_is_in_the_pool(tmp_path: Path, how: str) -> None:
    """One worker and a slow key, so that jobs wait; what dies meanwhile is freed when the worker gives it back."""
    chain, key = make_cert(make_ca(kind="rsa2048"), ["localhost"], kind="rsa2048").write(tmp_path)
    slow = TLSContext(LibCtx(), [(chain, f"file:{key}")])
    with Layer(workers=1) as layer:
        port = layer.listen(slow)
        before = descriptors()
        for _ in range(5):
            layer.handlers.clear()
            socks = [connect(port) for _ in range(40)]
            for sock in socks:
                sock.sendall(Bare().step()[1])
            if how == "server":
                wait_for(lambda: len(layer.handlers) == 40)
                layer.call(lambda: [handler.conn.abort() for handler in layer.handlers])
            for sock in socks:
                (reset if how == "rst" else socket.socket.close)(sock)
            wait_for(lambda: len(layer.handlers) == 40 and all(h.reasons for h in layer.handlers))
            assert all(len(handler.reasons) == 1 for handler in layer.handlers)
            assert not any(handler.opened for handler in layer.handlers)
        wait_for(lambda: layer.stats()["connections"] == 0)
        wait_for(lambda: layer.stats()["handshakes_running"] + layer.stats()["handshakes_queued"] == 0)
        wait_for(lambda: descriptors() <= before)
        with ssl_client(port) as peer:
            assert echoed(peer)


def test_the_layer_is_closed_while_jobs_are_in_the_pool(tmp_path: Path) -> None:
    chain, key = make_cert(make_ca(kind="rsa2048"), ["localhost"], kind="rsa2048").write(tmp_path)
    slow = TLSContext(LibCtx(), [(chain, f"file:{key}")])
    before = descriptors()
    with contextlib.ExitStack() as stack:
        with Layer(workers=1) as layer:
            port = layer.listen(slow)
            for _ in range(40):
                sock = stack.enter_context(connect(port))
                sock.sendall(Bare().step()[1])
            wait_for(lambda: len(layer.handlers) == 40)
        assert all(handler.reasons == ["local"] for handler in layer.handlers)
    wait_for(lambda: descriptors() <= before)


# -- a kernel that refuses --------------------------------------------------------------------------------

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* ENOSPC, as beyond fs.epoll.max_user_watches, while the file named by REFUSE is there */
int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event) {
    static int (*real)(int, int, int, struct epoll_event *);
    if (!real) real = (int (*)(int, int, int, struct epoll_event *))dlsym(RTLD_NEXT, "epoll_ctl");
    if (op == EPOLL_CTL_ADD && !access(getenv("REFUSE"), F_OK)) {
        errno = ENOSPC;
        return -1;
    }
    return real(epfd, op, fd, event);
}
"""

REFUSING = """
import os, sys
from pathlib import Path
from tests.layer import Layer, connect, echoed, wait_for

refuse = Path(os.environ["REFUSE"])
with Layer(workers=1) as layer:
    port = layer.listen(direct_tls=False)
    with connect(port) as first, connect(port) as second:
        assert echoed(first) and echoed(second)
        refuse.touch()
        for _ in range(3):
            with connect(port) as refused:
                try:
                    assert refused.recv(1) == b""
                except ConnectionResetError:
                    pass
        refuse.unlink()
        assert echoed(first) and echoed(second)
        assert layer.stats()["connections"] == 2
        assert len(layer.call(layer.net.connections)) == 2
        with connect(port) as third:
            assert echoed(third)
    wait_for(lambda: layer.stats()["connections"] == 0)
print("fine")
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.skipif("XMPPD_SANITIZED" in os.environ, reason="the sanitizer wants to be preloaded first")
def test_a_kernel_that_watches_no_more_descriptors(tmp_path: Path) -> None:
    """The new connection is dropped; those that live are neither forgotten nor freed."""
    (tmp_path / "shim.c").write_text(SHIM, encoding="ascii")
    shim = tmp_path / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, tmp_path / "shim.c", "-ldl"], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(shim), "REFUSE": str(tmp_path / "refuse")}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", REFUSING],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
