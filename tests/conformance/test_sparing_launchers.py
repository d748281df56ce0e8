"""Launchers that do little: what they do not costs the parts that need it, and nothing else."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tests.conformance.test_run import conformance

PROGRAM = """
import sys
from xmppd.conformance.launcher import Unsupported, serve
from xmppd.conformance.launchers.xmppd import Xmppd


class Sparing:
    def __init__(self):
        self.whole = Xmppd()

    def close(self):
        self.whole.close()

    def __getattr__(self, name):
        if name not in {able}:
            raise Unsupported("it does as little as it can")
        return getattr(self.whole, name)


serve(Sparing(), sys.stdin, sys.stdout)
"""


def run(folder: Path, *able: str, only: str) -> tuple[int, dict[str, str], str]:
    """The exit status, part -> verdict, and what was said beside it."""
    program = folder / "launcher.py"
    program.write_text(PROGRAM.replace("{able}", repr({"start", "add_account", *able})), encoding="utf-8")
    launch = shlex.join((sys.executable, str(program)))
    done = conformance("run", "--launch", launch, "--areas", "streams,im", "--only", only)
    lines = (line.partition(" ") for line in done.stdout.partition("\n\n")[0].splitlines())
    return done.returncode, {part: verdict for part, _, verdict in lines}, done.stderr


def test_start_and_add_account_are_enough(tmp_path: Path) -> None:
    only = "1-18,1-33,1-34,2-1.3,3-4,3-7.5,3-23,3-24,4,14"
    status, verdicts, said = run(tmp_path, only=only)
    assert (status, said) == (1, "")
    untested = {part: why for part, why in verdicts.items() if why.startswith("could not test")}
    assert {"3-23.2", "3-4.1", "3-24.1", "1-18.a"} <= untested.keys()
    assert not [why for why in untested.values() if "the launcher: it does as little" not in why]
    wrong = [why for part, why in verdicts.items() if part not in untested and why.startswith("not met")]
    assert not wrong
    assert verdicts["3-23.9"].startswith("could not test")
    assert verdicts["4-1.1"] == "met"


def test_a_certificate_that_cannot_be_renewed_is_not_replaced(tmp_path: Path) -> None:
    _, verdicts, _ = run(tmp_path, "use_certificate", only="3-4.1,3-5.1")
    assert verdicts["3-4.1"].startswith("could not test: the launcher:")
    assert verdicts["3-5.1"].startswith("met")


@pytest.mark.parametrize(("able", "part"), [("stop", "1-33.1"), ("kill", "6-23.1")])
def test_who_stops_a_server_has_to_start_it_again(able: str, part: str, tmp_path: Path) -> None:
    status, verdicts, said = run(tmp_path, able, only=f"{part},9")
    assert status == 1
    assert "cannot start it again" in said
    assert "not met" not in str(verdicts)
