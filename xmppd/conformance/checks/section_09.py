"""2.14 Messages (rows 9-1 to 9-8): between people of one server, at once and out of offline storage.

In all of them Juliet writes, and Romeo reads.
"""

from __future__ import annotations

from typing import Final

from xmppd.conformance.check import check, expect
from xmppd.conformance.client import describe
from xmppd.conformance.names import CLIENT, DELAY, STANZA_ERRORS, STREAM_ERRORS, STREAMS
from xmppd.conformance.people import Person, Resource, contents, expect_refusal, settle, strangers
from xmppd.conformance.site import Site
from xmppd.conformance.verdict import NotMet
from xmppd.conformance.xmlstream import Element, parse

ERROR: Final = f"<error type='cancel'><service-unavailable xmlns='{STANZA_ERRORS}'/></error>"
SMALLEST_LIMIT: Final = 10_000  # octets of a stanza that every server has to take (RFC 6120 13.12)


def writer_and_reader(site: Site) -> tuple[Resource, Person]:
    """Juliet is there, Romeo is not."""
    juliet, romeo = strangers(site, 2)
    return juliet.available(), romeo


def write(sender: Resource, to: str, attributes: str = " type='chat'", inside: str = "<body>x</body>") -> str:
    """Send a message with these attributes and this content; its id."""
    id_ = sender.new_id()
    sender.send(f"<message{attributes} id='{id_}' to='{to}'>{inside}</message>")
    return id_


def is_as_sent(came: Element, sender: Resource, to: str, attributes: str, inside: str) -> None:
    """All is as it was sent, with the sender's full JID."""
    id_, from_ = came.get("id"), sender.jid
    wanted = parse(
        f"<message xmlns='{CLIENT}' from='{from_}' to='{to}' id='{id_}'{attributes}>{inside}</message>"
    )
    is_same = contents(came) == contents(wanted) and is_of_kind(came, attributes)
    for name, value in wanted.attributes.items():
        is_same = is_same and (name == "type" or came.attributes.get(name) == value)
    expect(is_same, f"sent was {wanted}, but {describe(came)}")


def is_of_kind(came: Element, attributes: str) -> bool:
    """The type is that of the attributes; what is the default may be left out, but not put in (RFC 6121 5.2.2)."""
    sent = parse(f"<message{attributes}/>").get("type")
    return came.get("type") in ((sent, None) if sent == "normal" else (sent,))


def passes_unchanged(site: Site, attributes: str, inside: str) -> None:
    """A message is as it was sent by way of the bare JID, of the full JID, and of offline storage."""
    juliet, romeo = writer_and_reader(site)
    desk = romeo.available()
    for to in (romeo.jid, desk.jid):
        came = desk.comes("message", id=write(juliet, to, attributes, inside))
        is_as_sent(came, juliet, to, attributes, inside)
    desk.leave()
    id_ = write(juliet, romeo.jid, attributes, inside)
    settle(juliet)
    if refused := juliet.heard("message", id=id_, type="error"):
        expect_refusal(refused[0], "service-unavailable")
        site.note("there is no offline storage")
        return
    came = romeo.available().comes("message", id=id_)
    is_as_sent(came, juliet, romeo.jid, attributes, inside)


@check("9-1.1", area="im")
def threads_pass_unchanged(site: Site) -> None:
    """RFC 6121 5.2.5: <thread/>, its text and its 'parent'."""
    passes_unchanged(
        site,
        " type='chat' xml:lang='en'",
        "<body>x</body><thread parent='e0ffe42b28561960'>0e3141cd80894871</thread>",
    )


@check("5-9.1", area="im")
def languages_pass_unchanged(site: Site) -> None:
    """RFC 6120 8.1.5: that of the message and those of several bodies and subjects."""
    passes_unchanged(
        site,
        " type='chat' xml:lang='fr'",
        "<subject>Salut</subject><subject xml:lang='cs'>Ahoj</subject>"
        "<body>Bonjour</body><body xml:lang='cs'>Dobr\u00fd den</body><body xml:lang='de-AT'>Servus</body>",
    )


@check("9-8.1", area="im")
def bodies_pass_unchanged(site: Site) -> None:
    """RFC 6121 5.2.3: other scripts, markup, line breaks, spaces around it, and several languages."""
    for inside in (
        "<body>\u6f22\u5b57 \u05e2\u05d1\u05e8\u05d9\u05ea \U0001f600 e\u0301</body>",
        "<body>a &lt;b&gt; &amp;amp; &quot;c&quot; ]]&gt;</body>",
        "<body>\n  two\n\tlines \u00a0 </body>",
        "<body xml:lang='en'>yes</body><body xml:lang='ru'>\u0434\u0430</body>",
        "<body/>",
    ):
        passes_unchanged(site, " type='chat' xml:lang='en'", inside + "<x xmlns='urn:example:x'>x</x>")


# ---- 9-2 to 9-5: to whom -------------------------------------------------------------------------------------


