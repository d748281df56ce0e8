"""What a peer can do wrong, as values with the RFC's names (RFC 6120 4.9, 6.5, 8.3).

What we do wrong is any other exception: it is logged and answered by `internal-server-error`.
"""

from __future__ import annotations

from typing import Final, Literal
from xml.sax.saxutils import escape, quoteattr

from xmppd import ns

ErrorType = Literal["auth", "cancel", "continue", "modify", "wait"]

STREAM_CONDITIONS: Final = frozenset(
    [
        "bad-format",
        "bad-namespace-prefix",
        "conflict",
        "connection-timeout",
        "host-gone",
        "host-unknown",
        "improper-addressing",
        "internal-server-error",
        "invalid-from",
        "invalid-namespace",
        "invalid-xml",
        "not-authorized",
        "not-well-formed",
        "policy-violation",
        "remote-connection-failed",
        "reset",
        "resource-constraint",
        "restricted-xml",
        "see-other-host",
        "system-shutdown",
        "undefined-condition",
        "unsupported-encoding",
        "unsupported-feature",
        "unsupported-stanza-type",
        "unsupported-version",
    ]
)

# RFC 6120 8.3.3: condition -> the error type that goes with it where the text leaves no choice or recommends one
STANZA_CONDITIONS: Final[dict[str, ErrorType]] = {
    "bad-request": "modify",
    "conflict": "cancel",
    "feature-not-implemented": "cancel",
    "forbidden": "auth",
    "gone": "cancel",
    "internal-server-error": "cancel",
    "item-not-found": "cancel",
    "jid-malformed": "modify",
    "not-acceptable": "modify",
    "not-allowed": "cancel",
    "not-authorized": "auth",
    "policy-violation": "modify",
    "recipient-unavailable": "wait",
    "redirect": "modify",
    "registration-required": "auth",
    "remote-server-not-found": "cancel",
    "remote-server-timeout": "wait",
    "resource-constraint": "wait",
    "service-unavailable": "cancel",
    "subscription-required": "auth",
    "undefined-condition": "cancel",
    "unexpected-request": "wait",
}

SASL_CONDITIONS: Final = frozenset(
    [
        "aborted",
        "account-disabled",
        "credentials-expired",
        "encryption-required",
        "incorrect-encoding",
        "invalid-authzid",
        "invalid-mechanism",
        "malformed-request",
        "mechanism-too-weak",
        "not-authorized",
        "temporary-auth-failure",
    ]
)


def _text(namespace: str, text: str | None) -> str:
    return f"<text xmlns='{namespace}' xml:lang='en'>{escape(text)}</text>" if text else ""


class ProtocolError(Exception):
    """What the other side did wrong: `condition` for the wire, `text` for people, `app` an application condition.

    `app` is the local name of a child, for instance the limit that was passed, in the namespace `app_ns`.
    """

    conditions: frozenset[str] | dict[str, ErrorType] = frozenset()

    def __init__(
        self, condition: str, text: str | None = None, *, app: str | None = None, app_ns: str = ns.OWN_ERRORS
    ) -> None:
        if condition not in self.conditions:
            raise ValueError(f"{condition} is no condition of {type(self).__name__}")
        super().__init__(condition, text)
        self.condition = condition
        self.text = text
        self.app = app
        self.app_ns = app_ns

    def __str__(self) -> str:
        return f"{self.condition}: {self.text}" if self.text else self.condition

    def _app_xml(self) -> str:
        return f"<{self.app} xmlns='{self.app_ns}'/>" if self.app else ""


class StreamError(ProtocolError):
    """RFC 6120 4.9: unrecoverable; the stream is closed after it."""

    conditions = STREAM_CONDITIONS

    def to_xml(self) -> bytes:
        """`<stream:error>`, for a stream whose header declared the prefix `stream`."""
        return (
            f"<stream:error><{self.condition} xmlns='{ns.STREAM_ERRORS}'/>"
            f"{_text(ns.STREAM_ERRORS, self.text)}{self._app_xml()}</stream:error>"
        ).encode()


class StanzaError(ProtocolError):
    """RFC 6120 8.3: recoverable; goes back to the sender of the stanza."""

    conditions = STANZA_CONDITIONS

    def __init__(
        self,
        condition: str,
        text: str | None = None,
        *,
        type: ErrorType | None = None,  # noqa: A002 (the attribute's name in the RFC)
        by: str | None = None,
        app: str | None = None,
        app_ns: str = ns.OWN_ERRORS,
    ) -> None:
        super().__init__(condition, text, app=app, app_ns=app_ns)
        self.type: ErrorType = type or STANZA_CONDITIONS[condition]
        self.by = by

    def to_xml(self) -> bytes:
        """`<error/>` as the child of a stanza of type error."""
        by = f" by={quoteattr(self.by)}" if self.by else ""
        return (
            f"<error type='{self.type}'{by}><{self.condition} xmlns='{ns.STANZA_ERRORS}'/>"
            f"{_text(ns.STANZA_ERRORS, self.text)}{self._app_xml()}</error>"
        ).encode()


class SaslFailure(ProtocolError):
    """RFC 6120 6.5: one authentication attempt failed."""

    conditions = SASL_CONDITIONS

    def to_xml(self) -> bytes:
        """`<failure/>` of the SASL namespace."""
        return f"<failure xmlns='{ns.SASL}'><{self.condition}/>{_text(ns.SASL, self.text)}</failure>".encode()
