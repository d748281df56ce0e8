"""Certificates for tests, made with `cryptography`: a CA, and what it signs, as objects and as PEM files.

ca = make_ca()
cert = make_cert(ca, ["example.org"])
chain, key = cert.write(tmp_path)      # PEM files: chain (leaf first, then `intermediates`), private key
ca.write(tmp_path)                     # the CA's certificate: (pem, key)
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey
KeyKind = Literal["p256", "p384", "rsa2048", "ed25519"]


def make_key(kind: KeyKind = "p256") -> Key:
    """A private key."""
    match kind:
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa2048":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()


@dataclass(frozen=True)
class Cert:
    """A certificate with its key and what stands between it and the root."""

    certificate: x509.Certificate
    key: Key
    intermediates: tuple[x509.Certificate, ...] = field(default=())

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The chain: leaf first."""
        return b"".join(
            c.public_bytes(serialization.Encoding.PEM) for c in (self.certificate, *self.intermediates)
        )

    def key_pem(self, passphrase: bytes | None = None) -> bytes:
        """The private key, PKCS#8."""
        how = (
            serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        )
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)

    def write(self, folder: Path, name: str = "server", passphrase: bytes | None = None) -> tuple[Path, Path]:
        """`name`.pem and `name`.key in `folder`."""
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_bytes(self.pem)
        key.write_bytes(self.key_pem(passphrase))
        return chain, key


def _digest(key: Key) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _names(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def make_ca(
    common_name: str = "xmppd test CA", *, kind: KeyKind = "p256", issuer: Cert | None = None
) -> Cert:
    """A CA: self-signed, or an intermediate one signed by `issuer`."""
    key = make_key(kind)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_names(common_name))
        .issuer_name(issuer.certificate.subject if issuer else _names(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(ca=True), critical=True)
    )
    signing_key = issuer.key if issuer else key
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False
    )
    certificate = builder.sign(signing_key, _digest(signing_key))
    # the chain of what it signs: itself, unless it is a root
    above = (certificate, *issuer.intermediates) if issuer else ()
    return Cert(certificate, key, above)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def make_cert(
    ca: Cert,
    names: Sequence[str],
    *,
    kind: KeyKind = "p256",
    key: Key | None = None,
    client: bool = False,
    days: int = 30,
    since_days: int = 1,
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None = None,
) -> Cert:
    """A certificate for `names` (host names or addresses), signed by `ca`.

    since_days, days: good from that long ago for that much longer.
    key: one that is there already.  client: for clientAuth besides serverAuth.  digest: of the signature, SHA-256 by default.
    """
    key = key or make_key(kind)
    now = datetime.datetime.now(datetime.UTC)
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if client else [])]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_names(names[0]))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=since_days))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False
        )
        .sign(ca.key, digest or _digest(ca.key))
    )
    return Cert(certificate, key, ca.intermediates)


def make_crl(ca: Cert, revoked: Sequence[Cert] = (), *, days: int = 7) -> bytes:
    """A CRL of `ca` in PEM, good for `days`."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(now - datetime.timedelta(days=1))
        .next_update(now + datetime.timedelta(days=days))
    )
    for cert in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(cert.certificate.serial_number)
            .revocation_date(now - datetime.timedelta(hours=1))
            .build()
        )
    return builder.sign(ca.key, _digest(ca.key)).public_bytes(serialization.Encoding.PEM)
