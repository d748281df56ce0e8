"""Presence (RFC 6121 4): broadcast and directed, probes and their answers, who sees it and who no longer does."""

from __future__ import annotations

import asyncio
import datetime
import re
from collections import deque
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from functools import partial
from typing import Final
from xml.sax.saxutils import quoteattr

from xmppd import clock, ns
from xmppd._fast.reader import Stanza
from xmppd._fast.route import Resource, fan_out, in_block_list, separated, show_presence
from xmppd.core.accounts import Account, Audience, Refused
from xmppd.core.activity import STATUS_CHARACTERS
from xmppd.core.delivery import Fate, Form, State, form
from xmppd.core.site import Site, bounce, unheard
from xmppd.core.turn import Turn
from xmppd.errors import StanzaError
from xmppd.events import limited
from xmppd.jid import JID
from xmppd.records import Seen

# of the contacts that a resource is shown: how many are looked for in one go, and the output that is enough for one
MET_AT_ONCE: Final = 500
MET_AT_ONCE_BYTES: Final = 65_536

_INTEGER = re.compile("[+-]?[0-9]+")  # xs:byte; int() takes more: 1_0, digits of other scripts


def presence_xml(type_: str | None, from_: JID, to: JID, id_: str | None = None, content: str = "") -> bytes:
    """A presence stanza that the server makes on behalf of an account; `content` is XML."""
    type_part = f" type='{type_}'" if type_ is not None else ""
    id_part = f" id={quoteattr(id_)}" if id_ is not None else ""
    end = f">{content}</presence>" if content else "/>"
    return b"<presence%s from='%s' to='%s'%s%s" % (
        type_part.encode(),
        from_.wire,
        to.wire,
        id_part.encode(),
        end.encode(),
    )


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
        head, tail = _goodbye(sender)
    _end_directed(site, sender, head, tail)
    if not sender.available:
        return
    if (waiting := site.meetings.pop(sender, None)) is not None:
        waiting.clear()  # the stream holds it until it has taken what was written
    account: Account = sender.account.account
    status = stanza.find(ns.CLIENT, "status") if stanza is not None else None
    account.farewell = status.text()[:STATUS_CHARACTERS] if status is not None else ""
    sender.hide()
    _broadcast(site, sender, head, tail)
    fan_out([sender], head, tail, sender.account.wire)


def withdraw_all(site: Site, leaving: list[Resource]) -> None:
    """The streams of all of them are about to end: each is told of all, while all are there (8-20.2).

    And of all that has been said before, also by those who have just gone.
    """
    for sender in leaving:
        head, tail = _goodbye(sender)
        _end_directed(site, sender, head, tail)
        if sender.available:
            account: Account = sender.account.account
            account.farewell = ""
            _broadcast(site, sender, head, tail)
    site.broadcasts.finish_all()
    for sender in leaving:
        sender.hide()


def _goodbye(sender: Resource) -> tuple[bytes, bytes]:
    """Unavailable presence that the server makes (8-20.1)."""
    return b"<presence type='unavailable' from='" + sender.jid.wire + b"'", b"/>"


def _end_directed(site: Site, sender: Resource, head: bytes, tail: bytes) -> None:
    """4.6.3: whoever was sent directed presence and does not hear it by the broadcast (8-20.1: once)."""
    directed, sender.directed = sender.directed, None
    for to in directed or ():
        if not _hears(site, sender, to):
            _pass_on(site, to, head + b" to='" + to.wire + b"'" + tail, sender.jid)


def _priority(stanza: Stanza) -> int:
    element = stanza.find(ns.CLIENT, "priority")
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
    account: Account = sender.account.account
    site.broadcasts.tell(sender, account.audience.local, head, tail)
    _tell_remote(site, account, account.audience, head, tail)
    # 4.2.2, 4.4.2: the account's own available resources, the sending one too
    site.table.broadcast([sender.account.key], head, tail, sender)


def _tell_remote(site: Site, account: Account, audience: Audience, head: bytes, tail: bytes) -> None:
    for contact in audience.remote:
        if not account.blocks(contact):
            site.remote.send(contact, head + b" to='" + contact.wire + b"'" + tail, unheard)


def _hears(site: Site, sender: Resource, to: JID) -> bool:
    """Whether the broadcast of the sender's presence reaches an address."""
    if not sender.available:
        return False
    account: Account = sender.account.account
    return (to.bare == sender.jid.bare or account.shows_to(to.bare)) and _is_told_as_account(site, to)


