"""The words of the command line."""

from __future__ import annotations

import getpass
import ipaddress
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

import xmppd as package
from xmppd import config as configuration
from xmppd.cli import reach
from xmppd.cli.conformance import conformance
from xmppd.cli.importing import LINE_BYTES
from xmppd.cli.reach import path_of
from xmppd.cli.show import as_json, complain, emit, progress, table
from xmppd.cli.words import Words
from xmppd.config import Address, domain_name
from xmppd.ops.admin import CommandError, NoServer


class _HostPort(click.ParamType):  # type: ignore[type-arg]  # no generic in older click
    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Address:
        try:
            return Address.parse(value)
        except ValueError as error:
            self.fail(str(error), param, context)


class _DomainName(click.ParamType):  # type: ignore[type-arg]
    name = "DOMAIN"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        try:
            return domain_name(value)
        except ValueError as error:
            self.fail(str(error), param, context)


class _Path(click.Path):
    """A path. An empty word, of a variable that is not set, is none: it is not the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        if value == "":
            self.fail('"" is no path', param, context)
        return super().convert(value, param, context)


class _Seconds(click.ParamType):  # type: ignore[type-arg]
    name = "S"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= MOST_SECONDS:
            self.fail(f'"{value}" is no number of seconds from 0 to {MOST_SECONDS}', param, context)
        return seconds


class _Jid(click.ParamType):  # type: ignore[type-arg]
    """An address as the user wrote it, once it is one: nobody is asked for the password of something else."""

    name = "JID"

    def __init__(self, *, of_account: bool) -> None:
        self._of_account = of_account

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        from xmppd.jid import JID

        try:
            jid = JID.parse(value)
        except ValueError as error:
            self.fail(f'"{value}" is no JID: {error}', param, context)
        if self._of_account and (jid.local is None or not jid.is_bare):
            self.fail(f'"{value}" is not the address of an account: user@domain', param, context)
        return str(value)


MOST_SECONDS = 86_400
# the commands that are not about one server
WITHOUT_CONFIG = frozenset({"init", "conformance", "bench"})

ACCOUNT, ADDRESS = _Jid(of_account=True), _Jid(of_account=False)


@click.group(cls=Words, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
# readable=False: a file that cannot be read is a failure like one that is not there, not wrong usage
@click.option(
    "-c",
    "--config",
    type=_Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Configuration file.",
)
@click.version_option(package.__version__, message="xmppd %(version)s")
@click.pass_context
def xmppd(context: click.Context, config: Path | None) -> None:
    """An XMPP server. Start with: xmppd init DIR --domain example.org"""
    if config is not None and context.invoked_subcommand in WITHOUT_CONFIG:
        raise click.UsageError(f"{context.invoked_subcommand} takes no -c: it is not about one configuration")
    context.obj = config


# ---- making a site


@xmppd.command()
@click.argument("folder", type=_Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option(
    "--domain", "domains", type=_DomainName(), multiple=True, required=True, help="A domain to serve."
)
@click.option(
    "--profile", type=click.Choice(["uc-2013", "internet"]), default="uc-2013", show_default=True,
    help="What the server must keep to.",
)  # fmt: skip
@click.option(
    "--c2s", type=_HostPort(), multiple=True, help="Where clients connect; default 0.0.0.0 and [::], 5222."
)
@click.option(
    "--s2s", type=_HostPort(), multiple=True, help="Where servers connect (stored, not served yet)."
)
@click.option(
    "--force", is_flag=True, help="Overwrite configuration and certificates; keeps CA and accounts."
)
@as_json
def init(
    folder: Path,
    domains: tuple[str, ...],
    profile: str,
    c2s: tuple[Address, ...],
    s2s: tuple[Address, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Write configuration, a private CA, certificates and an empty data directory to DIR."""
    from xmppd.cli.init import lay_out

    if len(set(domains)) < len(domains):
        raise click.UsageError("a domain is named twice")
    # port 0 is any free port, as often as wanted
    given = [address for address in (*c2s, *s2s) if address.port]
    if len(set(given)) < len(given):
        raise click.UsageError("an address is named twice")
    everywhere = tuple(listener.address for listener in configuration.Config().listeners)
    listeners = [("c2s", address) for address in c2s or everywhere] + [("s2s", address) for address in s2s]
    done = lay_out(folder, domains, profile, listeners, force=force)

    def tell() -> None:
        for path in done["written"]:
            click.echo(f"wrote {path}")
        click.echo(f"Clients must trust {done['ca']}. Next:")
        click.echo(f"  xmppd -c {done['config']} user add NAME@{done['domains'][0]}")
        click.echo(f"  xmppd -c {done['config']} run")

    emit(done, as_json, tell)


