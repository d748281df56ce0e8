"""Writes precis_tables.h: what precis.c knows of Unicode and of RFC 8264, RFC 5892 and RFC 5893.

Everything is derived, by the rules of those RFCs, from the `unicodedata` of the Python that builds, so that a newer
Python brings a newer Unicode (RFC 8264 11.4). Two properties are not in `unicodedata` and stand here in full.
"""

from __future__ import annotations

import itertools
import runpy
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

SPREP = runpy.run_path(str(Path(__file__).with_name("gen_sprep.py")))
LAST, BLOCK, CCC_LIMIT, HANGUL = SPREP["LAST"], SPREP["BLOCK"], SPREP["CCC_LIMIT"], SPREP["HANGUL"]
PAIRS_BITS = 12


def _codes(ranges: str) -> frozenset[int]:
    ends = (part.partition("-") for part in ranges.split())
    return frozenset(
        code for first, _, last in ends for code in range(int(first, 16), int(last or first, 16) + 1)
    )


# Default_Ignorable_Code_Point (DerivedCoreProperties.txt), and Noncharacter_Code_Point
DEFAULT_IGNORABLE = _codes(
    "AD 34F 61C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 2060-206F 3164 FE00-FE0F FEFF FFA0 FFF0-FFF8 "
    "1BCA0-1BCA3 1D173-1D17A E0000-E0FFF"
)
NONCHARACTERS = _codes("FDD0-FDEF") | {plane << 16 | low for plane in range(17) for low in (0xFFFE, 0xFFFF)}
# RFC 5892 2.6 and RFC 8264 9.6
EXCEPTIONS_VALID = _codes("DF 3C2 6FD 6FE F0B 3007")
EXCEPTIONS_CONTEXT = _codes("B7 375 5F3 5F4 30FB 660-669 6F0-6F9")
EXCEPTIONS_INVALID = _codes("640 7FA 302E 302F 3031-3035 303B")
JOIN_CONTROLS = _codes("200C 200D")
OLD_HANGUL_JAMO = _codes("1100-11FF A960-A97C D7B0-D7C6 D7CB-D7FB")
IGNORABLE_BLOCKS = _codes("20D0-20FF 1D100-1D1FF 1D200-1D24F")  # RFC 5892 2.4
INVISIBLE = OLD_HANGUL_JAMO | DEFAULT_IGNORABLE | NONCHARACTERS
DNS_IGNORABLE = INVISIBLE | IGNORABLE_BLOCKS
DNS_EXCEPTIONS = EXCEPTIONS_VALID | EXCEPTIONS_CONTEXT | JOIN_CONTROLS
LOCAL_PROHIBITED = frozenset(map(ord, "\"&'/:<>@"))  # RFC 7622 3.3.1

