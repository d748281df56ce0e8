"""`xmppd check`: every start-up check, explained, without starting anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from xmppd import config as configuration
from xmppd import profile
from xmppd.config import Config
from xmppd.ops.admin import AdminClient, CommandError, NoServer
from xmppd.pki import certificate

Level = Literal["error", "warning", "cost"]


# table -> the tables that must be right for what is wrong with it to be known
_TABLES: Final = {
    "domains": {"domains", "tls"},
    "listeners": {"listeners", "net", "admin"},
    "store": {"store", "admin"},
    "admin": {"store", "admin"},
}


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
    found += [
        each
        for each in _world(config)
        if faulty.isdisjoint(_TABLES[each.key.partition("[")[0].partition(".")[0]])
    ]
    return config, found


def _fault(path: Path, fault: configuration.Fault) -> Found:
    place = f"{path}:{fault.line}" if fault.line else str(path)
    return Found("error", fault.key, f"{place}: {fault}", fault.requirement)


def _broken(level: Level, finding: profile.Finding) -> Found:
    return Found(level, finding.key, str(finding), finding.requirement)


def _world(config: Config) -> Iterator[Found]:
    """What is wrong with what the configuration names."""
    from xmppd.preconditions import unmet

    missing = unmet(config, beside_a_server=_runs(config))
    for domain in config.domains:
        key = f"domains[{domain.name}]"
        errors, warnings = certificate.faults(domain.name, domain.certificate, domain.key.path)
        # what only OpenSSL knows, its own idea of strength, keys in tokens, is of interest if the rest is right
        errors = errors or [each.sentence for each in missing if each.key == key]
        yield from (Found("error", key, text) for text in errors)
        yield from (Found("warning", key, text) for text in warnings)
    yield from (Found("error", *each) for each in missing if not each.key.startswith("domains"))
    data = config.store.path
    if os.path.isdir(data) and data.stat().st_mode & 0o007:
        yield Found("warning", "store.path", f"{data}: can be read by others; its mode should be 0700")
    for index, listener in enumerate(config.listeners):
        if listener.kind not in configuration.SERVED:
            yield Found(
                "warning",
                f"listeners[{index}]",
                f"{listener.kind} on {listener.address} is not served by this version",
            )


def _runs(config: Config) -> bool:
    try:
        AdminClient.connect(config.admin.socket).close()
    except NoServer:
        return False
    except CommandError:  # what is there does not answer us, or nothing can be there
        return os.path.lexists(config.admin.socket)
    return True
