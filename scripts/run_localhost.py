"""scripts/run: a server for the domain localhost with its state in .run/, and what to type into a client."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import signal
import ssl
import sys
from pathlib import Path
from typing import Final

from scripts.local_server import LocalServer, ServerError, endpoint, free_port, loopback_hosts, new_password

STATE: Final = Path(".run").resolve()
ACCOUNTS: Final = STATE / "accounts"
PEOPLE: Final = ("alice@localhost", "bob@localhost")
XMPP_PORT: Final = 5222
# a listener as `xmppd init` writes it; one that somebody added to is left alone
LISTENER: Final = re.compile(r'^\[\[listeners\]\]\nkind = "c2s"\naddress = ".*"\n(?:\n|\Z)', re.MULTILINE)
ACCOUNT: Final = re.compile(r"([^\s@]+@[^\s@]+)\t([^\x00-\x1f\x7f]+)")  # a line of .run/accounts
SYSTEM_CA: Final = "/usr/local/share/ca-certificates/xmppd-run.crt"


def alone() -> None:
    """Hold .run/lock until this process ends; ServerError if another scripts/run holds it."""
    STATE.mkdir(exist_ok=True)
    lock = os.open(STATE / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ServerError("it runs already from this folder, in another terminal") from None


def prepare() -> LocalServer:
    """The server of .run/, made at the first start; what is missing later is made again, what is there stays.

    It listens on 5222 or the next port that is free now, at the loopback addresses there are now: IPv6 comes and goes.
    """
    hosts = loopback_hosts()
    server = LocalServer(STATE, free_port(hosts, XMPP_PORT), hosts)
    made = [server.config, server.ca, *(STATE / "tls" / f"localhost.{kind}" for kind in ("pem", "key"))]
    missing = [path for path in made if not path.exists()]
    if missing:
        config = server.config.read_bytes() if server.config.exists() else None
        server.init("localhost", extra=[] if missing == made else ["--force"])
        if config is not None:
            server.config.write_bytes(config)
        if missing != made:
            print(f"made again, for it was missing: {', '.join(map(str, missing))}", file=sys.stderr)
    try:
        text = server.config.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ServerError(f"{server.config} is not UTF-8; remove it and another is made") from None
    listeners = "".join(
        f'[[listeners]]\nkind = "c2s"\naddress = "{endpoint(host, server.port)}"\n\n' for host in hosts
    )
    once = iter([listeners])
    moved = LISTENER.sub(lambda _: next(once, ""), text)
    if moved != text:
        server.config.write_text(moved)
    return server


def accounts(server: LocalServer) -> dict[str, str]:
    """The passwords as .run/accounts has them; who is missing there or in the server is made.

    A file that is damaged is kept under another name: whose password cannot be read any more gets a new one.
    """
    known, damaged = _known()
    passwords = {jid: known.get(jid) or new_password() for jid in PEOPLE}
    if damaged or not passwords.items() <= known.items():
        if damaged:
            kept = ACCOUNTS.with_name("accounts.damaged")
            ACCOUNTS.replace(kept)
            print(f"{ACCOUNTS} was damaged: made again; what stood there is in {kept}", file=sys.stderr)
        with open(os.open(ACCOUNTS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.writelines(f"{jid}\t{password}\n" for jid, password in {**known, **passwords}.items())
    there = server.xmppd("user", "list", "--json")
    in_server = {entry["jid"] for entry in json.loads(there)}
    for jid, password in passwords.items():
        if jid not in in_server:
            server.add_user(jid, password)
        elif jid not in known:
            server.xmppd("user", "passwd", jid, "--password-stdin", stdin=password + "\n")
    return passwords


def _known() -> tuple[dict[str, str], bool]:
    """Address -> password as .run/accounts has them, and whether there is something else in it too."""
    lines = ACCOUNTS.read_bytes().splitlines() if ACCOUNTS.exists() else []
    known: dict[str, str] = {}
    for line in lines:
        with contextlib.suppress(UnicodeDecodeError):
            if match := ACCOUNT.fullmatch(line.decode()):
                known[match[1]] = match[2]
    return known, len(known) < len(lines)


def fingerprints(server: LocalServer) -> dict[str, str]:
    """Of the server's certificate, as clients show them."""
    end = "-----END CERTIFICATE-----"
    pem = (server.folder / "tls" / "localhost.pem").read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[: pem.index(end)] + end)
    sha1 = hashlib.sha1(der, usedforsecurity=False).hexdigest()
    return {"sha1": sha1, "sha256": hashlib.sha256(der).digest().hex(":").upper()}


def introduction(server: LocalServer, passwords: dict[str, str]) -> str:
    host, port, ca = server.hosts[0], server.port, server.ca
    prints = fingerprints(server)
    usual = port == XMPP_PORT
    dino = "" if usual else ", and port 5222 only: it cannot reach this server"
    where = (
        "If it asks for a server and port: localhost and 5222."
        if usual
        else f"Port 5222 is taken, so in its advanced settings: server localhost, port {port}."
    )
    return f"""
xmppd serves the domain localhost at {" and ".join(endpoint(h, port) for h in server.hosts)}. Ctrl-C stops it.

    address            password
{"".join(f"    {jid:<18} {password}{chr(10)}" for jid, password in passwords.items())}
Type an address and its password into a client on this machine. {where}

Trust. The server's certificate is signed by its own CA, {ca}.
Gajim, Dino and Profanity look into the system's store. This puts the CA there (restart the client then):

    sudo cp {ca} {SYSTEM_CA} && sudo update-ca-certificates

and this takes it out again:

    sudo rm {SYSTEM_CA} && sudo update-ca-certificates

Or, without touching the system:

    Gajim      warns at the first log-in. Compare its SHA-256 fingerprint with the one below, tick
               "Add to Trusted Certificates" and go on.
    Profanity  /connect {PEOPLE[0]} server {host} port {port} tls force
               It shows a fingerprint: compare it with those below, then type /tls always
    Dino       takes the system's store and nothing else{dino}.

    SHA-256    {prints["sha256"]}
    SHA-1      {prints["sha1"]}

The passwords are kept in {ACCOUNTS}; `rm -r {STATE}` starts anew. Below is the server's log.
"""


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    server = None
    try:
        alone()
        server = prepare()
        passwords = accounts(server)
        server.start()
        print(introduction(server, passwords), flush=True)
        status = server.wait()
        print(f"the server ended by itself with exit status {status}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        print("\nstopping ...", file=sys.stderr)
        return server.stop() if server else 0
    except (ServerError, OSError) as what:
        why = f"{what.filename}: {what.strerror}" if isinstance(what, OSError) and what.filename else what
        print(f"scripts/run: {why}", file=sys.stderr)
        if server:
            server.stop()
        return 1


if __name__ == "__main__":
    sys.exit(main())
