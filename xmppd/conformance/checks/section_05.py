"""2.10 XML stanzas (rows 5-1 to 5-21): the client's half; what rosters and storage have to do with it as well."""

from __future__ import annotations

from typing import Final

from xmppd.conformance.check import check, expect
from xmppd.conformance.client import Client, describe, stanza_condition
from xmppd.conformance.names import CLIENT, ERROR_TYPES, PING, SASL, STANZA_ERRORS, STREAM_ERRORS, STREAMS
from xmppd.conformance.people import item_xml, reach, roster_set, settle, strangers
from xmppd.conformance.site import Site
from xmppd.conformance.verdict import NotMet
from xmppd.conformance.xmlstream import Element, parse

DISCO: Final = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
UNKNOWN: Final = "<query xmlns='urn:example:nobody-knows-this'/>"
NOBODY: Final = "nobody-of-that-name"
ERROR: Final = f"<error type='cancel'><service-unavailable xmlns='{STANZA_ERRORS}'/></error>"


def answer_to(client: Client, id_: str) -> Element:
    """The stanza that answers the one with this id."""
    while True:
        event = client.next_solid()
        if not isinstance(event, Element) or event.is_("error", STREAMS):
            raise NotMet(f"waited for an answer, but {describe(event)}")
        if event.get("id") == id_:
            return event


def expect_error(stanza: Element, *conditions: str, kind: str | None = None) -> None:
    """An error stanza with one of these conditions, and of this type if one is given."""
    found = stanza_condition(stanza)
    expect(found in conditions, f"expected the error {' or '.join(conditions)}, but it is {found}")
    error = stanza.find("error")
    assert error is not None
    expect(error.get("type") in ERROR_TYPES, f"the error has the type {error.get('type')!r}")
    expect(
        kind is None or error.get("type") == kind,
        f"the error has the type {error.get('type')!r}, not {kind!r}",
    )


# ---- 5-1 to 5-4: addresses -----------------------------------------------------------------------------------


@check("5-1.1")
def stanzas_arrive_as_they_were_sent(site: Site) -> None:
    """RFC 6120 8: attributes, text and extensions of a message, a presence and an IQ stay."""
    juliet, romeo = site.login(0), site.login(1)
    romeo.available()
    inside = (
        "<body xml:lang='de'>Gr\u00fc\u00dfe &amp; &lt;K\u00fcsse&gt;</body>"
        "<x:deep xmlns:x='urn:example:x' x:a='1' b='2'><inner xmlns='urn:example:y'>text</inner></x:deep>"
    )
    for name, attributes in (
        ("message", "type='chat' id='m1' xml:lang='fr'"),
        ("presence", "id='p1' xml:lang='fr'"),
        ("iq", "type='result' id='i1' xml:lang='fr'"),
    ):
        content = inside.partition("</body>")[2] if name == "iq" else inside
        for to in (romeo.jid, site.account(1).jid) if name == "message" else (romeo.jid,):
            sent = f"<{name} to='{to}' {attributes}>{content}</{name}>"
            juliet.send(sent)
            got = romeo.wait_for(name)
            wanted = parse(sent.replace(f"<{name}", f"<{name} xmlns='{CLIENT}' from='{juliet.jid}'", 1))
            expect_kept(wanted, got)
    for kind in ("get", "set"):
        id_ = juliet.new_id()
        juliet.send(f"<iq type='{kind}' id='{id_}' to='{romeo.jid}'>{UNKNOWN}</iq>")
        got = romeo.wait_for("iq", type=kind, id=id_)
        expect(len(got.elements) == 1, f"a request arrived as {got}")
        romeo.send(f"<iq type='result' id='{id_}' to='{got.get('from')}'>{UNKNOWN}</iq>")
        answer = juliet.wait_for("iq", type="result", id=id_)
        expect(answer.get("from") == romeo.jid, f"the answer of {romeo.jid} is from {answer.get('from')!r}")


def expect_kept(sent: Element, got: Element) -> None:
    """All that was sent arrived unchanged. A server may put elements of its own beside it, in any order."""
    attributes = {name: got.get(name) for name in sent.attributes}
    expect(attributes == dict(sent.attributes), f"sent was {sent}, but it came as {got}")
    arrived = [str(child) for child in got.children]
    for child in sent.children:
        expect(str(child) in arrived, f"sent was {child}, but it came as {got}")


