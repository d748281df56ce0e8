"""What the server keeps and tells for accounts: XEP-0012, XEP-0049, XEP-0054, XEP-0153."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.core_site import HOST, CoreSite, FakeClient, in_loop, subscribe
from tests.xmpp_client import condition
from xmppd import clock
from xmppd._fast.reader import Stanza
from xmppd.errors import StanzaError
from xmppd.records import Seen

VCARD = "vcard-temp"
PRIVATE = "jabber:iq:private"
LAST = "jabber:iq:last"
CLIENT = "{jabber:client}"


async def ask(core, client: FakeClient, type_: str, payload: str, to: str | None = None):
    """The answer to an IQ: the only thing that comes."""
    at = f" to='{to}'" if to else ""
    client.raw()
    client.send(f"<iq type='{type_}' id='q'{at}>{payload}</iq>")
    await core.settle()
    (answer,) = client.read()
    assert answer.get("id") == "q"
    return answer


def query(content: str = "") -> str:
    return f"<query xmlns='{PRIVATE}'>{content}</query>"


# ---- vCards


@in_loop
async def test_a_vcard_is_kept_whole_and_read_by_others():
    async with CoreSite() as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        card = f"<vCard xmlns='{VCARD}'><FN>Ann &amp; co</FN><PHOTO><BINVAL>eA==</BINVAL></PHOTO></vCard>"
        set_ = await ask(core, ann, "set", card)
        assert (set_.get("type"), set_.get("from"), list(set_)) == ("result", None, [])
        for asker, to in ((ann, None), (ann, ann.bare), (ben, ann.bare)):
            answer = await ask(core, asker, "get", f"<vCard xmlns='{VCARD}'/>", to)
            assert answer.findtext(f"{{{VCARD}}}vCard/{{{VCARD}}}FN") == "Ann & co"
            assert answer.find(f".//{{{VCARD}}}BINVAL").text == "eA=="
        assert (answer.get("type"), answer.get("from")) == ("result", ann.bare)


@in_loop
async def test_an_empty_vcard_takes_the_old_one_away():
    async with CoreSite() as core:
        ann = await core.login("ann")
        await ask(core, ann, "set", f"<vCard xmlns='{VCARD}'><FN>Ann</FN></vCard>")
        assert (await ask(core, ann, "set", f"<vCard xmlns='{VCARD}'/>")).get("type") == "result"
        assert condition(await ask(core, ann, "get", f"<vCard xmlns='{VCARD}'/>")) == "item-not-found"
        assert not core.records.documents[core.records.ids[ann.bare]]


@in_loop
async def test_no_vcard_and_no_account_are_the_same_answer():
    """XEP-0054 3.3."""
    async with CoreSite() as core:
        ann = await core.login("ann")
        for name in ("ben", "nobody"):
            answer = await ask(core, ann, "get", f"<vCard xmlns='{VCARD}'/>", f"{name}@{HOST}")
            assert condition(answer) == "service-unavailable"


@pytest.mark.parametrize("name", ["ben", "nobody"])
@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (f"<vCard xmlns='{VCARD}'><FN>x</FN></vCard>", "forbidden"),
        (query("<a xmlns='b'>x</a>"), "service-unavailable"),
    ],
    ids=[VCARD, PRIVATE],
)
@in_loop
async def test_nobody_sets_what_is_anothers(payload, expected, name):
    """XEP-0054 3.2; XEP-0049."""
    async with CoreSite() as core:
        ann = await core.login("ann")
        assert condition(await ask(core, ann, "set", payload, f"{name}@{HOST}")) == expected
        assert not any(core.records.documents.values())


@in_loop
async def test_the_hash_of_a_photo_passes_with_presence():
    """XEP-0153 3.1; 8-21."""
    async with CoreSite() as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        ben.send("<presence/>")
        await subscribe(core, ann, ben)
        ann.send("<presence><x xmlns='vcard-temp:x:update'><photo>01b87f</photo></x></presence>")
        await core.settle()
        seen = [p for p in ben.read() if p.get("from") == ann.jid][-1]
        assert seen.findtext("{vcard-temp:x:update}x/{vcard-temp:x:update}photo") == "01b87f"
        other = await core.login("ben")
        other.send("<presence/>")
        await core.settle()
        (seen,) = [p for p in other.read() if p.get("from") == ann.jid]
        assert seen.findtext("{vcard-temp:x:update}x/{vcard-temp:x:update}photo") == "01b87f"


# ---- private storage


@in_loop
async def test_private_xml_is_kept_by_name_and_for_its_owner_only():
    async with CoreSite() as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        stored = "<storage xmlns='storage:bookmarks'><conference jid='r@c.d' name='&lt;x&gt;'/></storage>"
        assert (await ask(core, ann, "set", query(stored))).get("type") == "result"
        other = await core.login("ann")
        answer = await ask(core, other, "get", query("<storage xmlns='storage:bookmarks'/>"))
        (kept,) = answer.find(f"{{{PRIVATE}}}query")
        assert kept.tag == "{storage:bookmarks}storage"
        assert kept.find("{storage:bookmarks}conference").attrib == {"jid": "r@c.d", "name": "<x>"}
        for name in ("storage", "other"):  # of ann, asked by ben; and of ben
            (kept,) = (await ask(core, ben, "get", query(f"<{name} xmlns='storage:bookmarks'/>"))).find(
                f"{{{PRIVATE}}}query"
            )
            assert (kept.tag, len(kept), kept.attrib) == (f"{{storage:bookmarks}}{name}", 0, {})
        stolen = await ask(core, ben, "get", query("<storage xmlns='storage:bookmarks'/>"), ann.bare)
        assert condition(stolen) == "service-unavailable"


@in_loop
async def test_several_elements_are_kept_at_once_and_an_empty_one_takes_away():
    async with CoreSite() as core:
        ann = await core.login("ann")
        await ask(core, ann, "set", query("<a xmlns='n'>1</a><a xmlns='n'>2</a><b xmlns='n' c='3'/>"))
        answer = await ask(core, ann, "get", query("<a xmlns='n'/>"))
        assert [e.text for e in answer.iter("{n}a")] == ["1", "2"]
        await ask(core, ann, "set", query("<a xmlns='n'/>"))
        answer = await ask(core, ann, "get", query("<a xmlns='n'/>"))
        assert [e.text for e in answer.iter("{n}a")] == [None]
        answer = await ask(core, ann, "get", query("<b xmlns='n'/>"))
        assert [e.get("c") for e in answer.iter("{n}b")] == ["3"]


@pytest.mark.parametrize(
    ("type_", "content", "refused"),
    [
        ("get", "", "bad-request"),
        ("get", "<a xmlns='n'/><b xmlns='m'/>", "bad-request"),
        ("get", "<a/>", "not-acceptable"),
        ("get", f"<vCard xmlns='{VCARD}'/>", "not-acceptable"),
        ("set", "", "not-acceptable"),
        ("set", "<a xmlns=''>x</a>", "not-acceptable"),
        ("set", f"<a xmlns='n'>x</a><vCard xmlns='{VCARD}'><FN>x</FN></vCard>", "not-acceptable"),
    ],
)
@in_loop
async def test_what_is_no_private_data_is_refused(type_, content, refused):
    async with CoreSite() as core:
        ann = await core.login("ann")
        assert condition(await ask(core, ann, type_, query(content))) == refused
        assert not any(core.records.documents.values())


@in_loop
async def test_what_an_account_keeps_is_bounded():
    async with CoreSite(document_bytes=100) as core:
        ann = await core.login("ann")
        assert (await ask(core, ann, "set", query("<a xmlns='n'>" + "x" * 60 + "</a>"))).get(
            "type"
        ) == "result"
        for more in (
            query("<b xmlns='n'>" + "x" * 60 + "</b>"),
            f"<vCard xmlns='{VCARD}'><FN>{'x' * 60}</FN></vCard>",
        ):
            refused = await ask(core, ann, "set", more)
            assert condition(refused) == "resource-constraint"
            assert refused.find(".//{urn:xmppd:errors:0}document_bytes") is not None
        answer = await ask(core, ann, "get", query("<a xmlns='n'/>"))
        assert next(answer.iter("{n}a")).text == "x" * 60


@in_loop
async def test_a_get_sees_what_was_set_before_it():
    """RFC 6120 10.1: in order, though both are answered later."""
    async with CoreSite() as core:
        ann = await core.login("ann")
        ann.send(
            "<iq type='set' id='s'>" + query("<a xmlns='n'>1</a>") + "</iq>",
            "<iq type='get' id='g'>" + query("<a xmlns='n'/>") + "</iq>",
        )
        await core.settle()
        set_, get = ann.read()
        assert (set_.get("id"), get.get("id")) == ("s", "g")
        assert next(get.iter("{n}a")).text == "1"


# ---- last activity


async def last(core, client: FakeClient, to: str | None = None):
    answer = await ask(core, client, "get", f"<query xmlns='{LAST}'/>", to)
    if (refused := condition(answer)) is not None:
        return refused
    told = answer.find(f"{{{LAST}}}query")
    return int(told.get("seconds")), told.text or ""


@in_loop
async def test_how_long_ago_a_contact_left_and_its_last_words(monkeypatch):
    async with CoreSite(("ann", "ben", "eve")) as core:
        ann, ben, eve = [await core.login(name) for name in ("ann", "ben", "eve")]
        await subscribe(core, ann, ben)
        assert await last(core, ann, ben.bare) == (0, "")
        ben.send("<presence/>", "<presence type='unavailable'><status>Heading &lt;home></status></presence>")
        assert await last(core, ann, ben.bare) == (0, ""), "still connected"
        core.sessions.unbind(ben.resource)
        await core.settle()
        now = clock.utc_now()
        monkeypatch.setattr(clock, "utc_now", lambda: now.fromtimestamp(now.timestamp() + 903, now.tzinfo))
        seconds, words = await last(core, ann, ben.bare)
        assert (seconds in (903, 904), words) == (True, "Heading <home>")
        # XEP-0012 8: no leak, neither of the presence nor of the account
        assert await last(core, eve, ben.bare) == "forbidden"
        assert await last(core, eve, f"nobody@{HOST}") == "forbidden"


@in_loop
async def test_a_stream_that_dies_says_no_last_words():
    async with CoreSite() as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        await subscribe(core, ann, ben)
        ben.send("<presence/>", "<presence type='unavailable'><status>old</status></presence>", "<presence/>")
        core.sessions.unbind(ben.resource)
        await core.settle()
        assert (await last(core, ann, ben.bare))[1] == ""


@in_loop
async def test_who_leaves_while_the_store_fails_is_written_down_with_the_next():
    async with CoreSite(("ann", "ben", "cay")) as core:
        ann, ben, cay = [await core.login(name) for name in ("ann", "ben", "cay")]
        await subscribe(core, ann, ben)
        core.records.fail_saw = StanzaError("internal-server-error")
        core.sessions.unbind(ben.resource)
        await core.settle()
        assert core.records.last == {}
        assert (await last(core, ann, ben.bare))[0] <= 1, "known all the same"
        core.records.fail_saw = None
        core.sessions.unbind(cay.resource)
        await core.settle()
        assert set(core.records.last) == {core.records.ids[c.bare] for c in (ben, cay)}
        assert all(isinstance(seen, Seen) for seen in core.records.last.values())


@in_loop
async def test_who_leaves_during_a_write_comes_with_the_one_after_it():
    async with CoreSite(("ann", "ben")) as core:
        ann, ben = await core.login("ann"), await core.login("ben")
        core.records.gate = asyncio.Event()
        core.sessions.unbind(ann.resource)
        await core.until(lambda: not core.site.activity._left)
        core.sessions.unbind(ben.resource)
        core.records.gate.set()
        await core.settle()
        assert len(core.records.last) == 2


@in_loop
async def test_a_full_address_is_asked_only_by_who_sees_its_presence():
    """XEP-0012 4."""
    async with CoreSite(("ann", "ben", "eve")) as core:
        ann, ben, eve = [await core.login(name) for name in ("ann", "ben", "eve")]
        await subscribe(core, ann, ben)
        asked = f"<iq type='get' id='q' to='{ben.jid}'><query xmlns='{LAST}'/></iq>"
        for client in (ann, eve):
            assert not core.site.table.relay_stanza(client.resource, Stanza.parse(asked.encode()))
            client.send(asked)
        await core.settle()
        assert [iq.get("from") for iq in ben.read()] == [ann.jid]
        # nor does a stranger learn whether it is there
        for to in (f"ben@{HOST}/elsewhere", f"nobody@{HOST}/there", f"ben@{HOST}"):
            eve.send(asked.replace(str(ben.jid), to))
        await core.settle()
        assert [condition(answer) for answer in eve.read()] == ["forbidden"] * 4
        ann.send(asked.replace(str(ben.jid), f"ben@{HOST}/elsewhere"))
        await core.settle()
        (answer,) = ann.read()
        assert condition(answer) == "service-unavailable"


@in_loop
async def test_the_server_tells_its_uptime():
    async with CoreSite() as core:
        ann = await core.login("ann")
        core.site.activity.since_s -= 100
        seconds, words = await last(core, ann, HOST)
        assert (100 <= seconds <= 110, words) == (True, "")
        assert await last(core, ann) == (0, "")
