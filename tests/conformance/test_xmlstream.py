"""The tester's own reader."""

from __future__ import annotations

import pytest

from xmppd.conformance.xmlstream import (
    Closed,
    Element,
    Event,
    Header,
    NotWellFormed,
    StreamReader,
    Text,
    parse,
)

STREAM = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" id='1'> <message xml:lang='de'><body>1 > 0 &amp; 2</body></message><p:x xmlns:p='urn:p' p:a='1'/>"
    b"</stream:stream>"
)


def events(data: bytes, size: int) -> list[Event]:
    reader, found = StreamReader(), []
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        while (event := reader.next()) is not None:
            found.append(event)
    return [event for event in found if not isinstance(event, Text)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_same_in_any_pieces(size: int) -> None:
    header, message, other, end = events(STREAM, size)
    assert isinstance(header, Header)
    assert header.declared == {"": "jabber:client", "stream": "http://etherx.jabber.org/streams"}
    assert isinstance(message, Element)
    assert message.get("xml:lang") == "de"
    assert message.elements[0].text == "1 > 0 & 2"
    assert isinstance(other, Element)
    assert (other.namespace, other.attributes) == ("urn:p", {"{urn:p}a": "1"})
    assert isinstance(end, Closed)


def test_what_is_behind_a_restart_is_for_the_new_stream() -> None:
    reader = StreamReader()
    reader.feed(b"<a xmlns='urn:a'><success/><?xml version='1.0'?><b xmlns='urn:b'>")
    assert isinstance(reader.next(), Header)
    assert isinstance(reader.next(), Element)
    reader.restart()
    header = reader.next()
    assert isinstance(header, Header)
    assert header.element.is_("b", "urn:b")


@pytest.mark.parametrize(
    "data", [b"<a><b></a>", b"<a><p:b/>", b"<a><b x='1' x='2'/>", b"<a>\xff>", b"<a>&#0;<b/>"]
)
def test_faults_are_seen(data: bytes) -> None:
    with pytest.raises(NotWellFormed):
        events(data, 1000)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"<a><!-- x --><b/>", "a comment"),
        (b"<a><?x y?><b/>", "a processing instruction"),
        (b"<!DOCTYPE a><a>", "a document type declaration"),
        (b"\xef\xbb\xbf<a>", "a byte order mark"),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?><a>", "the encoding ISO-8859-1"),
    ],
)
def test_what_a_server_must_not_send_is_noted(data: bytes, fault: str) -> None:
    reader = StreamReader()
    reader.feed(data)
    while reader.next() is not None:
        pass
    assert reader.faults == [fault]


def test_comparison_is_canonical() -> None:
    assert str(parse("<p:a xmlns:p='urn:a' b='1' c='2'><p:d/></p:a>")) == str(
        parse('<a c="2" b="1" xmlns="urn:a"><d></d></a>')
    )
    assert str(parse("<a xmlns='urn:a'><b xmlns=''/></a>")) != str(parse("<a xmlns='urn:a'><b/></a>"))
    assert str(parse("<a>x</a>")) != str(parse("<a> x</a>"))
