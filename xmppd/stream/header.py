"""Stream headers: what a client's header must say, and the response header (RFC 6120 4.7 to 4.9.1.3).

The reader has already refused a root that is no stream and a content namespace that is not served here.
Decisions where the RFC leaves one:

* no `to`, or one that is no domain: `improper-addressing`; a domain not served: `host-unknown` (1-22, 1-36);
* no version, or one below 1.0: `unsupported-version`; the response says 1.0 in any case, and whether that is
  enough for a client of a later one is for the client to say (4.7.5 rules 2 and 3; 1-23, 1-28);
* `from` may be absent (1-20); one that is no address gives `invalid-from`;
* the response uses the prefix `stream` and declares `jabber:client`, whatever the client wrote (1-29, 1-30).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from xmppd import ns
from xmppd.errors import StreamError
from xmppd.jid import JID, JIDError

if TYPE_CHECKING:
    from xmppd._fast.reader import StreamHeader

ID_BYTES: Final = 18  # 144 random bits, 24 characters without padding (1-27)

_VERSION = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,8}")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """A domain as its streams see it.

    `domain` is prepared; `features`: XML of the voluntary features advertised after login (roster
    versioning, pre-approval, caps); `tls_ready`: false while its certificate or key cannot be used,
    STARTTLS then fails (2-7); `gone`: no longer served, a header to it gives `host-gone` (4.9.3.5).
    """

    domain: str
    features: bytes = b""
    tls_ready: bool = True
    gone: bool = False


class Opening(Struct, frozen=True, gc=False):
    """What is taken over from a client's header; `error` is the first rule it breaks."""

    host: str
    from_: JID | None = None
    lang: str | None = None
    error: StreamError | None = None


def new_stream_id() -> str:
    """A stream id: unpredictable, never repeated (4.7.3)."""
    return secrets.token_urlsafe(ID_BYTES)


def _version_error(version: str | None) -> StreamError | None:
    match = _VERSION.fullmatch(version or "")
    if match and int(match[1]) >= 1:
        return None
    return StreamError("unsupported-version")  # 1-23.3


def _domain(address: str | None) -> str | None:
    try:
        jid = JID.parse(address or "", allow_unassigned=True)
    except JIDError:
        return None
    return None if jid.local or jid.resource else jid.domain


def _address(address: str | None) -> JID | None:
    if address is None:
        return None
    try:
        return JID.parse(address, allow_unassigned=True).bare
    except JIDError:
        return None


def _host_error(domain: str | None, hosts: Mapping[str, HostFacts]) -> StreamError | None:
    if domain is None:
        return StreamError("improper-addressing", "the header's 'to' is no domain")  # 1-22.3
    if domain not in hosts:
        return StreamError("host-unknown")
    if hosts[domain].gone:
        return StreamError("host-gone")
    return None


def read_header(header: StreamHeader, hosts: Mapping[str, HostFacts]) -> Opening:
    """Check `header` against the rules; `hosts` is keyed by prepared domain, the first is the default domain.

    The `id` of an initial header is ignored (1-27.2).
    """
    domain = _domain(header.to)
    from_ = _address(header.from_)
    lang = header.lang if header.lang and _LANGUAGE.fullmatch(header.lang) else None
    error = (
        _version_error(header.version)
        or _host_error(domain, hosts)
        or (StreamError("invalid-from") if header.from_ is not None and from_ is None else None)
    )
    known = domain is not None and domain in hosts
    return Opening(domain if known and domain else default_host(hosts), from_, lang, error)


def default_host(hosts: Mapping[str, HostFacts]) -> str:
    """The domain we speak for when the client names none that we know; "" if there is none (4.9.1.3)."""
    return next(iter(hosts), "")


def lookup_language(wanted: str | None, languages: Sequence[str]) -> str:
    """RFC 4647 3.4 over `languages`, the first of which is the default."""
    known = {language.lower(): language for language in languages}
    parts = wanted.lower().split("-") if wanted else []
    while parts:
        if found := known.get("-".join(parts)):
            return found
        parts.pop()
        if parts and len(parts[-1]) == 1:
            parts.pop()
    return languages[0]


@lru_cache(maxsize=64)
def _around_id(host: str, lang: str) -> tuple[bytes, bytes]:
    """A response header up to the id, and behind the `to`: the same for all streams of a host."""
    from_ = JID.parse(host).wire if host else b""
    begin = b"<?xml version='1.0'?><stream:stream from='" + from_ + b"' id='"
    namespaces = f"xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}'"
    return begin, f"' version='1.0' xml:lang='{lang}' {namespaces}>".encode()


def response_header(host: str, to: JID | None, lang: str) -> bytes:
    """A complete response header with a new id; `to` is shown as a bare JID (1-7, 1-24, 1-25, 1-27, 1-28)."""
    begin, end = _around_id(host, lang)
    named = b"' to='" + to.bare.wire if to is not None else b""
    return begin + new_stream_id().encode() + named + end
