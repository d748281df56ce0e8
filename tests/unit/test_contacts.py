"""Every subscription stanza in every state, out and in, to and from contacts here and elsewhere (RFC 6121 3 and A).

Who reads a failing name: direction - where the contact is - stanza - state of the account under test.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.core_site import HOST, CoreSite, in_loop
from tests.unit.test_subscription import PRINTED
from tests.xmpp_client import condition, find
from xmppd.core import contacts
from xmppd.core.roster import state_of
from xmppd.core.subscription import State
from xmppd.errors import StanzaError
from xmppd.jid import JID
from xmppd.records import RosterItem

ANN = f"ann@{HOST}"
CONTACTS = {"local": f"ben@{HOST}", "remote": "ben@remote.example"}
TYPES = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")

SHOWS = ("FROM", "FROM_OUT", "BOTH")  # the contact sees us
NOT_ASKED = ("NONE", "NONE_OUT", "TO")  # no request waits, and the contact does not see us

# what the contact must be in so that its server lets its stanza out
SENDER_STATE = {"subscribe": "NONE", "subscribed": "NONE_IN", "unsubscribe": "TO", "unsubscribed": "FROM"}

CELLS = [
    pytest.param(where, type_, state, id=f"{where}-{type_}-{state.name}")
    for where in CONTACTS
    for type_ in TYPES
    for state in State
]


def stored(contact: str, state: State, me: str = ANN) -> RosterItem:
    """A roster item in this state."""
    to, from_, out, in_ = state.value
    return RosterItem(
        contact,
        subscription="both" if to and from_ else "to" if to else "from" if from_ else "none",
        ask=out,
        pending_in=f"<presence type='subscribe' from='{contact}' to='{me}' id='old'/>".encode()
        if in_
        else None,
        listed=to or from_ or out,
    )


def visible(state: State) -> tuple[bool, ...]:
    """What of a state a client sees."""
    return state.value[:3]


def kinds(stanzas):
    return [
        (s.get("type"), s.get("from"), s.get("to"), s.get("id"))
        for s in stanzas
        if s.tag.endswith("presence")
    ]


def pushed(stanzas):
    return [
        (item.get("subscription"), item.get("ask"), item.get("approved"))
        for s in stanzas
        if s.tag.endswith("iq") and s.get("type") == "set"
        for item in s.iter("{jabber:iq:roster}item")
    ]


async def in_state(core, contact, state):
    """Ann, available and interested, in this state towards the contact."""
    if state is not State.NONE:
        core.records.items[1][contact] = stored(contact, state)
    ann = await core.login("ann", "a")
    ann.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>", "<presence/>")
    await core.settle()
    ann.raw()
    core.remote.read()
    return ann


def state_now(core, contact):
    item = core.item("ann", contact)
    return state_of(item) if item is not None else State.NONE


@pytest.mark.req("7-3.a", "7-3.b", "7-3.c", "7-4.1", "7-6.1", "7-6.2", "7-12.1", "7-12.2", "7-13.1", "7-14.1",
                 "7-18.b", "7-18.c", "7-18.d", "7-18.e", "7-21.b", "7-21.c", "6-8.1")  # fmt: skip
@pytest.mark.parametrize(("where", "type_", "state"), CELLS)
@in_loop
async def test_out(where, type_, state):
    contact = CONTACTS[where]
    routed, after = PRINTED["out", type_][state.name]
    after = State[after] if after else state
    async with CoreSite() as core:
        core.federate()
        ann = await in_state(core, contact, state)
        ben = await core.login("ben", "b")
        ben.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>", "<presence/>")
        await core.settle()
        ben.raw()
        ann.send(
            f"<presence type='{type_}' to='{contact}/desk' from='forged@x/y' id='i'><status>s</status></presence>"
        )
        await core.settle()
        assert state_now(core, contact) is after

        pre_approves = type_ == "subscribed" and state.name in NOT_ASKED
        seen = pushed(ann.read())
        if visible(state) != visible(after) or pre_approves:
            expected = (
                after.subscription,
                "subscribe" if after.value[2] else None,
                "true" if pre_approves else None,
            )
            assert seen == [expected]
        else:
            assert seen == []

        ours = ("from", ANN) if where == "remote" else None
        if ours:
            sent = kinds(core.remote.read())
            expected = [(type_, ANN, contact, "i")] if routed else []
            if type_ == "subscribed" and routed:
                expected += [(None, ann.jid, contact, None)]
            if type_ == "unsubscribed" and state.name in SHOWS:
                expected = [("unavailable", ann.jid, contact, None), *expected]
            assert sent == expected
        else:
            assert core.remote.read() == []


@pytest.mark.req("7-7.1", "7-8.a", "7-8.b", "7-8.d", "7-15.a", "7-15.b", "7-16.1", "7-19.a", "7-19.b", "7-19.c",
                 "7-22.a.i", "7-22.a.ii", "7-22.a.iii", "7-22.b", "7-22.x1", "7-8.x2", "7-11.2")  # fmt: skip
@pytest.mark.parametrize(("where", "type_", "state"), CELLS)
@in_loop
async def test_in(where, type_, state):
    contact = CONTACTS[where]
    delivered, after = PRINTED["in", type_][state.name]
    after = State[after] if after else state
    async with CoreSite() as core:
        core.federate()
        ann = await in_state(core, contact, state)
        silent = await core.login("ann", "silent")  # connected, neither available nor interested
        if where == "remote":
            core.receive(contact, f"<presence type='{type_}' from='{contact}/x' to='{ANN}/desk' id='i'/>")
        else:
            core.records.items[2][ANN] = stored(ANN, State[SENDER_STATE[type_]], me=contact)
            ben = await core.login("ben", "b")
            ben.send(f"<presence type='{type_}' to='{ANN}' id='i'/>")
        await core.settle()
        assert state_now(core, contact) is after

        stanzas = ann.read()
        assert [k for k in kinds(stanzas) if k[0] in TYPES] == (
            [(type_, contact, ANN, "i")] if delivered else []
        )
        push = (after.subscription, "subscribe" if after.value[2] else None, None)
        assert pushed(stanzas) == ([push] if visible(state) != visible(after) else [])
        if delivered and pushed(stanzas):
            assert stanzas[0].get("type") == type_, "the stanza comes before the push"
        assert silent.raw() == b""

        if where == "remote":
            expected = []
            if type_ == "subscribe" and state.name in SHOWS:
                expected = [("subscribed", ANN, contact, "i"), (None, ann.jid, contact, None)]
            if type_ == "unsubscribe" and after is not state:
                expected = [("unsubscribed", ANN, contact, "i")]
                if state.name in SHOWS:
                    expected.append(("unavailable", ann.jid, contact, None))
            assert kinds(core.remote.read()) == expected


@pytest.mark.req("7-8.c", "7-16.1", "7-19.c", "7-22.b")
@pytest.mark.parametrize("type_", TYPES)
@in_loop
async def test_for_nobody_from_elsewhere(type_):
    async with CoreSite() as core:
        remote = core.federate()
        core.receive("ben@remote.example", f"<presence type='{type_}' to='nobody@{HOST}' id='i'/>")
        await core.settle()
        denied = [("unsubscribed", f"nobody@{HOST}", "ben@remote.example", "i")]
        assert kinds(remote.read()) == (denied if type_ == "subscribe" else [])


@pytest.mark.req("7-5.2", "7-5.3", "7-8.c")
@in_loop
async def test_a_request_to_nobody_is_an_error_and_denied():
    async with CoreSite() as core:
        ann = await core.login("ann", "a")
        ann.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
        ann.send(f"<presence type='subscribe' to='nobody@{HOST}' id='i'/>")
        await core.settle()
        stanzas = ann.read()
        error = find(stanzas, "presence", type="error")[0]
        assert (condition(error), error.get("id")) == ("service-unavailable", "i")
        (denied,) = find(stanzas, "presence", type="unsubscribed")
        assert (denied.get("from"), denied.get("to")) == (f"nobody@{HOST}", ANN)
        assert pushed(stanzas)[-1] == ("none", None, None)


@pytest.mark.req("7-5.1", "7-5.3")
@in_loop
async def test_a_request_that_another_server_never_got_is_taken_back():
    async with CoreSite() as core:
        core.federate().refuses = StanzaError("remote-server-timeout")
        ann = await core.login("ann", "a")
        ann.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
        ann.send("<presence type='subscribe' to='ben@remote.example' id='i'/>")
        await core.settle()
        stanzas = ann.read()
        error = find(stanzas, "presence", type="error")[0]
        assert (condition(error), error.get("id")) == ("remote-server-timeout", "i")
        assert pushed(stanzas) == [("none", "subscribe", None), ("none", None, None)]


@pytest.mark.req("7-8.e", "7-8.x1", "7-9.1", "6-12.4")
@pytest.mark.parametrize("where", CONTACTS)
@in_loop
async def test_a_request_is_kept_whole_and_comes_at_each_log_in_until_it_is_answered(where):
    contact = CONTACTS[where]
    request = f"<presence type='subscribe' to='{ANN}' id='i1'><status>it's me</status><nick xmlns='n'>B</nick></presence>"
    async with CoreSite() as core:
        core.federate()
        if where == "remote":
            core.receive(contact, request)
            core.receive(contact, request.replace("i1", "i2"))
        else:
            ben = await core.login("ben", "b")
            ben.send(request, request.replace("i1", "i2"))
        await core.settle()
        for resource in ("one", "two"):
            ann = await core.login("ann", resource)
            ann.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>", "<presence/>")
            await core.settle()
            stanzas = ann.read()
            (came,) = find(stanzas, "presence", type="subscribe")
            assert (came.get("from"), came.get("to"), came.get("id")) == (contact, ANN, "i1")
            assert [child.text for child in came] == ["it's me", "B"]
            assert not list(stanzas[0].iter("{jabber:iq:roster}item"))
            ann.send("<presence type='unavailable'/>")
            await core.settle()
            ann.raw()
        ann.send("<presence/>", f"<presence type='unsubscribed' to='{contact}'/>")
        await core.settle()
        ann.raw()
        later = await core.login("ann", "later")
        later.send("<presence/>")
        await core.settle()
        assert not find(later.read(), "presence", type="subscribe")


@in_loop
async def test_strangers_cannot_spoil_a_log_in():
    async with CoreSite(kept_requests=3, kept_request_bytes=200, roster_items=2) as core:
        remote = core.federate()
        for n in range(5):
            core.receive(
                f"c{n}@remote.example",
                f"<presence type='subscribe' to='{ANN}'><a xmlns='b'>{'x' * 500}</a></presence>",
            )
        await core.settle()
        assert [k[:3] for k in kinds(remote.read())] == [
            ("unsubscribed", ANN, f"c{n}@remote.example") for n in (3, 4)
        ]
        ann = await core.login("ann", "a")
        ann.send("<presence/>")
        await core.settle()
        kept = find(ann.read(), "presence", type="subscribe")
        assert [(k.get("from"), len(k)) for k in kept] == [(f"c{n}@remote.example", 0) for n in range(3)]
        # and they take no room of the roster
        for n in range(3):
            ann.send(
                f"<iq type='set' id='s{n}'><query xmlns='jabber:iq:roster'><item jid='own{n}@x'/></query></iq>"
            )
        await core.settle()
        assert [condition(answer) for answer in find(ann.read(), "iq")] == [None, None, "resource-constraint"]


@pytest.mark.parametrize("there", [True, False])
@in_loop
async def test_who_asks_and_takes_back_a_hundred_times_leaves_nothing_and_each_time_is_one_stanza(there):
    """What it costs the contact is bounded by what a stream may send (`limits.stanzas_per_s`); it can block (XEP-0191)."""
    async with CoreSite() as core:
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        ben.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
        if there:
            ben.send("<presence/>")
        await core.settle()
        ben.raw()
        for n in range(100):
            ann.send(
                f"<presence type='subscribe' to='ben@{HOST}'><status>{n}</status></presence>",
                f"<presence type='unsubscribe' to='ben@{HOST}'/>",
            )
        await core.settle()
        got = kinds(ben.read())
        assert len(got) == (200 if there else 100)  # no pushes; who is not available is not asked
        assert {type_ for type_, *_ in got} <= {"subscribe", "unsubscribe"}
        assert core.records.items[core.records.ids[f"ben@{HOST}"]] == {}
        roster = ben.resource.account.account.roster
        assert (len(roster), roster.requests) == (0, 0)


@pytest.mark.req("6-30.a", "6-30.b", "6-30.c", "6-30.x1")
@pytest.mark.parametrize("where", CONTACTS)
@pytest.mark.parametrize(
    "state", [s for s in State if s.name != "NONE" and s.name != "NONE_IN"], ids=lambda s: s.name
)
@in_loop
async def test_removal(where, state):
    contact = CONTACTS[where]
    to, from_, out, _ = state.value
    async with CoreSite() as core:
        core.federate()
        ann = await in_state(core, contact, state)
        ben = await core.login("ben", "b")
        if where == "local":
            core.site.accounts.get(ben.resource.jid.bare)
            mirror = State((from_, to, state.value[3], out))
            await core.site.accounts.get(ben.resource.jid.bare).put(stored(ANN, mirror, me=contact))
        ben.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>", "<presence/>")
        await core.settle()
        ben.raw(), ann.raw()
        ann.send(
            f"<iq type='set' id='x'><query xmlns='jabber:iq:roster'><item jid='{contact}' subscription='remove'/></query></iq>"
        )
        await core.settle()
        assert pushed(ann.read()) == [("remove", None, None)]
        expected = []
        if to or out:
            expected.append("unsubscribe")
        if from_:
            expected += ["unavailable", "unsubscribed"]
        got = kinds(core.remote.read() if where == "remote" else ben.read())
        types = [
            type_ for type_, sender, _, _ in got if sender.partition("/")[0] == ANN and type_ is not None
        ]
        if where == "remote":
            assert types == expected
        else:
            # a request that is withdrawn was never more than a question: its contact's roster shows nothing of it
            assert set(types) == set(expected)
        # a request of the contact waits for its answer all the same
        assert state_now(core, contact) is (State.NONE_IN if state.value[3] else State.NONE)


# ---- the two halves of a subscription are two commits

HALVES = [
    ("subscribe", State.NONE, State.NONE, State.NONE_OUT, State.NONE_IN),
    ("subscribed", State.NONE_IN, State.NONE_OUT, State.FROM, State.TO),
    ("unsubscribe", State.BOTH, State.BOTH, State.FROM, State.TO),
    ("unsubscribed", State.BOTH, State.BOTH, State.TO, State.FROM),
    ("remove", State.BOTH, State.BOTH, State.NONE, State.NONE),
]


async def half_done(core, type_, ours, theirs):
    """Ann has committed her half; Ben's cannot be committed."""
    ben = f"ben@{HOST}"
    core.records.items[1][ben] = stored(ben, ours)
    core.records.items[2][ANN] = stored(ANN, theirs, ben)
    ann = await core.login("ann")
    core.records.fail_put[2] = StanzaError("internal-server-error")
    if type_ == "remove":
        ann.send(
            f"<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='{ben}' subscription='remove'/></query></iq>"
        )
    else:
        ann.send(f"<presence type='{type_}' to='{ben}'/>")
    await core.settle()


