"""`xmppd conformance` as a command: what it takes, what it refuses and how, where it writes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.broken import ACCOUNTS, DOMAIN, BrokenServer, certificate

COMMAND = (sys.executable, "-m", "xmppd", "conformance")
RUN = ("run", "--launch", "xmppd")
BLACK_BOX = ("run", "--domain", "d.example")


def conformance(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], input=stdin, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.fixture
def black_box(tmp_path: Path) -> Iterator[list[str]]:
    """The words that name a small server, which serves a few checks only."""
    with BrokenServer(tmp_path) as server:
        given = ["run", "--host", "127.0.0.1", "--port", str(server.subject.port), "--domain", DOMAIN]
        yield [*given, "--ca", str(server.pem), "--areas", "streams", "--only", "1-7.1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files that are not what they should be."""
    (tmp_path / "nonsense").write_text("nonsense\n", encoding="utf-8")
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    (tmp_path / "there").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run",), "say what is tested: --domain and --host, or --launch"),
        (("rum",), 'there is no command "rum"; did you mean "run"?'),
        ((*BLACK_BOX, "--launch", "xmppd"), "--launch makes its own server, domains and accounts"),
        ((*RUN, "--host", "h.example"), "--launch makes its own server, domains and accounts"),
        ((*RUN, "--port", "5222"), "--launch makes its own server, domains and accounts"),
        ((*RUN, "--accounts", "-"), "--launch makes its own server, domains and accounts"),
        ((*RUN, "--areas", "none"), 'there is no area "none"; known are streams, '),
        ((*RUN, "--only", "99"), 'no requirement matches "99"'),
        ((*RUN, "--only", ""), "--only names nothing"),
        ((*RUN, "--areas", ","), "--areas names nothing"),
        (
            (*BLACK_BOX, "--account", "a@d.example:hunter2", "--account", "a@d.example:hunter2"),
            "a@d.example is given twice",
        ),
        ((*RUN, "--report", "/proc/x.html"), "/proc/x.html: No such file or directory"),
        ((*RUN, "--report", "x.pdf"), "x.pdf: the name of a report ends in .json, .md, .html"),
        ((*RUN, "--report", "none/x.html"), "--report: there is no folder none"),
        ((*RUN, "--report", "there"), "Invalid value for '--report': File 'there' is a directory."),
        (
            (*RUN, "--transcript", "nonsense"),
            "Invalid value for '--transcript': Directory 'nonsense' is a file.",
        ),
        ((*RUN, "--transcript", "nonsense/x"), "nonsense/x: Not a directory"),
        ((*RUN, "--configuration", "latin"), "a file of accounts or settings is text in UTF-8"),
        ((*RUN, "--sign", "nonsense"), "--sign signs reports: give --report"),
        ((*RUN, "--certificate", "nonsense"), "--certificate is that of a key: give --sign"),
        ((*RUN, "--sign", "nonsense", "--report", "x.md"), "--sign: it holds no private key in PEM"),
        ((*BLACK_BOX, "--port", "0"), "Invalid value for '--port': 0 is not in the range"),
        ((*BLACK_BOX, "--account", "romeo"), "an account is written JID:PASSWORD, as in "),
        ((*BLACK_BOX, "--accounts", "nonsense"), "an account is written JID:PASSWORD, as in "),
        ((*BLACK_BOX, "--accounts", "latin"), "a file of accounts or settings is text in UTF-8"),
        (
            (*BLACK_BOX, "--account", "romeo@e.example:hunter2"),
            "romeo@e.example is of none of the domains d.example",
        ),
        ((*BLACK_BOX, "--disabled-account", "r@e.example:hunter2"), "r@e.example is of none of the domains"),
        ((*BLACK_BOX, "--ca", "nonsense"), "--ca: the file holds no certificate in PEM"),
        (("verify", "nonsense"), "Missing option '--signer'"),
        (("verify", "nonsense", "--signer", "nonsense"), "there is neither nonsense.p7s nor nonsense.sig"),
    ],
)
def test_wrong_usage_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(folder)
    done = conformance(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"xmppd: {sentence}")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            (*BLACK_BOX, "--host", "127.0.0.1", "--port", "9"),
            "could not test: no connection to 127.0.0.1 port 9: Connection refused",
        ),
        (("run", "--launch", ""), 'the launcher "" cannot be started'),
        (("run", "--launch", "/none/such"), 'the launcher "/none/such" cannot be started'),
        (("run", "--launch", "false"), "false: "),
    ],
)
def test_what_cannot_be_tested_at_all_is_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    done = conformance(*words)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"xmppd: {sentence}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            ("--account", "romeo@one.example:hunter2"),
            "romeo@one.example cannot log in with its password: the SASL fai",
        ),
        (
            ("--disabled-account", f"{ACCOUNTS[0].jid}:{ACCOUNTS[0].password}"),
            f"{ACCOUNTS[0].jid} is not disabled",
        ),
        (
            ("--expired-account", f"{ACCOUNTS[0].jid}:{ACCOUNTS[0].password}"),
            f"the password of {ACCOUNTS[0].jid} has not expired",
        ),
        (
            ("--domain", "two.example"),
            "127.0.0.1 port {port} does not serve two.example: the stream error host-unkn",
        ),
        (
            ("--ca", "{other}"),
            "the certificate of one.example is not of the CA in {other}: self-signed certificate",
        ),
        (("--domain", "ONE.example"), "ONE.example is one.example to the server: give it as that"),
        (
            ("--account", f"Juliet@one.example:{ACCOUNTS[0].password}"),
            "Juliet@one.example is juliet@one.example to the server: give it as that",
        ),
        (
            ("--host", "127.0.0.1", "--host", "127.0.0.2"),
            "no connection to 127.0.0.2 port {port}: Connection refus",
        ),
    ],
)
def test_a_mistake_of_who_runs_it_is_not_the_servers(
    black_box: list[str], tmp_path: Path, more: tuple[str, ...], sentence: str
) -> None:
    named = {"port": black_box[4], "other": certificate(tmp_path, "other.example")}
    given = [each for each in black_box if more[0] != "--host" or each not in ("--host", "127.0.0.1")]
    done = conformance(*given, *(word.format(**named) for word in more))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"xmppd: could not test: {sentence.format(**named)}")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


