"""A tiny XMPP server that is right in what some checks look at, or wrong in exactly one way.

A check that a wrong server passes is a check that cannot fail. `FAULTS` says which part each fault breaks.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import socket
import ssl
import struct
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from xmppd.conformance.names import BIND, CLIENT, SASL, STANZA_ERRORS, STREAM_ERRORS, STREAMS, TLS, XML
from xmppd.conformance.subject import Account, Subject
from xmppd.conformance.xmlstream import Closed, Element, Header, NotWellFormed, StreamReader

DOMAIN = "one.example"
ACCOUNTS = tuple(Account(name, DOMAIN, f"{name}'s password") for name in ("juliet", "romeo"))

PATIENCE_S = 0.7  # it answers at once, or never

FAULTS = {
    "features before the header": "1-7.1",
    "features in a second write": "2-3.1",
    "two first features": "2-4.1",
    "STARTTLS is not required": "1-9.1",
    "header from another domain": "1-24.1",
    "no 'to' in the header": "1-25.1",
    "a 'to' for nobody": "1-25.3",
    "full JID in 'to'": "1-25.2",
    "version 0.9": "1-28.1",
    "the same id again": "1-13.1",
    "ids that count": "1-27.1",
    "the id of the client": "1-27.2",
    "no content namespace": "1-30.1",
    "any host is served": "1-22.2",
    "any content namespace is served": "1-31.2",
    "any version is served": "1-23.3",
    "no header before an error": "1-36.1",
    "no closing tag after an error": "1-34.1",
    "closing tag in a second write": "1-34.1",
    "RST after an error": "1-35.1",
    "no close_notify": "1-35.1",
    "another condition": "1-34.1",
    "the closing tag is not answered": "1-18.d",
    "a comment in the stream": "12-1.4",
    "STARTTLS is offered again": "2-9.c",
    "text behind <proceed/>": "2-6.1",
    "STARTTLS twice": "2-7.1",
    "any password is right": "3-22.1",
    "ANONYMOUS is offered": "3-3.1",
    "failure with two conditions": "3-22.1",
    "failure of RFC 3920": "3-23.6",
    "no new stream after SASL": "3-12.1",
    "the same resource for all": "4-5.1",
    "bind without a JID": "4-7.1",
    "resources that count": "4-4.1",
    "messages without from": "5-4.d",
    "from as the client says": "5-4.a",
    "body is lost": "5-1.1",
    "IQs are answered twice": "5-10.d",
    "IQs are not answered": "5-10.d",
    "answers with another id": "5-7.1",
    "results are answered": "5-10.e",
    "error without a type": "5-11.3",
}
PARTS = tuple(dict.fromkeys(FAULTS.values()))


class Over(Exception):
    """The connection is done with."""


class BrokenServer:
    """Serves DOMAIN on a loopback port, with a fault or, as a control, with none."""

    def __init__(self, folder: Path, fault: str | None = None) -> None:
        assert fault is None or fault in FAULTS
        self.fault = fault
        self.pem = certificate(folder)
        self.sessions: dict[str, Session] = {}
        self.counter = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> BrokenServer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def subject(self) -> Subject:
        """As the tester sees it."""
        port = self._listener.getsockname()[1]
        return Subject(
            "127.0.0.1", port, (DOMAIN,), str(self.pem), ACCOUNTS, system="broken", patience_s=PATIENCE_S
        )

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=Session(self, sock).run, daemon=True).start()


def certificate(folder: Path) -> Path:
    """A file with a key and a self-signed certificate of DOMAIN."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "broken.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def quoted(text: str) -> str:
    """A text for an attribute or an element."""
    for character in "&<>'\"\r\n\t":
        text = text.replace(character, f"&#{ord(character)};" if character != "&" else "&amp;")
    return text


def written(element: Element) -> str:
    """The element as XML that stands for itself."""
    text = f"<{element.name} xmlns='{quoted(element.namespace)}'"
    for number, (name, value) in enumerate(element.attributes.items()):
        namespace, _, local = name.rpartition("}")
        if namespace == f"{{{XML}":
            local = f"xml:{local}"
        elif namespace:
            text += f" xmlns:q{number}='{quoted(namespace[1:])}'"
            local = f"q{number}:{local}"
        text += f" {local}='{quoted(value)}'"
    inside = (quoted(each) if isinstance(each, str) else written(each) for each in element.children)
    return f"{text}>{''.join(inside)}</{element.name}>"


