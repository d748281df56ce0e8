"""The configuration file: one struct per table; each key with its default, bounds and one sentence of help.

The structs are the one source: the file is checked against them, `docs/config.md` is written from them
(`python -m xmppd.config > docs/config.md`), and `diff` reads from them what a changed key needs.
All structs are frozen. Paths in a loaded configuration are absolute. Times are seconds, sizes are bytes.
"""

from __future__ import annotations

import difflib
import functools
import ipaddress
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta, Struct, inspect

from xmppd import profile as profiles
from xmppd.jid import JID, JIDError, Rules, prep_domain

Applies = Literal["live", "new-streams", "restart"]
Dscp = Annotated[int, Meta(ge=0, le=63)] | Literal["off"]
ProfileName = Literal["uc-2013", "internet"]
Suite = Literal["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"]
Group = Literal["P-256", "P-384", "P-521", "X25519", "X448"]
Mechanism = Literal["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]

MIB: Final = 1 << 20


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


def setting(
    help: str,  # noqa: A002
    applies: Applies = "new-streams",
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
) -> Meta:
    """What is known about a key besides its type and default: its help, what a change needs, its bounds."""
    bounds: dict[str, Any] = {
        name: value for name, value in (("ge", ge), ("gt", gt), ("le", le)) if value is not None
    }
    return Meta(description=help, extra={"applies": applies}, **bounds)


class Net(Struct, frozen=True, kw_only=True):
    """Sockets: the options of every listener and of outgoing connections, and the pace of the loop."""

    # 13-1, DSCP-1: AF21
    dscp: Annotated[
        Dscp,
        setting("DSCP of all XMPP packets; 18 is AF21, the mark of ROUTINE Low-Latency Data.", "live"),
    ] = 18
    outgoing_dscp: Annotated[
        Dscp | None,
        setting("DSCP of connections to other servers; not given: that of `dscp`.", "new-streams"),
    ] = None
    backlog: Annotated[
        int, setting("Connections the kernel keeps before they are accepted.", "restart", ge=1, le=65535)
    ] = 1024
    keepalive_idle_s: Annotated[
        int, setting("Silence after which TCP keep-alive probes start.", "restart", ge=1, le=32767)
    ] = 300
    keepalive_interval_s: Annotated[
        int, setting("Time between two keep-alive probes.", "restart", ge=1, le=32767)
    ] = 30
    keepalive_probes: Annotated[
        int,
        setting("Unanswered keep-alive probes after which a connection is dead.", "restart", ge=1, le=127),
    ] = 4
    user_timeout_s: Annotated[
        float,
        setting(
            "Time that sent data may stay unacknowledged before TCP gives the connection up.",
            "restart",
            ge=1,
            le=3600,
        ),
    ] = 120.0
    linger_s: Annotated[
        float,
        setting("Time a closed connection waits for the other side to close too.", "restart", gt=0, le=300),
    ] = 5.0
    pass_budget_ms: Annotated[
        float,
        setting("Time the loop gives to reading before it does something else.", "restart", gt=0, le=100),
    ] = 2.0


class Listener(Struct, frozen=True, kw_only=True):
    """A place where connections are accepted; one table for each."""

    kind: Annotated[Literal["c2s", "s2s"], setting("Who connects here: clients or servers.", "restart")] = (
        "c2s"
    )
    address: Annotated[
        Address,
        setting(
            "HOST:PORT, IPv6 as [::1]:5222; 0.0.0.0 is all of IPv4, [::] all of IPv6, port 0 any free one.",
            "restart",
        ),
    ]
    direct_tls: Annotated[
        bool, setting("TLS from the first byte (XEP-0368) instead of STARTTLS.", "restart")
    ] = False
    dscp: Annotated[
        Dscp | None,
        setting("DSCP of this listener and of what it accepts; not given: that of [net].", "live"),
    ] = None


class Domain(Struct, frozen=True, kw_only=True):
    """A domain that is served; one table for each."""

    name: Annotated[str, setting("The domain, as in the JIDs of its users.", "restart")]
    certificate: Annotated[
        Path, setting("PEM file with the certificate and its chain; not given: tls/NAME.pem.", "live")
    ] = Path()
    key: Annotated[
        KeySource, setting("File with the private key, or a pkcs11: URI; not given: tls/NAME.key.", "live")
    ] = KeySource()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "name", domain_name(self.name))
        if self.certificate == Path():
            msgspec.structs.force_setattr(self, "certificate", Path(f"tls/{self.name}.pem"))
        if not self.key:
            msgspec.structs.force_setattr(self, "key", KeySource(f"file:tls/{self.name}.key"))


