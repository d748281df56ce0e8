"""The admin socket, both ends over a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xmppd.ops import admin
from xmppd.ops.admin import AdminClient, AdminSocket, CommandError, NoServer, Params, Progress


async def _echo(params: Params, progress: Progress) -> Any:
    return params


async def _count(params: Params, progress: Progress) -> int:
    for done in range(1, 4):
        progress(done, 3)
        await asyncio.sleep(0)
    return 3


async def _refuse(params: Params, progress: Progress) -> None:
    raise CommandError("not today")


async def _break(params: Params, progress: Progress) -> None:
    raise RuntimeError("secret detail")


async def _hang(params: Params, progress: Progress) -> None:
    await asyncio.Event().wait()


COMMANDS: dict[str, admin.Command] = {
    "echo": _echo,
    "count": _count,
    "refuse": _refuse,
    "break": _break,
    "hang": _hang,
}


def served(tmp_path: Path, work: Callable[[Path], Any], *, path: Path | None = None, **settings: Any) -> Any:
    """The result of the blocking `work(path)` in a thread, while the socket is served."""
    where = path or tmp_path / "admin.sock"

    async def main() -> Any:
        served = AdminSocket(where, COMMANDS, **settings)
        await served.open()
        try:
            return await asyncio.to_thread(work, where)
        finally:
            await served.close()

    return asyncio.run(main())


def test_commands_and_answers(tmp_path: Path) -> None:
    def work(path: Path) -> None:
        with AdminClient.connect(path) as client:
            assert client.call("echo", {"a": [1, "ü"]}) == {"a": [1, "ü"]}
            seen: list[tuple[int, int]] = []
            assert client.call("count", on_progress=lambda done, total: seen.append((done, total))) == 3
            assert seen == [(1, 3), (2, 3), (3, 3)]
            with pytest.raises(CommandError, match=r"^not today$"):
                client.call("refuse")
            with pytest.raises(CommandError, match=r"the server's log says why"):
                client.call("break")
            with pytest.raises(CommandError, match='unknown command "no"; known are break, count, echo'):
                client.call("no")
            assert client.call("echo") == {}

    served(tmp_path, work)


def test_only_the_owner_may_open_it(tmp_path: Path) -> None:
    mode = served(tmp_path, lambda path: stat.S_IMODE(path.stat().st_mode))
    assert mode == 0o600
    assert not (tmp_path / "admin.sock").exists()


def test_other_users_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel says it (SO_PEERCRED): whoever got past the file's mode is still not answered."""

    class Strangers:
        size = admin._UCRED.size

        def unpack(self, data: bytes) -> tuple[int, int, int]:
            pid, uid, gid = admin.struct.unpack("3i", data)
            return pid, uid + 4711, gid

    monkeypatch.setattr(admin, "_UCRED", Strangers())

    def work(path: Path) -> None:
        with AdminClient.connect(path) as client, pytest.raises(CommandError, match="may not steer"):
            client.call("echo")

    served(tmp_path, work)


