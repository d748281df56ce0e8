"""`xmppd conformance`: the executable letter of compliance, against any XMPP server."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

import xmppd as package
from xmppd.cli.show import as_json, emit, progress
from xmppd.cli.words import Words
from xmppd.ops.admin import CommandError

if TYPE_CHECKING:
    from xmppd.conformance.report import Letter
    from xmppd.conformance.subject import Account
    from xmppd.conformance.verdict import Outcome, Verdict

SETUP = """\
What an administrator sets up so that the tester reaches as much as it can without a launcher:

  1. A test system: the run opens thousands of connections, and fails to log in on purpose. Switch off
     lock-outs by address, and allow a few hundred connections from the address of the tester.
  2. Two domains, each with a certificate: --domain ONE --domain TWO. The first is the one under test.
  3. The file with the certificate of the CA that issued them: --ca FILE.
  4. Three accounts of the first domain, with passwords, that nobody uses meanwhile: --account JID:PASSWORD
     three times, or --accounts FILE with one JID:PASSWORD on a line.
  5. An account of the first domain that is disabled, and its right password: --disabled-account JID:PASSWORD
  6. The settings of the UC profile of the product, written down for the report.

Then:

  xmppd conformance run --host HOST --domain ONE --domain TWO --ca FILE --accounts FILE \\
      --disabled-account JID:PASSWORD --areas streams --report letter.html --transcript DIR

What needs other settings, a restart or a look inside is then "could not test", and says why. A launcher
reaches that, too: --launch xmppd, or --launch COMMAND with a program that speaks the protocol of launchers
(python -c "help('xmppd.conformance.launcher')").
"""


@click.group(cls=Words)
def conformance() -> None:
    """Check an XMPP server against UC XMPP 2013, part by part."""


@conformance.command()
@as_json
def setup(as_json: bool) -> None:
    """What to set up for the fullest run."""
    emit({"setup": SETUP}, as_json, lambda: click.echo(SETUP, nl=False))


@conformance.command()
@click.option("--host", metavar="HOST", help="Where the server listens; default: the domain.")
@click.option("--port", type=click.IntRange(1, 65535), default=5222, show_default=True, help="For clients.")
@click.option(
    "--s2s-port", type=click.IntRange(1, 65535), default=5269, show_default=True, help="For servers."
)
@click.option("--domain", "domains", multiple=True, help="A domain it serves; the first one is tested.")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False), help="PEM file of the CA to trust.")
@click.option("--account", "accounts", multiple=True, metavar="JID:PASSWORD", help="An account to use.")
@click.option(
    "--disabled-account", "disabled", multiple=True, metavar="JID:PASSWORD", help="One that is disabled."
)
@click.option(
    "--accounts",
    "accounts_file",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="Accounts, JID:PASSWORD on a line (- is stdin).",
)
@click.option(
    "--launch", metavar="NAME|CMD", help="Make a scratch server with this launcher, instead of --host."
)
@click.option("--areas", default="", metavar="A,B", help="Judge these areas only, as in streams,im.")
@click.option("--only", default="", metavar="P,Q", help="These parts only, as in 3-25,7-*.")
@click.option(
    "--report",
    "reports",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="Write the letter of compliance to a .html, .md or .json file.",
)
@click.option(
    "--transcript",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write every conversation to a file in DIR.",
)
@as_json
def run(
    host: str | None,
    port: int,
    s2s_port: int,
    domains: tuple[str, ...],
    ca: str | None,
    accounts: tuple[str, ...],
    disabled: tuple[str, ...],
    accounts_file: TextIO | None,
    launch: str | None,
    areas: str,
    only: str,
    reports: tuple[Path, ...],
    transcript: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Run the checks. Exit status 0 if nothing selected is "not met" or "could not test", else 1."""
    from xmppd.conformance import report, requirements
    from xmppd.conformance.launcher import LauncherFailed, Unsupported
    from xmppd.conformance.launchers import launcher
    from xmppd.conformance.runner import Runner
    from xmppd.conformance.subject import Subject, launched

    try:
        selection = requirements.select(requirements.words(areas), requirements.words(only))
        for path in reports:
            report.form(path)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    lines: list[str] = accounts_file.read().splitlines() if accounts_file is not None else []
    given = _accounts([*accounts, *(line for line in lines if line.strip())])
    if launch is None and not domains:
        raise click.UsageError("say what is tested: --domain and --host, or --launch")
    if launch is not None and (domains or host or given or disabled):
        raise click.UsageError("--launch makes its own domains and accounts")

    verdicts: list[Verdict] = []
    helper = None
    try:
        if launch is None:
            subject = Subject(
                host or domains[0], port, domains, ca, given, _accounts(disabled), s2s_port=s2s_port
            )
        else:
            helper = launcher(launch)
            subject = launched(helper, launch)
        with progress("parts", len(selection.parts)) as advance:
            for verdict in Runner(subject, selection, transcript).run():
                verdicts.append(verdict)
                advance(len(verdicts))
                if not as_json:
                    click.echo(str(verdict))
    except (LauncherFailed, Unsupported) as error:
        raise CommandError(str(error)) from None
    finally:
        if helper is not None:
            helper.close()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    about = report.letter(subject, sorted(selection.areas), verdicts, date, f"xmppd {package.__version__}")
    for path in reports:
        report.write(path, about)
    emit(report.as_data(about), as_json, lambda: _summarise(about))
    return 0 if all(verdict.is_good for verdict in verdicts) else 1


def _accounts(lines: list[str] | tuple[str, ...]) -> tuple[Account, ...]:
    from xmppd.conformance.subject import Account

    try:
        return tuple(Account.parse(line.strip()) for line in lines)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _summarise(about: Letter) -> None:
    from xmppd.conformance.requirements import SECTION_TITLES

    click.echo()
    total: Counter[Outcome] = Counter()
    for section, counter in about.counts.items():
        click.echo(f"section {section} {SECTION_TITLES[section]}: {_counts(counter)}")
        total.update(counter)
    click.echo(f"all: {_counts(total)}")


def _counts(counter: Counter[Outcome]) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in counter.items())
