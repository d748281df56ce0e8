"""Bad input of every kind against a whole server: its stream error, one count and one line in the log, and no more."""

from __future__ import annotations

import pytest

from tests.adversity.test_floods import waits_for
from tests.live.conftest import site as site
from tests.xmpp_client import condition

TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64


class Watch:
    """What the server has counted and logged since this was made."""

    def __init__(self, site):
        self.site = site
        self.counted = site.status["counters"]["stream_errors"]
        self.logged = len(site.log)

    def saw(self, name):
        """Whether there was exactly one stream error, `name`, in the counter and in the log."""

        def lines():
            return [x for x in self.site.log[self.logged :].splitlines() if 'event="stream error sent"' in x]

        assert waits_for(lines)
        assert self.site.status["counters"]["stream_errors"] == self.counted + 1
        [line] = lines()
        return f"condition={name}" in line and "peer=127.0.0.1" in line


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (bytes(range(1, 256)), "not-well-formed"),
        (b"<message><body>\xff\xfe</body></message>", "unsupported-encoding"),
        (b"<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>", "restricted-xml"),
        (b"<message><!-- comment --></message>", "restricted-xml"),
        (b"<message><?pi x?></message>", "restricted-xml"),
        (b"<message>&unknown;</message>", "restricted-xml"),
        (b"<message>" + b"<a>" * 5000, "policy-violation"),
        (b"<message><body>" + b"x" * 300_000, "policy-violation"),
        (b"<message a='" + b"x" * 300_000, "policy-violation"),
        (b"<message " + b" ".join(b"a%d=''" % i for i in range(100)) + b"/>", "policy-violation"),
        (b"<message " + b" ".join(b"xmlns:a%d='b'" % i for i in range(50)) + b"/>", "policy-violation"),
        (b"<" + b"m" * 300 + b"/>", "policy-violation"),
    ],
    ids=[
        *("rubbish", "not UTF-8", "DTD", "comment", "processing instruction", "unknown entity"),
        *("deep nesting", "huge stanza", "huge attribute", "many attributes", "many namespaces", "long name"),
    ],
)
def test_bad_xml_of_a_client_that_is_logged_in(site, sent, expected):
    with site.login("bob") as bob, site.login("alice") as client:
        watch = Watch(site)
        client.send(sent)
        assert condition(client.next()) == expected
        rest = client.read_to_end()
        assert (client.received + rest).endswith(b"</stream:stream>")
        assert watch.saw(expected)
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
