"""Every scenario runs against this server at a tiny size: what the suite needs works, no delivery is lost or doubled.

Nothing here says how fast it is; the suite itself does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.programs import missing_tools
from benchmarks.rounds import run, scenarios_of
from benchmarks.scenarios import SMOKE
from benchmarks.subjects.xmppd import Xmppd

pytestmark = pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))


def test_every_scenario_runs_and_every_delivery_counts(tmp_path: Path) -> None:
    scenarios = scenarios_of(SMOKE, soak=True)
    result = run(scenarios, [Xmppd], folder=tmp_path, rounds=1, told=lambda _what, _worth_s: None)
    assert not result.failures
    assert [each.name for each in result.figures] == [
        name for scenario in scenarios for name in scenario.figures
    ]
    for figure in result.figures:
        assert not figure.faults, figure.name
        assert figure.operations, figure.name
        assert figure.cpu_us > 0, figure.name
