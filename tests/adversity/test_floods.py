"""Floods and greedy clients against a whole server: limits hold, others notice nothing, nothing dies."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time

import pytest

from tests.live.conftest import make_site as make_site
from tests.site import PASSWORD
from tests.xmpp_client import Disconnected, condition, find


def refused(address):
    """Whether a new connection is closed before a word is said."""
    with socket.create_connection(address, timeout=5) as sock:
        sock.settimeout(5)
        try:
            return sock.recv(1) == b""
        except ConnectionResetError:
            return True


def waits_for(claim, timeout_s=10.0):
    """Whether `claim` becomes true in time."""
    end = time.monotonic() + timeout_s
    while not claim():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_connections_of_one_address_are_limited(make_site):
    site = make_site("[limits]\nconnections_per_address = 5\n")
    held = [site.connect() for _ in range(5)]
    for client in held:
        client.open()
    assert refused(held[0].sock.getpeername())
    assert site.status["counters"]["connections_refused_address"] >= 1
    held.pop().sock.close()

    def let_in():
        with site.connect() as client:
            try:
                client.open()
            except (Disconnected, ConnectionResetError):
                return False
            return True

    assert waits_for(let_in)


def test_unauthenticated_connections_are_limited(make_site):
    site = make_site("[limits]\nunauthenticated_connections = 4\n")
    with site.login("alice") as alice:
        held = [site.connect() for _ in range(4)]
        for client in held:
            client.open()
        assert refused(held[0].sock.getpeername())
        assert alice.fence() == []
        assert site.status["counters"]["connections_refused_unauthenticated"] >= 1


def test_a_few_addresses_do_not_keep_everybody_else_out(make_site):
    """When all places are taken, a place of those who have several is for who has none."""
    site = make_site("[limits]\nunauthenticated_connections = 3\n")
    with contextlib.ExitStack() as stack:

        def connect(source):
            sock = socket.create_connection(site.address(), timeout=5, source_address=(source, 0))
            return stack.enter_context(sock)

        held = [connect("127.0.0.2") for _ in range(3)]
        assert waits_for(lambda: site.status["unauthenticated"] == 3)
        with site.login("alice") as alice:
            assert held[0].recv(1) == b""  # the oldest
            assert alice.fence() == []
        connect("127.0.0.3"), connect("127.0.0.4")
        assert held[1].recv(1) == b""
        # the last one of an address stays, and whoever has a place gets no second one
        assert connect("127.0.0.4").recv(1) == b""
        assert connect("127.0.0.5").recv(1) == b""
        held[2].sendall(b"<")
        assert site.status["counters"]["connections_refused_unauthenticated"] == 4
        assert site.status["unauthenticated"] == 3


@pytest.mark.req("4-6.x1")
def test_sessions_of_one_account_are_limited(make_site):
    site = make_site("[limits]\nsessions_per_account = 2\n")
    with site.login("alice"), site.login("alice"), site.connect() as third:
        third.secure(site.ca)
        third.plain("alice", PASSWORD.format(user="alice"))
        third.open()
        assert condition(third.bind()) == "resource-constraint"


@pytest.mark.parametrize(
    ("settings", "size"),
    [("stanzas_per_s = 100\nburst_s = 0.5", 0), ("bytes_per_s = 100000\nburst_s = 3.0", 1500)],
    ids=["stanzas", "bytes"],
)
def test_a_stream_is_slowed_down_not_lost(make_site, settings, size):
    site = make_site(f"[limits]\n{settings}\n" + ("stanzas_per_s = 1000000\n" if size else ""))
    with site.login("alice") as alice, site.login("bob") as bob:
        started = time.monotonic()
        alice.send(
            "".join(
                f"<message to='{bob.jid}' id='{i}'><body>{'x' * size}</body></message>" for i in range(300)
            )
        )
        assert [bob.until("message").get("id") for _ in range(300)] == [str(i) for i in range(300)]
        assert time.monotonic() - started > 1.0
        assert site.status["counters"]["streams_rate_limited"] >= 1
        # many times, one line
        assert waits_for(lambda: 'event="stream slowed down"' in site.log)
        assert site.log.count('event="stream slowed down"') == 1


def test_no_more_comes_at_once_than_is_allowed(make_site):
    site = make_site("[limits]\nstanzas_per_s = 200\nburst_s = 5.0\n")
    with site.login("alice") as alice, site.login("bob") as bob:
        alice.send(f"<message to='{bob.jid}'><body>x</body></message>" * 3000)
        assert waits_for(lambda: site.status["counters"]["streams_rate_limited"])
        # a thousand, what was parsed with the last of them, and a second's worth meanwhile
        assert 900 < len(find(bob.fence(), "message")) < 1000 + 64 + 200


def test_a_stream_that_is_slowed_down_is_not_read_on(make_site):
    """What it has sent waits with its sender: here the whole server may hold less than that."""
    site = make_site("[limits]\nstanzas_per_s = 1000\nburst_s = 0.5\npartial_bytes_total = 1048576\n")
    with site.login("alice") as alice, site.login("bob") as bob:

        def pour():
            with contextlib.suppress(OSError):
                alice.send(f"<message to='{bob.jid}'/>" * 150_000)

        flood = threading.Thread(target=pour)
        flood.start()
        for _ in range(6000):
            bob.until("message")
        counters = site.status["counters"]
        assert counters["streams_rate_limited"]
        assert not counters["partial_bytes_evicted"]
        alice.sock.shutdown(socket.SHUT_RDWR)
        flood.join()


def test_a_client_that_never_reads_is_dropped_and_nobody_else_waits(make_site):
    site = make_site(
        "[limits]\noutput_bytes = 65536\nstanza_bytes = 65536\nroster_bytes = 65536\nstanzas_per_s = 1000000\nbytes_per_s = 1000000000\n",
        users=("alice", "bob", "eve"),
    )
    with site.login("alice") as alice, site.login("bob") as bob, site.login("eve") as deaf:
        body = "x" * 10_000
        for i in range(3000):
            alice.send(f"<message to='{deaf.jid}'><body>{body}</body></message>")
            if i % 100 == 0 and site.status["counters"]["streams_overflowed"]:
                break
        alice.send(f"<message to='{bob.jid}' id='after'/>")
        assert bob.until("message", id="after") is not None
        assert waits_for(lambda: site.status["counters"]["streams_overflowed"] == 1)
        assert waits_for(lambda: "client does not read" in site.log)


def test_a_flood_of_logins_keeps_others_served(make_site):
    site = make_site("[sasl]\nplain_per_address = 1\nplain_queue = 2\nretries = 3\n")
    with site.login("bob") as bob:
        clients = [site.connect() for _ in range(12)]
        for client in clients:
            client.secure(site.ca)
        for client in clients:
            client.send(
                "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHdyb25n</auth>"
            )
        answers = {condition(client.next()) for client in clients}
        assert answers <= {"not-authorized", "temporary-auth-failure"}
        assert bob.fence() == []


def test_rubbish_of_every_kind(make_site):
    """Each ends by itself; the server serves on and has said no word of a fault of its own."""
    site = make_site("[stream]\nnegotiation_timeout_s = 5\nclose_timeout_s = 0.5\n")
    rubbish = [
        bytes(range(256)),
        b"\xff" * 5000,
        b"<" * 5000,
        b"<stream:stream" + b" a='b'" * 500,
        b"<?xml version='1.0' encoding='utf-16'?>",
        b"\xef\xbb\xbf<stream:stream",
        b"<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>",
        b"</stream:stream>",
        b"<a/>",
        b" " * 100_000,
    ]
    for data, cut in itertools.product(rubbish, (True, False)):
        client = site.connect()
        client.send(data)
        if cut:
            client.sock.close()
        else:
            client.sock.shutdown(socket.SHUT_WR)
            client.read_to_end()
            client.sock.close()
    with site.login("alice") as alice:
        assert alice.fence() == []
    assert "Traceback" not in site.log


def test_half_open_sockets_do_not_hold_places_for_ever(make_site):
    site = make_site(
        "[stream]\nnegotiation_timeout_s = 0.5\nclose_timeout_s = 0.5\n[limits]\nunauthenticated_connections = 8\n"
    )
    for client in [site.connect() for _ in range(8)]:
        client.sock.shutdown(socket.SHUT_RD)
    assert waits_for(lambda: not refused(site.address()))
    with site.login("alice") as alice:
        assert alice.fence() == []


def test_unfinished_stanzas_of_all_together_are_limited(make_site):
    """Who holds the most goes, whoever passes the limit; what others have begun they can end."""
    site = make_site(
        "[limits]\npartial_bytes_total = 1048576\nbytes_per_s = 1000000000\nstanza_bytes = 600000\n"
        "sessions_per_account = 64\n[stream]\nclose_timeout_s = 30\n",
    )
    with site.login("alice") as greedy, site.connect() as slow, contextlib.ExitStack() as stack:
        slow.open()
        slow.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'")
        greedy.send("<message><body>" + "x" * 500_000)
        modest = []
        while not site.status["counters"]["partial_bytes_evicted"]:
            modest.append(stack.enter_context(site.login("bob")))
            modest[-1].send("<iq type='get' id='mine'><ping xmlns='urn:xmpp:ping'>" + " " * 16_000)
        assert condition(greedy.next()) == "resource-constraint"
        assert greedy.read_to_end() == b""
        assert greedy.received.endswith(b"</stream:stream>")
        for each in modest:
            each.send("</ping></iq>")
            assert each.until("iq", id="mine") is not None
        slow.send("/>")
        assert slow.next().tag.endswith("}proceed")
        assert site.status["counters"]["partial_bytes_evicted"] == 1
