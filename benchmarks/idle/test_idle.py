"""Memory of an idle TLS connection of the connection layer alone: the room that is left for everything above it.

The goal `idle` speaks of the whole server, with bound and present sessions; see hold.py.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from benchmarks.echo.test_echo import floor_server, layer_server
from benchmarks.idle.hold import TLS_ECHO, growth_kib
from benchmarks.programs import missing_tools
from benchmarks.ratio import GOALS
from tests.certs import make_ca, make_cert

pytestmark = [
    pytest.mark.skipif(missing_tools() is not None, reason=f"not measured: {missing_tools()}"),
    pytest.mark.timeout(600),
]


def test_idle_connection_of_the_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL keeps the keys of the exchange while a connection lives, 3.4 KiB with P-256; the layer does not."""
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    certificate = make_cert(make_ca(), ["localhost"]).write(tmp_path)
    script = tmp_path / "script"
    layer = {}
    for groups in "X25519", "P-256":
        script.write_text(f"groups {groups}\n" + TLS_ECHO.read_text(encoding="ascii"), encoding="ascii")
        found = []
        for start in floor_server, layer_server:
            with start("tls", certificate) as program:
                found += growth_kib(program.pid, int(program.line()), script)
        floor, layer[groups] = found
        print(f"\nKiB for an idle TLS connection, {groups}: {layer[groups]:.1f}, OpenSSL alone {floor:.1f}")
        assert layer[groups] <= floor + 1
    assert layer["P-256"] <= layer["X25519"] + 2
    if ssl.OPENSSL_VERSION_INFO[:2] == (3, 0):  # 3.5 needs 7.5 KiB more
        assert max(layer.values()) <= GOALS["idle"]["must"] - 2  # what stands above has 2 KiB (G18)
