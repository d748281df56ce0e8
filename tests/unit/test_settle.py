"""An open stream keeps little of its header, and nothing that comes later is read differently for it."""

from __future__ import annotations

import gc
import sys

import pytest

from xmppd._fast.reader import Stanza, StreamReader

HEADERS = [
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a' from='{n}@a'>",
    """<stream:stream to="a" xmlns:x='urn:"x"' xmlns:y="urn:'y'" xmlns="jabber:client"
    xmlns:stream='http://etherx.jabber.org/streams' from='{n}@a' xml:lang='de'>""",
    "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:c='jabber:client' xmlns='jabber:client'>",
    "<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>",
]
BODY = [
    "<message to='b@a' type='chat'><body>x</body></message>",
    "<iq id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
]
WITH_PREFIX = {
    1: ["<message><x:a y:b='c'/></message>", "<message x:y='1'/>"],
    2: ["<c:message to='x'><c:body/></c:message>"],
    3: ["<c:message to='x'><c:body/></c:message>"],
}


def told(events):
    return [
        (e.render(from_=b"s@a/r", lang=b"xx"), e.name, e.ns, e.to, e.element())
        if isinstance(e, Stanza)
        else repr(e)
        for e in events
    ]


@pytest.mark.parametrize("number", range(len(HEADERS)))
def test_the_same_is_read(number):
    header = HEADERS[number].format(n="romeo").encode()
    rest = "".join([*(BODY if number != 3 else []), *WITH_PREFIX.get(number, [])])
    end = "</" + header.decode()[1:].partition(" ")[0] + ">"
    plain, settled = StreamReader(), StreamReader()
    assert len(plain.feed(header)) == len(settled.feed(header)) == 1
    settled.settle()
    data = (rest + end).encode()
    for cut in range(len(data)):
        one, other = StreamReader(), StreamReader()
        one.feed(header)
        other.feed(header)
        other.settle()
        assert told(one.feed(data[:cut]) + one.feed(data[cut:])) == told(
            other.feed(data[:cut]) + other.feed(data[cut:])
        )


def test_headers_that_said_the_same_are_one_object():
    readers = [StreamReader() for _ in range(100)]
    for n, reader in enumerate(readers):
        reader.feed(HEADERS[0].format(n=n).encode())
        reader.settle()
    assert len({id(reader.header) for reader in readers}) == 1


def test_a_half_read_stanza_keeps_its_header():
    reader = StreamReader()
    reader.feed(HEADERS[1].format(n=1).encode() + b"<message><x:a")
    before = reader.header
    reader.settle()
    assert reader.header is before
    [stanza] = reader.feed(b"/></message>")
    assert stanza.has_child('urn:"x"', "a")


def test_what_is_shared_is_bounded():
    gc.collect()
    sizes = []
    for n in range(2000):
        reader = StreamReader()
        reader.feed(
            HEADERS[0].replace("jabber:client'", f"jabber:client' xmlns:p{n}='urn:{n}'").format(n=n).encode()
        )
        before = reader.header
        reader.settle()
        sizes.append(reader.header is before)
    assert sizes.count(False) <= 256
    assert sys.getrefcount(reader.header) < 10