class TLS(Struct, frozen=True, kw_only=True):
    """TLS of all listeners. The defaults are those of the profile uc-2013; those of internet are below."""

    min_version: Annotated[Literal["1.2", "1.3"], setting("Lowest TLS version accepted.", "live")] = "1.2"
    max_version: Annotated[Literal["1.2", "1.3"], setting("Highest TLS version accepted.", "live")] = "1.3"
    suites: Annotated[tuple[Suite, ...], setting("TLS 1.3 suites, best first.", "live")] = (
        profiles.FIPS_SUITES
    )
    ciphers: Annotated[
        tuple[str, ...],
        setting(
            "TLS 1.2 cipher suites by their OpenSSL names, best first; those allowed are listed below.",
            "live",
        ),
    ] = profiles.FIPS_CIPHERS
    groups: Annotated[tuple[Group, ...], setting("Groups for the key exchange, best first.", "live")] = (
        "P-256",
        "P-384",
    )
    # 2-8.4
    client_certificates: Annotated[
        Literal["off", "request"],
        setting(
            "Whether the other side is asked for a certificate; one that presents it gets no session ticket.",
            "live",
        ),
    ] = "request"
    workers: Annotated[
        int,
        setting(
            "Threads that do handshakes; with an HSM, as many as it signs in parallel.",
            "restart",
            ge=1,
            le=64,
        ),
    ] = 4
    handshake_queue: Annotated[
        int,
        setting(
            "Handshakes that may wait for a worker; beyond it connections are closed.",
            "restart",
            ge=1,
            le=65536,
        ),
    ] = 1024
    handshake_timeout_s: Annotated[
        float, setting("Time a TLS handshake may take.", "restart", gt=0, le=600)
    ] = 20.0
    ticket_lifetime_s: Annotated[
        int, setting("How long a session can be resumed; 0: no session tickets.", "restart", ge=0, le=86400)
    ] = 7200
    ticket_rotation_s: Annotated[
        float, setting("Age at which the ticket key is replaced.", "restart", ge=60, le=86400)
    ] = 3600.0


class Stream(Struct, frozen=True, kw_only=True):
    """Negotiation and times of a stream."""

    negotiation_timeout_s: Annotated[
        float, setting("Time from the connection to the bound resource.", gt=0, le=3600)
    ] = 60.0
    close_timeout_s: Annotated[
        float, setting("Time the other side has to answer our closing tag.", gt=0, le=600)  # 1-19
    ] = 5.0
    idle_ping_s: Annotated[
        float, setting("Silence after which the client is pinged (XEP-0199); 0: never.", ge=0, le=86400)
    ] = 300.0
    ping_timeout_s: Annotated[
        float, setting("Time a client has to answer the ping before connection-timeout.", gt=0, le=3600)
    ] = 30.0
    bind_retries: Annotated[
        int, setting("Bind requests after the first failed one before the stream is closed.", ge=5, le=10)
    ] = 5
    session: Annotated[
        bool, setting("Offer the session of RFC 3921, which old clients wait for; it does nothing.")
    ] = True


class SASL(Struct, frozen=True, kw_only=True):
    """Authentication."""

    mechanisms: Annotated[
        tuple[Mechanism, ...], setting("Mechanisms offered once TLS is up, best first.")
    ] = get_args(Mechanism)
    # 3-23.8
    strong_accounts: Annotated[
        tuple[AccountName, ...],
        setting("Accounts that may log in with `strong_mechanisms` only; else mechanism-too-weak."),
    ] = ()
    strong_mechanisms: Annotated[
        tuple[Mechanism, ...], setting("Mechanisms that are strong enough for `strong_accounts`.")
    ] = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256")
    # 3-24
    retries: Annotated[
        int,
        setting(
            "Attempts after the first failed one before the stream is closed with policy-violation.",
            ge=2,
            le=5,
        ),
    ] = 2
    # 3-6, note
    required: Annotated[
        bool, setting("Put <required/> into <mechanisms/> of client streams, as drafts of RFC 6120 had it.")
    ] = False
    scram_iterations: Annotated[
        int, setting("PBKDF2 iterations of passwords set from now on.", "restart", ge=4096, le=1_000_000)
    ] = 10_000
    plain_threads: Annotated[int, setting("Threads that check PLAIN passwords.", "restart", ge=1, le=64)] = 2
    plain_queue: Annotated[
        int, setting("PLAIN attempts that may wait; else temporary-auth-failure.", "restart", ge=1, le=65536)
    ] = 1000
    plain_per_address: Annotated[
        int,
        setting(
            "PLAIN attempts of one address (/64 for IPv6) in check at a time; else temporary-auth-failure.",
            "restart",
            ge=1,
            le=4096,
        ),
    ] = 16
    plain_timeout_s: Annotated[
        float, setting("Time a PLAIN check may take, its wait included.", "restart", gt=0, le=600)
    ] = 10.0


class Routing(Struct, frozen=True, kw_only=True):
    """Where UC XMPP 2013 and RFC 6121 read the rules of delivery differently."""

    # 5-18, 5-19, 5-20
    delivery: Annotated[
        Literal["uc-2013", "rfc-6121"],
        setting(
            "How RFC 6121 8.5 is read; uc-2013: a full address that nobody has is as the bare one, resources without "
            "presence get messages if nobody else does, a headline to no account comes back.",
            "live",
        ),
    ] = "uc-2013"
    # 5-21
    iq_needs_presence: Annotated[
        bool,
        setting(
            "A request to a full address is delivered only from who may see its presence (RFC 6121 8.5.3.1).",
            "live",
        ),
    ] = False


