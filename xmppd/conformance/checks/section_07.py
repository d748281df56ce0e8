"""2.12 Presence subscriptions (rows 7-1 to 7-22): both sides on one server.

In all of them Juliet is the user and Romeo the contact: a state is that of her roster (RFC 6121 A.1).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from xmppd.conformance.check import check, expect
from xmppd.conformance.client import describe
from xmppd.conformance.names import CLIENT
from xmppd.conformance.people import (
    Person,
    Resource,
    contents,
    expect_refusal,
    expect_result,
    groups_of,
    is_refused,
    pushed,
    reach,
    settle,
    state_of,
    strangers,
)
from xmppd.conformance.site import Site
from xmppd.conformance.verdict import NotMet
from xmppd.conformance.xmlstream import Element, parse

SUBSCRIPTION_TYPES: Final = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")
PLEA: Final = (
    "<status>Hi, I am Juliet &amp; nobody else</status>"
    "<nick xmlns='http://jabber.org/protocol/nick'>Juliet</nick>"
    "<x xmlns='urn:example:anything'><y z='1'/></x>"
)


class Cast(NamedTuple):
    """Three resources of each: two are available, the third has asked for the roster alone."""

    desk: Resource  # Juliet's
    phone: Resource
    tablet: Resource
    office: Resource  # Romeo's
    pager: Resource
    kiosk: Resource

    @property
    def juliet(self) -> Person:
        return self.desk.person

    @property
    def romeo(self) -> Person:
        return self.office.person

    @property
    def hers(self) -> tuple[Resource, ...]:
        """Her interested resources."""
        return self[:3]

    @property
    def his(self) -> tuple[Resource, ...]:
        """His interested resources."""
        return self[3:]

    def settle(self) -> None:
        """Everything that was caused until now has come."""
        settle(*self)

    def forget(self) -> None:
        """What is heard is heard from now on."""
        self.settle()
        for each in self:
            each.forget()


def cast(site: Site, state: str) -> Cast:
    """Juliet is in this state towards Romeo."""
    juliet, romeo = strangers(site, 2)
    found = Cast(
        juliet.available(),
        juliet.available(),
        juliet.interested(),
        romeo.available(inside="<show>away</show><status>in the office</status>"),
        romeo.available(inside="<show>dnd</show><priority>5</priority>"),
        romeo.interested(),
    )
    reach(state, found.desk, found.office)
    found.forget()
    return found


def comes_before_the_push(resource: Resource, kind: str, other: Person) -> Element:
    """The subscription stanza comes from the bare JID, and behind it a push; the stanza."""
    stanza = resource.presence_of(other.jid, kind)
    item = resource.push(other)
    first = next(each for each in resource.seen if each is stanza or pushed_item(each) is item)
    expect(first is stanza, f"the push came before {kind}")
    return stanza


def pushed_item(stanza: object) -> object:
    """The item of a roster push; anything else has none."""
    found = getattr(stanza, "name", "") == "iq" and pushed(stanza)  # type: ignore[arg-type]
    return found or object()


def silence(*resources: Resource) -> None:
    """No presence came, and no push. Everything has settled before."""
    unasked(*resources)
    for each in resources:
        for stanza in each.heard("presence"):
            raise NotMet(f"expected silence, but {describe(stanza)}")


def unasked(*resources: Resource) -> None:
    """No subscription stanza came, and no push. Everything has settled before."""
    for each in resources:
        asked = [stanza for stanza in each.heard("presence") if stanza.get("type") in SUBSCRIPTION_TYPES]
        for stanza in (*asked, *each.pushes()):
            raise NotMet(f"expected silence, but {describe(stanza)}")


def both_rosters(people: Cast) -> list[str]:
    """What stands in her roster, and in his."""
    return [str(item) for user in (people.desk, people.office) for item in user.roster().values()]


def no_updates(people: Cast) -> None:
    """She gets nothing of what Romeo's resources say from now on."""
    people.forget()
    for each in (people.office, people.pager):
        each.presence(inside="<status>later</status>")
        each.before_ping()
    people.settle()
    silence(*people.hers)


