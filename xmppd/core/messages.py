"""The way of a message for a local account, from its arrival to its end: one place, in order (RFC 6121 5, 8.5).

Most messages never come here: what needs no decision the routing table has relayed. A step that must see messages of
an account says so in its `ConnectedAccount`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from xmppd import ns
from xmppd._fast.element import Element, serialize
from xmppd._fast.reader import Stanza
from xmppd._fast.route import ConnectedAccount, Resource
from xmppd.core.acceptance import Pending
from xmppd.core.accounts import Account
from xmppd.core.bounce import bounce
from xmppd.core.delivery import Fate, Form, State, form
from xmppd.core.offline import is_worth_keeping
from xmppd.errors import StanzaError
from xmppd.events import fields
from xmppd.jid import JID, JIDError

if TYPE_CHECKING:
    from xmppd.core.site import Site

log = logging.getLogger("xmppd.core.messages")

# XEP-0160, XEP-0359
FEATURES: Final = ("msgoffline", ns.STANZA_ID)

TYPES: Final = frozenset(("normal", "chat", "headline", "groupchat", "error"))

_TO_ALL: Final = (Fate.DELIVER_AVAILABLE, Fate.DELIVER_CONNECTED)


class Messages:
    """The pipeline. Never waits."""

    def __init__(self, site: Site) -> None:
        self._site = site
        # messages for accounts that are not in memory, until it is known whether there are such
        self._asked: dict[bytes, _Asked] = {}
        self._asked_octets = 0

    def arrive(self, sender: Resource, stanza: Stanza, to: JID) -> None:
        """Deliver, keep, refuse or ignore a message for the local address `to`. Raises StanzaError: refused."""
        bare = to.bare
        account = self._site.accounts.get(bare)
        if self.is_asking(bare) or (account is None and self._depends(stanza, to)):
            self._ask(sender, stanza, to)
        else:
            self._pass(sender, stanza, to, account)

    def is_asking(self, bare: JID) -> bool:
        """Whether messages wait for an account to be read: nothing may overtake them."""
        return bare.norm in self._asked

    def again(self, sender: Resource, stanza: Stanza, to: JID, account: Account) -> None:
        """Pass on a message that has waited; an error goes to its sender."""
        try:
            self._pass(sender, stanza, to, account)
        except StanzaError as error:
            bounce(sender, stanza, error)

    # ---- the steps, in order

    def _pass(self, sender: Resource, stanza: Stanza, to: JID, account: Account | None) -> None:
        offline = self._site.offline
        connected = self._site.table.bare(to.bare.norm)
        match = self._site.table.full(to.norm)

        # whom the account has blocked (XEP-0191)
        if account is not None and account.blocks(sender.jid):
            raise StanzaError("service-unavailable")

        # what only we may say of an account's messages
        stanza = without_forgeries(to.bare, stanza)

        # where to (RFC 6121 8.5)
        fate = self._fate(stanza, form(to, match), _state(account, connected))

        # nothing overtakes what waits to be delivered
        if account is not None and account.mailbox.undelivered and fate in _TO_ALL:
            if is_worth_keeping(stanza):
                fate = Fate.STORE
            elif offline.wait_behind(account, sender, stanza, to):
                return

        # offline storage (XEP-0160)
        if fate is Fate.STORE and account is not None:
            if is_worth_keeping(stanza):
                offline.keep(account, sender, stanza)
                return
            # what cannot be kept has failed, unless nobody would miss it
            fate = Fate.BOUNCE if stanza.has_child(ns.CLIENT, "body") else Fate.DROP

        # delivery
        if fate is Fate.DELIVER and match is not None:
            match.relay(stanza, sender)
        elif fate is Fate.DELIVER_AVAILABLE and connected is not None:
            self._site.table.deliver_to_bare(stanza, sender, connected)
        elif fate is Fate.DELIVER_CONNECTED and connected is not None:
            for resource in connected.resources:
                resource.relay(stanza, sender)
        elif fate is Fate.BOUNCE:
            raise StanzaError("service-unavailable")

    # ---- accounts that are not in memory

    def _fate(self, stanza: Stanza, looks: Form, state: State) -> Fate:
        type_ = stanza.type if stanza.type in TYPES else "normal"  # RFC 6121 5.2.2 (9-7)
        return self._site.settings.delivery[f"message {type_}", looks, state]

    def _depends(self, stanza: Stanza, to: JID) -> bool:
        """Whether it matters if there is an account of that name."""
        looks = form(to, None)
        return self._fate(stanza, looks, State.ABSENT) is not self._fate(stanza, looks, State.OFFLINE)

    def _ask(self, sender: Resource, stanza: Stanza, to: JID) -> None:
        octets = len(stanza)
        if self._asked_octets + octets > self._site.settings.offline.queue_bytes:
            raise StanzaError("resource-constraint", app="queue_bytes")
        self._asked_octets += octets
        key = to.bare.norm
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = _Asked()
            self._site.spawn(self._answer(to.bare))
        asked.messages.append((sender, stanza, to))
        self._site.acceptance.add(asked, sender)

    async def _answer(self, bare: JID) -> None:
        account: Account | None = None
        failed: StanzaError | None = None
        try:
            account = await self._site.accounts.load(bare)
        except StanzaError as error:
            failed = error
        except Exception:
            log.exception("account not read", extra=fields(account=str(bare)))
            failed = StanzaError("internal-server-error")
        asked = self._asked.pop(bare.norm)
        for sender, stanza, to in asked.messages:
            self._asked_octets -= len(stanza)
            try:
                if failed is not None:
                    raise failed
                self._pass(sender, stanza, to, account)
            except StanzaError as error:
                bounce(sender, stanza, error)
            except Exception:  # a bug of ours: the others must not wait for ever
                log.exception("message not delivered", extra=fields(account=str(bare)))
                bounce(sender, stanza, StanzaError("internal-server-error"))
        self._site.acceptance.decided(asked, into=self._site.offline.pending)
        if (known := account or self._site.accounts.get(bare)) is not None:
            self._site.offline.show(known)


class _Asked(Pending):
    """Messages for one account."""

    __slots__ = ("messages",)

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[tuple[Resource, Stanza, JID]] = []


def _state(account: Account | None, connected: ConnectedAccount | None) -> State:
    if connected is None:
        return State.OFFLINE if account is not None else State.ABSENT
    available = [resource.priority for resource in connected.resources if resource.available]
    if not available:
        return State.CONNECTED
    return State.AVAILABLE if max(available) >= 0 else State.NEGATIVE


# who an element says it is of
_SPEAKERS: Final = {(ns.STANZA_ID, "stanza-id"): "by", (ns.DELAY, "delay"): "from"}


def without_forgeries(account: JID, stanza: Stanza) -> Stanza:
    """The stanza without what only `account` or its server may say of it.

    That is a `<stanza-id/>` by the account (XEP-0359 3, rule 2), and a `<delay/>` from the server or the account
    (XEP-0203 5).
    """
    if not any(stanza.has_child(*name) for name in _SPEAKERS):
        return stanza
    element = stanza.element()
    children = element.children or []
    kept = [child for child in children if not (isinstance(child, Element) and _is_ours(account, child))]
    if len(kept) == len(children):
        return stanza
    children[:] = kept
    return Stanza.parse(serialize(element, ns.CLIENT))


def _is_ours(account: JID, child: Element) -> bool:
    attribute = _SPEAKERS.get((child.ns, child.name))
    if attribute is None:
        return False
    try:
        speaker = JID.parse(child.get(attribute, ""))
    except JIDError:
        return False
    return speaker == account or (speaker.local is None and speaker.domain == account.domain)
