"""The command line with a running server."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.machine.wire import ScramClient
from tests.site import PASSWORD, Site
from tests.xmpp_client import SASL, StreamClosed, condition
from xmppd import config


def until(wanted, within_s=20.0):
    """Wait until `wanted()` is true; its value."""
    deadline_s = time.monotonic() + within_s
    while not (found := wanted()):
        assert time.monotonic() < deadline_s, "it did not come to that"
        time.sleep(0.02)
    return found


def test_status(site):
    said = site.status
    assert said["running"] is True
    assert said["pid"] == site.pid
    assert said["profile"] == "uc-2013"
    assert said["domains"] == ["localhost", "second.example"]
    assert [(each["kind"], each["host"], each["direct_tls"]) for each in said["listeners"]] == [
        ("c2s", "127.0.0.1", False)
    ]
    assert said["warnings"] == []
    text = site.command("status").stdout
    assert f"process {site.pid}" in text
    assert f"c2s on 127.0.0.1:{said['listeners'][0]['port']} (STARTTLS)" in text


def test_dns_records_have_the_ports_that_are_listened_on(site):
    shown = site.json("status")["listeners"]
    said = site.json("dns")
    assert list(said) == list(site.domains)
    for domain, records in said.items():
        ports = [
            record["value"].split()[2] for record in records if record["name"].startswith("_xmpp-client.")
        ]
        assert ports == [str(listener["port"]) for listener in shown], domain  # 1-3.1
    text = site.command("dns", "second.example", "--address", "192.0.2.7", "--host", "xmpp.example").stdout
    assert text.splitlines()[-1] == "xmpp.example. IN A 192.0.2.7"
    assert "localhost" not in text
    refused = site.command("dns", "third.example", expect=1).stderr
    assert refused == "xmppd: third.example is not served; served are localhost, second.example\n"


def test_sessions_are_listed_and_kicked(site, user):
    name = user("kicked")
    with site.login(name, "desk") as desk, site.login(name, "phone") as phone:
        rows = {row["jid"]: row for row in site.json("session", "list", f"{name}@localhost")}
        assert set(rows) == {desk.jid, phone.jid}
        assert rows[desk.jid]["peer"] == "127.0.0.1"
        assert rows[desk.jid]["tls"].startswith("TLSv1.")
        assert desk.jid in site.command("session", "list").stdout
        assert site.json("session", "kick", phone.jid) == {"sessions_ended": [phone.jid]}
        phone.send("</stream:stream>")
        with pytest.raises(StreamClosed):
            phone.next()
        assert [row["jid"] for row in site.json("session", "list", f"{name}@localhost")] == [desk.jid]
        assert site.json("session", "kick", f"{name}@localhost") == {"sessions_ended": [desk.jid]}
    failed = site.command("session", "kick", f"{name}@localhost", expect=1)
    assert failed.stderr == f"xmppd: {name}@localhost has no session\n"


def test_a_disabled_account_loses_its_sessions(site, user):
    name = user("lost")
    with site.login(name) as client:
        assert site.json("user", "disable", f"{name}@localhost")["sessions_ended"] == 1
        assert client.until("error") is not None
    listed = {row["jid"]: row for row in site.json("user", "list")}
    assert (listed[f"{name}@localhost"]["enabled"], listed[f"{name}@localhost"]["sessions"]) == (False, 0)


def _logged_in(site, name):
    """A stream that has logged in and not bound."""
    client = site.connect()
    client.secure(site.ca)
    assert client.plain(name, PASSWORD.format(user=name)).tag.endswith("}success")
    client.open()
    return client


@pytest.mark.req("3-9.2")
@pytest.mark.parametrize("words", [["disable"], ["del"]])
def test_a_stream_without_a_resource_does_not_outlive_its_account(site, user, words):
    name = user("half")
    with _logged_in(site, name) as client, _logged_in(site, "alice") as other:
        site.command("user", *words, f"{name}@localhost")
        if words == ["del"]:
            site.add_user(name)  # whoever was let in as the former account is no user of the new one
        assert condition(client.next()) == "not-authorized"
        other.send("</stream:stream>")
        with pytest.raises(StreamClosed):  # and no error before it
            other.next()


@pytest.mark.req("3-9.2", "3-23.2", "3-23.9")
@pytest.mark.parametrize(("word", "said"), [("disable", "account-disabled"), ("del", "not-authorized")])
def test_who_is_logging_in_learns_with_the_right_password_that_the_account_is_gone(site, user, word, said):
    name = user("half")
    right = PASSWORD.format(user=name)
    with site.connect() as client, site.connect() as guesser:
        begun = []
        for each, password in ((client, right), (guesser, "wrong")):
            each.secure(site.ca)
            scram = ScramClient("SCRAM-SHA-256", name, password)
            each.send(scram.first())
            begun.append((scram, each.next().text))
        site.command("user", word, f"{name}@localhost")
        if word == "del":
            site.add_user(
                name
            )  # by that name, and the same password: still not the account that was asked for
        for each, (scram, challenge), expected in zip(
            (client, guesser), begun, (said, "not-authorized"), strict=True
        ):
            final = scram.final_message(base64.b64decode(challenge or "")).encode()
            each.send(f"<response xmlns='{SASL}'>{base64.b64encode(final).decode()}</response>")
            answer = each.next()
            assert (answer.tag, [child.tag for child in answer]) == (
                f"{{{SASL}}}failure",
                [f"{{{SASL}}}{expected}"],
            )
        answer = client.plain(name, right)  # the stream is open for retries
        assert answer.tag == f"{{{SASL}}}{'success' if word == 'del' else 'failure'}"


def test_a_site_moves_in_while_the_server_runs(site):
    lines = "".join(
        f"mover{number}@localhost\t{PASSWORD.format(user=f'mover{number}')}\n" for number in range(60)
    )
    done = site.command(
        "user", "import", "-", "--json", stdin=f"{lines}broken\nalice@localhost\tx\n", expect=1
    )
    assert json.loads(done.stdout) == {
        "created": 60,
        "failures": [
            {"line": 61, "jid": "", "why": "there is no tab between address and password"},
            {"line": 62, "jid": "alice@localhost", "why": "the account exists already"},
        ],
        "stopped": None,
    }
    with site.login("mover59") as client:
        assert client.jid.startswith("mover59@localhost/")


def test_a_new_password_holds_at_once(site, user):
    name = user("changed")
    site.command("user", "passwd", f"{name}@localhost", "--password-stdin", stdin="another one\n")
    with site.connect() as client:
        client.login(name, "another one", ca=site.ca)


def test_reload_says_what_each_change_needs(make_site):
    site = make_site('[log]\nlevel = "info"\n')
    assert site.json("reload") == {"live": [], "new-streams": [], "restart": []}
    site.write('[log]\nlevel = "debug"\n[net]\nbacklog = 20\n[sasl]\nretries = 3\n')
    changed = {"live": ["log.level"], "new-streams": ["sasl.retries"], "restart": ["net.backlog"]}
    assert site.json("reload") == changed
    # what needs a restart goes on needing it
    site.json("reload")
    assert [each["code"] for each in site.status["warnings"]] == ["restart-needed"]
    site.write('[log]\nlevel = "debug"\n[sasl]\nretries = 3\n')
    assert "no setting has changed" in site.command("reload").stdout
    assert site.status["warnings"] == []


def test_reload_is_all_or_nothing(make_site):
    site = make_site()
    site.write("[sasl]\nretries = 3\n[net]\ndcsp = 20\n")
    failed = site.command("reload", expect=1)
    assert failed.stderr.count("\n") == 1
    assert "nothing was changed: " in failed.stderr
    assert 'unknown key "dcsp" in [net]; did you mean "dscp"?' in failed.stderr
    # the broken file is no obstacle to steering the server
    assert site.status["pid"] == site.pid
    site.write("[sasl]\nretries = 3\n")
    assert site.json("reload")["new-streams"] == ["sasl.retries"]
    (site.directory / "tls" / "localhost.key").write_text("rubbish")
    assert "nothing was changed" in site.command("reload", expect=1).stderr


def _bounds():
    """Every number of the configuration at its lowest and at its highest, as TOML; what it may be "above" is left out."""
    lowest, highest = "", ""
    for table in config.tables().keys() - set(config.ARRAYS):
        lowest += f"[{table}]\n"
        highest += f"[{table}]\n"
        for known in config.keys_of(table).values():
            if bounds := re.match(r"a (?:whole )?number (?:from (\d+)|above 0) to (\d+)", known.allowed):
                lowest += f"{known.name} = {bounds[1]}\n" if bounds[1] else ""
                highest += f"{known.name} = {bounds[2]}\n"
    return lowest, highest


@pytest.mark.parametrize("settings", _bounds(), ids=["lowest", "highest"])
def test_the_server_runs_and_reloads_at_the_bounds_of_every_number(make_site, settings):
    """What `check` lets pass, `run` and `reload` carry out."""
    site = make_site(profile="internet")
    site.write(settings, profile="internet")
    live = {known.path for known in config.keys_of("limits").values() if known.applies == "live"}
    assert live <= {*site.json("reload")["live"]} | {"limits.kept_request_bytes"}
    assert site.stop() == 0
    assert "is good" in site.command("check").stdout
    site.start()
    with site.login("alice") as alice:
        assert alice.fence() == []


def test_a_hang_up_reloads(make_site):
    site = make_site()
    site.write('[log]\nformat = "json"\n')
    site.process.send_signal(signal.SIGHUP)
    until(lambda: '"event": "reloaded"' in site.log)


def test_a_server_that_is_stopping_still_answers(make_site):
    """Somebody does not answer the closing tag: until then it can be asked, and stopped once more."""
    site = make_site("[stream]\nclose_timeout_s = 60\n")
    with site.connect() as silent:
        silent.open()
        os.kill(site.pid, signal.SIGTERM)
        assert silent.read_some()
        assert site.status["listeners"] == []
        site.write("[net]\ndscp = 26\n")
        site.command("reload")
        assert "has not ended after 0 seconds" in site.command("stop", "--timeout", "0", expect=1).stderr
        silent.close()
    assert site.stop() == 0


def test_stop_returns_when_the_server_has_ended(make_site):
    site = make_site()
    with site.login("alice") as alice:
        answered = []
        process = subprocess.Popen([sys.executable, "-m", "xmppd", "-c", str(site.config), "stop"])
        assert alice.until("error") is not None
        answered.append(alice.send("</stream:stream>"))
        assert process.wait(20) == 0
    assert site.process.poll() == 0
    site.process = None
    assert not (site.directory / "data" / "admin.sock").exists()
    # and the store is free again
    assert len(site.json("user", "list")) == 2


def test_two_servers_do_not_share_a_site(make_site):
    site = make_site()
    second = site.command("run", expect=1)
    assert f"in use by process {site.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert site.status["pid"] == site.pid


def test_run_says_that_servers_are_not_served_yet(make_site):
    site = make_site(listeners=('address = "127.0.0.1:0"', 'kind = "s2s"\naddress = "127.0.0.1:0"'))
    until(lambda: "server-to-server streams are not served yet" in site.log)
    assert [each["code"] for each in site.status["warnings"]] == ["listener-not-served"]


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site = Site(tmp_path / "site", listeners=(f'address = "127.0.0.1:{port}"',), users=())
        failed = site.command("run", expect=1)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_listener_given_by_name(make_site):
    site = make_site(listeners=('address = "localhost:0"',))
    listeners = site.status["listeners"]
    here = {entry[4][0] for entry in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    assert {listener["host"] for listener in listeners} <= here
    assert len({listener["port"] for listener in listeners}) == 1
    for number in range(len(listeners)):
        with site.connect(number=number) as client:
            client.login("alice", PASSWORD.format(user="alice"), ca=site.ca)
    site.write("[net]\ndscp = 20\n", listeners=('address = "localhost:0"',))
    assert site.json("reload")["live"] == ["net.dscp"]


def test_a_certificate_that_expires_soon_is_a_warning(make_site):
    from xmppd.pki import issue

    site = make_site()
    tls = site.directory / "tls"
    ca = issue.Pair((tls / "ca.pem").read_bytes(), (tls / "ca.key").read_bytes())
    soon = issue.issue(ca, "localhost", days=10)
    (tls / "localhost.pem").write_bytes(soon.certificate)
    (tls / "localhost.key").write_bytes(soon.key)
    site.command("reload")
    (warning,) = until(lambda: site.status["warnings"])
    assert (warning["code"], warning["subject"]) == ("certificate-expiring", "localhost")
    assert "in 9 days" in warning["text"]


def test_a_supervisor_hears_the_end_of_every_reload(tmp_path):
    """sd_notify(3): `systemctl reload` waits for RELOADING=1 and READY=1, also where the file is broken."""
    site = Site(tmp_path / "site", users=())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(20)
        server = subprocess.Popen(
            [sys.executable, "-m", "xmppd", "-c", str(site.config), "run"],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert supervisor.recv(4096).startswith(b"READY=1")
            site.write("[nonsense]\n")
            server.send_signal(signal.SIGHUP)
            assert supervisor.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert supervisor.recv(4096).startswith(b"READY=1")
        finally:
            server.terminate()
            assert server.wait(20) == 0
        assert supervisor.recv(4096).startswith(b"STOPPING=1")


@pytest.mark.req("1-18.b", "3-9.2")
@pytest.mark.parametrize("kicked", [False, True])
def test_what_a_deleted_account_still_sends_is_not_its_successors(site, user, kicked):
    """We go on listening behind our closing tag, but the account it came from is no more."""
    name = user("heir")
    with site.login(name) as client, site.login("bob") as bob:
        if kicked:
            site.command("session", "kick", client.jid)
        site.command("user", "del", f"{name}@localhost")
        site.add_user(name)
        with site.login(name) as heir:
            client.send(
                "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='eve@localhost'/></query></iq>"
                f"<message to='{bob.jid}' id='forged'/></stream:stream>"
            )
            client.read_to_end()
            answer = heir.iq("get", "<query xmlns='jabber:iq:roster'/>")
            assert not list(answer.iter("{jabber:iq:roster}item"))
        assert not [each for each in bob.fence() if each.get("id") == "forged"]