# ---- one server


@xmppd.command()
@as_json
@click.pass_context
def check(context: click.Context, as_json: bool) -> int:
    """Check configuration, certificates, folders and ports without starting anything."""
    from xmppd.cli.check import look

    path = path_of(context)
    config, found = look(path)
    errors = [each for each in found if each.level == "error"]
    data = {"ok": not errors, "config": str(path), "found": [each._asdict() for each in found]}

    def tell() -> None:
        for each in found:
            click.echo(f"{each.level}: {each.text}")
        if not errors:
            domains = ", ".join(domain.name for domain in config.domains)
            click.echo(f"{path} is good: profile {config.profile}, serves {domains}")

    emit(data, as_json, tell)
    return 1 if errors else 0


class _IPAddress(click.ParamType):  # type: ignore[type-arg]
    name = "IP"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        try:
            return ipaddress.ip_address(value)
        except ValueError as error:
            self.fail(str(error), param, context)


@xmppd.command()
@click.argument("domain", type=_DomainName(), required=False)
@click.option(
    "--host", type=_DomainName(), metavar="NAME", help="The server's host name; default: the domain itself."
)
@click.option(
    "--address", "addresses", type=_IPAddress(), multiple=True,
    help="An address of the host; default: those it listens on.",
)  # fmt: skip
@as_json
@click.pass_context
def dns(
    context: click.Context, domain: str | None, host: str | None, addresses: tuple[Any, ...], as_json: bool
) -> None:
    """The DNS records to publish for DOMAIN, or for every domain, as lines of a zone file."""
    from xmppd.cli import dns as zone

    if context.obj is None and domain is not None:
        # before there is a configuration: what `init` would write
        config = configuration.Config(domains=(configuration.Domain(name=domain),))
        places = zone.configured(config)
        complain("no configuration is given (-c FILE): these are the ports of a new one")
    else:
        config = configuration.load(path_of(context), enforce=False)
        places = zone.places(config)
    served = [each.name for each in config.domains]
    if domain is not None and domain not in served:
        raise CommandError(f"{domain} is not served; served are {', '.join(served)}")
    known = list(addresses) or zone.addresses(places)
    found = {name: zone.records(name, places, known, host) for name in ([domain] if domain else served)}

    def tell() -> None:
        for name, records in found.items():
            if not records:
                click.echo(f"; {name} is an address and needs no records")
            for record in records:
                if not record.served:
                    click.echo(
                        "; nobody answers there: server-to-server streams are not served by this version yet"
                    )
                click.echo(str(record))

    emit({name: [each._asdict() for each in records] for name, records in found.items()}, as_json, tell)
    for version, type_ in ((4, "A"), (6, "AAAA")):
        if all(address.version != version for address in known):
            complain(
                f"no IPv{version} address to publish was found: there is no {type_} record; see --address"
            )


@xmppd.command()
@click.pass_context
def run(context: click.Context) -> int:
    """Run the server in the foreground; it logs to stderr and stops on SIGTERM or Ctrl-C."""
    path = path_of(context)
    configuration.load(path)
    from xmppd.server import serve

    return serve(path)


@xmppd.command()
@as_json
@click.pass_context
def reload(context: click.Context, as_json: bool) -> None:
    """Put a changed configuration and new certificates in force, all or nothing."""
    with reach.server(path_of(context)) as server:
        changes = server.call("reload", timeout_s=reach.ANSWER_TIMEOUT_S)

    def tell() -> None:
        words = {"live": "in force", "new-streams": "for new streams", "restart": "NEEDS A RESTART"}
        for need, keys in changes.items():
            for key in keys:
                click.echo(f"{key}: {words[need]}")
        none = not any(changes.values())
        click.echo("reloaded: no setting has changed, certificates were read again" if none else "reloaded")

    emit(changes, as_json, tell)


@xmppd.command()
@click.option(
    "--timeout",
    "timeout_s",
    type=_Seconds(),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Longest wait, in seconds.",
)
@as_json
@click.pass_context
def stop(context: click.Context, timeout_s: float, as_json: bool) -> None:
    """Stop the server in order, and wait until it has ended."""
    with reach.server(path_of(context)) as server:
        # opened before the stop is asked for: the number is still that of the server
        process = os.pidfd_open(server.call("status")["pid"])
        try:
            said = server.call("stop")
            if not select.select([process], [], [], timeout_s)[0]:
                raise CommandError(f"the server has not ended after {timeout_s:g} seconds")
        finally:
            os.close(process)
    emit(said, as_json, lambda: click.echo("stopped"))


