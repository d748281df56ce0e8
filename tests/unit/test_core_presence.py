"""Presence and subscriptions between local accounts, turn by turn (RFC 6121 3 and 4)."""

from __future__ import annotations

import asyncio
import datetime
import xml.etree.ElementTree as ET
from unittest.mock import AsyncMock

import pytest

from tests.unit.core_site import HOST, CoreSite, in_loop, subscribe
from tests.xmpp_client import condition, find
from xmppd.errors import StanzaError
from xmppd.jid import JID
from xmppd.records import RosterItem

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


@pytest.mark.req("7-18.x1")
@pytest.mark.parametrize(
    "cut",
    [
        "<presence type='unsubscribed' to='{}'/>",
        "<iq type='set' id='i'><query xmlns='jabber:iq:roster'><item jid='{}' subscription='remove'/></query></iq>",
        "<iq type='set' id='i'><block xmlns='urn:xmpp:blocking'><item jid='{}'/></block></iq>",
    ],
    ids=["unsubscribed", "remove", "block"],
)
@in_loop
async def test_who_is_cut_off_sees_nothing_of_what_follows(cut):
    """RFC 6120 10.1: in the same breath; the change waits for the disk, and what comes behind it waits for the change."""
    async with CoreSite() as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        ann.send("<presence/>")
        ben.send("<presence/>")
        await subscribe(core, ann, ben)
        ann.send(cut.format(ben.bare), "<presence><status>secret</status></presence>")
        await core.settle()
        told = [stanza for stanza in ben.read() if stanza.get("from") == ann.jid]
        assert [stanza.get("type") for stanza in told] == ["unavailable"]


@in_loop
async def test_a_request_is_before_what_is_said_behind_it():
    """RFC 6120 10.1; a roster get shows what the set before it has changed."""
    async with CoreSite() as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        ben.send("<presence/>")
        await core.settle()
        ben.raw()
        get = "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>"
        put = "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='c@x'/></query></iq>"
        ann.send(f"<presence type='subscribe' to='{ben.bare}'/>", f"<message to='{ben.jid}'/>", put, get)
        await core.settle()
        assert types(ben.read()) == [("presence", "subscribe", ann.bare), ("message", None, ann.jid)]
        answers = [stanza for stanza in ann.read() if stanza.get("id") in ("s", "g")]
        assert [stanza.get("id") for stanza in answers] == ["s", "g"]
        assert "c@x" in [item.get("jid") for item in answers[-1][0]]


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


@in_loop
async def test_a_new_request_right_behind_the_cancellation_of_the_old():
    async with CoreSite() as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        await subscribe(core, ann, ben)
        ann.send(f"<presence type='unsubscribe' to='{BEN}'/>", f"<presence type='subscribe' to='{BEN}'/>")
        await core.settle()
        assert (core.item("ann", BEN).subscription, core.item("ann", BEN).ask) == ("from", True)
        assert core.item("ben", ANN).pending_in is not None
        ben.send(f"<presence type='subscribed' to='{ANN}'/>")
        await core.settle()
        assert core.item("ann", BEN).subscription == core.item("ben", ANN).subscription == "both"


@in_loop
async def test_two_accounts_that_ask_each_other_at_once():
    async with CoreSite() as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        for client in (ann, ben):
            client.send("<presence/>")
        ann.send(f"<presence type='subscribe' to='{BEN}'/>")
        ben.send(f"<presence type='subscribe' to='{ANN}'/>")
        await core.settle()
        ann.send(f"<presence type='subscribed' to='{BEN}'/>")
        ben.send(f"<presence type='subscribed' to='{ANN}'/>")
        await core.settle()
        assert core.item("ann", BEN).subscription == core.item("ben", ANN).subscription == "both"


