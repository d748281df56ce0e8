"""Roster management (RFC 6121 2): get, set, remove, and the pushes that follow."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from xmppd import ns
from xmppd._fast.element import Element
from xmppd.core import contacts
from xmppd.core.accounts import Account, owns
from xmppd.core.iq import Request, Routes, Scope
from xmppd.errors import StanzaError
from xmppd.jid import JID, JIDError
from xmppd.records import RosterItem

FEATURES = ()


def get(request: Request) -> bytes:
    """RFC 6121 2.1.3, 2.1.4: the whole roster; from now on the resource gets pushes (2.1.6)."""
    account = request.site.accounts.get(request.to)
    if account is None:
        raise StanzaError("item-not-found")
    request.sender.interested = True
    return account.roster.to_xml()


async def set_(request: Request) -> bytes:
    """RFC 6121 2.3 to 2.5: add, change or remove one item; answered after the commit, then pushed."""
    contact, wish = _read(request)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def change(account: Account | None) -> None:
        if not owns(account, request.sender):
            raise StanzaError("item-not-found")
        if wish is None:
            await _remove(request, account, contact)
        else:
            await _update(request, account, contact, wish)
        done.set_result(None)

    request.site.accounts.perform(request.to, change, done.set_exception)
    await done
    return b""


def _read(request: Request) -> tuple[JID, RosterItem | None]:
    """The contact of a roster set and how its item should be, None for removed; StanzaError as RFC 6121 2.3.3 says."""
    limits = request.site.settings
    items = list(request.payload)
    if len(items) != 1 or items[0].name != "item" or items[0].ns != ns.ROSTER:
        raise StanzaError("bad-request", "a roster set has exactly one item")
    element: Element = items[0]
    address = element.get("jid")
    if address is None:
        raise StanzaError("bad-request", "a roster item has a 'jid'")
    try:
        contact = JID.parse(address)
    except JIDError as error:
        raise StanzaError("jid-malformed", str(error)) from None
    if contact == request.sender.jid.bare:
        raise StanzaError("not-allowed", "an account is not its own contact")
    # 2.1.2.5: of the subscription only "remove" is the client's to say
    if element.get("subscription") == "remove":
        return contact, None
    name = element.get("name") or ""
    groups = [child.text() for child in element if child.name == "group" and child.ns == ns.ROSTER]
    if len(set(groups)) != len(groups):
        raise StanzaError("bad-request", "a group is named twice")
    if any(not group for group in groups):
        raise StanzaError("not-acceptable", "a group without a name")
    if len(groups) > limits.roster_groups:
        raise StanzaError("not-acceptable", app="roster_groups")
    if any(len(text.encode()) > limits.roster_name_bytes for text in (name, *groups)):
        raise StanzaError("not-acceptable", app="roster_name_bytes")
    return contact, RosterItem(str(contact), name=name, groups=tuple(groups))


async def _update(request: Request, account: Account, contact: JID, wish: RosterItem) -> None:
    before = account.roster.get(contact)
    item = replace(before or wish, name=wish.name, groups=wish.groups, listed=True)
    if item != before:
        account.roster.make_room(item, request.site.settings)
        await account.put(item)
    contacts.push(request.site, account, item)


async def _remove(request: Request, account: Account, contact: JID) -> None:
    """RFC 6121 2.5: cancel both subscriptions, then forget the item."""
    before = account.roster.get(contact)
    if before is None or not before.listed:
        raise StanzaError("item-not-found")  # 6-31
    # a request that is not answered yet stays
    await account.put(RosterItem(before.jid, pending_in=before.pending_in, listed=False))
    contacts.push(request.site, account, None, removed=contact)
    contacts.cancel(request.site, account.jid, before)  # 6-30


ROUTES: Routes = {
    ("get", Scope.OWN, ns.ROSTER, "query"): get,
    ("set", Scope.OWN, ns.ROSTER, "query"): set_,
}
