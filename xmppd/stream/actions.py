"""What a stream machine asks the world to do, and the answers it waits for.

Every input of a machine returns a list of actions; whoever owns the connection carries them out in that
order, at once, before it gives the machine the next input. `LookUp`, `Verify` and `Bind` are questions:
reading stops until the answer is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from xmppd._fast.reader import Stanza
    from xmppd.jid import JID

Timer = Literal["negotiation", "close"]


@dataclass(frozen=True, slots=True)
class Send:
    """Write `data`. What stands in one Send goes out in one piece (UC 1-34, 1-36, 2-3)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StartTLS:
    """Begin the TLS handshake as server behind what was sent; answered by `tls_open`, or by `eof`."""


@dataclass(frozen=True, slots=True)
class Restart:
    """A new stream begins on this connection: the reader starts anew, with what it has not read (4.3.3)."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """The SCRAM keys of an account are wanted; answered by `credentials`.

    `username` is prepared where it can be; a name that cannot be is given as it came (and exists nowhere).
    `mechanism` names the keys: "SCRAM-SHA-1" or "SCRAM-SHA-256", never with -PLUS.
    """

    username: str
    domain: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class Verify:
    """A password is to be checked; answered by `verified`."""

    username: str
    domain: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The stream belongs to `account` (a bare JID) from here on."""

    account: JID
    mechanism: str


@dataclass(frozen=True, slots=True)
class Bind:
    """A resource is wanted: `resource` is prepared, None leaves the choice to the server.

    Answered by `bound` or `bind_failed`.
    """

    account: JID
    resource: str | None


@dataclass(frozen=True, slots=True)
class Opened:
    """Negotiation is complete; `jid` is the full JID of the connected resource."""

    jid: JID


@dataclass(frozen=True, slots=True)
class Deliver:
    """A stanza of an open stream, for the router, which stamps its `from` (5-4)."""

    stanza: Stanza


@dataclass(frozen=True, slots=True)
class Close:
    """Our closing tag is out: nothing may be written any more, what arrives is still read (4.4; 1-18).

    With `await_peer` the peer's closing tag is awaited, at most for the close time-out (then
    `timeout("close")` is due); without it `Disconnect` follows.
    """

    await_peer: bool


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Flush, TLS close_notify, FIN; the connection ends without waiting for more XML."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a log line: `event` is one of NOTES, `fields` never hold a password or a body."""

    event: str
    fields: Mapping[str, Any]


Action: TypeAlias = (
    Send
    | StartTLS
    | Restart
    | LookUp
    | Verify
    | Authenticated
    | Bind
    | Opened
    | Deliver
    | Close
    | Disconnect
    | Note
)

# event of a Note -> counter of xmppd.events it raises, or None
NOTES: Final[dict[str, str | None]] = {
    "login": "logins",
    "login failed": "logins_failed",
    "bound": None,
    "bind refused": None,
    "stream error sent": "stream_errors",
    "stream error received": None,
    "starttls refused": None,
    "negotiation timeout": "streams_negotiation_timeout",
    "stream closed": None,
    "connection lost": None,
}

# the events that are a peer's fault, or a stranger's attempt
BAD_INPUT: Final = frozenset({"login failed", "stream error sent", "starttls refused", "negotiation timeout"})
# what we say of ourselves, or of two streams of one user
OUR_CONDITIONS: Final = frozenset(
    {
        "conflict",
        "connection-timeout",
        "internal-server-error",
        "reset",
        "system-shutdown",
        "temporary-auth-failure",
    }
)


@dataclass(frozen=True, slots=True)
class TLSFacts:
    """What the TLS layer knows once its handshake is done.

    `version` as OpenSSL prints it ("TLSv1.3"); `channel_bindings`: type name -> data (RFC 9266, RFC 5929);
    `peer_chain`: DER certificates, the peer's own first.
    """

    version: str
    channel_bindings: Mapping[str, bytes] = field(default_factory=dict)
    peer_chain: tuple[bytes, ...] = ()


class Credentials(Protocol):
    """The SCRAM keys of an account for one hash (RFC 5802 3); made up, but stable, for one that is not
    there.
    """

    @property
    def salt(self) -> bytes: ...
    @property
    def iterations(self) -> int: ...
    @property
    def stored_key(self) -> bytes: ...
    @property
    def server_key(self) -> bytes: ...
    @property
    def enabled(self) -> bool: ...


# what checking a password gives: right; wrong or no such account; right but disabled; not checked, try later
Verdict: TypeAlias = Literal["ok", "wrong", "disabled", "deferred"]
