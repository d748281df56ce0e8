"""Real clients of three makes behind one set of words: slixmpp (Python), Profanity (C), xmpp.js (Node).

Each of the words that waits gives up after WITHIN_S with an AssertionError that shows what the client saw.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Protocol

from scripts.talker import LoginError, Talker

ROOT: Final = Path(__file__).resolve().parents[2]
NPM: Final = ROOT / ".cache" / "npm"
WITHIN_S: Final = 20.0


class Client(Protocol):
    """A person at a client. Contacts are bare JIDs; `log_in` raises LoginError in the client's own words."""

    def __init__(self, jid: str, password: str, host: str, port: int, ca: Path, scratch: Path) -> None: ...
    def log_in(self) -> None: ...
    def ask_for_presence(self, contact: str) -> None: ...
    def approve(self, contact: str) -> None: ...
    def see(self, contact: str, *, online: bool) -> None: ...
    def say(self, contact: str, body: str) -> None: ...
    def read(self, contact: str, body: str) -> None: ...
    def quit(self) -> None: ...
    def kill(self) -> None: ...


@functools.cache
def slixmpp_loop() -> asyncio.AbstractEventLoop:
    """One loop in a thread of its own for all slixmpp clients, until the tests end."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="slixmpp", daemon=True).start()
    return loop


class Slixmpp:
    """slixmpp, on the loop of another thread."""

    def __init__(self, jid: str, password: str, host: str, port: int, ca: Path, scratch: Path) -> None:
        self.host, self.port = host, port
        self.talker = self._do(self._make(jid, password, ca))

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, slixmpp_loop()).result(WITHIN_S * 3)

    async def _make(self, jid: str, password: str, ca: Path) -> Talker:
        return Talker(jid, password, ca)

    async def _send(self, send: Callable[..., None], *words: str) -> None:
        send(*words)

    def log_in(self) -> None:
        self._do(self.talker.log_in(self.host, self.port))

    def ask_for_presence(self, contact: str) -> None:
        self._do(self._send(self.talker.ask_for_presence, contact))

    def approve(self, contact: str) -> None:
        self._do(self.talker.approve(contact))

    def see(self, contact: str, *, online: bool) -> None:
        self._do(self.talker.presence(contact, "available" if online else "unavailable"))

    def say(self, contact: str, body: str) -> None:
        self._do(self._send(self.talker.say, contact, body))

    def read(self, contact: str, body: str) -> None:
        self._do(self.talker.message(contact, body))

    def remove(self, contact: str) -> None:
        async def removed() -> None:
            request = self.talker.make_iq_set()
            request["roster"]["items"] = {contact: {"subscription": "remove"}}
            await self.talker.answer(request)

        self._do(removed())

    def quit(self) -> None:
        self._do(self.talker.log_out())

    def kill(self) -> None:
        slixmpp_loop().call_soon_threadsafe(self.talker.leave)


class XmppJs:
    """xmpp.js in a Node process; tests/interop/js/chat.mjs says how they speak."""

    def __init__(self, jid: str, password: str, host: str, port: int, ca: Path, scratch: Path) -> None:
        installed = NPM / "node_modules" / "@xmpp" / "client"
        assert shutil.which("node"), "node is not installed: scripts/setup test"
        assert installed.is_dir(), "xmpp.js is not installed: scripts/setup test"
        self.words = [str(ROOT / "tests/interop/js/chat.mjs"), str(NPM), jid, password, host, str(port)]
        self.env = os.environ | {"NODE_EXTRA_CA_CERTS": str(ca)}
        self.process: subprocess.Popen[str] | None = None
        self.events: queue.Queue[dict[str, str] | None] = queue.Queue()
        self.seen: list[dict[str, str]] = []

    def _listen(self) -> None:
        assert self.process
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put(None)

    def _wait(self, what: str, wanted: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        until = time.monotonic() + WITHIN_S
        unread = list(self.seen)
        while True:
            for event in unread:
                if wanted(event):
                    self.seen.remove(event)
                    return event
            try:
                event = self.events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"xmpp.js waited for {what} and saw {self.seen}") from None
            if event is None:
                raise AssertionError(f"xmpp.js ended while waiting for {what} and saw {self.seen}")
            self.seen.append(event)
            unread = [event]

    def _command(self, **command: str) -> None:
        assert self.process
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def log_in(self) -> None:
        self.process = subprocess.Popen(
            ["node", *self.words], env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._listen, daemon=True).start()
        event = self._wait("the log-in", lambda e: e["event"] in ("online", "failed"))
        if event["event"] == "failed":
            raise LoginError(event["why"])

    def ask_for_presence(self, contact: str) -> None:
        self._command(do="subscribe", to=contact)

    def approve(self, contact: str) -> None:
        self._presence(contact, "subscribe")
        self._command(do="approve", to=contact)

    def see(self, contact: str, *, online: bool) -> None:
        self._presence(contact, "available" if online else "unavailable")

    def _presence(self, contact: str, kind: str) -> None:
        self._wait(
            f"presence {kind} from {contact}",
            lambda e: e["event"] == "presence" and e["from"].split("/")[0] == contact and e["type"] == kind,
        )

    def lose(self, contact: str) -> None:
        """The roster says that there is no subscription in either direction any more."""
        push = {"event": "push", "contact": contact, "subscription": "none"}
        self._wait(f"a roster push of {contact}", lambda e: e == push)

    def say(self, contact: str, body: str) -> None:
        self._command(do="say", to=contact, body=body)

    def read(self, contact: str, body: str) -> None:
        self._wait(
            f"{body!r} from {contact}",
            lambda e: e["event"] == "message" and e["from"].split("/")[0] == contact and e["body"] == body,
        )

    def quit(self) -> None:
        self._command(do="quit")
        self._wait("the end of its stream", lambda e: e["event"] == "offline")
        assert self.process
        assert self.process.wait(WITHIN_S) == 0

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Profanity:
    """Profanity in a tmux of its own: typed to, and read from its screen."""

    def __init__(self, jid: str, password: str, host: str, port: int, ca: Path, scratch: Path) -> None:
        for program in ("profanity", "tmux"):
            assert shutil.which(program), f"{program} is not installed: scripts/setup test"
        self.jid, self.password, self.host, self.port = jid, password, host, port
        self.home = scratch / f"profanity-{jid.split('@')[0]}"
        trusted = self.home / "trusted"
        trusted.mkdir(parents=True)
        shutil.copy(ca, trusted)
        subprocess.run(["openssl", "rehash", str(trusted)], check=True)
        config = self.home / "config" / "profanity"
        config.mkdir(parents=True)
        (config / "profrc").write_text(
            f"[connection]\ntls.certpath={trusted}\n"
            "[ui]\nsplash=false\nroster=false\nconsole.chat=all\n"
            "[notifications]\nmessage=off\nsub=false\n"
            "[presence]\nconsole.presence=all\n"
        )
        self.socket = scratch / f"tmux-{jid.split('@')[0]}"

    def _tmux(self, *words: str) -> str:
        environment = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "SHELL": "/bin/sh",
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_DATA_HOME": str(self.home / "data"),
        }
        done = subprocess.run(
            ["tmux", "-u", "-S", str(self.socket), "-f", "/dev/null", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, f"tmux {words[0]}: {done.stderr.strip()}"
        return done.stdout

    def _type(self, line: str) -> None:
        self._tmux("send-keys", "-l", "--", line)
        self._tmux("send-keys", "Enter")

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-J")

    def _wait(self, pattern: str) -> str:
        """The first match of the regular expression on the screen; it is polled, for a screen tells nobody."""
        until = time.monotonic() + WITHIN_S
        while True:
            screen = self.screen()
            if found := re.search(pattern, screen):
                return found[0]
            if time.monotonic() > until:
                raise AssertionError(f"Profanity's screen never showed {pattern!r}:\n{screen}")
            time.sleep(0.05)

    def log_in(self) -> None:
        self._tmux("new-session", "-d", "-x", "150", "-y", "60", "profanity", "-l", "DEBUG")
        self._wait(r"offline")
        self._type(f"/connect {self.jid} server {self.host} port {self.port} tls force")
        self._wait(r"Enter password:")
        self._type(self.password)
        outcome = self._wait(
            r"logged in successfully|Login failed.*|TLS certificate verification failed.*|Lost connection.*"
        )
        if outcome != "logged in successfully":
            raise LoginError(outcome.strip())

    def _window(self, contact: str) -> None:
        self._type(f"/msg {contact}")
        self._wait(rf"(?m)\A {re.escape(contact)}")

    def _console(self) -> None:
        self._type("/win 1")
        self._wait(r"\A Profanity")

    def ask_for_presence(self, contact: str) -> None:
        self._type(f"/roster add {contact}")
        self._type(f"/sub request {contact}")
        self._wait(rf"Sent subscription request to {re.escape(contact)}")

    def approve(self, contact: str) -> None:
        self._console()
        self._wait(rf"Received (?:authorization|subscription) request from {re.escape(contact)}")
        self._type(f"/sub allow {contact}")
        self._wait(rf"Accepted subscription for {re.escape(contact)}")

    def see(self, contact: str, *, online: bool) -> None:
        self._console()
        self._wait(
            rf"\+ {re.escape(contact)}.* is online" if online else rf"- {re.escape(contact)}.* is offline"
        )

    def say(self, contact: str, body: str) -> None:
        self._type(f"/msg {contact} {body}")

    def read(self, contact: str, body: str) -> None:
        self._window(contact)
        self._wait(rf"{re.escape(contact)}.*: {re.escape(body)}")

    def quit(self) -> None:
        self._type("/quit")
        until = time.monotonic() + WITHIN_S
        while (
            subprocess.run(
                ["tmux", "-S", str(self.socket), "has-session"], capture_output=True, check=False
            ).returncode
            == 0
        ):
            assert time.monotonic() < until, f"Profanity did not quit:\n{self.screen()}"
            time.sleep(0.05)

    def kill(self) -> None:
        subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], capture_output=True, check=False)


MAKES: Final[dict[str, type[Client]]] = {"slixmpp": Slixmpp, "Profanity": Profanity, "xmpp.js": XmppJs}
