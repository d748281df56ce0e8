"""The values of the configuration file that TOML does not know: places, keys, addresses, domains."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Final

from xmppd.jid import JID, JIDError, prep_domain


class ConfigError(Exception):
    """The file cannot be used; the text is one sentence that names file, line, key and what is allowed."""


class Address:
    """Where a listener listens: `host` is an IP address (IPv6 without brackets) or a name, `port` 0-65535."""

    __slots__ = ("host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host: Final = host
        self.port: Final = port

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read HOST:PORT or [IPV6]:PORT; ValueError says what is wrong."""
        match = re.fullmatch(r"(?:\[([^\]]*)\]|([^:\[\]]*)):([0-9]{1,5})", text)
        if match is None:
            hint = "; an IPv6 address is written in brackets, as [::1]:5222" if text.count(":") > 1 else ""
            raise ValueError(f'"{text}" is not HOST:PORT{hint}')
        v6, host, port = match[1], match[2], int(match[3])
        if port > 65535:
            raise ValueError(f'"{text}": a port is at most 65535')
        if v6 is not None:
            try:
                return cls(str(ipaddress.IPv6Address(v6)), port)
            except ValueError:
                raise ValueError(f'"{text}": {v6 or "nothing"} is not an IPv6 address') from None
        # labels as the resolver takes them (RFC 1123 2.1): anything else is an error only when the server starts
        label = r"[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?"
        if not re.fullmatch(rf"{label}(\.{label})*", host):
            raise ValueError(f'"{text}": "{host}" is not a host')
        if re.fullmatch(r"[0-9.]+", host):
            try:
                ipaddress.IPv4Address(host)
            except ValueError:
                raise ValueError(f'"{text}": {host} is not an IPv4 address') from None
        return cls(host, port)

    @property
    def is_v6(self) -> bool:
        return ":" in self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_v6 else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and (self.host, self.port) == (other.host, other.port)

    def __hash__(self) -> int:
        return hash((self.host, self.port))


class KeySource(str):
    """Where a private key is, as OSSL_STORE reads it: `file:/absolute/path` or a `pkcs11:` URI (RFC 7512)."""

    __slots__ = ()

    @property
    def path(self) -> Path | None:
        """The file, or None if the key is in a token."""
        return Path(self.removeprefix("file:")) if self.startswith("file:") else None


class AccountName(str):
    """The address of an account, USER@DOMAIN, prepared."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> AccountName:
        """ValueError if this is no address of an account."""
        jid = JID.parse(text)
        if jid.local is None or not jid.is_bare:
            raise ValueError(f'"{text}" is not USER@DOMAIN')
        return cls(str(jid))

    @property
    def domain(self) -> str:
        """Where the account is."""
        return self.rpartition("@")[2]


def domain_name(text: str) -> str:
    """`text` as domains are compared, whichever `addresses.rules` there are; ValueError says why it is none."""
    try:
        name = prep_domain(text, rules="rfc6122")
    except JIDError:
        raise ValueError(f'"{text}" is not a domain name') from None
    try:
        if prep_domain(name, rules="rfc7622") == name:
            return name
    except JIDError:
        pass
    raise ValueError(f'"{text}" is no domain name by IDNA2008 (RFC 7622 3.2)')
