"""The configuration file: what is accepted, what is said about the rest."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd import config, events, profile
from xmppd.config import Address, Config, ConfigError, Domain, KeySource, reading
from xmppd.jid import prep_domain

ROOT = Path(__file__).resolve().parents[2]
FILE = Path("/etc/xmppd/xmppd.toml")
GOOD = """\
profile = "uc-2013"

[[domains]]
name = "example.mil"

[[domains]]
name = "bücher.example"
key = "pkcs11:token=hsm;object=books"

[[listeners]]
address = "127.0.0.1:5222"

[[listeners]]
address = "[::1]:5222"
dscp = 20

[sasl]
retries = 3
"""


def test_the_least_file_has_safe_defaults() -> None:
    loaded = config.parse('[[domains]]\nname = "localhost"\n', FILE)
    assert loaded.profile == "uc-2013"
    assert [str(listener.address) for listener in loaded.listeners] == ["0.0.0.0:5222", "[::]:5222"]
    assert loaded.net.dscp == 18
    assert loaded.sasl.retries == 2
    assert loaded.sasl.scram_iterations == 10_000
    assert (loaded.stream.idle_ping_s, loaded.stream.ping_timeout_s) == (300, 30)
    assert loaded.limits.preauth_stanza_bytes == 10_000


def test_paths_are_relative_to_the_file() -> None:
    loaded = config.parse(GOOD + '[store]\npath = "/var/lib/x"\n', FILE)
    first, second = loaded.domains
    assert first.certificate == Path("/etc/xmppd/tls/example.mil.pem")
    assert first.key == "file:/etc/xmppd/tls/example.mil.key"
    assert first.key.path == Path("/etc/xmppd/tls/example.mil.key")
    assert second.key == "pkcs11:token=hsm;object=books"
    assert second.key.path is None
    assert loaded.store.path == Path("/var/lib/x")
    assert loaded.admin.socket == Path("/etc/xmppd/data/admin.sock")


def test_load_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "xmppd.toml"
    path.write_text(GOOD, encoding="utf-8")
    assert config.load(path).listeners[1].dscp == 20


# what is changed in GOOD, into what, and the whole sentence behind the file's name
BAD = [
    ("retries = 3", "retires = 3", ':18: unknown key "retires" in [sasl]; did you mean "retries"?'),
    ("[sasl]", "[sals]", ':17: unknown key "sals"; did you mean "sasl"?'),
    ('profile = "uc-2013"', "proflie = 1", ':1: unknown key "proflie"; did you mean "profile"?'),
    ("retries = 3", "backlog = 3", ':18: unknown key "backlog" in [sasl]; there is one in [net]'),
    (
        "retries = 3",
        "stanza_byte = 3",
        ':18: unknown key "stanza_byte" in [sasl]; did you mean "limits.stanza_bytes"?',
    ),
    (
        "dscp = 20",
        "qqqq = 20",
        ':15: unknown key "qqqq" in [listeners]; known here: kind, address, direct_tls, dscp',
    ),
    ("retries = 3", "retries = 11", ":18: sasl.retries = 11: must be a whole number from 2 to 5"),
    ("retries = 3", "retries = true", ":18: sasl.retries = true: must be a whole number from 2 to 5"),
    (
        "dscp = 20",
        "dscp = 64",
        ':15: listeners[1].dscp = 64: must be a whole number from 0 to 63 or "off"',
    ),
    ('"uc-2013"', '"uc"', ':1: profile = "uc": must be "internet" or "uc-2013"'),
    ('"uc-2013"', '["uc-2013"]', ':1: profile = ["uc-2013"]: must be "internet" or "uc-2013"'),
    ("[sasl]", '[store]\npath = "a\\u0000b"\n[sasl]', ':18: store.path = "a\\u0000b": must be a path'),
    ('"[::1]:5222"', '"[::g]:5222"', ':14: listeners[1].address: "[::g]:5222": ::g is not an IPv6 address'),
    ('"[::1]:5222"', "3", ":14: listeners[1].address = 3: must be HOST:PORT"),
    ('"[::1]:5222"', '"127.0.0.1:5222"', ":14: two listeners have the address 127.0.0.1:5222"),
    ('name = "bücher.example"', "", ':6: the key "name" is missing in [[domains]]'),
    ('"bücher.example"', '"a b"', ':7: domains[1].name: "a b" is not a domain name'),
    ('"bücher.example"', '"Example.MIL."', ":7: the domain example.mil stands here twice"),
    (
        "[sasl]",
        "[tls]\nmin_version='1.3'\nmax_version='1.2'\n[sasl]",
        ":18: tls.min_version is above tls.max_version",
    ),
    ("retries = 3", "mechanisms = []", ":18: sasl.mechanisms is empty, so nobody could log in"),
    (
        "[sasl]",
        '[tls]\nciphers = ["ECDHE-RSA-AES256-GCM-SHA38"]\n[sasl]',
        ':18: tls.ciphers: no TLS 1.2 cipher suite is called "ECDHE-RSA-AES256-GCM-SHA38"; did you mean',
    ),
    (
        "[sasl]",
        "[limits]\nstanza_bytes = 10000\npreauth_stanza_bytes = 10001\n[sasl]",
        ":19: limits.preauth_stanza_bytes is above limits.stanza_bytes",
    ),
    ("[sasl]", "net = 3\n[sasl]", ':17: unknown key "net" in [listeners]; there is one at the top'),
    ('profile = "uc-2013"', "net = 3", ":1: net must be a table, written [net]"),
    ('profile = "uc-2013"', "profile = ", ": not a TOML file: invalid value (at line 1, column 11)"),
    (
        "retries = 3",
        "retries = 4",
        ":18: sasl.retries: 4 retries are not within two to three (UC XMPP 2013, 3-24)",
    ),
]


@pytest.mark.parametrize(("old", "new", "sentence"), BAD, ids=[new[:30] for _, new, _ in BAD])
def test_one_sentence_says_what_is_wrong(old: str, new: str, sentence: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        config.parse(GOOD.replace(old, new, 1), FILE)
    assert str(caught.value).startswith(f"{FILE}{sentence}")
    assert "\n" not in str(caught.value)


def _numbers() -> list[str]:
    return [
        known.path
        for table in ("", *config.tables())
        for known in config.keys_of(table).values()
        if "number" in known.allowed
    ]


@pytest.mark.parametrize("path", _numbers())
def test_every_number_has_bounds_that_a_machine_word_holds(path: str) -> None:
    """What passed here would be an OverflowError in the rooms that are made with it."""
    table, _, name = path.rpartition(".")
    known = config.keys_of(table)[name]
    header = f'[[{table}]]\naddress = "[::1]:1"' if table in config.ARRAYS else f"[{table}]"
    for value in (2**31, 2**32, 2**63, 2**64, 10**400, -1, -(2**64), "inf", "-inf", "nan"):
        text = f'[[domains]]\nname = "a.example"\n{header}\n{name} = {value}\n'
        bound = re.search(r" to (\d+)", known.allowed)
        assert bound is not None, f"{path} has no upper bound"
        if isinstance(value, int) and 0 <= value <= int(bound[1]):
            continue
        with pytest.raises(ConfigError, match=f"{name} = .*must be {re.escape(known.allowed)}"):
            config.parse(text, FILE)


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000], ids=["digits", "brackets"])
def test_what_the_reader_of_toml_cannot_take(value: str) -> None:
    with pytest.raises(ConfigError, match="not a TOML file"):
        config.parse(f"a = {value}", FILE)


MANY = """\
profil = "uc-2013"

