"""What others are told when an account is removed (RFC 6121 2.5.2, 3.2, 3.3)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

from xmppd.core import contacts, presence
from xmppd.core.accounts import Account
from xmppd.core.site import Site
from xmppd.errors import StanzaError
from xmppd.events import fields
from xmppd.jid import JID
from xmppd.records import RosterItem

log = logging.getLogger("xmppd.core.removal")


AT_ONCE: Final = 100  # as many queues of accounts at work for it


async def tell_contacts(site: Site, gone: JID, held: Sequence[tuple[JID, JID]]) -> None:
    """Take the removed account out of its local contacts' rosters, with the stanzas of a roster removal.

    `held` is who had it in the roster, and under which address: `gone` or a full one of it. Its own sessions have
    ended. Returns when all has been done.
    """

    def failed(error: StanzaError) -> None:
        log.error("contact not told", extra=fields(account=str(gone), condition=error.condition))

    # before there can be another account of that name: what was said to this one, and by it
    site.broadcasts.finish_of(frozenset([gone.norm, *(holder.norm for holder, _ in held)]))
    presence.forget(site, gone)
    for begin in range(0, len(held), AT_ONCE):
        for holder, address in held[begin : begin + AT_ONCE]:
            site.accounts.perform(holder, partial(_take_out, site, address), failed)
        await site.accounts.settle()


async def _take_out(site: Site, address: JID, account: Account | None) -> None:
    if account is None:
        return
    item = account.roster.get(address)
    if item is None:
        return
    await account.put(RosterItem(item.jid, listed=False))
    resources = presence.interested(site, account.jid) if not account.blocks(address) else []
    if item.subscription in ("from", "both") or item.pending_in is not None:
        presence.tell(resources, presence.presence_xml("unsubscribe", address, account.jid))
    if item.subscription in ("to", "both") or item.ask:
        presence.tell(resources, presence.presence_xml("unsubscribed", address, account.jid))
    if item.listed:
        contacts.push(site, account, None, removed=address)