class Addresses(Struct, frozen=True, kw_only=True):
    """XMPP addresses. What was stored under other rules stays as it is: decide before the first account is made."""

    rules: Annotated[
        Rules,
        setting(
            "How addresses are prepared and compared: RFC 6122, as most servers do, or RFC 7622.", "restart"
        ),
    ] = "rfc6122"


class Limits(Struct, frozen=True, kw_only=True):
    """What one peer may use. Each limit has a counter; `xmppd status` shows them."""

    stanza_bytes: Annotated[
        int,
        setting(
            "Largest stanza of a client that is logged in; else policy-violation.", ge=10_000, le=16 * MIB
        ),
    ] = 262_144
    preauth_stanza_bytes: Annotated[
        int, setting("Largest element before that; RFC 6120 asks for at least 10000.", ge=10_000, le=MIB)
    ] = 10_000
    tag_bytes: Annotated[int, setting("Largest start tag.", ge=1024, le=MIB)] = 65_536
    depth: Annotated[int, setting("Deepest nesting of elements.", ge=8, le=128)] = 64
    attributes: Annotated[int, setting("Most attributes of an element.", ge=8, le=256)] = 64
    bindings: Annotated[int, setting("Most namespace declarations in force at a time.", ge=8, le=32)] = 32
    name_bytes: Annotated[int, setting("Longest name of an element or attribute.", ge=64, le=4096)] = 256
    uri_bytes: Annotated[int, setting("Longest namespace name.", ge=64, le=4096)] = 512
    partial_bytes_total: Annotated[
        int,
        setting(
            "Memory for unfinished stanzas of all streams; beyond it the oldest not logged in goes.",
            "new-streams",
            ge=MIB,
            le=65_536 * MIB,
        ),
    ] = 64 * MIB
    jid_cache_bytes: Annotated[
        int,
        setting(
            "Memory for prepared addresses that are not plain ASCII; 0: none are kept.",
            "live",
            ge=0,
            le=1024 * MIB,
        ),
    ] = MIB
    output_bytes: Annotated[
        int,
        setting(
            "Output kept for a client that does not read; beyond it the connection is dropped.",
            "restart",
            ge=16_384,
            le=128 * MIB,
        ),
    ] = MIB
    connections_per_address: Annotated[
        int,
        setting("Connections of one address (/64 for IPv6); more are refused.", "live", ge=1, le=1_000_000),
    ] = 256
    unauthenticated_connections: Annotated[
        int,
        setting("Connections that are not logged in, of all; more are refused.", "live", ge=1, le=1_000_000),
    ] = 1024
    sessions_per_account: Annotated[
        int, setting("Resources of one account at a time; else resource-constraint.", "live", ge=1, le=1024)
    ] = 16
    bytes_per_s: Annotated[
        int,
        setting(
            "Bytes a second read from one stream, on average; beyond it the stream is slowed down.",
            ge=1024,
            le=1024 * MIB,
        ),
    ] = 262_144
    stanzas_per_s: Annotated[
        int,
        setting(
            "Stanzas a second read from one stream, on average; beyond it the stream is slowed down.",
            ge=1,
            le=1_000_000,
        ),
    ] = 200
    burst_s: Annotated[
        float, setting("How many seconds' worth of these rates may come at once.", gt=0, le=3600)
    ] = 5.0
    account_jobs: Annotated[
        int,
        setting(
            "Changes of one account that may wait for the disk; else resource-constraint.",
            "live",
            ge=1,
            le=100_000,
        ),
    ] = 1000
    idle_accounts: Annotated[
        int, setting("Accounts kept in memory that nobody is connected to.", "live", ge=0, le=1_000_000)
    ] = 1000
    directed_presences: Annotated[
        int,
        setting(
            "Addresses a resource may have sent directed presence to; else resource-constraint.",
            "live",
            ge=1,
            le=100_000,
        ),
    ] = 1000
    kept_requests: Annotated[
        int,
        setting(
            "Subscription requests kept for an account until it answers; else resource-constraint.",
            "live",
            ge=1,
            le=10_000,
        ),
    ] = 50
    kept_request_bytes: Annotated[
        int,
        setting(
            "Largest request kept whole; a larger one is kept without its content.", "live", ge=0, le=MIB
        ),
    ] = 4096
    block_list_bytes: Annotated[
        int,
        setting(
            "Size of an account's block list (XEP-0191), at most half of output_bytes; else resource-constraint.",
            "live",
            ge=0,
            le=16 * MIB,
        ),
    ] = 65_536
    document_bytes: Annotated[
        int,
        setting(
            "Size of an account's vCard and private XML (XEP-0054, XEP-0049) together, at most half of output_bytes;"
            " else resource-constraint.",
            "live",
            ge=0,
            le=16 * MIB,
        ),
    ] = 262_144
    roster_items: Annotated[
        int, setting("Items of one roster; else resource-constraint.", "live", ge=1, le=100_000)
    ] = 5000
    roster_cache_bytes: Annotated[
        int,
        setting("Memory for rosters as they are sent; 0: none are kept.", "live", ge=0, le=16_384 * MIB),
    ] = 16 * MIB
    roster_bytes: Annotated[
        int,
        setting(
            "Size of one roster as it is sent, at most output_bytes; else resource-constraint.",
            "live",
            ge=4096,
            le=128 * MIB,
        ),
    ] = 786_432
    roster_name_bytes: Annotated[
        int, setting("Longest name of a roster item or group; else not-acceptable.", "live", ge=16, le=65_536)
    ] = 1024
    roster_groups: Annotated[
        int, setting("Groups of one roster item; else not-acceptable.", "live", ge=1, le=1024)
    ] = 64


