"""Whole sessions on a fake wire: a client's bytes in, ours out, requirement by requirement."""

from __future__ import annotations

import gc
import sys
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

import pytest

from tests.machine.wire import (
    ABORT,
    BINDINGS,
    HOST,
    MESSAGE,
    PASSWORD,
    STARTTLS,
    STREAM_END,
    ScramClient,
    Wire,
    attribute,
    auth,
    b64,
    bind,
    element,
    failure,
    header,
    payload,
    plain,
    response,
    stream_error,
)
from xmppd import ns
from xmppd.errors import SaslFailure, StanzaError, StreamError
from xmppd.jid import JID
from xmppd.stream.actions import (
    Authenticated,
    Bind,
    Close,
    Deliver,
    Disconnect,
    LookUp,
    Note,
    Opened,
    Restart,
    Send,
    StartTLS,
    TLSFacts,
    Verify,
)
from xmppd.stream.c2s import C2SSettings, HostFacts
from xmppd.stream.states import State

IN_STREAM = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
SUCCESS = f"<success xmlns='{ns.SASL}'/>".encode()
PROCEED = f"<proceed xmlns='{ns.TLS}'/>".encode()
TLS_FAILURE = f"<failure xmlns='{ns.TLS}'/>".encode()
WRONG = plain(password="wrong")


def children(output: bytes) -> list[ET.Element]:
    """The first-level elements of a stream that begins in `output`."""
    data = output if output.endswith(STREAM_END) else output + STREAM_END
    return list(ET.fromstring(data))  # noqa: S314


def features(output: bytes) -> list[ET.Element]:
    (element,) = children(output)
    assert element.tag == f"{{{ns.STREAMS}}}features"
    return list(element)


def mechanisms(output: bytes) -> list[str]:
    (element,) = (child for child in features(output) if child.tag == f"{{{ns.SASL}}}mechanisms")
    return [child.text or "" for child in element if child.tag == f"{{{ns.SASL}}}mechanism"]


def ended(wire: Wire, condition: str, before: bytes = b"") -> bytes:
    """The stream was just ended by this error, error and closing tag in the last piece that was sent."""
    last = wire.sent[-1]
    error = last[last.index(b"<stream:error>") :]
    assert last.startswith(before)
    assert error.startswith(stream_error(condition))
    assert error.endswith(b"</stream:error></stream:stream>")
    assert len(wire.of(Close)) == 1
    assert not wire.stream.is_open
    told = [note for note in wire.of(Note) if note.event == "stream error sent"]
    assert [note.fields["condition"] for note in told] == [condition]
    return last


# --- a complete session ---


@pytest.mark.req("1-11.1", "3-1.1", "4-1.1", "3-5.1", "3-6.2", "3-10.1", "1-16.1")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_from_the_first_byte_to_the_closing_tag(mechanism: str) -> None:
    wire = Wire()
    wire.feed(header(), STARTTLS).shake_hands().feed(header())
    wire.take()
    if mechanism == "PLAIN":
        wire.feed(plain())
        assert wire.take() == SUCCESS
    else:
        client = ScramClient(mechanism)
        wire.feed(client.first())
        wire.feed(client.final(wire.take()))
        assert payload(wire.take()).decode() == client.server_signature
    wire.feed(header(), bind("balcony"))
    jid = JID("juliet", HOST, "balcony")
    assert wire.stream.jid == jid
    assert wire.stream.is_open
    wire.feed(MESSAGE)
    assert [action.stanza.raw for action in wire.of(Deliver)] == [MESSAGE]
    wire.take()
    wire.feed(STREAM_END)
    assert wire.take() == STREAM_END
    kinds = [type(action) for action in wire.all if not isinstance(action, Note | LookUp | Verify)]
    challenged = [Send] if mechanism != "PLAIN" else []
    assert kinds == [
        *(Send, Send, StartTLS, Restart, Send, *challenged),
        *(Authenticated, Send, Restart, Send, Bind, Send, Opened, Deliver, Send, Close, Disconnect),
    ]
    assert wire.of(Authenticated) == [Authenticated(JID("juliet", HOST), mechanism)]
    assert wire.of(Opened) == [Opened(jid)]
    assert [note.event for note in wire.of(Note)] == ["login", "bound", "stream closed"]


@pytest.mark.req("4-1.1")
def test_direct_tls_begins_with_the_handshake() -> None:
    wire = Wire(direct_tls=True)
    assert wire.state is State.HANDSHAKE
    wire.shake_hands().feed(header())
    assert "PLAIN" in mechanisms(wire.take())
    wire.feed(plain(), header(), bind())
    assert wire.stream.is_open


def test_everything_pipelined() -> None:
    wire = Wire()
    wire.feed(header() + STARTTLS).shake_hands()
    wire.feed(header() + plain() + header() + bind("balcony") + MESSAGE + STREAM_END)
    assert wire.of(Deliver)
    assert wire.disconnected


# --- features ---


@pytest.mark.req("2-4.1", "1-9.1", "2-2.1", "2-11.1")
def test_in_the_clear_there_is_starttls_and_nothing_else() -> None:
    (starttls,) = features(Wire().feed(header()).take())
    assert starttls.tag == f"{{{ns.TLS}}}starttls"
    (required,) = starttls
    assert required.tag == f"{{{ns.TLS}}}required"
    assert not required.attrib
    assert not list(required)
    assert not required.text