@xmppd.command()
@as_json
@click.pass_context
def status(context: click.Context, as_json: bool) -> int:
    """What runs, and what is wrong with it. Exit status 1 if no server runs."""
    try:
        with reach.server(path_of(context)) as server:
            said = {"running": True, **server.call("status")}
    except NoServer as error:
        why = str(error)
        emit({"running": False}, as_json, lambda: complain(why))
        return 1

    def tell() -> None:
        click.echo(f"xmppd {said['version']}, process {said['pid']}, up {_duration(said['uptime_s'])}")
        click.echo(f"profile {said['profile']}, domains {', '.join(said['domains'])}")
        for listener in said["listeners"]:
            tls = "direct TLS" if listener["direct_tls"] else "STARTTLS"
            click.echo(f"{listener['kind']} on {Address(listener['host'], listener['port'])} ({tls})")
        connections = f"{_count(said['connections'], 'connection')}, {said['unauthenticated']} not logged in"
        click.echo(f"{_count(said['sessions'], 'session')}, {connections}")
        reached = {name: value for name, value in said["counters"].items() if value}
        if reached:
            click.echo("counters: " + ", ".join(f"{name} {value}" for name, value in reached.items()))
        if not said["warnings"]:
            click.echo("nothing is wrong")
        for warning in said["warnings"]:
            click.echo(
                f"{warning['severity'].upper()}: {warning['title']} since {warning['since']}: {warning['text']}"
            )
            click.echo(f"  {warning['to_do']}")

    emit(said, as_json, tell)
    return 0


