"""What arrives is what was sent, whatever prefixes, quotes and references the sender used (RFC 6120 11; UC 5-1, 5-9).

The sender's stream and each recipient's are read by expat, as streams with headers of their own: equal are names with
their namespaces, attributes, character data, and the order of it all, as in canonical XML but for the prefixes.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core_site import HOST, CoreSite, FakeClient
from tests.unit.expat_twin import read
from tests.unit.streams import URIS, elements, feed, texts
from xmppd._fast.reader import Stanza

STREAMS = "http://etherx.jabber.org/streams"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
# the same prefixes as the senders', for other namespaces
RECEIVER = (
    f"<stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' xmlns:p='urn:w' xmlns:q='urn:w'>"
).encode()
ODD_PREFIX = "\u03c0-_.1"
Tree = tuple[str, str, dict[str, str], list[Any]]

_numbers = itertools.count(1)


def spell(text: str) -> st.SearchStrategy[str]:
    """An attribute as it may be written, in either quotes, with a reference in it or without."""
    plain = st.sampled_from([f"'{text}'", f'"{text}"'])
    return plain | st.integers(0, max(len(text) - 1, 0)).map(
        lambda at: f"'{text[:at]}&#x{ord(text[at]):x};{text[at + 1 :]}'" if text else "''"
    )


@st.composite
def sent(
    draw: st.DrawFn, name: str, type_: str | None, children: tuple[int, int] = (0, 3)
) -> tuple[str, str, str]:
    """A stream header, what stands in a start tag before `to`, and the rest of the stanza."""
    declared = {"": "jabber:client", "out": "urn:out"}
    for prefix in draw(st.lists(st.sampled_from(["p", "q", ODD_PREFIX]), unique=True)):
        declared[prefix] = draw(URIS)
    content = draw(st.sampled_from(["", "", "", "c"]))
    if content:
        declared[content] = "jabber:client"
    names = "".join(f" xmlns{':' if prefix else ''}{prefix}='{uri}'" for prefix, uri in declared.items())
    lang = draw(st.sampled_from(["", " xml:lang='en-GB'"]))
    header = f"<stream:stream to='{HOST}' version='1.0'{lang} xmlns:stream='{STREAMS}'{names}>"
    declared["stream"] = STREAMS  # the content may use it too
    own = ""
    for prefix in draw(st.lists(st.sampled_from(["p", "q", "r", ODD_PREFIX]), max_size=2, unique=True)):
        declared[prefix] = draw(URIS)
        own += f" xmlns:{prefix}={draw(spell(declared[prefix]))}"
    # attributes of other namespaces, and those that nobody knows
    own += "".join(
        draw(
            st.lists(
                st.sampled_from([" out:a='1'", " a-b=' x&#10;y \t\r\n'", " stream:b='&#13;'"]), unique=True
            )
        )
    )
    own += f" id={draw(spell('i-7'))}" if name == "iq" or draw(st.booleans()) else ""
    own += f" type={draw(spell(type_))}" if type_ is not None else ""
    own += draw(st.sampled_from(["", "", " xml:lang='fr'"]))
    own += draw(st.sampled_from(["", "", " from='mallory@elsewhere.example/&lt;'"]))  # 5-4.a
    count = draw(st.integers(*children))
    nowhere = st.just(
        "<n xmlns='' xml:space='preserve'><m n='1'> </m><stream:o xml:lang='' out:n=''><n xmlns='urn:u'/></stream:o></n>"
    )
    parts = [draw(elements(declared, 3) | nowhere) for _ in range(count)]
    if name != "iq":
        parts = [
            part
            for pair in zip(parts, draw(st.lists(texts(), min_size=count, max_size=count)), strict=True)
            for part in pair
        ]
    tag = f"{content}:{name}" if content else name
    return header, f"<{tag}{own}", f">{''.join(parts)}</{tag}>"


class World:
    """A core and an event loop that live as long as a test, for all its examples."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.core = CoreSite([])
        self.run(self.core.__aenter__())

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    def end(self) -> None:
        self.run(self.core.__aexit__())
        self.loop.close()

    async def client(self, name: str = "", lang: str | None = None) -> FakeClient:
        """A bound resource of an account, of a new one if there is no name."""
        if not name:
            name = f"user{next(_numbers):06}"  # of one length, so that examples can be played again
            self.core.records.add(name)
        client = self.core.connection()
        await self.core.bind(client, name, lang=lang.encode() if lang else None)
        return client

    async def say(self, client: FakeClient, stanza: Stanza) -> None:
        """As the connection does it: by the table, or by the router."""
        if not self.core.site.table.relay_stanza(client.resource, stanza):
            self.core.router.route(client.resource, stanza)
        await self.core.settle()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.end()


