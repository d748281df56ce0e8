"""What passes between a user and a contact: subscription stanzas and what follows from them (RFC 6121 3).

The rules on the tables of `core.subscription`, by state and direction: what a user's client sends is `outbound`, what
comes in from a contact is `inbound`. A contact of this server and one of another differ only in the way the stanza
takes (`_pass_on`). Each side's roster changes in its own account's queue, after the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from xml.sax.saxutils import quoteattr

from msgspec.structs import replace

from xmppd import events
from xmppd._fast.reader import Stanza
from xmppd._fast.route import Resource
from xmppd.core import presence
from xmppd.core.accounts import Account, Refused, owns
from xmppd.core.presence import presence_xml
from xmppd.core.push import push as push_to
from xmppd.core.roster import item_xml, moved
from xmppd.core.site import Site, bounce, unheard
from xmppd.core.subscription import INBOUND, OUTBOUND, SubscriptionType
from xmppd.core.turn import Turn
from xmppd.errors import StanzaError
from xmppd.jid import JID
from xmppd.records import Crossing, RosterItem

SUBSCRIPTION_TYPES = frozenset(OUTBOUND)

_NOBODY: Final = "service-unavailable"  # 7-5.2, 7-8.c: what is asked of a name that is no account
_DELETED: Final = "item-not-found"  # what the store says of an account that was deleted a moment ago


def _nothing() -> None:
    return


def outbound(site: Site, sender: Resource, stanza: Stanza, to: JID, type_: SubscriptionType) -> None:
    """A subscription stanza of a client (RFC 6121 3; A.2)."""
    user, contact = sender.jid.bare, to.bare
    if user == contact:
        bounce(sender, stanza, StanzaError("not-allowed", "an account always sees its own presence"))
        return
    # 3.1.2: stamped with bare addresses, the rest of the stanza as it was sent (7-3, 7-4)
    routed = stanza.render(to=contact.wire, from_=user.wire, lang=sender.lang)
    id_ = stanza.id
    turn = Turn(sender.session, site.settings.answer_s)

    async def change(account: Account | None) -> None:
        if not owns(account, sender):
            turn.over()
            return
        step = OUTBOUND[type_][account.roster.state(contact)]
        before = account.roster.get(contact)
        item = before or RosterItem(str(contact), listed=False)
        after = moved(item, step.after)
        crossing: Crossing | None = None
        if step.pre_approves:
            after = _with_approval(after, approved=True)
        elif type_ == "unsubscribed" and item.approved:
            after = _with_approval(after, approved=False)
        if after != before and not (before is None and after == item):
            if type_ in ("subscribe", "subscribed"):  # who ends something is never refused
                account.roster.make_room(after, site.settings)
            if step.passes:
                crossing = _crossing(site, user, contact, type_, routed, id_)
            await account.put(after, (crossing,) if crossing else ())
            if after.visible() != item.visible():
                push(site, account, after)
        if not step.passes:
            turn.over()
            return
        if type_ == "unsubscribed" and item.subscription in ("from", "both"):
            # 3.2.2: first, and while there is somebody to leave: from here on no broadcast reaches the contact
            presence.hide(site, user, contact)

        def undelivered(error: StanzaError) -> None:
            refused(error)
            # what was opened is closed again (7-5.3), what was settled before stands; nobody denies everything (7-8.c).
            # What crosses is denied on its way.
            if type_ == "subscribe" and crossing is None and (after != item or error.condition == _NOBODY):
                denial = presence_xml("unsubscribed", contact, user, id_)
                inbound(site, user, contact, "unsubscribed", denial, id_)

        _pass_on(site, user, contact, type_, routed, id_, undelivered, turn.over, crossing)

    def refused(error: StanzaError) -> None:
        bounce(sender, stanza, error)
        turn.over()

    site.accounts.perform(user, change, refused)


def _pass_on(
    site: Site,
    from_: JID,
    to: JID,
    type_: SubscriptionType,
    stanza: bytes,
    id_: str | None = None,
    refused: Refused = unheard,
    then: Callable[[], None] = _nothing,
    crossing: Crossing | None = None,
) -> None:
    """Let the other side have a stanza: the one place that knows whether it is at home here.

    `crossing`: how it is kept, if the sender's roster has changed with it.
    """
    if crossing is not None:
        _cross(site, crossing, refused, then)
    elif to.domain in site.hosts:
        inbound(site, to, from_, type_, stanza, id_, refused, then)
    else:
        site.remote.send(to, stanza, refused)
        if type_ == "subscribed":
            presence.show(site, from_, to)
        then()


def _crossing(
    site: Site, from_: JID, to: JID, type_: SubscriptionType, stanza: bytes, id_: str | None = None
) -> Crossing | None:
    """What is to be kept with the sender's change until the other side has made its own; None: that is elsewhere."""
    return site.crossings.new(to, from_, type_, stanza, id_) if to.domain in site.hosts else None