@check("5-2.a")
def to_stays_as_it_was_written(site: Site) -> None:
    """RFC 6120 8.1.1.1: messages to the bare and to the full JID, presence and an IQ to the full JID."""
    juliet, romeo = site.login(0), site.login(1)
    romeo.available()
    for name, to in (
        ("message", romeo.jid),
        ("message", site.account(1).jid),
        ("presence", romeo.jid),
        ("iq", romeo.jid),
    ):
        id_ = juliet.new_id()
        kind = {"message": "chat", "presence": "unavailable", "iq": "result"}[name]
        juliet.send(f"<{name} to='{to}' type='{kind}' id='{id_}'/>")
        got = romeo.wait_for(name, id=id_)
        expect(got.get("to") == to, f"sent to {to}, it came to {got.get('to')!r}")


@check("5-2.b")
def a_stanza_without_to_is_for_the_account(site: Site) -> None:
    """RFC 6120 10.3: an IQ is answered as by the bare JID; a message goes to the own account."""
    client = site.login()
    client.available()
    answer = client.iq("get", UNKNOWN)
    expect(answer.get("from") in (None, site.account().jid), f"the answer is from {answer.get('from')!r}")
    expect_error(answer, "service-unavailable", "feature-not-implemented")
    client.send("<message type='chat' id='self'><body>to myself</body></message>")
    client.wait_for("message", id="self", from_=client.jid)


@check("5-2.b", area="im")
def presence_without_to_is_for_subscribers(site: Site) -> None:
    """RFC 6120 10.3.2: it is broadcast to who is subscribed; an IQ for the account is its server's to answer."""
    juliet, romeo, nurse = strangers(site, 3)
    desk, phone, stranger = juliet.available(), romeo.available(), nurse.available()
    reach("from", desk, phone)
    settle(desk, phone, stranger)
    id_ = desk.presence(inside="<status>for all</status>")
    phone.comes("presence", from_=desk.jid, id=id_)
    settle(desk, phone, stranger)
    expect(not stranger.heard("presence", id=id_), "somebody who is not subscribed got it")
    answer = desk.iq("get", UNKNOWN)
    expect(answer.get("from") in (None, juliet.jid), f"the answer is from {answer.get('from')!r}")


@check("5-2.x1")
def a_malformed_to_is_told(site: Site) -> None:
    """RFC 6120 8.3.3.8: <jid-malformed/>, but never for errors."""
    client = site.login()
    for wrong in ("@nobody", "a b@c d@e", f"{'x' * 1024}@{site.domain}", f"juliet@{site.domain}/"):
        for name, kind in (("message", "chat"), ("iq", "get"), ("presence", "unavailable")):
            id_ = client.new_id()
            client.send(f"<{name} type='{kind}' id='{id_}' to='{wrong}'><x xmlns='urn:example:x'/></{name}>")
            expect_error(answer_to(client, id_), "jid-malformed")
        client.before_ping()
        client.send(f"<message type='error' to='{wrong}'>{ERROR}</message>")
        client.expect_nothing()


@check("5-4.a", area="im")
@check("5-4.a")
def from_is_that_of_the_session(site: Site) -> None:
    """RFC 6120 8.1.2.1: the full JID, and for subscriptions the bare JID, whatever the client says."""
    romeo = site.login(1)
    romeo.available()
    for claimed in (
        "",
        f" from='{site.account().jid}'",
        f" from='{romeo.jid}'",
        " from='somebody@else.example'",
    ):
        juliet = site.login(0)
        juliet.send(f"<message{claimed} to='{romeo.jid}' type='chat' id='m'><body>x</body></message>")
        got = romeo.wait_for("message")
        expect(
            got.get("from") == juliet.jid,
            f"sent with {claimed.strip() or 'no from'}, it came from {got.get('from')}",
        )
    juliet.send(f"<presence type='subscribe' to='{site.account(1).jid}'/>")
    got = romeo.wait_for("presence", type="subscribe")
    expect(got.get("from") == site.account(0).jid, f"a subscription came from {got.get('from')}")
    juliet.send(f"<presence type='unsubscribe' to='{site.account(1).jid}'/>")  # it can be asked again
    juliet.before_ping()