def written(header: str, start: str, rest: str, to: str | None) -> tuple[Stanza, Tree, str | None]:
    """The stanza as our reader has it, as expat has it, and the language of its stream."""
    raw = f"{header}{start}{'' if to is None else f' to={to}'}{rest}".encode()
    stanza = feed([raw])[-1]
    assert isinstance(stanza, Stanza), stanza
    (_, attributes), (_, tree) = read(raw)
    return stanza, tree, attributes.get(LANG)


def arrived(client: FakeClient) -> list[Tree]:
    """What a client got, as expat understands it."""
    return [tree for _, tree in read(RECEIVER + client.raw())[1:]]


def stamped(tree: Tree, from_: str, lang: str | None, **changed: str) -> Tree:
    """What has to arrive: the server's `from`, and the language of the sender's stream where none was given."""
    ns, name, attrs, children = tree
    known = {LANG: lang} if lang is not None else {}
    return ns, name, {**known, **attrs, "from": from_, **changed}, children


MANY = settings(max_examples=80, deadline=None)


@pytest.mark.req("5-1.1", "5-2.a", "5-4.a", "5-8.1", "5-9.1", "1-30.2", "12-1.4")
@MANY
@given(st.data())
def test_relayed(world: World, data: st.DataObject) -> None:
    """Messages to full and bare addresses, IQs to full ones."""
    name, type_, bare = data.draw(
        st.sampled_from(
            [
                ("message", t, b)
                for t in (None, "chat", "normal", "headline", "nonsense")
                for b in (False, True)
            ]
            + [("message", "error", False), ("message", "groupchat", False)]
            + [("iq", t, False) for t in ("get", "set", "result", "error")]
        )
    )
    header, start, rest = data.draw(sent(name, type_, (1, 1) if name == "iq" else (0, 3)))

    async def exchange() -> None:
        ben = await world.client()
        ben.send("<presence/>")
        await world.core.settle()
        ben.raw()
        to = ben.bare if bare else ben.jid
        stanza, tree, lang = written(header, start, rest, data.draw(spell(to)))
        ann = await world.client(lang=lang)
        await world.say(ann, stanza)
        assert arrived(ben) == [stamped(tree, ann.jid, lang)]
        assert ann.raw() == b""

    world.run(exchange())


@pytest.mark.req("5-1.1", "5-4.a", "5-8.1", "5-9.1", "5-19.c")
@MANY
@given(st.data())
def test_presence(world: World, data: st.DataObject) -> None:
    """Broadcast, shown to who comes later, withdrawn; and directed."""
    parts = data.draw(sent("presence", None))
    gone = data.draw(sent("presence", "unavailable"))

    async def exchange() -> None:
        stanza, tree, lang = written(*parts, None)
        ann, ben, stranger = await world.client(lang=lang), await world.client(), await world.client()
        ben.send("<presence/>")
        stranger.send("<presence/>")
        for one, other in ((ann, ben), (ben, ann)):
            one.send(f"<presence type='subscribe' to='{other.bare}'/>")
            await world.core.settle()
            other.send(f"<presence type='subscribed' to='{one.bare}'/>")
            await world.core.settle()
        ben.raw(), stranger.raw()
        await world.say(ann, stanza)
        assert arrived(ben) == [stamped(tree, ann.jid, lang, to=ben.bare)]
        later = await world.client(ben.bare.partition("@")[0])
        later.send("<presence/>")
        await world.core.settle()
        assert stamped(tree, ann.jid, lang, to=later.jid) in arrived(later)
        to = data.draw(st.sampled_from([stranger.bare, stranger.jid]))
        directed, seen, _ = written(*parts, data.draw(spell(to)))
        await world.say(ann, directed)
        assert arrived(stranger) == [stamped(seen, ann.jid, lang)]
        ben.raw()
        last, seen, _ = written(*gone, None)
        await world.say(ann, last)
        assert stamped(seen, ann.jid, lang, to=ben.bare) in arrived(ben)
        assert arrived(stranger) == [stamped(seen, ann.jid, lang, to=to)]

    world.run(exchange())