def halves(core):
    ben = f"ben@{HOST}"
    found = [core.item("ann", ben), core.item("ben", ANN)]
    return [state_of(item) if item else State.NONE for item in found]


@pytest.mark.parametrize(("type_", "ours", "theirs", "a", "b"), HALVES[1:], ids=lambda value: str(value))
@in_loop
async def test_the_other_half_is_made_when_the_disk_works_again(type_, ours, theirs, a, b):
    async with CoreSite() as core:
        await half_done(core, type_, ours, theirs)
        assert halves(core) == [a, theirs]
        assert core.records.crossing
        core.site.crossings.retry()
        await core.settle()
        assert core.records.crossing
        core.records.fail_put.clear()
        core.site.crossings.retry()
        await core.settle()
        assert halves(core) == [a, b]
        assert not core.records.crossing
        assert not core.site.crossings


@pytest.mark.parametrize(("type_", "ours", "theirs", "a", "b"), HALVES, ids=lambda value: str(value))
@in_loop
async def test_the_other_half_is_made_at_the_next_start(type_, ours, theirs, a, b):
    async with CoreSite() as before, CoreSite() as core:
        await half_done(before, type_, ours, theirs)
        if type_ == "subscribe":  # it was denied at once, as Ben could not be asked
            assert halves(before) == [State.NONE, State.NONE]
            return
        core.records.items = before.records.items
        core.records.crossing = before.records.crossing
        contacts.resume(core.site, list(core.records.crossing.values()))
        await core.settle()
        assert halves(core) == [a, b]
        assert not core.records.crossing


