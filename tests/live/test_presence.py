"""Rosters, subscriptions and presence between local accounts (RFC 6121 2 to 4)."""

from __future__ import annotations

import sqlite3

import pytest

from tests.xmpp_client import condition, find

ROSTER = "jabber:iq:roster"


def bare(client):
    return client.jid.partition("/")[0]


def roster(client):
    answer = client.iq("get", f"<query xmlns='{ROSTER}'/>")
    return {
        item.get("jid"): (item.get("subscription"), item.get("ask"), item.get("name"), [g.text for g in item])
        for item in answer.iter(f"{{{ROSTER}}}item")
    }


def subscribe(ann, ben):
    """Both see each other's presence."""
    for one, other in ((ann, ben), (ben, ann)):
        one.send(f"<presence type='subscribe' to='{bare(other)}'/>")
        other.until("presence", type="subscribe")
        other.send(f"<presence type='subscribed' to='{bare(one)}'/>")
        one.until("presence", type="subscribed")
    ann.fence()
    ben.fence()


@pytest.fixture
def pair(site, user):
    a, b = user("ann"), user("ben")
    with site.login(a, "one") as ann, site.login(b, "two") as ben:
        roster(ann)
        roster(ben)
        ann.present()
        ben.present()
        yield ann, ben


def test_add_approve_see(pair):
    ann, ben = pair
    ann.send(f"<presence type='subscribe' to='{bare(ben)}/whatever' id='s1'><status>hi</status></presence>")
    push = ann.until("iq", type="set")
    item = push.find(f"{{{ROSTER}}}query/{{{ROSTER}}}item")
    assert (item.get("jid"), item.get("subscription"), item.get("ask")) == (bare(ben), "none", "subscribe")
    assert push.get("from") in (None, bare(ann))
    asked = ben.until("presence", type="subscribe")
    assert (asked.get("from"), asked.get("to"), asked.get("id")) == (bare(ann), bare(ben), "s1")
    assert asked.findtext("{jabber:client}status") == "hi"
    assert roster(ben) == {}, "a request is no roster item"
    ben.send(f"<presence type='subscribed' to='{bare(ann)}'/>")
    assert ann.until("presence", type="subscribed").get("from") == bare(ben)
    seen = ann.until("presence", from_=ben.jid)
    assert seen.get("type") is None
    assert roster(ann)[bare(ben)][:2] == ("to", None)
    assert roster(ben)[bare(ann)][:2] == ("from", None)


def test_presence_reaches_subscribers_and_own_resources_only(site, user, pair):
    ann, ben = pair
    subscribe(ann, ben)
    with site.login(user("eve")) as eve, site.login(bare(ann).partition("@")[0], "other") as other:
        eve.present()
        seen = other.present()
        assert {p.get("from") for p in find(seen, "presence")} == {ann.jid, ben.jid, other.jid}
        assert ann.until("presence", from_=other.jid).get("to") == bare(ann)
        assert ben.until("presence", from_=other.jid).get("to") == bare(ben)
        ann.send("<presence><show>away</show><status>x</status></presence>")
        assert ben.until("presence", from_=ann.jid).findtext("{jabber:client}show") == "away"
        assert other.until("presence", from_=ann.jid).findtext("{jabber:client}show") == "away"
        assert eve.fence() == []


def test_the_end_of_a_stream_is_told(pair):
    ann, ben = pair
    subscribe(ann, ben)
    ann.sock.close()
    gone = ben.until("presence", from_=ann.jid, type="unavailable")
    assert gone.get("to") == bare(ben)


@pytest.mark.req("8-20.2")
def test_a_stop_tells_each_of_all_others_before_its_stream_ends(make_site):
    site = make_site()
    with site.login("alice") as ann, site.login("bob") as ben, site.login("bob") as shy:
        for client in (ann, ben):
            roster(client)
            client.present()
        subscribe(ann, ben)
        shy.send(f"<presence to='{bare(ann)}'/>")
        ann.until("presence", from_=shy.jid)
        site.process.terminate()
        for client, others in ((ann, [ben.jid, shy.jid]), (ben, [ann.jid])):
            told = []
            while not (stanza := client.next()).tag.endswith("}error"):
                if stanza.get("type") == "unavailable":
                    told.append(stanza.get("from"))
            assert sorted(told) == sorted([*others, client.jid])
            client.send("</stream:stream>")
        shy.send("</stream:stream>")
    assert site.stop() == 0


def test_unavailable_presence_is_told_with_its_content(pair):
    ann, ben = pair
    subscribe(ann, ben)
    ann.send("<presence type='unavailable'><status>bye</status></presence>")
    assert ben.until("presence", type="unavailable").findtext("{jabber:client}status") == "bye"


