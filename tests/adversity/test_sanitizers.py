"""The connection layer under AddressSanitizer and UndefinedBehaviorSanitizer; scripts/asan runs the rest that way too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = (
    "tests/unit/test_tls_rules.py",
    "tests/unit/test_conn_smoke.py",
    "tests/adversity/test_conn_adversity.py",
)


def runtime_found() -> bool:
    """Whether gcc has the sanitizer's runtime: it prints the bare name of a file that it has not."""
    if not shutil.which("gcc"):
        return False
    name = "libasan.so"
    shown = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return shown.stdout.strip() != name


@pytest.mark.timeout(900)
@pytest.mark.skipif("XMPPD_SANITIZED" in os.environ, reason="this is the sanitizer run")
@pytest.mark.skipif(not runtime_found(), reason="no gcc with libasan")
def test_connection_layer_under_sanitizers() -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "XMPPD_EXT": "tls,conn"}
    done = subprocess.run(
        [ROOT / "scripts" / "asan", *TESTS], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-20_000:]
    assert " passed" in done.stdout
