"""The tables of the configuration file: one struct each; each key with its default, bounds and one sentence of help.

The structs are the one source: the file is checked against them, `docs/config.md` is written from them
(`python -m xmppd.config > docs/config.md`), and `diff` reads from them what a changed key needs.
All structs are frozen. Paths in a loaded configuration are absolute. Times are seconds, sizes are bytes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from xmppd import profile as profiles
from xmppd.config.values import AccountName, Address, KeySource, domain_name
from xmppd.jid import Rules

Applies = Literal["live", "new-streams", "restart"]
Dscp = Annotated[int, Meta(ge=0, le=63)] | Literal["off"]
ProfileName = Literal["uc-2013", "internet"]
Suite = Literal["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"]
Group = Literal["P-256", "P-384", "P-521", "X25519", "X448"]
Mechanism = Literal["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]

MIB: Final = 1 << 20
STEM_BYTES: Final = (
    251  # of a domain's name that its files are called by: with .pem as long as a file's name may be
)


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


# kinds of listeners that this version serves
SERVED: Final = frozenset({"c2s"})


class Listener(Struct, frozen=True, kw_only=True):
    """A place where connections are accepted; one table for each."""

    kind: Annotated[Literal["c2s", "s2s"], setting("Who connects here: clients or servers.", "restart")] = (
        "c2s"
    )
    address: Annotated[
        Address,
        setting(
            "HOST:PORT, IPv6 as [::1]:5222; 0.0.0.0 is all of IPv4, [::] all of IPv6; a name is every address it has "
            "here; port 0 is any free one.",
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
        Path,
        setting(
            "PEM file with the certificate and its chain; not given: tls/NAME.pem (of a NAME of more than 251 bytes: "
            "its SHA-256).",
            "live",
        ),
    ] = Path()
    key: Annotated[
        KeySource, setting("File with the private key, or a pkcs11: URI; not given: tls/NAME.key.", "live")
    ] = KeySource()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "name", domain_name(self.name))
        name = self.name.encode()
        stem = self.name if len(name) <= STEM_BYTES else f"sha256-{hashlib.sha256(name).hexdigest()}"
        if self.certificate == Path():
            msgspec.structs.force_setattr(self, "certificate", Path(f"tls/{stem}.pem"))
        if not self.key:
            msgspec.structs.force_setattr(self, "key", KeySource(f"file:tls/{stem}.key"))


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
        float, setting("Time the other side has to answer our closing tag.", "live", ge=0.5, le=600)  # 1-19
    ] = 5.0
    idle_ping_s: Annotated[
        float, setting("Silence after which the client is pinged (XEP-0199); 0: never.", ge=0, le=86400)
    ] = 300.0
    ping_timeout_s: Annotated[
        float,
        setting("Time a client has to answer the ping before connection-timeout.", "live", gt=0, le=3600),
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
        float, setting("Time a PLAIN check may take, its wait included.", "restart", ge=1, le=600)
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
            "How addresses are prepared and compared: RFC 6122, as most servers do, or RFC 7622;"
            " either meets UC XMPP 2013 (4-5).",
            "restart",
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
    tag_bytes: Annotated[int, setting("Largest start tag.", ge=10_000, le=MIB)] = 65_536
    depth: Annotated[int, setting("Deepest nesting of elements.", ge=8, le=128)] = 64
    attributes: Annotated[int, setting("Most attributes of an element.", ge=8, le=256)] = 64
    bindings: Annotated[int, setting("Most namespace declarations in force at a time.", ge=8, le=32)] = 32
    name_bytes: Annotated[int, setting("Longest name of an element or attribute.", ge=64, le=4096)] = 256
    uri_bytes: Annotated[int, setting("Longest namespace name.", ge=64, le=4096)] = 512
    partial_bytes_total: Annotated[
        int,
        setting(
            "Memory for unfinished stanzas of all streams; beyond it who holds the most goes.",
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
        setting(
            "Connections that are not logged in, of all; more are refused, or one of an address that has several "
            "goes for one of an address that has none.",
            "live",
            ge=1,
            le=1_000_000,
        ),
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
    ] = 10_000
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
    ] = 10_000
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
        int, setting("Longest command or answer line accepted.", "restart", ge=65_536, le=64 * MIB)
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
