"""The command line without a server: init, check, accounts in the store, usage."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import re
import select
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from tests.certs import make_ca, make_cert
from xmppd import config as configuration
from xmppd.auth import LocalAuth
from xmppd.cli import importing, main
from xmppd.cli import init as initialize
from xmppd.cli.commands import _duration, xmppd
from xmppd.cli.show import shown
from xmppd.ops.admin import CommandError
from xmppd.pki import certificate
from xmppd.store import Store

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "r0m30myr0m30"


class Done(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Done]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs the command line in this process: call("init", DIR, ..., stdin="...")."""

    def run(*words: str | Path, stdin: str | bytes = "") -> Done:
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def site(tmp_path: Path, call: Call) -> Path:
    """The configuration file of a fresh site that serves localhost and second.example."""
    made = call(
        "init", tmp_path / "site", "--domain", "localhost", "--domain=second.example", "--c2s", "127.0.0.1:0"
    )
    assert made.status == 0, made.err
    return tmp_path / "site" / "xmppd.toml"


def one_sentence(text: str) -> bool:
    """`xmppd: sentence`, on one line, and nothing of Python's."""
    return text.startswith("xmppd: ") and text.count("\n") == 1 and "Traceback" not in text


# ---- init


def test_init_makes_a_site(tmp_path: Path, call: Call) -> None:
    folder = tmp_path / "deep" / "site"
    done = call("init", folder, "--domain", "example.mil", "--domain", "Bücher.example")
    assert done.status == 0
    assert (folder / "xmppd.toml").read_text().startswith("#")
    config = configuration.load(folder / "xmppd.toml")
    assert config.profile == "uc-2013"
    assert [domain.name for domain in config.domains] == ["example.mil", "bücher.example"]
    assert [(each.kind, str(each.address)) for each in config.listeners] == [
        ("c2s", "0.0.0.0:5222"),
        ("c2s", "[::]:5222"),
    ]
    modes = {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.rglob("*")
    }
    assert modes == {
        "xmppd.toml": "0o644",
        "data": "0o700",
        "tls": "0o755",
        "tls/ca.pem": "0o644",
        "tls/ca.key": "0o600",
        "tls/example.mil.pem": "0o644",
        "tls/example.mil.key": "0o600",
        "tls/bücher.example.pem": "0o644",
        "tls/bücher.example.key": "0o600",
    }
    for domain in config.domains:
        assert certificate.faults(domain.name, domain.certificate, domain.key.path) == ([], [])
    assert str(folder / "tls" / "ca.pem") in done.out
    assert len((folder / "xmppd.toml").read_text().splitlines()) < 40


def test_init_takes_listeners_and_a_profile(tmp_path: Path, call: Call) -> None:
    done = call(
        "init", tmp_path, "--domain", "a.example", "--profile", "internet",
        "--c2s", "[::1]:5222", "--c2s", "127.0.0.1:15222", "--s2s", "[::]:5269", "--json",
    )  # fmt: skip
    assert done.data["listeners"] == [
        {"kind": "c2s", "address": "[::1]:5222"},
        {"kind": "c2s", "address": "127.0.0.1:15222"},
        {"kind": "s2s", "address": "[::]:5269"},
    ]
    assert done.data["profile"] == "internet"
    assert configuration.load(tmp_path / "xmppd.toml").profile == "internet"