@check("5-4.b")
def answers_of_the_server_are_from_its_domain(site: Site) -> None:
    """RFC 6120 8.1.2.1: as named in 'to' of the stream header."""
    client = site.login()
    answer = client.iq("get", DISCO, to=site.domain)
    expect(answer.get("from") == site.domain, f"the answer is from {answer.get('from')!r}")


@check("5-4.c")
def answers_for_the_account_are_from_the_bare_jid(site: Site) -> None:
    """RFC 6120 8.1.2.1: 'from' is absent or the account's bare JID; a roster, and its push."""
    client, account = site.login(), site.account()
    answer = client.iq("get", "<query xmlns='jabber:iq:roster'/>")
    expect(answer.get("from") in (None, account.jid), f"the roster is from {answer.get('from')!r}")
    item = f"<item jid='friend@{site.domain}' name='A friend'/>"
    client.iq("set", f"<query xmlns='jabber:iq:roster'>{item}</query>")
    client.before_ping()
    pushes = [each for each in client.seen if each.name == "iq" and each.get("type") == "set"]
    expect(bool(pushes), "no roster push came")
    for push in pushes:
        expect(push.get("from") in (None, account.jid), f"a roster push is from {push.get('from')!r}")
    client.iq(
        "set",
        f"<query xmlns='jabber:iq:roster'><item jid='friend@{site.domain}' subscription='remove'/></query>",
    )


@check("5-4.c", area="im")
def what_belongs_to_the_account_is_from_it(site: Site) -> None:
    """RFC 6120 8.1.2.1: rosters, pushes, vCards and private data, or their refusal: no 'from', or the bare JID."""
    [juliet] = strangers(site, 1)
    desk = juliet.interested()
    for kind, content in (
        ("get", "<query xmlns='jabber:iq:roster'/>"),
        ("set", roster_set(item_xml(f"friend@{site.domain}"))),
        ("get", "<vCard xmlns='vcard-temp'/>"),
        ("get", "<query xmlns='jabber:iq:private'><x xmlns='urn:example:private'/></query>"),
    ):
        answer = desk.iq(kind, content)
        expect(answer.get("from") in (None, juliet.jid), f"{content} is answered from {answer.get('from')!r}")
    desk.push(f"friend@{site.domain}")
    for each in desk.pushes():
        expect(each.get("from") in (None, juliet.jid), f"a roster push is from {each.get('from')!r}")


@check("5-4.d", "5-4.e")
def relayed_stanzas_have_a_from(site: Site) -> None:
    """RFC 6120 8.1.2.1: only what the server made for the account may lack it."""
    juliet, romeo = site.login(0), site.login(1)
    romeo.available()
    juliet.send(f"<presence to='{romeo.jid}'/>")
    juliet.send(f"<iq type='result' id='r' to='{romeo.jid}'/>")
    juliet.message(romeo.jid, "x")
    for each in romeo.before_message(juliet):
        expect(each.get("from") is not None, f"relayed without from: {each}")
    for each in romeo.seen:
        if each.name in ("message", "presence"):
            expect(each.get("from") is not None, f"without from: {each}")
        elif each.get("from") is None and each.name == "iq":
            expect(each.get("type") != "get" or each.find("ping", PING) is not None, f"without from: {each}")


# ---- 5-6 to 5-8: id and language -----------------------------------------------------------------------------


@check("5-6.1")
def requests_of_the_server_have_an_id(site: Site) -> None:
    """RFC 6120 8.1.3: not empty, and unique on the stream: three roster pushes."""
    client = site.login()
    client.iq("get", "<query xmlns='jabber:iq:roster'/>")
    ids = []
    for change in ("name='one'", "name='two'", "subscription='remove'"):
        client.iq(
            "set", f"<query xmlns='jabber:iq:roster'><item jid='other@{site.domain}' {change}/></query>"
        )
        client.before_ping()
    ids = [each.get("id") for each in client.seen if each.name == "iq" and each.get("type") in ("get", "set")]
    expect(len(ids) >= 3, f"{len(ids)} requests of the server came, not three roster pushes")
    expect(all(ids), "a request of the server has no id")
    expect(len(set(ids)) == len(ids), f"ids came twice: {ids}")