def goodbyes(people: Cast, resource: Resource) -> None:
    """Her resource gets unavailable presence of both of Romeo's, to her bare JID or to itself."""
    for each in (people.office, people.pager):
        came = resource.presence_of(each.jid, "unavailable")
        expect(came.get("to") in (people.juliet.jid, resource.jid), f"it is to {came.get('to')!r}")


# ---- 7-1 to 7-6: requests that leave -------------------------------------------------------------------------


@check("7-1.1", area="im")
def a_request_needs_no_id_and_no_item(site: Site) -> None:
    """RFC 6121 3.1.1, 3.1.2: with 'id' and without, before a roster set, behind one and without one."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    for id_ in ("", " id='a1'"):
        for when in ("before", "behind", "without"):
            if when == "behind":
                expect_result(desk.set_item(romeo, name="Romeo"))
            desk.send(f"<presence type='subscribe' to='{romeo}'{id_}/>")
            if when == "before":
                expect_result(desk.set_item(romeo, name="Romeo"))
            phone.presence_of(juliet.jid, "subscribe")
            settle(desk, phone)
            item = desk.item(romeo)
            expect(state_of(item) == ("none", "subscribe"), f"request {when} a roster set: {item}")
            expect(
                (item.get("name") or None) == (None if when == "without" else "Romeo"),
                f"request {when} a roster set: {item}",
            )
            begin_anew(desk, phone)


def begin_anew(desk: Resource, phone: Resource) -> None:
    """The request is denied and its item removed: as if there had been none."""
    phone.presence("unsubscribed", desk.person)
    settle(desk, phone)
    desk.remove_item(phone.person)
    settle(desk, phone)
    desk.forget()
    phone.forget()


@check("7-2.1", "7-3.a", area="im")
def a_request_is_for_the_bare_jid(site: Site) -> None:
    """RFC 6121 3.1.2: 'to' is the bare JID when it arrives, and in item and push, even if a full JID was written."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available("desk")
    for to in (romeo.jid, f"{romeo}/desk", f"{romeo}/gone"):
        desk.presence("subscribe", to)
        came = phone.presence_of(juliet.jid, "subscribe")
        expect(came.get("to") == romeo.jid, f"sent to {to}, it came to {came.get('to')!r}")
        desk.push(romeo, ask="subscribe")
        settle(desk, phone)
        expect(list(desk.roster()) == [romeo.jid], f"sent to {to}, the roster has {', '.join(desk.roster())}")
        begin_anew(desk, phone)


@check("7-3.b", area="im")
def a_request_to_somebody_of_the_same_server_is_inbound(site: Site) -> None:
    """RFC 6121 3.1.2, 3.1.3: delivered if somebody is there, kept if nobody is, answered if already subscribed."""
    juliet, romeo = strangers(site, 2)
    desk, kiosk = juliet.available(), romeo.interested()
    desk.presence("subscribe", romeo)
    settle(desk, kiosk)
    office = romeo.available()
    office.presence_of(juliet.jid, "subscribe")
    office.presence("subscribed", juliet)
    desk.presence_of(romeo.jid, "subscribed")
    settle(desk, office)
    office.forget()
    desk.presence("subscribe", romeo)
    settle(desk, office)
    silence(office)
    expect(desk.item(romeo).get("subscription") == "to", "a second request has changed the subscription")
    expect_result(desk.remove_item(romeo))
    settle(desk, office)
    office.forget()
    desk.presence("subscribe", romeo)
    office.presence_of(juliet.jid, "subscribe")