@check("9-2.1", "9-2.2", "9-3.1", area="im")
def a_conversation_locks_on_full_jids(site: Site) -> None:
    """RFC 6121 5.1: first to the bare JID, then to who has answered; that resource alone, until it has gone."""
    juliet, romeo = writer_and_reader(site)
    window = juliet.person.available()
    desk, phone = romeo.available(), romeo.available()
    first = desk.comes("message", id=juliet.message(romeo.jid, "Wherefore art thou?"))
    expect(first.get("from") == juliet.jid, f"it is from {first.get('from')!r}, not from {juliet.jid}")
    id_ = desk.message(first.get("from") or "", "Here")
    answer = juliet.comes("message", id=id_)
    expect(answer.get("from") == desk.jid, f"the answer is from {answer.get('from')!r}, not from {desk.jid}")
    settle(juliet, window, desk, phone)
    expect(not window.heard("message", id=id_), "another resource of the user got the answer")
    id_ = juliet.message(answer.get("from") or "", "Come")
    desk.comes("message", id=id_)
    settle(juliet, window, desk, phone)
    expect(not phone.heard("message", id=id_), "another resource of the contact got a message for a full JID")
    gone = desk.jid
    desk.leave()
    phone.comes("message", id=juliet.message(gone, "Art thou gone?"))


@check("9-4.1", "9-5.1", "5-2.b", area="im")
def messages_go_where_they_are_addressed(site: Site) -> None:
    """RFC 6120 10.3.1, RFC 6121 5.2.1: to 'to'; without one to the sender's own account."""
    juliet, romeo = writer_and_reader(site)
    window, desk = juliet.person.available(), romeo.available()
    for to in (romeo.jid, desk.jid):
        id_ = juliet.message(to, "for you")
        came = desk.comes("message", id=id_)
        expect(came.get("to") == to, f"sent to {to}, it came to {came.get('to')!r}")
        settle(juliet, window, desk)
        for other in (juliet, window):
            expect(not other.heard("message", id=id_), "a message for somebody else came to the own account")
    juliet.send("<message type='chat' id='to-nobody'><body>a note</body></message>")
    settle(juliet, window, desk)
    found = [each for client in (juliet, window) for each in client.heard("message", id="to-nobody")]
    expect(bool(found), "a message without 'to' did not come to the own account")
    for each in found:
        expect(each.get("from") == juliet.jid, f"it is from {each.get('from')!r}")
    expect(not desk.heard("message", id="to-nobody"), "a message without 'to' came to somebody else")


# ---- 9-6, 9-7: types -----------------------------------------------------------------------------------------


@check("9-6.a", "5-19.b", area="im")
def chat_is_delivered_or_kept(site: Site) -> None:
    """RFC 6121 5.2.2, 8.5.2, XEP-0160: type chat; over a restart, too, if there is a launcher for that."""
    are_delivered_or_kept(
        site, *(" type='chat'",) * 3, restarts=(False, True) if site.has_launcher else (False,)
    )


@check("9-6.d", "5-19.b", area="im")
def normal_messages_are_delivered_or_kept(site: Site) -> None:
    """RFC 6121 5.2.2, 8.5.2, XEP-0160: type normal, and no type, which stays absent."""
    are_delivered_or_kept(site, " type='normal'", "", " type='normal'")


@check("9-7.1", area="im")
def an_unknown_type_is_like_none(site: Site) -> None:
    """RFC 6121 5.2.2: delivered or kept, and the type as it was sent."""
    are_delivered_or_kept(site, "", " type='foo'")


def are_delivered_or_kept(site: Site, *kinds: str, restarts: tuple[bool, ...] = (False,)) -> None:
    """Messages to the bare JID come at once, or later: with a stamp, in order, once.

    Nobody is at home then, or only a resource with negative priority. A server without storage says so in an error.
    """
    juliet, romeo = writer_and_reader(site)
    attributes = [f"{kind} xml:lang='en'" for kind in kinds]
    desk = romeo.available()
    for each in attributes:
        came = desk.comes("message", id=write(juliet, romeo.jid, each))
        is_as_sent(came, juliet, romeo.jid, each, "<body>x</body>")
    desk.presence(inside="<priority>-1</priority>")
    desk.before_ping()
    desk.forget()
    for is_restarted in restarts:
        ids = [write(juliet, romeo.jid, each) for each in attributes]
        settle(juliet)
        refused = [each for each in juliet.heard("message", type="error") if each.get("id") in ids]
        if refused:
            expect(len(refused) == len(ids), f"of {len(ids)} messages {len(refused)} were refused")
            for error in refused:
                expect_refusal(error, "service-unavailable")
            site.note("there is no offline storage")
            return
        if is_restarted:
            site.restart()
            juliet = juliet.person.available()
        else:
            settle(juliet, desk)
            for id_ in ids:
                expect(not desk.heard("message", id=id_), "negative priority got a message for the account")
            desk.leave()
        later = romeo.available()
        for id_, each in zip(ids, attributes, strict=True):
            came = later.comes("message", id=id_)
            expect(bool(came.get("from")), f"who sent it is not said: {came}")
            expect(is_of_kind(came, each), f"sent with {each}, it came as {came}")
            delay = came.find("delay", DELAY)
            expect(delay is not None and bool(delay.get("stamp")), f"a kept message has no stamp: {came}")
        settle(juliet, later)
        order = [each.get("id") for each in later.heard("message") if each.get("id") in ids]
        expect(order == ids, f"kept were {ids}, delivered {order}")
        later.leave()
        again = romeo.available()
        settle(again)
        expect(not [each for each in again.heard("message") if each.get("id") in ids], "it came twice")
        again.leave()


