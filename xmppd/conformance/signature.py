"""Signatures of reports, each in a file of its own beside the report.

`.p7s`: detached CMS (RFC 5652) in DER, by an RSA or ECDSA key with a certificate; as `openssl cms -sign -binary`
makes it, and `openssl cms -verify -binary` checks it, the certificate's authorities included.
`.sig`: the 64 bytes of Ed25519 (RFC 8032), by a key alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    pkcs7,
)

CMS, ED25519 = ".p7s", ".sig"
ED25519_BYTES: Final = 64

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PRIVATE_KEYS: Final = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)
PUBLIC_KEYS: Final = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)


class KeyUnusable(ValueError):
    """What was given holds no key or certificate that can be used; the text says why."""


class PassphraseMissing(KeyUnusable):
    """The key is encrypted."""


class SignatureWrong(Exception):
    """The signature is not one of this content by this signer; the text says why."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: a key, with its certificate and those of its authorities first to last, or Ed25519 alone."""

    key: PrivateKey
    certificates: tuple[x509.Certificate, ...] = ()

    @classmethod
    def load(cls, key: bytes, certificates: bytes = b"", passphrase: bytes | None = None) -> Signer:
        """From PEM; certificates may stand behind the key. Raises KeyUnusable, PassphraseMissing."""
        try:
            found = load_pem_private_key(key, passphrase)
        except TypeError:
            raise PassphraseMissing("the key is encrypted, and there is no passphrase") from None
        except (ValueError, UnsupportedAlgorithm):
            raise KeyUnusable("it holds no private key in PEM, or the passphrase is wrong") from None
        if not isinstance(found, PRIVATE_KEYS):
            raise KeyUnusable("a key is RSA, ECDSA or Ed25519")
        if isinstance(found, ed25519.Ed25519PrivateKey):
            return cls(found)
        chain = _certificates(key + b"\n" + certificates)
        own = [each for each in chain if each.public_key() == found.public_key()]
        if not own:
            raise KeyUnusable("there is no certificate for the key; only Ed25519 signs without one")
        return cls(found, (own[0], *(each for each in chain if each not in own)))

    @property
    def suffix(self) -> str:
        """What the name of the signature's file ends in."""
        return ED25519 if isinstance(self.key, ed25519.Ed25519PrivateKey) else CMS

    def sign(self, content: bytes) -> bytes:
        """The detached signature."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(content)
        builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
        builder = builder.add_signer(self.certificates[0], self.key, _digest(self.key))
        for each in self.certificates[1:]:
            builder = builder.add_certificate(each)
        options = (
            pkcs7.PKCS7Options.DetachedSignature,
            pkcs7.PKCS7Options.Binary,
            pkcs7.PKCS7Options.NoCapabilities,
        )
        return builder.sign(Encoding.DER, options)


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _digest(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    if isinstance(key, rsa.RSAPrivateKey) or key.curve.key_size <= 256:
        return hashes.SHA256()
    return hashes.SHA384() if key.curve.key_size <= 384 else hashes.SHA512()


# ---- verifying


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that is right."""

    by: str
    at: datetime | None  # as the signer says; Ed25519 alone says nothing


def verify(content: bytes, signature: bytes, signer: bytes) -> Signed:
    """Check a detached signature by one signer, whose certificate or public key is given in PEM.

    Raises SignatureWrong, KeyUnusable. Which authorities to trust is not asked: the signer is known.
    """
    certificate, key = _signer(signer)
    at = None
    if isinstance(key, ed25519.Ed25519PublicKey):
        if len(signature) != ED25519_BYTES:
            raise SignatureWrong("it is no signature of Ed25519")
        try:
            key.verify(signature, content)
        except InvalidSignature:
            raise SignatureWrong("the report was changed, or another key has signed it") from None
    else:
        at = _verify_cms(content, signature, key)
    if certificate is None:
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Signed(f"the key SHA256:{base64.b64encode(hashlib.sha256(spki).digest()).decode()}", at)
    if at is not None and not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise SignatureWrong(f"the certificate was not valid when it was used, {at.isoformat()}")
    return Signed(certificate.subject.rfc4514_string(), at)


