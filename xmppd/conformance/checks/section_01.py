"""2.6 XML streams (rows 1-1 to 1-36): the client's half."""

from __future__ import annotations

import codecs
import lzma
import re
import time
from collections import Counter
from collections.abc import Iterator
from math import log2
from typing import Final

from xmppd.conformance.check import check, expect
from xmppd.conformance.client import (
    CLOSING_TAG,
    Client,
    bound_jid,
    describe,
    mechanisms,
    stream_condition,
    stream_header,
)
from xmppd.conformance.names import BIND, CLIENT, PING, SASL, SERVER, STREAM_ERRORS, STREAMS, TLS
from xmppd.conformance.site import Site
from xmppd.conformance.subject import IPV4, IPV6
from xmppd.conformance.verdict import NotMet
from xmppd.conformance.xmlstream import Closed, Element, Header

WRONG_STREAMS: Final = "http://wrong.namespace.example.org/"
IDS: Final = 10_000  # 1-27.1
ANSWER_S: Final = 0.2  # a client may take so long to answer a closing tag
CLOSE_S: Final = 1.0  # 1-35.2: how long the server is told to wait for the answer
LATE_S: Final = 2.0  # and may be late, on a busy machine

# ---- 1-1 to 1-5: connections ---------------------------------------------------------------------------------


@check("1-1.1", "1-11.1")
def one_tcp_connection_serves_the_whole_session(site: Site) -> None:
    """RFC 6120 3.1, 4.3.3: TLS, SASL, binding and stanzas use the connection that the client opened."""
    client = site.login()
    client.before_ping()
    expect(not client.connection.ending.is_over, "the server ended the connection")


@check("1-1.2")
def a_silent_client_is_dropped_by_the_idle_policy_only(site: Site) -> None:
    """RFC 6120 4.6: a client that answers pings stays; one that is silent gets an error and the closing tag."""
    site.change(idle_timeout=1)
    alive, dead = site.login(0), site.login(1)
    for _ in range(3):  # which takes longer than the silent one is left alone
        ping = alive.wait_for("iq", type="get")
        alive.send(f"<iq type='result' id='{ping.get('id')}' to='{ping.get('from') or site.domain}'/>")
    alive.before_ping()
    event = dead.next_solid()
    while isinstance(event, Element) and event.is_("iq", CLIENT):
        event = dead.next_solid()
    if isinstance(event, Element) and event.is_("error", STREAMS):
        event = dead.next_solid()
    expect(
        isinstance(event, Closed), f"a silent client was dropped without the closing tag: {describe(event)}"
    )


@check("1-3.1")
def the_product_prints_its_dns_records(site: Site) -> None:
    """RFC 6120 3.2.1: SRV records for clients that name the port on which the server really listens."""
    records = site.dns_records(site.domain)
    targets: dict[str, str] = {}
    for service, port in (("_xmpp-client", site.subject.port), ("_xmpp-server", site.subject.s2s_port)):
        owner = rf"{service}\._tcp\.{re.escape(site.domain)}\.?"
        found = re.findall(rf"^{owner}\s.*\bSRV\s+\d+\s+\d+\s+(\d+)\s+(\S+)", records, re.MULTILINE)
        expect(bool(found), f"no SRV record of {service}._tcp.{site.domain}")
        targets |= {port_: target for port_, target in found if target != "."}  # which says: no such service
        if port is not None:
            ports = ", ".join(port_ for port_, _ in found)
            expect(str(port) in dict(found), f"{service} has port {ports}, but the server listens on {port}")
    expect(bool(targets), "no SRV record has a target")
    for target in targets.values():
        for kind, over in (("A", IPV4), ("AAAA", IPV6)):
            if site.subject.is_reached(over):
                record = rf"^{re.escape(target)}\s.*\b{kind}\s+\S"
                expect(bool(re.search(record, records, re.MULTILINE)), f"no {kind} record of {target}")


@check("1-3.2")
def the_service_domain_is_served_whatever_the_host_is_called(site: Site) -> None:
    """RFC 6120 3.2.1, 13.7: with 'to' the service domain, the certificate is valid for the service domain."""
    client = site.connect()
    client.open()
    client.start_tls()  # verifies the certificate for the domain
    client.expect_certificate_of_domain()
    client.open()


@check("1-5.2")
def the_domain_is_served_on_port_5222(site: Site) -> None:
    """RFC 6120 3.2.2: a client that found no SRV record connects to port 5222."""
    if site.subject.port != 5222:
        site.change(client_port=5222)
    expect(site.subject.port == 5222, f"the server listens on {site.subject.port}")
    site.login().before_ping()


# ---- 1-6 to 1-16: opening, features, restarts ----------------------------------------------------------------


