"""docs/config.md, written from the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from xmppd import profile as profiles
from xmppd.config.keys import ARRAYS, keys_of, tables
from xmppd.config.tables import Applies
from xmppd.config.values import KeySource
from xmppd.events import LIMITS

_APPLIES: Final[dict[Applies, str]] = {
    "live": "at once",
    "new-streams": "new streams",
    "restart": "restart",
}


def _shown(value: Any) -> str:
    if value is msgspec.NODEFAULT:
        return "must be given"
    if value is None or value in (Path(), KeySource()):
        return "see text"
    if isinstance(value, float):
        value = int(value) if value.is_integer() else value
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value) or "none"
    return f"`{json.dumps(value, default=str)}`"


def reference() -> str:
    """docs/config.md."""
    lines = [
        "# Configuration reference",
        "",
        "<!-- Written by `python -m xmppd.config > docs/config.md`; change xmppd/config/tables.py instead. -->",
        "",
        "One TOML file, given as `xmppd -c FILE`. An unknown key is an error. Relative paths are relative to",
        "the file. `xmppd -c FILE check` checks it without starting anything. *Takes effect* says what a",
        "changed key needs after `xmppd -c FILE reload`: nothing (at once), new streams, or a restart.",
        "",
    ]
    for table in ("", *tables()):
        title = f"`[[{table}]]`" if table in ARRAYS else f"`[{table}]`" if table else "Top level"
        doc = _paragraph(tables()[table]) if table else "Before the first table."
        lines += [
            f"## {title}",
            "",
            doc,
            "",
            "| Key | Meaning | Allowed | Default | Takes effect |",
            "|---|---|---|---|---|",
        ]
        for known in keys_of(table).values():
            if known.is_table:
                continue
            counter = f" Counter: `{LIMITS[known.name]}`." if table == "limits" else ""
            lines.append(
                f"| `{known.name}` | {known.help.replace('<', '&lt;')}{counter} | {known.allowed} "
                f"| {_shown(known.default)} | {_APPLIES[known.applies]} |"
            )
        lines.append("")
    lines += ["## TLS 1.2 cipher suites", "", ", ".join(f"`{cipher}`" for cipher in profiles.CIPHERS), ""]
    lines += ["## Profiles", "", "`profile` sets other defaults and rules for the keys above.", ""]
    for name, rules in profiles.RULES.items():
        lines += [f"### `{name}`", ""]
        changed = [
            f"| `{table}.{entry}` | {_shown(tuple(value) if isinstance(value, list) else value)} |"
            for table, entries in profiles.DEFAULTS[name].items()
            for entry, value in entries.items()
        ]
        if changed:
            lines += ["Defaults other than those above:", "", "| Key | Default |", "|---|---|", *changed, ""]
        if rules:
            lines += [
                "The server refuses to start with a setting that breaks one of these:",
                "",
                "| Requirement | Key | Demand |",
                "|---|---|---|",
                *(f"| {rule.requirement} | `{rule.key}` | {rule.demand} |" for rule in rules),
                "",
            ]
        else:
            lines += ["No rules beyond the bounds of the keys.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _paragraph(struct: type[Struct]) -> str:
    """The docstring of a table as one paragraph."""
    return " ".join((struct.__doc__ or "").split())
