"""2.13 Presence (rows 8-1 to 8-24), the half of it that two users of one server can see.

Romeo sees Juliet's presence, unless a check says otherwise: in her words he is in the state "from" or "both".
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from xmppd.conformance.check import check, expect
from xmppd.conformance.client import CLOSING_TAG, describe, stanza_condition
from xmppd.conformance.names import CLIENT, STREAM_ERRORS
from xmppd.conformance.people import Person, Resource, bare, contents, leave, reach, settle, strangers
from xmppd.conformance.site import Site
from xmppd.conformance.verdict import CouldNotTest, NotMet
from xmppd.conformance.xmlstream import Element, parse

CAPS: Final = "http://jabber.org/protocol/caps"
VCARD_UPDATE: Final = "vcard-temp:x:update"
EXTENSIONS: Final = (
    f"<c xmlns='{CAPS}' hash='sha-1' node='https://client.example/' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>"
    f"<x xmlns='{VCARD_UPDATE}'><photo>0123456789abcdef0123456789abcdef01234567</photo></x>"
)
SHOWS: Final = ("away", "chat", "dnd", "xa")
FULL: Final = f"<show>dnd</show><status>In the garden</status><priority>7</priority>{EXTENSIONS}"


def friends(site: Site, state: str = "from") -> tuple[Resource, Resource, Person, Person]:
    """Resources of Juliet and Romeo that are bound, and have asked for the roster; she is in this state towards him."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    reach(state, desk, phone)
    leave(desk, phone)
    return juliet.interested(), romeo.interested(), juliet, romeo


def both_there(site: Site, state: str = "from") -> tuple[Resource, Resource]:
    """The same, and both are available."""
    desk, phone, _, _ = friends(site, state)
    phone.presence()
    settle(phone)
    desk.presence()
    settle(desk, phone)
    desk.forget()
    phone.forget()
    return desk, phone


def another(of: Resource) -> Resource:
    """Another available resource of the same person, and what it caused has come."""
    client = of.person.available()
    settle(of, client)
    of.forget()
    client.forget()
    return client


def is_whole(presence: Element, sent: Element) -> None:
    """All that was sent is in it, and the id."""
    expect(contents(presence) == contents(sent), f"sent was {sent}, but {presence} came")
    expect(
        presence.get("id") == sent.get("id"),
        f"sent was id={sent.get('id')!r}, but {presence.get('id')!r} came",
    )


def own_copy(desk: Resource, id_: str, kind: str | None = None) -> Element:
    """What the sender is sent of its own presence; it has all that was sent, in the same words as for others."""
    return desk.comes("presence", from_=desk.jid, type=kind, id=id_)


def once(client: Resource, of: Resource, kind: str | None, words: str) -> Element:
    """The presence of a resource of this type came, and only once."""
    came = client.heard("presence", from_=of.jid, type=kind)
    expect(len(came) == 1, f"{words} came {len(came)} times to {client.jid}")
    return came[0]


def nothing_of(client: Resource, of: Resource) -> None:
    """No presence of a resource came."""
    came = client.shown(of.jid)
    expect(not came, f"{client.jid} got {came[:1]}")


def crash(client: Resource) -> None:
    """The connection is reset, as when a machine loses its power and comes back."""
    client.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.connection.close()


def half_a_goodbye(client: Resource) -> None:
    """The connection is closed without the closing tag."""
    client.connection.finish_sending()


def goodbye_without_presence(client: Resource) -> None:
    """The stream is closed in order, without unavailable presence before."""
    client.send(CLOSING_TAG)


def an_error(client: Resource) -> None:
    """The client sends a stream error, and the closing tag (1-35.3)."""
    client.send(f"<stream:error><reset xmlns='{STREAM_ERRORS}'/></stream:error>{CLOSING_TAG}")


def fault(client: Resource) -> None:
    """The stream ends with a stream error."""
    client.send("<message><body></message>")


ENDS: Final[tuple[Callable[[Resource], None], ...]] = (
    crash,
    half_a_goodbye,
    goodbye_without_presence,
    an_error,
    fault,
)


# ---- 8-1 to 8-6: initial presence ------------------------------------------------------------------------------


