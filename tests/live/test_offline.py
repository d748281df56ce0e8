"""Messages for accounts that nobody can be reached at, over real sockets (XEP-0160, XEP-0203, XEP-0334, XEP-0359)."""

from __future__ import annotations

import re

import pytest

from tests.adversity.test_floods import waits_for
from tests.xmpp_client import condition, find

CLIENT = "{jabber:client}"
DELAY = "{urn:xmpp:delay}delay"
STANZA_ID = "{urn:xmpp:sid:0}stanza-id"


@pytest.fixture
def ann(site, user):
    with site.login(user("ann"), "one") as client:
        yield client


@pytest.mark.req("5-19.b", "8-24.1", "9-1.1", "9-8.1", "9-6.a", "9-6.d")
def test_messages_wait_and_come_in_order_with_stamp_and_id(site, user, ann):
    ben = user("ben")
    bodies = ["one", "  zwei &amp; drei\n", "трое <![CDATA[<b/>]]>", *map(str, range(500))]
    for number, body in enumerate(bodies):
        type_ = ("chat", "normal", "foo")[number % 3]
        ann.send(
            f"<message to='{ben}@localhost' type='{type_}' id='m{number}' from='mallory@localhost'>"
            f"<body>{body}</body><body xml:lang='de'>d</body><thread parent='e0ff'>0e31</thread></message>"
        )
    assert ann.fence() == []
    with site.login(ben, "b") as client:
        assert client.fence() == []
        client.send("<presence/>")
        got = [client.until("message") for _ in bodies]
        assert [m.get("id") for m in got] == [f"m{n}" for n in range(len(bodies))]
        assert [m.get("type") for m in got[:3]] == ["chat", "normal", "foo"]
        assert [m.findtext(f"{CLIENT}body") for m in got[:4]] == ["one", "  zwei & drei\n", "трое <b/>", "0"]
        thread = got[0].find(f"{CLIENT}thread")
        assert (thread.text, thread.get("parent")) == ("0e31", "e0ff")
        for m in got:
            assert (m.get("from"), m.get("to")) == (ann.jid, f"{ben}@localhost")
            assert m.find(DELAY).get("from") == "localhost"
            assert re.fullmatch(r"2\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ", m.find(DELAY).get("stamp"))
            assert m.find(STANZA_ID).get("by") == f"{ben}@localhost"
        assert len({m.find(STANZA_ID).get("id") for m in got}) == len(got)
        ann.send(f"<message to='{ben}@localhost' id='now'><body>x</body></message>")
        assert client.until("message", id="now").find(DELAY) is None
        client.close()
    with site.login(ben, "b") as client:
        assert not find(client.present(), "message")  # once


def test_no_resource_of_negative_priority_gets_what_waits(site, user, ann):
    ben = user("ben")
    with site.login(ben, "low") as low:
        low.present("<priority>-1</priority>")
        ann.send(f"<message to='{ben}@localhost' id='w'><body>x</body></message>")
        ann.fence()
        assert not find(low.fence(), "message")
        low.send("<presence/>")
        assert low.until("message", id="w").find(DELAY) is not None


@pytest.mark.parametrize(
    ("inner", "comes_back"),
    [
        ("<body>x</body><no-store xmlns='urn:xmpp:hints'/>", True),
        ("<composing xmlns='http://jabber.org/protocol/chatstates'/><thread>t</thread>", False),
        ("<received xmlns='urn:xmpp:receipts' id='1'/>", False),
    ],
)
def test_what_is_of_the_moment_does_not_wait(site, user, ann, inner, comes_back):
    ben = user("ben")
    ann.send(f"<message to='{ben}@localhost' type='chat' id='m'>{inner}</message>")
    ann.send(f"<message to='{ben}@localhost' id='after'><body>x</body></message>")
    errors = find(ann.fence(), "message", type="error")
    with site.login(ben, "b") as client:
        client.send("<presence/>")
        assert client.until("message").get("id") == "after"
    assert [condition(e) for e in errors] == ["service-unavailable"] * comes_back