[[domains]]
name = "a b"

[[listeners]]
address = "nowhere"
dscp = 64

[sasl]
retries = 11
mechanisms = ["ANONYMOUS"]
required = 1

[tls]
min_version = "1.1"
suites = ["TLS_SHA256_SHA256"]

[net]
dscp = -1

[limits]
sessions_per_account = 0
depth = 5000
stanza_bytes = 10000
preauth_stanza_bytes = 10001

[log]
level = "error"

[stores]
"""


def test_all_that_is_wrong_is_found_at_once() -> None:
    loaded, faults = reading.examine(MANY, FILE)
    assert [(fault.line, fault.key, fault.requirement) for fault in faults] == [
        (1, "profil", None),
        (4, "domains[0].name", None),
        (7, "listeners[0].address", None),
        (8, "listeners[0].dscp", None),
        (11, "sasl.retries", "3-24"),
        (12, "sasl.mechanisms[0]", "3-3"),
        (13, "sasl.required", None),
        (16, "tls.min_version", "2-8"),
        (17, "tls.suites[0]", "2-8"),
        (20, "net.dscp", "13-1"),
        (23, "limits.sessions_per_account", "4-5"),
        (24, "limits.depth", None),
        (31, "stores", None),
    ]
    assert str(faults[4]) == "sasl.retries = 11: must be a whole number from 2 to 5 (UC XMPP 2013, 3-24)"
    # what is right is read, what is wrong is as if it did not stand there
    assert (loaded.log.level, loaded.limits.stanza_bytes, loaded.sasl.retries) == ("error", 10000, 2)
    # of [limits] not all is known
    assert not any("preauth" in str(fault) for fault in faults)
    with pytest.raises(ConfigError, match=r':1: unknown key "profil"; .*; and 12 more, see xmppd check'):
        config.parse(MANY, FILE)
    _, faults = reading.examine(f'profile = "internet"\n{MANY[19:]}', FILE)
    assert {fault.requirement for fault in faults} == {None}


def test_a_single_table_for_an_array() -> None:
    with pytest.raises(ConfigError, match=r"domains must be a table, written \[\[domains\]\]"):
        config.parse('[domains]\nname = "a.example"\n', FILE)


def test_no_domain() -> None:
    with pytest.raises(ConfigError, match=r"no domain is served"):
        config.parse("", FILE)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        config.load(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path)
    (tmp_path / "latin1.toml").write_bytes(b'profile = "\xe9"')
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        config.load(tmp_path / "latin1.toml")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(
        [known.path for table in ("", *config.tables()) for known in config.keys_of(table).values()]
    ),
)
def test_rubbish_values_are_config_errors(value: object, path: str) -> None:
    """Whatever TOML can hold for a key is taken or is a fault, never an exception."""
    table, _, name = path.rpartition(".")
    raw: dict[str, object] = {"domains": [{"name": "a.example"}]}
    if table in config.ARRAYS:
        raw[table] = [{"name": "a.example", "address": "[::1]:1"}.copy() | {name: value}]
    elif table:
        raw[table] = {name: value}
    else:
        raw[name] = value
    reader = reading._Reader("")
    assert isinstance(reader.read(raw), Config)
    for fault in reader.faults:
        assert "\n" not in str(fault)
        assert len(str(fault)) < 600


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:5222", "127.0.0.1", 5222),
        ("[::1]:5222", "::1", 5222),
        ("[0:0::0001]:0", "::1", 0),
        ("xmpp.example.mil:65535", "xmpp.example.mil", 65535),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert Address.parse(str(address)) == address
    assert hash(Address.parse(str(address))) == hash(address)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("::1:5222", "an IPv6 address is written in brackets"),
        ("5222", "is not HOST:PORT"),
        ("127.0.0.1", "is not HOST:PORT"),
        ("[::1]", "is not HOST:PORT; an IPv6"),
        ("127.0.0.1:70000", "at most 65535"),
        ("300.0.0.1:1", "is not an IPv4 address"),
        ("[127.0.0.1]:1", "is not an IPv6 address"),
        (":5222", "is not a host"),
        ("a b:5222", "is not a host"),
        ("a..b:5222", "is not a host"),
        (f"{'a' * 64}.example:5222", "is not a host"),
        ("host:١", "is not HOST:PORT"),
    ],
)
def test_bad_addresses(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("LOCALHOST", "localhost"),
        ("Bücher.Example.", "bücher.example"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[0::1]", "[::1]"),
        ("[::FFFF:c000:201]", "[::ffff:192.0.2.1]"),
        ("Stra\u00dfe.example", "strasse.example"),
        ("\uff41.example\u3002", "a.example"),
    ],
)
def test_domain_names(text: str, name: str) -> None:
    assert config.domain_name(text) == name
    assert config.domain_name(name) == name
    for rules in ("rfc6122", "rfc7622"):  # what a header and a stanza make of it
        assert prep_domain(name, rules=rules) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1.2.3",
        "xn--a.example",
        "a_b.example",
        "\u2603.example",
        "a..b",
        "a b",
        "a@b",
        "a/b",
        "-a.example",
        "[::g]",
        "a" * 64,
        "a\0b",
        "<",
    ],
)
def test_bad_domain_names(text: str) -> None:
    with pytest.raises(ValueError, match=r"is (not a|no) domain name"):
        config.domain_name(text)


def test_every_key_has_help_and_a_default_that_is_allowed() -> None:
    for table in ("", *config.tables()):
        for known in config.keys_of(table).values():
            assert known.help.endswith("."), known.path
            assert known.allowed, known.path
            if known.default is not msgspec.NODEFAULT and isinstance(known.default, (int, float, str)):
                struct = config.tables()[table] if table else Config
                required = {"address": "[::1]:1", "name": "a.example"} if table in config.ARRAYS else {}
                given = {k: v for k, v in required.items() if k in config.keys_of(table)} | {
                    known.name: known.default
                }
                if known.default != KeySource():
                    msgspec.convert(given, struct, dec_hook=reading._decode)


def test_every_limit_has_a_counter() -> None:
    assert events.LIMITS.keys() == config.keys_of("limits").keys()
    assert set(events.LIMITS.values()) <= events.COUNTERS.keys()
    assert len(set(events.LIMITS.values())) == len(events.LIMITS)


def test_diff_says_what_each_change_needs() -> None:
    old = config.parse(GOOD, FILE)
    new = config.parse(
        GOOD.replace("retries = 3", 'retries = 2\n[log]\nlevel = "debug"\n[net]\ndscp = 46')
        .replace("127.0.0.1", "127.0.0.2")
        .replace('key = "pkcs11:token=hsm;object=books"', 'key = "new.key"'),
        FILE,
    )
    assert {(change.key, change.applies) for change in config.diff(old, new)} == {
        ("sasl.retries", "new-streams"),
        ("log.level", "live"),
        ("net.dscp", "live"),
        ("listeners[c2s 127.0.0.1:5222]", "restart"),
        ("listeners[c2s 127.0.0.2:5222]", "restart"),
        ("domains[bücher.example].key", "live"),
    }
    assert config.diff(old, old) == []
    # what a reload leaves undone is what the next one finds
    effective = config.in_force(old, new)
    assert effective.sasl.retries == 2
    assert effective.domains[1].key == new.domains[1].key
    assert (effective.net.dscp, effective.listeners) == (46, old.listeners)
    assert {change.key for change in config.diff(effective, new)} == {
        change.key for change in config.diff(old, new) if change.applies == "restart"
    }


def test_another_profile_needs_a_restart() -> None:
    old = config.parse(GOOD, FILE)
    new = config.parse(GOOD.replace("uc-2013", "internet"), FILE)
    assert {(change.key, change.applies) for change in config.diff(old, new)} == {
        ("profile", "restart"),
        ("tls.suites", "restart"),
        ("tls.ciphers", "restart"),
        ("tls.groups", "restart"),
        ("tls.client_certificates", "restart"),
        ("routing.delivery", "restart"),
        ("routing.iq_needs_presence", "restart"),
    }
    assert config.in_force(old, new) is old


def test_domains_come_and_go_with_a_restart() -> None:
    old = config.parse(GOOD, FILE)
    new = config.parse(GOOD.replace("example.mil", "other.example"), FILE)
    assert config.in_force(old, new) == old
    assert [(change.key, change.applies) for change in config.diff(old, new)] == [
        ("domains[example.mil]", "restart"),
        ("domains[other.example]", "restart"),
    ]


def test_configurations_are_frozen() -> None:
    loaded = config.parse(GOOD, FILE)
    with pytest.raises(AttributeError):
        loaded.net.dscp = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        loaded.domains[0].name = "x"  # type: ignore[misc]


def test_the_reference_is_current() -> None:
    """`python -m xmppd.config > docs/config.md` was run after the last change of the structs."""
    written = subprocess.run(
        [sys.executable, "-m", "xmppd.config"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == written


def test_every_profile_default_is_a_key() -> None:
    for tables in profile.DEFAULTS.values():
        for table, keys in tables.items():
            assert set(keys) <= set(config.keys_of(table))


def test_domain_made_in_code_has_its_default_paths() -> None:
    assert Domain(name="Localhost").certificate == Path("tls/localhost.pem")


def test_the_admin_socket_is_found_in_a_broken_file(tmp_path: Path) -> None:
    """So that a running server can be stopped while its file is broken."""
    path = tmp_path / "xmppd.toml"
    path.write_text('nonsense = 1\n[admin]\nsocket = "a.sock"\nmore = 2\n')
    assert config.admin_socket(path) == tmp_path / "a.sock"
    path.write_text("[net]\ndcsp = 1\n")
    assert config.admin_socket(path) == tmp_path / "data" / "admin.sock"
    for broken in ("[admin]\nsocket = 3\n", "[admin\n", "admin = 3\n"):
        path.write_text(broken)
        with pytest.raises(ConfigError, match=r"xmppd\.toml"):
            config.admin_socket(path)
