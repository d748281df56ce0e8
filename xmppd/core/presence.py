"""Presence and subscriptions (RFC 6121 3 and 4): the rules, on the tables of `core.subscription`.

What a user's client sends is `outbound`, what a contact sends to a user is `inbound`. Both sides of a subscription
are local accounts here; each side's roster changes in its own account's queue, after the commit.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from itertools import count
from xml.sax.saxutils import quoteattr

from msgspec.structs import replace

from xmppd._fast.reader import Stanza
from xmppd._fast.route import Resource, fan_out, show_presence
from xmppd.core.accounts import Account, Refused, owns
from xmppd.core.delivery import Fate, Form, State
from xmppd.core.roster import is_empty, item_xml, moved
from xmppd.core.site import Site, bounce
from xmppd.core.subscription import INBOUND, OUTBOUND, SubscriptionType
from xmppd.errors import StanzaError
from xmppd.jid import JID
from xmppd.records import RosterItem

log = logging.getLogger("xmppd.core.presence")

_PUSHES = count(1)  # an id of its own for each push, whether or not it brings a new version

_INTEGER = re.compile("[+-]?[0-9]+")  # xs:byte; int() takes more: 1_0, digits of other scripts

SUBSCRIPTION_TYPES = frozenset(OUTBOUND)


def presence_xml(type_: str, from_: JID, to: JID | None = None) -> bytes:
    """A presence stanza that the server makes on behalf of an account."""
    to_part = b" to='" + to.wire + b"'" if to is not None else b""
    return b"<presence type='" + type_.encode() + b"' from='" + from_.wire + b"'" + to_part + b"/>"


# broadcast presence: no 'to'


def announce(site: Site, sender: Resource, stanza: Stanza) -> None:
    """Presence without type and without `to`: initial or subsequent (RFC 6121 4.2, 4.4)."""
    if sender.conn is None:
        return  # it came behind our closing tag (1-18.b): nobody would ever withdraw it
    try:
        priority = _priority(stanza)
    except ValueError:
        bounce(sender, stanza, StanzaError("bad-request", "priority is a number from -128 to 127"))
        return
    initial = not sender.available
    head, tail = stanza.split(from_=sender.jid.wire, lang=sender.lang)
    sender.show(head, tail, priority)
    _broadcast(site, sender, head, tail)
    if initial:
        _greet(site, sender)
    if priority >= 0:
        site.offline.available(sender)


def withdraw(site: Site, sender: Resource, stanza: Stanza | None) -> None:
    """Unavailable presence without `to`, or the end of the stream (`stanza` is None) (RFC 6121 4.5)."""
    if stanza is not None:
        head, tail = stanza.split(from_=sender.jid.wire, lang=sender.lang)
    else:
        head, tail = b"<presence type='unavailable' from='" + sender.jid.wire + b"'", b"/>"
    directed, sender.directed = sender.directed, None
    for to in directed or ():
        # 4.6.3: whoever was sent directed presence and does not hear it by the broadcast (8-20.1: once)
        if not _hears(site, sender, to):
            _to_local(site, to, head + b" to='" + to.wire + b"'" + tail)
    if not sender.available:
        return
    sender.hide()
    _broadcast(site, sender, head, tail)
    fan_out([sender], head, tail, sender.account.wire)


def _priority(stanza: Stanza) -> int:
    element = stanza.find("jabber:client", "priority")
    if element is None:
        return 0
    text = element.text().strip()
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(text)
    priority = int(text)
    if not -128 <= priority <= 127:
        raise ValueError(priority)
    return priority


def _broadcast(site: Site, sender: Resource, head: bytes, tail: bytes) -> None:
    account = site.accounts.get(sender.jid.bare)
    if account is not None:
        site.table.broadcast(account.roster.subscribers, head, tail)
    # 4.2.2, 4.4.2: the account's own available resources, the sending one too
    site.table.broadcast([sender.account.key], head, tail)


def _hears(site: Site, sender: Resource, to: JID) -> bool:
    """Whether the broadcast of the sender's presence reaches an address."""
    if not sender.available:
        return False
    if to.bare != sender.jid.bare:
        account = site.accounts.get(sender.jid.bare)
        if account is None or not account.roster.shows_to(to.bare):
            return False
    resource = site.table.full(to.norm)
    return resource is None or resource.available


def _greet(site: Site, newcomer: Resource) -> None:
    """What a newly available resource is told: contacts, its own other resources, open requests."""
    account = site.accounts.get(newcomer.jid.bare)
    if account is None:
        return
    for item in account.roster:
        if item.subscription in ("to", "both"):
            answer_probe(site, newcomer.jid.bare, JID.parse(item.jid), [newcomer])
        if item.pending_in is not None:
            newcomer.send(item.pending_in)  # 3.1.3: at each initial presence until it is answered
    for resource in newcomer.account.resources:
        if resource is not newcomer:
            show_presence(resource, [newcomer], newcomer.account.wire)