@check("1-6.2")
def a_header_may_arrive_in_any_pieces(site: Site) -> None:
    """RFC 6120 4.2: the header of row 1-6, byte by byte and cut in two at every byte."""
    account = site.account()
    header = stream_header(to=site.domain, from_=account.jid).encode()
    slow = site.connect()
    for position in range(len(header)):
        slow.send(header[position : position + 1])
    expect(slow.expect_header().get("to") == account.jid, "the header is read wrongly byte by byte")
    slow.expect_features()
    for position in range(1, len(header)):
        client = site.connect()
        client.send(header[:position])
        client.send(header[position:])
        expect(
            client.expect_header().get("to") == account.jid,
            f"the header is read wrongly if cut at byte {position}",
        )
        client.connection.close()


@check("1-7.1", "1-29.1")
def the_response_header_comes_first(site: Site) -> None:
    """RFC 6120 4.2: the answer to an initial header begins with {http://etherx.jabber.org/streams}stream."""
    client = site.connect()
    client.send_header()
    header = client.expect_header()
    expect(header.element.is_("stream", STREAMS), f"the root element is {header}")
    client.expect_features()


@check("1-7.2")
def declaration_and_quotes_make_no_difference(site: Site) -> None:
    """RFC 6120 11.5: with or without XML declaration, with single or double quotes."""
    answers = set()
    for declaration in ("", "<?xml version='1.0'?>", '<?xml version="1.0" encoding="UTF-8"?>'):
        for quote in "'\"":
            client = site.connect()
            text = stream_header(to=site.domain, declaration="").replace('"', quote)
            client.send(declaration + text)
            answer = dict(client.expect_header().element.attributes)
            expect(bool(answer.pop("id", "")), "a response header has no id")
            answers.add((tuple(sorted(answer.items())), str(client.expect_features())))
    expect(len(answers) == 1, f"the answers differ: {answers}")


@check("1-8.1")
def features_follow_the_header(site: Site) -> None:
    """RFC 6120 4.3.2: one <features/>, whose children are in namespaces of their own; on each of the three streams.

    That it is one is seen by what comes next: <proceed/>, <success/>, the result of binding.
    """
    client = site.connect()
    for go_on in (client.start_tls, lambda: client.authenticate(site.account()), client.bind):
        client.send_header()
        client.expect_header()
        event = client.next()
        if not (isinstance(event, Element) and event.is_("features", STREAMS)):
            raise NotMet(f"expected features right behind the header, but {describe(event)}")
        for child in event.elements:
            own = child.namespace not in (STREAMS, CLIENT, "")
            expect(own, f"a feature is in {child.namespace!r}: {child}")
        client.features = event
        go_on()
    expect(sum(each.is_("features", STREAMS) for each in client.seen) == 3, "features came twice")


@check("1-9.1", "2-4.1")
def starttls_is_required(site: Site) -> None:
    """RFC 6120 5.4.1: <starttls/> holds one empty <required/>."""
    features = site.connect().open()
    starttls = features.find("starttls", TLS)
    inside = "".join(map(str, starttls.children)) if starttls is not None else ""
    expect(
        inside == f'<required xmlns="{TLS}"/>',
        f"<starttls/> does not hold one empty <required/>: {features}",
    )


@check("2-4.1")
def starttls_is_the_only_first_feature(site: Site) -> None:
    """UC XMPP 2013 2.7: without TLS nothing else is offered."""
    features = site.connect().open()
    expect(
        [(child.namespace, child.name) for child in features.elements] == [(TLS, "starttls")],
        f"the first features are {features}",
    )


@check("1-9.2")
def bind_is_offered_after_sasl(site: Site) -> None:
    """RFC 6120 7.4: <bind/> is among the features of an authenticated stream."""
    features = site.connect().authenticated(site.account())
    expect(features.find("bind", BIND) is not None, f"no <bind/> in {features}")


@check("1-9.3")
def voluntary_features_are_not_required(site: Site) -> None:
    """RFC 6120 4.3.2: only what is mandatory holds <required/> in its own namespace."""
    client = site.connect()
    offered = [*client.open().elements]
    client.start_tls()
    offered += client.open().elements
    client.authenticate(site.account())
    offered += client.open().elements
    mandatory = {(TLS, "starttls"), (SASL, "mechanisms"), (BIND, "bind")}
    for feature in offered:
        if (feature.namespace, feature.name) not in mandatory:
            expect(feature.find("required") is None, f"a voluntary feature says <required/>: {feature}")