async def asked_in_vain(core):
    """Ann has asked Ben: neither his half nor her denial could be committed; by now the disk works again."""
    ann = await core.login("ann")
    core.records.fail_put[2] = StanzaError("internal-server-error")
    committed = core.records.put

    async def put(account_id, item, crossing=(), crossed=None):
        version = await committed(account_id, item, crossing, crossed)
        core.records.fail_put[1] = StanzaError("internal-server-error")  # from now on hers fails, too
        return version

    core.records.put = put
    ann.send(f"<presence type='subscribe' to='ben@{HOST}'/>")
    await core.settle()
    assert halves(core) == [State.NONE_OUT, State.NONE]
    core.records.fail_put.clear()
    core.records.put = committed
    return ann


@pytest.mark.req("7-5.3")
@in_loop
async def test_a_request_that_was_answered_by_an_error_is_not_sent_later():
    async with CoreSite() as core:
        ann = await asked_in_vain(core)
        ann.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
        assert [s.get("type") for s in find(ann.read(), "presence")] == ["error"]
        core.site.crossings.retry()
        await core.settle()
        assert halves(core) == [State.NONE, State.NONE]
        assert [s.get("type") for s in find(ann.read(), "presence")] == ["unsubscribed"]
        assert not core.records.crossing
        assert not core.site.crossings