class Offline(Struct, frozen=True, kw_only=True):
    """Messages that are kept for accounts that nobody can be reached at (XEP-0160)."""

    messages: Annotated[
        int,
        setting(
            "Messages kept for one account; else service-unavailable. 0: none are.",
            "live",
            ge=0,
            le=1_000_000,
        ),
    ] = 1000
    bytes: Annotated[
        int,
        setting("Bytes they may have together; else service-unavailable.", "live", ge=16_384, le=1024 * MIB),
    ] = 16 * MIB
    queue_bytes: Annotated[
        int,
        setting(
            "Bytes that may wait for the disk, of messages to all accounts and of what waits behind them; "
            "else resource-constraint.",
            "live",
            ge=MIB,
            le=1024 * MIB,
        ),
    ] = 64 * MIB
    page_messages: Annotated[
        int,
        setting("Kept messages sent at a time; the next when the client has read.", "live", ge=1, le=10_000),
    ] = 200
    page_bytes: Annotated[
        int, setting("Bytes of kept messages sent at a time, or one message.", "live", ge=4096, le=16 * MIB)
    ] = 65_536
    drains: Annotated[
        int, setting("Accounts whose kept messages are read from the disk at a time.", "live", ge=1, le=1024)
    ] = 4


class Store(Struct, frozen=True, kw_only=True):
    """What survives a restart: one SQLite database in the data directory."""

    path: Annotated[Path, setting("The data directory.", "restart")] = Path("data")
    queue_jobs: Annotated[
        int, setting("Writes that may wait; else resource-constraint.", "restart", ge=1, le=1_000_000)
    ] = 10_000
    batch_jobs: Annotated[int, setting("Most writes in one transaction.", "restart", ge=1, le=100_000)] = 1000
    readers: Annotated[int, setting("Threads that read.", "restart", ge=1, le=32)] = 2
    reader_queue_jobs: Annotated[
        int, setting("Reads that may wait; else resource-constraint.", "restart", ge=1, le=1_000_000)
    ] = 1000
    deadline_s: Annotated[
        float,
        setting(
            "Longest wait for an answer of the database; what has not begun by then is not done.",
            "restart",
            gt=0,
            le=600,
        ),
    ] = 10.0
    busy_timeout_s: Annotated[
        float, setting("Longest wait for another program's lock on the database.", "restart", gt=0, le=600)
    ] = 5.0
    close_timeout_s: Annotated[
        float, setting("Time to write what is queued when the server stops.", "restart", gt=0, le=600)
    ] = 30.0
    roster_removals: Annotated[
        int,
        setting(
            "Removed items a roster remembers, so that a client that was away is told of the changes alone.",
            "restart",
            ge=0,
            le=100_000,
        ),
    ] = 256


