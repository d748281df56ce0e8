"""The connection layer against the floor: CPU time of the server per message, measured from outside.

Floor and layer run side by side, one of them busy at a time, in turn; both pinned to one processor, their load
to another one. G13: what gathering the output of one pass saves.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.programs import Program, build_program, missing_tools
from benchmarks.ratio import judge
from benchmarks.subjects import processors
from tests.certs import make_ca, make_cert

HERE = Path(__file__).parent
ROUNDS = 9
PATIENCE_S = 30
MESSAGE_BYTES = 200

pytestmark = [
    pytest.mark.skipif(missing_tools() is not None, reason=f"not measured: {missing_tools()}"),
    pytest.mark.timeout(600),  # the modules may have to be built
]


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_cert(make_ca(), ["localhost"]).write(tmp_path_factory.mktemp("certificate"))


SERVER_CPU, LOAD_CPU = processors()


class Server:
    """An echo server and the load on it."""

    def __init__(
        self, program: Program, mode: str, connections: int, in_flight: int, message_bytes: int
    ) -> None:
        self.program = program
        self.port = program.line()
        arguments = [mode, self.port, str(connections), str(in_flight), str(message_bytes)]
        self.load = Program([build_program(HERE / "echo_load.c"), *arguments], cpu=LOAD_CPU)
        assert self.load.line() == "ready"

    def drive(self, verb: str, count: int) -> None:
        """Let `count` messages come back (`echo`), or come (`take`), all of them."""
        word, came, _ = self.load.ask(f"{verb} {count} {PATIENCE_S}")
        assert (word, int(came)) == ("done", count)

    def echo_cpu_s(self, count: int) -> float:
        before = self.program.cpu_s()
        self.drive("echo", count)
        return self.program.cpu_s() - before

    def close(self) -> None:
        self.load.close()
        self.program.close()


def floor_server(mode: str, certificate: tuple[Path, Path]) -> Program:
    return Program([build_program(HERE / "echo_floor.c"), mode, *certificate], cpu=SERVER_CPU)


def layer_server(mode: str, certificate: tuple[Path, Path], *kind: str) -> Program:
    return Program.python("benchmarks.echo.layer_server", mode, *certificate, *kind, cpu=SERVER_CPU)


def compare(subject: Server, reference: Server, count: int) -> tuple[float, float, float]:
    """Median ratio of the CPU times of interleaved rounds; CPU us per message of subject and reference."""
    for server in (subject, reference):
        server.drive("echo", count)  # warm up
    pairs = []
    for i in range(ROUNDS):
        if i % 2:
            below = reference.echo_cpu_s(count)
            above = subject.echo_cpu_s(count)
        else:
            above = subject.echo_cpu_s(count)
            below = reference.echo_cpu_s(count)
        pairs.append((above, below))
    us = 1e6 / count
    return (
        statistics.median(above / below for above, below in pairs),
        statistics.median(above for above, _ in pairs) * us,
        statistics.median(below for _, below in pairs) * us,
    )


@pytest.mark.parametrize(
    ("mode", "connections", "in_flight", "count", "kind", "goal"),
    [
        ("tls", 100, 1, 10_000, "compiled", "echo"),
        ("tls", 100, 1, 10_000, "python", None),
        ("tls", 10, 10, 30_000, "compiled", None),
        ("tls", 1, 1, 3_000, "compiled", None),
        ("plain", 100, 1, 10_000, "compiled", None),
    ],
)
def test_echo(
    certificate: tuple[Path, Path],
    mode: str,
    connections: int,
    in_flight: int,
    count: int,
    kind: str,
    goal: str | None,
) -> None:
    with ExitStack() as stack:

        def server(program: Program) -> Server:
            started = Server(program, mode, connections, in_flight, MESSAGE_BYTES)
            stack.callback(started.close)
            return started

        ours, floor = server(layer_server(mode, certificate, kind)), server(floor_server(mode, certificate))
        ratio, ours_us, floor_us = compare(ours, floor, count)
    print(
        f"\n{mode} {connections}x{in_flight} {kind}:"
        f" {ours_us:.2f} us, floor {floor_us:.2f} us, ratio {ratio:.2f}"
    )
    if goal:
        assert judge(goal, ratio).met


@pytest.mark.parametrize("mode", ["plain", "tls"])
def test_gathered_output(certificate: tuple[Path, Path], mode: str) -> None:
    """G13: 16 stanzas of 381 bytes to each of 200 connections, in one flush each against 16."""
    stanzas, stanza_bytes, connections, turns = 16, 381, 200, 10
    with ExitStack() as stack:
        server = Server(layer_server(mode, certificate), mode, connections, 1, stanza_bytes)
        stack.callback(server.close)
        server.drive("echo", connections)  # a connection that is made need not be accepted yet; then it is

        def cost_s(verb: str) -> float:
            before = server.program.cpu_s()
            for _ in range(turns):
                server.program.tell(f"{verb} {stanzas} {stanza_bytes}")
                server.drive("take", stanzas * connections)
                assert server.program.line() == "written"
            return server.program.cpu_s() - before

        pairs = [(cost_s("gathered"), cost_s("each")) for _ in range(ROUNDS + 1)][1:]
    us = 1e6 / (turns * connections * stanzas)
    gathered_us, each_us = (statistics.median(column) * us for column in zip(*pairs, strict=True))
    print(f"\n{mode}: {gathered_us:.2f} us per stanza gathered, {each_us:.2f} us in a write each")
    assert judge(f"G13-{mode}", statistics.median(a / b for a, b in pairs)).met