@check("5-6.2", "5-10.a")
def an_iq_without_id_is_a_bad_request(site: Site) -> None:
    """RFC 6120 8.1.3, 8.2.3: to the server, to an account and to another client; it is not routed."""
    juliet, romeo = site.login(0), site.login(1)
    romeo.available()
    for to in ("", f" to='{site.domain}'", f" to='{site.account(1).jid}'", f" to='{romeo.jid}'"):
        juliet.send(f"<iq type='get'{to}>{UNKNOWN}</iq>")
        answer = juliet.wait_for("iq", type="error")
        expect_error(answer, "bad-request")
        expect(not answer.get("id"), f"the server made an id up: {answer}")
    expect(not romeo.before_message(juliet), "an IQ without id was routed")


@check("5-7.1")
def answers_keep_the_id(site: Site) -> None:
    """RFC 6120 8.1.3: byte for byte, with spaces, quotes and other scripts."""
    client = site.login()
    for id_ in ("a", " two  words ", "&apos;&quot;&lt;&amp;", "\u0416\u00e9\u6f22\U0001f600", "x" * 500):
        plain = id_.replace("&apos;", "'").replace("&quot;", '"').replace("&lt;", "<").replace("&amp;", "&")
        for to in (f" to='{site.domain}'", "", f" to='{NOBODY}@{site.domain}'"):
            client.send(f"<iq type='get' id='{id_}'{to}>{DISCO}</iq>")
            got = client.wait_for("iq")
            expect(got.get("id") == plain, f"the answer to id {plain!r} has {got.get('id')!r}")


@check("5-7.2")
def errors_keep_the_id(site: Site) -> None:
    """RFC 6120 8.1.3: a message and a presence that cause an error."""
    client = site.login()
    client.send(f"<message type='chat' id='m 1' to='{NOBODY}@{site.domain}'><body>x</body></message>")
    expect_error(client.wait_for("message", id="m 1"), "service-unavailable")
    client.send("<presence id='p 1' type='subscribe' to='@'/>")
    stanza_condition(client.wait_for("presence", id="p 1"))


@check("5-8.1")
def the_language_of_the_stream_is_that_of_its_stanzas(site: Site) -> None:
    """RFC 6120 8.1.5: a stanza without xml:lang from a German stream reaches others as German."""
    romeo = site.login(1)
    juliet = site.connect().login(site.account(0), lang="de")
    id_ = juliet.message(romeo.jid, "Hallo")
    got = romeo.wait_for("message", id=id_)
    body = got.find("body")
    languages = (got.get("xml:lang"), body.get("xml:lang") if body is not None else None)
    expect("de" in languages, f"the message has the language {languages[0]!r}")


@check("5-8.2")
def texts_of_the_server_name_their_language(site: Site) -> None:
    """RFC 6120 4.9.2, 6.5, 8.3.2: a <text/> in an error of a stanza, of SASL or of a stream has xml:lang."""
    failed = site.connect()
    failed.secure(lang="de")
    failed.auth("UNKNOWN", None)
    failed.auth("PLAIN", "!!!!")
    failed.send("<message></presence>")
    failed.expect_error_and_closing_tag()
    client = site.connect().login(site.account(0), lang="de")
    client.send(f"<iq type='get' id='bad' to='{site.domain}'/>")
    client.send("<iq type='foo' id='bad2'><x xmlns='urn:x'/></iq>")
    client.message(f"{NOBODY}@{site.domain}", "x")
    client.before_ping()
    for each in (*failed.seen, *client.seen):
        for inside in each.everything():
            if inside.name == "text" and inside.namespace in (STANZA_ERRORS, SASL, STREAM_ERRORS):
                expect(bool(inside.get("xml:lang")), f"a text without language: {each}")


# ---- 5-10: IQ ------------------------------------------------------------------------------------------------


@check("5-10.b", "5-10.c")
def an_iq_with_a_wrong_type_is_a_bad_request(site: Site) -> None:
    """RFC 6120 8.2.3: missing or unknown type: <bad-request/> of type modify; it is not delivered."""
    juliet, romeo = site.login(0), site.login(1)
    romeo.available()
    for kind in ("", " type='foo'", " type=''"):
        for to in ("", f" to='{site.domain}'", f" to='{site.account(1).jid}'", f" to='{romeo.jid}'"):
            id_ = juliet.new_id()
            juliet.send(f"<iq{kind} id='{id_}'{to}>{UNKNOWN}</iq>")
            expect_error(answer_to(juliet, id_), "bad-request", kind="modify")
    expect(not romeo.before_message(juliet), "an IQ with a wrong type was delivered")


