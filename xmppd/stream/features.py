"""The `<stream:features/>` of each stage, written in the order in which they can be negotiated (RFC 6120
4.3.2).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from xmppd import ns

CLOSING_TAG: Final = b"</stream:stream>"


def _starttls(required: bool) -> str:
    inner = "<required/>" if required else ""
    return f"<starttls xmlns='{ns.TLS}'>{inner}</starttls>"  # 1-9.1, 2-4


def _mechanisms(names: tuple[str, ...], flagged: bool) -> str:
    listed = "".join(f"<mechanism>{name}</mechanism>" for name in names)
    required = "<required/>" if flagged else ""
    return f"<mechanisms xmlns='{ns.SASL}'>{listed}{required}</mechanisms>" if names else ""


def _channel_bindings(types: tuple[str, ...]) -> str:
    listed = "".join(f"<channel-binding type='{name}'/>" for name in types)
    return f"<sasl-channel-binding xmlns='{ns.SASL_CB}'>{listed}</sasl-channel-binding>" if types else ""


def _features(*children: str) -> bytes:
    return f"<stream:features>{''.join(children)}</stream:features>".encode()


# each is the same for nearly all streams
_once: Final = lru_cache(maxsize=64)


@_once
def in_clear(required: bool, mechanisms: tuple[str, ...]) -> bytes:
    """Before TLS: STARTTLS, and `mechanisms` where it is voluntary (2-4: there are none if it is required)."""
    return _features(_starttls(required), _mechanisms(mechanisms, flagged=False))


@_once
def to_log_in(mechanisms: tuple[str, ...], bindings: tuple[str, ...], flagged: bool) -> bytes:
    """After TLS: SASL, and with which channel bindings (2-9.c, 3-6; XEP-0440).

    `flagged` adds the `<required/>` that UC asks of server streams and allows here (3-6, 3-16).
    """
    return _features(_channel_bindings(bindings), _mechanisms(mechanisms, flagged))


@_once
def to_bind(session: bool, voluntary: bytes) -> bytes:
    """After login: bind, the legacy session (RFC 3921 3, here a voluntary no-op), what the domain adds
    (3-13).
    """
    legacy = f"<session xmlns='{ns.SESSION}'><optional/></session>" if session else ""
    return _features(f"<bind xmlns='{ns.BIND}'/>", legacy, voluntary.decode())