@check("7-3.x1", area="im")
def a_request_to_no_jid_is_malformed(site: Site) -> None:
    """RFC 6121 3.1.2, RFC 6120 8.3.3.8: <jid-malformed/> with the same id, and no change of the roster."""
    [juliet] = strangers(site, 1)
    desk = juliet.available()
    for wrong in ("@", f"@{site.domain}", "a b@c d@e", f"{'x' * 1024}@{site.domain}"):
        id_ = desk.presence("subscribe", wrong)
        expect_refusal(desk.comes("presence", id=id_, type="error"), "jid-malformed")
    settle(desk)
    expect(not desk.roster() and not desk.pushes(), "the roster was changed")


@check("7-4.1", "7-18.c", "5-4.a", area="im")
def subscriptions_are_from_the_bare_jid(site: Site) -> None:
    """RFC 6120 8.1.2.1: no 'from', the full JID or a forged one; for all four types.

    Who forges may instead lose the stream with <invalid-from/>.
    """
    juliet, romeo = strangers(site, 2)
    desk, office = juliet.available(), romeo.available()
    for claimed in ("nothing", "the full JID", "somebody else", "somebody elsewhere"):
        for who, kind, other in (
            (juliet, "subscribe", romeo),
            (romeo, "subscribed", juliet),
            (romeo, "unsubscribed", juliet),
            (juliet, "subscribe", romeo),
            (romeo, "subscribed", juliet),
            (juliet, "unsubscribe", romeo),
        ):
            sender, listener = who.connected(), office if who is juliet else desk
            from_ = {
                "nothing": "",
                "the full JID": f" from='{sender.jid}'",
                "somebody else": f" from='nurse@{site.domain}'",
                "somebody elsewhere": " from='nurse@else.example'",
            }[claimed]
            listener.forget()
            sender.send(f"<presence type='{kind}' to='{other}'{from_}/>")
            if is_refused(sender):
                who.connected().presence(kind, other)
            came = listener.comes("presence", type=kind)
            expect(came.get("from") == who.jid, f"sent from {claimed}, {kind} came from {came.get('from')!r}")
        settle(desk, office)


def request_to_nobody(site: Site) -> tuple[Resource, str, str]:
    """Juliet has asked somebody who has no account: her resource, the contact, the id of the request."""
    [juliet] = strangers(site, 1)
    desk = juliet.available()
    desk.forget()
    nobody = f"nobody-of-that-name@{site.domain}"
    id_ = desk.presence("subscribe", nobody)
    settle(desk)
    return desk, nobody, id_


def the_only(resource: Resource, kind: str) -> Element:
    """The one presence of this type that has come."""
    came = resource.heard("presence", type=kind)
    expect(len(came) == 1, f"presence of type {kind} came {len(came)} times")
    return came[0]


@check("7-5.2", area="im")
def a_request_to_nobody_fails(site: Site) -> None:
    """RFC 6121 3.1.2, as UC XMPP 2013 2.12.1 wants it: one error, with the id of the request."""
    desk, _, id_ = request_to_nobody(site)
    error = the_only(desk, "error")
    expect(error.get("id") == id_, f"the request has the id {id_}, the error {error.get('id')!r}")
    expect_refusal(error, "item-not-found", "service-unavailable")


@check("7-5.3", area="im")
def a_request_to_nobody_does_not_stay_open(site: Site) -> None:
    """UC XMPP 2013 2.12.1: no item with 'ask' is left in the roster, nor in what was pushed last."""
    desk, nobody, _ = request_to_nobody(site)
    found = desk.roster().get(nobody)
    expect(state_of(found) == ("none", None), f"the roster still says {describe(found)}")
    if pushes := desk.pushes():
        last = pushed(pushes[-1])
        expect(last is None or last.get("ask") is None, f"the last push still says {describe(last)}")


@check("7-8.c", area="im")
def a_request_to_nobody_is_denied(site: Site) -> None:
    """UC XMPP 2013 2.12.2 c: 'unsubscribed' from the bare JID of who is not there, once."""
    desk, nobody, _ = request_to_nobody(site)
    end = the_only(desk, "unsubscribed")
    expect(end.get("from") == nobody, f"'unsubscribed' is from {end.get('from')!r}")
    expect(end.get("to") == desk.person.jid, f"'unsubscribed' is to {end.get('to')!r}")


