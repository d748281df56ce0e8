"""vCards (XEP-0054), kept as they came; the hash of the photo is the client's to tell in its presence (XEP-0153)."""

from __future__ import annotations

from xmppd import ns
from xmppd._fast.element import serialize
from xmppd.core.accounts import Account
from xmppd.core.documents import keep
from xmppd.core.iq import Request, Routes, Scope, in_turn, not_yours
from xmppd.errors import StanzaError

FEATURES = (ns.VCARD,)

_NAME = (ns.VCARD, "vCard")


async def own(request: Request) -> bytes:
    """XEP-0054 3.1: what was last set."""

    async def look(account: Account) -> bytes | None:
        return await request.site.records.document(account.jid, _NAME)

    vcard = await in_turn(request, look)
    if vcard is None:
        raise StanzaError("item-not-found")
    return vcard


async def set_(request: Request) -> bytes:
    """XEP-0054 3.2: the whole of it; an empty one takes it away."""
    vcard = request.payload

    async def change(account: Account) -> None:
        await keep(request.site, account, {_NAME: serialize(vcard, ns.CLIENT) if vcard.children else b""})

    await in_turn(request, change)
    return b""


async def other(request: Request) -> bytes:
    """XEP-0054 3.3: for everybody; no vCard and no account are the same answer."""
    vcard = await request.site.records.document(request.to, _NAME)
    if vcard is None:
        raise StanzaError("service-unavailable")
    return vcard


ROUTES: Routes = {
    ("get", Scope.OWN, *_NAME): own,
    ("set", Scope.OWN, *_NAME): set_,
    ("get", Scope.ACCOUNT, *_NAME): other,
    ("set", Scope.ACCOUNT, *_NAME): not_yours,
}
