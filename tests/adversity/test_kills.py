"""What was accepted or answered before a `kill -9` is there after it (docs/durability.md); scripts/soak does it for long."""

from __future__ import annotations

import random

from tests.adversity.kills import Trial


def test_nothing_is_lost_when_the_server_is_killed(tmp_path):
    seed = random.randrange(2**32)  # noqa: S311
    trial = Trial(tmp_path, seed)
    for _ in range(40):
        trial.life()
    figures = trial.account()
    assert not figures.wrong, f"seed {seed}\n{figures}\n{trial.site.log[-3000:]}"
    # there was something to lose
    assert figures.accepted > 500, figures
    assert figures.roster_changes > 100, figures
    assert figures.doubles, figures