def _duration(seconds: float) -> str:
    """Days, hours, minutes, seconds: the two largest that are not zero at the front."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number or parts or unit == "s":
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])


# ---- accounts


@xmppd.group(cls=Words)
def user() -> None:
    """Accounts; with the server running or not."""


password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of stdin."
)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        line = sys.stdin.buffer.readline(LINE_BYTES + 1)
        if len(line) > LINE_BYTES:
            raise CommandError(f"the password on stdin is longer than {LINE_BYTES} bytes")
        try:
            password = line.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise click.UsageError("the password on stdin is not UTF-8") from None
        if not password:
            raise click.UsageError("there is no password on stdin")
        return password
    if not sys.stdin.isatty():
        raise click.UsageError("give the password on stdin, with --password-stdin")
    with suppress(EOFError):
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            raise click.UsageError("the two passwords differ")
        if password:
            return password
    raise click.UsageError("no password was given")


def _change(context: click.Context, wants_json: bool, word: str, done: str, **params: str) -> None:
    with reach.accounts(path_of(context)) as there:
        said = there.call(f"user.{word}", params)

    def tell() -> None:
        ended = said.get("sessions_ended")
        click.echo(f"{said['jid']} {done}" + (f", {_count(ended, 'session')} ended" if ended else ""))

    emit(said, wants_json, tell)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


@user.command()
@click.argument("jid", type=ACCOUNT)
@password_stdin
@as_json
@click.pass_context
def add(context: click.Context, jid: str, password_stdin: bool, as_json: bool) -> None:
    """Make an account."""
    configuration.admin_socket(path_of(context))  # before anybody types a password
    _change(context, as_json, "add", "was made", jid=jid, password=_password(password_stdin))


@user.command()
@click.argument("jid", type=ACCOUNT)
@password_stdin
@as_json
@click.pass_context
def passwd(context: click.Context, jid: str, password_stdin: bool, as_json: bool) -> None:
    """Change a password."""
    configuration.admin_socket(path_of(context))
    _change(context, as_json, "passwd", "has a new password", jid=jid, password=_password(password_stdin))


@user.command()
@click.argument("jid", type=ACCOUNT)
@as_json
@click.pass_context
def expire(context: click.Context, jid: str, as_json: bool) -> None:
    """Let a password be good no more, until it is changed."""
    _change(context, as_json, "expire", "needs a new password", jid=jid)


@user.command()
@click.argument("jid", type=ACCOUNT)
@as_json
@click.pass_context
def disable(context: click.Context, jid: str, as_json: bool) -> None:
    """Keep an account from logging in, and end its sessions."""
    _change(context, as_json, "disable", "is disabled", jid=jid)


@user.command()
@click.argument("jid", type=ACCOUNT)
@as_json
@click.pass_context
def enable(context: click.Context, jid: str, as_json: bool) -> None:
    """Let an account log in again."""
    _change(context, as_json, "enable", "is enabled", jid=jid)


@user.command("del")
@click.argument("jid", type=ACCOUNT)
@as_json
@click.pass_context
def delete(context: click.Context, jid: str, as_json: bool) -> None:
    """Remove an account and all that belongs to it."""
    with reach.accounts(path_of(context)) as there:
        said = there.call("user.del", {"jid": jid})
        is_live = there.is_live

    def tell() -> None:
        rosters = _count(said["taken_from_rosters"], "roster")
        ended = _count(said["sessions_ended"], "session")
        click.echo(f"{said['jid']} was removed, and taken out of {rosters}; {ended} ended")
        if said["contacts_elsewhere"] and not is_live:
            number = _count(len(said["contacts_elsewhere"]), "contact")
            click.echo(f"{number} of other servers could not be told, for the server is not running")

    emit(said, as_json, tell)


@user.command("list")
@click.option("--domain", type=_DomainName(), help="Only this domain.")
@as_json
@click.pass_context
def list_users(context: click.Context, domain: str | None, as_json: bool) -> None:
    """All accounts."""
    with reach.accounts(path_of(context)) as there:
        rows = there.call("user.list", {"domain": domain} if domain else {})
    columns = {
        "jid": "Account", "enabled": "Enabled", "expired": "Expired", "sessions": "Sessions", "created_at": "Created",
    }  # fmt: skip
    emit(rows, as_json, lambda: table(columns, rows, "no accounts"))


@user.command("import")
@click.argument("file", type=click.File("rb"), metavar="FILE")
@as_json
@click.pass_context
def import_users(context: click.Context, file: Any, as_json: bool) -> int:
    """Make an account of every line `JID<TAB>password` of FILE (- is stdin).

    A line that cannot be taken is named at the end; no account is half-made.
    """
    from xmppd.cli import importing

    path = path_of(context)
    try:
        lines = file.readlines()
    except OSError as error:
        raise CommandError(f"{file.name}: cannot be read: {error.strerror}") from None
    try:
        with reach.accounts(path) as there, progress("accounts", len(lines)) as advance:
            said = importing.run(there, lines, lambda done, total: advance(done))
    except KeyboardInterrupt:
        complain(
            "interrupted; the accounts made so far are whole and stay, import the file again for the others"
        )
        raise

    def tell() -> None:
        for sentence in importing.sentences(said["failures"]):
            complain(sentence)
        if said["stopped"]:
            complain(
                f"line {said['stopped']['line']} and all behind it were not tried: {said['stopped']['why']}"
            )
        failures = f", {_count(len(said['failures']), 'line')} failed" if said["failures"] else ""
        click.echo(f"{_count(said['created'], 'account')} made{failures}")

    emit(said, as_json, tell)
    return 1 if said["failures"] or said["stopped"] else 0


# ---- sessions


@xmppd.group(cls=Words)
def session() -> None:
    """Connected resources of the running server."""


@session.command("list")
@click.argument("jid", type=ADDRESS, required=False)
@as_json
@click.pass_context
def list_sessions(context: click.Context, jid: str | None, as_json: bool) -> None:
    """All sessions, or those of one account."""
    with reach.server(path_of(context)) as server:
        rows = server.call("session.list", {"jid": jid} if jid else {})
    columns = {
        "jid": "Resource",
        "available": "Available",
        "priority": "Priority",
        "peer": "Peer",
        "tls": "TLS",
        "bytes_in": "Bytes in",
        "bytes_out": "Bytes out",
    }
    emit(rows, as_json, lambda: table(columns, rows, "no sessions"))


@session.command()
@click.argument("jid", type=ADDRESS)
@as_json
@click.pass_context
def kick(context: click.Context, jid: str, as_json: bool) -> None:
    """End a session (full JID) or all sessions of an account (bare JID)."""
    with reach.server(path_of(context)) as server:
        said = server.call("session.kick", {"jid": jid})
    emit(said, as_json, lambda: click.echo("\n".join(f"{ended} ended" for ended in said["sessions_ended"])))


# ---- proving it


xmppd.add_command(conformance)


@xmppd.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@as_json
def bench(words: tuple[str, ...], as_json: bool) -> NoReturn:
    """Measure what this machine carries: scripts/bench of the source tree, with the same words."""
    script = Path(package.__file__).resolve().parents[1] / "scripts" / "bench"
    if not script.exists():
        raise click.ClickException(
            "the benchmarks are part of the source tree, and this xmppd does not run from one; "
            "run scripts/bench in a clone on this machine"
        )
    os.execv(script, [str(script), *words, *(["--json"] if as_json else [])])  # noqa: S606
