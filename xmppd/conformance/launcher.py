"""Starting and changing the server under test: the protocol of launchers.

A launcher makes a scratch site with its own certificates, starts the server under test on free loopback ports,
changes its settings, adds accounts, stops and kills it. Launchers for some servers come with the package
(`launchers/`); for any other server a launcher is a program that reads requests from standard input and writes
answers to standard output, one JSON object on a line:

    → {"do": "start", "with": {"domains": ["one.example", "two.example"], "settings": {}}}
    ← {"ok": {"system": "xmppd", "version": "1.0", "host": "127.0.0.1", "port": 40001, "ca_file": "...",
              "port6": null, "configuration": "..."}}
    → {"do": "change", "with": {"settings": {"sasl-retries": 3}}}
    ← {"unsupported": "there is no such setting"}
    → {"do": "add_account", "with": {"jid": "alice@one.example", "password": "secret"}}
    ← {"error": "the server is not running"}

`do` is the name of a method of `Launcher`, `with` holds its parameters, `ok` what it returns. `unsupported` makes
the parts that need it "could not test: ..."; `error` ends the run. The launcher ends when its input ends, and then
leaves nothing behind: no process, no file.

Settings have the same names for all servers, and are absent or null where the server's default applies:

    sasl-retries         attempts on one stream after the first failed one (3-24)
    close-timeout        seconds to wait for the other side's closing tag (1-18, 1-35)
    idle-timeout         seconds of silence, pings included, after which a dead client is dropped (1-34)
    negotiation-timeout  seconds from the connection to the bound resource
    max-stanza-bytes     largest stanza of a client that is logged in (1-34)
    unfinished-bytes     memory for unfinished stanzas of all streams that are not logged in (1-34)
    sessions-per-account resources that one account may have at a time
    dscp                 0 to 63 (13-1)
    ipv4                 false, and only at the start: the host has no IPv4, serve ::1 alone (14-1)
    sasl-mechanisms      names of the mechanisms offered, best first (3-23)
    mechanisms-too-weak  names of mechanisms that policy forbids for the accounts under test (3-23)
    accounts-unreachable true: what holds the accounts cannot be asked (3-23)
    storage-locked       true: what holds rosters and messages cannot be written (6-21, 6-25)
    roster-items         contacts that a roster may have (6-25)
    client-port          serve clients on this port, on any loopback address (1-5)
    starttls-required    false: streams without TLS may log in (2-1); a good server refuses it
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any, Final, Protocol

ANSWER_TIMEOUT_S: Final = 60.0
END_TIMEOUT_S: Final = 10.0

Settings = Mapping[str, Any]


class Unsupported(Exception):
    """The server, or its launcher, cannot do this; the text says why."""


class LauncherFailed(Exception):
    """The launcher did not do what it should be able to."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of the server while it runs."""

    system: str
    version: str
    host: str
    port: int
    ca_file: str | None
    port6: int | None = None  # where it serves clients on ::1
    configuration: str = ""  # what it runs with, as text for the report; without secrets


class Launcher(Protocol):
    """What a launcher can do. Any method may raise Unsupported or LauncherFailed."""

    def start(self, domains: list[str], settings: Settings) -> Facts:
        """Make a fresh site that serves the domains, and start it."""

    def change(self, settings: Settings) -> Facts:
        """Let exactly these settings be in force for new connections; restart if that is needed."""

    def refusal(self, settings: Settings) -> str | None:
        """Try settings without starting them: why the server refuses them, or None if it takes them."""

    def restart(self) -> Facts:
        """Stop the server in order and start it again."""

    def stop(self) -> None:
        """Begin to stop the server in order; do not wait for its streams to end."""

    def kill(self) -> None:
        """End the server without giving it a chance to say anything."""

    def add_account(self, jid: str, password: str) -> None:
        """Make an account."""

    def disable_account(self, jid: str) -> None:
        """Keep an account from logging in."""

    def expire_password(self, jid: str) -> None:
        """Let the password of an account be good no more."""

    def end_session(self, jid: str) -> None:
        """Let the server close the stream of a full JID, as an administrator can."""

    def renew_certificate(self, domain: str) -> None:
        """Give a domain a new certificate of the same CA, without a restart."""

    def use_certificate(self, domain: str, chain: str, key: str) -> None:
        """Give a domain a certificate with what is to be sent behind it, and its key, in PEM, without a restart."""

    def dns_records(self, domain: str) -> str:
        """What the product tells the administrator to put into the DNS, in zone file format."""

    def close(self) -> None:
        """End the server and remove the site."""


