"""No check passes a server that breaks what the check is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.broken import FAULTS, PARTS, BrokenServer
from xmppd.conformance.checks import section_01, section_04
from xmppd.conformance.requirements import select
from xmppd.conformance.runner import Runner
from xmppd.conformance.verdict import Outcome, Verdict


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less waiting, and fewer samples, than against a real server."""
    monkeypatch.setattr(section_01, "IDS", 200)
    monkeypatch.setattr(section_04, "BINDINGS", 10)


def verdicts(server: BrokenServer, *parts: str) -> dict[str, Verdict]:
    selection = select(["streams"], parts)
    return {verdict.part: verdict for verdict in Runner(server.subject, selection).run()}


def test_without_a_fault_all_is_met(tmp_path: Path) -> None:
    with BrokenServer(tmp_path) as server:
        found = verdicts(server, *PARTS)
    wrong = [str(verdict) for verdict in found.values() if verdict.outcome is not Outcome.MET]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("fault", "part"), FAULTS.items())
def test_the_fault_is_seen(fault: str, part: str, tmp_path: Path) -> None:
    with BrokenServer(tmp_path, fault) as server:
        verdict = verdicts(server, part)[part]
    assert verdict.outcome is Outcome.NOT_MET, str(verdict)
    assert verdict.why
    assert verdict.evidence