class Log(Struct, frozen=True, kw_only=True):
    """The log: one line per event, to standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], setting("Least severity that is logged.", "live")
    ] = "info"
    format: Annotated[Literal["text", "json"], setting("key=value lines or JSON objects.", "live")] = "text"
    queue: Annotated[
        int,
        setting(
            "Lines that may wait for a slow reader; more are dropped and counted.",
            "restart",
            ge=16,
            le=1_000_000,
        ),
    ] = 10_000
    repeat_s: Annotated[
        float,
        setting(
            "An event that repeats is logged once in this time, with how often it came; 0: always.",
            "live",
            ge=0,
            le=86400,
        ),
    ] = 60.0


class Admin(Struct, frozen=True, kw_only=True):
    """The socket over which the command line speaks to the running server (mode 0600)."""

    socket: Annotated[Path, setting("The socket; its folder must exist.", "restart")] = Path(
        "data/admin.sock"
    )
    connections: Annotated[int, setting("Commands that may run at a time.", "restart", ge=1, le=1024)] = 16
    line_bytes: Annotated[
        int, setting("Longest command or answer line accepted.", "restart", ge=4096, le=64 * MIB)
    ] = 4 * MIB


class Watchdog(Struct, frozen=True, kw_only=True):
    """Watching over the event loop."""

    lag_ms: Annotated[
        float,
        setting(
            "Lateness of the loop at which the log names what held it up; 0: never.",
            "restart",
            ge=0,
            le=60_000,
        ),
    ] = 250.0


class Config(Struct, frozen=True, kw_only=True):
    """The whole file."""

    profile: Annotated[
        ProfileName,
        setting(
            "What the server must keep to: uc-2013 refuses settings that break a requirement.", "restart"
        ),
    ] = "uc-2013"
    domains: Annotated[tuple[Domain, ...], setting("Domains that are served.", "restart")] = ()
    listeners: Annotated[tuple[Listener, ...], setting("Where connections are accepted.", "restart")] = (
        Listener(address=Address("0.0.0.0", 5222)),  # noqa: S104
        Listener(address=Address("::", 5222)),
    )
    net: Annotated[Net, setting("Sockets.")] = Net()
    tls: Annotated[TLS, setting("TLS.")] = TLS()
    stream: Annotated[Stream, setting("Negotiation and times of a stream.")] = Stream()
    sasl: Annotated[SASL, setting("Authentication.")] = SASL()
    routing: Annotated[Routing, setting("Readings of the rules of delivery.")] = Routing()
    addresses: Annotated[Addresses, setting("XMPP addresses.")] = Addresses()
    limits: Annotated[Limits, setting("What one peer may use.")] = Limits()
    offline: Annotated[Offline, setting("Messages kept for later.")] = Offline()
    store: Annotated[Store, setting("What survives a restart.")] = Store()
    log: Annotated[Log, setting("The log.")] = Log()
    admin: Annotated[Admin, setting("The admin socket.")] = Admin()
    watchdog: Annotated[Watchdog, setting("The loop watchdog.")] = Watchdog()


# --------------------------------------------------------------------------------------------------
# What the structs say about a key, as data


class Key(NamedTuple):
    """One key of the file as the structs describe it."""

    table: str  # "" for the top level
    name: str
    help: str
    applies: Applies
    allowed: str
    default: Any  # msgspec.NODEFAULT if the key must be given
    is_table: bool

    @property
    def path(self) -> str:
        return f"{self.table}.{self.name}" if self.table else self.name


_KINDS: Final[dict[type, str]] = {
    Path: "a path",
    Address: "HOST:PORT",
    KeySource: "a path or a pkcs11: URI",
    AccountName: "USER@DOMAIN",
}


def _allowed(node: inspect.Type) -> str:
    """The values a type admits, in words."""
    match node:
        case inspect.Metadata(type=inner):
            return _allowed(inner)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            noun = "a whole number" if isinstance(node, inspect.IntType) else "a number"
            bounds = {"from": node.ge, "above": node.gt, "to": node.le}
            said = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
            return " ".join([noun, *said])
        case inspect.StrType():
            return "text"
        case inspect.LiteralType(values=values):
            # msgspec sorts the values of a Literal; the file's reader wants no other order either
            return " or ".join(json.dumps(value) for value in values)
        case inspect.UnionType(types=types):
            return " or ".join(_allowed(t) for t in types if not isinstance(t, inspect.NoneType))
        case inspect.VarTupleType(item_type=item):
            if isinstance(item, inspect.LiteralType):
                return "a list of " + ", ".join(json.dumps(value) for value in item.values)
            return f"a list of {_allowed(item)}"
        case inspect.CustomType(cls=cls):
            return _KINDS[cls]
        case inspect.StructType():
            return "a table"
        case _:  # pragma: no cover
            raise TypeError(f"no words for {node}")


def _struct_of(node: inspect.Type) -> type[Struct] | None:
    match node:
        case inspect.Metadata(type=inner) | inspect.VarTupleType(item_type=inner):
            return _struct_of(inner)
        case inspect.StructType(cls=cls):
            return cls
    return None


def _metadata(node: inspect.Type) -> inspect.Metadata:
    assert isinstance(node, inspect.Metadata), node
    return node


@functools.cache
def keys_of(table: str = "") -> dict[str, Key]:
    """The keys of one table by name, in the order of the documentation; "" is the top level."""
    return {
        field.name: Key(
            table,
            field.name,
            (_metadata(field.type).extra_json_schema or {})["description"],
            (_metadata(field.type).extra or {})["applies"],
            _allowed(field.type),
            field.default,
            _struct_of(field.type) is not None,
        )
        for field in _fields(Config if not table else tables()[table])
    }


def _fields(struct: type[Struct]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return info.fields


@functools.cache
def tables() -> dict[str, type[Struct]]:
    """Table name -> its struct; `domains` and `listeners` are arrays of tables."""
    found = {field.name: _struct_of(field.type) for field in _fields(Config)}
    return {name: struct for name, struct in found.items() if struct is not None}


ARRAYS: Final = ("domains", "listeners")


# --------------------------------------------------------------------------------------------------
# Reading


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


def _decode(kind: type, value: Any) -> Any:
    """Make the values that TOML does not know; the words of an error end up in a ConfigError."""
    # a NUL ends a path for the kernel: nothing would be found under the name that stands there
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    if kind is Address or kind is AccountName:
        return kind.parse(value)
    if kind is KeySource:
        return KeySource(value if value.startswith(("pkcs11:", "file:")) else f"file:{value}")
    return kind(value)


class _File:
    """The text of a configuration file, to say where in it something is wrong."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text

    def error(self, sentence: str, *where: str | int) -> ConfigError:
        line = self._line(where) if where else None
        return ConfigError(f"{self.path}:{line}: {sentence}" if line else f"{self.path}: {sentence}")

    def _line(self, where: tuple[str | int, ...]) -> int | None:
        """Line of the key `where`, as ("listeners", 1, "address"); that of its table if it has none."""
        names = [part for part in where if isinstance(part, str)]
        index = next((part for part in where if isinstance(part, int)), 0)
        table, wanted = ("", names[0]) if len(names) == 1 else (names[0], names[1])
        current, seen, best = "", -1, None
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := re.match(r"\s*\[\[?\s*([^\]\s]+)\s*\]", line):
                current = header[1].strip("\"'")
                if current == (table or wanted):
                    seen += 1
                    if best is None or seen == index:
                        best = number
            elif assignment := re.match(r"\s*([\w.\"'-]+)\s*=", line):
                name = assignment[1].replace('"', "").replace("'", "")
                if current == table and name == wanted and (not table or seen == index):
                    return number
                if not current and name in (table, f"{table}.{wanted}"):
                    best = number
        return best


