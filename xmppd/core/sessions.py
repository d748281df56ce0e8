"""Binding resources and what happens when a stream ends (RFC 6120 7; RFC 6121 4.5)."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable
from typing import Protocol

from xmppd._fast.conn import Conn
from xmppd._fast.route import Resource
from xmppd.core import presence
from xmppd.core.accounts import Account
from xmppd.core.site import Site
from xmppd.core.turn import Held
from xmppd.errors import StanzaError, StreamError
from xmppd.events import limited
from xmppd.jid import JID, JIDError


class Session(Held, Protocol):
    """The stream behind a resource, as far as the core steers it."""

    def close(self, error: StreamError | None) -> None:
        """End the stream, with a stream error or without."""


class Sessions:
    """The connected resources as sessions: bind, unbind, list, end."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def bind(
        self, account_jid: JID, resource: str | None, conn: Conn, lang: bytes | None, session: Session
    ) -> Resource | Awaitable[Resource]:
        """Bind a resource to a stream (RFC 6120 7.6, 7.7): at once if the account is in memory.

        Without a wish, or with one that another stream holds, see below. Raises StanzaError: bad-request for what is
        no resourcepart (7.7.2.1), resource-constraint beyond the sessions allowed (7.7.2.2).
        """
        account = self.site.accounts.get(account_jid)
        if account is None:
            return self._load_and_bind(account_jid, resource, conn, lang, session)
        return self._bind(account, resource, conn, lang, session)

    async def _load_and_bind(
        self, account_jid: JID, resource: str | None, conn: Conn, lang: bytes | None, session: Session
    ) -> Resource:
        account = await self.site.accounts.load(account_jid)
        if account is None:
            raise StanzaError("not-allowed", "the account is gone")
        return self._bind(account, resource, conn, lang, session)

    def _bind(
        self, account: Account, resource: str | None, conn: Conn, lang: bytes | None, session: Session
    ) -> Resource:
        site = self.site
        try:
            # 4-*: at least 128 random bits, so that a resource cannot be guessed (RFC 6120 7.6)
            jid = account.jid.with_resource(resource if resource is not None else secrets.token_urlsafe(16))
        except JIDError as error:
            raise StanzaError("bad-request", str(error)) from None
        older = site.table.full(jid.norm)
        if older is not None:
            # 7.7.2.2: the newer stream wins; the older one learns why
            self.end(older, StreamError("conflict", "another stream has bound this resource"))
        connected = site.table.bare(account.jid.norm)
        if connected is not None and len(connected.resources) >= site.settings.sessions_per_account:
            limited("sessions_per_account")
            raise StanzaError("resource-constraint", app="sessions_per_account")
        # what a stream of the same name has said is before what this one says
        site.broadcasts.finish(account.jid.norm)
        bound = site.table.bind(jid, conn, lang, session)
        site.accounts.connected(account, bound.account)
        site.offline.show(account)
        return bound

    def unbind(self, resource: Resource) -> None:
        """The stream of a resource has ended: others learn it, and nothing more is sent to it."""
        if self.site.table.full(resource.jid.norm) is not resource:
            return
        # first: its closing tag may be out, so what follows must not reach the stream itself
        resource.gone()
        presence.withdraw(self.site, resource, None)
        last = self.site.table.unbind(resource)
        self.site.offline.left(resource)
        if last:
            self.site.activity.left(resource.account.account)
            self.site.accounts.disconnected(resource.account.account)

    def end(self, resource: Resource, error: StreamError | None) -> None:
        """Close the stream of a resource and take it out at once."""
        session: Session | None = resource.session
        self.unbind(resource)
        if session is not None:
            session.close(error)

    def withdraw(self) -> None:
        """All streams are about to end: everybody learns who goes (8-20.2)."""
        presence.withdraw_all(self.site, self.all())

    def of(self, jid: JID) -> list[Resource]:
        """The connected resources of an address: one for a full JID, all for a bare one."""
        if jid.is_full:
            resource = self.site.table.full(jid.norm)
            return [resource] if resource is not None else []
        connected = self.site.table.bare(jid.norm)
        return list(connected.resources) if connected is not None else []

    def all(self) -> list[Resource]:
        """Every connected resource."""
        return [r for account in self.site.table.accounts() for r in account.resources]
