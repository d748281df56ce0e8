"""Block lists (XEP-0191): what is not delivered, what is answered, who sees whom."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.core_site import HOST, CoreSite, FakeClient, in_loop, subscribe
from tests.xmpp_client import condition
from xmppd._fast.reader import Stanza
from xmppd._fast.route import in_block_list
from xmppd.core.delivery import RFC6121
from xmppd.errors import StanzaError
from xmppd.jid import JID

BLOCKING = "urn:xmpp:blocking"
ROSTER = "jabber:iq:roster"
NAMES = ("ann", "ben", "cay")


def items(*addresses: str) -> str:
    return "".join(f"<item jid='{address}'/>" for address in addresses)


async def change(core, client: FakeClient, name: str, *addresses: str):
    """Block or unblock; the answer. What else the client is sent is left to be read."""
    client.send(f"<iq type='set' id='b'><{name} xmlns='{BLOCKING}'>{items(*addresses)}</{name}></iq>")
    await core.settle()


async def block(core, client: FakeClient, *addresses: str) -> list[str | None]:
    """Block; whom the client sees go by it."""
    await change(core, client, "block", *addresses)
    *gone, answer = client.read()
    assert (answer.get("type"), answer.get("id"), len(answer)) == ("result", "b", 0)
    assert {stanza.get("type") for stanza in gone} <= {"unavailable"}
    return [stanza.get("from") for stanza in gone]


async def unblock(core, client: FakeClient, *addresses: str) -> None:
    await change(core, client, "unblock", *addresses)
    assert [iq.get("type") for iq in client.read() if iq.get("id") == "b"] == ["result"]


async def block_list(core, client: FakeClient) -> list[str]:
    client.send(f"<iq type='get' id='l'><blocklist xmlns='{BLOCKING}'/></iq>")
    await core.settle()
    (answer,) = client.read()
    assert answer.get("type") == "result"
    return [item.get("jid") for item in answer.find(f"{{{BLOCKING}}}blocklist")]


def stanza(kind: str, to: str) -> str:
    name, _, type_ = kind.partition(" ")
    inner = {"message": "<body>x</body>", "iq": "<query xmlns='u:x'/>"}.get(name, "")
    return f"<{name} id='i' to='{to}'" + (f" type='{type_}'" if type_ else "") + f">{inner}</{name}>"


# ---- matching


@pytest.mark.parametrize(
    ("address", "blocked", "matches"),
    [
        ("a@b.c/d", "a@b.c/d", True),
        ("a@b.c/e", "a@b.c/d", False),
        ("a@b.c", "a@b.c/d", False),
        ("a@b.c/d", "a@b.c", True),
        ("a@b.c", "a@b.c", True),
        ("x@b.c", "a@b.c", False),
        ("b.c/d", "b.c/d", True),
        ("a@b.c/d", "b.c/d", False),
        ("b.c/e", "b.c/d", False),
        ("b.c", "b.c", True),
        ("b.c/d", "b.c", True),
        ("a@b.c", "b.c", True),
        ("a@b.c/d@e/f", "b.c", True),
        ("a@b.c/x@y.z", "y.z", False),
        ("a@x.b.c", "b.c", False),
    ],
)
def test_matching(address, blocked, matches):
    """XEP-0191 6."""
    assert in_block_list(JID.parse(address).norm, frozenset([JID.parse(blocked).norm])) is matches


# ---- the list


@in_loop
async def test_the_list_is_kept_told_and_pushed_to_who_asked_for_it():
    async with CoreSite(NAMES) as core:
        ann, other, third = [await core.login("ann") for _ in range(3)]
        assert await block_list(core, ann) == []
        assert await block_list(core, other) == []
        await change(core, ann, "block", f"BEN@{HOST}", f"cay@{HOST}/x", "evil.example", f"ben@{HOST}")
        wanted = [f"ben@{HOST}", f"cay@{HOST}/x", "evil.example"]
        for client, types in ((ann, ["set", "result"]), (other, ["set"])):
            got = client.read()
            assert [iq.get("type") for iq in got] == types
            assert (got[0].get("from"), got[0].get("to")) == (client.bare, client.jid)
            assert [item.get("jid") for item in got[0].find(f"{{{BLOCKING}}}block")] == wanted
        assert third.read() == []
        assert core.records.blocked[core.records.ids[ann.bare]] == set(wanted)
        assert await block_list(core, ann) == wanted

        await change(core, other, "unblock", f"ben@{HOST}")
        (pushed,) = ann.read()
        assert [item.get("jid") for item in pushed.find(f"{{{BLOCKING}}}unblock")] == [f"ben@{HOST}"]
        await change(core, other, "unblock")
        (pushed,) = ann.read()
        assert list(pushed.find(f"{{{BLOCKING}}}unblock")) == []
        assert await block_list(core, ann) == []
        assert not core.records.blocked[core.records.ids[ann.bare]]


@in_loop
async def test_the_list_is_there_at_the_next_log_in():
    async with CoreSite(NAMES) as core:
        core.records.blocked[core.records.ids[f"ann@{HOST}"]] = {f"ben@{HOST}"}
        ann, ben = await core.login("ann"), await core.login("ben")
        assert await block_list(core, ann) == [f"ben@{HOST}"]
        ben.send(stanza("message chat", ann.jid))
        await core.settle()
        assert (ann.read(), condition(ben.read()[0])) == ([], "service-unavailable")


@pytest.mark.parametrize(
    ("inner", "refused"),
    [
        ("", "bad-request"),
        ("<item/>", "bad-request"),
        ("<x xmlns='u:x' jid='a@b'/>", "bad-request"),
        ("<item jid='a@b'/><item jid='@'/>", "jid-malformed"),
    ],
)
@in_loop
async def test_what_blocks_nobody_is_refused(inner, refused):
    async with CoreSite(NAMES) as core:
        ann = await core.login("ann")
        ann.send(f"<iq type='set' id='b'><block xmlns='{BLOCKING}'>{inner}</block></iq>")
        await core.settle()
        assert condition(ann.read()[0]) == refused
        assert await block_list(core, ann) == []


@in_loop
async def test_a_list_is_bounded_and_a_failing_store_changes_nothing():
    async with CoreSite(NAMES, block_list_bytes=100) as core:
        ann = await core.login("ann")
        await block(core, ann, f"ben@{HOST}")
        await change(core, ann, "block", *(f"x{i}@{HOST}" for i in range(5)))
        (answer,) = ann.read()
        assert condition(answer) == "resource-constraint"
        assert answer.find(".//{urn:xmppd:errors:0}block_list_bytes") is not None
        core.records.fail_block = StanzaError("internal-server-error")
        for name, address in (("block", f"cay@{HOST}"), ("unblock", f"ben@{HOST}")):
            await change(core, ann, name, address)
            assert condition(ann.read()[0]) == "internal-server-error"
        assert await block_list(core, ann) == [f"ben@{HOST}"]


# ---- stanzas

SAYS_SO = ["message", "message chat", "message headline", "iq get", "iq set"]
SILENT = [
    "message error",
    "iq result",
    "iq error",
    "presence",
    "presence unavailable",
    "presence probe",
    "presence error",
    "presence subscribe",
    "presence subscribed",
    "presence unsubscribe",
    "presence unsubscribed",
]
WHO = ["full", "account", "domain"]


def as_blocked(client: FakeClient, who: str) -> str:
    return {"full": client.jid, "account": client.bare, "domain": HOST}[who]


@pytest.mark.parametrize("table", [{}, {"delivery": RFC6121}], ids=["uc", "rfc6121"])
@pytest.mark.parametrize("form", ["bare", "full"])
@pytest.mark.parametrize("kind", SAYS_SO + SILENT)
@in_loop
async def test_nothing_from_who_is_blocked_arrives(kind, form, table):
    """XEP-0191 3.3: and it looks as if nobody were there."""
    async with CoreSite(NAMES, **table) as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        ann.send("<presence/>")
        ben.send("<presence/>")
        await core.settle()
        ann.send(f"<iq type='get' id='r'><query xmlns='{ROSTER}'/></iq>")
        await core.settle()
        ann.raw()
        await block(core, ann, ben.bare)
        ben.raw()
        sent = stanza(kind, getattr(ann, "jid" if form == "full" else "bare"))
        assert not core.site.table.relay_stanza(ben.resource, Stanza.parse(sent.encode()))
        ben.send(sent)
        await core.settle()
        assert ann.read() == []
        told = [condition(each) for each in ben.read()]
        assert told == (["service-unavailable"] if kind in SAYS_SO else [])


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("kind", SAYS_SO + SILENT)
@in_loop
async def test_nothing_goes_to_who_is_blocked(kind, who):
    """XEP-0191 3.3, example 9."""
    async with CoreSite(NAMES) as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        ben.send("<presence/>")
        await core.settle()
        ben.raw()
        await block(core, ann, as_blocked(ben, who))
        ann.send(stanza(kind, ben.jid))
        await core.settle()
        assert ben.read() == []
        told = ann.read()
        if kind in ("message error", "iq result", "iq error", "presence error"):
            assert told == []
            return
        (error,) = told
        assert (condition(error), error.find("{jabber:client}error").get("type")) == (
            "not-acceptable",
            "cancel",
        )
        assert error.find(f"{{jabber:client}}error/{{{BLOCKING}:errors}}blocked") is not None
        assert error.get("from") == ben.jid


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("kind", ["message chat", "iq get", "presence"])
@in_loop
async def test_resources_of_one_account_always_reach_each_other(kind, who):
    """XEP-0191, note 8."""
    async with CoreSite(NAMES) as core:
        ann, other = await core.login("ann"), await core.login("ann")
        ann.send("<presence/>")
        other.send("<presence/>")
        await core.settle()
        ann.raw()
        await block(core, ann, as_blocked(other, who))
        other.raw()
        for one, two in ((ann, other), (other, ann)):
            one.send(stanza(kind, two.jid))
            await core.settle()
            assert [each.get("from") for each in two.read()] == [one.jid]
            assert one.read() == []


@pytest.mark.parametrize("kind", SAYS_SO + SILENT)
@in_loop
async def test_after_unblocking_all_is_as_before(kind):
    async with CoreSite(NAMES) as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        for client in (ann, ben):
            client.send("<presence/>")
        await core.settle()
        sent = stanza(kind, ann.jid)
        ben.send(sent)
        await core.settle()
        before = [each.tag for each in ann.read() if each.get("from", "").startswith("ben@")]
        ben.send("<presence type='unsubscribe' to='ann@example.org'/>")
        await core.settle()
        await change(core, ann, "block", ben.bare)
        await change(core, ann, "unblock", ben.bare)
        ann.raw()
        ben.send(sent)
        await core.settle()
        assert [each.tag for each in ann.read() if each.get("from", "").startswith("ben@")] == before


@in_loop
async def test_an_account_that_is_not_in_memory_heeds_its_list_too():
    async with CoreSite(NAMES, idle_accounts=0) as core:
        core.records.blocked[core.records.ids[f"ann@{HOST}"]] = {f"ben@{HOST}"}
        core.records.documents[core.records.ids[f"ann@{HOST}"]]["vcard-temp", "vCard"] = (
            b"<vCard xmlns='vcard-temp'><FN>Ann</FN></vCard>"
        )
        ben, cay = await core.login("ben"), await core.login("cay")
        for client, answer in ((ben, "service-unavailable"), (cay, None)):
            client.send(f"<iq type='get' id='v' to='ann@{HOST}'><vCard xmlns='vcard-temp'/></iq>")
            await core.settle()
            (got,) = client.read()
            assert condition(got) == answer
            client.send(stanza("message chat", f"ann@{HOST}"))
            await core.settle()
            assert [condition(each) for each in client.read()] == ([answer] if answer else [])
            client.send(stanza("presence subscribe", f"ann@{HOST}"), stanza("presence probe", f"ann@{HOST}"))
            await core.settle()
            answers = [each.get("type") for each in client.read() if each.tag.endswith("presence")]
            assert answers == (["unsubscribed"] if client is cay else [])
        assert core.item("ann", ben.bare) is None
        assert core.item("ann", cay.bare).pending_in is not None


@in_loop
async def test_messages_that_waited_are_not_delivered_from_who_has_been_blocked_since():
    async with CoreSite(NAMES) as core:
        ann, ben, cay = [await core.login(name) for name in NAMES]
        ann.send("<presence><priority>-1</priority></presence>")
        for client in (ben, cay, ben):
            client.send(stanza("message chat", ann.bare))
        await core.settle()
        ann.raw()
        await block(core, ann, ben.bare)
        ann.send("<presence/>")
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert [m.get("from") for m in ann.read() if m.tag.endswith("message")] == [cay.jid]
        await core.until(lambda: not core.records.kept[core.records.ids[ann.bare]])
        box = core.site.accounts.get(JID.parse(ann.bare)).mailbox
        await core.until(lambda: not box.messages)
        assert box.octets == 0  # what is not delivered counts no longer, either


# ---- presence


async def friends(core):
    ann, ben = await core.login("ann"), await core.login("ben")
    for client in (ann, ben):
        client.send("<presence/>")
    await core.settle()
    await subscribe(core, ann, ben)
    return ann, ben


def presences(client: FakeClient):
    return [(p.get("from"), p.get("type")) for p in client.read() if p.tag.endswith("presence")]


@pytest.mark.parametrize("who", WHO)
@in_loop
async def test_who_is_blocked_sees_the_account_go_and_come(who):
    async with CoreSite(NAMES) as core:
        ann, ben = await friends(core)
        assert await block(core, ann, as_blocked(ben, who)) == [ben.jid]
        assert presences(ben) == [(ann.jid, "unavailable")]
        # not told twice, and neither hears the other
        ann.send("<presence><show>away</show></presence>")
        ben.send("<presence><show>dnd</show></presence>")
        await core.settle()
        assert [p for p in presences(ben) if p[0] == ann.jid] == []
        heard = [p for p in presences(ann) if p[0] == ben.jid]
        assert heard == []
        await change(core, ann, "unblock", as_blocked(ben, who))
        assert presences(ben) == [(ann.jid, None)]
        assert [p for p in presences(ann) if p[0] == ben.jid] == [(ben.jid, None)]
        ann.send("<presence type='unavailable'/>")
        await core.settle()
        assert presences(ben) == [(ann.jid, "unavailable")]


@in_loop
async def test_a_blocked_resource_learns_nothing_by_a_probe_of_its_account():
    async with CoreSite(NAMES) as core:
        ann, ben = await friends(core)
        await block(core, ann, ben.jid)
        other = await core.login("ben")
        other.send("<presence/>")
        await core.settle()
        ben.raw(), other.raw()
        for client in (ben, other):
            client.send(f"<presence type='probe' to='{ann.bare}'/>")
        await core.settle()
        assert presences(ben) == []  # 3.3: no answer
        assert presences(other) == [(ann.jid, None)]


@in_loop
async def test_who_leaves_while_blocked_is_no_ghost_afterwards():
    async with CoreSite(NAMES) as core:
        ann, ben = await friends(core)
        other = await core.login("ben")
        other.send("<presence/>")
        await core.settle()
        ann.raw()
        assert await block(core, ann, ben.bare) == [ben.jid, other.jid]
        core.sessions.unbind(other.resource)
        await core.settle()
        assert presences(ann) == []
        await change(core, ann, "unblock")
        assert presences(ann) == [(ben.jid, None)]


@pytest.mark.parametrize("first", ["block", "unsubscribe"])
@pytest.mark.parametrize("who", WHO)
@in_loop
async def test_who_is_blocked_while_the_subscription_ends_is_no_ghost(who, first):
    """One resource blocks, another unsubscribes: the account's own half has changed, the contact's has not yet."""
    async with CoreSite(NAMES) as core:
        ann, ben = await friends(core)
        other = await core.login("ann")
        other.send("<presence/>")
        await core.settle()
        ann.raw()
        other.raw()
        said = {
            "block": f"<iq type='set' id='b'><block xmlns='{BLOCKING}'>{items(as_blocked(ben, who))}</block></iq>",
            "unsubscribe": f"<presence type='unsubscribe' to='{ben.bare}'/>",
        }
        ann.send(said.pop(first))
        other.send(*said.values())
        await core.settle()
        assert presences(ann).count((ben.jid, "unavailable")) == 1
        assert presences(other).count((ben.jid, "unavailable")) == 1


@in_loop
async def test_one_resource_is_blocked_and_the_others_are_not():
    async with CoreSite(NAMES) as core:
        ann, ben = await friends(core)
        other = await core.login("ben")
        other.send("<presence/>")
        await core.settle()
        other.raw()
        ann.raw()
        ben.raw()
        assert await block(core, ann, ben.jid) == [ben.jid]
        assert (presences(ben), presences(other)) == ([(ann.jid, "unavailable")], [])
        ann.send("<presence><show>away</show></presence>")
        await core.settle()
        assert (presences(ben), presences(other)) == ([], [(ann.jid, None)])
        ann.raw()
        await block(core, ann, f"{ben.bare}/nobody")
        assert presences(other) == [], "a resource that is not there is nobody"


@in_loop
async def test_who_sees_no_presence_is_told_nothing():
    async with CoreSite(NAMES) as core:
        ann, ben, cay = [await core.login(name) for name in NAMES]
        for client in (ann, ben, cay):
            client.send("<presence/>")
        ann.send(f"<presence to='{cay.jid}'/>")
        await core.settle()
        for client in (ann, ben, cay):
            client.raw()
        assert await block(core, ann, ben.bare, cay.bare) == []
        assert presences(ben) == []
        assert presences(cay) == [(ann.jid, "unavailable")], "it was sent directed presence"
        await change(core, ann, "unblock")
        assert (presences(ben), presences(cay)) == ([], [])
        core.sessions.unbind(ann.resource)
        await core.settle()
        assert presences(cay) == [], "once"


@pytest.mark.parametrize("blocker", ["ann", "ben"])
@in_loop
async def test_a_log_in_shows_neither_to_the_other(blocker):
    async with CoreSite(NAMES) as core:
        ann, ben = await friends(core)
        await block(core, ann if blocker == "ann" else ben, (ben if blocker == "ann" else ann).bare)
        ben.raw()
        ann.raw()
        again = await core.login("ann")
        again.send("<presence/>")
        await core.settle()
        assert [p for p in presences(again) if p[0] == ben.jid] == []
        assert presences(ben) == []


@in_loop
async def test_a_request_of_who_is_blocked_waits_unseen():
    async with CoreSite(NAMES) as core:
        ben = await core.login("ben")
        ben.send(stanza("presence subscribe", f"ann@{HOST}"))
        await core.settle()
        ann = await core.login("ann")
        await block(core, ann, ben.bare)
        ann.send("<presence/>")
        await core.settle()
        assert [p for p in presences(ann) if p[1] == "subscribe"] == []
        await unblock(core, ann, ben.bare)
        ann.send("<presence type='unavailable'/>", "<presence/>")
        await core.settle()
        assert [p for p in presences(ann) if p[1] == "subscribe"] == [(ben.bare, "subscribe")]


@pytest.mark.parametrize(
    ("type_", "left"), [("unsubscribe", "to"), ("unsubscribed", "from")], ids=["unsubscribe", "unsubscribed"]
)
@in_loop
async def test_a_subscription_that_is_ended_by_who_is_blocked_is_ended_on_both_sides(type_, left):
    async with CoreSite(NAMES) as core:
        ann, ben = await friends(core)
        await block(core, ann, ben.bare)
        ben.raw()
        ben.send(stanza(f"presence {type_}", ann.bare))
        await core.settle()
        assert presences(ann) == []
        assert core.item("ann", ben.bare).subscription == left
        assert [p for p in presences(ben) if p[0].startswith("ann@")] == []


@in_loop
async def test_a_blocked_contact_can_be_removed():
    async with CoreSite(NAMES) as core:
        ann, ben = await friends(core)
        await block(core, ann, ben.bare)
        ben.raw()
        ann.send(
            f"<iq type='set' id='r'><query xmlns='{ROSTER}'><item jid='{ben.bare}' subscription='remove'/></query></iq>"
        )
        await core.settle()
        assert (core.item("ann", ben.bare), core.item("ben", ann.bare).subscription) == (None, "none")
        assert (ann.jid, "unavailable") not in presences(ben), "it was told when it was blocked"


# ---- other servers


@in_loop
async def test_other_servers_hear_the_same():
    async with CoreSite(NAMES) as core:
        remote = core.federate()
        ann = await core.login("ann")
        ann.send("<presence/>", "<presence type='subscribe' to='rob@far.example'/>")
        await core.settle()
        core.receive("rob@far.example", f"<presence type='subscribed' to='{ann.bare}'/>")
        core.receive("rob@far.example", f"<presence type='subscribe' to='{ann.bare}'/>")
        await core.settle()
        ann.send("<presence type='subscribed' to='rob@far.example'/>")
        await core.settle()
        ann.raw()
        remote.read()
        assert await block(core, ann, "far.example") == ["rob@far.example"]
        (gone,) = remote.read()
        assert (gone.get("from"), gone.get("to"), gone.get("type")) == (
            ann.jid,
            "rob@far.example",
            "unavailable",
        )
        core.receive("rob@far.example/x", f"<presence to='{ann.bare}'/>")
        core.receive("rob@far.example/x", f"<presence to='{ann.jid}'/>")
        core.receive("rob@far.example", f"<presence type='probe' to='{ann.bare}'/>")
        core.receive("eve@far.example", f"<presence type='subscribe' to='{ann.bare}'/>")
        ann.send("<presence><show>away</show></presence>")
        again = await core.login("ann")
        again.send("<presence/>")
        await core.settle()
        assert remote.read() == []
        assert [p for p in presences(ann) if "far" in p[0]] == []
        again.send("<presence type='unavailable'/>")
        await core.settle()
        ann.raw()
        await change(core, ann, "unblock")
        assert [(p.get("to"), p.get("type")) for p in remote.read()] == [
            ("rob@far.example", None),
            ("rob@far.example", "probe"),
        ]
