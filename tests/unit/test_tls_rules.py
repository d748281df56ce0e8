"""The security rules of the connection layer, one or more tests for each, against independent peers.

Peers: Python's ssl (the system's OpenSSL), pyOpenSSL (an OpenSSL of its own) and the openssl command.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import os
import random
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from tests.certs import Cert, make_ca, make_cert, make_crl
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
    openssl_client,
    ssl_client,
    wait_for,
)
from xmppd._fast.conn import Conn, PyHandler
from xmppd._fast.tls import VERIFY_REQUEST, LibCtx, TicketKeys, TLSContext, TLSError, X509Store

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("1.2", "1.3")
both_versions = pytest.mark.parametrize("version", VERSIONS)

# X509_V_ERR_*, x509_vfy.h
CERT_HAS_EXPIRED = 10
WRONG_SIGNATURE = 7
SELF_SIGNED_LEAF = 18
SELF_SIGNED_IN_CHAIN = 19
NO_ISSUER = 20
UNABLE_TO_GET_CRL = 3


@pytest.fixture(scope="module")
def lib() -> LibCtx:
    return LibCtx()


@pytest.fixture(scope="module")
def ca() -> Cert:
    return make_ca()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, ca: Cert) -> Path:
    """A folder with certificates: server (P-256), client (of the CA), stranger (self-signed), ca."""
    folder = tmp_path_factory.mktemp("certs")
    make_cert(ca, ["localhost"]).write(folder, "server")
    make_cert(ca, ["romeo"], client=True).write(folder, "client")
    make_ca("stranger").write(folder, "stranger")
    ca.write(folder, "ca")
    # issued by the CA, it says, but the signature is wrong
    mercutio = make_cert(ca, ["mercutio"], client=True)
    forged, _ = mercutio.write(folder, "forged")
    der = bytearray(mercutio.der)
    der[-1] ^= 1
    forged.write_bytes(ssl.DER_cert_to_PEM_cert(bytes(der)).encode())
    return folder


def der_of(files: Path, name: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert((files / f"{name}.pem").read_text(encoding="ascii"))


def pair(files: Path, name: str) -> tuple[Path, Path]:
    return files / f"{name}.pem", files / f"{name}.key"


@pytest.fixture(scope="module")
def context(lib: LibCtx, files: Path) -> TLSContext:
    return make_context(lib, files)


def make_context(lib: LibCtx, files: Path, *names: str, **options: object) -> TLSContext:
    certs = [(chain, f"file:{key}") for chain, key in (pair(files, name) for name in names or ("server",))]
    return TLSContext(lib, certs, **options)  # type: ignore[arg-type]


@pytest.fixture
def layer() -> Iterator[Layer]:
    with Layer(workers=2) as running:
        yield running


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def packets(sock: socket.socket, offset: int = 140) -> int:
    """How many the kernel has got for it, from its TCP_INFO (tcpi_segs_in, or tcpi_data_segs_in)."""
    return int.from_bytes(
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)[offset : offset + 4], sys.byteorder
    )


WITH_DATA = 152


def resident_kib() -> int:
    gc.collect()
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("Rss:")))


def end_of(sock: socket.socket) -> bytes:
    """What is left until the end of the stream, be it a FIN, a reset or (TLS) without close_notify."""
    data = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while more := sock.recv(65536):
            data += more
    return data


def alert_in(data: bytes) -> int | None:
    """The description of the clear-text alert that ends `data` (RFC 8446 B.2)."""
    return data[-1] if len(data) >= 7 and data[-7] == 21 and data[-2] == 2 else None


# -- 1: the error queue ----------------------------------------------------------------------------


@both_versions
@pytest.mark.parametrize(("name", "first"), [("stranger", SELF_SIGNED_LEAF), ("forged", WRONG_SIGNATURE)])
def test_1_error_queue_overridden_verification_is_not_read_as_failure(
    layer: Layer, asking: TLSContext, files: Path, version: str, name: str, first: int
) -> None:
    """A verify callback that overrides an error leaves it in the queue; no 'want read' must find it there.

    Byte by byte, so that verification is followed by many steps that want more.
    """
    port = layer.listen(asking)
    client = Bare(client_context(version, cert=pair(files, name)))
    with layer.connect(port) as sock:
        byte_wise(client, sock)
        assert layer.call(layer.accepted().conn.verify_result).first == first


def byte_wise(client: Bare, sock: socket.socket) -> None:
    """A handshake whose client sends every byte in a segment of its own, then an echo."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    done, out = client.step()
    while True:
        for i in range(len(out)):
            sock.sendall(out[i : i + 1])
        if done:
            break
        data = sock.recv(65536)
        assert data, "the server gave up"
        done, out = client.step(data)
    client.tls.write(b"hello")
    for byte in client.outgoing.read():
        sock.sendall(bytes((byte,)))
    text = client.read()
    while len(text) < 5:
        data = sock.recv(65536)
        assert data, "the server gave up"
        text += client.read(data)
    assert text == b"hello"


def test_1_error_queue_a_failed_connection_leaves_nothing_for_the_next(lib: LibCtx, files: Path) -> None:
    """One worker, one loop: handshakes that fail in either of them, beside good ones and open connections."""
    with Layer(workers=1) as layer:
        port = layer.listen(make_context(lib, files, alpn=[b"xmpp-client"]))
        with ssl_client(port) as old:
            for i in range(20):
                with pytest.raises(ssl.SSLError), ssl_client(port, client_context(alpn=["http/1.1"])):
                    pass  # fails in the worker
                with layer.connect(port) as rubbish:  # fails on the loop
                    rubbish.sendall(b"\x16\x03\x01\xff\xff" + b"rubbish")
                    end_of(rubbish)
                assert echoed(old), i
                with ssl_client(port) as new:
                    assert echoed(new), i


def test_1_error_queue_is_cleared_before_calls_that_are_judged(layer: Layer, context: TLSContext) -> None:
    """Garbage inside an open connection ends that one only, while others' reads want more."""
    port = layer.listen(context)
    with ssl_client(port) as good:
        for _ in range(10):
            with ssl_client(port) as bad:
                assert echoed(bad)
                handler = layer.accepted()
                raw = socket.socket(fileno=os.dup(bad.fileno()))
                with raw:
                    raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
                    assert handler.reason() == "error"
            assert echoed(good)


# -- 2: STARTTLS -----------------------------------------------------------------------------------


def test_2_starttls(layer: Layer, context: TLSContext) -> None:
    port = layer.listen(context, handler=StartTLS, direct_tls=False)
    with layer.connect(port) as sock:
        sock.sendall(STARTTLS)
        assert sock.recv(100) == PROCEED
        with client_context().wrap_socket(sock) as tls:
            assert echoed(tls)
            handler = layer.accepted()
            assert handler.opened == 1
            assert handler.conn.is_tls
            assert handler.conn.state == "open"


def test_2_starttls_bytes_glued_behind_never_come_out_of_tls(layer: Layer, context: TLSContext) -> None:
    """CVE-2011-0411: what was sent in clear text is never taken for what was encrypted."""
    port = layer.listen(context, handler=StartTLS, direct_tls=False)
    with layer.connect(port) as sock:
        sock.sendall(STARTTLS + b"<evil/>")
        assert end_of(sock) == b""
    handler = layer.accepted()
    assert handler.reason()
    assert handler.opened == 0


class Careless(Witness):
    """Starts TLS whatever came behind the command."""

    def on_data(self, conn: Conn, data: bytes) -> None:
        super().on_data(conn, data)
        if not conn.is_tls:
            conn.write(PROCEED)
            conn.start_tls()


def test_2_starttls_bytes_of_the_next_segment_break_the_handshake(layer: Layer, context: TLSContext) -> None:
    """Clear text that arrives after start_tls is the TLS engine's to refuse."""
    port = layer.listen(context, handler=Careless, direct_tls=False)
    with layer.connect(port) as sock:
        sock.sendall(STARTTLS)
        assert sock.recv(len(PROCEED)) == PROCEED
        sock.sendall(b"<evil/>")
        end_of(sock)
    handler = layer.accepted()
    assert handler.reason() == "error"
    assert bytes(handler.data) == STARTTLS
    assert handler.opened == 0


def test_2_starttls_hello_glued_behind_the_command_is_not_taken(layer: Layer, context: TLSContext) -> None:
    """Bytes of the same read belong to feed alone: even a ClientHello in them does not start TLS."""
    port = layer.listen(context, handler=StartTLS, direct_tls=False)
    _, hello = Bare().step()
    with layer.connect(port) as sock:
        sock.sendall(STARTTLS + hello)
        assert end_of(sock) == b""
    assert layer.accepted().opened == 0


