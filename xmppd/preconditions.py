"""What must hold before a server can start: `run` asks it before it starts, `check` instead of starting.

Nothing is made or changed, except that each port is listened on for a moment.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import NamedTuple

from xmppd import config as configuration
from xmppd._fast.tls import VERIFY_NONE, VERIFY_REQUEST, LibCtx, TicketKeys, TLSContext, TLSError
from xmppd.auth import examine_secret
from xmppd.config import Config, Domain
from xmppd.net.sockets import Options, listener_sockets
from xmppd.ops import admin
from xmppd.pki.certificate import kind_of_key, read_chain
from xmppd.store import StoreError, examine

ALPN = (b"xmpp-client",)


class StartError(Exception):
    """The server cannot start as it is configured; the text is one sentence."""


class Unmet(NamedTuple):
    """Something that keeps the server from starting: the key to look at, and one sentence."""

    key: str
    sentence: str


def unmet(config: Config, *, beside_a_server: bool = False) -> list[Unmet]:
    """All that keeps a server from starting with `config`.

    `beside_a_server`: one runs with it already, and has what only one can have: data directory, ports, admin socket.
    """
    found = list(_certificates(config))
    if not beside_a_server:
        found += [*_data(config), *_listeners(config)]
    return found


def _certificates(config: Config) -> Iterator[Unmet]:
    lib = LibCtx()
    for domain in config.domains:
        key = f"domains[{domain.name}]"
        try:
            tls_context(config, domain, lib)
        except StartError as error:
            yield Unmet(key, str(error))
            continue
        kind = kind_of_key(read_chain(domain.certificate)[0])
        fits = [("-ECDSA-" in name) is (kind == "ECDSA") for name in config.tls.ciphers]
        if config.tls.min_version == "1.2" and not any(fits):
            # 2-8: a version that is offered can be had
            yield Unmet(
                key,
                f"no suite of tls.ciphers is for the {kind} key of {domain.name}: TLS 1.2 would never work",
            )


def _data(config: Config) -> Iterator[Unmet]:
    try:
        examine(config.store.path)
        examine_secret(config.store.path)
    except StoreError as error:
        yield Unmet("store.path", str(error))
    path = config.admin.socket
    if (why := admin.unusable(path, made=config.store.path)) is not None:
        yield Unmet("admin.socket", f"cannot open the admin socket {path}: {why}")


def _listeners(config: Config) -> Iterator[Unmet]:
    with contextlib.ExitStack() as opened:
        for index, listener in enumerate(config.listeners):
            if listener.kind not in configuration.SERVED:
                continue
            try:
                for sock in listen(config, listener):
                    opened.enter_context(sock)
            except StartError as error:
                yield Unmet(f"listeners[{index}]", str(error))


def listen(config: Config, listener: configuration.Listener) -> list[socket.socket]:
    """The sockets of a listener, one for each address it has. Raises StartError."""
    net = config.net
    options = Options(
        dscp=dscp(config, listener),
        backlog=net.backlog,
        keepalive_idle_s=net.keepalive_idle_s,
        keepalive_interval_s=net.keepalive_interval_s,
        keepalive_probes=net.keepalive_probes,
        user_timeout_ms=int(net.user_timeout_s * 1000),
    )
    try:
        return listener_sockets(listener.address.host, listener.address.port, options)
    except OSError as error:
        raise StartError(f"cannot listen on {listener.address}: {error.strerror or error}") from error


def dscp(config: Config, listener: configuration.Listener) -> int | None:
    """The mark of a listener; None if there is to be none."""
    mark = listener.dscp if listener.dscp is not None else config.net.dscp
    return None if mark == "off" else mark


def tls_context(
    config: Config, domain: Domain, lib: LibCtx | None = None, tickets: TicketKeys | None = None
) -> TLSContext:
    """The TLS context of one domain. Raises StartError if its certificate or key cannot be used."""
    tls = config.tls
    try:
        return TLSContext(
            lib or LibCtx(),
            certs=[(str(domain.certificate), str(domain.key))],
            min=tls.min_version,
            max=tls.max_version,
            ciphers=":".join(tls.ciphers),
            suites=":".join(tls.suites),
            groups=":".join(tls.groups),
            verify=VERIFY_REQUEST if tls.client_certificates == "request" else VERIFY_NONE,
            alpn=ALPN,
            tickets=tickets,
        )
    except (TLSError, OSError, ValueError) as error:
        raise StartError(f"the certificate of {domain.name} cannot be used: {error}") from error