def _nearest(name: str, table: str) -> str:
    """What was probably meant by an unknown key."""
    if near := difflib.get_close_matches(name, keys_of(table), n=1, cutoff=0.6):
        return f'; did you mean "{near[0]}"?'
    everywhere = {key.path: key.name for t in ("", *tables()) for key in keys_of(t).values()}
    if homes := [path.rpartition(".")[0] for path, known in everywhere.items() if known == name]:
        return f"; it belongs {' or '.join(f'in [{home}]' if home else 'at the top' for home in homes)}"
    if near := difflib.get_close_matches(name, set(everywhere.values()), n=1, cutoff=0.75):
        return f'; did you mean "{next(path for path, known in everywhere.items() if known == near[0])}"?'
    return f"; known here: {', '.join(keys_of(table))}"


def _unknown_keys(raw: dict[str, Any], file: _File) -> None:
    """ConfigError for the first key that no struct knows."""
    for name, value in raw.items():
        if name not in keys_of():
            raise file.error(f'unknown key "{name}"{_nearest(name, "")}', name)
        if name not in tables():
            continue
        entries = value if name in ARRAYS else [value]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            brackets = f"[[{name}]]" if name in ARRAYS else f"[{name}]"
            raise file.error(f"{name} must be a table, written {brackets}", name)
        for index, entry in enumerate(entries):
            for inner in entry:
                if inner not in keys_of(name):
                    raise file.error(
                        f'unknown key "{inner}" in [{name}]{_nearest(inner, name)}', name, index, inner
                    )


def _convert(raw: dict[str, Any], file: _File) -> Config:
    try:
        return msgspec.convert(raw, Config, dec_hook=_decode)
    except msgspec.ValidationError as error:
        message, _, at = str(error).rpartition(" - at ")
        message, at = message or str(error), at.strip("`$")
    where = [int(part) if part.isdigit() else part for part in re.findall(r"\w+", at)]
    if missing := re.search(r"missing required field `(\w+)`", message):
        raise file.error(f'the key "{missing[1]}" is missing in [[{where[0]}]]', *where)
    names = [part for part in where if isinstance(part, str)]
    if names == ["domains"]:  # what Domain.__post_init__ found
        raise file.error(f"domains[{where[1]}].name: {message}", *where, "name")
    found = keys_of(names[0] if len(names) > 1 else "")[names[min(len(names), 2) - 1]]
    value: Any = raw
    for part in where:
        value = value[part]
    label = at.lstrip(".")
    if found.name == "address" and isinstance(value, str):
        raise file.error(f"{label}: {message}", *where)
    raise file.error(f"{label} = {json.dumps(value, default=str)}: must be {found.allowed}", *where)


def _absolute(config: Config, base: Path) -> Config:
    """`config` with absolute paths; relative ones are relative to `base`."""

    def domain(given: Domain) -> Domain:
        return Domain(
            name=given.name,
            certificate=base / given.certificate,
            key=given.key if given.key.path is None else KeySource(f"file:{base / given.key.path}"),
        )

    return msgspec.structs.replace(
        config,
        domains=tuple(domain(given) for given in config.domains),
        store=msgspec.structs.replace(config.store, path=base / config.store.path),
        admin=msgspec.structs.replace(config.admin, socket=base / config.admin.socket),
    )


