"""Client connections: carries out what the stream machine asks for, and keeps the limits of RFC 6120 13.12.

`Service` is one set of client listeners with one policy; `Session` is one connection. The core is handed in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol

from xmppd._fast.conn import Conn, Handler
from xmppd._fast.reader import Limits, Stanza, StreamHeader, StreamReader
from xmppd._fast.route import Resource, RouteTable
from xmppd._fast.tls import TLSContext
from xmppd._fast.wire import Allowance, Wire, heaviest
from xmppd.address import address_group
from xmppd.errors import SaslFailure, StanzaError, StreamError
from xmppd.events import LIMITS, count, fields, limited
from xmppd.jid import JID, JIDError
from xmppd.net.deadlines import TICK_S, Deadline, Wheel
from xmppd.stream import actions as act
from xmppd.stream.c2s import C2SSettings, C2SStream, HostFacts

log = logging.getLogger("xmppd.net.c2s")

LOOKED_AT: Final = 64  # of the oldest connections not logged in, for one that may have to go


class Authenticator(Protocol):
    """Who may log in."""

    async def look_up(self, username: str, domain: str, mechanism: str) -> act.Credentials:
        """SCRAM keys; made-up ones for an unknown account."""

    async def verify(self, username: str, domain: str, password: str, address: str) -> act.Verdict:
        """Whether a password is right."""


class Core(Protocol):
    """The server behind the streams."""

    @property
    def table(self) -> RouteTable:
        """The routing table, for the relaying that needs no decision."""

    def bind(
        self, account: JID, resource: str | None, conn: Conn, lang: bytes | None, session: Session
    ) -> Resource | Awaitable[Resource]:
        """Bind a resource, at once if nothing has to be read for it; raises StanzaError."""

    def unbind(self, resource: Resource) -> None:
        """The stream of a resource ends."""

    def route(self, sender: Resource, stanza: Stanza) -> None:
        """A stanza of an open stream that the table did not relay."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds; 0 for `idle_ping_s` means that nobody is pinged."""

    negotiation_s: float = 60.0
    close_s: float = 5.0
    idle_ping_s: float = 300.0
    ping_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Caps:
    """How many connections: of one address (/64 for IPv6), and not logged in, of all."""

    per_address: int = 256
    unauthenticated: int = 1024


@dataclass(frozen=True, slots=True)
class Policy:
    """All a session is made with. A reload replaces it for new connections."""

    stream: C2SSettings
    hosts: Mapping[str, HostFacts]
    times: Times
    caps: Caps
    limits: Limits  # of a stream that is logged in
    preauth_limits: Limits
    allowance: Allowance


