"""The table and the machine say the same: every state, every event, every place a step can lead to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.machine.wire import (
    ABORT,
    HOST,
    HOSTS,
    MESSAGE,
    STARTTLS,
    TLS,
    ScramClient,
    Wire,
    auth,
    b64,
    bind,
    element,
    header,
    keys,
    parse_header,
    payload,
    plain,
    response,
)
from xmppd.errors import SaslFailure, StanzaError, StreamError
from xmppd.jid import JID
from xmppd.stream.actions import Close, Disconnect, LookUp, Send
from xmppd.stream.c2s import C2SSettings, C2SStream, HostFacts
from xmppd.stream.states import DEFAULTS, TRANSITIONS, Event, State, render, transition

LAX = C2SSettings(tls_required=False)  # SASL in the clear, for the rows that a strict server never walks
NO_KEY = {HOST: HostFacts(HOST, tls_ready=False)}


def quiet(settings: C2SSettings | None = None, **more: object) -> Wire:
    return Wire(settings, answering=False, **more)  # type: ignore[arg-type]


def at_plain(settings: C2SSettings | None = None) -> Wire:
    return quiet(settings).feed(header())


def at_handshake() -> Wire:
    return at_plain().feed(STARTTLS)


def at_secured() -> Wire:
    return at_handshake().shake_hands()


def at_login() -> Wire:
    return at_secured().feed(header())


def failing(wire: Wire) -> Wire:
    """As many failures as are forgiven."""
    return wire.feed(auth("NONE"), auth("NONE"))


def challenged(wire: Wire) -> Wire:
    return wire.feed(auth("PLAIN"))


def checking(wire: Wire) -> Wire:
    return wire.feed(plain())


def looking_up(wire: Wire) -> Wire:
    return wire.feed(ScramClient("SCRAM-SHA-1").first())


def proving(wire: Wire, *, failed: bool = False) -> Wire:
    """One right SCRAM message before success."""
    looking_up(wire).answer()
    return wire


def authenticated() -> Wire:
    wire = checking(at_login())
    wire.answer()
    return wire


def unbound() -> Wire:
    return authenticated().feed(header())


def binding() -> Wire:
    return unbound().feed(bind("balcony"))


def tired(wire: Wire) -> Wire:
    """As many failed bind requests as are forgiven."""
    for _ in range(5):
        wire.feed(bind("balcony"))
        wire.question = None
        wire.perform(wire.stream.bind_failed(StanzaError("conflict")))
    return wire


def opened() -> Wire:
    wire = binding()
    wire.answer()
    return wire


def closing(wire: Wire) -> Wire:
    wire.perform(wire.stream.close(StreamError("system-shutdown")))
    return wire


def closed(wire: Wire) -> Wire:
    wire.perform(wire.stream.stream_close())
    return wire


def scram_final(wire: Wire) -> list[object]:
    """The right answer to a SCRAM challenge, if there is one."""
    challenge = wire.take()
    final = ScramClient("SCRAM-SHA-1").final(challenge) if payload(challenge) else response("AAAA")
    return list(wire.stream.stanza(element(final)))


WAYS: dict[State, list[Callable[[], Wire]]] = {
    State.CONNECTED: [quiet],
    State.PLAIN: [
        at_plain,
        lambda: at_plain(LAX),
        lambda: failing(at_plain(LAX)),
        lambda: quiet(hosts=NO_KEY).feed(header()),
    ],
    State.HANDSHAKE: [at_handshake, lambda: quiet(direct_tls=True)],
    State.SECURED: [at_secured],
    State.LOGIN: [at_login, lambda: failing(at_login())],
    State.CHALLENGED: [
        lambda: challenged(at_login()),
        lambda: challenged(failing(at_login())),
        lambda: proving(at_login()),
        lambda: proving(at_plain(LAX)),
        lambda: proving(failing(at_plain(LAX))),
    ],
    State.CHECKING: [
        lambda: checking(at_login()),
        lambda: checking(failing(at_login())),
        lambda: looking_up(at_login()),
        lambda: looking_up(at_plain(LAX)),
    ],
    State.AUTHENTICATED: [authenticated],
    State.UNBOUND: [unbound, lambda: tired(unbound())],
    State.BINDING: [binding, lambda: tired(unbound()).feed(bind())],
    State.OPEN: [opened],
    State.CLOSING: [lambda: closing(opened()), lambda: closing(at_login()), lambda: closing(quiet())],
    State.CLOSED: [lambda: closed(opened()), lambda: closed(at_login())],
}


def stanza(data: bytes, unread_bytes: int = 0) -> Callable[[Wire], object]:
    return lambda wire: wire.stream.stanza(element(data), unread_bytes)


INPUTS: dict[Event, list[Callable[[Wire], object]]] = {
    Event.HEADER: [
        lambda wire: wire.stream.header(parse_header(header())),
        lambda wire: wire.stream.header(parse_header(header("unknown.example.com"))),
    ],
    Event.STARTTLS: [
        stanza(STARTTLS),
        stanza(STARTTLS, 1),
        stanza(STARTTLS.replace(b"/>", b">now</starttls>")),
    ],
    Event.AUTH: [
        stanza(plain()),
        stanza(plain(password="wrong")),
        stanza(auth("PLAIN")),
        stanza(auth("NONE")),
        stanza(ScramClient("SCRAM-SHA-1").first()),
        stanza(auth("SCRAM-SHA-1")),
    ],
    Event.RESPONSE: [stanza(response("=")), stanza(response(b64("\0juliet\0r0m30myr0m30"))), scram_final],
    Event.ABORT: [stanza(ABORT)],
    Event.STANZA: [
        stanza(MESSAGE),
        stanza(bind()),
        stanza(bind("balcony")),
        stanza(bind("balc\x7fony")),
        stanza(b"<presence/>"),
    ],
    Event.UNKNOWN: [stanza(b"<stream:features/>"), stanza(b"<r xmlns='urn:xmpp:sm:3'/>")],
    Event.PEER_ERROR: [stanza(b"<stream:error/>")],
    Event.STREAM_CLOSE: [lambda wire: wire.stream.stream_close()],
    Event.READER_ERROR: [lambda wire: wire.stream.stream_error(StreamError("not-well-formed"))],
    Event.TLS_OPEN: [lambda wire: wire.stream.tls_open(TLS)],
    Event.CREDENTIALS: [
        lambda wire: wire.stream.credentials(keys("r0m30myr0m30", "SCRAM-SHA-1")),
        lambda wire: wire.stream.credentials(SaslFailure("temporary-auth-failure")),
    ],
    Event.VERIFIED: [
        lambda wire: wire.stream.verified("ok"),
        lambda wire: wire.stream.verified("wrong"),
        lambda wire: wire.stream.verified(SaslFailure("credentials-expired")),
    ],
    Event.BOUND: [lambda wire: wire.stream.bound(JID("juliet", HOST, "balcony"))],
    Event.BIND_FAILED: [lambda wire: wire.stream.bind_failed(StanzaError("conflict"))],
    Event.CLOSE: [
        lambda wire: wire.stream.close(StreamError("system-shutdown")),
        lambda wire: wire.stream.close(),
    ],
    Event.TIMEOUT_NEGOTIATION: [lambda wire: wire.stream.timeout("negotiation")],
    Event.TIMEOUT_CLOSE: [lambda wire: wire.stream.timeout("close")],
    Event.EOF: [lambda wire: wire.stream.eof("eof")],
}


def ends(state: State, event: Event) -> set[State]:
    """The states that the samples lead to from `state`."""
    reached = set()
    for way in WAYS[state]:
        for give in INPUTS[event]:
            wire = way()
            assert wire.state is state
            give(wire)
            reached.add(wire.state)
    return reached


def test_every_step_is_a_method_and_every_event_has_a_row() -> None:
    for state in State:
        for event in Event:
            assert callable(getattr(C2SStream, f"_{transition(state, event).step}"))
    assert set(DEFAULTS) == set(Event)
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_the_machine_goes_where_the_table_says(state: State, event: Event) -> None:
    assert ends(state, event) == set(transition(state, event).to or (state,))


@pytest.mark.parametrize("state", State)
def test_every_input_gives_actions_that_may_be_carried_out(state: State) -> None:
    for event in Event:
        for way in WAYS[state]:
            for give in INPUTS[event]:
                wire = way()
                silent = state in (State.HANDSHAKE, State.CLOSING, State.CLOSED) or event is Event.EOF
                actions = give(wire)
                assert isinstance(actions, list)
                assert not (silent and any(isinstance(action, Send) for action in actions))
                kinds = [type(action) for action in actions]
                assert kinds.count(Disconnect) == (kinds[-1:] == [Disconnect])
                if wire.state is State.CLOSING and state is not State.CLOSING:
                    assert kinds[-1] is Close
                    assert actions[-1] == Close(await_peer=True)


def test_an_answer_to_another_question_is_our_fault() -> None:
    wire = looking_up(at_login())
    assert isinstance(wire.question, LookUp)
    wire.perform(wire.stream.verified("ok"))
    assert b"internal-server-error" in wire.take()
    assert wire.state is State.CLOSING


def test_late_answers_are_dropped() -> None:
    wire = closing(looking_up(at_login()))
    assert wire.stream.credentials(keys("x", "SCRAM-SHA-1")) == []
    wire = closing(binding())
    assert wire.stream.bound(JID("juliet", HOST, "balcony")) == []
    assert wire.stream.jid is None


def test_the_table_can_be_printed() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "xmppd.stream.states"], capture_output=True, text=True, check=True
    ).stdout
    assert printed.rstrip("\n") == render()
    for state in State:
        assert str(state) in printed
    for event in Event:
        assert str(event) in printed
    assert all(len(line) <= 110 for line in printed.splitlines())


def test_hosts_are_what_the_tests_think() -> None:
    assert next(iter(HOSTS)) == HOST
