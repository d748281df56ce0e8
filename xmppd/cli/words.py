"""Groups of commands."""

from __future__ import annotations

import difflib

import click


class Words(click.Group):
    """A group that knows what was probably meant."""

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