@check("8-1.1", "8-2.1", area="im")
def initial_presence_makes_a_resource_available(site: Site) -> None:
    """RFC 6121 4.2: empty or with anything in it; it goes to those in from and both, and to no others."""
    for state, sees in (("from", True), ("both", True), ("to", False), ("none", False)):
        for content in (
            "",
            "<show>away</show>",
            "<status>here</status>",
            "<priority>5</priority>",
            EXTENSIONS,
        ):
            desk, phone, _, romeo = friends(site, state)
            phone.presence()
            settle(phone)
            phone.forget()
            desk.presence(inside=content)
            settle(desk, phone)
            if sees:
                shown = once(phone, desk, None, f"initial presence in the state {state!r}")
                expect(shown.get("to") in (romeo.jid, phone.jid), f"the presence is to {shown.get('to')!r}")
            else:
                nothing_of(phone, desk)
            if content != "":
                continue
            phone.message(desk.person.jid, "Are you there?")
            desk.comes("message", from_=phone.jid)


@check("8-1.2", area="im")
def priorities_are_honoured(site: Site) -> None:
    """RFC 6121 4.7.2.3: -128 to 127, else 0; below 0 no message to the bare JID comes; others are no priorities."""
    for said, gets in (("", True), ("0", True), ("127", True), ("-1", False), ("-128", False)):
        desk, phone, juliet, _ = friends(site)
        phone.presence()
        desk.presence(inside=f"<priority>{said}</priority>" if said else "")
        settle(desk, phone)
        id_ = phone.message(juliet.jid, "To the bare JID")
        settle(desk, phone)
        got = bool(desk.heard("message", id=id_))
        expect(
            got == gets, f"with priority {said or 'left out'} the message {'came' if got else 'did not come'}"
        )
    for said in ("128", "-129", "high", "1.5"):
        desk, phone, juliet, _ = friends(site)
        phone.presence()
        id_ = desk.presence(inside=f"<priority>{said}</priority>")
        settle(desk, phone)
        refused = desk.heard("presence", type="error", id=id_)
        for answer in refused:
            expect(stanza_condition(answer) == "bad-request", f"priority {said} was answered with {answer}")
        if not refused:
            id_ = phone.message(juliet.jid, "To the bare JID")
            desk.comes("message", id=id_)


@check("8-2.2", "8-18.1", area="im")
def extensions_are_sent_on(site: Site) -> None:
    """RFC 6121 4.2.2, 4.5.2: all that is in initial or unavailable presence, with its id."""
    desk, phone, _, _ = friends(site)
    phone.presence()
    settle(phone)
    for kind, content in ((None, FULL), ("unavailable", f"<status>going on vacation</status>{EXTENSIONS}")):
        id_ = desk.presence(kind, inside=content)
        presence = phone.presence_of(desk.jid, kind)
        expect(presence.get("id") == id_, f"the presence came with id={presence.get('id')!r}")
        names = sorted(child.name for child in presence.elements)
        wanted = sorted(("show", "status", "priority", "c", "x") if kind is None else ("status", "c", "x"))
        expect(names == wanted, f"sent were {wanted}, but {presence} came")
        status = presence.find("status", CLIENT)
        expect(
            status is not None and status.text == ("In the garden" if kind is None else "going on vacation"),
            f"the status has changed: {presence}",
        )
        caps, update = presence.find("c", CAPS), presence.find("x", VCARD_UPDATE)
        expect(caps is not None and caps.get("ver") == "QgayPKawpkPSDYmwT/WM94uAlu0=", f"{caps} came")
        photo = update.find("photo", VCARD_UPDATE) if update is not None else None
        expect(photo is not None and photo.text.startswith("0123456789"), f"{update} came")


@check("8-3.1", area="im")
def resources_of_one_user_see_each_other(site: Site) -> None:
    """RFC 6121 4.2.2, 4.3: the older ones and itself get the presence of the new one, which gets that of the older."""
    [juliet] = strangers(site, 1)
    first = juliet.interested()
    first.presence(inside="<status>first</status>")
    first.presence_of(first.jid)
    settle(first)
    first.forget()
    second = juliet.interested()
    second.presence(inside="<status>second</status>")
    settle(first, second)
    once(first, second, None, "the presence of the new resource")
    once(second, second, None, "the own presence")
    known = once(second, first, None, "the presence of the older resource")
    status = known.find("status", CLIENT)
    expect(status is not None and status.text == "first", f"the presence is not the current one: {known}")


@check("8-4.2", "8-4.3", area="im")
def a_new_resource_is_told_who_is_there(site: Site) -> None:
    """RFC 6121 4.3: the current presence of local contacts in to or both, for the second resource as for the first."""
    for state, sees in (("to", True), ("both", True), ("from", False), ("none", False)):
        desk, phone, juliet, _ = friends(site, state)
        phone.presence(inside="<show>xa</show>")
        settle(phone)
        for client in (desk, juliet.interested()):
            client.presence()
            settle(client, phone)
            if not sees:
                nothing_of(client, phone)
                continue
            shown = once(client, phone, None, "the presence of a contact")
            expect("<show" in str(shown), f"the presence is not the current one: {shown}")
        expect(not phone.heard("presence", type="probe"), "a probe reached the contact")


