"""scripts/run: the folder .run/ from one start to the next."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts import run_localhost
from scripts.local_server import LocalServer, endpoint

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A .run/ of its own."""
    monkeypatch.setattr(run_localhost, "STATE", tmp_path / "run")
    monkeypatch.setattr(run_localhost, "ACCOUNTS", tmp_path / "run" / "accounts")
    monkeypatch.setattr(run_localhost, "loopback_hosts", lambda: ["127.0.0.1"])
    return tmp_path / "run"


def test_what_is_missing_is_made_again(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Accounts, CA and what somebody wrote into the configuration stay."""
    server = run_localhost.prepare()
    passwords = run_localhost.accounts(server)
    assert capsys.readouterr().err == ""
    ca = server.ca.read_bytes()
    for missing in ("xmppd.toml", "tls/localhost.key", "tls/localhost.pem"):
        (state / missing).unlink()
        if missing != "xmppd.toml":
            server.config.write_text(server.config.read_text() + "# mine\n")
        server = run_localhost.prepare()
        assert f"made again, for it was missing: {state / missing}" in capsys.readouterr().err
        assert server.ca.read_bytes() == ca
        assert run_localhost.accounts(server) == passwords
        assert ("# mine" in server.config.read_text()) is (missing != "xmppd.toml")
        server.xmppd("check")


def test_a_damaged_file_of_accounts(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who can be read keeps the password, whose cannot gets another, and what stood there is kept."""
    server = run_localhost.prepare()
    before = run_localhost.accounts(server)
    alice, bob = run_localhost.PEOPLE
    damaged = f"{alice}\t{before[alice]}\ncarol@localhost\tof my own\n".encode() + b"bob@local\xff\n\n"
    (state / "accounts").write_bytes(damaged)
    after = run_localhost.accounts(server)
    assert "accounts was damaged" in capsys.readouterr().err
    assert after[alice] == before[alice]
    assert after[bob] != before[bob]
    assert (state / "accounts.damaged").read_bytes() == damaged
    lines = (state / "accounts").read_text().splitlines()
    assert set(lines) == {f"{alice}\t{after[alice]}", f"{bob}\t{after[bob]}", "carol@localhost\tof my own"}
    assert run_localhost.accounts(server) == after
    assert capsys.readouterr().err == ""


def test_a_configuration_that_is_no_text(state: Path) -> None:
    run_localhost.prepare().config.write_bytes(b"\xff")
    with pytest.raises(run_localhost.ServerError, match="is not UTF-8; remove it and another is made"):
        run_localhost.prepare()


def test_a_check_that_nobody_can_read_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scripts.check_session"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    said = "scripts/run --check: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)