@check("7-6.1", "7-6.2", "7-6.3", area="im")
def a_request_is_pushed(site: Site) -> None:
    """RFC 6121 3.1.2: ask='subscribe' to each interested resource, with name and groups, from the state 'from', too."""
    for state, subscription in (("none", "none"), ("from", "from")):
        for name, groups in ((None, []), ("Romeo & Co", ["Friends", "Lovers"])):
            people = cast(site, state)
            if name is not None:
                expect_result(people.desk.set_item(people.romeo, name=name, groups=groups))
                people.forget()
            people.desk.presence("subscribe", people.romeo)
            for each in people.hers:
                item = each.push(people.romeo, ask="subscribe")
                expect(
                    state_of(item) == (subscription, "subscribe"), f"in the state {state} pushed was {item}"
                )
                if name is not None:
                    expect((item.get("name"), groups_of(item)) == (name, groups), f"the push has {item}")


# ---- 7-8 to 7-11: requests that arrive -----------------------------------------------------------------------


@check("7-8.a", area="im")
def nobody_approves_but_the_contact(site: Site) -> None:
    """RFC 6121 3.1.3: 'subscribed' comes when a client has sent it, not before."""
    people = cast(site, "none")
    people.desk.presence("subscribe", people.romeo)
    people.office.presence_of(people.juliet.jid, "subscribe")
    people.settle()
    expect(not people.desk.heard("presence", type="subscribed"), "it was approved before the contact has")
    people.office.presence("subscribed", people.juliet)
    people.desk.presence_of(people.romeo.jid, "subscribed")


@check("7-8.b", area="im")
def who_is_subscribed_bothers_nobody(site: Site) -> None:
    """RFC 6121 3.1.3: a request of a subscriber is not shown to the contact; she stays subscribed.

    On one server the automatic 'subscribed' ends at her own side, which has nothing to change (A.3.3).
    """
    for state in ("to", "both"):
        people = cast(site, state)
        people.desk.presence("subscribe", people.romeo)
        people.settle()
        unasked(*people.his)
        found = people.desk.item(people.romeo)
        expect(state_of(found) == (state, None), f"in the state {state} the roster then says {found}")
        people.office.presence(inside="<status>still seen</status>")
        people.desk.presence_of(people.office.jid)


@check("7-8.d", area="im")
def a_request_goes_to_all_available_resources(site: Site) -> None:
    """RFC 6121 3.1.3: two that have sent presence get it, the third has not."""
    people = cast(site, "none")
    people.desk.presence("subscribe", people.romeo, inside=PLEA)
    for each in (people.office, people.pager):
        is_whole(each, people.juliet)
    people.settle()
    silence(people.kiosk)


def is_whole(resource: Resource, user: Person) -> None:
    """The request comes with all that is in it; a stamp may say since when it waits."""
    came = resource.presence_of(user.jid, "subscribe")
    found = contents(came)
    for each in contents(parse(f"<presence xmlns='{CLIENT}'>{PLEA}</presence>")):
        expect(each in found, f"in the request {each} is missing: {came}")


@check("7-9.1", area="im")
def a_request_has_all_that_a_contact_needs(site: Site) -> None:
    """RFC 6121 3.1.4: from bare to bare JID, with its content, once to who becomes available."""
    juliet, romeo = strangers(site, 2)
    desk, kiosk = juliet.available(), romeo.interested()
    desk.presence("subscribe", romeo, inside=PLEA)
    settle(desk, kiosk)
    kiosk.presence()
    is_whole(kiosk, juliet)
    settle(desk, kiosk)
    came = the_only(kiosk, "subscribe")
    expect(came.get("to") == romeo.jid, f"the request is to {came.get('to')!r}")


