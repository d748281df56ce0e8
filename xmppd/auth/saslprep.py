"""SASLprep (RFC 4013): user names and passwords as SCRAM and PLAIN compare and hash them."""

from __future__ import annotations

import stringprep
from functools import lru_cache
from typing import Final
from unicodedata import ucd_3_2_0

# RFC 4013 2.3; C.1.2 stands there too, but the mapping has made spaces of it
_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


@lru_cache(maxsize=4096)
def _mapped(char: str) -> str:
    """RFC 4013 2.1. U+200B is in both tables: a space, as in the RFC's order and in ICU and libidn."""
    if stringprep.in_table_c12(char):
        return " "
    return "" if stringprep.in_table_b1(char) else char


@lru_cache(maxsize=4096)
def _prohibited(char: str) -> bool:
    return any(table(char) for table in _PROHIBITED)


def saslprep(text: str, allow_unassigned: bool = False) -> str:
    """Prepare a user name or password; linear in the length, which the caller bounds.

    `allow_unassigned`: let code points pass that Unicode 3.2 does not know, as in queries (RFC 3454 7);
    what is stored is prepared without it. The result may be empty. Raises ValueError, whose text never holds
    a piece of `text`: it may be a password.
    """
    if text.isascii():  # only the control characters of C.2.1 matter
        if text and not text.isprintable():
            raise ValueError("prohibited character")
        return text
    prepared = ucd_3_2_0.normalize("NFKC", "".join(map(_mapped, text)))
    if any(map(_prohibited, prepared)):
        raise ValueError("prohibited character")
    # RFC 3454 6: right-to-left text stands alone, and at both ends
    if any(map(stringprep.in_table_d1, prepared)) and (
        any(map(stringprep.in_table_d2, prepared))
        or not stringprep.in_table_d1(prepared[0])
        or not stringprep.in_table_d1(prepared[-1])
    ):
        raise ValueError("left-to-right and right-to-left characters mixed")
    if not allow_unassigned and any(map(stringprep.in_table_a1, prepared)):
        raise ValueError("unassigned code point")
    return prepared
