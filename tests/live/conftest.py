"""Servers for the tests of this folder: one shared, and others made to measure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.site import Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server as `xmppd init` makes it, with the accounts alice and bob and two domains."""
    made = Site(tmp_path_factory.mktemp("site"), domains=("localhost", "second.example")).start()
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log, made.log


@pytest.fixture
def make_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Servers with settings of their own; stopped at the end of the test."""
    made: list[Site] = []

    def make(settings: str = "", **more: object) -> Site:
        made.append(Site(tmp_path_factory.mktemp("site"), settings=settings, **more).start())
        return made[-1]

    yield make
    for each in made:
        if each.process is not None:
            assert each.stop() == 0
        assert "Traceback" not in each.log, each.log


@pytest.fixture
def user(site: Site) -> Callable[[str], str]:
    """Makes accounts that no other test uses; gives their names."""
    return lambda prefix="user": _new_user(site, prefix)


_numbers = itertools.count(1)


def _new_user(site: Site, prefix: str) -> str:
    name = f"{prefix}{next(_numbers)}"
    site.add_user(name)
    return name