@check("7-8.e", area="im")
def a_request_waits_for_the_contact(site: Site) -> None:
    """RFC 6121 3.1.3, 3.1.4: whole, after initial presence, in each session, once; over a restart, until an answer."""
    for answer in ("subscribed", "unsubscribed"):
        juliet, romeo = strangers(site, 2)
        desk, kiosk = juliet.available(), romeo.interested()
        desk.presence("subscribe", romeo, inside=PLEA)
        settle(desk, kiosk)
        if answer == "subscribed":
            site.restart()
        for _ in range(2):
            silent = romeo.interested()
            silent.expect_nothing()
            silent.leave()
            office = romeo.available()
            is_whole(office, juliet)
            office.presence(inside="<show>away</show>")
            settle(office)
            times = len(office.heard("presence", type="subscribe"))
            expect(times == 1, f"the request came {times} times in one session")
            office.leave()
        office = romeo.available()
        is_whole(office, juliet)
        office.presence(answer, juliet)
        settle(office)
        office.leave()
        office = romeo.available()
        settle(office)
        expect(not office.heard("presence", type="subscribe"), f"after {answer!r} the request came again")


@check("7-8.x1", "7-8.x2", area="im")
def several_requests_are_one(site: Site) -> None:
    """RFC 6121 3.1.3: of one user exactly one is delivered; the roster does not have her because of it."""
    juliet, romeo = strangers(site, 2)
    desk, kiosk = juliet.available(), romeo.interested()
    for number in range(3):
        desk.presence("subscribe", romeo, inside=f"<status>request {number}</status>")
    settle(desk, kiosk)
    office = romeo.available()
    settle(desk, office)
    came = office.heard("presence", type="subscribe")
    expect(len(came) == 1, f"{len(came)} requests came")
    expect(not office.roster(), f"the roster has {', '.join(office.roster())}")


@check("7-10.1", area="im")
def an_approval_ends_the_request(site: Site) -> None:
    """RFC 6121 3.1.4, 3.1.5: stanza, push and presence follow, and the request does not come again."""
    people = cast(site, "none + pending out")
    people.office.presence("subscribed", people.juliet)
    people.desk.presence_of(people.romeo.jid, "subscribed")
    people.office.push(people.juliet, subscription="from")
    people.desk.presence_of(people.office.jid)
    again = people.romeo.available()
    settle(again)
    expect(not again.heard("presence", type="subscribe"), "the request came again")


@check("7-11.2", area="im")
def a_denial_is_told(site: Site) -> None:
    """RFC 6121 A.3.4: all interested resources of who asked get 'unsubscribed', and a push without 'ask'."""
    people = cast(site, "none + pending out")
    people.office.presence("unsubscribed", people.juliet)
    for each in people.hers:
        each.presence_of(people.romeo.jid, "unsubscribed")
        item = each.push(people.romeo, ask=None)
        expect(state_of(item) == ("none", None), f"pushed was {item}")


@check("7-11.1", area="im")
def a_denial_ends_the_request(site: Site) -> None:
    """RFC 6121 3.2.1: 'unsubscribed' from bare to bare JID, and no request later."""
    people = cast(site, "none + pending out")
    people.office.presence("unsubscribed", people.juliet)
    came = people.desk.presence_of(people.romeo.jid, "unsubscribed")
    expect(came.get("to") == people.juliet.jid, f"it is to {came.get('to')!r}")
    again = people.romeo.available()
    settle(again)
    expect(not again.heard("presence", type="subscribe"), "the request came again")


# ---- 7-12 to 7-15: approvals ---------------------------------------------------------------------------------


