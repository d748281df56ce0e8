"""Bad input of every kind against a whole server: its stream error, one count and one line in the log, and no more."""

from __future__ import annotations

import pytest

from tests.adversity.test_floods import waits_for
from tests.live.conftest import make_site as make_site
from tests.live.conftest import site as site
from tests.xmpp_client import condition
from xmppd.events import LIMITS

TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64


class Watch:
    """What the server has counted and logged since this was made."""

    def __init__(self, site):
        self.site = site
        self.counted = site.status["counters"]
        self.logged = len(site.log)

    def saw(self, name, limit=None):
        """Whether there was exactly one stream error, `name`, in the counters and in the log."""

        def lines():
            return [x for x in self.site.log[self.logged :].splitlines() if 'event="stream error sent"' in x]

        assert waits_for(lines)
        counted = self.site.status["counters"]
        assert counted["stream_errors"] == self.counted["stream_errors"] + 1
        if limit is not None:
            assert counted[LIMITS[limit]] == self.counted[LIMITS[limit]] + 1
        [line] = lines()
        return f"condition={name}" in line and "peer=127.0.0.1" in line


@pytest.mark.parametrize(
    ("sent", "expected", "limit"),
    [
        (bytes(range(1, 256)), "not-well-formed", None),
        (b"<message><body>\xff\xfe</body></message>", "unsupported-encoding", None),
        (b"<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>", "restricted-xml", None),
        (b"<message><!-- comment --></message>", "restricted-xml", None),
        (b"<message><?pi x?></message>", "restricted-xml", None),
        (b"<message>&unknown;</message>", "restricted-xml", None),
        (b"<message>" + b"<a>" * 5000, "policy-violation", "depth"),
        (b"<message><body>" + b"x" * 300_000, "policy-violation", "stanza_bytes"),
        (b"<message a='" + b"x" * 300_000, "policy-violation", "tag_bytes"),
        (
            b"<message " + b" ".join(b"a%d=''" % i for i in range(100)) + b"/>",
            "policy-violation",
            "attributes",
        ),
        (
            b"<message " + b" ".join(b"xmlns:a%d='b'" % i for i in range(50)) + b"/>",
            "policy-violation",
            "bindings",
        ),
        (b"<" + b"m" * 300 + b"/>", "policy-violation", "name_bytes"),
        (b"<message xmlns:a='" + b"x" * 600 + b"'/>", "policy-violation", "uri_bytes"),
    ],
    ids=[
        *("rubbish", "not UTF-8", "DTD", "comment", "processing instruction", "unknown entity"),
        *("deep nesting", "huge stanza", "huge attribute", "many attributes", "many namespaces", "long name"),
        "long namespace name",
    ],
)
def test_bad_xml_of_a_client_that_is_logged_in(site, sent, expected, limit):
    with site.login("bob") as bob, site.login("alice") as client:
        watch = Watch(site)
        client.send(sent)
        assert condition(client.next()) == expected
        rest = client.read_to_end()
        assert (client.received + rest).endswith(b"</stream:stream>")
        assert watch.saw(expected, limit)
        assert bob.fence() == []


def test_a_tls_hello_on_a_plain_port(site):
    with site.login("bob") as bob, site.connect() as client:
        watch = Watch(site)
        client.send(TLS_HELLO)
        client.read_to_end()
        assert watch.saw("not-well-formed")
        assert bob.fence() == []


def test_bytes_behind_starttls_in_the_clear(site):
    """CVE-2011-0411: no <proceed/>, a stream error, the end."""
    with site.login("bob") as bob, site.connect() as client:
        client.open()
        watch = Watch(site)
        client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><auth/>")
        answer = client.received + client.read_to_end()
        assert b"<proceed" not in answer
        assert b"<policy-violation" in answer
        assert watch.saw("policy-violation")
        assert bob.fence() == []


def test_an_element_too_long_before_the_log_in(site):
    with site.connect() as client:
        client.open()
        watch = Watch(site)
        client.send(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>" + b"x" * 20_000)
        client.read_to_end()
        assert watch.saw("policy-violation", "preauth_stanza_bytes")


def test_bad_input_of_many_strangers_is_one_warning_for_each_kind(make_site):
    """Whoever logs warnings only sees that it goes on, and how often, however many they are."""
    site = make_site('[log]\nlevel = "warning"\n')
    for number in range(20):
        with site.connect() as client:
            client.send(b"rubbish" if number % 2 else TLS_HELLO)
            client.read_to_end()
    with site.connect() as client:
        client.open()
        client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>no</starttls>")
        client.read_to_end()
    with site.connect() as client:
        client.open()
        client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        client.next()
        client.send(b"no handshake at all")
        client.read_to_end()
    with site.connect() as client:
        client.secure(site.ca)
        client.plain("alice", "wrong")

    def kinds():
        lines = [line for line in site.log.splitlines() if 'event="bad input"' in line]
        return [line.partition("kind=")[2].partition(" text=")[0].partition(" error=")[0] for line in lines]

    expected = [
        '"stream error sent" condition=not-well-formed',
        '"starttls refused"',
        '"handshake failed"',
        '"login failed" condition=not-authorized',
    ]
    assert waits_for(lambda: kinds() == expected), site.log
    counted = site.status["counters"]
    names = ("stream_errors", "starttls_refused", "handshakes_failed", "logins_failed")
    assert [counted[name] for name in names] == [20, 1, 1, 1]
    assert site.stop() == 0
    [last] = [line for line in site.log.splitlines() if "repeated=" in line and "bad input" in line]
    assert "repeated=19" in last
    assert "level=info" not in site.log
