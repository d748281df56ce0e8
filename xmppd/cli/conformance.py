"""`xmppd conformance`: the executable letter of compliance, against any XMPP server."""

from __future__ import annotations

import json
import signal
import ssl
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

import xmppd as package
from xmppd.cli.show import as_json, emit, progress
from xmppd.cli.words import Words
from xmppd.ops.admin import CommandError

if TYPE_CHECKING:
    from xmppd.conformance.report import Letter
    from xmppd.conformance.signature import Signer
    from xmppd.conformance.subject import Account
    from xmppd.conformance.verdict import Outcome, Verdict

PORT: Final = click.IntRange(1, 65535)
FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)

SETUP: Final = """\
What an administrator sets up so that the tester reaches as much as it can without a launcher:

  1. A test system: the run opens thousands of connections, and fails to log in on purpose. Switch off
     lock-outs by address, and allow a few hundred connections from the address of the tester.
  2. Two domains, each with a certificate: --domain ONE --domain TWO. The first is the one under test.
  3. The file with the certificate of the CA that issued them: --ca FILE.
  4. Three accounts of the first domain, with passwords, that nobody uses meanwhile: --account JID:PASSWORD
     three times, or --accounts FILE with one JID:PASSWORD on a line.
  5. An account of the first domain that is disabled, and its right password: --disabled-account JID:PASSWORD
  6. An account whose password has expired, and that password: --expired-account JID:PASSWORD
  7. The settings of the UC profile of the product, written down for the report.

Then:

  xmppd conformance run --host HOST --domain ONE --domain TWO --ca FILE --accounts FILE \\
      --disabled-account JID:PASSWORD --expired-account JID:PASSWORD --areas streams \\
      --report letter.html --transcript DIR

What needs other settings, a restart or a look inside is then "could not test", and says why. A launcher
reaches that, too: --launch xmppd, or --launch COMMAND with a program that speaks the protocol of launchers,
which docs/launchers.md describes.
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
@click.option("--host", "hosts", multiple=True, help="Where the server listens; default: the domain.")
@click.option("--port", type=PORT, help="For clients; default: 5222.")
@click.option("--s2s-port", type=PORT, help="For servers; default: 5269.")
@click.option("--domain", "domains", multiple=True, help="A domain it serves; the first one is tested.")
@click.option("--ca", type=FILE, help="PEM file of the CA to trust.")
@click.option("--account", "accounts", multiple=True, metavar="JID:PASSWORD", help="An account to use.")
@click.option(
    "--disabled-account", "disabled", multiple=True, metavar="JID:PASSWORD", help="One that is disabled."
)
@click.option(
    "--expired-account",
    "expired",
    multiple=True,
    metavar="JID:PASSWORD",
    help="One whose password has expired.",
)
@click.option(
    "--accounts",
    "accounts_file",
    type=click.File("rb"),
    metavar="FILE",
    help="Accounts, JID:PASSWORD on a line (- is stdin).",
)
@click.option("--system", metavar="TEXT", help="Name and version for the report; default: as it says itself.")
@click.option(
    "--launch", metavar="NAME|CMD", help="Make a scratch server with this launcher, instead of --host."
)
@click.option("--areas", metavar="A,B", help="Judge these areas only, as in streams,im.")
@click.option("--only", metavar="P,Q", help="These parts only, as in 3-25,7-*.")
@click.option(
    "--report",
    "reports",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    multiple=True,
    metavar="FILE",
    help="Write the letter of compliance to a .html, .md or .json file.",
)
@click.option(
    "--configuration", type=FILE, help="A text file with the settings of the server, to stand in the report."
)
@click.option("--sign", type=FILE, help="Sign the reports with the key in this PEM file.")
@click.option("--certificate", type=FILE, help="Its certificate, if it is not in the same file.")
@click.option(
    "--transcript",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write every conversation to a file in DIR.",
)
@as_json
def run(
    hosts: tuple[str, ...],
    port: int | None,
    s2s_port: int | None,
    domains: tuple[str, ...],
    ca: Path | None,
    accounts: tuple[str, ...],
    disabled: tuple[str, ...],
    expired: tuple[str, ...],
    accounts_file: BinaryIO | None,
    system: str | None,
    launch: str | None,
    areas: str | None,
    only: str | None,
    reports: tuple[Path, ...],
    configuration: Path | None,
    sign: Path | None,
    certificate: Path | None,
    transcript: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Run the checks. Exit status 0 if nothing selected is "not met" or "could not test", else 1."""
    from xmppd.conformance import given, report, requirements, version
    from xmppd.conformance.launcher import LauncherFailed, Unsupported
    from xmppd.conformance.launchers import launcher
    from xmppd.conformance.runner import Runner
    from xmppd.conformance.subject import Subject, launched
    from xmppd.conformance.verdict import CouldNotTest

    # a scratch server must not outlive the run: these end it as Ctrl-C does
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # by nohup
            signal.signal(number, signal.default_int_handler)

    with _usage():
        for option, named in (("--areas", areas), ("--only", only)):
            if named is not None and not requirements.words(named):
                raise ValueError(f"{option} names nothing")
        selection = requirements.select(requirements.words(areas or ""), requirements.words(only or ""))
        _see_to(reports, transcript)
        signer = _signer(sign, certificate, reports)
        notes = configuration.read_text(encoding="utf-8") if configuration is not None else None
        lines = accounts_file.read().decode().splitlines() if accounts_file is not None else []
        people = _accounts([*accounts, *filter(str.strip, lines)], domains)
        disabled_people, expired_people = _accounts(disabled, domains), _accounts(expired, domains)
        if launch is None:
            if not domains:
                raise ValueError("say what is tested: --domain and --host, or --launch")
            if ca is not None:
                ssl.create_default_context(cafile=ca)
        elif any((hosts, port, s2s_port, domains, ca, accounts, disabled, expired, accounts_file, system)):
            raise ValueError("--launch makes its own server, domains and accounts")

    verdicts: list[Verdict] = []
    helper = None
    try:
        if launch is None:
            first, *more = hosts or domains[:1]
            subject = Subject(
                first, port or 5222, domains, str(ca) if ca else None,
                accounts=people, disabled_accounts=disabled_people, expired_accounts=expired_people,
                system=system or "unknown", more_hosts=tuple(more), s2s_port=s2s_port or 5269,
            )  # fmt: skip
            given.try_out(subject, serves_servers=s2s_port is not None)
            if system is None:
                version.ask(subject)
        else:
            helper = launcher(launch)
            subject = launched(helper, launch)
        if notes is not None:
            subject.configuration = notes
        with progress("parts", len(selection.parts)) as advance:
            for verdict in Runner(subject, selection, transcript).run():
                verdicts.append(verdict)
                advance(len(verdicts))
                if not as_json:
                    click.echo(str(verdict))
    except (LauncherFailed, Unsupported) as error:
        raise CommandError(str(error)) from None
    except CouldNotTest as ended:
        raise CommandError(f"could not test: {ended.why}") from None
    finally:
        if helper is not None:
            helper.close()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    about = report.letter(subject, selection.areas, verdicts, date, f"xmppd {package.__version__}")
    try:
        for path in reports:
            report.write(path, about)
            if signer is not None:
                Path(f"{path}{signer.suffix}").write_bytes(signer.sign(path.read_bytes()))
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
    emit(report.as_data(about), as_json, lambda: _summarise(about))
    return 0 if all(verdict.is_good for verdict in verdicts) else 1


