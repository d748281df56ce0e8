"""Groups of commands."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from typing import Any

import click


class Words(click.Group):
    """A group that knows what was probably meant, and asks for a command in one sentence if there is none."""

    def __init__(self, **more: Any) -> None:
        super().__init__(
            **more,
            no_args_is_help=False,
            invoke_without_command=True,
            subcommand_metavar="COMMAND [ARGS]...",
        )
        self.callback = _asking_for_a_command(self.callback)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, args)
        except click.UsageError:
            known = self.list_commands(context)
            near = difflib.get_close_matches(args[0], known, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"
            raise click.UsageError(f'there is no command "{args[0]}"; {hint}') from None


def _asking_for_a_command(callback: Callable[..., Any] | None) -> Callable[..., Any]:
    assert callback is not None

    @functools.wraps(callback)
    def asking(*args: Any, **more: Any) -> Any:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            assert isinstance(context.command, Words)
            known = ", ".join(context.command.list_commands(context))
            raise click.UsageError(f"a command is missing: {known}; see {context.command_path} --help")
        return callback(*args, **more)

    return asking
