"""Stanza: what it knows of itself, and that writing it out again changes the start tag and nothing else."""

from __future__ import annotations

import gc
import sys
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.streams import HEADER, feed, plain, stanzas, tree
from xmppd._fast.element import escape_attr
from xmppd._fast.reader import KIND_IQ, KIND_MESSAGE, KIND_OTHER, KIND_PRESENCE, Stanza, StreamReader
from xmppd.errors import StanzaError, StreamError

# what the receiver's stream declares: not the prefixes of the sender's
RECEIVER = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
WIRES = st.sampled_from([None, b"", b"juliet@capulet.example", b"a@b/it&apos;s &lt;3 &amp;c"])
LANGS = st.sampled_from([None, b"fr"])


def one(raw: bytes, header: bytes = HEADER) -> Stanza:
    """The stanza `raw` of a stream that `header` opens."""
    stanza = feed([header + raw])[-1]
    assert isinstance(stanza, Stanza)
    return stanza


def arrived(wire: bytes) -> Any:
    """What a receiver understands."""
    return tree(one(wire, RECEIVER).element())


def with_attrs(infoset: Any, **changed: str | None) -> Any:
    ns, name, attrs, children = infoset
    return ns, name, {k: v for k, v in (attrs | changed).items() if v is not None}, children


def text_of(wire: bytes) -> str:
    return ElementTree.fromstring(b"<a b='" + wire + b"'/>").attrib["b"]  # noqa: S314


def expected(stanza: Stanza, to: bytes | None, from_: bytes | None, lang: bytes | None) -> Any:
    changed: dict[str, str | None] = {}
    for name, wire in (("to", to), ("from", from_)):
        if wire is not None:
            changed[name] = text_of(wire) if wire else None
    if lang is not None and stanza.lang is None:
        changed[XML_LANG] = lang.decode()
    return with_attrs(tree(stanza.element()), **changed)


# ---- the law: what arrives is what was sent, but for to, from and xml:lang ----


@settings(max_examples=300, deadline=None)
@given(stanzas(), WIRES, WIRES, LANGS)
def test_render(raw: bytes, to: bytes | None, from_: bytes | None, lang: bytes | None) -> None:
    stanza = one(raw)
    assert arrived(stanza.render(to, from_, lang)) == expected(stanza, to, from_, lang)


@settings(max_examples=200, deadline=None)
@given(stanzas(), WIRES, LANGS)
def test_split(raw: bytes, from_: bytes | None, lang: bytes | None) -> None:
    stanza = one(raw)
    head, tail = stanza.split(from_, lang)
    assert arrived(head + b" to='a&amp;b'" + tail) == expected(stanza, b"a&amp;b", from_, lang)


@pytest.mark.req("1-30.2")
@settings(max_examples=200, deadline=None)
@given(stanzas(), WIRES, WIRES, LANGS)
def test_error_reply(raw: bytes, to: bytes | None, from_: bytes | None, lang: bytes | None) -> None:
    stanza = one(raw)
    error = StanzaError("item-not-found").to_xml()
    sent = expected(stanza, None, None, lang)
    got = arrived(stanza.error_reply(error, to, from_, lang))
    attrs = dict(sent[2], type="error")
    for name, wire, other in (("to", to, stanza.from_), ("from", from_, stanza.to)):
        value = other if wire is None else text_of(wire) if wire else None
        attrs.pop(name, None)
        if value is not None:
            attrs[name] = value
    assert got[:3] == (sent[0], sent[1], attrs)
    assert got[3][:-1] == sent[3]
    assert got[3][-1][:2] == ("jabber:client", "error")


@settings(max_examples=200, deadline=None)
@given(stanzas())
def test_as_elementtree_sees_it(raw: bytes) -> None:
    stanza = one(raw)
    root = ElementTree.fromstring(HEADER + raw + b"</stream:stream>")  # noqa: S314

    def infoset(e: ElementTree.Element) -> Any:
        ns, _, name = e.tag.rpartition("}")
        children: list[Any] = [e.text] if e.text else []
        for child in e:
            children.append(infoset(child))
            if child.tail:
                children.append(child.tail)
        return ns[1:], name, dict(e.attrib), children

    assert tree(stanza.element()) == infoset(root[0])
    elements = [c for c in tree(stanza.element())[3] if not isinstance(c, str)]
    assert [stanza.child(i) for i in range(stanza.nchild)] == [c[:2] for c in elements]
    for ns, name, *_ in elements:
        assert stanza.has_child(ns, name)
        found = stanza.find(ns, name)
        assert found is not None
        assert tree(found) == next(c for c in elements if c[:2] == (ns, name))
    assert stanza.find("urn:nobody", "a") is None
    assert not stanza.has_child("urn:u", "nothing")


@settings(max_examples=100, deadline=None)
@given(stanzas())
def test_parse_reads_what_render_wrote(raw: bytes) -> None:
    wire = one(raw).render()
    assert tree(Stanza.parse(wire).element()) == arrived(wire)
    assert Stanza.parse(wire).render() == wire


# ---- by example ----


