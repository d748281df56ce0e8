"""Reading a stream: framing and a plain tree on the standard library's expat, and comparison in canonical form.

Only what a stream needs: a root that stays open, its children one by one, its end. Namespaces are resolved by
expat, which is told to put U+0001, a character that XML does not have, between namespace and name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from xmppd.conformance.names import XML

SEPARATOR: Final = "\x01"


class NotWellFormed(Exception):
    """The bytes are not XML; the text says what is wrong with them."""


@dataclass(slots=True)
class Element:
    """An element; attributes that are in a namespace are named `{namespace}name`."""

    namespace: str
    name: str
    attributes: Mapping[str, str]
    children: list[Element | str] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """The value of an attribute without a namespace, or of `xml:lang`."""
        return self.attributes.get(f"{{{XML}}}lang" if name == "xml:lang" else name)

    @property
    def elements(self) -> list[Element]:
        """The children that are elements."""
        return [child for child in self.children if isinstance(child, Element)]

    @property
    def text(self) -> str:
        """The character data right inside."""
        return "".join(child for child in self.children if isinstance(child, str))

    def find(self, name: str, namespace: str | None = None) -> Element | None:
        """The first child of that name; without a namespace given, in the namespace of this element."""
        namespace = self.namespace if namespace is None else namespace
        for child in self.elements:
            if child.name == name and child.namespace == namespace:
                return child
        return None

    def is_(self, name: str, namespace: str) -> bool:
        return self.name == name and self.namespace == namespace

    def everything(self) -> Iterator[Element]:
        """This element and all below it."""
        yield self
        for child in self.elements:
            yield from child.everything()

    def __str__(self) -> str:
        """Canonical form: every namespace said where it changes, no prefixes, attributes in order."""
        return self._written("")

    def _written(self, around: str) -> str:
        declared = f" xmlns={quoteattr(self.namespace)}" if self.namespace != around else ""
        given = "".join(f" {name}={quoteattr(value)}" for name, value in sorted(self.attributes.items()))
        inside = "".join(
            escape(child) if isinstance(child, str) else child._written(self.namespace)
            for child in self.children
        )
        start = f"<{self.name}{declared}{given}"
        return f"{start}>{inside}</{self.name}>" if self.children else f"{start}/>"


def canonical(element: Element) -> str:
    """Two elements mean the same if and only if this is equal."""
    return str(element)


@dataclass(frozen=True, slots=True)
class Header:
    """The start tag of a stream, with what it declares: prefix ("" for the default) to namespace."""

    element: Element
    declared: Mapping[str, str]

    def get(self, name: str) -> str | None:
        return self.element.get(name)

    def __str__(self) -> str:
        return str(self.element)


@dataclass(frozen=True, slots=True)
class Text:
    """Character data between first-level elements."""

    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The closing tag of the stream."""


Event = Header | Element | Text | Closed


class StreamReader:
    """Bytes in, events out. What a server must never send is noted in `faults` as it is seen (RFC 6120 11).

    The parser is fed up to each `>` only until there is an event, so that what stands behind one that restarts the
    stream is left for the new stream.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._pending = b""
        self._events: list[Event] = []
        self.restart()

    def restart(self) -> None:
        """A new document begins with the next byte."""
        parser = expat.ParserCreate(namespace_separator=SEPARATOR)
        # expat 2.6 and later keep a token back that came in pieces until much more has come
        if hasattr(parser, "SetReparseDeferralEnabled"):
            parser.SetReparseDeferralEnabled(False)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartNamespaceDeclHandler = self._declare
        parser.XmlDeclHandler = self._declaration
        parser.CommentHandler = lambda _: self.faults.append("a comment")
        parser.ProcessingInstructionHandler = lambda *_: self.faults.append("a processing instruction")
        parser.StartDoctypeDeclHandler = lambda *_: self.faults.append("a document type declaration")
        self._parser = parser
        self._path: list[Element] = []
        self._declared: dict[str, str] = {}
        self._has_root = False
        self._first = True
        self._events.clear()

    @property
    def pending(self) -> bytes:
        """Bytes not looked at yet."""
        return self._pending

    def feed(self, data: bytes) -> None:
        """More bytes."""
        self._pending += data

    def next(self) -> Event | None:
        """The next event, or None if it needs more bytes. Raises NotWellFormed."""
        while not self._events:
            piece, bracket, rest = self._pending.partition(b">")
            if not piece and not bracket:
                return None
            self._pending = rest
            self._parse(piece + bracket)
        return self._events.pop(0)

    def _parse(self, piece: bytes) -> None:
        if self._first and piece.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            self.faults.append("a byte order mark")
        self._first = False
        try:
            self._parser.Parse(piece, False)
        except expat.ExpatError as error:
            raise NotWellFormed(expat.errors.messages[error.code]) from None
        except (UnicodeDecodeError, LookupError) as error:
            raise NotWellFormed(str(error)) from None

    # ---- what expat tells

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() != "utf-8":
            self.faults.append(f"the encoding {encoding}")

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        if not self._has_root:
            self._declared[prefix or ""] = uri or ""

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, local = _split(name)
        named = {_attribute(each): value for each, value in attributes.items()}
        element = Element(namespace, local, named)
        if not self._has_root:
            self._has_root = True
            self._events.append(Header(element, dict(self._declared)))
        elif self._path:
            self._path[-1].children.append(element)
            self._path.append(element)
        else:
            self._path.append(element)

    def _end(self, _name: str) -> None:
        if not self._path:
            self._events.append(Closed())
            return
        element = self._path.pop()
        if not self._path:
            self._events.append(element)

    def _text(self, text: str) -> None:
        if not self._path:
            self._events.append(Text(text))
            return
        children = self._path[-1].children
        if children and isinstance(last := children[-1], str):
            children[-1] = last + text
        else:
            children.append(text)


def _split(name: str) -> tuple[str, str]:
    namespace, _, local = name.rpartition(SEPARATOR)
    return namespace, local


def _attribute(name: str) -> str:
    namespace, local = _split(name)
    return f"{{{namespace}}}{local}" if namespace else local


def parse(text: str) -> Element:
    """An element from its text, for comparison with what came. Raises NotWellFormed."""
    reader = StreamReader()
    reader.feed(f"<root>{text}".encode())
    reader.next()
    event = reader.next()
    if not isinstance(event, Element):
        raise NotWellFormed("not one whole element")
    return event
