"""scripts/run --check: a server in a scratch folder, two clients that talk; exit status 0 or 1."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

from scripts.local_server import LocalServer, ServerError, endpoint, free_port, loopback_hosts, new_password
from scripts.talker import LoginError, Talker

ALICE, BOB = "alice@localhost", "bob@localhost"


def told(line: str) -> None:
    print(f"  {line}", flush=True)


async def conversation(server: LocalServer, passwords: dict[str, str]) -> None:
    """Two people meet; each step is awaited, told, or fails with what was missing."""
    alice = Talker(ALICE, passwords[ALICE], server.ca)
    bob = Talker(BOB, passwords[BOB], server.ca)
    for talker, host in zip((alice, bob), (server.hosts * 2)[:2], strict=True):
        await talker.log_in(host, server.port)
        told(
            f"{talker.boundjid.full} logged in at {endpoint(host, server.port)}: "
            f"{talker.tls_version}, certificate verified, {talker.mechanism}"
        )
    for asking, asked in ((alice, bob), (bob, alice)):
        asking.ask_for_presence(asked.boundjid.bare)
        await asked.approve(asking.boundjid.bare)
        await asking.presence(asked.boundjid.bare, "subscribed")
        told(f"{asking.boundjid.bare} asked for the presence of {asked.boundjid.bare} and was approved")
        await asking.presence(asked.boundjid.bare, "available")
        told(f"{asking.boundjid.bare} sees that {asked.boundjid.bare} is available")
    for speaker, listener, words in (
        (alice, bob, "Hello Bob, do you read me?"),
        (bob, alice, "Loud & clear, <Alice>. Ünïcödé too: 你好"),
    ):
        speaker.say(listener.boundjid.bare, words)
        await listener.message(speaker.boundjid.bare, words)
        told(f"{listener.boundjid.bare} read from {speaker.boundjid.bare}: {words}")
    await bob.log_out()
    await alice.presence(BOB, "unavailable")
    told(f"{BOB} logged out; {ALICE} sees that he is gone")
    await alice.log_out()
    told(f"{ALICE} logged out")


def main() -> int:
    logging.getLogger().setLevel(logging.ERROR)  # slixmpp warns about much that is not wrong
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is stopped then, too
    hosts = loopback_hosts()
    passwords = {jid: new_password() for jid in (ALICE, BOB)}
    with tempfile.TemporaryDirectory(prefix="xmppd-check-") as scratch:
        server = LocalServer(Path(scratch) / "site", free_port(hosts), hosts, Path(scratch) / "log")
        failure = ""
        try:
            server.init("localhost")
            for jid, password in passwords.items():
                server.add_user(jid, password)
            told(f"made a server for localhost with the accounts {ALICE} and {BOB}")
            server.start()
            told(f"it listens on {' and '.join(endpoint(host, server.port) for host in hosts)}")
            asyncio.run(conversation(server, passwords))
        except (ServerError, LoginError, AssertionError, OSError, TimeoutError) as what:
            failure = f"{type(what).__name__}: {what}"
        finally:
            try:
                status = server.stop()
                if status and not failure:
                    failure = f"the server ended with exit status {status}"
                told("the server stopped")
            except ServerError as what:
                failure = failure or str(what)
        if failure and server.output is not None and server.output.exists():
            print(
                "the server's log:", *server.output.read_text(errors="replace").splitlines()[-40:], sep="\n  "
            )
    print(f"FAILED: {failure}" if failure else "OK: two people logged in over TLS, saw each other and talked")
    return 1 if failure else 0


if __name__ == "__main__":
    try:
        status = main()
    except OSError as error:  # of our own output: the server has stopped, and nothing more is written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"scripts/run --check: the output cannot be written: {error.strerror}", file=sys.stderr)
        status = 1
    sys.exit(status)
