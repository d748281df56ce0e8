"""What `xmppd dns` tells an administrator to publish."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any

import pytest

from xmppd import config as configuration
from xmppd.cli.dns import Place, addresses, places, records
from xmppd.ops.admin import CommandError

V4, V6 = ipaddress.ip_address("198.51.100.7"), ipaddress.ip_address("2001:db8::7")


def lines(domain: str, *placed: Place, host: str | None = None, at: Any = (V4, V6)) -> list[str]:
    return [str(record) for record in records(domain, placed, at, host)]


def test_srv_and_addresses_of_a_domain() -> None:
    both = [
        Place(kind, host, port, False) for kind, port in (("c2s", 5222), ("s2s", 5269)) for host in ("a", "b")
    ]
    assert lines("example.org", *both) == [  # 1-3.1
        "_xmpp-client._tcp.example.org. IN SRV 0 0 5222 example.org.",
        "_xmpp-server._tcp.example.org. IN SRV 0 0 5269 example.org.",
        "example.org. IN A 198.51.100.7",
        "example.org. IN AAAA 2001:db8::7",
    ]


def test_a_host_of_another_name_and_an_international_domain() -> None:
    assert lines("bücher.example", Place("c2s", "::", 15222, False), host="xmpp.bücher.example", at=[V6]) == [
        "_xmpp-client._tcp.xn--bcher-kva.example. IN SRV 0 0 15222 xmpp.xn--bcher-kva.example.",
        "_xmpp-server._tcp.xn--bcher-kva.example. IN SRV 0 0 0 .",
        "xmpp.xn--bcher-kva.example. IN AAAA 2001:db8::7",
    ]


def test_direct_tls_comes_behind_starttls() -> None:
    places = [Place("c2s", "::", 5223, True), Place("c2s", "::", 5222, False), Place("s2s", "::", 5270, True)]
    assert lines("example.org", *places, at=[]) == [
        "_xmpp-client._tcp.example.org. IN SRV 0 0 5222 example.org.",
        "_xmpp-server._tcp.example.org. IN SRV 0 0 0 .",
        "_xmpps-client._tcp.example.org. IN SRV 10 0 5223 example.org.",
        "_xmpps-server._tcp.example.org. IN SRV 10 0 5270 example.org.",
    ]


@pytest.mark.parametrize("domain", ["192.0.2.1", "[2001:db8::1]"])
def test_an_address_needs_no_records(domain: str) -> None:
    assert lines(domain, Place("c2s", "::", 5222, False)) == []


def test_addresses_are_those_of_the_listeners() -> None:
    hosts = ["127.0.0.1", "::1", "127.0.0.1", "2001:db8::2", "fe80::1%lo"]
    found = addresses(Place("c2s", host, 1, False) for host in hosts)
    assert [str(address) for address in found] == ["127.0.0.1", "::1", "2001:db8::2"]


def test_a_listener_on_all_addresses_has_the_one_that_others_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xmppd.cli.dns.FAR", {socket.AF_INET: "127.0.0.9", socket.AF_INET6: "::1"})
    found = addresses([Place("c2s", str(ipaddress.IPv4Address(0)), 1, False), Place("c2s", "::", 1, False)])
    assert [str(address) for address in found] == ["127.0.0.1", "::1"]


def test_a_listener_on_all_addresses_of_a_machine_without_a_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """IPv6 within a site only: the lasting addresses of its interfaces."""
    (tmp_path / "if_inet6").write_text(
        "20010db8000000000000000000000007 02 40 00 80     eth0\n"
        "20010db8000000000000000000000008 02 40 00 01     eth0\n"  # temporary
        "fe8000000000000000fc00fffe000001 02 40 20 80     eth0\n"
        "00000000000000000000000000000001 01 80 10 80       lo\n"
    )
    monkeypatch.setattr("xmppd.cli.dns.IF_INET6", tmp_path / "if_inet6")
    monkeypatch.setattr("xmppd.cli.dns.FAR", {socket.AF_INET6: "no address"})
    assert addresses([Place("c2s", "::", 1, False)]) == [V6]
    monkeypatch.setattr("xmppd.cli.dns.IF_INET6", tmp_path / "absent")
    assert addresses([Place("c2s", "::", 1, False)]) == []


def test_a_name_is_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda _, *more, **kinds: [each for host in (V4, V6) for each in real(str(host), *more, **kinds)],
    )
    assert addresses([Place("c2s", "xmpp.example.org", 1, False)]) == [V4, V6]


def test_what_is_not_served_is_marked() -> None:
    found = records("example.org", [Place("c2s", "::", 5222, False), Place("s2s", "::", 5269, False)], [])
    assert [record.served for record in found] == [True, False]


def test_a_port_that_is_not_chosen_yet(tmp_path: Path) -> None:
    text = '[[domains]]\nname = "example.org"\n[[listeners]]\naddress = "127.0.0.1:0"\n'
    with pytest.raises(CommandError, match="port 0"):
        places(configuration.parse(text, tmp_path / "xmppd.toml"))
