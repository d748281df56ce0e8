"""The client's side of SASL PLAIN (RFC 4616) and SCRAM (RFC 5802, RFC 7677)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

HASHES: Final = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}


class ServerFault(Exception):
    """The server's message breaks the mechanism; the text says how."""


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
        """The client's final message, with the proof. Raises ServerFault."""
        server_first = _decoded(challenge)
        fields = fields_of(challenge)
        if not fields["r"].startswith(self._nonce) or len(fields["r"]) <= len(self._nonce):
            raise ServerFault("the server's nonce does not extend that of the client")
        without_proof = f"c={self._binding},r={fields['r']}"
        message = f"{self._bare},{server_first},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac(
            self._hash, self._password, base64.b64decode(fields["s"]), int(fields["i"])
        )
        client_key = self._hmac(salted, b"Client Key")
        stored_key = hashlib.new(self._hash, client_key).digest()
        signature = self._hmac(stored_key, message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        return encoded(f"{without_proof},p={base64.b64encode(proof).decode()}".encode())

    def verify(self, last: str) -> None:
        """Check that the server knows the password, too. Raises ServerFault."""
        if base64.b64decode(fields_of(last).get("v", "")) != self._signature:
            raise ServerFault("the server's signature is wrong")


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        raise ServerFault("the server's message is not base64 of UTF-8") from None


def fields_of(data: str) -> dict[str, str]:
    """The fields of a server's message, by their letters. Raises ServerFault."""
    message = _decoded(data)
    fields = dict(field.partition("=")[::2] for field in message.split(","))
    if not fields.keys() >= {"r", "s", "i"} and "v" not in fields:
        raise ServerFault("the server's message lacks a field")
    return fields
