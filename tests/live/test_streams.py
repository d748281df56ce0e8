"""Streams over real sockets: negotiation, restarts, errors, closing (RFC 6120 4 to 7)."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import xml.etree.ElementTree as ET

import pytest

from tests.site import PASSWORD, Site
from tests.xmpp_client import BIND, SASL, STREAMS, TLS, Disconnected, StreamClosed, condition, find

HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>"
OK = PASSWORD.format(user="alice")


@pytest.fixture(scope="module")
def idn_site(tmp_path_factory):
    """A server of three domains, one of them internationalized."""
    made = Site(
        tmp_path_factory.mktemp("site"), domains=("localhost", "second.example", "bücher.example")
    ).start()
    yield made
    assert made.stop() == 0


def ends(client):
    """What the server said last, read to the end of the connection: (stream error condition, closing tag seen)."""
    error = None
    try:
        while True:
            element = client.next()
            if element.tag == f"{{{STREAMS}}}error":
                error = condition(element)
    except StreamClosed:
        assert client.read_to_end() == b""
        return error, True
    except (Disconnected, ConnectionResetError):
        return error, False


@pytest.mark.req("1-9.1", "2-4.1", "1-8.1", "1-7.1")
def test_before_tls_there_is_starttls_alone_and_required(site):
    with site.connect() as client:
        features = client.open(from_="alice@localhost")
        assert [child.tag for child in features] == [f"{{{TLS}}}starttls"]
        assert [child.tag for child in features[0]] == [f"{{{TLS}}}required"]
        header = client.header
        assert (header.get("from"), header.get("to"), header.get("version")) == (
            "localhost",
            "alice@localhost",
            "1.0",
        )
        assert header.get("{http://www.w3.org/XML/1998/namespace}lang")


@pytest.mark.req("1-13.1", "1-14.1", "1-14.2", "1-11.1", "3-12.1")
def test_every_restart_has_a_new_id_and_new_features(site):
    ids = []
    with site.connect() as client:
        client.open()
        ids.append(client.header.get("id"))
        client.starttls(site.ca)
        features = client.open()
        ids.append(client.header.get("id"))
        assert features.find(f"{{{TLS}}}starttls") is None
        offered = [m.text for m in features.iter(f"{{{SASL}}}mechanism")]
        assert {"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"} == set(
            offered
        )
        types = {e.get("type") for e in features.iter("{urn:xmpp:sasl-cb:0}channel-binding")}
        assert types == {"tls-exporter", "tls-server-end-point"}
        assert client.plain("alice", OK).tag == f"{{{SASL}}}success"
        features = client.open()
        ids.append(client.header.get("id"))
        assert features.find(f"{{{SASL}}}mechanisms") is None
        assert features.find(f"{{{BIND}}}bind") is not None
        client.bind("r")
        assert client.jid == "alice@localhost/r"
    assert len(set(ids)) == 3
    assert all(len(id_) >= 16 for id_ in ids)


def test_server_chosen_resources_differ(site):
    with site.login("alice") as one, site.login("alice") as two:
        assert one.jid != two.jid


@pytest.mark.req("4-6.1")
def test_the_older_stream_loses_a_conflict(site):
    with site.login("alice", "same") as old, site.login("alice", "same") as new:
        assert ends(old) == ("conflict", True)
        assert new.jid == "alice@localhost/same"
        assert new.fence() == []


def test_a_session_request_of_an_old_client_is_answered(site):
    with site.login("alice") as client:
        answer = client.iq("set", "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>")
        assert answer.get("type") == "result"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("<message to='bob@localhost'><body>x</body></message>", "not-authorized"),
        ("<iq type='get' id='a'><ping xmlns='urn:xmpp:ping'/></iq>", "not-authorized"),
        ("<bogus xmlns='urn:x'/>", "not-authorized"),
        ("<message xmlns='jabber:server'/>", "invalid-namespace"),
        ("<message></b>", "not-well-formed"),
        ("<message", None),
        ("<!-- c -->", "restricted-xml"),
        ("<?pi x?>", "restricted-xml"),
        ("<!DOCTYPE x>", "restricted-xml"),
        ("<message>&bad;</message>", "restricted-xml"),
        ("<message>&#0;</message>", "not-well-formed"),
        ("text", "bad-format"),
        (b"<message>\xff</message>", "unsupported-encoding"),
        (b"<message>\x01</message>", "not-well-formed"),
        ("<message a='1' a='2'/>", "not-well-formed"),
        ("<p:message/>", "not-well-formed"),
        ("<message a='" + "x" * 70_000, "policy-violation"),
        ("<message>" + "<a>" * 100, "policy-violation"),
        ("<message>" + "x" * 20_000, "policy-violation"),
    ],
)
@pytest.mark.req("1-33.1", "1-34.1", "1-35.1", "1-36.1")
def test_faults_before_login_get_their_stream_error_and_the_end(site, sent, expected):
    with site.connect() as client:
        client.open()
        client.send(sent)
        if expected is None:
            client.sock.shutdown(socket.SHUT_WR)
            assert ends(client)[1] in (True, False)
        else:
            assert ends(client) == (expected, True)
    with site.login("bob") as other:
        assert other.fence() == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (HEADER.replace("localhost", "unknown.example"), "host-unknown"),
        (HEADER.replace(" version='1.0'", ""), "unsupported-version"),
        (HEADER.replace("'1.0'", "'0.9'"), "unsupported-version"),
        (HEADER.replace("jabber:client", "jabber:server"), "invalid-namespace"),
        (HEADER.replace("etherx", "elsewhere"), "invalid-namespace"),
        (HEADER.replace("stream:stream", "stream:flow"), "bad-format"),
        (HEADER.replace("<stream:stream", "<flow:stream"), None),
        (HEADER.replace(" to='localhost'", ""), "improper-addressing"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64, None),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "not-well-formed"),
        (HEADER.encode("utf-16"), None),
        (b"\x00\x01\x02", "not-well-formed"),
    ],
)
@pytest.mark.req("1-36.1", "1-36.2")
def test_a_faulty_header_is_answered_by_a_header_the_error_and_the_end(site, header, expected):
    with site.connect() as client:
        client.send(header)
        error, closed = ends(client)
        assert closed
        assert client.header is not None
        assert client.header.get("id")
        assert error == expected if expected is not None else error is not None


@pytest.mark.req("2-6.2")
@pytest.mark.parametrize("behind", ["<auth/>", " ", HEADER])
def test_bytes_behind_starttls_in_the_clear_end_the_stream(site, behind):
    """The injection class of CVE-2011-0411: no <proceed/>, a stream error, the end."""
    with site.connect() as client:
        client.open()
        client.send(f"<starttls xmlns='{TLS}'/>{behind}")
        try:
            assert ends(client) == ("policy-violation", True)
        finally:
            assert b"proceed" not in client.received


@pytest.mark.req("1-18.d", "1-19.2")
def test_the_client_closes(site):
    with site.login("alice") as client:
        client.send("</stream:stream>")
        assert ends(client) == (None, True)


@pytest.mark.req("1-18.a", "1-18.b", "1-19.1")
def test_shutdown_says_so_and_waits_for_the_client(make_site):
    site = make_site()
    with site.login("alice") as alice, site.login("bob") as bob:
        bob_jid = bob.jid
        site.process.terminate()
        assert condition(alice.until("error")) == "system-shutdown"
        alice.send(f"<message to='{bob_jid}'><body>last words</body></message></stream:stream>")
        with pytest.raises(StreamClosed):
            alice.next()
        bob.send("</stream:stream>")
    assert site.stop() == 0
    assert "system-shutdown" in site.log


@pytest.mark.req("1-18.c")
def test_a_client_that_does_not_answer_the_closing_tag_is_left(make_site):
    site = make_site("[stream]\nclose_timeout_s = 0.5\n")
    with site.login("alice") as client:
        site.command("session", "kick", client.jid)
        assert ends(client)[1]


def test_negotiation_takes_too_long(make_site):
    site = make_site("[stream]\nnegotiation_timeout_s = 0.5\n")
    with site.connect() as silent, site.connect() as half:
        half.open()
        assert ends(silent) == ("connection-timeout", True)
        assert ends(half) == ("connection-timeout", True)


def test_a_silent_client_is_pinged_and_left_if_it_stays_silent(make_site):
    site = make_site("[stream]\nidle_ping_s = 0.5\nping_timeout_s = 1.0\nclose_timeout_s = 0.5\n")
    with site.login("alice") as dead, site.login("bob") as alive:
        for _ in range(3):
            ping = alive.until("iq", type="get")
            assert ping.find("{urn:xmpp:ping}ping") is not None
            alive.send(f"<iq type='result' id='{ping.get('id')}' to='localhost'/>")
        assert dead.until("iq").find("{urn:xmpp:ping}ping") is not None
        assert ends(dead) == ("connection-timeout", True)
        assert not find(alive.fence(), "error")


def test_a_client_that_is_slowed_down_is_not_taken_for_silent(make_site):
    """Its answer to the ping is there, but is not read as long as its rate is exceeded."""
    site = make_site(
        "[stream]\nidle_ping_s = 0.5\nping_timeout_s = 0.5\n[limits]\nstanzas_per_s = 50\nburst_s = 1\n"
    )
    with site.login("alice") as client:
        client.send("<message to='bob@localhost' type='headline'/>" * 250)
        for id_ in "pq":  # the second is read when the debt of 200 stanzas has been paid
            client.send(f"<iq type='get' id='{id_}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
            while (element := client.next()).get("id") != id_:
                client.send(f"<iq type='result' id='{element.get('id')}' to='localhost'/>")
    assert site.status["counters"]["streams_rate_limited"] >= 1
    assert site.status["counters"]["streams_idle_timeout"] == 0


def test_pings_can_be_switched_off_while_streams_are_open(make_site):
    site = make_site("[stream]\nidle_ping_s = 0.5\nping_timeout_s = 0.5\n")
    with site.login("alice") as client:
        site.write("[stream]\nidle_ping_s = 0\nping_timeout_s = 0.5\n")
        site.command("reload")
        client.fence()
        assert client.silent(1.5)


def test_white_space_keeps_a_stream_alive(make_site):
    site = make_site("[stream]\nidle_ping_s = 1.0\nping_timeout_s = 0.5\n")
    with site.login("alice") as client:
        for _ in range(8):
            client.send(" ")
            assert client.silent(0.3)


@pytest.mark.req("3-24.1", "3-25.1")
@pytest.mark.parametrize("retries", [2, 3])
def test_failures_beyond_the_retries_end_the_stream(make_site, retries):
    site = make_site(f"[sasl]\nretries = {retries}\n")
    with site.connect() as client:
        client.secure(site.ca)
        for _ in range(retries + 1):
            assert condition(client.plain("alice", "wrong")) == "not-authorized"
        assert ends(client) == ("policy-violation", True)


@pytest.mark.req("3-22.1", "3-23.1")
@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (f"<auth xmlns='{SASL}' mechanism='PLAIN'>!!!</auth>", "incorrect-encoding"),
        (f"<auth xmlns='{SASL}' mechanism='NONE'/>", "invalid-mechanism"),
        (f"<auth xmlns='{SASL}'/>", "invalid-mechanism"),
        (f"<auth xmlns='{SASL}' mechanism='PLAIN'>AAAA</auth>", "malformed-request"),
        (f"<abort xmlns='{SASL}'/>", "aborted"),
    ],
)
def test_sasl_failures(site, sent, expected):
    with site.connect() as client:
        client.secure(site.ca)
        client.send(sent)
        assert condition(client.next()) == expected
        assert client.plain("alice", OK).tag == f"{{{SASL}}}success", "one may try again"


@pytest.mark.req("2-11.1")
def test_sasl_in_the_clear_is_refused(site):
    with site.connect() as client:
        client.open()
        assert condition(client.plain("alice", OK)) == "encryption-required"


def test_an_authorization_identity_must_be_the_account(site):
    with site.connect() as client:
        client.secure(site.ca)
        assert condition(client.plain("alice", OK, authzid="bob@localhost")) == "invalid-authzid"
        assert client.plain("alice", OK, authzid="alice@localhost").tag == f"{{{SASL}}}success"


@pytest.mark.req("3-23.2")
def test_a_disabled_account_is_told_after_the_right_password_only(site, user):
    name = user("dan")
    site.command("user", "disable", f"{name}@localhost")
    with site.connect() as client:
        client.secure(site.ca)
        assert condition(client.plain(name, "wrong")) == "not-authorized"
        assert condition(client.plain(name, PASSWORD.format(user=name))) == "account-disabled"
    site.command("user", "enable", f"{name}@localhost")
    with site.login(name) as client:
        assert client.fence() == []


@pytest.mark.req("3-23.2")
def test_an_expired_password_lets_nobody_in_until_it_is_changed(site, user):
    name = user("dora")
    with site.login(name) as there:
        site.command("user", "expire", f"{name}@localhost")
        with site.connect() as client:
            client.secure(site.ca)
            assert condition(client.plain(name, "wrong")) == "not-authorized"
            assert condition(client.plain(name, PASSWORD.format(user=name))) == "credentials-expired"
        assert there.fence() == []
    site.command("user", "passwd", f"{name}@localhost", "--password-stdin", stdin="another\n")
    with site.connect() as client:
        client.secure(site.ca)
        assert client.plain(name, "another").tag == f"{{{SASL}}}success"


def certified(site, client, **wrap):
    """The host names in the certificate that the server shows after STARTTLS."""
    client.open()
    client.send(f"<starttls xmlns='{TLS}'/>")
    client.next()
    context = ssl.create_default_context(cafile=site.ca)
    context.check_hostname = False
    sock = context.wrap_socket(client.sock, **wrap)
    return {value for kind, value in sock.getpeercert()["subjectAltName"] if kind == "DNS"}


@pytest.mark.req("3-4.2", "1-3.2")
@pytest.mark.parametrize(
    ("sni", "to", "shown"),
    [
        ("unknown.example", "second.example", "second.example"),  # the target of an SRV record
        ("unknown.example", "localhost", "localhost"),
        ("xn--bcher-kva.example", "bücher.example", "xn--bcher-kva.example"),
        ("XN--Bcher-kva.Example", "localhost", "xn--bcher-kva.example"),
        ("second.example.", "localhost", "second.example"),
        (None, "bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_the_certificate_follows_the_server_name_then_the_header(idn_site, sni, to, shown):
    with idn_site.connect(to) as client:
        assert shown in certified(idn_site, client, server_hostname=sni)


@pytest.mark.req("3-4.2")
def test_each_domain_has_its_own_certificate(site):
    def names(client, **wrap):
        return certified(site, client, **wrap)

    assert "second.example" in names(site.connect("second.example"), server_hostname="second.example")
    assert "localhost" in names(site.connect(), server_hostname="localhost")
    assert "second.example" in names(site.connect("second.example")), "no SNI: the header's 'to' decides"
    site.add_user("zoe", "second.example")
    with site.login("zoe", domain="second.example") as zoe:
        assert zoe.jid.startswith("zoe@second.example/")


def test_direct_tls(make_site):
    site = make_site(listeners=('address = "127.0.0.1:0"', 'address = "127.0.0.1:0"\ndirect_tls = true'))
    with site.connect(number=1) as client:
        client.wrap(site.ca)
        features = client.open()
        assert features.find(f"{{{TLS}}}starttls") is None
        assert client.plain("alice", OK).tag == f"{{{SASL}}}success"
        client.open()
        client.bind()
        assert client.fence() == []


@pytest.mark.req("14-1.2")
def test_ipv6_and_ipv4_side_by_side(make_site):
    site = make_site(listeners=('address = "127.0.0.1:0"', 'address = "[::1]:0"'))
    with site.connect(number=1) as client:
        client.login("alice", OK, ca=site.ca)
        assert client.sock.family == socket.AF_INET6
        assert client.fence() == []


def test_one_byte_at_a_time(site):
    """The same answers as in one piece."""
    with site.connect() as client:
        client.secure(site.ca)
        auth = base64.b64encode(f"\0alice\0{OK}".encode()).decode()
        for byte in f"<auth xmlns='{SASL}' mechanism='PLAIN'>{auth}</auth>".encode():
            client.send(bytes([byte]))
        assert client.next().tag == f"{{{SASL}}}success"
        client.open()
        for byte in f"<iq type='set' id='b'><bind xmlns='{BIND}'><resource>ü</resource></bind></iq>".encode():
            client.send(bytes([byte]))
        assert ET.tostring(client.until("iq", id="b"), encoding="unicode").count("alice@localhost/ü") == 1


def _unwrap(client):
    client.sock.settimeout(0.1)
    with contextlib.suppress(TimeoutError, OSError, ssl.SSLError):
        client.sock.unwrap()  # close_notify in the same segment as the data, or right behind it


@pytest.mark.req("1-18.d")
@pytest.mark.parametrize("end", [_unwrap, lambda client: client.sock.shutdown(socket.SHUT_WR)])
@pytest.mark.parametrize("tag", ["", "</stream:stream>"])
@pytest.mark.parametrize("stanzas", [200, 1900])
def test_what_was_sent_before_the_end_is_delivered(make_site, end, tag, stanzas):
    """More than one time slice and, with 1900, more than the rate allows at once: the end comes behind all of it."""
    site = make_site("[limits]\nstanzas_per_s = 1000\nburst_s = 1\n")
    with site.login("bob") as bob, site.login("alice") as alice:
        alice.send("".join(f"<message to='{bob.jid}' id='m{i}'/>" for i in range(stanzas)) + tag)
        end(alice)
        assert [bob.next().get("id") for _ in range(stanzas)] == [f"m{i}" for i in range(stanzas)]


@pytest.mark.req("1-11.1")
def test_a_whole_session_in_one_piece_with_its_end(site, user):
    """Answers are awaited three times (password, account, IQ) while the end of the connection is known already."""
    name = user("hasty")
    with site.login("bob") as bob, site.connect() as client:
        client.open()
        client.starttls(site.ca)
        auth = base64.b64encode(f"\0{name}\0{PASSWORD.format(user=name)}".encode()).decode()
        client.send(
            f"{HEADER}<auth xmlns='{SASL}' mechanism='PLAIN'>{auth}</auth>{HEADER}"
            f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq>"
            f"<message to='{bob.jid}' id='hasty'/></stream:stream>"
        )
        _unwrap(client)
        assert bob.until("message", id="hasty").get("from").startswith(f"{name}@localhost/")
