"""A fake wire: the real reader and the machine under test, joined as the client service joins them; a client.

What the machine asks for is carried out here; everything it sent is kept, in the pieces in which it was sent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any

from xmppd import ns
from xmppd._fast.reader import Stanza, StreamClose, StreamHeader, StreamReader
from xmppd.errors import SaslFailure, StanzaError, StreamError
from xmppd.stream import actions as act
from xmppd.stream.c2s import C2SSettings, C2SStream, HostFacts
from xmppd.stream.states import State

HOST = "im.example.com"
HOSTS = {
    HOST: HostFacts(HOST, b"<ver xmlns='urn:xmpp:features:rosterver'/>"),
    "example.org": HostFacts("example.org"),
}
BINDINGS = {"tls-exporter": b"e" * 32, "tls-server-end-point": b"s" * 32}
TLS = act.TLSFacts("TLSv1.3", BINDINGS)
PASSWORD = "r0m30myr0m30"
ITERATIONS = 5  # the tests do not test PBKDF2

STREAM_END = b"</stream:stream>"


@dataclass(frozen=True)
class Keys:
    """What the store would hold."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes
    if_right: act.Verdict = "ok"


def keys(
    password: str,
    mechanism: str,
    *,
    if_right: act.Verdict = "ok",
    salt: bytes = b"salt",
    iterations: int = ITERATIONS,
) -> Keys:
    algorithm = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}[mechanism]
    salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    return Keys(
        salt,
        iterations,
        hashlib.new(algorithm, client_key).digest(),
        hmac.digest(salted, b"Server Key", algorithm),
        if_right,
    )


@dataclass
class Account:
    password: str
    if_right: act.Verdict = "ok"


