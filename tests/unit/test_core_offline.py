"""Keeping and delivering messages, turn by turn: order, acceptance, and what goes wrong in between (XEP-0160)."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.core_site import HOST, CoreSite, in_loop
from tests.xmpp_client import condition
from xmppd._fast.reader import Stanza
from xmppd.core import offline
from xmppd.core.offline import OfflineSettings, is_worth_keeping
from xmppd.errors import StanzaError
from xmppd.jid import JID

BEN = JID.parse(f"ben@{HOST}")


def message(number, inner="<body>x</body>", **attributes):
    extra = "".join(f" {name}='{value}'" for name, value in attributes.items())
    return f"<message to='{BEN}' id='{number}'{extra}>{inner}</message>"


def ids(client):
    return [element.get("id") for element in client.read() if element.tag.endswith("message")]


def kept(core):
    return len(core.records.kept[core.records.ids[str(BEN)]])


def counts(core):
    account = core.site.accounts.get(BEN)
    return account.mailbox.messages, account.mailbox.octets, account.mailbox.undelivered


def say(core, sender, stanza):
    """As the wire does: the routing table first."""
    parsed = Stanza.parse(stanza.encode())
    if not core.site.table.relay_stanza(sender.resource, parsed):
        core.router.route(sender.resource, parsed)


@in_loop
async def test_what_was_not_committed_comes_back_to_its_sender():
    async with CoreSite() as core:
        ann = await core.login("ann")
        for error in ("resource-constraint", "internal-server-error"):
            core.records.fail_keep = StanzaError(error)
            ann.send(message(1))
            await core.settle()
            [answer] = ann.read()
            assert (answer.get("id"), answer.get("from"), condition(answer)) == ("1", str(BEN), error)
        core.records.fail_keep = KeyError("a bug")
        ann.send(message(1))
        await core.settle()
        assert [condition(e) for e in ann.read()] == ["internal-server-error"]
        assert counts(core) == (0, 0, 0)
        core.records.fail_keep = None
        ann.send(message(2))
        await core.settle()
        assert (ids(ann), kept(core)) == ([], 1)


@in_loop
async def test_an_account_that_cannot_be_read_is_told():
    async with CoreSite() as core:
        ann = await core.login("ann")
        core.records.fail_load[str(BEN)] = StanzaError("internal-server-error")
        ann.send(message(1), message(2))
        await core.settle()
        assert [condition(e) for e in ann.read()] == ["internal-server-error"] * 2
        del core.records.fail_load[str(BEN)]
        ann.send(message(3))
        await core.settle()
        assert kept(core) == 1


PING = "<iq type='get' id='{}' to='{}'><ping xmlns='urn:xmpp:ping'/></iq>"


@in_loop
async def test_an_answer_says_that_all_before_it_is_decided():
    """Whatever the message waits for: the account to be read, the commit, or both, one after the other."""
    async with CoreSite(["ann", "ben", "cid"]) as core:
        ann, cid = await core.login("ann"), await core.login("cid")
        core.records.gate = asyncio.Event()
        say(core, ann, message(1))
        say(core, ann, PING.format("p1", HOST))
        say(core, cid, PING.format("other", HOST))
        for _ in range(20):
            await asyncio.sleep(0)
        assert (ann.raw(), [e.get("id") for e in cid.read()]) == (b"", ["other"])  # nobody else waits
        first, core.records.gate = core.records.gate, asyncio.Event()
        first.set()  # the account is read; the commit waits at the second gate
        await core.until(lambda: core.site.offline.waiting)
        say(core, ann, PING.format("p2", HOST))
        for _ in range(20):
            await asyncio.sleep(0)
        assert (ann.raw(), kept(core)) == (b"", 0)
        core.records.gate.set()
        await core.settle()
        assert ([e.get("id") for e in ann.read()], kept(core)) == (["p1", "p2"], 1)

        # a refusal comes before the answer
        core.records.gate = asyncio.Event()
        core.records.fail_keep = StanzaError("resource-constraint")
        say(core, ann, message(2))
        say(core, ann, f"<message to='nobody@{HOST}' id='3'><body>x</body></message>")
        say(core, ann, PING.format("p3", HOST))
        assert ann.raw() == b""
        core.records.gate.set()
        await core.settle()
        *errors, last = [e.get("id") for e in ann.read()]
        assert (sorted(errors), last) == (["2", "3"], "p3")
        say(core, ann, PING.format("p4", HOST))  # nothing is open any more
        await asyncio.sleep(0)
        assert [e.get("id") for e in ann.read()] == ["p4"]
        assert not core.site.acceptance._open
        assert not core.site.acceptance._held_octets


@in_loop
async def test_answers_that_wait_are_bounded():
    async with CoreSite(offline=OfflineSettings(queue_bytes=1000)) as core:
        ann = await core.login("ann")
        core.records.gate = asyncio.Event()
        say(core, ann, message(1))
        for n in range(20):
            say(core, ann, PING.format(n, HOST))
        await asyncio.sleep(0)
        early = ann.read()
        assert early
        assert {condition(e) for e in early} == {"resource-constraint"}
        core.records.gate.set()
        await core.settle()
        assert len(early) + len(ann.read()) == 20


@pytest.mark.parametrize("gate_from", range(5))
def test_what_waits_for_the_store_is_not_overtaken(gate_from):
    """The recipient comes while the first message is being looked up, written, or delivered."""

    @in_loop
    async def run():
        async with CoreSite() as core:
            ann = await core.login("ann")
            turns = sent = 0

            async def turn():
                nonlocal turns, sent
                for _ in range(3):
                    say(core, ann, message(sent))
                    sent += 1
                if turns == gate_from:
                    core.records.gate = asyncio.Event()
                turns += 1
                for _ in range(3):
                    await asyncio.sleep(0)

            def open_the_gate():
                if core.records.gate is not None:
                    core.records.gate.set()

            await turn()
            await turn()
            coming = asyncio.create_task(core.login("ben", "b"))
            await turn()
            open_the_gate()
            ben = await coming
            await turn()
            ben.send("<presence/>")
            await turn()
            open_the_gate()
            await core.until(lambda: counts(core) == (0, 0, 0))
            await turn()
            await core.settle()
            assert ids(ben) == [str(n) for n in range(sent)]
            assert kept(core) == 0

    run()


@in_loop
async def test_what_comes_while_others_are_delivered_goes_behind_them_and_to_all():
    async with CoreSite(offline=OfflineSettings(page_messages=2)) as core:
        ann = await core.login("ann")
        for n in range(5):
            ann.send(message(n))
        await core.settle()
        desk, phone = await core.login("ben", "desk"), await core.login("ben", "phone")
        phone.send("<presence><priority>-1</priority></presence>")
        core.records.gate = asyncio.Event()
        desk.send("<presence/>")
        phone.send("<presence/>")
        say(core, ann, message(5))
        say(core, ann, message("typing", "<composing xmlns='http://jabber.org/protocol/chatstates'/>"))
        say(core, ann, message("news", type="headline"))
        say(core, ann, message(6))
        assert not {"5", "typing", "news"} & set(ids(desk))
        core.records.gate.set()
        await core.until(lambda: counts(core) == (0, 0, 0))
        say(core, ann, message(7))
        await core.settle()
        assert ids(desk) == ["0", "1", "2", "3", "4", "5", "typing", "news", "6", "7"]
        assert ids(phone) == ["5", "typing", "news", "6", "7"]


@in_loop
async def test_what_waits_in_memory_is_bounded_in_bytes():
    """However many accounts are slow to take theirs."""
    async with CoreSite(offline=OfflineSettings(queue_bytes=100_000)) as core:
        ann = await core.login("ann")
        ann.send(message(0))
        await core.settle()
        core.records.gate = asyncio.Event()
        ben = await core.login("ben")
        ben.send("<presence/>")
        large = f"<a xmlns='b'>{'x' * 30_000}</a><no-store xmlns='urn:xmpp:hints'/>"
        for n in range(1, 5):
            say(core, ann, message(n, large))
        assert core.site.offline.behind_octets < 100_000
        answers = []
        await core.until(lambda: answers.extend(ann.read()) or answers)
        assert [(a.get("id"), condition(a)) for a in answers] == [("4", "resource-constraint")]
        core.records.gate.set()
        await core.settle()
        got = ids(ben)
        while not got or got[-1] != "3":
            await asyncio.sleep(0)
            got += ids(ben)
        assert got == ["0", "1", "2", "3"]
        assert core.site.offline.behind_octets == 0


@in_loop
async def test_a_page_that_was_not_taken_is_for_the_next_stream():
    """Nothing is removed before the kernel has it; what is delivered again has the same stamp and the same id."""
    async with CoreSite(offline=OfflineSettings(page_messages=3, page_bytes=1 << 20)) as core:
        ann = await core.login("ann")
        body = f"<body>{'x' * 100_000}</body>"
        for n in range(8):
            ann.send(message(n, body))
        await core.settle()
        first = await core.login("ben", "deaf")
        first.send("<presence/>")
        await core.until(lambda: core.site.accounts.get(BEN).mailbox.page[0])
        for _ in range(20):
            await asyncio.sleep(0)
        assert kept(core) == 8
        second = await core.login("ben", "b")
        second.send("<presence/>")
        say(core, ann, message(8))
        core.sessions.end(first.resource, None)
        got = b""
        while core.site.accounts.get(BEN).mailbox.messages:
            got += second.raw()
            await asyncio.sleep(0)
        got += second.raw()
        assert [f"id='{n}'".encode() in got for n in range(9)] == [True] * 9
        stanzas = got.split(b"<message")
        seen = first.raw().split(b"<message")
        # what the first was given is word for word what the second got
        assert any(len(one) > 100_000 and one in stanzas for one in seen)
        await core.settle()
        assert (kept(core), counts(core)) == (0, (0, 0, 0))


@in_loop
async def test_a_removal_that_fails_is_tried_again_and_nothing_comes_twice():
    async with CoreSite(idle_accounts=0) as core:
        ann = await core.login("ann")
        ann.send(message(1), message(2))
        await core.settle()
        core.records.fail_drop = StanzaError("internal-server-error")
        ben = await core.login("ben", "b")
        ben.send("<presence/>")
        await core.until(lambda: core.site.offline._not_removed)
        assert ids(ben) == ["1", "2"]
        core.sessions.unbind(ben.resource)
        await core.settle()
        core.site.offline.remove_delivered()
        await core.settle()
        assert (kept(core), counts(core)[0]) == (2, 2)  # it fails still
        core.records.fail_drop = None
        again = await core.login("ben", "b")
        again.send("<presence/>")
        await core.settle()
        assert (ids(again), kept(core), counts(core)) == ([], 0, (0, 0, 0))
        core.sessions.unbind(again.resource)
        assert core.site.accounts.get(BEN) is None  # nobody holds it any more


@in_loop
async def test_what_could_not_be_removed_is_removed_when_the_store_works_again():
    async with CoreSite(idle_accounts=0) as core:
        ann = await core.login("ann")
        ann.send(message(1))
        await core.settle()
        core.records.fail_drop = StanzaError("internal-server-error")
        ben = await core.login("ben", "b")
        ben.send("<presence/>")
        await core.until(lambda: core.site.offline._not_removed)
        core.sessions.unbind(ben.resource)
        core.records.fail_drop = None
        core.site.offline.remove_delivered()
        await core.settle()
        assert kept(core) == 0
        assert core.site.accounts.get(BEN) is None


@in_loop
async def test_reading_is_tried_again_while_somebody_is_there(monkeypatch):
    monkeypatch.setattr(offline, "RETRY_S", 0.01)
    async with CoreSite() as core:
        ann = await core.login("ann")
        ann.send(message(1))
        await core.settle()
        core.records.fail_page = StanzaError("resource-constraint")
        ben = await core.login("ben", "b")
        ben.send("<presence/>")
        await core.settle()
        say(core, ann, message(2))
        await asyncio.sleep(0.05)
        assert ids(ben) == []
        core.records.fail_page = None
        await asyncio.sleep(0.05)
        await core.settle()
        assert ids(ben) == ["1", "2"]


@in_loop
async def test_who_becomes_unavailable_gets_no_further_page():
    async with CoreSite(offline=OfflineSettings(page_messages=1)) as core:
        ann = await core.login("ann")
        ann.send(*(message(n) for n in range(3)))
        await core.settle()
        ben = await core.login("ben", "b")
        core.records.gate = asyncio.Event()
        ben.send("<presence/>", "<presence type='unavailable'/>")
        core.records.gate.set()
        await core.settle()
        assert ids(ben) == []
        ben.send("<presence/>")
        await core.until(lambda: counts(core) == (0, 0, 0))
        await core.settle()
        assert ids(ben) == ["0", "1", "2"]


@in_loop
async def test_bounds_and_what_they_answer():
    async with CoreSite(offline=OfflineSettings(messages=2, queue_bytes=10_000)) as core:
        ann = await core.login("ann")
        core.records.gate = asyncio.Event()
        big = f"<body>{'x' * 6000}</body>"
        ann.send(message(1, big), message(2, big))  # while the account is looked up
        await asyncio.sleep(0)
        core.records.gate.set()
        await core.settle()
        assert [(e.get("id"), condition(e)) for e in ann.read()] == [("2", "resource-constraint")]
        core.records.gate = asyncio.Event()
        ann.send(message(3, big), message(4, "<body/>"))  # while they are written
        core.records.gate.set()
        await core.settle()
        assert [(e.get("id"), condition(e)) for e in ann.read()] == [("4", "service-unavailable")]
        assert (kept(core), core.site.offline.waiting, core.site.offline.waiting_octets) == (2, 0, 0)


@in_loop
async def test_pages_are_read_a_few_at_a_time():
    names = [f"user{n}" for n in range(10)]
    async with CoreSite(["ann", *names], offline=OfflineSettings(drains=3)) as core:
        ann = await core.login("ann")
        ann.send(*(f"<message to='{name}@{HOST}' id='m'><body>x</body></message>" for name in names))
        await core.settle()
        clients = [await core.login(name) for name in names]
        core.records.gate = asyncio.Event()
        for client in clients:
            client.send("<presence/>")
        await asyncio.sleep(0)
        assert core.site.offline._reading == 3
        core.records.gate.set()
        await core.settle()
        for client in clients:
            assert ids(client) == ["m"]


@in_loop
async def test_messages_for_an_account_that_is_deleted_meanwhile_come_back():
    async with CoreSite() as core:
        ann = await core.login("ann")
        await core.site.accounts.load(BEN)
        core.records.gate = asyncio.Event()
        ann.send(message(1))
        await asyncio.sleep(0)
        core.records.delete("ben")
        core.site.accounts.forget(BEN)
        core.records.gate.set()
        await core.settle()
        assert [condition(e) for e in ann.read()] == ["service-unavailable"]
        core.records.add("ben")
        ben = await core.login("ben")
        ben.send("<presence/>")
        await core.settle()
        assert ids(ben) == []


CHAT_STATE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
RECEIPT = "<received xmlns='urn:xmpp:receipts' id='1'/>"
THREAD, ORIGIN = "<thread>t</thread>", "<origin-id xmlns='urn:xmpp:sid:0' id='1'/>"
NO_STORE, STORE = "<no-store xmlns='urn:xmpp:hints'/>", "<store xmlns='urn:xmpp:hints'/>"


@pytest.mark.parametrize(
    ("inner", "wanted"),
    [
        ("", True),
        ("<body>x</body>", True),
        (f"<body>x</body>{CHAT_STATE}", True),
        (CHAT_STATE, False),
        (CHAT_STATE + THREAD + ORIGIN, False),
        (RECEIPT, False),
        (RECEIPT + STORE, True),
        (f"<body>x</body>{NO_STORE}", False),
        ("<body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/>", True),
        (f"<body>x</body>{NO_STORE}{STORE}", False),
        (THREAD, True),
        (f"{CHAT_STATE}<x xmlns='urn:example'/>", True),
        ("<request xmlns='urn:xmpp:receipts'/>", True),
        ("<encrypted xmlns='eu.siacs.conversations.axolotl'/>", True),
        ("<x xmlns='urn:example'/>" * 9 + NO_STORE, False),
    ],
)
def test_what_is_worth_keeping(inner, wanted):
    assert is_worth_keeping(Stanza.parse(message(1, inner).encode())) is wanted


@in_loop
async def test_no_message_overtakes_one_that_waits_for_the_account_to_be_read():
    async with CoreSite() as core:
        ann = await core.login("ann")
        core.records.gate = asyncio.Event()
        say(core, ann, message(1))
        await asyncio.sleep(0)
        core.records.gate.set()
        await core.until(lambda: core.site.accounts.get(BEN))  # read, and its messages not yet told
        ben = await core.login("ben")
        ben.send("<presence/>")
        for n in (2, 3):
            say(core, ann, message(n))
        await core.settle()
        say(core, ann, message(4))
        await core.settle()
        assert ids(ben) == ["1", "2", "3", "4"]
        assert not ben.resource.account.waiting
