"""The client's side of SASL PLAIN (RFC 4616) and SCRAM (RFC 5802, RFC 7677).

A message of the server that breaks the mechanism is NotMet.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

from xmppd.conformance.verdict import NotMet

HASHES: Final = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
# RFC 5802 7: what a server says first, and last
FIRST: Final = re.compile(
    r"r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+),s=(?P<salt>[A-Za-z0-9+/]+={0,2}),i=(?P<iterations>[1-9][0-9]{0,6})(?:,.*)?"
)
LAST: Final = re.compile(r"v=(?P<signature>[A-Za-z0-9+/]+={0,2})(?:,.*)?")


def encoded(data: bytes) -> str:
    """As it stands in <auth/> and <response/>: an empty message is "=" (RFC 6120 6.4.2)."""
    return base64.b64encode(data).decode("ascii") or "="


def plain(name: str, password: str, authorize_as: str = "") -> str:
    """The one message of PLAIN, encoded."""
    return encoded(f"{authorize_as}\0{name}\0{password}".encode())


class Scram:
    """One SCRAM exchange: `first`, then `final` with the server's challenge, then `verify` with its last words."""

    def __init__(
        self, mechanism: str, name: str, password: str, binding: tuple[str, bytes] | None = None
    ) -> None:
        """`binding`: type and data of the channel binding (RFC 5929), for the mechanisms that end in -PLUS."""
        self._hash = HASHES[mechanism.removesuffix("-PLUS")]
        kind, data = binding or ("", b"")
        self._gs2 = f"p={kind},," if kind else "n,,"
        self._binding = base64.b64encode(self._gs2.encode() + data).decode()
        self._password = password.encode()
        escaped = name.replace("=", "=3D").replace(",", "=2C")
        self._nonce = secrets.token_urlsafe(18)
        self._bare = f"n={escaped},r={self._nonce}"
        self._signature = b""

    def first(self) -> str:
        """The client's first message."""
        return encoded(f"{self._gs2}{self._bare}".encode())

    def _hmac(self, key: bytes, text: bytes) -> bytes:
        return hmac.digest(key, text, self._hash)

    def final(self, challenge: str) -> str:
        """The client's final message, with the proof. Raises NotMet."""
        first = read(FIRST, challenge)
        nonce = first["nonce"]
        if not nonce.startswith(self._nonce) or len(nonce) <= len(self._nonce):
            raise NotMet("the server's nonce does not extend that of the client")
        without_proof = f"c={self._binding},r={nonce}"
        message = f"{self._bare},{first.string},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac(
            self._hash, self._password, _bytes(first["salt"]), int(first["iterations"])
        )
        client_key = self._hmac(salted, b"Client Key")
        stored_key = hashlib.new(self._hash, client_key).digest()
        signature = self._hmac(stored_key, message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        return encoded(f"{without_proof},p={base64.b64encode(proof).decode()}".encode())

    def verify(self, last: str) -> None:
        """Check that the server knows the password, too. Raises NotMet."""
        if _bytes(read(LAST, last)["signature"]) != self._signature:
            raise NotMet("the server's signature is wrong")


def read(form: re.Pattern[str], data: str) -> re.Match[str]:
    """A server's message, whose form is FIRST or LAST. Raises NotMet."""
    message = _bytes(data).decode("utf-8", "backslashreplace")
    found = form.fullmatch(message)
    if found is None:
        raise NotMet(f"that is no message of SCRAM: {message[:100]!r}")
    return found


def _bytes(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise NotMet(f"that is no base64: {data[:100]!r}") from None
