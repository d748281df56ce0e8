"""Signed reports: good, changed, by another key, and by other programs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from xmppd.conformance import report
from xmppd.conformance.signature import (
    CMS,
    ED25519,
    KeyUnusable,
    PassphraseMissing,
    PrivateKey,
    SignatureWrong,
    Signer,
    verify,
)
from xmppd.conformance.subject import Subject
from xmppd.conformance.verdict import Evidence, Outcome, Verdict

CONTENT = b"a report\r\nwith lines\n"
KEYS: dict[str, PrivateKey] = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def pem(key: PrivateKey, passphrase: bytes = b"") -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def public(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def certificate(key: PrivateKey, days: int = 1) -> bytes:
    """One of its own making, from yesterday on."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A Laboratory")])
    begin = datetime.now(UTC) - timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1 + days) if days else begin + timedelta(hours=1))
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def signer(name: str) -> Signer:
    return Signer.load(pem(KEYS[name]), certificate(KEYS[name]))


@pytest.mark.parametrize("name", KEYS)
def test_good_changed_and_by_another_key(name: str) -> None:
    made = signer(name).sign(CONTENT)
    assert signer(name).suffix == (ED25519 if name == "Ed25519" else CMS)
    by_certificate = verify(CONTENT, made, certificate(KEYS[name]))
    assert by_certificate.by == "CN=A Laboratory"
    assert verify(CONTENT, made, public(KEYS[name])).by.startswith("the key SHA256:")
    if name != "Ed25519":
        assert by_certificate.at is not None
        assert abs(by_certificate.at - datetime.now(UTC)) < timedelta(minutes=5)
    with pytest.raises(SignatureWrong, match="the report was changed"):
        verify(CONTENT + b" ", made, public(KEYS[name]))
    with pytest.raises(SignatureWrong, match="the report was changed"):
        verify(CONTENT.replace(b"\r\n", b"\n"), made, public(KEYS[name]))
    for other in KEYS:
        if other != name:
            with pytest.raises(SignatureWrong):
                verify(CONTENT, made, public(KEYS[other]))
    another = (
        ed25519.Ed25519PrivateKey.generate() if name == "Ed25519" else ec.generate_private_key(ec.SECP256R1())
    )
    with pytest.raises(SignatureWrong, match="another key has signed it"):
        verify(CONTENT, made, public(another))


@pytest.mark.parametrize("name", ["RSA", "P-384"])
def test_no_byte_of_a_signature_can_be_changed_unseen(name: str) -> None:
    """What is signed, the digest and the signature itself; version numbers and the copy of a certificate are not."""
    made, wanted = (
        signer(name).sign(CONTENT),
        verify(CONTENT, signer(name).sign(CONTENT), public(KEYS[name])).by,
    )
    begin = made.index(bytes.fromhex("2a864886f70d010903"))  # the first signed attribute
    for at in range(begin, len(made)):
        changed = made[:at] + bytes((made[at] ^ 1,)) + made[at + 1 :]
        try:
            said = verify(CONTENT, changed, public(KEYS[name])).by
        except SignatureWrong:
            continue
        # the identifier of the signature's algorithm is not signed; the key says what it is
        assert said == wanted
        assert begin + 60 < at < len(made) - 64


@given(st.binary(max_size=200))
def test_no_signature_breaks_it(data: bytes) -> None:
    with pytest.raises(SignatureWrong):
        verify(CONTENT, data, public(KEYS["P-256"]))


@given(st.data())
def test_no_broken_cms_breaks_it(data: st.DataObject) -> None:
    made = bytearray(CMS_SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(made)))
    try:
        verify(CONTENT, bytes(made[:cut]), public(KEYS["P-256"]))
    except SignatureWrong:
        return
    assert cut == len(made)


CMS_SAMPLE = signer("P-256").sign(CONTENT)


def test_keys_that_cannot_be_used() -> None:
    key = KEYS["RSA"]
    with pytest.raises(KeyUnusable, match="no certificate for the key"):
        Signer.load(pem(key))
    with pytest.raises(KeyUnusable, match="no certificate for the key"):
        Signer.load(pem(key), certificate(KEYS["P-256"]))
    with pytest.raises(KeyUnusable, match="no private key"):
        Signer.load(certificate(key))
    with pytest.raises(PassphraseMissing):
        Signer.load(pem(key, b"secret"), certificate(key))
    with pytest.raises(KeyUnusable, match="passphrase is wrong"):
        Signer.load(pem(key, b"secret"), certificate(key), b"other")
    assert Signer.load(pem(key, b"secret") + certificate(key), passphrase=b"secret").sign(CONTENT)
    agreement = x25519.X25519PrivateKey.generate()
    with pytest.raises(KeyUnusable, match="a key is RSA, ECDSA or Ed25519"):
        Signer.load(pem(agreement))  # type: ignore[arg-type]
    with pytest.raises(KeyUnusable, match="a key is RSA, ECDSA or Ed25519"):
        verify(CONTENT, b"", public(agreement))  # type: ignore[arg-type]
    with pytest.raises(KeyUnusable, match="neither a certificate nor a public key"):
        verify(CONTENT, b"", b"nonsense")