def _is_told_as_account(site: Site, to: JID) -> bool:
    """Whether presence for the account reaches an address: all but a connected resource without presence."""
    resource = site.table.full(to.norm)
    return resource is None or resource.available


def _greet(site: Site, newcomer: Resource) -> None:
    """What a newly available resource is told: its own other resources, open requests, contacts."""
    account: Account = newcomer.account.account
    for resource in newcomer.account.resources:
        if resource is not newcomer:
            show_presence(resource, [newcomer], newcomer.account.wire)
    if account.roster.requests:
        for item in account.roster:
            if item.pending_in is not None and not account.blocks(JID.kept(item.jid)):
                newcomer.send(item.pending_in)  # 3.1.3: at each initial presence until it is answered
    meet(site, newcomer, [key.decode() for key in account.roster.seen])


def meet(site: Site, resource: Resource, told: Sequence[str | bytes]) -> None:
    """Tell an available resource of others: the presence of contacts, named by their addresses, or stanzas as they are.

    Some at a time, in order, the next when its stream has taken those before: thousands may have more to say than is
    kept for a client. A contact is shown as it is when its turn comes; what it has said meanwhile has gone out as any
    other presence.
    """
    waiting = site.meetings.get(resource)
    if waiting is not None:
        # each once, the last time: whoever asks again and again, and does not read, makes nothing grow
        anew = set(told)
        kept = [of for of in waiting if of not in anew]
        waiting.clear()
        waiting.extend((*kept, *told))
    elif told:
        site.meetings[resource] = waiting = deque(told)
        _go_on(site, resource, waiting)


def _go_on(site: Site, resource: Resource, waiting: deque[str | bytes]) -> None:
    conn, account = resource.conn, resource.account.account
    if conn is None or site.meetings.get(resource) is not waiting:
        return  # it is not available any more
    for _ in range(min(len(waiting), MET_AT_ONCE)):
        of = waiting.popleft()
        if isinstance(of, bytes):
            resource.send(of)
        elif account.roster.sees(contact := JID.kept(of)):
            _look_up(site, resource, contact)
        if conn.pending_out > MET_AT_ONCE_BYTES:
            break
    if waiting:
        conn.when_taken(partial(asyncio.get_running_loop().call_soon, _go_on, site, resource, waiting))
    else:
        del site.meetings[resource]


def _look_up(site: Site, newcomer: Resource, contact: JID) -> None:
    """A contact's presence for a new resource: by a probe, or where it is known here, without (8-4)."""
    user = newcomer.jid.bare
    account: Account = newcomer.account.account
    if account.blocks(contact):
        return
    if contact.domain not in site.hosts:
        site.remote.send(contact, presence_xml("probe", user, contact), unheard)  # 8-7
        return
    connected = site.table.bare(contact.norm)
    if connected is not None and connected.account.shows_to(user):
        for resource in connected.resources:
            if not separated(resource, newcomer):
                show_presence(resource, [newcomer])


# probes


def probe(site: Site, sender: Resource, stanza: Stanza, to: JID) -> None:
    """A client's own probe (4.3; XEP-0318): asked on behalf of the account, and it never causes an error."""
    user = sender.jid.bare
    account: Account = sender.account.account
    if to.domain in site.hosts:
        if to.local is not None:
            turn = Turn(sender.session, site.settings.answer_s)
            answer_probe(site, sender.jid, to, stanza.id, sender, turn.over)
    elif account.roster.sees(to.bare):
        site.remote.send(to, presence_xml("probe", user, to, stanza.id), unheard)
    elif shows_itself_to(sender, to):
        # a room, for instance: it knows the full address, and nobody else is told of it
        site.remote.send(to, presence_xml("probe", sender.jid, to, stanza.id), unheard)


class _RemoteProber:
    def __init__(self, site: Site, jid: JID) -> None:
        self._site = site
        self._jid = jid

    def send(self, data: bytes) -> object:
        return self._site.remote.send(self._jid, data, unheard)


def receive_probe(site: Site, from_: JID, to: JID, id_: str | None) -> None:
    """A probe of another server."""
    answer_probe(site, from_, to, id_, _RemoteProber(site, from_))


