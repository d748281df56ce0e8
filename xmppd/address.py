"""Internet addresses as limits see them."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=1024)
def address_group(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 address, the least a site is given (RFC 6177).

    Text that is no address ("" of a socket that has none) counts as it is.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
