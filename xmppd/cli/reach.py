"""How a command reaches the accounts: through the running server, or with the store opened here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import click

from xmppd import config as configuration
from xmppd.cli.show import complain
from xmppd.config import Config
from xmppd.ops.admin import AdminClient, CommandError, NoServer, Params, Progress

# longest silence of the server; it answers in milliseconds unless it has work before it
ANSWER_TIMEOUT_S = 60.0


def _ignore(done: int, total: int) -> None:
    return


class Reach(Protocol):
    """Does the commands `user.*`."""

    is_live: bool

    def call(self, command: str, params: Params, on_progress: Progress = _ignore) -> Any:
        """The command's result; CommandError if it cannot be done."""


class _Live:
    is_live = True

    def __init__(self, client: AdminClient) -> None:
        self._client = client

    def call(self, command: str, params: Params, on_progress: Progress = _ignore) -> Any:
        return self._client.call(command, params, timeout_s=ANSWER_TIMEOUT_S, on_progress=on_progress)


class _Offline:
    is_live = False

    def __init__(self, config: Config, runner: asyncio.Runner) -> None:
        from xmppd.auth import LocalAuth
        from xmppd.jid import use_rules
        from xmppd.ops import users
        from xmppd.store import Store

        use_rules(config.addresses.rules)
        self._runner = runner
        self.store = Store.open(config.store.path, users.store_settings(config))
        try:
            self.auth = LocalAuth(self.store, users.auth_settings(config))
        except BaseException:
            runner.run(self.store.close())
            raise
        domains = frozenset(domain.name for domain in config.domains)
        self._commands = users.Users(self.store, self.auth, lambda: domains).table()

    def call(self, command: str, params: Params, on_progress: Progress = _ignore) -> Any:
        return self._runner.run(self._call(command, params, on_progress))

    async def _call(self, command: str, params: Params, on_progress: Progress) -> Any:
        return await self._commands[command](params, on_progress)

    async def close(self) -> None:
        await self.auth.close()
        await self.store.close()


class _Told(logging.Handler):
    """What a room says to the log, where the rooms run in the command line and there is no log: a sentence.

    Errors are left to the command, which fails by them and says so.
    """

    def emit(self, record: logging.LogRecord) -> None:
        said = getattr(record, "fields", {}).values()
        if record.levelno == logging.WARNING:
            complain(": ".join([record.getMessage(), *map(str, said)]))


@contextmanager
def _rooms_here() -> Iterator[None]:
    told = _Told()
    log = logging.getLogger("xmppd")
    log.addHandler(told)
    try:
        yield
    finally:
        log.removeHandler(told)


@contextmanager
def accounts(path: Path) -> Iterator[Reach]:
    """The running server if there is one, else the store itself, locked against others."""
    from xmppd.store import StoreError

    try:
        client = AdminClient.connect(configuration.admin_socket(path))
    except NoServer:
        config = configuration.load(path, enforce=False)
        try:
            with _rooms_here(), asyncio.Runner() as runner:
                offline = _Offline(config, runner)
                try:
                    yield offline
                finally:
                    runner.run(offline.close())
        except StoreError as error:
            raise CommandError(str(error)) from error
        return
    with client:
        yield _Live(client)


@contextmanager
def server(path: Path) -> Iterator[AdminClient]:
    """The running server; NoServer if there is none."""
    with AdminClient.connect(configuration.admin_socket(path)) as client:
        yield client


def path_of(context: click.Context) -> Path:
    """The configuration file given by -c."""
    path: Path | None = context.obj
    if path is None:
        words = context.command_path.removeprefix("xmppd ")
        raise click.UsageError(f"which server? Write: xmppd -c FILE {words}")
    return path
