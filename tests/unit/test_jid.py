"""JIDs against RFC 6122, its sources, and the plain Python rules of `tests/jid_rules.py`."""

from __future__ import annotations

import copy
import gc
import hashlib
import pickle
import runpy
import stringprep
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from unicodedata import ucd_3_2_0

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import jid_rules
from xmppd.jid import JID, JIDError, cache_info, prep_domain, prep_local, prep_resource, set_cache_limit

FAST = Path(__file__).resolve().parents[2] / "xmppd" / "_fast"
B2_SHA256 = "ecec6552ac81208dd8264472cf050a0d7cabc65b1ff1cc36170b340da8281104"
Prep = Callable[..., str]
R = TypeVar("R")
PARTS: list[tuple[Prep, Callable[[str], str]]] = [
    (prep_local, jid_rules.local_part),
    (prep_domain, jid_rules.domain_part),
    (prep_resource, jid_rules.resource_part),
]

# characters something happens to, and the plain ones around them
LIVELY = sorted(
    char
    for char in map(
        chr, [*range(0x3400), *range(0xF900, 0x10450), *range(0x1D000, 0x1D800), 0xE0001, 0x2F81A]
    )
    if stringprep.in_table_b1(char)
    or jid_rules.fold(char) != char
    or ucd_3_2_0.combining(char)
    or ucd_3_2_0.normalize("NFKD", char) != char
    or (ucd_3_2_0.category(char) != "Cn" and any(t(char) for t in jid_rules.PROHIBITED["nodeprep"]))
)
MARKS = [char for char in LIVELY if ucd_3_2_0.combining(char)]
chars = st.one_of(
    st.sampled_from(LIVELY),
    st.sampled_from(MARKS),
    st.sampled_from("aAzZ09-._~!\"&'<>@/: \t\x7f"),
    st.sampled_from(
        "\u0627\u0628\u05d0\u0661\u4e2d\u0434\u0416\u00e9\u00df\u0130\u10a0\u13a0\u1100\u1161\u11a8"
    ),
    st.sampled_from("\U0001f389\u0221\u05ba\u1c90\u0378"),  # unknown to Unicode 3.2
    st.characters(),
)
texts = st.text(chars, max_size=12)
labels = st.one_of(
    st.text(st.sampled_from("abcXYZ019-"), min_size=1, max_size=8),
    st.text(st.characters(categories=["L", "M", "N"], max_codepoint=0x33FF), min_size=1, max_size=8),
    st.text(chars, min_size=1, max_size=6).map(
        lambda text: "xn--" + text.encode("punycode", "replace").decode()
    ),
    st.text(st.sampled_from("abcz0123456789-"), max_size=12).map("xn--".__add__),
    texts,
)
dots = st.sampled_from([".", ".", "\u3002", "\uff0e", "\uff61"])
domains = st.builds(
    lambda first, rest, end: first + "".join(dot + label for dot, label in rest) + end,
    labels,
    st.lists(st.tuples(dots, labels), max_size=3),
    st.sampled_from(["", "", "", ".", "\u3002", "\uff61", "\uff0e"]),
)
jids = st.builds(
    lambda local, host, resource: local + host + resource,
    st.one_of(st.just(""), texts.map(lambda text: text + "@")),
    st.one_of(domains, st.sampled_from(["example.com", "EXAMPLE.com", "a.b.c", "im.example1.dod.mil"])),
    st.one_of(st.just(""), texts.map(lambda text: "/" + text)),
)


def outcome(function: Callable[..., R], *args: object, **kwargs: object) -> R | None:
    """What it returns, or None where it raises ValueError."""
    try:
        return function(*args, **kwargs)
    except ValueError:
        return None


def parsed(text: str | bytes) -> tuple[str | None, str, str | None] | None:
    jid = outcome(JID.parse, text, allow_unassigned=True)
    return jid and (jid.local, jid.domain, jid.resource)


@pytest.fixture
def fresh_cache() -> Iterator[None]:
    set_cache_limit(1 << 20)
    yield
    set_cache_limit(1 << 20)


# ---- the parts ----


@pytest.mark.parametrize(("compiled", "plain"), PARTS)
def test_every_character_something_happens_to(compiled: Prep, plain: Callable[[str], str]) -> None:
    for char in LIVELY:
        for text in (char, f"a{char}b", f"\u0627{char}", f"\u0430{char}\u0301", f"{char}\u0327{char}\u0300"):
            assert outcome(compiled, text, allow_unassigned=True) == outcome(plain, text), ascii(text)


