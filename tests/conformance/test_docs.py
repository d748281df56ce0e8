"""docs/conformance.md: its commands do what it says, in the order in which they stand."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

WHOLE_PAGE_S = 480  # some 30 on an idle machine; the limit is for commands that hang
pytestmark = pytest.mark.timeout(WHOLE_PAGE_S + 20)

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914


def blocks(language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def with_ports_of_its_own() -> None:
    """Move into a network namespace, where that is allowed: elsewhere the ports of the page have to be free."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", 1))


def test_the_page_from_top_to_bottom(tmp_path: Path) -> None:
    for block in blocks("python"):
        name = block.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(block, encoding="utf-8")
    script = "\n".join(["trap 'kill $(jobs -p) 2>/dev/null || true' EXIT", *blocks("sh")])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        preexec_fn=with_ports_of_its_own,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WHOLE_PAGE_S,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    first = said[: said.index("\nall: ")]
    assert all("not permitted" in line for line in first.splitlines() if "could not test:" in line)
    verdicts = (tmp_path / "verdicts").read_text(encoding="utf-8")
    assert " not met" not in verdicts
    untested = [line for line in verdicts.splitlines() if "could not test:" in line]
    assert untested
    assert all("it needs a launcher" in line or "it needs to capture" in line for line in untested)
    assert (tmp_path / "letter.html").stat().st_size > 100_000
    assert "signed.json: unchanged, and signed by CN=Our Laboratory at " in said
    assert "CMS Verification successful" in said
    by_launcher = said[said.index("its sums are right") :]
    assert "3-23.2 met" in by_launcher
    assert "1-18.a could not test: the launcher: it cannot change" in by_launcher
    assert "not met:" not in said


@pytest.mark.parametrize("word", ["run", "setup", "verify"])
def test_the_page_names_every_word(word: str) -> None:
    assert f"xmppd conformance {word}" in "".join(blocks("sh"))