@check("8-5.1", "8-13.1", "8-14.1", "8-21.1", "8-22.1", area="im")
def presence_reaches_every_available_resource(site: Site) -> None:
    """RFC 6121 4.2.3, 4.4.3, 4.5.3: in order, all from the same full JID; a resource without presence gets none."""
    desk, phone, _, romeo = friends(site)
    phone.presence()
    tablet, quiet = another(phone), romeo.interested()
    said = ("one", "two", "three", "gone")
    for text in said[:-1]:
        desk.presence(inside=f"<status>{text}</status>")
    desk.presence("unavailable", inside="<status>gone</status>")
    settle(desk, phone, tablet, quiet)
    for client in (phone, tablet):
        came = client.shown(desk.jid)
        texts = [status.text for each in came if (status := each.find("status", CLIENT)) is not None]
        expect(texts == list(said), f"sent were {said}, but {texts} came")
        forms = [[child.name for child in each.elements] for each in came[:-1]]
        for each, form in zip(came, forms, strict=False):
            expect(form == forms[0], f"a marker was put into it: {each}")
        for each in came:
            expect(each.get("to") in (romeo.jid, client.jid), f"the presence is to {each.get('to')!r}")
        expect([each.get("type") for each in came] == [None, None, None, "unavailable"], f"{came} came")
    nothing_of(quiet, desk)


@check("8-6.a", area="im")
def presence_comes_after_the_roster(site: Site) -> None:
    """RFC 6121 2.2, 4.2: a client that asks for the roster before its presence can place what it gets."""
    desk, phone, _, romeo = friends(site)
    desk.presence()
    settle(desk, phone)
    late = romeo.connected()
    late.roster_query()
    expect(not late.heard("presence"), f"presence came before the roster: {late.heard('presence')[:1]}")
    late.presence()
    late.presence_of(desk.jid)


@check("8-6.b", area="im")
def presence_of_strangers_is_delivered(site: Site) -> None:
    """RFC 6121 4.6: directed presence of somebody not in the roster arrives unchanged."""
    desk, phone = both_there(site, "none")
    for to in (phone.person.jid, phone.jid):
        id_ = desk.presence(to=to, inside=FULL)
        came = phone.presence_of(desk.jid)
        expect(
            came.get("id") == id_ and came.get("to") == to, f"sent was to={to!r} id={id_!r}, but {came} came"
        )
        expect(
            contents(came) == contents(parse(f"<presence xmlns='{CLIENT}'>{FULL}</presence>")), f"{came} came"
        )


# ---- 8-9: probes -----------------------------------------------------------------------------------------------


@check("8-9.b", area="im")
def a_probe_for_somebody_offline(site: Site) -> None:
    """RFC 6121 4.3.2: unavailable, from the bare JID, with the id of the probe; here the client probes (XEP-0318)."""
    desk, phone, juliet, _ = friends(site)
    phone.presence()
    desk.leave()
    settle(phone)
    phone.forget()
    id_ = phone.presence("probe", juliet)
    settle(phone)
    answers = [each for each in phone.heard("presence") if bare(each.get("from") or "") == juliet.jid]
    if not answers:
        raise CouldNotTest("the server does not answer the probes of clients; a peer server is needed")
    for answer in answers:
        found = answer.get("type"), answer.get("from")
        expect(found == ("unavailable", juliet.jid), f"the answer has type={found[0]!r} from={found[1]!r}")
        expect(answer.get("id") in (None, id_), f"the answer has id={answer.get('id')!r}")
    expect(len(answers) == 1, f"{len(answers)} answers came")


@check("8-9.c", "8-10.1", area="im")
def who_comes_is_told_the_last_presence(site: Site) -> None:
    """RFC 6121 4.3.2: the last one of each resource, complete, from its full JID, with its id; no directed presence."""
    desk, phone, juliet, romeo = friends(site)
    window = juliet.interested()
    sent = {}
    for client, content in ((desk, FULL), (window, f"<status>upstairs</status>{EXTENSIONS}")):
        client.presence(inside="<status>not this one</status>")
        id_ = client.presence(inside=content)
        sent[client.jid] = own_copy(client, id_)
        client.presence(to=romeo, inside="<status>for your eyes only</status>")
    settle(desk, window)
    phone.presence()
    settle(desk, window, phone)
    for client in (desk, window):
        is_whole(once(phone, client, None, "the current presence"), sent[client.jid])


# ---- 8-10 to 8-14: subsequent presence -------------------------------------------------------------------------


