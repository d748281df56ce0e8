"""The commands of the running server, by name: what `xmppd` on the command line asks of the admin socket.

Each is a coroutine of (parameters, progress) that returns data. Wrong parameters and what cannot be done raise
CommandError with one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from xmppd import __version__
from xmppd._fast.jid import cache_info
from xmppd._fast.route import Resource
from xmppd.auth import LocalAuth
from xmppd.config import ConfigError
from xmppd.core import removal
from xmppd.core.sessions import Sessions
from xmppd.core.site import Site
from xmppd.errors import SaslFailure, StreamError
from xmppd.events import counters
from xmppd.jid import JID
from xmppd.net.c2s import Service
from xmppd.ops.admin import Command, CommandError, Params, Progress
from xmppd.ops.health import Health
from xmppd.ops.users import Users, address
from xmppd.store import Deleted, Holder, Store


class Running(Protocol):
    """The running server, as far as its commands need it."""

    store: Store
    auth: LocalAuth
    site: Site
    sessions: Sessions
    c2s: Service
    health: Health

    def figures(self) -> dict[str, Any]:
        """Status figures of the rooms that only the server knows."""

    async def reload(self) -> dict[str, Any]:
        """Read the configuration again, all or nothing. Raises ConfigError."""

    def begin_stop(self) -> None:
        """Start an orderly stop."""


def table(server: Running) -> Mapping[str, Command]:
    """Every command of `server`."""
    users = Users(server.store, server.auth, lambda: server.site.hosts, _Live(server))
    sessions, process = _Sessions(server), _Process(server)
    return {
        "status": process.status,
        "reload": process.reload,
        "stop": process.stop,
        **users.table(),
        "session.list": sessions.list,
        "session.kick": sessions.kick,
    }


class _Live:
    """The running server as the account commands see it."""

    def __init__(self, server: Running) -> None:
        self._server = server

    def connected(self, account: JID) -> int:
        return len(self._server.sessions.of(account))

    def end(self, account: JID, failure: SaslFailure) -> int:
        resources = self._server.sessions.of(account)
        error = StreamError("not-authorized", "the account is not active")  # 3-9.2
        for resource in resources:
            self._server.sessions.end(resource, error)
        # whoever has logged in and not bound yet, or is logging in, was let in by what was true before
        self._server.c2s.end(account, error, failure)
        return len(resources)

    async def removed(self, account: JID, deleted: Deleted) -> None:
        site = self._server.site
        site.accounts.forget(account)
        held = _addresses(deleted.holders)
        # who is not in memory has nobody to be told, and is read without it: the store has taken it out
        held = [(holder, address) for holder, address in held if site.accounts.get(holder) is not None]
        await removal.tell_contacts(site, account, held)
        # a request of its own that was on its way while it was deleted has arrived since
        arrived = await self._server.store.rosters.holders_of(str(account))
        await removal.tell_contacts(site, account, _addresses(arrived))


def _addresses(holders: Iterable[Holder]) -> list[tuple[JID, JID]]:
    """Who has it, and under which address."""
    return [(JID(holder.local, holder.domain), JID.kept(holder.item.jid)) for holder in holders]


class _Sessions:
    def __init__(self, server: Running) -> None:
        self._server = server

    async def list(self, params: Params, _progress: Progress) -> Any:
        """All, or those of a full or a bare JID."""
        sessions = self._server.sessions
        wanted = params.get("jid")
        found = sessions.all() if wanted is None else sessions.of(address(wanted))
        return [self._described(resource) for resource in found]

    def _described(self, resource: Resource) -> dict[str, Any]:
        conn = resource.conn
        info = conn.info() if conn is not None else None
        return {
            "jid": str(resource.jid),
            "peer": conn.peer if conn is not None else None,
            "port": conn.peer_port if conn is not None else None,
            "available": resource.available,
            "priority": resource.priority,
            "tls": info.version if info is not None else None,
            "cipher": info.cipher if info is not None else None,
            "bytes_in": conn.bytes_in if conn is not None else 0,
            "bytes_out": conn.bytes_out if conn is not None else 0,
        }

    async def kick(self, params: Params, _progress: Progress) -> Any:
        """End the sessions of a full or a bare JID."""
        jid = address(params.get("jid"))
        resources = self._server.sessions.of(jid)
        if not resources:
            raise CommandError(f"{jid} has no session")
        for resource in resources:
            self._server.sessions.end(resource, None)
        return {"sessions_ended": [str(resource.jid) for resource in resources]}


class _Process:
    def __init__(self, server: Running) -> None:
        self._server = server

    async def status(self, _params: Params, _progress: Progress) -> Any:
        server = self._server
        return {
            "version": __version__,
            "pid": os.getpid(),
            "domains": sorted(server.site.hosts),
            "connections": server.c2s.connections,
            "unauthenticated": len(server.c2s.unauthenticated),
            "sessions": len(server.site.table),
            **server.figures(),
            "counters": {
                **counters,
                "stanzas_routed": server.site.table.routed,
                "addresses_not_kept": cache_info()["misses"],
            },
            "warnings": [warning.to_data() for warning in server.health.warnings()],
        }

    async def reload(self, _params: Params, _progress: Progress) -> Any:
        try:
            return await self._server.reload()
        except ConfigError as error:
            raise CommandError(f"nothing was changed: {error}") from None

    async def stop(self, _params: Params, _progress: Progress) -> Any:
        self._server.begin_stop()
        return {"stopping": True}
