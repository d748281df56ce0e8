"""What a stream machine asks the world to do, and the answers it waits for.

Every input of a machine returns a list of actions; whoever owns the connection carries them out in that
order, at once, before it gives the machine the next input. `LookUp`, `Verify` and `Bind` are questions:
reading stops until the answer is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from xmppd._fast.reader import Stanza
    from xmppd.jid import JID

Timer = Literal["negotiation", "close"]


class Send(Struct, frozen=True, gc=False):
    """Write `data`. What stands in one Send goes out in one piece (UC 1-34, 1-36, 2-3)."""

    data: bytes


class StartTLS(Struct, frozen=True, gc=False):
    """Begin the TLS handshake as server behind what was sent; answered by `tls_open`, or by `eof`."""


class Restart(Struct, frozen=True, gc=False):
    """A new stream begins on this connection: the reader starts anew, with what it has not read (4.3.3)."""


class LookUp(Struct, frozen=True, gc=False):
    """The SCRAM keys of an account are wanted; answered by `credentials`.

    `username` is prepared where it can be; a name that cannot be is given as it came (and exists nowhere).
    `mechanism` names the keys: "SCRAM-SHA-1" or "SCRAM-SHA-256", never with -PLUS.
    """

    username: str
    domain: str
    mechanism: str


class Verify(Struct, frozen=True, gc=False):
    """A password is to be checked; answered by `verified`."""

    username: str
    domain: str
    password: str

    def __repr__(self) -> str:
        return f"Verify({self.username!r}, {self.domain!r}, ...)"


class Authenticated(Struct, frozen=True, gc=False):
    """The stream belongs to `account` (a bare JID) from here on."""

    account: JID
    mechanism: str


class Bind(Struct, frozen=True, gc=False):
    """A resource is wanted: `resource` is prepared, None leaves the choice to the server.

    Answered by `bound` or `bind_failed`.
    """

    account: JID
    resource: str | None


class Opened(Struct, frozen=True, gc=False):
    """Negotiation is complete; `jid` is the full JID of the connected resource."""

    jid: JID


class Deliver(Struct, frozen=True, gc=False):
    """A stanza of an open stream, for the router, which stamps its `from` (5-4)."""

    stanza: Stanza


class Close(Struct, frozen=True, gc=False):
    """Our closing tag is out: nothing may be written any more, what arrives is still read (4.4; 1-18).

    With `await_peer` the peer's closing tag is awaited, at most for the close time-out (then
    `timeout("close")` is due); without it `Disconnect` follows.
    """

    await_peer: bool


class Disconnect(Struct, frozen=True, gc=False):
    """Flush, TLS close_notify, FIN; the connection ends without waiting for more XML."""


class Note(Struct, frozen=True, gc=False):
    """Something worth a log line: `event` is one of NOTES, `fields` never hold a password or a body.

    `bad_input`: it is a peer's fault, or a stranger's attempt.
    """

    event: str
    fields: Mapping[str, Any]
    bad_input: bool = False


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
    "starttls refused": "starttls_refused",
    "negotiation timeout": "streams_negotiation_timeout",
    "stream closed": None,
    "connection lost": None,
}


class TLSFacts(Struct, frozen=True, gc=False):
    """What the TLS layer knows once its handshake is done.

    `version` as OpenSSL prints it ("TLSv1.3"); `channel_bindings`: type name -> data (RFC 9266, RFC 5929), made when it
    is asked for; `peer_chain`: DER certificates, the peer's own first.
    """

    version: str
    channel_bindings: Mapping[str, bytes] = {}
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
    def if_right(self) -> Verdict: ...


# what checking a password gives: right; wrong or no such account; right, but of an account that is disabled; right, but
# it has expired; not checked, try later
Verdict: TypeAlias = Literal["ok", "wrong", "disabled", "expired", "deferred"]