def made_anew(core, name):
    """The account is deleted, and another takes its name; the id of the new one."""
    core.records.delete(name)
    core.site.accounts.forget(JID.parse(f"{name}@{HOST}"))
    return core.records.add(name)


@pytest.mark.parametrize("gone", ["ann", "ben"])
@in_loop
async def test_a_new_account_inherits_no_request_that_was_on_its_way(gone):
    async with CoreSite() as core:
        ann = await core.login("ann")
        committed = core.records.put

        async def put(account_id, item, crossing=(), crossed=None):
            version = await committed(account_id, item, crossing, crossed)
            core.records.gate = asyncio.Event()  # what comes after hers waits for the disk
            return version

        core.records.put = put
        ann.send(f"<presence type='subscribe' to='ben@{HOST}'/>")
        await core.until(lambda: core.records.gate)
        core.records.put = committed
        new = made_anew(core, gone)
        core.records.gate.set()
        await core.settle()
        assert core.records.items[2] == core.records.items[new] == {}
        assert not core.site.crossings


@pytest.mark.parametrize("gone", ["ann", "ben"])
@in_loop
async def test_a_new_account_inherits_no_request_that_could_not_go_on(gone):
    async with CoreSite() as core:
        await asked_in_vain(core)
        new = made_anew(core, gone)
        core.site.crossings.retry()
        await core.settle()
        assert core.records.items[2] == core.records.items[new] == {}
        assert not core.site.crossings


