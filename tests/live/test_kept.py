"""What the server keeps for accounts: vCards (XEP-0054), private XML (XEP-0049), when they were there (XEP-0012)."""

from __future__ import annotations

import pytest

from tests.xmpp_client import condition

DISCO = "http://jabber.org/protocol/disco#info"
LAST = "<query xmlns='jabber:iq:last'/>"
VCARD = "<vCard xmlns='vcard-temp'>{}</vCard>"
PRIVATE = "<query xmlns='jabber:iq:private'>{}</query>"


@pytest.mark.parametrize("feature", ["vcard-temp", "jabber:iq:private", "jabber:iq:last"])
def test_the_server_says_that_it_has_it(site, user, feature):
    with site.login(user()) as ann:
        info = ann.iq("get", f"<query xmlns='{DISCO}'/>", to="localhost")
        of_the_server = {f.get("var") for f in info.iter(f"{{{DISCO}}}feature")}
        assert feature in of_the_server
        info = ann.iq("get", f"<query xmlns='{DISCO}'/>")
        of_accounts = {f.get("var") for f in info.iter(f"{{{DISCO}}}feature")}
        assert (feature in of_accounts) == (feature != "jabber:iq:private")
        assert of_accounts <= of_the_server


def test_what_was_set_is_there_after_a_restart_and_gone_with_the_account(make_site):
    site = make_site()
    site.add_user("ann")
    bare = "ann@localhost"
    with site.login("ann") as ann, site.login("alice") as alice:
        assert ann.iq("set", VCARD.format("<FN>Änn</FN>")).get("type") == "result"
        assert ann.iq("set", PRIVATE.format("<a xmlns='n'>1</a>")).get("type") == "result"
        ann.send("<presence type='subscribed' to='alice@localhost'/>")
        ann.fence()
        alice.iq("get", "<query xmlns='jabber:iq:roster'/>")
        alice.send(f"<presence type='subscribe' to='{bare}'/>")
        alice.until("presence", type="subscribed")
        assert alice.iq("get", LAST, to=bare).find("{jabber:iq:last}query").get("seconds") == "0"
        ann.present()
        ann.send("<presence type='unavailable'><status>bye</status></presence>")
    site.stop()
    site.start()
    with site.login("alice") as alice:
        assert alice.iq("get", VCARD.format(""), to=bare).findtext(".//{vcard-temp}FN") == "Änn"
        seen = alice.iq("get", LAST, to=bare).find("{jabber:iq:last}query")
        assert (0 <= int(seen.get("seconds")) < 60, seen.text) == (True, "bye")
        with site.login("ann") as ann:
            assert ann.iq("get", PRIVATE.format("<a xmlns='n'/>")).findtext(".//{n}a") == "1"
        site.command("user", "del", bare)
        site.add_user("ann")
        assert condition(alice.iq("get", VCARD.format(""), to=bare)) == "service-unavailable"
        assert condition(alice.iq("get", LAST, to=bare)) == "forbidden"
        with site.login("ann") as ann:
            assert condition(ann.iq("get", VCARD.format(""))) == "item-not-found"
            assert not ann.iq("get", PRIVATE.format("<a xmlns='n'/>")).findtext(".//{n}a")