@pytest.mark.parametrize(("compiled", "plain"), PARTS)
def test_characters_from_all_planes(compiled: Prep, plain: Callable[[str], str]) -> None:
    for code in (*range(0x80), *range(0x80, 0x30000, 61), *range(0xFFF0, 0x110000, 4093)):
        for text in (chr(code), f"\u05d0{chr(code)}"):
            assert outcome(compiled, text, allow_unassigned=True) == outcome(plain, text), ascii(text)


@pytest.mark.parametrize(("compiled", "plain"), PARTS)
@given(text=st.one_of(texts, st.text()))
@settings(max_examples=400, deadline=None)
def test_parts_follow_the_plain_rules(compiled: Prep, plain: Callable[[str], str], text: str) -> None:
    prepared = outcome(plain, text)
    assert outcome(compiled, text, allow_unassigned=True) == prepared
    stored = None if prepared is None or jid_rules.has_unassigned(prepared) else prepared
    assert outcome(compiled, text) == stored


@pytest.mark.parametrize(("compiled", "plain"), PARTS)
@given(text=st.one_of(texts, domains))
@settings(deadline=None)
def test_preparing_twice_is_preparing_once(compiled: Prep, plain: Callable[[str], str], text: str) -> None:
    prepared = outcome(compiled, text, allow_unassigned=True)
    if prepared is not None:
        assert compiled(prepared, allow_unassigned=True) == prepared


@given(st.lists(st.sampled_from(MARKS), min_size=30, max_size=300))
@settings(deadline=None)
def test_long_runs_of_marks_keep_the_canonical_order(marks: list[str]) -> None:
    text = "a" + "".join(marks) + "e" + "".join(reversed(marks[:40]))
    assert outcome(prep_resource, text) == outcome(jid_rules.resource_part, text)


def test_hangul_is_composed_and_decomposed() -> None:
    for code in range(0xAC00, 0xD7A4, 37):
        assert prep_local(ucd_3_2_0.normalize("NFD", chr(code))) == chr(code)
    for text in (
        "\u1100\u1161\u11a7",
        "\uac00\u11a7\u11a8",
        "\uac01\u11a8",
        "\u1100\u1161\u0301\u11a8",
        "\uac00\u11c3",
    ):
        assert prep_resource(text, allow_unassigned=True) == ucd_3_2_0.normalize("NFKC", text)


@pytest.mark.parametrize(
    ("profile", "text", "prepared"),
    [  # RFC 3454, 3491, 6122; one line for each rule
        (prep_local, "Alice", "alice"),
        (prep_local, "al\u00adi\u200bce\ufeff", "alice"),  # B.1
        (prep_local, "STRA\u00dfE", "strasse"),  # B.2
        (prep_local, "\u2122", "tm"),  # B.2 holds NFKC already
        (prep_local, "\u0130", "i\u0307"),
        (prep_local, "\u01f0", "\u01f0"),  # folded to two characters, composed again
        (prep_local, "\u13a0", "\u13a0"),  # Cherokee has no lower case in Unicode 3.2
        (prep_local, "\u10a0", "\u10a0"),  # nor has Georgian
        (prep_resource, "Alice", "Alice"),
        (prep_resource, "a b", "a b"),
        (prep_resource, "a\u00a0b", "a b"),
        (prep_resource, "\u2100", "a/c"),
        (prep_resource, "e\u0301", "\u00e9"),
        (prep_resource, "\"&'/:<>@", "\"&'/:<>@"),
        (prep_resource, "\u0627\u0031\u0628", "\u0627\u0031\u0628"),
        (prep_domain, "Example.COM", "example.com"),
        (prep_domain, "b\u00fccher.example", "b\u00fccher.example"),
        (prep_domain, "B\u00dcCHER.example.", "b\u00fccher.example"),
        (prep_domain, "XN--BCHER-KVA.example", "b\u00fccher.example"),
        (prep_domain, "b\uff0ec\u3002d\uff61", "b.c.d"),
        (prep_domain, "localhost", "localhost"),
        (prep_domain, "a--b.3com", "a--b.3com"),
        (prep_domain, "\uff11.\u00b2.\u2462.4", "1.2.3.4"),
        (prep_domain, "xn--fa-hia.de", "xn--fa-hia.de"),  # U+00DF is "ss": ToUnicode leaves it alone
        (prep_domain, "xn--zzzz99999.de", "xn--zzzz99999.de"),  # no Punycode at all
        (prep_domain, "xn--a.de", "xn--a.de"),
        (
            prep_domain,
            "xn--ab-r13a.de",
            "xn--ab-r13a.de",
        ),  # would be a\u3002b: no separator comes out of a label
        (prep_domain, "127.0.0.1", "127.0.0.1"),
        (prep_domain, "[::1]", "[::1]"),
        (prep_domain, "[2001:DB8:0:0::1]", "[2001:db8::1]"),
        (prep_domain, "[::ffff:192.0.2.1].", "[::ffff:192.0.2.1]"),
    ],
)
def test_prepared(profile: Prep, text: str, prepared: str) -> None:
    assert profile(text) == prepared


