"""`xmppd dns`: the records an administrator must publish so that clients and servers find a domain (UC 1-3.1)."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from xmppd.config import SERVED, Config
from xmppd.ops.admin import AdminClient, CommandError, NoServer

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# (kind of listener, direct TLS) -> service name and priority (RFC 6120 3.2.1, XEP-0368 3): STARTTLS first (2-2)
SERVICES: Final = {
    ("c2s", False): ("_xmpp-client", 0),
    ("s2s", False): ("_xmpp-server", 0),
    ("c2s", True): ("_xmpps-client", 10),
    ("s2s", True): ("_xmpps-server", 10),
}
# addresses for documentation (RFC 5737, RFC 3849): nobody is there, but the way there is the way to anybody
FAR: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}

IF_INET6: Final = Path("/proc/net/if_inet6")
_NOT_LASTING: Final = 0x01 | 0x20 | 0x40  # temporary, deprecated, tentative (linux/if_addr.h)
_SIOCGIFADDR: Final = 0x8915  # netdevice(7)


class Place(NamedTuple):
    """Where a listener listens."""

    kind: Literal["c2s", "s2s"]
    host: str
    port: int
    direct_tls: bool


class Record(NamedTuple):
    """One resource record; `value` as a zone file has it behind the type, names with their final dot."""

    name: str
    type: Literal["SRV", "A", "AAAA"]
    value: str
    served: bool = True  # by this version

    def __str__(self) -> str:
        return f"{self.name} IN {self.type} {self.value}"


def places(config: Config) -> list[Place]:
    """Where the running server listens, else where the configuration says. Raises CommandError.

    Listeners that no version serves yet stand as they are configured.
    """
    try:
        with AdminClient.connect(config.admin.socket) as client:
            shown = client.call("status")["listeners"]
    except NoServer:
        return configured(config)
    else:
        found = [Place(each["kind"], each["host"], each["port"], each["direct_tls"]) for each in shown]
        kinds = {place.kind for place in found}
        return _known([*found, *(place for place in _configured(config) if place.kind not in kinds)])


def configured(config: Config) -> list[Place]:
    """Where the configuration says. Raises CommandError for a port that is not chosen yet."""
    return _known(_configured(config))


def _configured(config: Config) -> list[Place]:
    return [
        Place(each.kind, each.address.host, each.address.port, each.direct_tls) for each in config.listeners
    ]


def _known(places: list[Place]) -> list[Place]:
    for place in places:
        if not place.port:
            raise CommandError(
                f"a {place.kind} listener has port 0, which is any free one: its port is known only while it is served"
            )
    return places


def addresses(places: Iterable[Place]) -> list[IPAddress]:
    """The addresses of the listeners, each once; for all of a family, the one that other hosts see of ours."""
    found = dict.fromkeys(address for place in places for address in _addresses(place.host))
    return [address for address in found if not address.is_link_local]


def _addresses(host: str) -> Iterator[IPAddress]:
    for family, kind, protocol, _, resolved in socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM):
        address = ipaddress.ip_address(resolved[0])
        if not address.is_unspecified:
            yield address
            continue
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.connect((FAR[family], 9))  # sends nothing: the kernel looks up the route
            except OSError:  # no way to everywhere from here: what others near by see
                yield from _of_interfaces(family)
            else:
                yield ipaddress.ip_address(probe.getsockname()[0])


def _of_interfaces(family: socket.AddressFamily) -> Iterator[IPAddress]:
    """The lasting addresses of this machine that are not for itself alone."""
    if family == socket.AF_INET:
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            for _, name in socket.if_nameindex():
                with contextlib.suppress(OSError):  # this one has none
                    request = struct.pack("256s", name.encode())
                    address = ipaddress.IPv4Address(fcntl.ioctl(asked, _SIOCGIFADDR, request)[20:24])
                    if not address.is_loopback:
                        yield address
        return
    with contextlib.suppress(FileNotFoundError):  # IPv6 is switched off
        for line in IF_INET6.read_text().splitlines():
            digits, _, _, scope, flags, _ = line.split()
            if int(scope, 16) == 0 and not int(flags, 16) & _NOT_LASTING:
                yield ipaddress.IPv6Address(int(digits, 16))


def records(
    domain: str, places: Sequence[Place], addresses: Sequence[IPAddress], host: str | None = None
) -> list[Record]:
    """The records of one domain: SRV for each port, then A and AAAA of their target.

    `host` is the target, the domain itself if it is not given. A service that nobody listens for is said not to
    be there, so that nobody tries the default port (RFC 2782). A domain that is an IP address needs no records.
    """
    if domain.startswith("[") or _is_ip(domain):
        return []
    owner, target = _fqdn(domain), _fqdn(host or domain)
    found: dict[Record, None] = {}
    for service in SERVICES:
        name, priority = SERVICES[service]
        ports = [place.port for place in places if (place.kind, place.direct_tls) == service]
        owner_of = f"{name}._tcp.{owner}"
        served = service[0] in SERVED
        found.update(
            (Record(owner_of, "SRV", f"{priority} 0 {port} {target}", served), None) for port in ports
        )
        if not ports and service in (("c2s", False), ("s2s", False)):
            found[Record(owner_of, "SRV", "0 0 0 .")] = None
    for address in addresses:
        found[Record(target, "A" if address.version == 4 else "AAAA", str(address))] = None
    return list(found)


def _is_ip(domain: str) -> bool:
    try:
        ipaddress.ip_address(domain)
    except ValueError:
        return False
    return True


def _fqdn(name: str) -> str:
    """A name as the DNS has it: A-labels and a final dot."""
    return name.encode("idna").decode().removesuffix(".") + "."
