"""A server that is killed again and again while people talk and change their rosters, and the book of what it owes them.

What is counted: a message is accepted when a later request of the same stream is answered and no error came before;
a roster change when its result came. Accepted messages must arrive, each as often as it likes but always in the same
words (the same stamp, the same id), in the order of their sender; what was refused must not. Rosters must be as they
were left, and the two halves of every subscription must agree.

A message for somebody who may be there is relayed, not stored: such a one may die with the server, and is counted by
itself. So recipients say nothing after their presence: a killed process that leaves something unread takes with it
what its kernel had still to send.

`scripts/soak` runs this for long.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path

from scripts.local_server import free_port
from tests.site import XMPPD, Site
from tests.xmpp_client import CLIENT, Disconnected, StreamClosed, XMPPClient, find

GONE = (Disconnected, StreamClosed, OSError)
ROSTER = "jabber:iq:roster"
PATIENCE_S = 30.0
# nobody is slowed down or refused: what counts here is the disk
SETTINGS = """
[limits]
stanzas_per_s = 100_000
bytes_per_s = 1_000_000_000
[offline]
messages = 100_000
bytes = 1_073_741_824
page_messages = 50
"""


@dataclasses.dataclass
class Figures:
    """What came of it. Wrong if not 0: those from `lost` on."""

    kills: int = 0
    kills_while_starting: int = 0
    sent: int = 0
    accepted: int = 0
    refused: int = 0
    undecided: int = 0
    received: int = 0
    doubles: int = 0
    relayed_and_lost: int = 0
    roster_changes: int = 0
    roster_changes_undecided: int = 0
    subscription_changes: int = 0
    lost: int = 0
    refused_but_received: int = 0
    never_sent: int = 0
    doubles_that_differ: int = 0
    out_of_order: int = 0
    left_behind: int = 0
    roster_items_wrong: int = 0
    halves_apart: int = 0
    still_crossing: int = 0

    @property
    def wrong(self) -> dict[str, int]:
        """What must not have happened."""
        names = [field.name for field in dataclasses.fields(self)]
        found = {name: getattr(self, name) for name in names[names.index("lost") :]}
        return {name: number for name, number in found.items() if number}

    def __str__(self) -> str:
        width = max(len(field.name) for field in dataclasses.fields(self))
        lines = (
            f"{field.name.replace('_', ' '):{width}} {getattr(self, field.name)}"
            for field in dataclasses.fields(self)
        )
        return "\n".join(lines)


@dataclasses.dataclass
class Message:
    """One that was sent. `fate`: undecided, accepted, refused; `relayed`: its recipient may have been there."""

    recipient: Recipient
    fate: str = "undecided"
    relayed: bool = False


class Person:
    """Somebody with an account. `live` is one life of the server, until it dies."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.random = random.Random(f"{seed} {name}")  # noqa: S311 (it is to be the same again)
        self.failure: BaseException | None = None

    def run(self, site: Site) -> None:
        try:
            with site.login(self.name, "r") as client:
                client.timeout_s = PATIENCE_S
                self.live(client)
        except TimeoutError as error:
            self.failure = error
        except GONE:
            pass  # the server has died
        except BaseException as error:
            self.failure = error

    def live(self, client: XMPPClient) -> None:
        raise NotImplementedError


class Sender(Person):
    """Sends bursts of messages, and asks after each whether they have been accepted."""

    def __init__(self, name: str, seed: int, recipients: list[Recipient]) -> None:
        super().__init__(name, seed)
        self.recipients = recipients
        self.sent: dict[str, Message] = {}

    def live(self, client: XMPPClient) -> None:
        while True:
            burst: dict[str, Message] = {}
            stanzas = []
            for _ in range(self.random.choice((1, 1, 5, 30))):
                to = self.random.choice(self.recipients)
                id_ = f"{self.name}-{len(self.sent)}"
                burst[id_] = self.sent[id_] = Message(to)
                body = "x" * self.random.choice((1, 10, 100, 3000))
                stanzas.append(f"<message to='{to.name}@localhost' id='{id_}'><body>{body}</body></message>")
            for message in burst.values():
                message.relayed |= message.recipient.may_be_there
            client.send("".join(stanzas))
            answers = client.fence()
            refused = {answer.get("id") for answer in find(answers, "message", type="error")}
            for id_, message in burst.items():
                message.relayed |= message.recipient.may_be_there
                message.fate = "refused" if id_ in refused else "accepted"


