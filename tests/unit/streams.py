"""Hypothesis strategies for XML streams, right and wrong, and ways to read them that several tests use."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from xmppd._fast.element import Element
from xmppd._fast.reader import Limits, Stanza, StreamClose, StreamHeader, StreamReader
from xmppd.errors import StreamError

HEADER = (
    b"<?xml version='1.0'?><stream:stream to='im.example' version='1.0' xml:lang='en' "
    b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:out='urn:out'>"
)
XML_CHARS = st.characters(
    codec="utf-8",
    exclude_characters="".join(chr(c) for c in range(32) if chr(c) not in "\t\n\r") + "\ufffe\uffff",
)
NAMES = st.sampled_from(["a", "b", "body", "query", "x", "to", "from", "id", "type", "a-b", "_x", "x.1"])
PREFIXES = st.sampled_from(["", "", "", "", "p", "q"])
URIS = st.sampled_from(["jabber:client", "urn:xmpp:ping", "urn:u", "urn:v", "jabber:iq:roster"])
AS_WRITTEN = st.sampled_from(
    ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#65;", "&#x1F600;", "&#10;", "&#xD;", "&#9;"]
)
ODD = st.sampled_from(["]]", "\r\n", "\r", "\t", "'", '"'])


@st.composite
def texts(draw: st.DrawFn, quote: str = "") -> str:
    """Character data, or the inside of an attribute value in `quote`, as written."""
    out = []
    for reference in draw(st.lists(st.booleans(), max_size=4)):
        if reference:
            out.append(draw(AS_WRITTEN))
            continue
        piece = draw(st.text(XML_CHARS, max_size=8) | ODD).replace("&", "&amp;").replace("<", "&lt;")
        out.append(piece.replace(quote, f"&#{ord(quote)};") if quote else piece.replace(">", "&gt;"))
    return "".join(out)


def spelled(uri: str) -> st.SearchStrategy[str]:
    """A namespace name as it may be written: nearly always as it is."""
    odd = st.integers(0, len(uri) - 1).map(lambda i: f"{uri[:i]}&#x{ord(uri[i]):x};{uri[i + 1 :]}")
    return st.integers(0, 9).flatmap(lambda n: odd if n == 0 else st.just(uri))


@st.composite
def attributes(draw: st.DrawFn, declared: dict[str, str]) -> str:
    out, seen = [], set()
    for name in draw(st.lists(NAMES, max_size=4)):
        prefix = draw(st.sampled_from([*("", "", ""), *(p for p in declared if p)]))
        key = (declared[prefix] if prefix else "", name)
        if key in seen:
            continue
        seen.add(key)
        quote = draw(st.sampled_from("'\""))
        space = draw(st.sampled_from([" ", " ", "  ", "\n", "\t "]))
        eq = draw(st.sampled_from(["=", "=", "=", " = "]))
        out.append(f"{space}{prefix}{':' if prefix else ''}{name}{eq}{quote}{draw(texts(quote))}{quote}")
    if draw(st.integers(0, 5)) == 0:
        out.append(" xml:lang='de'")
    return "".join(out)


@st.composite
def elements(draw: st.DrawFn, declared: dict[str, str], depth: int, name: str = "") -> str:
    """An element as written; `name`: a stanza of that name in the content namespace."""
    declared = dict(declared)
    own = prefix = ""
    if not name or draw(st.integers(0, 3)) == 0:
        for new in draw(st.lists(PREFIXES, max_size=2, unique=True)):
            declared[new] = "jabber:client" if name and not new else draw(URIS)
            own += f" xmlns{':' if new else ''}{new}='{draw(spelled(declared[new]))}'"
    if not name:
        prefix = draw(st.sampled_from(["", "", *declared]))
    elif draw(st.integers(0, 9)) == 0:
        prefix, own = "s", own + " xmlns:s='jabber:client'"
        declared["s"] = "jabber:client"
    tag = (prefix + ":" if prefix else "") + (name or draw(NAMES))
    head = [own, draw(attributes(declared))]
    start = (
        f"<{tag}{''.join(head if draw(st.booleans()) else head[::-1])}{draw(st.sampled_from(['', '', ' ']))}"
    )
    inner = []
    for _ in range(draw(st.integers(0, 3)) if depth else 0):
        match draw(st.integers(0, 5)):
            case 0 | 1 | 2:
                inner.append(draw(elements(declared, depth - 1)))
            case 3 | 4:
                inner.append(draw(texts()))
            case _:
                inner.append(f"<![CDATA[{draw(st.text(XML_CHARS, max_size=8)).replace(']]>', '')}]]>")
    if not inner and draw(st.booleans()):
        return start + "/>"
    return f"{start}>{''.join(inner)}</{tag}{draw(st.sampled_from(['', '', ' ']))}>"


def stanzas() -> st.SearchStrategy[bytes]:
    return (
        st.sampled_from(["message", "presence", "iq"])
        .flatmap(lambda name: elements({"": "jabber:client", "out": "urn:out"}, 4, name))
        .map(str.encode)
    )


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A right stream, with white space between its stanzas, closed or not."""
    parts = [HEADER]
    for stanza in draw(st.lists(stanzas(), max_size=4)):
        parts += [stanza, draw(st.sampled_from([b"", b"", b" ", b"\n\r\t"]))]
    return b"".join(parts) + draw(st.sampled_from([b"", b"</stream:stream>", b"</stream:stream >"]))


