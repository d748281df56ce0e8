"""The commands of the running server, by name: what `xmppd` on the command line asks of the admin socket.

Each is a coroutine of (parameters, progress) that returns data. Wrong parameters and what cannot be done raise
CommandError with one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from xmppd import __version__, clock
from xmppd._fast.route import Resource
from xmppd.auth import LocalAuth
from xmppd.config import ConfigError
from xmppd.core import removal
from xmppd.core.sessions import Sessions
from xmppd.core.site import Site
from xmppd.errors import StreamError
from xmppd.events import counters
from xmppd.jid import JID, JIDError
from xmppd.net.c2s import Service
from xmppd.ops.admin import Command, CommandError, Params, Progress
from xmppd.ops.health import Health
from xmppd.store import AccountExists, NoSuchAccount, Store, StoreError


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
    users, sessions, process = _Users(server), _Sessions(server), _Process(server)
    return {
        "status": process.status,
        "reload": process.reload,
        "stop": process.stop,
        "user.add": users.add,
        "user.import": users.import_,
        "user.passwd": users.passwd,
        "user.enable": users.enable,
        "user.disable": users.disable,
        "user.del": users.delete,
        "user.list": users.list,
        "session.list": sessions.list,
        "session.kick": sessions.kick,
    }


class _Users:
    def __init__(self, server: Running) -> None:
        self._server = server

    def _account(self, text: Any) -> JID:
        """A bare JID with a localpart at a served domain."""
        try:
            jid = JID.parse(text)
        except (JIDError, TypeError) as error:
            raise CommandError(f'"{text}" is no JID: {error}') from None
        if jid.local is None or not jid.is_bare:
            raise CommandError(f'"{text}" is not the address of an account: user@domain')
        if jid.domain not in self._server.site.hosts:
            raise CommandError(
                f"{jid.domain} is not served here: {', '.join(sorted(self._server.site.hosts))}"
            )
        return jid

    async def add(self, params: Params, _progress: Progress) -> Any:
        jid = self._account(params.get("jid"))
        try:
            await self._server.auth.create_account(str(jid.local), jid.domain, params["password"])
        except AccountExists:
            raise CommandError(f"{jid} exists already") from None
        except (ValueError, StoreError) as error:
            raise CommandError(f"{jid}: {error}") from None
        return {"jid": str(jid)}

    async def import_(self, params: Params, progress: Progress) -> Any:
        """`rows`: [JID, password] each. What could not be made stands in `failures`: [index, JID, why]."""
        rows, places, failures = [], [], []
        for index, (text, password) in enumerate(params["rows"]):
            try:
                jid = self._account(text)
            except CommandError as error:
                failures.append([index, text, str(error)])
                continue
            rows.append((str(jid.local), jid.domain, password))
            places.append(index)
        report = await self._server.auth.import_accounts(rows, lambda done: progress(done, len(rows)))
        failures += [[places[failed.index], failed.jid, failed.why] for failed in report.failures]
        return {"created": report.created, "failures": sorted(failures)}

    async def passwd(self, params: Params, _progress: Progress) -> Any:
        jid = self._account(params.get("jid"))
        try:
            await self._server.auth.set_password(str(jid.local), jid.domain, params["password"])
        except NoSuchAccount:
            raise CommandError(f"there is no account {jid}") from None
        except (ValueError, StoreError) as error:
            raise CommandError(f"{jid}: {error}") from None
        return {"jid": str(jid)}

    async def enable(self, params: Params, _progress: Progress) -> Any:
        return await self._set_enabled(params, enabled=True)

    async def disable(self, params: Params, _progress: Progress) -> Any:
        """A disabled account's sessions end."""
        done = await self._set_enabled(params, enabled=False)
        ended = self._end_sessions(JID.parse(done["jid"]))
        return {**done, "sessions_ended": ended}

    async def _set_enabled(self, params: Params, *, enabled: bool) -> dict[str, Any]:
        jid = self._account(params.get("jid"))
        try:
            await self._server.store.accounts.set_enabled(str(jid.local), jid.domain, enabled)
        except NoSuchAccount:
            raise CommandError(f"there is no account {jid}") from None
        except StoreError as error:
            raise CommandError(str(error)) from None
        return {"jid": str(jid), "enabled": enabled}

    def _end_sessions(self, jid: JID) -> int:
        resources = self._server.sessions.of(jid)
        for resource in resources:
            self._server.sessions.end(resource, StreamError("not-authorized", "the account is not active"))
        return len(resources)

    async def delete(self, params: Params, _progress: Progress) -> Any:
        """Sessions end, contacts are told, everything of the account goes."""
        jid = self._account(params.get("jid"))
        try:
            # disabled first: nobody logs in between the end of the sessions and the end of the account
            await self._server.store.accounts.set_enabled(str(jid.local), jid.domain, False)
            ended = self._end_sessions(jid)
            gone = await self._server.store.accounts.delete(str(jid.local), jid.domain)
        except NoSuchAccount:
            raise CommandError(f"there is no account {jid}") from None
        except StoreError as error:
            raise CommandError(str(error)) from None
        ended += self._end_sessions(jid)
        self._server.site.accounts.forget(jid)
        holders = [JID.parse(f"{holder.local}@{holder.domain}") for holder in gone.holders]
        removal.tell_contacts(self._server.site, jid, holders)
        await self._server.site.accounts.drain()
        return {"jid": str(jid), "sessions_ended": ended, "contacts_told": len(holders)}

    async def list(self, params: Params, _progress: Progress) -> Any:
        accounts = await self._server.store.accounts.list(params.get("domain"))
        return [
            {
                "jid": account.jid,
                "enabled": account.enabled,
                "created_at": clock.xep0082(account.created_at),
                "sessions": len(self._server.sessions.of(JID.parse(account.jid))),
            }
            for account in accounts
        ]


class _Sessions:
    def __init__(self, server: Running) -> None:
        self._server = server

    async def list(self, _params: Params, _progress: Progress) -> Any:
        return [self._described(resource) for resource in self._server.sessions.all()]

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
        try:
            jid = JID.parse(params["jid"])
        except (JIDError, TypeError) as error:
            raise CommandError(f'"{params["jid"]}" is no JID: {error}') from None
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
            "connections": len(server.c2s.sessions),
            "unauthenticated": len(server.c2s.unauthenticated),
            "sessions": len(server.site.table),
            **server.figures(),
            "counters": {**counters, "stanzas_routed": server.site.table.routed},
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
