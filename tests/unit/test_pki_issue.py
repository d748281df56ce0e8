"""The private CA and its certificates, judged by `cryptography` and by the openssl command."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from xmppd.pki import certificate as certificates
from xmppd.pki import issue

DOMAINS = [
    "example.mil",
    "b\u00fccher.example",
    "a.example",
    "localhost",
    "127.0.0.1",
    "[::1]",
    "[2001:db8::1]",
]
NOW = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")


@pytest.fixture(scope="module")
def ca() -> issue.Pair:
    return issue.make_ca("test CA", only_for=DOMAINS)


def _leaf(pair: issue.Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate)


def _names(pair: issue.Pair) -> list[x509.GeneralName]:
    return list(_leaf(pair).extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def _openssl(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["openssl", *map(str, args)], capture_output=True, text=True, check=False, timeout=60
    )


def _write(folder: Path, ca: issue.Pair, pair: issue.Pair) -> tuple[Path, Path, Path]:
    paths = folder / "ca.pem", folder / "leaf.pem", folder / "leaf.key"
    for path, data in zip(paths, (ca.certificate, pair.certificate, pair.key), strict=True):
        path.write_bytes(data)
    paths[2].chmod(0o600)
    return paths


def test_the_ca_signs_and_nothing_else(ca: issue.Pair) -> None:
    root = _leaf(ca)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert basic.value == x509.BasicConstraints(ca=True, path_length=0)
    key = load_pem_private_key(ca.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert 3650 <= (root.not_valid_after_utc - root.not_valid_before_utc).days <= 3655


@pytest.mark.req("3-4.1")
def test_names_of_a_server_certificate(ca: issue.Pair) -> None:
    pair = issue.issue(ca, "example.mil")
    assert certificates.identities(_leaf(pair)) == (
        "dns:example.mil",
        "srv:_xmpp-client.example.mil",
        "srv:_xmpp-server.example.mil",
        "xmpp:example.mil",
    )
    usages = _leaf(pair).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH}
    key = load_pem_private_key(pair.key, None)
    assert key.public_key() == _leaf(pair).public_key()


def test_other_names_are_the_right_der(ca: issue.Pair) -> None:
    others = [name for name in _names(issue.issue(ca, "bücher.example")) if isinstance(name, x509.OtherName)]
    assert [(other.type_id.dotted_string, other.value) for other in others] == [
        ("1.3.6.1.5.5.7.8.7", b"\x16\x22_xmpp-client.xn--bcher-kva.example"),
        ("1.3.6.1.5.5.7.8.7", b"\x16\x22_xmpp-server.xn--bcher-kva.example"),
        ("1.3.6.1.5.5.7.8.5", b"\x0c\x0f" + "bücher.example".encode()),
    ]
    assert x509.DNSName("xn--bcher-kva.example") in _names(issue.issue(ca, "bücher.example"))


@pytest.mark.parametrize(
    ("domain", "address"), [("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1")]
)
def test_an_ip_literal_has_an_address_and_no_dns_name(ca: issue.Pair, domain: str, address: str) -> None:
    names = _names(issue.issue(ca, domain))
    assert x509.IPAddress(ipaddress.ip_address(address)) in names
    assert not any(isinstance(name, x509.DNSName) for name in names)


def test_no_address_for_a_name(ca: issue.Pair) -> None:
    assert not any(isinstance(name, x509.IPAddress) for name in _names(issue.issue(ca, "localhost")))


def test_long_domains(ca: issue.Pair) -> None:
    domain = ".".join(["a" * 60] * 4)
    assert f"xmpp:{domain}" in certificates.identities(_leaf(issue.issue(ca, domain)))
    assert issue._der(0x0C, "a" * 300)[:4] == b"\x0c\x82\x01\x2c"


def test_no_certificate_outlives_its_ca() -> None:
    ca = issue.make_ca("short", only_for=DOMAINS, days=30, now=NOW)
    leaf = _leaf(issue.issue(ca, "a.example", days=825, now=NOW))
    assert leaf.not_valid_after_utc == _leaf(ca).not_valid_after_utc
    assert (_leaf(issue.issue(ca, "a.example", days=7, now=NOW)).not_valid_after_utc - NOW).days == 7


def test_what_is_no_ca_signs_nothing(ca: issue.Pair) -> None:
    other = issue.make_ca("other", only_for=DOMAINS)
    leaf = issue.issue(ca, "a.example")
    with pytest.raises(ValueError, match="does not belong"):
        issue.issue(issue.Pair(ca.certificate, other.key), "a.example")
    with pytest.raises(ValueError, match="not that of a CA"):
        issue.issue(leaf, "a.example")


@needs_openssl
@pytest.mark.req("3-4.1")
@pytest.mark.parametrize("domain", ["localhost", "example.mil", "bücher.example"])
def test_openssl_verifies(ca: issue.Pair, domain: str, tmp_path: Path) -> None:
    root, leaf, _ = _write(tmp_path, ca, issue.issue(ca, domain))
    for purpose in ("sslserver", "sslclient"):
        done = _openssl(
            "verify", "-x509_strict", "-purpose", purpose, "-CAfile", root,
            "-verify_hostname", issue.a_label(domain), leaf,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert _openssl("verify", "-CAfile", root, "-verify_hostname", "other.example", leaf).returncode != 0


@needs_openssl
def test_openssl_verifies_an_address(ca: issue.Pair, tmp_path: Path) -> None:
    root, leaf, _ = _write(tmp_path, ca, issue.issue(ca, "[::1]"))
    assert _openssl("verify", "-CAfile", root, "-verify_ip", "::1", leaf).returncode == 0


@needs_openssl
@pytest.mark.parametrize(
    ("only_for", "yes", "no"),
    [
        (
            ["example.mil"],
            ["example.mil", "chat.example.mil"],
            ["evil.example", "notexample.mil", "mil", "[::1]"],
        ),
        (
            ["b\u00fccher.example", "[::1]"],
            ["b\u00fccher.example", "[::1]"],
            ["[::2]", "127.0.0.1", "example"],
        ),
        (["[::1]"], ["[::1]"], ["[::2]", "127.0.0.1", "localhost", "example.mil"]),
        (["127.0.0.1", "localhost"], ["127.0.0.1", "localhost"], ["127.0.0.2", "example.mil"]),
    ],
)
def test_a_ca_is_believed_for_its_domains_only(
    tmp_path: Path, only_for: list[str], yes: list[str], no: list[str]
) -> None:
    ca = issue.make_ca("constrained", only_for=only_for)
    for domain in yes + no:
        root, leaf, _ = _write(tmp_path, ca, issue.issue(ca, domain))
        assert (_openssl("verify", "-CAfile", root, leaf).returncode == 0) is (domain in yes), domain
        assert issue.covers(ca, domain) is (domain in yes), domain


@needs_openssl
def test_openssl_reads_the_names(ca: issue.Pair, tmp_path: Path) -> None:
    _, leaf, key = _write(tmp_path, ca, issue.issue(ca, "example.mil"))
    text = _openssl("x509", "-in", leaf, "-noout", "-ext", "subjectAltName").stdout
    assert "DNS:example.mil" in text
    assert "_xmpp-client.example.mil" in text or "SRVName" in text or "othername" in text
    assert _openssl("pkey", "-in", key, "-noout", "-check").returncode == 0


class TestFaults:
    """What `xmppd check` says about certificate files."""

    def test_nothing_wrong(self, ca: issue.Pair, tmp_path: Path) -> None:
        _, leaf, key = _write(tmp_path, ca, issue.issue(ca, "example.mil"))
        assert certificates.faults("example.mil", leaf, key) == ([], [])
        facts = certificates.facts(certificates.read_chain(leaf))
        assert facts.issuer == "CN=test CA"
        assert facts.chain_length == 1

    def test_wrong_name(self, ca: issue.Pair, tmp_path: Path) -> None:
        _, leaf, key = _write(tmp_path, ca, issue.issue(ca, "example.mil"))
        errors, _ = certificates.faults("other.example", leaf, key)
        assert len(errors) == 1
        assert "is not for other.example but for dns:example.mil" in errors[0]

    def test_wrong_key_that_all_can_read(self, ca: issue.Pair, tmp_path: Path) -> None:
        _, leaf, key = _write(tmp_path, ca, issue.issue(ca, "example.mil"))
        key.write_bytes(issue.issue(ca, "example.mil").key)
        key.chmod(0o644)
        errors, warnings = certificates.faults("example.mil", leaf, key)
        assert errors == [f"{key}: does not belong to {leaf}"]
        assert "0600" in warnings[0]

    def test_dates(self, ca: issue.Pair, tmp_path: Path) -> None:
        now = datetime.datetime.now(datetime.UTC)
        _, leaf, key = _write(tmp_path, ca, issue.issue(ca, "example.mil", days=40))
        day = datetime.timedelta(days=1)
        assert certificates.faults("example.mil", leaf, key, now) == ([], [])
        assert "in 9 days" in certificates.faults("example.mil", leaf, key, now + 30.5 * day)[1][0]
        assert "expired on" in certificates.faults("example.mil", leaf, key, now + 41 * day)[0][0]
        assert "not valid before" in certificates.faults("example.mil", leaf, key, now - day)[0][0]

    def test_chain_out_of_order(self, ca: issue.Pair, tmp_path: Path) -> None:
        _, leaf, key = _write(tmp_path, ca, issue.issue(ca, "example.mil"))
        leaf.write_bytes(leaf.read_bytes() + issue.make_ca("another", only_for=DOMAINS).certificate)
        assert "out of order" in certificates.faults("example.mil", leaf, key)[0][0]

    def test_no_files(self, ca: issue.Pair, tmp_path: Path) -> None:
        _, leaf, key = _write(tmp_path, ca, issue.issue(ca, "example.mil"))
        key.write_bytes(b"rubbish")
        assert "no PEM private key" in certificates.faults("example.mil", leaf, key)[0][0]
        key.unlink()
        assert "No such file" in certificates.faults("example.mil", leaf, key)[0][0]
        leaf.write_bytes(b"rubbish")
        assert "no PEM certificate" in certificates.faults("example.mil", leaf, None)[0][0]
        leaf.unlink()
        assert "No such file" in certificates.faults("example.mil", leaf, None)[0][0]


@pytest.mark.parametrize(
    ("name", "domain", "expected"),
    [
        ("dns:*.example.mil", "chat.example.mil", True),
        ("dns:*.example.mil", "example.mil", False),
        ("dns:*.example.mil", "a.chat.example.mil", False),
        ("dns:EXAMPLE.mil", "example.mil", True),
        ("srv:_xmpp-client.example.mil", "example.mil", True),
        ("srv:_xmpp-server.example.mil", "example.mil", False),
        ("xmpp:bücher.example", "bücher.example", True),
        ("dns:xn--bcher-kva.example", "bücher.example", True),
        ("ip:::1", "[::1]", True),
    ],
)
def test_covers(name: str, domain: str, expected: bool) -> None:
    assert certificates.covers((name,), domain) is expected


def test_importing_pki_does_not_load_cryptography() -> None:
    """The server starts without it where nothing has to be judged; the command line is quick."""
    code = "import sys, xmppd.pki.issue, xmppd.pki.certificate; sys.exit('cryptography' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=False, timeout=60)
    assert done.returncode == 0
