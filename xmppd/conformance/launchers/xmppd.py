"""The launcher of xmppd. It uses nothing but the command line of the server, and SQLite, as anybody could.

`python -m xmppd.conformance.launchers.xmppd` is the same launcher as a program.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from xmppd.conformance.launcher import Facts, LauncherFailed, Settings, Unsupported, serve
from xmppd.conformance.launchers.process import ServerProcess, has_ipv6, run

NOTICE_S: Final = 0.2  # how long one look for the notice of systemd's kind takes

# name of the setting to table and keys of the configuration
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "sasl-retries": ("sasl.retries",),
    "close-timeout": ("stream.close_timeout_s",),
    "idle-timeout": ("stream.idle_ping_s", "stream.ping_timeout_s"),
    "negotiation-timeout": ("stream.negotiation_timeout_s",),
    "max-stanza-bytes": ("limits.stanza_bytes",),
    "sessions-per-account": ("limits.sessions_per_account",),
    "unfinished-bytes": ("limits.partial_bytes_total",),
    "starttls-required": ("tls.required",),  # there is no such key, which the server says
    "dscp": ("net.dscp",),
    "roster-items": ("limits.roster_items",),
    "sasl-mechanisms": ("sasl.mechanisms",),
}
MECHANISMS: Final = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")
# a run opens many connections from one address, fast, fails to log in often, and need not wait for its own lock
ROOM: Final[Mapping[str, Any]] = {"limits.connections_per_address": 4096, "store.busy_timeout_s": 0.5}


class Xmppd:
    """One scratch site."""

    def __init__(self, program: tuple[str, ...] = (sys.executable, "-m", "xmppd")) -> None:
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="xmppd-conformance-"))
        self._config = self._folder / "xmppd.toml"
        self._database = self._folder / "data" / "xmppd.sqlite"
        self._domains: list[str] = []
        self._accounts: list[str] = []
        self._process = ServerProcess(self._folder / "log")
        self._lock: sqlite3.Connection | None = None
        # nobody else listens here, so that any port is free
        self._own_address = f"127.{'.'.join(str(1 + secrets.randbelow(254)) for _ in range(3))}"
        self._version = ""
        self._addresses: list[str] = []  # where it serves clients
        self._plain = ""  # the configuration as `init` wrote it

    # ---- the command line

    def _run(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return run([*self._program, *words], stdin)

    def _command(self, *words: str, stdin: str | None = None) -> str:
        done = self._run(*words, stdin=stdin)
        if done.returncode:
            raise LauncherFailed(f"xmppd {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _here(self, *words: str, stdin: str | None = None) -> str:
        return self._command("-c", str(self._config), *words, stdin=stdin)

    def _init(self, *words: str) -> None:
        domains = (f"--domain={domain}" for domain in self._domains)
        listeners = (f"--c2s={address}:0" for address in self._addresses)
        self._command("init", str(self._folder), *domains, *listeners, *words)

    def _written(self, settings: Settings) -> str:
        """The configuration with the settings behind it."""
        tables: dict[str, dict[str, Any]] = {}
        wanted = dict(ROOM)
        plain = self._plain
        for name, value in settings.items():
            if name == "storage-locked":
                continue
            if name == "client-port":
                plain = plain.replace('"127.0.0.1:0"', f'"{self._own_address}:{value}"')
                continue
            if name == "ipv4":
                continue  # which was seen to at the start
            if name == "mechanisms-too-weak":
                wanted["sasl.strong_accounts"] = self._accounts if value else []
                wanted["sasl.strong_mechanisms"] = [each for each in MECHANISMS if each not in (value or ())]
                continue
            if name == "accounts-unreachable":
                continue  # no setting: see _hide_accounts
            if name not in KEYS:
                raise Unsupported(f"xmppd has no setting for {name}")
            if value is not None:
                wanted |= dict.fromkeys(KEYS[name], value)
        for key, value in wanted.items():
            table, _, name = key.partition(".")
            tables.setdefault(table, {})[name] = value
        return plain + "".join(
            f"\n[{table}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in keys.items())
            for table, keys in tables.items()
        )

    # ---- the life of the server

    def start(self, domains: list[str], settings: Settings) -> Facts:
        self._domains = domains
        self._addresses = ["127.0.0.1"] if settings.get("ipv4") is not False else []
        if has_ipv6() or not self._addresses:
            self._addresses.append("[::1]")
        self._version = self._command("--version").split()[-1]
        self._init()
        self._plain = self._config.read_text(encoding="utf-8")
        self._config.write_text(self._written(settings), encoding="utf-8")
        return self._start()

    def _start(self) -> Facts:
        notices = self._folder / "ready"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            notices.unlink(missing_ok=True)
            ready.bind(str(notices))
            ready.settimeout(NOTICE_S)

            def is_ready() -> bool:
                try:
                    return b"READY=1" in ready.recv(4096)
                except TimeoutError:
                    return False

            self._process.start(
                [*self._program, "-c", str(self._config), "run"], is_ready, {"NOTIFY_SOCKET": str(notices)}
            )
        return self._facts()

    def _facts(self) -> Facts:
        status = json.loads(self._here("status", "--json"))
        ports = {each["host"]: each["port"] for each in status["listeners"] if each["kind"] == "c2s"}
        port6 = ports.get("::1")
        host, port = next(iter(ports.items()))  # in the order of the configuration: IPv4 first
        return Facts(
            system="xmppd",
            version=self._version,
            host=host,
            port=port,
            port6=port6,
            ca_file=str(self._folder / "tls" / "ca.pem"),
            configuration=self._config.read_text(encoding="utf-8"),
        )

    def _hide_accounts(self, hidden: bool) -> None:
        """The database of the accounts is away, as if its disk had been taken out; and there again."""
        aside = self._database.with_suffix(".aside")
        if hidden and self._database.exists():
            self._database.rename(aside)
        elif not hidden and aside.exists():
            aside.rename(self._database)

    def _lock_storage(self, locked: bool) -> None:
        """Hold the database's lock as another program might, or give it back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if locked:
            self._lock = sqlite3.connect(self._database, isolation_level=None, check_same_thread=False)
            self._lock.execute("BEGIN IMMEDIATE")

    def change(self, settings: Settings) -> Facts:
        facts = self._change(settings)
        self._hide_accounts(bool(settings.get("accounts-unreachable")))
        self._lock_storage(bool(settings.get("storage-locked")))
        return facts

    def _change(self, settings: Settings) -> Facts:
        self._hide_accounts(False)
        self._lock_storage(False)
        written = self._written(settings)
        if written != self._config.read_text(encoding="utf-8"):
            self._config.write_text(written, encoding="utf-8")
            if self._process.is_up and json.loads(self._here("reload", "--json"))["restart"]:
                return self.restart()
        return self._facts() if self._process.is_up else self.restart()

    def refusal(self, settings: Settings) -> str | None:
        trial = self._config.with_name("trial.toml")
        trial.write_text(self._written(settings), encoding="utf-8")
        done = self._run("-c", str(trial), "check")
        return (done.stdout + done.stderr).strip() if done.returncode else None

    def restart(self) -> Facts:
        self.stop()
        self._process.wait()
        return self._start()

    def stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        self._process.kill()

    # ---- accounts and the rest

    def add_account(self, jid: str, password: str) -> None:
        self._here("user", "add", jid, "--password-stdin", stdin=password + "\n")
        self._accounts.append(jid)

    def disable_account(self, jid: str) -> None:
        self._here("user", "disable", jid)

    def expire_password(self, jid: str) -> None:
        self._here("user", "expire", jid)

    def end_session(self, jid: str) -> None:
        self._here("session", "kick", jid)

    def renew_certificate(self, domain: str) -> None:
        written = self._config.read_text(encoding="utf-8")
        self._init("--force")
        self._config.write_text(written, encoding="utf-8")
        self._here("reload")

    def use_certificate(self, domain: str, chain: str, key: str) -> None:
        for suffix, text in (("key", key), ("pem", chain)):
            (self._folder / "tls" / f"{domain}.{suffix}").write_text(text, encoding="ascii")
        self._here("reload")

    def dns_records(self, domain: str) -> str:
        done = self._run("-c", str(self._config), "dns", domain)
        if done.returncode == 2:
            raise Unsupported("this version of xmppd has no command that prints DNS records")
        if done.returncode:
            raise LauncherFailed(done.stderr.strip())
        return done.stdout

    def close(self) -> None:
        self._lock_storage(False)
        self.stop()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


if __name__ == "__main__":
    serve(Xmppd(), sys.stdin, sys.stdout)
