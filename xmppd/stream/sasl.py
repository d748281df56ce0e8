"""SASL mechanisms, server side, without I/O: PLAIN (RFC 4616) and SCRAM (RFC 5802, RFC 7677) with channel
binding.

`MECHANISMS` is the registry. An exchange is fed decoded data and answers, and gives steps: a challenge, a
question for the store, or the proven account. What the client does wrong is raised as `SaslFailure` with
the condition of RFC 6120 6.5. An account that does not exist takes exactly the path of one that does
(3-23.9).

A channel binding may be used again after a failed attempt on the same connection, because retries on one
stream are required (3-24); RFC 9266 4.1 would end the connection instead.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, Protocol, TypeAlias

from msgspec import Struct

from xmppd.errors import SaslFailure
from xmppd.jid import JID, JIDError, prep_local
from xmppd.stream.actions import Credentials, LookUp, Verdict, Verify

NONCE_BYTES: Final = 18  # 144 random bits, 24 characters

# by strength; those that the TLS layer gives are advertised (XEP-0440)
CHANNEL_BINDINGS: Final = ("tls-exporter", "tls-unique", "tls-server-end-point")

# a verdict on a password -> the SASL condition it is answered with
VERDICTS: Final[dict[str, str | None]] = {
    "ok": None,
    "wrong": "not-authorized",
    "disabled": "account-disabled",
    "expired": "credentials-expired",
    "deferred": "temporary-auth-failure",
}


class Challenge(Struct, frozen=True, gc=False):
    """Send `data`, then wait for the client's response."""

    data: bytes


class Proven(Struct, frozen=True, gc=False):
    """The client is `account`; `data` goes into `<success/>`, None if the mechanism has none."""

    account: JID
    data: bytes | None = None


Step: TypeAlias = Challenge | LookUp | Verify | Proven


class Surroundings(Struct, frozen=True, gc=False):
    """What an exchange needs to know of the stream.

    `bindings`: channel binding type -> data; `plus_offered`: whether a -PLUS mechanism was among those
    offered.
    """

    domain: str
    bindings: Mapping[str, bytes]
    plus_offered: bool


class Exchange(Protocol):
    """One handshake of a mechanism. Both methods raise `SaslFailure`."""

    username: str

    def respond(self, data: bytes) -> Step:
        """Take the client's next message, decoded."""

    def answer(self, answer: Credentials | Verdict) -> Step:
        """Take the answer to the question asked last."""


# --- XML character data ------------------------------------------------------------------------------------


def decode(text: str) -> bytes:
    """Base64 as RFC 6120 6.3.5 wants it: no white space, correct padding, padding bits zero; `=` is no
    data.
    """
    if text == "=":
        return b""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SaslFailure("incorrect-encoding") from None  # 3-23.4
    if base64.b64encode(data) != text.encode():
        raise SaslFailure("incorrect-encoding")
    return data


def encode(data: bytes) -> bytes:
    """Base64, `=` for data of zero length (6.4.2, 6.4.6)."""
    return base64.b64encode(data) or b"="


# --- names -------------------------------------------------------------------------------------------------


def _prepared(username: str) -> str:
    """`username` as a localpart; as it came if it cannot be one, which no account is called."""
    try:
        return prep_local(username)
    except JIDError:
        return username


def _check_authzid(authzid: str, username: str, domain: str) -> None:
    """The authorization identity must be the bare JID of the user itself (6.3.8; 3-7.4, 3-23.5)."""
    try:
        if authzid and JID.parse(authzid) != JID(username, domain):
            raise SaslFailure("invalid-authzid")
    except JIDError:
        raise SaslFailure("invalid-authzid") from None


def _account(username: str, domain: str) -> JID:
    try:
        return JID(username, domain)
    except JIDError:  # a name that exists nowhere
        raise SaslFailure("not-authorized") from None


def _heed(verdict: Verdict) -> None:
    condition = VERDICTS[verdict]
    if condition is not None:
        raise SaslFailure(condition)


# --- PLAIN -------------------------------------------------------------------------------------------------