def test_init_never_overwrites_without_force(site: Path, call: Call) -> None:
    before = {path: path.read_bytes() for path in site.parent.rglob("*") if path.is_file()}
    done = call("init", site.parent, "--domain", "localhost")
    assert done.status == 1
    assert one_sentence(done.err)
    assert "--force" in done.err
    assert {path: path.read_bytes() for path in site.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("there", ["tls/localhost.key", "tls/localhost.pem", "xmppd.toml"])
def test_init_checks_everything_before_it_writes_anything(tmp_path: Path, call: Call, there: str) -> None:
    precious = tmp_path / there
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("precious")
    done = call("init", tmp_path, "--domain", "localhost")
    assert done.status == 1
    assert there in done.err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [precious]
    assert precious.read_text() == "precious"


def test_init_with_force_keeps_the_ca_and_the_accounts(site: Path, call: Call) -> None:
    call("-c", site, "user", "add", "alice@localhost", "--password-stdin", stdin=PASSWORD)
    tls = site.parent / "tls"
    before = {
        name: (tls / name).read_bytes() for name in ("ca.pem", "ca.key", "localhost.pem", "localhost.key")
    }
    done = call("init", site.parent, "--domain", "localhost", "--force")
    assert done.status == 0
    after = {name: (tls / name).read_bytes() for name in before}
    assert {name for name in before if before[name] != after[name]} == {"localhost.pem", "localhost.key"}
    root, leaf = (x509.load_pem_x509_certificate(after[name]) for name in ("ca.pem", "localhost.pem"))
    leaf.verify_directly_issued_by(root)
    assert [row["jid"] for row in call("-c", site, "user", "list", "--json").data] == ["alice@localhost"]


@pytest.mark.parametrize("away", ["ca.key", "ca.pem"])
def test_init_with_force_does_not_replace_half_a_ca(site: Path, call: Call, away: str) -> None:
    """The key of the CA may be kept elsewhere, as docs/cli.md advises."""
    tls, kept = site.parent / "tls", site.parent / "elsewhere"
    (tls / away).rename(kept)
    before = {path: path.read_bytes() for path in site.parent.rglob("*") if path.is_file()}
    done = call("init", site.parent, "--domain", "localhost", "--force")
    assert (done.status, one_sentence(done.err)) == (1, True)
    assert f"put {away} back" in done.err
    assert {path: path.read_bytes() for path in site.parent.rglob("*") if path.is_file()} == before
    kept.rename(tls / away)
    assert call("init", site.parent, "--domain", "localhost", "--force").status == 0


def test_init_does_not_sign_for_others_than_the_ca_may(site: Path, call: Call) -> None:
    before = {path: path.read_bytes() for path in site.parent.rglob("*") if path.is_file()}
    done = call("init", site.parent, "--domain", "localhost", "--domain", "b\u00fccher.example", "--force")
    assert (done.status, one_sentence(done.err)) == (1, True)
    assert "ca.pem may not sign for b\u00fccher.example; move it and its key away" in done.err
    assert {path: path.read_bytes() for path in site.parent.rglob("*") if path.is_file()} == before
    assert call("init", site.parent, "--domain", "chat.localhost", "--force").status == 0


def test_init_does_not_sign_with_what_is_no_ca(site: Path, call: Call) -> None:
    (site.parent / "tls" / "ca.key").write_bytes((site.parent / "tls" / "localhost.key").read_bytes())
    done = call("init", site.parent, "--domain", "localhost", "--force")
    assert done.status == 1
    assert "does not belong to its certificate" in done.err


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ("tls/ca.pem", "tls/ca.pem: cannot be read: Is a directory"),
        ("tls/ca.key", "tls/ca.key: cannot be read: Is a directory"),
        ("tls/localhost.pem", "tls/localhost.pem is a directory"),
        ("xmppd.toml", "xmppd.toml is a directory"),
    ],
)
def test_init_with_a_directory_in_place_of_a_file(site: Path, call: Call, there: str, sentence: str) -> None:
    folder = site.parent
    (folder / there).unlink()
    (folder / there).mkdir()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = call("init", folder, "--domain", "localhost", "--force")
    assert (done.status, one_sentence(done.err)) == (1, True)
    assert sentence in done.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "domain",
    [".".join(["a" * 63] * 3 + ["a" * size]) for size in (50, 51, 59, 60, 61)]
    + [".".join(["\u00fc" * 30] * number) for number in (3, 4, 5)]
    + ["\u00fc" * 57],
    ids=["242", "243", "251", "252", "253", "182 in UTF-8", "243 in UTF-8", "304 in UTF-8", "one label"],
)
def test_the_longest_domains_have_files(tmp_path: Path, call: Call, domain: str) -> None:
    done = call("init", tmp_path, "--domain", domain, "--c2s", "127.0.0.1:0")
    assert (done.status, done.err) == (0, "")
    assert call("-c", tmp_path / "xmppd.toml", "check", "--json").data["found"] == []


def test_init_with_rubbish_for_a_ca(site: Path, call: Call) -> None:
    (site.parent / "tls" / "ca.pem").write_text("rubbish")
    done = call("init", site.parent, "--domain", "localhost", "--force")
    assert (done.status, one_sentence(done.err)) == (1, True)
    assert "cannot be used: the certificate of the CA is no PEM certificate; move them away" in done.err


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {tmp_path / name: initialize.File(b"x", 0o600) for name in ("one", "two", "three")}
    really = os.fsync
    calls: list[int] = []

    def full(fd: int) -> None:
        calls.append(fd)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        really(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CommandError, match="No space left on device"):
        initialize.write(files)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--domain", "a b"], '"a b" is not a domain name'),
        (["--domain", "a\nb"], '"a b" is not a domain name'),
        (
            ["--domain", "a.example", "--c2s", "::1:5222"],
            "an IPv6 address is written in brackets, as [::1]:5222",
        ),
        (["--domain", "a.example", "--s2s", "5269"], '"5269" is not HOST:PORT'),
        (["--domain", "a.example", "--domain", "A.example."], "a domain is named twice"),
        (["--domain", "a.example", "--c2s", "[::1]:1", "--s2s", "[::1]:1"], "an address is named twice"),
        (["--domain", "a.example", "--profile", "uc"], "uc-2013"),
        ([], "--domain"),
    ],
)
def test_init_wrong_usage(tmp_path: Path, call: Call, words: list[str], sentence: str) -> None:
    done = call("init", tmp_path / "x", *words)
    assert done.status == 2
    assert one_sentence(done.err)
    assert sentence in done.err
    assert not (tmp_path / "x").exists()