def answer_probe(
    site: Site,
    prober: JID,
    asked: JID,
    id_: str | None,
    to: Resource | _RemoteProber,
    then: Callable[[], None] = lambda: None,
) -> None:
    """Tell `to` what a probe from `prober` for the local address `asked` may learn (RFC 6121 4.3.2, 4.6.6; 8-9).

    `then` comes after it.
    """
    contact = asked.bare

    def answer(account: Account | None, left: Seen | None = None) -> None:
        if account is not None and account.blocks(prober):
            return  # XEP-0191 3.3
        if account is None or not may_see(account):
            resource = site.table.full(asked.norm)
            if resource is not None and shows_itself_to(resource, prober):
                to.send(presence_xml(None, asked, prober, id_))  # 4.6.6: that it is there, and no more
            else:
                to.send(presence_xml("unsubscribed", contact, prober, id_))  # 8-9.a
            return
        shown = [
            r
            for r in available(site, contact)
            if (asked.is_bare or r.jid == asked) and not (isinstance(to, Resource) and separated(r, to))
        ]
        for resource in shown:
            if asked.is_full:
                to.send(presence_xml(None, asked, prober, id_))
            elif (current := resource.presence(prober.wire)) is not None:
                to.send(current)  # 8-9.c
        if not shown:
            since = _delay(contact.domain, left) if left is not None else ""
            to.send(presence_xml("unavailable", asked, prober, id_, since))  # 8-9.b

    def may_see(account: Account) -> bool:
        return account.shows_to(prober.bare) or prober.bare == contact

    async def look_and_answer(account: Account | None) -> None:
        left = None
        if account is not None and may_see(account):
            with suppress(StanzaError):  # the answer matters more than since when
                left = await site.activity.of(account)
        answer(account, left if site.table.bare(contact.norm) is None else None)
        then()

    if site.table.bare(contact.norm) is not None:
        answer(site.accounts.get(contact))
        then()
    else:
        site.accounts.perform(contact, look_and_answer, lambda _error: then())


def _delay(domain: str, left: Seen) -> str:
    """When an account left, as RFC 6121 4.3.2 would have it in the answer to a probe (XEP-0203)."""
    moment = datetime.datetime.fromtimestamp(left.at, datetime.UTC)
    return f"<delay xmlns='{ns.DELAY}' from='{domain}' stamp='{clock.xep0082(moment)}'/>"


# directed presence


def direct(site: Site, sender: Resource, stanza: Stanza, to: JID) -> None:
    """Presence with `to`, without type or unavailable (RFC 6121 4.6)."""
    if sender.conn is None:
        return  # as in `announce`
    at = _counts_as(site, to)
    if stanza.type is None:
        if sender.directed is None:
            sender.directed = {}
        if at not in sender.directed and len(sender.directed) >= site.settings.directed_presences:
            limited("directed_presences")
            bounce(sender, stanza, StanzaError("resource-constraint", app="directed_presences"))
            return
        sender.directed[at] = None
    elif sender.directed is not None:
        for each in (to, at):  # 4.6.1: also who was there when it was sent, and is gone
            sender.directed.pop(each, None)

    def refused(error: StanzaError) -> None:
        if sender.directed is not None:
            sender.directed.pop(at, None)
        bounce(sender, stanza, error)

    # 5-2.a: 'to' as it was written
    _pass_on(site, to, stanza.render(from_=sender.jid.wire, lang=sender.lang), sender.jid, refused)


def shows_itself_to(resource: Resource, other: JID) -> bool:
    """Whether the resource has sent directed presence to an address, or to its account, and not taken it back."""
    return resource.directed is not None and (other in resource.directed or other.bare in resource.directed)


def forget(site: Site, gone: JID) -> None:
    """An account is no more: directed presence that it was sent is not for another one of its name."""
    for connected in site.table.accounts():
        for resource in connected.resources:
            directed = resource.directed or {}
            for to in [to for to in directed if to.bare == gone]:
                del directed[to]


def end_directed(site: Site, user: JID, told: Container[bytes], blocked: frozenset[bytes]) -> None:
    """Whoever of the `blocked` was sent directed presence hears that it is over, except the accounts `told`."""
    for resource in _resources(site, user):
        directed = resource.directed or {}
        for to in [to for to in directed if to.bare != user and in_block_list(to.norm, blocked)]:
            del directed[to]
            if to.bare.norm not in told:
                _pass_on(site, to, presence_xml("unavailable", resource.jid, to), resource.jid)


def _pass_on(site: Site, to: JID, stanza: bytes, from_: JID, refused: Refused = unheard) -> None:
    if to.domain in site.hosts:
        deliver(site, to, stanza, from_)
    else:
        site.remote.send(to, stanza, refused)


