"""A disk that is full or broken, a database that somebody else holds: what clients and the administrator see.

Each is done to a running server from outside. Clients get errors, what was accepted stays, what needs no disk goes
on; `status` says it once, and stops saying it when it is over. (An open database that becomes read-only: the unit
tests of the store; nothing here can do that to a server from outside.)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import subprocess

import pytest

from tests.adversity.kills import Brake
from tests.adversity.test_floods import waits_for
from tests.site import Site
from tests.xmpp_client import condition, find

ROSTER = "jabber:iq:roster"
BODY = "x" * 8000


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"nothing can be mounted here (the unit tests use max_page_count): {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def locked(site):
    with site.directory.joinpath("data", "xmppd.sqlite-shm").open("r+b") as shm:
        fcntl.lockf(shm, fcntl.LOCK_EX, 1, Brake.WRITE_LOCK)
        yield


@contextlib.contextmanager
def broken(site):
    """Nothing can be written behind the present end of the log of writes: an input/output error."""
    before = resource.prlimit(site.pid, resource.RLIMIT_FSIZE)
    end = site.directory.joinpath("data", "xmppd.sqlite-wal").stat().st_size
    resource.prlimit(site.pid, resource.RLIMIT_FSIZE, (end, before[1]))
    yield
    resource.prlimit(site.pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def full(site):
    ballast = site.directory / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    yield
    ballast.unlink()


def warned(site, code):
    return [warning["text"] for warning in site.status["warnings"] if warning["code"] == code]


def failing(site):
    return warned(site, "store-failing")


def change(client, contact):
    return client.iq("set", f"<query xmlns='{ROSTER}'><item jid='{contact}@localhost'/></query>")


def contacts(client):
    answer = client.iq("get", f"<query xmlns='{ROSTER}'/>")
    return {item.get("jid").partition("@")[0] for item in answer.iter(f"{{{ROSTER}}}item")}


def story(site, fault, text):
    accepted = []
    numbers = iter(range(10_000))

    def say(ann):
        """One message for carol; the condition that came back, if any."""
        number = next(numbers)
        ann.send(f"<message to='carol@localhost' id='{number}'><body>{BODY}</body></message>")
        errors = find(ann.fence(), "message", type="error")
        if not errors:
            accepted.append(str(number))
            return None
        assert [e.get("id") for e in errors] == [str(number)]
        return condition(errors[0])

    with site.login("alice", "a") as ann, site.login("bob", "b") as bob:
        bob.present()
        assert say(ann) is None
        assert change(ann, "before").get("type") == "result"
        with fault(site):
            answers = [say(ann)]
            while answers[-1] is None and len(answers) < 1000:  # what has room still is written
                answers.append(say(ann))
            assert answers[-1] == "internal-server-error"
            assert condition(change(ann, "during")) == "internal-server-error"
            assert contacts(ann) == {"before"}
            assert failing(site) == [text]
            assert text in site.command("status", expect=None).stdout
            # what needs no write goes on
            ann.send(f"<message to='{bob.jid}' id='through'/>")
            assert bob.until("message").get("id") == "through"
            with site.login("carol", "early") as carol:
                carol.send("<presence/>")
                assert [carol.until("message").get("id") for _ in accepted] == accepted
                carol.close()
            with site.login("carol", "early") as carol:  # they could not be removed: not again, all the same
                assert find(carol.present(), "message") == []
                carol.close()
            assert failing(site) == [text]
        assert waits_for(lambda: not failing(site), 20)
        taken = len(accepted)
        assert say(ann) is None
        assert change(ann, "after").get("type") == "result"
        assert contacts(ann) == {"before", "after"}
    assert site.stop() == 0
    # as kept: nothing of what was taken has stayed behind, and the one message after it waits
    site.start()
    with site.login("carol", "late") as carol:
        carol.send("<presence/>")
        assert carol.until("message").get("id") == accepted[taken]
        assert find(carol.fence(), "message") == []
    assert site.stop() == 0
    assert site.log.count("store failing") == site.log.count("store works again") == 1
    assert site.log.count("code=store-failing") == 2  # when it began, and when it was over
    assert "Traceback" not in site.log


def told(folder, log, fault, text):
    users = ("alice", "bob", "carol")
    site = Site(folder, users=users, settings="[store]\nbusy_timeout_s = 0.05\n")
    site.log_path = log
    try:
        story(site.start(), fault, text)
    finally:
        if site.process is not None:  # it has not come to its end
            site.process.kill()
            site.process.wait()


@pytest.mark.req("6-25.1")
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (locked, "the database is locked by another program"),
        (broken, "the disk reports an input/output error"),
    ],
    ids=["locked", "broken"],
)
def test_a_database_that_cannot_be_written(tmp_path, fault, text):
    told(tmp_path / "site", tmp_path / "log", fault, text)


@pytest.mark.req("6-25.1")
def test_a_full_disk(disk, tmp_path):
    told(disk, tmp_path / "log", full, "the disk is full")


def test_a_database_that_cannot_be_read(tmp_path):
    """A part of the file is missing for a while: who cannot log in meanwhile can afterwards, and `status` says why."""
    site = Site(tmp_path / "site")
    file = site.directory / "data" / "xmppd.sqlite"
    whole = file.read_bytes()
    site.start()
    try:
        assert not warned(site, "store-unreadable")
        os.truncate(file, len(whole) // 2)
        with pytest.raises(AssertionError, match="temporary-auth-failure"):
            site.login("alice")
        assert warned(site, "store-unreadable") == ["the database file is damaged"]
        file.write_bytes(whole)
        with site.login("alice") as alice:
            assert contacts(alice) == set()
    finally:
        assert site.stop() == 0
    assert "Traceback" not in site.log
