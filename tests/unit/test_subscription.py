"""RFC 6121 appendix A, enumerated: every state with every stanza, and the laws that hold over the tables."""

from __future__ import annotations

import pytest

from xmppd.core.subscription import INBOUND, OUTBOUND, State

# RFC 6121 A.2 and A.3 as printed: state -> (routed or delivered, new state), None for "no state change"
PRINTED = {
    ("out", "subscribe"): {
        "NONE": (True, "NONE_OUT"), "NONE_OUT": (True, None), "NONE_IN": (True, "NONE_OUT_IN"),
        "NONE_OUT_IN": (True, None), "TO": (True, None), "TO_IN": (True, None), "FROM": (True, "FROM_OUT"),
        "FROM_OUT": (True, None), "BOTH": (True, None),
    },
    ("out", "unsubscribe"): {
        "NONE": (True, None), "NONE_OUT": (True, "NONE"), "NONE_IN": (True, None), "NONE_OUT_IN": (True, "NONE_IN"),
        "TO": (True, "NONE"), "TO_IN": (True, "NONE_IN"), "FROM": (True, None), "FROM_OUT": (True, "FROM"),
        "BOTH": (True, "FROM"),
    },
    ("out", "subscribed"): {
        "NONE": (False, None), "NONE_OUT": (False, None), "NONE_IN": (True, "FROM"), "NONE_OUT_IN": (True, "FROM_OUT"),
        "TO": (False, None), "TO_IN": (True, "BOTH"), "FROM": (False, None), "FROM_OUT": (False, None),
        "BOTH": (False, None),
    },
    ("out", "unsubscribed"): {
        "NONE": (False, None), "NONE_OUT": (False, None), "NONE_IN": (True, "NONE"), "NONE_OUT_IN": (True, "NONE_OUT"),
        "TO": (False, None), "TO_IN": (True, "TO"), "FROM": (True, "NONE"), "FROM_OUT": (True, "NONE_OUT"),
        "BOTH": (True, "TO"),
    },
    ("in", "subscribe"): {
        "NONE": (True, "NONE_IN"), "NONE_OUT": (True, "NONE_OUT_IN"), "NONE_IN": (False, None),
        "NONE_OUT_IN": (False, None), "TO": (True, "TO_IN"), "TO_IN": (False, None), "FROM": (False, None),
        "FROM_OUT": (False, None), "BOTH": (False, None),
    },
    ("in", "unsubscribe"): {
        "NONE": (False, None), "NONE_OUT": (False, None), "NONE_IN": (True, "NONE"), "NONE_OUT_IN": (True, "NONE_OUT"),
        "TO": (False, None), "TO_IN": (True, "TO"), "FROM": (True, "NONE"), "FROM_OUT": (True, "NONE_OUT"),
        "BOTH": (True, "TO"),
    },
    ("in", "subscribed"): {
        "NONE": (False, None), "NONE_OUT": (True, "TO"), "NONE_IN": (False, None), "NONE_OUT_IN": (True, "TO_IN"),
        "TO": (False, None), "TO_IN": (False, None), "FROM": (False, None), "FROM_OUT": (True, "BOTH"),
        "BOTH": (False, None),
    },
    ("in", "unsubscribed"): {
        "NONE": (False, None), "NONE_OUT": (True, "NONE"), "NONE_IN": (False, None), "NONE_OUT_IN": (True, "NONE_IN"),
        "TO": (True, "NONE"), "TO_IN": (True, "NONE_IN"), "FROM": (False, None), "FROM_OUT": (True, "FROM"),
        "BOTH": (True, "FROM"),
    },
}  # fmt: skip

CELLS = [
    pytest.param(direction, type_, State[state], *cell, id=f"{direction}-{type_}-{state}")
    for (direction, type_), rows in PRINTED.items()
    for state, cell in rows.items()
]


def tables(direction):
    return OUTBOUND if direction == "out" else INBOUND


@pytest.mark.parametrize(("direction", "type_", "state", "passes", "after"), CELLS)
def test_cell(direction, type_, state, passes, after):
    step = tables(direction)[type_][state]
    assert step.passes is passes
    assert step.after is (State[after] if after else state)


def test_every_cell_is_printed():
    assert len(CELLS) == 2 * 4 * 9


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_state_is_what_a_roster_item_says(state):
    assert State.of(state.subscription, ask=state.ask, pending_in=state.pending_in) is state


@pytest.mark.parametrize(
    ("type_", "state"),
    [(t, s) for t in OUTBOUND for s in State],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_both_ends_agree(type_, state):
    """What one side sends moves the other side to the mirrored state (RFC 6121 A.2 against A.3)."""

    def mirror(of):
        to, from_, out, in_ = of.value
        return State((from_, to, in_, out))

    if (state.value[3] and state.value[1]) or (state.value[2] and state.value[0]):
        return
    step = OUTBOUND[type_][state]
    if not step.passes:
        return
    theirs = INBOUND[type_][mirror(state)]
    if theirs.passes:
        assert theirs.after is mirror(step.after)
    else:
        assert step.after is state, "they saw nothing, so nothing may have changed here"