@pytest.mark.parametrize("state", [State.TO, State.BOTH, State.NONE_OUT], ids=lambda state: state.name)
@pytest.mark.parametrize("condition", ["resource-constraint", "internal-server-error"])
@in_loop
async def test_a_request_that_is_sent_again_in_vain_takes_nothing_away(state, condition):
    """The contact's account cannot be read: an error, and both halves stay as they are."""
    async with CoreSite() as core:
        ben = f"ben@{HOST}"
        core.records.items[1][ben] = stored(ben, state)
        core.records.fail_load[ben] = StanzaError(condition)
        ann = await core.login("ann")
        ann.send(f"<presence type='subscribe' to='{ben}' id='again'/>")
        await core.settle()
        (error,) = ann.read()
        assert (error.get("type"), error.get("id")) == ("error", "again")
        assert state_now(core, ben) is state


@pytest.mark.req("7-14.1", "7-15.c")
@in_loop
async def test_presence_follows_an_approval_that_comes_late():
    async with CoreSite() as before, CoreSite() as core:
        await half_done(before, "subscribed", State.NONE_IN, State.NONE_OUT)
        core.records.items, core.records.crossing = before.records.items, before.records.crossing
        core.records.fail_put[2] = StanzaError("internal-server-error")
        contacts.resume(core.site, list(core.records.crossing.values()))
        await core.settle()
        ann, ben = await core.login("ann", "a"), await core.login("ben", "b")
        ann.send("<presence/>")
        ben.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>", "<presence/>")
        await core.settle()
        ben.raw()
        core.records.fail_put.clear()
        core.site.crossings.retry()
        await core.settle()
        assert kinds(find(ben.read(), "presence")) == [
            ("subscribed", ANN, ben.bare, None), (None, ann.jid, ben.bare, None)]  # fmt: skip


