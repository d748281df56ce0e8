"""A second StreamReader, in plain Python on pyexpat: the oracle of the tests, never part of the server.

It reads whole inputs only, and says what the stream holds as plain tuples: ("open", attributes),
("stanza", tree), ("close",), ("error",). A tree is (namespace, name, attributes, children). Where two
errors meet in one tag, expat and the tokenizer may see the other one first: the twin says that there is
an error, not which.
"""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

STREAMS = "http://etherx.jabber.org/streams"
FIRST_LEVEL = {
    STREAMS,
    "urn:ietf:params:xml:ns:xmpp-tls",
    "urn:ietf:params:xml:ns:xmpp-sasl",
    "urn:xmpp:sasl:2",
    "urn:xmpp:sm:3",
    "urn:xmpp:sm:2",
    "urn:xmpp:csi:0",
    "http://jabber.org/protocol/compress",
    "jabber:server:dialback",
    "jabber:component:accept",
}
UNFINISHED = {3, 5, 6, 20}  # no element, unclosed token, partial character, unclosed CDATA section
SPACE = " \t\r\n"


class Wrong(Exception):
    """A rule that XMPP adds to XML."""


class Closed(Exception):
    """The stream has ended."""


def split_name(name: str) -> tuple[str, str]:
    uri, _, local = name.rpartition("\x01")
    return uri, local


class Twin:
    def __init__(self, data: bytes, content_ns: str = "jabber:client") -> None:
        self.data = data
        self.content_ns = content_ns
        self.events: list[Any] = []
        self.stack: list[Any] = []
        self.depth = 0
        self.declared: dict[str | None, str | None] = {}
        p = self.parser = expat.ParserCreate("UTF-8", "\x01")
        p.ordered_attributes = True
        p.StartElementHandler = self.start
        p.EndElementHandler = self.end
        p.CharacterDataHandler = self.text
        p.StartNamespaceDeclHandler = self.namespace
        p.XmlDeclHandler = self.declaration
        p.StartCdataSectionHandler = self.cdata
        for name in ("CommentHandler", "ProcessingInstructionHandler", "StartDoctypeDeclHandler"):
            setattr(p, name, self.restricted)

    def restricted(self, *_: object) -> None:
        raise Wrong

    def cdata(self) -> None:
        if self.depth == 1:
            raise Wrong

    def declaration(self, version: str, encoding: str | None, _standalone: int) -> None:
        if version != "1.0" or (encoding is not None and encoding.lower() != "utf-8"):
            raise Wrong

    def namespace(self, prefix: str | None, uri: str | None) -> None:
        if not self.depth:
            self.declared[prefix] = uri

    def start(self, full: str, flat: list[str]) -> None:
        ns, name = split_name(full)
        attrs = {}
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            uri, local = split_name(key)
            attrs[f"{{{uri}}}{local}" if uri else local] = value
        if self.depth == 0:
            default = self.declared.get(None) or ""
            if ns != STREAMS or name != "stream" or default not in ("", STREAMS, self.content_ns):
                raise Wrong
            if self.self_closed():
                raise Wrong
            self.events.append(("open", attrs))
        elif self.depth == 1 and (
            name not in ("message", "presence", "iq") if ns == self.content_ns else ns not in FIRST_LEVEL
        ):
            raise Wrong
        self.depth += 1
        if self.depth > 1:
            self.stack.append((ns, name, attrs, []))

    def self_closed(self) -> bool:
        """Does the tag that starts here end with "/>"?"""
        at, quote = self.parser.CurrentByteIndex, 0
        while True:
            c = self.data[at]
            if quote:
                quote = 0 if c == quote else quote
            elif c in b"'\"":
                quote = c
            elif c == 0x3E:
                return self.data[at - 1] == 0x2F
            at += 1

    def end(self, _name: str) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.events.append(("close",))
            raise Closed
        tree = self.stack.pop()
        if self.stack:
            self.stack[-1][3].append(tree)
        else:
            self.events.append(("stanza", tree))

    def text(self, text: str) -> None:
        if not self.stack:
            at = self.parser.CurrentByteIndex
            if text.strip(SPACE) or self.data[at : at + 1] == b"&":
                raise Wrong
            return
        children = self.stack[-1][3]
        if children and isinstance(children[-1], str):
            children[-1] += text
        else:
            children.append(text)


def read(data: bytes, content_ns: str = "jabber:client") -> list[Any]:
    """What a stream of `data` holds."""
    twin = Twin(data, content_ns)
    if data.startswith((b"\xef\xbb\xbf", b"\xff", b"\xfe", b"\0")) or data[1:2] == b"\0":
        return [("error",)]  # no byte order mark, no UTF-16 (RFC 6120 11.6)
    try:
        twin.parser.Parse(data, True)
    except Closed:
        pass
    except Wrong:
        twin.events.append(("error",))
    except expat.ExpatError as error:
        if error.code not in UNFINISHED:
            twin.events.append(("error",))
    return twin.events