def _cross(
    site: Site, crossing: Crossing, refused: Refused = unheard, then: Callable[[], None] = _nothing
) -> None:
    """Bring a stanza to the other account of this server, or try again until it is there.

    A request that could not be brought is denied, from then on (7-5.3). If one of the two accounts has been deleted
    meanwhile, nothing is between them any more.
    """
    to, from_, type_, id_ = JID.kept(crossing.to), JID.kept(crossing.from_), crossing.type, crossing.id
    told = False

    def go() -> None:
        if told and type_ == "subscribe":
            denial = presence_xml("unsubscribed", to, from_, id_)
            inbound(site, from_, to, "unsubscribed", denial, id_, failed, crossing=crossing)
        else:
            inbound(site, to, from_, type_, crossing.stanza, id_, failed, then, crossing)

    def failed(error: StanzaError) -> None:
        nonlocal told
        first, told = not told, True
        if first:
            refused(error)
        if error.condition == _DELETED:
            site.crossings.through(crossing)
        elif first and type_ == "subscribe":
            go()
        else:
            site.crossings.stuck(crossing)

    site.crossings.cross(crossing, go)


def resume(site: Site, crossings: Iterable[Crossing]) -> None:
    """Go on with what was between two accounts when the server ended."""
    for crossing in crossings:
        _cross(site, crossing)


def inbound(
    site: Site,
    user: JID,
    contact: JID,
    type_: SubscriptionType,
    stanza: bytes,
    id_: str | None = None,
    refused: Refused = unheard,
    then: Callable[[], None] = _nothing,
    crossing: Crossing | None = None,
) -> None:
    """A subscription stanza from `contact` for the local account `user` (RFC 6121 3; A.3).

    `stanza` is addressed to the bare `user`, `id_` is its id. `then` comes after it; `refused` is told if it cannot be
    processed. With its commit `crossing` is through.
    """

    async def nothing_changes() -> None:
        if crossing is not None:
            await site.records.crossed(crossing.key)
            site.crossings.through(crossing)

    async def change(account: Account | None) -> None:
        if account is None:
            if type_ == "subscribe":
                refused(StanzaError(_NOBODY))
            else:
                await nothing_changes()
            then()
            return
        before = account.roster.get(contact)
        item = before or RosterItem(str(contact), listed=False)
        step = INBOUND[type_][account.roster.state(contact)]
        reply, passes, state = step.reply, step.passes, step.after
        if type_ == "subscribe" and crossing is None and site.crossings.between(user, contact):
            # a request that is sent again, and has changed nothing over there: what is on its way between the two, an
            # answer or an end, settles it, and would not be known of by a request that is entered here before that
            then()
            return
        if account.blocks(contact):  # XEP-0191 3.3: no word of it; but the two rosters stay in step
            if type_ == "subscribe":
                await nothing_changes()
                then()
                return
            reply, passes = None, False
        approved = type_ == "subscribe" and state.pending_in and item.approved
        if approved:  # 3.4.2: before it was asked
            reply, passes, state = "subscribed", False, OUTBOUND["subscribed"][state].after
        after = moved(item, state, request=_kept(site, stanza, contact, user, id_))
        if approved:
            after = _with_approval(after, approved=False)
        if after.pending_in is not None and item.pending_in is None:
            _room_for_request(site, account)
        # "unsubscribed" is for another server (A.3.2): our own has changed the contact's side before it came here,
        # and would take it for the answer to a new request
        answer, reply_crossing = b"", None
        if reply == "unsubscribed" and contact.domain in site.hosts:
            reply = None
        if reply is not None:
            answer = presence_xml(reply, user, contact, id_)  # 7-8.b: with the request's id
            reply_crossing = _crossing(site, user, contact, reply, answer, id_)
        if after != item:
            await account.put(after, (reply_crossing,) if reply_crossing else (), crossing)
            if crossing is not None:
                site.crossings.through(crossing)
        else:
            reply_crossing = None
            await nothing_changes()
        if passes:
            # 3.1.3: only resources that sent presence are asked; else the request waits for the next one.
            asked = presence.available(site, user)
            presence.tell(asked if type_ == "subscribe" else presence.interested(site, user), stanza)
        if after.visible() != item.visible():
            push(site, account, after)

        def follow() -> None:
            if type_ == "subscribed":
                presence.show(site, contact, user)  # 3.1.5: behind the stanza that allows it
            elif type_ == "unsubscribe" and item.subscription in ("from", "both"):
                presence.hide(site, user, contact)
            then()

        if reply is not None:
            _pass_on(site, user, contact, reply, answer, id_, then=follow, crossing=reply_crossing)
        else:
            follow()

    site.accounts.perform(user, change, refused)


