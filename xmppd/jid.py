"""XMPP addresses (RFC 6122): `JID`, and the preparation of their parts."""

from __future__ import annotations

from xmppd._fast.jid import (
    JID,
    JIDError,
    cache_info,
    prep_domain,
    prep_local,
    prep_resource,
    set_cache_limit,
)

__all__ = [
    "JID",
    "JIDError",
    "cache_info",
    "prep_domain",
    "prep_local",
    "prep_resource",
    "set_cache_limit",
]
