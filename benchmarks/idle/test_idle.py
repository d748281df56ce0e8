"""Memory of an idle TLS connection of the connection layer alone: the room that is left for everything above it.

The goal `idle` speaks of the whole server, with bound and present sessions; see hold.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.echo.test_echo import floor_server, layer_server
from benchmarks.idle.hold import TLS_ECHO, growth_kib
from benchmarks.programs import missing_tools, p256_certificate
from benchmarks.ratio import GOALS

pytestmark = [
    pytest.mark.skipif(missing_tools() is not None, reason=f"not measured: {missing_tools()}"),
    pytest.mark.timeout(600),
]


def test_idle_connection_of_the_layer(tmp_path: Path) -> None:
    certificate = p256_certificate(tmp_path)
    found = {}
    for name, start in ("floor", floor_server), ("layer", layer_server):
        with start("tls", certificate) as program:
            port = int(program.line())
            [found[name]] = growth_kib(program.pid, port, TLS_ECHO)
    print(
        f"\nKiB for each idle TLS connection: layer {found['layer']:.1f}, OpenSSL alone {found['floor']:.1f}"
    )
    assert found["layer"] <= found["floor"] + 1.5
    assert found["layer"] <= GOALS["idle"]["must"]
