"""When accounts were last connected, and what they said when they left (XEP-0012 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xmppd import clock
from xmppd.errors import StanzaError
from xmppd.records import Seen

if TYPE_CHECKING:
    from xmppd.core.accounts import Account, Records
    from xmppd.core.site import Site

STATUS_CHARACTERS: Final = 1024  # a farewell is a line, whatever a stanza may hold


class LastActivity:
    """Those who have left are written down together, while others leave; nobody waits for it.

    One note for each account, the last. What a failing store does not take is tried again when the next one leaves.
    """

    def __init__(self, site: Site, records: Records) -> None:
        self._site = site
        self._records = records
        self._left: dict[int, Seen] = {}
        self._writing: dict[int, Seen] = {}
        self._busy = False
        self.since_s = clock.monotonic_s()  # when the server began

    def left(self, account: Account) -> None:
        """The last resource of an account is gone."""
        now = int(clock.utc_now().timestamp())
        self._left[account.account_id] = Seen(now, account.farewell)
        if not self._busy:
            self._busy = True
            self._site.spawn(self._write())

    async def of(self, account: Account) -> Seen:
        """When an account that is not connected was. Raises StanzaError."""
        id_ = account.account_id
        seen = self._left.get(id_) or self._writing.get(id_) or await self._records.seen(id_)
        if seen is None:
            raise StanzaError("item-not-found")  # it was deleted a moment ago
        return seen

    async def _write(self) -> None:
        try:
            while self._left:
                self._writing, self._left = self._left, {}
                await self._records.saw(list(self._writing.items()))
        except StanzaError:  # of which the store has spoken
            self._left = {**self._writing, **self._left}
        finally:
            self._writing = {}
            self._busy = False
