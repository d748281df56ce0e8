"""Real clients of different makes meet on our server: log in, subscribe, see each other, chat, leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scripts.local_server import LocalServer
from scripts.talker import LoginError
from tests.interop.clients import MAKES, Client, Slixmpp, XmppJs
from tests.interop.conftest import Account, Site

WORDS = "Grüße & <b>tags</b>, 'quotes', 你好 😀"
PAIRS = [("slixmpp", "slixmpp"), ("slixmpp", "Profanity"), ("xmpp.js", "slixmpp"), ("Profanity", "xmpp.js")]


@pytest.fixture
def sit_down(site: Site, scratch: Path) -> Iterator[Callable[[str, Account], Client]]:
    """A client of that make, set up for the account; it is gone after the test, whatever happened."""
    with ExitStack() as stack:

        def make(name: str, account: Account) -> Client:
            client = MAKES[name](
                account.jid, account.password, site.host, site.server.port, site.server.ca, scratch
            )
            stack.callback(client.kill)
            return client

        yield make


@pytest.mark.req("5-4.a", "5-19.a", "7-10.1", "7-12.1", "7-14.1", "8-21.1")
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_makes_chat(
    site: Site, sit_down: Callable[[str, Account], Client], first: str, second: str
) -> None:
    alice, bob = site.account("alice"), site.account("bob")
    a, b = sit_down(first, alice), sit_down(second, bob)
    a.log_in()
    b.log_in()
    for asking, asked, who, whom in ((a, b, alice, bob), (b, a, bob, alice)):
        asking.ask_for_presence(whom.jid)
        asked.approve(who.jid)
        asking.see(whom.jid, online=True)
    for speaker, listener, who, whom in ((a, b, alice, bob), (b, a, bob, alice), (a, b, alice, bob)):
        words = f"{WORDS} from {who.jid.split('@')[0]}"
        speaker.say(whom.jid, words)
        listener.read(who.jid, words)
    b.quit()
    a.see(bob.jid, online=False)
    a.quit()


@pytest.mark.req("5-19.b", "6-30.c", "7-18.e")
def test_add_chat_leave_come_back_and_remove(site: Site, sit_down: Callable[[str, Account], Client]) -> None:
    """slixmpp and xmpp.js: what is said to somebody who is away is there at the next log-in."""
    alice, bob = site.account("alice"), site.account("bob")
    a, b = sit_down("slixmpp", alice), sit_down("xmpp.js", bob)
    assert isinstance(a, Slixmpp)
    a.log_in()
    b.log_in()
    for asking, asked, who, whom in ((a, b, alice, bob), (b, a, bob, alice)):
        asking.ask_for_presence(whom.jid)
        asked.approve(who.jid)
        asking.see(whom.jid, online=True)
    a.say(bob.jid, WORDS)
    b.read(alice.jid, WORDS)
    b.quit()
    a.see(bob.jid, online=False)
    for number in range(3):
        a.say(bob.jid, f"{WORDS} {number}")
    again = sit_down("xmpp.js", bob)
    assert isinstance(again, XmppJs)
    again.log_in()
    for number in range(3):
        again.read(alice.jid, f"{WORDS} {number}")
    again.see(alice.jid, online=True)
    a.remove(bob.jid)
    again.see(alice.jid, online=False)
    again.lose(alice.jid)  # it answers roster pushes, and fails where it has been told to leave meanwhile
    again.quit()
    a.quit()


@pytest.mark.parametrize("make", MAKES)
def test_contacts_are_still_there_after_a_new_log_in(
    site: Site, sit_down: Callable[[str, Account], Client], scratch: Path, make: str
) -> None:
    alice, bob = site.account("alice"), site.account("bob")
    a, b = sit_down("slixmpp", alice), sit_down(make, bob)
    a.log_in()
    b.log_in()
    a.ask_for_presence(bob.jid)
    b.approve(alice.jid)
    a.see(bob.jid, online=True)
    a.quit()
    again = sit_down("slixmpp", alice)
    again.log_in()
    again.see(bob.jid, online=True)
    again.quit()
    b.quit()


@pytest.mark.parametrize("make", MAKES)
def test_a_wrong_password_is_refused(
    site: Site, sit_down: Callable[[str, Account], Client], make: str
) -> None:
    account = site.account()
    client = sit_down(make, Account(account.jid, account.password + "x"))
    with pytest.raises(LoginError):
        client.log_in()


@pytest.mark.parametrize("make", MAKES)
def test_a_client_that_trusts_another_ca_stays_away(site: Site, scratch: Path, make: str) -> None:
    """What shows that the other tests do check the certificate."""
    account = site.account()
    elsewhere = LocalServer(scratch / "elsewhere", site.server.port, site.server.hosts)
    elsewhere.init("localhost")
    client = MAKES[make](account.jid, account.password, site.host, site.server.port, elsewhere.ca, scratch)
    try:
        with pytest.raises(LoginError, match=r"(?i)certificate|chain"):
            client.log_in()
    finally:
        client.kill()
