"""Block lists (XEP-0191): what a change of one means for those who see the account's presence.

Where a list is heeded: what the account's own resources send in `core.router`, messages in `core.messages` and
`core.offline`, IQs in `core.router` and `core.iq`, subscriptions in `core.contacts`, presence in `core.presence` and
the routing table. Within an account nobody is blocked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from xmppd._fast.route import in_block_list
from xmppd.core import presence
from xmppd.core.accounts import Account
from xmppd.core.site import Site
from xmppd.errors import StanzaError
from xmppd.events import count
from xmppd.jid import JID

ITEM_BYTES = 16  # of <item jid=''/> around an address


async def change(
    site: Site, account: Account, *, add: Collection[JID] = (), remove: Collection[JID] = ()
) -> None:
    """Commit a change of the block list; then who is blocked sees the account go, who is not any more sees it come.

    Raises StanzaError: nothing has changed then.
    """
    before = account.blocked or frozenset()
    after = before.difference(jid.norm for jid in remove).union(jid.norm for jid in add)
    if add and sum(len(address) + ITEM_BYTES for address in after) > site.settings.block_list_bytes:
        count("blocks_refused")
        raise StanzaError("resource-constraint", app="block_list_bytes")
    await site.records.block(account.account_id, [str(jid) for jid in add], [str(jid) for jid in remove])

    user = account.jid
    parted = _crossed(site, account, add, before, after)
    for contact in parted:  # while there is somebody who may be told
        presence.hide(site, user, contact)
    presence.end_directed(site, user, {jid.bare for jid in parted}, after)
    account.blocked = after or None
    connected = site.table.bare(user.norm)
    if connected is not None and connected.account is account:
        connected.blocked = account.blocked
    for contact in _crossed(site, account, remove, after, before):
        presence.show(site, user, contact)
    if not remove:
        return
    heard = [
        item.jid
        for item in account.roster
        if item.subscription in ("to", "both")
        and in_block_list(item.jid.encode(), before)
        and not in_block_list(item.jid.encode(), after)
    ]
    for resource in presence.available(site, user):
        presence.meet(site, resource, deque(heard))


def _crossed(
    site: Site, account: Account, changed: Collection[JID], out: frozenset[bytes], into: frozenset[bytes]
) -> list[JID]:
    """Who is on the list `into`, not on `out`, of those that see the account's presence: contacts, resources of one."""
    resources = [
        jid.norm
        for jid in changed
        if jid.is_full
        and account.roster.shows_to(jid.bare)
        and (jid.domain not in site.hosts or site.table.full(jid.norm) is not None)
    ]
    return [
        JID.kept(key)
        for key in (*account.roster.subscribers, *resources)
        if in_block_list(key, into) and not in_block_list(key, out)
    ]
