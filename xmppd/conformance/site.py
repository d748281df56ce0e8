"""What a check is given: the server under test, as many connections to it as it likes, and a transcript."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import AddressFamily
from typing import Any

from xmppd.conformance import launchers
from xmppd.conformance.client import Client
from xmppd.conformance.connection import Connection
from xmppd.conformance.ipv6_only import IPv6OnlyHost
from xmppd.conformance.launcher import Launcher, LauncherFailed, Unsupported
from xmppd.conformance.packets import Capture
from xmppd.conformance.subject import Account, Subject, launched
from xmppd.conformance.transcript import EVENT, Transcript
from xmppd.conformance.verdict import CouldNotTest, NotMet


class Site:
    """One check's view of the server under test."""

    def __init__(self, subject: Subject, transcript: Transcript) -> None:
        self.subject = subject
        self.transcript = transcript
        self._connections: list[Connection] = []
        self._connections_before = 0
        self._is_changed = False

    # ---- the server

    @property
    def domain(self) -> str:
        """The domain under test."""
        return self.subject.domains[0]

    def second_domain(self) -> str:
        """Another domain that the server serves."""
        if len(self.subject.domains) < 2:
            raise CouldNotTest("it needs a server with two domains; give --domain twice")
        return self.subject.domains[1]

    def account(self, number: int = 0) -> Account:
        """An account of the domain under test, the same for the same number."""
        accounts = [account for account in self.subject.accounts if account.domain == self.domain]
        if number >= len(accounts):
            raise CouldNotTest(f"it needs {number + 1} accounts of {self.domain}; give --account more often")
        return accounts[number]

    def disabled_account(self) -> Account:
        """An account that may not log in, though its password is right."""
        if not self.subject.disabled_accounts:
            made = self._shut_out("disabled", lambda launcher, jid: launcher.disable_account(jid))
            self.subject.disabled_accounts = (made,)
        return self.subject.disabled_accounts[0]

    def expired_account(self) -> Account:
        """An account whose password is right, and has expired."""
        if not self.subject.expired_accounts:
            made = self._shut_out("expired", lambda launcher, jid: launcher.expire_password(jid))
            self.subject.expired_accounts = (made,)
        return self.subject.expired_accounts[0]

    def _shut_out(self, how: str, do: Callable[[Launcher, str], None]) -> Account:
        """A new account to which this is done."""
        if not self.has_launcher:
            raise CouldNotTest(f"it needs an account that is {how}; give --{how}-account")
        account = self.new_account_once(how, f"the password of {how}")
        with self._launcher_to(f"make an account that is {how}") as launcher:
            do(launcher, account.jid)
        return account

    # ---- the launcher

    @property
    def has_launcher(self) -> bool:
        """Whether somebody can restart and change the server."""
        return self.subject.launcher is not None

    @contextmanager
    def _launcher_to(self, do: str) -> Iterator[Launcher]:
        """What can start, stop and change the server; `do` says what for, if there is none."""
        if self.subject.launcher is None:
            raise CouldNotTest(f"it needs a launcher to {do}; give --launch")
        try:
            yield self.subject.launcher
        except Unsupported as error:
            raise CouldNotTest(f"the launcher: {error}") from None

    def change(self, **settings: Any) -> None:
        """Let other settings be in force until the check ends, named as in `launcher`, with _ for -."""
        named = {name.replace("_", "-"): value for name, value in settings.items()}
        with self._launcher_to(f"change {', '.join(named)}") as launcher:
            self.subject.follow(launcher.change(named))
        self._is_changed = True
        self.note(f"settings changed: {', '.join(f'{name} = {value}' for name, value in named.items())}")

    def refusal(self, **settings: Any) -> str | None:
        """Why the server refuses these settings; None if it takes them."""
        named = {name.replace("_", "-"): value for name, value in settings.items()}
        with self._launcher_to(f"try the setting {', '.join(named)}") as launcher:
            said = launcher.refusal(named)
        self.note(f"settings tried: {named}: {'taken' if said is None else said}")
        return said

    def begin_to_stop(self) -> None:
        """Stop the server in order; it is started again when the check ends."""
        with self._launcher_to("stop the server") as launcher:
            launcher.stop()
        self._is_changed = True
        self.note("the server was told to stop")

    def restart(self) -> None:
        """Stop the server in order and start it again; no connection stays."""
        self.hang_up()
        with self._launcher_to("restart the server") as launcher:
            self.subject.follow(launcher.restart())
        self.note("the server was stopped in order, and started again")

    def _start_again(self, launcher: Launcher) -> None:
        """Start what was stopped; what cannot be started again cannot be tested any further."""
        try:
            self.subject.follow(launcher.restart())
        except Unsupported as error:
            raise LauncherFailed(
                f"the launcher has stopped the server, and cannot start it again: {error}"
            ) from None

    def kill_and_start(self) -> None:
        """End the server without giving it a chance to say anything, and start it again."""
        with self._launcher_to("kill the server") as launcher:
            launcher.kill()
            self._start_again(launcher)
        self.note("the server was killed, and started again")

    def end_session(self, jid: str) -> None:
        """Let the server close a stream, as an administrator can."""
        with self._launcher_to("end a session") as launcher:
            launcher.end_session(jid)
        self.note(f"the session {jid} was ended by the administrator")

    def renew_certificate(self, domain: str) -> None:
        """Let the server have a new certificate, without a restart."""
        with self._launcher_to("renew a certificate") as launcher:
            launcher.renew_certificate(domain)
        self.note(f"the certificate of {domain} was renewed")

    def use_certificate(self, domain: str, chain: str, key: str) -> None:
        """Let the server have this certificate, without a restart."""
        with self._launcher_to("give the server another certificate") as launcher:
            launcher.use_certificate(domain, chain, key)
        self.note(f"{domain} was given another certificate")

    def dns_records(self, domain: str) -> str:
        """What the product tells the administrator to put into the DNS."""
        with self._launcher_to("ask the product for its DNS records") as launcher:
            records = launcher.dns_records(domain)
        self.note(f"DNS records: {records}")
        return records

    def new_account_once(self, name: str, password: str, domain: str = "") -> Account:
        """An account of that name, made if an earlier check has not; of the domain under test if none is named."""
        account = Account(name, domain or self.domain, password)
        if account not in self.subject.made:
            with self._launcher_to("make an account") as launcher:
                launcher.add_account(account.jid, account.password)
            self.subject.made = (*self.subject.made, account)
        return account

    # ---- connections

    def connection(self, over: AddressFamily | None = None) -> Connection:
        """A TCP connection that is closed when the check ends; over IPv4, IPv6, or as the address was given."""
        name = f"c{self._connections_before + len(self._connections) + 1}"
        connection = Connection(self.subject.address(over), name, self.transcript, self.subject.dial)
        self._connections.append(connection)
        return connection

    def connect(self, domain: str = "", *, over: AddressFamily | None = None) -> Client:
        """A client that has connected and said nothing."""
        return Client(self.connection(over), self.subject, domain or self.domain)

    def login(
        self, number: int = 0, resource: str | None = None, *, over: AddressFamily | None = None
    ) -> Client:
        """A client of an account that has bound a resource."""
        return self.connect(over=over).login(self.account(number), resource)

    def capture(self, over: AddressFamily) -> Capture:
        """The packets that the server sends to its clients over IPv4 or IPv6, from now on."""
        return Capture(over, self.subject.address(over)[1])

    @contextmanager
    def on_a_host_with_ipv6_alone(self) -> Iterator[Site]:
        """The same product, started afresh by its launcher on a host that has ::1 and nothing else."""
        start = "start the server on a host with IPv6 alone"
        with self._launcher_to(start):
            host = IPv6OnlyHost(launchers.command(self.subject.launch))
        self.note("a network namespace with ::1 alone was made")
        try:
            try:
                with self._launcher_to(start):
                    subject = launched(host.launcher, self.subject.launch, {"ipv4": False})
            except LauncherFailed as error:
                raise NotMet(f"the server does not start: {error}") from None
            subject.dial = host.dial
            self.note(f"{subject.system} {subject.version} runs there and serves {subject.host}")
            alone = Site(subject, self.transcript)
            yield alone
            alone.end()
        finally:
            host.close()

    def note(self, text: str) -> None:
        """Keep something that was seen as evidence."""
        self.transcript.add("--", EVENT, text)

    def hang_up(self) -> None:
        """End all connections of the check until now."""
        for connection in self._connections:
            connection.close()
        self._connections_before += len(self._connections)
        self._connections.clear()

    def end(self) -> None:
        """The check is over: no connection stays, and the settings are as before."""
        self.hang_up()
        if self._is_changed and (launcher := self.subject.launcher) is not None:
            try:
                self.subject.follow(launcher.change({}))
            except Unsupported:  # so no setting was changed, but the server was stopped
                self._start_again(launcher)