@check("5-10.d", "5-11.1")
def every_request_has_exactly_one_answer(site: Site) -> None:
    """RFC 6120 8.2.3, 8.4: an unknown namespace gets <service-unavailable/>, once."""
    client = site.login()
    for to in (site.domain, site.account().jid, None):
        for kind in ("get", "set"):
            expect_error(client.iq(kind, UNKNOWN, to=to), "service-unavailable", kind="cancel")
            client.expect_nothing()


@check("5-10.e")
def results_and_errors_are_not_answered(site: Site) -> None:
    """RFC 6120 8.2.3: neither at the server, nor at the account, nor elsewhere."""
    client = site.login()
    for to in (
        "",
        f" to='{site.domain}'",
        f" to='{site.account().jid}'",
        f" to='{site.account(1).jid}/gone'",
    ):
        client.send(f"<iq type='result' id='unasked'{to}/>")
        client.send(f"<iq type='error' id='unasked'{to}>{ERROR}</iq>")
        client.expect_nothing()


@check("5-10.f")
def a_request_has_exactly_one_child(site: Site) -> None:
    """RFC 6120 8.2.3: none or two are a <bad-request/>, also for another client, which does not get them."""
    client, romeo = site.login(), site.login(1)
    romeo.available()
    for kind in ("get", "set"):
        for content in ("", UNKNOWN + UNKNOWN, DISCO + UNKNOWN):
            for to in (site.domain, None, site.account(1).jid, romeo.jid):
                expect_error(client.iq(kind, content, to=to), "bad-request")
    expect(not romeo.before_message(client), "an IQ with none or two was routed")


@check("5-10.g", "5-10.h", "5-11.2", "5-11.3", "5-11.5")
def results_and_errors_are_made_right(site: Site) -> None:
    """RFC 6120 8.2.3, 8.3: what the server answers to good and to bad stanzas, inspected."""
    client = site.login()
    requests = [
        *((DISCO, to) for to in (site.domain, site.account().jid, f"{NOBODY}@{site.domain}")),
        *((UNKNOWN, to) for to in (site.domain, site.account().jid, f"{NOBODY}@{site.domain}/x")),
        ("", site.domain),
        ("<query xmlns='jabber:iq:roster'/>", site.account().jid),
        ("<query xmlns='jabber:iq:version'/>", site.domain),
    ]
    for content, to in requests:
        inspect(client, client.iq("get", content, to=to), "iq", to)
    for kind in ("chat", "normal", "groupchat"):
        to = f"{NOBODY}@{site.domain}"
        inspect(client, answer_to(client, client.message(to, "x", kind=kind)), "message", to)


def inspect(client: Client, answer: Element, name: str, to: str) -> None:
    """An answer of the server keeps the rules of RFC 6120 8.2.3 and 8.3."""
    expect(answer.name == name, f"a {name} was answered by {answer}")
    expect(answer.get("to") in (None, client.jid), f"an answer is to {answer.get('to')!r}: {answer}")
    # on behalf of the own account the server may leave 'from' out (5-4)
    allowed = (to, None) if client.jid.startswith(f"{to}/") else (to,)
    expect(answer.get("from") in allowed, f"a stanza to {to} was answered from {answer.get('from')!r}")
    error = answer.find("error")
    if answer.get("type") != "error":
        expect(error is None, f"no error, but with <error/>: {answer}")
        expect(len(answer.elements) <= 1, f"a result with several children: {answer}")
        return
    stanza_condition(answer)
    assert error is not None
    expect(error.get("type") in ERROR_TYPES, f"an error of the type {error.get('type')!r}: {answer}")
    texts = [child for child in error.elements if child.is_("text", STANZA_ERRORS)]
    others = [child for child in error.elements if child.namespace != STANZA_ERRORS]
    expect(len(texts) <= 1 and len(others) <= 1, f"too much in an error: {answer}")


