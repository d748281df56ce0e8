"""Checks: short scripts of a conversation, each registered for the parts that it shows.

    @check("1-24.1")
    def the_response_header_names_the_domain(site: Site) -> None:
        \"\"\"RFC 6120 4.7.1: 'from' of the response header is the domain that 'to' of the initial header names.\"\"\"
        client = site.connect()
        client.send_header()
        header = client.expect_header()
        expect(header.get("from") == site.domain, f"the response header is from {header.get('from')!r}")

A check that reaches its end has shown its parts to be met in one area of the server, "streams" unless it says another.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from xmppd.conformance.requirements import catalogue
from xmppd.conformance.verdict import NotMet

if TYPE_CHECKING:
    from xmppd.conformance.site import Site

Script = Callable[["Site"], None]


@dataclass(frozen=True, slots=True)
class Check:
    """A script and what it shows."""

    parts: tuple[str, ...]
    area: str
    script: Script
    rows: tuple[str, ...] = ()  # patterns of parts that must be met, too, for the script only sums them up

    @property
    def name(self) -> str:
        """The script's name, as words."""
        return getattr(self.script, "__name__", "").replace("_", " ")

    @property
    def doc(self) -> str:
        """What the script shows, and from where that is."""
        return " ".join((self.script.__doc__ or "").split())


_registered: Final[list[Check]] = []


def check(*parts: str, area: str = "streams", rows: tuple[str, ...] = ()) -> Callable[[Script], Script]:
    """Register a script for parts, in one of the areas that they need.

    `rows`: patterns, as for `select`, of other parts that its own parts sum up: their verdicts count as well.
    """
    for name in parts:
        part = catalogue().part(name)
        assert area in part.needs, f"{name} does not need the area {area}"

    def register(script: Script) -> Script:
        _registered.append(Check(parts, area, script, rows))
        return script

    return register


def expect(fact: bool, otherwise: str) -> None:
    """End the check as not met unless this is a fact; `otherwise` is what was seen."""
    if not fact:
        raise NotMet(otherwise)


def modules() -> Iterator[str]:
    """The modules that hold checks, one for each section."""
    from xmppd.conformance import checks

    return (f"{checks.__name__}.{each.name}" for each in pkgutil.iter_modules(checks.__path__))


@cache
def registered() -> Mapping[tuple[str, str], tuple[Check, ...]]:
    """All checks, by part and area."""
    for name in modules():
        importlib.import_module(name)
    found: dict[tuple[str, str], tuple[Check, ...]] = {}
    for each in _registered:
        for part in each.parts:
            key = (part, each.area)
            found[key] = (*found.get(key, ()), each)
    return found
