"""Presence to very many is told some at a time, and nobody can tell but by the clock (RFC 6121 4.2.2; RFC 6120 10.1)."""

from __future__ import annotations

import asyncio
import functools
from unittest.mock import Mock

import pytest

from tests.unit.core_site import HOST, CoreSite, broadcasts_cut_up, in_loop
from xmppd.core import removal
from xmppd.core.broadcasts import Broadcasts
from xmppd.core.presence import withdraw_all
from xmppd.records import RosterItem

STAR = f"star@{HOST}"
FANS = [f"fan{i}" for i in range(40)]
BLOCK = "<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='{}'/></block></iq>"


def cut_up(test):
    """With pieces as short as they can be."""

    @functools.wraps(test)
    def run():
        with broadcasts_cut_up(3):
            in_loop(test)()

    return run


async def starred(core):
    """The star, and its fans, who see it, as they would see the sun."""
    records = core.records
    for fan in FANS:
        for name in records.ids.keys() & {STAR, f"sun@{HOST}"}:
            records.items[records.ids[name]][f"{fan}@{HOST}"] = RosterItem(
                f"{fan}@{HOST}", subscription="from"
            )
            records.items[records.ids[f"{fan}@{HOST}"]][name] = RosterItem(name, subscription="to")
    fans = [await core.login(fan, "r") for fan in FANS]
    for fan in fans:
        fan.send("<presence/>")
    star = await core.login("star", "one")
    await core.settle()
    for fan in fans:
        fan.raw()
    return star, fans


def told(client):
    """What a client was told since the last look: the status of presence, None for unavailable, else the element."""
    return [
        (None if each.get("type") == "unavailable" else each.findtext("{jabber:client}status"))
        if each.tag.endswith("presence")
        else each.tag.rpartition("}")[2]
        for each in client.read()
    ]


async def some_told(core, fans):
    """Let the loop turn until some have been told, and others have not."""
    found = [[] for _ in fans]
    while not any(found):
        await asyncio.sleep(0)
        found = [told(fan) for fan in fans]
    assert not all(found)
    return found


def status(text):
    return f"<presence><status>{text}</status></presence>"


@cut_up
async def test_what_follows_waits_until_all_have_been_told():
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        star.send(status("1"), f"<message to='{fans[-1].jid}'/>", status("2"))
        found = await some_told(core, fans)
        await core.settle()
        rest = [told(fan) for fan in fans]
        for fan, before, after in zip(fans, found, rest, strict=True):
            assert before + after == (["1", "message", "2"] if fan is fans[-1] else ["1", "2"])
        assert not star.held
        assert told(star) == ["1", "2"]


@cut_up
async def test_others_do_not_wait():
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        star.send(status("1"))
        fans[0].send(f"<message to='{fans[-1].jid}'/>")
        found = []
        while not found:
            await asyncio.sleep(0)
            found = told(fans[-1])
        assert found == ["message"]
        await core.settle()
        assert told(fans[-1]) == ["1"]


@cut_up
async def test_a_stream_that_ends_meanwhile():
    """Everybody sees it come and go, and the next of the same name come."""
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        star.send(status("1"))
        found = await some_told(core, fans)
        core.sessions.unbind(star.resource)
        again = await core.login("star", "one")
        again.send(status("2"))
        await core.settle()
        assert [a + b for a, b in zip(found, map(told, fans), strict=True)] == [["1", None, "2"]] * len(fans)


@pytest.mark.req("8-12")
@cut_up
async def test_who_is_cut_off_meanwhile_sees_it_go_and_no_more():
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        star.send(status("1"))
        await some_told(core, fans)
        fans[-1].send(f"<presence type='unsubscribe' to='{STAR}'/>")
        await core.settle()
        assert told(fans[-1])[-1] is None


@cut_up
async def test_who_is_blocked_meanwhile_sees_it_go_and_no_more():
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        other = await core.login("star", "two")
        star.send(status("1"))
        await some_told(core, fans)
        other.send(BLOCK.format(fans[-1].bare))
        await core.settle()
        assert told(fans[-1])[-1] is None
        assert all("1" in told(fan) or fan is fans[-1] for fan in fans[20:])


@cut_up
async def test_who_is_blocked_hears_nothing_more_of_those_who_have_gone():
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        star.send(status("1"))
        await some_told(core, fans)
        core.sessions.unbind(star.resource)
        other = await core.login("star", "two")
        other.send(BLOCK.format(fans[-1].bare))
        await core.until(other.read)
        assert told(fans[-1]) == ["1", None]
        await core.settle()
        assert told(fans[-1]) == []