LETTER_DIGITS = frozenset(("Ll", "Lu", "Lo", "Nd", "Lm", "Mn", "Mc"))
FREE_ONLY = frozenset(
    ("Lt", "Nl", "No", "Me", "Zs", "Sm", "Sc", "Sk", "So", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po")
)

FLAGS = (
    "PR_NOT_ID",  # not in the IdentifierClass
    "PR_NOT_LOCAL",  # the same, or not in a localpart
    "PR_NOT_FREE",  # not in the FreeformClass
    "PR_NOT_DNS",  # not in a U-label
    "PR_CONTEXT",  # only where a rule of RFC 5892 appendix A allows it
    "PR_WIDTH",  # fullwidth or halfwidth: mapped
    "PR_LOWER",  # has a lower case: mapped
    "PR_SPACE",  # a space other than U+0020: mapped
    "PR_NORM",  # normalization may change it or its neighbours
    "PR_CASED",  # Cased, and not Case_Ignorable
    "PR_CASE_IGNORABLE",
    "PR_MARK",  # General_Category M
    "PR_RTL",  # of a right-to-left script: R, AL or AN
)
BIT = {name: 1 << bit for bit, name in enumerate(FLAGS)}
BIDI = ("", "L", "R", "AL", "AN", "EN", "ES", "CS", "ET", "ON", "BN", "NSM")  # 0: any other
# above the bidirectional class
KINDS = ("PR_JOINS_BOTH", "PR_JOINS_BEFORE", "PR_TRANSPARENT", "PR_GREEK", "PR_HEBREW", "PR_KANA_HAN")
KIND = {name: 16 << bit for bit, name in enumerate(KINDS)}


def _is_unassigned(code: int) -> bool:
    return unicodedata.category(chr(code)) in ("Cn", "Cs") and code not in NONCHARACTERS


def identifier_and_free(code: int) -> tuple[bool, bool, bool]:
    """RFC 8264 8: whether a code point is in the IdentifierClass, in the FreeformClass, and by context only."""
    char = chr(code)
    if code in EXCEPTIONS_VALID:
        return True, True, False
    if code in EXCEPTIONS_CONTEXT or code in JOIN_CONTROLS:
        return True, True, True
    if code in EXCEPTIONS_INVALID or _is_unassigned(code):
        return False, False, False
    if 0x21 <= code <= 0x7E:
        return True, True, False
    category = unicodedata.category(char)
    if code in INVISIBLE or category == "Cc":
        return False, False, False
    if unicodedata.normalize("NFKC", char) != char:
        return False, True, False
    return category in LETTER_DIGITS, category in LETTER_DIGITS or category in FREE_ONLY, False


def dns(code: int) -> bool:
    """RFC 5892 3: whether a code point is in U-labels, by context or always."""
    char = chr(code)
    if code in DNS_EXCEPTIONS:
        return True
    if code in EXCEPTIONS_INVALID or _is_unassigned(code):
        return False
    if char.isascii():
        return char.isdigit() or char.islower() or char == "-"
    stable = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", char).casefold()) == char
    return stable and code not in DNS_IGNORABLE and unicodedata.category(char) in LETTER_DIGITS


def _pairs() -> dict[tuple[int, int], int]:
    """Canonical composition: (first, second) -> composite; the Hangul syllables are computed in C."""
    found = {}
    for code in range(LAST + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (int(part, 16) for part in parts)
            if unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(code):
                found[first, second] = code
    return found


PAIRS = _pairs()
SECONDS = {second for _, second in PAIRS} | SPREP["JAMO_SECOND"]


def _width(char: str) -> str:
    form, *rest = unicodedata.decomposition(char).split() or [""]
    return "".join(chr(int(part, 16)) for part in rest) if form in ("<wide>", "<narrow>") else char


def flags(code: int) -> int:
    """All that FLAGS says of a code point."""
    char = chr(code)
    category = unicodedata.category(char)
    in_identifiers, in_free, by_context = identifier_and_free(code)
    # what lower() makes of a capital sigma shows what stands before it (SpecialCasing.txt, Final_Sigma)
    cased = (char + "\u03a3").lower().endswith("\u03c2")
    truth = {
        "PR_NOT_ID": not in_identifiers,
        "PR_NOT_LOCAL": not in_identifiers or code in LOCAL_PROHIBITED,
        "PR_NOT_FREE": not in_free,
        "PR_NOT_DNS": not dns(code),
        "PR_CONTEXT": by_context,
        "PR_WIDTH": _width(char) != char,
        "PR_LOWER": char.lower() != char,
        "PR_SPACE": category == "Zs" and char != " ",
        "PR_NORM": code in SECONDS
        or unicodedata.combining(char) != 0
        or unicodedata.normalize("NFC", char) != char,
        "PR_CASED": cased,
        "PR_CASE_IGNORABLE": not cased and ("a" + char + "\u03a3").lower().endswith("\u03c2"),
        "PR_MARK": category[0] == "M",
        "PR_RTL": unicodedata.bidirectional(char) in ("R", "AL", "AN"),
    }
    return sum(BIT[name] for name in FLAGS if truth[name])


def _joining() -> dict[int, int]:
    """How Arabic letters join, as their presentation forms show; other scripts have none, and no U+200C then."""
    forms: dict[int, set[str]] = {}
    for code in itertools.chain(range(0xFB50, 0xFE00), range(0xFE70, 0xFF00)):
        form, *rest = unicodedata.decomposition(chr(code)).split() or [""]
        if len(rest) == 1:
            forms.setdefault(int(rest[0], 16), set()).add(form)
    return {
        code: KIND["PR_JOINS_BOTH" if found & {"<initial>", "<medial>"} else "PR_JOINS_BEFORE"]
        for code, found in forms.items()
        if found & {"<initial>", "<medial>", "<final>"}
    }


JOINING = _joining()
# by the names of their letters; what the rules A.4, A.5 and A.7 of RFC 5892 need to know of scripts
SCRIPTS: dict[str, tuple[str, ...]] = {
    "PR_GREEK": ("GREEK",),
    "PR_HEBREW": ("HEBREW",),
    "PR_KANA_HAN": (
        "HIRAGANA LETTER",
        "KATAKANA LETTER",
        "CJK UNIFIED",
        "CJK COMPATIBILITY IDEOGRAPH",
        "IDEOGRAPHIC",
    ),
}


def kind(code: int) -> int:
    """The bidirectional class, and what KINDS says of a code point."""
    char = chr(code)
    bidi = unicodedata.bidirectional(char)
    found = (BIDI.index(bidi) if bidi in BIDI else 0) | JOINING.get(code, 0)
    category = unicodedata.category(char)
    if category in ("Mn", "Me", "Cf") and code not in JOIN_CONTROLS:
        found |= KIND["PR_TRANSPARENT"]
    if category[0] in "LMNS":  # S: U+0375 itself
        name = unicodedata.name(char, "")
        found |= sum(KIND[script] for script, prefixes in SCRIPTS.items() if name.startswith(prefixes))
    return found


def _two_level(name: str, values: Sequence[int]) -> str:
    """`<name>_block[c >> 7]` says which 128 of `<name>_value` are c's."""
    seen: dict[tuple[int, ...], int] = {}
    blocks = [seen.setdefault(tuple(values[i : i + BLOCK]), len(seen)) for i in range(0, len(values), BLOCK)]
    if max(values) > 0xFFFF:
        raise ValueError(f"{name}: does not fit into 16 bits")
    array = SPREP["_array"]
    return str(
        array("uint16_t", f"{name}_block", blocks)
        + array("uint16_t", f"{name}_value", [value for block in seen for value in block])
    )


def _pair_table() -> str:
    size = 1 << PAIRS_BITS
    rows = [(0, 0, 0)] * size
    for (first, second), composite in PAIRS.items():
        # the hash of codepoints.h's `pair()`
        at = ((first * 0x9E3779B1 + second * 0x85EBCA6B) & 0xFFFFFFFF) >> (32 - PAIRS_BITS)
        while rows[at][0]:
            at = (at + 1) % size
        rows[at] = (first, second, composite)
    body = ",".join(f"{{{a},{b},{c}}}" for a, b, c in rows)
    return f"#define PAIRS_BITS {PAIRS_BITS}\nstatic const uint32_t pairs[{size}][3] = {{{body}}};\n"


def tables() -> str:
    """The text of the header."""
    codes = range(LAST + 1)
    sequences = SPREP["Sequences"]()

    def mapped(results: Iterable[str]) -> list[int]:
        """Where in sp_map the results are; 0 for what maps to itself."""
        return [
            0 if result == chr(code) else sequences.place(result)
            for code, result in zip(codes, results, strict=True)
        ]

    sequences.place("\0")  # so that 0 is no place
    width, lower = mapped(_width(chr(code)) for code in codes), mapped(chr(code).lower() for code in codes)
    norm = []
    for code in codes:
        char = chr(code)
        parts = char if code in HANGUL else unicodedata.normalize("NFD", char)
        # a result of N bytes has at most 3/2 N decomposed code points: ROOM in codepoints.h counts on it
        if len(parts) * 2 > len(char.encode(errors="surrogatepass")) * 3:
            raise ValueError(f"U+{code:04X} decomposes into too many code points")
        norm.append(unicodedata.combining(char) if parts == char else CCC_LIMIT + sequences.place(parts))
    return "\n".join(
        [
            f"/* Made by gen_precis.py from Unicode {unicodedata.unidata_version}. Do not edit. */",
            *(f"#define {name} {bit:#x}u" for name, bit in (BIT | KIND).items()),
            *(f"#define BIDI_{name} {number}u" for number, name in enumerate(BIDI) if name),
            f"#define SP_CCC_LIMIT {CCC_LIMIT}u",
            _two_level("pr_flags", [flags(code) for code in codes]),
            _two_level("pr_kind", [kind(code) for code in codes]),
            _two_level("pr_width", width),
            _two_level("pr_lower", lower),
            _two_level("pr_norm", norm),
            SPREP["_array"]("uint32_t", "sp_map", sequences.words),
            _pair_table(),
        ]
    )


def write(path: Path) -> None:
    """Write the header to `path`; the build calls it."""
    path.write_text(tables(), encoding="ascii")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("precis_tables.h"))
