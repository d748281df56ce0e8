"""Entity Time (XEP-0202): the server's time of day."""

from __future__ import annotations

from xmppd import clock, ns
from xmppd.core.iq import Request, Routes, Scope

FEATURES = (ns.TIME,)


def time(_request: Request) -> bytes:
    """XEP-0202 3: in UTC; the server has no other time zone to offer."""
    return f"<time xmlns='{ns.TIME}'><tzo>+00:00</tzo><utc>{clock.xep0082(clock.utc_now())}</utc></time>".encode()


ROUTES: Routes = {("get", Scope.HOST, ns.TIME, "time"): time}
