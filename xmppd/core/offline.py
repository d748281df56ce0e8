"""Messages for accounts that nobody can be reached at: kept, and delivered when somebody can (XEP-0160).

A message is accepted when it is committed. It is removed when the recipient's stream has taken its bytes; a death in
between delivers it again, with the same stamp and the same id. While anything waits for an account, what comes for its
bare address goes behind it, so that no message overtakes another.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from os import urandom
from typing import TYPE_CHECKING, Final

from xmppd import clock, ns
from xmppd._fast.reader import Stanza
from xmppd._fast.route import ConnectedAccount, Resource
from xmppd.core.acceptance import Pending
from xmppd.core.bounce import bounce
from xmppd.errors import StanzaError
from xmppd.events import count, fields
from xmppd.jid import JID
from xmppd.records import Waiting

if TYPE_CHECKING:
    from xmppd.core.accounts import Account, Records
    from xmppd.core.site import Site

log = logging.getLogger("xmppd.core.offline")

RETRY_S: Final = 1.0  # after a page that could not be read


@dataclass(frozen=True, slots=True)
class OfflineSettings:
    """Limits; each is a key of the table `[offline]`."""

    messages: int = 1000  # kept for one account; 0: none are kept
    bytes: int = 16 << 20  # they may have together
    queue_bytes: int = 64 << 20  # messages of all accounts that wait for the disk
    page_messages: int = 200  # read and sent at a time
    page_bytes: int = 65_536
    drains: int = 4  # pages read at a time, for all accounts


Behind = deque[tuple[int, Resource, Stanza, JID]]


class Mailbox:
    """What waits for one account.

    In the account's order, up to `dropped` messages have been removed or are about to be, up to `passed` they have
    been given to a stream; `last` is the last place given.
    """

    __slots__ = (
        "behind",
        "busy",
        "dropped",
        "last",
        "live_from",
        "messages",
        "octets",
        "owed",
        "page",
        "passed",
        "reader",
        "undelivered",
        "writing",
    )

    def __init__(self, waiting: Waiting) -> None:
        # what counts against the quota: given to a stream or not, committed or not
        self.messages = waiting.messages
        self.octets = waiting.octets
        self.undelivered = waiting.messages  # of them, not yet given to a stream
        self.writing = 0  # of these, not yet committed
        self.last = waiting.last
        self.passed = self.dropped = 0
        self.page = (0, 0)  # messages and octets that the stream has not taken yet
        self.owed = (0, 0)  # taken, and not removed yet
        self.reader: Resource | None = None  # who is being given what waits
        self.busy = False  # a page is asked for, or has not been taken yet
        # what comes behind this place came while somebody was there: it is for all who are
        self.live_from = 0
        # messages that are not kept, with their place among those that are; None: an empty deque has 600 bytes
        self.behind: Behind | None = None


_Row = tuple["Account", int, bytes, Resource, Stanza]


class Offline:
    """Keeps and delivers. Routing calls it and never waits; what it does with the store goes on beside."""

    def __init__(self, site: Site, records: Records) -> None:
        self._site = site
        self._records = records
        self._rows: list[_Row] = []  # of this turn of the loop
        self.pending = Pending()  # the senders of these
        self._now_us = 0  # when the first of them came
        self._stamp = b""
        self._waits_for_page: deque[Account] = deque()
        # with messages that could not be removed; in memory until they are, so that nobody gets them again
        self._not_removed: set[Account] = set()
        self._reading = 0
        self.waiting = 0  # messages not committed yet
        self.waiting_octets = 0
        self.behind_octets = 0  # of messages that are not kept and wait behind others

    # ---- keeping

    def keep(self, account: Account, sender: Resource, stanza: Stanza) -> None:
        """Take a message for an account. Raises StanzaError if it cannot be; fails later by an error to the sender."""
        box = account.mailbox
        limits = self._site.settings.offline
        if not self._rows:
            self._begin_batch()
        data = stamped(stanza, sender, account.jid, self._stamp)
        if box.messages >= limits.messages or box.octets + len(data) > limits.bytes:
            count("offline_refused")
            raise StanzaError("service-unavailable")  # 5-19.b
        if self.waiting_octets + len(data) > limits.queue_bytes:
            count("offline_refused")
            raise StanzaError("resource-constraint", app="queue_bytes")
        if not self._rows:
            self._site.spawn(self._commit())
        # a clock that never goes back: the place of a message that was removed is not given again
        box.last = max(box.last + 1, self._now_us)
        self._rows.append((account, box.last, data, sender, stanza))
        self._site.acceptance.add(self.pending, sender)
        self.waiting += 1
        self.waiting_octets += len(data)
        if not box.writing:
            self._site.accounts.hold(account)
        box.writing += 1
        box.messages += 1
        box.octets += len(data)
        box.undelivered += 1
        if box.undelivered == 1:
            self.show(account)

    def _begin_batch(self) -> None:
        now = clock.utc_now()
        self._now_us = int(now.timestamp() * 1_000_000)
        self._stamp = clock.xep0082(now).encode()

    async def _commit(self) -> None:
        rows, self._rows = self._rows, []
        pending, self.pending = self.pending, Pending()
        gone: set[int] = set()
        failed: StanzaError | None = None
        try:
            gone = await self._records.keep([(row[0].account_id, row[1], row[2]) for row in rows])
        except StanzaError as error:
            failed = error
        except Exception:
            log.exception("messages not kept")
            failed = StanzaError("internal-server-error")
        touched: dict[Account, None] = {}
        kept = 0
        for account, _, data, sender, stanza in rows:
            box = account.mailbox
            touched[account] = None
            self.waiting_octets -= len(data)
            box.writing -= 1
            if failed is None and account.account_id not in gone:
                kept += 1
                continue
            box.messages -= 1
            box.octets -= len(data)
            box.undelivered -= 1
            bounce(sender, stanza, failed or StanzaError("service-unavailable"))
        self.waiting -= len(rows)
        count("offline_kept", kept)
        count("offline_refused", len(rows) - kept)
        self._site.acceptance.decided(pending)
        for account in touched:
            box = account.mailbox
            if not box.writing:
                self._site.accounts.release(account)
            if box.reader is not None:
                self._next(account)
            elif not box.undelivered:
                self.show(account)

    # ---- delivering

    def wait_behind(self, account: Account, sender: Resource, stanza: Stanza, to: JID) -> bool:
        """Let a message that is not kept wait in memory while others are being delivered; False if none are.

        Raises StanzaError if too many wait already.
        """
        box = account.mailbox
        if box.reader is None:
            return False
        if box.behind is None:
            box.behind = deque()
        limits = self._site.settings.offline
        if len(box.behind) >= limits.page_messages:
            count("offline_refused")
            raise StanzaError("resource-constraint", app="page_messages")
        if self.behind_octets + len(stanza) > limits.queue_bytes:
            count("offline_refused")
            raise StanzaError("resource-constraint", app="queue_bytes")
        self.behind_octets += len(stanza)
        box.behind.append((box.last, sender, stanza, to))
        return True

    def available(self, resource: Resource) -> None:
        """A resource has sent available presence of non-negative priority: it gets what waits."""
        account: Account = resource.account.account
        box = account.mailbox
        if account in self._not_removed:
            self._drop(account)
        if box.undelivered and box.reader is None:
            box.reader = resource
            box.live_from = box.last
            self._next(account)

    def left(self, resource: Resource) -> None:
        """The stream of a resource has ended: what it has not taken is for the next."""
        account: Account = resource.account.account
        box = account.mailbox
        if box.reader is not resource:
            return
        messages, _ = box.page
        if messages:
            box.undelivered += messages
            box.passed = box.dropped
            box.page = (0, 0)
            box.busy = False
            self.show(account)
        self._next(account)

    def _next(self, account: Account) -> None:
        """Ask for the next page, once, if there is somebody to give it to."""
        box = account.mailbox
        if box.busy:
            return
        box.reader = self._reader(box.reader, account)
        if box.reader is not None and box.undelivered > box.writing:
            box.busy = True
            self._waits_for_page.append(account)
            self._read()
        elif box.reader is None or not box.undelivered:
            # all is delivered, or nobody is there; else the commit of what is being written calls again
            box.reader = None
            self.show(account)
            while box.behind:
                sender, stanza, to = self._from_behind(box.behind)
                self._site.messages.again(sender, stanza, to, account)

    def _reader(self, now: Resource | None, account: Account) -> Resource | None:
        """Who is given what waits: `now` while it can take messages, else another that can."""
        connected = self._site.table.bare(account.jid.norm)
        if connected is None or connected.account is not account:
            return None
        able = [r for r in connected.resources if r.available and r.priority >= 0 and r.conn is not None]
        return now if now in able else able[0] if able else None

    def _read(self) -> None:
        while self._waits_for_page and self._reading < self._site.settings.offline.drains:
            self._reading += 1
            self._site.spawn(self._page(self._waits_for_page.popleft()))

    async def _page(self, account: Account) -> None:
        box = account.mailbox
        limits = self._site.settings.offline
        try:
            rows = await self._records.page(
                account.account_id, box.passed, limits.page_messages, limits.page_bytes
            )
        except Exception as error:
            if not isinstance(error, StanzaError):  # of those the store has spoken
                log.exception("kept messages not read", extra=fields(account=str(account.jid)))
            asyncio.get_running_loop().call_later(RETRY_S, self._give, account, None)
        else:
            self._give(account, rows)
        finally:
            self._reading -= 1
            self._read()

    def _give(self, account: Account, rows: Sequence[tuple[int, bytes]] | None) -> None:
        """Send a page to whoever is there now; None: it could not be read, and another is asked for."""
        box = account.mailbox
        reader = box.reader = self._reader(box.reader, account)
        if reader is None or reader.conn is None or not rows:
            if rows is not None and not rows and box.undelivered > box.writing:
                # never turn round and round for what somebody has taken out of the file
                log.error("kept messages are gone", extra=fields(account=str(account.jid)))
                box.undelivered = box.writing
            box.busy = False
            self._next(account)
            return
        octets = 0
        for place, data in rows:
            while box.behind and box.behind[0][0] < place:
                self._pass_by(box.behind, reader.account)
            octets += len(data)
            if _is_unwanted(account, data):
                continue
            reader.send(data)
            if place > box.live_from:
                for resource in reader.account.resources:
                    if resource is not reader and resource.available and resource.priority >= 0:
                        resource.send(data)
        box.passed = rows[-1][0]
        box.page = (len(rows), octets)
        box.undelivered -= len(rows)
        if not box.undelivered:
            while box.behind:
                self._pass_by(box.behind, reader.account)
            self.show(account)
        count("offline_delivered", len(rows))
        reader.conn.when_taken(partial(self._taken, account, reader))

    def _pass_by(self, behind: Behind, connected: ConnectedAccount) -> None:
        sender, stanza, _ = self._from_behind(behind)
        self._site.table.deliver_to_bare(stanza, sender, connected)

    def _from_behind(self, behind: Behind) -> tuple[Resource, Stanza, JID]:
        _, sender, stanza, to = behind.popleft()
        self.behind_octets -= len(stanza)
        return sender, stanza, to

    def _taken(self, account: Account, reader: Resource) -> None:
        """The kernel has all bytes of the page."""
        box = account.mailbox
        if box.reader is not reader or not box.page[0]:
            return
        box.owed = (box.owed[0] + box.page[0], box.owed[1] + box.page[1])
        box.page = (0, 0)
        box.dropped = box.passed
        box.busy = False
        self._drop(account)
        self._next(account)

    def remove_delivered(self) -> None:
        """Try again to remove what has been delivered and could not be removed then."""
        for account in tuple(self._not_removed):
            self._drop(account)

    def _drop(self, account: Account) -> None:
        # in memory until it is done: who reads the store before that would deliver again
        self._site.accounts.hold(account)
        self._site.spawn(self._dropping(account))

    async def _dropping(self, account: Account) -> None:
        box = account.mailbox
        try:
            await self._records.drop(account.account_id, box.dropped)
        except (
            StanzaError
        ):  # it is tried again with the next page, when somebody comes, when the store works again
            count("offline_not_removed", box.owed[0])
            if account not in self._not_removed:
                self._not_removed.add(account)
                self._site.accounts.hold(account)
        else:
            box.messages -= box.owed[0]
            box.octets -= box.owed[1]
            box.owed = (0, 0)
            if account in self._not_removed:
                self._not_removed.discard(account)
                self._site.accounts.release(account)
        finally:
            self._site.accounts.release(account)

    def show(self, account: Account) -> None:
        """Tell the routing table whether messages for the account go behind others."""
        connected = self._site.table.bare(account.jid.norm)
        if connected is not None and connected.account is account:
            connected.waiting = account.mailbox.undelivered > 0 or self._site.messages.is_asking(account.jid)


def _is_unwanted(account: Account, data: bytes) -> bool:
    """Whether its sender has been blocked since it was kept (XEP-0191 3.3)."""
    if account.blocked is None:
        return False
    sender = Stanza.parse(data).from_
    return sender is not None and account.blocks(JID.kept(sender))


# ---- what is kept, and how

_HINT_STORE: Final = (ns.HINTS, "store")
_HINT_NO_STORE: Final = (ns.HINTS, "no-store")
_BODY: Final = (ns.CLIENT, "body")
_RECEIPT: Final = (ns.RECEIPTS, "received")
_THREAD: Final = (ns.CLIENT, "thread")


def is_worth_keeping(stanza: Stanza) -> bool:
    """Whether a message is for later too: its sender does not say otherwise, and it is not of the moment only.

    XEP-0334 4.2; XEP-0160 3; a chat state (XEP-0085) or a receipt (XEP-0184) alone is of the moment.
    """
    children = [stanza.child(i) for i in range(stanza.nchild)]
    if _HINT_NO_STORE in children:
        return False
    if _BODY in children or _HINT_STORE in children:
        return True
    fleeting = False
    for child in children:
        if child[0] == ns.CHAT_STATES or child == _RECEIPT:
            fleeting = True
        elif child[0] not in (ns.HINTS, ns.STANZA_ID) and child != _THREAD:
            return True
    return not fleeting


def stamped(stanza: Stanza, sender: Resource, account: JID, stamp: bytes) -> bytes:
    """The message as it will be delivered: its sender's address, when it came (XEP-0203), its id (XEP-0359)."""
    raw = stanza.render(from_=sender.jid.wire, lang=sender.lang)
    added = b"".join(
        (
            b"<delay xmlns='urn:xmpp:delay' from='",
            account.domain.encode(),
            b"' stamp='",
            stamp,
            b"'/><stanza-id xmlns='urn:xmpp:sid:0' by='",
            account.wire,
            b"' id='",
            urandom(12).hex().encode(),
            b"'/>",
        )
    )
    if raw.endswith(b"/>"):
        return raw[:-2] + b">" + added + b"</message>"
    end = raw.rindex(b"</")
    return raw[:end] + added + raw[end:]