@check("7-12.1", area="im")
def an_approval_is_from_the_bare_jid(site: Site) -> None:
    """RFC 6121 3.1.5: from bare to bare JID, with the id that the client has given."""
    people = cast(site, "none + pending out")
    id_ = people.office.presence("subscribed", people.juliet)
    came = people.desk.comes("presence", type="subscribed")
    for name, wanted in (("from", people.romeo.jid), ("to", people.juliet.jid), ("id", id_)):
        expect(came.get(name) == wanted, f"{name!r} of the approval is {came.get(name)!r}, not {wanted!r}")


@check("7-12.2", area="im")
def an_approval_of_nothing_stays_here(site: Site) -> None:
    """RFC 6121 3.1.5, A.2.3: without a request, and for who is subscribed already, it is not routed.

    Who is not subscribed sees nothing at all because of it.
    """
    for state in ("none", "none + pending in", "to", "from", "both"):
        people = cast(site, state)
        people.office.presence("subscribed", people.juliet)
        people.settle()
        (unasked if state in ("to", "both") else silence)(*people.hers)


@check("7-13.1", area="im")
def an_approval_is_pushed_to_the_contact(site: Site) -> None:
    """RFC 6121 3.1.5: 'from' after None + Pending In, 'both' after To + Pending In, to each interested resource."""
    for state, wanted in (("none + pending out", "from"), ("from + pending out", "both")):
        people = cast(site, state)
        people.office.presence("subscribed", people.juliet)
        for each in people.his:
            item = each.push(people.juliet, subscription=wanted)
            expect(item.get("ask") is None, f"the push has {item}")


@check("7-15.c", area="im")
def an_approval_brings_presence(site: Site) -> None:
    """RFC 6121 3.1.6: the last presence of each of his resources, whole, at each available one of hers."""
    people = cast(site, "none + pending out")
    newer = "<show>xa</show><status>newer</status><x xmlns='urn:example:x'/>"
    people.pager.presence(inside=newer)
    people.pager.before_ping()
    people.office.presence("subscribed", people.juliet)
    for each in (people.desk, people.phone):
        for his, said in (
            (people.office, "<show>away</show><status>in the office</status>"),
            (people.pager, newer),
        ):
            came = each.presence_of(his.jid)
            wanted = parse(f"<presence xmlns='{CLIENT}'>{said}</presence>")
            expect(set(contents(wanted)) <= set(contents(came)), f"expected {wanted}, but it is {came}")
            expect(came.get("to") in (people.juliet.jid, each.jid), f"it is to {came.get('to')!r}")
    people.settle()
    expect(not people.tablet.shown(people.office.jid), "a resource without presence got presence")


@check("7-14.1", area="im")
def presence_follows_the_approval(site: Site) -> None:
    """RFC 6121 3.1.5: behind the approval, of each of his available resources."""
    people = cast(site, "none + pending out")
    people.office.presence("subscribed", people.juliet)
    for his in (people.office, people.pager):
        people.desk.presence_of(his.jid)
    first = people.desk.heard("presence")[0]
    found = first.get("type"), first.get("from")
    expect(found == ("subscribed", people.romeo.jid), f"before the approval came {describe(first)}")


@check("7-15.a", area="im")
def an_approval_arrives_before_its_push(site: Site) -> None:
    """RFC 6121 3.1.6: at all interested resources, from bare to bare JID."""
    people = cast(site, "none + pending out")
    people.office.presence("subscribed", people.juliet)
    for each in people.hers:
        stanza = comes_before_the_push(each, "subscribed", people.romeo)
        expect(stanza.get("to") == people.juliet.jid, f"the approval is to {stanza.get('to')!r}")


@check("7-15.b", area="im")
def an_approval_is_pushed(site: Site) -> None:
    """RFC 6121 3.1.6: to all interested resources; 'to' from none, 'both' from 'from', and no 'ask'."""
    for state, wanted in (
        ("none + pending out", "to"),
        ("none + pending out+in", "to"),
        ("from + pending out", "both"),
    ):
        people = cast(site, state)
        people.office.presence("subscribed", people.juliet)
        for each in people.hers:
            each.push(people.romeo, subscription=wanted, ask=None)
        found = people.desk.item(people.romeo)
        expect(state_of(found) == (wanted, None), f"after {state} the roster says {found}")


