"""Memory of an idle, bound, present client of the whole server (goal `idle`), and our own part of it (goal G18)."""

from __future__ import annotations

import os
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.idle.hold import HERE, XMPP_CLIENT, growth_kib
from benchmarks.programs import Program, build_program, missing_tools
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
def make_server(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Starts a server with accounts for all clients; environment variables by name."""
    made: list[Site] = []

    def start(profile: str = "uc-2013", **environment: str) -> Site:
        site = Site(tmp_path, settings=SETTINGS, users=(), profile=profile)
        accounts = tmp_path / "accounts"
        accounts.write_text("".join(f"load{n}@localhost\tsecret\n" for n in range(CLIENTS + WARM_UP + 2)))
        site.command("user", "import", str(accounts))
        made.append(site.start(**environment))
        return site

    yield start
    for site in made:
        site.stop()


@pytest.mark.parametrize(("profile", "goal"), [("uc-2013", "idle"), ("internet", "idle-internet")])
def test_idle_present_connection(make_server: Callable[..., Site], profile: str, goal: str) -> None:
    """uc-2013 exchanges keys with P-256, internet with X25519."""
    site = make_server(profile)
    _, port = site.address()
    [growth] = growth_kib(site.pid, port, XMPP_CLIENT, warm_up=WARM_UP, steps=(CLIENTS,))
    # every client of the script was bound: the program ends at the first that is not
    assert site.log.count("event=bound") == CLIENTS + WARM_UP
    # 3.5 keeps two record layers of 4.4 KiB for each connection
    assert judge(goal if ssl.OPENSSL_VERSION_INFO[:2] == (3, 0) else f"{goal}-3.5", growth).met


def test_our_heap_of_an_idle_present_connection(make_server: Callable[..., Site], tmp_path: Path) -> None:
    report = tmp_path / "heap"
    site = make_server(
        LD_PRELOAD=str(build_program(HERE / "heap.c", shared=True)),
        HEAP_REPORT=str(report),
    )
    _, port = site.address()

    def ours() -> int:
        lines = len(report.read_text().splitlines()) if report.exists() else 0
        os.kill(site.pid, signal.SIGUSR2)
        wait_until(lambda: report.exists() and len(report.read_text().splitlines()) > lines)
        everything, openssl = map(int, report.read_text().splitlines()[-1].split())
        return everything - openssl

    # Python keeps thousands of dead tuples and the like for the next use: they are there before it is counted
    with clients(port) as earlier:
        earlier.ask(f"more {CLIENTS + WARM_UP}")
    with clients(port) as client:
        client.ask(f"more {WARM_UP}")
        before = ours()
        client.ask(f"more {CLIENTS}")
        grown = ours() - before
    assert judge("G18", grown / CLIENTS / 1024).met


def clients(port: int) -> Program:
    return Program([build_program(HERE / "idle_hold.c"), "127.0.0.1", str(port), XMPP_CLIENT])


def wait_until(claim: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.01)
