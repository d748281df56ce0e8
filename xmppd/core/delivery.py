"""What becomes of a message for a local account: RFC 6121 8.5 as a table, read with UC 5-18 to 5-21.

Rows: how the address looks and who is connected. Columns: the type of the message.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Final


class Reach(Enum):
    """What an address reaches at the moment."""

    MATCH = "a full address with a connected resource"
    AVAILABLE = "an account with available resources of non-negative priority"
    CONNECTED = "an account with connected resources that have sent no presence, and none of the row above"
    NOBODY = "an account that nobody can be reached at, or no such account"


class Fate(Enum):
    """What is done with the message."""

    DELIVER = "deliver to the one resource"
    DELIVER_AVAILABLE = "deliver to every available resource of non-negative priority"
    DELIVER_CONNECTED = "deliver to every connected resource without presence"
    BOUNCE = "answer service-unavailable"
    DROP = "ignore"


_R, _F = Reach, Fate

# A full address that matches no resource is treated as the bare one (UC 5-20): Reach says which row that is.
MESSAGES: Final[MappingProxyType[tuple[Reach, str], Fate]] = MappingProxyType(
    {
        (_R.MATCH, "normal"): _F.DELIVER,
        (_R.MATCH, "chat"): _F.DELIVER,
        (_R.MATCH, "headline"): _F.DELIVER,
        (_R.MATCH, "groupchat"): _F.DELIVER,
        (_R.MATCH, "error"): _F.DELIVER,
        (_R.AVAILABLE, "normal"): _F.DELIVER_AVAILABLE,
        (_R.AVAILABLE, "chat"): _F.DELIVER_AVAILABLE,
        (_R.AVAILABLE, "headline"): _F.DELIVER_AVAILABLE,
        (_R.AVAILABLE, "groupchat"): _F.BOUNCE,
        (_R.AVAILABLE, "error"): _F.DROP,
        (_R.CONNECTED, "normal"): _F.DELIVER_CONNECTED,
        (_R.CONNECTED, "chat"): _F.DELIVER_CONNECTED,
        (_R.CONNECTED, "headline"): _F.DROP,
        (_R.CONNECTED, "groupchat"): _F.BOUNCE,
        (_R.CONNECTED, "error"): _F.DROP,
        (_R.NOBODY, "normal"): _F.BOUNCE,
        (_R.NOBODY, "chat"): _F.BOUNCE,
        (_R.NOBODY, "headline"): _F.DROP,
        (_R.NOBODY, "groupchat"): _F.BOUNCE,
        (_R.NOBODY, "error"): _F.DROP,
    }
)