def _signer(pem: bytes) -> tuple[x509.Certificate | None, PublicKey]:
    chain = _certificates(pem)
    try:
        key = chain[0].public_key() if chain else load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusable("it holds neither a certificate nor a public key in PEM") from None
    if not isinstance(key, PUBLIC_KEYS):
        raise KeyUnusable("a key is RSA, ECDSA or Ed25519")
    return (chain[0] if chain else None), key


# DER of object identifiers
SIGNED_DATA: Final = bytes.fromhex("2a864886f70d010702")
DATA: Final = bytes.fromhex("2a864886f70d010701")
CONTENT_TYPE: Final = bytes.fromhex("2a864886f70d010903")
MESSAGE_DIGEST: Final = bytes.fromhex("2a864886f70d010904")
SIGNING_TIME: Final = bytes.fromhex("2a864886f70d010905")
DIGESTS: Final[Mapping[bytes, hashes.HashAlgorithm]] = {
    bytes.fromhex("608648016503040201"): hashes.SHA256(),
    bytes.fromhex("608648016503040202"): hashes.SHA384(),
    bytes.fromhex("608648016503040203"): hashes.SHA512(),
}
SEQUENCE, SET, OCTETS, OID, CONTEXT_0, CONTEXT_1 = 0x30, 0x31, 0x04, 0x06, 0xA0, 0xA1
TIMES: Final = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}  # RFC 5652 11.3


class Item(NamedTuple):
    """One value of DER."""

    tag: int
    content: bytes
    whole: bytes

    @property
    def items(self) -> list[Item]:
        """What it holds, if it is constructed."""
        return list(_items(self.content))


def _items(data: bytes) -> Iterator[Item]:
    """The values that stand behind each other. Raises ValueError."""
    at = 0
    while at < len(data):
        begin, tag = at, data[at]
        length, at = (data[at + 1], at + 2) if at + 1 < len(data) else (0x80, at)
        if length == 0x80 or length > 0x84:
            raise ValueError("a length that DER does not have")
        if length > 0x80:
            length, at = int.from_bytes(data[at : at + length - 0x80]), at + length - 0x80
        if at + length > len(data):
            raise ValueError("the end is missing")
        yield Item(tag, data[at : at + length], data[begin : at + length])
        at += length


def _the(items: list[Item], tag: int) -> Item:
    [found] = (item for item in items if item.tag == tag)
    return found


def _verify_cms(
    content: bytes, signature: bytes, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
) -> datetime | None:
    """When the one signer, who has this key, says that it was signed (RFC 5652 5)."""
    try:
        [whole] = _items(signature)
        kind, wrapped = whole.items
        [signed_data] = wrapped.items
        _version, _digests, encapsulated, *_certificates, infos = signed_data.items
        [info] = infos.items
        fields = info.items
        algorithm = fields[2].items[0].content
        attributes = {each.items[0].content: each.items[1].items for each in _the(fields, CONTEXT_0).items}
        [digest], [content_type] = attributes[MESSAGE_DIGEST], attributes[CONTENT_TYPE]
        at = _time(attributes)
        is_known = kind.content == SIGNED_DATA and [each.content for each in encapsulated.items] == [DATA]
        signed, value = b"\x31" + _the(fields, CONTEXT_0).whole[1:], _the(fields, OCTETS).content
    except (ValueError, IndexError, KeyError):
        raise SignatureWrong(
            "it is not CMS as this program reads it: DER, one signer, signed attributes"
        ) from None
    hash_ = DIGESTS.get(algorithm)
    if not is_known or hash_ is None or content_type.content != DATA:
        raise SignatureWrong("it is not a detached signature with SHA-256, SHA-384 or SHA-512")
    computed = hashes.Hash(hash_)
    computed.update(content)
    if computed.finalize() != digest.content:
        raise SignatureWrong("the report was changed")
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(value, signed, padding.PKCS1v15(), hash_)
        else:
            key.verify(value, signed, ec.ECDSA(hash_))
    except InvalidSignature:
        raise SignatureWrong("another key has signed it") from None
    return at


def _time(attributes: Mapping[bytes, list[Item]]) -> datetime | None:
    for each in attributes.get(SIGNING_TIME, []):
        return datetime.strptime(each.content.decode("ascii"), TIMES[each.tag]).replace(tzinfo=UTC)
    return None