@pytest.mark.req("5-1.1", "5-4.a", "5-9.1")
@MANY
@given(st.data(), st.sampled_from(["subscribe", "subscribed", "unsubscribe", "unsubscribed"]))
def test_subscriptions(world: World, data: st.DataObject, type_: str) -> None:
    """At once to who is there, and a request again to who comes later, until it is answered."""
    parts = data.draw(sent("presence", type_))

    async def exchange() -> None:
        ann, ben = await world.client(), await world.client()
        for client in ann, ben:
            client.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>", "<presence/>")
        await world.core.settle()
        if type_ != "subscribe":
            for one, other in ((ann, ben), (ben, ann)):
                one.send(f"<presence type='subscribe' to='{other.bare}'/>")
                await world.core.settle()
                if type_ != "subscribed" or one is ann:
                    other.send(f"<presence type='subscribed' to='{one.bare}'/>")
                    await world.core.settle()
        ben.raw()
        stanza, tree, lang = written(*parts, data.draw(spell(ben.bare)))
        sender = await world.client(ann.bare.partition("@")[0], lang)
        await world.say(sender, stanza)
        expected = stamped(tree, ann.bare, lang, to=ben.bare)
        assert expected in arrived(ben)
        if type_ == "subscribe":
            later = await world.client(ben.bare.partition("@")[0])
            later.send("<presence/>")
            await world.core.settle()
            assert expected in arrived(later)

    world.run(exchange())


@pytest.mark.req("5-7.2", "5-8.1", "5-11.2", "5-11.3", "5-9.1")
@MANY
@given(st.data())
def test_errors_bring_back_what_was_sent(world: World, data: st.DataObject) -> None:
    name, type_ = data.draw(
        st.sampled_from(
            [("message", None), ("message", "chat"), ("iq", "get"), ("iq", "set"), ("presence", "subscribe")]
        )
    )
    header, start, rest = data.draw(sent(name, type_, (1, 1) if name == "iq" else (0, 3)))

    async def exchange() -> None:
        to = "someone@remote.example"
        stanza, tree, lang = written(header, start, rest, data.draw(spell(to)))
        ann = await world.client(lang=lang)
        await world.say(ann, stanza)
        ns, root, attrs, children = arrived(ann)[0]
        assert (ns, root) == tree[:2]
        assert attrs == stamped(tree, to, lang, type="error", to=ann.jid)[2]
        *content, error = children
        assert content == tree[3]
        assert error[:2] == ("jabber:client", "error")

    world.run(exchange())


def test_the_comparison_would_notice(world: World) -> None:
    header = f"<stream:stream to='{HOST}' version='1.0' xmlns:stream='{STREAMS}' xmlns='jabber:client'>"
    one = written(header, "<message", "><p:a xmlns:p='urn:u' b='1'>x</p:a></message>", None)[1]
    for other in (
        "<a xmlns='urn:v' b='1'>x</a>",
        "<a xmlns='urn:u' b='2'>x</a>",
        "<a xmlns='urn:u' b='1'>x </a>",
    ):
        assert written(header, "<message", f">{other}</message>", None)[1] != one
    assert (
        written(header, "<message", '><a b="&#49;" xmlns="urn:u"><![CDATA[x]]></a></message>', None)[1] == one
    )