@pytest.mark.req("2-9.c", "3-6.1", "3-3.1", "1-14.1")
def test_after_tls_there_is_sasl_and_no_starttls() -> None:
    wire = Wire().secured().feed(header())
    output = wire.take()
    assert [child.tag for child in features(output)] == [
        f"{{{ns.SASL_CB}}}sasl-channel-binding",
        f"{{{ns.SASL}}}mechanisms",
    ]
    offered = mechanisms(output)
    assert offered.count("PLAIN") == 1
    assert "ANONYMOUS" not in offered
    assert offered[0] == "SCRAM-SHA-256-PLUS"
    types = [child.get("type") for child in features(output)[0]]
    assert types == ["tls-exporter", "tls-server-end-point"]


def test_without_channel_binding_none_is_offered() -> None:
    wire = Wire(tls=TLSFacts("TLSv1.2")).secured().feed(header())
    output = wire.take()
    assert mechanisms(output) == ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
    assert b"sasl-channel-binding" not in output
    only_plain = Wire(C2SSettings(mechanisms=("PLAIN",))).secured().feed(header()).take()
    assert mechanisms(only_plain) == ["PLAIN"]
    assert b"sasl-channel-binding" not in only_plain


@pytest.mark.req("1-9.3")
def test_required_in_mechanisms_is_a_setting() -> None:
    for flagged in (False, True):
        output = Wire(C2SSettings(sasl_required=flagged)).secured().feed(header()).take()
        assert (b"</mechanism><required/></mechanisms>" in output) is flagged


@pytest.mark.req("3-13.1", "4-3.1", "1-9.2", "1-14.2")
def test_after_login_there_is_bind() -> None:
    tags = [child.tag for child in features(Wire().logged_in().feed(header()).take())]
    assert tags == [
        f"{{{ns.BIND}}}bind",
        f"{{{ns.SESSION}}}session",
        "{urn:xmpp:features:rosterver}ver",
    ]
    without = Wire(C2SSettings(session=False), hosts={HOST: HostFacts(HOST)})
    assert [child.tag for child in features(without.logged_in().feed(header()).take())] == [
        f"{{{ns.BIND}}}bind"
    ]


@pytest.mark.req("4-3.1")
def test_bind_is_not_offered_earlier() -> None:
    wire = Wire().at_login()
    assert b"<bind" not in wire.output


# --- STARTTLS ---


@pytest.mark.req("2-6.1", "2-5.2")
def test_proceed_and_nothing_behind_it() -> None:
    wire = Wire().feed(header() + STARTTLS)
    assert wire.sent[-1] == PROCEED
    assert [type(action) for action in wire.all[-2:]] == [Send, StartTLS]
    assert wire.stream.host == HOST  # for the choice of a certificate without SNI


@pytest.mark.req("2-6.2")
@pytest.mark.parametrize("behind", [b" ", b"\n", b"<auth", plain(), header(), b"\x16\x03\x01", STARTTLS])
def test_bytes_behind_starttls_get_no_proceed(behind: bytes) -> None:
    wire = Wire().feed(header())
    wire.feed(STARTTLS + behind)
    assert PROCEED not in wire.output
    assert not wire.of(StartTLS)
    ended(wire, "policy-violation")
    assert not wire.of(Verify)


@pytest.mark.req("2-7.1")
@pytest.mark.parametrize(
    "written",
    [
        f"<starttls xmlns='{ns.TLS}'><now/></starttls>",
        f"<starttls xmlns='{ns.TLS}'>now</starttls>",
        f"<starttls xmlns='{ns.TLS}' version='2'/>",
    ],
)
def test_malformed_starttls(written: str) -> None:
    wire = Wire().feed(header())
    wire.take()
    wire.feed(written.encode())
    assert wire.take() == TLS_FAILURE + STREAM_END
    assert wire.all[-1] == Close(await_peer=True)
    wire.feed(STREAM_END)
    assert wire.disconnected
    assert not wire.of(StartTLS)


@pytest.mark.req("2-7.1")
@pytest.mark.parametrize("way", ["at_login", "unbound", "opened"])
def test_starttls_a_second_time(way: str) -> None:
    wire: Wire = getattr(Wire(), way)()
    wire.feed(STARTTLS)
    assert wire.take() == TLS_FAILURE + STREAM_END
    assert len(wire.of(StartTLS)) == 1


@pytest.mark.req("2-7.1")
def test_a_key_that_cannot_be_used() -> None:
    wire = Wire(hosts={HOST: HostFacts(HOST, tls_ready=False)}).feed(header(), STARTTLS)
    assert wire.sent[-1] == TLS_FAILURE + STREAM_END


def test_a_failed_handshake_is_followed_by_nothing() -> None:
    wire = Wire().feed(header(), STARTTLS)
    wire.take()
    wire.perform(wire.stream.eof("error"))
    assert wire.take() == b""
    assert wire.state is State.CLOSED


def test_no_xml_during_the_handshake() -> None:
    for give in (
        lambda wire: wire.stream.close(StreamError("system-shutdown")),
        lambda wire: wire.stream.timeout("negotiation"),
    ):
        wire = Wire().feed(header(), STARTTLS)
        wire.take()
        wire.perform(give(wire))
        assert wire.take() == b""
        assert wire.disconnected


@pytest.mark.req("2-1.1", "1-15.2", "3-2.1")
@pytest.mark.parametrize(
    "written",
    [
        *(MESSAGE, b"<presence/>", bind()),
        b"<pubsub xmlns='jabber:client'/>",
        b"<compress xmlns='http://jabber.org/protocol/compress'/>",
        b"<x xmlns='urn:nobody:knows'/>",
    ],
)
def test_nothing_else_before_login(written: bytes) -> None:
    for wire in (Wire().feed(header()), Wire().at_login()):
        wire.feed(written)
        ended(wire, "not-authorized")
        assert not wire.of(Deliver)
        assert not wire.of(Bind)