@pytest.mark.req("7-18.e", "7-18.x1")
@in_loop
async def test_who_cancels_and_leaves_is_seen_to_leave():
    """Unavailable presence does not wait for the contact's side, where it could find nobody to come from."""
    async with CoreSite() as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        for client in (ann, ben):
            client.send("<presence/>")
        await subscribe(core, ann, ben)
        ben.send("<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>")
        core.records.gate = asyncio.Event()
        ann.send(f"<presence type='unsubscribed' to='{BEN}'/>")
        core.records.gate.set()
        await core.until(lambda: core.item("ann", BEN).subscription == "to")
        core.sessions.unbind(ann.resource)
        await core.settle()
        seen = types(ben.read())
        assert seen.count(("presence", "unavailable", ann.jid)) == 1
        assert ("presence", "unsubscribed", ANN) in seen


@in_loop
async def test_approvals_in_advance_count_as_roster_items():
    async with CoreSite(roster_items=3) as core:
        ann = await core.login("ann")
        ann.send(*(f"<presence type='subscribed' to='c{n}@{HOST}'/>" for n in range(5)))
        await core.settle()
        assert len(core.records.items[1]) == 3
        assert [condition(error) for error in find(ann.read(), "presence")] == ["resource-constraint"] * 2


@pytest.mark.req("7-5.1", "7-5.3")
@pytest.mark.parametrize("to", ["user@remote.example", "remote.example", "user@remote.example/r"])
@pytest.mark.parametrize("type_", ["subscribe", "unsubscribe"])
@in_loop
async def test_no_request_stays_open_that_cannot_be_routed(to, type_):
    async with CoreSite() as core:
        ann = await core.login("ann")
        ann.send(f"<presence type='{type_}' to='{to}' id='i'/>")
        await core.settle()
        (error,) = find(ann.read(), "presence")
        assert (condition(error), error.get("id")) == ("remote-server-not-found", "i")
        item = core.item("ann", to.partition("/")[0])
        assert item is None or not item.ask


@pytest.mark.req("7-3.x1")
@in_loop
async def test_a_name_that_no_account_can_have_is_no_contact():
    """A roster item is a stored name (RFC 3454 7): it could not be removed again."""
    async with CoreSite() as core:
        ann = await core.login("ann")
        ann.send(f"<presence type='subscribe' to='\U0001f600@{HOST}'/>")
        await core.settle()
        (error,) = ann.read()
        assert condition(error) == "jid-malformed"
        assert core.records.items[1] == {}


@pytest.mark.req("7-5.3")
@in_loop
async def test_a_contact_that_cannot_be_read_refuses_the_request():
    async with CoreSite() as core:
        ann = await core.login("ann")
        ann.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
        core.records.fail_load[BEN] = StanzaError("internal-server-error")
        ann.send(f"<presence type='subscribe' to='{BEN}' id='s'/>")
        await core.settle()
        error = find(ann.read(), "presence", type="error")[0]
        assert (condition(error), error.get("from"), error.get("id")) == ("internal-server-error", BEN, "s")
        assert not core.item("ann", BEN).ask


@in_loop
async def test_a_contact_that_cannot_be_written_refuses_the_request():
    async with CoreSite() as core:
        ann = await core.login("ann")
        core.records.fail_put[2] = StanzaError("internal-server-error")
        ann.send(f"<presence type='subscribe' to='{BEN}' id='s'/>")
        await core.settle()
        error = find(ann.read(), "presence", type="error")[0]
        assert (condition(error), error.get("from")) == ("internal-server-error", BEN)
        assert not core.item("ann", BEN).ask
        assert core.item("ben", ANN) is None


@in_loop
async def test_a_change_that_cannot_be_written_is_refused_once():
    async with CoreSite() as core:
        ann = await core.login("ann")
        core.records.fail_put[1] = StanzaError("resource-constraint")
        ann.send(f"<presence type='subscribe' to='{BEN}' id='s'/>")
        ann.send(f"<iq type='set' id='q'><query xmlns='jabber:iq:roster'><item jid='{BEN}'/></query></iq>")
        await core.settle()
        assert [(condition(e), e.get("id")) for e in ann.read()] == [
            ("resource-constraint", "s"),
            ("resource-constraint", "q"),
        ]
        assert core.item("ann", BEN) is None


