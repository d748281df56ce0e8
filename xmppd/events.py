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
    "connections_refused_unauthenticated": "connections refused or put out: too many that are not logged in",
    "accepts_paused": "times accepting paused because descriptors or memory ran out",
    "handshakes_failed": "TLS handshakes that failed",
    "handshakes_refused": "TLS handshakes refused because too many waited for a worker",
    "handshakes_timeout": "TLS handshakes that took too long",
    "starttls_refused": "STARTTLS requests answered with <failure/>: malformed, repeated, or no certificate to be used",
    "logins": "successful authentications",
    "logins_failed": "failed authentications",
    "logins_deferred": "PLAIN attempts refused because too many are being checked for the address",
    "sessions_refused_account": "binds refused: too many sessions of the account",
    "streams_rate_limited": "times a stream was slowed down by its byte or stanza rate",
    "streams_slowed_bytes": "times a stream was slowed down by its byte rate",
    "streams_slowed_stanzas": "times a stream was slowed down by its stanza rate",
    "stanzas_too_long": "streams ended by a stanza that is too long",
    "preauth_stanzas_too_long": "streams ended, before the log-in, by an element that is too long",
    "tags_too_long": "streams ended by a tag that is too long",
    "depths_refused": "streams ended by elements nested too deep",
    "attributes_refused": "streams ended by too many attributes",
    "bindings_refused": "streams ended by too many namespace declarations",
    "names_too_long": "streams ended by a name that is too long",
    "uris_too_long": "streams ended by a namespace name that is too long",
    "streams_overflowed": "connections dropped because the client did not read",
    "streams_negotiation_timeout": "connections closed because negotiation took too long",
    "streams_idle_timeout": "connections closed because a ping was not answered",
    "account_jobs_refused": "changes of an account refused: too many wait",
    "subscriptions_stuck": "times one side of a subscription could not be committed; it is tried again",
    "directed_refused": "directed presence refused: too many of the resource",
    "requests_cut": "subscription requests kept without their content, which is too long",
    "requests_refused": "subscription requests refused: too many wait for the account's answer",
    "blocks_refused": "addresses not blocked: the account's block list is full",
    "documents_refused": "vCards and private XML refused: too many bytes of the account",
    "roster_items_refused": "roster changes refused: too many items",
    "roster_bytes_refused": "roster changes refused: too many bytes",
    "roster_names_refused": "roster changes refused: the name of an item or group is too long",
    "roster_groups_refused": "roster changes refused: an item in too many groups",
    "rosters_evicted": "rosters as they are sent put out of memory for others",
    "accounts_evicted": "accounts nobody is connected to put out of memory for others",
    "addresses_not_kept": "addresses prepared anew, for no prepared one was in memory",
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

# key of [limits] -> the counter of what it has refused, slowed down or put out of memory
LIMITS: Final[dict[str, str]] = {
    "stanza_bytes": "stanzas_too_long",
    "preauth_stanza_bytes": "preauth_stanzas_too_long",
    "tag_bytes": "tags_too_long",
    "depth": "depths_refused",
    "attributes": "attributes_refused",
    "bindings": "bindings_refused",
    "name_bytes": "names_too_long",
    "uri_bytes": "uris_too_long",
    "partial_bytes_total": "partial_bytes_evicted",
    "jid_cache_bytes": "addresses_not_kept",
    "output_bytes": "streams_overflowed",
    "connections_per_address": "connections_refused_address",
    "unauthenticated_connections": "connections_refused_unauthenticated",
    "sessions_per_account": "sessions_refused_account",
    "bytes_per_s": "streams_slowed_bytes",
    "stanzas_per_s": "streams_slowed_stanzas",
    "burst_s": "streams_rate_limited",  # of either rate
    "account_jobs": "account_jobs_refused",
    "idle_accounts": "accounts_evicted",
    "directed_presences": "directed_refused",
    "kept_requests": "requests_refused",
    "kept_request_bytes": "requests_cut",
    "block_list_bytes": "blocks_refused",
    "document_bytes": "documents_refused",
    "roster_items": "roster_items_refused",
    "roster_cache_bytes": "rosters_evicted",
    "roster_bytes": "roster_bytes_refused",
    "roster_name_bytes": "roster_names_refused",
    "roster_groups": "roster_groups_refused",
}

counters: Final[dict[str, int]] = dict.fromkeys(COUNTERS, 0)


def count(name: str, by: int = 1) -> None:
    """Raise the counter `name`; KeyError if it is not in COUNTERS."""
    counters[name] += by


def limited(key: str) -> None:
    """Raise the counter of a key of [limits]: it has refused, slowed down or put out something."""
    counters[LIMITS[key]] += 1


def fields(**values: Any) -> dict[str, Any]:
    """What a log call passes as `extra`: the fields of the event. Never a password, token or message body."""
    return {"fields": values}
