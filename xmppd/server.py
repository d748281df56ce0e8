"""The composition root: puts the rooms together, starts them in order, reloads and stops them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvloop

from xmppd import config as configuration
from xmppd import profile
from xmppd._fast.conn import Conn, Listener, NetLoop, limit_arenas, trim
from xmppd._fast.reader import Limits
from xmppd._fast.route import Resource, RouteTable
from xmppd._fast.tls import LibCtx, TicketKeys, TLSContext
from xmppd._fast.wire import Allowance, tick
from xmppd.auth import LocalAuth, LocalAuthSettings
from xmppd.config import Config, Domain
from xmppd.core import iq
from xmppd.core.accounts import Accounts
from xmppd.core.router import Router
from xmppd.core.sessions import Session, Sessions
from xmppd.core.site import CoreSettings, Site
from xmppd.errors import StanzaError, StreamError
from xmppd.events import fields
from xmppd.features import disco, ping, roster, session, time, version
from xmppd.jid import JID
from xmppd.net.c2s import Caps, Policy, Service, Times
from xmppd.net.deadlines import TICK_S, Wheel
from xmppd.net.sockets import listener_socket
from xmppd.ops import admin, commands, logs, notify, watchdog
from xmppd.records import RosterItem
from xmppd.store import Store, StoreError, StoreFull, StoreSettings
from xmppd.stream.c2s import C2SSettings, HostFacts

log = logging.getLogger("xmppd.server")

# every feature, in the order in which service discovery and the stream features name them
FEATURES = (roster, ping, version, time, session)

ALPN = (b"xmpp-client",)
TRIM_EVERY_S = 60.0


class StartError(Exception):
    """The server cannot start; the text is one sentence."""


class Records:
    """The store as the core sees it; what goes wrong there is a stanza error here."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, account: JID) -> tuple[int, int, list[RosterItem]] | None:
        if account.local is None:
            return None
        record = await self._store.accounts.get(account.local, account.domain)
        if record is None:
            return None
        held = await self._store.rosters.load(record.id)
        return record.id, held.version, held.items

    async def put(self, account_id: int, item: RosterItem) -> int:
        try:
            return await self._store.rosters.put(account_id, item)
        except StoreError as error:
            raise _as_stanza_error(error) from error

    async def remove(self, account_id: int, contact: str) -> int | None:
        try:
            return await self._store.rosters.remove(account_id, contact)
        except StoreError as error:
            raise _as_stanza_error(error) from error


def _as_stanza_error(error: StoreError) -> StanzaError:
    log.error("store failed", extra=fields(problem=str(error)))
    return StanzaError("resource-constraint" if isinstance(error, StoreFull) else "internal-server-error")


class Core:
    """The core as the client sessions see it."""

    def __init__(self, site: Site, router: Router, sessions: Sessions) -> None:
        self.table: RouteTable = site.table
        self.bind = sessions.bind
        self.unbind: Callable[[Resource], None] = sessions.unbind
        self.route = router.route