# -- 3: renegotiation, compression, versions, early data, KeyUpdate --------------------------------


def test_3_no_renegotiation(layer: Layer, context: TLSContext) -> None:
    port = layer.listen(context)
    with openssl_client(port, "1.2") as peer:
        assert echoed(peer)
        assert peer.renegotiate()
        with pytest.raises(SSL.Error, match="no renegotiation"):
            peer.do_handshake()
    assert layer.accepted().opened == 1


@both_versions
def test_3_no_compression(layer: Layer, context: TLSContext, version: str) -> None:
    port = layer.listen(context)
    with ssl_client(port, client_context(version)) as peer:
        assert peer.compression() is None


def test_3_versions_below_1_2_are_refused(layer: Layer, context: TLSContext) -> None:
    port = layer.listen(context)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol_version"), ssl_client(port, old):
        pass


def test_3_a_context_may_demand_1_3(layer: Layer, lib: LibCtx, files: Path) -> None:
    port = layer.listen(make_context(lib, files, min="1.3"))
    with ssl_client(port) as peer:
        assert peer.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol_version"), ssl_client(port, client_context("1.2")):
        pass


openssl_command = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl command")


@openssl_command
def test_3_no_early_data(layer: Layer, lib: LibCtx, files: Path, tmp_path: Path) -> None:
    """Not offered with the ticket, and refused when it is sent all the same."""
    port = layer.listen(make_context(lib, files, tickets=TicketKeys()))
    session = tmp_path / "session"
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3", "-quiet"]

    def talk(*more: str) -> None:
        """One echo; the ticket has been read when it is back."""
        with subprocess.Popen(
            [*command, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as peer:
            assert peer.stdin
            assert peer.stdout
            peer.stdin.write(b"hello\n")
            peer.stdin.flush()
            assert peer.stdout.readline() == b"hello\n"
            peer.terminate()

    talk("-sess_out", str(session))
    text = subprocess.run(
        ["openssl", "sess_id", "-in", session, "-noout", "-text"], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"Max Early Data: 0\b", text)


@openssl_command
@pytest.mark.parametrize("group", ["X25519", "P-256"])
def test_3_key_update_is_answered(layer: Layer, lib: LibCtx, files: Path, group: str) -> None:
    """A KeyUpdate that asks for one gets it before the next data (RFC 8446 4.6.3), and nothing is lost around it."""
    port = layer.listen(make_context(lib, files, groups=group))
    with subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3", "-msg"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as peer:
        assert peer.stdin
        assert peer.stderr
        wait_for(lambda: layer.handlers and layer.handlers[0].opened)
        conn = layer.accepted().conn
        before = conn.bytes_out
        answer_bytes = 2 * (5 + 1 + 16) + 5 + 8  # twice header, type and tag; a KeyUpdate, the echo
        for i in range(3):
            peer.stdin.write("K\n")
            peer.stdin.flush()
            assert any(line == "KEYUPDATE\n" for line in peer.stderr)
            peer.stdin.write(f"hello {i}\n")
            peer.stdin.flush()
            wait_for(lambda n=i + 1: conn.bytes_out == before + n * answer_bytes)
        seen, _ = peer.communicate("Q\n", timeout=PATIENCE_S)
    assert len(re.findall(r"<<< TLS 1\.3, Handshake [^\n]*KeyUpdate", seen)) == 3
    assert re.findall(r"^hello .$", seen, re.MULTILINE) == ["hello 0", "hello 1", "hello 2"]


# -- 4: how a connection ends ----------------------------------------------------------------------


@both_versions
def test_4_close_notify_and_truncation_are_told_apart(
    layer: Layer, context: TLSContext, version: str
) -> None:
    port = layer.listen(context)
    with ssl_client(port, client_context(version)) as peer:
        assert echoed(peer)
        peer.unwrap().close()
    assert layer.accepted(0).reason() == "close_notify"

    with ssl_client(port, client_context(version)) as peer:
        assert echoed(peer)
        peer.shutdown(socket.SHUT_RDWR)  # FIN without close_notify
    assert layer.accepted(1).reason() == "truncated"


def test_4_end_of_a_plain_connection_is_eof(layer: Layer) -> None:
    port = layer.listen(direct_tls=False)
    with layer.connect(port) as peer:
        assert echoed(peer)
    assert layer.accepted().reason() == "eof"


def test_4_alert_of_the_peer(layer: Layer, context: TLSContext, files: Path) -> None:
    """A client that does not trust us says so, and hangs up while the worker still reads it."""
    port = layer.listen(context)
    wary = ssl.create_default_context()
    for i in range(30):
        with pytest.raises(ssl.SSLCertVerificationError), ssl_client(port, wary, sni="localhost"):
            pass
        assert layer.accepted(i).reason() == "alert"
    wait_for(lambda: layer.stats()["connections"] == 0)


@both_versions
@pytest.mark.parametrize("peer_kind", [ssl_client, openssl_client])
def test_4_close_sends_close_notify(
    layer: Layer, context: TLSContext, version: str, peer_kind: Callable[..., object]
) -> None:
    port = layer.listen(context)
    if peer_kind is ssl_client:
        with ssl_client(port, client_context(version)) as peer:
            assert echoed(peer)
            handler = layer.accepted()
            layer.call(handler.conn.close)
            assert peer.recv(100) == b""  # a ragged end would raise
            assert not handler.reasons  # it waits for the peer
            peer.unwrap().close()
    else:
        with openssl_client(port, version) as other:
            assert echoed(other)
            handler = layer.accepted()
            layer.call(handler.conn.close)
            with pytest.raises(SSL.ZeroReturnError):
                other.recv(100)
            other.shutdown()
    assert handler.reason() == "local"
    assert handler.reasons == ["local"]


@both_versions
def test_4_the_end_is_one_packet(layer: Layer, context: TLSContext, version: str) -> None:
    """The last that is said, close_notify and FIN."""
    port = layer.listen(context)
    with ssl_client(port, client_context(version)) as peer:
        assert echoed(peer)
        conn = layer.accepted().conn

        def write_and_close() -> None:
            conn.write(b"farewell")
            conn.close()

        before = packets(peer)
        layer.call(write_and_close)
        assert peer.recv(100) == b"farewell"
        assert peer.recv(100) == b""
        assert packets(peer) - before == 1
        peer.unwrap().close()


def test_4_close_flushes_what_was_written(layer: Layer, context: TLSContext) -> None:
    port = layer.listen(context)
    text = bytes(range(256)) * 3000
    with ssl_client(port) as peer:
        handler = layer.accepted()
        wait_for(lambda: handler.opened)
        conn = handler.conn

        def write_and_close() -> None:
            conn.write(text)
            conn.close()

        layer.call(write_and_close)
        assert end_of(peer) == text


def test_4_close_waits_for_the_peer_no_longer_than_linger(context: TLSContext) -> None:
    with Layer(workers=1, linger_s=0.1) as layer:
        port = layer.listen(context)
        with ssl_client(port) as peer:
            handler = layer.accepted()
            wait_for(lambda: handler.opened)
            layer.call(handler.conn.close)
            assert handler.reason() == "local"
            assert handler.reasons == ["local"]
            peer.shutdown(socket.SHUT_RDWR)


def test_4_alerts_made_in_a_worker_are_sent(layer: Layer, context: TLSContext) -> None:
    port = layer.listen(context)
    no_common = client_context("1.2", ciphers="AES128-SHA256")
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake_failure"), ssl_client(port, no_common):
        pass
    assert layer.accepted().reason() == "error"


def test_4_abort_closes_at_once(layer: Layer, context: TLSContext) -> None:
    port = layer.listen(context)
    with ssl_client(port) as peer:
        handler = layer.accepted()
        wait_for(lambda: handler.opened)
        layer.call(handler.conn.abort)
        assert handler.reason() == "local"
        assert end_of(peer) == b""


# -- 5: client certificates ------------------------------------------------------------------------


@pytest.fixture
def asking(lib: LibCtx, files: Path) -> TLSContext:
    """A context that asks for a client certificate and trusts the CA."""
    return make_context(lib, files, verify=VERIFY_REQUEST, store=X509Store(files / "ca.pem"))


@both_versions
def test_5_client_without_certificate(layer: Layer, asking: TLSContext, version: str) -> None:
    port = layer.listen(asking)
    with ssl_client(port, client_context(version)) as peer:
        assert echoed(peer)
        assert layer.call(layer.accepted().conn.peer_chain) == []


@pytest.mark.parametrize("asks", [False, True])
def test_5_a_worker_takes_what_needs_a_key_and_no_more(
    layer: Layer, context: TLSContext, asking: TLSContext, files: Path, asks: bool
) -> None:
    """TLS 1.3: our signature, and the client's if it has a certificate; else its Finished is for the loop."""
    port = layer.listen(asking if asks else context)
    for cert, steps in (None, 1), (pair(files, "client"), 2 if asks else 1):
        before = layer.stats()["handshake_steps"]
        with ssl_client(port, client_context("1.3", cert=cert)) as peer:
            assert echoed(peer)
            assert layer.stats()["handshake_steps"] == before + steps


@both_versions
def test_5_certificate_is_requested_and_verified(
    layer: Layer, asking: TLSContext, files: Path, version: str
) -> None:
    port = layer.listen(asking)
    with ssl_client(port, client_context(version, cert=pair(files, "client"))) as peer:
        assert echoed(peer)
        conn = layer.accepted().conn
        assert layer.call(conn.peer_chain) == [der_of(files, "client")]
        assert tuple(layer.call(conn.verify_result)) == (0, -1, 0)


@both_versions
def test_5_certificate_that_cannot_be_verified_is_accepted_with_its_first_error(
    layer: Layer, asking: TLSContext, files: Path, version: str
) -> None:
    port = layer.listen(asking)
    with ssl_client(port, client_context(version, cert=pair(files, "stranger"))) as peer:
        assert echoed(peer)
        conn = layer.accepted().conn
        assert layer.call(conn.peer_chain) == [der_of(files, "stranger")]
        result = layer.call(conn.verify_result)
        assert (result.first, result.depth) == (SELF_SIGNED_LEAF, 0)


@both_versions
def test_5_first_error_is_kept_where_openssl_keeps_the_last(
    layer: Layer, lib: LibCtx, files: Path, ca: Cert, tmp_path: Path, version: str
) -> None:
    """Self-signed, with CRL checking: first 'self-signed' (18), at the end 'no CRL' (3)."""
    crl = tmp_path / "crl.pem"
    crl.write_bytes(make_crl(ca))
    store = X509Store(files / "ca.pem", [crl])
    port = layer.listen(make_context(lib, files, verify=VERIFY_REQUEST, store=store))
    with ssl_client(port, client_context(version, cert=pair(files, "stranger"))) as peer:
        assert echoed(peer)
        assert tuple(layer.call(layer.accepted().conn.verify_result)) == (
            SELF_SIGNED_LEAF,
            0,
            UNABLE_TO_GET_CRL,
        )


def test_5_depth_of_the_first_error(layer: Layer, asking: TLSContext, tmp_path: Path) -> None:
    """A chain whose root is sent but not trusted: the error is the root's, two above the leaf."""
    root = make_ca("unknown root")
    middle = make_ca("unknown middle", issuer=root)
    leaf = make_cert(middle, ["juliet"], client=True)
    chain, key = leaf.write(tmp_path, "juliet")
    chain.write_bytes(leaf.pem + root.pem)
    port = layer.listen(asking)
    with openssl_client(port, cert=(chain, key)) as peer:
        assert echoed(peer)
        conn = layer.accepted().conn
        assert layer.call(conn.peer_chain) == [cert.der for cert in (leaf, middle, root)]
        result = layer.call(conn.verify_result)
        assert (result.first, result.depth) == (SELF_SIGNED_IN_CHAIN, 2)


@pytest.mark.parametrize(
    ("since_days", "days", "revoked", "first"),
    [(10, -1, False, CERT_HAS_EXPIRED), (1, 10, True, 23), (1, 10, False, 0)],
)
def test_5_expired_and_revoked_certificates_are_told(
    layer: Layer,
    lib: LibCtx,
    files: Path,
    ca: Cert,
    tmp_path: Path,
    since_days: int,
    days: int,
    revoked: bool,
    first: int,
) -> None:
    cert = make_cert(ca, ["romeo"], client=True, since_days=since_days, days=days)
    crl = tmp_path / "crl.pem"
    crl.write_bytes(make_crl(ca, [cert] if revoked else []))
    store = X509Store(files / "ca.pem", [crl])
    port = layer.listen(make_context(lib, files, verify=VERIFY_REQUEST, store=store))
    with ssl_client(port, client_context(cert=cert.write(tmp_path, "romeo"))) as peer:
        assert echoed(peer)
        assert layer.call(layer.accepted().conn.verify_result).first == first


def test_5_certificate_is_not_requested_unless_wanted(layer: Layer, context: TLSContext, files: Path) -> None:
    port = layer.listen(context)
    with ssl_client(port, client_context(cert=pair(files, "client"))) as peer:
        assert echoed(peer)
        assert layer.call(layer.accepted().conn.peer_chain) == []


# -- 6: no tickets for peers with a certificate ----------------------------------------------------


def has_ticket(peer: ssl.SSLSocket) -> bool:
    """After an echo, so that the tickets of TLS 1.3 have been read."""
    assert echoed(peer)
    session = peer.session
    return session is not None and session.has_ticket


@both_versions
@pytest.mark.parametrize("verify", [0, VERIFY_REQUEST])
def test_6_tickets_only_for_peers_without_certificate(
    layer: Layer, lib: LibCtx, files: Path, version: str, verify: int
) -> None:
    port = layer.listen(make_context(lib, files, verify=verify, tickets=TicketKeys()))
    with ssl_client(port, client_context(version)) as peer:
        assert has_ticket(peer)
    with ssl_client(port, client_context(version, cert=pair(files, "client"))) as peer:
        assert has_ticket(peer) == (verify == 0)


@both_versions
def test_6_a_peer_with_certificate_cannot_resume(
    layer: Layer, lib: LibCtx, files: Path, version: str
) -> None:
    """Neither by ticket nor by session id: each of its connections shows the chain and is verified."""
    port = layer.listen(make_context(lib, files, verify=VERIFY_REQUEST, tickets=TicketKeys()))
    client = client_context(version, cert=pair(files, "client"))
    with ssl_client(port, client) as peer:
        assert echoed(peer)
        session = peer.session
        peer.unwrap().close()
    with ssl_client(port, client, session=session) as peer:
        assert echoed(peer)
        assert not peer.session_reused
        assert layer.call(layer.accepted(1).conn.peer_chain) == [der_of(files, "client")]


@both_versions
def test_6_without_ticket_keys_there_are_no_tickets(layer: Layer, context: TLSContext, version: str) -> None:
    port = layer.listen(context)
    with ssl_client(port, client_context(version)) as peer:
        assert not has_ticket(peer)


# -- 7: ticket keys --------------------------------------------------------------------------------


@both_versions
def test_7_ticket_keys_rotate_and_the_previous_one_is_kept(
    layer: Layer, lib: LibCtx, files: Path, version: str
) -> None:
    keys = TicketKeys()
    port = layer.listen(make_context(lib, files, tickets=keys))
    client = client_context(version)

    def session() -> ssl.SSLSession:
        with ssl_client(port, client) as peer:
            assert has_ticket(peer)
            kept = peer.session
            peer.unwrap().close()
            return kept

    def resumes(kept: ssl.SSLSession) -> bool:
        with ssl_client(port, client, session=kept) as peer:
            assert echoed(peer)
            info = layer.call(layer.accepted().conn.info)
            assert info.resumed == peer.session_reused
            peer.unwrap().close()
            return bool(info.resumed)

    assert resumes(session())
    kept = session()
    keys.rotate()
    assert resumes(kept)
    kept = session()
    keys.rotate()
    keys.rotate()
    assert not resumes(kept)
    assert resumes(session())


@both_versions
def test_7_a_ticket_made_with_the_previous_key_is_renewed(
    layer: Layer, lib: LibCtx, files: Path, version: str
) -> None:
    keys = TicketKeys()
    port = layer.listen(make_context(lib, files, tickets=keys))
    client = client_context(version)
    with ssl_client(port, client) as peer:
        assert has_ticket(peer)
        old = peer.session
        peer.unwrap().close()
    keys.rotate()
    with ssl_client(port, client, session=old) as peer:
        assert has_ticket(peer)
        new = peer.session
        peer.unwrap().close()
    keys.rotate()
    with ssl_client(port, client, session=new) as peer:
        assert echoed(peer)
        assert peer.session_reused


def test_7_one_ticket(layer: Layer, lib: LibCtx, files: Path) -> None:
    port = layer.listen(make_context(lib, files, tickets=TicketKeys()))
    client = Bare(client_context("1.3"))
    with layer.connect(port) as sock:
        done, out = client.step()
        while not done:
            sock.sendall(out)
            done, out = client.step(sock.recv(65536))
        sock.sendall(out)
        # before the client has said anything, all the server sends is tickets: one record
        data = sock.recv(65536)
        while len(data) < 5 or len(data) < 5 + int.from_bytes(data[3:5], "big"):
            data += sock.recv(65536)
        assert len(data) == 5 + int.from_bytes(data[3:5], "big")


def test_7_a_ticket_comes_with_the_first_that_is_said(layer: Layer, lib: LibCtx, files: Path) -> None:
    port = layer.listen(make_context(lib, files, tickets=TicketKeys()))
    client = Bare(client_context("1.3"))
    with layer.connect(port) as sock:
        done, out = client.step()
        while not done:
            sock.sendall(out)
            done, out = client.step(sock.recv(65536))
        client.tls.write(b"hello")
        before = packets(sock, WITH_DATA)
        sock.sendall(out + client.outgoing.read())
        data = client.read(sock.recv(65536))
        while not data:
            data = client.read(sock.recv(65536))
        assert data == b"hello"
        assert client.tls.session.has_ticket
        assert packets(sock, WITH_DATA) - before == 1


def test_7_a_ticket_does_not_move_to_another_certificate(
    layer: Layer, lib: LibCtx, files: Path, ca: Cert
) -> None:
    """tls-server-end-point speaks of the certificate: a session goes on only where that is the same."""
    make_cert(ca, ["other.example"]).write(files, "other")
    keys = TicketKeys()
    first = layer.listen(make_context(lib, files, tickets=keys))
    second = layer.listen(make_context(lib, files, "other", tickets=keys))
    client = client_context("1.2")
    with ssl_client(first, client) as peer:
        assert has_ticket(peer)
        session = peer.session
        peer.unwrap().close()
    with ssl_client(second, client, session=session) as peer:
        assert echoed(peer)
        assert not peer.session_reused


# -- 8: SNI ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hosts(lib: LibCtx, files: Path, ca: Cert) -> dict[str, TLSContext]:
    for name in "capulet.example", "montague.example":
        make_cert(ca, [name]).write(files, name)
    return {name: make_context(lib, files, name) for name in ("capulet.example", "montague.example")}


@both_versions
def test_8_certificate_follows_the_name(
    layer: Layer, context: TLSContext, hosts: dict[str, TLSContext], files: Path, version: str
) -> None:
    asked: list[str | None] = []

    def select(conn: Conn, sni: str | None) -> TLSContext:
        asked.append(sni)
        return hosts.get(sni or "", context)

    port = layer.listen(select)
    for name, shown in {
        "capulet.example": "capulet.example",
        "montague.example": "montague.example",
        "Capulet.EXAMPLE": "capulet.example",
        "unknown.example": "server",
        None: "server",
    }.items():
        asked.clear()
        with ssl_client(port, client_context(version), sni=name) as peer:
            assert echoed(peer)
            assert peer.getpeercert(binary_form=True) == der_of(files, shown)
            assert asked[-1] == (name.lower() if name else None)
            sni = layer.call(layer.accepted().conn.info).sni
            assert (sni or "").lower() == (name or "").lower()


def test_8_unknown_name_may_be_refused(layer: Layer, hosts: dict[str, TLSContext]) -> None:
    any_host = next(iter(hosts.values()))
    port = layer.listen(lambda conn, sni: any_host if sni is None else hosts.get(sni))
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized_name"), ssl_client(port, sni="unknown.example"):
        pass
    assert layer.accepted().reason()


@pytest.mark.parametrize("bad", [b"\0", b" ", b"\x80", b"\x7f"])
def test_8_name_with_nul_or_no_ascii_is_refused(layer: Layer, context: TLSContext, bad: bytes) -> None:
    asked: list[str | None] = []

    def select(conn: Conn, sni: str | None) -> TLSContext:
        asked.append(sni)
        return context

    port = layer.listen(select)
    _, hello = Bare(sni="capuletQ.example").step()
    assert hello.count(b"capuletQ.example") == 1
    asked.clear()
    with layer.connect(port) as sock:
        sock.sendall(hello.replace(b"capuletQ.example", b"capulet" + bad + b".example"))
        assert alert_in(end_of(sock)) in (47, 112)  # illegal_parameter, unrecognized_name
    assert all(name is None for name in asked)
    assert layer.accepted().reason() == "error"


def test_8_select_that_fails_ends_that_connection(layer: Layer, context: TLSContext) -> None:
    def select(conn: Conn, sni: str | None) -> TLSContext:
        if sni == "broken.example":
            raise LookupError(sni)
        return context

    port = layer.listen(select)
    with pytest.raises((ssl.SSLError, ConnectionError)), ssl_client(port, sni="broken.example"):
        pass
    with ssl_client(port, sni="fine.example") as peer:
        assert echoed(peer)


# -- 9: ALPN ---------------------------------------------------------------------------------------


@both_versions
def test_9_alpn(layer: Layer, lib: LibCtx, files: Path, version: str) -> None:
    port = layer.listen(make_context(lib, files, alpn=[b"xmpp-client"]))
    with ssl_client(port, client_context(version, alpn=["http/1.1", "xmpp-client"])) as peer:
        assert echoed(peer)
        assert peer.selected_alpn_protocol() == "xmpp-client"
        assert layer.call(layer.accepted().conn.info).alpn == b"xmpp-client"
    with ssl_client(port, client_context(version)) as peer:
        assert echoed(peer)
        assert peer.selected_alpn_protocol() is None
        assert layer.call(layer.accepted().conn.info).alpn is None
    with (
        pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"),
        ssl_client(port, client_context(version, alpn=["http/1.1"])),
    ):
        pass


def test_9_alpn_is_the_chosen_hosts(
    layer: Layer, lib: LibCtx, files: Path, hosts: dict[str, TLSContext]
) -> None:
    speaks = make_context(lib, files, "montague.example", alpn=[b"xmpp-server"])
    port = layer.listen(lambda conn, sni: speaks if sni == "montague.example" else hosts["capulet.example"])
    with ssl_client(port, client_context(alpn=["xmpp-server"]), sni="montague.example") as peer:
        assert peer.selected_alpn_protocol() == "xmpp-server"
    with ssl_client(port, client_context(alpn=["xmpp-server"]), sni="capulet.example") as peer:
        assert peer.selected_alpn_protocol() is None


# -- 10: channel bindings --------------------------------------------------------------------------

NO_EXTENDED_MASTER_SECRET = 1  # SSL_OP_NO_EXTENDED_MASTER_SECRET, OpenSSL 3.0 and later
LABEL = b"EXPORTER-Channel-Binding"


def bindings(layer: Layer) -> dict[str, bytes]:
    conn = layer.accepted().conn
    types = layer.call(lambda: conn.channel_binding_types)
    every = ("tls-exporter", "tls-unique", "tls-server-end-point")
    found = {kind: data for kind in every if (data := layer.call(conn.channel_binding, kind)) is not None}
    assert types == tuple(found)
    assert layer.call(conn.channel_binding, "tls-unknown") is None
    return found


@both_versions
def test_10_exporter_and_unique_as_pyopenssl_has_them(
    layer: Layer, context: TLSContext, version: str
) -> None:
    port = layer.listen(context)
    with openssl_client(port, version) as peer:
        assert echoed(peer)
        found = bindings(layer)
        assert found["tls-exporter"] == peer.export_keying_material(LABEL, 32, b"")
        assert len(found["tls-exporter"]) == 32
        assert found.get("tls-unique") == (peer.get_finished() if version == "1.2" else None)


@both_versions
def test_10_unique_as_pythons_ssl_has_it_and_never_on_1_3(
    layer: Layer, lib: LibCtx, files: Path, version: str
) -> None:
    """In a full handshake the client's Finished, in a resumed one the server's (RFC 5929 3)."""
    port = layer.listen(make_context(lib, files, tickets=TicketKeys()))
    client = client_context(version)
    with ssl_client(port, client) as peer:
        assert has_ticket(peer)
        full = bindings(layer)
        if version == "1.2":
            assert full["tls-unique"] == peer.get_channel_binding("tls-unique")
        else:
            assert "tls-unique" not in full  # Python offers one, which nobody defined
        session = peer.session
        peer.unwrap().close()
    with ssl_client(port, client, session=session) as peer:
        assert echoed(peer)
        assert peer.session_reused
        resumed = bindings(layer)
        if version == "1.2":
            assert resumed["tls-unique"] == peer.get_channel_binding("tls-unique")
            assert resumed["tls-unique"] != full["tls-unique"]
        else:
            assert "tls-unique" not in resumed
        assert resumed["tls-exporter"] != full["tls-exporter"]
        assert resumed["tls-server-end-point"] == full["tls-server-end-point"]


def test_10_without_extended_master_secret_only_the_end_point(layer: Layer, context: TLSContext) -> None:
    port = layer.listen(context)
    client = client_context("1.2")
    client.options |= NO_EXTENDED_MASTER_SECRET
    with ssl_client(port, client) as peer:
        assert echoed(peer)
        assert not layer.call(layer.accepted().conn.info).ems
        assert set(bindings(layer)) == {"tls-server-end-point"}


@both_versions
@pytest.mark.parametrize(
    ("kind", "digest", "hashed"),
    [
        ("p256", hashes.SHA256(), hashlib.sha256),
        ("p256", hashes.SHA384(), hashlib.sha384),
        ("p384", hashes.SHA512(), hashlib.sha512),
        ("rsa2048", hashes.SHA256(), hashlib.sha256),
        ("rsa2048", hashes.SHA384(), hashlib.sha384),
    ],
)
def test_10_end_point_is_hashed_as_the_certificate_was(
    layer: Layer,
    lib: LibCtx,
    tmp_path: Path,
    version: str,
    kind: str,
    digest: hashes.HashAlgorithm,
    hashed: Callable[[bytes], object],
) -> None:
    make_cert(make_ca(kind=kind), ["localhost"], kind=kind, digest=digest).write(tmp_path)  # type: ignore[arg-type]
    port = layer.listen(make_context(lib, tmp_path))
    with openssl_client(port, version) as peer:
        assert echoed(peer)
        der = peer.get_peer_certificate(as_cryptography=True).public_bytes(Encoding.DER)
        assert bindings(layer)["tls-server-end-point"] == hashed(der).digest()  # type: ignore[attr-defined]


@openssl_command
def test_10_end_point_of_a_sha1_certificate_is_sha256(layer: Layer, lib: LibCtx, tmp_path: Path) -> None:
    """RFC 5929 4.1: MD5 and SHA-1 become SHA-256."""
    chain, key = pair(tmp_path, "server")
    command = "openssl req -x509 -sha1 -newkey rsa:2048 -nodes -subj /CN=localhost -days 3 -keyout"
    subprocess.run([*command.split(), key, "-out", chain], check=True, capture_output=True)
    algorithm = x509.load_pem_x509_certificate(
        (tmp_path / "server.pem").read_bytes()
    ).signature_hash_algorithm
    assert isinstance(algorithm, hashes.SHA1)
    port = layer.listen(make_context(lib, tmp_path))
    with ssl_client(port, client_context(ciphers="DEFAULT:@SECLEVEL=0")) as peer:
        assert echoed(peer)
        der = peer.getpeercert(binary_form=True)
        assert der
        assert bindings(layer)["tls-server-end-point"] == hashlib.sha256(der).digest()


def test_10_no_end_point_without_a_hash(layer: Layer, lib: LibCtx, tmp_path: Path) -> None:
    """Ed25519 names no hash: RFC 5929 4.1 leaves it undefined."""
    make_cert(make_ca(kind="ed25519"), ["localhost"], kind="ed25519").write(tmp_path)
    port = layer.listen(make_context(lib, tmp_path))
    with ssl_client(port) as peer:
        assert echoed(peer)
        assert set(bindings(layer)) == {"tls-exporter"}


def test_10_end_point_follows_sni(layer: Layer, hosts: dict[str, TLSContext], context: TLSContext) -> None:
    port = layer.listen(lambda conn, sni: hosts.get(sni or "", context))
    for name in hosts:
        with ssl_client(port, sni=name) as peer:
            assert echoed(peer)
            der = peer.getpeercert(binary_form=True)
            assert der
            assert bindings(layer)["tls-server-end-point"] == hashlib.sha256(der).digest()


def test_10_none_on_a_plain_connection(layer: Layer) -> None:
    port = layer.listen(direct_tls=False)
    with layer.connect(port) as peer:
        assert echoed(peer)
        assert bindings(layer) == {}


# -- 11: lifetime ----------------------------------------------------------------------------------


def abort_handshake(port: int, client: Bare, flights: int, cut: int, how: str) -> None:
    """Send `flights` flights, of the last one only `cut` bytes; then a FIN, a reset, or rubbish and a FIN."""
    with (
        connect(port) as sock,
        contextlib.suppress(OSError, ssl.SSLError),
    ):
        done, out = client.step()
        for flight in range(flights):
            last = flight == flights - 1
            sock.sendall(out[:cut] if last else out)
            if last or done:
                break
            if not (data := sock.recv(65536)):
                break
            done, out = client.step(data)
        if how == "rubbish":
            sock.sendall(os.urandom(100))
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@both_versions
def test_11_aborted_handshakes(layer: Layer, asking: TLSContext, files: Path, version: str) -> None:
    """300 of them, cut anywhere, in every way: nothing crashes, no descriptor and no memory stays."""
    port = layer.listen(asking, handler=Witness)
    dice = random.Random(20260101)  # noqa: S311
    contexts = [client_context(version), client_context(version, cert=pair(files, "stranger"))]

    def abort_some(n: int) -> None:
        for _ in range(n):
            flights = dice.choice((1, 2, 2))
            cut = dice.choice((0, 1, 5, 6, 50, 200, 400, 1000, 100_000))
            abort_handshake(
                port, Bare(dice.choice(contexts)), flights, cut, dice.choice(("fin", "reset", "rubbish"))
            )

    def settled() -> bool:
        return all(handler.reasons for handler in layer.handlers)

    abort_some(100)
    wait_for(settled)
    layer.handlers.clear()
    before_fds, before_kib = descriptors(), resident_kib()
    abort_some(300)
    wait_for(settled)
    assert all(len(handler.reasons) == 1 for handler in layer.handlers)
    layer.handlers.clear()
    wait_for(lambda: descriptors() <= before_fds)
    if not os.environ.get("XMPPD_SANITIZED"):
        assert resident_kib() - before_kib < 2048
    with ssl_client(port) as peer:
        assert peer.version()


@both_versions
@pytest.mark.parametrize("certificate", [None, "stranger"])
def test_11_byte_wise_handshakes(
    layer: Layer, asking: TLSContext, files: Path, version: str, certificate: str | None
) -> None:
    port = layer.listen(asking)
    cert = pair(files, certificate) if certificate else None
    with layer.connect(port) as sock:
        byte_wise(Bare(client_context(version, cert=cert)), sock)


@pytest.mark.parametrize("direct_tls", [True, False])
def test_11_garbage(layer: Layer, context: TLSContext, direct_tls: bool) -> None:
    port = layer.listen(context, handler=Witness if direct_tls else Careless, direct_tls=direct_tls)
    dice = random.Random(7)  # noqa: S311
    for i in range(100):
        with layer.connect(port) as sock, contextlib.suppress(OSError):
            if not direct_tls:
                sock.sendall(STARTTLS)
                sock.recv(len(PROCEED))
            size = dice.choice((1, 5, 6, 100, 5000, 70_000))
            head = dice.choice(
                (b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x80\x2e\x01")
            )
            sock.sendall(head + dice.randbytes(size))
            sock.shutdown(socket.SHUT_WR)
            end_of(sock)
        assert layer.accepted(i).reason() in ("error", "truncated", "alert", "eof")


def mutated_hellos(seed: int, count: int) -> Iterator[bytes]:
    dice = random.Random(seed)  # noqa: S311
    for _ in range(count):
        _, hello = Bare(
            client_context(dice.choice(VERSIONS), alpn=["xmpp-client"]), sni="capulet.example"
        ).step()
        data = bytearray(hello)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(5, len(data))] = dice.randrange(256)
        yield bytes(data)


def test_11_mutated_hellos(layer: Layer, lib: LibCtx, files: Path) -> None:
    port = layer.listen(make_context(lib, files, alpn=[b"xmpp-client"]), handler=Witness)
    for i, hello in enumerate(mutated_hellos(3, 200)):
        with layer.connect(port) as sock, contextlib.suppress(OSError):
            sock.sendall(hello)
            sock.shutdown(socket.SHUT_WR)
            end_of(sock)
        layer.accepted(i).reason()
    with ssl_client(port) as peer:
        assert peer.version()


def test_11_descriptors_and_memory_stay_flat_over_handshakes(layer: Layer, context: TLSContext) -> None:
    port = layer.listen(context)
    client = client_context()

    def churn(n: int) -> None:
        for i in range(n):
            with ssl_client(port, client) as peer:
                if i % 3:
                    assert echoed(peer)
                if i % 2:
                    peer.unwrap().close()
        wait_for(lambda: all(handler.reasons for handler in layer.handlers))
        layer.handlers.clear()

    churn(300)
    wait_for(lambda: layer.stats()["connections"] == 0)
    before_fds, before_kib = descriptors(), resident_kib()
    churn(1000)
    wait_for(lambda: descriptors() <= before_fds)
    if not os.environ.get("XMPPD_SANITIZED"):
        assert resident_kib() - before_kib < 2048


def test_11_what_came_with_the_handshake_stays_in_front(context: TLSContext) -> None:
    """Data behind the client's Finished waits for resume(), and no later data gets before it."""

    class Late(Witness):
        def on_tls_open(self, conn: Conn) -> None:
            conn.pause()
            super().on_tls_open(conn)

    class Hog(Witness):
        def on_again(self, conn: Conn) -> None:
            end = time.perf_counter() + 0.05
            while time.perf_counter() < end:
                pass

    with Layer(workers=1, budget_ms=1) as layer:
        hog_port, port = layer.listen(direct_tls=False, handler=Hog), layer.listen(context, handler=Late)
        client = Bare(client_context("1.3"))
        with layer.connect(hog_port), layer.connect(port) as sock:
            hog = layer.accepted(0)
            done, out = client.step()
            while not done:
                sock.sendall(out)
                done, out = client.step(sock.recv(65536))
            client.tls.write(b"one ")
            sock.sendall(out + client.outgoing.read())
            late = layer.accepted(1)
            wait_for(lambda: late.opened)
            client.tls.write(b"two")
            sock.sendall(client.outgoing.read())
            layer.call(lambda: (hog.conn.again(), late.conn.resume()))
            wait_for(lambda: late.reasons or late.data == b"one two")
            assert late.reasons == []


@pytest.mark.parametrize("act", ["close", "abort"])
def test_11_closed_by_the_server_while_a_job_runs(lib: LibCtx, files: Path, act: str) -> None:
    """A job in flight keeps the connection and its descriptor; `closed` comes once, then it is gone."""
    with Layer(workers=1) as layer:
        conns: list[Conn] = []

        def select(conn: Conn, sni: str | None) -> TLSContext:
            if sni:  # the step that follows goes to the pool; the next pass closes the connection
                conns.append(conn)
                layer.loop.call_soon(getattr(conn, act))
            return context

        context = make_context(lib, files)
        port = layer.listen(select)
        before = descriptors()
        for i in range(50):
            with contextlib.suppress(OSError, ssl.SSLError), ssl_client(port, sni="capulet.example") as peer:
                peer.recv(10)
            assert layer.accepted(i).reason() == "local"
        wait_for(lambda: layer.stats()["connections"] == 0)
        assert all(handler.reasons == ["local"] for handler in layer.handlers)
        wait_for(lambda: descriptors() <= before)
        with ssl_client(port) as peer:
            assert echoed(peer)


def test_11_a_closed_connection_is_freed(layer: Layer, context: TLSContext) -> None:
    """Cycles are broken on close: the handler goes without the garbage collector."""
    gone: list[bool] = []

    class Session(PyHandler):
        """Holds its connection."""

        def __init__(self, conn: Conn) -> None:
            self.conn = conn
            weakref.finalize(self, gone.append, True)

    port = layer.listen(context, handler=Session)
    gc.disable()
    try:
        for _ in range(5):
            with ssl_client(port) as peer:
                peer.unwrap().close()
        wait_for(lambda: len(gone) == 5)
    finally:
        gc.enable()


# -- 12: limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [0, 1, 100, 100_000])
def test_12_handshake_deadline(context: TLSContext, sent: int) -> None:
    """A client that says nothing, or not all of a flight, is dropped in time."""
    with Layer(workers=1, handshake_timeout_s=0.2) as layer:
        port = layer.listen(context)
        _, hello = Bare().step()
        start = time.monotonic()
        with layer.connect(port) as sock:
            sock.sendall(hello[:sent])
            end_of(sock)
            assert time.monotonic() - start < PATIENCE_S / 2
        assert layer.accepted().reason() == "timeout"


def test_12_handshake_deadline_is_not_put_off_by_a_slow_dribble(context: TLSContext) -> None:
    with Layer(workers=1, handshake_timeout_s=0.3) as layer:
        port = layer.listen(context)
        _, hello = Bare().step()
        with layer.connect(port) as sock, contextlib.suppress(OSError):
            for i in range(len(hello) - 1):
                sock.sendall(hello[i : i + 1])
                if layer.handlers and layer.handlers[0].reasons:
                    break
                time.sleep(0.01)
        assert layer.accepted().reason() == "timeout"


def test_12_open_connections_have_no_handshake_deadline(context: TLSContext) -> None:
    with Layer(workers=1, handshake_timeout_s=0.2) as layer:
        port = layer.listen(context)
        starttls = layer.listen(context, handler=StartTLS, direct_tls=False)
        with ssl_client(port) as peer, layer.connect(starttls) as plain:
            with layer.connect(port) as late:
                end_of(late)  # its deadline is over, theirs would be
            assert echoed(peer)
            plain.sendall(STARTTLS)
            assert plain.recv(100) == PROCEED


def test_12_queue_of_the_pool_is_bounded(lib: LibCtx, tmp_path: Path) -> None:
    """More handshakes at once than workers and queue take: the rest is refused, those taken succeed."""
    make_cert(make_ca(kind="rsa2048"), ["localhost"], kind="rsa2048").write(tmp_path)
    with Layer(workers=1, max_queue=4) as layer:
        port = layer.listen(make_context(lib, tmp_path))
        stop = threading.Event()
        layer.loop.call_soon_threadsafe(stop.wait, 10)  # all their hellos are there when the loop looks again
        clients = [(Bare(), layer.connect(port)) for _ in range(40)]
        for client, sock in clients:
            sock.sendall(client.step()[1])
        stop.set()
        served = refused = 0
        for client, sock in clients:
            with sock, contextlib.suppress(ConnectionError, ssl.SSLError):
                data = sock.recv(65536)
                if len(data) > 100:
                    done, out = client.step(data)
                    while not done:
                        data = sock.recv(65536)
                        assert data
                        done, out = client.step(data)
                    sock.sendall(out)
                    served += 1
                    continue
            refused += 1
        assert served >= 4
        assert refused >= 1
        with ssl_client(port) as peer:
            assert echoed(peer)


def test_12_drain_has_a_time_budget(context: TLSContext) -> None:
    """Handlers take 2 ms each, many connections are readable at once: the loop gets its turn in between."""
    journal: list[str] = []

    class Slow(Echo):
        def on_data(self, conn: Conn, data: bytes) -> None:
            journal.append("data")
            end = time.perf_counter() + 0.002
            while time.perf_counter() < end:
                pass
            super().on_data(conn, data)

    with Layer(workers=1, budget_ms=5) as layer, contextlib.ExitStack() as stack:
        port = layer.listen(handler=Slow, direct_tls=False)
        peers = [stack.enter_context(layer.connect(port)) for _ in range(60)]
        wait_for(lambda: len(layer.handlers) == 60)
        stop = threading.Event()
        layer.loop.call_soon_threadsafe(stop.wait, 10)
        for peer in peers:
            peer.sendall(b"x")

        def tick() -> None:
            journal.append("tick")
            if journal.count("data") < 60:
                layer.loop.call_soon(tick)

        layer.loop.call_soon_threadsafe(tick)
        stop.set()
        wait_for(lambda: journal.count("data") == 60)
        runs = [len(run) for run in "".join("d" if word == "data" else "t" for word in journal).split("t")]
        assert max(runs) <= 7


def test_12_drain_takes_a_bounded_number_of_events(context: TLSContext) -> None:
    """At most 128 for each pass, however short each is; a turn of the loop has the pass of the descriptor and one asked for."""
    journal: list[str] = []

    class Quick(Witness):
        def on_data(self, conn: Conn, data: bytes) -> None:
            journal.append("d")

    with Layer(workers=1, budget_ms=1000) as layer, contextlib.ExitStack() as stack:
        port = layer.listen(handler=Quick, direct_tls=False)
        peers = [stack.enter_context(layer.connect(port)) for _ in range(300)]
        wait_for(lambda: len(layer.handlers) == 300)
        stop = threading.Event()
        layer.loop.call_soon_threadsafe(stop.wait, 10)
        for peer in peers:
            peer.sendall(b"x")

        def tick() -> None:
            journal.append("t")
            if journal.count("d") < 300:
                layer.loop.call_soon(tick)

        layer.loop.call_soon_threadsafe(tick)
        stop.set()
        wait_for(lambda: journal.count("d") == 300)
        assert max(len(run) for run in "".join(journal).split("t")) <= 2 * 128


def test_12_what_one_is_sent_does_not_wait_for_a_broadcast(context: TLSContext) -> None:
    """A pass sends what was written in it before what passes before it had no time for."""
    found: list[tuple[int, int]] = []

    with Layer(workers=1, budget_ms=0.02) as layer, contextlib.ExitStack() as stack:
        port = layer.listen(direct_tls=False)
        for _ in range(600):
            stack.enter_context(layer.connect(port))
        wait_for(lambda: len(layer.handlers) == 600)
        one, *many = [handler.conn for handler in layer.handlers]

        def waiting() -> int:
            return sum(conn.pending_out > 0 for conn in many)

        def broadcast() -> None:
            for conn in many:
                conn.write(b"to all")
            layer.loop.call_soon(tell)

        def tell() -> None:
            before = waiting()
            one.write(b"to one")
            layer.loop.call_soon(lambda: found.append((before, one.pending_out)))

        layer.loop.call_soon_threadsafe(broadcast)
        wait_for(lambda: bool(found))
        assert found[0][0] > 300
        assert found[0][1] == 0
        wait_for(lambda: not waiting())


def test_12_what_goes_to_very_many_waits_for_what_goes_to_one(context: TLSContext) -> None:
    """`write_late` is sent behind what others are written after it, and goes with what its own connection is."""
    found: list[tuple[int, int, int]] = []

    with Layer(workers=1, budget_ms=0.02) as layer, contextlib.ExitStack() as stack:
        port = layer.listen(direct_tls=False)
        peers = [stack.enter_context(layer.connect(port)) for _ in range(600)]
        wait_for(lambda: len(layer.handlers) == 600)
        conns = {handler.conn.peer_port: handler.conn for handler in layer.handlers}
        one, *many, last = [conns[peer.getsockname()[1]] for peer in peers]

        def waiting() -> int:
            return sum(conn.pending_out > 0 for conn in many)

        def broadcast() -> None:
            one.write_late(b"to all, ")
            for conn in many:
                conn.write_late(b"to all, ")
            last.write_late(b"to all, ")
            last.write(b"to one")
            one.write(b"to one")
            layer.loop.call_soon(look)

        def look() -> None:
            found.append((one.pending_out, waiting(), last.pending_out))
            last.write_late(b", to all")

        layer.loop.call_soon_threadsafe(broadcast)
        wait_for(lambda: bool(found))
        assert found[0][0] == found[0][2] == 0
        assert found[0][1] > 300
        wait_for(lambda: not waiting() and not last.pending_out)
        assert peers[0].recv(100) == b"to all, to one"
        assert peers[1].recv(100) == b"to all, "
        assert peers[-1].recv(100) in (b"to all, to one", b"to all, to one, to all")


def test_12_what_a_pass_had_no_time_for_waits_for_no_broadcast(context: TLSContext) -> None:
    found: list[tuple[int, int]] = []

    with Layer(workers=1, budget_ms=0.02) as layer, contextlib.ExitStack() as stack:
        port = layer.listen(direct_tls=False)
        for _ in range(660):
            stack.enter_context(layer.connect(port))
        wait_for(lambda: len(layer.handlers) == 660)
        conns = [handler.conn for handler in layer.handlers]
        ones, many = conns[:60], conns[60:]

        def look() -> None:
            found.append(tuple(sum(conn.pending_out > 0 for conn in part) for part in (ones, many)))
            if any(found[-1]):
                layer.loop.call_soon(look)

        def broadcast() -> None:
            for conn in many:
                conn.write_late(b"to all")
            for conn in ones:
                conn.write(b"to one")
            layer.loop.call_soon(look)

        layer.loop.call_soon_threadsafe(broadcast)
        wait_for(lambda: found and not any(found[-1]))
        assert found[0][0], "one pass had time for all"
        assert min(waiting for one, waiting in found if one) > 300


def test_12_an_event_does_not_wait_for_a_broadcast(context: TLSContext) -> None:
    """However much time there is, sending goes on between events; here the first of those sent to makes one."""
    found: list[int] = []

    with Layer(workers=1, budget_ms=1000) as layer, contextlib.ExitStack() as stack:
        port = layer.listen(handler=Witness, direct_tls=False)
        first, *_ = [stack.enter_context(layer.connect(port)) for _ in range(600)]
        wait_for(lambda: len(layer.handlers) == 600)
        many = [handler.conn for handler in layer.handlers]

        def waiting() -> int:
            return sum(conn.pending_out > 0 for conn in many)

        class Reader(Witness):
            def on_data(self, conn: Conn, data: bytes) -> None:
                found.append(waiting())

        def broadcast() -> None:
            for conn in many:
                conn.write(b"to all")

        layer.call(lambda: layer.net.adopt(first.detach(), Reader(many[0])))
        layer.loop.call_soon_threadsafe(broadcast)
        wait_for(lambda: bool(found))
        assert found[0] > 300
        wait_for(lambda: not waiting())


OUT_OF_DESCRIPTORS = """
import resource, sys
from tests.layer import Echo, Layer
with Layer(workers=1) as layer:
    port = layer.listen(direct_tls=False)
    used = len(__import__("os").listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, used + 20))
    print(port, flush=True)
    sys.stdin.read()
"""


def test_12_accept_rests_when_descriptors_run_out() -> None:
    """No spinning meanwhile; connections go on; those who wait are taken when there is room again."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OUT_OF_DESCRIPTORS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    ) as server:
        assert server.stdout
        assert server.stdin
        port = int(server.stdout.readline())

        def cpu_s() -> float:
            return time.clock_gettime((~server.pid << 3) | 2)

        peers = [connect(port) for _ in range(40)]
        for peer in peers:
            peer.sendall(b"x")
        served: list[socket.socket] = []
        while more := select.select([peer for peer in peers if peer not in served], [], [], 0.3)[0]:
            served += more
        waiting = [peer for peer in peers if peer not in served]
        assert all(peer.recv(1) == b"x" for peer in served)
        assert len(served) >= 5
        assert len(waiting) >= 15

        before, start = cpu_s(), time.monotonic()
        while time.monotonic() - start < 1:
            assert echoed(served[0])
            time.sleep(0.05)
        assert cpu_s() - before < 0.3

        for peer in served:
            peer.close()
        for peer in waiting[: len(served)]:
            assert peer.recv(1) == b"x"
        for peer in peers:
            peer.close()
        server.stdin.close()
        assert server.wait(PATIENCE_S) == 0


# -- 13: workers and Python ------------------------------------------------------------------------


def test_13_worker_code_knows_no_python() -> None:
    """The C files that run in workers do not even see Python.h."""
    c = ROOT / "xmppd" / "_fast" / "c"
    for name in "hspool.c", "tlsbio.c", "tlsctx.c", "hspool.h", "tlsbio.h", "tlsctx.h", "outbuf.h":
        assert not re.search(
            r"include\s+<Python\.h|\bPy[A-Z_]\w*\(", (c / name).read_text(encoding="utf-8")
        ), name


def test_13_a_worker_needs_no_interpreter_lock(lib: LibCtx, files: Path) -> None:
    """A handshake step is finished while the loop's thread holds the lock and never lets go."""
    with Layer(workers=1) as layer:
        finished: list[bool] = []

        def hold_the_lock() -> None:
            begun = False
            end = time.monotonic() + 10
            while time.monotonic() < end:
                now = layer.net.stats()
                if now["handshakes_queued"] or now["handshakes_running"]:
                    begun = True
                else:
                    finished.append(begun)
                    return

        def select(conn: Conn, sni: str | None) -> TLSContext:
            if sni:
                layer.loop.call_soon(hold_the_lock)
            return context

        context = make_context(lib, files, verify=VERIFY_REQUEST, alpn=[b"xmpp-client"], tickets=TicketKeys())
        port = layer.listen(select)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(100)
        try:
            client = client_context(cert=pair(files, "stranger"), alpn=["xmpp-client"])
            for _ in range(100):
                with ssl_client(port, client, sni="localhost") as peer:
                    assert echoed(peer)
                if any(finished):
                    break
        finally:
            sys.setswitchinterval(interval)
        assert any(finished)


# -- 14: exceptions of a handler -------------------------------------------------------------------


class Broken(Echo):
    """Raises in one method, once told to."""

    where = ""

    def fail(self, method: str) -> None:
        if method == type(self).where:
            raise ZeroDivisionError(method)

    def on_data(self, conn: Conn, data: bytes) -> None:
        if data.startswith(b"break"):
            self.fail("on_data")
        super().on_data(conn, data)

    def on_tls_open(self, conn: Conn) -> None:
        super().on_tls_open(conn)
        self.fail("on_tls_open")

    def on_closed(self, conn: Conn, reason: str) -> None:
        super().on_closed(conn, reason)
        self.fail("on_closed")


@pytest.mark.parametrize("where", ["on_data", "on_tls_open", "on_closed"])
def test_14_exception_in_a_handler_closes_that_connection_only(
    layer: Layer, context: TLSContext, where: str
) -> None:
    class Here(Broken):
        pass

    def break_one() -> None:
        with contextlib.suppress(OSError, ssl.SSLError), ssl_client(port) as bad:
            bad.sendall(b"break")
            if where == "on_closed":
                bad.unwrap().close()
            else:
                end_of(bad)

    port = layer.listen(context, handler=Here)
    with ssl_client(port) as good:
        assert echoed(good)
        Here.where = where
        # in a thread of its own: OpenSSL's error queue is the thread's, and ssl, which does not clear it before a call,
        # took the broken pipe of `bad` for one of `good`
        broken = threading.Thread(target=break_one)
        broken.start()
        broken.join(PATIENCE_S)
        assert layer.accepted(1).reason() == ("close_notify" if where == "on_closed" else "error")
        assert layer.accepted(1).reasons == [layer.accepted(1).reason()]
        Here.where = ""
        assert echoed(good)
        with ssl_client(port) as new:
            assert echoed(new)
        assert not layer.accepted(0).reasons


def test_14_exception_in_accept_refuses_that_connection_only(layer: Layer) -> None:
    fail = True

    def accept(conn: Conn) -> Echo:
        if fail:
            raise ZeroDivisionError
        return Echo(conn)

    port = layer.listen(handler=accept, direct_tls=False)
    with layer.connect(port) as peer:
        assert end_of(peer) == b""
    fail = False
    with layer.connect(port) as peer:
        assert echoed(peer)


def test_14_accept_may_refuse(layer: Layer) -> None:
    port = layer.listen(handler=lambda conn: None, direct_tls=False)
    with layer.connect(port) as peer:
        assert end_of(peer) == b""
    wait_for(lambda: layer.stats()["connections"] == 0)


# -- the keys of the exchange ----------------------------------------------------------------------


class Mallinfo2(ctypes.Structure):
    """malloc/malloc.h; in bytes."""

    _fields_ = [(f"before{i}", ctypes.c_size_t) for i in range(7)] + [
        (name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost")
    ]


def heap_in_use() -> int:
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2
    return int(mallinfo2().uordblks)


@pytest.mark.skipif("XMPPD_SANITIZED" in os.environ, reason="the sanitizer's allocator tells nothing")
def test_keys_of_the_exchange_are_dropped_after_it(layer: Layer, lib: LibCtx, files: Path) -> None:
    """OpenSSL would keep them: connections that agreed on P-256 were 3.4 KiB larger than those with X25519."""

    def server_bytes(port: int, count: int) -> float:
        """Of a connection whose client keeps nothing but the socket."""
        with contextlib.ExitStack() as held:
            before = 0
            for i in range(count + 10):
                if i == 10:
                    before = heap_in_use()
                with ssl_client(port, client) as peer:
                    assert echoed(peer)
                    held.enter_context(socket.socket(fileno=os.dup(peer.fileno())))
            return (heap_in_use() - before) / count

    client = client_context("1.3")
    x25519, p256 = (
        server_bytes(layer.listen(make_context(lib, files, groups=group)), 50)
        for group in ("X25519", "P-256")
    )
    assert p256 < x25519 + 512


@both_versions
@pytest.mark.parametrize(
    ("group", "name"), [("X25519", "x25519"), ("P-256", "secp256r1"), ("P-384", "secp384r1")]
)
def test_keys_of_the_exchange_are_not_missed(
    layer: Layer, lib: LibCtx, files: Path, version: str, group: str, name: str
) -> None:
    """What can be asked is still known, sessions are resumed, and the end is orderly."""
    port = layer.listen(make_context(lib, files, groups=group, tickets=TicketKeys()))
    with openssl_client(port, version) as peer:
        assert echoed(peer)
        assert layer.call(layer.accepted().conn.info).group == name
        assert bindings(layer)["tls-exporter"] == peer.export_keying_material(LABEL, 32, b"")
    client = client_context(version)
    with ssl_client(port, client) as first:
        assert has_ticket(first)
        session = first.session
        first.unwrap().close()
    with ssl_client(port, client, session=session) as second:
        assert echoed(second)
        assert second.session_reused
        assert layer.call(layer.accepted().conn.info).group == name
        second.unwrap().close()
    assert layer.accepted().reason() == "close_notify"


# -- reload and keys -------------------------------------------------------------------------------


@both_versions
def test_contexts_are_swapped_while_connections_live(
    layer: Layer, lib: LibCtx, files: Path, ca: Cert, version: str
) -> None:
    make_cert(ca, ["renewed.example"]).write(files, "renewed")
    current = make_context(lib, files)
    port = layer.listen(lambda conn, sni: current)
    client = client_context(version)
    with ssl_client(port, client) as old:
        assert echoed(old)
        shown = old.getpeercert(binary_form=True)
        binding = bindings(layer)["tls-server-end-point"]
        current = make_context(lib, files, "renewed")
        gc.collect()
        with ssl_client(port, client) as new:
            assert echoed(new)
            assert new.getpeercert(binary_form=True) == der_of(files, "renewed") != shown
            assert echoed(old)
            assert layer.call(layer.accepted(0).conn.channel_binding, "tls-server-end-point") == binding


@pytest.mark.parametrize("scheme", ["file:", ""])
@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048", "ed25519"])
def test_keys_come_from_the_store_by_uri(
    layer: Layer, lib: LibCtx, tmp_path: Path, scheme: str, kind: str
) -> None:
    chain, key = make_cert(make_ca(kind=kind), ["localhost"], kind=kind).write(tmp_path)  # type: ignore[arg-type]
    port = layer.listen(TLSContext(lib, [(chain, f"{scheme}{key}")]))
    with ssl_client(port) as peer:
        assert echoed(peer)


def test_keys_encrypted_are_opened_with_the_pin(layer: Layer, tmp_path: Path, ca: Cert) -> None:
    chain, key = make_cert(ca, ["localhost"]).write(tmp_path, passphrase=b"open sesame")
    uri = f"file:{key}"
    asked: list[str] = []

    def pin(which: str) -> str:
        asked.append(which)
        return "open sesame"

    port = layer.listen(TLSContext(LibCtx(pin=pin), [(chain, uri)]))
    assert asked == [uri]
    with ssl_client(port) as peer:
        assert echoed(peer)
    for wrong in (LibCtx(pin=lambda uri: "wrong"), LibCtx(pin=lambda uri: None), LibCtx()):
        with pytest.raises(TLSError):
            TLSContext(wrong, [(chain, uri)])
    with pytest.raises(ZeroDivisionError):
        TLSContext(LibCtx(pin=lambda uri: 1 / 0), [(chain, uri)])


def test_keys_that_cannot_be_used_are_refused(lib: LibCtx, tmp_path: Path, ca: Cert) -> None:
    chain, key = make_cert(ca, ["localhost"]).write(tmp_path)
    _, other = make_cert(ca, ["localhost"]).write(tmp_path, "other")
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"rubbish")
    for bad_chain, bad_key in (
        (chain, f"file:{other}"),
        (chain, f"file:{tmp_path}/missing"),
        (chain, f"file:{rubbish}"),
        (chain, f"file:{chain}"),
        (rubbish, f"file:{key}"),
        (tmp_path / "missing", f"file:{key}"),
        (chain, "pkcs11:token=nowhere;object=none"),
    ):
        with pytest.raises(TLSError):
            TLSContext(lib, [(bad_chain, bad_key)])


def test_two_keys_of_different_kinds(layer: Layer, lib: LibCtx, files: Path, ca: Cert) -> None:
    """The client's algorithms choose between them; the binding speaks of the one that was shown."""
    make_cert(ca, ["localhost"], kind="rsa2048", digest=hashes.SHA384()).write(files, "rsa")
    port = layer.listen(make_context(lib, files, "server", "rsa"))
    for ciphers, name, hashed in (
        ("ECDHE+aECDSA", "server", hashlib.sha256),
        ("ECDHE+aRSA", "rsa", hashlib.sha384),
    ):
        with ssl_client(port, client_context("1.2", ciphers=ciphers)) as peer:
            assert echoed(peer)
            der = peer.getpeercert(binary_form=True)
            assert der == der_of(files, name)
            assert bindings(layer)["tls-server-end-point"] == hashed(der).digest()
