"""Many come back at once to full mailboxes: nobody else notices, and who does not read holds up nobody."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.live.conftest import make_site as make_site
from tests.site import PASSWORD
from tests.xmpp_client import find

SETTINGS = """
[limits]
stanzas_per_s = 100_000
bytes_per_s = 1_000_000_000
[sasl]
plain_per_address = 1000
[offline]
messages = 100_000
bytes = 1_073_741_824
"""
COMERS = 12
EACH = 500

# each in a thread of another process: log in, say so, wait for the word, be available, take `each` messages
STORM = """
import sys, threading
from tests.xmpp_client import XMPPClient
host, port, ca, password, names, each = sys.argv[1], int(sys.argv[2]), *sys.argv[3:5], sys.argv[5].split(), int(sys.argv[6])
clients = [XMPPClient((host, port), timeout_s=60).login(name, password.format(user=name), "r", ca=ca) for name in names]
print("ready", flush=True)
sys.stdin.readline()
def take(client):
    client.send("<presence/>")
    for number in range(each):
        assert client.until("message").get("id") == str(number)
threads = [threading.Thread(target=take, args=(client,)) for client in clients]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("done", flush=True)
"""


def storm(site, names, each):
    host, port = site.address()
    words = [sys.executable, "-c", STORM, host, str(port), site.ca, PASSWORD, " ".join(names), str(each)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def fill(sender, names, each, body="x" * 400):
    for name in names:
        sender.send(
            "".join(
                f"<message to='{name}@localhost' id='{n}'><body>{body}</body></message>" for n in range(each)
            )
        )
        assert sender.fence() == []


def round_trips(alice, bob, times):
    """How long a message took to arrive, in seconds, as often as `times` goes on."""
    found = []
    for _ in times:
        start = time.perf_counter()
        alice.send(f"<message to='{bob.jid}' id='now'><body>x</body></message>")
        bob.until("message", id="now")
        found.append(time.perf_counter() - start)
    return found


def test_a_storm_of_full_mailboxes_does_not_stall_others(make_site):
    """Beside it a message takes some times as long as with nobody there, not as long as the mailboxes take."""
    names = [f"full{n}" for n in range(COMERS)]
    site = make_site(SETTINGS, users=("alice", "bob", *names))
    with site.login("alice") as alice, site.login("bob") as bob:
        fill(alice, names, EACH)
        quiet = round_trips(alice, bob, range(300))
        comers = storm(site, names, EACH)
        comers.stdin.write("go\n")
        comers.stdin.flush()
        beside = round_trips(alice, bob, iter(comers.poll, 0))
        assert comers.stdout.read() == "done\n"
        assert comers.wait() == 0
        quiet += round_trips(alice, bob, range(300))
    assert len(beside) > 20
    assert statistics.median(beside) < 10 * statistics.median(quiet), (beside, quiet)


def test_who_does_not_read_holds_up_nobody(make_site):
    """More of them than pages are read at a time, and with more than a socket holds."""
    deaf = [f"deaf{n}" for n in range(6)]
    site = make_site(f"{SETTINGS}drains = 2\n", users=("alice", "bob", *deaf))
    with site.login("alice") as alice:
        fill(alice, deaf, 1000, "x" * 8000)
        fill(alice, ["bob"], 50)
        clients = [site.login(name) for name in deaf]
        for client in clients:
            client.send("<presence/>")
        with site.login("bob") as bob:
            bob.send("<presence/>")
            assert [bob.until("message").get("id") for _ in range(50)] == [str(n) for n in range(50)]
            bob.close()
        # what they do not take stays where it is: the next stream gets it
        assert site.status["counters"]["offline_delivered"] < 6 * 1000
        clients[0].sock.close()
        with site.login(deaf[0]) as again:
            again.send("<presence/>")
            last = None
            while last != "999":
                number = again.until("message").get("id")
                assert last is None or int(number) == int(last) + 1
                last = number
            assert not find(again.fence(), "message")
        for client in clients:
            client.sock.close()
