"""`scripts/bench`: runs the scenarios, shows tables, writes JSON and HTML.

Exit status: 0 passed, 1 not passed or incomplete, 2 wrong usage.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.judge import OURS, ProfileError, profile_named
from benchmarks.page import as_html
from benchmarks.programs import ROOT, missing_tools, our_cpu_s, processors_busy_s
from benchmarks.report import (
    Report,
    as_data,
    conclusion,
    headline,
    memory,
    number,
    rates,
    verdict_word,
    wanted,
)
from benchmarks.rounds import Run, Told, estimated_s, run, scenarios_of
from benchmarks.scenarios import FULL, QUICK
from benchmarks.subjects import Subject
from benchmarks.subjects.floor import Floor
from benchmarks.subjects.peers import Ejabberd, Prosody, make_root
from benchmarks.subjects.xmppd import Xmppd
from scripts.local_server import ServerError

PEERS: Final[tuple[type[Subject], ...]] = (Prosody, Ejabberd)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Five minutes: shorter, smaller, one round.")
@click.option("--peers", is_flag=True, help="Prosody and ejabberd of Debian 13 in the same run.")
@click.option("--soak", is_flag=True, help="A mixed day for an hour as well.")
@click.option(
    "--profile", default="small", show_default=True, help="small, medium, large, or a file of that form."
)
@click.option("--only", multiple=True, metavar="SCENARIO", help="This scenario; may be given several times.")
@click.option(
    "--rounds", type=click.IntRange(1, 20), help="How often each is measured.  [default: 3; 1 with --quick]"
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=ROOT / "bench-report",
    help="Where OUTPUT.html and OUTPUT.json go.  [default: bench-report]",
)
@click.option("--json", "json_only", is_flag=True, help="Print what OUTPUT.json holds, and no tables.")
@click.option("--list", "listed", is_flag=True, help="Name the scenarios and run nothing.")
def bench(
    *,
    quick: bool,
    peers: bool,
    soak: bool,
    profile: str,
    only: tuple[str, ...],
    rounds: int | None,
    output: Path,
    json_only: bool,
    listed: bool,
) -> NoReturn:
    """Measure what this machine carries, and say whether that is enough for a site."""
    scale = QUICK if quick else FULL
    try:
        scenarios = scenarios_of(scale, soak=soak, only=only)
        site = profile_named(profile)
    except (LookupError, ProfileError) as wrong:
        raise click.UsageError(str(wrong.args[0])) from None
    if listed:
        for scenario in scenarios:
            click.echo(f"{scenario.name:14} {scenario.title}")
        sys.exit(0)
    try:
        pages = [output.with_name(output.name + suffix) for suffix in (".json", ".html")]
        check_writable(pages)
    except (OSError, ValueError) as error:  # before anything is measured
        raise click.UsageError(f"the report cannot be written: {error}") from None
    if missing := missing_tools():
        raise click.UsageError(f"the load generator cannot be compiled: {missing}")
    if peers:
        try:
            make_root()
        except ServerError as error:
            raise click.UsageError(f"the peers cannot be had: {error}") from None
    subjects: list[type[Subject]] = [Xmppd, Floor, *(PEERS if peers else ())]
    times = rounds or (1 if quick else 3)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends, and its files go
    began, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    others_s = processors_busy_s() - our_cpu_s()
    whole_s = estimated_s(scenarios, subjects, times)
    with tempfile.TemporaryDirectory(prefix="xmppd-bench-") as folder, progress(whole_s) as told:
        found = run(scenarios, subjects, folder=Path(folder), rounds=times, told=told)
    seconds = time.monotonic() - clock
    others_s = processors_busy_s() - our_cpu_s() - others_s
    others = max(others_s, 0.0) / seconds / (os.cpu_count() or 1)
    report = Report(found, site, scale.name, times, began, seconds, others)
    data = json.dumps(as_data(report), indent=1)
    try:
        for page, text in zip(pages, (data, as_html(report)), strict=True):
            page.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"the report cannot be written: {error}") from None
    if json_only:
        click.echo(data)
    else:
        show(report)
        click.echo(f"\n{output}.html and {output.name}.json say more.")
    sys.exit(0 if report.passed else 1)


def check_writable(pages: list[Path]) -> None:
    """OSError unless each can be written; what they hold stays, and nothing new is left."""
    for page in pages:
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("a") as file:
            is_new = not file.tell()
        if is_new:
            page.unlink()


@contextmanager
def progress(whole_s: float) -> Iterator[Told]:
    """A bar with the time left on a terminal, a line for each step elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        began = time.monotonic()

        def line(what: str, worth_s: float) -> None:
            if not worth_s:
                console.print(
                    f"{time.monotonic() - began:7.1f} s of about {whole_s:.0f}: {what}",
                    highlight=False,
                    soft_wrap=True,
                )

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"))
    with Progress(*columns, TimeRemainingColumn(), console=console, speed_estimate_period=600) as bar:
        task = bar.add_task("starting", total=whole_s)
        yield lambda what, worth_s: bar.update(task, description=f"{what:44.44}", advance=worth_s)


