"""Roster gets and sets on the core alone: versions, limits, what is kept rendered (RFC 6121 2)."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.core_site import HOST, CoreSite, in_loop
from tests.xmpp_client import condition
from xmppd.core.roster import RenderedRosters, Roster, item_xml
from xmppd.errors import StanzaError
from xmppd.records import RosterChange, RosterItem

BEN = f"ben@{HOST}"
QUERY = "{jabber:iq:roster}query"
ITEM = "{jabber:iq:roster}item"


def get(ver=None):
    attribute = "" if ver is None else f" ver='{ver}'"
    return f"<iq type='get' id='g'><query xmlns='jabber:iq:roster'{attribute}/></iq>"


def put(item, id_="s"):
    return f"<iq type='set' id='{id_}'><query xmlns='jabber:iq:roster'>{item}</query></iq>"


@pytest.mark.req("6-12.3")
@in_loop
async def test_every_result_and_push_says_its_version():
    async with CoreSite() as core:
        ann = await core.login("ann")
        ann.send(get())
        await core.settle()
        (result,) = ann.read()
        assert result.find(QUERY).get("ver") == "1"
        ann.send(put("<item jid='c@x'/>"))
        await core.settle()
        pushed = [stanza for stanza in ann.read() if stanza.get("type") == "set"]
        assert [push.find(QUERY).get("ver") for push in pushed] == ["2"]


@pytest.mark.req("6-12.3", "6-11.1")
@in_loop
async def test_a_client_that_knows_the_version_is_told_nothing_but_what_comes():
    async with CoreSite() as core:
        ann, other = await core.login("ann", "a"), await core.login("ann", "b")
        ann.send(get("1"))
        await core.settle()
        (result,) = ann.read()
        assert (result.get("type"), len(result)) == ("result", 0)
        other.send(put("<item jid='c@x'/>"))
        await core.settle()
        (push,) = ann.read()
        assert push.find(QUERY)[0].get("jid") == "c@x"


@pytest.mark.req("6-12.3")
@in_loop
async def test_a_client_that_was_away_is_pushed_what_changed():
    async with CoreSite() as core:
        core.records.items[1] = {f"c{n}@x": RosterItem(f"c{n}@x") for n in range(20)}
        core.records.version = 9
        core.records.history[1, 5] = [
            RosterChange(7, "c3@x", RosterItem("c3@x", name="Three")),
            RosterChange(9, "gone@x", None),
        ]
        ann = await core.login("ann")
        ann.send(get("5"))
        await core.settle()
        result, *pushes = ann.read()
        assert (result.get("type"), result.get("id"), len(result)) == ("result", "g", 0)
        assert [(p.find(QUERY).get("ver"), p.find(QUERY)[0].get("jid"), p.find(QUERY)[0].get("subscription"))
                for p in pushes] == [("7", "c3@x", "none"), ("9", "gone@x", "remove")]  # fmt: skip
        assert len({push.get("id") for push in pushes}) == 2


@pytest.mark.req("6-12.3")
@pytest.mark.parametrize("ver", ["", "4", "what", "99999999999999999999", "-1"])
@in_loop
async def test_a_version_that_is_not_known_gets_the_whole_roster(ver):
    async with CoreSite() as core:
        core.records.items[1] = {f"c{n}@x": RosterItem(f"c{n}@x") for n in range(3)}
        core.records.version = 9
        ann = await core.login("ann")
        ann.send(get(ver))
        await core.settle()
        (result,) = ann.read()
        assert (result.find(QUERY).get("ver"), len(result.find(QUERY))) == ("9", 3)


@in_loop
async def test_many_changes_are_sent_as_the_whole_roster():
    async with CoreSite() as core:
        core.records.items[1] = {f"c{n}@x": RosterItem(f"c{n}@x") for n in range(20)}
        core.records.history[1, 0] = [RosterChange(n, f"c{n}@x", RosterItem(f"c{n}@x")) for n in range(11)]
        ann = await core.login("ann")
        ann.send(get("0"))
        await core.settle()
        (result,) = ann.read()
        assert len(result.find(QUERY)) == 20


@in_loop
async def test_changes_that_are_longer_than_the_whole_roster_are_not_sent_one_by_one():
    """It is bounded by `limits.roster_bytes`; they would be more than is kept for a client."""
    async with CoreSite() as core:
        long = [RosterItem(f"c{n}@x", name="x" * 1000) for n in range(400)]
        core.records.items[1] = {
            item.jid: item for item in (*long, *(RosterItem(f"d{n}@x") for n in range(600)))
        }
        core.records.history[1, 0] = [RosterChange(n, item.jid, item) for n, item in enumerate(long)]
        ann = await core.login("ann")
        ann.send(get("0"))
        received = bytearray()
        await core.until(lambda: received.extend(ann.raw()) or received.endswith(b"</iq>"))
        await core.settle()
        assert (received + ann.raw()).count(b"<iq ") == 1
        assert received.count(b"<item ") == 1000


@in_loop
async def test_no_change_comes_between_the_answer_and_its_pushes():
    async with CoreSite() as core:
        core.records.version = 9
        core.records.history[1, 5] = [RosterChange(7, "c@x", RosterItem("c@x", name="old"))]
        ann = await core.login("ann")
        core.records.gate = asyncio.Event()
        ann.send(get("5"), put("<item jid='c@x' name='new'/>"))
        core.records.gate.set()
        await core.settle()
        stanzas = ann.read()
        names = [s.find(QUERY)[0].get("name") for s in stanzas if s.get("type") == "set"]
        assert stanzas[0].get("id") == "g"
        assert names == ["old", "new"]


@pytest.mark.req("6-21.1")
@in_loop
async def test_a_store_that_cannot_be_read_is_an_error_and_no_end():
    async with CoreSite() as core:

        async def fails(*_args):
            raise StanzaError("internal-server-error")

        core.records.changes = fails
        ann = await core.login("ann")
        ann.send(get("0"))
        await core.settle()
        (answer,) = ann.read()
        assert (condition(answer), answer.get("id")) == ("internal-server-error", "g")
        ann.send(get())
        await core.settle()
        assert ann.read()[0].get("type") == "result"


@pytest.mark.req("6-25.2")
@in_loop
async def test_a_roster_is_bounded_in_bytes():
    async with CoreSite(roster_bytes=1000) as core:
        ann = await core.login("ann")
        for n in range(10):
            ann.send(put(f"<item jid='c{n}@x' name='{'&lt;' * 50}'/>", str(n)))
        await core.settle()
        refused = [condition(answer) for answer in ann.read()].count("resource-constraint")
        assert 0 < refused < 10
        ann.send(get())
        await core.settle()
        size = len(ann.raw())
        assert 1000 - 250 < size < 1000 + 150
        # what is there can be made smaller, and removed
        ann.send(put("<item jid='c0@x'/>", "less"), put("<item jid='c1@x' subscription='remove'/>", "gone"))
        await core.settle()
        ann.read()
        ann.send(put(f"<item jid='new@x' name='{'&lt;' * 50}'/>", "new"))
        await core.settle()
        assert not any(condition(answer) for answer in ann.read())


@in_loop
async def test_requests_to_contacts_are_bounded_too():
    async with CoreSite(roster_bytes=100) as core:
        ann = await core.login("ann")
        for n in range(5):
            ann.send(f"<presence type='subscribed' to='contact-{n}@{HOST}'/>")
        await core.settle()
        assert [condition(answer) for answer in ann.read()] == ["resource-constraint"] * 4


@pytest.mark.req("6-1.2", "6-25.1")
@pytest.mark.req("7-21.c")
@in_loop
async def test_a_full_roster_keeps_nobody_subscribed():
    """An item of the state none is two bytes longer than one of the state to."""
    item = RosterItem(BEN, subscription="to")
    async with CoreSite(roster_bytes=len(item_xml(item))) as core:
        core.records.items[1][BEN] = item
        ann = await core.login("ann")
        ann.send(f"<presence type='unsubscribe' to='{BEN}'/>")
        await core.settle()
        assert not ann.read()
        assert core.item("ann", BEN).subscription == "none"


@in_loop
async def test_ten_thousand_may_subscribe_to_one_account_under_the_limits_as_they_come():
    async with CoreSite() as core:
        names = [f"first.last.{number:05}@{HOST}" for number in range(9_999)]
        core.records.items[1] = {name: RosterItem(name, subscription="from") for name in names}
        ann, ben = await core.login("ann"), await core.login("ben")
        ben.send(f"<presence type='subscribe' to='{ann.bare}'/>")
        await core.settle()
        ann.send(f"<presence type='subscribed' to='{BEN}'/>")
        await core.settle()
        assert ann.read() == []
        assert core.item("ann", BEN).subscription == "from"


@pytest.mark.parametrize("whose", ["ben", "nobody"])
@in_loop
async def test_the_roster_of_another_is_forbidden_whether_there_is_one_or_not(whose):
    """RFC 6121 2.3.3; nobody learns by it who has an account."""
    async with CoreSite() as core:
        ann = await core.login("ann")
        to = f" to='{whose}@{HOST}'"
        for request in (get(), put("<item jid='c@x'/>"), put("<item jid='c@x' subscription='remove'/>")):
            ann.send(request.replace(" id=", f"{to} id="))
            await core.settle()
            (answer,) = ann.read()
            assert (condition(answer), answer.find("{jabber:client}error").get("type")) == (
                "forbidden",
                "auth",
            )
        assert not any(core.records.items.values())


@pytest.mark.req("6-31.1")
@pytest.mark.parametrize("address", ["", "@@", "nobody@x"])
@in_loop
async def test_what_is_removed_and_not_there_is_not_found_whatever_it_looks_like(address):
    """RFC 6121 2.5.3: any value that names no item of the roster."""
    async with CoreSite() as core:
        ann = await core.login("ann")
        ann.send(put(f"<item jid='{address}' subscription='remove'/>"))
        await core.settle()
        assert [condition(answer) for answer in ann.read()] == ["item-not-found"]


@pytest.mark.parametrize("own", ["", "/other", "/a"])
@in_loop
async def test_nobody_is_a_contact_of_its_own(own):
    """RFC 6121 2.3.3, the note; a full address of the account would be an item that can never be subscribed to."""
    async with CoreSite() as core:
        ann = await core.login("ann", "a")
        ann.send(
            put(f"<item jid='{ann.bare}{own}'/>"), f"<presence type='subscribe' id='s' to='{ann.bare}{own}'/>"
        )
        await core.settle()
        assert [(condition(answer), answer.get("id")) for answer in ann.read()] == [("not-allowed", "s")] * 2
        assert core.records.items[1] == {}


@pytest.mark.req("7-3.a")
@in_loop
async def test_a_full_address_is_an_item_beside_the_bare_one_that_is_subscribed_to():
    """RFC 6121 3.1.2; no word of 2.1.2 keeps full addresses out of a roster."""
    async with CoreSite() as core:
        ann = await core.login("ann")
        ann.send(
            put(f"<item jid='ben@{HOST}/desk' name='Desk'/>"),
            f"<presence type='subscribe' to='ben@{HOST}/desk'/>",
        )
        await core.settle()
        assert core.records.items[1] == {
            f"ben@{HOST}/desk": RosterItem(f"ben@{HOST}/desk", name="Desk"),
            f"ben@{HOST}": RosterItem(f"ben@{HOST}", ask=True),
        }
        ann.read()
        ann.send(put(f"<item jid='ben@{HOST}/desk' subscription='remove'/>"))
        await core.settle()
        assert list(core.records.items[1]) == [f"ben@{HOST}"]


@pytest.mark.req("6-6.1", "6-9.1", "6-12.1")
@in_loop
async def test_names_and_groups_come_back_as_they_were():
    text = "B&#9;o&#10;b&#13; &amp;amp; &lt;S&#246;hne>&#34;&#39; \U0001f600 ]]&gt;"
    meant = "B\to\nb\r &amp; <S\u00f6hne>\"' \U0001f600 ]]>"
    async with CoreSite() as core:
        ann = await core.login("ann")
        ann.send(
            get(), put(f"<item jid='c@x/o&apos;h&amp;' name='{text}'><group>{text}</group></item>"), get()
        )
        await core.settle()
        _, push, _, result = ann.read()
        for stanza in (push, result):
            (item,) = stanza.find(QUERY)
            assert (item.get("jid"), item.get("name"), item[0].text) == ("c@x/o'h&", meant, meant)


def rendered(n, version=1):
    return Roster(version, [RosterItem(f"c{i}@x") for i in range(n)])


def test_a_roster_is_rendered_once_for_each_version():
    kept = RenderedRosters(10_000)
    roster = rendered(3)
    first = kept.get(1, roster)
    assert first == roster.to_xml()
    assert kept.get(1, roster) is first
    roster.put(RosterItem("new@x"), 2)
    assert kept.get(1, roster) == roster.to_xml() != first


def test_what_is_kept_rendered_is_bounded_in_bytes():
    size = len(rendered(10).to_xml())
    kept = RenderedRosters(3 * size)
    rosters = {n: rendered(10) for n in range(5)}
    answers = {n: kept.get(n, roster) for n, roster in rosters.items()}
    assert len(kept) == 3
    assert kept.get(4, rosters[4]) is answers[4]
    assert kept.get(0, rosters[0]) is not answers[0]
    assert len(kept.get(9, rendered(100))) > 3 * size, "too large to keep, and answered all the same"
    assert len(kept) == 3


def test_none_is_kept_if_there_is_no_room_for_any():
    kept = RenderedRosters(0)
    roster = rendered(3)
    assert kept.get(1, roster) == kept.get(1, roster) == roster.to_xml()
    assert len(kept) == 0