@contextmanager
def _usage() -> Iterator[None]:
    """What cannot be used is wrong usage, told before anything runs."""
    from xmppd.conformance.signature import KeyUnusable

    try:
        yield
    except UnicodeDecodeError:
        raise click.UsageError("a file of accounts or settings is text in UTF-8") from None
    except ssl.SSLError:
        raise click.UsageError("--ca: the file holds no certificate in PEM") from None
    except KeyUnusable as error:
        raise click.UsageError(f"--sign: {error}") from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}") from None


def _see_to(reports: tuple[Path, ...], transcript: Path | None) -> None:
    """There is a place for all that a run writes. Raises ValueError, OSError."""
    from xmppd.conformance import report

    for path in reports:
        report.form(path)
        if not path.parent.is_dir():
            raise ValueError(f"--report: there is no folder {path.parent}")
        is_new = not path.exists()
        path.open("ab").close()
        if is_new:
            path.unlink()
    if transcript is not None:
        transcript.mkdir(parents=True, exist_ok=True)


def _signer(key: Path | None, certificate: Path | None, reports: tuple[Path, ...]) -> Signer | None:
    from xmppd.conformance.signature import PassphraseMissing, Signer

    if key is None:
        if certificate is not None:
            raise ValueError("--certificate is that of a key: give --sign")
        return None
    if not reports:
        raise ValueError("--sign signs reports: give --report")
    pems = key.read_bytes(), certificate.read_bytes() if certificate is not None else b""
    try:
        return Signer.load(*pems)
    except PassphraseMissing:
        if not sys.stdin.isatty():
            raise
        passphrase: str = click.prompt(f"Passphrase of {key}", hide_input=True, err=True)
        return Signer.load(*pems, passphrase.encode())