class Service:
    """The client side of the server: accepts connections and knows every session."""

    def __init__(
        self,
        policy: Policy,
        contexts: Mapping[str, TLSContext],
        default_context: TLSContext,
        auth: Authenticator,
        core: Core,
        wheel: Wheel,
        open_connections: Callable[[], list[Conn]],
    ) -> None:
        """`open_connections` lists the connections of the process, ours among them."""
        self.policy = policy
        self.contexts = contexts
        self.default_context = default_context
        self.auth = auth
        self.core = core
        self.wheel = wheel
        self._open_connections = open_connections
        self.connections = 0
        self.waiting: dict[Session, asyncio.Task[None]] = {}  # for an answer to a session's question
        self.unauthenticated: dict[Session, None] = {}  # oldest first
        self._sources: dict[str, Source] = {}
        self._empty: asyncio.Event | None = None

    # what listeners call

    def accept(self, conn: Conn) -> Handler | None:
        """A session for a new connection, or None to refuse it."""
        caps = self.policy.caps
        group = address_group(conn.peer)
        source = self._sources.get(group) or Source(group)
        if source.connections >= caps.per_address:
            limited("connections_per_address")
            log.warning("connection refused", extra=fields(peer=conn.peer, limit="connections_per_address"))
            return None
        if len(self.unauthenticated) >= caps.unauthenticated:
            limited("unauthenticated_connections")
            other = None if source.waiting else self._one_of_several()
            if other is None:
                log.warning(
                    "connection refused", extra=fields(peer=conn.peer, limit="unauthenticated_connections")
                )
                return None
            log.warning(
                "connection put out",
                extra=fields(peer=other.wire.conn.peer, limit="unauthenticated_connections"),
            )
            self.waits_no_more(other)
            other.wire.conn.abort()
        count("connections_accepted")
        session = Session(self, conn, source)
        self._sources[group] = source
        source.connections += 1
        source.waiting += 1
        self.connections += 1
        self.unauthenticated[session] = None
        return session.wire

    def _one_of_several(self) -> Session | None:
        """The oldest session that is not logged in and not the only such one of its address.

        It goes for one of another address: a few that take all places keep nobody out but themselves.
        """
        oldest = islice(self.unauthenticated, LOOKED_AT)
        return next((session for session in oldest if session.source.waiting > 1), None)

    def select(self, conn: Conn, sni: str | None) -> TLSContext | None:
        """The certificate for a ClientHello: its server name, else the `to` of the header before (3-4.2).

        A client may name the target of the SRV record it came by, which is no domain of ours (1-3.2).
        """
        context = self.contexts.get(_served_name(sni)) if sni is not None else None
        if context is None and isinstance(conn.handler, Wire):
            context = self.contexts.get(conn.handler.session.stream.host)
        return context or self.default_context

    # what sessions call

    def waits_no_more(self, session: Session) -> None:
        """A session is logged in, or ends."""
        if session in self.unauthenticated:
            del self.unauthenticated[session]
            session.source.waiting -= 1

    def forget(self, session: Session) -> None:
        """The connection of a session has ended."""
        self.waits_no_more(session)
        self.connections -= 1
        session.source.connections -= 1
        if not session.source.connections:
            del self._sources[session.source.group]
        if self._empty is not None and not self.connections:
            self._empty.set()

    def partial_over(self) -> bool:
        """Unfinished stanzas hold too much memory: who holds the most goes. False if nobody holds any."""
        session: Session | None = heaviest(self._open_connections())
        if session is None:
            return False
        session.wire.give_up()
        session.stream_error(StreamError("resource-constraint", app="partial_bytes_total"))
        return True

    def end(self, account: JID, error: StreamError, failure: SaslFailure) -> None:
        """End every stream of an account, and let whoever is logging in fail.

        What comes behind our closing tag does not count either: there may be a new account of that name by then.
        """
        for session in self._all():
            if session.stream.speaks_for(account):
                session.close(error)
                session.disown()
            else:
                session.stream.revoke(account, failure)

    async def shut_down(self) -> None:
        """End every stream with system-shutdown; returns when all have ended, at most after the close time-out."""
        self._empty = asyncio.Event()
        for session in self._all():
            session.close(StreamError("system-shutdown"))
        if self.connections:
            try:
                await asyncio.wait_for(self._empty.wait(), self.policy.times.close_s + 2 * TICK_S)
            except TimeoutError:
                for session in self._all():
                    session.wire.conn.abort()

    def _all(self) -> list[Session]:
        wires = [conn.handler for conn in self._open_connections() if isinstance(conn.handler, Wire)]
        return [wire.session for wire in wires if wire.session is not None and wire.session.service is self]


class Source:
    """Where connections come from: an IPv4 address or an IPv6 /64; how many it has open, and not logged in."""

    __slots__ = ("connections", "group", "waiting")

    def __init__(self, group: str) -> None:
        self.group = group
        self.connections = 0
        self.waiting = 0


class ChannelBindings(Mapping[str, bytes]):
    """The channel bindings of an open TLS connection; most streams never ask for their data."""

    __slots__ = ("_conn",)

    def __init__(self, conn: Conn) -> None:
        self._conn = conn

    def __getitem__(self, kind: str) -> bytes:
        data = self._conn.channel_binding(kind)
        if data is None:
            raise KeyError(kind)
        return data

    def __iter__(self) -> Iterator[str]:
        return iter(self._conn.channel_binding_types)

    def __len__(self) -> int:
        return len(self._conn.channel_binding_types)


def _served_name(sni: str) -> str:
    """A server name as domains are compared: it comes in A-labels (RFC 6066 3)."""
    try:
        return JID.parse(sni).domain
    except JIDError:
        return sni


