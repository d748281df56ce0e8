"""Stanzas between local resources, over real sockets (RFC 6120 10, RFC 6121 8)."""

from __future__ import annotations

import pytest

from tests.xmpp_client import condition, find

CLIENT = "{jabber:client}"
DISCO = "http://jabber.org/protocol/disco#info"


@pytest.fixture
def pair(site, user):
    """Two bound clients of two accounts, without presence."""
    a, b = user("ann"), user("ben")
    with site.login(a, "one") as first, site.login(b, "two") as second:
        yield first, second


def bare(client):
    return client.jid.partition("/")[0]


@pytest.mark.req("5-21.1", "5-4.a")
def test_a_message_to_a_full_address_arrives_with_the_true_sender(pair):
    ann, ben = pair
    ann.send(
        f"<message to='{ben.jid}' from='mallory@localhost/x' type='chat' id='m1'><body>hé &amp; <![CDATA[<x>]]></body></message>"
    )
    got = ben.until("message")
    assert got.get("from") == ann.jid
    assert got.get("to") == ben.jid
    assert got.get("id") == "m1"
    assert got.findtext(f"{CLIENT}body") == "hé & <x>"


@pytest.mark.req("5-19.a")
def test_a_message_to_a_bare_address_reaches_every_resource_of_non_negative_priority(site, user):
    a, b = user("ann"), user("ben")
    with (
        site.login(a) as ann,
        site.login(b, "r0") as r0,
        site.login(b, "r5") as r5,
        site.login(b, "neg") as neg,
    ):
        r0.present()
        r5.present("<priority>5</priority>")
        neg.present("<priority>-1</priority>")
        ann.send(f"<message to='{bare(r0)}' type='chat'><body>all</body></message>")
        ann.fence()
        assert r0.until("message").get("to") == bare(r0)
        assert r5.until("message").findtext(f"{CLIENT}body") == "all"
        assert not find(neg.fence(), "message")


@pytest.mark.req("5-20.1")
def test_a_full_address_nobody_has_is_treated_as_the_bare_one(pair):
    ann, ben = pair
    ben.present()
    for type_ in ("chat", "normal"):
        ann.send(f"<message to='{bare(ben)}/gone' type='{type_}'><body>x</body></message>")
        assert ben.until("message", type=type_).get("to") == f"{bare(ben)}/gone"


def test_a_connected_resource_without_presence_is_reached_if_nobody_else_is(pair):
    """The note of 5-19, in the UC profile."""
    ann, ben = pair
    ann.send(f"<message to='{bare(ben)}'><body>x</body></message>")
    assert ben.until("message").get("from") == ann.jid


@pytest.mark.req("5-18.a", "5-18.x1", "5-7.2")
@pytest.mark.parametrize("type_", ["chat", "normal", "groupchat", None])
def test_a_message_for_nobody_comes_back(pair, type_):
    ann, _ = pair
    attribute = f" type='{type_}'" if type_ else ""
    ann.send(f"<message to='nobody@localhost' id='a &quot;b&quot; ü'{attribute}><body>x</body></message>")
    error = ann.until("message", type="error")
    assert condition(error) == "service-unavailable"
    assert error.find(f"{CLIENT}error").get("type") == "cancel"
    assert error.get("id") == 'a "b" ü'
    assert error.get("from") == "nobody@localhost"


@pytest.mark.req("5-11.4", "5-18.x1", "5-10.e")
def test_no_error_is_answered_by_an_error(pair):
    ann, _ = pair
    ann.send("<message to='nobody@localhost' type='error'><error type='cancel'/></message>")
    ann.send("<iq to='nobody@localhost' type='result' id='r'/>")
    ann.send("<iq to='localhost' type='error' id='e'><error type='cancel'/></iq>")
    ann.send("<message to='user@remote.example' type='error'><error type='cancel'/></message>")
    assert ann.fence() == []


@pytest.mark.parametrize(
    "stanza",
    [
        "<message to='user@remote.example' id='x'><body>x</body></message>",
        "<iq to='remote.example' id='x' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<presence to='user@remote.example' id='x'/>",
        "<presence to='user@remote.example' id='x' type='subscribe'/>",
    ],
)
def test_a_foreign_domain_is_not_found(pair, stanza):
    ann, _ = pair
    ann.send(stanza)
    answer = ann.until(stanza[1:].partition(" ")[0], type="error")
    assert condition(answer) == "remote-server-not-found"
    assert answer.get("id") == "x"


@pytest.mark.req("5-10.a", "5-10.b", "5-10.c", "5-10.f", "5-6.2")
@pytest.mark.parametrize("to", ["", " to='localhost'", " to='{peer}'", " to='nobody@localhost'"])
@pytest.mark.parametrize(
    "iq",
    [
        "<iq type='get'{to}><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq id='i'{to}><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq id='i' type='foo'{to}><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq id='i' type='get'{to}/>",
        "<iq id='i' type='set'{to}><a xmlns='x'/><b xmlns='x'/></iq>",
    ],
)
def test_a_malformed_iq_is_a_bad_request(pair, to, iq):
    ann, ben = pair
    ann.send(iq.format(to=to.format(peer=ben.jid)))
    error = ann.until("iq", type="error")
    assert condition(error) == "bad-request"
    assert error.find(f"{CLIENT}error").get("type") == "modify"
    assert not find(ben.fence(), "iq")


