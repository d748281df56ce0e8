"""Private XML storage (XEP-0049): what clients keep for themselves, by the name of the element."""

from __future__ import annotations

from collections import defaultdict

from xmppd import ns
from xmppd._fast.element import Element, serialize
from xmppd.core.accounts import Account
from xmppd.core.documents import keep
from xmppd.core.iq import Request, Routes, Scope, in_turn
from xmppd.errors import StanzaError
from xmppd.records import DocumentName

FEATURES = (ns.PRIVATE,)

# without a namespace of its own; or kept as the vCard, for everybody to read
_RESERVED = frozenset(("", ns.PRIVATE, ns.VCARD))


async def get(request: Request) -> bytes:
    """XEP-0049 2.3: what is kept under the name of the one element that is asked for; if nothing is, that element."""
    asked = list(request.payload)
    if len(asked) != 1:
        raise StanzaError("bad-request", "one element is asked for at a time")
    name = _name(asked[0])

    async def look(account: Account) -> bytes | None:
        return await request.site.records.document(account.jid, name)

    kept = await in_turn(request, look)
    return _query(kept if kept is not None else serialize(Element(*name), ns.PRIVATE))


async def set_(request: Request) -> bytes:
    """XEP-0049 2.3: each element in the place of those of its name."""
    documents: defaultdict[DocumentName, bytes] = defaultdict(bytes)
    for element in request.payload:
        holds_something = element.children or element.attrs
        documents[_name(element)] += serialize(element, ns.PRIVATE) if holds_something else b""
    if not documents:
        raise StanzaError("not-acceptable", "there is nothing to keep")

    async def change(account: Account) -> None:
        await keep(request.site, account, documents)

    await in_turn(request, change)
    return b""


def _name(element: Element) -> DocumentName:
    if element.ns in _RESERVED:
        raise StanzaError("not-acceptable", "this namespace is not for private data")
    return element.ns, element.name


def _query(content: bytes) -> bytes:
    return b"<query xmlns='jabber:iq:private'>" + content + b"</query>"


ROUTES: Routes = {
    ("get", Scope.OWN, ns.PRIVATE, "query"): get,
    ("set", Scope.OWN, ns.PRIVATE, "query"): set_,
}