def test_an_empty_word_is_no_path(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not set does not lay a site into the working folder."""
    monkeypatch.chdir(tmp_path)
    for words in (["init", "", "--domain", "localhost"], ["-c", "", "check"]):
        done = call(*words)
        assert (done.status, one_sentence(done.err)) == (2, True)
        assert '"" is no path' in done.err
    assert not list(tmp_path.iterdir())


def test_init_where_nobody_may_write(tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").write_text("")
    done = call("init", tmp_path / "file" / "site", "--domain", "localhost")
    assert (done.status, one_sentence(done.err)) == (1, True)


# ---- check


def test_check_finds_nothing(site: Path, call: Call) -> None:
    done = call("-c", site, "check")
    assert (done.status, done.err) == (0, "")
    assert "is good: profile uc-2013, serves localhost, second.example" in done.out
    assert call("-c", site, "check", "--json").data == {"ok": True, "config": str(site), "found": []}


@pytest.mark.req("3-24.3")
def test_check_names_what_breaks_the_profile(site: Path, call: Call) -> None:
    site.write_text(site.read_text() + "[sasl]\nretries = 5\n")
    done = call("-c", site, "check")
    assert done.status == 1
    assert "sasl.retries: 5 retries are not within two to three (UC XMPP 2013, 3-24)" in done.out
    (found,) = call("-c", site, "check", "--json").data["found"]
    assert (found["level"], found["key"], found["requirement"]) == ("error", "sasl.retries", "3-24")


def test_check_shows_all_that_is_wrong_at_once(site: Path, call: Call) -> None:
    (site.parent / "tls" / "localhost.key").unlink()
    site.write_text(
        site.read_text()
        + '[sasl]\nretries = 1\nmechanisms = ["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"]\n[net]\ndcsp = 1\n[store]\nreaders = 99\n'
    )
    done = call("-c", site, "check", "--json")
    assert done.status == 1
    assert [(each["key"], each["requirement"]) for each in done.data["found"]] == [
        ("sasl.retries", "3-24"),
        ("net.dcsp", None),
        ("store.readers", None),
        ("sasl.mechanisms", "3-6"),
        ("domains[localhost]", None),
    ]
    said = call("-c", site, "check")
    assert said.out.count("error: ") == 5
    assert (
        "xmppd.toml:23: sasl.retries = 1: must be a whole number from 2 to 5 (UC XMPP 2013, 3-24)" in said.out
    )


def test_check_lists_what_the_profile_costs(site: Path, call: Call) -> None:
    text = site.read_text().replace('"uc-2013"', '"internet"') + '[net]\ndscp = "off"\n'
    site.write_text(text)
    done = call("-c", site, "check")
    assert done.status == 0
    cost = "cost: net.dscp: off leaves packets without the mark of low-latency data (UC XMPP 2013, 13-1)\n"
    assert cost in done.out
    found = call("-c", site, "check", "--json").data["found"]
    assert {each["requirement"] for each in found if each["level"] == "cost"} == {
        "2-8",
        "5-19",
        "5-21",
        "13-1",
    }


@pytest.mark.req("3-24.3")
def test_run_refuses_what_breaks_the_profile(site: Path, call: Call) -> None:
    site.write_text(site.read_text() + "[sasl]\nretries = 5\n")
    done = call("-c", site, "run")
    assert done.status == 1
    assert one_sentence(done.err)
    assert "3-24" in done.err


def test_check_looks_at_certificates_folders_and_ports(site: Path, call: Call) -> None:
    tls = site.parent / "tls"
    (tls / "localhost.pem").write_bytes((tls / "second.example.pem").read_bytes())
    (tls / "second.example.key").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = site.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}")
        site.write_text(
            text
            + '[store]\npath = "xmppd.toml"\n[admin]\nsocket = "admin.sock"\n[[listeners]]\nkind = "s2s"\naddress = "[::1]:0"\n'
        )
        found = call("-c", site, "check", "--json").data["found"]
    assert [(each["level"], each["key"]) for each in found] == [
        ("error", "domains[localhost]"),
        ("error", "domains[localhost]"),
        ("warning", "domains[second.example]"),
        ("error", "store.path"),
        ("error", "listeners[0]"),
        ("warning", "listeners[1]"),
    ]
    texts = [each["text"] for each in found]
    assert "is not for localhost but for dns:second.example" in texts[0]
    assert f"does not belong to {tls / 'localhost.pem'}" in texts[1]
    assert "its mode should be 0600" in texts[2]
    assert "is no directory" in texts[3]
    assert texts[4] == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    assert texts[5] == "s2s on [::1]:0 is not served by this version"


def _damage(name: str, site: Path) -> None:
    data = site.parent / "data"
    match name:
        case "auth-secret":
            (data / "auth-secret").write_bytes(b"too short")
        case "lock":
            (data / "lock").mkdir()
        case "wal":
            (data / "xmppd.sqlite-wal").mkdir()
        case "no folder can be made":
            site.write_text(site.read_text() + '[store]\npath = "tls/ca.pem/data"\n')
        case "a file":
            site.write_text(site.read_text() + '[store]\npath = "tls/ca.pem"\n')
        case "a newer file":
            _process("-c", str(site), "user", "list")
            _make_database(site, "PRAGMA user_version = 77")
        case "a long socket":
            site.write_text(site.read_text() + f'[admin]\nsocket = "data/{"a" * 200}"\n')
        case "no folder for the socket":
            site.write_text(site.read_text() + '[admin]\nsocket = "elsewhere/admin.sock"\n')
        case "no name":
            site.write_text(site.read_text().replace("127.0.0.1:0", "nowhere.invalid:0"))
        case "two for one port":
            port = _free_port()
            listener = f'[[listeners]]\naddress = "0.0.0.0:{port}"\n'
            site.write_text(site.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}") + listener)
        case "no certificate":
            (site.parent / "tls" / "localhost.pem").unlink()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("auth-secret", "auth-secret does not hold 32 bytes; remove it and another is made"),
        ("lock", "lock cannot be used: Is a directory"),
        ("wal", "xmppd.sqlite-wal cannot be used: Is a directory"),
        ("no folder can be made", "tls/ca.pem/data: is no directory, and none can be made"),
        ("a file", "ca.pem: is no directory, and none can be made"),
        ("a newer file", "the database has schema version 77"),
        ("a long socket", "its name is longer than "),
        ("no folder for the socket", "elsewhere is no directory"),
        ("no name", "cannot listen on nowhere.invalid:0: "),
        ("two for one port", "Address already in use"),
        ("no certificate", "localhost"),
    ],
)
def test_check_refuses_what_run_refuses(site: Path, call: Call, damage: str, sentence: str) -> None:
    _damage(damage, site)
    before = {path: path.stat().st_mtime_ns for path in site.parent.rglob("*")}
    errors = [each["text"] for each in call("-c", site, "check", "--json").data["found"]]
    assert any(sentence in text for text in errors), errors
    assert {path: path.stat().st_mtime_ns for path in site.parent.rglob("*")} == before
    done = _process("-c", str(site), "run")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert 'event="cannot start"' in last
    assert sentence in last
    assert "Traceback" not in done.stderr


def _make_database(site: Path, statement: str) -> None:
    connection = sqlite3.connect(site.parent / "data" / "xmppd.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_check_wants_a_suite_for_the_kind_of_key(site: Path, call: Call) -> None:
    """2-8: TLS 1.2 that is offered can be had."""
    text = site.read_text()
    site.write_text(text + '\n[tls]\nciphers = ["ECDHE-RSA-AES256-GCM-SHA384"]\n')
    assert [each["text"] for each in call("-c", site, "check", "--json").data["found"]] == [
        f"no suite of tls.ciphers is for the ECDSA key of {name}: TLS 1.2 would never work"
        for name in ("localhost", "second.example")
    ]
    site.write_text(text + '\n[tls]\nciphers = ["ECDHE-ECDSA-AES256-GCM-SHA384"]\n')
    assert not call("-c", site, "check", "--json").data["found"]


def test_check_looks_at_what_the_server_opens(site: Path, call: Call) -> None:
    """What would end `run` at once ends `check` too, and nothing is made on the way."""
    data = site.parent / "data"

    def errors() -> list[str]:
        return [each["text"] for each in call("-c", site, "check", "--json").data["found"]]

    call("-c", site, "user", "list")
    before = sorted(data.iterdir())
    assert errors() == []
    assert sorted(data.iterdir()) == before
    _make_database(site, "PRAGMA user_version = 77")
    assert "the database has schema version 77" in errors()[0]
    _make_database(site, "PRAGMA application_id = 1")
    assert errors() == ["the database file belongs to another program"]
    (data / "xmppd.sqlite").write_bytes(b"rubbish" * 1000)
    assert errors() == [f"{data / 'xmppd.sqlite'}: the file is not a database"]
    (data / "xmppd.sqlite").unlink()
    (data / "xmppd.sqlite").mkdir()
    assert errors() == [f"{data / 'xmppd.sqlite'} cannot be used: Is a directory"]
    (data / "xmppd.sqlite").rmdir()
    (data / "admin.sock").write_text("")
    assert errors() == [
        f"cannot open the admin socket {data / 'admin.sock'}: it is there already and is no socket"
    ]
    (data / "admin.sock").unlink()
    store = Store.open(data)
    try:
        assert errors() == [f"the data directory {data} is in use by process {os.getpid()}"]
    finally:
        asyncio.run(store.close())


def test_names_that_are_too_long(site: Path, call: Call) -> None:
    """Path.exists and Path.is_dir raise then, as they do where this user may not look."""
    long = "a" * 300
    text = site.read_text()
    site.write_text(f'{text}[store]\npath = "{long}"\n[admin]\nsocket = "{long}b/x"\n')
    found = call("-c", site, "check", "--json").data["found"]
    assert [each["key"] for each in found] == ["store.path", "admin.socket"]
    assert found[0]["text"].endswith("File name too long")
    assert found[1]["text"].endswith("b is no directory")
    site.write_text(f'{text}[admin]\nsocket = "data/{long}"\n')
    for words in (["user", "list"], ["status"]):
        done = call("-c", site, *words)
        assert (done.status, one_sentence(done.err)) == (1, True)
    done = call("init", site.parent / long, "--domain", "localhost")
    assert (done.status, one_sentence(done.err)) == (1, True)
    assert "File name too long" in done.err


def test_check_knows_keys_that_no_handshake_can_use(site: Path, call: Call) -> None:
    folder = site.parent / "tls"
    ca = make_ca()
    for key, sentence in (
        (rsa.generate_private_key(65537, 1024), "ee key too small"),  # noqa: S505
        (ec.generate_private_key(ec.SECP256K1()), "no client takes a key like this"),
        (dsa.generate_private_key(2048), "no client takes a key like this"),
        (rsa.generate_private_key(65537, 2048), None),
    ):
        make_cert(ca, ["localhost"], key=key, days=90).write(folder, "localhost")
        found = call("-c", site, "check", "--json").data["found"]
        assert len(found) == (1 if sentence else 0), found
        assert (sentence or "") in "".join(each["text"] for each in found)
    site.write_text(site.read_text().replace("\n\n[[domains]]", '\nkey = "pkcs11:x"\n\n[[domains]]', 1))
    (found,) = call("-c", site, "check", "--json").data["found"]
    assert "no private key at pkcs11:x" in found["text"]


@pytest.mark.parametrize("there", ["admin.sock", "auth-secret", "xmppd.sqlite"])
def test_run_names_what_is_in_its_way(site: Path, there: str) -> None:
    (site.parent / "data" / there).mkdir()
    done = _process("-c", str(site), "run")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert 'event="cannot start"' in last
    assert str(site.parent / "data" / there) in last


# ---- usage


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nonsense"], 'there is no command "nonsense"; known are bench, check, conformance, dns, init'),
        (["statsu"], 'there is no command "statsu"; did you mean "status"?'),
        (["-c", "x", "user", "lst"], 'there is no command "lst"; did you mean "list"?'),
        (["-c", "x", "stop", "--timeout", "soon"], '"soon" is no number of seconds from 0 to 86400'),
        (["-c", "x", "stop", "--timeout", "nan"], '"nan" is no number of seconds'),
        (["-c", "x", "stop", "--timeout", "-1"], '"-1" is no number of seconds'),
        (["user", "list"], "which server? Write: xmppd -c FILE user list"),
        (["check"], "which server? Write: xmppd -c FILE check"),
        (["-c", "x", "user", "add"], "JID"),
        (["-c", "x", "user", "add", "alice"], '"alice" is not the address of an account: user@domain'),
        (["-c", "x", "user", "del", "alice@localhost/desk"], "is not the address of an account"),
        (["-c", "x", "user", "passwd", "ali ce@localhost"], "is no JID: localpart: prohibited character"),
        (["-c", "x", "session", "kick", "ali ce@localhost"], "is no JID"),
        (["-c", "x", "session", "list", "@localhost"], "is no JID"),
        (["-c", "x", "check", "--jsno"], "--jsno"),
        (["-c", "x", "user", "import", "/nonexistent"], "No such file"),
    ],
)
def test_wrong_usage_is_status_2(call: Call, words: list[str], sentence: str) -> None:
    done = call(*words)
    assert done.status == 2
    assert one_sentence(done.err)
    assert sentence in done.err


@pytest.mark.parametrize(
    "words", [[], ["-c", "x"], ["user"], ["-c", "x", "user"], ["session"], ["conformance"]]
)
def test_a_command_that_is_missing(call: Call, words: list[str]) -> None:
    done = call(*words)
    assert (done.status, done.out, one_sentence(done.err)) == (2, "", True)
    path = " ".join(["xmppd", *(word for word in words if word not in ("-c", "x"))])
    assert "a command is missing: " in done.err
    assert done.err.endswith(f"; see {path} --help\n")


@pytest.mark.parametrize(
    "words", [["init", "DIR", "--domain", "a.example"], ["bench"], ["conformance", "verify", "x"]]
)
def test_commands_that_take_no_configuration(call: Call, words: list[str]) -> None:
    done = call("-c", "x", *words)
    assert (done.status, done.err) == (
        2,
        f"xmppd: {words[0]} takes no -c: it is not about one configuration\n",
    )


def test_dns_without_a_configuration(call: Call) -> None:
    done = call("dns", "example.org", "--address", "192.0.2.7", "--address", "2001:db8::7")
    assert done.status == 0
    assert done.out.splitlines()[0] == "_xmpp-client._tcp.example.org. IN SRV 0 0 5222 example.org."
    assert one_sentence(done.err)
    assert "no configuration is given" in done.err
    nothing = call("dns")
    assert (nothing.status, one_sentence(nothing.err)) == (2, True)


def test_dns_says_what_is_not_served(tmp_path: Path, call: Call) -> None:
    call("init", tmp_path, "--domain", "example.org", "--s2s", "[::]:5269")
    done = call("-c", tmp_path / "xmppd.toml", "dns", "--address", "192.0.2.7", "--address", "2001:db8::7")
    lines = done.out.splitlines()
    assert lines[lines.index("_xmpp-server._tcp.example.org. IN SRV 0 0 5269 example.org.") - 1].startswith(
        "; nobody"
    )


def test_help(call: Call) -> None:
    done = call("--help")
    assert done.status == 0
    assert "init" in done.out


def test_no_file(tmp_path: Path, call: Call) -> None:
    done = call("-c", tmp_path / "absent.toml", "user", "list")
    assert done.status == 1
    assert one_sentence(done.err)
    assert "cannot be read: No such file" in done.err


@pytest.mark.parametrize(
    "words", [["stop"], ["status"], ["reload"], ["session", "list"], ["session", "kick", "a@b"]]
)
def test_no_server(site: Path, call: Call, words: list[str]) -> None:
    done = call("-c", site, *words)
    assert done.status == 1
    assert one_sentence(done.err)
    assert "no server answers on" in done.err


def test_status_of_no_server_as_json(site: Path, call: Call) -> None:
    done = call("-c", site, "status", "--json")
    assert (done.status, done.data, done.err) == (1, {"running": False}, "")


# ---- accounts


def test_accounts_come_and_go(site: Path, call: Call) -> None:
    def user(*words: str, stdin: str = "") -> Done:
        return call("-c", site, "user", *words, stdin=stdin)

    assert user("list").out == "no accounts\n"
    assert (
        user("add", "Alice@Localhost", "--password-stdin", stdin=f"{PASSWORD}\n").out
        == "alice@localhost was made\n"
    )
    assert user("add", "bob@second.example", "--password-stdin", "--json", stdin=PASSWORD).data == {
        "jid": "bob@second.example"
    }
    assert user("disable", "alice@localhost").out == "alice@localhost is disabled\n"
    assert user("expire", "alice@localhost").out == "alice@localhost needs a new password\n"
    listed = user("list").out.splitlines()
    assert re.fullmatch(r"Account +Enabled +Expired +Sessions +Created", listed[0])
    assert re.fullmatch(r"alice@localhost +no +yes +0 +2\S+Z", listed[1])
    elsewhere = user("list", "--domain", "elsewhere.example")
    assert elsewhere.status == 1
    assert elsewhere.err == "xmppd: elsewhere.example is not served here: localhost, second.example\n"
    assert [row["jid"] for row in user("list", "--domain", "second.example", "--json").data] == [
        "bob@second.example"
    ]
    assert user("enable", "alice@localhost").status == 0
    assert [row["enabled"] for row in user("list", "--json").data] == [True, True]
    assert user("passwd", "alice@localhost", "--password-stdin", stdin="other\n").status == 0
    assert [row["expired"] for row in user("list", "--json").data] == [False, False]
    assert user("del", "alice@localhost").status == 0
    assert [row["jid"] for row in user("list", "--json").data] == ["bob@second.example"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["add", "alice@localhost"], "alice@localhost exists already"),
        (["add", "alice@elsewhere"], "elsewhere is not served here: localhost, second.example"),
        (["passwd", "nobody@localhost"], "there is no account nobody@localhost"),
        (["expire", "nobody@localhost"], "there is no account nobody@localhost"),
        (["disable", "nobody@localhost"], "there is no account nobody@localhost"),
        (["del", "nobody@localhost"], "there is no account nobody@localhost"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(site: Path, call: Call, words: list[str], sentence: str) -> None:
    call("-c", site, "user", "add", "alice@localhost", "--password-stdin", stdin=PASSWORD)
    needs_password = words[0] in ("add", "passwd")
    options = ["--password-stdin"] if needs_password else []
    done = call("-c", site, "user", *words, *options, stdin=PASSWORD)
    assert done.status == 1
    assert one_sentence(done.err)
    assert sentence in done.err


@pytest.mark.parametrize(
    ("stdin", "sentence"),
    [
        ("", "there is no password on stdin"),
        ("\n", "there is no password on stdin"),
        (b"\xff\n", "not UTF-8"),
    ],
)
def test_passwords_on_stdin(site: Path, call: Call, stdin: str | bytes, sentence: str) -> None:
    done = call("-c", site, "user", "add", "alice@localhost", "--password-stdin", stdin=stdin)
    assert done.status == 2
    assert sentence in done.err


def test_a_bad_password_is_not_repeated(site: Path, call: Call) -> None:
    done = call("-c", site, "user", "add", "alice@localhost", "--password-stdin", stdin="to\x07psecret\n")
    assert done.status == 1
    assert one_sentence(done.err)
    assert "the password cannot be used: prohibited character" in done.err
    assert "psecret" not in done.err


def test_no_terminal_and_no_stdin_option(site: Path, call: Call) -> None:
    done = call("-c", site, "user", "add", "alice@localhost", stdin=PASSWORD)
    assert done.status == 2
    assert "--password-stdin" in done.err


def _on_a_terminal(words: list[str], answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run the command line on a pseudo-terminal; wait for each prompt, type its answer."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "xmppd", *words])  # noqa: S606
    seen, waiting, deadline_s = "", answers[:], time.monotonic() + 60
    while time.monotonic() < deadline_s:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece.decode("utf-8", "replace")
        if waiting and seen.endswith(waiting[0][0]):
            os.write(terminal, waiting.pop(0)[1].encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


def test_passwords_are_asked_for_twice(site: Path, call: Call) -> None:
    words = ["-c", str(site), "user", "add", "alice@localhost"]
    status, seen = _on_a_terminal(words, [("Password: ", "one"), ("Again: ", "two")])
    assert status == 2
    assert "the two passwords differ" in seen
    status, seen = _on_a_terminal(words, [("Password: ", PASSWORD), ("Again: ", PASSWORD)])
    assert status == 0, seen
    assert PASSWORD not in seen
    assert "alice@localhost was made" in seen


def test_tables_on_a_terminal(site: Path, call: Call) -> None:
    call("-c", site, "user", "add", "[bold]@localhost", "--password-stdin", stdin=PASSWORD)
    status, seen = _on_a_terminal(["-c", str(site), "user", "list"], [])
    assert status == 0
    assert "[bold]@localhost" in seen
    assert "─" in seen


# ---- import


def test_a_site_moves_in(site: Path, call: Call, tmp_path: Path) -> None:
    accounts = tmp_path / "accounts"
    accounts.write_bytes(
        b"\xef\xbb\xbfalice@localhost\tsecret one\n"
        b"bob@second.example\t spaces in it \r\n"
        b"\n"
        b"no tab here\n"
        b"Alice@localhost\tagain\n"
        b"carol@elsewhere\tx\n"
        b"\xff\tx\n"
        b"dave@localhost\t\n"
        b"@@\tx\n"
        b"erin@localhost\tlast line without an end"
    )
    done = call("-c", site, "user", "import", accounts)
    assert done.status == 1
    assert done.out == "3 accounts made, 6 lines failed\n"
    assert done.err.splitlines() == [
        "xmppd: line 4: there is no tab between address and password",
        "xmppd: line 5: alice@localhost: the account stands in line 1 already",
        "xmppd: line 6: carol@elsewhere: elsewhere is not served here: localhost, second.example",
        "xmppd: line 7: the line is not UTF-8",
        "xmppd: line 8: dave@localhost: the password is empty",
        done.err.splitlines()[5],
    ]
    assert done.err.splitlines()[5].startswith("xmppd: line 9: @@: that is no JID")
    listed = {row["jid"] for row in call("-c", site, "user", "list", "--json").data}
    assert listed == {"alice@localhost", "bob@second.example", "erin@localhost"}
    again = call("-c", site, "user", "import", "-", "--json", stdin="alice@localhost\tx\nfred@localhost\ty\n")
    assert again.status == 1
    assert again.data == {
        "created": 1,
        "failures": [{"line": 1, "jid": "alice@localhost", "why": "the account exists already"}],
        "stopped": None,
    }


def test_an_overlong_line_is_the_failure_of_that_line(site: Path, call: Call) -> None:
    lines = [b"u%d@localhost\tsecret\n" % number for number in range(4)]
    lines[1] = b"u1@localhost\t" + b"x" * 5_000_000 + b"\n"
    lines[2] = b"u2@localhost\t" + b"x" * 1_024 + b"\n"
    done = call("-c", site, "user", "import", "-", stdin=b"".join(lines))
    assert done.err.splitlines() == [
        "xmppd: line 2: the line is longer than 8192 bytes",
        "xmppd: line 3: u2@localhost: the password is longer than 1023 bytes",
    ]
    assert done.out == "2 accounts made, 2 lines failed\n"


@pytest.mark.parametrize("password", ["x" * 1024, "\u00e9" * 512, "x" * 8000, "x" * 5_000_000])
def test_passwords_that_are_too_long(site: Path, call: Call, password: str) -> None:
    user = ["-c", site, "user"]
    longest = "\u00e9" * 511 + "x"
    assert call(*user, "add", "alice@localhost", "--password-stdin", stdin=longest).status == 0
    for words in (["passwd", "alice@localhost"], ["add", "bob@localhost"]):
        done = call(*user, *words, "--password-stdin", stdin=password)
        assert (done.status, one_sentence(done.err)) == (1, True)
        assert "is longer than " in done.err
        assert len(done.err) < 200


def test_the_longest_lines_fit_into_a_command() -> None:
    """Whatever stands in a line, a command is shorter than the least `admin.line_bytes`."""
    least = re.search(r"from (\d+)", configuration.keys_of("admin")["line_bytes"].allowed)
    assert least is not None
    sizes: list[int] = []

    class There:
        is_live = True

        def call(self, command: str, params: dict[str, Any], on_progress: Any = None) -> Any:
            sizes.append(len(json.dumps({"id": 1, "command": command, "params": params})))
            return {"created": len(params["rows"]), "failures": []}

    ends = (b"\x01", "\u20ac".encode(), "\U0001f600".encode(), b"x")
    lines = [
        b"u%d@a.example\t" % n + ends[n % 4] * ((importing.LINE_BYTES - 30) // len(ends[n % 4]))
        for n in range(40)
    ]
    assert importing.run(There(), lines, lambda done, total: None)["created"] == 40
    assert len(sizes) > 1
    assert max(sizes) < int(least[1])


def test_a_file_imported_again_does_not_bury_its_faults(site: Path, call: Call) -> None:
    lines = [f"u{number}@localhost\tsecret" for number in range(6)]
    assert call("-c", site, "user", "import", "-", stdin="\n".join(lines)).status == 0
    lines[3] = "no tab"
    again = call("-c", site, "user", "import", "-", stdin="\n".join(lines))
    assert again.err.splitlines() == [
        "xmppd: lines 1 to 3: the account exists already",
        "xmppd: line 4: there is no tab between address and password",
        "xmppd: lines 5 to 6: the account exists already",
    ]
    assert again.out == "0 accounts made, 6 lines failed\n"


def test_imported_passwords_are_those_of_the_file(site: Path, call: Call) -> None:
    """All behind the first tab up to the line's end, white space included."""
    lines = "alice@localhost\t a b \r\nbob@localhost\ta\tb\n"
    done = call("-c", site, "user", "import", "-", stdin=lines)
    # SASLprep allows no tab in a password: the line is refused, not cut
    assert "line 2: bob@localhost: the password cannot be used: prohibited character" in done.err

    async def verdicts() -> list[str]:
        async with Store.open(site.parent / "data") as store:
            auth = LocalAuth(store)
            found = [await auth.verify("alice", "localhost", tried, "::1") for tried in (" a b ", "a b")]
            await auth.close()
            return [str(verdict) for verdict in found]

    assert asyncio.run(verdicts()) == ["ok", "wrong"]


def test_import_in_several_commands() -> None:
    """A file longer than one command: progress counts on, lines keep their numbers, a break is told."""
    seen: list[tuple[int, int]] = []

    class There:
        is_live = True

        def __init__(self) -> None:
            self.calls = 0

        def call(self, command: str, params: dict[str, Any], on_progress: Any = None) -> Any:
            self.calls += 1
            if self.calls == 3:
                raise CommandError("the server went away before it answered")
            number = len(params["rows"])
            on_progress(number // 2, number)
            return {"created": number - 1, "failures": [[0, params["rows"][0][0], "no"]]}

    lines = [b"u%d@a.example\tx\n" % number for number in range(importing.CHUNK * 3)]
    done = importing.run(There(), lines, lambda done, total: seen.append((done, total)))
    chunk, total = importing.CHUNK, importing.CHUNK * 3
    assert seen == [(chunk // 2, total), (chunk, total), (chunk + chunk // 2, total), (chunk * 2, total)]
    assert done["created"] == 2 * (chunk - 1)
    assert [failed["line"] for failed in done["failures"]] == [1, chunk + 1]
    assert done["stopped"] == {"line": 2 * chunk + 1, "why": "the server went away before it answered"}


def test_progress_is_shown_on_a_terminal(site: Path, tmp_path: Path) -> None:
    accounts = tmp_path / "accounts"
    accounts.write_text("".join(f"u{number}@localhost\tsecret\n" for number in range(40)))
    status, seen = _on_a_terminal(["-c", str(site), "user", "import", str(accounts)], [])
    assert status == 0
    assert "40/40" in seen
    assert "40 accounts made" in seen


def test_an_import_that_is_interrupted_says_what_to_do(site: Path, tmp_path: Path) -> None:
    accounts = tmp_path / "accounts"
    accounts.write_text("".join(f"u{number}@localhost\tsecret\n" for number in range(20_000)))
    words = [sys.executable, "-m", "xmppd", "-c", str(site), "user"]
    with subprocess.Popen([*words, "import", str(accounts)], cwd=ROOT, stderr=subprocess.PIPE) as importing:
        database = site.parent / "data" / "xmppd.sqlite"
        deadline = time.monotonic() + 60
        while not database.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        importing.send_signal(signal.SIGINT)
        _, err = importing.communicate(timeout=60)
    assert importing.returncode == 130
    assert err.decode().rstrip("\n").startswith("xmppd: interrupted; the accounts made so far are whole")
    assert err.decode().rstrip("\n").count("\n") == 0
    listed = _process("-c", str(site), "user", "list", "--json")
    assert len(json.loads(listed.stdout)) < 20_000


def test_rows_do_not_show_passwords() -> None:
    rows, _ = importing.read([b"alice@localhost\ttopsecret\n"])
    assert "topsecret" not in repr(rows)


def test_a_locked_store_is_named(site: Path, call: Call) -> None:
    store = Store.open(site.parent / "data")
    try:
        done = call("-c", site, "user", "list")
        assert done.status == 1
        assert one_sentence(done.err)
        assert f"in use by process {os.getpid()}" in done.err
    finally:
        asyncio.run(store.close())


def test_an_open_database_is_closed_and_named(site: Path, call: Call) -> None:
    call("-c", site, "user", "list")
    database = site.parent / "data" / "xmppd.sqlite"
    database.chmod(0o644)
    done = call("-c", site, "user", "list")
    assert (done.status, done.out) == (0, "no accounts\n")
    assert done.err == f"xmppd: database file was open to others: {database}\n"
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_a_database_locked_by_another_program(site: Path, call: Call) -> None:
    site.write_text(site.read_text() + "[store]\nbusy_timeout_s = 0.1\n")
    call("-c", site, "user", "list")
    with closing(sqlite3.connect(site.parent / "data" / "xmppd.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        done = call("-c", site, "user", "add", "alice@localhost", "--password-stdin", stdin=PASSWORD)
    assert (done.status, done.err) == (1, "xmppd: the database is locked by another program\n")


# ---- as a process


def _process(*words: str, **given: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xmppd", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **given,
    )  # fmt: skip


def test_as_a_process(site: Path) -> None:
    done = _process(
        "-c", str(site), "user", "add", "alice@localhost", "--password-stdin", input=PASSWORD + "\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert _process("nonsense").returncode == 2
    done = _process("-c", str(site), "user", "add", "alice@localhost", "--password-stdin", input=PASSWORD)
    assert done.returncode == 1
    assert one_sentence(done.stderr)


def test_whoever_reads_may_stop_reading(site: Path) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with os.fdopen(write_fd, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "xmppd", "-c", str(site), "user", "list"],
            cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["user", "list"], ["user", "list", "--json"]])
def test_output_that_cannot_be_written_is_one_sentence(site: Path, words: list[str], unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "xmppd", "-c", str(site), *words],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert (done.returncode, one_sentence(done.stderr)) == (1, True), done.stderr
    assert "the output cannot be written: No space left on device" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "--help >/dev/full",
        "--version >/dev/full",
        "user add --help >/dev/full",
        "-c {site} user import /proc/self/mem",
        "init site --domain localhost",
        "init site --domain localhost --json",
    ],
)
def test_what_the_system_refuses_is_one_sentence(site: Path, tmp_path: Path, command: str) -> None:
    """From a working folder that is gone."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'mkdir gone && cd gone && rmdir ../gone && exec "$0" -m xmppd {command.format(site=site)}', sys.executable],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, one_sentence(done.stderr)) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("words", "without", "status"),
    [
        ("user add alice@localhost", "<&-", 2),
        ("user add alice@localhost --password-stdin", "<&-", 2),
        ("user import -", "<&-", 0),
        ("user list", ">&-", 0),
        ("user list", "2>&-", 0),
    ],
)
def test_a_standard_stream_may_be_closed(site: Path, words: str, without: str, status: int) -> None:
    """By a supervisor, say: it is as if it were empty, and what is opened does not take its number."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m xmppd -c "$1" {words} {without}', sys.executable, str(site)],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr


def test_the_command_line_starts_quickly() -> None:
    """What a command does not need is not loaded."""
    code = (
        "import sys, xmppd.cli.commands;"
        "sys.exit(', '.join({'rich', 'cryptography', 'uvloop', 'sqlite3'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---- words


def _commands(group: click.Group, before: str = "xmppd") -> list[tuple[str, click.Command]]:
    found = []
    for name, command in sorted(group.commands.items()):
        words = f"{before} {name}"
        found += _commands(command, words) if isinstance(command, click.Group) else [(words, command)]
    return found


def test_the_documentation_names_every_word() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for words, command in _commands(xmppd):
        heading = words.replace("xmppd ", "", 1)
        assert f"`{heading}" in text, words
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.opts[0] in text, f"{words} {param.opts[0]}"


def test_every_command_answers_as_json() -> None:
    for words, command in _commands(xmppd):
        if words != "xmppd run":
            assert any("--json" in param.opts for param in command.params), words


def test_every_command_has_help() -> None:
    for words, command in _commands(xmppd):
        done = CliRunner().invoke(command, ["--help"])
        assert done.exit_code == 0
        assert command.help, words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90061, "1 d 1 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert _duration(seconds) == said


@pytest.mark.parametrize(("value", "said"), [(None, "-"), (True, "yes"), (["a", 1], "a, 1"), (3, "3")])
def test_cells(value: object, said: str) -> None:
    assert shown(value) == said
