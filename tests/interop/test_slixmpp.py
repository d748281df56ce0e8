"""What slixmpp alone can show: mechanisms, TLS versions, address families, domains, conflict, shutdown."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from slixmpp import JID, ClientXMPP
from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ElementBase

from scripts.talker import WITHIN_S, Talker
from tests.interop.conftest import Account, Site

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


async def logged_in(
    site: Site, account: Account, *, host: str = "", resource: str = "", **choices: object
) -> Talker:
    jid = f"{account.jid}/{resource}" if resource else account.jid
    talker = Talker(jid, account.password, site.server.ca, **choices)  # type: ignore[arg-type]
    await talker.log_in(host or site.host, site.server.port)
    return talker


@pytest.mark.req("3-5.1", "3-6.2", "3-10.1", "10-1.security-mti-auth-scram")
@pytest.mark.parametrize("tls", [TLS_1_2, TLS_1_3], ids=["TLS1.2", "TLS1.3"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_a_client_that_knows_one_mechanism_only(site: Site, mechanism: str, tls: ssl.TLSVersion) -> None:
    async def run() -> None:
        talker = await logged_in(site, site.account(), mechanism=mechanism, tls=tls)
        assert talker.mechanism == mechanism
        assert talker.tls_version == {TLS_1_2: "TLSv1.2", TLS_1_3: "TLSv1.3"}[tls]
        talker.say(talker.boundjid.bare, "a word to myself")
        await talker.message(talker.boundjid.bare, "a word to myself")
        await talker.log_out()

    asyncio.run(run())


@pytest.mark.parametrize("tls", [TLS_1_2, TLS_1_3], ids=["TLS1.2", "TLS1.3"])
def test_a_client_that_chooses_the_mechanism_itself(site: Site, tls: ssl.TLSVersion) -> None:
    """On TLS 1.2 slixmpp prefers -PLUS and knows tls-unique only; it must find a way in that it knows."""

    async def run() -> None:
        talker = await logged_in(site, site.account(), tls=tls)
        assert talker.mechanism.startswith("SCRAM-SHA-256")
        await talker.log_out()

    asyncio.run(run())


def test_slixmpp_as_it_comes_out_of_the_box(site: Site) -> None:
    """No setting but the CA: without SRV records it says a TLS hello first, STARTTLS only after that."""

    async def run() -> None:
        account = site.account()
        client = ClientXMPP(account.jid, account.password)
        client.ca_certs = str(site.server.ca)
        started = asyncio.get_running_loop().create_future()
        client.add_event_handler("session_start", lambda _: started.set_result(None))
        client.connect(site.host, site.server.port)
        await asyncio.wait_for(started, WITHIN_S)
        assert await client.get_roster(timeout=WITHIN_S)
        await asyncio.wait_for(client.disconnect(), WITHIN_S)

    asyncio.run(run())


@pytest.mark.req("14-1.2", "5-4.a", "9-2.1")
def test_both_address_families_and_both_domains(site: Site) -> None:
    """Two people of two domains of one process, one on IPv4 and one on IPv6 where the machine has it."""

    async def run() -> None:
        here, there = site.account("here"), site.account("there", "other.example")
        v4 = await logged_in(site, here, host=site.server.hosts[0])
        v6 = await logged_in(site, there, host=site.server.hosts[-1])
        v4.say(there.jid, "over the fence")
        heard = await v6.message(here.jid, "over the fence")
        assert heard["from"] == v4.boundjid
        v6.say(heard["from"].full, "and back")
        assert (await v4.message(there.jid, "and back"))["from"] == v6.boundjid
        await asyncio.gather(v4.log_out(), v6.log_out())

    asyncio.run(run())


@pytest.mark.req("5-19.a")
def test_a_message_to_the_account_reaches_every_resource(site: Site) -> None:
    async def run() -> None:
        account, friend = site.account(), site.account()
        desk = await logged_in(site, account, resource="desk")
        phone = await logged_in(site, account, resource="phone")
        await desk.hear("its other resource", lambda s: s.name == "presence" and s["from"] == phone.boundjid)
        sender = await logged_in(site, friend)
        sender.say(account.jid, "to both")
        for talker in (desk, phone):
            assert (await talker.message(friend.jid, "to both"))["to"] == account.jid
        await asyncio.gather(desk.log_out(), phone.log_out(), sender.log_out())

    asyncio.run(run())


@pytest.mark.req("4-5.2")
def test_the_older_of_two_streams_with_one_resource_is_closed_with_conflict(site: Site) -> None:
    async def run() -> None:
        account = site.account()
        older = await logged_in(site, account, resource="desk")
        newer = await logged_in(site, account, resource="desk")
        assert await older.stream_error() == "conflict"
        assert newer.boundjid == f"{account.jid}/desk"
        assert await newer.get_roster(timeout=WITHIN_S)
        await newer.log_out()

    asyncio.run(run())


@pytest.mark.req("7-14.1", "7-15.a")
def test_presence_comes_behind_the_approval(site: Site) -> None:
    """A client drops the presence of somebody it does not know to be subscribed to (Profanity does)."""

    async def run() -> None:
        alice, bob = site.account("alice"), site.account("bob")
        a, b = await logged_in(site, alice), await logged_in(site, bob)
        a.ask_for_presence(bob.jid)
        await b.approve(alice.jid)
        await a.hear("the presence", lambda s: s.name == "presence" and s["from"] == b.boundjid)
        assert any(s.name == "presence" and s["type"] == "subscribed" for s in a.heard)
        await asyncio.gather(a.log_out(), b.log_out())

    asyncio.run(run())


@pytest.mark.req("5-10.d")
def test_the_server_answers_what_a_client_asks(site: Site) -> None:
    """disco#info (XEP-0030), version (0092), ping (0199), time (0202); anything else is refused."""

    async def run() -> None:
        talker = await logged_in(site, site.account())
        for plugin in ("xep_0030", "xep_0092", "xep_0199", "xep_0202"):
            talker.register_plugin(plugin)
        info = await talker.plugin["xep_0030"].get_info(jid="localhost", timeout=WITHIN_S)
        assert {("server", "im")} <= {identity[:2] for identity in info["disco_info"]["identities"]}
        assert {"jabber:iq:version", "urn:xmpp:ping", "urn:xmpp:time"} <= set(info["disco_info"]["features"])
        version = await talker.plugin["xep_0092"].get_version("localhost", timeout=WITHIN_S)
        assert version["software_version"]["name"] == "xmppd"
        await talker.plugin["xep_0199"].send_ping("localhost", timeout=WITHIN_S)
        time = (await talker.plugin["xep_0202"].get_entity_time("localhost", timeout=WITHIN_S)).xml
        utc = time.findtext("{urn:xmpp:time}time/{urn:xmpp:time}utc")  # slixmpp's own reading adds a second Z
        assert abs(datetime.now(UTC) - datetime.fromisoformat(utc)) < timedelta(minutes=1)
        iq = talker.make_iq_get(queryxmlns="urn:example:nobody-knows", ito="localhost")
        reply = await talker.answer(iq)
        assert reply["error"]["condition"] == "service-unavailable"
        await talker.log_out()

    asyncio.run(run())


