"""This server, as its command line makes and starts it, with the limits of one client lifted."""

from __future__ import annotations

from typing import Final

from benchmarks.subjects import ADDRESS, DOMAIN, ITERATIONS, PASSWORD, Subject
from scripts.local_server import COMMAND, command, ended, free_port, started

# All clients come from one address, and none is slowed down. What is kept for a slow reader is as in a site.
SETTINGS: Final = """
profile = "uc-2013"

[[domains]]
name = "{domain}"

[[listeners]]
address = "{address}:{port}"

[net]
backlog = 65535

[tls]
handshake_queue = 65536

[limits]
connections_per_address = 1000000
unauthenticated_connections = 1000000
bytes_per_s = 1000000000
stanzas_per_s = 1000000
roster_items = 100000

[sasl]
plain_per_address = 4096
plain_queue = 65536
scram_iterations = {iterations}

[log]
level = "warning"
"""


class Xmppd(Subject):
    name = "xmppd"
    kind = "xmppd"
    account_s = 0.001

    def prepare(self) -> None:
        command([*COMMAND, "init", str(self.folder), f"--domain={DOMAIN}"])
        self.port = free_port([ADDRESS])
        self._config = self.folder / "xmppd.toml"
        self._config.write_text(
            SETTINGS.format(domain=DOMAIN, address=ADDRESS, port=self.port, iterations=ITERATIONS),
            encoding="utf-8",
        )
        lines = self.folder / "accounts"
        lines.write_text(
            "".join(f"u{n}@{DOMAIN}\t{PASSWORD}\n" for n in range(self.accounts)), encoding="utf-8"
        )
        command([*COMMAND, "-c", str(self._config), "user", "import", str(lines)], timeout_s=3600)

    @property
    def version(self) -> str:
        return command([*COMMAND, "--version"]).strip()

    def start(self) -> None:
        words = [
            "/usr/bin/setpriv",
            "--pdeathsig",
            "TERM",
            *self.pinned(),
            *COMMAND,
            "-c",
            str(self._config),
            "run",
        ]
        # M_ARENA_MAX: memory is compared by what is in use, not by how many threads allocated it
        self.process = started(words, self.folder / "log", MALLOC_ARENA_MAX="1")
        self.pid = self.process.pid

    def stop(self) -> None:
        ended(self.process)
