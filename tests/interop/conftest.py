"""A real server, started by its command line, for the real clients of this folder."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.local_server import LocalServer, free_port, loopback_hosts, new_password

# no line of a server's log may be this bad, nor what Python prints when nobody caught an exception
WRONG = re.compile(r"\blevel=(?:error|critical)\b|^Traceback")


@dataclass
class Account:
    jid: str
    password: str


@dataclass
class Site:
    """A running server for localhost and other.example, and a way to make accounts in it."""

    server: LocalServer
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def host(self) -> str:
        return self.server.hosts[0]

    def account(self, name: str = "user", domain: str = "localhost") -> Account:
        """A new account with a random password, made by `xmppd user add` while the server runs."""
        account = Account(f"{name}{next(self.numbers)}@{domain}", new_password())
        self.server.add_user(account.jid, account.password)
        return account

    def log(self) -> str:
        assert self.server.output
        return self.server.output.read_text(errors="replace")


def stop_and_look(site: Site) -> None:
    """SIGTERM: it must end with 0 and must have logged nothing bad."""
    status = site.server.stop()
    bad = [line for line in site.log().splitlines() if WRONG.search(line)]
    assert status == 0, f"the server ended with {status}; its log:\n{site.log()[-4000:]}"
    assert not bad, "the server logged errors:\n" + "\n".join(bad)


@pytest.fixture(scope="session")
def new_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Makes and starts a site; all of them are stopped, and looked at, in the end."""
    logging.getLogger("slixmpp").setLevel(logging.ERROR)  # slixmpp warns about much that is not wrong
    sites: list[Site] = []

    def make(*extra: str) -> Site:
        folder = tmp_path_factory.mktemp("site")
        hosts = loopback_hosts()
        server = LocalServer(folder / "xmppd", free_port(hosts), hosts, folder / "log")
        server.init("localhost", "other.example", extra=extra)
        site = Site(server)
        sites.append(site)
        server.start()
        return site

    try:
        yield make
    finally:
        for site in sites:
            site.server.stop()
    for site in sites:
        stop_and_look(site)


@pytest.fixture(scope="session")
def site(new_site: Callable[..., Site]) -> Site:
    """The server all tests share; an account of one's own keeps them apart."""
    return new_site()


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short name: tmux keeps its socket there."""
    return tmp_path_factory.mktemp("c")