def _contradictions(config: Config) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """What no single key shows."""
    if not config.domains:
        yield "no domain is served; add a [[domains]] table with a name", ()
    names = [domain.name for domain in config.domains]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"the domain {name} stands here twice", ("domains", index, "name")
    addresses = [listener.address for listener in config.listeners]
    for index, address in enumerate(addresses):
        if address.port and address in addresses[:index]:
            yield f"two listeners have the address {address}", ("listeners", index, "address")
    if config.tls.min_version > config.tls.max_version:
        yield "tls.min_version is above tls.max_version", ("tls", "min_version")
    for name in ("suites", "ciphers", "groups"):
        if not getattr(config.tls, name) and not (name == "ciphers" and config.tls.min_version == "1.3"):
            yield f"tls.{name} is empty", ("tls", name)
    for cipher in config.tls.ciphers:
        if cipher not in profiles.CIPHERS:
            near = difflib.get_close_matches(cipher, profiles.CIPHERS, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(profiles.CIPHERS)}"
            yield f'tls.ciphers: no TLS 1.2 cipher suite is called "{cipher}"{hint}', ("tls", "ciphers")
    if not config.sasl.mechanisms:
        yield "sasl.mechanisms is empty, so nobody could log in", ("sasl", "mechanisms")
    if len(set(config.sasl.mechanisms)) < len(config.sasl.mechanisms):
        yield "sasl.mechanisms names a mechanism twice", ("sasl", "mechanisms")
    for account in config.sasl.strong_accounts:
        if account.domain not in names:
            yield f"sasl.strong_accounts: no domain of {account} is served", ("sasl", "strong_accounts")
    if set(config.sasl.strong_mechanisms).isdisjoint(config.sasl.mechanisms) and config.sasl.strong_accounts:
        yield "sasl.strong_mechanisms: none of them is in sasl.mechanisms", ("sasl", "strong_mechanisms")
    limits = config.limits
    if limits.roster_bytes > limits.output_bytes:
        yield "limits.roster_bytes is above limits.output_bytes", ("limits", "roster_bytes")
    if limits.preauth_stanza_bytes > limits.stanza_bytes:
        yield "limits.preauth_stanza_bytes is above limits.stanza_bytes", ("limits", "preauth_stanza_bytes")
    for name in ("partial_bytes_total", "output_bytes"):
        if getattr(limits, name) < limits.stanza_bytes:
            yield (
                f"limits.{name} is below limits.stanza_bytes: such a stanza could not pass",
                ("limits", name),
            )


def parse(text: str, path: Path, *, enforce: bool = True) -> Config:
    """The configuration in `text`, as if it stood in the file `path`; errors as those of `load`."""
    file = _File(path, text)
    try:
        raw = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: not a TOML file of this server: it is nested too deep") from None
    except ValueError as error:  # a number of thousands of digits is no TOMLDecodeError
        raise ConfigError(f"{path}: not a TOML file: {str(error)[:1].lower()}{str(error)[1:]}") from None
    _unknown_keys(raw, file)
    profile = raw.get("profile", Config().profile)
    # what is no known profile is named by _convert
    for table, defaults in profiles.DEFAULTS.get(profile if isinstance(profile, str) else "", {}).items():
        raw[table] = {**defaults, **raw.get(table, {})}
    config = _convert(raw, file)
    config = _absolute(config, path.parent.absolute())
    for sentence, where in _contradictions(config):
        raise file.error(sentence, *where)
    if enforce and (findings := profiles.findings(config)):
        more = f"; so do {len(findings) - 1} more, see xmppd check" if len(findings) > 1 else ""
        raise file.error(f"{findings[0]}{more}", *findings[0].key.split("."))
    return config


def load(path: Path, *, enforce: bool = True) -> Config:
    """Read and judge the file `path`.

    Raises ConfigError (one sentence) if it cannot be read, is no TOML, holds an unknown key or a value out of
    bounds, contradicts itself or, with `enforce`, breaks a requirement of its profile.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a TOML file: it is not UTF-8") from None
    return parse(text, path, enforce=enforce)


def admin_socket(path: Path) -> Path:
    """The admin socket named by the file `path`, whatever else is wrong with the file.

    So that a running server can be asked and stopped while its file is broken. Raises ConfigError if it cannot be
    read or is no TOML.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return load(path, enforce=False).admin.socket  # says what is wrong
    try:
        admin = msgspec.convert({"admin": raw.get("admin", {})}, Config, dec_hook=_decode).admin
    except msgspec.ValidationError:
        return load(path, enforce=False).admin.socket
    return path.parent.absolute() / admin.socket