class Wire:
    """Server side of one connection. With `answering` questions are answered at once, else by `answer`."""

    def __init__(
        self,
        settings: C2SSettings | None = None,
        *,
        hosts: dict[str, HostFacts] | None = None,
        direct_tls: bool = False,
        answering: bool = True,
        tls: act.TLSFacts = TLS,
    ) -> None:
        self.stream = C2SStream(settings or C2SSettings(), hosts or HOSTS, direct_tls=direct_tls)
        self.reader = StreamReader()
        self.accounts = {
            "juliet": Account(PASSWORD),
            "romeo": Account("secret", "disabled"),
            "tybalt": Account("secret", "expired"),
        }
        self.facts = tls
        self.answering = answering
        self.trouble: SaslFailure | StanzaError | None = None
        self.question: act.Action | None = None
        self.handshaking = direct_tls
        self.sent: list[bytes] = []
        self.all: list[act.Action] = []
        self.disconnected = False
        self.behind = b""
        self.resources = 0
        self._seen = 0

    # the network

    def feed(self, *pieces: bytes) -> Wire:
        """Bytes from the client, in these pieces."""
        for piece in pieces:
            if self.reader.error is None:
                self.reader.present(piece)
                self.pump()
            self.behind = (self.behind + piece)[-64:]
            if self.reader.error and self.behind.rstrip().endswith(STREAM_END) and not self.disconnected:
                self.perform(self.stream.stream_close())
        return self

    def pump(self) -> None:
        while self.question is None and not self.disconnected and not self.handshaking:
            event = self.reader.next_event()
            if event is None:
                return
            if isinstance(event, StreamHeader):
                self.perform(self.stream.header(event))
            elif isinstance(event, Stanza):
                self.perform(self.stream.stanza(event, unread_bytes=self.reader.pending_bytes))
            elif isinstance(event, StreamClose):
                self.perform(self.stream.stream_close())
            elif isinstance(event, StreamError):
                self.perform(self.stream.stream_error(event))
                return
            else:
                raise AssertionError(event)

    def shake_hands(self, facts: act.TLSFacts | None = None) -> Wire:
        assert self.handshaking
        self.handshaking = False
        self.perform(self.stream.tls_open(facts or self.facts))
        return self

    # what the machine asks for

    def perform(self, actions: list[act.Action]) -> list[act.Action]:
        self.all += actions
        for action in actions:
            assert not self.disconnected, "nothing comes after Disconnect"
            if isinstance(action, act.Send):
                assert not self.handshaking, "no XML in a handshake"
                assert not any(isinstance(a, act.Close) for a in self.all[: self.index(action)])
                self.sent.append(action.data)
            elif isinstance(action, act.StartTLS):
                self.handshaking = True
                self.reader.restart()
            elif isinstance(action, act.Restart):
                self.reader.restart()
            elif isinstance(action, act.LookUp | act.Verify | act.Bind):
                self.question = action
                if self.answering:
                    self.answer()
            elif isinstance(action, act.Disconnect):
                self.disconnected = True
            elif isinstance(action, act.Note):
                assert action.event in act.NOTES
                assert PASSWORD not in repr(action)
        return actions

    def index(self, action: act.Action) -> int:
        return next(i for i, other in enumerate(self.all) if other is action)

    def answer(self) -> None:
        """Answer the outstanding question from the accounts."""
        question, self.question = self.question, None
        if isinstance(question, act.LookUp):
            if self.trouble:
                self.perform(self.stream.credentials(self.trouble))
                return
            account = self.accounts.get(question.username) or Account("never fits: " + "?" * 20)
            known = keys(account.password, question.mechanism, if_right=account.if_right)
            self.perform(self.stream.credentials(known))
        elif isinstance(question, act.Verify):
            if self.trouble:
                self.perform(self.stream.verified(self.trouble))
                return
            account = self.accounts.get(question.username)
            right = account is not None and account.password == question.password
            verdict = account.if_right if account is not None and right else "wrong"
            self.perform(self.stream.verified(verdict))
        elif isinstance(question, act.Bind):
            if self.trouble:
                self.perform(self.stream.bind_failed(self.trouble))
                return
            self.resources += 1
            jid = question.account.with_resource(question.resource or f"made-up-{self.resources}")
            self.perform(self.stream.bound(jid))
        else:
            raise AssertionError(question)

    # what a test asks

    def take(self) -> bytes:
        """What was sent since the last time."""
        new, self._seen = self.sent[self._seen :], len(self.sent)
        return b"".join(new)

    @property
    def output(self) -> bytes:
        return b"".join(self.sent)

    def of(self, kind: type[Any]) -> list[Any]:
        return [action for action in self.all if isinstance(action, kind)]

    @property
    def state(self) -> State:
        return self.stream.state

    # ways into a state

    def secured(self) -> Wire:
        self.feed(header(), STARTTLS)
        self.take()
        return self.shake_hands()

    def at_login(self) -> Wire:
        self.secured().feed(header())
        self.take()
        return self

    def logged_in(self) -> Wire:
        self.at_login().feed(plain())
        self.take()
        return self

    def unbound(self) -> Wire:
        self.logged_in().feed(header())
        self.take()
        return self

    def opened(self) -> Wire:
        self.unbound().feed(bind("balcony"))
        self.take()
        return self


# --- what a client writes ----------------------------------------------------------------------------------


def header(
    to: str | None = HOST,
    *,
    from_: str | None = None,
    version: str | None = "1.0",
    lang: str | None = None,
    id_: str | None = None,
    xmlns: str | None = ns.CLIENT,
    streams: str = ns.STREAMS,
    name: str = "stream",
) -> bytes:
    given = {
        "to": to,
        "from": from_,
        "version": version,
        "xml:lang": lang,
        "id": id_,
        "xmlns": xmlns,
        "xmlns:stream": streams,
    }
    attributes = "".join(f" {key}='{value}'" for key, value in given.items() if value is not None)
    return f"<?xml version='1.0'?><stream:{name}{attributes}>".encode()


STARTTLS = f"<starttls xmlns='{ns.TLS}'/>".encode()


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def auth(mechanism: str | None, text: str = "") -> bytes:
    named = f" mechanism='{mechanism}'" if mechanism is not None else ""
    return f"<auth xmlns='{ns.SASL}'{named}>{text}</auth>".encode()


