"""`user del`: what contacts are told, what becomes of rosters, and that a new account of that name inherits nothing."""

from __future__ import annotations

import pytest

from tests.live.test_presence import roster, subscribe
from tests.xmpp_client import condition, find

VERA = "vera@localhost"
BLOCKS = "<blocklist xmlns='urn:xmpp:blocking'/>"
PRIVATE = "<query xmlns='jabber:iq:private'><a xmlns='n'>{}</a></query>"
VCARD = "<vCard xmlns='vcard-temp'>{}</vCard>"
LAST = "<query xmlns='jabber:iq:last'/>"


def query(ver):
    return f"<query xmlns='jabber:iq:roster' ver='{ver}'/>"


def version(client):
    return client.iq("get", query("")).find("{jabber:iq:roster}query").get("ver")


def pushed(elements):
    return [
        (item.get("jid"), item.get("subscription"))
        for push in find(elements, "iq", type="set")
        for item in push.iter("{jabber:iq:roster}item")
    ]


@pytest.mark.req("6-30.a", "6-30.b", "6-30.c", "6-29.1", "7-18.e", "7-22.a.i")
def test_an_account_is_deleted(make_site):
    """Alice and bob are contacts, alice is there; carol is asked by vera, dora has asked vera."""
    site = make_site(users=("alice", "bob", "carol", "dora", "vera"))
    with site.login("alice", "a") as alice:
        with site.login("vera", "v") as vera, site.login("bob", "b") as bob, site.login("dora") as dora:
            for client in (alice, vera, bob):
                roster(client)
                client.present()
            subscribe(vera, alice)
            subscribe(vera, bob)
            bobs_version = version(bob)
            bob.close()
            vera.send("<presence type='subscribe' to='carol@localhost'/>")
            vera.send("<presence type='subscribed' to='early@localhost'/>")  # 3.4: before it was asked
            roster(dora)
            dora.send(f"<presence type='subscribe' to='{VERA}'/>")
            vera.until("presence", type="subscribe")
            vera.iq("set", "<block xmlns='urn:xmpp:blocking'><item jid='eve@localhost'/></block>")
            vera.iq("set", VCARD.format("<FN>Vera</FN>"))
            vera.iq("set", PRIVATE.format("1"))
            veras_version = version(vera)
            vera.send("<presence><priority>-1</priority></presence>")
            vera.fence()
            alice.send(f"<message to='{VERA}'><body>kept</body></message>")
            alice.fence()

            said = site.json("user", "del", VERA)
            assert (said["sessions_ended"], said["taken_from_rosters"]) == (1, 4)
            # as by a roster removal, 2.5.2: presence first, while there is somebody to leave
            heard = alice.fence()
            assert [(e.get("type"), e.get("from"), e.get("to")) for e in find(heard, "presence")] == [
                ("unavailable", vera.jid, "alice@localhost"),
                ("unsubscribe", VERA, "alice@localhost"),
                ("unsubscribed", VERA, "alice@localhost"),
            ]
            assert pushed(heard) == [(VERA, "remove")]
            # the request that is open no more is answered
            heard = dora.fence()
            assert [(e.get("type"), e.get("from")) for e in find(heard, "presence")] == [
                ("unsubscribed", VERA)
            ]
            assert pushed(heard) == [(VERA, "none"), (VERA, "remove")]

        site.add_user("vera")
        for name in ("alice", "bob", "carol", "dora"):
            with site.login(name, "later") as later:
                if name == "bob":  # who knew a version learns what has changed since
                    later.iq("get", query(bobs_version))
                    assert pushed(later.fence()) == [(VERA, "remove")]
                assert roster(later) == {}
                assert not find(later.present(), "presence", type="subscribe")
                assert condition(later.iq("get", LAST, to=VERA)) == "forbidden"

        alice.fence()
        with site.login("vera", "new") as vera:
            # a client that still has the old roster is given the new one
            answer = vera.iq("get", query(veras_version))
            assert len(answer) == 1
            assert not list(answer.iter("{jabber:iq:roster}item"))
            assert not list(vera.iq("get", BLOCKS).iter("{urn:xmpp:blocking}item"))
            assert condition(vera.iq("get", VCARD.format(""))) == "item-not-found"
            assert not vera.iq("get", PRIVATE.format("")).findtext(".//{n}a")
            came = vera.present()
            assert [(e.tag.rpartition("}")[2], e.get("from")) for e in came] == [("presence", vera.jid)]
            # nobody sees her, she sees nobody, and who asks now is asked about
            assert alice.fence() == []
            alice.send("<presence><show>away</show></presence>")
            alice.fence()
            assert vera.fence() == []
            alice.send(f"<presence type='subscribe' to='{VERA}'/>")
            assert vera.until("presence", type="subscribe").get("from") == "alice@localhost"
