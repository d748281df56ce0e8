"""The tester against servers of other makers: what it says of them is known, with the reason for each fault it finds.

By default these are Debian 13's, which `scripts/peers` unpacks. For those of Debian 12:

    scripts/peers bookworm
    XMPPD_PEERS=$PWD/.cache/peers/bookworm/enter scripts/test tests/conformance/test_peers.py
"""

from __future__ import annotations

import os
import subprocess
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.test_run import out_of_reach
from xmppd.conformance.check import Check, registered
from xmppd.conformance.checks import section_01, section_06
from xmppd.conformance.launchers import launcher
from xmppd.conformance.launchers.process import has_ipv6
from xmppd.conformance.requirements import catalogue, select
from xmppd.conformance.runner import Runner
from xmppd.conformance.subject import PATIENCE_S, Subject, launched
from xmppd.conformance.verdict import Outcome, Verdict

pytestmark = pytest.mark.timeout(600)  # the first test may fetch packages, the last one sums up all rows

EXPECTED = Path(__file__).with_name("expected")
IMPATIENCE_S = 2.0  # they are wrong in much that is waited for
AREAS = ("streams", "im")
# each takes about half a minute; 10 sums up rows of the others, and so comes last
SLICES = ("1-?,1-1?", "1-2?", "1-3?", "2,3", "4,5", "6", "7", "8,9", "12,13,14", "10")


class Peer:
    """One server of another maker, and what the tester has said of it."""

    def __init__(self, subject: Subject) -> None:
        self.subject = replace(subject, patience_s=IMPATIENCE_S)
        self.done: dict[Check, Verdict] = {}
        self.name = f"{subject.system.lower()}-{'.'.join(subject.version.split('.')[:2])}"

    @property
    def expected(self) -> dict[str, tuple[str, str]]:
        """By part: the outcome, and why."""
        path = EXPECTED / f"{self.name}.toml"
        if not path.exists():
            pytest.fail(f"nobody has written down yet what is expected of {self.name}: {path} is missing")
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return {part: (outcome, why) for outcome, parts in tables.items() for part, why in parts.items()}

    def verdicts(self, only: str) -> list[Verdict]:
        """What is said of these parts."""
        selection = select(AREAS, only.split(","))
        return list(Runner(self.subject, selection, done=self.done).run())

    def surprise(self, verdict: Verdict) -> str | None:
        """What is not as expected."""
        outcome, _ = self.expected.get(verdict.part, (Outcome.MET, ""))
        if verdict.outcome in (outcome, Outcome.NOT_APPLICABLE):
            return None
        return f"{verdict}, where {outcome!s} is expected"

    def again(self, verdict: Verdict) -> Verdict:
        """What is said of a part if it is tried once more, patiently: a busy machine can make a server late."""
        for area in verdict.judged:
            for check in registered()[verdict.part, area]:
                self.done.pop(check, None)
        self.subject.patience_s = PATIENCE_S
        [once_more] = self.verdicts(verdict.part)
        self.subject.patience_s = IMPATIENCE_S
        return once_more


@pytest.fixture(scope="module", autouse=True)
def _peers() -> None:
    """The servers are there; where no mirror of Debian can be reached, or nothing unpacked may run, that is said."""
    if "XMPPD_PEERS" not in os.environ:
        unpack = Path(__file__).parents[2] / "scripts" / "peers"
        done = subprocess.run([unpack], capture_output=True, text=True, timeout=500, check=False)
        if done.returncode != 0:
            pytest.skip(f"not tried against servers of other makers: scripts/peers: {done.stderr[-500:]}")


@pytest.fixture(scope="module", params=["prosody", "ejabberd"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    with ExitStack() as stack:
        started = launcher(request.param)
        stack.callback(started.close)
        yield Peer(launched(started, request.param))


@pytest.mark.parametrize("only", SLICES)
def test_the_verdicts_are_as_expected(peer: Peer, only: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section_01, "IDS", 1000)  # which shows the same as ten times as many
    monkeypatch.setattr(section_06, "CROWD", 200)
    hidden = out_of_reach()
    if not has_ipv6():
        hidden |= dict.fromkeys(("13-1.2", "14-1.2", "14-1.3"), "there is no ::1 here")
    wrong = []
    for verdict in peer.verdicts(only):
        assert "the check itself failed" not in verdict.why, str(verdict)
        if verdict.part in hidden:
            warnings.warn(f"{verdict.part} could not be tested here: {hidden[verdict.part]}", stacklevel=1)
        elif peer.surprise(verdict) and (surprise := peer.surprise(peer.again(verdict))):
            wrong.append(surprise)
    assert not wrong, f"{peer.name}:\n" + "\n".join(wrong)


def test_as_a_black_box_it_is_found_no_worse(peer: Peer) -> None:
    """What needs a launcher says so; nothing is not met because there is none."""
    known = peer.subject
    subject = Subject(known.host, known.port, known.domains, known.ca_file, known.accounts)
    for verdict in Runner(subject, select(["streams"], ["1-1?", "2", "3", "4"])).run():
        if verdict.outcome is Outcome.NOT_MET:
            assert peer.surprise(verdict) is None, peer.name
        if verdict.outcome is Outcome.COULD_NOT_TEST:
            assert "it needs " in verdict.why


@pytest.mark.parametrize("path", sorted(EXPECTED.glob("*.toml")), ids=lambda path: path.stem)
def test_what_is_expected_has_reasons(path: Path) -> None:
    names = {part.name for part in catalogue().parts if {*AREAS} & {*part.needs}}
    for outcome, parts in tomllib.loads(path.read_text(encoding="utf-8")).items():
        assert outcome in (Outcome.NOT_MET, Outcome.COULD_NOT_TEST)
        assert parts.keys() <= names
        assert all(len(why) > 10 for why in parts.values())
