"""Writes nstable.h: known namespace names, a number for each, and a perfect hash that finds it.

The hash sees the length and the first and last eight bytes of a name; a multiplier that lets no two names meet in
a slot is searched here, once. A name that is not in the table has the number 0.
"""

from __future__ import annotations

import random
from pathlib import Path

MASK = (1 << 64) - 1
SLOT_BITS = 9

# A first-level element may be of these; the stream machine decides when, and which names.
FIRST_LEVEL = [
    "jabber:client",
    "jabber:server",
    "http://etherx.jabber.org/streams",
    "urn:ietf:params:xml:ns:xmpp-tls",
    "urn:ietf:params:xml:ns:xmpp-sasl",
    "urn:xmpp:sasl:2",
    "urn:xmpp:sm:3",
    "urn:xmpp:sm:2",
    "urn:xmpp:csi:0",
    "http://jabber.org/protocol/compress",
    "jabber:server:dialback",
    "jabber:component:accept",
]

OTHERS = [
    "urn:ietf:params:xml:ns:xmpp-bind",
    "urn:ietf:params:xml:ns:xmpp-session",
    "urn:ietf:params:xml:ns:xmpp-stanzas",
    "urn:ietf:params:xml:ns:xmpp-streams",
    "urn:xmpp:features:rosterver",
    "urn:xmpp:features:pre-approval",
    "urn:xmpp:features:dialback",
    "urn:xmpp:sasl-cb:0",
    "jabber:iq:roster",
    "jabber:iq:version",
    "jabber:iq:last",
    "jabber:iq:private",
    "jabber:iq:privacy",
    "jabber:iq:register",
    "jabber:iq:search",
    "jabber:iq:auth",
    "jabber:iq:oob",
    "jabber:x:data",
    "jabber:x:oob",
    "jabber:x:delay",
    "jabber:x:event",
    "jabber:x:conference",
    "jabber:x:encrypted",
    "jabber:x:signed",
    "storage:bookmarks",
    "storage:rosternotes",
    "vcard-temp",
    "vcard-temp:x:update",
    "urn:ietf:params:xml:ns:vcard-4.0",
    "http://jabber.org/protocol/disco#info",
    "http://jabber.org/protocol/disco#items",
    "http://jabber.org/protocol/caps",
    "http://jabber.org/protocol/chatstates",
    "http://jabber.org/protocol/commands",
    "http://jabber.org/protocol/address",
    "http://jabber.org/protocol/amp",
    "http://jabber.org/protocol/bytestreams",
    "http://jabber.org/protocol/ibb",
    "http://jabber.org/protocol/si",
    "http://jabber.org/protocol/muc",
    "http://jabber.org/protocol/muc#user",
    "http://jabber.org/protocol/muc#admin",
    "http://jabber.org/protocol/muc#owner",
    "http://jabber.org/protocol/muc#unique",
    "http://jabber.org/protocol/nick",
    "http://jabber.org/protocol/offline",
    "http://jabber.org/protocol/pubsub",
    "http://jabber.org/protocol/pubsub#event",
    "http://jabber.org/protocol/pubsub#owner",
    "http://jabber.org/protocol/pubsub#errors",
    "http://jabber.org/protocol/rosterx",
    "http://jabber.org/protocol/rsm",
    "http://jabber.org/protocol/shim",
    "http://jabber.org/protocol/xhtml-im",
    "http://www.w3.org/1999/xhtml",
    "http://www.w3.org/XML/1998/namespace",
    "eu.siacs.conversations.axolotl",
    "urn:xmpp:omemo:2",
    "urn:xmpp:eme:0",
    "urn:xmpp:attention:0",
    "urn:xmpp:avatar:data",
    "urn:xmpp:avatar:metadata",
    "urn:xmpp:blocking",
    "urn:xmpp:blocking:errors",
    "urn:xmpp:bob",
    "urn:xmpp:bookmarks:1",
    "urn:xmpp:carbons:2",
    "urn:xmpp:chat-markers:0",
    "urn:xmpp:delay",
    "urn:xmpp:fallback:0",
    "urn:xmpp:forward:0",
    "urn:xmpp:hashes:2",
    "urn:xmpp:hints",
    "urn:xmpp:http:upload:0",
    "urn:xmpp:idle:1",
    "urn:xmpp:jingle:1",
    "urn:xmpp:jingle-message:0",
    "urn:xmpp:mam:2",
    "urn:xmpp:mds:displayed:0",
    "urn:xmpp:message-correct:0",
    "urn:xmpp:message-retract:1",
    "urn:xmpp:mix:core:1",
    "urn:xmpp:occupant-id:0",
    "urn:xmpp:ping",
    "urn:xmpp:push:0",
    "urn:xmpp:reactions:0",
    "urn:xmpp:receipts",
    "urn:xmpp:reference:0",
    "urn:xmpp:reply:0",
    "urn:xmpp:sec-label:0",
    "urn:xmpp:sec-label:catalog:2",
    "urn:xmpp:sid:0",
    "urn:xmpp:styling:0",
    "urn:xmpp:time",
    "urn:xmpp:vcard4",
    "urn:xmpp:xbosh",
    "http://jabber.org/protocol/httpbind",
    "urn:ietf:params:xml:ns:xmpp-framing",
]