@check("5-11.4")
def an_error_is_never_answered(site: Site) -> None:
    """RFC 6120 8.3.1: errors to accounts, resources and addresses that are not there."""
    client = site.login()
    for to in (f"{NOBODY}@{site.domain}", f"{site.account(1).jid}/gone", site.domain, f"{site.domain}/x"):
        for name in ("message", "presence", "iq"):
            client.send(f"<{name} type='error' id='e' to='{to}'>{ERROR}</{name}>")
    client.expect_nothing()


# ---- 5-17 to 5-21: where stanzas go --------------------------------------------------------------------------


@check("5-17.2")
def local_domains_stay_local(site: Site) -> None:
    """RFC 6120 10.5: a stanza for another domain of the server is answered at once, not sent to another server."""
    client, second = site.login(), site.second_domain()
    answer = client.iq("get", UNKNOWN, to=second)
    expect_error(answer, "service-unavailable")
    id_ = client.message(f"{NOBODY}@{second}", "x")
    expect_error(answer_to(client, id_), "service-unavailable")


@check("5-17.3")
def the_domain_itself_answers(site: Site) -> None:
    """RFC 6120 10.5.1, 10.5.2: domain and domain/resource; every IQ has an answer."""
    client = site.login()
    for to in (site.domain, f"{site.domain}/anything"):
        for content in (DISCO, f"<ping xmlns='{PING}'/>", "<query xmlns='jabber:iq:version'/>", UNKNOWN):
            answer = client.iq("get", content, to=to)
            expect(answer.get("type") in ("result", "error"), f"the answer is {answer}")
            expect(answer.get("from") == to, f"an IQ to {to} is answered from {answer.get('from')!r}")


@check("5-18.a")
def messages_to_nobody_come_back(site: Site) -> None:
    """UC XMPP 2013 2.10.3.1: <service-unavailable/>, type cancel, same id, for every type of message."""
    client = site.login()
    for kind in (" type='chat'", " type='normal'", " type='headline'", " type='groupchat'", ""):
        for to in (f"{NOBODY}@{site.domain}", f"{NOBODY}@{site.domain}/desk"):
            id_ = client.new_id()
            client.send(f"<message{kind} to='{to}' id='{id_}'><body>x</body></message>")
            expect_error(answer_to(client, id_), "service-unavailable", kind="cancel")


@check("5-18.b", "5-18.x1")
def presence_results_and_errors_to_nobody_vanish(site: Site) -> None:
    """RFC 6120 10.5.3.1: presence without type or unavailable, errors and results."""
    client = site.login()
    to = f"{NOBODY}@{site.domain}"
    client.send(f"<presence to='{to}'/><presence type='unavailable' to='{to}'/>")
    client.send(f"<message type='error' to='{to}'>{ERROR}</message>")
    client.send(f"<iq type='result' id='r' to='{to}'/><iq type='error' id='e' to='{to}'>{ERROR}</iq>")
    client.expect_nothing()


@check("5-18.c")
def requests_to_nobody_are_answered(site: Site) -> None:
    """RFC 6120 10.5.3.1: <service-unavailable/>, for the bare and for the full JID."""
    client = site.login()
    for to in (f"{NOBODY}@{site.domain}", f"{NOBODY}@{site.domain}/desk"):
        for kind in ("get", "set"):
            expect_error(client.iq(kind, UNKNOWN, to=to), "service-unavailable")


@check("5-19.a")
def a_message_to_the_bare_jid_arrives(site: Site) -> None:
    """RFC 6120 10.5.3.2: at least one resource gets it, 'to' as it was."""
    juliet, romeo = site.login(0), site.login(1)
    romeo.available()
    for kind in ("chat", "normal"):
        id_ = juliet.message(site.account(1).jid, "x", kind=kind)
        got = romeo.wait_for("message", id=id_)
        expect(got.get("to") == site.account(1).jid, f"it came to {got.get('to')!r}")


@check("5-19.c")
def presence_to_the_bare_jid_arrives_at_all_resources(site: Site) -> None:
    """RFC 6120 10.5.3.2: all available resources get it; without one it is dropped."""
    juliet, nurse = site.login(0), site.account(2)
    one, two = site.login(1), site.login(1)
    one.available()
    two.available()
    juliet.send(f"<presence id='shown' to='{site.account(1).jid}'/>")
    for client in (one, two):
        client.wait_for("presence", id="shown")
    juliet.send(f"<presence to='{nurse.jid}'/>")
    juliet.expect_nothing()


