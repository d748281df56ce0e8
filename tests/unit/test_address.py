"""What counts as one address."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.address import address_group


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::/64"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:1::", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_group(address: str, group: str) -> None:
    assert address_group(address) == group


@given(st.ip_addresses(v=6).filter(lambda address: int(address) >> 64), st.integers(0, 2**64 - 1))
def test_a_group_is_a_64(address: ipaddress.IPv6Address, host: int) -> None:
    neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | host)
    stranger = ipaddress.IPv6Address(int(address) ^ 1 << 64)
    assert address_group(str(neighbour)) == address_group(str(address)) == address_group(address.exploded)
    assert address_group(str(stranger)) != address_group(str(address))
