"""A certificate authority for scratch sites: what a launcher needs so that the server under test can do TLS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS: Final = 30
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
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, domain: str) -> tuple[Path, Path]:
        """A new certificate for an XMPP domain, with all names of RFC 6120 13.7.1.2; the files with it and its key.

        A second one for the same domain replaces the files of the first.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = (
            x509.DNSName(domain),
            x509.OtherName(SRV_NAME, _der(IA5_STRING, f"_xmpp-client.{domain}")),
            x509.OtherName(SRV_NAME, _der(IA5_STRING, f"_xmpp-server.{domain}")),
            x509.OtherName(XMPP_ADDR, _der(UTF8_STRING, domain)),
        )
        uses = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        certificate = (
            _builder(_name(domain), self._name, key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        chain, private = self._folder / f"{domain}.crt", self._folder / f"{domain}.key"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private.touch(mode=0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return chain, private


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _der(tag: bytes, text: str) -> bytes:
    data = text.encode()
    assert len(data) < 128
    return tag + bytes([len(data)]) + data


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=DAYS))
    )
