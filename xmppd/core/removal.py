"""What others are told when an account is removed (RFC 6121 2.5.2, 3.2, 3.3)."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from xmppd.core import presence
from xmppd.core.accounts import Account
from xmppd.core.site import Site
from xmppd.errors import StanzaError
from xmppd.events import fields
from xmppd.jid import JID

log = logging.getLogger("xmppd.core.removal")


def tell_contacts(site: Site, gone: JID, holders: Iterable[JID]) -> None:
    """Take the removed account out of its local contacts' rosters, with the stanzas of a roster removal.

    `holders` are the bare addresses of the accounts that had it in their rosters. Its own sessions have ended.
    """

    async def take_out(account: Account | None) -> None:
        if account is None:
            return
        item = account.roster.get(gone)
        if item is None:
            return
        await account.remove(item)
        resources = presence.interested(site, account.jid)
        if item.subscription in ("from", "both") or item.pending_in is not None:
            presence.tell(resources, presence.presence_xml("unsubscribe", gone, account.jid))
        if item.subscription in ("to", "both") or item.ask:
            presence.tell(resources, presence.presence_xml("unsubscribed", gone, account.jid))
        if item.listed:
            presence.push(site, account, None, removed=gone)

    def failed(error: StanzaError) -> None:
        log.error("contact not told", extra=fields(account=str(gone), condition=error.condition))

    for holder in holders:
        # the account's roster in memory may not have been read since the store took the item out
        site.accounts.perform(holder, take_out, failed)