# constants of the C core
NAMED = {
    "CLIENT": "jabber:client",
    "SERVER": "jabber:server",
    "STREAMS": "http://etherx.jabber.org/streams",
}


def slot(uri: bytes, multiplier: int) -> int:
    """Where `uri` is looked up; the same arithmetic as xs_ns_id."""
    first, last = int.from_bytes(uri[:8], "little"), int.from_bytes(uri[-8:], "little")
    mixed = (first * 3 ^ last) + len(uri) & MASK
    return (mixed * multiplier & MASK) >> (64 - SLOT_BITS)


def find_multiplier(uris: list[bytes]) -> int:
    """An odd 64-bit number that gives every name a slot of its own; always the same one for the same names."""
    rng = random.Random(6120)  # noqa: S311 (no secret)
    while True:
        multiplier = rng.getrandbits(64) | 1
        if len({slot(u, multiplier) for u in uris}) == len(uris):
            return multiplier


def write(path: str | Path) -> None:
    """Make the header at `path`."""
    names = FIRST_LEVEL + OTHERS
    uris = [n.encode("ascii") for n in names]
    if len(set(uris)) != len(uris) or min(map(len, uris)) < 8 or len(uris) > 255:
        raise ValueError("names must be different, of 8 bytes or more, and at most 255")
    multiplier = find_multiplier(uris)
    slots = [0] * (1 << SLOT_BITS)
    for number, uri in enumerate(uris, 1):
        slots[slot(uri, multiplier)] = number
    rows = "\n".join(f'    {{"{n}", {len(n)}}},' for n in names)
    filled = ",\n".join("    " + ", ".join(map(str, slots[i : i + 24])) for i in range(0, len(slots), 24))
    constants = "\n".join(f"#define NS_{k} {names.index(v) + 1}" for k, v in NAMED.items())
    Path(path).write_text(
        f"""/* Made by gen_nstable.py. */
#include <stdint.h>

{constants}
#define NS_FIRST_LEVEL_LAST {len(FIRST_LEVEL)}
#define NS_COUNT {len(names)}
#define NS_MULTIPLIER {multiplier:#x}u
#define NS_SHIFT {64 - SLOT_BITS}

static const struct {{ const char *uri; uint8_t len; }} ns_names[NS_COUNT + 1] = {{
    {{"", 0}},
{rows}
}};

static const uint8_t ns_slots[{1 << SLOT_BITS}] = {{
{filled}
}};
""",
        encoding="ascii",
    )


if __name__ == "__main__":
    import sys

    write(sys.argv[1])