@in_loop
async def test_when_there_are_few_of_them_suddenly_what_was_said_before_goes_first():
    with broadcasts_cut_up(len(FANS) - 1):
        async with CoreSite(["star", *FANS]) as core:
            star, fans = await starred(core)
            star.send(BLOCK.format(fans[-1].bare))
            await core.settle()
            star.send(status("1"))
            found = await some_told(core, fans)
            fans[-1].send(f"<presence type='unsubscribe' to='{STAR}'/>")
            await core.site.drain()
            core.sessions.unbind(star.resource)
            await core.settle()
            found = [before + told(fan) for before, fan in zip(found, fans, strict=True)]
            assert found == [["1", None]] * (len(fans) - 1) + [[]]


@pytest.mark.req("8-20.2")
@cut_up
async def test_when_the_server_stops_all_is_told_at_once():
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        star.send(status("1"))
        withdraw_all(core.site, [star.resource])
        assert not core.site.broadcasts
        assert not star.held
        await core.settle()
        assert [told(fan) for fan in fans] == [["1", None]] * len(fans)


@pytest.mark.req("8-20.2")
@cut_up
async def test_when_the_server_stops_all_are_told_while_all_are_there():
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        star.send(status("1"))
        await core.settle()
        withdraw_all(core.site, core.sessions.all())  # the fans first
        await core.settle()
        for fan in fans:
            assert (star.jid, "unavailable") in [(each.get("from"), each.get("type")) for each in fan.read()]


@pytest.mark.req("8-20.2")
@cut_up
async def test_when_the_server_stops_nobody_who_has_just_gone_is_forgotten():
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        star.send(status("1"))
        await core.settle()
        core.sessions.unbind(star.resource)
        withdraw_all(core.site, core.sessions.all())
        assert not core.site.broadcasts
        await core.settle()
        for fan in fans:
            seen = [each.get("type") for each in fan.read() if each.get("from") == star.jid]
            assert seen == [None, "unavailable"]


@cut_up
async def test_who_blocks_an_account_that_has_just_gone_sees_it_go():
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        star.send(status("1"))
        await core.settle()
        for fan in fans:
            fan.raw()
        core.sessions.unbind(star.resource)
        await some_told(core, fans)
        fans[-1].send(BLOCK.format(STAR))
        await core.settle()
        assert told(fans[-1]) == [None, "iq"]


@cut_up
async def test_a_new_account_of_the_name_of_one_that_is_removed_meanwhile_hears_nothing():
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        star.send(status("1"))
        await some_told(core, fans)
        gone = fans[-1].resource.jid.bare
        core.sessions.unbind(fans[-1].resource)  # as ops.commands does it
        core.site.accounts.forget(gone)
        core.records.items[core.records.ids[str(gone)]].clear()
        await removal.tell_contacts(core.site, gone, [(star.resource.jid.bare, gone)])
        again = await core.login(FANS[-1], "r")
        again.send(status("new"))
        await core.settle()
        assert told(again) == ["new"]


@cut_up
async def test_what_the_next_stream_of_a_name_says_comes_after_what_the_last_one_said():
    async with CoreSite(["star", *FANS]) as core:
        star, fans = await starred(core)
        star.send(status("1"))
        await core.settle()
        core.sessions.unbind(star.resource)
        again = await core.login("star", "one")
        again.send(f"<presence to='{fans[-1].bare}'><status>here</status></presence>")
        await core.settle()
        assert told(fans[-1]) == ["1", None, "here"]
        assert not core.site.broadcasts


@cut_up
async def test_many_at_the_same_time():
    """They take turns: none has to wait until another is through."""
    async with CoreSite(["star", "sun", *FANS]) as core:
        star, fans = await starred(core)
        sun = await core.login("sun", "one")
        star.send(status("star"))
        sun.send(status("sun"))
        found = [[] for _ in fans]
        while ["star", "sun"] not in map(sorted, found):
            await asyncio.sleep(0)
            found = [before + told(fan) for before, fan in zip(found, fans, strict=True)]
        assert [] in found
        await core.settle()
        found = [before + told(fan) for before, fan in zip(found, fans, strict=True)]
        assert list(map(sorted, found)) == [["star", "sun"]] * len(fans)


class Failing:
    """A routing table that has no memory."""

    def broadcast_late(self, *_):
        raise MemoryError


@in_loop
async def test_streams_go_on_when_telling_fails():
    failures = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: failures.append(type(context["exception"]))
    )
    waiting = Broadcasts(Failing())
    senders = [Mock(account=Mock(key=key)) for key in (b"a", b"a", b"b")]
    for sender in senders:
        waiting.tell(sender, [b"c"] * 1000, b"", b"")
        sender.session.hold.assert_called_once_with()
    with pytest.raises(MemoryError):
        waiting.finish(b"a")
    while waiting:
        await asyncio.sleep(0)
    for sender in senders:
        sender.session.release.assert_called_once_with()
    assert set(failures) == {MemoryError}