@check("8-11.a", "8-12.1", area="im")
def an_update_is_broadcast(site: Site) -> None:
    """RFC 6121 4.4.2: all of it, from the full JID, to those in from and both, and to each own resource once."""
    for state in ("from", "both"):
        desk, phone = both_there(site, state)
        window = another(desk)
        phone.forget()
        id_ = desk.presence(inside=FULL)
        settle(desk, phone, window)
        mine = once(desk, desk, None, "the own update")
        expect(mine.get("id") == id_, f"the update has id={mine.get('id')!r}")
        for client in (window, phone):
            is_whole(once(client, desk, None, "the update"), mine)


@check("8-11.b", "8-17.b", area="im")
def who_unsubscribed_gets_no_more(site: Site) -> None:
    """RFC 6121 4.4.2, 4.5.2: neither updates nor the end, whatever state is left."""
    for state in ("from", "both"):
        desk, phone = both_there(site, state)
        phone.presence("unsubscribe", desk.person)
        settle(desk, phone)
        phone.forget()
        desk.presence(inside="<show>away</show>")
        settle(desk, phone)
        nothing_of(phone, desk)
        desk.leave()
        settle(phone)
        nothing_of(phone, desk)


# ---- 8-15 to 8-22: unavailable presence ------------------------------------------------------------------------


@check("8-15.1", "8-15.2", "8-17.a", area="im")
def who_is_unavailable_stays_connected(site: Site) -> None:
    """RFC 6121 4.5.1: with or without <status/>, even with what does not belong there; it is told once."""
    for content in ("", "<status>gone</status>", "<show>away</show>", "<priority>5</priority>"):
        for state in ("from", "both"):
            desk, phone = both_there(site, state)
            desk.presence("unavailable", inside=content)
            settle(desk, phone)
            once(phone, desk, "unavailable", "unavailable presence")
            id_ = phone.message(desk.jid, "You are still connected.")
            desk.comes("message", id=id_)
            phone.forget()
            desk.forget()
            phone.presence(inside="<show>away</show>")
            settle(desk, phone)
            nothing_of(desk, phone)


@check("8-15.3", area="im")
def who_comes_back_begins_anew(site: Site) -> None:
    """RFC 6121 4.5.1, 4.2: presence after unavailable presence is initial: it is told, and told who is there."""
    desk, phone = both_there(site, "both")
    desk.presence("unavailable")
    phone.presence_of(desk.jid, "unavailable")
    settle(desk, phone)
    desk.forget()
    phone.forget()
    desk.presence()
    settle(desk, phone)
    once(phone, desk, None, "the new initial presence")
    once(desk, phone, None, "the presence of the contact")


@check("8-16.1", "8-20.1", "1-35.3", area="im")
def who_ends_without_a_word_is_unavailable(site: Site) -> None:
    """RFC 6121 4.5.2: RST, FIN, a closing tag, a stream error: made by the server, once, for contacts and resources."""
    for end in ENDS:
        desk, phone = both_there(site)
        window = another(desk)
        phone.forget()
        gone = desk.jid
        end(desk)
        for client in (phone, window):
            try:
                client.presence_of(gone, "unavailable")
            except NotMet as ended:
                raise NotMet(f"after {end.__doc__}: {ended.why}") from None
        settle(phone, window)
        for client in (phone, window):
            once(client, desk, "unavailable", "unavailable presence")


@check("8-16.1", area="im")
def who_is_silent_too_long_is_unavailable(site: Site) -> None:
    """RFC 6120 4.6.4: a client that answers no pings."""
    _, _, juliet, romeo = friends(site)
    site.hang_up()
    site.change(idle_timeout=1)
    phone, desk = romeo.available(), juliet.available()
    gone = desk.jid
    until = time.monotonic() + 2 * phone.patience_s
    while not phone.heard("presence", from_=gone, type="unavailable"):
        expect(time.monotonic() < until, "nobody noticed that the client is silent")
        phone.before_ping()
        time.sleep(0.1)


@check("8-17.x1", area="im")
def who_got_directed_presence_hears_the_end(site: Site) -> None:
    """RFC 6121 4.6.3: in any way that it ends; once."""
    for end in (None, *ENDS):
        desk, phone = both_there(site, "none")
        desk.presence(to=phone.person, inside="<status>only for you</status>")
        phone.presence_of(desk.jid)
        if end is None:
            desk.presence("unavailable")
        else:
            end(desk)
        phone.presence_of(desk.jid, "unavailable")
        settle(phone)
        once(phone, desk, "unavailable", "unavailable presence")


