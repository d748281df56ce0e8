"""SASLprep against RFC 4013 3, the tables of RFC 3454 and properties."""

from __future__ import annotations

import stringprep
from unicodedata import ucd_3_2_0

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.auth.saslprep import saslprep


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("", ""),
        ("\u00ad", ""),
        ("correct horse", "correct horse"),
        ("pass\u00a0word", "pass word"),
        ("pass\u3000word", "pass word"),
        ("a\u200bb", "a b"),  # C.1.2 before B.1
        ("e\u0301", "\u00e9"),
        ("\u0627\u0628\u0629", "\u0627\u0628\u0629"),
        ("\u06271\u0628", "\u06271\u0628"),  # digits between right-to-left letters are neutral enough
        ("пароль", "пароль"),
    ],
)
def test_prepared(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize(
    "text",
    [
        "\x07",
        "tab\t",
        "\x7f",
        "é\x00",
        "\u0080",
        "\u06dd",
        "\ue000",
        "\ufdd0",
        "\ud800",
        "\ufff9",
        "\u2ff0",
        "\u200e",
        "\u0340\u202a",
        "\U000e0041",
        "\u06271",
        "1\u0627",
        "\u0627a\u0628",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"prohibited|mixed"):
        saslprep(text)


def test_unassigned_code_points_pass_in_queries_only() -> None:
    with pytest.raises(ValueError, match="unassigned"):
        saslprep("party \U0001f389")
    assert saslprep("party \U0001f389", allow_unassigned=True) == "party \U0001f389"
    assert saslprep("\u0221", True) == "\u0221"


def test_the_error_does_not_quote_the_password() -> None:
    with pytest.raises(ValueError, match="prohibited") as failure:
        saslprep("hunter2\x01")
    assert "hunter2" not in str(failure.value)


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_ascii_passes_unless_it_holds_controls(text: str) -> None:
    if any(ord(c) < 0x20 or c == "\x7f" for c in text):
        with pytest.raises(ValueError, match="prohibited"):
            saslprep(text)
    else:
        assert saslprep(text) == text


@given(st.text(), st.booleans())
def test_result_is_stable_normalized_and_clean(text: str, allow_unassigned: bool) -> None:
    try:
        prepared = saslprep(text, allow_unassigned)
    except ValueError:
        return
    assert saslprep(prepared, allow_unassigned) == prepared
    assert ucd_3_2_0.normalize("NFKC", prepared) == prepared
    assert not any(map(stringprep.in_table_c12, prepared))
    assert not any(map(stringprep.in_table_c21_c22, prepared))
    assert allow_unassigned or not any(map(stringprep.in_table_a1, prepared))
