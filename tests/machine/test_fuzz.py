"""Whatever happens in whatever order, the machine answers with actions that can be carried out, and never raises."""

from __future__ import annotations

from xml.parsers import expat

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machine.test_states import INPUTS
from tests.machine.wire import (
    ABORT,
    MESSAGE,
    STARTTLS,
    STREAM_END,
    ScramClient,
    Wire,
    auth,
    bind,
    header,
    plain,
    response,
)
from xmppd.stream.actions import Bind, Close, Disconnect, LookUp, Note, Send, StartTLS, Verify
from xmppd.stream.c2s import C2SSettings, C2SStream
from xmppd.stream.states import Event, State, transition

SETTINGS = (C2SSettings(), C2SSettings(tls_required=False, retries=3))
WAITING = (State.CHECKING, State.BINDING, State.HANDSHAKE)

# the way to an open stream, as (event, number of the sample), so that random events meet the later states too
FORTH = (
    *((Event.HEADER, 0), (Event.STARTTLS, 0), (Event.TLS_OPEN, 0), (Event.HEADER, 0), (Event.AUTH, 0)),
    *((Event.VERIFIED, 0), (Event.HEADER, 0), (Event.STANZA, 2), (Event.BOUND, 0)),
)


class Watched(Wire):
    """A wire without a reader that holds the machine to its table and to the laws of its actions."""

    closing = False

    def give(self, event: Event, number: int) -> None:
        gives = INPUTS[event]
        before = self.state
        row = transition(before, event)
        actions = gives[number % len(gives)](self)
        assert isinstance(actions, list)
        assert self.state in (row.to or (before,))
        for action in actions:
            assert not self.disconnected
            if isinstance(action, Send):
                assert not self.closing
                assert action.data
            elif isinstance(action, Close):
                assert not self.closing
                self.closing = True
            elif isinstance(action, Disconnect):
                self.disconnected = True
            elif isinstance(action, Note):
                assert "r0m30myr0m30" not in repr(action)
        asked = [type(action) for action in actions if isinstance(action, LookUp | Verify | Bind | StartTLS)]
        assert len(asked) <= 1
        assert not asked or self.state in WAITING
        if self.state in (State.CLOSING, State.CLOSED):
            assert self.stream._negotiation is None


events = st.tuples(st.sampled_from(list(Event)), st.integers(0, 5))
forth = st.integers(0, len(FORTH)).map(lambda n: list(FORTH[:n]))


@settings(max_examples=400, deadline=None)
@given(
    start=forth,
    then=st.lists(events, max_size=25),
    settings=st.sampled_from(SETTINGS),
    direct=st.booleans(),
)
def test_any_events_in_any_order(
    start: list[tuple[Event, int]], then: list[tuple[Event, int]], settings: C2SSettings, direct: bool
) -> None:
    wire = Watched(settings, direct_tls=direct, answering=False)
    assert isinstance(wire.stream, C2SStream)
    for event, number in start + then:
        wire.give(event, number)


PIECES = [
    *(header(), header("unknown"), STARTTLS, plain(), plain(password="no"), auth("PLAIN"), auth("NONE")),
    *(ScramClient("SCRAM-SHA-1").first(), response("="), ABORT, bind("balcony"), bind(), MESSAGE, STREAM_END),
    *(b"<presence/>", b"<iq type='get' id='1'/>", b" ", b"<", b"</a>", b"<stream:error/>", b"\xff", b"&"),
]


@settings(max_examples=400, deadline=None)
@given(
    start=st.sampled_from(["at_login", "logged_in", "unbound", "opened", "secured"]) | st.none(),
    pieces=st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=20),
)
def test_any_bytes(start: str | None, pieces: list[bytes]) -> None:
    wire = Wire()
    if start:
        getattr(wire, start)()
    for piece in pieces:
        wire.feed(piece)
        if wire.handshaking:
            wire.shake_hands()
    if wire.disconnected:
        assert wire.output.endswith(STREAM_END)
        assert wire.output.count(STREAM_END) == 1
    assert b"internal-server-error" not in wire.output
    read_by_expat(wire.output)


def read_by_expat(output: bytes) -> None:
    """Each of our streams is well-formed, by namespace too, begins with a declaration and holds nothing restricted."""
    documents = output.split(b"<?xml version='1.0'?>")
    assert documents[0] == b""
    for document in documents[1:]:
        parser = expat.ParserCreate(namespace_separator=" ")
        restricted: list[str] = []
        parser.CommentHandler = restricted.append
        parser.ProcessingInstructionHandler = lambda target, _data, seen=restricted: seen.append(target)
        parser.StartDoctypeDeclHandler = lambda name, *_, seen=restricted: seen.append(name)
        parser.Parse(document, document.endswith(STREAM_END))
        assert not restricted


def test_the_way_forth_ends_at_an_open_stream() -> None:
    wire = Watched(answering=False)
    for event, number in FORTH:
        wire.give(event, number)
    assert wire.state is State.OPEN
