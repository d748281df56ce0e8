"""Certificate authorities for scratch sites: what the server under test needs so that it can do TLS.

`Authority` is that of a launcher. `chain_of` makes a root, an authority below it and a certificate of a domain, as a
large PKI has them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS: Final = 30
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
SRV_NAME: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")  # RFC 4985 2
UTF8_STRING, IA5_STRING = b"\x0c", b"\x16"  # tags of DER
XMPP_ADDR: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")  # RFC 6120 13.7.1.4


class Authority:
    """A CA whose certificate is the file `ca_file`."""

    def __init__(self, folder: Path) -> None:
        """Make the CA; what it issues is written into the folder, too."""
        self._folder = folder
        self.ca_file = folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("The CA of a conformance run")
        self.ca_file.write_text(_authority(self._name, self._key, self._name, self._key, 0), encoding="ascii")

    def issue(self, domain: str) -> tuple[Path, Path]:
        """A new certificate for an XMPP domain, with all names of RFC 6120 13.7.1.2; the files with it and its key.

        A second one for the same domain replaces the files of the first.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        return write(self._folder, domain, _certificate(domain, key, self._name, self._key), _private(key))


def write(folder: Path, domain: str, chain: str, key: str) -> tuple[Path, Path]:
    """The files of a domain with a chain and its key, both in PEM."""
    public, private = folder / f"{domain}.crt", folder / f"{domain}.key"
    public.write_text(chain, encoding="ascii")
    private.touch(mode=0o600)
    private.write_text(key, encoding="ascii")
    return public, private


class Chain(NamedTuple):
    """In PEM."""

    root: str  # what clients trust
    chain: str  # what a server sends: its own certificate, and that of the authority below the root
    key: str


def chain_of(domain: str, kind: str) -> Chain:
    """A PKI of its own with RSA or ECDSA keys throughout, for one XMPP domain."""
    root, between, own = (
        rsa.generate_private_key(65537, 2048) if kind == "RSA" else ec.generate_private_key(ec.SECP384R1())
        for _ in range(3)
    )
    top, middle = _name(f"A root with {kind}"), _name(f"An authority with {kind}")
    sent = (_certificate(domain, own, middle, between), _authority(middle, between, top, root, 0))
    return Chain(_authority(top, root, top, root, 1), "".join(sent), _private(own))


def _authority(name: x509.Name, key: PrivateKey, issuer: x509.Name, by: PrivateKey, below: int) -> str:
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = _builder(name, issuer, key, by)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
    return _pem(builder.add_extension(usage, critical=True).sign(by, hashes.SHA256()))


def _certificate(domain: str, key: PrivateKey, issuer: x509.Name, by: PrivateKey) -> str:
    names = (
        x509.DNSName(domain),
        x509.OtherName(SRV_NAME, _der(IA5_STRING, f"_xmpp-client.{domain}")),
        x509.OtherName(SRV_NAME, _der(IA5_STRING, f"_xmpp-server.{domain}")),
        x509.OtherName(XMPP_ADDR, _der(UTF8_STRING, domain)),
    )
    uses = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    return _pem(
        _builder(_name(domain), issuer, key, by)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .sign(by, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _private(key: PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _der(tag: bytes, text: str) -> bytes:
    data = text.encode()
    assert len(data) < 128
    return tag + bytes([len(data)]) + data


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, by: PrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=DAYS))
    )
