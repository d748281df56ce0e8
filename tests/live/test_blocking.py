"""Block lists (XEP-0191) of a real server: kept over a restart, gone with the account."""

from __future__ import annotations

from tests.xmpp_client import condition

BLOCKING = "urn:xmpp:blocking"
DISCO = "http://jabber.org/protocol/disco#info"


def block_list(client):
    answer = client.iq("get", f"<blocklist xmlns='{BLOCKING}'/>")
    return [item.get("jid") for item in answer.iter(f"{{{BLOCKING}}}item")]


def test_a_block_lasts_until_it_is_taken_back(make_site):
    site = make_site()
    site.add_user("ann")
    with site.login("ann") as ann, site.login("alice") as alice:
        info = ann.iq("get", f"<query xmlns='{DISCO}'/>", to="localhost")
        assert BLOCKING in {f.get("var") for f in info.iter(f"{{{DISCO}}}feature")}
        blocked = ann.iq("set", f"<block xmlns='{BLOCKING}'><item jid='alice@localhost'/></block>")
        assert blocked.get("type") == "result"
        alice.send("<message type='chat' to='ann@localhost'><body>x</body></message>")
        assert condition(alice.until("message", type="error")) == "service-unavailable"
    site.stop()
    site.start()
    with site.login("alice") as alice:
        alice.send("<message type='chat' to='ann@localhost'><body>x</body></message>")
        assert condition(alice.until("message", type="error")) == "service-unavailable"
        with site.login("ann") as ann:
            assert block_list(ann) == ["alice@localhost"]
            ann.iq("set", f"<unblock xmlns='{BLOCKING}'/>")
            ann.present()
            alice.send("<message type='chat' to='ann@localhost'><body>y</body></message>")
            assert ann.until("message").findtext("{jabber:client}body") == "y"
            ann.iq("set", f"<block xmlns='{BLOCKING}'><item jid='alice@localhost'/></block>")
    site.command("user", "del", "ann@localhost")
    site.add_user("ann")
    with site.login("ann") as ann:
        assert block_list(ann) == []