# ---- 7-17 to 7-19: cancellation ------------------------------------------------------------------------------


@check("7-19.a", area="im")
def a_cancellation_arrives_before_its_push(site: Site) -> None:
    """RFC 6121 3.2.3: the stanza, then the push, at each interested resource."""
    for state in ("to", "both"):
        people = cast(site, state)
        people.office.presence("unsubscribed", people.juliet)
        for each in people.hers:
            comes_before_the_push(each, "unsubscribed", people.romeo)


@check("7-17.1", "7-18.a", area="im")
def a_cancellation_is_told(site: Site) -> None:
    """RFC 6121 3.2.2, 3.2.3: the stanza and a push at each interested resource of the user."""
    for state in ("to", "both"):
        people = cast(site, state)
        people.office.presence("unsubscribed", people.juliet)
        for each in people.hers:
            each.presence_of(people.romeo.jid, "unsubscribed")
            each.push(people.romeo)


def is_pushed(people: Cast, side: tuple[Resource, ...], other: Person, *wanted: str | None) -> None:
    """'subscription' and 'ask' are told to each interested resource of one side, and stand in the roster."""
    for each in side:
        each.push(other, subscription=wanted[0], ask=wanted[1])
    people.settle()
    found = side[0].roster().get(other.jid)
    expect(state_of(found) == wanted, f"the roster of {side[0].person} says {describe(found)}")


@check("7-18.d", area="im")
def a_cancellation_is_pushed_to_who_cancels(site: Site) -> None:
    """RFC 6121 3.2.2: the new state, to each of his interested resources, and into his roster."""
    for state, ask, wanted in (
        ("to", None, "none"),
        ("to + pending in", "subscribe", "none"),
        ("both", None, "to"),
    ):
        people = cast(site, state)
        people.office.presence("unsubscribed", people.juliet)
        is_pushed(people, people.his, people.juliet, wanted, ask)


@check("7-19.b", area="im")
def a_cancellation_is_pushed_to_who_is_cancelled(site: Site) -> None:
    """RFC 6121 3.2.3: the new state, to each of her interested resources, and into her roster."""
    for state, wanted in (("to", "none"), ("to + pending in", "none"), ("both", "from")):
        people = cast(site, state)
        people.office.presence("unsubscribed", people.juliet)
        is_pushed(people, people.hers, people.romeo, wanted, None)


@check("7-18.e", "7-19.x1", "7-18.x1", area="im")
def who_is_cancelled_sees_the_contact_go(site: Site) -> None:
    """RFC 6121 3.2.2: unavailable presence of each resource at each available one, and no updates later."""
    for state in ("to", "both"):
        people = cast(site, state)
        people.office.presence("unsubscribed", people.juliet)
        for each in (people.desk, people.phone):
            goodbyes(people, each)
        no_updates(people)


@check("7-19.c", area="im")
def a_cancellation_of_nothing_is_ignored(site: Site) -> None:
    """RFC 6121 3.2.3: without subscription and request: no delivery, no push, no change, no answer."""
    for state in ("none", "none + pending in", "from"):
        people = cast(site, state)
        before = both_rosters(people)
        people.office.presence("unsubscribed", people.juliet)
        people.office.presence("unsubscribed", f"nobody-of-that-name@{site.domain}")
        people.settle()
        silence(*people.hers)
        after = both_rosters(people)
        expect(before == after, f"in the state {state} a roster was {before} and is {after}")


# ---- 7-20 to 7-22: unsubscribing -----------------------------------------------------------------------------


@check("7-22.a.i", area="im")
def unsubscribing_arrives_before_its_push(site: Site) -> None:
    """RFC 6121 3.3.3: at each interested resource of the contact the stanza, then the push."""
    for state in ("to", "both"):
        people = cast(site, state)
        people.desk.presence("unsubscribe", people.romeo)
        for each in people.his:
            comes_before_the_push(each, "unsubscribe", people.juliet)