def answer_probe(site: Site, prober: JID, contact: JID, to: list[Resource]) -> None:
    """Send the presence of a connected contact to `to`, if its roster shows it to the prober (RFC 6121 4.3.2)."""
    connected = site.table.bare(contact.norm)
    if connected is None:
        return
    account = site.accounts.get(contact)
    if account is None or not (account.roster.shows_to(prober) or prober == contact):
        return
    for resource in connected.resources:
        show_presence(resource, to)


# directed presence


def direct(site: Site, sender: Resource, stanza: Stanza, to: JID) -> None:
    """Presence with `to`, without type or unavailable, to a local address (RFC 6121 4.6)."""
    if sender.conn is None:
        return  # as in `announce`
    if stanza.type is None:
        if sender.directed is None:
            sender.directed = {}
        if to not in sender.directed and len(sender.directed) >= site.settings.directed_presences:
            bounce(sender, stanza, StanzaError("resource-constraint", app="directed_presences"))
            return
        sender.directed[to] = None
    elif sender.directed is not None:
        sender.directed.pop(to, None)
    _to_local(
        site, to, stanza.render(from_=sender.jid.wire, lang=sender.lang)
    )  # 5-2.a: 'to' as it was written


def _to_local(site: Site, to: JID, stanza: bytes) -> None:
    """RFC 6121 8.5: a full address that is connected, else all available resources of the account."""
    resource = site.table.full(to.norm)
    if resource is not None:
        tell([resource], stanza)
    elif to.is_bare or site.settings.delivery["presence", Form.GONE, State.AVAILABLE] is not Fate.DROP:
        tell(_available(site, to.bare), stanza)


def probe(site: Site, sender: Resource, to: JID) -> None:
    """A client's own probe is answered as one of its server would be (RFC 6121 4.3.2)."""
    answer_probe(site, sender.jid.bare, to.bare, [sender])


# subscriptions


def outbound(site: Site, sender: Resource, stanza: Stanza, to: JID, type_: SubscriptionType) -> None:
    """A subscription stanza of a client (RFC 6121 3; A.2), addressed to a local contact."""
    user, contact = sender.jid.bare, to.bare
    if user == contact:
        bounce(sender, stanza, StanzaError("not-allowed", "an account always sees its own presence"))
        return
    # 3.1.2: stamped with bare addresses, the rest of the stanza as it was sent (7-3, 7-4)
    routed = stanza.render(to=contact.wire, from_=user.wire, lang=sender.lang)

    async def change(account: Account | None) -> None:
        if not owns(account, sender):
            return
        step = OUTBOUND[type_][account.roster.state(contact)]
        before = account.roster.get(contact)
        item = before or RosterItem(str(contact), listed=False)
        after = moved(item, step.after)
        if step.pre_approves:
            after = _with_approval(after, approved=True)
        elif type_ == "unsubscribed" and item.approved:
            after = _with_approval(after, approved=False)
        if before is None and not is_empty(after) and len(account.roster) >= site.settings.roster_items:
            raise StanzaError("resource-constraint", app="roster_items")
        if after != before and not (before is None and after == item):
            await account.put(after)
            if after.listed:
                push(site, account, after)
        if not step.passes:
            return

        if type_ == "unsubscribed" and item.subscription in ("from", "both"):
            # 3.2.2: first, and while there is somebody to leave: from here on no broadcast reaches the contact
            _hide_presence(site, user, contact)

        def then() -> None:
            if type_ == "subscribed":  # 3.1.5: presence follows the stanza that allows it
                _show_presence(site, user, contact)

        inbound(site, contact, user, type_, routed, undelivered, then)

    def refused(error: StanzaError) -> None:
        bounce(sender, stanza, error)

    def undelivered(error: StanzaError) -> None:
        bounce(sender, stanza, error)
        if type_ == "subscribe":
            _reply(site, user, contact, "unsubscribed")  # 7-5.3: no request stays open

    site.accounts.perform(user, change, refused)