@pytest.mark.parametrize(
    ("profile", "text", "reason"),
    [
        (prep_local, "", "empty"),
        (prep_local, "\u00ad", "empty"),
        *(
            (prep_local, f"a{char}", "prohibited")
            for char in "\"&'/:<>@ \x00\x1f\x7f\u00a0\u2028\u3000\ue000\ufffe"
        ),
        (prep_local, "\u2100", "prohibited"),  # becomes a/c
        (prep_local, "\u00a8", "prohibited"),  # becomes a space and a mark
        (prep_local, "\ud800", "UTF-8"),
        (prep_local, "\u0627a", "mixed"),
        (prep_local, "\u06271", "mixed"),
        (prep_local, "\u0221", "unassigned"),
        (prep_resource, "", "empty"),
        (prep_resource, "\x00", "prohibited"),
        (prep_resource, "tab\t", "prohibited"),
        (prep_resource, "\u1680", "prohibited"),
        (prep_resource, "\U0001f389", "unassigned"),
        (prep_domain, "", "empty"),
        (prep_domain, ".", "empty"),
        (prep_domain, "a..", "label"),
        (prep_domain, "a..b", "label"),
        (prep_domain, ".a", "label"),
        (prep_domain, "\u00ad.a", "label"),
        (prep_domain, "-a.b", "label"),
        (prep_domain, "a-.b", "label"),
        (prep_domain, "a_b", "label"),
        (prep_domain, "a b", "label"),
        (prep_domain, "a\u2024b", "label"),  # one dot leader: a dot only after the labels were cut
        (prep_domain, "\u00fc@a", "label"),
        (prep_domain, "xn--\u00fc", "label"),
        (prep_domain, "\u5d0e\u0627", "mixed"),
        (prep_domain, "xn--ls8h.la", "unassigned"),
        (prep_domain, "256.0.0.1", "IP"),
        (prep_domain, "1.2.3", "IP"),
        (prep_domain, "1.2.3.04", "IP"),
        (prep_domain, "example.1", "IP"),
        (prep_domain, "7", "IP"),
        (prep_domain, "[::1", "IP"),
        (prep_domain, "[]", "IP"),
        (prep_domain, "[1.2.3.4]", "IP"),
        (prep_domain, "[::1%lo]", "IP"),
        (prep_domain, "[::1\x00]", "IP"),
        (prep_domain, "[v1.a]", "IP"),
        (prep_domain, "[::1]:5222", "IP"),
        (prep_domain, "::1", "label"),
    ],
)
def test_refused(profile: Prep, text: str, reason: str) -> None:
    with pytest.raises(JIDError, match=reason) as caught:
        profile(text)
    assert reason in caught.value.reason
    assert caught.value.part in str(caught.value)


def test_table_b2_is_that_of_rfc_3454() -> None:
    """The digest was made from the text of the RFC."""
    fold = runpy.run_path(str(FAST / "c" / "gen_sprep.py"))["_fold"]
    rows = (f"{c:04X};{' '.join(f'{ord(x):04X}' for x in fold(chr(c)))}\n" for c in range(0x110000))
    table = "".join(row for row in rows if row.split(";")[0] != row.split(";")[1].strip())
    assert hashlib.sha256(table.encode()).hexdigest() == B2_SHA256


# ---- lengths ----


