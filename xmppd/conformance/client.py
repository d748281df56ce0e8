"""A client that follows a script: it says exactly what it is told to and expects exactly what is written down.

What is not as expected ends the check as `not met`, with what came instead. Nothing sleeps: that nothing comes is
seen by a ping, for its answer would come behind.
"""

from __future__ import annotations

import hashlib
import itertools
import ssl
import time
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from cryptography import x509

from xmppd.conformance import sasl
from xmppd.conformance.connection import Connection, TLSFailed
from xmppd.conformance.names import (
    BIND,
    CHANNEL_BINDING,
    CLIENT,
    PING,
    SASL,
    SASL_CONDITIONS,
    STANZA_CONDITIONS,
    STANZA_ERRORS,
    STREAM_CONDITIONS,
    STREAM_ERRORS,
    STREAMS,
    TLS,
)
from xmppd.conformance.subject import Account, Subject
from xmppd.conformance.verdict import CouldNotTest, NotMet
from xmppd.conformance.xmlstream import Closed, Element, Event, Header, NotWellFormed, StreamReader, Text

CLOSING_TAG: Final = "</stream:stream>"


@dataclass(frozen=True, slots=True)
class StreamError:
    """A stream error that came as it should."""

    condition: str
    header: Header | None  # the response header, if it came together with the error
    seconds: float  # from the call to the closing tag
    pieces: int  # reads from the header or the error to the closing tag; one if all was written at once


@dataclass(frozen=True, slots=True)
class End:
    """The connection ended, instead of something that was expected."""

    how: str


