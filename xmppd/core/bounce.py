"""How a stanza is refused (RFC 6120 8.3)."""

from __future__ import annotations

from xmppd._fast.reader import Stanza
from xmppd._fast.route import Resource
from xmppd.errors import StanzaError
from xmppd.events import count


def bounce(sender: Resource, stanza: Stanza, error: StanzaError) -> None:
    """Answer a stanza with an error, unless it is itself an answer (RFC 6120 8.3.1; UC 5-10.e, 5-11.4)."""
    if stanza.type in ("error", "result"):
        return
    count("stanza_errors")
    sender.send(stanza.error_reply(error.to_xml(), to=sender.jid.wire, lang=sender.lang))
