"""The tester against this server, and as a command."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tests.conformance.broken import ACCOUNTS, DOMAIN, BrokenServer
from xmppd.conformance.ipv6_only import IPv6OnlyHost
from xmppd.conformance.launcher import ChildLauncher, LauncherFailed, Unsupported
from xmppd.conformance.packets import Capture
from xmppd.conformance.verdict import CouldNotTest

WHOLE_RUN_S = 480  # some 20 on an idle machine; the limit is for runs that hang
pytestmark = pytest.mark.timeout(WHOLE_RUN_S + 20)

LAUNCHER = f"{sys.executable} -m xmppd.conformance.launchers.xmppd"


def conformance(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xmppd", "conformance", *words],
        capture_output=True,
        text=True,
        timeout=WHOLE_RUN_S,
        check=False,
    )


def run_to_the_end(folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], dict[str, set[str]]]:
    """A run against this server: what it printed, and the parts by outcome."""
    written = folder / "letter.json"
    done = conformance(
        "run", "--launch", "xmppd", *words,
        "--report", str(written), "--report", str(folder / "letter.html"), "--transcript", str(folder / "all"),
    )  # fmt: skip
    parts = [
        part
        for row in json.loads(written.read_text(encoding="utf-8"))["requirements"]
        for part in row["parts"]
    ]
    assert all(part["evidence"] for part in parts if part["outcome"] == "met")
    by_outcome: dict[str, set[str]] = {}
    for part in parts:
        by_outcome.setdefault(part["outcome"], set()).add(part["id"])
    return done, by_outcome


def test_this_server_meets_what_is_asked_of_instant_messaging(tmp_path: Path) -> None:
    done, by_outcome = run_to_the_end(tmp_path, "--areas", "im")
    assert by_outcome.keys() == {"met", "not applicable"}, done.stdout
    assert len(by_outcome["met"]) == 164, done.stdout
    assert done.returncode == 0


def out_of_reach() -> dict[str, str]:
    """The parts that cannot be tested on this machine, by this user, and why."""
    found = {}
    try:
        Capture(socket.AF_INET, 1).close()
    except CouldNotTest as error:
        found |= dict.fromkeys(("13-1.1", "13-1.2", "13-1.4"), error.why)
    try:
        IPv6OnlyHost("cat").close()
    except CouldNotTest as error:
        found["14-1.1"] = error.why
    return found


def test_this_server_meets_what_is_asked_of_streams(tmp_path: Path) -> None:
    done, by_outcome = run_to_the_end(tmp_path, "--areas", "streams")
    untested = out_of_reach()
    assert by_outcome.get("could not test", set()) == untested.keys(), done.stdout
    assert by_outcome.keys() <= {"met", "not applicable", "could not test"}, done.stdout
    assert len(by_outcome["met"]) == 193 - len(untested), done.stdout
    assert done.returncode == bool(untested)
    for part, why in untested.items():
        warnings.warn(f"{part} could not be tested here: {why}", stacklevel=1)
        assert f"{part} could not test: {why}" in done.stdout
    assert len(list((tmp_path / "all").iterdir())) > 150


def test_a_black_box(tmp_path: Path) -> None:
    with BrokenServer(tmp_path) as server:
        accounts = tmp_path / "accounts"
        accounts.write_text("".join(f"{each.jid}:{each.password}\n" for each in ACCOUNTS), encoding="utf-8")
        given = ["--host", "127.0.0.1", "--port", str(server.subject.port), "--domain", DOMAIN]
        given += ["--ca", str(server.pem), "--accounts", str(accounts), "--areas", "streams"]
        good = conformance("run", *given, "--only", "1-7.1,3-5.1")
        assert good.returncode == 0, good.stdout + good.stderr
        assert "3-5.1 met\n" in good.stdout
        bad = conformance("run", *given, "--only", "3-24.1")
        assert bad.returncode == 1
        assert "3-24.1 could not test: it needs a launcher" in bad.stdout


def test_a_launcher_as_a_program() -> None:
    launcher = ChildLauncher(LAUNCHER)
    try:
        facts = launcher.start([DOMAIN], {"sasl-retries": 3})
        assert facts.system == "xmppd"
        assert launcher.change({}).port == facts.port
        assert launcher.refusal({"sasl-retries": 9})
        assert launcher.refusal({"sasl-retries": 2}) is None
        with pytest.raises(Unsupported, match="no setting"):
            launcher.change({"unheard-of": 1})
        with pytest.raises(LauncherFailed):
            launcher.add_account("@", "x")
    finally:
        launcher.close()


def test_a_launcher_that_cannot_be_started() -> None:
    with pytest.raises(LauncherFailed, match="cannot be started"):
        ChildLauncher("/nonexistent/launcher")
    launcher = ChildLauncher("true")
    with pytest.raises(LauncherFailed):
        launcher.start([DOMAIN], {})
    launcher.close()