@check("5-19.d", "5-20.2")
def requests_to_an_account_are_answered_by_the_server(site: Site) -> None:
    """RFC 6120 10.5.3.2, 10.5.4: to the bare JID and to a resource that is gone; no resource gets them."""
    juliet, romeo = site.login(0), site.login(1, "desk")
    romeo.available()
    for to in (site.account(1).jid, f"{site.account(1).jid}/gone"):
        for kind in ("get", "set"):
            expect_error(juliet.iq(kind, UNKNOWN, to=to), "service-unavailable")
    expect(not romeo.before_message(juliet), "a resource got the IQ")


@check("5-20.1")
def a_message_to_a_resource_that_is_gone_arrives(site: Site) -> None:
    """UC XMPP 2013 2.10.3.2: as if it were to the bare JID, 'to' unchanged."""
    juliet, romeo = site.login(0), site.login(1, "desk")
    romeo.available()
    for kind in ("chat", "normal"):
        id_ = juliet.message(f"{site.account(1).jid}/gone", "x", kind=kind)
        got = romeo.wait_for("message", id=id_)
        expect(got.get("to") == f"{site.account(1).jid}/gone", f"it came to {got.get('to')!r}")


@check("5-20.3")
def presence_to_a_resource_that_is_gone_causes_no_error(site: Site) -> None:
    """RFC 6120 10.5.4: delivered as to the bare JID, or ignored."""
    juliet, romeo = site.login(0), site.login(1, "desk")
    romeo.available()
    juliet.send(f"<presence to='{site.account(1).jid}/gone'/>")
    juliet.expect_nothing()


@check("5-21.1")
def a_full_jid_gets_its_stanzas_alone(site: Site) -> None:
    """RFC 6120 10.5.4: that resource and no other, without presence and with negative priority, too."""
    juliet = site.login(0)
    silent, negative = site.login(1, "silent"), site.login(1, "negative")
    negative.send("<presence><priority>-5</priority></presence>")
    negative.before_ping()
    for wanted, other in ((silent, negative), (negative, silent)):
        id_ = juliet.message(wanted.jid, "for you")
        juliet.send(f"<presence to='{wanted.jid}' id='{id_}p'/>")
        juliet.send(f"<iq type='result' to='{wanted.jid}' id='{id_}r'/>")
        for name, wanted_id in (("message", id_), ("presence", f"{id_}p"), ("iq", f"{id_}r")):
            wanted.wait_for(name, id=wanted_id)
        for each in other.before_message(juliet):
            expect(each.get("from") != juliet.jid, f"another resource got {each}")


@check("5-21.2", area="im")
def requests_pass_between_who_see_each_other(site: Site) -> None:
    """RFC 6120 10.5.4, RFC 6121 8.5.3.1: a get or set for a full JID reaches it, and its answer comes back."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    reach("both", desk, phone)
    for kind, answer in (
        ("get", f"<iq type='result' id='{{}}' to='{desk.jid}'><x xmlns='urn:example:x'>answer</x></iq>"),
        ("set", f"<iq type='result' id='{{}}' to='{desk.jid}'/>"),
        ("get", f"<iq type='error' id='{{}}' to='{desk.jid}'>{ERROR}</iq>"),
    ):
        id_ = desk.new_id()
        desk.send(f"<iq type='{kind}' id='{id_}' to='{phone.jid}'>{UNKNOWN}</iq>")
        came = phone.comes("iq", id=id_, type=kind)
        expect(came.get("from") == desk.jid, f"the request is from {came.get('from')!r}")
        expect(len(came.elements) == 1 and str(came.elements[0]) == str(parse(UNKNOWN)), f"it is {came}")
        phone.send(answer.format(id_))
        back = desk.comes("iq", id=id_)
        expect(back.get("from") == phone.jid, f"the answer is from {back.get('from')!r}")
        wanted = parse(answer.format(id_).replace("<iq ", f"<iq xmlns='{CLIENT}' ", 1))
        expect(
            [str(each) for each in back.elements] == [str(each) for each in wanted.elements],
            f"answered was {wanted}, but {describe(back)}",
        )