@pytest.mark.parametrize("prep", [prep_local, prep_resource])
@pytest.mark.parametrize(
    ("fits", "exceeds"),
    [
        ("a" * 1023, "a" * 1024),
        ("é" * 511 + "a", "é" * 512),
        ("中" * 341, "中" * 341 + "a"),
        ("\u00ad" * 2000 + "a" * 1023, "\u00ad" * 2000 + "a" * 1024),
        ("e\u0301" * 511, "e\u0301" * 512),
        ("\U00010428" * 255, "\U00010428" * 256),
        ("\u01d6" * 511, "\u01d6" * 512),  # three code points in two bytes, decomposed
        ("u\u0308\u0304" * 511 + "a", "u\u0308\u0304" * 512),
        ("\u1100\u1161\u11a8" * 341, "\u1100\u1161\u11a8" * 342),
        ("\ufdfa" * 31, "\ufdfa" * 32),  # one character becomes 18 in 33 bytes
    ],
)
def test_parts_have_1_to_1023_bytes_after_preparation(prep: Prep, fits: str, exceeds: str) -> None:
    plain = dict(PARTS)[prep]
    assert outcome(prep, fits) == outcome(plain, fits)
    if "\ufdfa" not in fits or prep is prep_resource:  # U+FDFA holds spaces
        assert 1020 <= len(prep(fits).encode()) <= 1023
        with pytest.raises(JIDError, match="too long"):
            prep(exceeds)


def test_domains_keep_the_limits_of_the_dns() -> None:
    label = "a" * 63
    domain = ".".join([label, label, label, "a" * 61])
    assert len(domain) == 253
    assert prep_domain(domain + ".") == domain
    assert JID.parse(f"a@{domain}/r").domain == domain
    for text in (domain + "a", "a" * 64, "a." + "b" * 64 + ".c", "x@" + domain + "a"):
        with pytest.raises(JIDError, match="DNS"):
            JID.parse(text)
    umlauts = "ü" * 53  # ACE form: xn--tda and one digit for each further one
    assert len(jid_rules.to_ascii(umlauts)) == 59
    assert prep_domain(umlauts) == umlauts
    for count in range(50, 62):
        assert outcome(prep_domain, "ü" * count) == outcome(jid_rules.domain_part, "ü" * count)


def test_an_address_of_full_size() -> None:
    domain = ".".join(["d" * 63, "d" * 63, "d" * 63, "d" * 61])
    jid = JID.parse(f"{'l' * 1023}@{domain}/{'r' * 1023}")
    assert (len(jid.local or ""), len(jid.domain), len(jid.resource or "")) == (1023, 253, 1023)
    jid = JID.parse(f"{'é' * 511}@{domain}/{'é' * 511}")
    assert len(jid.norm) == 1022 + 1 + 253 + 1 + 1022


def test_what_is_too_long_is_refused_unread() -> None:
    assert JID.parse("a\u00ad@b/" + "\u00ad" * 6000 + "r").resource == "r"
    with pytest.raises(JIDError, match="address: too long"):
        JID.parse("a\u00ad@b/" + "\u00ad" * 6200 + "r")


# ---- whole addresses ----


@given(jids)
@settings(max_examples=1500, deadline=None)
@example("a@b@c")
@example("b/c@d/e")
@example("@b")
@example("a@")
@example("b/")
@example("/")
@example("@")
@example("")
@example("a@b/ ")
@example("A@xn--tda/\u2100")
@example("\ufe6b@b")
@example("a\uff20b/c")
@example("xn--ab-r13a.com")  # U+3002 inside an ACE label
def test_addresses_follow_the_plain_rules(text: str) -> None:
    expected = outcome(jid_rules.jid, text)
    assert parsed(text) == expected
    assert parsed(text) == expected, "from the cache"
    assert parsed(text.encode(errors="surrogatepass")) == expected
    strict = outcome(JID.parse, text)
    assert (strict is None) == (expected is None or jid_rules.has_unassigned(*expected))


@given(jids)
@settings(deadline=None)
def test_a_parsed_address_is_a_fixed_point(text: str) -> None:
    jid = outcome(JID.parse, text, allow_unassigned=True)
    if jid is None:
        return
    again = JID.parse(jid.norm, allow_unassigned=True)
    assert again == jid
    assert hash(again) == hash(jid)
    assert (again.local, again.domain, again.resource) == (jid.local, jid.domain, jid.resource)
    assert JID(jid.local, jid.domain, jid.resource, allow_unassigned=True) == jid
    assert JID.parse(str(jid), allow_unassigned=True) == jid
    assert jid.has_unassigned == jid_rules.has_unassigned(jid.local, jid.domain, jid.resource)


