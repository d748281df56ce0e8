"""Memory of an idle, bound, present client of the whole server (goal `idle`), and our own part of it (goal G18)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.idle.hold import XMPP_CLIENT, growth_kib
from benchmarks.programs import missing_tools
from benchmarks.ratio import judge
from tests.site import Site

pytestmark = [
    pytest.mark.skipif(missing_tools() is not None, reason=f"not measured: {missing_tools()}"),
    pytest.mark.timeout(600),
]

CLIENTS = 1000
WARM_UP = 100
SETTINGS = """
[limits]
connections_per_address = 100000
unauthenticated_connections = 100000
[sasl]
scram_iterations = 4096
plain_per_address = 1000
plain_queue = 60000
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    made = []

    def start(settings: str) -> Site:
        site = Site(tmp_path, settings=SETTINGS + settings, users=(), profile="internet")
        accounts = tmp_path / "accounts"
        accounts.write_text("".join(f"load{n}@localhost\tsecret\n" for n in range(CLIENTS + WARM_UP + 2)))
        site.command("user", "import", str(accounts))
        made.append(site.start())
        return site

    yield start
    for site in made:
        site.stop()


def test_idle_present_connection(server: Callable[[str], Site]) -> None:
    site = server("")
    _, port = site.address()
    [growth] = growth_kib(site.pid, port, XMPP_CLIENT, warm_up=WARM_UP, steps=(CLIENTS,))
    # every client of the script was bound: the program ends at the first that is not
    assert site.log.count("event=bound") == CLIENTS + WARM_UP
    assert judge("idle", growth).met