# --------------------------------------------------------------------------------------------------
# Comparing


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs between two configurations; for a table that came or went one side is None."""

    key: str  # "net.dscp", "domains[example.org].certificate", "listeners[[::1]:5222]"
    old: Any
    new: Any
    applies: Applies


def _label(entry: Domain | Listener) -> str:
    """What tells an entry of an array of tables from the others."""
    return entry.name if isinstance(entry, Domain) else f"{entry.kind} {entry.address}"


def _entries(config: Config, table: str) -> dict[str, Struct]:
    return {_label(entry): entry for entry in getattr(config, table)}


def _changed(table: str, label: str, old: Struct, new: Struct) -> Iterator[Change]:
    for name, known in keys_of(table).items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Change(f"{label}.{name}", before, after, known.applies)


def diff(old: Config, new: Config) -> list[Change]:
    """Every key that differs, with what its change needs: nothing (live), new streams, or a restart.

    With another profile, which brings other defaults and rules, every change needs a restart.
    """
    changes = _changes(old, new)
    if old.profile != new.profile:
        return [replace(change, applies="restart") for change in changes]
    return changes


def in_force(running: Config, wanted: Config) -> Config:
    """What a reload makes of `running`: `wanted`, but with all that needs a restart as it runs now."""
    if running.profile != wanted.profile:
        return running
    tables: dict[str, Any] = {
        name: _kept(name, getattr(running, name), getattr(wanted, name))
        for name, known in keys_of().items()
        if known.is_table and name not in ARRAYS
    }
    for name in ARRAYS:
        then = _entries(wanted, name)
        entries = getattr(running, name)
        tables[name] = tuple(_kept(name, entry, then.get(_label(entry), entry)) for entry in entries)
    return msgspec.structs.replace(running, **tables)


def _kept(table: str, running: Struct, wanted: Struct) -> Struct:
    """`wanted` with the keys that need a restart as they are in `running`."""
    held = {
        name: getattr(running, name) for name, known in keys_of(table).items() if known.applies == "restart"
    }
    return msgspec.structs.replace(wanted, **held)


def _changes(old: Config, new: Config) -> list[Change]:
    changes: list[Change] = []
    for name, known in keys_of().items():
        if name in ARRAYS:
            before, after = _entries(old, name), _entries(new, name)
            for entry in [*before, *(entry for entry in after if entry not in before)]:
                label = f"{name}[{entry}]"
                if entry in before and entry in after:
                    changes += _changed(name, label, before[entry], after[entry])
                else:
                    changes.append(Change(label, before.get(entry), after.get(entry), known.applies))
        elif known.is_table:
            changes += _changed(name, name, getattr(old, name), getattr(new, name))
        elif getattr(old, name) != getattr(new, name):
            changes.append(Change(name, getattr(old, name), getattr(new, name), known.applies))
    return changes


# --------------------------------------------------------------------------------------------------
# Documentation


_APPLIES: Final[dict[Applies, str]] = {
    "live": "at once",
    "new-streams": "new streams",
    "restart": "restart",
}


def _shown(value: Any) -> str:
    if value is msgspec.NODEFAULT:
        return "must be given"
    if value is None or value in (Path(), KeySource()):
        return "see text"
    if isinstance(value, float):
        value = int(value) if value.is_integer() else value
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value) or "none"
    return f"`{json.dumps(value, default=str)}`"


def reference() -> str:
    """docs/config.md."""
    lines = [
        "# Configuration reference",
        "",
        "<!-- Written by `python -m xmppd.config > docs/config.md`; change xmppd/config.py instead. -->",
        "",
        "One TOML file, given as `xmppd -c FILE`. An unknown key is an error. Relative paths are relative to",
        "the file. `xmppd -c FILE check` checks it without starting anything. *Takes effect* says what a",
        "changed key needs after `xmppd -c FILE reload`: nothing (at once), new streams, or a restart.",
        "",
    ]
    for table in ("", *tables()):
        title = f"`[[{table}]]`" if table in ARRAYS else f"`[{table}]`" if table else "Top level"
        doc = _paragraph(tables()[table]) if table else "Before the first table."
        lines += [
            f"## {title}",
            "",
            doc,
            "",
            "| Key | Meaning | Allowed | Default | Takes effect |",
            "|---|---|---|---|---|",
        ]
        for known in keys_of(table).values():
            if known.is_table:
                continue
            lines.append(
                f"| `{known.name}` | {known.help.replace('<', '&lt;')} | {known.allowed} "
                f"| {_shown(known.default)} | {_APPLIES[known.applies]} |"
            )
        lines.append("")
    lines += ["## TLS 1.2 cipher suites", "", ", ".join(f"`{cipher}`" for cipher in profiles.CIPHERS), ""]
    lines += ["## Profiles", "", "`profile` sets other defaults and rules for the keys above.", ""]
    for name, rules in profiles.RULES.items():
        lines += [f"### `{name}`", ""]
        changed = [
            f"| `{table}.{entry}` | {_shown(tuple(value) if isinstance(value, list) else value)} |"
            for table, entries in profiles.DEFAULTS[name].items()
            for entry, value in entries.items()
        ]
        if changed:
            lines += ["Defaults other than those above:", "", "| Key | Default |", "|---|---|", *changed, ""]
        if rules:
            lines += [
                "The server refuses to start with a setting that breaks one of these:",
                "",
                "| Requirement | Key | Demand |",
                "|---|---|---|",
                *(f"| {rule.requirement} | `{rule.key}` | {rule.demand} |" for rule in rules),
                "",
            ]
        else:
            lines += ["No rules beyond the bounds of the keys.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _paragraph(struct: type[Struct]) -> str:
    """The docstring of a table as one paragraph."""
    return " ".join((struct.__doc__ or "").split())


if __name__ == "__main__":
    sys.stdout.write(reference())