def show(report: Report) -> None:
    """The table for a terminal."""
    console = Console()
    if not console.is_terminal:
        console.width = 140
    table = Table(title="Medians", title_justify="left")
    for name in (
        "figure",
        "server",
        "rate /s",
        "CPU s per 1,000",
        "p50 ms",
        "p99 ms",
        "KiB each",
        "generator",
        "faults",
    ):
        table.add_column(name, justify="left" if name in ("figure", "server") else "right")
    _rows(table, report.run)
    console.print(table)
    goals = Table(title="Beside others, CPU for one operation (memory for idle)", title_justify="left")
    for name in ("figure", "best other ÷ ours", "goal", "", "ours ÷ floor", "goal", ""):
        goals.add_column(name)
    for each in report.goals:
        goals.add_row(
            each.figure,
            f"{number(each.peer_ratio)} ({each.peer})" if each.peer_ratio else "",
            f"≥ {each.peer_goal:g}" if each.peer_ratio and each.peer_goal else "",
            verdict_word(each.peer_met) if each.peer_ratio else "",
            number(each.floor_ratio) if each.floor_ratio else "",
            f"≤ {each.floor_goal:g}" if each.floor_ratio and each.floor_goal else "",
            verdict_word(each.floor_met) if each.floor_ratio else "",
        )
    if report.goals:
        console.print(goals)
    for each in report.goals:
        if each.why_not:
            console.print(f"{each.figure}: {each.why_not}.")
    judged = Table(title=f"Profile: {report.profile.title}", title_justify="left")
    for name in ("figure", "found", "threshold", ""):
        judged.add_column(name)
    for verdict in report.verdicts:
        found = "–" if verdict.value is None else number(verdict.value)
        judged.add_row(verdict.title, found, wanted(verdict), verdict_word(verdict.met))
    console.print(judged)
    console.print(f"{headline(report)}. {conclusion(report)}", soft_wrap=True)


def _rows(table: Table, found: Run) -> None:
    before = None
    for figure in found.figures:
        if before not in (None, figure.name):
            table.add_section()
        table.add_row(
            figure.name if figure.name != before else "",
            figure.subject,
            "\n".join(rates(figure)),
            number(figure.cpu_us / 1e3),
            *(number(figure.latency_ms(share)) if figure.latency_us else "" for share in (0.5, 0.99)),
            "\n".join(memory(figure)),
            f"{figure.generator_share:.0%}{' LIMIT' if figure.generator_was_limit else ''}",
            " ".join(f"{count} {fault}" for fault, count in figure.faults.items()) or "0",
            style="bold" if figure.subject == OURS else "",
        )
        before = figure.name


if __name__ == "__main__":
    bench(prog_name="scripts/bench")