def receive(site: Site, from_: JID, to: JID, type_: SubscriptionType, stanza: Stanza) -> None:
    """A subscription stanza of another server's user: 7-7, 7-8."""
    user, contact = to.bare, from_.bare

    def refused(_error: StanzaError) -> None:
        if (
            type_ == "subscribe"
        ):  # 7-8.c: denied, as an account would deny it; no request stays open over there
            site.remote.send(contact, presence_xml("unsubscribed", user, contact, stanza.id), unheard)

    inbound(site, user, contact, type_, stanza.render(to=user.wire, from_=contact.wire), stanza.id, refused)


def _kept(site: Site, request: bytes, from_: JID, to: JID, id_: str | None) -> bytes:
    """The request as it is kept: whole (7-8.e), or without its content if that is too much to hold for a stranger."""
    if len(request) <= site.settings.kept_request_bytes:
        return request
    events.limited("kept_request_bytes")
    return presence_xml("subscribe", from_, to, id_)


def _room_for_request(site: Site, account: Account) -> None:
    """StanzaError if too many requests wait already: all of them are sent at each log-in (RFC 6121 3.1.3, warning)."""
    if account.roster.requests >= site.settings.kept_requests:
        events.limited("kept_requests")
        raise StanzaError("resource-constraint", app="kept_requests")


def _with_approval(item: RosterItem, *, approved: bool) -> RosterItem:
    return replace(item, approved=approved, listed=item.listed or approved)


def push(site: Site, account: Account, item: RosterItem | None, removed: JID | None = None) -> None:
    """A roster push to all interested resources of the account (RFC 6121 2.1.6)."""
    xml = item_xml(item) if item is not None else removed_xml(str(removed))
    send_push(site, account, presence.interested(site, account.jid), xml, account.roster.version)


def removed_xml(contact: str) -> bytes:
    """`<item/>` of a push for an item that is gone."""
    return f"<item jid={quoteattr(contact)} subscription='remove'/>".encode()


def send_push(site: Site, account: Account, to: list[Resource], item: bytes, version: int) -> None:
    """One changed item to some resources, with the version it brings (2.6.3)."""
    query = b"<query xmlns='jabber:iq:roster' ver='" + str(version).encode() + b"'>" + item + b"</query>"
    push_to(site, account, to, query)


async def remove(site: Site, account: Account, item: RosterItem) -> None:
    """Take a listed item out, and end what it held: both directions (RFC 6121 2.5.2; 6-30).

    A request that is not answered yet stays. StanzaError: nothing has changed then.
    """
    user, contact = account.jid, JID.kept(item.jid)
    ends: list[SubscriptionType] = []
    if item.subscription in ("to", "both") or item.ask:
        ends.append("unsubscribe")
    if item.subscription in ("from", "both"):
        ends.append("unsubscribed")
    sent = [(type_, presence_xml(type_, user, contact)) for type_ in ends]
    crossing = [_crossing(site, user, contact, type_, stanza) for type_, stanza in sent]
    await account.put(
        RosterItem(item.jid, pending_in=item.pending_in, listed=False), [each for each in crossing if each]
    )
    push(site, account, None, removed=contact)
    for (type_, stanza), each in zip(sent, crossing, strict=True):
        if type_ == "unsubscribed":
            presence.hide(site, user, contact)
        _pass_on(site, user, contact, type_, stanza, crossing=each)
