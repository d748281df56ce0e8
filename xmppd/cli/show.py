"""Output: every command makes data first; here it becomes JSON, or text for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print data as JSON.")


class Unwritten(Exception):
    """The output cannot be written; the text is one sentence."""


def complain(sentence: str) -> None:
    """One sentence to stderr, on one line whatever it repeats."""
    click.echo(f"xmppd: {' '.join(sentence.splitlines())}", err=True)


def emit(data: Any, wants_json: bool, tell: Callable[[], None]) -> None:
    """`data` as JSON if that is wanted, else what `tell` prints. Raises Unwritten, BrokenPipeError."""
    try:
        if wants_json:
            click.echo(json.dumps(data, indent=2, ensure_ascii=False))
        else:
            tell()
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unwritten(f"the output cannot be written: {error.strerror}") from error


def shown(value: Any) -> str:
    """A value in a cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value))
    return str(value)


def table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], empty: str) -> None:
    """Rows of data as a table: `columns` maps keys to titles. On a terminal with lines, else plain columns."""
    if not rows:
        click.echo(empty)
        return
    cells = [[shown(row.get(key)) for key in columns] for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(*columns.values(), box=box.SIMPLE_HEAD)
        for line in cells:
            drawn.add_row(*map(Text, line))  # Text: no markup in what others chose
        Console().print(drawn)
        return
    lines = [list(columns.values()), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr if that is a terminal; call the result with how much is done."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # lines for people go above the bar; data that goes to a file or another program stays where it goes
    console, lifted = Console(stderr=True), sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=lifted) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
