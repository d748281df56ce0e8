"""Comparing two configurations: what a reload changes, and what it leaves for a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec import Struct

from xmppd.config.keys import ARRAYS, keys_of
from xmppd.config.tables import Applies, Config, Domain, Listener


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs between two configurations; for a table that came or went one side is None."""

    key: str  # "net.dscp", "domains[example.org].certificate", "listeners[[::1]:5222]"
    old: Any
    new: Any
    applies: Applies


def _label(entry: Domain | Listener) -> str:
    """What tells an entry of an array of tables from the others."""
    return entry.name if isinstance(entry, Domain) else f"{entry.kind} {entry.address}"


def _entries(config: Config, table: str) -> dict[str, Struct]:
    return {_label(entry): entry for entry in getattr(config, table)}


def _changed(table: str, label: str, old: Struct, new: Struct) -> Iterator[Change]:
    for name, known in keys_of(table).items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Change(f"{label}.{name}", before, after, known.applies)


def diff(old: Config, new: Config) -> list[Change]:
    """Every key that differs, with what its change needs: nothing (live), new streams, or a restart.

    With another profile, which brings other defaults and rules, every change needs a restart.
    """
    changes = _changes(old, new)
    if old.profile != new.profile:
        return [replace(change, applies="restart") for change in changes]
    return changes


def in_force(running: Config, wanted: Config) -> Config:
    """What a reload makes of `running`: `wanted`, but with all that needs a restart as it runs now."""
    if running.profile != wanted.profile:
        return running
    tables: dict[str, Any] = {
        name: _kept(name, getattr(running, name), getattr(wanted, name))
        for name, known in keys_of().items()
        if known.is_table and name not in ARRAYS
    }
    for name in ARRAYS:
        then = _entries(wanted, name)
        entries = getattr(running, name)
        tables[name] = tuple(_kept(name, entry, then.get(_label(entry), entry)) for entry in entries)
    return msgspec.structs.replace(running, **tables)


def _kept(table: str, running: Struct, wanted: Struct) -> Struct:
    """`wanted` with the keys that need a restart as they are in `running`."""
    held = {
        name: getattr(running, name) for name, known in keys_of(table).items() if known.applies == "restart"
    }
    return msgspec.structs.replace(wanted, **held)


def _changes(old: Config, new: Config) -> list[Change]:
    changes: list[Change] = []
    for name, known in keys_of().items():
        if name in ARRAYS:
            before, after = _entries(old, name), _entries(new, name)
            for entry in [*before, *(entry for entry in after if entry not in before)]:
                label = f"{name}[{entry}]"
                if entry in before and entry in after:
                    changes += _changed(name, label, before[entry], after[entry])
                else:
                    changes.append(Change(label, before.get(entry), after.get(entry), known.applies))
        elif known.is_table:
            changes += _changed(name, name, getattr(old, name), getattr(new, name))
        elif getattr(old, name) != getattr(new, name):
            changes.append(Change(name, getattr(old, name), getattr(new, name), known.applies))
    return changes
