"""Walks through what three accounts can ask of each other while the store fails now and then: when it works again, and
all that was on its way has crossed, each says of the other what the other says of it (RFC 6121 3, A).
"""

from __future__ import annotations

import asyncio
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core_site import HOST, CoreSite
from tests.unit.test_contacts import stored
from xmppd.core.roster import state_of
from xmppd.core.subscription import OUTBOUND, State
from xmppd.errors import StanzaError
from xmppd.jid import JID

NAMES = ("ann", "ben", "cay")
ADDRESSES = {name: f"{name}@{HOST}" for name in NAMES}
REMOVE = "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='{}' subscription='remove'/></query></iq>"
SAID = {type_: f"<presence type='{type_}' to='{{}}'/>" for type_ in OUTBOUND} | {"remove": REMOVE}
STEPS = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from((*SAID, "subscribe", "subscribed", "log in or out")),
    st.sampled_from(NAMES[::-1]),
    st.sampled_from((None, None, None, *NAMES)),
)


def mirrored(state):
    """How the other side has it."""
    to, from_, out, in_ = state.value
    return State((from_, to, in_, out))


class Walk:
    def __init__(self, core):
        self.core = core
        self.clients = {}

    async def step(self, who, what, other, failing):
        """What one says of another, while the store has nothing and takes nothing of `failing`."""
        records, client = self.core.records, self.clients.get(who)
        if failing is not None:
            records.fail_put[records.ids[ADDRESSES[failing]]] = StanzaError("internal-server-error")
            records.fail_load[ADDRESSES[failing]] = StanzaError("resource-constraint")
        if what == "log in or out":
            if client is not None:
                self.core.sessions.unbind(self.clients.pop(who).resource)
                await self.core.settle()
                self.core.site.accounts.forget(JID.parse(ADDRESSES[who]))
            elif failing != who:
                self.clients[who] = await self.core.login(who)
        elif client is not None and other != who:
            client.send(SAID[what].format(ADDRESSES[other]))
        await self.core.settle()
        records.fail_put.clear()
        records.fail_load.clear()

    def state(self, one, other):
        item = self.core.item(one, ADDRESSES[other])
        return state_of(item) if item is not None else State.NONE

    async def check(self):
        self.core.site.crossings.retry()
        await self.core.settle()
        assert not self.core.site.crossings
        assert not self.core.records.crossing
        for one in NAMES:
            for other in NAMES:
                assert self.state(other, one) is mirrored(self.state(one, other)), (one, other)


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.sampled_from(State)] * 3), st.lists(STEPS, min_size=10, max_size=40))
def test_the_halves_agree_when_the_store_works_again(begin, steps):
    async def walk():
        async with CoreSite(NAMES) as core:
            for (one, other), state in zip(combinations(NAMES, 2), begin, strict=True):
                for whose, of, seen in ((one, other, state), (other, one, mirrored(state))):
                    items = core.records.items[core.records.ids[ADDRESSES[whose]]]
                    if seen is not State.NONE:
                        items[ADDRESSES[of]] = stored(ADDRESSES[of], seen, ADDRESSES[whose])
            walk = Walk(core)
            await walk.step("ann", "log in or out", "ann", None)
            for step in steps:
                await walk.step(*step)
                await walk.check()

    asyncio.run(asyncio.wait_for(walk(), 60))
