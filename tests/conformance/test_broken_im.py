"""No check of instant messaging passes a server that breaks what the check is for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance.broken_im import FAULTS, Fault, Spoiled
from xmppd.conformance import people
from xmppd.conformance.check import Check, modules, registered
from xmppd.conformance.requirements import select
from xmppd.conformance.runner import Runner
from xmppd.conformance.subject import Subject, launched
from xmppd.conformance.verdict import Outcome, Verdict

CHECKS = {each.name: each for (_, area), checks in registered().items() if area == "im" for each in checks}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    launcher = Spoiled(tmp_path_factory.mktemp("relay"))
    try:
        yield launched(launcher, "spoiled")
    finally:
        launcher.close()


def verdict(subject: Subject, check: Check, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """Of one check; what brings people into the state that it begins with is not spoiled."""
    launcher = subject.launcher
    assert isinstance(launcher, Spoiled)

    def unspoiled(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            launcher.break_with(Fault(()))
            found = function(*given)
            launcher.break_with(fault)
            return found

        return call

    for module in (sys.modules[name] for name in modules()):
        for function in (people.strangers, people.reach):
            if getattr(module, function.__name__, None) is function:
                monkeypatch.setattr(module, function.__name__, unspoiled(function))
    launcher.break_with(fault)
    part = check.parts[0]
    alone = Check(check.parts, check.area, check.script)
    return next(Runner(subject, select(["im"], [part]), checks={(part, "im"): (alone,)}).run())


@pytest.mark.parametrize(
    "name", ["a request waits for the contact", "an update is broadcast", "chat is delivered or kept"]
)
def test_without_a_fault_all_is_met(subject: Subject, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdict(subject, CHECKS[name], Fault(()), monkeypatch)
    assert found.outcome is Outcome.MET, str(found)


@pytest.mark.parametrize(
    ("fault", "name"), [(fault, name) for fault in FAULTS for name in FAULTS[fault].checks]
)
def test_the_fault_is_seen(subject: Subject, fault: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "patience_s", 1.0)
    found = verdict(subject, CHECKS[name], FAULTS[fault], monkeypatch)
    assert found.outcome is Outcome.NOT_MET, str(found)
    assert found.evidence


def test_every_check_can_fail() -> None:
    assert {name for fault in FAULTS.values() for name in fault.checks} == CHECKS.keys()