class Plain:
    """RFC 4616: authzid NUL authcid NUL password."""

    __slots__ = ("_domain", "username")

    def __init__(self, mechanism: Mechanism, around: Surroundings) -> None:
        self._domain = around.domain
        self.username = ""

    def respond(self, data: bytes) -> Step:
        try:
            authzid, authcid, password = data.decode().split("\0")
        except ValueError:  # not UTF-8, or not two NULs (3-7.3)
            raise SaslFailure("malformed-request") from None
        if not authcid or not password:
            raise SaslFailure("malformed-request")
        self.username = _prepared(authcid)
        _check_authzid(authzid, self.username, self._domain)
        return Verify(self.username, self._domain, password)

    def answer(self, answer: Credentials | Verdict) -> Step:
        if not isinstance(answer, str):
            raise TypeError("PLAIN asks for a verdict")
        _heed(answer)
        return Proven(_account(self.username, self._domain))


# --- SCRAM -------------------------------------------------------------------------------------------------


def new_nonce() -> str:
    """The server's part of a nonce: printable, no comma."""
    return secrets.token_urlsafe(NONCE_BYTES)


_PRINTABLE = r"[\x21-\x2b\x2d-\x7e]+"
_SASLNAME = r"(?:[^\x00,=]|=2[Cc]|=3[Dd])+"
_EXTENSIONS = r"(?:,[A-Za-ln-z]=[^\x00,]+)*"  # unknown ones are ignored; m= is no extension but the end (5.1)

_CLIENT_FIRST = re.compile(
    rf"(?P<gs2>(?P<flag>n|y|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>{_SASLNAME}))?,)"
    rf"(?P<bare>n=(?P<username>{_SASLNAME}),r=(?P<nonce>{_PRINTABLE}){_EXTENSIONS})"
)
_CLIENT_FINAL = re.compile(
    rf"(?P<unproven>c=(?P<binding>[A-Za-z0-9+/]+={{0,2}}),r=(?P<nonce>{_PRINTABLE}){_EXTENSIONS})"
    r",p=(?P<proof>[A-Za-z0-9+/]+={0,2})"
)


def _match(pattern: re.Pattern[str], data: bytes) -> re.Match[str]:
    try:
        match = pattern.fullmatch(data.decode())
    except UnicodeDecodeError:
        match = None
    if match is None:
        raise SaslFailure("malformed-request")
    return match


def _name(saslname: str) -> str:
    return re.sub("=2[Cc]", ",", saslname).replace("=3d", "=").replace("=3D", "=")