def deliver(site: Site, to: JID, stanza: bytes, from_: JID, what: str = "presence") -> None:
    """RFC 6121 8.5: a full address that is connected, else all available resources of the account; XEP-0191 3.3.

    `what`: "presence" of no type or unavailable, or "presence error".
    """
    account = site.accounts.get(to.bare)
    if account is not None and account.blocks(from_):
        return
    resource = site.table.full(to.norm)
    if resource is not None:
        tell([resource], stanza)
    elif site.settings.delivery[what, form(to, None), State.AVAILABLE] is not Fate.DROP:
        tell(available(site, to.bare), stanza)


def _counts_as(site: Site, to: JID) -> JID:
    """The address that presence for `to` reaches: itself, or the bare one if nobody here has the full one (5-20.3)."""
    gone = to.is_full and to.domain in site.hosts and site.table.full(to.norm) is None
    if gone and site.settings.delivery["presence", Form.GONE, State.AVAILABLE] is not Fate.DROP:
        return to.bare
    return to


# who is there


def _resources(site: Site, account: JID) -> tuple[Resource, ...]:
    connected = site.table.bare(account.norm)
    return connected.resources if connected is not None else ()


def available(site: Site, account: JID) -> list[Resource]:
    """The account's resources that have sent initial presence."""
    return [resource for resource in _resources(site, account) if resource.available]


def interested(site: Site, account: JID) -> list[Resource]:
    """The account's resources that have asked for the roster (RFC 6121 2.2)."""
    return [resource for resource in _resources(site, account) if resource.interested]


def tell(resources: list[Resource], stanza: bytes) -> None:
    """The same bytes to each of `resources`."""
    for resource in resources:
        resource.send(stanza)


def show(site: Site, user: JID, contact: JID) -> None:
    """3.1.5: the contact, newly subscribed, gets the presence of each available resource of the user.

    Or one resource of the contact does, that is not blocked any more (XEP-0191 3.4).
    """
    account = site.accounts.get(user)
    if account is None or not account.shows_to(contact.bare):
        return  # cancelled since
    viewers = [r for r in available(site, contact.bare) if contact.is_bare or r.jid == contact]
    for resource in available(site, user):
        if contact.domain in site.hosts:
            show_presence(resource, [v for v in viewers if not separated(resource, v)], contact.wire)
        elif (current := resource.presence(contact.wire)) is not None:
            site.remote.send(contact, current, unheard)


def hide(site: Site, user: JID, contact: JID) -> None:
    """3.2.2, 3.3.3: the contact, no longer subscribed, gets unavailable presence of each available resource."""
    account = site.accounts.get(user)
    if account is None or account.blocks(contact):
        return  # it was told when it was blocked
    site.broadcasts.finish(user.norm)
    for resource in available(site, user):
        _pass_on(site, contact, presence_xml("unavailable", resource.jid, contact), resource.jid)
        # 4.6.1: that takes precedence over directed presence, which it takes back where it arrives
        directed = resource.directed or {}
        for to in [to for to in directed if to.bare == contact and _is_told_as_account(site, to)]:
            del directed[to]


def show_all(site: Site, account: Account, to: Audience) -> None:
    """As `show`, to many."""
    for resource in available(site, account.jid):
        if (shown := resource.shown()) is not None:
            _tell_all(site, resource, to, *shown)


def hide_all(site: Site, account: Account, to: Audience) -> None:
    """As `hide`, to many."""
    for resource in available(site, account.jid):
        _tell_all(site, resource, to, *_goodbye(resource))


def _tell_all(site: Site, sender: Resource, audience: Audience, head: bytes, tail: bytes) -> None:
    site.table.broadcast(audience.local, head, tail, sender)
    _tell_remote(site, sender.account.account, audience, head, tail)


def departures(site: Site, user: JID, contacts: Sequence[bytes], resources: Sequence[JID]) -> list[bytes]:
    """Unavailable presence of these contacts and resources, for an account that has seen them so far."""
    found = []
    for contact in map(JID.kept, contacts):
        connected = site.table.bare(contact.norm)
        if contact.domain not in site.hosts:
            found.append(presence_xml("unavailable", contact, user))
        elif connected is not None and connected.account.shows_to(user):
            found += [presence_xml("unavailable", r.jid, user) for r in connected.resources if r.available]
    for jid in resources:
        resource = site.table.full(jid.norm)
        if resource is None or (resource.available and resource.account.account.shows_to(user)):
            found.append(presence_xml("unavailable", jid, user))
    return found