class Recipient(Person):
    """Comes now and then, and takes what waits."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name, seed)
        self.may_be_there = False
        self.got: dict[str, bytes] = {}
        self.order: list[str] = []  # of first receipts
        self.doubles = self.differing = 0

    def run(self, site: Site) -> None:
        if self.random.random() < 0.4:
            time.sleep(self.random.uniform(0, 0.2))
            self.may_be_there = True  # from now on: without presence it may be given messages too (5-19)
            super().run(site)

    def live(self, client: XMPPClient) -> None:
        client.send("<presence/>")
        while True:
            self.take(client.next())

    def take(self, element: ET.Element) -> None:
        if element.tag != f"{{{CLIENT}}}message":
            return
        id_ = element.get("id", "")
        words = ET.tostring(element)
        if id_ in self.got:
            self.doubles += 1
            self.differing += words != self.got[id_]
        else:
            self.got[id_] = words
            self.order.append(id_)


class Onlooker(Person):
    """Has approved whoever may ask, and whoever is asked approves: so that answers cross, too."""

    def live(self, client: XMPPClient) -> None:
        client.send("<presence/>")
        for number in range(2):
            if self.random.random() < 0.3:
                client.send(f"<presence type='subscribed' to='subscriber{number}@localhost'/>")
        while True:
            client.next()


class Keeper(Person):
    """Changes a roster and remembers what was answered."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name, seed)
        self.roster: dict[str, str | None] = {}  # contact -> name; None: removed
        self.asked: tuple[str, str | None] | None = None  # not answered
        self.changes = self.undecided = self.wrong = 0

    def live(self, client: XMPPClient) -> None:
        self.compare(client)
        while True:
            contact = f"c{self.random.randrange(40)}@localhost"
            known = self.roster.get(contact)
            name = None if known and self.random.random() < 0.3 else f"n{self.random.randrange(10**9)}"
            item = f"name='{name}'" if name else "subscription='remove'"
            self.asked = (contact, name)
            answer = client.iq("set", f"<query xmlns='{ROSTER}'><item jid='{contact}' {item}/></query>")
            if answer.get("type") == "result":
                self.roster[contact] = name
                self.changes += 1
            self.asked = None

    def compare(self, client: XMPPClient) -> None:
        answer = client.iq("get", f"<query xmlns='{ROSTER}'/>")
        found = {item.get("jid"): item.get("name") for item in answer.iter(f"{{{ROSTER}}}item")}
        if self.asked is not None:  # it may have been done or not: what is there counts from now on
            self.undecided += 1
            contact, name = self.asked
            if found.get(contact) == name:
                self.roster[contact] = name
            self.asked = None
        wanted = {contact: name for contact, name in self.roster.items() if name is not None}
        self.wrong += len(wanted.items() ^ found.items())


class Subscriber(Person):
    """Asks to be shown the presence of others, shows them its own, and takes both back; they only look on."""

    def __init__(self, name: str, seed: int, others: list[str]) -> None:
        super().__init__(name, seed)
        self.others = others
        self.changes = 0

    def live(self, client: XMPPClient) -> None:
        client.iq("get", f"<query xmlns='{ROSTER}'/>")
        while True:
            other = f"{self.random.choice(self.others)}@localhost"
            what = self.random.choice(("subscribe", "subscribed", "unsubscribe", "unsubscribed", "remove"))
            if what == "remove":
                client.iq(
                    "set",
                    f"<query xmlns='{ROSTER}'><item jid='{other}' subscription='remove'/></query>",
                )
            else:
                client.send(f"<presence type='{what}' to='{other}'/>")
                client.fence()
            self.changes += 1