@check("1-11.2")
def nothing_of_the_old_stream_outlives_a_restart(site: Site) -> None:
    """RFC 6120 4.3.3: 'from', 'to' and language are those of the new header alone; another 'to' may be refused."""
    other = site.connect()
    other.send_header(lang=None)
    language = other.expect_header().get("xml:lang")  # without one in the initial header
    client = site.connect()
    client.open(from_=site.account(1).jid, lang="de")
    client.start_tls()
    client.send_header(lang=None)
    header = client.expect_header()
    client.expect_features()
    expect(header.get("xml:lang") == language, f"the new stream has the language {header.get('xml:lang')!r}")
    expect_to(client, None)
    client.authenticate(site.account(0))
    client.open()
    jid = client.bind()
    expect(jid.startswith(f"{site.account(0).jid}/"), f"the session is that of {jid}")

    second = site.second_domain()
    client = site.connect(second)
    client.open(from_=f"{site.account(1).name}@{second}")
    client.start_tls()
    client.send_header(to=site.domain)
    header = client.expect_header()
    event = client.next_solid()
    if isinstance(event, Element) and event.is_("features", STREAMS):
        expect(header.get("from") == site.domain, f"the new stream is from {header.get('from')!r}")
        expect_to(client, None)
    else:
        expect(
            isinstance(event, Element) and event.is_("error", STREAMS),
            f"expected features or a stream error, but {describe(event)}",
        )


@check("1-12.2")
def a_stanza_instead_of_the_new_header_ends_the_stream(site: Site) -> None:
    """RFC 6120 4.3.3: after TLS, and after SASL, a new header must come; nothing else is processed."""
    romeo = site.login(1)
    stanza = f"<message to='{romeo.jid}' type='chat'><body>too early</body></message>"
    after_tls = site.connect()
    after_tls.open()
    after_tls.start_tls()
    after_tls.send(stanza)
    after_tls.expect_stream_error(with_header=True)
    after_sasl = site.connect()
    after_sasl.secure()
    after_sasl.authenticate(site.account())
    after_sasl.send(stanza)
    after_sasl.expect_stream_error(with_header=True)
    expect(not romeo.before_ping(), "the stanza was delivered")


@check("1-13.1", "2-9.b", "3-12.1")
def each_restart_has_a_new_id(site: Site) -> None:
    """RFC 6120 4.3.3, 5.4.3.3, 6.4.6: the stream ids before TLS, after TLS and after SASL all differ."""
    client = site.connect()
    client.open()
    headers = [client.header]
    client.start_tls()
    client.open()
    headers.append(client.header)
    client.authenticate(site.account())
    client.open()
    headers.append(client.header)
    ids = [header.get("id") for header in headers if header is not None]
    expect(all(ids), f"a response header has no id: {ids}")
    expect(len(set(ids)) == 3, f"ids of the three streams: {', '.join(map(str, ids))}")
    for header in headers:
        assert header is not None
        expect(header.get("from") == site.domain, f"an incomplete response header: {header}")
        expect(header.get("version") == "1.0", f"an incomplete response header: {header}")


@check("1-14.1", "2-9.c")
def after_tls_there_is_sasl_and_no_starttls(site: Site) -> None:
    """RFC 6120 5.4.3.3: features after TLS hold mechanisms, and STARTTLS no more."""
    features = site.connect().secure()
    expect(features.find("starttls", TLS) is None, f"<starttls/> is offered again: {features}")
    expect(bool(mechanisms(features)), f"no SASL mechanisms in {features}")


@check("1-14.2", "3-13.1")
def after_sasl_there_is_bind_and_no_sasl(site: Site) -> None:
    """RFC 6120 6.4.6: features after SASL hold <bind/>, and neither mechanisms nor STARTTLS."""
    features = site.connect().authenticated(site.account())
    expect(features.find("bind", BIND) is not None, f"no <bind/> in {features}")
    expect(features.find("mechanisms", SASL) is None, f"SASL is offered again: {features}")
    expect(features.find("starttls", TLS) is None, f"<starttls/> is offered again: {features}")


@check("1-15.2", "1-33.1", "1-34.2")
def a_stanza_before_negotiation_is_complete_ends_the_stream(site: Site) -> None:
    """RFC 6120 4.3.5, 4.9.3.12: before TLS, SASL or binding a stanza gives <not-authorized/>, undelivered."""
    romeo = site.login(1)
    romeo.available()
    for kind in ("message", "presence"):
        stanza = f"<{kind} to='{romeo.jid}'/>"
        stages = [site.connect(), site.connect(), site.connect()]
        stages[0].open()
        stages[1].secure()
        stages[2].authenticated(site.account())
        for client in stages:
            client.send(stanza)
            client.expect_stream_error("not-authorized")
    expect(not romeo.before_ping(), "the stanza was delivered")


@check("1-16.1")
def both_directions_share_the_connection(site: Site) -> None:
    """RFC 6120 4.5: a client sends and receives on the one connection that it opened."""
    juliet, romeo = site.login(0), site.login(1)
    for sender, receiver in ((juliet, romeo), (romeo, juliet)):
        id_ = sender.message(receiver.jid, "hello")
        receiver.wait_for("message", id=id_)


# ---- 1-18, 1-19: closing -------------------------------------------------------------------------------------


def closed_by_the_server(site: Site, client: Client) -> None:
    """Let the server close the stream of a client, up to its closing tag."""
    site.end_session(client.jid)
    event = client.next_solid()
    if isinstance(event, Element) and event.is_("error", STREAMS):
        event = client.next_solid()
    expect(
        isinstance(event, Closed), f"the server ended a session without the closing tag: {describe(event)}"
    )