class Client:
    """One client connection."""

    _numbers = itertools.count(1)

    def __init__(self, connection: Connection, subject: Subject, domain: str) -> None:
        self.connection = connection
        self.subject = subject
        self.domain = domain
        self.reader = StreamReader()
        self.header: Header | None = None  # the last response header
        self.features: Element | None = None  # the last features
        self.jid = ""  # full, once bound
        self.patience_s = subject.patience_s
        self.seen: list[Element] = []  # every first-level element that came
        self.sasl_seconds: list[float] = []  # how long each answer of SASL took, from before it was asked for
        self._sent_at = 0.0
        self.reads = 0
        self._read_of_event = 0

    @property
    def stream_id(self) -> str:
        """The id in the last response header; empty if there was none."""
        return (self.header.get("id") if self.header is not None else None) or ""

    # ---- sending

    def send(self, text: str | bytes) -> None:
        """Send exactly this."""
        self._sent_at = time.monotonic()
        self.connection.send(text.encode() if isinstance(text, str) else text)

    def send_header(
        self,
        *,
        to: str | None = "",
        from_: str | None = None,
        version: str | None = "1.0",
        lang: str | None = "en",
        content: str | None = CLIENT,
        streams: str = STREAMS,
        declaration: str = "<?xml version='1.0'?>",
        more: str = "",
    ) -> None:
        """Send an initial stream header; None leaves an attribute out, an empty `to` is the domain under test."""
        self.send(
            stream_header(
                to=self.domain if to == "" else to,
                from_=from_,
                version=version,
                lang=lang,
                content=content,
                streams=streams,
                declaration=declaration,
                more=more,
            )
        )

    # ---- receiving

    def next(self) -> Event | End:
        """What comes next. Ends the check if nothing comes in time, or if it is not XML."""
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                event = self.reader.next()
            except NotWellFormed as error:
                raise NotMet(f"what the server sent is not well-formed: {error}") from None
            if event is not None:
                self._read_of_event = self.reads
                if self.reader.faults:
                    raise NotMet(f"the server sent {self.reader.faults[0]}")  # RFC 6120 11
                if isinstance(event, Element):
                    self.seen.append(event)
                return event
            try:
                data = self.connection.read(deadline)
            except TimeoutError:
                raise NotMet(f"nothing came within {self.patience_s:g} s") from None
            if not data:
                return End(self._how_it_ended())
            self.reads += 1
            self.reader.feed(data)

    def _how_it_ended(self) -> str:
        ending = self.connection.ending
        if ending.rst:
            return "the TCP connection was reset"
        if ending.close_notify:
            return "TLS was closed"
        return "the TCP connection was closed"

    def next_solid(self) -> Event | End:
        """What comes next, apart from white space."""
        while True:
            event = self.next()
            if not (isinstance(event, Text) and not event.text.strip()):
                return event

    def expect(self, name: str, namespace: str = CLIENT, **attributes: str) -> Element:
        """The next element is this one, with these attributes at least."""
        event = self.next_solid()
        if isinstance(event, Element) and _fits(event, name, namespace, attributes):
            return event
        raise NotMet(f"expected {_words(name, attributes)}, but {describe(event)}")

    def wait_for(self, name: str, namespace: str = CLIENT, **attributes: str) -> Element:
        """This element comes; others may come before it."""
        while True:
            event = self.next_solid()
            if isinstance(event, Element):
                if _fits(event, name, namespace, attributes):
                    return event
                if not event.is_("error", STREAMS):
                    continue
            raise NotMet(f"waited for {_words(name, attributes)}, but {describe(event)}")

    def expect_header(self) -> Header:
        """A response stream header comes before anything else."""
        event = self.next()
        if not isinstance(event, Header):
            raise NotMet(f"expected a response stream header, but {describe(event)}")
        if not event.element.is_("stream", STREAMS):
            raise NotMet(f"the root element is {event}, not that of a stream")
        self.header = event
        return event

    def expect_features(self) -> Element:
        """Stream features come next."""
        self.features = self.expect("features", STREAMS)
        return self.features

    # ---- negotiation

    def open(
        self, *, to: str | None = "", from_: str | None = None, version: str | None = "1.0", lang: str = "en"
    ) -> Element:
        """Open a stream: header, response header, features."""
        self.send_header(to=to, from_=from_, version=version, lang=lang)
        self.expect_header()
        return self.expect_features()

    def context(self) -> ssl.SSLContext:
        """What the client accepts in TLS: with a CA given, certificates of this CA for the domain."""
        context = ssl.create_default_context(cafile=self.subject.ca_file)
        if self.subject.ca_file is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def start_tls(self, context: ssl.SSLContext | None = None, server_name: str | None = "") -> ssl.SSLObject:
        """<starttls/>, <proceed/>, handshake. An empty `server_name` is the domain, None sends no SNI."""
        self.send(f"<starttls xmlns='{TLS}'/>")
        self.expect("proceed", TLS)
        return self.handshake(context, server_name)

    def handshake(self, context: ssl.SSLContext | None = None, server_name: str | None = "") -> ssl.SSLObject:
        """The TLS handshake; a new stream begins behind it."""
        if self.reader.pending:
            raise NotMet("the server sent something in the clear behind <proceed/>")
        try:
            tls = self.connection.start_tls(
                context or self.context(),
                self.domain if server_name == "" else server_name,
                time.monotonic() + self.patience_s,
            )
        except TLSFailed as error:
            raise NotMet(f"the TLS handshake failed: {error}") from None
        except TimeoutError:
            raise NotMet(f"the TLS handshake did not end within {self.patience_s:g} s") from None
        self.reader.restart()
        return tls

    def secure(self, *, from_: str | None = None, lang: str = "en") -> Element:
        """A stream that is protected by TLS; its features."""
        self.open(from_=from_, lang=lang)
        self.start_tls()
        return self.open(from_=from_, lang=lang)

    def auth(self, mechanism: str, data: str | None) -> Element:
        """Send <auth/>; what the server answers."""
        text = "" if data is None else escape(data)
        self.send(f"<auth xmlns='{SASL}' mechanism={quoteattr(mechanism)}>{text}</auth>")
        return self.sasl_answer()

    def respond(self, data: str) -> Element:
        """Send <response/>; what the server answers."""
        self.send(f"<response xmlns='{SASL}'>{data}</response>")
        return self.sasl_answer()

    def sasl_answer(self) -> Element:
        """A challenge, success or failure comes; after success a new stream begins."""
        event = self.next_solid()
        self.sasl_seconds.append(time.monotonic() - self._sent_at)
        if not isinstance(event, Element) or event.namespace != SASL:
            raise NotMet(f"expected an answer of SASL, but {describe(event)}")
        if event.name == "success":
            self.reader.restart()
        return event

    def plain(self, account: Account, password: str | None = None, authorize_as: str = "") -> Element:
        """One attempt with PLAIN; what the server answers."""
        self.send_plain(account, password, authorize_as)
        return self.sasl_answer()

    def send_plain(self, account: Account, password: str | None = None, authorize_as: str = "") -> None:
        """One attempt with PLAIN, whatever comes of it."""
        given = account.password if password is None else password
        data = sasl.plain(account.name, given, authorize_as)
        self.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{data}</auth>")

    def scram(self, account: Account, mechanism: str) -> Element:
        """One attempt with SCRAM; what the server answers."""
        binding = self.channel_binding() if mechanism.endswith("-PLUS") else None
        exchange = sasl.Scram(mechanism, account.name, account.password, binding)
        answer = self.auth(mechanism, exchange.first())
        if answer.name == "challenge":
            answer = self.respond(exchange.final(answer.text))
        if answer.name == "success":
            exchange.verify(answer.text)
        return answer

    def channel_binding(self) -> tuple[str, bytes]:
        """A type of channel binding that the server takes (XEP-0440), and its data.

        Where it does not say: tls-unique, the default of RFC 5802 6, or what there is in TLS 1.3.
        """
        known = self.features.find("sasl-channel-binding", CHANNEL_BINDING) if self.features else None
        types = [str(each.get("type")) for each in known.elements] if known is not None else []
        if "tls-server-end-point" in types:
            return "tls-server-end-point", self.end_point()
        tls = self.connection.tls
        unique = (
            tls.get_channel_binding("tls-unique") if tls is not None and tls.version() != "TLSv1.3" else None
        )
        if unique is not None and (not types or "tls-unique" in types):
            return "tls-unique", unique
        if not types:
            return "tls-server-end-point", self.end_point()
        raise CouldNotTest(f"the server binds to {', '.join(types)} alone, which this Python does not show")

    def end_point(self) -> bytes:
        """The hash of the server's certificate (RFC 5929 4.1)."""
        certificate = self.certificate()
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
        name = algorithm.name if algorithm is not None else "sha256"
        return hashlib.new("sha256" if name in ("md5", "sha1") else name, certificate).digest()

    def certificate(self) -> bytes:
        """The certificate that the server presented, in DER."""
        tls = self.connection.tls
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        if certificate is None:
            raise NotMet("the server presented no certificate")
        return certificate

    def expect_certificate_of_domain(self) -> None:
        """The certificate that the server presented names the domain (RFC 6120 13.7.1.2), or all names beside it.

        Who issued it is known only if there is a CA: without one nothing has been verified.
        """
        extensions = x509.load_der_x509_certificate(self.certificate()).extensions
        try:
            found = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            raise NotMet("the certificate has no subjectAltName") from None
        names = [name.lower() for name in found.get_values_for_type(x509.DNSName)]
        domain = self.domain.encode("idna").decode().lower()
        if not {domain, f"*.{domain.partition('.')[2]}"} & {*names}:
            raise NotMet(f"the certificate is not one of {domain}, but of {', '.join(names)}")
        if self.subject.ca_file is None:
            raise CouldNotTest("the certificate cannot be checked; give --ca")

    def authenticate(self, account: Account) -> None:
        """Authenticate with PLAIN, or with SCRAM where that is not offered."""
        assert self.features is not None
        offered = mechanisms(self.features)
        if "PLAIN" in offered:
            answer = self.plain(account)
        else:
            known = [name for name in sasl.HASHES if name in offered]
            if not known:
                raise CouldNotTest(f"no known mechanism is offered, only {', '.join(offered) or 'none'}")
            answer = self.scram(account, known[-1])
        if answer.name != "success":
            raise NotMet(f"{account.jid} cannot log in: {describe(answer)}")

    def authenticated(self, account: Account, *, from_: str | None = None, lang: str = "en") -> Element:
        """TLS and SASL are done and a new stream is open; its features."""
        self.secure(from_=from_, lang=lang)
        self.authenticate(account)
        return self.open(from_=from_, lang=lang)

    def login(self, account: Account, resource: str | None = None, *, lang: str = "en") -> Client:
        """From nothing to a bound resource."""
        self.authenticated(account, lang=lang)
        self.bind(resource)
        return self

    def bind(self, resource: str | None = None) -> str:
        """Bind a resource; the full JID."""
        answer = self.bind_answer(resource)
        jid = bound_jid(answer)
        if jid is None:
            raise NotMet(f"binding a resource failed: {describe(answer)}")
        self.jid = jid
        return jid

    def bind_answer(self, resource: str | None = None) -> Element:
        """Ask for a resource, or with None for one that the server makes; what the server answers."""
        wish = "" if resource is None else f"<resource>{escape(resource)}</resource>"
        return self.iq("set", f"<bind xmlns='{BIND}'>{wish}</bind>")

    # ---- stanzas

    def new_id(self) -> str:
        """An id that no other stanza of the run has."""
        return f"x{next(self._numbers)}"

    def iq(self, kind: str, payload: str, *, to: str | None = None) -> Element:
        """Send an IQ get or set; its answer. Other stanzas may come before it."""
        return self.wait_for("iq", id=self.request(kind, payload, to=to))

    def request(self, kind: str, payload: str, *, to: str | None = None) -> str:
        """Send an IQ get or set; its id."""
        id_ = self.new_id()
        address = "" if to is None else f" to={quoteattr(to)}"
        self.send(f"<iq type='{kind}' id='{id_}'{address}>{payload}</iq>")
        return id_

    def message(self, to: str, text: str, *, kind: str = "chat") -> str:
        """Send a message; its id."""
        id_ = self.new_id()
        self.send(
            f"<message type='{kind}' to={quoteattr(to)} id='{id_}'><body>{escape(text)}</body></message>"
        )
        return id_

    def available(self) -> None:
        """Send initial presence, and wait until the server has dealt with it."""
        self.send("<presence/>")
        self.before_ping()

    def before_ping(self) -> list[Element]:
        """Ping the server; all that came before the answer.

        What the server answered to stanzas sent earlier on this stream is among it (RFC 6120 10.1).
        """
        id_ = self.new_id()
        self.send(f"<iq type='get' id='{id_}' to={quoteattr(self.domain)}><ping xmlns='{PING}'/></iq>")
        before: list[Element] = []
        while True:
            event = self.next_solid()
            if not isinstance(event, Element):
                raise NotMet(f"waited for the answer to a ping, but {describe(event)}")
            if event.is_("iq", CLIENT) and event.get("id") == id_:
                return before
            if event.is_("error", STREAMS):
                raise NotMet(f"waited for the answer to a ping, but {describe(event)}")
            before.append(event)

    def expect_nothing(self) -> None:
        """What was sent before has no answer."""
        if before := self.before_ping():
            raise NotMet(f"expected silence, but {describe(before[0])}")

    def before_message(self, sender: Client) -> list[Element]:
        """Let `sender` send a message to this resource; all that came before it.

        What `sender` sent to this resource earlier is among it (RFC 6120 10.1).
        """
        id_ = sender.message(self.jid, "fence")
        before: list[Element] = []
        while True:
            event = self.next_solid()
            if not isinstance(event, Element) or event.is_("error", STREAMS):
                raise NotMet(f"waited for a message, but {describe(event)}")
            if event.is_("message", CLIENT) and event.get("id") == id_:
                return before
            before.append(event)

    # ---- the end

    def expect_stream_error(self, *conditions: str, with_header: bool = False) -> StreamError:
        """A stream error, the closing tag, and after our own closing tag the end of the connection.

        `conditions` are those that fit. `with_header`: the fault was in our header, so a response header comes first.
        """
        error = self.expect_error_and_closing_tag(*conditions, with_header=with_header)
        self.send(CLOSING_TAG)
        self.expect_end()
        return error

    def expect_error_and_closing_tag(self, *conditions: str, with_header: bool = False) -> StreamError:
        """The same, without an answer of ours."""
        began = time.monotonic()
        header = self.expect_header() if with_header else None
        first = self._read_of_event
        event = self.next_solid()
        if not isinstance(event, Element) or not event.is_("error", STREAMS):
            wanted = f"the stream error {' or '.join(conditions)}" if conditions else "a stream error"
            raise NotMet(f"expected {wanted}, but {describe(event)}")
        if not with_header:
            first = self._read_of_event
        condition = stream_condition(event)
        if conditions and condition not in conditions:
            raise NotMet(f"expected the stream error {' or '.join(conditions)}, but it is {condition}")
        self.expect_closing_tag()
        seconds = time.monotonic() - began
        pieces = self._read_of_event - first + 1
        return StreamError(condition, header, seconds, pieces)

    def expect_closing_tag(self) -> None:
        """</stream:stream> comes next."""
        event = self.next_solid()
        if not isinstance(event, Closed):
            raise NotMet(f"expected the closing tag of the stream, but {describe(event)}")

    def expect_to_be_waited_for(self, seconds: float) -> None:
        """For so long the server says nothing and does not end TCP, though it may end its half of TLS."""
        until = time.monotonic() + seconds
        try:
            while not self.connection.ending.is_over:
                if data := (self.reader.pending + self.connection.read(until)).strip():
                    raise NotMet(f"the server sent {len(data)} bytes behind its closing tag")
        except TimeoutError:
            return
        left = until - time.monotonic()
        raise NotMet(f"the server ended TCP {left:.2f} s too early, before our closing tag came")

    def expect_end(self, *, in_order: bool = False) -> None:
        """The server sends no more data and ends the connection; in order is by close_notify of TLS and FIN of TCP."""
        try:
            data = self.reader.pending + self.connection.read_to_end(time.monotonic() + self.patience_s)
        except TimeoutError:
            raise NotMet(f"the server did not end the connection within {self.patience_s:g} s") from None
        ending = self.connection.ending
        if data.strip():
            raise NotMet(f"the server sent {len(data)} bytes behind its closing tag")
        if in_order and ending.rst:
            raise NotMet("the server ended the connection by TCP RST, not by FIN")
        if in_order and self.connection.tls is not None and not ending.close_notify:
            raise NotMet("the server ended TCP without the close_notify of TLS")

    def close(self) -> None:
        """Close the stream as a client should."""
        self.send(CLOSING_TAG)
        self.expect_closed()

    def expect_closed(self) -> None:
        """The server answers our closing tag, and ends the connection."""
        while not isinstance(event := self.next_solid(), Closed):
            if isinstance(event, End):
                raise NotMet(f"the server did not answer the closing tag: {event.how}")
        self.expect_end()