@pytest.mark.req("2-1.1", "2-11.1", "3-5.2", "3-23.3")
@pytest.mark.parametrize("written", [plain(), auth("SCRAM-SHA-1"), auth("ANONYMOUS"), auth(None)])
def test_auth_before_tls(written: bytes) -> None:
    wire = Wire().feed(header())
    wire.take()
    wire.feed(written)
    assert wire.take() == failure("encryption-required")
    assert not wire.of(Verify)
    assert not wire.of(LookUp)
    assert PASSWORD not in repr(wire.of(Note))
    wire.feed(STARTTLS)  # the stream goes on
    assert wire.of(StartTLS)


def test_where_tls_is_voluntary_sasl_is_offered_beside_it() -> None:
    wire = Wire(C2SSettings(tls_required=False)).feed(header())
    output = wire.take()
    assert b"<required/>" not in output
    assert mechanisms(output) == ["SCRAM-SHA-256", "SCRAM-SHA-1"]
    wire.feed(plain())
    assert wire.take() == failure("encryption-required")
    client = ScramClient("SCRAM-SHA-256", gs2="y,,")
    wire.feed(client.first())
    wire.feed(client.final(wire.take()))
    assert wire.state is State.AUTHENTICATED


# --- SASL ---


@pytest.mark.req("3-7.1")
def test_the_example_of_rfc_6120() -> None:
    wire = Wire().at_login().feed(auth("PLAIN", "AGp1bGlldAByMG0zMG15cjBtMzA="))
    assert wire.take() == SUCCESS


@pytest.mark.req("3-7.2", "3-1.1")
def test_plain_without_initial_response() -> None:
    wire = Wire().at_login().feed(auth("PLAIN"))
    assert wire.take() == f"<challenge xmlns='{ns.SASL}'/>".encode()
    wire.feed(response(b64(f"\0juliet\0{PASSWORD}")))
    assert wire.take() == SUCCESS


@pytest.mark.req("3-1.1")
def test_scram_without_initial_response() -> None:
    client = ScramClient("SCRAM-SHA-256")
    wire = Wire().at_login().feed(auth("SCRAM-SHA-256"))
    assert wire.take() == f"<challenge xmlns='{ns.SASL}'/>".encode()
    wire.feed(response(b64(client.gs2 + client.bare)))
    wire.feed(client.final(wire.take()))
    assert wire.state is State.AUTHENTICATED


@pytest.mark.parametrize("text", ["", "="])
def test_an_empty_message_is_malformed_for_these_mechanisms(text: str) -> None:
    wire = Wire().at_login().feed(auth("PLAIN"), response(text))
    assert wire.sent[-1] == failure("malformed-request")
    wire.feed(auth("PLAIN", "="))
    assert wire.sent[-1] == failure("malformed-request")


@pytest.mark.req("3-6.1")
@pytest.mark.parametrize("kind", sorted(BINDINGS))
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
def test_channel_binding(mechanism: str, kind: str) -> None:
    client = ScramClient(mechanism, gs2=f"p={kind},,", binding=BINDINGS[kind])
    wire = Wire().at_login().feed(client.first())
    wire.feed(client.final(wire.take()))
    assert payload(wire.take()).decode() == client.server_signature


def test_flag_y_is_refused_where_plus_was_offered() -> None:
    wire = Wire().at_login().feed(ScramClient("SCRAM-SHA-1", gs2="y,,").first())
    assert b"<not-authorized/>" in wire.take()
    assert not wire.of(LookUp)
    plain_tls = Wire(tls=TLSFacts("TLSv1.2")).at_login().feed(ScramClient("SCRAM-SHA-1", gs2="y,,").first())
    assert b"<challenge" in plain_tls.take()


@pytest.mark.req("3-22.1", "3-23.9")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_wrong_password_and_unknown_user_look_the_same(mechanism: str) -> None:
    said = []
    for user, password in (("juliet", "wrong"), ("nobody", "wrong")):
        wire = Wire().at_login()
        if mechanism == "PLAIN":
            wire.feed(plain(user, password))
        else:
            client = ScramClient(mechanism, user, password)
            wire.feed(client.first())
            wire.feed(client.final(wire.take()))
        said.append(wire.take())
        assert wire.state is State.LOGIN
    assert said == [failure("not-authorized")] * 2


STRONG = C2SSettings(
    strong_accounts=frozenset({f"juliet@{HOST}"}), strong_mechanisms=frozenset({"SCRAM-SHA-256"})
)

# every condition of RFC 6120 6.5, and what a client does to get it: over TLS unless it is in the clear
CONDITIONS = [
    ("aborted", ABORT),
    ("account-disabled", plain("romeo", "secret")),
    ("credentials-expired", plain("tybalt", "secret")),
    ("encryption-required", plain()),
    ("incorrect-encoding", auth("PLAIN", "AGp1bGlldA")),
    ("invalid-authzid", plain(authzid=f"romeo@{HOST}")),
    ("invalid-mechanism", auth("ANONYMOUS")),
    ("malformed-request", auth("PLAIN", b64("juliet"))),
    ("mechanism-too-weak", plain()),
    ("not-authorized", WRONG),
    ("temporary-auth-failure", plain()),
]


