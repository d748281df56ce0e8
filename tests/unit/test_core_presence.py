"""Presence and subscriptions between local accounts, turn by turn (RFC 6121 3 and 4)."""

from __future__ import annotations

import pytest

from tests.unit.core_site import HOST, CoreSite, in_loop, subscribe

ANN, BEN = f"ann@{HOST}", f"ben@{HOST}"


def types(elements):
    return [(e.tag.rpartition("}")[2], e.get("type"), e.get("from")) for e in elements]


@pytest.mark.req("8-20.1", "1-18.b")
@in_loop
async def test_who_has_left_does_not_become_available_again():
    """What came behind our closing tag is processed, but nobody would ever withdraw its presence."""
    async with CoreSite() as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        ann.send("<presence/>")
        ben.send("<presence/>")
        await subscribe(core, ann, ben)
        core.sessions.unbind(ann.resource)
        await core.settle()
        assert types(ben.read()) == [("presence", "unavailable", ann.jid)]
        ann.send("<presence/>", f"<presence to='{ben.jid}'/>", f"<message to='{ben.jid}'/>")
        await core.settle()
        assert types(ben.read()) == [("message", None, ann.jid)]


@in_loop
async def test_nothing_is_sent_to_a_stream_that_ends():
    """Its closing tag is out already."""
    async with CoreSite() as core:
        ann = await core.login("ann", "a")
        ann.send("<presence/>", f"<presence to='{ann.jid}'/>", f"<presence to='{ann.bare}'/>")
        await core.settle()
        ann.raw()
        core.sessions.unbind(ann.resource)
        await core.settle()
        assert ann.raw() == b""


@pytest.mark.req("8-17.a", "8-17.x1", "8-20.1")
@in_loop
async def test_unavailable_presence_comes_once():
    async with CoreSite(["ann", "ben", "eve"]) as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        silent, eve = await core.login("ben", "silent"), await core.login("eve", "e")
        for client in (ann, ben, eve):
            client.send("<presence/>")
        await subscribe(core, ann, ben)
        for to in (ben.bare, ben.jid, silent.jid, eve.jid):
            ann.send(f"<presence to='{to}'/>")
        await core.settle()
        for client in (ben, silent, eve):
            client.raw()
        core.sessions.unbind(ann.resource)
        await core.settle()
        for client in (ben, silent, eve):
            assert types(client.read()) == [("presence", "unavailable", ann.jid)]
