"""The two clocks, in one place, so that tests can hand in others."""

from __future__ import annotations

import datetime
import time


def monotonic_s() -> float:
    """Seconds on a clock that never goes back; for deadlines."""
    return time.monotonic()


def utc_now() -> datetime.datetime:
    """The time of day, aware, in UTC; for what people and XEP-0082 read."""
    return datetime.datetime.now(datetime.UTC)


def xep0082(moment: datetime.datetime) -> str:
    """`moment` as an XEP-0082 DateTime in UTC with milliseconds: 2026-01-31T12:00:00.000Z."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