@pytest.mark.req("3-22.1", "3-23.1", "3-23.2", "3-23.3", "3-23.4", "3-23.5", "3-23.6", "3-23.7")
@pytest.mark.req("3-23.8", "3-23.9", "3-23.10")
@pytest.mark.parametrize(("condition", "written"), CONDITIONS)
def test_every_condition_of_sasl(condition: str, written: bytes) -> None:
    """One element of the namespace with one condition, and the stream stays open: the next attempt succeeds."""
    if condition == "encryption-required":
        wire = Wire(C2SSettings(tls_required=False)).feed(header())
    else:
        wire = Wire(STRONG if condition == "mechanism-too-weak" else None).at_login()
    wire.take()
    if condition == "temporary-auth-failure":
        wire.trouble = SaslFailure(condition)
    wire.feed(written)
    (element,) = children(IN_STREAM + wire.take())
    assert element.tag == f"{{{ns.SASL}}}failure"
    assert [child.tag for child in element] == [f"{{{ns.SASL}}}{condition}"]
    assert not wire.of(Authenticated)
    wire.trouble = None
    client = ScramClient("SCRAM-SHA-256")
    wire.feed(client.first())
    wire.feed(client.final(wire.take()))
    assert b"<success" in wire.take()


def test_no_condition_of_sasl_is_left_out() -> None:
    assert {condition for condition, _ in CONDITIONS} == SaslFailure.conditions


@pytest.mark.req("3-23.1")
@pytest.mark.parametrize("begun", [b"", auth("PLAIN"), ScramClient("SCRAM-SHA-1").first()])
def test_abort(begun: bytes) -> None:
    wire = Wire().at_login().feed(begun)
    wire.take()
    wire.feed(ABORT)
    assert wire.take() == failure("aborted")
    wire.feed(plain())
    assert wire.take() == SUCCESS


@pytest.mark.req("3-23.2")
@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("romeo", "secret", "account-disabled"),
        ("romeo", "wrong", "not-authorized"),
        ("tybalt", "secret", "credentials-expired"),
        ("tybalt", "wrong", "not-authorized"),
    ],
)
def test_who_knows_the_password_learns_why_it_lets_nobody_in(name: str, password: str, said: str) -> None:
    wire = Wire().at_login().feed(plain(name, password))
    assert wire.take() == failure(said)
    client = ScramClient("SCRAM-SHA-1", name, password)
    wire.feed(client.first())
    wire.feed(client.final(wire.take()))
    assert wire.take() == failure(said)


@pytest.mark.req("3-23.2", "3-23.9")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("stage", ["before", "checking", "challenged", "replaced"])
@pytest.mark.parametrize("whose", ["juliet", "romeo"])
@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_an_account_is_disabled_while_it_logs_in(
    mechanism: str, stage: str, whose: str, password: str
) -> None:
    """The stream goes on as any other: only the right password is told, and only by a handshake that went on."""
    wire = Wire()
    wire.at_login()
    gone = JID(whose, HOST), SaslFailure("account-disabled")
    if stage == "before":
        wire.stream.revoke(*gone)
    wire.answering = stage != "checking"
    client = ScramClient(mechanism, "juliet", password)
    begun = plain("juliet", password) if mechanism == "PLAIN" else client.first()
    if stage == "replaced":
        wire.feed(ScramClient("SCRAM-SHA-1").first())
        wire.stream.revoke(*gone)
        wire.take()
    wire.feed(begun)
    if stage == "checking":
        wire.stream.revoke(*gone)
        wire.answering = True
        wire.answer()
    if stage == "challenged":
        wire.stream.revoke(*gone)
    if mechanism != "PLAIN":
        wire.feed(client.final(wire.take()))
    hit = whose == "juliet" and (stage == "checking" or (stage == "challenged" and mechanism != "PLAIN"))
    if password != PASSWORD:
        assert wire.take() == failure("not-authorized")
    elif hit:
        assert wire.take() == failure("account-disabled")
        wire.feed(plain())
        assert wire.take() == SUCCESS
    else:
        assert b"<success" in wire.take()


@pytest.mark.req("3-23.2", "3-23.8", "3-23.10")
@pytest.mark.parametrize("condition", ["credentials-expired", "mechanism-too-weak", "temporary-auth-failure"])
@pytest.mark.parametrize("written", [plain(), ScramClient("SCRAM-SHA-256").first()])
def test_what_the_store_says_is_passed_on(condition: str, written: bytes) -> None:
    wire = Wire().at_login()
    wire.trouble = SaslFailure(condition)
    wire.feed(written)
    assert wire.take() == failure(condition)
    wire.trouble = None
    wire.feed(plain())
    assert wire.take() == SUCCESS


@pytest.mark.req("3-23.8", "3-23.9")
@pytest.mark.parametrize(
    ("mechanism", "said"),
    [("PLAIN", "mechanism-too-weak"), ("SCRAM-SHA-1", "mechanism-too-weak"), ("SCRAM-SHA-256", None)],
)
def test_a_mechanism_too_weak_for_an_account(mechanism: str, said: str | None) -> None:
    """Told only to who knows the password; any other account may use it."""
    for user, password, expected in (
        ("juliet", PASSWORD, said),
        ("juliet", "wrong", "not-authorized"),
        ("romeo", "secret", "account-disabled"),
    ):
        wire = Wire(STRONG).at_login()
        if mechanism == "PLAIN":
            wire.feed(plain(user, password))
        else:
            client = ScramClient(mechanism, user, password)
            wire.feed(client.first())
            wire.feed(client.final(wire.take()))
        if expected is None:
            assert wire.take().startswith(b"<success")
        else:
            assert wire.take() == failure(expected)
            assert not wire.of(Authenticated)
            wire.feed(plain("nobody"))
            assert wire.take() == failure("not-authorized")  # the stream stays open for retries