def test_what_speaks_no_xmpp_is_not_tested() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                    sock.close()

        threading.Thread(target=greet, daemon=True).start()
        port = str(listener.getsockname()[1])
        done = conformance(*BLACK_BOX, "--host", "127.0.0.1", "--port", port)
        listener.shutdown(socket.SHUT_RDWR)
    assert done.returncode == 1
    assert f"could not test: what listens at 127.0.0.1 port {port} opens no XMPP stream: " in done.stderr


def test_setup_says_what_to_do() -> None:
    done = conformance("setup")
    assert done.returncode == 0
    assert "--disabled-account" in done.stdout
    assert "--expired-account" in done.stdout
    assert json.loads(conformance("setup", "--json").stdout) == {"setup": done.stdout}


def test_accounts_come_from_standard_input_too(black_box: list[str]) -> None:
    lines = "".join(f"{each.jid}:{each.password}\n\n" for each in ACCOUNTS)
    words = [*black_box[:-1], "4-1.1", "--accounts", "-"]
    assert "needs 1 accounts" in conformance(*words).stdout
    assert conformance(*words, stdin=lines).stdout.startswith("4-1.1 met\n")


def test_everything_goes_into_the_report(black_box: list[str], tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    settings.write_text("tls = on\n", encoding="utf-8")
    given = [
        "--system",
        "Thing 3",
        "--configuration",
        str(settings),
        "--transcript",
        str(tmp_path / "a" / "b"),
    ]
    reports = [tmp_path / f"letter.{suffix}" for suffix in ("html", "md", "json")]
    done = conformance(*black_box, *given, *(word for path in reports for word in ("--report", str(path))))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    data = json.loads(reports[2].read_text(encoding="utf-8"))
    assert (data["system"], data["configuration"]) == ("Thing 3", "tls = on\n")
    assert "Thing 3" in reports[1].read_text(encoding="utf-8")
    assert "tls = on" in reports[0].read_text(encoding="utf-8")
    transcripts = [path.name for path in (tmp_path / "a" / "b").iterdir()]
    assert any(name.startswith("1-7.1 ") for name in transcripts)


def test_json_is_the_letter_and_nothing_else(black_box: list[str]) -> None:
    data = json.loads(conformance(*black_box, "--json").stdout)
    assert [row["id"] for row in data["requirements"]] == ["1-7"]
    assert data["conclusion"] == "Met: all applicable parts (1)."


@pytest.mark.parametrize("to_terminal", [False, True])
def test_a_progress_bar_is_for_terminals(black_box: list[str], to_terminal: bool) -> None:
    """Verdicts stay on standard output, wherever the bar is."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [*COMMAND, *black_box],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs if to_terminal else subprocess.PIPE,
            env={**os.environ, "TERM": "xterm"},
        ) as process:
            out, err = process.communicate(timeout=60)
        if to_terminal:
            err = os.read(ours, 65536)
            assert b"1/1" in err
        else:
            assert err == b""
    finally:
        os.close(ours)
        os.close(theirs)
    assert out.startswith(b"1-7.1 met")
    assert out.endswith(b"all: 1 met\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_no_scratch_server_outlives_the_run(number: signal.Signals, tmp_path: Path) -> None:
    inherited = signal.signal(number, signal.SIG_DFL)  # what nohup ignores, the tester ignores too
    with subprocess.Popen(
        [*COMMAND, *RUN, "--areas", "streams", "--only", "1-7.1,1-27"],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    ) as running:
        signal.signal(number, inherited)
        assert running.stdout is not None
        assert running.stdout.readline()  # the server is up
        (site,) = tmp_path.iterdir()
        pids = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if str(site).encode() in _words_of(path)
        ]
        assert pids
        running.send_signal(number)
        assert running.wait(30) == 130
    assert not site.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def _words_of(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""
