"""Presence subscription states and their transitions: RFC 6121 appendix A as data.

A state is seen from the user's side. Each table maps every state to what is done with the stanza and to the state
after it; the rules that use them are in `core.contacts`.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from xmppd.records import Subscription

SubscriptionType = Literal["subscribe", "subscribed", "unsubscribe", "unsubscribed"]


class State(Enum):
    """The nine states of RFC 6121 A.1; the value is (to, from, pending out, pending in)."""

    NONE = (False, False, False, False)
    NONE_OUT = (False, False, True, False)
    NONE_IN = (False, False, False, True)
    NONE_OUT_IN = (False, False, True, True)
    TO = (True, False, False, False)
    TO_IN = (True, False, False, True)
    FROM = (False, True, False, False)
    FROM_OUT = (False, True, True, False)
    BOTH = (True, True, False, False)

    @classmethod
    def of(cls, subscription: str, *, ask: bool, pending_in: bool) -> State:
        """The state of a roster item. What cannot be (subscribed and still asking) counts as subscribed."""
        to = subscription in ("to", "both")
        from_ = subscription in ("from", "both")
        return cls((to, from_, ask and not to, pending_in and not from_))

    @property
    def subscription(self) -> Subscription:
        """The value of the roster item's `subscription` attribute."""
        to, from_, _, _ = self.value
        return "both" if to and from_ else "to" if to else "from" if from_ else "none"

    @property
    def ask(self) -> bool:
        """Whether the roster item carries ask='subscribe'."""
        return bool(self.value[2])

    @property
    def pending_in(self) -> bool:
        """Whether a request of the contact waits for the user's answer."""
        return bool(self.value[3])


class Step(NamedTuple):
    """What a stanza does in a state: `passes` (routed or delivered), the state after it, an automatic reply."""

    passes: bool
    after: State
    reply: SubscriptionType | None = None
    pre_approves: bool = False


_S = State
_Table = MappingProxyType[State, Step]


def _table(rows: dict[State, Step]) -> _Table:
    assert set(rows) == set(State)
    return MappingProxyType(rows)


def _stay(state: State, *, passes: bool, reply: SubscriptionType | None = None) -> Step:
    return Step(passes, state, reply)


# A.2: what the user sends
OUTBOUND: Final[MappingProxyType[SubscriptionType, _Table]] = MappingProxyType(
    {
        "subscribe": _table(
            {
                _S.NONE: Step(True, _S.NONE_OUT),
                _S.NONE_OUT: _stay(_S.NONE_OUT, passes=True),
                _S.NONE_IN: Step(True, _S.NONE_OUT_IN),
                _S.NONE_OUT_IN: _stay(_S.NONE_OUT_IN, passes=True),
                _S.TO: _stay(_S.TO, passes=True),
                _S.TO_IN: _stay(_S.TO_IN, passes=True),
                _S.FROM: Step(True, _S.FROM_OUT),
                _S.FROM_OUT: _stay(_S.FROM_OUT, passes=True),
                _S.BOTH: _stay(_S.BOTH, passes=True),
            }
        ),
        "unsubscribe": _table(
            {
                _S.NONE: _stay(_S.NONE, passes=True),
                _S.NONE_OUT: Step(True, _S.NONE),
                _S.NONE_IN: _stay(_S.NONE_IN, passes=True),
                _S.NONE_OUT_IN: Step(True, _S.NONE_IN),
                _S.TO: Step(True, _S.NONE),
                _S.TO_IN: Step(True, _S.NONE_IN),
                _S.FROM: _stay(_S.FROM, passes=True),
                _S.FROM_OUT: Step(True, _S.FROM),
                _S.BOTH: Step(True, _S.FROM),
            }
        ),
        "subscribed": _table(
            {
                _S.NONE: Step(False, _S.NONE, pre_approves=True),
                _S.NONE_OUT: Step(False, _S.NONE_OUT, pre_approves=True),
                _S.NONE_IN: Step(True, _S.FROM),
                _S.NONE_OUT_IN: Step(True, _S.FROM_OUT),
                _S.TO: Step(False, _S.TO, pre_approves=True),
                _S.TO_IN: Step(True, _S.BOTH),
                _S.FROM: _stay(_S.FROM, passes=False),
                _S.FROM_OUT: _stay(_S.FROM_OUT, passes=False),
                _S.BOTH: _stay(_S.BOTH, passes=False),
            }
        ),
        "unsubscribed": _table(
            {
                _S.NONE: _stay(_S.NONE, passes=False),
                _S.NONE_OUT: _stay(_S.NONE_OUT, passes=False),
                _S.NONE_IN: Step(True, _S.NONE),
                _S.NONE_OUT_IN: Step(True, _S.NONE_OUT),
                _S.TO: _stay(_S.TO, passes=False),
                _S.TO_IN: Step(True, _S.TO),
                _S.FROM: Step(True, _S.NONE),
                _S.FROM_OUT: Step(True, _S.NONE_OUT),
                _S.BOTH: Step(True, _S.TO),
            }
        ),
    }
)

