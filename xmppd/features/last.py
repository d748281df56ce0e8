"""Last Activity (XEP-0012): how long ago an account was there; for how long the server has been."""

from __future__ import annotations

from xmppd import clock, ns
from xmppd._fast.element import escape_text
from xmppd.core.iq import Request, Routes, Scope
from xmppd.errors import StanzaError

FEATURES = (ns.LAST_ACTIVITY,)


def host(request: Request) -> bytes:
    """XEP-0012 5: the uptime."""
    return _answer(clock.monotonic_s() - request.site.activity.since_s)


def own(_request: Request) -> bytes:
    """Who asks for itself is there."""
    return _answer(0)


async def account(request: Request) -> bytes:
    """XEP-0012 3: for who sees the account's presence; anybody else does not learn whether there is such an account."""
    site, contact = request.site, request.to
    found = await site.accounts.load(contact)
    if found is None or not found.shows_to(request.sender.jid.bare):
        raise StanzaError("forbidden")
    if site.table.bare(contact.norm) is not None:
        return _answer(0)
    seen = await site.activity.of(found)
    return _answer(clock.utc_now().timestamp() - seen.at, seen.status)


def _answer(seconds: float, status: str = "") -> bytes:
    since = max(0, int(seconds))  # the time of day may have been set back
    return f"<query xmlns='{ns.LAST_ACTIVITY}' seconds='{since}'>{escape_text(status)}</query>".encode()


ROUTES: Routes = {
    ("get", Scope.HOST, ns.LAST_ACTIVITY, "query"): host,
    ("get", Scope.OWN, ns.LAST_ACTIVITY, "query"): own,
    ("get", Scope.ACCOUNT, ns.LAST_ACTIVITY, "query"): account,
}
