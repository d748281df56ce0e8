"""The names of RFC 6120 and RFC 6121 that checks speak of."""

from __future__ import annotations

from typing import Final

STREAMS: Final = "http://etherx.jabber.org/streams"
STREAM_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND: Final = "urn:ietf:params:xml:ns:xmpp-bind"
CLIENT: Final = "jabber:client"
SERVER: Final = "jabber:server"
PING: Final = "urn:xmpp:ping"
CHANNEL_BINDING: Final = "urn:xmpp:sasl-cb:0"
ROSTER: Final = "jabber:iq:roster"
DELAY: Final = "urn:xmpp:delay"
STANZA_ID: Final = "urn:xmpp:sid:0"
XML: Final = "http://www.w3.org/XML/1998/namespace"

# RFC 6120 4.9.3
STREAM_CONDITIONS: Final = frozenset(
    "bad-format bad-namespace-prefix conflict connection-timeout host-gone host-unknown improper-addressing"
    " internal-server-error invalid-from invalid-namespace invalid-xml not-authorized not-well-formed"
    " policy-violation remote-connection-failed reset resource-constraint restricted-xml see-other-host"
    " system-shutdown undefined-condition unsupported-encoding unsupported-feature unsupported-stanza-type"
    " unsupported-version".split()
)
# RFC 6120 6.5
SASL_CONDITIONS: Final = frozenset(
    "aborted account-disabled credentials-expired encryption-required incorrect-encoding invalid-authzid"
    " invalid-mechanism malformed-request mechanism-too-weak not-authorized temporary-auth-failure".split()
)
# RFC 6120 8.3.3
STANZA_CONDITIONS: Final = frozenset(
    "bad-request conflict feature-not-implemented forbidden gone internal-server-error item-not-found"
    " jid-malformed not-acceptable not-allowed not-authorized policy-violation recipient-unavailable redirect"
    " registration-required remote-server-not-found remote-server-timeout resource-constraint"
    " service-unavailable subscription-required undefined-condition unexpected-request".split()
)
# RFC 6120 8.3.2
ERROR_TYPES: Final = frozenset({"auth", "cancel", "continue", "modify", "wait"})