def test_the_server_says_that_it_keeps_messages(ann):
    info = ann.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to="localhost")
    features = {f.get("var") for f in info.iter("{http://jabber.org/protocol/disco#info}feature")}
    assert {"msgoffline", "urn:xmpp:sid:0"} <= features


def test_nobody_else_writes_our_ids_and_stamps(site, user, ann):
    """XEP-0359 3, rule 2; XEP-0203 5: to a full address, to a bare one, and kept."""
    ben = user("ben")
    forged = "".join(
        f"<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='forged'/>"
        f"<delay xmlns='urn:xmpp:delay' from='{by}' stamp='2002-09-10T23:08:25Z'/>"
        for by in (f"{ben}@localhost", f"{ben.upper()}@LOCALHOST", "localhost", "room@else.where")
    )

    def said(message):
        return {
            **{("id", e.get("by")): e.get("id") for e in message.iter(STANZA_ID)},
            **{("delay", e.get("from")): e.get("stamp") for e in message.iter(DELAY)},
        }

    theirs = {("id", "room@else.where"): "forged", ("delay", "room@else.where"): "2002-09-10T23:08:25Z"}
    with site.login(ben, "b") as client:
        client.present()
        for to in (client.jid, f"{ben}@localhost"):
            ann.send(f"<message to='{to}'><body>x &amp; y</body>{forged}</message>")
            got = client.until("message")
            assert said(got) == theirs
            assert got.findtext(f"{CLIENT}body") == "x & y"
        client.close()
    ann.send(f"<message to='{ben}@localhost'><body>x</body>{forged}</message>")
    ann.fence()
    with site.login(ben, "b") as client:
        client.send("<presence/>")
        found = said(client.until("message"))
        ours = {("id", f"{ben}@localhost"), ("delay", "localhost")}
        assert found.keys() == theirs.keys() | ours
        assert not {found[key] for key in ours} & set(theirs.values())


@pytest.mark.req("5-19.b")
def test_a_full_mailbox_and_storage_switched_off(make_site):
    for settings, most in (("messages = 3\n", 3), ("messages = 0\n", 0), ("bytes = 16384\n", 1)):
        site = make_site(f"[offline]\n{settings}")
        body = "x" * 10_000 if "bytes" in settings else "x"
        with site.login("alice") as alice:
            for n in range(5):
                alice.send(f"<message to='bob@localhost' id='{n}'><body>{body}</body></message>")
            errors = find(alice.fence(), "message", type="error")
            assert [e.get("id") for e in errors] == [str(n) for n in range(most, 5)]
            assert {condition(e) for e in errors} == {"service-unavailable"}
            with site.login("bob") as bob:
                got = find(bob.present(), "message")
                while len(got) < most:
                    got.append(bob.until("message"))
                bob.close()
            if most:  # there is room again, once they are removed

                def is_taken(alice=alice):
                    alice.send("<message to='bob@localhost' id='again'><body>x</body></message>")
                    return alice.fence() == []

                assert waits_for(is_taken)


def test_a_disabled_account_keeps_its_messages(site, ann):
    jid = site.add_user("resting")
    ann.send(f"<message to='{jid}' id='kept'><body>x</body></message>")
    assert ann.fence() == []
    site.command("user", "disable", jid)
    site.command("user", "passwd", jid, "--password-stdin", stdin="another password\n")
    site.command("user", "enable", jid)
    with site.connect() as client:
        client.login("resting", "another password", ca=site.ca)
        client.send("<presence/>")
        assert client.until("message").get("id") == "kept"


def test_a_new_account_of_the_same_name_inherits_nothing(site, ann):
    name = "reborn"
    jid = site.add_user(name)
    ann.send(f"<message to='{jid}' id='old'><body>x</body></message>")
    ann.fence()
    site.command("user", "del", jid)
    ann.send(f"<message to='{jid}' id='nobody'><body>x</body></message>")
    assert condition(ann.until("message", id="nobody")) == "service-unavailable"
    site.add_user(name)
    with site.login(name) as client:
        assert not find(client.present(), "message")
        assert site.status["offline"]["waiting"] == 0
