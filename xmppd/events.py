"""How rooms speak to the log and the metrics without knowing who listens.

A log call is `log.info("login failed", extra=fields(peer=..., mechanism=...))`: the message is a constant, what
varies is in the fields. A counter is one line in COUNTERS, raised by `count("...")`, read by `ops`.
"""

from __future__ import annotations

from typing import Any, Final

# name -> what it counts; names are the metric's labels too
COUNTERS: Final[dict[str, str]] = {
    "connections_accepted": "connections accepted by a listener",
    "connections_refused_address": "connections refused: too many from one address",
    "connections_refused_unauthenticated": "connections refused: too many that are not logged in",
    "accepts_paused": "times accepting paused because descriptors or memory ran out",
    "handshakes_failed": "TLS handshakes that failed",
    "handshakes_refused": "TLS handshakes refused because too many waited for a worker",
    "handshakes_timeout": "TLS handshakes that took too long",
    "logins": "successful authentications",
    "logins_failed": "failed authentications",
    "logins_deferred": "PLAIN attempts refused because too many are being checked for the address",
    "sessions_refused_account": "binds refused: too many sessions of the account",
    "streams_rate_limited": "times a stream was slowed down by its byte or stanza rate",
    "streams_overflowed": "connections dropped because the client did not read",
    "streams_negotiation_timeout": "connections closed because negotiation took too long",
    "streams_idle_timeout": "connections closed because a ping was not answered",
    "account_jobs_refused": "changes of an account refused: too many wait",
    "directed_refused": "directed presence refused: too many of the resource",
    "requests_refused": "subscription requests refused: too many wait for the account's answer",
    "blocks_refused": "addresses not blocked: the account's block list is full",
    "documents_refused": "vCards and private XML refused: too many bytes of the account",
    "rosters_refused": "roster changes refused: too many items or bytes",
    "stream_errors": "stream errors sent",
    "stanza_errors": "stanza errors sent",
    "stanzas_routed": "stanzas delivered to a local resource",
    "partial_bytes_evicted": "connections dropped because partial stanzas held too much memory",
    "offline_kept": "messages kept for accounts that nobody could be reached at, after their commit",
    "offline_refused": "messages that could not be kept: quota, queue or disk; their senders were told",
    "offline_delivered": "kept messages given to a stream",
    "offline_not_removed": "messages delivered that could not be removed from the disk yet",
    "store_queue_full": "writes refused because the store's queue was full",
}

counters: Final[dict[str, int]] = dict.fromkeys(COUNTERS, 0)


def count(name: str, by: int = 1) -> None:
    """Raise the counter `name`; KeyError if it is not in COUNTERS."""
    counters[name] += by


def fields(**values: Any) -> dict[str, Any]:
    """What a log call passes as `extra`: the fields of the event. Never a password, token or message body."""
    return {"fields": values}
