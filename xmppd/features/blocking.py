"""Blocking Command (XEP-0191): the list, and how clients change it."""

from __future__ import annotations

from collections.abc import Collection
from xml.sax.saxutils import quoteattr

from xmppd import ns
from xmppd.core import blocking
from xmppd.core.accounts import Account
from xmppd.core.iq import Request, Routes, Scope, in_turn
from xmppd.core.push import push
from xmppd.errors import StanzaError
from xmppd.jid import JID, JIDError

FEATURES = (ns.BLOCKING,)


async def get(request: Request) -> bytes:
    """XEP-0191 3.2: the whole list; from now on the resource is told of changes."""

    async def look(account: Account) -> bytes:
        request.sender.watches_blocks = True
        return _xml("blocklist", [key.decode() for key in account.blocked or ()])

    return await in_turn(request, look)


async def block(request: Request) -> bytes:
    """XEP-0191 3.3: at least one address."""
    addresses = _read(request)
    if not addresses:
        raise StanzaError("bad-request", "somebody is to be blocked")

    async def work(account: Account) -> None:
        blocked = account.blocked or frozenset()
        new = [jid for jid in addresses if jid.norm not in blocked]
        await blocking.change(request.site, account, add=new)
        _push(request, account, "block", addresses)

    await in_turn(request, work)
    return b""


async def unblock(request: Request) -> bytes:
    """XEP-0191 3.4, 3.5: these addresses, or all of them."""
    addresses = _read(request)

    async def work(account: Account) -> None:
        blocked = account.blocked or frozenset()
        old = addresses or [JID.kept(key) for key in blocked]
        await blocking.change(request.site, account, remove=old)
        _push(request, account, "unblock", addresses)

    await in_turn(request, work)
    return b""


def _read(request: Request) -> list[JID]:
    addresses: dict[JID, None] = {}
    for item in request.payload:
        address = item.get("jid")
        if (item.ns, item.name) != (ns.BLOCKING, "item") or address is None:
            raise StanzaError("bad-request", "an item has a 'jid'")
        try:
            addresses[JID.parse(address)] = None
        except JIDError as error:
            raise StanzaError("jid-malformed", str(error)) from None
    return list(addresses)


def _push(request: Request, account: Account, name: str, addresses: Collection[JID]) -> None:
    watching = [resource for resource in request.sender.account.resources if resource.watches_blocks]
    push(request.site, account, watching, _xml(name, [str(jid) for jid in addresses]))


def _xml(name: str, addresses: Collection[str]) -> bytes:
    items = "".join(f"<item jid={quoteattr(address)}/>" for address in sorted(addresses))
    return f"<{name} xmlns='{ns.BLOCKING}'>{items}</{name}>".encode()


ROUTES: Routes = {
    ("get", Scope.OWN, ns.BLOCKING, "blocklist"): get,
    ("set", Scope.OWN, ns.BLOCKING, "block"): block,
    ("set", Scope.OWN, ns.BLOCKING, "unblock"): unblock,
}