@pytest.mark.req("5-21.2", "5-21.1")
def test_an_iq_between_resources_and_its_answer(pair):
    ann, ben = pair
    ann.send(f"<iq to='{ben.jid}' type='get' id='v'><query xmlns='jabber:iq:version'/></iq>")
    asked = ben.until("iq", id="v")
    assert asked.get("from") == ann.jid
    ben.send(
        f"<iq to='{ann.jid}' type='result' id='v'><query xmlns='jabber:iq:version'><name>t</name></query></iq>"
    )
    assert ann.until("iq", id="v").get("from") == ben.jid


@pytest.mark.req("5-10.d", "5-18.c", "5-19.d", "5-20.2")
@pytest.mark.parametrize(
    "to", ["localhost", "nobody@localhost", "nobody@localhost/r", "{bare}", "{bare}/gone"]
)
def test_an_iq_nobody_handles_is_answered_once(pair, to):
    ann, ben = pair
    ben.present()
    error = ann.iq("get", "<query xmlns='urn:nobody:knows'/>", to=to.format(bare=bare(ben)))
    assert condition(error) == "service-unavailable"
    assert not find(ann.fence(), "iq")
    assert not find(ben.fence(), "iq")


@pytest.mark.req("5-4.b", "5-17.3")
def test_what_the_server_answers_itself(site, pair):
    ann, _ = pair
    pong = ann.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to="localhost")
    assert (pong.get("type"), pong.get("from"), len(pong)) == ("result", "localhost", 0)
    version = ann.iq("get", "<query xmlns='jabber:iq:version'/>", to="localhost")
    assert version.findtext("{jabber:iq:version}query/{jabber:iq:version}name") == "xmppd"
    time = ann.iq("get", "<time xmlns='urn:xmpp:time'/>", to="localhost")
    assert time.findtext("{urn:xmpp:time}time/{urn:xmpp:time}utc").endswith("Z")
    info = ann.iq("get", f"<query xmlns='{DISCO}'/>", to="localhost")
    features = {f.get("var") for f in info.iter(f"{{{DISCO}}}feature")}
    assert {DISCO, "urn:xmpp:ping", "urn:xmpp:time", "jabber:iq:version"} <= features
    assert [i.get("category") for i in info.iter(f"{{{DISCO}}}identity")] == ["server"]
    own = ann.iq("get", f"<query xmlns='{DISCO}'/>", to=bare(ann))
    assert [i.get("type") for i in own.iter(f"{{{DISCO}}}identity")] == ["registered"]
    node = ann.iq("get", f"<query xmlns='{DISCO}' node='nowhere'/>", to="localhost")
    assert condition(node) == "item-not-found"


def test_disco_of_a_stranger_does_not_tell_whether_there_is_one(pair):
    ann, ben = pair
    there = ann.iq("get", f"<query xmlns='{DISCO}'/>", to=bare(ben))
    nobody = ann.iq("get", f"<query xmlns='{DISCO}'/>", to="nobody@localhost")
    assert condition(there) == condition(nobody) == "service-unavailable"


@pytest.mark.parametrize(
    "to", ["@localhost", "a b@localhost", "user@", "x@local_host", "user@localhost/", "a@b@c/d"]
)
@pytest.mark.parametrize("kind", ["message", "iq", "presence"])
def test_a_malformed_address_comes_back(pair, to, kind):
    ann, _ = pair
    ann.send(
        f"<{kind} to='{to}' type='{'get' if kind == 'iq' else 'probe' if kind == 'presence' else 'chat'}' id='j'><q xmlns='x'/></{kind}>"
    )
    assert condition(ann.until(kind, type="error")) == "jid-malformed"


@pytest.mark.req("5-8.1", "5-9.1")
def test_the_language_of_the_stream_goes_with_the_stanza(site, user):
    a, b = user("ann"), user("ben")
    client = site.connect()
    client.login(a, f"secret of {a}", None, ca=site.ca, **{"xml:lang": "de"})
    with client, site.login(b) as ben:
        client.send(f"<message to='{ben.jid}'><body>x</body></message>")
        assert ben.until("message").get("{http://www.w3.org/XML/1998/namespace}lang") == "de"
        client.send(f"<message to='{ben.jid}' xml:lang='fr'><body xml:lang='en'>x</body></message>")
        got = ben.until("message")
        assert got.get("{http://www.w3.org/XML/1998/namespace}lang") == "fr"
        assert got.find(f"{CLIENT}body").get("{http://www.w3.org/XML/1998/namespace}lang") == "en"


def test_order_is_kept(pair):
    ann, ben = pair
    ann.send("".join(f"<message to='{ben.jid}' id='n{i}'><body>{i}</body></message>" for i in range(300)))
    assert [ben.until("message").get("id") for _ in range(300)] == [f"n{i}" for i in range(300)]