@pytest.mark.req("3-23.4", "3-7.3")
@pytest.mark.parametrize("text", ["!", "AAA", " AGp1", "AGp1bGlldAByMG0zMG15cjBtMzB="])
def test_bad_base64(text: str) -> None:
    wire = Wire().at_login().feed(auth("PLAIN", text))
    assert wire.take() == failure("incorrect-encoding")
    wire.feed(auth("PLAIN"))
    wire.take()
    wire.feed(response(text))
    assert wire.take() == failure("incorrect-encoding")


@pytest.mark.req("3-23.5", "3-7.4")
def test_authorization_identity() -> None:
    wire = Wire().at_login().feed(plain(authzid=f"romeo@{HOST}"))
    assert wire.take() == failure("invalid-authzid")
    wire.feed(plain(authzid=f"juliet@{HOST}"))
    assert wire.take() == SUCCESS


@pytest.mark.req("3-23.6", "3-3.2")
@pytest.mark.parametrize(
    "mechanism", [None, "", "ANONYMOUS", "CRAM-MD5", "plain", "EXTERNAL", "SCRAM-SHA-512"]
)
def test_mechanisms_that_are_not_offered(mechanism: str | None) -> None:
    wire = Wire().at_login().feed(auth(mechanism, "="))
    assert wire.take() == failure("invalid-mechanism")
    limited = Wire(C2SSettings(mechanisms=("SCRAM-SHA-256",))).at_login().feed(plain())
    assert limited.take() == failure("invalid-mechanism")


def test_plus_without_a_channel_to_bind_to() -> None:
    wire = Wire(tls=TLSFacts("TLSv1.2")).at_login().feed(auth("SCRAM-SHA-1-PLUS"))
    assert wire.take() == failure("invalid-mechanism")


@pytest.mark.req("3-23.7")
@pytest.mark.parametrize(
    "written",
    [response(), response("AAAA"), auth("PLAIN", "<x/>"), auth("PLAIN", "AAAA"), auth("SCRAM-SHA-1", "AAAA")],
)
def test_malformed_requests(written: bytes) -> None:
    wire = Wire().at_login().feed(written)
    assert wire.take() == failure("malformed-request")


def test_another_auth_replaces_the_handshake() -> None:
    wire = Wire().at_login().feed(ScramClient("SCRAM-SHA-1").first(), plain())
    assert wire.sent[-1] == SUCCESS
    assert wire.of(Authenticated)[0].mechanism == "PLAIN"


@pytest.mark.req("3-24.1", "3-24.2")
@pytest.mark.parametrize("retries", [2, 3])
def test_every_retry_is_evaluated(retries: int) -> None:
    wire = Wire(C2SSettings(retries=retries)).at_login()
    for _ in range(retries):
        wire.feed(WRONG)
        assert wire.take() == failure("not-authorized")
    wire.feed(plain())
    assert wire.take() == SUCCESS


@pytest.mark.req("3-25.1", "3-22.1")
@pytest.mark.parametrize("retries", [2, 3])
def test_too_many_failures_end_the_stream(retries: int) -> None:
    wire = Wire(C2SSettings(retries=retries)).at_login()
    wire.feed(*([WRONG] * (retries + 1)))
    ended(wire, "policy-violation", before=failure("not-authorized"))
    checked = len(wire.of(Verify))
    assert checked == retries + 1
    wire.feed(plain())  # a right password comes too late
    assert len(wire.of(Verify)) == checked
    assert not wire.of(Authenticated)


@pytest.mark.req("3-25.1")
@pytest.mark.parametrize(
    "attempt",
    [
        ABORT,
        auth("NONE"),
        auth("PLAIN", "!"),
        auth("PLAIN", "AAAA"),
        response(),
        ScramClient("SCRAM-SHA-1").first() + ABORT,
        ScramClient("SCRAM-SHA-1").first() + response("AAAA"),
    ],
)
def test_every_kind_of_failure_counts(attempt: bytes) -> None:
    wire = Wire().at_login().feed(attempt, attempt)
    assert wire.state is State.LOGIN
    wire.feed(attempt)
    ended(wire, "policy-violation", before=b"<failure")


def test_replaced_handshakes_count() -> None:
    begun = ScramClient("SCRAM-SHA-1").first()
    wire = Wire().at_login().feed(begun, begun, begun)
    assert wire.state is State.CHALLENGED
    wire.feed(plain())
    ended(wire, "policy-violation")
    assert not wire.of(Verify)


@pytest.mark.req("3-25.2")
def test_the_count_belongs_to_the_connection() -> None:
    Wire().at_login().feed(WRONG, WRONG, WRONG)
    assert Wire().at_login().feed(WRONG, WRONG, plain()).take().endswith(SUCCESS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retries", 1),
        ("retries", 6),
        ("bind_retries", 4),
        ("bind_retries", 11),
        ("mechanisms", ()),
        ("mechanisms", ("ANONYMOUS",)),
        ("mechanisms", ("PLAIN", "PLAIN")),
        ("languages", ()),
    ],
)
def test_settings_that_cannot_be(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name.removesuffix("s")):
        C2SSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.req("3-11.2", "1-12.2")