def test_directed_presence_and_its_end(site, user, pair):
    ann, _ = pair
    with site.login(user("eve"), "e") as eve:
        ann.send(f"<presence to='{eve.jid}'><status>only you</status></presence>")
        assert eve.until("presence", from_=ann.jid).findtext("{jabber:client}status") == "only you"
        ann.close()
        assert eve.until("presence", from_=ann.jid, type="unavailable") is not None


def test_a_request_waits_for_the_contact(site, user):
    a, b = user("ann"), user("ben")
    with site.login(a) as ann:
        ann.send(f"<presence type='subscribe' to='{b}@localhost'><status>kept</status></presence>")
        ann.fence()
        for _ in range(2):  # at each initial presence until it is answered
            with site.login(b) as ben:
                ben.send("<presence/>")
                assert ben.until("presence", type="subscribe").findtext("{jabber:client}status") == "kept"


def test_a_request_approved_before_it_came_is_answered_at_once(pair):
    """RFC 6121 3.4: and presence follows the approval."""
    ann, ben = pair
    ben.send(f"<presence type='subscribed' to='{bare(ann)}'/>")
    ben.fence()
    ann.send(f"<presence type='subscribe' to='{bare(ben)}'/>")
    told = [ann.until("presence") for _ in range(2)]
    assert [(p.get("from"), p.get("type")) for p in told] == [(bare(ben), "subscribed"), (ben.jid, None)]
    assert not find(ben.fence(), "presence", type="subscribe")
    assert roster(ben)[bare(ann)][0] == "from"


def test_a_request_to_nobody_is_denied(pair):
    ann, _ = pair
    ann.send("<presence type='subscribe' to='nobody@localhost'/>")
    assert ann.until("presence", type="unsubscribed").get("from") == "nobody@localhost"


def test_unsubscribed_ends_it(pair):
    ann, ben = pair
    subscribe(ann, ben)
    ben.send(f"<presence type='unsubscribed' to='{bare(ann)}'/>")
    assert ann.until("presence", from_=ben.jid, type="unavailable") is not None
    ann.until("presence", type="unsubscribed")
    assert roster(ann)[bare(ben)][0] == "from"
    ben.send("<presence><status>secret</status></presence>")
    ben.fence()
    assert not find(ann.fence(), "presence")


@pytest.mark.req("5-6.1", "5-4.c")
def test_roster_set_push_and_remove(site, pair):
    ann, _ = pair
    with site.login(bare(ann).partition("@")[0], "second") as second:
        roster(second)
        answer = ann.iq(
            "set",
            f"<query xmlns='{ROSTER}'><item jid='Friend@Localhost' name='F &amp; &lt;'><group>a</group><group>b</group></item></query>",
        )
        assert answer.get("type") == "result"
        for client in (ann, second):
            push = client.until("iq", type="set") if client is second else None
            if push is not None:
                assert push.get("id")
                item = push.find(f"{{{ROSTER}}}query/{{{ROSTER}}}item")
                assert (item.get("jid"), item.get("name")) == ("friend@localhost", "F & <")
        assert roster(ann) == {"friend@localhost": ("none", None, "F & <", ["a", "b"])}
        ann.iq("set", f"<query xmlns='{ROSTER}'><item jid='friend@localhost' subscription='remove'/></query>")
        removed = second.until("iq", type="set").find(f"{{{ROSTER}}}query/{{{ROSTER}}}item")
        assert removed.get("subscription") == "remove"
        assert roster(ann) == {}
        again = ann.iq(
            "set", f"<query xmlns='{ROSTER}'><item jid='friend@localhost' subscription='remove'/></query>"
        )
        assert condition(again) == "item-not-found"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "bad-request"),
        ("<item jid='a@x'/><item jid='b@x'/>", "bad-request"),
        ("<item/>", "bad-request"),
        ("<item jid='@'/>", "jid-malformed"),
        ("<item jid='a@x'><group>g</group><group>g</group></item>", "bad-request"),
        ("<item jid='a@x'><group/></item>", "not-acceptable"),
        (f"<item jid='a@x' name='{'n' * 2000}'/>", "not-acceptable"),
        (f"<item jid='a@x'><group>{'g' * 2000}</group></item>", "not-acceptable"),
    ],
)
def test_a_roster_set_that_is_wrong(pair, query, expected):
    ann, _ = pair
    assert condition(ann.iq("set", f"<query xmlns='{ROSTER}'>{query}</query>")) == expected


