"""Addresses by RFC 7622, against two other implementations of what it builds on: precis-i18n and idna."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import idna
import precis_i18n
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xmppd.jid import JID, JIDError, prep_domain, prep_local, prep_resource, use_rules

USERNAME = precis_i18n.get_profile("UsernameCaseMapped")
OPAQUE = precis_i18n.get_profile("OpaqueString")
NOT_LOCAL = frozenset("\"&'/:<>@")  # RFC 7622 3.3.1
MANY = settings(max_examples=1500, deadline=None)

LIVELY = [
    char
    for char in map(chr, [*range(0x80, 0x3400), *range(0xF900, 0x11100), *range(0x1D100, 0x1D800)])
    if unicodedata.combining(char)
    or unicodedata.normalize("NFKC", char) != char
    or char.lower() != char
    or unicodedata.bidirectional(char) in ("R", "AL", "AN")
]
chars = st.one_of(
    st.sampled_from(LIVELY),
    st.sampled_from('aAbzZlL09-._ ~"&@/\t'),
    # rules of context, sigmas, digits of both kinds, spaces
    st.sampled_from(
        "\u00b7\u0375\u05f3\u05f4\u30fb\u200c\u200d\u094d\u03a3\u03c3\u0660\u06f0\u3000\u00a0\u212a\u0130"
    ),
    st.sampled_from("\u03b1\u05d0\u0628\u0627\u30ab\u6f22\u0915\u00df\u0140\u0301\u13a0\uab70\uff21"),
    st.characters(categories=["L", "M", "N", "P", "S", "Z"]),
)
texts = st.text(chars, min_size=1, max_size=8)


def theirs(profile: object, text: str) -> str | None:
    try:
        return profile.enforce(text)  # type: ignore[attr-defined,no-any-return]
    except UnicodeEncodeError:
        return None


def ours(prepare: object, text: str) -> str | None:
    try:
        return prepare(text, rules="rfc7622")  # type: ignore[operator,no-any-return]
    except JIDError:
        return None


def is_identifier(text: str) -> bool:
    """RFC 8265 3.3.2, which the library leaves out: what is mapped by width only is in the IdentifierClass."""
    try:
        USERNAME.base.enforce(USERNAME.width_mapping_rule(text), "prepared")
    except UnicodeEncodeError:
        return False
    return True


@MANY
@given(texts)
@example("ΟΔΟΣ")
@example("Σ")
@example("\u0627\u0644\u0661")
def test_localparts_are_usernames_with_case_mapped(text: str) -> None:
    expected = (
        theirs(USERNAME, text)
        if is_identifier(text) and NOT_LOCAL.isdisjoint(USERNAME.width_mapping_rule(text))
        else None
    )
    if expected is None or "\u200c" not in text:  # of letters that join we know fewer: see below
        assert ours(prep_local, text) == expected
    else:
        assert ours(prep_local, text) in (expected, None)


@MANY
@given(texts)
def test_resourceparts_are_opaque_strings(text: str) -> None:
    expected = theirs(OPAQUE, text)
    if expected is None or "\u200c" not in text:
        assert ours(prep_resource, text) == expected
    else:
        assert ours(prep_resource, text) in (expected, None)


def test_every_character_alone() -> None:
    """The derived classes of RFC 8264, and the mappings, one by one."""
    for code in [*range(0xD800), *range(0xE000, 0x110000)]:
        char = chr(code)
        text = f"l{char}"
        assert ours(prep_resource, text) == theirs(OPAQUE, text), hex(code)
        if is_identifier(text) and USERNAME.width_mapping_rule(char) not in NOT_LOCAL:
            assert ours(prep_local, text) == theirs(USERNAME, text), hex(code)
        else:
            assert ours(prep_local, text) is None, hex(code)


def label_of(text: str) -> str | None:
    """What the idna package makes of a label that needs no mapping; None if it is none."""
    try:
        return idna.ulabel(idna.alabel(text))
    except idna.IDNAError:
        return None


@MANY
@given(st.text(chars.filter(lambda char: char not in "./@"), min_size=1, max_size=8))
@example("\u0375\u0375\u03c3")
def test_domains_are_of_idna2008(text: str) -> None:
    found = ours(prep_domain, f"{text}.example")
    if found is not None:
        prepared = found.removesuffix(".example")
        assert label_of(prepared) == prepared
        assert ours(prep_domain, found) == found
        ascii_form = idna.alabel(prepared).decode()
        assert ours(prep_domain, f"{ascii_form.upper()}.EXAMPLE.") == found
    elif "\u200c" not in text and label_of(text) == text:
        # a younger Unicode there: what is not assigned here is refused here; Cherokee small letters fold to capitals
        assert any(unicodedata.category(char) == "Cn" for char in text)


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("Stra\u00dfe.DE", "stra\u00dfe.de"),  # RFC 6122 makes ss of it
        ("XN--STRAE-OQA.de", "stra\u00dfe.de"),
        ("\uff45xample\u3002com\uff61", "example.com"),
        ("[2001:DB8:0::1]", "[2001:db8::1]"),
        ("192.0.2.1", "192.0.2.1"),
        ("\u2603.net", None),
        ("xn--n3h.net", None),  # the same in ASCII
        ("xn--abc\u00e9.net", None),
        ("ab--cd.net", None),
        ("a..b", None),
        ("-a.net", None),
        ("192.0.2.256", None),
        ("\u0301a.net", None),
        ("a" * 63 + ".net", "a" * 63 + ".net"),
        ("a" * 64 + ".net", None),
    ],
)
def test_domains(text: str, prepared: str | None) -> None:
    assert ours(prep_domain, text) == prepared


def test_letters_that_join() -> None:
    """Persian: a non-joiner between letters of which the first joins what follows (RFC 5892 A.1)."""
    for word in ("\u0646\u0627\u0645\u0647\u200c\u0627\u06cc", "\u0915\u094d\u200c\u0937"):
        assert ours(prep_local, word) == theirs(USERNAME, word) == word
        assert ours(prep_domain, f"{word}.example") == f"{word}.example"
    for word in ("a\u200cb", "\u0627\u200c\u0628", "\u0628\u200c"):
        assert ours(prep_local, word) is theirs(USERNAME, word) is None


@pytest.mark.parametrize("prepare", [prep_local, prep_resource])
def test_sizes_are_those_of_the_result(prepare: object) -> None:
    assert ours(prepare, "\u00e9" * 511) == "\u00e9" * 511
    assert ours(prepare, "e\u0301" * 511) == "\u00e9" * 511
    assert ours(prepare, "\u00e9" * 512) is None
    assert ours(prepare, "") is None


@pytest.fixture
def rfc7622() -> Iterator[None]:
    use_rules("rfc7622")
    yield
    use_rules("rfc6122")


@pytest.mark.req("4-5.3")
@pytest.mark.usefixtures("rfc7622")
def test_whole_addresses() -> None:
    assert str(JID.parse("\uff2a\u00dcliet@Stra\u00dfe.example/\u00a0Balcony\u2163")) == (
        "j\u00fcliet@stra\u00dfe.example/ Balcony\u2163"
    )
    assert JID.parse("STRA\u1e9eE@a.example") == JID("stra\u00dfe", "a.example")
    assert JID.parse("a@b.example/x") == JID.parse("A@B.Example/x")
    with pytest.raises(JIDError):
        JID.parse("\u2603@a.example")


def test_one_address_two_rules() -> None:
    """The cache of one is not that of the other."""
    text = "stra\u00dfe@a.example"
    before = JID.parse(text)
    use_rules("rfc7622")
    try:
        assert (str(before), str(JID.parse(text))) == ("strasse@a.example", text)
    finally:
        use_rules("rfc6122")
    assert JID.parse(text) == before
    with pytest.raises(ValueError, match="no such rules"):
        use_rules("rfc3920")  # type: ignore[arg-type]