def test_render_keeps_bytes() -> None:
    """Content, unknown attributes and their quotes are copied, not written anew."""
    raw = (
        b"<message  to=\"a\"\n id='1' from='b' x:a=\"it's\" xmlns:x='urn:x' type='chat' >"
        b"<body>&#x41;<![CDATA[<]]>\r</body> </message >"
    )
    assert one(raw).render(b"t", b"f", b"en") == (
        b"<message\n id='1' x:a=\"it's\" xmlns:x='urn:x' type='chat'  to='t' from='f' xml:lang='en'>"
        b"<body>&#x41;<![CDATA[<]]>\r</body> </message >"
    )


def test_render_as_it_is() -> None:
    raw = b"<presence to='a' from='b'/>"
    assert one(raw).render() == raw
    assert one(b"<presence xmlns='jabber:client' to='a'/>").render() == b"<presence to='a'/>"
    assert one(raw).render(b"", b"") == b"<presence/>"
    assert one(b"<iq/>").render(b"t", None, b"de") == b"<iq to='t' xml:lang='de'/>"


@pytest.mark.req("1-30.2")
def test_own_prefix_is_corrected() -> None:
    """RFC 6120 4.8.5: a prefixed stanza must not be sent on as it is."""
    stanza = one(
        b"<foo:message xmlns:foo='jabber:client' to='a'><foo:body>x</foo:body><y xmlns='urn:y'/></foo:message>"
    )
    assert stanza.kind == KIND_MESSAGE
    assert stanza.render(b"t") == b"<message to='t'><body>x</body><y xmlns='urn:y'/></message>"
    head, tail = stanza.split()
    assert (head, tail) == (b"<message", b"><body>x</body><y xmlns='urn:y'/></message>")
    assert stanza.error_reply(b"<e/>", b"", b"") == (
        b"<message type='error'><body>x</body><y xmlns='urn:y'/><e/></message>"
    )


def test_what_is_no_stanza_keeps_its_prefix() -> None:
    assert one(b"<stream:error><a/></stream:error>").render() == (
        b"<stream:error xmlns:stream='http://etherx.jabber.org/streams'><a/></stream:error>"
    )


def test_prefix_of_the_header_goes_along() -> None:
    stanza = one(b"<iq><out:a/><b out:c='1'/></iq>")
    assert stanza.render() == b"<iq xmlns:out='urn:out'><out:a/><b out:c='1'/></iq>"
    assert one(b"<iq><a xmlns:out='urn:other'><out:b/></a></iq>").render() == (
        b"<iq><a xmlns:out='urn:other'><out:b/></a></iq>"
    )


def test_nested_content_namespace_stays() -> None:
    raw = b"<message><forwarded xmlns='urn:x'><message xmlns='jabber:client'/></forwarded></message>"
    assert one(raw).render() == raw


def test_many_children() -> None:
    raw = b"<iq>" + b"".join(b"<a%d xmlns='urn:%d'>%d</a%d>" % (i, i, i, i) for i in range(20)) + b"</iq>"
    stanza = one(raw)
    assert stanza.nchild == 20
    assert [stanza.child(i) for i in range(20)] == [(f"urn:{i}", f"a{i}") for i in range(20)]
    for i in (0, 7, 8, 19):
        found = stanza.find(f"urn:{i}", f"a{i}")
        assert found is not None
        assert found.text() == str(i)
        assert stanza.has_child(f"urn:{i}", f"a{i}")
    assert not stanza.has_child("urn:0", "a1")
    assert stanza.find("urn:10", "a1") is None
    assert stanza.find("urn:9", "a") is None
    for bad in (-1, 20):
        with pytest.raises(IndexError):
            stanza.child(bad)


@settings(max_examples=100, deadline=None)
@given(st.lists(stanzas(), min_size=1, max_size=4))
def test_children_beyond_those_with_a_record(inner: list[bytes]) -> None:
    stanza = one(b"<message>" + b"<pad/>" * 8 + b" ".join(inner) + b"</message>")
    children = list(stanza.element())
    assert stanza.nchild == len(children) == 8 + len(inner)
    for i, child in enumerate(children):
        assert stanza.child(i) == (child.ns, child.name)
        assert stanza.find(child.ns, child.name) == next(
            c for c in children if (c.ns, c.name) == (child.ns, child.name)
        )
    assert not stanza.has_child("urn:nobody", children[-1].name)


def test_many_children_of_all_shapes() -> None:
    far = (
        b"<a b='>' c=\"'/>\"/> <![CDATA[<z/>]>]]]]><d><d/><![CDATA[</d>]]></d><e ></e ><out:f/><d xmlns='urn:d'>1</d>"
        b"<p:g xmlns:p='urn:g'><p:g/></p:g>\n<last/>"
    )
    stanza = one(b"<message>" + b"<x/>" * 8 + far + b"</message>")
    names = [("jabber:client", n) for n in "ade"] + [("urn:out", "f"), ("urn:d", "d"), ("urn:g", "g")]
    names.append(("jabber:client", "last"))
    assert [stanza.child(i) for i in range(8, stanza.nchild)] == names
    for ns, name in names:
        found = stanza.find(ns, name)
        assert found is not None
        assert (found.ns, found.name) == (ns, name)
    assert not stanza.has_child("jabber:client", "z")
    found = stanza.find("urn:d", "d")
    assert found is not None
    assert found.text() == "1"


