"""2.18 DSCP (row 13-1): the client's half, seen in captured packets."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from socket import AddressFamily
from typing import Final

from xmppd.conformance.check import check, expect
from xmppd.conformance.packets import Packet
from xmppd.conformance.site import Site
from xmppd.conformance.subject import IPV4, IPV6, NAMES
from xmppd.conformance.verdict import CouldNotTest, NotMet

# UCR 2013 section 6: the class of ROUTINE Low-Latency Data is AF2x, and its usual mark AF21
AF21: Final = 18
AF2X: Final = (18, 20, 22)


@check("13-1.1")
def packets_over_ipv4_carry_the_mark(site: Site) -> None:
    """UC XMPP 2013 2.18: a session over IPv4 has the DSCP of ROUTINE Low-Latency Data from SYN-ACK to FIN."""
    expect_mark(session(site, IPV4), *shipped(site))


@check("13-1.2")
def packets_over_ipv6_carry_the_mark(site: Site) -> None:
    """UC XMPP 2013 2.18: the traffic class of a session over IPv6 holds that DSCP from SYN-ACK to FIN."""
    expect_mark(session(site, IPV6), *shipped(site))


@check("13-1.4")
def a_changed_mark_is_that_of_new_connections(site: Site) -> None:
    """UC XMPP 2013 2.18: values from 0 to 63 can be set and are sent over IPv4 and IPv6; others are refused."""
    older = site.login(1)
    for value in (20, 0, 63):
        site.change(dscp=value)
        for over in (IPV4, IPV6):
            expect_mark(session(site, over), value)
    try:
        older.before_ping()
        site.note("a session that was there before the changes goes on")
    except NotMet:
        site.note("the changes ended a session that was there before")
    for value in (-1, 64):
        expect(site.refusal(dscp=value) is not None, f"the DSCP {value} is taken")


def shipped(site: Site) -> tuple[int, ...]:
    """What a fresh server marks its packets with; one that others have set up may use another value of AF2x."""
    return (AF21,) if site.has_launcher else AF2X


def session(site: Site, over: AddressFamily) -> list[Packet]:
    """What the server sends in a session, from its SYN-ACK to its FIN: both, data, and pure ACKs."""
    with site.capture(over) as capture:
        client = site.connect(over=over)
        packets = capture.to(client.connection.local, time.monotonic() + 2 * client.patience_s)
        seen = list(up_to("SYN-ACK", packets))
        client.login(site.account())
        client.send(" ")  # which is acknowledged, and not answered
        seen += up_to("data", packets)
        seen += up_to("ACK", packets)
        client.close()
        seen += up_to("FIN", packets)
        if capture.lost:
            raise CouldNotTest("not all packets could be captured, for there were too many")
    for dscp in sorted({each.dscp for each in seen}):
        kinds = Counter(each.kind for each in seen if each.dscp == dscp)
        counted = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        site.note(f"captured over {NAMES[over]} with DSCP {dscp}: {counted}")
    return seen


def up_to(kind: str, packets: Iterator[Packet]) -> Iterator[Packet]:
    """The packets up to the first one of that kind."""
    for packet in packets:
        yield packet
        if packet.kind == kind:
            return
    raise CouldNotTest(f"no {kind} of the server was captured")


def expect_mark(packets: list[Packet], *wanted: int) -> None:
    """All packets carry the same mark, one of these."""
    found = Counter((each.dscp, each.kind) for each in packets)
    marks = sorted({each.dscp for each in packets})
    for (dscp, kind), number in found.items():
        expect(
            dscp in wanted, f"{number} {kind} packets have DSCP {dscp}, not {' or '.join(map(str, wanted))}"
        )
    expect(len(marks) == 1, f"packets of one session have the DSCP {' and '.join(map(str, marks))}")