@pytest.mark.parametrize("written", [MESSAGE, bind(), b"</stream:stream>", b"<presence/>", plain()])
def test_after_success_only_a_header_may_come(written: bytes) -> None:
    wire = Wire().logged_in().feed(written)
    output = wire.take()
    assert output.startswith(b"<?xml version='1.0'?><stream:stream ")
    assert b"<stream:error>" in output
    assert output.endswith(STREAM_END)
    assert not wire.of(Deliver)
    assert not wire.of(Bind)


@pytest.mark.req("3-11.3")
def test_header_pipelined_behind_auth() -> None:
    wire = Wire(answering=False).at_login()
    wire.feed(plain() + header())
    assert wire.state is State.CHECKING
    assert wire.take() == b""
    wire.answer()
    wire.pump()
    assert wire.state is State.UNBOUND
    output = wire.take()
    assert output.startswith(SUCCESS)
    assert features(output.removeprefix(SUCCESS))[0].tag == f"{{{ns.BIND}}}bind"


@pytest.mark.parametrize("way", ["unbound", "opened"])
@pytest.mark.parametrize("written", [plain(), response(), ABORT])
def test_sasl_after_success(way: str, written: bytes) -> None:
    wire: Wire = getattr(Wire(), way)()
    ended(wire.feed(written), "not-authorized")
    assert len(wire.of(Verify)) == 1


# --- who the client is ---


@pytest.mark.req("1-20.2", "10-1.sasl")
def test_from_that_names_another_account() -> None:
    wire = Wire().secured().feed(header(from_=f"romeo@{HOST}"), plain())
    ended(wire, "invalid-from")
    assert not wire.of(Authenticated)
    later = Wire().logged_in().feed(header(from_=f"romeo@{HOST}"))
    ended(later, "invalid-from", before=b"<?xml")


@pytest.mark.req("1-20.1", "1-20.2", "1-20.3")
@pytest.mark.parametrize("from_", [None, f"juliet@{HOST}", f"JULIET@{HOST}/x", HOST])
def test_from_that_does_not(from_: str | None) -> None:
    wire = Wire().feed(header(from_=f"romeo@{HOST}"), STARTTLS)  # in the clear it means nothing (4.3.6)
    wire.shake_hands().feed(header(from_=from_), plain(), header(from_=from_), bind("balcony"))
    assert wire.of(Opened) == [Opened(JID("juliet", HOST, "balcony"))]


def test_after_login_the_domain_cannot_change() -> None:
    wire = Wire().logged_in().feed(header("example.org"))
    ended(wire, "not-authorized", before=b"<?xml")


def test_the_account_is_of_the_domain_in_the_header_over_tls() -> None:
    wire = Wire().feed(header(), STARTTLS).shake_hands().feed(header("example.org"), plain())
    assert wire.of(Verify)[0].domain == "example.org"
    assert wire.of(Authenticated)[0].account == JID("juliet", "example.org")


# --- bind ---


@pytest.mark.req("4-1.1", "4-7.1", "4-6.2")
@pytest.mark.parametrize("resource", ["balcony", "desktop client", "büro & <co> 'x'", "☎"])
def test_client_chooses_the_resource(resource: str) -> None:
    wire = Wire().unbound().feed(bind(escape(resource), id_="tn281v37"))
    jid = JID("juliet", HOST, resource)
    assert wire.of(Bind) == [Bind(JID("juliet", HOST), jid.resource)]
    (iq,) = children(IN_STREAM + wire.take())
    assert (iq.tag, iq.get("type"), iq.get("id")) == (f"{{{ns.CLIENT}}}iq", "result", "tn281v37")
    (result,) = iq
    (element,) = result
    assert (result.tag, element.tag) == (f"{{{ns.BIND}}}bind", f"{{{ns.BIND}}}jid")
    assert element.text == str(jid)
    assert wire.stream.jid == jid


@pytest.mark.req("4-4.1", "4-6.1", "4-7.1")
@pytest.mark.parametrize("resource", [None, "", "younger than Unicode 3.2: \U0001f600"])
def test_server_chooses_the_resource(resource: str | None) -> None:
    wire = Wire().unbound().feed(bind(resource, id_="tn281v37"))
    assert wire.of(Bind) == [Bind(JID("juliet", HOST), None)]
    assert (
        wire.take()
        == (
            f"<iq type='result' id='tn281v37'><bind xmlns='{ns.BIND}'>"
            f"<jid>juliet@{HOST}/made-up-1</jid></bind></iq>"
        ).encode()
    )


@pytest.mark.req("4-6.2")
@pytest.mark.parametrize(
    "written",
    [
        bind("bell\x7f"),
        bind("x" * 1100),
        bind().replace(b" id='bind-1'", b""),
        bind().replace(b"'set'", b"'get'"),
    ],
)
def test_bind_requests_that_cannot_be_met(written: bytes) -> None:
    wire = Wire().unbound().feed(written)
    output = wire.take()
    assert output.startswith(b"<iq type='error'")
    assert b"<bad-request " in output
    assert not wire.of(Bind)
    wire.feed(bind("balcony"))
    assert wire.stream.is_open


@pytest.mark.req("4-5.2")
@pytest.mark.parametrize("condition", ["conflict", "resource-constraint", "not-allowed"])
def test_a_refused_bind_may_be_tried_again(condition: str) -> None:
    wire = Wire().unbound()
    wire.trouble = StanzaError(condition)
    wire.feed(bind("balcony", id_="it&apos;s"))
    (iq,) = children(IN_STREAM + wire.take())
    assert (iq.get("type"), iq.get("id")) == ("error", "it's")
    assert iq[0][0].tag == f"{{{ns.STANZA_ERRORS}}}{condition}"
    wire.trouble = None
    wire.feed(bind("garden"))
    assert wire.stream.is_open


