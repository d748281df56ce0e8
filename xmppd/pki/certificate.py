"""What a certificate file says, and what is wrong with it, before anybody connects."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xmppd.clock import utc_now
from xmppd.pki.issue import ID_ON_DNS_SRV, ID_ON_XMPP_ADDR, a_label, ip_literal

if TYPE_CHECKING:
    from cryptography import x509

# days before the end at which the administrator is told
WARN_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Facts:
    """A certificate as people ask about it; `names` with `dns:`, `srv:`, `xmpp:` or `ip:` in front."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime.datetime
    not_after: datetime.datetime
    chain_length: int


def _text(der: bytes) -> str:
    """The characters of a DER string with a one- to three-byte length."""
    skip = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    return der[skip:].decode("utf-8", "replace")


def identities(certificate: x509.Certificate) -> tuple[str, ...]:
    """All names of the subjectAltName that XMPP knows (RFC 6120 13.7.1.2)."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    others = {ID_ON_XMPP_ADDR: "xmpp", ID_ON_DNS_SRV: "srv"}
    found = []
    for name in names:
        match name:
            case x509.DNSName(value=value):
                found.append(f"dns:{value}")
            case x509.IPAddress(value=value):
                found.append(f"ip:{value}")
            case x509.OtherName(type_id=kind, value=value) if kind.dotted_string in others:
                found.append(f"{others[kind.dotted_string]}:{_text(value)}")
    return tuple(found)


def covers(identities: tuple[str, ...], domain: str) -> bool:
    """Whether one of the names is `domain`; a wildcard is one whole left-most label (RFC 6125 6.4.3)."""
    if address := ip_literal(domain):
        return f"ip:{address}" in identities or f"xmpp:{domain}" in identities
    host = a_label(domain)
    wildcard = f"*.{host.partition('.')[2]}"
    wanted = {f"dns:{host}", f"dns:{wildcard}", f"srv:_xmpp-client.{host}", f"xmpp:{domain}", f"xmpp:{host}"}
    return any(
        name.lower() in wanted if name.startswith(("dns:", "srv:")) else name in wanted for name in identities
    )


def read_chain(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file; OSError if it cannot be read, ValueError if it holds none."""
    from cryptography import x509

    return x509.load_pem_x509_certificates(path.read_bytes())


def kind_of_key(certificate: x509.Certificate) -> str:
    """How the suites of TLS 1.2 name what the key signs by: RSA, or ECDSA, Edwards curves included (RFC 8422 5.1.1)."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    return "RSA" if isinstance(certificate.public_key(), rsa.RSAPublicKey) else "ECDSA"


def facts(chain: list[x509.Certificate]) -> Facts:
    """What the first certificate of `chain` says."""
    leaf = chain[0]
    return Facts(
        leaf.subject.rfc4514_string(),
        leaf.issuer.rfc4514_string(),
        identities(leaf),
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
        len(chain),
    )


def _is_common(certificate: x509.Certificate) -> bool:
    """Whether its key can sign a handshake that some client understands (RFC 8446 4.2.3)."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1))
    return isinstance(key, (rsa.RSAPublicKey, ed25519.Ed25519PublicKey, ed448.Ed448PublicKey))


def faults(
    domain: str, certificate: Path, key: Path | None, now: datetime.datetime | None = None
) -> tuple[list[str], list[str]]:
    """What keeps the files from serving `domain`, and what will soon; sentences (errors, warnings).

    `key` None: the key is in a token and not looked at here.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    now = now or utc_now()
    errors: list[str] = []
    warnings: list[str] = []
    try:
        chain = read_chain(certificate)
    except OSError as error:
        return [f"{certificate}: cannot be read: {error.strerror}"], []
    except ValueError:
        return [f"{certificate}: holds no PEM certificate"], []
    leaf = chain[0]
    names = identities(leaf)
    if not covers(names, domain):
        held = ", ".join(names) or "no name"
        errors.append(f"{certificate}: is not for {domain} but for {held}")
    if not _is_common(leaf):
        errors.append(
            f"{certificate}: no client takes a key like this; RSA, or P-256, P-384 or P-521 will do"
        )
    if now < leaf.not_valid_before_utc:
        errors.append(f"{certificate}: is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    days = (leaf.not_valid_after_utc - now).days
    if days < 0:
        errors.append(f"{certificate}: expired on {leaf.not_valid_after_utc:%Y-%m-%d}")
    elif days < WARN_DAYS:
        warnings.append(f"{certificate}: expires on {leaf.not_valid_after_utc:%Y-%m-%d}, in {days} days")
    for lower, upper in itertools.pairwise(chain):
        if lower.issuer != upper.subject:
            errors.append(
                f"{certificate}: the chain is out of order: {lower.subject.rfc4514_string()} "
                f"was not issued by {upper.subject.rfc4514_string()}"
            )
    if key is not None:
        try:
            private = load_pem_private_key(key.read_bytes(), password=None)
        except OSError as error:
            errors.append(f"{key}: cannot be read: {error.strerror}")
        except (ValueError, TypeError):
            errors.append(f"{key}: holds no PEM private key without a password")
        else:
            if private.public_key() != leaf.public_key():
                errors.append(f"{key}: does not belong to {certificate}")
            if key.stat().st_mode & 0o077:
                warnings.append(f"{key}: can be read by others; its mode should be 0600")
    return errors, warnings