class Session:
    """One connection."""

    def __init__(self, server: BrokenServer, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.reader = StreamReader()
        self.tls = False
        self.account = ""
        self.jid = ""
        self.id = ""
        self.header_sent = False
        sock.settimeout(20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def has(self, fault: str) -> bool:
        assert fault in FAULTS
        return self.server.fault == fault

    def say(self, text: str) -> None:
        self.sock.sendall(text.encode())

    def run(self) -> None:
        with contextlib.suppress(Over, OSError, ssl.SSLError):
            while True:
                try:
                    event = self.reader.next()
                    if event is None:
                        data = self.sock.recv(65536)
                        if not data:
                            raise Over
                        self.reader.feed(data)
                        continue
                except NotWellFormed:
                    self.error("not-well-formed")
                if isinstance(event, Header):
                    self.opened(event)
                elif isinstance(event, Closed):
                    if not self.has("the closing tag is not answered"):
                        self.say("</stream:stream>")
                    self.end()
                elif isinstance(event, Element):
                    self.heard(event)
        self.server.sessions.pop(self.jid, None)
        self.sock.close()

    # ---- streams

    def header(self, to: str | None) -> str:
        if not (self.id and self.has("the same id again")):
            self.server.counter += 1
            counts = self.has("ids that count")
            self.id = f"{self.server.counter:032d}" if counts else secrets.token_urlsafe(18)
        from_ = "elsewhere.example" if self.has("header from another domain") else DOMAIN
        version = "0.9" if self.has("version 0.9") else "1.0"
        address = f" to='{to}'" if to else ""
        content = "" if self.has("no content namespace") else f" xmlns='{CLIENT}'"
        self.header_sent = True
        return (
            f"<?xml version='1.0'?><stream:stream xmlns:stream='{STREAMS}'{content} from='{from_}'{address}"
            f" id='{self.id}' version='{version}' xml:lang='en'>"
        )

    def opened(self, header: Header) -> None:
        self.header_sent = False
        element = header.element
        if not element.is_("stream", STREAMS):
            self.error("invalid-namespace")
        if header.declared.get("") != CLIENT and not self.has("any content namespace is served"):
            self.error("invalid-namespace")
        if element.get("to") != DOMAIN and not self.has("any host is served"):
            self.error("host-unknown")
        if element.get("version") != "1.0" and not self.has("any version is served"):
            self.error("unsupported-version")
        to = element.get("from")
        if to and not self.has("full JID in 'to'"):
            to = to.partition("/")[0]
        if self.has("no 'to' in the header"):
            to = None
        if self.has("a 'to' for nobody"):
            to = to or f"somebody@{DOMAIN}"
        header_text = self.header(to)
        if self.has("the id of the client") and (given := element.get("id")):
            header_text = header_text.replace(self.id, given)
        if self.has("no new stream after SASL") and self.account:
            header_text = header_text.replace(self.id, "")
        features = self.features()
        if self.has("features in a second write"):
            self.say(header_text)
            threading.Event().wait(0.02)
            self.say(features)
        elif self.has("features before the header"):
            self.say(features.replace("stream:features", f"features xmlns='{STREAMS}'", 1) + header_text)
        else:
            self.say(header_text + features)

    def features(self) -> str:
        starttls = f"<starttls xmlns='{TLS}'><required/></starttls>"
        if self.has("STARTTLS is not required"):
            starttls = f"<starttls xmlns='{TLS}'/>"
        names = ["PLAIN", *(["ANONYMOUS"] if self.has("ANONYMOUS is offered") else [])]
        offered = "".join(f"<mechanism>{name}</mechanism>" for name in names)
        mechanisms = f"<mechanisms xmlns='{SASL}'>{offered}</mechanisms>"
        if not self.tls:
            inside = starttls + (mechanisms if self.has("two first features") else "")
        elif not self.account:
            inside = mechanisms + (starttls if self.has("STARTTLS is offered again") else "")
        else:
            inside = f"<bind xmlns='{BIND}'/>"
        return f"<stream:features>{inside}</stream:features>"

    def error(self, condition: str) -> None:
        header = ""
        if not self.header_sent and not self.has("no header before an error"):
            header = self.header(None)
        if self.has("another condition"):
            condition = "undefined-condition"
        error = f"<stream:error><{condition} xmlns='{STREAM_ERRORS}'/></stream:error>"
        if self.has("closing tag in a second write"):
            self.say(header + error)
            threading.Event().wait(0.02)
            self.say("</stream:stream>")
        elif self.has("no closing tag after an error"):
            self.say(header + error)
        else:
            self.say(header + error + "</stream:stream>")
        if self.has("RST after an error"):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Over
        self.end()

    def end(self) -> None:
        """close_notify, FIN, and wait for the other side."""
        sock: socket.socket = self.sock
        if isinstance(sock, ssl.SSLSocket):
            if self.has("no close_notify"):
                sock = socket.socket(fileno=sock.detach())
                self.sock = sock
            else:
                sock.settimeout(0.05)  # it is sent at once; the answer is not waited for
                with contextlib.suppress(OSError, ssl.SSLError):
                    sock.unwrap()
                sock = socket.socket(fileno=sock.detach())
                self.sock = sock
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(1)
        with contextlib.suppress(OSError):
            while sock.recv(65536):
                pass
        raise Over

    # ---- elements

    def heard(self, element: Element) -> None:
        if element.is_("starttls", TLS):
            self.start_tls(element)
        elif not self.tls:
            self.error("not-authorized")
        elif element.is_("auth", SASL):
            self.authenticate(element)
        elif element.namespace != CLIENT or not self.account:
            self.error("not-authorized")
        elif not self.jid:
            self.bind(element)
        else:
            self.route(element)

    def start_tls(self, element: Element) -> None:
        if (self.tls or element.children or element.attributes) and not self.has("STARTTLS twice"):
            self.say(f"<failure xmlns='{TLS}'/></stream:stream>")
            self.end()
        self.say(f"<proceed xmlns='{TLS}'/>" + ("<x/>" if self.has("text behind <proceed/>") else ""))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.pem)
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.tls = True
        self.reader.restart()

    def authenticate(self, element: Element) -> None:
        if element.get("mechanism") != "PLAIN":
            name = "bad-mechanism" if self.has("failure of RFC 3920") else "invalid-mechanism"
            self.say(f"<failure xmlns='{SASL}'><{name}/></failure>")
            return
        _, name, password = base64.b64decode(element.text).decode().split("\0")
        right = any((each.name, each.password) == (name, password) for each in ACCOUNTS)
        if not right and not self.has("any password is right"):
            more = "<aborted/>" if self.has("failure with two conditions") else ""
            self.say(f"<failure xmlns='{SASL}'><not-authorized/>{more}</failure>")
            return
        self.account = f"{name}@{DOMAIN}"
        self.say(f"<success xmlns='{SASL}'/>")
        self.reader.restart()

    def bind(self, element: Element) -> None:
        if element.find("bind", BIND) is None:
            self.error("not-authorized")
        self.server.counter += 1
        resource = secrets.token_urlsafe(18)
        if self.has("the same resource for all"):
            resource = "same"
        if self.has("resources that count"):
            resource = f"{self.server.counter:024d}"
        self.jid = f"{self.account}/{resource}"
        self.server.sessions[self.jid] = self
        jid = "" if self.has("bind without a JID") else f"<jid>{self.jid}</jid>"
        self.say(f"<iq type='result' id='{element.get('id')}'><bind xmlns='{BIND}'>{jid}</bind></iq>")
        if self.has("a comment in the stream"):
            self.say("<!-- hello -->")

    def route(self, element: Element) -> None:
        to = element.get("to") or self.account
        targets = [
            session
            for jid, session in list(self.server.sessions.items())
            if jid == to or jid.startswith(f"{to}/")
        ]
        if (element.name == "iq" and to.partition("/")[2] == "") or not targets:
            self.answer(element, to)
            return
        given = {name: value for name, value in element.attributes.items() if name != "from"}
        if self.has("from as the client says"):
            given["from"] = element.get("from") or self.jid
        elif not self.has("messages without from"):
            subscribes = element.name == "presence" and "subscribe" in (element.get("type") or "")
            given["from"] = self.account if subscribes else self.jid
        children = [] if self.has("body is lost") else element.children
        targets[0].say(written(Element(CLIENT, element.name, given, children)))

    def answer(self, element: Element, to: str) -> None:
        if element.name == "presence" or element.get("type") == "error":
            return
        if element.get("type") == "result" and not self.has("results are answered"):
            return
        ping = element.name == "iq" and element.elements and element.elements[0].name == "ping"
        if self.has("IQs are not answered") and not ping:
            return
        id_ = "other" if self.has("answers with another id") and not ping else element.get("id") or ""
        kind = "" if self.has("error without a type") else " type='cancel'"
        error = f"<error{kind}><service-unavailable xmlns='{STANZA_ERRORS}'/></error>"
        answer = Element(
            CLIENT, element.name, {"type": "error", "id": id_, "from": to, "to": self.jid}, ["?"]
        )
        text = str(answer).replace("?", error)
        self.say(text * (2 if self.has("IQs are answered twice") else 1))
