"""The server's end of a client's stream, from the first byte to the closing tag (RFC 6120 sections 4 to 7).

Inputs are methods, each returns the actions to carry out (`xmppd.stream.actions`); what happens when is the
table of `xmppd.stream.states`. No input raises because of what a client sent. Policies where the RFC leaves
a choice:

* STARTTLS with bytes behind it gets no `<proceed/>` but `policy-violation` (the class of CVE-2011-0411);
  malformed, repeated or impossible STARTTLS gets `<failure/>` and the end of the stream (2-6, 2-7).
* The last allowed SASL failure and the `policy-violation` behind it go out together. Handshakes that were
  aborted, replaced by another `<auth/>` or malformed count as attempts (3-24, 3-25).
* A `from` in a header that was sent over TLS and names another account than the one that authenticates ends
  the stream with `invalid-from` (6.4.6; 1-20); a wrong `from` in a stanza is overridden by the router
  (5-4).
* Between login and bind only the bind request is accepted (4-2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from xmppd import ns
from xmppd._fast.element import escape_attr
from xmppd.errors import SaslFailure, StanzaError, StreamError
from xmppd.jid import JID, JIDError, prep_resource
from xmppd.stream import features, sasl
from xmppd.stream.actions import (
    Action,
    Authenticated,
    Bind,
    Close,
    Credentials,
    Deliver,
    Disconnect,
    LookUp,
    Note,
    Opened,
    Restart,
    Send,
    StartTLS,
    Timer,
    TLSFacts,
    Verdict,
    Verify,
)
from xmppd.stream.header import (
    HostFacts,
    Opening,
    default_host,
    lookup_language,
    read_header,
    response_header,
)
from xmppd.stream.states import Event, State, transition

if TYPE_CHECKING:
    from xmppd._fast.element import Element
    from xmppd._fast.reader import Stanza, StreamHeader

__all__ = ["C2SSettings", "C2SStream", "HostFacts"]

_PROCEED: Final = f"<proceed xmlns='{ns.TLS}'/>".encode()
_TLS_FAILURE: Final = f"<failure xmlns='{ns.TLS}'/>".encode()

_NAME_SHOWN: Final = 256  # characters of a user name that failed, in a Note

# name and namespace of a first-level element -> the event it is
_EVENTS: Final = {
    (ns.TLS, "starttls"): Event.STARTTLS,
    (ns.SASL, "auth"): Event.AUTH,
    (ns.SASL, "response"): Event.RESPONSE,
    (ns.SASL, "abort"): Event.ABORT,
    (ns.CLIENT, "message"): Event.STANZA,
    (ns.CLIENT, "presence"): Event.STANZA,
    (ns.CLIENT, "iq"): Event.STANZA,
    (ns.STREAMS, "error"): Event.PEER_ERROR,
}

_TIMEOUTS: Final[dict[Timer, Event]] = {
    "negotiation": Event.TIMEOUT_NEGOTIATION,
    "close": Event.TIMEOUT_CLOSE,
}


@dataclass(frozen=True, slots=True)
class C2SSettings:
    """What an administrator decides about client streams; shared by all of them.

    `mechanisms` in the order in which they are offered; `strong_accounts`: bare JIDs that may log in with
    `strong_mechanisms` only; `retries`: attempts to authenticate after the first
    (RFC 6120 6.4.5: 2 to 5, UC 3-24: 2 or 3); `sasl_required`: put `<required/>` into `<mechanisms/>`
    (3-6); `bind_retries`: failed bind requests after the first (7.7.3: 5 to 10); `session`: name the
    session of RFC 3921 among the features (a request for it is the router's); `languages`: those of our
    texts, the default first. ValueError for what cannot work.
    """

    tls_required: bool = True
    mechanisms: tuple[str, ...] = field(default=tuple(sasl.MECHANISMS))
    strong_accounts: frozenset[str] = frozenset()
    strong_mechanisms: frozenset[str] = frozenset()
    retries: int = 2
    sasl_required: bool = False
    bind_retries: int = 5
    session: bool = True
    languages: tuple[str, ...] = ("en",)

    def __post_init__(self) -> None:
        for name in self.mechanisms:
            if name not in sasl.MECHANISMS:
                raise ValueError(f"{name} is no mechanism: {', '.join(sasl.MECHANISMS)}")
        if not self.mechanisms or len(set(self.mechanisms)) < len(self.mechanisms):
            raise ValueError("mechanisms: at least one, and each once")
        if not 2 <= self.retries <= 5:
            raise ValueError("retries: 2 to 5")
        if not 5 <= self.bind_retries <= 10:
            raise ValueError("bind_retries: 5 to 10")
        if not self.languages:
            raise ValueError("languages: at least one")


class _Negotiation:
    """What a stream has to know only until it is open."""

    __slots__ = (
        "account",
        "bind_failures",
        "bind_id",
        "exchange",
        "failures",
        "greeted",
        "mechanism",
        "offered",
        "opening",
        "question",
        "revoked",
        "tls",
    )

    def __init__(self) -> None:
        self.greeted = False  # our response header is out on the current stream
        self.opening: Opening | None = None  # the client's header on the current stream
        self.tls: TLSFacts | None = None
        self.offered: tuple[str, ...] = ()
        self.mechanism = ""
        self.exchange: sasl.Exchange | None = None
        self.question: LookUp | Verify | None = None
        self.revoked: SaslFailure | None = None  # what the exchange comes to if the password is right
        self.failures = 0
        self.account: JID | None = None
        self.bind_id: str | None = None
        self.bind_failures = 0

    @property
    def bindings(self) -> Mapping[str, bytes]:
        return self.tls.channel_bindings if self.tls else {}


class C2SStream:
    """One client's stream.

    `state`; `lang`: the default language of the client's stanzas, None if it gave none (4.7.4); `jid`: the
    full JID once a resource is bound. `hosts` is keyed by prepared domain, the first is the default; it may
    change while the stream lives. With `direct_tls` the connection begins with the TLS handshake
    (XEP-0368).
    """

    __slots__ = ("_hosts", "_negotiation", "_settings", "jid", "lang", "state")

    def __init__(
        self, settings: C2SSettings, hosts: Mapping[str, HostFacts], *, direct_tls: bool = False
    ) -> None:
        self._settings = settings
        self._hosts = hosts
        self._negotiation: _Negotiation | None = _Negotiation()
        self.state = State.HANDSHAKE if direct_tls else State.CONNECTED
        self.lang: str | None = None
        self.jid: JID | None = None

    @property
    def is_open(self) -> bool:
        """Whether stanzas may be exchanged."""
        return self.state is State.OPEN

    @property
    def is_closing(self) -> bool:
        """Whether our closing tag is out and the client's is awaited."""
        return self.state is State.CLOSING

    @property
    def host(self) -> str | None:
        """The served domain that the client's last header named (5.4.3.1 rule 4), or that it is bound at."""
        if self.jid is not None:
            return self.jid.domain
        return self._negotiation.opening.host if self._negotiation and self._negotiation.opening else None

    def speaks_for(self, account: JID) -> bool:
        """Whether the stream is logged in as an account."""
        if self.jid is not None:
            return self.jid.bare == account
        return self._negotiation is not None and self._negotiation.account == account

    def revoke(self, account: JID, failure: SaslFailure) -> None:
        """What was known of an account is no longer true: a handshake as it that is going on cannot succeed.

        Nothing is said before the password is proven, and then `failure`: that there was such an account is
        no news to who knows its password (3-23.9).
        """
        talk = self._negotiation
        if talk is None or talk.exchange is None or talk.opening is None:
            return
        if (talk.exchange.username, talk.opening.host) == (account.local, account.domain):
            talk.revoked = failure

    def disown(self) -> None:
        """Behind our closing tag: stanzas that still come belong to nobody, and are not delivered."""
        self.jid = None

    # --- inputs --------------------------------------------------------------------------------------------

    def header(self, header: StreamHeader) -> list[Action]:
        """The client's stream header."""
        return self._step(Event.HEADER, header)

    def stanza(self, stanza: Stanza, unread_bytes: int = 0) -> list[Action]:
        """A first-level element; `unread_bytes` have arrived behind it and are not parsed yet."""
        event = _EVENTS.get((stanza.ns, stanza.name), Event.UNKNOWN)
        if event is Event.STARTTLS:
            return self._step(event, stanza, unread_bytes)
        return self._step(event, stanza)

    def stream_close(self) -> list[Action]:
        """The client's closing tag."""
        return self._step(Event.STREAM_CLOSE)

    def stream_error(self, error: StreamError) -> list[Action]:
        """The reader gave up: nothing that follows can be read."""
        return self._step(Event.READER_ERROR, error)

    def tls_open(self, facts: TLSFacts) -> list[Action]:
        """The TLS handshake is done."""
        return self._step(Event.TLS_OPEN, facts)

    def credentials(self, answer: Credentials | SaslFailure) -> list[Action]:
        """The answer to `LookUp`: keys (made up for an unknown account), or why there are none now.

        A failure says what is wrong with the store (`temporary-auth-failure`) or with the mechanism for
        this account (`mechanism-too-weak`), never that there is no such account.
        """
        return self._step(Event.CREDENTIALS, answer)

    def verified(self, answer: Verdict | SaslFailure) -> list[Action]:
        """The answer to `Verify`: a verdict, or a failure it has no word for (`credentials-expired`)."""
        return self._step(Event.VERIFIED, answer)

    def bound(self, jid: JID) -> list[Action]:
        """The answer to `Bind`: the resource is connected as `jid`."""
        return self._step(Event.BOUND, jid)

    def bind_failed(self, error: StanzaError) -> list[Action]:
        """The answer to `Bind`: it is refused; the client may try again (7.7.3)."""
        return self._step(Event.BIND_FAILED, error)

    def close(self, error: StreamError | None = None) -> list[Action]:
        """The server wants the stream to end, with a stream error or in peace."""
        return self._step(Event.CLOSE, error)

    def timeout(self, kind: Timer) -> list[Action]:
        """Negotiation took too long, or the client's closing tag did not come."""
        return self._step(_TIMEOUTS[kind])

    def eof(self, reason: str) -> list[Action]:
        """The connection is gone; nothing can be sent."""
        return self._step(Event.EOF, reason)

    def _step(self, event: Event, *given: object) -> list[Action]:
        method: Callable[..., list[Action]] = getattr(self, f"_{transition(self.state, event).step}")
        return method(*given)

    @property
    def _refuses_all_else(self) -> bool:
        return transition(self.state, Event.UNKNOWN).step == "not_authorized"

    # --- steps: headers ------------------------------------------------------------------------------------

    @property
    def _talk(self) -> _Negotiation:
        if self._negotiation is None:
            raise AssertionError(f"no negotiation in state {self.state}")
        return self._negotiation

    def _greet(self, header: StreamHeader) -> list[Action]:
        """Answer a header with a response header and features, in one piece (1-7, 1-8, 1-13, 1-14, 2-3)."""
        talk = self._talk
        talk.opening = opening = read_header(header, self._hosts)  # only the new values count (1-11.2)
        self.lang = opening.lang
        error = opening.error or self._identity_error(opening)
        if error is not None:
            return self._end(error)
        response = self._response_header()
        talk.greeted = True
        if talk.account is not None:
            self.state = State.UNBOUND
            voluntary = self._hosts[opening.host].features
            return [Send(response + features.to_bind(self._settings.session, voluntary))]
        secured = talk.tls is not None
        known = frozenset(talk.bindings)
        bindings = tuple(kind for kind in sasl.CHANNEL_BINDINGS if kind in known)
        talk.offered = sasl.offered(self._settings.mechanisms, secured, bool(bindings))
        if secured:
            self.state = State.LOGIN
            bindings = bindings if sasl.any_plus(talk.offered) else ()
            return [Send(response + features.to_log_in(talk.offered, bindings, self._settings.sasl_required))]
        self.state = State.PLAIN
        if self._settings.tls_required:
            talk.offered = ()  # 2-11.1
        return [Send(response + features.in_clear(self._settings.tls_required, talk.offered))]

    def _identity_error(self, opening: Opening) -> StreamError | None:
        """After login a header can neither change the domain nor name another account (1-20.2)."""
        account = self._talk.account
        if account is None:
            return None
        if opening.host != account.domain:
            return StreamError("not-authorized", "the header's 'to' is not the domain of the account")
        return self._from_error(opening, account)

    @staticmethod
    def _from_error(opening: Opening | None, account: JID) -> StreamError | None:
        from_ = opening.from_ if opening else None
        if from_ is None or not from_.local or from_ == account:
            return None
        return StreamError("invalid-from", "the header's 'from' is not the account")

    def _response_header(self) -> bytes:
        talk = self._talk
        opening = talk.opening or Opening(talk.account.domain if talk.account else default_host(self._hosts))
        lang = lookup_language(opening.lang, self._settings.languages)
        return response_header(opening.host, opening.from_, lang)

    # --- steps: TLS ----------------------------------------------------------------------------------------

    def _starttls(self, stanza: Stanza, unread_bytes: int) -> list[Action]:
        if unread_bytes:  # 2-6.2; RFC 6120 5.3.3 forbids even white space here
            return self._end(StreamError("policy-violation", "bytes behind <starttls/>"))
        element = stanza.element()
        opening = self._talk.opening
        host = self._hosts.get(opening.host) if opening else None
        if element.attrs or element.children or host is None or not host.tls_ready:
            return self._refuse_starttls(stanza)
        self.state = State.HANDSHAKE
        return [Send(_PROCEED), StartTLS()]

    def _refuse_starttls(self, stanza: Stanza, unread_bytes: int = 0) -> list[Action]:
        """STARTTLS failed: `<failure/>` and the closing tag (5.4.2.2; 2-7, 2-12)."""
        note = Note("starttls refused", {"state": str(self.state)}, bad_input=True)
        return self._end(None, before=_TLS_FAILURE, note=note)

    def _secured(self, facts: TLSFacts) -> list[Action]:
        """What was learnt in the clear is forgotten (5.4.3.3)."""
        self._negotiation = _Negotiation()
        self._negotiation.tls = facts
        self.lang = None
        self.state = State.SECURED
        return [Restart()]

    # --- steps: SASL ---------------------------------------------------------------------------------------

    def _auth(self, stanza: Stanza) -> list[Action]:
        talk = self._talk
        if (
            talk.exchange is not None
        ):  # replaces the handshake that goes on, which counts as an attempt (6.4.2)
            talk.exchange = None
            talk.failures += 1
            if talk.failures > self._settings.retries:
                return self._end(self._too_many_attempts())
        element = stanza.element()
        talk.mechanism = ""
        talk.revoked = None
        try:
            mechanism = self._chosen(element.get("mechanism"))
            talk.mechanism = mechanism.name
            data = _data(element)
        except SaslFailure as failure:
            return self._failed(failure)
        domain = talk.opening.host if talk.opening else ""
        exchange = mechanism.begin(sasl.Surroundings(domain, talk.bindings, sasl.any_plus(talk.offered)))
        talk.exchange = exchange
        if data is None:  # all our mechanisms let the client speak first
            return self._advance(lambda: sasl.Challenge(b""))
        return self._advance(lambda: exchange.respond(data))

    def _chosen(self, name: str | None) -> sasl.Mechanism:
        talk = self._talk
        if name is not None and name in talk.offered:
            return sasl.MECHANISMS[name]
        wanted = sasl.MECHANISMS.get(name or "")
        known = wanted is not None and wanted.name in self._settings.mechanisms
        if talk.tls is None and (known or self._settings.tls_required):
            raise SaslFailure("encryption-required")  # 2-11.1, 3-5.2, 3-23.3
        raise SaslFailure("invalid-mechanism")  # 3-3.2, 3-23.6

    def _respond(self, stanza: Stanza) -> list[Action]:
        exchange = self._talk.exchange
        if exchange is None:
            return self._fault()
        try:
            data = _data(stanza.element()) or b""
        except SaslFailure as failure:
            return self._failed(failure)
        return self._advance(lambda: exchange.respond(data))

    def _found(self, answer: Credentials | SaslFailure) -> list[Action]:
        return self._answered(LookUp, answer)

    def _judged(self, answer: Verdict | SaslFailure) -> list[Action]:
        return self._answered(Verify, answer)

    def _answered(self, kind: type, answer: Credentials | Verdict | SaslFailure) -> list[Action]:
        exchange = self._talk.exchange
        if exchange is None or not isinstance(self._talk.question, kind):  # the answer to another question
            return self._fault()
        if isinstance(answer, SaslFailure):
            return self._failed(answer)
        return self._advance(lambda: exchange.answer(answer))

    def _advance(self, move: Callable[[], sasl.Step]) -> list[Action]:
        """Make one move of the exchange and do what it comes to."""
        try:
            step = move()
        except SaslFailure as failure:
            return self._failed(failure)
        if isinstance(step, sasl.Challenge):
            self.state = State.CHALLENGED
            return [Send(_sasl_element("challenge", step.data or None))]
        if isinstance(step, sasl.Proven):
            return self._proven(step)
        self._talk.question = step
        self.state = State.CHECKING
        return [step]

    def _proven(self, proven: sasl.Proven) -> list[Action]:
        talk = self._talk
        mechanism = talk.mechanism
        settings = self._settings
        if talk.revoked is not None:
            return self._failed(talk.revoked)
        # said only to who knows the password: nobody else learns for which accounts (3-23.8, 3-23.9)
        if str(proven.account) in settings.strong_accounts and mechanism not in settings.strong_mechanisms:
            return self._failed(SaslFailure("mechanism-too-weak"))
        error = self._from_error(talk.opening, proven.account) if talk.tls else None
        if error is not None:
            return self._end(error)
        self._negotiation = _Negotiation()  # what belongs to the replaced stream is forgotten (4.3.3)
        self._negotiation.tls = talk.tls
        self._negotiation.account = proven.account
        self.lang = None
        self.state = State.AUTHENTICATED
        return [
            Authenticated(proven.account, mechanism),
            Note("login", {"account": str(proven.account), "mechanism": mechanism}),
            Send(_sasl_element("success", proven.data)),
            Restart(),
        ]

    def _stray_response(self, stanza: Stanza) -> list[Action]:
        return self._failed(SaslFailure("malformed-request"))  # 3-23.7

    def _abort(self, stanza: Stanza) -> list[Action]:
        return self._failed(SaslFailure("aborted"))  # 3-23.1

    def _failed(self, failure: SaslFailure) -> list[Action]:
        """One attempt failed; the last allowed one ends the stream (3-22, 3-24, 3-25)."""
        talk = self._talk
        username = talk.exchange.username[:_NAME_SHOWN] if talk.exchange else ""
        note = Note(
            "login failed",
            {"username": username, "mechanism": talk.mechanism, "condition": failure.condition},
            bad_input=failure.condition != "temporary-auth-failure",
        )
        talk.exchange = None
        talk.mechanism = ""
        talk.failures += 1
        if talk.failures > self._settings.retries:
            return self._end(self._too_many_attempts(), before=failure.to_xml(), note=note)
        self.state = State.PLAIN if talk.tls is None else State.LOGIN
        return [Send(failure.to_xml()), note]

    @staticmethod
    def _too_many_attempts() -> StreamError:
        return StreamError("policy-violation", "too many failed attempts to authenticate")

    # --- steps: bind ---------------------------------------------------------------------------------------

    def _bind(self, stanza: Stanza) -> list[Action]:
        account = self._talk.account
        if account is None:
            return self._fault()
        if stanza.name != "iq" or not stanza.has_child(ns.BIND, "bind") or not self._is_ours(stanza, account):
            return self._not_authorized(stanza)
        if stanza.type not in ("get", "set"):
            return self._not_authorized(stanza)
        self._talk.bind_id = stanza.id
        if stanza.type == "get" or not stanza.id:
            return self._bind_refused(StanzaError("bad-request"))
        bind = stanza.find(ns.BIND, "bind")
        wanted = bind.find(ns.BIND, "resource") if bind is not None else None
        text = wanted.text() if wanted is not None else ""
        try:
            resource = _resource(text)
        except JIDError:
            return self._bind_refused(StanzaError("bad-request", "the resource cannot be used"))  # 4-6.2
        self.state = State.BINDING
        return [Bind(account, resource)]

    @staticmethod
    def _is_ours(stanza: Stanza, account: JID) -> bool:
        """Whether the server itself, or the account, is meant."""
        try:
            return not stanza.to or JID.parse(stanza.to) in (JID(None, account.domain), account)
        except JIDError:
            return False

    def _opened(self, jid: JID) -> list[Action]:
        bind = f"<bind xmlns='{ns.BIND}'><jid>".encode() + jid.wire + b"</jid></bind>"  # 4-7
        result = _iq("result", self._talk.bind_id, bind)
        self._negotiation = None
        self.jid = jid
        self.state = State.OPEN
        return [Send(result), Note("bound", {"jid": str(jid)}), Opened(jid)]

    def _bind_refused(self, error: StanzaError) -> list[Action]:
        talk = self._talk
        refusal = _iq("error", talk.bind_id, error.to_xml())
        note = Note("bind refused", {"account": str(talk.account), "condition": error.condition})
        talk.bind_failures += 1
        if talk.bind_failures > self._settings.bind_retries:
            too_many = StreamError("policy-violation", "too many failed bind requests")
            return self._end(too_many, before=refusal, note=note)
        self.state = State.UNBOUND
        return [Send(refusal), note]

    # --- steps: an open stream -----------------------------------------------------------------------------

    def _deliver(self, stanza: Stanza) -> list[Action]:
        return [Deliver(stanza)]

    def _deliver_late(self, stanza: Stanza) -> list[Action]:
        return [Deliver(stanza)] if self.jid is not None else []

    # --- steps: the end ------------------------------------------------------------------------------------

    def _not_authorized(self, stanza: Stanza) -> list[Action]:
        return self._end(StreamError("not-authorized"))  # 1-15.2, 3-2.1, 4-2.1

    def _unsupported(self, stanza: Stanza) -> list[Action]:
        return self._end(StreamError("unsupported-stanza-type"))  # 1-32.3

    def _fault(self, *given: object) -> list[Action]:
        """An input that cannot be given in this state: we are at fault, the client must suffer it."""
        return self._end(StreamError("internal-server-error"), ours=True)

    def _too_slow(self) -> list[Action]:
        error = StreamError("connection-timeout", "negotiation took too long")
        return self._end(error, note=self._slowness(), ours=True)  # whose fault it is the note says

    def _slowness(self) -> Note:
        return Note("negotiation timeout", {"state": str(self.state)}, bad_input=True)

    def _close_asked(self, error: StreamError | None) -> list[Action]:
        return self._end(error, ours=True)

    def _peer_failed(self, stanza: Stanza) -> list[Action]:
        """The client reports a stream error: answer with the closing tag (1-35.3)."""
        named = (child.name for child in stanza.element() if child.ns == ns.STREAM_ERRORS)
        condition = next((name for name in named if name != "text"), "undefined-condition")
        return self._end(None, note=Note("stream error received", {"condition": condition}))

    def _unreadable(self, error: StreamError) -> list[Action]:
        """Of what follows only the closing tag can be told.

        A first-level element that the reader knows no namespace of is refused as other unknown ones are.
        """
        if error.condition == "unsupported-stanza-type" and self._refuses_all_else:
            error = StreamError("not-authorized")  # 2-1.1
        return self._end(error, ours=error.condition == "internal-server-error")

    def _peer_closed(self) -> list[Action]:
        """The client closes: answer its closing tag, and end (1-18.d, 1-19.2)."""
        ended = self._end(None, await_peer=False, note=Note("stream closed", {"by": "peer"}))
        self.state = State.CLOSED
        return [*ended, Disconnect()]

    def _finish(self, error: StreamError | None = None) -> list[Action]:
        """After our closing tag: the client's, or as good as (1-18.c, 1-19.1)."""
        self.state = State.CLOSED
        return [Disconnect()]

    def _drop(self, *given: object) -> list[Action]:
        """TLS is not up: no XML may be sent (2-10)."""
        self.state = State.CLOSED
        self._negotiation = None
        return [Disconnect()]

    def _drop_slow(self) -> list[Action]:
        return [self._slowness(), *self._drop()]

    def _lost(self, reason: str) -> list[Action]:
        note = Note("connection lost", {"reason": reason, "state": str(self.state)})
        self.state = State.CLOSED
        self._negotiation = None
        return [note]

    def _ended(self, reason: str) -> list[Action]:
        self.state = State.CLOSED
        return []

    def _ignore(self, *given: object) -> list[Action]:
        return []

    def _end(
        self,
        error: StreamError | None,
        *,
        before: bytes = b"",
        note: Note | None = None,
        ours: bool = False,
        await_peer: bool = True,
    ) -> list[Action]:
        """Send what is left to say and the closing tag, behind a response header if there was none yet, as
        one piece (4.9.1.2; 1-34, 1-36). `ours`: the error says nothing of the client's input.
        """
        header = self._response_header() if self._negotiation and not self._negotiation.greeted else b""
        said = error.to_xml() if error else b""
        actions: list[Action] = [Send(header + before + said + features.CLOSING_TAG)]
        if note is not None:
            actions.append(note)
        if error is not None:
            told = {"condition": error.condition, "text": error.text or "", "state": str(self.state)}
            actions.append(Note("stream error sent", told, bad_input=not ours))
        self.state = State.CLOSING
        self._negotiation = None
        return [*actions, Close(await_peer)]


def _data(element: Element) -> bytes | None:
    """The decoded character data of an element of SASL, None if there is none."""
    if any(not isinstance(child, str) for child in element.children or ()):
        raise SaslFailure("malformed-request")
    text = element.text()
    return sasl.decode(text) if text else None


def _resource(text: str) -> str | None:
    """The resource that is asked for, None for one of our choice; JIDError if it breaks the rules.

    A stored name cannot have characters younger than Unicode 3.2 (RFC 3454 7), an emoji for instance: instead
    of being refused, such a client gets a resource of our choice (7.7.1).
    """
    if not text:
        return None
    try:
        return prep_resource(text)
    except JIDError:
        prep_resource(text, allow_unassigned=True)  # raises unless that was the only reason
        return None


def _sasl_element(name: str, data: bytes | None) -> bytes:
    if data is None:
        return f"<{name} xmlns='{ns.SASL}'/>".encode()
    return f"<{name} xmlns='{ns.SASL}'>".encode() + sasl.encode(data) + f"</{name}>".encode()


def _iq(type_: str, id_: str | None, content: bytes) -> bytes:
    named = f" id='{escape_attr(id_)}'" if id_ else ""
    return f"<iq type='{type_}'{named}>".encode() + content + b"</iq>"