def inbound(
    site: Site,
    user: JID,
    contact: JID,
    type_: SubscriptionType,
    stanza: bytes,
    refused: Refused = lambda _error: None,
    then: Callable[[], None] = lambda: None,
) -> None:
    """A subscription stanza from `contact` for the local account `user` (RFC 6121 3; A.3).

    `then` comes after it; `refused` is told if it cannot be processed.
    """

    async def change(account: Account | None) -> None:
        if account is None:
            if type_ == "subscribe":  # 7-8.c: nobody there: denied, as an account would deny it
                _reply(site, contact, user, "unsubscribed")
            then()
            return
        before = account.roster.get(contact)
        item = before or RosterItem(str(contact), listed=False)
        step = INBOUND[type_][account.roster.state(contact)]
        reply, passes, after = step.reply, step.passes, moved(item, step.after, request=stanza)
        if type_ == "subscribe" and step.after.pending_in and item.approved:
            # 3.4.2: approved before it was asked
            approved_state = OUTBOUND["subscribed"][step.after].after
            reply, passes, after = (
                "subscribed",
                False,
                _with_approval(moved(item, approved_state), approved=False),
            )
        if after != item:
            await account.put(after)
        if passes:
            # 3.1.3: only resources that sent presence are asked; else the request waits for the next one.
            asked = _available(site, user)
            tell(asked if type_ == "subscribe" else interested(site, user), stanza)
        if after.listed and (after.subscription, after.ask, after.approved) != (
            item.subscription,
            item.ask,
            item.approved,
        ):
            push(site, account, after)

        def follow() -> None:
            if reply == "subscribed":
                _show_presence(site, user, contact)
            elif type_ == "unsubscribe" and item.subscription in ("from", "both"):
                _hide_presence(site, user, contact)
            then()

        # "unsubscribed" is for another server (A.3.2): our own has changed the contact's side before it came here,
        # and would take it for the answer to a new request
        if reply == "subscribed":
            _reply(site, contact, user, reply, follow)
        else:
            follow()

    site.accounts.perform(user, change, refused)


def _reply(
    site: Site,
    contact: JID,
    user: JID,
    type_: SubscriptionType,
    then: Callable[[], None] = lambda: None,
) -> None:
    """The server answers the contact on behalf of the user; `then` comes after it."""
    if contact.domain in site.hosts:
        inbound(site, contact, user, type_, presence_xml(type_, user, contact), then=then)


def _with_approval(item: RosterItem, *, approved: bool) -> RosterItem:
    return replace(item, approved=approved, listed=item.listed or approved)


def _resources(site: Site, account: JID) -> tuple[Resource, ...]:
    connected = site.table.bare(account.norm)
    return connected.resources if connected is not None else ()


def _available(site: Site, account: JID) -> list[Resource]:
    return [resource for resource in _resources(site, account) if resource.available]


def interested(site: Site, account: JID) -> list[Resource]:
    """The account's resources that have asked for the roster (RFC 6121 2.2)."""
    return [resource for resource in _resources(site, account) if resource.interested]


def tell(resources: list[Resource], stanza: bytes) -> None:
    """The same bytes to each of `resources`."""
    for resource in resources:
        resource.send(stanza)


def _show_presence(site: Site, user: JID, contact: JID) -> None:
    """3.1.6: the contact, newly subscribed, gets the presence of each available resource of the user."""
    account = site.accounts.get(user)
    if account is None or not account.roster.shows_to(contact):
        return  # cancelled since
    viewers = _available(site, contact)
    for resource in _resources(site, user):
        show_presence(resource, viewers, contact.wire)


def _hide_presence(site: Site, user: JID, contact: JID) -> None:
    """3.2.2, 3.3.3: the contact, no longer subscribed, gets unavailable presence of each available resource."""
    for resource in _resources(site, user):
        if resource.available:
            head = b"<presence type='unavailable' from='" + resource.jid.wire + b"'"
            site.table.broadcast([contact.norm], head, b"/>")


def push(site: Site, account: Account, item: RosterItem | None, removed: JID | None = None) -> None:
    """A roster push to all interested resources of the account (RFC 6121 2.1.6).

    It says `from`, which could be left out: Profanity 0.15.0 believes no push without.
    """
    payload = (
        item_xml(item)
        if item is not None
        else f"<item jid={quoteattr(str(removed))} subscription='remove'/>".encode()
    )
    resources = interested(site, account.jid)
    if not resources:
        return
    fan_out(
        resources,
        b"<iq type='set' from='" + account.jid.wire + b"' id='push-" + str(next(_PUSHES)).encode() + b"'",
        b"><query xmlns='jabber:iq:roster'>" + payload + b"</query></iq>",
    )


def cancel(site: Site, user: JID, item: RosterItem) -> None:
    """The stanzas that end what an item that was removed held: both directions (RFC 6121 2.5.2; 6-30)."""
    types: list[SubscriptionType] = []
    if item.subscription in ("to", "both") or item.ask:
        types.append("unsubscribe")
    if item.subscription in ("from", "both"):
        types.append("unsubscribed")
    contact = JID.parse(item.jid)
    for type_ in types:
        _reply(site, contact, user, type_)
    if "unsubscribed" in types:
        _hide_presence(site, user, contact)
