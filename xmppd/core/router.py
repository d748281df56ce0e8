"""RFC 6120 10 and RFC 6121 8: where a client's stanza goes, by kind and address.

The routing table has relayed what needs no decision (`_fast.route`). What comes here is decided by who is addressed:
nobody, a served host, a local account, a foreign domain.
"""

from __future__ import annotations

from xmppd import ns
from xmppd._fast.reader import Stanza
from xmppd._fast.route import Resource, separated
from xmppd.core import contacts, iq, presence
from xmppd.core.accounts import Account
from xmppd.core.delivery import Fate, State, form
from xmppd.core.site import Site, bounce, unheard
from xmppd.core.subscription import SubscriptionType
from xmppd.errors import StanzaError
from xmppd.jid import JID, JIDError

IQ_TYPES = frozenset(("get", "set", "result", "error"))
BROADCAST_TYPES = frozenset((None, "unavailable"))


class Router:
    """Routes the stanzas of open streams. Never waits."""

    def __init__(self, site: Site, routes: iq.Routes) -> None:
        self.site = site
        self.routes = routes
        self._by_kind = {"message": self._message, "presence": self._presence, "iq": self._iq}

    def route(self, sender: Resource, stanza: Stanza) -> None:
        """Deliver, answer or refuse one stanza; every refusal goes back to its sender."""
        try:
            text = stanza.to
            to = JID.parse(text, allow_unassigned=True) if text is not None else None
            if to is not None and sender.account.blocked is not None:
                _may_write(sender, to)
            self._by_kind[stanza.name](sender, stanza, to)
        except JIDError as error:
            bounce(sender, stanza, StanzaError("jid-malformed", str(error)))
        except StanzaError as error:
            bounce(sender, stanza, error)

    def _message(self, sender: Resource, stanza: Stanza, to: JID | None) -> None:
        # RFC 6120 10.3.1: without 'to' it is for the sender's own account (9-4)
        to = to or sender.jid.bare
        self._check_domain(to)
        if to.local is None:
            raise StanzaError("service-unavailable")  # 5-17.3
        self.site.messages.arrive(sender, stanza, to)

    # presence (RFC 6121 3, 4)

    def _presence(self, sender: Resource, stanza: Stanza, to: JID | None) -> None:
        type_ = stanza.type
        if to is None:
            if type_ is None:
                presence.announce(self.site, sender, stanza)
            elif type_ == "unavailable":
                presence.withdraw(self.site, sender, stanza)
            elif type_ != "error":
                raise StanzaError("bad-request", "presence of this type is not for everybody")
            return
        at_home = to.domain in self.site.hosts
        if type_ in contacts.SUBSCRIPTION_TYPES:
            if at_home and to.local is None:
                raise StanzaError("service-unavailable")
            if to.bare.has_unassigned:
                # it is kept in a roster, and a stored name holds no such characters (RFC 3454 7)
                raise StanzaError("jid-malformed")
            subscription_type: SubscriptionType = type_
            contacts.outbound(self.site, sender, stanza, to, subscription_type)
        elif type_ in BROADCAST_TYPES:
            if to.local is not None or not at_home:
                presence.direct(self.site, sender, stanza, to)
        elif type_ == "probe":
            presence.probe(self.site, sender, stanza, to)
        elif type_ == "error":
            resource = self.site.table.full(to.norm)
            if resource is not None:
                if not separated(resource, sender):
                    resource.relay(stanza, sender)
            elif not at_home:
                self.site.remote.send(to, stanza.render(from_=sender.jid.wire, lang=sender.lang), unheard)
        else:
            raise StanzaError("bad-request", "no such type of presence")

    def receive_presence(self, from_: JID, stanza: Stanza, to: JID) -> None:
        """Presence of another server's user or service for an address of ours (RFC 6121 8.5)."""
        type_ = stanza.type
        if to.local is None:
            return
        if type_ in contacts.SUBSCRIPTION_TYPES:
            subscription_type: SubscriptionType = type_
            contacts.receive(self.site, from_, to, subscription_type, stanza)
        elif type_ == "probe":
            presence.receive_probe(self.site, from_, to, stanza.id)
        elif type_ in BROADCAST_TYPES:
            presence.deliver(self.site, to, stanza.render(from_=from_.wire), from_)
        elif type_ == "error":
            presence.deliver(self.site, to, stanza.render(from_=from_.wire), from_, "presence error")

    # IQ (RFC 6120 8.2.3, 10.3.3, RFC 6121 8.5)

    def _iq(self, sender: Resource, stanza: Stanza, to: JID | None) -> None:
        type_ = stanza.type
        if not stanza.id:
            raise StanzaError("bad-request", "an IQ has an 'id'")  # 5-6.2, 5-10.a
        if type_ not in IQ_TYPES:
            raise StanzaError("bad-request", "an IQ has the type get, set, result or error")  # 5-10.b, 5-10.c
        asks = type_ in ("get", "set")
        if asks and stanza.nchild != 1:
            raise StanzaError("bad-request", "a get or set has exactly one child")  # 5-10.f
        own = sender.jid.bare
        to = to or own
        if to.domain not in self.site.hosts:
            if asks:
                raise StanzaError("remote-server-not-found")
            return
        if to.local is None:
            if asks:  # 5-10.e: else it is an answer nobody asked for
                iq.answer(self.routes, iq.Request(self.site, sender, stanza, to), iq.Scope.HOST)
            return
        if (
            asks
            and to.resource is not None
            and stanza.child(0) == iq.LAST_ACTIVITY
            and not self._sees(own, to.bare)
        ):
            raise StanzaError("forbidden")  # XEP-0012 4; the same whether it is there or not
        match = self.site.table.full(to.norm)
        if match is not None and separated(match, sender):
            if asks:
                raise StanzaError("service-unavailable")
            return
        # whether there is such an account is for the feature to see: all it may say differs in nothing else
        fate = self.site.settings.delivery[
            "iq request" if asks else "iq answer", form(to, match), State.OFFLINE
        ]
        if fate is Fate.DELIVER and match is not None:
            needs_presence = self.site.table.iq_needs_presence or stanza.child(0) == iq.LAST_ACTIVITY
            if asks and needs_presence and not self._shares_presence(match, sender.jid):
                raise StanzaError("service-unavailable")  # RFC 6121 8.5.3.1
            match.relay(stanza, sender)
        elif fate is Fate.ANSWER:
            scope = iq.Scope.OWN if to == own else iq.Scope.ACCOUNT
            iq.answer(self.routes, iq.Request(self.site, sender, stanza, to), scope)
        elif fate is Fate.BOUNCE:
            raise StanzaError("service-unavailable")  # 5-20.2

    def _sees(self, asker: JID, contact: JID) -> bool:
        """Whether the asker, by its own roster, sees the contact's presence."""
        account = self.site.accounts.get(asker)
        return contact == asker or (account is not None and account.roster.sees(contact))

    def _shares_presence(self, resource: Resource, asker: JID) -> bool:
        bare = resource.jid.bare
        if bare == asker.bare or presence.shows_itself_to(resource, asker):
            return True
        account = self.site.accounts.get(bare)
        return account is not None and account.shows_to(asker.bare)

    def _check_domain(self, to: JID) -> None:
        if to.domain not in self.site.hosts:
            raise StanzaError("remote-server-not-found")


def _may_write(sender: Resource, to: JID) -> None:
    """StanzaError if the sender's account has blocked the address (XEP-0191 3.3)."""
    account: Account = sender.account.account
    if account.blocks(to):
        raise StanzaError("not-acceptable", type="cancel", app="blocked", app_ns=ns.BLOCKING_ERRORS)