@pytest.mark.req("5-2.a")
@in_loop
async def test_directed_presence_keeps_the_address_it_was_sent_to():
    async with CoreSite() as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        ben.send("<presence/>")
        await core.settle()
        ben.raw()
        addresses = [f"BEN@{HOST}/b", f"Ben@{HOST}", f"ben@{HOST}/gone"]
        for to in addresses:
            ann.send(f"<presence to='{to}'/>", f"<presence to='{to}' type='unavailable'/>")
        await core.settle()
        assert [stanza.get("to") for stanza in ben.read()] == [to for to in addresses for _ in range(2)]


@pytest.mark.req("7-18.x1")
@in_loop
async def test_an_approval_that_is_cancelled_at_once_shows_nothing():
    async with CoreSite() as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        for client in (ann, ben):
            client.send("<presence/>")
        ben.send(f"<presence type='subscribe' to='{ANN}'/>")
        await core.settle()
        ben.raw()
        core.records.gate = asyncio.Event()
        ann.send(f"<presence type='subscribed' to='{BEN}'/>", f"<presence type='unsubscribed' to='{BEN}'/>")
        core.records.gate.set()
        await core.settle()
        # whatever was shown in between has been taken back
        shown = [p.get("type") for p in find(ben.read(), "presence", from_=ann.jid)]
        assert not shown or shown[-1] == "unavailable"
        assert core.item("ann", BEN).subscription == core.item("ben", ANN).subscription == "none"


@pytest.mark.req("6-30.a")
@in_loop
async def test_contacts_that_other_rules_for_addresses_let_in():
    """`addresses.rules` was changed: they stay contacts under the name they have, and can be removed."""
    old = [f"\U0001f389@{HOST}", "\u1e9e@remote.example", "\ufb01@remote.example", f"{BEN}/\U0001f389"]
    async with CoreSite() as core:
        kept = core.records.items[core.records.ids[ANN]]
        kept.update((jid, RosterItem(jid, subscription="both")) for jid in old)
        remote = core.federate()
        ann = await core.login("ann", "a")
        ann.send("<presence/>")
        await core.settle()
        assert types(ann.read()) == [("presence", None, ann.jid)]
        elsewhere = [jid for jid in old if "remote" in jid]
        assert [(e.get("type"), e.get("to")) for e in remote.read()] == [
            *((None, jid) for jid in elsewhere),
            *(("probe", jid) for jid in elsewhere),
        ]
        for jid in old:
            query = f"<query xmlns='jabber:iq:roster'><item jid='{jid}' subscription='remove'/></query>"
            ann.send(f"<iq type='set' id='r'>{query}</iq>")
            await core.settle()
            assert [e.get("type") for e in find(ann.read(), "iq", id="r")] == ["result"]
        assert kept == {}
        assert {e.get("to") for e in remote.read()} == {*elsewhere}


@pytest.mark.req("8-23.2")
@pytest.mark.parametrize(
    "show",
    [
        "<show>away</show><show>dnd</show>",
        "<show>busy</show>",
        "<show>AWAY</show>",
        "<show/>",
        "<show> </show>",
    ],
)
@in_loop
async def test_what_a_show_says_is_passed_on_as_it_is(show):
    """RFC 6121 4.7.2.1 binds who writes it; the server reads no `<show/>`, changes none and refuses none."""
    async with CoreSite() as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        ben.send("<presence/>")
        await subscribe(core, ann, ben)
        ann.send(f"<presence>{show}</presence>")
        late = await core.login("ben", "late")
        late.send("<presence/>")
        await core.settle()
        for client, to in ((ben, ben.bare), (late, late.jid)):
            assert f"from='{ann.jid}' to='{to}'>{show}</presence>".encode() in client.raw()


