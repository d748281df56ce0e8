"""Accounts in memory: loading, queues, eviction, and what is left of an account that is gone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from tests.unit.core_site import HOST, CoreSite, in_loop, subscribe
from tests.xmpp_client import condition
from xmppd.core import presence, removal
from xmppd.errors import StanzaError
from xmppd.jid import JID
from xmppd.ops import commands
from xmppd.records import RosterItem
from xmppd.store import Deleted, Holder

ANN, BEN = JID.parse(f"ann@{HOST}"), JID.parse(f"ben@{HOST}")


def delete(core, name):
    """What `user del` does, without its waiting."""
    core.records.delete(name)
    jid = JID.parse(f"{name}@{HOST}")
    for resource in core.sessions.of(jid):
        core.sessions.end(resource, None)
    core.site.accounts.forget(jid)


@in_loop
async def test_a_log_in_that_waits_for_the_disk_does_not_bring_a_deleted_account_back():
    async with CoreSite() as core:
        core.records.items[1][str(BEN)] = RosterItem(str(BEN), subscription="both")
        core.records.gate = asyncio.Event()
        waiting = asyncio.create_task(core.login("ann"))
        await core.until(lambda: core.records.loads)
        delete(core, "ann")
        core.records.gate.set()
        with pytest.raises(StanzaError):
            await waiting
        core.records.add("ann")
        fresh = await core.login("ann")
        assert list(fresh.resource.account.account.roster) == []


@in_loop
async def test_what_a_former_account_asked_does_not_reach_the_new_one_of_its_name():
    async with CoreSite() as core:
        ann = await core.login("ann")
        core.records.gate = asyncio.Event()
        add = "<iq type='set' id='i'><query xmlns='jabber:iq:roster'><item jid='{}'/></query></iq>"
        ann.send(add.format("one@x"), add.format("two@x"), f"<presence type='subscribe' to='{BEN}'/>")
        await asyncio.sleep(0)
        delete(core, "ann")
        new = core.records.add("ann")
        core.records.gate.set()
        await core.settle()
        ann.send(add.format("three@x"), f"<presence type='subscribe' to='{BEN}'/>")  # behind our closing tag
        await core.settle()
        assert core.records.items[new] == core.records.items[core.records.ids[str(BEN)]] == {}


@in_loop
async def test_an_account_is_one_while_a_job_has_it():
    async with CoreSite() as core:
        core.site.accounts._idle_limit = 0
        seen = []

        async def job(account):
            seen.append(account)
            await core.site.accounts.load(BEN)  # evicts it
            seen.append(await core.site.accounts.load(ANN))

        core.site.accounts.perform(ANN, job, seen.append)
        core.site.accounts.perform(ANN, job, seen.append)
        await core.settle()
        assert len(seen) == 4
        assert len(set(map(id, seen))) == 1


@in_loop
async def test_contacts_forget_full_addresses_of_a_deleted_account_too():
    async with CoreSite() as core:
        ben = await core.login("ben")
        await subscribe(core, await core.login("ann"), ben)
        ben.send(
            "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>",
            f"<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='{ANN}/desk'/></query></iq>",
        )
        await core.settle()
        ben.raw()
        delete(core, "ann")
        await removal.tell_contacts(core.site, ANN, [(BEN, ANN), (BEN, ANN.with_resource("desk"))])
        await core.settle()
        assert list(ben.resource.account.account.roster) == []
        items = [item.get("jid") for stanza in ben.read() for item in stanza.iter("{jabber:iq:roster}item")]
        assert items == [str(ANN), f"{ANN}/desk"]


@in_loop
async def test_directed_presence_is_not_for_a_new_account_of_the_name():
    async with CoreSite() as core:
        ann, ben = await core.login("ann"), await core.login("ben", "b")
        ann.send(f"<presence to='{ben.jid}'/>", f"<presence to='{BEN}'/>", f"<presence to='cay@{HOST}'/>")
        await core.settle()
        assert presence.shows_itself_to(ann.resource, ben.resource.jid)
        delete(core, "ben")
        await removal.tell_contacts(core.site, BEN, [])
        assert [str(to) for to in ann.resource.directed] == [f"cay@{HOST}"]


@in_loop
async def test_a_full_queue_refuses():
    async with CoreSite(account_jobs=2) as core:
        resources = [await core.login("ann") for _ in range(5)]  # one alone has one job at a time
        core.records.gate = asyncio.Event()
        for n, resource in enumerate(resources):
            resource.send(
                f"<iq type='set' id='{n}'><query xmlns='jabber:iq:roster'><item jid='c{n}@x'/></query></iq>"
            )
        await asyncio.sleep(0)
        core.records.gate.set()
        await core.settle()
        answers = [condition(answer) for resource in resources for answer in resource.read()]
        assert answers.count("resource-constraint") == 5 - len(core.records.items[1]) > 0


@in_loop
async def test_a_request_on_its_way_leaves_no_trace_of_a_deleted_account():
    async with CoreSite() as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        ann.send(f"<presence type='subscribe' to='{BEN}'/>")
        await core.until(lambda: core.item("ann", str(BEN)))
        core.records.gate = asyncio.Event()  # it waits for the contact's side now

        async def holders_of(contact):
            found = core.records.items[2].get(contact)
            return [] if found is None else [Holder(2, "ben", HOST, found)]

        rosters = SimpleNamespace(holders_of=holders_of)
        server = SimpleNamespace(site=core.site, store=SimpleNamespace(rosters=rosters))
        delete(core, "ann")
        asyncio.get_running_loop().call_soon(core.records.gate.set)
        await commands._Live(server).removed(ANN, Deleted(None, [], []))
        assert core.item("ben", str(ANN)) is None
        assert list(ben.resource.account.account.roster) == []


@pytest.mark.parametrize("in_memory", [0, 300])
@in_loop
async def test_a_deletion_is_told_to_those_in_memory_some_at_a_time(in_memory):
    """Who is not there is neither read for it nor told."""
    names = [f"c{number}" for number in range(300)]
    async with CoreSite(("ann", *names)) as core:
        held = []
        for number, name in enumerate(names, 2):
            item = RosterItem(str(ANN), subscription="both")
            core.records.items[number] = {str(ANN): item}
            held.append(Holder(number, name, HOST, item))
            if number - 2 < in_memory:
                await core.site.accounts.load(JID.parse(f"{name}@{HOST}"))
        loads = core.records.loads
        most = 0
        perform = core.site.accounts.perform

        def counted(*args):
            nonlocal most
            perform(*args)
            most = max(most, len(core.site.accounts._jobs))

        core.site.accounts.perform = counted

        async def nobody(_contact):
            return []

        server = SimpleNamespace(
            site=core.site, store=SimpleNamespace(rosters=SimpleNamespace(holders_of=nobody))
        )
        delete(core, "ann")
        await commands._Live(server).removed(ANN, Deleted(None, [], held))
        assert core.records.loads == loads
        assert 0 < most <= 100 if in_memory else most == 0
        for name in names[:in_memory]:
            assert len(core.site.accounts.get(JID.parse(f"{name}@{HOST}")).roster) == 0


@in_loop
async def test_work_that_is_done_but_not_yet_forgotten_holds_up_no_drain():
    """Python 3.12 and later gather what is done without letting anybody else run: the drain never ended."""

    async def work() -> None:
        pass

    async with CoreSite(["ann"]) as core:
        core.site.spawn(work())
        await asyncio.sleep(0)
        await core.site.drain()
        core.site.accounts.perform(ANN, lambda _account: None, lambda _error: None)
        await asyncio.sleep(0)
        await core.site.drain()
