"""What the launchers of other makers' servers have in common: a folder, a CA, ports, and a process.

A setting that the server has not is Unsupported, with the reason. Any other change of settings is written into the
configuration and the server started again, for not every server can take all of them over while it runs.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from xmppd.conformance.authority import Authority, write
from xmppd.conformance.launcher import Facts, Settings, Unsupported
from xmppd.conformance.launchers.process import ServerProcess, accepts, free_port, has_ipv6


class Scratch(ABC):
    """One scratch site."""

    system: ClassVar[str]
    config_name: ClassVar[str]
    known: ClassVar[frozenset[str]]  # settings that `written` can write
    lacking: ClassVar[Mapping[str, str]]  # those that the server has not, and why

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.system.lower()}-conformance-"))
        self.config = self.folder / self.config_name
        self.domains: list[str] = []
        self.certificates: dict[str, tuple[Path, Path]] = {}
        self.port = self.s2s_port = 0
        self.loopback: list[str] = []  # the addresses of this host, IPv4 first
        self.addresses: list[str] = []  # where clients are served
        self._process = ServerProcess(self.folder / "log")
        self._authority = Authority(self.folder)
        # nobody else listens here, so that any port is free
        self._own_address = f"127.{'.'.join(str(1 + secrets.randbelow(254)) for _ in range(3))}"
        self._version = ""
        self._own_port = 0

    # ---- what each server has of its own

    @abstractmethod
    def written(self, settings: Mapping[str, Any]) -> str:
        """The configuration with these settings, all of them known and none None. May raise Unsupported."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What starts it in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """What is added to the environment of the command."""
        return {}

    def is_ready(self) -> bool:
        """Whether all that was started answers."""
        return all(accepts(address, self.port) for address in self.addresses)

    @abstractmethod
    def version(self) -> str:
        """Its version, asked of the running server."""

    # ---- the life of the server

    def start(self, domains: list[str], settings: Settings) -> Facts:
        self.domains = domains
        self.loopback = ["127.0.0.1"] if settings.get("ipv4") is not False else []
        if has_ipv6() or not self.loopback:
            self.loopback.append("::1")
        self.certificates = {domain: self._authority.issue(domain) for domain in domains}
        self._own_port = free_port(*self.loopback)
        self.s2s_port = free_port(self.loopback[0])
        self.config.write_text(self._configuration(settings), encoding="utf-8")
        self._start()
        self._version = self.version()
        return self._facts()

    def _configuration(self, settings: Settings) -> str:
        given = {name: value for name, value in settings.items() if value is not None and name != "ipv4"}
        for name in given:
            if name not in self.known | {"client-port"}:
                why = self.lacking.get(name, "there is no such setting")
                raise Unsupported(f"{self.system} has no setting for {name}: {why}")
        port = given.pop("client-port", None)
        self.port = port or self._own_port
        self.addresses = self.loopback if port is None else [self._own_address]
        return self.written(given)

    def _start(self) -> None:
        self._process.start(self.command(), self.is_ready, self.environment())

    def _facts(self) -> Facts:
        return Facts(
            system=self.system,
            version=self._version,
            host=self.addresses[0],
            port=self.port,
            port6=self.port if "::1" in self.addresses else None,
            ca_file=str(self._authority.ca_file),
            configuration=self.config.read_text(encoding="utf-8"),
        )

    def change(self, settings: Settings) -> Facts:
        written = self._configuration(settings)
        if self._process.is_up and written == self.config.read_text(encoding="utf-8"):
            return self._facts()
        self.config.write_text(written, encoding="utf-8")
        return self.restart()

    def restart(self) -> Facts:
        self.stop()
        self._process.wait()
        self._start()
        return self._facts()

    def stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        self._process.kill()

    def renew_certificate(self, domain: str) -> None:
        self.certificates[domain] = self._authority.issue(domain)
        self.reload()

    def use_certificate(self, domain: str, chain: str, key: str) -> None:
        self.certificates[domain] = write(self.folder, domain, chain, key)
        self.reload()

    @abstractmethod
    def reload(self) -> None:
        """Let it read configuration and certificates again."""

    def expire_password(self, jid: str) -> None:
        raise Unsupported(f"passwords of {self.system} do not expire")

    def dns_records(self, domain: str) -> str:
        raise Unsupported(f"{self.system} has no command that prints DNS records")

    def close(self) -> None:
        self.stop()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
