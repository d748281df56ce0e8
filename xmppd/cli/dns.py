"""`xmppd dns`: the records an administrator must publish so that clients and servers find a domain (UC 1-3.1)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from xmppd.config import Config
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

    def __str__(self) -> str:
        return f"{self.name} IN {self.type} {self.value}"


def places(config: Config) -> list[Place]:
    """Where the running server listens, else where the configuration says. Raises CommandError.

    Listeners that no version serves yet stand as they are configured.
    """
    configured = [
        Place(each.kind, each.address.host, each.address.port, each.direct_tls) for each in config.listeners
    ]
    try:
        with AdminClient.connect(config.admin.socket) as client:
            shown = client.call("status")["listeners"]
    except NoServer:
        found = configured
    else:
        found = [Place(each["kind"], each["host"], each["port"], each["direct_tls"]) for each in shown]
        kinds = {place.kind for place in found}
        found += [place for place in configured if place.kind not in kinds]
    for place in found:
        if not place.port:
            raise CommandError(
                f"a {place.kind} listener has port 0, which is any free one: its port is known only while it is served"
            )
    return found


def addresses(places: Iterable[Place]) -> list[IPAddress]:
    """The addresses of the listeners, each once; for all of a family, the one that other hosts see of ours."""
    found = dict.fromkeys(address for place in places for address in _addresses(place.host))
    return [address for address in found if not address.is_link_local]


def _addresses(host: str) -> Iterator[IPAddress]:
    family, kind, protocol, _, resolved = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
    address = ipaddress.ip_address(resolved[0])
    if not address.is_unspecified:
        yield address
        return
    with socket.socket(family, kind, protocol) as probe:
        try:
            probe.connect((FAR[family], 9))  # sends nothing: the kernel looks up the route
        except OSError:
            return  # this family leads nowhere from here
        yield ipaddress.ip_address(probe.getsockname()[0])


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
        srv = [f"{priority} 0 {port} {target}" for port in ports]
        if not srv and service in (("c2s", False), ("s2s", False)):
            srv = ["0 0 0 ."]
        found.update((Record(f"{name}._tcp.{owner}", "SRV", value), None) for value in srv)
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
