"""Walks through what three accounts can do to each other: after every step nobody sees a ghost, or what is not for it.

RFC 6121 3, 4 and A; XEP-0191. What each resource was last told of each other is held against what is so.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core_site import HOST, CoreSite, broadcasts_cut_up
from xmppd.jid import JID

NAMES = ("ann", "ben", "cay")
RESOURCES = tuple((name, resource) for name in NAMES for resource in ("x", "y"))
ITEM = "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='{}'{}/></query></iq>"
BLOCK = "<iq type='set' id='b'><{0} xmlns='urn:xmpp:blocking'>{1}</{0}></iq>"
# what a client says of another account, {}
SAID = {
    **{type_: f"<presence type='{type_}' to='{{}}'/>" for type_ in (
        "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe"
    )},
    "add": ITEM.format("{}", ""),
    "remove": ITEM.format("{}", " subscription='remove'"),
    "block": BLOCK.format("block", "<item jid='{}'/>"),
    "block a resource": BLOCK.format("block", "<item jid='{}/x'/>"),
    "unblock": BLOCK.format("unblock", "<item jid='{}'/>"),
    "unblock all": BLOCK.format("unblock", ""),
}  # fmt: skip
# one that crosses the end of a subscription can leave its halves apart (RFC 6121 A.2.1 does not see it sent): it comes
# when all before it has been done
CROSSING = ("subscribe", "ask and approve")
STEPS = st.tuples(
    st.sampled_from(RESOURCES),
    st.sampled_from(("log in or out", "available", "available", "unavailable", "ask and approve", *SAID)),
    st.sampled_from(NAMES[::-1]),
)


class Walk:
    def __init__(self, core):
        self.core = core
        self.clients = {}
        self.shown = {}  # resource -> the status that it shows, None for unavailable
        self.sees = {}  # resource -> address -> the status that it was told last
        self.numbers = 0

    async def step(self, who, what, other):
        client = self.clients.get(who)
        if client is None:
            if what == "log in or out":
                self.clients[who] = await self.core.login(*who)
                self.shown[who], self.sees[who] = None, {}
        elif what == "log in or out":
            client.unread.clear()
            self.core.sessions.unbind(client.resource)
            del self.clients[who], self.shown[who], self.sees[who]
        elif what == "available":
            if self.shown[who] is None:
                self.sees[who] = {}  # a new presence session: all is told anew
            self.numbers += 1
            self.shown[who] = str(self.numbers)
            client.send(f"<presence><status>{self.numbers}</status></presence>")
        elif what == "unavailable":
            self.shown[who] = None
            client.send("<presence type='unavailable'/>")
        elif other == who[0]:
            return
        elif what == "ask and approve":
            await self.step(who, "subscribe", other)
            await self.core.settle()
            for each in RESOURCES:
                if each[0] == other and each in self.clients:
                    await self.step(each, "subscribed", who[0])
                    break
        else:
            client.send(SAID[what].format(f"{other}@{HOST}"))

    def look(self):
        """What came since the last time."""
        for who, client in self.clients.items():
            for stanza in client.read():
                if not stanza.tag.endswith("presence"):
                    continue
                if stanza.get("type") is None:
                    self.sees[who][stanza.get("from")] = stanza.findtext("{jabber:client}status")
                elif stanza.get("type") == "unavailable":
                    self.sees[who][stanza.get("from")] = None

    def check(self):
        accounts = {name: self.core.site.accounts.get(JID(name, HOST)) for name in NAMES}
        for one in NAMES:
            for other in NAMES:
                if one != other and accounts[one] is not None and accounts[other] is not None:
                    sees = accounts[one].roster.sees(JID(other, HOST))
                    assert sees == accounts[other].roster.shows_to(JID(one, HOST)), (one, other)
        for who, client in self.clients.items():
            if self.shown[who] is None:
                continue
            for whom, there in self.clients.items():
                mine, theirs = accounts[who[0]], accounts[whom[0]]
                is_shown = who[0] == whom[0] or (
                    theirs.roster.shows_to(client.resource.jid.bare)
                    and not theirs.blocks(client.resource.jid)
                    and not mine.blocks(there.resource.jid)
                )
                expected = self.shown[whom] if is_shown else None
                assert self.sees[who].get(there.jid) == expected, (who, whom)
            here = {each.jid for each in self.clients.values()}
            ghosts = {jid for jid, status in self.sees[who].items() if status is not None} - here
            assert not ghosts, (who, ghosts)


@pytest.mark.parametrize("cut_up", [False, True])
@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=20, max_size=60), st.integers(1, 5))
def test_everybody_sees_what_is_so(cut_up, steps, together):
    """`together`: steps before a look, when all has been done. `cut_up`: presence is told one contact at a time."""

    async def walk():
        async with CoreSite(NAMES) as core:
            walk = Walk(core)
            for who in RESOURCES:
                await walk.step(who, "log in or out", "")
                await walk.step(who, "available", "")
            for one, other in zip(RESOURCES[::2], (NAMES[1], NAMES[2], NAMES[0]), strict=True):
                await walk.step(one, "ask and approve", other)
                await core.settle()
            walk.look()
            for i, step in enumerate(steps):
                if step[1] in CROSSING or (i and steps[i - 1][1] in CROSSING):
                    await core.settle()
                await walk.step(*step)
                if not i % together or i == len(steps) - 1:
                    await core.settle()
                    walk.look()
                    walk.check()

    with broadcasts_cut_up(-1) if cut_up else contextlib.nullcontext():
        asyncio.run(asyncio.wait_for(walk(), 60))
