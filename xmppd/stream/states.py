"""The states of a client's stream, the events that move it, and the step each takes: one table.

`python -m xmppd.stream.states` prints it. `C2SStream` has a method for each step; a row of `TRANSITIONS`
goes before `DEFAULTS`. `to` lists every state the step can leave the stream in.
"""

from __future__ import annotations

import textwrap
from enum import StrEnum
from typing import Final, NamedTuple


class State(StrEnum):
    """Where a stream stands; in brackets what is awaited."""

    CONNECTED = "connected"  # in the clear, no header yet
    PLAIN = "plain"  # in the clear, features sent (starttls)
    HANDSHAKE = "handshake"  # <proceed/> sent, or direct TLS (the end of the handshake)
    SECURED = "secured"  # TLS is up (a new header)
    LOGIN = "login"  # mechanisms offered (auth)
    CHALLENGED = "challenged"  # <challenge/> sent (response)
    CHECKING = "checking"  # credentials or a password are being looked at (our answer)
    AUTHENTICATED = "authenticated"  # <success/> sent (a new header)
    UNBOUND = "unbound"  # bind offered (the bind request)
    BINDING = "binding"  # the core binds (its answer)
    OPEN = "open"  # negotiation is complete
    CLOSING = "closing"  # our closing tag is out (the client's)
    CLOSED = "closed"  # nothing is read or written any more


class Event(StrEnum):
    """What can happen to a stream."""

    HEADER = "header"
    STARTTLS = "<starttls/>"
    AUTH = "<auth/>"
    RESPONSE = "<response/>"
    ABORT = "<abort/>"
    STANZA = "stanza"
    UNKNOWN = "unknown first-level element"
    PEER_ERROR = "<stream:error/>"
    STREAM_CLOSE = "</stream:stream>"
    READER_ERROR = "fault found by the reader"
    TLS_OPEN = "TLS open"
    CREDENTIALS = "credentials"
    VERIFIED = "verified"
    BOUND = "bound"
    BIND_FAILED = "bind failed"
    CLOSE = "close asked for"
    TIMEOUT_NEGOTIATION = "negotiation time-out"
    TIMEOUT_CLOSE = "close time-out"
    EOF = "connection lost"


class Transition(NamedTuple):
    """What happens: the method of the machine, and the states it can end in."""

    step: str
    to: tuple[State, ...]


S, E = State, Event

# what a first-level element can be; the reader has refused other content namespaces (4.8.3)
FIRST_LEVEL: Final = (E.STARTTLS, E.AUTH, E.RESPONSE, E.ABORT, E.STANZA, E.UNKNOWN, E.PEER_ERROR)

# in any state that has no row of its own for the event
DEFAULTS: Final[dict[Event, Transition]] = {
    E.HEADER: Transition("fault", (S.CLOSING,)),
    E.STARTTLS: Transition("refuse_starttls", (S.CLOSING,)),
    E.AUTH: Transition("not_authorized", (S.CLOSING,)),
    E.RESPONSE: Transition("not_authorized", (S.CLOSING,)),
    E.ABORT: Transition("not_authorized", (S.CLOSING,)),
    E.STANZA: Transition("not_authorized", (S.CLOSING,)),
    E.UNKNOWN: Transition("unsupported", (S.CLOSING,)),
    E.PEER_ERROR: Transition("peer_failed", (S.CLOSING,)),
    E.STREAM_CLOSE: Transition("peer_closed", (S.CLOSED,)),
    E.READER_ERROR: Transition("unreadable", (S.CLOSING,)),
    E.TLS_OPEN: Transition("fault", (S.CLOSING,)),
    E.CREDENTIALS: Transition("fault", (S.CLOSING,)),
    E.VERIFIED: Transition("fault", (S.CLOSING,)),
    E.BOUND: Transition("fault", (S.CLOSING,)),
    E.BIND_FAILED: Transition("fault", (S.CLOSING,)),
    E.CLOSE: Transition("close_asked", (S.CLOSING,)),
    E.TIMEOUT_NEGOTIATION: Transition("too_slow", (S.CLOSING,)),
    E.TIMEOUT_CLOSE: Transition("ignore", ()),
    E.EOF: Transition("lost", (S.CLOSED,)),
}


def _sasl(*rest: State) -> dict[Event, Transition]:
    """The rows of SASL in a state from which a failed attempt leads to one of `rest`."""
    return {
        E.AUTH: Transition("auth", (*rest, S.CHALLENGED, S.CHECKING, S.CLOSING)),
        E.RESPONSE: Transition("stray_response", (*rest, S.CLOSING)),
        E.ABORT: Transition("abort", (*rest, S.CLOSING)),
    }


