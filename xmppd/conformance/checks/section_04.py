"""2.9 Resource binding (rows 4-1 to 4-7)."""

from __future__ import annotations

import unicodedata
from typing import Final

from xmppd.conformance.check import check, expect
from xmppd.conformance.checks.section_01 import entropy
from xmppd.conformance.client import Client, bound_jid, describe, stanza_condition
from xmppd.conformance.names import BIND
from xmppd.conformance.people import bare, reach, settle, strangers
from xmppd.conformance.site import Site
from xmppd.conformance.xmlstream import Element

BINDINGS: Final = 50  # generated resources that are compared
RANDOM_BITS: Final = 56  # nobody tries so many; a finite sample shows less than there are


def authenticated(site: Site) -> Client:
    """A client that has authenticated, and not bound a resource."""
    client = site.connect()
    client.authenticated(site.account())
    return client


@check("4-1.1", "4-6.1", "4-7.1")
def an_empty_bind_is_answered_by_the_full_jid(site: Site) -> None:
    """RFC 6120 7.6.1: the request of row 4-6, its id, and <bind><jid>user@domain/resource</jid></bind>."""
    client, account = authenticated(site), site.account()
    client.send(f"<iq id='tn281v37' type='set'><bind xmlns='{BIND}'/></iq>")
    answer = client.expect("iq", id="tn281v37", type="result")
    expect([child.name for child in answer.elements] == ["bind"], f"the result is {answer}")
    expect([child.name for child in answer.elements[0].elements] == ["jid"], f"the result is {answer}")
    jid = bound_jid(answer) or ""
    expect(jid.startswith(f"{account.jid}/") and len(jid) > len(account.jid) + 1, f"the JID is {jid!r}")


@check("4-2.1")
def without_a_resource_nothing_is_routed(site: Site) -> None:
    """RFC 6120 7.3.1: messages, presence and IQs before binding end the stream with <not-authorized/>."""
    romeo = site.login(1)
    for stanza in (
        f"<message to='{romeo.jid}'/>",
        f"<presence to='{romeo.jid}'/>",
        f"<iq type='get' id='i' to='{romeo.jid}'><ping xmlns='urn:xmpp:ping'/></iq>",
    ):
        client = authenticated(site)
        client.send(stanza)
        client.expect_stream_error("not-authorized")
    expect(not romeo.before_ping(), "the stanza was delivered")


@check("4-2.2", area="im")
def a_stream_without_a_resource_is_nobody(site: Site) -> None:
    """RFC 6120 7.3.1: others see no presence, and their messages are kept or refused; the stream gets nothing."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    reach("to", desk, phone)
    phone.leave()
    desk.presence_of(phone.jid, "unavailable")
    unbound = site.connect()
    unbound.authenticated(romeo.account)
    desk.forget()
    id_ = desk.message(romeo.jid, "is somebody there?")
    again = juliet.available()
    settle(desk, again)
    for client in (desk, again):
        for each in client.heard("presence"):
            is_here = bare(each.get("from") or "") == romeo.jid and each.get("type") != "unavailable"
            expect(not is_here, f"presence of an unbound stream: {each}")
    expect(not unbound.connection.has_input, "a stream without a resource was sent something")
    if not desk.heard("message", id=id_, type="error"):
        romeo.available().comes("message", id=id_)


@check("4-2.2")
def an_unbound_stream_gets_nothing(site: Site) -> None:
    """RFC 6120 7.3.1: a message to the account does not arrive at a stream without a resource."""
    unbound, romeo = authenticated(site), site.login(1)
    id_ = romeo.message(site.account().jid, "is anybody there?")
    romeo.before_ping()
    unbound.bind()
    expect(
        not [each for each in unbound.seen if each.name == "message" and each.get("id") == id_],
        "a message was delivered to a stream without a resource",
    )


@check("4-3.1")
def bind_is_offered_after_sasl_only(site: Site) -> None:
    """RFC 6120 7.4: not before TLS, not before SASL."""
    client = site.connect()
    before_tls = client.open()
    client.start_tls()
    before_sasl = client.open()
    client.authenticate(site.account())
    after_sasl = client.open()
    for features in (before_tls, before_sasl):
        expect(features.find("bind", BIND) is None, f"<bind/> is offered too early: {features}")
    expect(after_sasl.find("bind", BIND) is not None, f"<bind/> is missing: {after_sasl}")


@check("4-4.1")
def generated_resources_cannot_be_guessed(site: Site) -> None:
    """RFC 6120 7.6: not empty, all different, without a common pattern; the requirement advises 128 random bits."""
    parts = []
    for _ in range(BINDINGS):
        client = authenticated(site)
        parts.append(client.bind().partition("/")[2])
        client.close()
    site.note(f"generated: {', '.join(parts[:3])} ...")
    expect(all(parts), "a generated resourcepart is empty")
    expect(len(set(parts)) == BINDINGS, "a generated resourcepart came twice")
    bits = entropy(parts)
    site.note(f"{bits:.0f} bits vary, as far as {BINDINGS} samples show")
    expect(bits >= RANDOM_BITS, f"generated resourceparts vary in {bits:.0f} bits only")


@check("4-5.1")
def two_generated_resources_differ(site: Site) -> None:
    """RFC 6120 7.5: two connections of one account at a time."""
    one, two = site.login(0), site.login(0)
    expect(one.jid != two.jid, f"both are {one.jid}")


@check("4-5.2")
def a_resource_in_use_is_never_bound_twice(site: Site) -> None:
    """RFC 6120 7.7.2.2: another resourcepart, <conflict/> for the new one, or <conflict/> for the old stream."""
    old, new = site.login(0, "balcony"), authenticated(site)
    expect_no_twin(old, new, new.bind_answer("balcony"))


def expect_no_twin(old: Client, new: Client, answer: Element) -> None:
    """One of the three policies for a resource that is in use was applied."""
    jid = bound_jid(answer)
    if jid is None:
        expect(stanza_condition(answer) == "conflict", f"expected a conflict, but {describe(answer)}")
        old.before_ping()
    elif jid == old.jid:
        old.expect_stream_error("conflict")
        new.before_ping()
    else:
        old.before_ping()


@check("4-5.3")
def resources_are_compared_after_preparation(site: Site) -> None:
    """RFC 6122 2.4: composed and decomposed characters are the same resource."""
    name = "z\u00fcrich"
    old, new = site.login(0, name), authenticated(site)
    answer = new.bind_answer(unicodedata.normalize("NFD", name))
    jid = bound_jid(answer)
    expect(
        jid is None or unicodedata.normalize("NFKC", jid) == jid,
        f"the resource was not prepared: {jid!r}",
    )
    expect_no_twin(old, new, answer)


@check("4-6.2")
def a_wish_is_granted_or_replaced(site: Site) -> None:
    """RFC 6120 7.7: a resource with a space is bound, or another one; an invalid one is <bad-request/>."""
    jid = authenticated(site).bind("desktop client")
    expect(bool(jid.partition("/")[2]), f"the JID is {jid!r}")
    for invalid in ("x" * 1024, "\ue000"):  # by RFC 6122 and by RFC 7622
        answer = authenticated(site).bind_answer(invalid)
        expect(bound_jid(answer) is None, f"an invalid resourcepart was bound: {describe(answer)}")
        expect(stanza_condition(answer) == "bad-request", f"expected bad-request, but {describe(answer)}")