TALKATIVE = [f"c{number}" for number in range(40)]


async def among_the_talkative(core):
    """Ann, and contacts that together say more than is kept for one client; she has become available, and reads not."""
    core.records.items[1] = {
        f"{name}@{HOST}": RosterItem(f"{name}@{HOST}", subscription="to") for name in TALKATIVE
    }
    contacts = {}
    for number, name in enumerate(TALKATIVE, 2):
        core.records.items[number] = {ANN: RosterItem(ANN, subscription="from")}
        contacts[name] = await core.login(name, "r")
        contacts[name].send(f"<presence><status>{'x' * 200_000}</status></presence>")
    ann = await core.login("ann", "a")
    ann.send("<presence/>")
    await core.settle()
    assert 0 < ann.conn.pending_out < 1 << 20
    return ann, contacts


async def all_of(core, client):
    """The presence that comes until nothing more does: (from, type, status)."""
    received = bytearray()

    def read():
        received.extend(client.raw())
        return not client.conn.pending_out

    for _ in range(100):  # between two portions nothing is pending either
        await core.until(read)
        await asyncio.sleep(0)
    stanzas = ET.fromstring(b"<s xmlns='jabber:client'>" + bytes(received) + b"</s>")  # noqa: S314 (our own)
    return [(p.get("from"), p.get("type"), p.findtext("{jabber:client}status")) for p in stanzas]


@in_loop
async def test_a_greeting_waits_for_the_stream_to_take_it():
    """Each contact is shown as it is when its turn comes."""
    async with CoreSite(("ann", *TALKATIVE)) as core:
        ann, contacts = await among_the_talkative(core)
        contacts["c38"].send("<presence type='unavailable'/>")
        contacts["c39"].send("<presence><status>changed</status></presence>")
        seen = await all_of(core, ann)
        assert {jid: [s for f, _, s in seen if f == jid] for jid in {f for f, _, _ in seen}} == {
            ann.jid: [None],
            **{contacts[name].jid: ["x" * 200_000] for name in TALKATIVE[:38]},
            contacts["c38"].jid: [None],
            contacts["c39"].jid: ["changed", "changed"],
        }
        assert [f for f, type_, _ in seen if type_] == [contacts["c38"].jid]


@in_loop
async def test_a_greeting_ends_with_the_presence_it_is_for():
    async with CoreSite(("ann", *TALKATIVE)) as core:
        ann, _ = await among_the_talkative(core)
        ann.send("<presence type='unavailable'/>")
        seen = await all_of(core, ann)
        assert 2 < len(seen) < len(TALKATIVE)
        assert seen[-1] == (ann.jid, "unavailable", None)


@pytest.mark.req("5-20.3", "8-17.x1")
@in_loop
async def test_presence_directed_to_a_resource_that_is_gone_is_withdrawn_from_all_it_has_reached():
    """By UC 5-20 it went to the account; that the resource has come back since changes nothing."""
    async with CoreSite() as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        ben.send("<presence/>")
        ann.send(f"<presence to='{BEN}/later'/>")
        await core.settle()
        assert types(ben.read())[-1] == ("presence", None, ann.jid)
        later = await core.login("ben", "later")
        core.sessions.unbind(ann.resource)
        await core.settle()
        assert types(ben.read()) == [("presence", "unavailable", ann.jid)]
        assert types(later.read()) == []


@in_loop
async def test_who_was_sent_directed_presence_and_is_gone_is_told_nothing_more_once_it_was_taken_back():
    """RFC 6121 4.6.1: whoever is sent directed unavailable presence is off the list, connected or not."""
    async with CoreSite() as core:
        ann, ben, other = (
            await core.login("ann", "a"),
            await core.login("ben", "b"),
            await core.login("ben", "c"),
        )
        ann.send("<presence/>", f"<presence to='{ben.jid}'/>")
        core.sessions.unbind(ben.resource)
        ann.send(f"<presence to='{ben.jid}' type='unavailable'/>")
        other.send("<presence/>")
        await core.settle()
        other.raw()
        ann.send("<presence type='unavailable'/>")
        await core.settle()
        assert other.read() == []