@check("7-20.1", "7-21.a", area="im")
def unsubscribing_is_told(site: Site) -> None:
    """RFC 6121 3.3.2, 3.3.3: the stanza and a push at each interested resource of the contact."""
    for state in ("to", "both"):
        people = cast(site, state)
        people.desk.presence("unsubscribe", people.romeo)
        for each in people.his:
            each.presence_of(people.juliet.jid, "unsubscribe")
            each.push(people.juliet)


@check("7-21.c", area="im")
def unsubscribing_is_pushed_to_who_unsubscribes(site: Site) -> None:
    """RFC 6121 3.3.2: the new state, to each of her interested resources, and into her roster."""
    for state, wanted in (("to", "none"), ("to + pending in", "none"), ("both", "from")):
        people = cast(site, state)
        people.desk.presence("unsubscribe", people.romeo)
        is_pushed(people, people.hers, people.romeo, wanted, None)


@check("7-22.a.ii", area="im")
def unsubscribing_is_pushed_to_the_contact(site: Site) -> None:
    """RFC 6121 3.3.3: the new state, to each of his interested resources, and into his roster."""
    for state, ask, wanted in (
        ("to", None, "none"),
        ("to + pending in", "subscribe", "none"),
        ("both", None, "to"),
    ):
        people = cast(site, state)
        people.desk.presence("unsubscribe", people.romeo)
        is_pushed(people, people.his, people.juliet, wanted, ask)


@check("7-21.c", area="im")
def unsubscribing_takes_back_a_request(site: Site) -> None:
    """RFC 6121 A.2.2: 'ask' is gone, in the push and in the roster."""
    for state, wanted in (
        ("none + pending out", "none"),
        ("none + pending out+in", "none"),
        ("from + pending out", "from"),
    ):
        people = cast(site, state)
        people.desk.presence("unsubscribe", people.romeo)
        for each in people.hers:
            item = each.push(people.romeo, ask=None)
            expect(state_of(item) == (wanted, None), f"after {state} the push has {item}")


@check("7-22.a.iii", area="im")
def who_unsubscribes_sees_the_contact_go(site: Site) -> None:
    """RFC 6121 3.3.3: unavailable presence from both full JIDs, and no updates later."""
    for state in ("to", "both"):
        people = cast(site, state)
        people.desk.presence("unsubscribe", people.romeo)
        goodbyes(people, people.desk)
        no_updates(people)


@check("7-22.b", area="im")
def unsubscribing_from_nothing_is_ignored(site: Site) -> None:
    """RFC 6121 3.3.3: who is not subscribed changes nothing: no delivery, no push, no presence, no answer."""
    for state in ("none", "none + pending in", "from"):
        people = cast(site, state)
        before = both_rosters(people)
        people.desk.presence("unsubscribe", people.romeo)
        people.desk.presence("unsubscribe", f"nobody-of-that-name@{site.domain}")
        people.settle()
        silence(*people.his)
        for each in people.hers:
            for stanza in each.heard("presence"):
                raise NotMet(f"it was answered: {describe(stanza)}")
        after = both_rosters(people)
        expect(before == after, f"in the state {state} a roster was {before} and is {after}")


@check("7-22.x1", area="im")
def a_request_that_is_taken_back_is_not_delivered(site: Site) -> None:
    """RFC 6121 3.3.3, A.3.2: the stored request is dropped: the contact never sees it."""
    juliet, romeo = strangers(site, 2)
    desk, kiosk = juliet.available(), romeo.interested()
    desk.presence("subscribe", romeo)
    desk.presence("unsubscribe", romeo)
    settle(desk, kiosk)
    office = romeo.available()
    settle(desk, office)
    expect(not office.heard("presence", type="subscribe"), "the request was delivered all the same")
