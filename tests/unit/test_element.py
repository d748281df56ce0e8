"""Element: trees from bytes, bytes from trees, escaping."""

from __future__ import annotations

import contextlib
import gc
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.streams import HEADER, XML_CHARS, feed, stanzas
from xmppd._fast.element import Element, escape_attr, escape_text, parse, serialize
from xmppd._fast.reader import Stanza

TEXTS = st.text(XML_CHARS, max_size=20)
NAMES = st.sampled_from(["a", "b", "item", "x.1", "_y", "имя"])
URIS = st.sampled_from(["", "jabber:client", "urn:a", "urn:b"])
KEYS = st.builds(lambda uri, name: f"{{{uri}}}{name}" if uri else name, URIS, NAMES) | st.just(
    "{http://www.w3.org/XML/1998/namespace}lang"
)


def merged(children: list[Element | str]) -> list[Element | str] | None:
    """Texts beside each other made one: what a reader must make of them."""
    out: list[Element | str] = []
    for child in children:
        if isinstance(child, str) and out and isinstance(out[-1], str):
            out[-1] += child
        elif child != "":
            out.append(child)
    return out or None


def element(ns: str, name: str, attrs: dict[str, str], children: list[Element | str]) -> Element:
    return Element(ns, name, attrs or None, merged(children))


TREES = st.recursive(
    st.builds(element, URIS, NAMES, st.dictionaries(KEYS, TEXTS, max_size=3), st.just([])),
    lambda inner: st.builds(
        element, URIS, NAMES, st.dictionaries(KEYS, TEXTS, max_size=2), st.lists(inner | TEXTS, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(TREES, URIS)
def test_round_trip(e: Element, ns: str) -> None:
    """What is written is read back, by us and by ElementTree, in any default namespace."""
    wire = serialize(e, ns)
    assert parse(wire, ns) == e
    root = ElementTree.fromstring(b"<r xmlns='" + ns.encode() + b"'>" + wire + b"</r>")[0]  # noqa: S314
    assert root.tag == (f"{{{e.ns}}}{e.name}" if e.ns else e.name)
    assert root.attrib == (e.attrs or {})
    assert "".join(root.itertext()) == "".join(texts(e))


def texts(e: Element) -> list[str]:
    return [t for c in e.children or [] for t in ([c] if isinstance(c, str) else texts(c))]


@settings(max_examples=100, deadline=None)
@given(stanzas())
def test_stanza_round_trip(raw: bytes) -> None:
    stanza = feed([HEADER + raw])[-1]
    assert isinstance(stanza, Stanza)
    e = stanza.element()
    assert parse(serialize(e, "jabber:client"), "jabber:client") == e


@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                b"<",
                b"a",
                b">",
                b"/",
                b"=",
                b"'",
                b" ",
                b"&",
                b";",
                b"#",
                b"x",
                b"<a>",
                b"</a>",
                b"<![CDATA[",
                b"]]>",
                b":",
                b"xmlns",
            ]
        ),
        max_size=20,
    ).map(b"".join)
)
@settings(max_examples=500, deadline=None)
def test_rubbish_is_a_value_error(raw: bytes) -> None:
    """`parse` is for checked bytes; others must not do harm."""
    with contextlib.suppress(ValueError):
        parse(raw)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"<a>x\r\ny\rz\n</a>", "x\ny\nz\n"),
        (b"<a>&#13;&#10;&#x9;</a>", "\r\n\t"),
        (b"<a>&lt;&gt;&amp;&quot;&apos;</a>", "<>&\"'"),
        (b"<a>&#x1F600;&#1078;&#228;&#65;</a>", "😀жäA"),
        (b"<a><![CDATA[&amp;<b>\r\n]]>]]&gt;</a>", "&amp;<b>\n]]>"),
        (b"<a><![CDATA[]]></a>", ""),
        (b"<a>x<b>no</b>y</a>", "xy"),
        (b"<a/>", ""),
        (b"<a>" + b"&amp;" * 400 + b"</a>", "&" * 400),
    ],
)
def test_text(raw: bytes, text: str) -> None:
    assert parse(raw).text() == text


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"<a b='x\r\ny\rz\nw\t'/>", "x y z w "),
        (b"<a b='&#13;&#10;&#9;'/>", "\r\n\t"),
        (b'<a b="\'&quot;&lt;"/>', "'\"<"),
        (b"<a  b = ''  />", ""),
    ],
)
def test_value(raw: bytes, value: str) -> None:
    assert parse(raw).get("b") == value