@in_loop
async def test_who_was_sent_directed_presence_may_probe_for_it():
    """RFC 6121 4.6.6: the resource that has it, no other of its account, and only as long as it stands."""
    async with CoreSite() as core:
        ann, ben, other = (
            await core.login("ann", "a"),
            await core.login("ben", "b"),
            await core.login("ben", "c"),
        )
        ann.send(f"<presence to='{ben.jid}'><show>away</show></presence>")
        await core.settle()
        ben.raw()
        for client in (ben, other):
            client.send(f"<presence type='probe' to='{ann.jid}' id='p'/>")
        await core.settle()
        (answer,) = ben.read()
        assert (answer.get("type"), answer.get("from"), list(answer)) == (None, ann.jid, [])
        (answer,) = other.read()
        assert (answer.get("type"), answer.get("from")) == ("unsubscribed", ANN)
        ann.send(f"<presence to='{ben.jid}' type='unavailable'/>")
        await core.settle()
        ben.raw()
        ben.send(f"<presence type='probe' to='{ann.jid}' id='p'/>")
        await core.settle()
        assert [answer.get("type") for answer in ben.read()] == ["unsubscribed"]


@pytest.mark.req("7-18.e", "7-22.a.iii")
@pytest.mark.parametrize("ends", ["unsubscribed", "unsubscribe"])
@pytest.mark.parametrize("to", ["bare", "full"])
@in_loop
async def test_a_subscription_that_ends_takes_directed_presence_back(ends, to):
    """RFC 6121 4.6.1: its cancellation takes precedence. Who was told "unavailable" learns nothing more, and once."""
    async with CoreSite() as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        await subscribe(core, ann, ben)
        ben.send("<presence/>")
        ann.send("<presence/>", f"<presence to='{ben.bare if to == 'bare' else ben.jid}'/>")
        await core.settle()
        one, other = (ann, ben) if ends == "unsubscribed" else (ben, ann)
        one.send(f"<presence type='{ends}' to='{other.bare}'/>")
        await core.settle()
        assert types(ben.read()).count(("presence", "unavailable", ann.jid)) == 1
        ben.send(f"<presence type='probe' to='{ann.jid}'/>")
        await core.settle()
        assert types(ben.read()) == [("presence", "unsubscribed", ANN)]
        core.sessions.unbind(ann.resource)
        await core.settle()
        assert types(ben.read()) == []


@in_loop
async def test_directed_presence_stays_with_a_resource_that_the_end_of_the_subscription_does_not_reach():
    """RFC 6121 4.6.3: the resource is connected and not available, and has to hear some time that it is over."""
    async with CoreSite() as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        await subscribe(core, ann, ben)
        ann.send(
            "<presence/>", f"<presence to='{ben.jid}'/>", f"<presence type='unsubscribed' to='{ben.bare}'/>"
        )
        await core.settle()
        assert ("presence", "unavailable", ann.jid) not in types(ben.read())
        core.sessions.unbind(ann.resource)
        await core.settle()
        assert types(ben.read()) == [("presence", "unavailable", ann.jid)]


