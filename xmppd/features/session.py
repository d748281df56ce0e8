"""The session of RFC 3921 3, which RFC 6120 dropped: a request that older clients send and wait for."""

from __future__ import annotations

from xmppd import ns
from xmppd.core.iq import Request, Routes, Scope

FEATURES = ()


def begin(_request: Request) -> bytes:
    """An empty result: the session began when the resource was bound."""
    return b""


ROUTES: Routes = {
    ("set", Scope.HOST, ns.SESSION, "session"): begin,
    ("set", Scope.OWN, ns.SESSION, "session"): begin,
}
