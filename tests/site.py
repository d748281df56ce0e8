"""A whole server for tests: made by `xmppd init`, run by `xmppd run` in its own process, spoken to over loopback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.local_server import ServerError, started
from tests.xmpp_client import XMPPClient

XMPPD = [sys.executable, "-m", "xmppd"]
PASSWORD = "secret of {user}"


class Site:
    """One server in `directory`. `settings` is TOML that stands behind the listeners and domains."""

    def __init__(
        self,
        directory: Path,
        *,
        domains: tuple[str, ...] = ("localhost",),
        settings: str = "",
        users: tuple[str, ...] = ("alice", "bob"),
        listeners: tuple[str, ...] = ('address = "127.0.0.1:0"',),
        profile: str = "uc-2013",
    ) -> None:
        self.directory = directory
        self.domains = domains
        self.config = directory / "xmppd.toml"
        self.ca = str(directory / "tls" / "ca.pem")
        self.process: subprocess.Popen[bytes] | None = None
        self.log_path = directory / "log"
        self.xmppd(
            "init", str(directory), *(f"--domain={domain}" for domain in domains), f"--profile={profile}"
        )
        self.write(settings, listeners=listeners, profile=profile)
        for user in users:
            self.add_user(user)

    def write(
        self,
        settings: str,
        *,
        listeners: tuple[str, ...] = ('address = "127.0.0.1:0"',),
        profile: str = "uc-2013",
    ) -> None:
        """Write the configuration."""
        parts = [f'profile = "{profile}"\n']
        parts += [f'[[domains]]\nname = "{domain}"\n' for domain in self.domains]
        parts += [f"[[listeners]]\n{listener}\n" for listener in listeners]
        self.config.write_text("\n".join([*parts, settings]), encoding="utf-8")

    def xmppd(
        self, *words: str, stdin: str | None = None, expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line; `expect` is the exit status it must have."""
        done = subprocess.run(
            [*XMPPD, *words], input=stdin, capture_output=True, text=True, timeout=60, check=False
        )
        assert expect is None or done.returncode == expect, (
            f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def command(
        self, *words: str, stdin: str | None = None, expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """A command for this server."""
        return self.xmppd("-c", str(self.config), *words, stdin=stdin, expect=expect)

    def json(self, *words: str) -> Any:
        """What a command answers with --json."""
        return json.loads(self.command(*words, "--json").stdout)

    def add_user(self, user: str, domain: str | None = None) -> str:
        """Make an account; its address."""
        jid = f"{user}@{domain or self.domains[0]}"
        self.command("user", "add", jid, "--password-stdin", stdin=PASSWORD.format(user=user) + "\n")
        return jid

    def start(self, **environment: str) -> Site:
        """Start the server and wait until it says that it is ready."""
        try:
            self.process = started([*XMPPD, "-c", str(self.config), "run"], self.log_path, **environment)
        except ServerError as error:
            raise AssertionError(f"{error}: {self.log}") from error
        return self

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        return self.log_path.read_text(encoding="utf-8") if self.log_path.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def status(self) -> dict[str, Any]:
        """`xmppd status --json`."""
        found: dict[str, Any] = self.json("status")
        return found

    def address(self, number: int = 0) -> tuple[str, int]:
        """Where listener `number` really listens."""
        listener = self.status["listeners"][number]
        return listener["host"], listener["port"]

    def connect(self, domain: str | None = None, number: int = 0) -> XMPPClient:
        """A new connection, nothing sent yet."""
        if not hasattr(self, "_addresses"):
            self._addresses = {i: (e["host"], e["port"]) for i, e in enumerate(self.status["listeners"])}
        return XMPPClient(self._addresses[number], domain or self.domains[0])

    def login(
        self, user: str, resource: str | None = None, domain: str | None = None, **attributes: str
    ) -> XMPPClient:
        """A bound client of an account made by `add_user`."""
        return self.connect(domain).login(
            user, PASSWORD.format(user=user), resource, ca=self.ca, **attributes
        )

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 20.0) -> int:
        """End the server; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout_s)
        self.process = None
        if hasattr(self, "_addresses"):
            del self._addresses
        return status