@pytest.mark.req("8-9.b")
@in_loop
async def test_who_asks_for_somebody_who_is_away_learns_since_when(monkeypatch):
    """RFC 6121 4.3.2: the answer says when the last unavailable presence was; not to who may not see it."""
    async with CoreSite(("ann", "ben", "eve")) as core:
        ann, ben, eve = await core.login("ann"), await core.login("ben"), await core.login("eve")
        await subscribe(core, ann, ben)
        left = datetime.datetime(2026, 1, 31, 12, 0, 7, tzinfo=datetime.UTC)
        monkeypatch.setattr("xmppd.clock.utc_now", lambda: left)
        core.sessions.unbind(ben.resource)
        for core.records.gate in (None, asyncio.Event()):
            ann.send(f"<presence type='probe' to='{ben.bare}' id='p'/>", "<presence/>")
            if core.records.gate is not None:
                core.records.gate.set()
            await core.settle()
            answer, own = ann.read()
            assert (answer.get("type"), answer.get("from"), answer.get("id")) == (
                "unavailable",
                ben.bare,
                "p",
            )
            (delay,) = answer
            assert (delay.tag, delay.get("stamp")) == ("{urn:xmpp:delay}delay", "2026-01-31T12:00:07.000Z")
            assert own.get("from") == ann.jid
            core.site.accounts.forget(JID.parse(ben.bare))  # as after a restart
        eve.send(f"<presence type='probe' to='{ben.bare}'/>")
        await core.settle()
        assert [(each.get("type"), list(each)) for each in eve.read()] == [("unsubscribed", [])]


@pytest.mark.req("8-9.b")
@in_loop
async def test_a_probe_is_answered_if_the_store_does_not_say_since_when(monkeypatch):
    async with CoreSite() as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        await subscribe(core, ann, ben)
        core.sessions.unbind(ben.resource)
        await core.settle()
        monkeypatch.setattr(core.records, "seen", AsyncMock(side_effect=StanzaError("internal-server-error")))
        ann.send(f"<presence type='probe' to='{ben.bare}'/>")
        await core.settle()
        assert [(each.get("type"), list(each)) for each in ann.read()] == [("unavailable", [])]
        assert ann.held == 0


@in_loop
async def test_who_was_sent_directed_presence_may_ask():
    """RFC 6121 8.5.3.1: a subscription, or directed presence."""
    async with CoreSite(iq_needs_presence=True) as core:
        ann, ben, other = (
            await core.login("ann", "a"),
            await core.login("ben", "b"),
            await core.login("ben", "c"),
        )
        ann.send(f"<presence to='{ben.jid}'/>")
        await core.settle()
        ben.raw()
        for client in (ben, other):
            client.send(f"<iq type='get' id='i' to='{ann.jid}'><x xmlns='y'/></iq>")
        await core.settle()
        assert [iq.get("from") for iq in ann.read()] == [ben.jid]
        assert ben.read() == []
        assert [condition(error) for error in other.read()] == ["service-unavailable"]


@in_loop
async def test_an_error_of_another_server_is_for_the_resource_it_names():
    """RFC 6121 8.5 as in the tables of `core.delivery`."""
    async with CoreSite() as core:
        ann = await core.login("ann", "a")
        ann.send("<presence/>")
        await core.settle()
        ann.raw()
        core.federate()
        for to in (ANN, f"{ANN}/gone", ann.jid):
            core.receive("x@remote.example", f"<presence type='error' to='{to}'/>")
        await core.settle()
        assert [error.get("to") for error in ann.read()] == [ann.jid]


@in_loop
async def test_who_does_not_read_and_asks_to_be_told_again_and_again_makes_nothing_grow():
    async with CoreSite(("ann", *TALKATIVE)) as core:
        ann, _ = await among_the_talkative(core)
        waiting = core.site.meetings[ann.resource]
        for n in range(5):
            for verb in ("block", "unblock"):
                ann.send(
                    f"<iq type='set' id='{n}'><{verb} xmlns='urn:xmpp:blocking'><item jid='{HOST}'/></{verb}></iq>"
                )
                await core.settle()
        assert core.site.meetings[ann.resource] is waiting
        assert len(waiting) <= 2 * len(TALKATIVE)  # one stanza, one look, for each contact
        ann.send("<presence type='unavailable'/>", "<presence/>")
        await core.settle()
        assert not waiting  # what waits for the stream holds nothing any more
        assert len(core.site.meetings[ann.resource]) < len(TALKATIVE)