class Notes(ElementBase):
    """Something of a client's own, for private storage."""

    name = plugin_attrib = "notes"
    namespace = "urn:example:notes"
    interfaces = sub_interfaces = frozenset(["note"])


def test_what_the_server_keeps_and_whom_it_keeps_away(site: Site) -> None:
    """Last activity (XEP-0012), private XML (0049), vCard (0054), blocking (0191), as slixmpp speaks them."""

    async def run() -> None:
        a, b = await logged_in(site, site.account("alice")), await logged_in(site, site.account("bob"))
        for talker in (a, b):
            for plugin in ("xep_0012", "xep_0049", "xep_0054", "xep_0191"):
                talker.register_plugin(plugin)
        alice, bob = a.boundjid.bare, b.boundjid.bare
        card = a.plugin["xep_0054"].make_vcard()
        card["FN"] = "Alice"
        await a.plugin["xep_0054"].publish_vcard(vcard=card, timeout=WITHIN_S)
        seen = await b.plugin["xep_0054"].get_vcard(alice, timeout=WITHIN_S)
        assert seen["vcard_temp"]["FN"] == "Alice"
        notes = Notes()
        notes["note"] = "milk"
        a.plugin["xep_0049"].register(Notes)
        await a.plugin["xep_0049"].store(notes, timeout=WITHIN_S)
        kept = await a.plugin["xep_0049"].retrieve("notes", timeout=WITHIN_S)
        assert kept["private"]["notes"]["note"] == "milk"
        up = await a.plugin["xep_0012"].get_last_activity("localhost", timeout=WITHIN_S)
        assert up["last_activity"]["seconds"] >= 0

        await a.plugin["xep_0191"].block(bob, timeout=WITHIN_S)
        assert await a.plugin["xep_0191"].get_blocked_jids(timeout=WITHIN_S) == {JID(bob)}
        with pytest.raises(IqError) as refused:
            await b.plugin["xep_0054"].get_vcard(alice, timeout=WITHIN_S)
        assert refused.value.condition == "service-unavailable"
        await a.plugin["xep_0191"].unblock(bob, timeout=WITHIN_S)
        b.say(alice, "back again")
        await a.message(bob, "back again")
        await asyncio.gather(a.log_out(), b.log_out())

    asyncio.run(run())


def test_a_stop_tells_the_clients(new_site: Callable[..., Site]) -> None:
    async def run() -> None:
        site = new_site()
        talker = await logged_in(site, site.account())
        stopped = asyncio.create_task(asyncio.to_thread(site.server.stop))
        assert await talker.stream_error() == "system-shutdown"
        talker.leave()
        assert await stopped == 0

    asyncio.run(run())