class Scram:
    """RFC 5802 and RFC 7677: three messages of which the last proves the password and answers for the
    server.
    """

    __slots__ = (
        "_around",
        "_auth_message",
        "_bare",
        "_binding",
        "_credentials",
        "_hash",
        "_mechanism",
        "_nonce",
        "username",
    )

    def __init__(self, mechanism: Mechanism, around: Surroundings) -> None:
        self._mechanism = mechanism
        self._hash = mechanism.hash
        self._around = around
        self._bare = ""  # client-first-message-bare
        self._nonce = ""
        self._binding = b""  # what c= has to hold
        self._auth_message = ""
        self._credentials: Credentials | None = None
        self.username = ""

    def respond(self, data: bytes) -> Step:
        return self._first(data) if self._credentials is None else self._final(data, self._credentials)

    def _first(self, data: bytes) -> Step:
        first = _match(_CLIENT_FIRST, data)
        self._bare = first["bare"]
        self._nonce = first["nonce"]
        self._binding = first["gs2"].encode() + self._bound_channel(first["flag"], first["binding"])
        self.username = _prepared(_name(first["username"]))
        _check_authzid(_name(first["authzid"] or ""), self.username, self._around.domain)
        return LookUp(self.username, self._around.domain, self._mechanism.keys)

    def _bound_channel(self, flag: str, binding: str | None) -> bytes:
        """The channel binding data the client has to show, or the failure its flag deserves (RFC 5802 6)."""
        if self._mechanism.plus != (binding is not None):
            raise SaslFailure("malformed-request")
        if flag == "y" and self._around.plus_offered:  # somebody took -PLUS out of the offer
            raise SaslFailure("not-authorized", "channel binding was offered")
        if binding is None:
            return b""
        data = self._around.bindings.get(binding) if binding in CHANNEL_BINDINGS else None
        if data is None:
            raise SaslFailure("malformed-request", "no such channel binding")
        return data

    def answer(self, answer: Credentials | Verdict) -> Step:
        if isinstance(answer, str):
            raise TypeError("SCRAM asks for credentials")
        self._credentials = answer
        self._nonce += new_nonce()
        salt = base64.b64encode(answer.salt).decode()
        server_first = f"r={self._nonce},s={salt},i={answer.iterations}"
        self._auth_message = f"{self._bare},{server_first}"
        return Challenge(server_first.encode())

    def _final(self, data: bytes, credentials: Credentials) -> Step:
        final = _match(_CLIENT_FINAL, data)
        proof = _inner_base64(final["proof"])
        if len(proof) != len(credentials.stored_key):
            raise SaslFailure("malformed-request")
        message = f"{self._auth_message},{final['unproven']}".encode()
        signature = hmac.digest(credentials.stored_key, message, self._hash)
        client_key = (int.from_bytes(proof) ^ int.from_bytes(signature)).to_bytes(len(proof))
        same_channel = hmac.compare_digest(_inner_base64(final["binding"]), self._binding)
        same_nonce = hmac.compare_digest(final["nonce"], self._nonce)
        proven = hmac.compare_digest(hashlib.new(self._hash, client_key).digest(), credentials.stored_key)
        if not (same_channel & same_nonce & proven):
            raise SaslFailure("not-authorized")
        _heed(credentials.if_right)  # said only to who knows the password (3-23.2)
        server_signature = base64.b64encode(hmac.digest(credentials.server_key, message, self._hash))
        return Proven(_account(self.username, self._around.domain), b"v=" + server_signature)


def _inner_base64(text: str) -> bytes:
    """Base64 inside a SCRAM message: a fault in it is a fault of the message (3-23.7)."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise SaslFailure("malformed-request") from None


# --- registry ----------------------------------------------------------------------------------------------


class Mechanism(Struct, frozen=True):
    """A row of the registry.

    `hash` for hashlib, "" where there is none; `keys`: the name that `LookUp` asks for; `plus`: binds to the
    channel; `needs_tls`: must not be used in the clear.
    """

    name: str
    exchange: type[Plain] | type[Scram]
    hash: Literal["", "sha1", "sha256"] = ""
    keys: str = ""
    plus: bool = False
    needs_tls: bool = True

    def begin(self, around: Surroundings) -> Exchange:
        """A new handshake."""
        return self.exchange(self, around)


# in the order of preference (6.3.3); a channel binding counts for more than a longer hash
MECHANISMS: Final[dict[str, Mechanism]] = {
    row.name: row
    for row in (
        Mechanism("SCRAM-SHA-256-PLUS", Scram, "sha256", "SCRAM-SHA-256", plus=True),
        Mechanism("SCRAM-SHA-1-PLUS", Scram, "sha1", "SCRAM-SHA-1", plus=True),
        Mechanism("SCRAM-SHA-256", Scram, "sha256", "SCRAM-SHA-256", needs_tls=False),
        Mechanism("SCRAM-SHA-1", Scram, "sha1", "SCRAM-SHA-1", needs_tls=False),
        Mechanism("PLAIN", Plain),
    )
}


@lru_cache(maxsize=64)
def offered(configured: tuple[str, ...], secured: bool, binds: bool) -> tuple[str, ...]:
    """The mechanisms of `configured` that can be used on a stream, in that order (6.3.4).

    `binds`: whether the TLS layer gives a channel binding.
    """
    return tuple(
        name
        for name in configured
        if (secured or not MECHANISMS[name].needs_tls) and (binds or not MECHANISMS[name].plus)
    )


@lru_cache(maxsize=64)
def any_plus(names: tuple[str, ...]) -> bool:
    """Whether one of the mechanisms binds to the channel."""
    return any(MECHANISMS[name].plus for name in names)