class ChildLauncher:
    """A launcher that is a program."""

    def __init__(self, command: str, *, pass_fds: tuple[int, ...] = ()) -> None:
        self.command = command
        try:
            self._process = subprocess.Popen(
                shlex.split(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=pass_fds,
            )
        except (OSError, ValueError, IndexError) as error:
            raise LauncherFailed(f'the launcher "{command}" cannot be started: {error}') from None
        self._buffer = b""

    def _do(self, word: str, **params: Any) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": word, "with": params}).encode() + b"\n")
        except OSError:
            raise LauncherFailed(f"{self.command}: has ended") from None
        try:
            answer = json.loads(self._line(word))
        except ValueError:
            raise LauncherFailed(f"{self.command}: the answer to {word} is not JSON") from None
        if "unsupported" in answer:
            raise Unsupported(answer["unsupported"])
        if "ok" not in answer:
            raise LauncherFailed(f"{self.command}: {word}: {answer.get('error', 'no answer')}")
        return answer["ok"]

    def _line(self, word: str) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while b"\n" not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise LauncherFailed(f"{self.command}: no answer to {word} within {ANSWER_TIMEOUT_S:g} s")
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                raise LauncherFailed(f"{self.command}: ended without an answer to {word}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _facts(self, word: str, **params: Any) -> Facts:
        said = self._do(word, **params)
        try:
            return Facts(**said)
        except TypeError as error:
            raise LauncherFailed(f"{self.command}: the answer to {word} is wrong: {error}") from None

    def start(self, domains: list[str], settings: Settings) -> Facts:
        return self._facts("start", domains=domains, settings=dict(settings))

    def change(self, settings: Settings) -> Facts:
        return self._facts("change", settings=dict(settings))

    def refusal(self, settings: Settings) -> str | None:
        said = self._do("refusal", settings=dict(settings))
        return None if said is None else str(said)

    def restart(self) -> Facts:
        return self._facts("restart")

    def stop(self) -> None:
        self._do("stop")

    def kill(self) -> None:
        self._do("kill")

    def add_account(self, jid: str, password: str) -> None:
        self._do("add_account", jid=jid, password=password)

    def disable_account(self, jid: str) -> None:
        self._do("disable_account", jid=jid)

    def expire_password(self, jid: str) -> None:
        self._do("expire_password", jid=jid)

    def end_session(self, jid: str) -> None:
        self._do("end_session", jid=jid)

    def renew_certificate(self, domain: str) -> None:
        self._do("renew_certificate", domain=domain)

    def use_certificate(self, domain: str, chain: str, key: str) -> None:
        self._do("use_certificate", domain=domain, chain=chain, key=key)

    def dns_records(self, domain: str) -> str:
        return str(self._do("dns_records", domain=domain))

    def close(self) -> None:
        """End the input of the program, and wait for it to end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(END_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()


METHODS: Final = frozenset(name for name in vars(Launcher) if not name.startswith("_")) - {"close"}


def serve(launcher: Launcher, requests: IO[str], answers: IO[str]) -> None:
    """Let a launcher written in Python be a program: answer requests until there are no more."""
    try:
        for line in requests:
            print(json.dumps(_answer(launcher, line), ensure_ascii=False), file=answers, flush=True)
    finally:
        launcher.close()


def _answer(launcher: Launcher, line: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
        word, params = request["do"], request.get("with", {})
    except (ValueError, TypeError, KeyError):
        return {"error": "a request is an object with the key do"}
    if word not in METHODS:
        return {"unsupported": f"there is no {word}"}
    try:
        said = getattr(launcher, word)(**params)
    except Unsupported as error:
        return {"unsupported": str(error)}
    except (LauncherFailed, TypeError) as error:
        return {"error": str(error)}
    return {"ok": asdict(said) if isinstance(said, Facts) else said}
