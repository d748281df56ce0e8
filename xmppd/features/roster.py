"""Roster management (RFC 6121 2): get, set, remove, and the pushes that follow."""

from __future__ import annotations

import re
from contextlib import suppress

from msgspec.structs import replace

from xmppd import ns
from xmppd._fast.element import Element
from xmppd.core import contacts
from xmppd.core.accounts import Account
from xmppd.core.iq import Answer, Request, Routes, Scope, in_turn, not_yours, reply
from xmppd.core.roster import item_xml
from xmppd.errors import StanzaError
from xmppd.events import limited
from xmppd.jid import JID, JIDError
from xmppd.records import RosterChange, RosterItem

FEATURES = ()
# RFC 6121 2.6.1 and 3.4
STREAM_FEATURES = f"<ver xmlns='{ns.ROSTER_VERSIONING}'/><sub xmlns='{ns.PRE_APPROVAL}'/>".encode()

PUSH_BYTES = 200  # about what a push has besides its item
FEW_BYTES = 2048  # changes that are no longer than this are told as such, also of a roster that is shorter

_VERSION = re.compile("[0-9]{1,18}")  # what we give; anything else is of somebody else


def get(request: Request) -> Answer:
    """RFC 6121 2.1.3, 2.1.4: the roster; from now on the resource gets pushes (2.1.6).

    A client that knows a version is told what has changed since by pushes, as if it had been there (2.6.3).
    """
    account: Account = request.sender.account.account
    known = request.payload.get("ver")
    if known == str(account.roster.version):
        request.sender.interested = True
        return b""
    if known and _VERSION.fullmatch(known):
        return _changes(request, int(known))
    request.sender.interested = True
    return request.site.rosters.get(account.account_id, account.roster)


async def _changes(request: Request, known: int) -> None:
    """Answer, then push what is new since version `known`; or answer with all, if that is less to read."""

    async def look(account: Account) -> None:
        # among the account's jobs: the roster does not change between the answer and the pushes
        changes = await request.site.records.changes(account.account_id, known)
        request.sender.interested = True
        pushes = [(_pushed(change), change.version) for change in changes or ()]
        octets = sum(len(xml) + PUSH_BYTES for xml, _ in pushes)
        if changes is None or octets > max(account.roster.octets, FEW_BYTES):
            reply(request, request.site.rosters.get(account.account_id, account.roster))
            return
        reply(request, b"")
        for xml, version in pushes:
            contacts.send_push(request.site, account, [request.sender], xml, version)

    await in_turn(request, look)


def _pushed(change: RosterChange) -> bytes:
    return item_xml(change.item) if change.item is not None else contacts.removed_xml(change.contact)


async def set_(request: Request) -> bytes:
    """RFC 6121 2.3 to 2.5: add, change or remove one item; answered after the commit, then pushed."""
    address, wish = _read(request)

    async def change(account: Account) -> None:
        if wish is None:
            await _remove(request, account, address)
        else:
            await _update(request, account, wish)

    await in_turn(request, change)
    return b""


def _read(request: Request) -> tuple[str, RosterItem | None]:
    """The address in a roster set and how the item should be, None for removed; StanzaError as RFC 6121 2.3.3 says."""
    limits = request.site.settings
    items = list(request.payload)
    if len(items) != 1 or items[0].name != "item" or items[0].ns != ns.ROSTER:
        raise StanzaError("bad-request", "a roster set has exactly one item")
    element: Element = items[0]
    address = element.get("jid")
    if address is None:
        raise StanzaError("bad-request", "a roster item has a 'jid'")
    # 2.1.2.5: of the subscription only "remove" is the client's to say
    if element.get("subscription") == "remove":
        return address, None
    # a full address is an item of its own: subscriptions are of bare ones (3.1.2), and never to an account by itself
    try:
        contact = JID.parse(address)
    except JIDError as error:
        raise StanzaError("jid-malformed", str(error)) from None
    if contact.bare == request.sender.jid.bare:
        raise StanzaError("not-allowed", "an account is not its own contact")
    name = element.get("name") or ""
    groups = [child.text() for child in element if child.name == "group" and child.ns == ns.ROSTER]
    if len(set(groups)) != len(groups):
        raise StanzaError("bad-request", "a group is named twice")
    if any(not group for group in groups):
        raise StanzaError("not-acceptable", "a group without a name")
    if len(groups) > limits.roster_groups:
        limited("roster_groups")
        raise StanzaError("not-acceptable", app="roster_groups")
    if any(len(text.encode()) > limits.roster_name_bytes for text in (name, *groups)):
        limited("roster_name_bytes")
        raise StanzaError("not-acceptable", app="roster_name_bytes")
    return address, RosterItem(str(contact), name=name, groups=tuple(groups))


async def _update(request: Request, account: Account, wish: RosterItem) -> None:
    before = account.roster.named(wish.jid)
    item = replace(before or wish, name=wish.name, groups=wish.groups, listed=True)
    if item != before:
        account.roster.make_room(item, request.site.settings)
        await account.put(item)
    contacts.push(request.site, account, item)


async def _remove(request: Request, account: Account, address: str) -> None:
    """RFC 6121 2.5: cancel both subscriptions, then forget the item."""
    before = account.roster.named(address)
    if before is None:
        with suppress(JIDError):  # what is no address names no item
            before = account.roster.get(JID.parse(address))
    if before is None or not before.listed:
        raise StanzaError("item-not-found")  # 6-31
    await contacts.remove(request.site, account, before)


ROUTES: Routes = {
    ("get", Scope.OWN, ns.ROSTER, "query"): get,
    ("set", Scope.OWN, ns.ROSTER, "query"): set_,
    ("get", Scope.ACCOUNT, ns.ROSTER, "query"): not_yours,
    ("set", Scope.ACCOUNT, ns.ROSTER, "query"): not_yours,
}
