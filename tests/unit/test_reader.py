"""StreamReader: what it finds in a stream, whatever the pieces; every error of the table; limits; memory."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit import expat_twin
from tests.unit.streams import HEADER, any_streams, feed, one_by_one, pieces, plain, streams, tree
from xmppd._fast.reader import (
    KIND_MESSAGE,
    KIND_OTHER,
    Limits,
    Stanza,
    StreamClose,
    StreamHeader,
    StreamReader,
    ns_id,
    ns_uri,
    partial_bytes,
)
from xmppd.errors import StreamError

STREAM = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)


def events_of(data: bytes, **kw: Any) -> list[tuple[Any, ...]]:
    """Read `data` whole, byte by byte and in random pieces; all must tell the same."""
    whole = [plain(e) for e in feed([data], **kw)]
    assert [plain(e) for e in feed(one_by_one(data), **kw)] == whole
    assert [plain(e) for e in feed(pieces(data, len(data)), **kw)] == whole
    return whole


def kinds_of(data: bytes, **kw: Any) -> list[str]:
    return [e[0] for e in events_of(data, **kw)]


def error_of(data: bytes, **kw: Any) -> tuple[str, str | None]:
    """Condition and application condition of the error that `data` must end in."""
    kind, condition, _text, app = events_of(data, **kw)[-1]
    assert kind == "error"
    return condition, app


# ---- the law: pieces do not matter ----


@pytest.mark.req("1-6.2", "12-1.2")
@settings(max_examples=300, deadline=None)
@given(any_streams(), st.integers(0, 1000))
@example(HEADER + b"<iq>]]>", 0)
@example(HEADER + b"<iq><![CDATA[]]]]>x</iq>", 0)
def test_every_cut_gives_the_same(data: bytes, seed: int) -> None:
    whole = [plain(e) for e in feed([data])]
    assert [plain(e) for e in feed(one_by_one(data))] == whole
    assert [plain(e) for e in feed(pieces(data, seed))] == whole


@settings(max_examples=40, deadline=None)
@given(streams())
def test_every_single_cut(data: bytes) -> None:
    whole = [plain(e) for e in feed([data])]
    for at in range(len(HEADER) - 10, len(data)):
        assert [plain(e) for e in feed([data[:at], data[at:]])] == whole


@settings(max_examples=300, deadline=None)
@given(any_streams(), st.integers(0, 1000))
def test_pieces_do_not_matter_where_limits_strike(data: bytes, seed: int) -> None:
    limits = Limits(
        stanza_bytes=230, tag_bytes=210, depth=3, attributes=6, bindings=5, name_bytes=20, uri_bytes=64
    )
    whole = [plain(e) for e in feed([data], limits=limits)]
    assert [plain(e) for e in feed(one_by_one(data), limits=limits)] == whole
    assert [plain(e) for e in feed(pieces(data, seed), limits=limits)] == whole


@settings(max_examples=500, deadline=None)
@given(any_streams())
def test_as_expat_sees_it(data: bytes) -> None:
    """The same header, stanzas and end as the twin on expat, and no error missed."""
    ours = feed([data])
    theirs = expat_twin.read(data)
    failed = ours[-1] if ours and isinstance(ours[-1], StreamError) else None
    if failed and failed.app:
        return  # a limit: expat has none
    seen = [
        (plain(e)[0], tree(e.element())) if isinstance(e, Stanza) else (plain(e)[0],)
        for e in ours
        if e is not failed
    ]
    found = [e[:1] if e[0] == "open" else e for e in theirs if e[0] != "error"]
    ascii_only = max(data, default=0) < 0x80
    if not ascii_only and len(found) < len(seen):
        assert seen[: len(found)] == found  # names of the fifth edition of XML, which expat does not know
        return
    assert seen == found
    if ascii_only and not failed and data != b"\0":  # which may still become UTF-16, another error
        assert ("error",) not in theirs


@settings(max_examples=150, deadline=None)
@given(streams())
def test_right_streams_have_no_error(data: bytes) -> None:
    assert not any(isinstance(e, StreamError) for e in feed([data]))


# ---- errors: each row of the table ----

NOT_UTF8 = [
    b"\x80", b"\xff", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xfe", b"\xc3(", b"\xe2\x82(",
    b"\xf0\x9f\x98(",
]  # fmt: skip


@pytest.mark.req("1-34.2", "12-1.3")
@pytest.mark.parametrize("junk", NOT_UTF8)
@pytest.mark.parametrize("before", [b"", b"a" * 31, "п".encode() * 9, b"<body>"])
def test_not_utf8(junk: bytes, before: bytes) -> None:
    data = STREAM + b"<message>" + before + junk + b"</message>" + b" " * 40
    assert error_of(data) == ("unsupported-encoding", None)


FRAGMENTS = st.sampled_from([
    *NOT_UTF8, b"a", b"abc" * 6, b"\n", "ж".encode() * 7, "中文".encode() * 5, "😀".encode() * 4, b"\xef\xbf\xbd",
    b"\xef\xbf\xbe", b"\x01", b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xf4\x8f\xbf\xbf", b"\xe2", b"\xf0\x9f", b"\xc3",
])  # fmt: skip


@pytest.mark.req("12-1.3", "12-1.8")
@settings(max_examples=500, deadline=None)
@given(st.lists(FRAGMENTS | st.binary(max_size=3), max_size=14).map(b"".join), st.integers(0, 40))
def test_characters_as_python_reads_them(data: bytes, shift: int) -> None:
    data = bytes(b for b in b"x" * shift + data if b not in b"<&>")
    condition = None
    try:
        text, end = data.decode(), len(data)
    except UnicodeDecodeError as error:
        text, end = data[: error.start].decode(), error.start
        condition = None if error.reason == "unexpected end of data" else "unsupported-encoding"
    if any((c < " " and c not in "\t\n\r") or c in "\ufffe\uffff" for c in text):
        condition = "not-well-formed"
    events = feed([STREAM + b"<message>" + data])
    last = events[-1]
    assert (last.condition if isinstance(last, StreamError) else None) == condition
    if condition is None and end == len(data):
        (stanza,) = feed([STREAM + b"<message>" + data + b"</message>"])[1:]
        assert isinstance(stanza, Stanza)
        assert stanza.element().text() == text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.req("12-1.3")
@pytest.mark.parametrize("label", ["ISO-8859-1", "utf-16", "UTF8", "us-ascii"])
def test_other_encoding_declared(label: str) -> None:
    head = f"<?xml version='1.0' encoding='{label}'?>".encode()
    assert error_of(head + STREAM) == ("unsupported-encoding", None)


@pytest.mark.req("1-34.2", "12-1.3")
@pytest.mark.parametrize("label", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("head", [b"<?xml version='1.0'?>", b""])
def test_other_encoding(label: str, mark: str, head: bytes) -> None:
    data = (mark + (head + STREAM).decode()).encode(label)
    assert error_of(data) == ("unsupported-encoding", None)
    for cut in range(1, 9):
        last = feed([data[:cut], data[cut:]])[-1]
        assert isinstance(last, StreamError)
        assert last.condition == "unsupported-encoding"


@pytest.mark.req("1-7.2", "12-1.7")
@pytest.mark.parametrize(
    "declaration",
    [
        b"<?xml version='1.0'?>",
        b'<?xml version="1.0"?>',
        b"<?xml version='1.0' encoding='UTF-8'?>\n",
        b"<?xml  version = '1.0'\tencoding=\"utf-8\" standalone='yes' ?>",
        b"<?xml version='1.0' standalone='no'?>",
        b"\n",
        b"",
    ],
)
def test_xml_declaration(declaration: bytes) -> None:
    assert kinds_of(declaration + STREAM + b"<presence/></stream:stream>") == ["open", "stanza", "close"]


INSIDE_NOT_WELL_FORMED = [
    # characters XML does not have
    b"\x00", b"\x01", b"\x0b", b"\x1f", b"\xef\xbf\xbe", b"\xef\xbf\xbf",
    b"&#0;", b"&#x1F;", b"&#xD800;", b"&#xDFFF;", b"&#xFFFE;", b"&#xFFFF;", b"&#x110000;",
    # references
    b"&#;", b"&#x;", b"&#xG;", b"&#X41;", b"&#65 ", b"& ", b"&amp ", b"&;", b"&1;", b"&a:b;",
    # end tags
    b"</a>", b"<a></b>", b"<a></A>", b"<a></a b>", b"<a></ a>", b"</messag>", b"</messagee>",
    # attributes
    b"<a b='1' b='2'/>", b"<a b='1' c='' b='2'/>", b"<a xmlns='u' xmlns='v'/>", b"<a b='<'/>",
    b"<a xmlns:p='u' xmlns:q='u' p:x='1' q:x='2'/>", b"<a b/>", b"<a b=c/>", b"<a b='c'd='e'/>",
    b"<a b='1\"/>'<",
    # names and tags
    b"<1/>", b"< a/>", b"<-a/>", b"<a:/>", b"<:a/>", b"<a:1/>", b"<a::b/>", b"<a:b:c/>", b"<a 1='x'/>",
    b"<a :b='x'/>",
    b"<a/ >", b"<a/b>", b"<a<b/>", b"<\xc2\xb7a/>", b"<a\xc3\x97/>", b"<\xcc\x80/>", b"<a:\xcc\x80/>",
    # text
    b"]]>", b"x]]>", b"a]]]>", b"<b/>]]>",
    # namespaces
    b"<p:a/>", b"<a p:b='1'/>", b"<a><b xmlns:p='u'/><p:b/></a>", b"<a xmlns:p=''/>", b"<a xmlns:xml='u'/>",
    b"<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>", b"<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
    b"<a xmlns:xmlns='u'/>", b"<a xmlns:p='http://www.w3.org/2000/xmlns/'/>", b"<xmlns:a/>",
    b"<a xmlns='http://www.w3.org/2000/xmlns/'/>",
    # declarations in the wrong place
    b"<?xml version='1.0'?>", b"<?xml?>", b"<![cdata[x]]>", b"<![CDATA x]]>", b"<!-x", b"<!a",
]  # fmt: skip


@pytest.mark.req("1-34.1", "1-34.2", "12-1.2", "12-1.8")
@pytest.mark.parametrize("junk", INSIDE_NOT_WELL_FORMED)
def test_not_well_formed(junk: bytes) -> None:
    data = STREAM + b"<presence/><message>" + junk + b"</message>"
    assert kinds_of(data) == ["open", "stanza", "error"]
    assert error_of(data) == ("not-well-formed", None)


HEAD_NOT_WELL_FORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS ClientHello
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\xef\xbb\xbf" + STREAM,  # U+FEFF is no byte order mark: 12-1.5
    b" <?xml version='1.0'?>" + STREAM,
    b"<?xml version='1.0'?><?xml version='1.0'?>" + STREAM,
    b"<?xml version='1.1'?>" + STREAM,
    b"<?xml version=''?>" + STREAM,
    b"<?xml encoding='UTF-8'?>" + STREAM,
    b"<?xml version='1.0'encoding='UTF-8'?>" + STREAM,
    b"<?xml version='1.0' standalone='maybe'?>" + STREAM,
    b"<?xml version='1.0' >" + STREAM,
    b"<?xml version='1.0' encoding=''?>" + STREAM,
    b"<?xml?>" + STREAM,
    b"<stream:stream to='a' xmlns='jabber:client'>",  # no such prefix
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' a:b='c'>",
    b"<stream:stream to='a' to='b'>",
    b"</stream:stream>",
    b"hello",
    b"&amp;",
    b"<![CDATA[x]]>",
    "П".encode(),
]


@pytest.mark.req("1-34.2", "1-36.1", "1-36.2", "12-1.5", "12-1.7")
@pytest.mark.parametrize("junk", HEAD_NOT_WELL_FORMED)
def test_head_not_well_formed(junk: bytes) -> None:
    assert kinds_of(junk) == ["error"]
    assert error_of(junk) == ("not-well-formed", None)


@pytest.mark.req("1-36.2")
@pytest.mark.parametrize("junk", [b"\xff\x00", b"\xfe<", b"\x00s", b"\x80\x2e\x01\x03", b"\xa5\x00"])
def test_first_bytes_not_utf8(junk: bytes) -> None:
    """No stream in another encoding, but no stream."""
    assert error_of(junk) == ("not-well-formed", None)
    assert error_of(b"<?xml version='1.0'?>\n" + junk) == ("not-well-formed", None)


SPELLINGS = [
    (b"<iq><a:b xmlns:a='urn:&#x61;&amp;&lt;&#233;'/></iq>", "urn:a&<\u00e9"),
    (b"<iq xmlns:a='urn:\r\n\tx'><a:b/></iq>", "urn:  x"),
    (b"<iq><b xmlns='urn:x&#x1F600;&quot;&apos;&gt;&#10;'/></iq>", "urn:x\U0001f600\"'>\n"),
    (b"<iq><b xmlns='&#117;rn:xmpp:ping'/></iq>", "urn:xmpp:ping"),
    (b"<iq><out:b xmlns:out='urn:out&#x2f;'/></iq>", "urn:out/"),
    (b"<iq><p:b xmlns:p='urn:&#x6f;ut'/></iq>", "urn:out"),
    (b"<iq xmlns:q='u&#x3a;'><p:b xmlns:p='u:'/></iq>", "u:"),
]


@pytest.mark.req("12-1.1")
@pytest.mark.parametrize(("stanza", "uri"), SPELLINGS)
def test_namespace_names_hold_references(stanza: bytes, uri: str) -> None:
    """Namespaces in XML 1.0, 2.3: the name is the normalized value."""
    _, found = StreamReader().feed(HEADER + stanza)
    assert found.child(0) == (uri, "b")
    assert found.find(uri, "b") is not None
    assert found.element().children[0].ns == uri
    assert Stanza.parse(found.render(to=b"a@b")).child(0) == (uri, "b")


@pytest.mark.req("12-1.2")
@pytest.mark.parametrize(
    "junk",
    [
        b"<iq xmlns:a='urn:x' xmlns:b='urn:&#x78;' a:n='' b:n=''/>",
        b"<iq xmlns:a='urn:&#x78;' xmlns:b='urn:x'><c a:n='' b:n=''/></iq>",
        b"<iq xmlns:a='&#x75;rn:out' a:n='' out:n=''/>",
        b"<iq xmlns:a='&#x75;:' xmlns:b='u&#58;'><c xmlns:d='u:' d:n='' b:n=''/></iq>",
        b"<iq xmlns:a='http://www.w3.org/2000/xmlns&#x2f;'/>",
        b"<iq xmlns:a='http://www.w3.org/XML/1998/n&#97;mespace'/>",
    ],
)
def test_one_namespace_name_in_two_spellings(junk: bytes) -> None:
    assert error_of(HEADER + junk)[0] == "not-well-formed"


def test_header_with_references_in_its_namespace_names() -> None:
    head = HEADER.replace(b"urn:out", b"urn:&quot;'out&#38;".replace(b"'", b"&#39;")).replace(
        b"jabber:client", b"j&#97;bber:client"
    )
    reader = StreamReader()
    header, stanza = reader.feed(head + b"<iq><out:b/></iq>")
    assert header.declarations["out"] == "urn:\"'out&"
    assert header.content_ns == "jabber:client"
    assert stanza.child(0) == ("urn:\"'out&", "b")
    assert Stanza.parse(stanza.render()).child(0) == stanza.child(0)
    reader.settle()
    assert reader.feed(b"<iq><out:b/></iq>")[0].render() == stanza.render()


@pytest.mark.req("12-1.5")
def test_zero_width_no_break_space_in_text() -> None:
    (_, stanza) = feed([STREAM + b"<message>\xef\xbb\xbf</message>"])
    assert isinstance(stanza, Stanza)
    assert stanza.element().text() == "\ufeff"


RESTRICTED = [
    b"<!-- a -->", b"<!---->", b"<?a?>", b"<?a b?>", b"<?xml-stylesheet?>", b"<?xm ?>", b"<!DOCTYPE a>",
    b"<!ENTITY a 'b'>", b"<!ELEMENT a ANY>",
]  # fmt: skip


@pytest.mark.req("1-34.2", "12-1.1")
@pytest.mark.parametrize("junk", RESTRICTED)
@pytest.mark.parametrize(
    "before", [b"", b"<?xml version='1.0'?>", STREAM, STREAM + b"<message>", STREAM + b"<iq><a>x"]
)
def test_restricted_xml(junk: bytes, before: bytes) -> None:
    assert error_of(before + junk) == ("restricted-xml", None)


@pytest.mark.req("1-34.2", "12-1.1")
@pytest.mark.parametrize("junk", [b"&foo;", b"&nbsp;", b"<a b='&foo;'/>", b"&AMP;", b"&quota;", b"&ltt;"])
def test_entities(junk: bytes) -> None:
    assert error_of(STREAM + b"<message>" + junk) == ("restricted-xml", None)


STREAMS_NS = b"xmlns:stream='http://etherx.jabber.org/streams'"
HEADERS = {
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://wrong.example/'>": "invalid-namespace",
    b"<stream xmlns='jabber:client'>": "invalid-namespace",
    b"<stream>": "invalid-namespace",
    b"<foo/>": "invalid-namespace",
    b"<html xmlns='http://www.w3.org/1999/xhtml'>": "invalid-namespace",
    b"<stream:foo xmlns:stream='http://wrong.example/'>": "invalid-namespace",
    b"<stream:stream xmlns='jabber:server' " + STREAMS_NS + b">": "invalid-namespace",
    b"<stream:stream xmlns='urn:x' " + STREAMS_NS + b">": "invalid-namespace",
    b"<stream xmlns='jabber:client' " + STREAMS_NS + b">": "bad-namespace-prefix",
    b"<a:stream xmlns:a='urn:x' " + STREAMS_NS + b">": "bad-namespace-prefix",
    b"<stream:features xmlns='jabber:client' " + STREAMS_NS + b">": "bad-format",
    b"<stream:stream xmlns='jabber:client' " + STREAMS_NS + b"/>": "bad-format",
}


@pytest.mark.req("1-29.2", "1-29.3", "1-29.4", "1-31.2", "1-34.2", "1-36.1")
@pytest.mark.parametrize("header", HEADERS)
def test_wrong_header(header: bytes) -> None:
    assert error_of(header) == (HEADERS[header], None)
    assert error_of(b"<?xml version='1.0'?>\n" + header) == (HEADERS[header], None)


@pytest.mark.req("1-31.1", "1-31.2", "1-32.1", "1-32.2")
@pytest.mark.parametrize(
    ("served", "other"), [("jabber:client", "jabber:server"), ("jabber:server", "jabber:client")]
)
def test_other_content_namespace(served: str, other: str) -> None:
    wrong = ("invalid-namespace", None)
    header = STREAM.replace(b"jabber:client", served.encode())
    stanza = f"<message xmlns='{other}'/>".encode()
    assert error_of(header + stanza, content_ns=served) == wrong
    assert error_of(header + stanza.replace(b"message", b"x"), content_ns=served) == wrong
    assert error_of(STREAM.replace(b"jabber:client", other.encode()), content_ns=served) == wrong
    assert kinds_of(header + b"<message/>", content_ns=served) == ["open", "stanza"]


UNKNOWN = [
    b"<foo/>", b"<pubsub xmlns='jabber:client'><publish/></pubsub>", b"<Message/>", b"<message xmlns=''/>",
    b"<query xmlns='jabber:iq:roster'/>", b"<x xmlns='urn:nobody:knows'/>", b"<iq2>", b"<presences/>",
]  # fmt: skip


@pytest.mark.req("1-32.3", "1-34.2")
@pytest.mark.parametrize("junk", UNKNOWN)
def test_unknown_first_level_element(junk: bytes) -> None:
    assert error_of(STREAM + b"<presence/>" + junk) == ("unsupported-stanza-type", None)


@pytest.mark.req("12-1.6")
@pytest.mark.parametrize("junk", [b"x", b" \n x", b"&amp;", b"&#32;", b"<![CDATA[]]>", "ж".encode(), b"]]>"])
def test_text_between_stanzas(junk: bytes) -> None:
    assert error_of(STREAM + b"<presence/>" + junk) == ("bad-format", None)


@pytest.mark.req("12-1.6")
def test_white_space_between_stanzas_is_used_up() -> None:
    r = StreamReader()
    r.feed(STREAM)
    assert r.feed(b" \n\r\t") == []
    assert r.pending_bytes == 0
    assert len(r.feed(b"\n<presence/> \n <presence/> ")) == 2
    assert r.pending_bytes == 0
    assert partial_bytes() == 0


def test_stanzas_before_the_error_are_told() -> None:
    assert kinds_of(STREAM + b"<presence/><iq/><message></iq>") == ["open", "stanza", "stanza", "error"]


def test_error_is_told_once_and_stays() -> None:
    r = StreamReader()
    assert [type(e) for e in r.feed(b"x<")] == [StreamError]
    assert r.feed(STREAM) == []
    assert r.next_event() is r.error
    assert r.error is not None
    assert r.error.condition == "not-well-formed"
    r.restart()
    assert r.feed(STREAM) == []
    assert r.pending_bytes == 0


# ---- headers ----


@pytest.mark.req("1-6.2", "1-30.1", "1-31.1")
def test_header() -> None:
    raw = (
        b"<stream:stream from=\"o&apos;hara@x\" to='im.example' version='1.0' id='7' xml:lang='de' "
        b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='urn:db'>"
    )
    (header,) = feed([b"<?xml version='1.0'?>" + raw])
    assert isinstance(header, StreamHeader)
    assert header.raw == raw
    assert (header.ns, header.name, header.prefix) == ("http://etherx.jabber.org/streams", "stream", "stream")
    assert (header.to, header.from_, header.id, header.version) == ("im.example", "o'hara@x", "7", "1.0")
    assert (header.lang, header.content_ns) == ("de", "jabber:client")
    assert header.declarations == {
        "": "jabber:client",
        "stream": "http://etherx.jabber.org/streams",
        "db": "urn:db",
    }
    assert not gc.is_tracked(header)


def test_header_without_attributes() -> None:
    (header,) = feed([STREAM.replace(b" version='1.0'", b"")])
    assert isinstance(header, StreamHeader)
    assert (header.to, header.from_, header.id, header.version, header.lang) == (None,) * 5


@pytest.mark.req("1-29.4", "1-30.1")
@pytest.mark.parametrize(
    "header",
    [
        b"<stream xmlns='http://etherx.jabber.org/streams'>",
        b"<s:stream xmlns:s='http://etherx.jabber.org/streams'>",
        b"<s:stream xmlns='' xmlns:s='http://etherx.jabber.org/streams'>",
    ],
)
def test_stream_without_default_content_namespace(header: bytes) -> None:
    """RFC 6120 4.8.2: each stanza names the namespace itself."""
    head, stanza = feed([header + b"<message xmlns='jabber:client'><body/></message>"])
    assert isinstance(head, StreamHeader)
    assert head.content_ns is None
    assert isinstance(stanza, Stanza)
    assert stanza.kind == KIND_MESSAGE
    assert stanza.child(0) == ("jabber:client", "body")
    assert stanza.render() == b"<message><body/></message>"


@pytest.mark.req("1-29.4")
def test_other_prefix_for_the_stream() -> None:
    data = STREAM.replace(b"stream:", b"s:").replace(b":stream=", b":s=") + b"</s:stream>"
    assert kinds_of(data) == ["open", "close"]
    assert error_of(data.replace(b"</s:", b"</stream:")) == ("not-well-formed", None)


@pytest.mark.parametrize("end", [b"</stream:stream", b"</stream:strea", b"</", b"<"])
def test_end_comes_late(end: bytes) -> None:
    assert len(feed([STREAM + end])) == 1
    assert isinstance(feed([STREAM + end, b"</stream:stream  >"[len(end) :]])[-1], StreamClose)


def test_nothing_matters_behind_the_end() -> None:
    r = StreamReader()
    assert len(r.feed(STREAM + b"</stream:stream> <junk \xff")) == 2
    assert r.feed(b"more \x00") == []
    assert (r.pending_bytes, r.error) == (0, None)


@pytest.mark.req("1-6.2")
@pytest.mark.parametrize("head", [b"", b"<?xml version='1.0'?>", b"\n"])
def test_restart(head: bytes) -> None:
    """After TLS and SASL a stream begins anew, with an XML declaration if the peer likes."""
    again = head + STREAM.replace(b"1.0", b"1.7") + b"<presence/>"
    r = StreamReader()
    r.present(
        b"<?xml version='1.0'?>"
        + STREAM
        + b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AA==</auth>"
        + again
    )
    assert isinstance(r.next_event(), StreamHeader)
    stanza = r.next_event()
    assert isinstance(stanza, Stanza)
    assert (stanza.kind, stanza.ns, stanza.name) == (KIND_OTHER, "urn:ietf:params:xml:ns:xmpp-sasl", "auth")
    assert r.pending_bytes == len(again)
    r.restart()
    assert r.header is None
    header = r.next_event()
    assert isinstance(header, StreamHeader)
    assert header.version == "1.7"
    assert isinstance(r.next_event(), Stanza)
    assert r.next_event() is None


def test_restart_keeps_what_was_not_used() -> None:
    r = StreamReader()
    r.feed(STREAM + b"<mess")
    r.restart()
    assert r.pending_bytes == 5
    (error,) = r.feed(b"age/>")
    assert isinstance(error, StreamError)
    assert error.condition == "invalid-namespace"


# ---- limits ----

SHORT_NAMES = b"<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>"
TIGHT = Limits(
    stanza_bytes=1000, tag_bytes=300, depth=4, attributes=5, bindings=4, name_bytes=10, uri_bytes=64
)
OVER = {
    b"<message>" + b"x" * 1000 + b"</message>": "stanza_bytes",
    b"<message>" + b"x" * 5000: "stanza_bytes",
    b"<message>" + b"<a/>" * 300: "stanza_bytes",
    b"<message><![CDATA[" + b"x" * 1000: "stanza_bytes",
    b"<message a='" + b"x" * 300 + b"'/>": "tag_bytes",
    b"<message a='" + b"x" * 5000: "tag_bytes",
    b"<message><a b='" + b"x" * 300 + b"'/>": "tag_bytes",
    b"<message></message" + b" " * 300 + b">": "tag_bytes",
    b"<message" + b" " * 300: "tag_bytes",
    b"<iq><a><b><c><d/>": "depth",
    b"<iq a='' b='' c='' d='' e='' f=''/>": "attributes",
    b"<iq xmlns:a='u' xmlns:b='u' xmlns:c='u'/>": "bindings",
    b"<iq><a xmlns:a='u' xmlns:b='u'><b xmlns:c='u'/></a></iq>": "bindings",
    b"<iq><abcdefghijk/></iq>": "name_bytes",
    b"<iq><abcdefghijk": "name_bytes",
    b"<iq><a:bcdefghijk/></iq>": "name_bytes",
    b"<iq abcdefghijk=''/>": "name_bytes",
    b"<iq>&abcdefghijk;": "name_bytes",
    b"<iq>&abcdefghijk": "name_bytes",
    b"<iq xmlns:a='" + b"u" * 65 + b"'/>": "uri_bytes",
    b"<iq>&#00000000000000065;</iq>": "reference_bytes",
}


@pytest.mark.req("1-34.2")
@pytest.mark.parametrize("data", OVER, ids=range(len(OVER)))
def test_limits(data: bytes) -> None:
    assert error_of(SHORT_NAMES + data, limits=TIGHT) == ("policy-violation", OVER[data])


WITHIN = [
    b"<iq>" + b"x" * 991 + b"</iq>",
    b"<iq a='" + b"x" * 290 + b"'/>",
    b"<iq></iq" + b" " * 295 + b">",
    b"<iq><a><b><c/></b></a></iq>",
    b"<iq a='' b='' c='' d='' e=''/>",
    b"<iq xmlns:a='u' xmlns:b='u'/>",
    b"<iq><a xmlns:a='u' xmlns:b='u'/><a xmlns:a='u' xmlns:b='u'/></iq>",
    b"<iq><abcdefghij/></iq>",
    b"<iq xmlns:a='" + b"u" * 64 + b"'/>",
    b"<iq>&#0000000000000065;</iq>",
]


@pytest.mark.parametrize("data", WITHIN, ids=range(len(WITHIN)))
def test_within_limits(data: bytes) -> None:
    assert kinds_of(SHORT_NAMES + data + data, limits=TIGHT) == ["open", "stanza", "stanza"]


def test_one_byte_more_is_too_much() -> None:
    for within, more in ((WITHIN[0], b"x"), (WITHIN[1], b"x"), (WITHIN[2], b" ")):
        at = within.index(more * 9)
        assert error_of(SHORT_NAMES + within[:at] + more + within[at:], limits=TIGHT)[0] == "policy-violation"


def test_prefixed_stanza_must_not_grow_beyond_the_limit() -> None:
    """Six bytes here may be sixty without prefixes."""
    limits = Limits(stanza_bytes=2000)
    head = b"<c:message xmlns:c='jabber:client' xmlns:p='" + b"u" * 60 + b"'>"
    assert kinds_of(STREAM + head + b"<p:a/>" * 5 + b"</c:message>", limits=limits) == ["open", "stanza"]
    data = STREAM + b"<presence/>" + head + b"<p:a/>" * 100 + b"</c:message>"
    assert error_of(data, limits=limits) == ("policy-violation", "stanza_bytes")


def test_header_has_the_tag_limit() -> None:
    header = SHORT_NAMES.replace(b" xmlns=", b" to='" + b"x" * 300 + b"' xmlns=")
    assert error_of(header, limits=TIGHT)[1] == "tag_bytes"
    assert error_of(b"<?xml version='1.0'" + b" " * 300 + b"?>", limits=TIGHT)[1] == "tag_bytes"


def test_white_space_has_no_limit() -> None:
    assert kinds_of(b" " * 2000 + SHORT_NAMES + b" " * 2000, limits=TIGHT) == ["open"]


def test_set_limits() -> None:
    r = StreamReader(limits=TIGHT)
    big = b"<message>" + b"x" * 5000 + b"</message>"
    r.feed(SHORT_NAMES)
    r.set_limits(Limits())
    assert isinstance(r.feed(big)[0], Stanza)
    r.set_limits(TIGHT)
    assert isinstance(r.feed(big)[0], StreamError)


@pytest.mark.parametrize(
    "bad",
    [
        {"depth": 0},
        {"depth": 129},
        {"bindings": 33},
        {"attributes": 257},
        {"stanza_bytes": 0},
        {"tag_bytes": 1 << 30},
    ],
)
def test_limits_have_limits(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Limits(**bad)


def test_limits_at_their_most() -> None:
    limits = Limits(depth=128, attributes=256, bindings=32, name_bytes=4096, uri_bytes=4096)
    deep = b"<iq>" + b"<a>" * 127 + b"</a>" * 127 + b"</iq>"
    wide = b"<iq" + b"".join(b" a%d=''" % i for i in range(256)) + b"/>"
    bound = b"<iq" + b"".join(b" xmlns:a%d='u'" % i for i in range(30)) + b"><a29:b a0:c=''/></iq>"
    assert kinds_of(STREAM + deep + wide + bound, limits=limits) == ["open", "stanza", "stanza", "stanza"]
    assert error_of(STREAM + b"<iq>" + b"<a>" * 128, limits=limits)[1] == "depth"
    assert error_of(STREAM + wide[:-2] + b" b=''/>", limits=limits)[1] == "attributes"
    assert error_of(STREAM + bound.replace(b"><", b" xmlns:b='u'><"), limits=limits)[1] == "bindings"


# ---- memory ----


def test_idle_reader_is_small() -> None:
    r = StreamReader()
    r.feed(HEADER + b"<presence/>" * 3)
    header = r.header
    assert header is not None
    lang_raw = 40
    assert sys.getsizeof(r) + sys.getsizeof(header) + sys.getsizeof(header.raw) + lang_raw <= 520
    assert r.pending_bytes == 0
    assert partial_bytes() == 0


def test_idle_reader_lets_go_of_the_last_stanza() -> None:
    r = StreamReader()
    (_, stanza) = r.feed(STREAM + b"<presence/>")
    assert r.stanza is None
    assert sys.getrefcount(stanza) == 2


def test_partial_stanzas_are_counted() -> None:
    before = partial_bytes()
    readers = [StreamReader() for _ in range(50)]
    for r in readers:
        r.feed(STREAM + b"<message><body>" + b"x" * 1000)
        assert r.pending_bytes == 1015
    assert 50 * 1015 <= partial_bytes() - before <= 50 * 1200
    for r in readers[:25]:
        r.feed(b"</body></message>")
        assert r.pending_bytes == 0
    assert partial_bytes() - before <= 25 * 1200
    readers[25].feed(b"</nobody>")
    assert readers[25].error is not None
    assert partial_bytes() - before <= 24 * 1200
    del readers, r
    assert partial_bytes() == before


def test_half_stanza_grows_and_goes() -> None:
    r = StreamReader()
    r.feed(STREAM + b"<message>")
    for _ in range(200):
        r.feed(b"x" * 1000)
    assert r.pending_bytes <= partial_bytes() < 600_000
    (stanza,) = r.feed(b"</message>")
    assert isinstance(stanza, Stanza)
    assert len(stanza) == 200_019
    assert partial_bytes() == 0


def test_rest_shrinks() -> None:
    r = StreamReader()
    r.feed(STREAM + b"<message>" + b"x" * 200_000)
    r.feed(b"</message><iq>")
    assert r.pending_bytes == 4
    assert partial_bytes() < 500


def test_stanzas_stay_when_the_reader_goes_on() -> None:
    r = StreamReader()
    first, second = r.feed(STREAM + b"<message to='a'>1</message><message to='b'>2</message>")[1:]
    r.feed(b"<message to='c'>3</message>" * 100)
    del r
    assert isinstance(first, Stanza)
    assert isinstance(second, Stanza)
    assert (first.to, second.to, first.raw) == ("a", "b", b"<message to='a'>1</message>")


def test_half_read_stanzas_do_not_meet() -> None:
    """Half-read stanzas of many readers do not get into each other's way."""
    data = STREAM + b"".join(
        b"<iq id='%d'><a xmlns='urn:%d'><b>%d</b></a></iq>" % (i, i, i) for i in range(5)
    )
    expected = [plain(e) for e in feed([data])]
    readers = [StreamReader() for _ in range(90)]
    told: list[list[Any]] = [[] for _ in readers]
    for at in range(0, len(data), 3):
        for r, events in zip(readers, told, strict=True):
            events += map(plain, r.feed(data[at : at + 3]))
    assert all(events == expected for events in told)


