"""Block lists (XEP-0191): what a change of one means for those who see the account's presence.

Where a list is heeded: what the account's own resources send in `core.router`, messages in `core.messages` and
`core.offline`, IQs in `core.router` and `core.iq`, subscriptions in `core.contacts`, presence in `core.presence` and
the routing table. Within an account nobody is blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from xmppd._fast.route import ConnectedAccount, in_block_list
from xmppd.core import presence
from xmppd.core.accounts import Account
from xmppd.core.site import Site
from xmppd.errors import StanzaError
from xmppd.events import limited
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
        limited("block_list_bytes")
        raise StanzaError("resource-constraint", app="block_list_bytes")
    await site.records.block(account.account_id, [str(jid) for jid in add], [str(jid) for jid in remove])

    user, roster = account.jid, account.roster
    # a contact at home here is seen until its own half of a subscription has ended, which may be just behind ours
    here = [each.key for each in _connected(site, add) if each.account.shows_to(user)]
    in_sight = dict.fromkeys([*roster.seen, *here])  # each once, in order

    def is_seen(contact: JID) -> bool:
        return roster.sees(contact) or contact.domain in site.hosts  # `departures` asks its own half

    def crossed(
        changed: Collection[JID], out: frozenset[bytes], into: frozenset[bytes]
    ) -> tuple[_Crossed, _Crossed]:
        return (
            _crossed(site, changed, out, into, roster.subscribers, roster.shows_to),
            _crossed(site, changed, out, into, in_sight, is_seen),
        )

    # while there is somebody who may be told: neither sees the other any more, and all is heard that was said before
    site.broadcasts.finish_of(frozenset([user.norm, *(jid.bare.norm for jid in add)]))
    (contacts, resources), seen = crossed(add, before, after)
    presence.hide_all(site, account, account.audience_of(contacts))
    for contact in resources:
        presence.hide(site, user, contact)
    presence.end_directed(site, user, {*contacts, *(jid.bare.norm for jid in resources)}, after)
    lost = presence.departures(site, user, *seen)
    account.blocked = after or None
    connected = site.table.bare(user.norm)
    if connected is not None and connected.account is account:
        connected.blocked = account.blocked
    (contacts, resources), seen = crossed(remove, after, before)
    presence.show_all(site, account, account.audience_of(contacts))
    for contact in resources:
        presence.show(site, user, contact)
    found = [*map(bytes.decode, seen.contacts), *(str(jid.bare) for jid in seen.resources)]
    for resource in presence.available(site, user):
        presence.meet(site, resource, [*lost, *found])


def _connected(site: Site, addresses: Collection[JID]) -> Iterable[ConnectedAccount]:
    """The accounts that addresses of a block list name, as far as they are connected."""
    if any(jid.local is None and jid.domain in site.hosts for jid in addresses):
        return site.table.accounts()
    return [each for jid in addresses if (each := site.table.bare(jid.bare.norm)) is not None]


class _Crossed(NamedTuple):
    """Who a change of the list is about."""

    contacts: list[bytes]
    resources: list[JID]  # of contacts that are not


def _crossed(
    site: Site,
    changed: Collection[JID],
    out: frozenset[bytes],
    into: frozenset[bytes],
    among: Iterable[bytes],
    is_among: Callable[[JID], bool],
) -> _Crossed:
    """Which contacts `among` those of one kind, and which resources of one, are on the list `into` and not on `out`."""
    return _Crossed(
        [key for key in among if _between(key, out, into)] if changed else [],
        [
            jid
            for jid in changed
            if jid.is_full
            and _between(jid.norm, out, into)
            and is_among(jid.bare)
            and (jid.domain not in site.hosts or site.table.full(jid.norm) is not None)
        ],
    )


def _between(key: bytes, out: frozenset[bytes], into: frozenset[bytes]) -> bool:
    return in_block_list(key, into) and not in_block_list(key, out)
