"""A private CA and the server certificates it signs, for sites that have no PKI of their own (yet).

Nothing here writes a file: what is made comes back as PEM bytes. P-256 keys, SHA-256 signatures.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from xmppd.clock import utc_now

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

ID_ON_XMPP_ADDR: Final = "1.3.6.1.5.5.7.8.5"  # RFC 6120 13.7.1.4
ID_ON_DNS_SRV: Final = "1.3.6.1.5.5.7.8.7"  # RFC 4985

CA_DAYS: Final = 3653  # ten years
CERTIFICATE_DAYS: Final = 825  # more is refused by Apple's systems, also from a private CA
_IA5_STRING: Final = 0x16
_UTF8_STRING: Final = 0x0C
# clocks of clients differ
_BACKDATED: Final = datetime.timedelta(hours=1)


class Pair(NamedTuple):
    """A certificate and its key, both PEM; the key PKCS #8 without a password."""

    certificate: bytes
    key: bytes


def a_label(domain: str) -> str:
    """`domain` as it stands in the DNS (RFC 3490); ValueError if it has no such form."""
    try:
        return domain.encode("idna").decode().lower()
    except UnicodeError as error:
        raise ValueError(f"{domain} has no form for the DNS: {error}") from None


def ip_literal(domain: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, if `domain` is an IPv4 address or an IPv6 address in brackets."""
    try:
        return ipaddress.ip_address(domain.strip("[]"))
    except ValueError:
        return None


def _der(tag: int, text: str) -> bytes:
    """One DER string; domain names stay far below the 65535 bytes this can say."""
    value = text.encode()
    if len(value) < 0x80:
        size = bytes([len(value)])
    elif len(value) < 0x100:
        size = bytes([0x81, len(value)])
    else:
        size = bytes([0x82, *len(value).to_bytes(2, "big")])
    return bytes([tag]) + size + value


def names(domain: str) -> list[x509.GeneralName]:
    """The identities of an XMPP server for `domain` (RFC 6120 13.7.1.2).

    A dNSName, the SRVNames of both services and an XmppAddr; for an IP literal an iPAddress and an XmppAddr.
    """
    from cryptography import x509

    xmpp_addr = x509.OtherName(x509.ObjectIdentifier(ID_ON_XMPP_ADDR), _der(_UTF8_STRING, domain))
    if address := ip_literal(domain):
        return [x509.IPAddress(address), xmpp_addr]
    host = a_label(domain)
    srv = x509.ObjectIdentifier(ID_ON_DNS_SRV)
    return [
        x509.DNSName(host),
        *(x509.OtherName(srv, _der(_IA5_STRING, f"_{s}.{host}")) for s in ("xmpp-client", "xmpp-server")),
        xmpp_addr,
    ]


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return Pair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _cut(name: str) -> str:
    """A name as it stands in a subject: at most 64 bytes (RFC 5280 A.1 ub-common-name)."""
    return name.encode()[:64].decode(errors="ignore")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    start: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    from cryptography import x509

    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )


def _usage(*allowed: str) -> x509.KeyUsage:
    from cryptography import x509

    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{usage: usage in allowed for usage in every.split()})


def make_ca(
    name: str,
    *,
    days: int = CA_DAYS,
    only_for: Sequence[str],
    now: datetime.datetime | None = None,
) -> Pair:
    """A self-signed CA called `name`, valid for `days`.

    `only_for`: the domains (and those below) it may sign for, as a critical name constraint (RFC 5280 4.2.1.10):
    whoever steals its key can be nobody else to those who trust it.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    now = now or utc_now()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _cut(name))])
    builder = (
        _builder(subject, subject, key, key, now - _BACKDATED, now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
    )
    hosts = [a_label(each) for each in only_for if not ip_literal(each)]
    networks = [ipaddress.ip_network(address) for each in only_for if (address := ip_literal(each))]
    # a kind of name of which none is permitted is not constrained, so all of it is excluded; "" is every host
    no_hosts = [] if hosts else [""]
    permitted_versions = {network.version for network in networks}
    every = map(ipaddress.ip_network, ("0.0.0.0/0", "::/0"))
    no_networks = [network for network in every if network.version not in permitted_versions]

    def trees(hosts: list[str], networks: list[Network]) -> list[x509.GeneralName] | None:
        return [*map(x509.DNSName, hosts), *map(x509.IPAddress, networks)] or None

    constraints = x509.NameConstraints(trees(hosts, networks), trees(no_hosts, no_networks))
    builder = builder.add_extension(constraints, critical=True)
    return _pair(builder.sign(key, hashes.SHA256()), key)


def covers(ca: Pair, domain: str) -> bool:
    """Whether `ca` may sign for `domain`: its name constraint, if it has one, permits that. ValueError as `load_ca`."""
    from cryptography import x509

    try:
        constraint = load_ca(ca)[0].extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return True
    permitted = constraint.permitted_subtrees or []
    if address := ip_literal(domain):
        networks = (each.value for each in permitted if isinstance(each, x509.IPAddress))
        return any(isinstance(network, Network) and address in network for network in networks)
    host = "." + a_label(domain)
    return any(isinstance(each, x509.DNSName) and host.endswith("." + each.value) for each in permitted)


def issue(
    ca: Pair, domain: str, *, days: int = CERTIFICATE_DAYS, now: datetime.datetime | None = None
) -> Pair:
    """A server certificate for `domain`, signed by `ca`, valid for `days` but no longer than the CA.

    It serves and, towards other servers, authenticates as a client (3-14). The CA is not appended: a server
    sends its chain without the root (3-4). ValueError if `ca` is not the certificate and key of a CA.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = now or utc_now()
    issuer, issuer_key = load_ca(ca)
    key = ec.generate_private_key(ec.SECP256R1())
    # nobody compares it where a subjectAltName stands; but where that holds no dNSName, OpenSSL and GnuTLS take a
    # common name for one, and hold it against the constraints of the CA
    kind = x509.NameOID.ORGANIZATION_NAME if ip_literal(domain) else x509.NameOID.COMMON_NAME
    subject = x509.Name([x509.NameAttribute(kind, _cut(domain))])
    end = min(now + datetime.timedelta(days=days), issuer.not_valid_after_utc)
    start = max(now - _BACKDATED, issuer.not_valid_before_utc)
    certificate = (
        _builder(subject, issuer.subject, key, issuer_key, start, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names(domain)), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return _pair(certificate, key)


def load_ca(ca: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The two halves of a CA as `make_ca` makes it; ValueError if they are not that."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    # the library's own words are for programmers
    try:
        certificate = x509.load_pem_x509_certificate(ca.certificate)
    except ValueError:
        raise ValueError("the certificate of the CA is no PEM certificate") from None
    try:
        key = load_pem_private_key(ca.key, password=None)
    except TypeError:
        raise ValueError("the key of the CA has a password") from None
    except ValueError:
        raise ValueError("the key of the CA is no PEM key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError("the key of the CA does not belong to its certificate")
    try:
        if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return certificate, key
    except x509.ExtensionNotFound:
        pass
    raise ValueError("the certificate is not that of a CA")
