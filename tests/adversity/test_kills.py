"""What was accepted or answered before a `kill -9` is there after it (docs/durability.md); scripts/soak does it for long."""

from __future__ import annotations

import random
import time

import pytest

from tests.adversity.kills import Trial


@pytest.mark.timeout(300)  # a busy machine takes what it takes for each life
def test_nothing_is_lost_when_the_server_is_killed(tmp_path):
    seed = random.randrange(2**32)  # noqa: S311
    with Trial(tmp_path, seed) as trial:
        until = time.monotonic() + 30
        while trial.figures.kills < 40 and time.monotonic() < until:
            trial.life()
        figures = trial.account()
    assert not figures.wrong, f"seed {seed}\n{figures}\n{trial.site.log[-3000:]}"
    # there was something to lose
    assert figures.accepted, figures
    assert figures.roster_changes, figures