def _accounts(lines: Iterable[str], domains: tuple[str, ...]) -> tuple[Account, ...]:
    from xmppd.conformance.subject import Account

    found = tuple(Account.parse(line.strip()) for line in lines)
    for number, account in enumerate(found):
        if account.jid in {each.jid for each in found[:number]}:
            raise ValueError(f"{account.jid} is given twice")
        if domains and account.domain not in domains:
            raise ValueError(f"{account.jid} is of none of the domains {', '.join(domains)}")
    return found


@conformance.command()
@click.argument("report", type=FILE)
@click.option(
    "--signer", type=FILE, required=True, help="PEM file with the signer's certificate or public key."
)
@click.option("--signature", type=FILE, help="Default: the report's name with .p7s or .sig behind it.")
@as_json
def verify(report: Path, signer: Path, signature: Path | None, as_json: bool) -> None:
    """Check that a report was signed by someone and is unchanged, and that its sums are right (.json)."""
    from xmppd.conformance import signature as signatures
    from xmppd.conformance.report import faults

    if signature is None:
        beside = [Path(f"{report}{suffix}") for suffix in (signatures.CMS, signatures.ED25519)]
        found = [path for path in beside if path.is_file()]
        if len(found) != 1:
            raise click.UsageError(
                f"{' and '.join(map(str, found))} are both there: give --signature"
                if found
                else f"there is neither {beside[0]} nor {beside[1]}: give --signature"
            )
        [signature] = found
    content = report.read_bytes()
    try:
        signed = signatures.verify(content, signature.read_bytes(), signer.read_bytes())
    except signatures.KeyUnusable as error:
        raise click.UsageError(f"--signer: {error}") from None
    except signatures.SignatureWrong as error:
        raise CommandError(f"{signature}: {error}") from None
    conclusion = None
    if report.suffix == ".json":
        try:
            data = json.loads(content)
        except ValueError:
            data = None
        if wrong := faults(data):
            raise CommandError(f"{report}: {'; '.join(wrong)}")
        conclusion = data["conclusion"]
    at = signed.at.isoformat() if signed.at is not None else None

    def tell() -> None:
        click.echo(f"{report}: unchanged, and signed by {signed.by}{f' at {at}' if at else ''}")
        if conclusion is not None:
            click.echo(f"its sums are right: {conclusion}")

    emit({"signed_by": signed.by, "signed_at": at, "conclusion": conclusion}, as_json, tell)


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
