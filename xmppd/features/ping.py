"""XMPP Ping (XEP-0199): the server answers for itself and for the accounts it serves."""

from __future__ import annotations

from xmppd import ns
from xmppd.core.iq import Request, Routes, Scope

FEATURES = (ns.PING,)


def ping(_request: Request) -> bytes:
    """XEP-0199 4.1, 4.2: an empty result."""
    return b""


ROUTES: Routes = {
    ("get", Scope.HOST, ns.PING, "ping"): ping,
    ("get", Scope.OWN, ns.PING, "ping"): ping,
}