def test_a_line_too_long(tmp_path: Path) -> None:
    def work(path: Path) -> None:
        too_long = {"x": "y" * 100_000}
        with (
            AdminClient.connect(path) as client,
            pytest.raises(CommandError, match=r"at most 4096|went away"),
        ):
            client.call("echo", too_long)
        with AdminClient.connect(path) as client:
            assert client.call("echo") == {}

    served(tmp_path, work, line_bytes=4096)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"null\n",
        b"{}\n",
        b"[" * 3000 + b"\n",
        b'{"command": 3}\n',
        b'{"command":"echo","params":[1]}\n',
        b"\xff\xfe\n",
    ],
)
def test_rubbish_is_answered(tmp_path: Path, line: bytes) -> None:
    def work(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(10)
            raw.connect(str(path))
            raw.sendall(line)
            answer = raw.makefile("rb").read()
            assert json.loads(answer)["error"]["text"] == "that is no command"

    served(tmp_path, work)


def test_too_many_at_a_time(tmp_path: Path) -> None:
    def work(path: Path) -> None:
        clients = [AdminClient.connect(path) for _ in range(2)]
        assert [client.call("echo") for client in clients] == [{}, {}]
        with AdminClient.connect(path) as third, pytest.raises(CommandError, match="too many commands"):
            third.call("echo")
        for client in clients:
            client.close()

    served(tmp_path, work, connections=2)


def test_silence(tmp_path: Path) -> None:
    def work(path: Path) -> None:
        with (
            AdminClient.connect(path) as client,
            pytest.raises(CommandError, match=r"not answered for 0\.1 seconds"),
        ):
            client.call("hang", timeout_s=0.1)

    served(tmp_path, work)


def test_idle_connections_end(tmp_path: Path) -> None:
    def work(path: Path) -> None:
        with AdminClient.connect(path) as client:
            assert client.wait_closed(10)

    served(tmp_path, work, idle_timeout_s=0.05)


def test_a_server_that_goes_away(tmp_path: Path) -> None:
    async def main() -> str:
        socket_served = AdminSocket(tmp_path / "admin.sock", COMMANDS)
        await socket_served.open()
        connected = threading.Event()

        def work() -> str:
            with AdminClient.connect(tmp_path / "admin.sock") as client:
                client.call("echo")
                connected.set()
                with pytest.raises(CommandError) as caught:
                    client.call("hang")
                return str(caught.value)

        waiting = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.to_thread(connected.wait, 10)
        await socket_served.close()
        return await waiting

    assert asyncio.run(main()) == "the server went away before it answered"


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(NoServer, match="no server answers"):
        AdminClient.connect(tmp_path / "admin.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "admin.sock"))
    with pytest.raises(NoServer, match="no server answers"):
        AdminClient.connect(tmp_path / "admin.sock")
    # what a dead server left is no obstacle
    assert served(tmp_path, lambda path: AdminClient.connect(path).call("echo")) == {}


def test_two_servers_do_not_share_a_socket(tmp_path: Path) -> None:
    def work(path: Path) -> None:
        with pytest.raises(OSError, match="another server has it"):
            asyncio.run(AdminSocket(path, COMMANDS).open())
        assert AdminClient.connect(path).call("echo") == {}

    served(tmp_path, work)


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "admin.sock").write_text("precious")
    with pytest.raises(OSError, match="is no socket"):
        asyncio.run(AdminSocket(tmp_path / "admin.sock", COMMANDS).open())
    assert (tmp_path / "admin.sock").read_text() == "precious"


def test_long_paths(tmp_path: Path) -> None:
    """Longer than the 107 bytes a socket address holds."""
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    assert (
        served(tmp_path, lambda path: AdminClient.connect(path).call("echo"), path=folder / "admin.sock")
        == {}
    )


def test_with_uvloop(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> Any:
        async with _Served(tmp_path / "admin.sock") as path:
            return await asyncio.to_thread(lambda: AdminClient.connect(path).call("echo", {"x": 1}))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == {"x": 1}


class _Served:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = AdminSocket(path, COMMANDS)

    async def __aenter__(self) -> Path:
        await self.socket.open()
        return self.path

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()


def test_nobody_waits_for_the_answer_any_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ctrl-C on the other end: what tells of its progress ends there, and the log has no fault of the server's."""
    uvloop = pytest.importorskip("uvloop")
    told: list[int] = []

    async def main() -> None:
        gone, ended = asyncio.Event(), asyncio.Event()

        async def work(params: Params, progress: Progress) -> None:
            try:
                await gone.wait()
                for done in range(10_000):
                    progress(done, 10_000)
                    told.append(done)
                    await asyncio.sleep(0.001)
            finally:
                ended.set()

        served = AdminSocket(tmp_path / "admin.sock", {"work": work})
        await served.open()
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "admin.sock"))
        writer.write(b'{"id": 1, "command": "work"}\n')
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        gone.set()
        await asyncio.wait_for(ended.wait(), 60)
        await served.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    assert len(told) < 10_000
    assert not caplog.records
