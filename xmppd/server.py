"""The composition root: puts the rooms together, starts them in order, reloads and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvloop

from xmppd import config as configuration
from xmppd._fast.conn import Listener, NetLoop
from xmppd._fast.jid import set_cache_limit
from xmppd._fast.reader import Limits
from xmppd._fast.route import Resource, RouteTable
from xmppd._fast.tls import LibCtx, TicketKeys, TLSContext, limit_arenas, trim
from xmppd._fast.wire import Allowance, tick
from xmppd.auth import LocalAuth
from xmppd.config import Config
from xmppd.core import contacts, iq, messages
from xmppd.core.delivery import RFC6121, UC
from xmppd.core.offline import OfflineSettings
from xmppd.core.router import Router
from xmppd.core.sessions import Sessions
from xmppd.core.site import CoreSettings, Site
from xmppd.errors import StanzaError
from xmppd.events import fields
from xmppd.features import blocking, disco, last, ping, private, roster, session, time, vcard, version
from xmppd.jid import JID, use_rules
from xmppd.net.c2s import Caps, Policy, Service, Times
from xmppd.net.deadlines import TICK_S, Wheel
from xmppd.net.sockets import remark, set_dscp
from xmppd.ops import checks, commands, logs
from xmppd.ops.admin import AdminSocket
from xmppd.ops.health import Health
from xmppd.ops.notify import Supervisor
from xmppd.ops.users import auth_settings, store_settings
from xmppd.ops.watchdog import LoopWatchdog
from xmppd.preconditions import StartError, dscp, listen, tls_context, unmet
from xmppd.records import AccountRecord, Crossing, DocumentName, RosterChange, RosterItem, Row, Seen
from xmppd.store import NoSuchAccount, Store, StoreError, StoreFull, StoreTimeout
from xmppd.stream.c2s import C2SSettings, HostFacts

log = logging.getLogger("xmppd.server")

T = TypeVar("T")

# every feature, in the order in which service discovery and the stream features name them
FEATURES = (roster, blocking, vcard, private, last, ping, version, time, session)

TRIM_EVERY_S = 60.0
CERTIFICATES_EVERY_S = 6 * 3600.0
HEALTH_EVERY_S = 5.0
SLOW_STORE_S = 1.0
UNREADABLE_S = 60.0  # how long a read that failed is shown


class Records:
    """The store as the core sees it; what goes wrong there is a stanza error here."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, account: JID) -> AccountRecord | None:
        if account.local is None:
            return None
        return await _asked(self._store.rosters.find(account.local, account.domain))

    async def put(
        self, account_id: int, item: RosterItem, crossing: Sequence[Crossing] = (), crossed: int | None = None
    ) -> int:
        return await _asked(self._store.rosters.put(account_id, item, crossing=crossing, crossed=crossed))

    async def remove(
        self, account_id: int, contact: str, crossing: Sequence[Crossing] = (), crossed: int | None = None
    ) -> int | None:
        return await _asked(
            self._store.rosters.remove(account_id, contact, crossing=crossing, crossed=crossed)
        )

    async def crossed(self, key: int) -> None:
        await _asked(self._store.rosters.crossed(key))

    async def changes(self, account_id: int, since: int) -> list[RosterChange] | None:
        return await _asked(self._store.rosters.changes(account_id, since))

    async def keep(self, rows: Sequence[Row]) -> set[int]:
        return await _asked(self._store.offline.keep(rows))

    async def page(
        self, account_id: int, after: int, messages: int, octets: int
    ) -> Sequence[tuple[int, bytes]]:
        return await _asked(self._store.offline.page(account_id, after, messages, octets))

    async def drop(self, account_id: int, up_to: int) -> None:
        await _asked(self._store.offline.drop(account_id, up_to))

    async def document(self, account: JID, name: DocumentName) -> bytes | None:
        if account.local is None:
            return None
        return await _asked(self._store.documents.get(account.local, account.domain, name))

    async def put_documents(
        self, account_id: int, documents: Mapping[DocumentName, bytes], max_bytes: int
    ) -> bool:
        return await _asked(self._store.documents.put(account_id, documents, max_bytes=max_bytes))

    async def block(self, account_id: int, add: Sequence[str], remove: Sequence[str]) -> None:
        await _asked(self._store.blocks.change(account_id, add=add, remove=remove))

    async def saw(self, seen: Sequence[tuple[int, Seen]]) -> None:
        await _asked(self._store.documents.saw(seen))

    async def seen(self, account_id: int) -> Seen | None:
        return await _asked(self._store.documents.seen(account_id))


async def _asked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except NoSuchAccount as error:  # it was deleted a moment ago
        raise StanzaError("item-not-found") from error
    except StoreError as error:
        log.error("store failed", extra=fields(problem=str(error)))
        raise StanzaError(
            "resource-constraint" if isinstance(error, (StoreFull, StoreTimeout)) else "internal-server-error"
        ) from error


