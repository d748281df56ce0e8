"""2.6 XML streams (rows 1-1 to 1-36): the client's half."""

from __future__ import annotations

from xmppd.conformance.check import check, expect
from xmppd.conformance.names import STREAMS
from xmppd.conformance.site import Site


@check("1-7.1", "1-29.1")
def the_response_header_comes_first(site: Site) -> None:
    """RFC 6120 4.2: the answer to an initial header begins with {http://etherx.jabber.org/streams}stream."""
    client = site.connect()
    client.send_header()
    header = client.expect_header()
    expect(header.element.is_("stream", STREAMS), f"the root element is {header}")
    client.expect_features()


@check("1-24.1")
def the_response_header_is_from_the_domain(site: Site) -> None:
    """RFC 6120 4.7.1: 'from' of the response header is the domain that 'to' of the initial header names."""
    client = site.connect()
    client.send_header()
    header = client.expect_header()
    expect(header.get("from") == site.domain, f"the response header is from {header.get('from')!r}")
