"""The server under test: where it is, whom it serves, and who may change it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from xmppd.conformance.launcher import Facts, Launcher, Settings
from xmppd.conformance.verdict import CouldNotTest

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
NAMES: Final = {IPV4: "IPv4", IPV6: "IPv6"}

PATIENCE_S: Final = 5.0  # for an answer that a server gives at once

# what a launched server serves, and for whom
DOMAINS: Final = ("one.example", "two.example")
ACCOUNTS: Final = ("juliet", "romeo", "nurse")

# from address and seconds to a TCP connection; raises OSError
Dial = Callable[[tuple[str, int], float], socket.socket]


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the server under test."""

    name: str
    domain: str
    password: str

    @property
    def jid(self) -> str:
        """The bare JID."""
        return f"{self.name}@{self.domain}"

    @classmethod
    def parse(cls, text: str) -> Account:
        """From `JID:PASSWORD`; the password may hold colons. Raises ValueError."""
        jid, colon, password = text.partition(":")
        name, at, domain = jid.partition("@")
        if not (colon and at and name and domain and password) or "/" in domain:
            raise ValueError("an account is written JID:PASSWORD, as in alice@example.org:secret")
        return cls(name, domain, password)


@dataclass(slots=True)
class Subject:
    """What is known about the server under test."""

    host: str
    port: int
    domains: tuple[str, ...]
    ca_file: str | None = None  # PEM; what clients trust
    accounts: tuple[Account, ...] = ()
    made: tuple[Account, ...] = ()  # those that checks had to make
    disabled_accounts: tuple[Account, ...] = ()
    expired_accounts: tuple[Account, ...] = ()  # whose passwords have expired
    launcher: Launcher | None = None
    launch: str = ""  # the name or command of the launcher
    system: str = "unknown"
    version: str = ""
    more_hosts: tuple[str, ...] = ()  # further addresses, with the same port
    port6: int | None = None  # on ::1
    s2s_port: int | None = None
    configuration: str = ""  # what it was set up with, as text for the report
    dial: Dial = socket.create_connection
    patience_s: float = PATIENCE_S

    def follow(self, facts: Facts) -> None:
        """Take over what the launcher says after a start or a change."""
        self.host, self.port = facts.host, facts.port
        self.port6 = facts.port6
        self.ca_file = facts.ca_file
        self.system, self.version = facts.system, facts.version

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where clients connect, as it was given, each once."""
        found = [(host, self.port) for host in (self.host, *self.more_hosts)]
        if self.port6 is not None:
            found.append(("::1", self.port6))
        return list(dict.fromkeys(found))

    def is_reached(self, over: socket.AddressFamily) -> bool:
        """Whether there is an address of this version of IP."""
        try:
            self.address(over)
        except CouldNotTest:
            return False
        return True

    def address(self, over: socket.AddressFamily | None = None) -> tuple[str, int]:
        """Where clients connect, over IPv4, over IPv6, or as it was given. Raises CouldNotTest."""
        if over is None:
            return self.host, self.port
        if over is IPV6 and self.port6 is not None:
            return "::1", self.port6
        for host in (self.host, *self.more_hosts):
            try:
                found = socket.getaddrinfo(host, self.port, over, socket.SOCK_STREAM)
            except OSError:
                continue
            # what was given, if it is an address: it may have a zone
            return host if ":" in host else str(found[0][4][0]), self.port
        why = f"{self.host} has no address in {NAMES[over]}"
        remedy = "give a --host that has one" if self.launcher is None else "this host may lack it"
        raise CouldNotTest(f"{why}; {remedy}")


def launched(launcher: Launcher, launch: str, settings: Settings | None = None) -> Subject:
    """A server started by a launcher, with domains and accounts of its own. Raises LauncherFailed, Unsupported."""
    facts = launcher.start(list(DOMAINS), settings or {})
    subject = Subject(
        facts.host, facts.port, DOMAINS, launcher=launcher, launch=launch, configuration=facts.configuration
    )
    subject.follow(facts)
    subject.accounts = tuple(Account(name, DOMAINS[0], f"{name}'s password") for name in ACCOUNTS)
    for account in subject.accounts:
        launcher.add_account(account.jid, account.password)
    return subject