TYPES = [
    "chat", "normal", "headline", "groupchat", "error", "get", "set", "result", "unavailable", "subscribe",
    "subscribed", "unsubscribe", "unsubscribed", "probe",
]  # fmt: skip


@pytest.mark.parametrize("text", [*TYPES, "", "chats", "cha", "x" * 300, "gett"])
def test_type(text: str) -> None:
    stanza = one(f"<iq type='{text}'/>".encode())
    assert stanza.type == text
    written_otherwise = one("<iq type='{}'/>".format("".join(f"&#{ord(c)};" for c in text)).encode())
    assert (written_otherwise.type, written_otherwise.type_id) == (text, stanza.type_id)
    assert one(b"<iq/>").type is None


def test_type_with_another_reference() -> None:
    stanza = one(b"<iq type='probe&quot;'/>")
    assert (stanza.type, stanza.type_id) == ('probe"', 1)


def test_kinds() -> None:
    kinds = [one(f"<{name}/>".encode()).kind for name in ("message", "presence", "iq")]
    assert kinds == [KIND_MESSAGE, KIND_PRESENCE, KIND_IQ]
    assert one(b"<r xmlns='urn:xmpp:sm:3'/>").kind == KIND_OTHER
    assert one(b"<stream:error/>").kind == KIND_OTHER


def test_empty_attribute_is_not_absent() -> None:
    stanza = one(b"<iq to='' xml:lang=''/>")
    assert (stanza.to, stanza.from_, stanza.lang) == ("", None, "")
    assert stanza.render(None, None, b"de") == stanza.raw


@pytest.mark.parametrize(
    ("raw", "value"),
    [("a&amp;b", "a&b"), ("a\tb\nc\rd\r\ne", "a b c d e"), ("&#9;&#xA;", "\t\n"), ("ж&lt;", "ж<")],
)
def test_attribute_values(raw: str, value: str) -> None:
    stanza = one(f"<iq to='{raw}' from=\"{raw}\" id='{raw}' xml:lang='{raw}'/>".encode())
    assert (stanza.to, stanza.from_, stanza.id, stanza.lang) == (value,) * 4


def test_reply() -> None:
    stanza = one(
        b"<iq type='get' id=\"it's\" to='im.example' from=\"a@b/c'd\"><ping xmlns='urn:xmpp:ping'/></iq>"
    )
    assert stanza.reply(b"") == b"<iq type='result' id=\"it's\" to=\"a@b/c'd\" from='im.example'/>"
    assert stanza.reply(b"<q/>", b"x", b"") == b"<iq type='result' id=\"it's\" to='x'><q/></iq>"


def test_error_reply_keeps_language_and_drops_type() -> None:
    stanza = one(b"<message type='chat' xml:lang='de' to='a' id='5'><body>x</body></message>")
    assert stanza.error_reply(b"<error/>") == (
        b"<message xml:lang='de' id='5' type='error' from='a'><body>x</body><error/></message>"
    )
    assert one(b"<iq/>").error_reply(b"<error/>") == b"<iq type='error'><error/></iq>"


@pytest.mark.parametrize("raw", [b"", b"<iq>", b"<iq/><iq/>", b" <iq/>", b"<iq/> ", b"x", b"</>", b"<a/>"])
def test_parse_wants_one_stanza(raw: bytes) -> None:
    with pytest.raises(StreamError):
        Stanza.parse(raw)


def test_parse_in_another_namespace() -> None:
    assert Stanza.parse(b"<iq/>", "jabber:server").ns == "jabber:server"
    with pytest.raises(StreamError):
        Stanza.parse(b"<iq xmlns='jabber:client'/>", "jabber:server")


@pytest.mark.parametrize("bad", ["text", 5])
def test_addresses_are_bytes(bad: Any) -> None:
    with pytest.raises(TypeError):
        one(b"<iq/>").render(bad)


def test_small_and_unknown_to_the_collector() -> None:
    stanza = one(b"<message to='a'>" + b"<a xmlns='urn:a'/>" * 8 + b"</message>")
    assert not gc.is_tracked(stanza)
    assert sys.getsizeof(stanza) < 512
    assert not gc.is_tracked(stanza.element())


def test_immutable() -> None:
    stanza = one(b"<iq/>")
    for name in ("raw", "kind", "type", "flags", "to"):
        with pytest.raises(AttributeError):
            setattr(stanza, name, 1)


def test_address_from_text() -> None:
    """What escape_attr makes can be given to render."""
    wire = escape_attr("o'hara@x/\"<&>\n").encode()
    assert one(one(b"<iq/>").render(wire)).to == "o'hara@x/\"<&>\n"


def test_stanza_outlives_its_stream() -> None:
    reader = StreamReader()
    stanza = reader.feed(HEADER + b"<iq><out:a/></iq>")[-1]
    before = plain(stanza)
    reader.restart()
    reader.feed(HEADER.replace(b"urn:out", b"urn:xxx"))
    del reader
    assert plain(stanza) == before