def test_feed_takes_more_than_one_buffer() -> None:
    data = STREAM + b"<message>" + b"x" * 90_000 + b"</message>" + b"<iq/>" * 30_000
    assert len(feed([data])) == 30_002


@pytest.mark.parametrize("data", [None, "text", 5])
def test_feed_wants_bytes(data: Any) -> None:
    with pytest.raises(TypeError):
        StreamReader().feed(data)


def test_content_namespace_must_be_one() -> None:
    with pytest.raises(ValueError, match="urn:x"):
        StreamReader(content_ns="urn:x")


# ---- hostile input: it stays cheap and ends as it should ----

FLOODS = {
    "empty elements": b"<a/>" * 60_000,
    "elements": b"<a></a>" * 35_000,
    "references": b"&lt;" * 60_000,
    "declarations": b"<a xmlns='u'/>" * 17_000,
    "brackets in CDATA": b"<![CDATA[" + b"]]" * 120_000 + b"]]>",
    "brackets": b"] ]" * 80_000,
    "greater than": b">" * 240_000,
    "newlines": b"\n" * 240_000,
    "cyrillic": "Привет ".encode() * 18_000,
    "CDATA": b"<![CDATA[a]]>" * 18_000,
}


@pytest.mark.parametrize("kind", FLOODS)
def test_flood(kind: str) -> None:
    data = STREAM + b"<message>" + FLOODS[kind] + b"</message>"
    events = feed(data[i : i + 1448] for i in range(0, len(data), 1448))
    assert [type(e) for e in events] == [StreamHeader, Stanza]
    assert isinstance(events[1], Stanza)
    assert events[1].element().name == "message"


def test_attribute_byte_by_byte() -> None:
    assert len(feed(one_by_one(STREAM + b"<message to='" + b"x" * 15_000 + b"'/>"))) == 2


# ---- namespace numbers ----


def test_namespace_numbers() -> None:
    uris = []
    for number in range(1, 256):
        try:
            uris.append(ns_uri(number))
        except ValueError:
            break
    assert len(set(uris)) == len(uris) > 80
    assert [ns_id(u) for u in uris] == list(range(1, len(uris) + 1))
    assert not any(ns_id(u.upper()) for u in uris)
    assert not any(ns_id(u + "\0") for u in uris)
    assert [ns_id(u) for u in ("", "a", "urn:nobody", "jabber:clienx", "jabber:client ")] == [0] * 5
    for bad in (0, -1, len(uris) + 1):
        with pytest.raises(ValueError, match="namespace"):
            ns_uri(bad)