# ---- writing


def stream_header(
    *,
    to: str | None,
    from_: str | None = None,
    version: str | None = "1.0",
    lang: str | None = "en",
    content: str | None = CLIENT,
    streams: str = STREAMS,
    declaration: str = "<?xml version='1.0'?>",
    more: str = "",
) -> str:
    """An initial stream header; None leaves an attribute out."""
    attributes = {
        "from": from_,
        "to": to,
        "version": version,
        "xml:lang": lang,
        "xmlns": content,
        "xmlns:stream": streams,
    }
    given = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items() if value is not None)
    return f"{declaration}<stream:stream{given}{more}>"


# ---- reading


def _fits(element: Element, name: str, namespace: str, attributes: dict[str, str]) -> bool:
    return element.is_(name, namespace) and all(
        element.get(key.rstrip("_")) == value for key, value in attributes.items()
    )


def _words(name: str, attributes: dict[str, str]) -> str:
    given = "".join(f" {key.rstrip('_')}={value!r}" for key, value in attributes.items())
    return f"<{name}{given}/>"


def describe(event: Event | End | None) -> str:
    """What came, as the end of a sentence that begins with "but"."""
    match event:
        case End(how):
            return how
        case Closed():
            return "the server closed the stream"
        case Text(text):
            return f"the text {text[:60]!r} came"
        case Header():
            return f"a stream header came: {_short(str(event))}"
        case Element() if event.is_("error", STREAMS):
            return f"the stream error {_condition(event, STREAM_ERRORS)} came"
        case Element() if event.is_("failure", SASL):
            return f"the SASL failure {_condition(event, SASL)} came"
        case Element():
            return f"{_short(str(event))} came"
        case None:
            return "nothing came"


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."