def response(text: str = "") -> bytes:
    return f"<response xmlns='{ns.SASL}'>{text}</response>".encode()


ABORT = f"<abort xmlns='{ns.SASL}'/>".encode()


def plain(user: str = "juliet", password: str = PASSWORD, authzid: str = "") -> bytes:
    return auth("PLAIN", b64(f"{authzid}\0{user}\0{password}"))


def bind(resource: str | None = None, id_: str = "bind-1") -> bytes:
    inner = "" if resource is None else f"<resource>{resource}</resource>"
    return f"<iq type='set' id='{id_}'><bind xmlns='{ns.BIND}'>{inner}</bind></iq>".encode()


MESSAGE = b"<message to='romeo@im.example.com'><body>hi</body></message>"


class ScramClient:
    """The client's half of SCRAM, written from RFC 5802 alone."""

    def __init__(
        self,
        mechanism: str,
        user: str = "juliet",
        password: str = PASSWORD,
        *,
        gs2: str = "n,,",
        binding: bytes = b"",
        nonce: str = "fyko+d2lbbFgONRv9qkxdawL",
    ) -> None:
        self.mechanism = mechanism
        self.hash = "sha256" if "256" in mechanism else "sha1"
        self.password = password
        self.gs2 = gs2
        self.binding = binding
        self.nonce = nonce
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self.server_signature = ""
        self.wrong_nonce = ""  # signed and sent instead of the right one

    def first(self) -> bytes:
        return auth(self.mechanism, b64(self.gs2 + self.bare))

    def final(self, challenge: bytes) -> bytes:
        return response(b64(self.final_message(payload(challenge))))

    def final_message(self, server_first: bytes) -> str:
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        assert fields["r"].startswith(self.nonce)
        assert len(fields["r"]) > len(self.nonce)
        salted = hashlib.pbkdf2_hmac(
            self.hash, self.password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        client_key = hmac.digest(salted, b"Client Key", self.hash)
        stored_key = hashlib.new(self.hash, client_key).digest()
        unproven = f"c={b64(self.gs2.encode() + self.binding)},r={self.wrong_nonce or fields['r']}"
        message = f"{self.bare},{server_first.decode()},{unproven}".encode()
        signature = hmac.digest(stored_key, message, self.hash)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        server_key = hmac.digest(salted, b"Server Key", self.hash)
        self.server_signature = f"v={b64(hmac.digest(server_key, message, self.hash))}"
        return f"{unproven},p={b64(proof)}"


# --- what a client reads -----------------------------------------------------------------------------------


def payload(element: bytes) -> bytes:
    """The decoded text of the last challenge or success in `element`."""
    found = re.findall(rb"<(?:challenge|success)[^>]*>([A-Za-z0-9+/]+=*)</", element)
    return base64.b64decode(found[-1]) if found else b""


def failure(condition: str) -> bytes:
    return f"<failure xmlns='{ns.SASL}'><{condition}/></failure>".encode()


def stream_error(condition: str) -> bytes:
    return f"<stream:error><{condition} xmlns='{ns.STREAM_ERRORS}'/>".encode()


def attribute(response_header: bytes, name: str) -> str | None:
    """An attribute of the last stream header in `response_header`."""
    tag = response_header[response_header.rindex(b"<stream:stream ") :].split(b">", 1)[0].decode()
    match = re.search(rf" {re.escape(name)}='([^']*)'", tag)
    return match[1] if match else None


def parse_header(data: bytes) -> StreamHeader:
    """The reader's header of `data`."""
    reader = StreamReader()
    reader.present(data)
    found = reader.next_event()
    assert isinstance(found, StreamHeader)
    return found


def element(data: bytes) -> Stanza:
    """The reader's first-level element of `data`."""
    reader = StreamReader()
    reader.present(header() + data)
    reader.next_event()
    found = reader.next_event()
    assert isinstance(found, Stanza), found
    return found