class Brake(threading.Thread):
    """Stands in the writer's way now and then, as a slow disk would, so that much is going on when the server dies.

    It holds the lock of SQLite's writers (the byte 120 of the -shm file) without being one: nothing of the file is open
    when the server comes back, which has to recover it.
    """

    WRITE_LOCK = 120

    def __init__(self, shm: Path, seed: int) -> None:
        super().__init__()
        self.shm = shm
        self.random = random.Random(seed)  # noqa: S311
        self.stopping = threading.Event()

    def run(self) -> None:
        with self.shm.open("r+b") as file:
            while not self.stopping.wait(self.random.uniform(0, 0.03)):
                fcntl.lockf(file, fcntl.LOCK_EX, 1, self.WRITE_LOCK)
                self.stopping.wait(self.random.uniform(0, 0.06))
                fcntl.lockf(file, fcntl.LOCK_UN, 1, self.WRITE_LOCK)

    def stop(self) -> None:
        self.stopping.set()
        self.join()


class Trial:
    """One data directory through many deaths."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.recipients = [Recipient(f"recipient{n}", seed) for n in range(8)]
        self.senders = [Sender(f"sender{n}", seed, self.recipients) for n in range(3)]
        self.keepers = [Keeper(f"keeper{n}", seed) for n in range(2)]
        onlookers = [Onlooker(f"onlooker{n}", seed) for n in range(4)]
        self.subscribers = [
            Subscriber(f"subscriber{n}", seed, [each.name for each in onlookers]) for n in range(2)
        ]
        self.people: list[Person] = [
            *self.recipients,
            *self.senders,
            *self.keepers,
            *self.subscribers,
            *onlookers,
        ]
        self.port = free_port(["127.0.0.1"])
        self.site = Site(
            directory,
            users=tuple(person.name for person in self.people),
            listeners=(f'address = "127.0.0.1:{self.port}"',),
            settings=SETTINGS,
        )
        self.site._addresses = {0: ("127.0.0.1", self.port)}
        self.database = directory / "data" / "xmppd.sqlite"
        self.figures = Figures()

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        process = self.site.process
        if process is not None:  # it has not come to its end
            process.kill()
            process.wait()

    def life(self) -> None:
        """Start the server, let everybody at it, kill it at a moment that nobody has chosen."""
        if self.random.random() < 0.1:
            self._kill_while_starting()
        self.site.start()
        threads = [threading.Thread(target=person.run, args=(self.site,)) for person in self.people]
        brake = Brake(self.database.with_name("xmppd.sqlite-shm"), self.random.randrange(2**32))
        for thread in (brake, *threads):
            thread.start()
        time.sleep(self.random.uniform(0, 0.6))
        self._kill()
        brake.stop()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
            assert not thread.is_alive(), "somebody has not noticed the end"
        for person in self.people:
            if person.failure is not None:
                raise AssertionError(f"{person.name}: {person.failure!r}") from person.failure
        for recipient in self.recipients:
            recipient.may_be_there = False

    def _kill(self) -> None:
        process = self.site.process
        assert process is not None
        assert process.poll() is None, self.site.log[-2000:]
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        self.figures.kills += 1

    def _kill_while_starting(self) -> None:
        command = [*XMPPD, "-c", str(self.site.config), "run"]
        with (
            self.site.log_path.open("ab") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as process,
        ):
            time.sleep(self.random.uniform(0.02, 0.2))
            process.kill()
        self.figures.kills_while_starting += 1

    def account(self) -> Figures:
        """Let everybody have what is due, and count."""
        self.site.start()
        for recipient in self.recipients:
            self._take_all(recipient)
        for keeper in self.keepers:
            with self.site.login(keeper.name, "last") as client:
                keeper.compare(client)
        status = self.site.stop()
        assert status == 0, status

        figures = self.figures
        figures.left_behind = self._waiting()
        sent = {id_: message for sender in self.senders for id_, message in sender.sent.items()}
        figures.sent = len(sent)
        for fate in ("accepted", "refused", "undecided"):
            setattr(figures, fate, sum(message.fate == fate for message in sent.values()))
        for id_, message in sent.items():
            has_come = id_ in message.recipient.got
            figures.received += has_come
            if message.fate == "accepted" and not has_come:
                figures.relayed_and_lost += message.relayed
                figures.lost += not message.relayed
            figures.refused_but_received += message.fate == "refused" and has_come
        for recipient in self.recipients:
            figures.never_sent += sum(
                id_ not in sent or sent[id_].recipient is not recipient for id_ in recipient.got
            )
            figures.doubles += recipient.doubles
            figures.doubles_that_differ += recipient.differing
            last: dict[str, int] = {}
            for id_ in recipient.order:
                sender, _, number = id_.partition("-")
                figures.out_of_order += int(number) < last.get(sender, -1)
                last[sender] = int(number)
        for keeper in self.keepers:
            figures.roster_changes += keeper.changes
            figures.roster_changes_undecided += keeper.undecided
            figures.roster_items_wrong += keeper.wrong
        figures.subscription_changes = sum(subscriber.changes for subscriber in self.subscribers)
        figures.halves_apart, figures.still_crossing = self._halves()
        return figures

    def _halves(self) -> tuple[int, int]:
        """How many subscriptions look otherwise from the other side, and how many stanzas are still on their way."""
        sql = """SELECT local || '@' || domain, contact, subscription IN ('to', 'both'), subscription IN ('from', 'both'),
            ask, pending_in IS NOT NULL FROM roster_item JOIN account ON id = account_id WHERE contact NOT LIKE 'c%'"""
        with contextlib.closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)) as database:
            halves = {(row[0], row[1]): row[2:] for row in database.execute(sql)}
            (crossing,) = database.execute("SELECT count(*) FROM crossing").fetchone()
        apart = 0
        for (owner, contact), (to, _, ask, _) in halves.items():
            _, shows, _, asked = halves.get((contact, owner), (0, 0, 0, 0))
            apart += to != shows or (ask and not to) != (asked and not shows)
        for (owner, contact), (_, shows, _, asked) in halves.items():
            if (contact, owner) not in halves:
                apart += bool(shows or asked)
        return apart, crossing

    def _take_all(self, recipient: Recipient) -> None:
        owed = {
            id_
            for sender in self.senders
            for id_, message in sender.sent.items()
            if message.recipient is recipient and message.fate == "accepted" and not message.relayed
        }
        with self.site.login(recipient.name, "last") as client:
            client.send("<presence/>")
            until = time.monotonic() + PATIENCE_S
            while (owed - recipient.got.keys() or self._waiting(recipient)) and time.monotonic() < until:
                with contextlib.suppress(TimeoutError):
                    recipient.take(client.next(0.05))
                    until = time.monotonic() + PATIENCE_S

    def _waiting(self, recipient: Recipient | None = None) -> int:
        """How many messages are in the file, for one or for all."""
        with contextlib.closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)) as database:
            sql = "SELECT count(*) FROM offline JOIN account ON id = account_id WHERE local = ? OR ?"
            (found,) = database.execute(sql, (recipient and recipient.name, recipient is None)).fetchone()
            return int(found)


def main() -> int:
    """The long form; the exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description="Kills a server under load, and counts."
    )
    parser.add_argument("--seconds", type=float, default=600, help="how long (600)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="to have the same choices again")
    parser.add_argument("--keep", type=Path, help="a new folder for the server's files, kept")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    with contextlib.ExitStack() as stack:
        folder = chosen.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trial = stack.enter_context(Trial(folder, chosen.seed))
        until = time.monotonic() + chosen.seconds
        said = time.monotonic()
        while time.monotonic() < until:
            trial.life()
            if time.monotonic() > said + 30:
                said = time.monotonic()
                print(f"{trial.figures.kills} kills", flush=True)
        figures = trial.account()
    print(figures)
    return bool(figures.wrong)


if __name__ == "__main__":
    sys.exit(main())