@given(st.binary(max_size=24), st.sampled_from([b"", b"a@", b"a@b/", b"b/"]))
def test_bytes_are_utf8_or_refused(tail: bytes, head: bytes) -> None:
    try:
        expected = outcome(jid_rules.jid, (head + tail).decode())
    except UnicodeDecodeError:
        expected = None
    assert parsed(head + tail) == expected


@given(st.text(st.sampled_from("aZ.-09x_@/ '&[]:\x7f"), max_size=16))
@settings(max_examples=1000, deadline=None)
def test_ascii_in_one_pass_agrees_with_the_rules(text: str) -> None:
    assert parsed(text) == outcome(jid_rules.jid, text)


@pytest.mark.parametrize(
    "text",
    [
        b"\xff@b",
        b"a@b/\xc0\xaf",
        b"a@b/\xed\xa0\x80",
        b"a@b/\xf4\x90\x80\x80",
        b"a@b/\xe2\x82",
        b"a@b/\xc3",
        b"a@\x80",
    ],
)
def test_bad_utf8_is_refused(text: bytes) -> None:
    with pytest.raises(JIDError, match="UTF-8"):
        JID.parse(text)


def test_a_label_and_u_label_are_one_domain() -> None:
    u_label = JID.parse("alice@B\u00dcCHER\u3002example")
    assert u_label == JID.parse("alice@xn--bcher-kva.example") == JID.parse("ALICE@XN--Bcher-KVA.example.")
    assert u_label.domain == "b\u00fccher.example"


def test_the_fault_names_the_part() -> None:
    for text, part in (
        ("@b", "localpart"),
        ("a@b c", "domainpart"),
        ("a@b/\n", "resourcepart"),
        ("", "domainpart"),
    ):
        with pytest.raises(JIDError) as caught:
            JID.parse(text)
        assert caught.value.part == part


# ---- the object ----


def test_parts_and_forms() -> None:
    full = JID.parse("Alice@Example.com/Tom & 'Jerry' <x>")
    assert str(full) == "alice@example.com/Tom & 'Jerry' <x>"
    assert full.norm == b"alice@example.com/Tom & 'Jerry' <x>"
    assert full.wire == b"alice@example.com/Tom &amp; &apos;Jerry&apos; &lt;x&gt;"
    assert (full.is_full, full.is_bare) == (True, False)
    assert full.bare == JID.parse("alice@example.com") == JID("ALICE", "example.com")
    assert full.bare is full.bare
    assert full.bare.bare is full.bare
    assert full.bare.is_bare
    assert full.bare_norm == b"alice@example.com"
    assert full.bare.wire is full.bare.norm
    assert full.bare.with_resource("Tom & 'Jerry' <x>") == full
    assert full.with_resource("other").bare is full.bare
    assert repr(full.bare) == "JID.parse('alice@example.com')"
    host = JID.parse("example.com/r")
    assert (host.local, host.domain, host.resource, str(host.bare)) == (
        None,
        "example.com",
        "r",
        "example.com",
    )


def test_comparison_and_order() -> None:
    a, b = JID.parse("a@example.com"), JID.parse("b@example.com")
    assert a == JID.parse("A@Example.com")
    assert a != b
    assert a != "a@example.com"
    assert a < b <= b
    assert b > a
    assert b >= b
    assert len({a, JID.parse("A@EXAMPLE.COM."), b}) == 2
    with pytest.raises(TypeError):
        assert a < "b"  # type: ignore[operator]


def test_it_does_not_change() -> None:
    jid = JID.parse("a@b/c")
    for name in ("norm", "wire", "local", "bare", "other"):
        with pytest.raises(AttributeError):
            setattr(jid, name, b"x")
    with pytest.raises(TypeError):
        jid.__init__("x", "y")  # type: ignore[misc]
    assert copy.deepcopy(jid) == pickle.loads(pickle.dumps(jid)) == jid  # noqa: S301


def test_it_is_small_and_the_garbage_collector_does_not_see_it() -> None:
    jid = JID.parse("alice@example.com/\U0001f389", allow_unassigned=True)
    assert sys.getsizeof(jid) <= 48
    assert not gc.is_tracked(jid)
    assert not gc.is_tracked(jid.bare)
    assert JID.parse("a@b").wire is not None
    plain = JID.parse("alice@example.com/balcony")
    assert plain.wire is plain.norm


