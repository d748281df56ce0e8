"""A TCP connection with TLS upon it, read with deadlines, that sees what libraries hide.

TLS is done by the standard library in memory, with the socket in our own hands. So it is seen whether TLS ended
by close_notify, whether TCP ended by FIN or by RST, and in how many pieces cleartext arrived.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from xmppd.conformance.transcript import EVENT, RECEIVED, SENT, Transcript
from xmppd.conformance.verdict import CouldNotTest, NotMet

READ_BYTES: Final = 65536
CONNECT_TIMEOUT_S: Final = 5.0
DATA_SEGMENTS_IN: Final = 152  # offset in Linux' struct tcp_info

HANDSHAKE_MESSAGES: Final = {
    1: "ClientHello",
    2: "ServerHello",
    4: "NewSessionTicket",
    8: "EncryptedExtensions",
    11: "Certificate",
    12: "ServerKeyExchange",
    13: "CertificateRequest",
    14: "ServerHelloDone",
    15: "CertificateVerify",
    16: "ClientKeyExchange",
    20: "Finished",
}


class TLSFailed(Exception):
    """The handshake failed; the text is what the library says.

    `verify_code`: what OpenSSL has against the certificate, 0 if it was not that.
    """

    def __init__(self, said: str, verify_code: int = 0) -> None:
        super().__init__(said)
        self.verify_code = verify_code


@dataclass(slots=True)
class Ending:
    """How the other side ended the connection, as far as it has."""

    close_notify: bool = False
    fin: bool = False
    rst: bool = False

    @property
    def is_over(self) -> bool:
        return self.fin or self.rst


class Connection:
    """One TCP connection to the server under test."""

    def __init__(
        self,
        address: tuple[str, int],
        name: str,
        transcript: Transcript,
        dial: Callable[[tuple[str, int], float], socket.socket] = socket.create_connection,
    ) -> None:
        self.name = name
        self.transcript = transcript
        self.ending = Ending()
        self.tls: ssl.SSLObject | None = None
        self.handshake: list[str] = []  # TLS messages of the server, in order
        self.received_in_clear = 0  # bytes of XML before TLS
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._behind_tls = b""  # what came together with the end of a handshake that failed
        try:
            self.socket = dial(address, CONNECT_TIMEOUT_S)
        except OSError as error:
            raise CouldNotTest(
                f"no connection to {address[0]} port {address[1]}: {error.strerror or error}"
            ) from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._event(f"TCP connection to {address[0]} port {address[1]}")

    @property
    def local(self) -> tuple[str, int]:
        """The address and port of this side."""
        host, port = self.socket.getsockname()[:2]
        return str(host), int(port)

    def _event(self, text: str) -> None:
        self.transcript.add(self.name, EVENT, text)

    def close(self) -> None:
        """End it without another word; what the server did has been seen."""
        self.socket.close()

    # ---- cleartext

    def send(self, data: bytes) -> None:
        """Send all of it; a server that has hung up is noticed when reading."""
        self.transcript.add(self.name, SENT, data)
        if self.tls is not None:
            self.tls.write(data)
            data = self._outgoing.read()
        self.send_raw(data)

    def send_raw(self, data: bytes) -> None:
        """Send bytes below TLS, if there is any."""
        try:
            self.socket.settimeout(CONNECT_TIMEOUT_S)
            self.socket.sendall(data)
        except TimeoutError:
            raise NotMet("the server does not read what is sent to it") from None
        except OSError:
            self._event("the server has closed the connection: what was sent did not arrive")

    def finish_sending(self) -> None:
        """TLS close_notify, if there is TLS, and FIN: nothing more will be sent."""
        if self.tls is not None:
            with suppress(ssl.SSLError):  # the answer has not come yet; what we say is in the buffer
                self.tls.unwrap()
            self.send_raw(self._outgoing.read())
            self._event("sent TLS close_notify")
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return
        self._event("sent TCP FIN")

    def read(self, deadline: float) -> bytes:
        """What came: what was written at once arrives at once, for a TLS record is not split or joined.

        Empty if the other side sends nothing more: `ending` says how it ended. Raises TimeoutError.
        """
        while True:
            if self.tls is not None and not self.ending.close_notify:
                if data := self._read_tls():
                    break
                if self.ending.close_notify:
                    return b""
            data, self._behind_tls = self._behind_tls or self._read_socket(deadline), b""
            if self.tls is None or not data:
                break
            if self.ending.close_notify:
                self._event(f"{len(data)} bytes behind close_notify")
            else:
                self._incoming.write(data)
        if data:
            self.transcript.add(self.name, RECEIVED, data)
            if self.tls is None:
                self.received_in_clear += len(data)
        return data

    def _read_tls(self) -> bytes:
        assert self.tls is not None
        try:
            data = self.tls.read(READ_BYTES)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLZeroReturnError:
            data = b""
        except ssl.SSLError as error:
            raise NotMet(f"TLS broke: {error.reason or error}") from None
        if not data:
            self.ending.close_notify = True
            self._event("TLS close_notify received")
        return data

    def _read_socket(self, deadline: float) -> bytes:
        if self.ending.is_over:
            return b""
        # a server that waits for the acknowledgement of what it has sent does not wait for us
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if not select.select([self.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        try:
            data = self.socket.recv(READ_BYTES)
        except ConnectionResetError:
            self.ending.rst = True
            self._event("TCP RST received")
            return b""
        if not data:
            self.ending.fin = True
            self._event("TCP FIN received")
        return data

    def read_to_end(self, deadline: float) -> bytes:
        """All cleartext until the TCP connection is over. Raises TimeoutError."""
        whole = b""
        while not self.ending.is_over:
            whole += self.read(deadline)
        return whole

    @property
    def has_input(self) -> bool:
        """Whether something has come that was not read yet."""
        return bool(select.select([self.socket], [], [], 0)[0])

    # ---- TLS

    def start_tls(self, context: ssl.SSLContext, server_name: str | None, deadline: float) -> ssl.SSLObject:
        """Do the handshake. Raises TLSFailed, TimeoutError."""
        self._watch(context)
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send_raw(self._outgoing.read())
                data = self._read_socket(deadline)
                if not data:
                    raise TLSFailed("the server ended the connection in the handshake") from None
                self._incoming.write(data)
            except ssl.SSLError as error:
                self.send_raw(self._outgoing.read())
                self._behind_tls = self._incoming.read()
                said = getattr(error, "verify_message", "") or error.reason or str(error)
                self._event(f"TLS handshake failed: {said}")
                raise TLSFailed(said, getattr(error, "verify_code", 0)) from None
            else:
                break
        self.send_raw(self._outgoing.read())
        self.tls = tls
        cipher = tls.cipher()
        self._event(f"TLS is up: {tls.version()}, {cipher[0] if cipher else 'no suite'}")
        return tls

    def _watch(self, context: ssl.SSLContext) -> None:
        """Note the handshake messages of the server, also those that TLS 1.3 encrypts.

        CPython has this for its own tests only, so it is asked for in a way that may find nothing.
        """

        def note(
            _tls: object, direction: str, _version: object, kind: int, message: int, _data: bytes
        ) -> None:
            if direction == "read" and int(kind) == 22:
                self.handshake.append(HANDSHAKE_MESSAGES.get(int(message), str(int(message))))

        if hasattr(context, "_msg_callback"):
            setattr(context, "_msg_callback", note)  # noqa: B010

    # ---- segments

    @property
    def data_segments(self) -> int | None:
        """How many TCP segments with data came so far, as the kernel counts; None if it does not tell."""
        try:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except (OSError, AttributeError):
            return None
        if len(info) < DATA_SEGMENTS_IN + 4:
            return None
        return int(struct.unpack_from("=I", info, DATA_SEGMENTS_IN)[0])