# whoever has not authenticated may send nothing but what negotiation asks for (4.9.3.12; 2-1.1)
_NOTHING_ELSE: Final = {E.UNKNOWN: Transition("not_authorized", (S.CLOSING,))}

# an answer is awaited and reading should have stopped: who feeds us is at fault
_DEAF: Final = dict.fromkeys((E.HEADER, *FIRST_LEVEL), Transition("fault", (S.CLOSING,)))

_IGNORE: Final = dict.fromkeys(Event, Transition("ignore", ()))
_DROP: Final = Transition("drop", (S.CLOSED,))
_FINISH: Final = Transition("finish", (S.CLOSED,))

TRANSITIONS: Final[dict[State, dict[Event, Transition]]] = {
    S.CONNECTED: {E.HEADER: Transition("greet", (S.PLAIN, S.CLOSING))},
    S.PLAIN: {
        E.STARTTLS: Transition("starttls", (S.HANDSHAKE, S.CLOSING)),
        **_sasl(S.PLAIN),
        **_NOTHING_ELSE,
    },
    # no XML may be sent until the handshake is done (5.4.3.1), nor after it failed (5.4.3.2)
    S.HANDSHAKE: {
        **dict.fromkeys((E.HEADER, *FIRST_LEVEL, E.STREAM_CLOSE, E.READER_ERROR), _DROP),
        **dict.fromkeys((E.CREDENTIALS, E.VERIFIED, E.BOUND, E.BIND_FAILED), _DROP),
        E.CLOSE: _DROP,
        E.TIMEOUT_NEGOTIATION: Transition("drop_slow", (S.CLOSED,)),
        E.TLS_OPEN: Transition("secured", (S.SECURED,)),
    },
    S.SECURED: {E.HEADER: Transition("greet", (S.LOGIN, S.CLOSING)), **_NOTHING_ELSE},
    S.LOGIN: {**_sasl(S.LOGIN), **_NOTHING_ELSE},
    S.CHALLENGED: {
        **_sasl(S.PLAIN, S.LOGIN),
        **_NOTHING_ELSE,
        E.RESPONSE: Transition("respond", (S.PLAIN, S.LOGIN, S.CHECKING, S.AUTHENTICATED, S.CLOSING)),
    },
    S.CHECKING: {
        **_DEAF,
        E.CREDENTIALS: Transition("found", (S.PLAIN, S.LOGIN, S.CHALLENGED, S.CLOSING)),
        E.VERIFIED: Transition("judged", (S.LOGIN, S.AUTHENTICATED, S.CLOSING)),
    },
    S.AUTHENTICATED: {E.HEADER: Transition("greet", (S.UNBOUND, S.CLOSING))},
    S.UNBOUND: {E.STANZA: Transition("bind", (S.UNBOUND, S.BINDING, S.CLOSING))},
    S.BINDING: {
        **_DEAF,
        E.BOUND: Transition("opened", (S.OPEN,)),
        E.BIND_FAILED: Transition("bind_refused", (S.UNBOUND, S.CLOSING)),
    },
    S.OPEN: {
        E.STANZA: Transition("deliver", (S.OPEN,)),
        E.TIMEOUT_NEGOTIATION: Transition("ignore", ()),
    },
    # we send nothing more, but what still comes is processed (4.4; 1-18.b)
    S.CLOSING: {
        **_IGNORE,
        E.STANZA: Transition("deliver_late", (S.CLOSING,)),
        E.STREAM_CLOSE: _FINISH,
        E.READER_ERROR: _FINISH,
        E.TIMEOUT_CLOSE: _FINISH,
        E.EOF: Transition("ended", (S.CLOSED,)),
    },
    S.CLOSED: _IGNORE,
}


def transition(state: State, event: Event) -> Transition:
    """The row that applies."""
    return TRANSITIONS[state].get(event) or DEFAULTS[event]


def render() -> str:
    """The table as text: for each state its own rows, then the defaults."""
    lines = []
    for name, row in [*TRANSITIONS.items(), ("any state", DEFAULTS)]:
        by_transition: dict[Transition, list[str]] = {}
        for event, found in row.items():
            by_transition.setdefault(found, []).append(str(event))
        lines.append(f"{name}:")
        for found, events in by_transition.items():
            rest = len(row) == len(Event) and len(events) > len(Event) / 2
            who = textwrap.wrap("any other event" if rest else ", ".join(events), 42)
            what = f"{found.step} -> {' | '.join(found.to) or 'unchanged'}"
            lines += [f"  {part:<44}{what if i == 0 else ''}".rstrip() for i, part in enumerate(who)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(render())
