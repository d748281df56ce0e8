"""A ClientHello made by hand: what a server does with versions and suites that no library offers any more."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

SSL3, TLS10, TLS11, TLS12, TLS13 = 0x0300, 0x0301, 0x0302, 0x0303, 0x0304
VERSIONS: Final = {SSL3: "SSL 3.0", TLS10: "TLS 1.0", TLS11: "TLS 1.1", TLS12: "TLS 1.2", TLS13: "TLS 1.3"}

# NIST SP 800-52r2: approved suites, by number
APPROVED: Final = {
    0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
    0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
    0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
}
APPROVED_13: Final = {0x1301: "TLS_AES_128_GCM_SHA256", 0x1302: "TLS_AES_256_GCM_SHA384"}
REFUSED_13: Final = {0x1303: "TLS_CHACHA20_POLY1305_SHA256"}
REFUSED: Final = {
    "NULL": (0x0001, 0x0002, 0x003B, 0xC001, 0xC006, 0xC00B, 0xC010),
    "export": (0x0003, 0x0006, 0x0008, 0x000E, 0x0011, 0x0014, 0x0017, 0x0019),
    "RC4": (0x0004, 0x0005, 0xC002, 0xC007, 0xC00C, 0xC011),
    "DES and 3DES": (0x0009, 0x000A, 0x0013, 0x0016, 0xC003, 0xC008, 0xC00D, 0xC012),
    "anonymous": (0x0018, 0x001B, 0x0034, 0x003A, 0x006C, 0x006D, 0x00A6, 0x00A7, 0xC016, 0xC018, 0xC019),
    "ChaCha20": (0xCCA8, 0xCCA9, 0xCCAA),
    "Camellia, SEED, IDEA and ARIA": (0x0007, 0x0041, 0x0084, 0x0096, 0xC05C, 0xC05D, 0xC060, 0xC061, 0xC072),
}
# the generator of P-256: a public key whose private key is 1
P256_KEY: Final = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
HANDSHAKE, ALERT = 22, 21


def _vector(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


def _extension(number: int, data: bytes) -> bytes:
    return struct.pack("!H", number) + _vector(data, 2)


def client_hello(
    version: int, suites: Iterable[int], server_name: str, compressions: Sequence[int] = (0,)
) -> bytes:
    """The record of a ClientHello that offers exactly this."""
    offered = b"".join(struct.pack("!H", suite) for suite in suites)
    hello = struct.pack("!H", min(version, TLS12)) + os.urandom(32) + _vector(os.urandom(32), 1)
    hello += _vector(offered, 2) + _vector(bytes(compressions), 1)
    if version > SSL3:
        extensions = _extension(0, _vector(b"\0" + _vector(server_name.encode("idna"), 2), 2))
        extensions += _extension(10, _vector(struct.pack("!3H", 23, 24, 25), 2))  # P-256, P-384, P-521
        extensions += _extension(11, _vector(b"\0", 1))
        if version >= TLS12:
            algorithms = (0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0401, 0x0501, 0x0201, 0x0203)
            extensions += _extension(13, _vector(struct.pack(f"!{len(algorithms)}H", *algorithms), 2))
        if version == TLS13:
            extensions += _extension(43, _vector(struct.pack("!H", TLS13), 1))
            extensions += _extension(51, _vector(struct.pack("!H", 23) + _vector(P256_KEY, 2), 2))
        hello += _vector(extensions, 2)
    message = b"\1" + _vector(hello, 3)
    return struct.pack("!BH", HANDSHAKE, min(version, TLS10)) + _vector(message, 2)


def certificates(data: bytes) -> list[bytes] | None:
    """The certificates, in DER, that stand in an answer of TLS 1.2; None if the answer is not complete."""
    messages = b""
    while len(data) >= 5 and data[0] == HANDSHAKE:
        length = int.from_bytes(data[3:5], "big")
        messages += data[5 : 5 + length]
        data = data[5 + length :]
    while len(messages) >= 4:
        kind, length = messages[0], int.from_bytes(messages[1:4], "big")
        body, messages = messages[4 : 4 + length], messages[4 + length :]
        if kind == 11 and len(body) == length:
            found, body = [], body[3:]
            while body:
                length = int.from_bytes(body[:3], "big")
                found.append(body[3 : 3 + length])
                body = body[3 + length :]
            return found
    return None


@dataclass(frozen=True, slots=True)
class ServerHello:
    """What the server chose."""

    version: int
    suite: int
    compression: int


def answer(data: bytes) -> ServerHello | None:
    """The ServerHello at the beginning of an answer; None if the answer is an alert or nothing."""
    if len(data) < 5 + 4 + 2 + 32 + 1 or data[0] != HANDSHAKE or data[5] != 2:
        return None
    version = int.from_bytes(data[9:11], "big")
    position = 43 + 1 + data[43]
    suite = int.from_bytes(data[position : position + 2], "big")
    compression = data[position + 2]
    extensions = data[position + 5 :]
    while len(extensions) >= 4:
        number, length = struct.unpack_from("!HH", extensions)
        if number == 43:  # supported_versions: the true one
            version = int.from_bytes(extensions[4:6], "big")
        extensions = extensions[4 + length :]
    return ServerHello(version, suite, compression)
