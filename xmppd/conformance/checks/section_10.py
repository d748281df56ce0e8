"""2.15 Conformance (row 10-1): the features of RFC 6120 section 15 and RFC 6121 section 12, each shown once.

The rows that a part stands for count as well: it is met if its conversation goes well and these rows are met.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Final

from xmppd.conformance import clienthello
from xmppd.conformance.check import check, expect
from xmppd.conformance.checks.section_02 import hello
from xmppd.conformance.checks.section_03 import WRONG, expect_failure, expect_success, secured
from xmppd.conformance.checks.section_05 import DISCO, ERROR, NOBODY, UNKNOWN, answer_to, expect_error
from xmppd.conformance.checks.section_06 import VERSIONING
from xmppd.conformance.client import mechanisms
from xmppd.conformance.names import BIND, CLIENT, SASL, TLS
from xmppd.conformance.people import contents, expect_result, reach, settle, state_of, strangers
from xmppd.conformance.site import Site
from xmppd.conformance.verdict import NotApplicable, NotMet
from xmppd.conformance.xmlstream import Header, parse

# keys that go by RSA have no forward secrecy; the first is TLS_RSA_WITH_AES_128_CBC_SHA
BY_RSA: Final = (0x002F, 0x0035, 0x003C, 0x003D, 0x009C, 0x009D)
ECDHE_CBC: Final = (0xC009, 0xC00A, 0xC013, 0xC014, 0xC023, 0xC027)


@check("10-1.bind", rows=("4",))
def resource_binding(site: Site) -> None:
    """RFC 6120 15, bind-*: mandatory, on demand with a random resource, and without a restart behind it."""
    site.note("bind-mtn: without a resource nothing is routed")
    client = site.connect()
    client.authenticated(site.account())
    client.send(f"<message to='{site.account().jid}'/>")
    client.expect_stream_error("not-authorized")

    site.note("bind-gen: the server makes a resource")
    one, two = site.login(), site.login()
    expect(one.jid != two.jid, f"both sessions are {one.jid}")

    site.note("bind-support: the client names one")
    client = site.login(0, "desk")
    expect(client.jid == f"{site.account().jid}/desk", f"the session is {client.jid}")

    site.note("bind-restart: stanzas follow on the same stream, without header or features")
    before = len(client.seen)
    client.expect_nothing()
    expect(len(client.seen) == before + 1, f"more than one answer came: {client.seen[before:]}")


@check("10-1.sasl", rows=("3-11", "3-13", "3-17", "3-19", "3-22", "3-23"))
def sasl_negotiation(site: Site) -> None:
    """RFC 6120 15, sasl-*: mandatory, with errors, a restart, and the identity correlated with 'from'."""
    account = site.account()
    site.note("sasl-mtn: without it nothing is processed")
    client = secured(site)
    client.send(f"<message to='{account.jid}'/>")
    client.expect_stream_error("not-authorized")

    site.note("sasl-errors: a wrong password, and an unknown mechanism")
    client = site.connect()
    client.secure(from_=account.jid)
    expect_failure(client.plain(account, WRONG), "not-authorized")
    expect_failure(client.auth("UNKNOWN", None), "invalid-mechanism")

    site.note("sasl-support, sasl-restart: success, and a new stream with another id")
    old = client.stream_id
    client.authenticate(account)
    features = client.open(from_=account.jid)
    expect(client.stream_id != old, "the new stream has the id of the old one")
    expect(not mechanisms(features), f"SASL is offered again: {features}")

    site.note("sasl-correlate: the session is that of who authenticated, as 'from' says")
    expect_complete(client.header, account.jid, site.domain)
    expect(client.bind().startswith(f"{account.jid}/"), f"the session is {client.jid}")


@check("10-1.security-mti-auth-scram")
def scram_is_implemented(site: Site) -> None:
    """RFC 6120 15, 13.8.2; RFC 7677: SCRAM-SHA-1, SCRAM-SHA-256, and both with channel binding."""
    account = site.account()
    offered = mechanisms(site.connect().secure())
    site.note(f"offered: {', '.join(offered)}")
    for mechanism in ("SCRAM-SHA-1", "SCRAM-SHA-256"):
        for name in (mechanism, f"{mechanism}-PLUS"):
            required = mechanism == "SCRAM-SHA-1"  # RFC 7677 recommends the other
            expect(name in offered or not required, f"{name} is not offered")
            if name not in offered:
                site.note(f"{name}, which RFC 7677 recommends, is not offered")
                continue
            site.note(f"{name}: both sides show that they know the password; a wrong one is refused")
            client = secured(site)
            expect_failure(client.scram(replace(account, password=WRONG), name), "not-authorized")
            expect_success(client.scram(account, name))
            client.open()
            client.bind()


@check("10-1.security-mti-both")
def tls_and_sasl_together(site: Site) -> None:
    """RFC 6120 15, security-mti-both-plain and -scram: each logs in over TLS 1.2 and TLS 1.3."""
    account = site.account()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for mechanism in ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"):
            site.note(f"{mechanism} over {version.name}")
            client = site.connect()
            client.open()
            context = client.context()
            context.minimum_version = context.maximum_version = version
            client.start_tls(context)
            offered = mechanisms(client.open())
            expect(mechanism in offered, f"{mechanism} is not offered over {version.name}")
            answer = client.plain(account) if mechanism == "PLAIN" else client.scram(account, mechanism)
            expect_success(answer)
            client.open()
            client.bind()


@check("10-1.security-mti-confidentiality")
def suites_with_forward_secrecy_take_the_place_of_others(site: Site) -> None:
    """RFC 7590 3.4, RFC 9325 4.2: ECDHE with AES-GCM is chosen; TLS_RSA_WITH_AES_128_CBC_SHA and its like are off."""
    chosen = hello(site, clienthello.TLS12, [*BY_RSA, *ECDHE_CBC, *clienthello.APPROVED])
    if chosen is None:
        raise NotMet("TLS 1.2 is refused")
    name = clienthello.APPROVED.get(chosen.suite)
    expect(name is not None, f"of all suites the server chooses {chosen.suite:04x}")
    site.note(f"chosen of all: {name}")
    for suite in BY_RSA:
        expect(hello(site, clienthello.TLS12, [suite]) is None, f"the suite {suite:04x} is accepted alone")


@check("10-1.stanza", rows=("5-[1-9]", "5-10", "5-11"))
def stanzas(site: Site) -> None:
    """RFC 6120 15, stanza-*: three kinds, their attributes, their errors, and extensions that nobody knows."""
    juliet, romeo = site.login(0), site.login(1)
    romeo.available()

    site.note("stanza-kind-*, stanza-attribute-*, stanza-extension: all arrives, and 'from' is stamped")
    extension = "<x xmlns='urn:example:nobody-knows-this' a='1'><y>z</y></x>"
    for name, kind in (("message", "chat"), ("presence", "unavailable"), ("iq", "result")):
        attributes = f"id='s1' type='{kind}' xml:lang='fr' to='{romeo.jid}'"
        juliet.send(f"<{name} from='somebody@else.example' {attributes}>{extension}</{name}>")
        got = romeo.wait_for(name)
        wanted = parse(f"<{name} xmlns='{CLIENT}' from='{juliet.jid}' {attributes}>{extension}</{name}>")
        expect(str(got) == str(wanted), f"expected {wanted}, but it came as {got}")

    site.note("stanza-iq-reply, stanza-iq-id: an answer with the same id; an unknown extension gets an error")
    expect(juliet.iq("get", DISCO, to=site.domain).get("type") == "result", "disco#info has no result")
    expect_error(juliet.iq("get", UNKNOWN, to=site.domain), "service-unavailable")

    site.note("stanza-iq-type, stanza-iq-child: wrong ones are bad requests")
    for broken in (
        f"<iq type='foo' id='b1'>{UNKNOWN}</iq>",
        "<iq type='get' id='b1'/>",
        f"<iq id='b1'>{UNKNOWN}</iq>",
    ):
        juliet.send(broken)
        expect_error(answer_to(juliet, "b1"), "bad-request")

    site.note("stanza-error, stanza-error-child, stanza-error-id: a message to nobody comes back")
    expect_error(answer_to(juliet, juliet.message(f"{NOBODY}@{site.domain}", "x")), "service-unavailable")

    site.note("stanza-error-reply: an error is never answered")
    for name in ("message", "presence", "iq"):
        juliet.send(f"<{name} type='error' id='e1' to='{NOBODY}@{site.domain}'>{ERROR}</{name}>")
    juliet.expect_nothing()


@check("10-1.stream", rows=("1",))
def streams(site: Site) -> None:
    """RFC 6120 15, stream-*: headers, negotiation, errors, all on one TCP connection."""
    account = site.account()
    site.note("stream-attribute-initial-*, stream-attribute-response-*: from, to, id, language")
    client = site.connect()
    client.open(from_=account.jid, lang="de")
    expect_complete(client.header, account.jid, site.domain)
    ids = [client.stream_id]

    site.note("stream-negotiation-features, stream-negotiation-restart: new features behind each new header")
    client.start_tls()
    client.open(from_=account.jid, lang="de")
    expect_complete(client.header, account.jid, site.domain)
    ids.append(client.stream_id)
    client.authenticate(account)
    features = client.open(from_=account.jid, lang="de")
    expect_complete(client.header, account.jid, site.domain)
    ids.append(client.stream_id)

    site.note("stream-attribute-response-id-unique")
    expect(len(set(ids)) == 3, f"the ids of the three streams are {', '.join(ids)}")

    site.note("stream-negotiation-complete: no feature but voluntary ones is left beside <bind/>")
    for feature in features.elements:
        expect(
            feature.find("required") is None or feature.namespace == BIND, f"a mandatory feature: {feature}"
        )
    client.bind()

    site.note("stream-tcp-binding: the connection on which it began still carries it")
    client.before_ping()

    site.note("stream-error-generate: the error, the closing tag, and the end of TCP")
    client.send("<stream:unknown/>")
    client.expect_stream_error("unsupported-stanza-type", "invalid-namespace", "bad-format")


def expect_complete(header: Header | None, jid: str, domain: str) -> None:
    """The response header has all its attributes."""
    assert header is not None
    for name, value in (("from", domain), ("to", jid), ("version", "1.0")):
        expect(header.get(name) == value, f"{name} of the response header is {header.get(name)!r}")
    for name in ("id", "xml:lang"):
        expect(bool(header.get(name)), f"no {name} in {header}")


@check("10-1.tls", rows=("2", "3-14"))
def tls_negotiation(site: Site) -> None:
    """RFC 6120 15, tls-*: mandatory, with a certificate of the domain, and a restart behind it."""
    site.note("tls-mtn: STARTTLS alone, and required; a stanza without it ends the stream")
    client = site.connect()
    features = client.open()
    starttls = features.find("starttls", TLS)
    expect(starttls is not None and len(features.elements) == 1, f"the first features are {features}")
    expect(starttls is not None and starttls.find("required") is not None, f"not required: {features}")
    client.send(f"<message to='{site.account().jid}'/>")
    client.expect_stream_error("not-authorized", "policy-violation")

    site.note("tls-support, tls-certs: the certificate is one of the domain")
    client = site.connect()
    client.open()
    old = client.stream_id
    client.start_tls()

    site.note("tls-restart: a new stream, with another id, in which STARTTLS is offered no more")
    features = client.open()
    expect(client.stream_id != old, "the new stream has the id of the old one")
    expect(features.find("starttls", TLS) is None, f"STARTTLS is offered again: {features}")

    site.note("tls-correlate: a client without a certificate is asked for its identity by SASL")
    expect(features.find("mechanisms", SASL) is not None, f"no mechanisms in {features}")


@check("10-1.xml", rows=("1-29", "1-30", "1-31", "1-32", "12"))
def xml(site: Site) -> None:
    """RFC 6120 15, xml-*: namespaces of streams and content, restricted XML, well-formedness."""
    site.note("xml-namespace-*: the response declares jabber:client and prefixes what is of the stream")
    client = site.connect()
    client.send_header()
    declared = client.expect_header().declared
    expect(declared.get("") == CLIENT, f"declared are {dict(declared)}")
    client.expect_features()
    for what, sent, conditions in (
        ("xml-restriction-comment", "<!-- -->", ("restricted-xml", "bad-format")),
        ("xml-restriction-pi", "<?target data?>", ("restricted-xml", "bad-format")),
        ("xml-restriction-dtd", "<!DOCTYPE message>", ("restricted-xml", "bad-format")),
        ("xml-restriction-ref", "<message>&unknown;</message>", ("restricted-xml", "bad-format")),
        ("xml-wellformed-xml", "<message></presence>", ("not-well-formed",)),
        ("xml-wellformed-ns", "<message><p:x/></message>", ("not-well-formed",)),
    ):
        site.note(f"{what}: {sent} ends the stream")
        client = site.login()
        client.send(sent)
        client.expect_stream_error(*conditions)
    site.note("xml-restriction-ref: the five predefined entities are accepted")
    client = site.login()
    client.iq("get", "<x xmlns='urn:x'>&lt;&gt;&amp;&apos;&quot;</x>", to=site.domain)
    site.note("xml-namespace-*: other namespaces of the content, and of the stream, are refused")
    for wrong in ({"content": "urn:unknown"}, {"streams": "urn:unknown"}):
        client = site.connect()
        client.send_header(**wrong)
        client.expect_stream_error("invalid-namespace", with_header=True)


@check("10-1.roster", rows=("6",), area="im")
def rosters(site: Site) -> None:
    """RFC 6121 12, roster-get, roster-set, roster-push: asked for, changed, and told to who has asked."""
    [juliet] = strangers(site, 1)
    desk, phone = juliet.interested(), juliet.interested()
    expect(not desk.roster(), "the roster of a stranger is not empty")
    expect_result(desk.set_item(f"friend@{site.domain}", name="A friend"))
    for client in (desk, phone):
        client.push(f"friend@{site.domain}", name="A friend", subscription="none")
        expect(list(client.roster()) == [f"friend@{site.domain}"], "the item is not in the roster")


@check("10-1.roster-version", area="im")
def roster_versions(site: Site) -> None:
    """RFC 6121 2.6: an unchanged roster is an empty result, a changed one is told by pushes or whole."""
    [juliet] = strangers(site, 1)
    desk = juliet.connected()
    assert desk.features is not None
    if desk.features.find("ver", VERSIONING) is None:
        raise NotApplicable("roster versioning is not advertised")
    expect_result(desk.set_item(f"one@{site.domain}"))
    version = desk.roster_query("").get("ver")
    expect(version is not None, "the roster has no version")

    site.note("unchanged: the result is empty")
    asks = f"<query xmlns='jabber:iq:roster' ver='{version}'/>"
    expect_result(juliet.connected().iq("get", asks))

    site.note("changed: the result has all, or is empty and pushes follow")
    expect_result(desk.set_item(f"two@{site.domain}", name="Two"))
    expect_result(desk.remove_item(f"one@{site.domain}"))
    later = juliet.connected()
    answer = later.iq("get", asks)
    query = answer.find("query", "jabber:iq:roster")
    if query is not None:
        found = [item.get("jid") for item in query.elements]
        expect(found == [f"two@{site.domain}"], f"the whole roster has {found}")
        expect(query.get("ver") not in (None, version), "the changed roster has the old version")
    else:
        later.push(f"two@{site.domain}", name="Two")
        later.push(f"one@{site.domain}", subscription="remove")


@check("10-1.presence-sub-preapproval", area="im")
def pre_approval(site: Site) -> None:
    """RFC 6121 3.4: 'subscribed' without a request marks the item, and a later request is answered."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    assert phone.features is not None
    if phone.features.find("sub", "urn:xmpp:features:pre-approval") is None:
        raise NotApplicable("pre-approval is not advertised")
    phone.presence("subscribed", juliet)
    item = phone.push(juliet, approved="true")
    expect(state_of(item) == ("none", None), f"the push has {item}")
    expect(phone.item(juliet).get("approved") == "true", f"the roster has {phone.item(juliet)}")
    settle(desk, phone)
    expect(
        not desk.heard("presence", type="subscribed"), "the approval was routed before there was a request"
    )
    phone.forget()
    desk.presence("subscribe", romeo)
    desk.presence_of(romeo.jid, "subscribed")
    desk.push(romeo, subscription="to")
    desk.presence_of(phone.jid)
    phone.push(juliet, subscription="from")
    settle(desk, phone)
    expect(not phone.heard("presence", type="subscribe"), "the contact was asked all the same")


