"""A small XMPP client for tests: blocking sockets, stdlib TLS and expat, no code of the server.

It says exactly what it is told to and shows exactly what came back.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import socket
import ssl
import time
import xml.etree.ElementTree as ET

STREAMS = "http://etherx.jabber.org/streams"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
CLIENT = "jabber:client"


class StreamClosed(Exception):
    """The server sent </stream:stream>."""


class Disconnected(Exception):
    """The connection ended."""


class XMPPClient:
    """One connection. `timeout_s` bounds every wait."""

    _numbers = itertools.count(1)

    def __init__(
        self, address: tuple[str, int], domain: str = "localhost", *, timeout_s: float = 10.0
    ) -> None:
        self.domain = domain
        self.timeout_s = timeout_s
        self.sock: socket.socket = socket.create_connection(address, timeout=timeout_s)
        self.jid: str | None = None
        self.received = b""
        self.features: ET.Element | None = None
        self.header: ET.Element | None = None
        self._restart()

    def __enter__(self) -> XMPPClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def _restart(self) -> None:
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        self._events: list[tuple[str, ET.Element]] = []

    # bytes

    def send(self, data: str | bytes) -> None:
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def read_some(self) -> bytes:
        data = self.sock.recv(65536)
        self.received += data
        return data

    def read_to_end(self) -> bytes:
        """All bytes until the server ends the connection; its closing tag is answered."""
        data = b""
        answered = False
        while True:
            if not answered and b"</stream:stream>" in self.received + data:
                answered = True
                with contextlib.suppress(OSError):
                    self.sock.sendall(b"</stream:stream>")
            try:
                piece = self.sock.recv(65536)
            except (ConnectionResetError, ssl.SSLError):
                return data
            if not piece:
                return data
            data += piece

    # XML

    def next(self, timeout_s: float | None = None) -> ET.Element:
        """The next first-level element. StreamClosed, Disconnected, TimeoutError if none comes."""
        end = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            for event, element in self._parser.read_events():
                if event == "start":
                    self._depth += 1
                    if self._depth == 1:
                        self.header = element
                else:
                    self._depth -= 1
                    if self._depth == 1:
                        return element
                    if self._depth == 0:
                        raise StreamClosed
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.sock.settimeout(left)
            data = self.read_some()
            if not data:
                raise Disconnected
            self._parser.feed(data)
            # expat 2.6 and later keep a token back that came in pieces until much more has come
            if hasattr(self._parser, "flush"):
                self._parser.flush()

    def until(self, tag: str, **attributes: str) -> ET.Element:
        """Skip elements until one of this local name and these attributes."""
        while True:
            element = self.next()
            if element.tag.rpartition("}")[2] == tag and all(
                element.get(name.rstrip("_")) == value for name, value in attributes.items()
            ):
                return element

    def silent(self, timeout_s: float = 0.3) -> bool:
        """Whether nothing comes for a while; prefer `ping` as a fence where order is enough."""
        try:
            self.next(timeout_s)
        except TimeoutError:
            return True
        return False

    # stream negotiation

    def open(self, **attributes: str) -> ET.Element:
        """Send a header, take the response header and the features."""
        given = {"to": self.domain, "version": "1.0", **{k.rstrip("_"): v for k, v in attributes.items()}}
        self._restart()
        self.send(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
            + " ".join(f"{name}='{value}'" for name, value in given.items())
            + ">"
        )
        self.features = self.next()
        return self.features

    def starttls(self, ca: str | None = None, **context_attributes: object) -> None:
        self.send(f"<starttls xmlns='{TLS}'/>")
        answer = self.next()
        assert answer.tag == f"{{{TLS}}}proceed", answer.tag
        self.wrap(ca, **context_attributes)

    def wrap(self, ca: str | None = None, **context_attributes: object) -> None:
        context = ssl.create_default_context(cafile=ca)
        if ca is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for name, value in context_attributes.items():
            setattr(context, name, value)
        self.sock = context.wrap_socket(self.sock, server_hostname=self.domain)
        self._restart()

    def secure(self, ca: str | None = None, **attributes: str) -> ET.Element:
        """Header, STARTTLS, new header; the features after TLS."""
        self.open(**attributes)
        self.starttls(ca)
        return self.open(**attributes)

    def plain(self, user: str, password: str, authzid: str = "") -> ET.Element:
        """One SASL PLAIN attempt; its answer."""
        data = base64.b64encode(f"{authzid}\0{user}\0{password}".encode()).decode()
        self.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{data}</auth>")
        return self.next()

    def login(
        self,
        user: str,
        password: str,
        resource: str | None = None,
        *,
        ca: str | None = None,
        **attributes: str,
    ) -> XMPPClient:
        """From nothing to a bound resource."""
        self.secure(ca, **attributes)
        answer = self.plain(user, password)
        assert answer.tag == f"{{{SASL}}}success", ET.tostring(answer)
        self.open(**attributes)
        self.bind(resource)
        return self

    def bind(self, resource: str | None = None) -> ET.Element:
        wish = f"<resource>{resource}</resource>" if resource is not None else ""
        answer = self.iq("set", f"<bind xmlns='{BIND}'>{wish}</bind>")
        jid = answer.find(f"{{{BIND}}}bind/{{{BIND}}}jid")
        if jid is not None:
            self.jid = jid.text
        return answer

    # stanzas

    def iq(self, type_: str, payload: str, **attributes: str) -> ET.Element:
        """Send an IQ and take its answer, skipping what comes between."""
        id_ = f"q{next(self._numbers)}"
        extra = "".join(f" {name.rstrip('_')}='{value}'" for name, value in attributes.items())
        self.send(f"<iq type='{type_}' id='{id_}'{extra}>{payload}</iq>")
        return self.until("iq", id=id_)

    def fence(self) -> list[ET.Element]:
        """Everything that came before the answer to a ping of the server: what was sent before has been handled."""
        id_ = f"f{next(self._numbers)}"
        self.send(f"<iq type='get' id='{id_}' to='{self.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
        seen = []
        while True:
            element = self.next()
            if element.get("id") == id_ and element.tag == f"{{{CLIENT}}}iq":
                return seen
            seen.append(element)

    def present(self, inner: str = "") -> list[ET.Element]:
        """Initial presence; what came in answer."""
        self.send(f"<presence>{inner}</presence>" if inner else "<presence/>")
        return self.fence()

    def close(self) -> None:
        """Close the stream in order."""
        self.send("</stream:stream>")
        try:
            while True:
                self.next()
        except (StreamClosed, Disconnected):
            pass
        self.sock.close()


def condition(element: ET.Element) -> str | None:
    """The condition of a stanza error, stream error or SASL failure."""
    error = (
        element
        if element.tag in (f"{{{STREAMS}}}error", f"{{{SASL}}}failure")
        else element.find(f"{{{CLIENT}}}error")
    )
    if error is None:
        return None
    for child in error:
        name = child.tag.rpartition("}")[2]
        if name != "text":
            return name
    return None


def find(elements: list[ET.Element], name: str, **attributes: str) -> list[ET.Element]:
    """Those of this local name and these attributes; an attribute of None must be absent."""
    return [
        element
        for element in elements
        if element.tag.rpartition("}")[2] == name
        and all(element.get(key.rstrip("_")) == value for key, value in attributes.items())
    ]