SNIPPETS = [
    b"<", b">", b"&", b"'", b'"', b"/", b"=", b" ", b":", b"!", b"?", b"]]>", b"<!--", b"-->", b"<?", b"?>",
    b"<![CDATA[", b"<!DOCTYPE a>", b"&foo;", b"&#0;", b"&#xD800;", b"&#xFFFE;", b"&amp", b"<a", b"</a>",
    b"<a/>", b"<p:a/>", b" a='1'", b" a='1' a='2'", b" xmlns:p=''", b" xmlns:p='u'", b" xmlns='urn:v'",
    b" xmlns:xml='u'", b" p:a='1' q:a='2'", b"\x00", b"\x01", b"\x80", b"\xff", b"\xc0\x80",
    b"\xed\xa0\x80", b"\xef\xbf\xbe", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"<?xml version='1.0'?>",
    b"<message/>", b"<x/>", b"</stream:stream>",
    b"<foo xmlns='urn:nobody'/>", b"text", b" xmlns:p='&#117;'", b" xmlns:q='urn:\t&lt;'",
]  # fmt: skip


@st.composite
def broken_streams(draw: st.DrawFn) -> bytes:
    """A stream with something cut out, put in or changed."""
    data = draw(streams())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data = data[:at] + draw(st.sampled_from(SNIPPETS)) + data[at:]
            case 1:
                data = data[:at] + data[at + draw(st.integers(1, 4)) :]
            case 2:
                data = data[:at] + draw(st.binary(min_size=1, max_size=2)) + data[at + 1 :]
            case _:
                data = data[:at]
    return data


def any_streams() -> st.SearchStrategy[bytes]:
    soup = st.lists(st.sampled_from(SNIPPETS), max_size=12).map(
        lambda parts: HEADER + b"<iq>" + b"".join(parts)
    )
    return streams() | broken_streams() | soup | st.binary(max_size=40)


# ---- reading ----

Event = StreamHeader | Stanza | StreamClose | StreamError


def feed(
    chunks: Iterable[bytes], content_ns: str = "jabber:client", limits: Limits | None = None
) -> list[Event]:
    reader = StreamReader(content_ns=content_ns, limits=limits)
    return [event for chunk in chunks for event in reader.feed(chunk)]


def one_by_one(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def pieces(data: bytes, seed: int) -> list[bytes]:
    """`data` in pieces of random length."""
    rng, out, at = random.Random(seed), [], 0  # noqa: S311 (no secret)
    while at < len(data):
        n = rng.choice([1, 2, 3, 7, 20, 100])
        out.append(data[at : at + n])
        at += n
    return out


def tree(e: Element | str) -> Any:
    """An Element as plain tuples."""
    if isinstance(e, str):
        return e
    return (e.ns, e.name, e.attrs or {}, [tree(c) for c in e.children or []])


def plain(event: Event) -> tuple[Any, ...]:
    """An event as a value that can be compared: all that can be asked of it."""
    match event:
        case StreamHeader(raw=raw, declarations=declared, to=to, from_=from_, version=version, lang=lang):
            return ("open", raw, declared, to, from_, event.id, version, lang)
        case Stanza(raw=raw, kind=kind, type=type_, flags=flags):
            children = [event.child(i) for i in range(event.nchild)]
            names = (event.ns, event.name, event.to, event.from_, event.id, event.lang)
            return ("stanza", raw, kind, type_, event.type_id, flags, names, children, tree(event.element()))
        case StreamClose():
            return ("close",)
    return ("error", event.condition, event.text, event.app)
