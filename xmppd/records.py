"""What is kept, as values: the words that the store and the core share."""

from __future__ import annotations

from typing import Literal

import msgspec

Subscription = Literal["none", "to", "from", "both"]

# a message to be kept: id of the account, its place in the account's order, the stanza as it will be delivered
Row = tuple[int, int, bytes]

# namespace and name of the element that a document is
DocumentName = tuple[str, str]


class RosterItem(msgspec.Struct, frozen=True, gc=False):
    """What an account knows of one contact.

    An item that is not `listed` is no roster item of RFC 6121 but only the record of a subscription request
    from somebody who is not in the roster (state "None + Pending In", RFC 6121 3.1.3 and A.1); clients never
    see it.
    """

    jid: str  # normalized
    name: str = ""
    subscription: Subscription = "none"
    ask: bool = False  # our request is pending (ask='subscribe')
    pending_in: bytes | None = None  # the contact's request as it came, kept until it is answered
    approved: bool = False  # pre-approved, RFC 6121 3.4
    groups: tuple[str, ...] = ()
    listed: bool = True

    def visible(self) -> RosterItem | None:
        """The part that clients see; None if they see nothing."""
        return msgspec.structs.replace(self, pending_in=None) if self.listed else None


class RosterChange(msgspec.Struct, frozen=True, gc=False):
    """What a roster has become for one contact, and with which version; `item` is None if it was taken out."""

    version: int
    contact: str
    item: RosterItem | None


class Crossing(msgspec.Struct, frozen=True, gc=False):
    """A subscription stanza that one account has committed and the other has not yet (RFC 6121 3); both are local."""

    key: int  # later ones have greater ones
    to: str  # normalized, bare
    from_: str
    type: Literal["subscribe", "subscribed", "unsubscribe", "unsubscribed"]
    stanza: bytes
    id: str | None = None


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """What is kept for an account until it can be delivered: how much, and the last place given."""

    messages: int = 0
    octets: int = 0
    last: int = 0


class Seen(msgspec.Struct, frozen=True, gc=False):
    """When an account was last connected (seconds since 1970, UTC), and what it said when it left (XEP-0012)."""

    at: int
    status: str = ""


class AccountRecord(msgspec.Struct, frozen=True):
    """What is read of an account when it is first needed."""

    id: int
    version: int  # of the roster
    items: list[RosterItem]
    waiting: Waiting = Waiting()
    blocked: tuple[str, ...] = ()  # addresses, see XEP-0191
