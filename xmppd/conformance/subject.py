"""The server under test: where it is, whom it serves, and who may change it."""

from __future__ import annotations

from dataclasses import dataclass, field

from xmppd.conformance.launcher import Facts, Launcher


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
    disabled_accounts: tuple[Account, ...] = ()
    launcher: Launcher | None = None
    system: str = "unknown"
    version: str = ""
    port6: int | None = None  # on ::1
    s2s_port: int | None = None
    facts: dict[str, str] = field(default_factory=dict)  # further rows of the report

    def follow(self, facts: Facts) -> None:
        """Take over what the launcher says after a start or a change."""
        self.host, self.port = facts.host, facts.port
        self.port6 = facts.port6
        self.ca_file = facts.ca_file
        self.system, self.version = facts.system, facts.version