class Core:
    """The core as the client sessions see it."""

    def __init__(self, site: Site, router: Router, sessions: Sessions) -> None:
        self.table: RouteTable = site.table
        self.bind = sessions.bind
        self.unbind: Callable[[Resource], None] = sessions.unbind
        self.route = router.route


class Server:
    """One running server. `start`, then `stopped` until somebody calls `stop`."""

    def __init__(self, path: Path, config: Config, writer: logs.LogWriter) -> None:
        self.path = path
        self.config = config
        self.health = Health()
        self.listeners: list[tuple[int, Listener]] = []  # number in config.listeners, and each of its sockets
        self._writer = writer
        self._supervisor = Supervisor()
        self._since_s = 0.0
        self._stopping: asyncio.Task[None] | None = None
        self._started = asyncio.Event()  # a signal or a command may come before
        self._ended = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._stalls = 0
        self._dropped = 0

    async def start(self) -> None:
        """Bring everything up. Raises StartError; what was started is stopped again then.

        What cannot be had is told by `preconditions.unmet` before; here it is what has changed since.
        """
        config = self.config
        loop = asyncio.get_running_loop()
        use_rules(config.addresses.rules)
        try:
            self.store = Store.open(config.store.path, store_settings(config))
        except StoreError as error:
            raise StartError(str(error)) from error
        try:
            self.auth = LocalAuth(self.store, auth_settings(config))
            self.site = Site(
                frozenset(domain.name for domain in config.domains),
                Records(self.store),
                _core_settings(config),
            )
            set_cache_limit(config.limits.jid_cache_bytes)
            self.sessions = Sessions(self.site)
            self.lib = LibCtx()
            self.tickets = (
                TicketKeys(lifetime_s=config.tls.ticket_lifetime_s) if config.tls.ticket_lifetime_s else None
            )
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
                self.net.connections,
            )
            contacts.resume(self.site, await self.store.rosters.crossings())
            self._listen()
            self.admin = AdminSocket(
                config.admin.socket,
                commands.table(self),
                connections=config.admin.connections,
                line_bytes=config.admin.line_bytes,
            )
            try:
                await self.admin.open()
            except OSError as error:
                raise StartError(
                    f"cannot open the admin socket {config.admin.socket}: {error.strerror or error}"
                ) from error
        except BaseException as error:
            await self.store.close()
            if isinstance(error, (OSError, StoreError)):
                raise StartError(str(error)) from error
            raise
        self.wheel.start()
        self._since_s = loop.time()
        self.watchdog = LoopWatchdog(loop, config.watchdog.lag_ms / 1000, self._on_late)
        if config.watchdog.lag_ms:
            self.watchdog.start()
        self._every(TRIM_EVERY_S, trim)
        self._every(config.tls.ticket_rotation_s, self._rotate_tickets)
        self._every(HEALTH_EVERY_S, self._look_after_health)
        self._every(CERTIFICATES_EVERY_S, self._look_at_certificates)
        self._look_at_certificates()
        if (interval_s := self._supervisor.watchdog_interval_s) is not None:
            self._every(interval_s, self._supervisor.alive)
        self._tell_ready()
        self._started.set()
        log.info("ready", extra=fields(pid=os.getpid(), domains=",".join(sorted(self.site.hosts))))

    def _tell_ready(self) -> None:
        self._supervisor.ready(f"serving {', '.join(sorted(self.site.hosts))}")

    def _every(self, seconds: float, work: Callable[[], object]) -> None:
        """Do `work` again and again until the server stops."""
        loop = asyncio.get_running_loop()

        def run() -> None:
            if self._stopping is None:
                loop.call_later(seconds, run)
                work()

        loop.call_later(seconds, run)

    def _listen(self) -> None:
        config = self.config
        for number, listener in enumerate(config.listeners):
            if listener.kind not in configuration.SERVED:
                self.health.report(
                    "listener-not-served",
                    f"other servers cannot connect to {listener.address}: server-to-server streams are not served yet",
                    str(listener.address),
                )
                continue
            for sock in listen(config, listener):
                opened = self.net.listen(
                    sock, self.c2s.accept, select=self.c2s.select, direct_tls=listener.direct_tls
                )
                self.listeners.append((number, opened))
                host, port = sock.getsockname()[:2]
                log.info(
                    "listening",
                    extra=fields(kind="c2s", address=host, port=port, direct_tls=listener.direct_tls),
                )

    def _mark(self, config: Config) -> None:
        """Give each listener, and what it has accepted, the DSCP it is to have from now on (13-1.4)."""
        for number, opened in self.listeners:
            mark = dscp(config, config.listeners[number])
            if mark != dscp(self.config, self.config.listeners[number]):
                set_dscp(opened.sock, mark)
                accepted = [conn for conn in self.net.connections() if conn.listener is opened]
                self.site.spawn(remark(accepted, mark))

    def _contexts(self, config: Config) -> dict[str, TLSContext]:
        """A TLS context for each domain. Raises StartError."""
        return {domain.name: tls_context(config, domain, self.lib, self.tickets) for domain in config.domains}

    def _rotate_tickets(self) -> None:
        if self.tickets is not None:
            self.tickets.rotate()

    def _on_late(self, late_s: float, where: str) -> None:
        self.health.report("loop-late", f"it was {late_s * 1000:.0f} ms late at {where}")

    def _look_at_store(self) -> bool:
        """Whether the last write succeeded; says so, and whether reads fail."""
        store = self.store.health()
        self.health.set("store-failing", not store.ok, store.problem or "")
        unreadable = self.store.unreadable(UNREADABLE_S)
        self.health.set("store-unreadable", unreadable is not None, unreadable or "")
        return store.ok

    async def _try_store(self) -> None:
        with contextlib.suppress(StoreError):  # which the store has logged
            await self.store.probe()
        self._look_at_store()

    def _look_after_health(self) -> None:
        if self._look_at_store():
            self.site.offline.remove_delivered()
            self.site.crossings.retry()
        else:
            self.site.spawn(self._try_store())
        self.health.set(
            "log-dropping", self._writer.dropped > self._dropped, f"{self._writer.dropped} lines so far"
        )
        self._dropped = self._writer.dropped
        if self.watchdog.stalls == self._stalls:
            self.health.clear("loop-late")
        self._stalls = self.watchdog.stalls
        oldest_s = self.store.stats().writer.oldest_s
        self.health.set(
            "store-slow", oldest_s > SLOW_STORE_S, f"the oldest write has waited {oldest_s:.1f} s"
        )

    def _look_at_certificates(self) -> None:
        self.site.spawn(checks.look_at_certificates(self.config, self.health))

    def figures(self) -> dict[str, Any]:
        """What `status` shows of the rooms below."""
        self._look_at_store()
        store = self.store.stats()
        return {
            "profile": self.config.profile,
            "uptime_s": round(asyncio.get_running_loop().time() - self._since_s, 1),
            "listeners": [
                {
                    "kind": self.config.listeners[number].kind,
                    "host": opened.sock.getsockname()[0],
                    "port": opened.sock.getsockname()[1],
                    "direct_tls": self.config.listeners[number].direct_tls,
                }
                for number, opened in self.listeners
            ],
            "net": self.net.stats(),
            "store": {
                "queue": store.writer.depth,
                "queue_most": store.queue_jobs,
                "reader_queue": store.reader_depth,
                "database_bytes": store.database_bytes,
                "wal_bytes": store.wal_bytes,
            },
            "offline": {
                "waiting": self.site.offline.waiting,
                "waiting_bytes": self.site.offline.waiting_octets,
            },
            "loop": {"stalls": self.watchdog.stalls, "worst_late_ms": round(self.watchdog.worst_s * 1000, 1)},
            "log": {"dropped": self._writer.dropped, "repeats_left_out": self._writer.repeats_left_out},
        }

    async def reload(self) -> dict[str, Any]:
        """Read the configuration and the certificates again: all or nothing.

        Returns the changed keys by what they need: "live", "new-streams" (both are in force), "restart" (is
        not). Raises ConfigError; nothing has changed then.
        """
        async with self._reloading:
            await self._started.wait()
            # told whatever comes of it: a supervisor that asked for the reload waits for both words
            self._supervisor.reloading()
            try:
                return await self._reload()
            finally:
                self._tell_ready()

    async def _reload(self) -> dict[str, Any]:
        wanted = configuration.load(self.path)
        changes = configuration.diff(self.config, wanted)
        # what needs a restart stays as it is, and is named again by the next reload
        config = configuration.in_force(self.config, wanted)
        # all that can fail comes before anything is changed
        policy, settings = _policy(config), _core_settings(config)
        try:
            contexts = await asyncio.get_running_loop().run_in_executor(None, self._contexts, config)
        except StartError as error:
            raise configuration.ConfigError(str(error)) from error
        by_need: dict[str, list[str]] = {"live": [], "new-streams": [], "restart": []}
        for change in changes:
            by_need[change.applies].append(change.key)
        self.c2s.contexts = contexts
        self.c2s.default_context = contexts[config.domains[0].name]
        self.c2s.policy = policy
        set_cache_limit(config.limits.jid_cache_bytes)
        self._mark(config)
        self.site.configure(settings)
        logs.change(self._writer, config.log.level, config.log.format, config.log.repeat_s)
        self.health.set("restart-needed", bool(by_need["restart"]), ", ".join(by_need["restart"]))
        self.config = config
        self._look_at_certificates()
        log.info(
            "reloaded", extra=fields(**{need.replace("-", "_"): len(keys) for need, keys in by_need.items()})
        )
        return by_need

    async def stopped(self) -> None:
        """Wait until the server has stopped."""
        await self._ended.wait()

    def begin_stop(self) -> None:
        """Start an orderly stop; `stopped` returns when it is done."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop())

    async def _stop(self) -> None:
        """No new connections, unavailable presence and system-shutdown to all, everything queued written."""
        await self._started.wait()
        self._supervisor.stopping()
        log.info("stopping", extra=fields(connections=self.c2s.connections))
        for _, opened in self.listeners:
            opened.close()
        self.listeners.clear()  # `status` and `reload` go on being answered
        self.sessions.withdraw()
        await self.c2s.shut_down()
        self.site.offline.remove_delivered()
        self.site.crossings.retry()
        await self.site.drain()
        self.watchdog.stop()
        self.wheel.stop()
        self.net.close()
        await self.auth.close()
        await self.store.close()
        await self.admin.close()
        log.info("stopped")
        self._ended.set()


def _routes() -> iq.Routes:
    named = [
        *disco.FEATURES,
        *messages.FEATURES,
        *(name for feature in FEATURES for name in feature.FEATURES),
    ]
    tables = [feature.ROUTES for feature in FEATURES]
    of_accounts = {key[2] for table in tables for key in table if key[1] is iq.Scope.ACCOUNT}
    return iq.merge([disco.routes(named, of_accounts.intersection(named)), *tables])


# the keys of [limits] that the core has under the same name
_CORE_LIMITS = {field.name for field in dataclasses.fields(CoreSettings)} & set(
    configuration.Limits.__struct_fields__
)


def _core_settings(config: Config) -> CoreSettings:
    limits = config.limits
    # one answer is never what makes the output of a client too much
    answer_bytes = limits.output_bytes // 2
    named = {name: getattr(limits, name) for name in _CORE_LIMITS}
    for name in ("document_bytes", "block_list_bytes"):
        named[name] = min(named[name], answer_bytes)
    return CoreSettings(
        **named,
        answer_s=config.store.deadline_s,
        delivery=UC if config.routing.delivery == "uc-2013" else RFC6121,
        iq_needs_presence=config.routing.iq_needs_presence,
        offline=OfflineSettings(
            **{
                **msgspec.structs.asdict(config.offline),
                "page_bytes": min(config.offline.page_bytes, answer_bytes),
            }
        ),
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
            strong_accounts=frozenset(config.sasl.strong_accounts),
            strong_mechanisms=frozenset(config.sasl.strong_mechanisms),
            retries=config.sasl.retries,
            sasl_required=config.sasl.required,
            bind_retries=stream.bind_retries,
            session=stream.session,
        ),
        hosts={domain.name: HostFacts(domain.name, roster.STREAM_FEATURES) for domain in config.domains},
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


async def _run(path: Path, config: Config, writer: logs.LogWriter) -> int:
    loop = asyncio.get_running_loop()
    server = Server(path, config, writer)

    def on_stop() -> None:
        server.begin_stop()

    def on_reload() -> None:
        reloading.add(task := loop.create_task(_reload(server)))
        task.add_done_callback(reloading.discard)

    reloading: set[asyncio.Task[None]] = set()
    for number, action in ((signal.SIGTERM, on_stop), (signal.SIGINT, on_stop), (signal.SIGHUP, on_reload)):
        loop.add_signal_handler(number, action)
    try:
        await server.start()
    except StartError as error:
        log.error("cannot start", extra=fields(reason=str(error)))
        return 1
    # what is alive now lives as long as the process: the collector need not look at it again
    gc.collect()
    gc.freeze()
    await server.stopped()
    return 0


async def _reload(server: Server) -> None:
    try:
        await server.reload()
    except configuration.ConfigError as error:
        log.error("not reloaded", extra=fields(reason=str(error)))


def serve(path: Path) -> int:
    """Run the server of this configuration file in the foreground until it is told to stop; the exit status.

    Raises ConfigError if the file cannot be used.
    """
    config = configuration.load(path)
    limit_arenas()
    # as many descriptors as we may have: the soft limit is for programs that use select()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.set_threshold(20_000, 20, 50)
    writer = logs.start(
        config.log.level, config.log.format, queue_lines=config.log.queue, repeat_s=config.log.repeat_s
    )
    try:
        if missing := unmet(config):
            for each in missing:
                log.error("cannot start", extra=fields(key=each.key, reason=each.sentence))
            return 1
        return uvloop.run(_run(path, config, writer))
    finally:
        writer.close()
