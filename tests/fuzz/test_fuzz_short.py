"""A short run of each fuzzer, from the kept corpus: it must build, and find nothing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(900)  # the first time it may have to install clang
@pytest.mark.parametrize(("target", "seconds"), [("xmlscan", 15), ("jid", 5)])
def test_fuzz(target: str, seconds: int) -> None:
    run = subprocess.run(
        ["nice", ROOT / "scripts/fuzz", target, "--seconds", str(seconds)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    executed = re.search(r"stat::number_of_executed_units: (\d+)", run.stderr)
    assert executed, run.stderr[-4000:]
    assert int(executed[1]) > 1000
