"""The client's bytes in any pieces give what they give in one piece, over whole sessions (1-6.2).

A session is what the client writes before and after TLS. Ids and nonces count up here, so that two runs can be
compared byte by byte, and SCRAM's last message is the same in each.
"""

from __future__ import annotations

from itertools import count, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.machine.wire import (
    ABORT,
    BINDINGS,
    HOST,
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
from xmppd.stream import header as header_module
from xmppd.stream import sasl
from xmppd.stream.actions import Deliver, Disconnect, Note

Run = tuple[list[bytes], list[str], list[bytes], str, bool]


class Numbers:
    """What stands in for randomness."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._count = count()

    def __call__(self) -> str:
        return f"number-{next(self._count)}"


NUMBERS = Numbers()


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "new_stream_id", NUMBERS)
    monkeypatch.setattr(sasl, "new_nonce", NUMBERS)


def run(before: list[bytes], after: list[bytes]) -> Run:
    """What a session gives, from pieces written before TLS and pieces written after it."""
    NUMBERS.begin()
    wire = Wire().feed(*before)
    if wire.handshaking:
        wire.shake_hands().feed(*after)
    return (
        wire.sent,
        [type(action).__name__ for action in wire.all],
        [action.stanza.raw for action in wire.of(Deliver)],
        str(wire.state) + str([note.fields for note in wire.of(Note)]),
        bool(wire.of(Disconnect)),
    )


def scram_session(mechanism: str, gs2: str = "n,,", binding: bytes = b"") -> bytes:
    """The client's part of a SCRAM login, its last message made from the challenge of a first run."""
    client = ScramClient(mechanism, gs2=gs2, binding=binding)
    NUMBERS.begin()
    wire = Wire().feed(header(), STARTTLS).shake_hands().feed(header(), client.first())
    return client.first() + client.final(wire.take())


def sessions() -> dict[str, tuple[bytes, bytes]]:
    before = header() + STARTTLS
    stay = header() + bind("balcony") + MESSAGE + b"\n<presence/> " + MESSAGE
    plus = scram_session("SCRAM-SHA-1-PLUS", "p=tls-exporter,,", BINDINGS["tls-exporter"])
    return {
        "plain": (before, header(from_=f"juliet@{HOST}", lang="de") + plain() + stay + STREAM_END),
        "scram": (before, header() + scram_session("SCRAM-SHA-256") + stay),
        "plus": (before, header() + plus + stay + STREAM_END),
        "asked": (before, header() + auth("PLAIN") + response("AGp1bGlldAByMG0zMG15cjBtMzA=") + stay),
        "failures": (before, header() + ABORT + auth("NONE", "=") + plain("romeo", "secret") + plain()),
        "not well-formed": (before, header() + plain() + stay + b"<message><body></message>" + MESSAGE),
        "not UTF-8": (
            before,
            header() + plain() + stay + "<message><body>é</body></message>".encode("latin-1"),
        ),
        "too early": (before, header() + MESSAGE + plain()),
        "foreign": (before, header() + plain() + stay + b"<message xmlns='jabber:server'/>" + MESSAGE),
        "unknown host": (header("unknown.example.com") + STARTTLS, b""),
        "no version": (header(version=None), b""),
        "wrong namespace": (header(streams="urn:wrong"), b""),
        "another language": (b"GET / HTTP/1.1\r\n\r\n", b""),
        "closed at once": (header() + STREAM_END, b""),
        "error": (before, header() + plain() + stay + b"<stream:error><x/></stream:error>" + STREAM_END),
    }


NAMES = [
    *("plain", "scram", "plus", "asked", "failures", "not well-formed", "not UTF-8", "too early", "foreign"),
    *("unknown host", "no version", "wrong namespace", "another language", "closed at once", "error"),
]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in the pieces between `places`."""
    ends = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(ends)]


def test_the_sessions_are_what_their_names_say() -> None:
    assert list(sessions()) == NAMES
    opened = ("plain", "scram", "plus", "asked", "not well-formed", "not UTF-8", "foreign", "error")
    for name, (before, after) in sessions().items():
        _, actions, delivered, _, _ = run([before], [after])
        assert ("Opened" in actions) is (name in opened), name
        assert (len(delivered) == 3) is (name in opened), name


@pytest.mark.req("1-6.2")
@pytest.mark.parametrize("name", NAMES)
def test_two_pieces_cut_at_every_place(name: str) -> None:
    before, after = sessions()[name]
    whole = run([before], [after])
    for i in range(1, len(before)):
        assert run([before[:i], before[i:]], [after]) == whole
    for i in range(1, len(after)):
        assert run([before], [after[:i], after[i:]]) == whole


@pytest.mark.req("1-6.2")
@pytest.mark.parametrize("name", NAMES)
def test_byte_by_byte(name: str) -> None:
    before, after = sessions()[name]
    pieces = [bytes([byte]) for byte in before], [bytes([byte]) for byte in after]
    assert run(*pieces) == run([before], [after])


@pytest.mark.req("1-6.2")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), a=st.lists(st.integers(0, 5000)), b=st.lists(st.integers(0, 5000)))
def test_any_pieces(name: str, a: list[int], b: list[int]) -> None:
    before, after = sessions()[name]
    assert run(cut(before, a), cut(after, b)) == run([before], [after])