@check("8-19.1", area="im")
def own_resources_hear_of_the_end(site: Site) -> None:
    """RFC 6121 4.5.2: all that are available, and the one that says it."""
    [juliet] = strangers(site, 1)
    first = juliet.available()
    second = another(first)
    second.presence("unavailable", inside="<status>gone</status>")
    settle(first, second)
    for client in (first, second):
        shown = once(client, second, "unavailable", "unavailable presence")
        expect("gone" in str(shown), f"the status is not in it: {shown}")


@check("8-20.2", area="im")
def a_stopping_server_says_who_is_gone(site: Site) -> None:
    """RFC 6121 4.5.2: unavailable presence comes before the stream ends, to both who see each other."""
    desk, phone = both_there(site, "both")
    site.begin_to_stop()
    for client, other in ((desk, phone), (phone, desk)):
        while not client.heard("presence", from_=other.jid, type="unavailable"):
            event = client.next_solid()
            expect(
                isinstance(event, Element) and event.is_("presence", CLIENT),
                f"no unavailable presence came before the end: {describe(event)}",
            )


@check("8-20.3", area="im")
def nobody_stays_online_after_a_kill(site: Site) -> None:
    """RFC 6121 4.3.2: after it the contact is not shown as available, and a probe says unavailable, if answered."""
    desk, _ = both_there(site)
    juliet, romeo, gone = desk.person, site.account(1), desk.jid
    site.kill_and_start()
    phone = Person(site, romeo).available()
    settle(phone)
    expect(not phone.heard("presence", from_=gone, type=None), "the contact is still shown as available")
    phone.presence("probe", juliet)
    settle(phone)
    for answer in phone.heard("presence"):
        if bare(answer.get("from") or "") == juliet.jid:
            expect(answer.get("type") == "unavailable", f"a probe is answered with {answer}")


# ---- 8-23, 8-24 ------------------------------------------------------------------------------------------------


@check("8-23.1", area="im")
def show_says_the_same_everywhere(site: Site) -> None:
    """RFC 6121 4.7.2.1: broadcast, kept for those who come later, and delivered: away, chat, dnd or xa."""
    for show in SHOWS:
        desk, phone = both_there(site)
        desk.presence(inside=f"<show>{show}</show>")
        settle(desk, phone)
        late = phone.person.available()
        settle(late)
        for client in (phone, late):
            shown = once(client, desk, None, "the presence").find("show", CLIENT)
            expect(shown is not None and shown.text == show, f"<show>{show}</show> became {shown}")


@check("8-23.2", area="im")
def no_show_is_invented(site: Site) -> None:
    """RFC 6121 4.7.2.1: two of them, or another value: sent on as it is, or <bad-request/>."""
    for content in ("<show>away</show><show>dnd</show>", "<show>busy</show>", "<show>AWAY</show>", "<show/>"):
        desk, phone = both_there(site)
        id_ = desk.presence(inside=content)
        settle(desk, phone)
        refused = desk.heard("presence", type="error", id=id_)
        for answer in refused:
            expect(stanza_condition(answer) == "bad-request", f"{content} was answered with {answer}")
        came = phone.heard("presence", from_=desk.jid, type=None)
        if refused:
            expect(not came, "presence that was refused was sent on")
            continue
        expect(len(came) == 1, f"{content} was not sent on, and not refused")
        texts = [child.text for child in came[0].elements if child.is_("show", CLIENT)]
        wanted = {
            "<show>away</show><show>dnd</show>": ["away", "dnd"],
            "<show>busy</show>": ["busy"],
            "<show>AWAY</show>": ["AWAY"],
            "<show/>": [""],
        }[content]
        expect(texts == wanted, f"{content} became {came[0]}")


@check("8-24.1", area="im")
def messages_of_a_chat_stay_chat(site: Site) -> None:
    """RFC 6121 5.2.2: in both directions, to full and bare JIDs, delivered at once or later."""
    desk, phone, juliet, romeo = friends(site, "both")
    desk.presence()
    phone.presence()
    settle(desk, phone)
    for sender, other in ((desk, phone), (phone, desk)):
        for to in (other.jid, bare(other.jid)):
            id_ = sender.message(to, "But soft, what light through yonder window breaks?")
            came = other.comes("message", id=id_)
            expect(came.get("type") == "chat", f"the message came with type={came.get('type')!r}")
    phone.leave()
    settle(desk)
    id_ = desk.message(romeo.jid, "Wherefore art thou?")
    settle(desk)
    came = romeo.available().comes("message", id=id_)
    expect(came.get("type") == "chat", f"the kept message came with type={came.get('type')!r}")
    expect(bare(came.get("from") or "") == juliet.jid, f"the kept message is from {came.get('from')!r}")