@check("10-1.presence", rows=("7", "8"), area="im")
def presence(site: Site) -> None:
    """RFC 6121 12, presence-*: request, approval, presence, update, end, unsubscribing and cancellation."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    site.note("presence-sub-request, presence-sub-approval")
    reach("both", desk, phone)
    site.note("presence-notype, presence-probe: who comes is seen, and sees who is there")
    window = juliet.available()
    phone.presence_of(window.jid)
    window.presence_of(phone.jid)
    site.note("presence-unavailable")
    window.leave()
    phone.presence_of(window.jid, "unavailable")
    site.note("presence-sub-unsubscribe, presence-sub-cancel")
    desk.presence("unsubscribe", romeo)
    phone.presence_of(juliet.jid, "unsubscribe")
    phone.push(juliet, subscription="to")
    desk.presence("unsubscribed", romeo)
    phone.presence_of(juliet.jid, "unsubscribed")
    phone.push(juliet, subscription="none")


@check("10-1.message", rows=("5-19", "5-20", "5-21", "9"), area="im")
def messages(site: Site) -> None:
    """RFC 6121 12, message-*: body, subject, thread and type pass unchanged; each type to whom it is for."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    inside = (
        "<subject>I implore you!</subject><subject xml:lang='cs'>\u00dap\u011bnliv\u011b pros\u00edm!</subject>"
        "<body>Wherefore art thou?</body><thread parent='a'>b</thread>"
    )
    for kind in ("chat", "normal", "headline"):
        site.note(f"message-body, message-subject, message-thread, message-type-support: {kind}")
        for to in (romeo.jid, phone.jid):
            id_ = desk.new_id()
            desk.send(f"<message type='{kind}' id='{id_}' to='{to}'>{inside}</message>")
            came = phone.comes("message", id=id_)
            expect((came.get("type") or "normal") == kind, f"sent with type={kind!r}, it came as {came}")
            wanted = parse(f"<message xmlns='{CLIENT}'>{inside}</message>")
            expect(contents(came) == contents(wanted), f"sent was {inside}, but {came}")