def _condition(element: Element, namespace: str) -> str:
    return ", ".join(
        child.name for child in element.elements if child.namespace == namespace and child.name != "text"
    )


def _one_condition(what: str, element: Element, namespace: str, defined: frozenset[str]) -> str:
    found = [
        child.name for child in element.elements if child.namespace == namespace and child.name != "text"
    ]
    if len(found) != 1:
        raise NotMet(f"{what} has {len(found)} conditions of {namespace}, not one")
    if found[0] not in defined:
        raise NotMet(f"{what} has the condition {found[0]}, which RFC 6120 does not define")
    return found[0]


def stream_condition(element: Element) -> str:
    """The one defined condition of a stream error (RFC 6120 4.9.3)."""
    return _one_condition("the stream error", element, STREAM_ERRORS, STREAM_CONDITIONS)


def sasl_condition(element: Element) -> str:
    """The one defined condition of a SASL failure (RFC 6120 6.5)."""
    if not element.is_("failure", SASL):
        raise NotMet(f"expected a SASL failure, but {describe(element)}")
    return _one_condition("the SASL failure", element, SASL, SASL_CONDITIONS)


def stanza_condition(stanza: Element) -> str:
    """The one defined condition of an error stanza (RFC 6120 8.3)."""
    error = stanza.find("error")
    if stanza.get("type") != "error" or error is None:
        raise NotMet(f"expected an error stanza, but {describe(stanza)}")
    return _one_condition("the stanza error", error, STANZA_ERRORS, STANZA_CONDITIONS)


def mechanisms(features: Element) -> list[str]:
    """The SASL mechanisms that are offered, in order."""
    offered = features.find("mechanisms", SASL)
    if offered is None:
        return []
    return [child.text for child in offered.elements if child.is_("mechanism", SASL)]


def bound_jid(answer: Element) -> str | None:
    """The full JID in the answer to a bind request."""
    bind = answer.find("bind", BIND)
    jid = bind.find("jid") if bind is not None and answer.get("type") == "result" else None
    return jid.text if jid is not None else None