@pytest.mark.req("6-12.3", "6-23.1")
def test_a_client_that_was_away_over_a_restart_is_told_what_changed(make_site):
    site = make_site()
    put = "<query xmlns='jabber:iq:roster'><item jid='{}'{}/></query>"
    with site.login("alice", "one") as alice:
        features = {child.tag for child in alice.features}
        assert {"{urn:xmpp:features:rosterver}ver", "{urn:xmpp:features:pre-approval}sub"} <= features
        for n in range(20):
            alice.iq("set", put.format(f"c{n}@x", ""))
        version = alice.iq("get", f"<query xmlns='{ROSTER}' ver=''/>").find(f"{{{ROSTER}}}query").get("ver")
        alice.iq("set", put.format("c3@x", " name='Three'"))
        alice.iq("set", put.format("c5@x", " subscription='remove'"))
    site.stop()
    site.start()
    with site.login("alice", "two") as alice:
        answer = alice.iq("get", f"<query xmlns='{ROSTER}' ver='{version}'/>")
        assert len(answer) == 0
        pushed = [alice.until("iq", type="set").find(f"{{{ROSTER}}}query") for _ in range(2)]
        assert [(p[0].get("jid"), p[0].get("name"), p[0].get("subscription")) for p in pushed] == [
            ("c3@x", "Three", "none"),
            ("c5@x", None, "remove"),
        ]
        assert len(alice.iq("get", f"<query xmlns='{ROSTER}' ver='{pushed[-1].get('ver')}'/>")) == 0
        alice.fence()


def test_rosters_survive_a_restart(make_site):
    site = make_site()
    with site.login("alice") as alice:
        alice.iq("set", f"<query xmlns='{ROSTER}'><item jid='bob@localhost' name='Bob'/></query>")
    assert site.stop() == 0
    site.start()
    with site.login("alice") as alice:
        assert roster(alice) == {"bob@localhost": ("none", None, "Bob", [])}


def test_deleted_account_leaves_its_contacts(site, user, pair):
    """`user del` speaks the stanzas of RFC 6121 2.5.2, and a new account of that name inherits nothing."""
    ann, ben = pair
    subscribe(ann, ben)
    name = bare(ben).partition("@")[0]
    site.command("user", "del", bare(ben))
    assert ann.until("presence", type="unavailable", from_=ben.jid) is not None
    seen = []
    while not find(seen, "iq", type="set"):
        seen.append(ann.next())
    kinds = {p.get("type") for p in find(seen, "presence")}
    assert kinds == {"unsubscribe", "unsubscribed"}
    assert roster(ann) == {}
    site.add_user(name)
    with site.login(name) as fresh:
        assert roster(fresh) == {}
        assert find(fresh.present(), "presence", type="subscribe") == []


@pytest.mark.req("6-25.1", "7-5.3")
def test_a_store_that_cannot_be_written(make_site):
    """Each change is refused with a stanza error, nothing is half-made, and what is only routed goes on."""
    site = make_site("[store]\nbusy_timeout_s = 0.05\n")
    with site.login("alice", "a") as alice, site.login("bob", "b") as bob:
        roster(alice)
        alice.present()
        bob.present()
        locked = sqlite3.connect(site.directory / "data" / "xmppd.sqlite", isolation_level=None)
        locked.execute("BEGIN IMMEDIATE")
        refused = alice.iq("set", f"<query xmlns='{ROSTER}'><item jid='x@localhost'/></query>")
        assert condition(refused) == "internal-server-error"
        alice.send("<presence type='subscribe' to='bob@localhost' id='s'/>")
        assert condition(alice.until("presence", type="error", id="s")) == "internal-server-error"
        site.command("user", "del", "bob@localhost", expect=1)
        alice.send(f"<message to='{bob.jid}'><body>still here</body></message>")
        assert bob.until("message").get("from") == alice.jid
        assert roster(alice) == roster(bob) == {}
        locked.execute("ROLLBACK")
        locked.close()
        subscribe(alice, bob)
        assert roster(alice)["bob@localhost"][:2] == ("both", None)
    assert "Traceback" not in site.log


@pytest.mark.req("1-18.b")
@pytest.mark.parametrize("to", ["", " to='{two}'"])
def test_presence_behind_our_closing_tag_shows_nobody(site, user, to):
    """What comes late is processed, but the resource has gone: its contacts would see a ghost for ever."""
    name = user("ghost")
    with site.login(name, "one") as one, site.login(name, "two") as two:
        two.present()
        one.present()
        two.fence()
        site.command("session", "kick", one.jid)
        one.send(f"<presence{to.format(two=two.jid)}/><message to='{two.jid}' id='late'/></stream:stream>")
        assert two.until("presence", type="unavailable").get("from") == one.jid
        assert two.next().get("id") == "late"