class Server:
    """One running server. `start`, then `stopped` until somebody calls `stop`."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self.since_s = 0.0
        self.listeners: list[Listener] = []
        self._stopping = False
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        """Bring everything up. Raises StartError; what was started is stopped again then."""
        config = self.config
        loop = asyncio.get_running_loop()
        try:
            self.store = Store.open(config.store.path.parent, _store_settings(config))
        except StoreError as error:
            raise StartError(str(error)) from error
        try:
            self.auth = LocalAuth(self.store, _auth_settings(config))
            self.site = Site(
                frozenset(domain.name for domain in config.domains),
                Accounts(Records(self.store)),
                _core_settings(config),
            )
            self.sessions = Sessions(self.site)
            self.lib = LibCtx()
            self.tickets = TicketKeys(lifetime_s=config.tls.ticket_lifetime_s) if config.tls.ticket_lifetime_s else None
            contexts = self._contexts(config)
            self.net = NetLoop(
                loop,
                workers=config.tls.workers,
                max_queue=config.tls.handshake_queue,
                budget_ms=config.net.pass_budget_ms,
                out_limit_bytes=config.limits.output_bytes,
                handshake_timeout_s=config.tls.handshake_timeout_s,
                linger_s=config.net.linger_s,
            )
            self.wheel = Wheel(tick)
            self.c2s = Service(
                _policy(config),
                contexts,
                contexts[config.domains[0].name],
                self.auth,
                Core(self.site, Router(self.site, _routes()), self.sessions),
                self.wheel,
            )
            self._listen()
            self.admin = admin.AdminServer(config.admin, commands.table(self))
            await self.admin.start()
        except BaseException:
            await self.store.close()
            raise
        self.wheel.start()
        self.since_s = loop.time()
        self.watchdog = watchdog.Watchdog(loop, config.watchdog.lag_ms)
        self.watchdog.start()
        loop.call_later(TRIM_EVERY_S, self._trim)
        if self.tickets is not None:
            loop.call_later(config.tls.ticket_rotation_s, self._rotate_tickets)

    def _listen(self) -> None:
        config, net = self.config, self.config.net
        for listener in config.listeners:
            if listener.kind != "c2s":
                log.warning("listener not served yet", extra=fields(kind=listener.kind, address=str(listener.address)))
                continue
            dscp = listener.dscp if listener.dscp is not None else net.dscp
            try:
                sock = listener_socket(
                    listener.address.host,
                    listener.address.port,
                    dscp=None if dscp == "off" else dscp,
                    backlog=net.backlog,
                    keepalive_idle_s=net.keepalive_idle_s,
                    keepalive_interval_s=net.keepalive_interval_s,
                    keepalive_probes=net.keepalive_probes,
                    user_timeout_ms=int(net.user_timeout_s * 1000),
                )
            except OSError as error:
                raise StartError(f"cannot listen on {listener.address}: {error.strerror}") from error
            self.listeners.append(
                self.net.listen(
                    sock, self.c2s.accept, select=self.c2s.select, direct_tls=listener.direct_tls
                )
            )
            host, port = sock.getsockname()[:2]
            log.info("listening", extra=fields(kind="c2s", address=host, port=port, direct_tls=listener.direct_tls))

    def _contexts(self, config: Config) -> dict[str, TLSContext]:
        """A TLS context for each domain. Raises StartError."""
        return {domain.name: self._context(config, domain) for domain in config.domains}

    def _context(self, config: Config, domain: Domain) -> TLSContext:
        tls = config.tls
        try:
            return TLSContext(
                self.lib,
                certs=[(str(domain.certificate), str(domain.key))],
                min=tls.min_version,
                max=tls.max_version,
                ciphers=":".join(tls.ciphers),
                suites=":".join(tls.suites),
                groups=":".join(tls.groups),
                verify="request" if tls.client_certificates == "request" else "none",
                alpn=ALPN,
                tickets=self.tickets,
            )
        except (OSError, ValueError) as error:
            raise StartError(f"the certificate of {domain.name} cannot be used: {error}") from error

    def _trim(self) -> None:
        if not self._stopping:
            trim()
            asyncio.get_running_loop().call_later(TRIM_EVERY_S, self._trim)

    def _rotate_tickets(self) -> None:
        if not self._stopping and self.tickets is not None:
            self.tickets.rotate()
            asyncio.get_running_loop().call_later(self.config.tls.ticket_rotation_s, self._rotate_tickets)

    async def reload(self) -> dict[str, list[str]]:
        """Read the configuration and the certificates again: all or nothing.

        Returns what changed, by what it needs: "live", "new-streams" (both are in force), "restart" (is not).
        Raises ConfigError, StartError; nothing has changed then.
        """
        config = configuration.load(self.path)
        if found := profile.findings(config):
            raise configuration.ConfigError("; ".join(str(finding) for finding in found))
        changes = configuration.diff(self.config, config)
        contexts = await asyncio.get_running_loop().run_in_executor(None, self._contexts, config)
        self.c2s.contexts = contexts
        self.c2s.default_context = contexts[config.domains[0].name]
        self.c2s.policy = _policy(config)
        self.site.settings = _core_settings(config)
        self.site.table.iq_needs_presence = self.site.settings.iq_needs_presence
        self.auth.settings = _auth_settings(config)
        logs.configure_level(config.log)
        self.config = config
        log.info("reloaded", extra=fields(changes=len(changes)))
        return changes

    async def stop(self) -> None:
        """Orderly: no new connections, system-shutdown to every stream, everything queued written."""
        if self._stopping:
            return
        self._stopping = True
        notify.notify("STOPPING=1")
        log.info("stopping", extra=fields(sessions=len(self.c2s.sessions)))
        for listener in self.listeners:
            listener.close()
        await self.c2s.shut_down()
        await self.site.drain()
        await self.admin.stop()
        self.watchdog.stop()
        self.wheel.stop()
        self.net.close()
        await self.auth.close()
        await self.store.close()
        log.info("stopped")
        self._stopped.set()

    async def stopped(self) -> None:
        """Wait until the server has stopped."""
        await self._stopped.wait()


def _routes() -> iq.Routes:
    named = [*disco.FEATURES, *(name for feature in FEATURES for name in feature.FEATURES)]
    return iq.merge([disco.routes(named), *(feature.ROUTES for feature in FEATURES)])


def _store_settings(config: Config) -> StoreSettings:
    return StoreSettings(queue_jobs=config.store.queue, readers=config.store.readers)


def _auth_settings(config: Config) -> LocalAuthSettings:
    sasl = config.sasl
    return LocalAuthSettings(
        scram_iterations=sasl.scram_iterations,
        plain_workers=sasl.plain_workers,
        plain_queue=sasl.plain_queue,
        plain_per_address=sasl.plain_per_address,
    )


def _core_settings(config: Config) -> CoreSettings:
    limits = config.limits
    return CoreSettings(
        sessions_per_account=limits.sessions_per_account,
        roster_items=limits.roster_items,
        roster_name_bytes=limits.roster_name_bytes,
        roster_groups=limits.roster_groups,
        reach_without_presence=config.profile == "uc-2013",
        iq_needs_presence=config.profile != "uc-2013",
    )


def _policy(config: Config) -> Policy:
    limits, stream = config.limits, config.stream
    shape = {
        "tag_bytes": limits.tag_bytes,
        "depth": limits.depth,
        "attributes": limits.attributes,
        "bindings": limits.bindings,
        "name_bytes": limits.name_bytes,
        "uri_bytes": limits.uri_bytes,
    }
    return Policy(
        stream=C2SSettings(
            mechanisms=config.sasl.mechanisms,
            retries=config.sasl.retries,
            sasl_required=config.sasl.advertise_required,
        ),
        hosts={domain.name: HostFacts() for domain in config.domains},
        times=Times(
            negotiation_s=stream.negotiation_timeout_s,
            close_s=stream.close_timeout_s,
            idle_ping_s=stream.idle_ping_s,
            ping_timeout_s=stream.ping_timeout_s,
        ),
        caps=Caps(limits.connections_per_address, limits.unauthenticated_connections),
        limits=Limits(stanza_bytes=limits.stanza_bytes, **shape),
        preauth_limits=Limits(stanza_bytes=limits.preauth_stanza_bytes, **shape),
        allowance=Allowance(
            bytes_per_s=limits.bytes_per_s,
            stanzas_per_s=limits.stanzas_per_s,
            burst_s=limits.burst_s,
            ticks_per_s=round(1 / TICK_S),
            partial_bytes_total=limits.partial_bytes_total,
        ),
    )


async def _run(path: Path, config: Config) -> int:
    loop = asyncio.get_running_loop()
    server = Server(path, config)
    try:
        await server.start()
    except StartError as error:
        log.error("cannot start", extra=fields(reason=str(error)))
        return 1

    def on_stop() -> None:
        loop.create_task(server.stop())

    def on_reload() -> None:
        loop.create_task(_reload(server))

    for number, action in ((signal.SIGTERM, on_stop), (signal.SIGINT, on_stop), (signal.SIGHUP, on_reload)):
        loop.add_signal_handler(number, action)
    # what is alive now lives as long as the process: the collector need not look at it again (hotpath: trap 16)
    gc.collect()
    gc.freeze()
    notify.notify("READY=1")
    log.info("ready", extra=fields(pid=os.getpid(), domains=",".join(sorted(server.site.hosts))))
    await server.stopped()
    return 0


async def _reload(server: Server) -> None:
    notify.notify("RELOADING=1")
    try:
        await server.reload()
    except (configuration.ConfigError, StartError) as error:
        log.error("not reloaded", extra=fields(reason=str(error)))
    notify.notify("READY=1")


def serve(path: Path) -> int:
    """Run the server of this configuration file in the foreground until it is told to stop; the exit status."""
    config = configuration.load(path)
    limit_arenas()
    gc.set_threshold(20_000, 20, 50)
    with logs.configured(config.log):
        for listener in config.listeners:
            if listener.kind == "s2s":
                log.warning("servers are not served yet", extra=fields(address=str(listener.address)))
        return uvloop.run(_run(path, config))


