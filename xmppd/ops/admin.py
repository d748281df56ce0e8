"""The admin socket: how the command line speaks to the running server.

One JSON object a line. A request is `{"id": 1, "command": "user.list", "params": {...}}`; the answer is any
number of `{"id": 1, "progress": [done, total]}` and one `{"id": 1, "result": ...}` or
`{"id": 1, "error": {"text": ...}}`. Commands of one connection run one after the other. The socket has mode
0600, and only the server's own user and root are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from xmppd.events import fields

log = logging.getLogger("xmppd.ops")

# (rows done, rows in all)
Progress = Callable[[int, int], None]
Params = dict[str, Any]
Command = Callable[[Params, Progress], Awaitable[Any]]

_UCRED: Final = struct.Struct("3i")  # pid, uid, gid (unix(7))
_SUN_PATH: Final = 107  # longest path in a socket address
# unread answers after which a command waits for its reader
_WRITE_HIGH: Final = 1 << 16


class CommandError(Exception):
    """A command cannot be done; the text is one sentence for the person who asked."""


class NoServer(Exception):
    """No server answers on the socket; the text says what to do."""


@contextlib.contextmanager
def _bindable(path: Path) -> Iterator[str]:
    """`path` as it fits into a socket address, however long it is."""
    if len(os.fsencode(path)) <= _SUN_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _connect(path: Path, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(timeout_s)
        with _bindable(path) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return connection


def open_socket(path: Path) -> socket.socket:
    """A bound socket at `path`, mode 0600, not listening yet; one left behind by a dead server is replaced.

    Raises OSError, with EADDRINUSE if a server answers there.
    """
    try:
        _connect(path, 1.0).close()
    except (FileNotFoundError, ConnectionRefusedError):
        pass
    except (TimeoutError, BlockingIOError):
        raise OSError(errno.EADDRINUSE, "another server has it") from None
    else:
        raise OSError(errno.EADDRINUSE, "another server has it")
    if path.is_socket():
        path.unlink(missing_ok=True)
    elif path.exists():
        raise FileExistsError(errno.EEXIST, "it is there already and is no socket")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        with _bindable(path) as name:
            bound.bind(name)
        # before listen(): nobody can connect to it with another mode
        path.chmod(0o600)
    except BaseException:
        bound.close()
        raise
    return bound


def unusable(path: Path, *, made: Path) -> str | None:
    """Why `open_socket` could not open one at `path` when no server answers there; None if it could.

    The folder `made` need not be there yet. Nothing is made or changed.
    """
    if os.path.lexists(path):
        return None if path.is_socket() else "it is there already and is no socket"
    # os.path asks where Path raises: a name too long, a folder above that this user may not enter
    folder = path.parent
    if not os.path.isdir(folder):
        return None if folder == made else f"{folder} is no directory"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"this user may not write to {folder}"
    try:
        with _bindable(path) as name:
            longest = _SUN_PATH - len(os.fsencode(name)) + len(os.fsencode(path.name))
    except OSError as error:
        return error.strerror
    if len(os.fsencode(path.name)) > longest:
        return f"its name is longer than {longest} bytes"
    return None


class AdminSocket:
    """Answers commands. `commands` maps a name ("user.add") to a coroutine function of (params, progress)."""

    def __init__(
        self,
        path: Path,
        commands: Mapping[str, Command],
        *,
        connections: int = 16,
        line_bytes: int = 4 << 20,
        idle_timeout_s: float = 600.0,
    ) -> None:
        self.path = path
        self._commands = commands
        self._connections = connections
        self._line_bytes = line_bytes
        self._idle_timeout_s = idle_timeout_s
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._serving: set[asyncio.Task[None]] = set()
        self._ending = False

    async def open(self) -> None:
        """Listen. Raises OSError."""
        bound = open_socket(self.path)
        self._inode = self.path.stat().st_ino
        self._server = await asyncio.start_unix_server(self._accept, sock=bound, limit=self._line_bytes)

    async def close(self) -> None:
        """Stop listening, end the connections, remove the socket."""
        if self._server is None:
            return
        self._ending = True
        self._server.close()
        own = asyncio.current_task()
        others = [task for task in self._serving if task is not own]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            if (refusal := self._refusal(writer)) is not None:
                log.warning("admin connection refused", extra=fields(reason=refusal))
                await self._send(writer, None, error={"text": refusal})
                return
            writer.transport.set_write_buffer_limits(high=_WRITE_HIGH)
            await self._serve(reader, writer)
        except (ConnectionError, TimeoutError):
            pass
        except asyncio.CancelledError:
            if not self._ending:
                raise
        finally:
            self._serving.discard(task)
            writer.close()

    def _refusal(self, writer: asyncio.StreamWriter) -> str | None:
        peer = writer.get_extra_info("socket")
        _, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid not in (0, os.geteuid()):
            return f"user {uid} may not steer this server: only its own user and root may"
        if len(self._serving) > self._connections:
            return "too many commands at a time"
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(self._idle_timeout_s):
                    line = await reader.readline()
            except ValueError:  # what readline makes of a line above the limit
                text = f"a command line is at most {self._line_bytes} bytes (admin.line_bytes)"
                await self._send(writer, None, error={"text": text})
                return
            if not line.endswith(b"\n"):
                return
            if not await self._answer(line, writer):
                return

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> bool:
        """Do one command; whether the connection goes on."""
        try:
            request = json.loads(line)
            number, name, params = request.get("id"), request["command"], request.get("params") or {}
            if not isinstance(name, str) or not isinstance(params, dict):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            await self._send(writer, None, error={"text": "that is no command"})
            return False
        command = self._commands.get(name)
        if command is None:
            known = ", ".join(sorted(self._commands))
            await self._send(writer, number, error={"text": f'unknown command "{name}"; known are {known}'})
            return True

        def progress(done: int, total: int) -> None:
            # a reader that is behind misses some; what counts is the last
            if writer.transport.get_write_buffer_size() < _WRITE_HIGH:
                self._write(writer, number, progress=[done, total])

        said: dict[str, Any]
        try:
            said = {"result": await command(params, progress)}
        except CommandError as error:
            said = {"error": {"text": str(error)}}
        except ConnectionResetError:
            raise
        except Exception:
            log.exception("admin command failed", extra=fields(command=name))
            said = {"error": {"text": f"{name} failed; the server's log says why"}}
        await self._send(writer, number, **said)
        return True

    async def _send(self, writer: asyncio.StreamWriter, number: Any, **said: Any) -> None:
        self._write(writer, number, **said)
        await writer.drain()

    def _write(self, writer: asyncio.StreamWriter, number: Any, **said: Any) -> None:
        """Raises ConnectionResetError if nobody is there any more: what tells of its progress ends there."""
        if writer.transport.is_closing():
            raise ConnectionResetError
        writer.write(json.dumps({"id": number, **said}, default=str).encode() + b"\n")


class AdminClient:
    """The command line's end: blocking, one command at a time. Made by `connect`; a context manager."""

    def __init__(self, path: Path, connection: socket.socket) -> None:
        self.path = path
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._number = 0

    @classmethod
    def connect(cls, path: Path, timeout_s: float = 5.0) -> AdminClient:
        """Raises NoServer if nobody listens, CommandError if the server may not be spoken to."""
        try:
            return cls(path, _connect(path, timeout_s))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise NoServer(f"no server answers on {path}; `run` starts one") from None
        except PermissionError:
            raise CommandError(
                f"{path} belongs to another user: run this as the server's user or as root"
            ) from None
        except (TimeoutError, BlockingIOError):
            raise CommandError(f"the server on {path} does not answer; its log may say why") from None
        except OSError as error:  # a name too long, say; Python's own has no strerror
            raise CommandError(f"{path}: cannot be opened: {error.strerror or error}") from None

    def call(
        self,
        command: str,
        params: Params | None = None,
        *,
        timeout_s: float = 30.0,
        on_progress: Progress = lambda done, total: None,
    ) -> Any:
        """The result of a command. `timeout_s` is the longest silence, progress counts as a sign of life.

        Raises CommandError: refused, failed, no answer, connection lost.
        """
        self._number += 1
        self._connection.settimeout(timeout_s)
        request = {"id": self._number, "command": command, "params": params or {}}
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
            while line := self._lines.readline():
                answer = json.loads(line)
                if "progress" in answer:
                    on_progress(*answer["progress"])
                elif "error" in answer:
                    raise CommandError(answer["error"]["text"])
                else:
                    return answer["result"]
        except TimeoutError:
            raise CommandError(f"the server has not answered for {timeout_s:g} seconds") from None
        except BrokenPipeError:
            # refused before it read anything; what it said may still be there
            with contextlib.suppress(OSError, ValueError, KeyError):
                raise CommandError(json.loads(self._lines.readline())["error"]["text"]) from None
        except (OSError, ValueError, KeyError):
            pass
        raise CommandError("the server went away before it answered")

    def wait_closed(self, timeout_s: float) -> bool:
        """Wait until the server closes the connection; whether it did."""
        self._connection.settimeout(timeout_s)
        try:
            return not self._lines.readline()
        except TimeoutError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        self._lines.close()
        self._connection.close()

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