class Session(Deadline):
    """One client connection: its wire, its stream machine, and its resource once bound."""

    __slots__ = ("pinged_at", "resource", "service", "source", "stream", "wire")

    def __init__(self, service: Service, conn: Conn, source: Source) -> None:
        super().__init__()
        policy = service.policy
        self.service = service
        self.source = source
        direct_tls = conn.listener is not None and conn.listener.direct_tls
        self.stream = C2SStream(policy.stream, policy.hosts, direct_tls=direct_tls)
        self.wire = Wire(
            conn,
            StreamReader(limits=policy.preauth_limits),
            service.core.table,
            self,
            policy.allowance,
        )
        self.resource: Resource | None = None
        self.pinged_at = 0  # tick of the last ping; bytes that came since have an equal or later one
        self._expire_in(policy.times.negotiation_s)

    # what the wire calls

    def header(self, header: StreamHeader) -> None:
        """A stream header came in."""
        self._run(self.stream.header(header))

    def stanza(self, stanza: Stanza) -> None:
        """A first-level element that the routing table did not relay."""
        resource = self.resource
        if resource is not None and stanza.kind and self.stream.is_open:
            self._route(resource, stanza)
        else:
            self._run(self.stream.stanza(stanza, self.wire.reader.pending_bytes))

    def stream_close(self) -> None:
        """The peer's closing tag."""
        self._run(self.stream.stream_close())

    def stream_error(self, error: StreamError) -> None:
        """The reader found a fault, or a limit was passed."""
        if (limit := error.app) in LIMITS:
            before = self in self.service.unauthenticated
            limited("preauth_stanza_bytes" if limit == "stanza_bytes" and before else limit)
        self._run(self.stream.stream_error(error))

    def tls_open(self) -> None:
        """The TLS handshake is done."""
        conn = self.wire.conn
        facts = act.TLSFacts(conn.tls_version, ChannelBindings(conn), tuple(conn.peer_chain()))
        self._run(self.stream.tls_open(facts))

    def closed(self, reason: str) -> None:
        """The connection is gone, for whatever reason."""
        if (waiting := self.service.waiting.pop(self, None)) is not None:
            waiting.cancel()
        self._run(self.stream.eof(reason))
        self._leave()
        self.service.wheel.set(self, 0)
        self.service.forget(self)

    def overflow(self) -> None:
        """The client does not read: what is kept for it has passed the limit."""
        limited("output_bytes")
        log.warning("client does not read", extra=self._fields(limit="output_bytes"))
        self.wire.conn.abort()

    def throttled(self, ticks: int, limit: str) -> None:
        """The stream has used up the rate `limit`: it is read again after `ticks`."""
        limited(limit)
        limited("burst_s")
        log.warning("stream slowed down", extra=self._fields(limit=limit))
        asyncio.get_running_loop().call_later(ticks * TICK_S, self.wire.release)

    def hold(self) -> None:
        """Read nothing more until `release`: what came first is not done yet (RFC 6120 10.1)."""
        self.wire.hold()

    def release(self) -> None:
        """Go on."""
        self.wire.release()

    def partial_over(self) -> bool:
        """All unfinished stanzas together hold too much memory; whether somebody's are given up for it."""
        return self.service.partial_over()

    # what the core and the service call

    def close(self, error: StreamError | None) -> None:
        """End the stream from our side."""
        self._run(self.stream.close(error))

    def disown(self) -> None:
        """The account of a closed stream is no more."""
        self.stream.disown()
        self.wire.detach_resource()

    # deadlines

    def _expire_in(self, seconds: float) -> None:
        self.service.wheel.set(self, seconds)

    def expire(self) -> None:
        """Negotiation took too long, the peer did not answer our closing tag, or the stream was silent."""
        times = self.service.policy.times
        if not self.stream.is_open:
            self._run(self.stream.timeout("close" if self.stream.is_closing else "negotiation"))
            return
        if not times.idle_ping_s:  # switched off meanwhile
            return
        silent_s = self.wire.idle_ticks * TICK_S
        if self.wire.held:  # slowed down: what the client has said since is not read yet
            self._expire_in(times.idle_ping_s)
        elif self.wire.last_in < self.pinged_at:
            count("streams_idle_timeout")
            self.close(StreamError("connection-timeout"))
        elif silent_s >= times.idle_ping_s:
            self.pinged_at = self.service.wheel.now
            self._ping()
            self._expire_in(times.ping_timeout_s)
        else:
            self._expire_in(times.idle_ping_s - silent_s)

    def _ping(self) -> None:
        """XEP-0199 4.1; whatever the client sends next shows that it is there."""
        assert self.resource is not None
        host = self.resource.jid.domain.encode()
        self.resource.send(
            b"<iq type='get' id='ping-%d' from='%s' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>"
            % (self.service.wheel.now, host, self.resource.jid.wire)
        )

    # carrying out what the machine asks for

    def _route(self, resource: Resource, stanza: Stanza) -> None:
        try:
            self.service.core.route(resource, stanza)
        except Exception:
            log.exception("routing failed", extra=self._fields(kind=stanza.name))
            self.close(StreamError("internal-server-error"))

    def _run(self, actions: list[act.Action]) -> None:
        for action in actions:
            _PERFORM[type(action)](self, action)

    def _send(self, action: act.Send) -> None:
        self.wire.conn.write(action.data)

    def _start_tls(self, _action: act.StartTLS) -> None:
        self.wire.reader.restart()
        self.wire.conn.start_tls()

    def _restart(self, _action: act.Restart) -> None:
        self.wire.reader.restart()

    def _look_up(self, action: act.LookUp) -> None:
        self._wait(
            self.service.auth.look_up(action.username, action.domain, action.mechanism),
            self.stream.credentials,
        )

    def _verify(self, action: act.Verify) -> None:
        self._wait(
            self.service.auth.verify(action.username, action.domain, action.password, self.source.group),
            self.stream.verified,
        )

    def _authenticated(self, action: act.Authenticated) -> None:
        self.service.waits_no_more(self)
        self.wire.reader.set_limits(self.service.policy.limits)

    def _bind(self, action: act.Bind) -> None:
        lang = self.stream.lang.encode() if self.stream.lang is not None else None

        try:
            bound = self.service.core.bind(action.account, action.resource, self.wire.conn, lang, self)
        except StanzaError as error:
            self._run(self.stream.bind_failed(error))
            return
        if isinstance(bound, Resource):
            self._run(self._bound(bound))
        else:
            self._wait(bound, self._bound)

    def _bound(self, result: Resource | StanzaError) -> list[act.Action]:
        if isinstance(result, StanzaError):
            return self.stream.bind_failed(result)
        self.resource = result
        actions = self.stream.bound(result.jid)
        if not self.stream.is_open:  # it began to close meanwhile
            self._leave()
        return actions

    def _opened(self, _action: act.Opened) -> None:
        assert self.resource is not None
        self.wire.attach_resource(self.resource)
        self.wire.reader.settle()
        self._expire_in(self.service.policy.times.idle_ping_s)

    def _deliver(self, action: act.Deliver) -> None:
        # also a stanza that came behind our closing tag: its sender is no longer connected, but it counts (1-18.b)
        if self.resource is not None:
            self._route(self.resource, action.stanza)

    def _close(self, action: act.Close) -> None:
        self._leave()
        if action.await_peer:
            self._expire_in(self.service.policy.times.close_s)

    def _disconnect(self, _action: act.Disconnect) -> None:
        self._leave()
        self.wire.deafen()
        self.wire.conn.close()

    def _note(self, action: act.Note) -> None:
        counter = act.NOTES[action.event]
        if counter is not None:
            count(counter)
        if log.isEnabledFor(logging.INFO):
            log.info(action.event, extra=self._fields(**action.fields))
        if action.bad_input:
            # of all peers together: once for each kind and `log.repeat_s`, with how often it came
            told = {name: action.fields[name] for name in ("condition", "text") if name in action.fields}
            log.warning("bad input", extra=fields(kind=action.event, **told))

    def _leave(self) -> None:
        if self.resource is not None:
            self.service.core.unbind(self.resource)

    def _wait(self, question: Awaitable[Any], then: Callable[[Any], list[act.Action]]) -> None:
        """Read nothing until `question` is answered, then go on with the answer."""
        self.wire.hold()

        async def answer() -> None:
            try:
                try:
                    result = await question
                except (SaslFailure, StanzaError) as failure:  # what the store says of itself (3-23.10)
                    result = failure
                self.service.waiting.pop(self, None)
                self._run(then(result))
            except asyncio.CancelledError:
                raise
            except Exception:
                self.service.waiting.pop(self, None)
                log.exception("question failed", extra=self._fields())
                self.close(StreamError("internal-server-error"))
            self.wire.release()

        self.service.waiting[self] = asyncio.get_running_loop().create_task(answer())

    def _fields(self, **more: Any) -> dict[str, Any]:
        known: dict[str, Any] = {"peer": self.wire.conn.peer}
        if self.resource is not None:
            known["jid"] = str(self.resource.jid)
        return fields(**{**known, **more})


_PERFORM: Mapping[type, Callable[[Session, Any], None]] = {
    act.Send: Session._send,
    act.StartTLS: Session._start_tls,
    act.Restart: Session._restart,
    act.LookUp: Session._look_up,
    act.Verify: Session._verify,
    act.Authenticated: Session._authenticated,
    act.Bind: Session._bind,
    act.Opened: Session._opened,
    act.Deliver: Session._deliver,
    act.Close: Session._close,
    act.Disconnect: Session._disconnect,
    act.Note: Session._note,
}
