"""scripts/run: the folder .run/ from one start to the next."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from scripts import run_localhost
from scripts.local_server import LocalServer, endpoint


def addresses(server: LocalServer) -> list[str]:
    return [each["address"] for each in tomllib.loads(server.config.read_text())["listeners"]]


def test_the_listeners_are_those_of_this_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another port is free and IPv6 is switched off or on; what somebody wrote into the file stays."""
    monkeypatch.setattr(run_localhost, "STATE", tmp_path / "run")
    ports = iter(range(15222, 15300))
    monkeypatch.setattr(run_localhost, "free_port", lambda hosts, first: next(ports))
    own = '[[listeners]]\nkind = "c2s"\naddress = "127.0.0.1:5223"\ndirect_tls = true\n'
    for number, hosts in enumerate((["127.0.0.1", "::1"], ["127.0.0.1"], ["127.0.0.1", "::1"])):
        monkeypatch.setattr(run_localhost, "loopback_hosts", lambda hosts=hosts: hosts)
        server = run_localhost.prepare()
        expected = [endpoint(host, server.port) for host in hosts]
        assert addresses(server) == expected + (["127.0.0.1:5223"] if number else [])
        if not number:
            server.config.write_text(server.config.read_text() + "\n" + own)
