"""What becomes of a stanza for a local account: RFC 6121 8.5 as tables, in two readings.

`UC` is how UC 5-18 to 5-21 want it: a full address that nobody has counts as the bare one, and where all resources are
without presence, those are reached. `RFC6121` takes the RFC at its word.

A resource that has not sent presence yet and one that has sent unavailable presence are the same: connected, and not
available (RFC 6121 2.2; UC 8-15.1). It gets what is for its full address, and roster pushes if it asked for the roster;
no presence and no subscription requests. One of negative priority is available, and has asked for none of the messages
to the bare address: beside it nobody is reached, as if nobody were connected (8.5.2.1.1; the note of UC 5-19).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from xmppd.jid import JID


class Form(Enum):
    """How the address looks, and who has it."""

    BARE = "bare"
    MATCH = "match"  # a full one that a connected resource has
    GONE = "gone"  # a full one that no connected resource has


def form(to: JID, match: object) -> Form:
    """The form of an address; `match` is the resource that has it, if any."""
    if match is not None:
        return Form.MATCH
    return Form.BARE if to.is_bare else Form.GONE


class State(Enum):
    """Who can be reached of an account."""

    ABSENT = "absent"  # there is no such account
    OFFLINE = "offline"  # no resource is connected
    CONNECTED = "connected"  # resources, and none of them is available
    NEGATIVE = "negative"  # available resources, all of negative priority
    AVAILABLE = "available"  # an available resource of non-negative priority, or more


class Fate(Enum):
    """What is done with the stanza. S, E, O, D and A are the letters of RFC 6121 8.5.4."""

    DROP = "S"  # ignore it silently
    BOUNCE = "E"  # answer service-unavailable
    STORE = "O"  # keep it until somebody can take it
    DELIVER = "D"  # to the resource that has the address
    DELIVER_AVAILABLE = "A"  # to every available resource of non-negative priority
    DELIVER_CONNECTED = "C"  # to every connected resource: none is available
    DELIVER_PRESENCE = "P"  # to every available resource, whatever its priority
    ANSWER = "X"  # the server answers on behalf of the account
    SUBSCRIPTION = "R"  # by the rules of RFC 6121 3 and appendix A
    PROBE = "Q"  # by the rules of RFC 6121 4.3


Table = Mapping[tuple[str, Form, State], Fate]

_STATES = tuple(State)
_BARE, _MATCH, _GONE = Form


def _table(*rows: tuple[str, Form, str]) -> Table:
    return MappingProxyType(
        {
            (what, form, state): Fate(letter)
            for names, form, letters in rows
            for what in names.split(", ")
            for state, letter in zip(_STATES, letters.split(), strict=True)
        }
    )


# The columns are those of State: absent, offline, connected, negative, available.
# An account that does not exist has no resource: the first two of a MATCH row are never asked for.
_BOTH: Final = (
    ("message normal, message chat, message headline, message groupchat", _MATCH, "D D D D D"),
    ("message groupchat", _BARE, "E E E E E"),
    ("message groupchat", _GONE, "E E E E E"),
    ("message error, presence error", _BARE, "S S S S S"),
    ("message error, presence error", _MATCH, "D D D D D"),
    ("message error, presence error", _GONE, "S S S S S"),
    ("presence, presence unavailable", _BARE, "S S S P P"),
    ("presence, presence unavailable", _MATCH, "D D D D D"),
    ("presence subscription", _BARE, "R R R R R"),
    ("presence subscription", _MATCH, "R R R R R"),
    ("presence subscription", _GONE, "R R R R R"),
    ("presence probe", _BARE, "Q Q Q Q Q"),
    ("presence probe", _MATCH, "Q Q Q Q Q"),
    ("presence probe", _GONE, "Q Q Q Q Q"),
    ("iq request", _BARE, "E X X X X"),
    ("iq request", _MATCH, "D D D D D"),  # unless `iq_needs_presence`
    ("iq request", _GONE, "E E E E E"),
    ("iq answer", _BARE, "S S S S S"),
    ("iq answer", _MATCH, "D D D D D"),
    ("iq answer", _GONE, "S S S S S"),
)

UC: Final = _table(
    *_BOTH,
    ("message normal, message chat", _BARE, "E O C O A"),
    ("message normal, message chat", _GONE, "E O C O A"),
    ("message headline", _BARE, "E S S S A"),
    ("message headline", _GONE, "E S S S A"),
    ("presence, presence unavailable", _GONE, "S S S P P"),
)

RFC6121: Final = _table(
    *_BOTH,
    ("message normal, message chat", _BARE, "E O O O A"),
    ("message normal", _GONE, "E E E E E"),
    ("message chat", _GONE, "E O O O A"),
    ("message headline", _BARE, "S S S S A"),
    ("message headline", _GONE, "S S S S S"),
    ("presence, presence unavailable", _GONE, "S S S S S"),
)