@pytest.mark.parametrize("retries", [5, 10])
def test_too_many_refused_binds_end_the_stream(retries: int) -> None:
    wire = Wire(C2SSettings(bind_retries=retries)).unbound()
    wire.trouble = StanzaError("conflict")
    wire.feed(*([bind("balcony")] * retries))
    assert wire.state is State.UNBOUND
    wire.feed(bind("balcony"))
    ended(wire, "policy-violation", before=b"<iq type='error'")


@pytest.mark.req("4-2.1", "1-15.2")
@pytest.mark.parametrize(
    "written",
    [
        MESSAGE,
        b"<presence/>",
        b"<iq type='get' id='1' to='romeo@example.org'><query xmlns='jabber:iq:version'/></iq>",
        bind().replace(b"<iq ", b"<iq to='romeo@example.org' "),
        b"<message><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></message>",
        bind().replace(b"'set'", b"'result'"),
        b"<iq type='set' id='1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    ],
)
def test_before_bind_nothing_else_is_accepted(written: bytes) -> None:
    wire = Wire().unbound().feed(written)
    ended(wire, "not-authorized")
    assert not wire.of(Deliver)


@pytest.mark.req("3-3.3")
@pytest.mark.parametrize("namespace", ["jabber:iq:auth", "jabber:iq:register"])
def test_legacy_login_and_registration(namespace: str) -> None:
    for wire in (Wire().at_login(), Wire().unbound()):
        wire.feed(f"<iq type='get' id='1'><query xmlns='{namespace}'/></iq>".encode())
        ended(wire, "not-authorized")
        assert namespace.encode() not in wire.output


@pytest.mark.parametrize("to", [HOST, f"juliet@{HOST}"])
def test_bind_may_name_the_server_or_the_account(to: str) -> None:
    wire = Wire().unbound().feed(bind("x").replace(b"<iq ", f"<iq to='{to}' ".encode()))
    assert wire.stream.is_open


@pytest.mark.req("10-1.bind")
def test_bind_is_not_followed_by_a_restart() -> None:
    wire = Wire().opened()
    assert len(wire.of(Restart)) == 2
    wire.feed(MESSAGE)
    assert wire.of(Deliver)


# --- an open stream ---


@pytest.mark.req("1-16.1", "12-1.6")
def test_stanzas_and_white_space() -> None:
    wire = Wire().opened().feed(b" \n", MESSAGE, b"\n", b"<presence/>", bind())
    assert [action.stanza.name for action in wire.of(Deliver)] == ["message", "presence", "iq"]
    assert wire.take() == b""


@pytest.mark.req(
    "1-32.1", "1-32.3", "1-34.1", "1-34.2", "12-1.1", "12-1.2", "12-1.3", "12-1.7", "12-1.8", "1-33.1"
)
@pytest.mark.parametrize(
    ("written", "condition"),
    [
        (b"<message xmlns='jabber:server'/>", "invalid-namespace"),
        (b"<pubsub xmlns='jabber:client'/>", "unsupported-stanza-type"),
        (b"<x xmlns='urn:example'/>", "unsupported-stanza-type"),
        (b"<stream:features/>", "unsupported-stanza-type"),
        (b"<message><body>No closing tag!</message>", "not-well-formed"),
        (b"<message><foo:body>What is this foo?</foo:body></message>", "not-well-formed"),
        (b"<message a='1' a='2'/>", "not-well-formed"),
        (b"<message><!-- comment --></message>", "restricted-xml"),
        (b"<!-- comment -->", "restricted-xml"),
        (b"<?pi?>", "restricted-xml"),
        (b"<!DOCTYPE x>", "restricted-xml"),
        (b"<message>&custom;</message>", "restricted-xml"),
        (b"<message>\xff</message>", "unsupported-encoding"),
        (b"<message>\x01</message>", "not-well-formed"),
        (b"<message>&#0;</message>", "not-well-formed"),
        (b"<?xml version='1.0'?>", "not-well-formed"),
    ],
)
def test_faults_of_a_client(written: bytes, condition: str) -> None:
    wire = Wire().opened().feed(written)
    last = ended(wire, condition)
    assert last == wire.take()
    assert not wire.of(Deliver)


@pytest.mark.req("1-36.2", "1-34.2", "12-1.3")
@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: im.example.com\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)),
        b"\x00\x01\x02\x03",
        b"hello",
        b"<message/>",
        b"<?xml version='1.0' encoding='UTF-16'?>",
        "<?xml version='1.0'?>".encode("utf-16"),
        b"<!DOCTYPE foo>",
    ],
)
def test_rubbish_as_first_data_is_answered_inside_a_stream(data: bytes) -> None:
    wire = Wire().feed(data)
    (send,) = wire.of(Send)
    (error,) = children(send.data)
    assert error.tag == f"{{{ns.STREAMS}}}error"
    assert error[0].tag.startswith(f"{{{ns.STREAM_ERRORS}}}")
    assert attribute(send.data, "from") == HOST
    assert attribute(send.data, "version") == "1.0"
    assert not wire.disconnected
    wire.feed(b"and more \xff", b"</stream:", b"stream>\n")  # of all this only the end is told (1-35.1)
    assert wire.disconnected
    assert wire.of(Send) == [send]


