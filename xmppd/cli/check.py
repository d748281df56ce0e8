"""`xmppd check`: every start-up check, explained, without starting anything."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from xmppd import config as configuration
from xmppd import profile
from xmppd.config import Config, Listener
from xmppd.ops.admin import AdminClient, CommandError, NoServer
from xmppd.pki import certificate

Level = Literal["error", "warning", "cost"]


class Found(NamedTuple):
    """One thing that is wrong ("error": the server would not start or not serve) or will be ("warning").

    "cost" is what the profile allows, but not UC XMPP 2013; `requirement` is the row that is not met.
    """

    level: Level
    key: str
    text: str
    requirement: str | None = None


def look(path: Path) -> tuple[Config, list[Found]]:
    """All that is wrong with the configuration and what it names. Raises ConfigError if it is no TOML.

    Of a table with a fault the world is not asked: what it should be asked is not known.
    """
    config, faults = configuration.examine_file(path)
    found = [_fault(path, fault) for fault in faults]
    named = {each.key for each in found}
    judged: list[tuple[Level, list[profile.Finding]]] = [
        ("error", profile.findings(config)),
        ("cost", profile.costs(config)),
    ]
    for level, findings in judged:
        found += [_broken(level, finding) for finding in findings if finding.key not in named]
    faulty = {str(fault.where[0]) for fault in faults}
    for tables, ask in _WORLD.items():
        if faulty.isdisjoint(tables):
            found += ask(config)
    return config, found


def _fault(path: Path, fault: configuration.Fault) -> Found:
    place = f"{path}:{fault.line}" if fault.line else str(path)
    return Found("error", fault.key, f"{place}: {fault}", fault.requirement)


def _broken(level: Level, finding: profile.Finding) -> Found:
    return Found(level, finding.key, str(finding), finding.requirement)


def _certificates(config: Config) -> Iterator[Found]:
    from xmppd.server import StartError, tls_context

    for domain in config.domains:
        key = f"domains[{domain.name}]"
        errors, warnings = certificate.faults(domain.name, domain.certificate, domain.key.path)
        if not errors:
            try:  # what only OpenSSL knows: its own idea of strength, keys in tokens
                tls_context(config, domain)
            except StartError as error:
                errors = [str(error)]
        yield from (Found("error", key, text) for text in errors)
        yield from (Found("warning", key, text) for text in warnings)


def _folders(config: Config) -> Iterator[Found]:
    from xmppd.store import StoreError, examine

    # os.path asks where Path raises: a name too long, a folder above that this user may not enter
    data = config.store.path
    if not os.path.isdir(data):
        parent = next(folder for folder in data.parents if os.path.exists(folder))
        if os.path.lexists(data) or not os.access(parent, os.W_OK):
            yield Found("error", "store.path", f"{data}: is no directory, and none can be made")
    elif not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        yield Found("error", "store.path", f"{data}: this user may not write there")
    elif data.stat().st_mode & 0o007:
        yield Found("warning", "store.path", f"{data}: can be read by others; its mode should be 0700")
    if os.path.isdir(data) and not _runs(config):
        try:
            examine(data)
        except StoreError as error:
            yield Found("error", "store.path", str(error))
    socket_path = config.admin.socket
    if not os.path.isdir(socket_path.parent) and socket_path.parent != data:
        yield Found("error", "admin.socket", f"{socket_path.parent}: is no directory")
    elif os.path.exists(socket_path) and not socket_path.is_socket():
        yield Found("error", "admin.socket", f"{socket_path}: is there already and is no socket")


def _listeners(config: Config) -> Iterator[Found]:
    for index, listener in enumerate(config.listeners):
        if listener.kind == "s2s":
            yield Found(
                "warning", f"listeners[{index}]", f"s2s on {listener.address} is not served by this version"
            )
    if not _runs(config):
        for index, listener in enumerate(config.listeners):
            if listener.kind == "c2s" and (why := _not_free(listener)):
                yield Found("error", f"listeners[{index}]", f"cannot listen on {listener.address}: {why}")


def _runs(config: Config) -> bool:
    try:
        AdminClient.connect(config.admin.socket).close()
    except NoServer:
        return False
    except CommandError:
        pass
    return True


def _not_free(listener: Listener) -> str | None:
    """Why nobody can listen there."""
    family = socket.AF_INET6 if listener.address.is_v6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            tried.bind((listener.address.host, listener.address.port))
            tried.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return None


# what is asked, by the tables it is asked of
_WORLD: Final[dict[tuple[str, ...], Callable[[Config], Iterable[Found]]]] = {
    ("domains", "tls"): _certificates,
    ("store", "admin"): _folders,
    ("listeners", "net", "admin"): _listeners,
}
