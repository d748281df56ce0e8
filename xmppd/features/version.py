"""Software Version (XEP-0092): name and version, and no word about the machine below."""

from __future__ import annotations

from xmppd import __version__, ns
from xmppd.core.iq import Request, Routes, Scope

FEATURES = (ns.VERSION,)


def version(_request: Request) -> bytes:
    """XEP-0092 3."""
    return f"<query xmlns='{ns.VERSION}'><name>xmppd</name><version>{__version__}</version></query>".encode()


ROUTES: Routes = {("get", Scope.HOST, ns.VERSION, "query"): version}