# --- the end ---

PUSHED = [
    "system-shutdown",
    "conflict",
    "connection-timeout",
    "resource-constraint",
    "policy-violation",
    "reset",
]


@pytest.mark.req("1-18.a", "1-18.b", "1-34.2", "1-33.1")
@pytest.mark.parametrize("condition", [*PUSHED, None])
def test_we_close_and_go_on_listening(condition: str | None) -> None:
    wire = Wire().opened()
    wire.perform(wire.stream.close(StreamError(condition) if condition else None))
    if condition:
        ended(wire, condition)
    assert wire.take().endswith(STREAM_END)
    assert wire.stream.is_closing
    assert wire.of(Close) == [Close(await_peer=True)]
    wire.feed(MESSAGE)
    assert [action.stanza.raw for action in wire.of(Deliver)] == [MESSAGE]
    wire.perform(wire.stream.close(StreamError("internal-server-error")))
    wire.feed(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    assert wire.take() == b""
    wire.feed(STREAM_END)
    assert wire.disconnected
    assert wire.take() == b""


def test_the_clients_closing_tag_does_not_come() -> None:
    wire = Wire().opened()
    wire.perform(wire.stream.close())
    wire.take()
    assert not wire.disconnected
    wire.perform(wire.stream.timeout("close"))
    assert wire.disconnected
    assert wire.take() == b""


@pytest.mark.req("1-18.d", "2-9.d")
@pytest.mark.parametrize("way", ["at_login", "unbound", "opened"])
def test_the_client_closes(way: str) -> None:
    wire: Wire = getattr(Wire(), way)()
    wire.feed(STREAM_END)
    assert wire.take() == STREAM_END
    assert wire.all[-2:] == [Close(await_peer=False), Disconnect()]


@pytest.mark.req("2-9.d", "1-36.1")
def test_closing_tag_instead_of_a_new_header() -> None:
    wire = Wire().secured().feed(STREAM_END)
    assert wire.take().endswith(STREAM_END)
    assert wire.disconnected


@pytest.mark.req("1-35.3")
def test_the_client_reports_a_stream_error() -> None:
    wire = Wire().opened()
    wire.feed(
        f"<stream:error><undefined-condition xmlns='{ns.STREAM_ERRORS}'/>"
        f"<text xmlns='{ns.STREAM_ERRORS}'>bye</text></stream:error>".encode()
    )
    assert wire.take() == STREAM_END
    assert wire.of(Note)[-1].fields == {"condition": "undefined-condition"}
    wire.feed(STREAM_END)
    assert wire.disconnected


@pytest.mark.req("1-33.1")
@pytest.mark.parametrize("way", ["at_login", "logged_in", "unbound"])
def test_negotiation_time_out(way: str) -> None:
    wire: Wire = getattr(Wire(), way)()
    wire.perform(wire.stream.timeout("negotiation"))
    ended(wire, "connection-timeout")
    assert "negotiation timeout" in [note.event for note in wire.of(Note)]


def test_time_out_of_a_client_that_never_spoke() -> None:
    wire = Wire()
    wire.perform(wire.stream.timeout("negotiation"))
    (error,) = children(wire.take())
    assert error[0].tag == f"{{{ns.STREAM_ERRORS}}}connection-timeout"


def test_an_open_stream_has_no_negotiation_time_out() -> None:
    wire = Wire().opened()
    wire.perform(wire.stream.timeout("negotiation"))
    assert wire.stream.is_open
    assert wire.take() == b""


def test_shutdown_before_a_header() -> None:
    wire = Wire()
    wire.perform(wire.stream.close(StreamError("system-shutdown")))
    ended(wire, "system-shutdown", before=b"<?xml")


def test_the_connection_breaks() -> None:
    wire = Wire().opened()
    wire.perform(wire.stream.eof("truncated"))
    assert wire.take() == b""
    assert wire.of(Note)[-1].event == "connection lost"
    assert wire.stream.stanza(element(MESSAGE)) == []


# --- whose fault it is ---


def blamed(wire: Wire) -> list[tuple[str, str | None]]:
    """What the log calls bad input: event and condition."""
    return [(note.event, note.fields.get("condition")) for note in wire.of(Note) if note.bad_input]


@pytest.mark.parametrize("condition", [*PUSHED, "not-authorized"])
def test_what_is_asked_for_is_nobodys_bad_input(condition: str) -> None:
    """An administrator disables an account, say: no stranger is to be looked for."""
    wire = Wire().opened()
    wire.perform(wire.stream.close(StreamError(condition)))
    ended(wire, condition)
    assert blamed(wire) == []


def test_bad_input_is_told_as_such_and_once() -> None:
    wire = Wire().opened().feed(b"<message>&custom;</message>")
    assert blamed(wire) == [("stream error sent", "restricted-xml")]
    wire = Wire().at_login()
    wire.perform(wire.stream.timeout("negotiation"))
    assert blamed(wire) == [("negotiation timeout", None)]
    wire = Wire().at_login().feed(plain(password="wrong"))
    assert blamed(wire) == [("login failed", "not-authorized")]


# --- size ---


def test_an_open_stream_is_small() -> None:
    """Settings, hosts and states are shared; the JID belongs to the resource."""
    stream = Wire().opened().stream
    shared = (type, C2SSettings, dict, State, JID, type(None))
    own = [each for each in gc.get_referents(stream) if not isinstance(each, shared)]
    assert not own
    assert sys.getsizeof(stream) < 300
