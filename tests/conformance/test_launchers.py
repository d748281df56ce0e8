"""docs/launchers.md names all there is."""

from __future__ import annotations

import re
from pathlib import Path

from xmppd.conformance import launcher
from xmppd.conformance.launchers import KNOWN

PAGE = (Path(__file__).parents[2] / "docs" / "launchers.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, str]:
    """The first column of the tables under a heading, and the last."""
    section = PAGE.partition(heading)[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([\w-]+)` \|(?:.*\|)? (.+) \|$", section, re.M))


def test_requests() -> None:
    assert rows("## The protocol").keys() - {"do"} == launcher.METHODS


def test_settings() -> None:
    documented = re.findall(r"^    ([a-z0-9-]+) +(\S.*)$", launcher.__doc__ or "", re.M)
    assert rows("## Settings") == dict(documented)


def test_launchers_of_the_package() -> None:
    assert rows("# Launchers").keys() == KNOWN.keys()