# A.3: what comes in from the contact
INBOUND: Final[MappingProxyType[SubscriptionType, _Table]] = MappingProxyType(
    {
        "subscribe": _table(
            {
                _S.NONE: Step(True, _S.NONE_IN),
                _S.NONE_OUT: Step(True, _S.NONE_OUT_IN),
                _S.NONE_IN: _stay(_S.NONE_IN, passes=False),
                _S.NONE_OUT_IN: _stay(_S.NONE_OUT_IN, passes=False),
                _S.TO: Step(True, _S.TO_IN),
                _S.TO_IN: _stay(_S.TO_IN, passes=False),
                _S.FROM: _stay(_S.FROM, passes=False, reply="subscribed"),
                _S.FROM_OUT: _stay(_S.FROM_OUT, passes=False, reply="subscribed"),
                _S.BOTH: _stay(_S.BOTH, passes=False, reply="subscribed"),
            }
        ),
        "unsubscribe": _table(
            {
                _S.NONE: _stay(_S.NONE, passes=False),
                _S.NONE_OUT: _stay(_S.NONE_OUT, passes=False),
                _S.NONE_IN: Step(True, _S.NONE, "unsubscribed"),
                _S.NONE_OUT_IN: Step(True, _S.NONE_OUT, "unsubscribed"),
                _S.TO: _stay(_S.TO, passes=False),
                _S.TO_IN: Step(True, _S.TO, "unsubscribed"),
                _S.FROM: Step(True, _S.NONE, "unsubscribed"),
                _S.FROM_OUT: Step(True, _S.NONE_OUT, "unsubscribed"),
                _S.BOTH: Step(True, _S.TO, "unsubscribed"),
            }
        ),
        "subscribed": _table(
            {
                _S.NONE: _stay(_S.NONE, passes=False),
                _S.NONE_OUT: Step(True, _S.TO),
                _S.NONE_IN: _stay(_S.NONE_IN, passes=False),
                _S.NONE_OUT_IN: Step(True, _S.TO_IN),
                _S.TO: _stay(_S.TO, passes=False),
                _S.TO_IN: _stay(_S.TO_IN, passes=False),
                _S.FROM: _stay(_S.FROM, passes=False),
                _S.FROM_OUT: Step(True, _S.BOTH),
                _S.BOTH: _stay(_S.BOTH, passes=False),
            }
        ),
        "unsubscribed": _table(
            {
                _S.NONE: _stay(_S.NONE, passes=False),
                _S.NONE_OUT: Step(True, _S.NONE),
                _S.NONE_IN: _stay(_S.NONE_IN, passes=False),
                _S.NONE_OUT_IN: Step(True, _S.NONE_IN),
                _S.TO: Step(True, _S.NONE),
                _S.TO_IN: Step(True, _S.NONE_IN),
                _S.FROM: _stay(_S.FROM, passes=False),
                _S.FROM_OUT: Step(True, _S.FROM),
                _S.BOTH: Step(True, _S.FROM),
            }
        ),
    }
)
