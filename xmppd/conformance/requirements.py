"""The requirements as data: their parts, the areas that parts need, and the selection of a run.

`data/uc-xmpp-2013.toml` holds 203 requirements in 510 parts. A part is named `<requirement>.<part>`, as in `5-15.b`.
`data/areas.toml` says which areas of a server a part needs; a part with several has something to show in each.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any, Final

# the area of a part that areas.toml does not name, by the section of its requirement
AREA_OF_SECTION: Final[Mapping[str, str]] = {
    **dict.fromkeys(("1", "2", "3", "4", "5", "10", "12", "13", "14"), "streams"),
    **dict.fromkeys(("6", "7", "8", "9"), "im"),
    **dict.fromkeys(("M", "D"), "rooms"),
    "11": "extensions",
}
# areas in which every part has a check; a test sees to it
DONE: Final = ("streams", "im")
SECTION_TITLES: Final[Mapping[str, str]] = {
    "1": "XML streams",
    "2": "TLS and STARTTLS negotiation",
    "3": "Authentication and SASL",
    "4": "Resource binding",
    "5": "XML stanzas",
    "6": "Roster management",
    "7": "Presence subscriptions",
    "8": "Presence",
    "9": "Messages",
    "10": "Conformance of RFC 6120 and RFC 6121",
    "11": "XMPP extensions",
    "12": "XML usage",
    "13": "DSCP",
    "14": "IPv6",
    "M": "Multi-user chat",
    "D": "Service discovery",
}


class UnknownName(ValueError):
    """An area or a pattern that names nothing."""


@dataclass(frozen=True, slots=True)
class Part:
    """One testable statement of a requirement."""

    name: str  # as 1-7.1
    requirement: str  # as 1-7
    text: str
    needs: tuple[str, ...]  # areas, never empty

    @property
    def section(self) -> str:
        """The part of the requirement's name before the dash: 1 to 14, M, D."""
        return self.requirement.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row of the certification report."""

    name: str
    title: str
    text: str
    source: str  # section of the RFC or XEP
    parts: tuple[Part, ...]
    number: str = ""  # IM number of UC XMPP 2013, where the report gives one
    notes: str = ""

    @property
    def section(self) -> str:
        return self.name.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All requirements and areas."""

    requirements: tuple[Requirement, ...]
    areas: Mapping[str, str]  # name to meaning

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for requirement in self.requirements for part in requirement.parts)

    def part(self, name: str) -> Part:
        """The part of that name; KeyError."""
        return self._by_name()[name]

    def _by_name(self) -> Mapping[str, Part]:
        return {part.name: part for part in self.parts}


def _requirement(row: Mapping[str, Any], needs: Mapping[str, list[str]]) -> Requirement:
    name: str = row["id"]
    default = [AREA_OF_SECTION[name.partition("-")[0]]]
    parts = tuple(
        Part(
            name=(full := f"{name}.{part['id']}"),
            requirement=name,
            text=part["text"],
            needs=tuple(needs.get(full, default)),
        )
        for part in row["parts"]
    )
    return Requirement(
        name=name,
        title=row["title"],
        text=row["text"],
        source=row["source"],
        parts=parts,
        number=row.get("im", ""),
        notes=row.get("notes", ""),
    )


@cache
def catalogue() -> Catalogue:
    """The requirements that come with the package."""
    data = resources.files(__package__) / "data"
    rows = tomllib.loads((data / "uc-xmpp-2013.toml").read_text(encoding="utf-8"))["requirement"]
    areas = tomllib.loads((data / "areas.toml").read_text(encoding="utf-8"))
    return Catalogue(tuple(_requirement(row, areas["needs"]) for row in rows), areas["areas"])


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run is about: some parts, each judged by the selected ones of the areas that it needs."""

    parts: tuple[Part, ...]
    areas: frozenset[str]

    def judged(self, part: Part) -> tuple[str, ...]:
        """The areas in which the part is judged; none: it is not applicable."""
        return tuple(area for area in part.needs if area in self.areas)

    def left_out(self, part: Part) -> tuple[str, ...]:
        """The areas that the part needs, too, but that are not selected."""
        return tuple(area for area in part.needs if area not in self.areas)


def words(text: str) -> list[str]:
    """A list as written on the command line: separated by commas or space."""
    return [word for word in re.split(r"[,\s]+", text) if word]


def select(
    areas: Iterable[str] = (), only: Iterable[str] = (), *, among: Catalogue | None = None
) -> Selection:
    """The parts that match one of the patterns `only` (none: all parts), judged in `areas` (none: all areas).

    A pattern is the name of a part (`1-7.1`), of a requirement (`3-25`), of a section (`7`), or has wildcards
    (`7-*`, `3-23.*`). Raises UnknownName for an area that does not exist or a pattern that matches nothing.
    """
    among = among or catalogue()
    chosen = frozenset(areas) or frozenset(among.areas)
    if unknown := sorted(chosen - among.areas.keys()):
        raise UnknownName(f'there is no area "{unknown[0]}"; known are {", ".join(among.areas)}')
    patterns = list(only)
    for pattern in patterns:
        if not any(matches(part, pattern) for part in among.parts):
            raise UnknownName(f'no requirement matches "{pattern}"')
    parts = tuple(
        part for part in among.parts if not patterns or any(matches(part, pattern) for pattern in patterns)
    )
    return Selection(parts, chosen)


def matches(part: Part, pattern: str) -> bool:
    """Whether a pattern, as for `select`, names the part."""
    return any(fnmatchcase(name, pattern) for name in (part.name, part.requirement, part.section))