@check("9-6.b", area="im")
def errors_are_delivered_or_dropped(site: Site) -> None:
    """RFC 6121 8.5: delivered to a full JID that is there, else dropped, and never answered."""
    juliet, romeo = writer_and_reader(site)
    desk = romeo.available()
    came = desk.comes("message", id=write(juliet, desk.jid, " type='error' xml:lang='en'", ERROR))
    is_as_sent(came, juliet, desk.jid, " type='error' xml:lang='en'", ERROR)
    for to in (romeo.jid, f"{romeo}/gone"):
        id_ = write(juliet, to, " type='error'", ERROR)
        settle(juliet, desk)
        expect(not desk.heard("message", id=id_), f"an error to {to} was delivered")
    desk.leave()
    id_ = write(juliet, romeo.jid, " type='error'", ERROR)
    settle(juliet)
    later = romeo.available()
    settle(juliet, later)
    expect(not later.heard("message", id=id_), "an error was kept")
    for each in juliet.heard("message", type="error"):
        raise NotMet(f"an error was answered: {each}")


@check("9-6.c", area="im")
def groupchat_is_not_for_people(site: Site) -> None:
    """RFC 6121 8.5.2: for a bare JID <service-unavailable/>, somebody there or not; for a full JID it is delivered."""
    juliet, romeo = writer_and_reader(site)
    id_ = write(juliet, romeo.jid, " type='groupchat'")
    expect_refusal(juliet.comes("message", id=id_), "service-unavailable")
    desk, phone = romeo.available(), romeo.available()
    settle(juliet, desk, phone)
    expect(not desk.heard("message", id=id_), "a groupchat message for a bare JID was kept")
    id_ = write(juliet, romeo.jid, " type='groupchat'")
    expect_refusal(juliet.comes("message", id=id_), "service-unavailable")
    settle(juliet, desk, phone)
    for each in (desk, phone):
        expect(not each.heard("message", id=id_), "a groupchat message for a bare JID was delivered")
    id_ = write(juliet, desk.jid, " type='groupchat'")
    desk.comes("message", id=id_)
    settle(juliet, desk, phone)
    expect(not phone.heard("message", id=id_), "another resource got a groupchat message")


@check("9-6.e", area="im")
def headlines_are_for_who_is_there(site: Site) -> None:
    """RFC 6121 8.5.2: for all with non-negative priority; without such a resource dropped, and not kept."""
    juliet, romeo = writer_and_reader(site)
    id_ = write(juliet, romeo.jid, " type='headline'")
    settle(juliet)
    desk, phone = romeo.available(), romeo.available(inside="<priority>9</priority>")
    shy = romeo.available(inside="<priority>-1</priority>")
    settle(juliet, desk, phone, shy)
    for client in (desk, phone, shy):
        expect(not client.heard("message", id=id_), "a headline was kept")
    id_ = write(juliet, romeo.jid, " type='headline'")
    for client in (desk, phone):
        came = client.comes("message", id=id_)
        expect(came.get("type") == "headline", f"it came as {came}")
    settle(juliet, desk, phone, shy)
    expect(not shy.heard("message", id=id_), "negative priority got a headline")
    for each in juliet.heard("message", type="error"):
        raise NotMet(f"a headline came back: {each}")


# ---- 9-8: bodies ---------------------------------------------------------------------------------------------


@check("9-8.2", area="im")
def a_body_may_be_large(site: Site) -> None:
    """RFC 6120 13.12: a stanza of 10,000 octets arrives, or of just the limit; one above it ends in an error."""
    site.change(max_stanza_bytes=SMALLEST_LIMIT)
    juliet, romeo = writer_and_reader(site)
    desk = romeo.available()
    head, tail = f"<message type='chat' id='large' to='{desk.jid}'><body>", "</body></message>"
    room = SMALLEST_LIMIT - len(head) - len(tail)
    juliet.send(head + "x" * room + tail)
    body = desk.comes("message", id="large").find("body")
    expect(body is not None and body.text == "x" * room, "the body did not come as it was sent")
    juliet.send(head.replace("large", "too-large") + "x" * (room + SMALLEST_LIMIT) + tail)
    while True:
        event = juliet.next_solid()
        if not isinstance(event, Element):
            raise NotMet(f"waited for an error, but {describe(event)}")
        if event.is_("error", STREAMS):
            found = [each.name for each in event.elements if each.namespace == STREAM_ERRORS]
            expect("policy-violation" in found or "resource-constraint" in found, f"it is {event}")
            break
        if event.get("id") == "too-large":
            expect_refusal(event, "not-acceptable", "policy-violation", "resource-constraint", "not-allowed")
            break
    desk.before_ping()
    expect(not desk.heard("message", id="too-large"), "a stanza above the limit was delivered")