def test_a_certificate_that_was_out_of_date() -> None:
    key = KEYS["P-256"]
    made = Signer.load(pem(key), certificate(key)).sign(CONTENT)
    with pytest.raises(SignatureWrong, match="the certificate was not valid when it was used"):
        verify(CONTENT, made, certificate(key, days=0))


def test_certificates_of_authorities_come_along() -> None:
    own, another = certificate(KEYS["P-256"]), certificate(KEYS["P-384"])
    loaded = Signer.load(pem(KEYS["P-256"]), another + own)
    assert loaded.certificates[0].public_key() == KEYS["P-256"].public_key()
    assert len(loaded.certificates) == 2
    assert verify(CONTENT, loaded.sign(CONTENT), own)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl program")
@pytest.mark.parametrize("name", ["RSA", "P-384"])
def test_openssl_reads_and_writes_the_same(name: str, tmp_path: Path) -> None:
    key = KEYS[name]
    own = certificate(key)
    for file, data in (
        ("key", pem(key)),
        ("certificate", own),
        ("report", CONTENT),
        ("ours", Signer.load(pem(key), own).sign(CONTENT)),
    ):
        (tmp_path / file).write_bytes(data)
    words = (
        "cms -verify -binary -inform DER -in ours -content report -CAfile certificate -purpose any -out back"
    )
    subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "back").read_bytes() == CONTENT
    words = "cms -sign -binary -in report -signer certificate -inkey key -outform DER -out theirs"
    subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    assert verify(CONTENT, (tmp_path / "theirs").read_bytes(), own).by == "CN=A Laboratory"
    words = "cms -sign -nodetach -binary -in report -signer certificate -inkey key -outform DER -out whole"
    subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(SignatureWrong, match="not a detached signature"):
        verify(CONTENT, (tmp_path / "whole").read_bytes(), own)


def conformance(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xmppd", "conformance", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_verify_as_a_command(tmp_path: Path) -> None:
    seen = (Evidence("RFC 6120.", ("line",)),)
    verdicts = (Verdict("1-7.1", Outcome.MET, "", seen, ("streams",)),)
    about = report.letter(
        Subject("::1", 5222, ("d",)), ["streams"], verdicts, "2030-01-02T03:04:05+00:00", "t"
    )
    letter = tmp_path / "letter.json"
    report.write(letter, about)
    (tmp_path / "lab.pem").write_bytes(certificate(KEYS["P-384"]))
    (tmp_path / "other.pem").write_bytes(certificate(KEYS["P-256"]))
    made = tmp_path / "letter.json.p7s"
    made.write_bytes(signer("P-384").sign(letter.read_bytes()))

    good = conformance(tmp_path, "verify", "letter.json", "--signer", "lab.pem")
    assert good.returncode == 0, good.stderr
    assert good.stdout.startswith("letter.json: unchanged, and signed by CN=A Laboratory at ")
    assert good.stdout.endswith("its sums are right: Met: all applicable parts (1).\n")
    other = conformance(tmp_path, "verify", "letter.json", "--signer", "other.pem")
    assert (other.returncode, other.stderr) == (1, "xmppd: letter.json.p7s: another key has signed it\n")

    letter.write_text(letter.read_text(encoding="utf-8").replace("1-7.1", "1-7.2"), encoding="utf-8")
    changed = conformance(tmp_path, "verify", "letter.json", "--signer", "lab.pem")
    assert (changed.returncode, changed.stderr) == (1, "xmppd: letter.json.p7s: the report was changed\n")
    made.write_bytes(signer("P-384").sign(letter.read_bytes()))
    forged = conformance(tmp_path, "verify", "letter.json", "--signer", "lab.pem")
    assert forged.returncode == 1
    assert forged.stderr == "xmppd: letter.json: 1-7.2: the words are not those of the requirement\n"

    (tmp_path / "letter.json.sig").write_bytes(b"")
    both = conformance(tmp_path, "verify", "letter.json", "--signer", "lab.pem")
    assert both.returncode == 2
    assert "are both there: give --signature" in both.stderr
