"""Walks through what can happen to messages that are kept: resources come, go, change their minds and do not read, the
store fails now and then. None is lost, none is both taken and refused, they come in order, once for each stream and
with one id, and in the end nothing is left (XEP-0160, XEP-0359).
"""

from __future__ import annotations

import asyncio
import itertools
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core_site import HOST, CoreSite
from tests.xmpp_client import find
from xmppd.core import offline
from xmppd.errors import StanzaError
from xmppd.jid import JID

BEN = f"ben@{HOST}"
BODY = "b" * 50_000  # a few of them are more than the kernel holds for a client that does not read
MESSAGE = re.compile(rb"<message [^>]*id='([0-9]+)'.*?(?:<stanza-id [^>]*id='(\w+)'/>)?</message>")
SAYS = {
    "available": "<presence/>",
    "negative": "<presence><priority>-1</priority></presence>",
    "unavailable": "<presence type='unavailable'/>",
}
FAILS = {"keep fails": "fail_keep", "a page fails": "fail_page", "a removal fails": "fail_drop"}
OFTEN = ("send", "send", "send", "read", "the store works")
STEPS = st.tuples(
    st.sampled_from((*OFTEN, *OFTEN, "send unkept", "log in or out", *SAYS, *FAILS)),
    st.sampled_from("xy"),
    st.integers(0, 30),  # turns of the loop before the next
)


class Walk:
    def __init__(self, core, senders):
        self.core = core
        self.senders = senders
        self.clients = {}
        self.streams = []  # of each of Ben's: number and id of each message that it got, in order
        self.numbers = itertools.count(1)
        self.kept, self.refused = set(), set()
        self._keep, core.records.keep = core.records.keep, self.keep

    async def keep(self, rows):
        gone = await self._keep(rows)
        self.kept.update(int(data.partition(b" id='")[2].partition(b"'")[0]) for _, _, data in rows)
        return gone

    async def step(self, what, resource, turns):
        records, client = self.core.records, self.clients.get(resource)
        if what in FAILS:
            setattr(records, FAILS[what], StanzaError("internal-server-error"))
        elif what == "the store works":
            records.fail_keep = records.fail_page = records.fail_drop = None
        elif what.startswith("send"):
            number = next(self.numbers)
            hint = "<no-store xmlns='urn:xmpp:hints'/>" if what == "send unkept" else ""
            text = f"<message type='chat' id='{number}' to='{BEN}'><body>{BODY}</body>{hint}</message>"
            self.senders[number % 2].send(text)
        elif what == "log in or out" and client is None:
            self.clients[resource] = client = await self.core.login("ben", resource)
            client.bytes, client.got = b"", []
            self.streams.append(client.got)
        elif what == "log in or out":
            self.core.sessions.unbind(client.resource)
            self.read(self.clients.pop(resource))
        elif client is not None and what == "read":
            self.read(client)
        elif client is not None:
            client.send(SAYS[what])
        for _ in range(turns):
            await asyncio.sleep(0)
        for sender in self.senders:
            self.refused.update(
                int(error.get("id")) for error in find(sender.read(), "message", type="error")
            )

    def read(self, client):
        """What has come whole: the end of a stream may be in the middle of a message."""
        client.bytes += client.raw()
        end = 0
        for found in MESSAGE.finditer(client.bytes):
            client.got.append((int(found[1]), found[2]))
            end = found.end()
        client.bytes = client.bytes[end:]

    async def end(self):
        """The store works, and somebody is there."""
        await self.step("the store works", "x", 0)
        await self.core.settle()
        self.core.site.offline.remove_delivered()
        if "x" not in self.clients:
            await self.step("log in or out", "x", 0)
        await self.step("available", "x", 0)
        box = self.core.site.accounts.get(JID.parse(BEN)).mailbox
        for _ in range(1000):
            await asyncio.sleep(offline.RETRY_S)
            for client in self.clients.values():
                self.read(client)
            if not box.messages:
                break

    def check(self):
        got = [each for stream in self.streams for each in stream]
        assert self.kept <= {number for number, _ in got}
        assert not self.kept & self.refused
        for stream in self.streams:
            numbers = [number for number, id_ in stream if id_ is not None]
            assert numbers == sorted(set(numbers))
        ids = {(number, id_) for number, id_ in got if id_ is not None}
        assert len(ids) == len(dict(ids))
        assert not self.core.records.kept[self.core.records.ids[BEN]]
        kept = self.core.site.offline
        assert (kept.waiting, kept.waiting_octets, kept.behind_octets) == (0, 0, 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, min_size=20, max_size=80))
def test_what_is_kept_comes_once_and_in_order(steps):
    async def walk():
        async with CoreSite(("ann", "cay", "ben")) as core:
            walk = Walk(core, [await core.login("ann"), await core.login("cay")])
            for step in steps:
                await walk.step(*step)
            await walk.end()
            walk.check()

    retry_s, offline.RETRY_S = offline.RETRY_S, 0.001
    try:
        asyncio.run(asyncio.wait_for(walk(), 60))
    finally:
        offline.RETRY_S = retry_s