def test_an_object_made_around_the_constructor_is_harmless() -> None:
    empty = JID.__new__(JID)
    assert (empty.local, empty.domain, empty.resource, empty.norm, str(empty)) == (None, "", None, b"", "")
    assert empty.bare is empty
    assert empty == JID.__new__(JID)


def test_unassigned_code_points_are_for_queries() -> None:
    jid = JID.parse("a@b/\U0001f389", allow_unassigned=True)
    assert jid.has_unassigned
    assert not jid.bare.has_unassigned
    assert JID.parse("a\u0221@b/c", allow_unassigned=True).bare.has_unassigned
    for refused in (
        lambda: JID.parse("a@b/\U0001f389"),
        lambda: JID("a", "b", "\U0001f389"),
        lambda: jid.bare.with_resource("\U0001f389"),
    ):
        with pytest.raises(JIDError, match="unassigned"):
            refused()
    assert jid.bare.with_resource("\U0001f389", allow_unassigned=True) == jid
    assert JID("a", "b", "\U0001f389", allow_unassigned=True) == jid
    assert copy.copy(jid) == jid


@pytest.mark.parametrize("value", [None, 1, bytearray(b"a@b"), ["a@b"]])
def test_only_text_and_bytes_are_parsed(value: object) -> None:
    with pytest.raises(TypeError):
        JID.parse(value)  # type: ignore[arg-type]


# ---- the cache of the slow path ----


@pytest.mark.usefixtures("fresh_cache")
def test_slow_results_and_failures_are_remembered() -> None:
    jid = JID.parse("жук@example.com")
    assert JID.parse("жук@example.com") is jid
    for _ in range(2):
        with pytest.raises(JIDError, match="domainpart"):
            JID.parse("жук@exa mple.com")
    info = cache_info()
    assert (info["hits"], info["misses"], info["entries"]) == (2, 2, 2)
    JID.parse("beetle@example.com")
    assert cache_info()["misses"] == 2, "ASCII has no need of it"


@pytest.mark.usefixtures("fresh_cache")
def test_the_cache_is_bounded_in_bytes() -> None:
    set_cache_limit(20_000)
    for i in range(500):
        JID.parse(f"жук{i}@example.com/{'ж' * (i % 50)}я")
        outcome(JID.parse, f"жук {i}@example.com")
        info = cache_info()
        assert info["bytes"] <= info["limit_bytes"] == 20_000
    assert 0 < info["entries"] < 200
    set_cache_limit(0)
    assert JID.parse("жук@example.com") is not JID.parse("жук@example.com")
    assert cache_info()["entries"] == 0
    with pytest.raises(ValueError, match="negative"):
        set_cache_limit(-1)


@pytest.mark.usefixtures("fresh_cache")
def test_what_is_used_again_stays() -> None:
    set_cache_limit(20_000)
    often = JID.parse("жук@example.com")
    for i in range(500):
        JID.parse(f"жук{i}@example.com")
        assert JID.parse("жук@example.com") is often


@pytest.mark.parametrize(
    "text",
    [
        "a.example",
        "j@a.example",
        "j@a.example/r",
        "a.example/r@x/y",
        "\U0001f389@\u2603/\ufb01",
        "a.example/'<",
    ],
)
def test_what_was_stored_is_taken_as_it_is(text: str) -> None:
    jid = JID.kept(text)
    assert (str(jid), JID.kept(text.encode())) == (text, jid)
    parts = (
        (jid.local or "")
        + "@" * bool(jid.local)
        + jid.domain
        + "/" * bool(jid.resource)
        + (jid.resource or "")
    )
    assert parts == text
    assert jid.bare == JID.kept(text.partition("/")[0])
    assert not jid.has_unassigned


@given(text=jids)
def test_what_is_prepared_and_stored_comes_back(text: str) -> None:
    jid = outcome(JID.parse, text)
    if jid is not None:
        again = JID.kept(jid.norm)
        assert (again, again.wire, again.local, again.domain, again.resource, again.bare) == (
            jid, jid.wire, jid.local, jid.domain, jid.resource, jid.bare,
        )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "@a.example", "a@", "a.example/", "a@/r", "/", "a" * 1024, "a/" + "r" * 1024]
)
def test_what_never_was_an_address_is_refused(text: str) -> None:
    with pytest.raises(JIDError):
        JID.kept(text)
