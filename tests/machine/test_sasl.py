"""The mechanisms alone: published vectors, other people's clients, and everything a client can get wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as st
from slixmpp.util.sasl import choose

from tests.machine.wire import BINDINGS, HOST, PASSWORD, Keys, ScramClient, b64, keys
from xmppd.errors import SaslFailure
from xmppd.jid import JID
from xmppd.stream import sasl
from xmppd.stream.actions import LookUp, Verdict, Verify
from xmppd.stream.sasl import MECHANISMS, Challenge, Exchange, Proven, Surroundings

SCRAM = [name for name in MECHANISMS if name.startswith("SCRAM")]
PLUS = [name for name in SCRAM if MECHANISMS[name].plus]
BARE = [name for name in SCRAM if not MECHANISMS[name].plus]


def around(*, plus: bool = True) -> Surroundings:
    return Surroundings(HOST, BINDINGS, plus)


def begin(name: str, *, plus: bool = True) -> Exchange:
    return MECHANISMS[name].begin(around(plus=plus))


def condition(what: object, *args: object) -> str:
    with pytest.raises(SaslFailure) as caught:
        what(*args)  # type: ignore[operator]
    return caught.value.condition


def first(exchange: Exchange, message: str | bytes, known: Keys | None = None) -> bytes:
    """Through the question to the server-first-message."""
    asked = exchange.respond(message if isinstance(message, bytes) else message.encode())
    assert isinstance(asked, LookUp)
    step = exchange.answer(known or keys(PASSWORD, asked.mechanism))
    assert isinstance(step, Challenge)
    return step.data


# --- vectors -----------------------------------------------------------------------------------------------

# RFC 5802 5 and RFC 7677 3: mechanism, client nonce, server nonce, salt, proof, server signature
VECTORS = [
    (
        "SCRAM-SHA-1",
        "fyko+d2lbbFgONRv9qkxdawL",
        "3rfcNHYJY1ZVvWVs7j",
        "QSXCR+Q6sek8bf92",
        "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    (
        "SCRAM-SHA-256",
        "rOprNGfwEbeRWgbNEkqO",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
]


def vector_keys(mechanism: str, salt: str) -> Keys:
    algorithm = MECHANISMS[mechanism].hash
    raw = base64.b64decode(salt)
    salted = hashlib.pbkdf2_hmac(algorithm, b"pencil", raw, 4096)
    stored = hashlib.new(algorithm, hmac.digest(salted, b"Client Key", algorithm)).digest()
    return Keys(raw, 4096, stored, hmac.digest(salted, b"Server Key", algorithm))


@pytest.mark.req("10-1.security-mti-auth-scram")
@pytest.mark.parametrize(("mechanism", "mine", "theirs", "salt", "proof", "signature"), VECTORS)
def test_published_vectors(
    monkeypatch: pytest.MonkeyPatch,
    mechanism: str,
    mine: str,
    theirs: str,
    salt: str,
    proof: str,
    signature: str,
) -> None:
    monkeypatch.setattr(sasl, "new_nonce", lambda: theirs)
    exchange = begin(mechanism, plus=False)
    server_first = first(exchange, f"n,,n=user,r={mine}", vector_keys(mechanism, salt))
    assert server_first.decode() == f"r={mine}{theirs},s={salt},i=4096"
    done = exchange.respond(f"c=biws,r={mine}{theirs},p={proof}".encode())
    assert done == Proven(JID("user", HOST), f"v={signature}".encode())


# --- other people's clients --------------------------------------------------------------------------------


def full(name: str) -> Keys:
    """Keys as strong as scramp wants them."""
    return keys(PASSWORD, MECHANISMS[name].keys, salt=b"sixteen bytes of", iterations=4096)


@pytest.mark.parametrize("name", BARE)
def test_scramp_logs_in(name: str) -> None:
    client = scramp.ScramClient([name], "juliet", PASSWORD)
    exchange = begin(name, plus=False)
    client.set_server_first(first(exchange, client.get_client_first(), full(name)).decode())
    done = exchange.respond(client.get_client_final().encode())
    assert isinstance(done, Proven)
    assert done.data is not None
    client.set_server_final(done.data.decode())  # raises if the server does not know the password


@pytest.mark.parametrize("kind", ["tls-server-end-point", "tls-unique"])
@pytest.mark.parametrize("name", PLUS)
def test_scramp_logs_in_with_channel_binding(name: str, kind: str) -> None:
    client = scramp.ScramClient([name], "juliet", PASSWORD, channel_binding=(kind, b"channel"))
    exchange = MECHANISMS[name].begin(Surroundings(HOST, {kind: b"channel"}, plus_offered=True))
    client.set_server_first(first(exchange, client.get_client_first(), full(name)).decode())
    done = exchange.respond(client.get_client_final().encode())
    assert isinstance(done, Proven)
    client.set_server_final((done.data or b"").decode())


@pytest.mark.parametrize("name", SCRAM)
def test_slixmpp_logs_in(name: str) -> None:
    credentials = {"username": "juliet", "password": PASSWORD, "channel_binding": BINDINGS["tls-exporter"]}
    security = {"encrypted": True, "binding_proposed": True, "tls_version": "TLSv1.3"}
    client = choose([name], lambda *_: dict(credentials), lambda _: security)
    exchange = begin(name)
    final = client.process(first(exchange, bytes(client.process()), keys(PASSWORD, MECHANISMS[name].keys)))
    done = exchange.respond(bytes(final))
    assert isinstance(done, Proven)
    client.process(done.data)  # raises unless the server's signature is right


def test_slixmpp_plain() -> None:
    credentials = {"username": "juliet", "password": PASSWORD}
    client = choose(
        ["PLAIN"], lambda *_: dict(credentials), lambda _: {"encrypted": True, "encrypted_plain": True}
    )
    assert begin("PLAIN").respond(bytes(client.process())) == Verify("juliet", HOST, PASSWORD)


# --- SCRAM -------------------------------------------------------------------------------------------------


@given(
    name=st.sampled_from(SCRAM),
    user=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20),
    password=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30),
    kind=st.sampled_from(sorted(BINDINGS)),
    authzid=st.booleans(),
)
def test_right_proof_is_accepted_and_answered(
    name: str, user: str, password: str, kind: str, authzid: bool
) -> None:
    plus = MECHANISMS[name].plus
    gs2 = f"{f'p={kind}' if plus else 'n'},{f'a={user}@{HOST}' if authzid else ''},"
    client = ScramClient(name, user, password, gs2=gs2, binding=BINDINGS[kind] if plus else b"")
    exchange = begin(name)
    challenge = first(exchange, client.gs2 + client.bare, keys(password, MECHANISMS[name].keys))
    done = exchange.respond(client.final_message(challenge).encode())
    assert isinstance(done, Proven)
    assert done.account == JID(user, HOST)
    assert done.data == client.server_signature.encode()


@pytest.mark.req("3-23.9")
@pytest.mark.parametrize("name", SCRAM)
def test_wrong_password(name: str) -> None:
    plus = MECHANISMS[name].plus
    client = ScramClient(
        name,
        password="wrong",
        gs2="p=tls-exporter,," if plus else "n,,",
        binding=BINDINGS["tls-exporter"] if plus else b"",
    )
    exchange = begin(name)
    challenge = first(exchange, client.gs2 + client.bare)
    assert condition(exchange.respond, client.final_message(challenge).encode()) == "not-authorized"


@pytest.mark.parametrize("name", PLUS)
def test_another_channel_is_refused(name: str) -> None:
    client = ScramClient(name, gs2="p=tls-exporter,,", binding=b"m" * 32)
    exchange = begin(name)
    challenge = first(exchange, client.gs2 + client.bare)
    assert condition(exchange.respond, client.final_message(challenge).encode()) == "not-authorized"


@pytest.mark.parametrize("name", BARE)
def test_changed_gs2_header_is_refused(name: str) -> None:
    client = ScramClient(name, gs2="n,,")
    exchange = begin(name)
    challenge = first(exchange, client.gs2 + client.bare)
    client.gs2 = "y,,"
    assert condition(exchange.respond, client.final_message(challenge).encode()) == "not-authorized"


@pytest.mark.parametrize("name", BARE)
def test_flag_y_tells_a_downgrade_only_where_plus_was_offered(name: str) -> None:
    client = ScramClient(name, gs2="y,,")
    assert condition(begin(name).respond, (client.gs2 + client.bare).encode()) == "not-authorized"
    exchange = begin(name, plus=False)
    challenge = first(exchange, client.gs2 + client.bare)
    assert isinstance(exchange.respond(client.final_message(challenge).encode()), Proven)


@pytest.mark.req("3-23.2")
@pytest.mark.parametrize(
    ("if_right", "said"), [("disabled", "account-disabled"), ("expired", "credentials-expired")]
)
def test_what_is_wrong_with_the_account_is_said_only_behind_a_right_proof(
    if_right: Verdict, said: str
) -> None:
    for password, said_to_it in ((PASSWORD, said), ("wrong", "not-authorized")):
        client = ScramClient("SCRAM-SHA-256", password=password)
        exchange = begin("SCRAM-SHA-256")
        known = keys(PASSWORD, "SCRAM-SHA-256", if_right=if_right)
        challenge = first(exchange, client.gs2 + client.bare, known)
        assert condition(exchange.respond, client.final_message(challenge).encode()) == said_to_it


@pytest.mark.req("3-23.7")
@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,",
        b"n,,n=juliet",
        b"n,,n=juliet,r=",
        b"n,,n=,r=abc",
        b"n,,r=abc,n=juliet",
        b"n,,m=ext,n=juliet,r=abc",
        b"n,,n=juliet,r=abc,m=ext",
        b"n,,n=juliet,r=a,b",
        b"n,,n=juliet,r=a\x07b",
        b"n,,n=jul=iet,r=abc",
        b"n,,n=jul=2xiet,r=abc",
        b"n,,n=jul\x00iet,r=abc",
        b"n,,n=jul\xffiet,r=abc",
        b"n,a=,n=juliet,r=abc",
        b"n,juliet,n=juliet,r=abc",
        b"x,,n=juliet,r=abc",
        b"p=,,n=juliet,r=abc",
        b"n,n=juliet,r=abc",
        b"n,,n=juliet,r=abc\n",
        b"F,n,,n=juliet,r=abc",
        b"p=tls-exporter,,n=juliet,r=abc",  # a binding without -PLUS
    ],
)
def test_malformed_first_message(message: bytes) -> None:
    assert condition(begin("SCRAM-SHA-1").respond, message) == "malformed-request"


@pytest.mark.parametrize(
    "message", [b"n,,n=juliet,r=abc", b"y,,n=juliet,r=abc", b"p=tls-other,,n=juliet,r=abc"]
)
def test_plus_wants_a_binding_it_knows(message: bytes) -> None:
    assert condition(begin("SCRAM-SHA-1-PLUS").respond, message) == "malformed-request"


@pytest.mark.req("3-23.7")
@pytest.mark.parametrize(
    "change",
    [
        lambda m: "",
        lambda m: m.replace("c=biws", "c=!"),
        lambda m: m.replace("c=biws", "c=biwsA"),
        lambda m: m.partition(",p=")[0],
        lambda m: m.partition(",p=")[0] + ",p=AAAA",
        lambda m: m.partition(",p=")[0] + ",p=AAA",
        lambda m: m.partition(",p=")[0] + ",m=ext,p=" + m.partition(",p=")[2],
        lambda m: "m=ext," + m,
        lambda m: m + ",x=y",
        lambda m: m.partition(",")[2],
    ],
)
def test_malformed_final_message(change: object) -> None:
    client = ScramClient("SCRAM-SHA-1")
    exchange = begin("SCRAM-SHA-1")
    message = client.final_message(first(exchange, client.gs2 + client.bare))
    assert condition(exchange.respond, change(message).encode()) == "malformed-request"  # type: ignore[operator]


def test_final_message_with_another_nonce() -> None:
    client = ScramClient("SCRAM-SHA-1")
    exchange = begin("SCRAM-SHA-1")
    challenge = first(exchange, client.gs2 + client.bare)
    client.wrong_nonce = client.nonce
    assert condition(exchange.respond, client.final_message(challenge).encode()) == "not-authorized"


def test_unknown_extensions_are_ignored_but_signed() -> None:
    client = ScramClient("SCRAM-SHA-1")
    client.bare += ",x=future"
    exchange = begin("SCRAM-SHA-1")
    challenge = first(exchange, client.gs2 + client.bare)
    assert isinstance(exchange.respond(client.final_message(challenge).encode()), Proven)


def test_nonces_are_long_and_never_come_twice() -> None:
    nonces = {sasl.new_nonce() for _ in range(1000)}
    assert len(nonces) == 1000
    assert all(len(nonce) >= 22 and "," not in nonce for nonce in nonces)


@given(st.binary(max_size=80))
def test_rubbish_fails_with_a_condition(data: bytes) -> None:
    for name in MECHANISMS:
        exchange = begin(name)
        try:
            step = exchange.respond(data)
        except SaslFailure:
            continue
        assert isinstance(step, LookUp | Verify)


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [("juliet", "juliet"), ("JULIET", "juliet"), ("a=2Cb=3Dc", "a,b=c"), ("a=2cb", "a,b")],
)
def test_user_names_are_decoded_and_prepared(written: str, meant: str) -> None:
    asked = begin("SCRAM-SHA-1").respond(f"n,,n={written},r=abc".encode())
    assert asked == LookUp(meant, HOST, "SCRAM-SHA-1")


@pytest.mark.req("3-23.9")
@pytest.mark.parametrize("name", ["no@localpart", "a b", "x" * 2000])
def test_a_name_that_cannot_exist_takes_the_same_path(name: str) -> None:
    client = ScramClient("SCRAM-SHA-256", name)
    exchange = begin("SCRAM-SHA-256")
    challenge = first(exchange, client.gs2 + client.bare)
    client.password = "wrong"
    assert condition(exchange.respond, client.final_message(challenge).encode()) == "not-authorized"
    assert begin("PLAIN").respond(f"\0{name}\0secret".encode()) == Verify(name, HOST, "secret")


@pytest.mark.parametrize("verdict", ["ok"])
def test_a_name_that_cannot_exist_never_gets_in(verdict: str) -> None:
    exchange = begin("PLAIN")
    exchange.respond(b"\0a b\0secret")
    assert condition(exchange.answer, verdict) == "not-authorized"


@pytest.mark.req("3-7.4", "3-23.5")
@pytest.mark.parametrize(
    ("authzid", "allowed"),
    [
        ("", True),
        (f"juliet@{HOST}", True),
        (f"JULIET@{HOST}", True),
        (f"romeo@{HOST}", False),
        ("juliet@example.org", False),
        (f"juliet@{HOST}/balcony", False),
        ("juliet", False),
        ("@", False),
        (HOST, False),
    ],
)
def test_authorization_identity(authzid: str, allowed: bool) -> None:
    plain = f"{authzid}\0juliet\0{PASSWORD}".encode()
    scram = f"n,{f'a={authzid}' if authzid else ''},n=juliet,r=abc".encode()
    for name, message in (("PLAIN", plain), ("SCRAM-SHA-1", scram)):
        if allowed:
            assert isinstance(begin(name).respond(message), LookUp | Verify)
        else:
            assert condition(begin(name).respond, message) == "invalid-authzid"


# --- PLAIN -------------------------------------------------------------------------------------------------


@pytest.mark.req("3-7.3", "3-23.7")
@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"juliet",
        b"\0juliet",
        b"\0juliet\0",
        b"\0\0secret",
        b"\0juliet\0se\0cret",
        b"\0jul\xffiet\0secret",
    ],
)
def test_malformed_plain(message: bytes) -> None:
    assert condition(begin("PLAIN").respond, message) == "malformed-request"


@pytest.mark.req("3-23.2", "3-23.9", "3-23.10")
@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("wrong", "not-authorized"),
        ("disabled", "account-disabled"),
        ("expired", "credentials-expired"),
        ("deferred", "temporary-auth-failure"),
    ],
)
def test_verdicts(verdict: str, said: str) -> None:
    exchange = begin("PLAIN")
    exchange.respond(f"\0juliet\0{PASSWORD}".encode())
    assert condition(exchange.answer, verdict) == said


def test_a_password_is_not_shown() -> None:
    asked = begin("PLAIN").respond(f"\0juliet\0{PASSWORD}".encode())
    assert PASSWORD not in repr(asked)


# --- base64 ------------------------------------------------------------------------------------------------


@given(st.binary(max_size=50))
def test_base64_round_trip(data: bytes) -> None:
    assert sasl.decode(sasl.encode(data).decode()) == data


@pytest.mark.req("3-23.4")
@pytest.mark.parametrize(
    "text", ["A", "AA", "AAA", "AA=A", "AB==", "AAB=", "AA A", "AAAA\n", "AAAA=", "A-_A", "==", "é===", " ="]
)
def test_base64_is_strict(text: str) -> None:
    assert condition(sasl.decode, text) == "incorrect-encoding"


# --- registry ----------------------------------------------------------------------------------------------


def test_what_is_offered() -> None:
    every = tuple(MECHANISMS)
    assert sasl.offered(every, True, True) == every
    assert sasl.offered(every, True, False) == ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")
    assert sasl.offered(every, False, False) == ("SCRAM-SHA-256", "SCRAM-SHA-1")
    assert sasl.offered(("PLAIN",), True, True) == ("PLAIN",)
    assert "ANONYMOUS" not in MECHANISMS


def test_b64_helper_agrees() -> None:
    assert sasl.encode(b"abc").decode() == b64(b"abc")
