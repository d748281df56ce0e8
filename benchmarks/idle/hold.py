"""How much a server grows for each connection that is held and says nothing."""

from __future__ import annotations

from pathlib import Path

from benchmarks.programs import Program, build_program, resident_kib

HERE = Path(__file__).parent
# a client of xmppd that logs in as load<n>@localhost with the password "secret", binds, asks for its roster, is present
XMPP_CLIENT = HERE / "xmpp_client.txt"
# nothing but a handshake and one byte back from an echo server
TLS_ECHO = HERE / "tls_echo.txt"


def growth_kib(
    pid: int,
    port: int,
    script: Path,
    *,
    address: str = "127.0.0.1",
    warm_up: int = 50,
    steps: tuple[int, ...] = (1000,),
) -> list[float]:
    """KiB for each connection, by which process `pid` has grown after so many of them beyond `warm_up`.

    The warm-up makes the process touch its code and caches once. steps (1000, 5000) gives the mean of the first
    thousand and of five thousand. The server needs accounts for max(steps) + warm_up clients if `script` logs in.
    """
    with Program([build_program(HERE / "idle_hold.c"), address, str(port), script]) as client:

        def hold(more: int) -> int:
            word, *_ = client.ask(f"more {more}")
            assert word == "held"
            return resident_kib(pid)

        start, held, found = hold(warm_up), 0, []
        for step in steps:
            found.append((hold(step - held) - start) / step)
            held = step
        return found
