"""IQ sets by which the server tells resources of an account what has changed (RFC 6121 2.1.6; XEP-0191 3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from xmppd._fast.route import Resource, fan_out
from xmppd.core.accounts import Account
from xmppd.core.site import Site

_IDS = count(1)  # an id of its own for each push


def push(site: Site, account: Account, to: Iterable[Resource], payload: bytes) -> None:
    """One change to some resources of the account; it overtakes no answer that is held back.

    It says `from`, which could be left out: Profanity 0.15.0 believes no push without.
    """
    head = b"<iq type='set' from='" + account.jid.wire + b"' id='push-" + str(next(_IDS)).encode() + b"'"
    tail = b">" + payload + b"</iq>"
    at_once = []
    for resource in to:
        if not site.acceptance.behind(resource, head + b" to='" + resource.jid.wire + b"'" + tail):
            at_once.append(resource)
    fan_out(at_once, head, tail)