@in_loop
async def test_what_one_account_sends_another_crosses_in_order():
    async with CoreSite() as core:
        await half_done(core, "unsubscribed", State.BOTH, State.BOTH)
        ann = await core.login("ann", "second")
        ben = f"ben@{HOST}"
        core.records.fail_put.clear()  # works again, and what was stuck has not been tried yet
        ann.send(f"<presence type='unsubscribe' to='{ben}'/>")
        await core.settle()
        assert halves(core) == [State.NONE, State.BOTH]
        core.site.crossings.retry()
        await core.settle()
        assert halves(core) == [State.NONE, State.NONE]
        assert not core.site.crossings


@pytest.mark.parametrize(("ours", "a", "b"), [("TO", "NONE", "NONE"), ("BOTH", "FROM", "TO")])
@in_loop
async def test_a_request_that_is_sent_again_while_its_end_is_on_its_way_is_settled_by_it(ours, a, b):
    """Else the contact would be asked by somebody who has been told that nothing is between them any more."""
    async with CoreSite() as core:
        ben = f"ben@{HOST}"
        core.records.items[1][ben] = stored(ben, State[ours])
        core.records.items[2][ANN] = stored(ANN, {"TO": State.FROM, "BOTH": State.BOTH}[ours], ben)
        ann, ben_client = await core.login("ann"), await core.login("ben")
        core.records.fail_put[1] = StanzaError("internal-server-error")
        ben_client.send(f"<presence type='unsubscribed' to='{ANN}'/>")
        await core.settle()
        ann.send(f"<presence type='subscribe' to='{ben}'/>")
        await core.settle()
        core.records.fail_put.clear()
        core.site.crossings.retry()
        await core.settle()
        assert halves(core) == [State[a], State[b]]
        assert ann.held == 0