@check("1-18.a", "1-18.c")
def after_its_closing_tag_the_server_waits_as_long_as_configured(site: Site) -> None:
    """RFC 6120 4.4: without an answer the connection ends when the configured time has passed, not before."""
    site.change(close_timeout=2)
    client = site.login()
    began = time.monotonic()  # before the server does: a slow machine makes no wait look shorter
    closed_by_the_server(site, client)
    client.expect_end()
    seconds = time.monotonic() - began
    expect(1.5 < seconds < 5, f"the server waited {seconds:.1f} s for the closing tag, not 2 s")


@check("1-18.b")
def what_comes_before_the_answer_to_the_closing_tag_is_processed(site: Site) -> None:
    """RFC 6120 4.4: a message behind the server's closing tag is delivered; the server sends nothing more."""
    juliet, romeo = site.login(0), site.login(1)
    closed_by_the_server(site, juliet)
    id_ = juliet.message(romeo.jid, "last words")
    juliet.send(f"<iq type='get' id='late' to='{site.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
    romeo.wait_for("message", id=id_)
    juliet.send(CLOSING_TAG)
    juliet.expect_end()


@check("1-18.d", "1-19.2")
def the_closing_tag_of_a_client_is_answered(site: Site) -> None:
    """RFC 6120 4.4: the server answers </stream:stream>, sends nothing more, and ends the connection."""
    client = site.login()
    client.send(CLOSING_TAG)
    client.expect_closing_tag()
    client.expect_end()


@check("1-19.1")
def the_answered_closing_tag_ends_the_connection_at_once(site: Site) -> None:
    """RFC 6120 4.4: close_notify and FIN come within a second of the client's closing tag."""
    client = site.login()
    closed_by_the_server(site, client)
    began = time.monotonic()
    client.send(CLOSING_TAG)
    client.expect_end(in_order=True)
    seconds = time.monotonic() - began
    expect(seconds < 1, f"the connection ended after {seconds:.1f} s")


# ---- 1-20 to 1-28: attributes of the header ------------------------------------------------------------------


@check("1-20.1", "1-25.1")
def from_of_a_client_is_accepted_and_mirrored(site: Site) -> None:
    """RFC 6120 4.7.1, 4.7.2: before and after TLS the response header is to the bare JID in 'from'."""
    client, jid = site.connect(), site.account().jid
    client.open(from_=jid)
    expect_to(client, jid)
    client.start_tls()
    client.open(from_=jid)
    expect_to(client, jid)


def expect_to(client: Client, jid: str | None) -> None:
    """The response header is to this address; None: to nobody."""
    assert client.header is not None
    expect(
        client.header.get("to") == jid, f"the response header is to {client.header.get('to')!r}, not {jid!r}"
    )


@check("1-20.2")
def a_session_belongs_to_who_authenticated(site: Site) -> None:
    """RFC 6120 4.7.1: another account in 'from' never becomes the account of the session."""
    juliet, romeo = site.account(0), site.account(1)
    client = site.connect()
    client.secure(from_=romeo.jid)
    client.send_plain(juliet)
    event = client.next_solid()
    if isinstance(event, Element) and event.is_("success", SASL):
        client.reader.restart()
        client.send_header(from_=romeo.jid)
        client.expect_header()
        event = client.next_solid()
    if isinstance(event, Element) and event.is_("features", STREAMS):
        jid = client.bind()
        expect(
            jid.startswith(f"{juliet.jid}/"), f"{juliet.jid} authenticated, but the session is that of {jid}"
        )
    else:
        expect(
            isinstance(event, Element) and "invalid-from" in str(event),
            f"expected features or the stream error invalid-from, but {describe(event)}",
        )


@check("1-20.3", "1-25.3")
def a_header_without_from_is_accepted(site: Site) -> None:
    """RFC 6120 4.7.1, 4.7.2: then the response header has no 'to'."""
    client = site.connect()
    client.open()
    expect_to(client, None)
    client.start_tls()
    client.open()
    expect_to(client, None)


@check("1-22.2", "1-36.3")
def an_unknown_host_is_refused_inside_a_stream(site: Site) -> None:
    """RFC 6120 4.9.3.6: the response header is from a domain that is served, then <host-unknown/> and the end."""
    client = site.connect()
    client.send_header(to="unknown.invalid")
    error = client.expect_stream_error("host-unknown", with_header=True)
    assert error.header is not None
    expect(
        error.header.get("from") in (*site.subject.domains, ""),
        f"the response header is from {error.header.get('from')!r}, which is not served",
    )


@check("1-22.3")
def a_header_without_to_gets_an_answer(site: Site) -> None:
    """RFC 6120 4.7.2: a default domain, or a stream error."""
    client = site.connect()
    client.send_header(to=None)
    header = client.expect_header()
    event = client.next_solid()
    if isinstance(event, Element) and event.is_("features", STREAMS):
        expect(header.get("from") in site.subject.domains, f"the default domain is {header.get('from')!r}")
        return
    expect(
        isinstance(event, Element) and event.is_("error", STREAMS),
        f"expected an answer, but {describe(event)}",
    )
    assert isinstance(event, Element)
    found = {child.name for child in event.elements}
    expect(bool(found & {"host-unknown", "improper-addressing"}), f"the stream error is {event}")
    client.expect_closing_tag()
    client.send(CLOSING_TAG)
    client.expect_end()


@check("1-23.2")
def a_higher_minor_version_is_served_as_1_0(site: Site) -> None:
    """RFC 6120 4.7.5: 1.1 and 1.15 are understood, the answer says 1.0."""
    for version in ("1.1", "1.15"):
        client = site.connect()
        client.open(version=version)
        assert client.header is not None
        expect(
            client.header.get("version") == "1.0",
            f"the answer to {version} is {client.header.get('version')}",
        )


@check("1-23.3")
def a_header_without_version_is_refused(site: Site) -> None:
    """RFC 6120 4.9.3.25: a stream of version 0.9 cannot have TLS and SASL."""
    client = site.connect()
    client.send_header(version=None)
    client.expect_stream_error("unsupported-version", with_header=True)


@check("1-24.1")
def the_response_header_is_from_the_domain(site: Site) -> None:
    """RFC 6120 4.7.1: 'from' of the response header is the domain that 'to' of the initial header names."""
    for domain in site.subject.domains:
        client = site.connect(domain)
        client.send_header()
        header = client.expect_header()
        expect(
            header.get("from") == domain, f"the response header is from {header.get('from')!r}, not {domain}"
        )


@check("1-25.2")
def the_response_header_is_to_the_bare_jid(site: Site) -> None:
    """RFC 6120 4.7.2: also if the client's 'from' has a resource."""
    client, jid = site.connect(), site.account().jid
    client.open(from_=f"{jid}/desk")
    expect_to(client, jid)


@check("1-27.1")
def stream_ids_are_random(site: Site) -> None:
    """RFC 6120 4.7.3: of 10000 ids none is missing, all differ, and together they hold 128 bits for each.

    A sample shows slightly less than there is, so 120 must be seen: both in the characters at each place, and in what
    is left when all ids are compressed, which sees what repeats.
    """
    ids: list[str] = []
    while len(ids) < IDS:
        clients = [site.connect() for _ in range(50)]
        for client in clients:
            client.send_header()
        for client in clients:
            id_ = client.expect_header().get("id")
            expect(bool(id_), "a response header has no id")
            ids.append(str(id_))
            client.connection.close()
    site.note(f"{len(ids)} ids, the first {ids[0]}, the last {ids[-1]}")
    expect(len(set(ids)) == len(ids), f"{len(ids) - len(set(ids))} of {len(ids)} ids came twice")
    squeezed = 8 * len(lzma.compress("".join(ids).encode())) / len(ids)
    for bits, seen in ((entropy(ids), "at their places"), (squeezed, "when compressed")):
        site.note(f"{bits:.0f} bits in each id, {seen}")
        expect(bits >= 120, f"the ids vary in {bits:.0f} bits only, {seen}")


def entropy(ids: list[str]) -> float:
    """The sum over the places of the ids of the entropy of the characters seen there, in bits.

    A counter, a time or an address shows as places that hardly change.
    """
    total = 0.0
    for place in range(min(map(len, ids))):
        counts = Counter(id_[place] for id_ in ids)
        total -= sum(n / len(ids) * log2(n / len(ids)) for n in counts.values())
    return total


@check("1-27.2")
def the_id_of_a_client_is_ignored(site: Site) -> None:
    """RFC 6120 4.7.3: 'id' in an initial header means nothing."""
    client = site.connect()
    client.send_header(more=" id='chosen-by-the-client'")
    header = client.expect_header()
    expect(
        header.get("id") not in (None, "", "chosen-by-the-client"), f"the stream's id is {header.get('id')!r}"
    )
    client.expect_features()


@check("1-28.1")
def every_response_header_has_version_1_0(site: Site) -> None:
    """RFC 6120 4.7.5: before TLS, after TLS, after SASL."""
    client = site.connect()
    client.open()
    expect_version(client.header)
    client.start_tls()
    client.open()
    expect_version(client.header)
    client.authenticate(site.account())
    client.open()
    expect_version(client.header)


def expect_version(header: Header | None) -> None:
    """The response header has version='1.0'."""
    expect(header is not None and header.get("version") == "1.0", f"the response header is {header}")


@check("1-28.2")
def a_response_header_before_an_error_has_version_1_0(site: Site) -> None:
    """RFC 6120 4.7.5, 4.9.1.2: unknown host, wrong namespaces, and a version that a server may not serve."""
    for fault in (
        {"to": "unknown.invalid"},
        {"content": SERVER},
        {"streams": WRONG_STREAMS},
        {"version": "0.9"},
    ):
        client = site.connect()
        client.send_header(**fault)
        expect_version(client.expect_header())


# ---- 1-29 to 1-32: namespaces --------------------------------------------------------------------------------


@check("1-29.2")
def a_wrong_streams_namespace_is_refused(site: Site) -> None:
    """RFC 6120 4.9.3.10: a correct response header, <invalid-namespace/>, the closing tag, the end of TCP."""
    client = site.connect()
    client.send_header(streams=WRONG_STREAMS)
    client.expect_stream_error("invalid-namespace", with_header=True)


@check("1-29.3")
def a_wrong_root_element_is_refused(site: Site) -> None:
    """RFC 6120 4.8.1: another name in the streams namespace, or no namespace at all."""
    right = stream_header(to=site.domain)
    for wrong in (right.replace("<stream:stream", "<stream:flow"), "<stream version='1.0' to='x'>"):
        client = site.connect()
        client.send(wrong)
        client.expect_stream_error("invalid-namespace", "bad-format", with_header=True)


@check("1-29.4")
def other_prefixes_are_served_or_refused_in_order(site: Site) -> None:
    """RFC 6120 4.8.5: another prefix for the streams namespace, or none."""
    right = stream_header(to=site.domain)
    other = right.replace("<stream:stream", "<s:stream").replace("xmlns:stream", "xmlns:s")
    default = right.replace("<stream:stream", "<stream").replace(f' xmlns="{CLIENT}"', "")
    for header in (other, default.replace("xmlns:stream", "xmlns")):
        client = site.connect()
        client.send(header)
        client.expect_header()
        event = client.next_solid()
        expect(
            isinstance(event, Element) and event.namespace == STREAMS,
            f"expected features or a stream error, but {describe(event)}",
        )
        assert isinstance(event, Element)
        if event.name == "error":
            found = {child.name for child in event.elements}
            expect(
                bool(found & {"bad-namespace-prefix", "invalid-namespace"}), f"the stream error is {event}"
            )
            client.expect_closing_tag()


@check("1-30.1")
def the_content_namespace_is_declared_in_both_directions(site: Site) -> None:
    """RFC 6120 4.8.2: the response header declares xmlns='jabber:client', like the initial one."""
    client = site.connect()
    client.send_header()
    declared = client.expect_header().declared
    expect(declared.get("") == CLIENT, f"the response header declares {dict(declared)}")


@check("1-31.1")
def jabber_client_is_served_to_clients(site: Site) -> None:
    """RFC 6120 4.8.3: from the header to a stanza that is answered."""
    client = site.login()
    client.before_ping()


@check("1-31.2")
def another_content_namespace_is_refused_to_clients(site: Site) -> None:
    """RFC 6120 4.9.3.10: jabber:server and an unknown namespace."""
    for content in (SERVER, "urn:unknown:content"):
        client = site.connect()
        client.send_header(content=content)
        client.expect_stream_error("invalid-namespace", with_header=True)


@check("1-31.3")
def clients_get_no_stanza_of_jabber_server(site: Site) -> None:
    """RFC 6120 4.8.3: login, presence, messages, answers and errors are all in jabber:client."""
    juliet, romeo = site.login(0), site.login(1)
    juliet.available()
    juliet.message(romeo.jid, "hello")
    juliet.message(f"nobody-of-that-name@{site.domain}", "hello")
    romeo.before_message(juliet)
    juliet.before_ping()
    for client in (juliet, romeo):
        for element in client.seen:
            for inside in element.everything():
                expect(inside.namespace != SERVER, f"jabber:server on a client stream: {element}")


@check("1-32.1")
def a_stanza_of_jabber_server_is_refused(site: Site) -> None:
    """RFC 6120 4.9.3.10: a content namespace that the stream does not have."""
    client = site.login()
    client.send(f"<message xmlns='{SERVER}' to='{site.account(1).jid}'><body>x</body></message>")
    client.expect_stream_error("invalid-namespace")


@check("1-32.3")
def an_unknown_first_level_element_is_refused(site: Site) -> None:
    """RFC 6120 4.9.3.24: a bound client sends something that is no stanza."""
    client = site.login()
    client.send("<pubsub xmlns='http://example.org/unknown'/>")
    client.expect_stream_error("unsupported-stanza-type", "invalid-namespace")


# ---- 1-33 to 1-36: stream errors -----------------------------------------------------------------------------


@check("1-33.1", "1-34.2")
def each_fault_of_a_client_has_its_condition(site: Site) -> None:
    """RFC 6120 4.9.3: what a logged-in client can do wrong, and the condition it gets."""
    romeo = site.account(1).jid
    faults = {
        "<message><x:body/></message>": ("not-well-formed",),
        "<message></presence>": ("not-well-formed",),
        "<!-- comment -->": ("restricted-xml",),
        "<?target data?>": ("restricted-xml",),
        "<!DOCTYPE message>": ("restricted-xml",),
        f"<message to='{romeo}'><body>&unknown;</body></message>": ("restricted-xml",),
        f"<message xmlns='{SERVER}'/>": ("invalid-namespace",),
        "<unknown/>": ("unsupported-stanza-type",),
    }
    for sent, conditions in faults.items():
        client = site.login()
        client.send(sent)
        client.expect_stream_error(*conditions)


@check("1-33.1", "1-34.2")
def each_fault_of_a_header_has_its_condition(site: Site) -> None:
    """RFC 6120 4.9.3: encoding, namespace, host and version."""
    right = stream_header(to=site.domain)
    latin = "<?xml version='1.0' encoding='ISO-8859-1'?>"
    faults: dict[str, tuple[str, ...]] = {
        right.replace(STREAMS, WRONG_STREAMS): ("invalid-namespace",),
        right.replace(site.domain, "unknown.invalid"): ("host-unknown",),
        right.replace(' version="1.0"', ""): ("unsupported-version",),
        right.replace('version="1.0" xml', 'version="0.9" xml'): ("unsupported-version",),
        stream_header(to=site.domain, declaration=latin): ("unsupported-encoding",),
    }
    for sent, conditions in faults.items():
        client = site.connect()
        client.send(sent)
        client.expect_stream_error(*conditions, with_header=True)


@check("1-33.1", "1-34.2")
def another_encoding_has_its_condition(site: Site) -> None:
    """RFC 6120 4.9.3.22, 11.6: UTF-16 in both orders of bytes, with the mark of its order and without, said or not."""
    for declaration in ("<?xml version='1.0' encoding='UTF-16'?>", "<?xml version='1.0'?>", ""):
        header = stream_header(to=site.domain, declaration=declaration)
        for encoding, mark in (("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE)):
            for first in (mark, b""):
                client = site.connect()
                site.note(f"{encoding}, {'with' if first else 'without'} U+FEFF")
                client.send(first + header.encode(encoding))
                client.expect_stream_error("unsupported-encoding", with_header=True)


@check("1-33.1", "1-34.2")
def a_stanza_too_large_has_its_condition(site: Site) -> None:
    """RFC 6120 4.9.3.14: a stanza above the size limit gives <policy-violation/>."""
    site.change(max_stanza_bytes=10_000)
    client = site.login()
    client.message(site.account(1).jid, "x" * 20_000)
    client.expect_stream_error("policy-violation")


@check("1-33.1", "1-34.2")
def too_little_memory_has_its_condition(site: Site) -> None:
    """RFC 6120 4.9.3.17: unfinished stanzas of many streams together are too much: <resource-constraint/>."""
    site.change(unfinished_bytes=1 << 20)
    clients = [site.connect() for _ in range(130)]
    for client in clients:
        client.open()
        client.send("<message><body>" + "x" * 9_900)
    hit = [client for client in clients if client.connection.has_input]
    expect(bool(hit), "1.2 MB of unfinished stanzas were kept, where 1 MiB is allowed")
    hit[0].expect_stream_error("resource-constraint")


@check("1-33.1", "1-34.2")
def a_replaced_session_has_its_condition(site: Site) -> None:
    """RFC 6120 4.9.3.3, 7.7.2.2: if the newer session gets the resource, the older one ends with <conflict/>."""
    older = site.login(0, "balcony")
    newer = site.connect()
    newer.authenticated(site.account(0))
    answer = newer.bind_answer("balcony")
    if answer.get("type") == "error" or answer.find("bind", BIND) is None:
        site.note("the policy is that the older one stays")
        older.before_ping()
    elif bound_jid(answer) == older.jid:
        older.expect_stream_error("conflict")
    else:
        site.note("the policy is that the newer one gets another resource")
        older.before_ping()


@check("1-33.1", "1-34.2")
def an_idle_time_out_has_its_condition(site: Site) -> None:
    """RFC 6120 4.9.3.4: a client that is silent too long, and does not answer pings, gets <connection-timeout/>."""
    site.change(idle_timeout=0.5)
    client = site.login()
    while isinstance(event := client.next_solid(), Element) and event.is_("iq", CLIENT):
        pass
    if not isinstance(event, Element) or not event.is_("error", STREAMS):
        raise NotMet(f"expected the stream error connection-timeout, but {describe(event)}")
    expect(stream_condition(event) == "connection-timeout", f"the stream error is {stream_condition(event)}")
    client.expect_closing_tag()
    client.send(CLOSING_TAG)
    client.expect_end()


@check("1-33.1", "1-34.2")
def a_stopping_server_says_so(site: Site) -> None:
    """RFC 6120 4.9.3.22: every stream gets <system-shutdown/>."""
    client = site.login()
    site.begin_to_stop()
    client.expect_stream_error("system-shutdown")


@check("1-34.1")
def error_and_closing_tag_are_written_at_once(site: Site) -> None:
    """RFC 6120 4.9.1.1: <not-well-formed/> and </stream:stream> in one write, within a second."""
    client = site.login()
    client.send("<message><body></message>")
    error = client.expect_stream_error("not-well-formed")
    expect(error.pieces == 1, f"the error and the closing tag came in {error.pieces} pieces")
    expect(error.seconds < 1, f"the error came after {error.seconds:.1f} s")


def with_a_stream_error(site: Site) -> Iterator[tuple[str, Client]]:
    """Clients who made a fault at one stage after the other, and got the error and the closing tag."""
    client = site.connect()
    client.send_header(to="unknown.invalid")
    client.expect_error_and_closing_tag("host-unknown", with_header=True)
    yield "in a header", client
    client = site.connect()
    client.secure()
    client.send("<message></presence>")
    client.expect_error_and_closing_tag("not-well-formed")
    yield "before SASL", client
    for what, behind in (("in a stanza", ""), ("with 20 kB behind it", "<message/>" * 2000)):
        client = site.login()
        client.send(f"<message></presence>{behind}")
        client.expect_error_and_closing_tag("not-well-formed")
        yield what, client


@check("1-35.1")
def after_an_error_tls_and_tcp_end_in_order(site: Site) -> None:
    """RFC 6120 4.9.1.1, 4.4: our closing tag is waited for, then come close_notify and FIN, no RST; at each stage."""
    for what, client in with_a_stream_error(site):
        site.note(f"a fault {what}")
        client.expect_to_be_waited_for(ANSWER_S)
        client.send(CLOSING_TAG)
        client.expect_end(in_order=True)


@check("1-35.2")
def after_an_error_an_unanswered_connection_ends(site: Site) -> None:
    """RFC 6120 4.4: our closing tag does not come, and the server ends TCP when the configured time has passed."""
    site.change(close_timeout=CLOSE_S)
    for what, client in with_a_stream_error(site):
        site.note(f"a fault {what}")
        began = time.monotonic()
        client.expect_to_be_waited_for(0.8 * CLOSE_S)  # clocks of servers are coarse
        client.patience_s = 0.2 * CLOSE_S + LATE_S
        client.expect_end()
        site.note(
            f"the server has ended TCP after {time.monotonic() - began:.1f} s; configured is {CLOSE_S} s"
        )


@check("1-35.3")
def an_error_of_the_client_ends_the_stream(site: Site) -> None:
    """RFC 6120 4.9.1.1: the server answers a stream error with its closing tag; connection and session are over.

    Our closing tag comes behind its own, so that it is the error that is answered.
    """
    client, romeo = site.login(), site.login(1)
    client.send(f"<stream:error><undefined-condition xmlns='{STREAM_ERRORS}'/></stream:error>")
    client.expect_closing_tag()
    client.send(CLOSING_TAG)
    client.expect_end()
    answer = romeo.iq("get", f"<ping xmlns='{PING}'/>", to=client.jid)
    expect(answer.get("type") == "error", f"the session is still there: {describe(answer)}")


@check("1-36.1")
def a_faulty_header_is_answered_in_one_segment(site: Site) -> None:
    """RFC 6120 4.9.1.2: complete header, error and closing tag together."""
    right = stream_header(to=site.domain)
    faults = {
        "wrong streams namespace": (right.replace(STREAMS, WRONG_STREAMS), "invalid-namespace"),
        "unknown host": (right.replace(site.domain, "unknown.invalid"), "host-unknown"),
        "wrong content namespace": (right.replace(CLIENT, SERVER), "invalid-namespace"),
        "no version": (right.replace(' version="1.0"', ""), "unsupported-version"),
        "bad XML": (right.replace("<stream:stream", "<stream:stream <"), "not-well-formed"),
    }
    for fault, (sent, condition) in faults.items():
        client = site.connect()
        client.send(sent)
        error = client.expect_stream_error(condition, with_header=True)
        segments = client.connection.data_segments
        header = error.header
        assert header is not None
        expect(bool(header.get("id")), f"{fault}: the response header has no id")
        expect(header.get("version") == "1.0", f"{fault}: the response header has no version='1.0'")
        expect(header.get("from") in site.subject.domains, f"{fault}: the response header is {header}")
        expect(error.pieces == 1, f"{fault}: the answer came in {error.pieces} pieces")
        expect(segments in (None, 1), f"{fault}: the answer came in {segments} segments")


@check("1-36.2")
def what_is_no_stream_gets_a_stream_error(site: Site) -> None:
    """RFC 6120 4.9.1.2: random bytes, HTTP and a TLS ClientHello on the plain port."""
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(range(1, 190))
    for what, sent in (
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a ClientHello", hello),
        ("random bytes", b"\x8f\xd3\x01\x00\xff\x17\xa0>"),
    ):
        client = site.connect()
        site.note(what)
        client.send(sent)
        client.expect_stream_error("not-well-formed", "bad-format", with_header=True)