def test_namespaces() -> None:
    e = parse(
        b"<p:a p:b='1' b='2' xml:lang='de' xmlns:p='urn:p'><c xmlns=''/><p:d xmlns:p='urn:q'/><p:e/></p:a>",
        "urn:x",
    )
    assert (e.ns, e.name) == ("urn:p", "a")
    assert e.attrs == {"{urn:p}b": "1", "b": "2", "{http://www.w3.org/XML/1998/namespace}lang": "de"}
    assert [(c.ns, c.name) for c in e] == [("", "c"), ("urn:q", "d"), ("urn:p", "e")]
    assert parse(b"<q:a/>", prefixes={"q": "urn:q"}).ns == "urn:q"
    with pytest.raises(ValueError, match="tokenizer"):
        parse(b"<q:a/>")


def test_find_and_get() -> None:
    e = parse(b"<a xmlns='urn:a' x='1'>t<b/><c/><b y='2'/></a>")
    second = e.find("urn:a", "c")
    assert second is not None
    assert second.name == "c"
    assert e.find("", "c") is None
    assert parse(b"<a/>").find("", "a") is None
    assert (e.get("x"), e.get("y"), e.get("y", "z"), second.get("x")) == ("1", None, "z", None)
    assert [c.name for c in e] == ["b", "c", "b"]
    assert list(parse(b"<a>x</a>")) == []


def test_equality() -> None:
    a = parse(b"<a b='1' c='2'>x</a>")
    assert a == parse(b'<a c="2"  b="1" >x</a>')
    assert a != parse(b"<a b='1' c='2'>y</a>")
    assert a != parse(b"<a xmlns='u' b='1' c='2'>x</a>")
    assert a != "a"
    assert Element("", "a", {}, []) == parse(b"<a/>")


@pytest.mark.parametrize(
    "raw", [b"", b"x", b"<a>", b"<a/><b/>", b"<a/> ", b"<a>&foo;</a>", b"<a b=c/>", b"<a>" * 500]
)
def test_what_is_no_element(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(raw)


def test_not_tracked() -> None:
    e = parse(b"<a b='1'><c/></a>")
    assert not gc.is_tracked(e)
    assert not gc.is_tracked(Element("", "a"))


def test_names_that_share_a_slot() -> None:
    """The table of names forgets, it never mixes up."""
    for i in range(20_000):
        assert parse(b"<n%d/>" % i).name == f"n{i}"
    assert parse("<имя/>".encode()).name == "имя"
    assert parse(b"<a" + b"b" * 300 + b"/>").name == "a" + "b" * 300


@given(st.text(XML_CHARS))
def test_escape(text: str) -> None:
    as_text = escape_text(text)
    as_value = escape_attr(text)
    assert ElementTree.fromstring(f"<a>{as_text}</a>".encode()).text == (text or None)  # noqa: S314
    for quote in "'\"":
        xml = f"<a b={quote}{as_value}{quote}/>"
        assert ElementTree.fromstring(xml.encode()).attrib["b"] == text  # noqa: S314
    assert escape_text(text.encode()) == as_text.encode()
    assert escape_attr(text.encode()) == as_value.encode()


def test_escape_leaves_alone_what_needs_nothing() -> None:
    text = "juliet@capulet.example/жж"
    assert escape_attr(text) is text
    wire = text.encode()
    assert escape_text(wire) is wire


@pytest.mark.req("12-1.4")
@pytest.mark.parametrize("bad", ["\0", "a\x01", "\x1f", "\ufffe", "x\uffff", "\ud800"])
def test_characters_xml_does_not_allow(bad: str) -> None:
    """What we write is well-formed whatever we are asked to write."""
    for escape in (escape_text, escape_attr):
        with pytest.raises(ValueError, match=r".+"):
            escape(bad)
    with pytest.raises(ValueError, match=r".+"):
        serialize(Element("", "a", {"b": bad}))
    with pytest.raises(ValueError, match=r".+"):
        serialize(Element("", "a", None, [bad]))
