"""XMPP addresses (RFC 6122, or RFC 7622 if `use_rules` says so): `JID`, and the preparation of their parts."""

from __future__ import annotations

from xmppd._fast.jid import (
    JID,
    JIDError,
    Rules,
    cache_info,
    prep_domain,
    prep_local,
    prep_resource,
    set_cache_limit,
    use_rules,
)

__all__ = [
    "JID",
    "JIDError",
    "Rules",
    "cache_info",
    "prep_domain",
    "prep_local",
    "prep_resource",
    "set_cache_limit",
    "use_rules",
]
