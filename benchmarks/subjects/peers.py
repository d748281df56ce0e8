"""The peers: Prosody and ejabberd as Debian 13 ships them, each set up as its manual has it for such a load.

What the scenarios use is switched on in them, nothing beside it; no rate limits, logs at warn, SCRAM keys
stored, the newest TLS. `scripts/peers` unpacks them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.programs import ROOT
from benchmarks.subjects import ADDRESS, DOMAIN, ITERATIONS, PASSWORD, Subject
from scripts.local_server import ServerError, command, ended, free_port
from tests.certs import make_ca, make_cert

PEERS: Final = ROOT / ".cache" / "peers" / "trixie"
START_WITHIN_S: Final = 30


def make_root() -> None:
    """Where they run, if it is not there yet. ServerError if it cannot be made."""
    command([str(ROOT / "scripts" / "peers")], timeout_s=1800)


class Peer(Subject):
    """A server of Debian's, in the root that scripts/peers makes."""

    kind = "peer"
    package: str

    def prepare(self) -> None:
        make_root()
        self.port = free_port([ADDRESS])
        self.certificate, self.key = make_cert(make_ca(), [DOMAIN]).write(self.folder)

    @property
    def version(self) -> str:
        for line in (PEERS / "versions").read_text(encoding="utf-8").splitlines():
            package, version = line.split()
            if package == self.package:
                return f"{self.name} {version}"
        return self.name

    def launch(self, words: list[str], **environment: str) -> None:
        """Start it, and wait until it listens."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["/usr/bin/setpriv", "--pdeathsig", "TERM", *self.pinned(), str(PEERS / "enter"), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ
                | {"TMPDIR": str(self.folder), "HOME": str(self.folder), "MALLOC_ARENA_MAX": "1"}
                | environment,
            )
        self.pid = self.process.pid
        try:
            self.wait_until(self.listens)
        except ServerError:
            self.stop()
            raise

    def listens(self) -> bool:
        wanted = f"{self.port:04X}"
        for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            local, _, state = line.split()[1:4]
            if local.endswith(f":{wanted}") and state == "0A":
                return True
        return False

    def wait_until(self, done: Callable[[], bool], within_s: float = START_WITHIN_S) -> None:
        end = time.monotonic() + within_s
        while not done():
            if self.process.poll() is not None:
                log = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
                raise ServerError(f"{self.name} ended with {self.process.returncode}: {log[-2000:]}")
            if time.monotonic() > end:
                raise ServerError(f"{self.name} was not ready after {within_s:g} s")
            time.sleep(0.05)

    def stop(self) -> None:
        ended(self.process)


PROSODY: Final = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
log = {{ warn = "{folder}/prosody.log" }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "version"; "time"; "ping"; "offline" }}
modules_disabled = {{ "s2s" }}
authentication = "internal_hashed"
storage = "internal"
network_backend = "epoll"
interfaces = {{ "{address}" }}
c2s_ports = {{ {port} }}
s2s_ports = {{ }}
unbound = {{ resolvconf = false; hoststxt = false }}
c2s_require_encryption = true
ssl = {{ certificate = "{certificate}"; key = "{key}"; protocol = "tlsv1_2+" }}

VirtualHost "{domain}"
"""


class Prosody(Peer):
    name = "Prosody"
    package = "prosody"

    def prepare(self) -> None:
        super().prepare()
        self._config = self.folder / "prosody.cfg.lua"
        self._config.write_text(
            PROSODY.format(
                folder=self.folder,
                address=ADDRESS,
                port=self.port,
                certificate=self.certificate,
                key=self.key,
                domain=DOMAIN,
            ),
            encoding="utf-8",
        )
        accounts = self.folder / "data" / DOMAIN / "accounts"
        accounts.mkdir(parents=True)
        kept = self._kept_account()
        for n in range(self.accounts):
            (accounts / f"u{n}.dat").write_text(kept, encoding="ascii")

    def _kept_account(self) -> str:
        """An account's file: SCRAM keys, as the server itself would write them; one derivation serves all."""
        salt = "salt-of-all"
        salted = hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), salt.encode(), ITERATIONS)
        client = hmac.digest(salted, b"Client Key", "sha1")
        stored = hashlib.sha1(client, usedforsecurity=False).hexdigest()
        server = hmac.digest(salted, b"Server Key", "sha1").hex()
        return (
            f'return {{ ["stored_key"] = "{stored}"; ["server_key"] = "{server}";'
            f' ["salt"] = "{salt}"; ["iteration_count"] = {ITERATIONS}; }};\n'
        )

    def start(self) -> None:
        self.launch(["prosody", "--config", str(self._config), "-F"])


EJABBERD: Final = """
hosts: [ "{domain}" ]
loglevel: warning
certfiles: [ "{folder}/both.pem" ]
auth_method: [ internal ]
auth_password_format: scram
listen:
  - port: {port}
    ip: "{address}"
    module: ejabberd_c2s
    max_stanza_size: 262144
    backlog: 4096
    shaper: none
    access: c2s
    starttls_required: true
c2s_protocol_options: [ no_sslv3, no_tlsv1, no_tlsv1_1 ]
acl: {{ local: {{ user_regexp: "" }} }}
access_rules: {{ local: {{ allow: local }}, c2s: {{ allow: all }} }}
shaper_rules: {{ max_user_sessions: 10, offline_size: infinity }}
modules:
  mod_disco: {{}}
  mod_last: {{}}
  mod_offline: {{ access_max_user_messages: offline_size }}
  mod_ping: {{}}
  mod_roster: {{}}
  mod_time: {{}}
  mod_version: {{}}
"""
REGISTER: Final = (
    "[{{ok, _}} = {{ejabberd_auth:try_register("
    '<<"u", (integer_to_binary(I))/binary>>, <<"{domain}">>, <<"{password}">>), I}}'
    ' || I <- lists:seq(0, {last})], file:write_file("{folder}/registered", <<>>).'
)


class Ejabberd(Peer):
    name = "ejabberd"
    package = "ejabberd"
    account_s = 0.005

    def prepare(self) -> None:
        super().prepare()
        both = self.folder / "both.pem"
        both.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())
        config = self.folder / "ejabberd.yml"
        config.write_text(
            EJABBERD.format(domain=DOMAIN, folder=self.folder, address=ADDRESS, port=self.port),
            encoding="utf-8",
        )
        registered = self.folder / "registered"
        self._start(
            "-eval",
            REGISTER.format(domain=DOMAIN, password=PASSWORD, last=self.accounts - 1, folder=self.folder),
        )
        try:
            self.wait_until(registered.exists, 60 + self.accounts / 20)
        finally:
            self.stop()

    def start(self) -> None:
        self._start()

    def _start(self, *more: str) -> None:
        # one scheduler, as there is one processor for it; it does not spin while it waits, so that what it uses is work
        words = [
            "erl",
            "+S",
            "1:1",
            "+SDcpu",
            "1:1",
            "+sbwt",
            "none",
            "+sbwtdcpu",
            "none",
            "+sbwtdio",
            "none",
        ]
        words += [
            "+K",
            "true",
            "+P",
            "1000000",
            "+Q",
            "1000000",
            "-noinput",
            "-mnesia",
            "dir",
            f'"{self.folder}/mnesia"',
        ]
        self.launch(
            [*words, "-s", "ejabberd", *more],
            EJABBERD_CONFIG_PATH=str(self.folder / "ejabberd.yml"),
            EJABBERD_LOG_PATH=str(self.folder / "ejabberd.log"),
        )
