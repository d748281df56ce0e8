"""Writes sprep_tables.h: what jid.c knows of Unicode 3.2 and of RFC 3454, taken from the standard library.

`stringprep` holds the tables of RFC 3454, `unicodedata.ucd_3_2_0` the normalization. All tables speak of
Unicode 3.2 alone: a code point it does not know maps to itself, never composes, never moves (RFC 3454 7.2).
"""

from __future__ import annotations

import stringprep
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

UCD = unicodedata.ucd_3_2_0
LAST = 0x10FFFF
BLOCK = 128
CCC_LIMIT = 256  # smaller values of the norm table are combining classes, greater ones are places in the map
HANGUL = range(0xAC00, 0xAC00 + 11172)
JAMO_SECOND = {*range(0x1161, 0x1161 + 21), *range(0x11A8, 0x11A8 + 27)}
PAIRS_BITS = 11
B2_ROWS = 1371

# RFC 6122 A.5: what Nodeprep prohibits besides the C tables; C.1.1 is added to it
NODE_PROHIBITED = frozenset("\"&'/:<>@ ")

Test = Callable[[str], bool]


def _any_of(*tests: Test) -> Test:
    return lambda char: any(test(char) for test in tests)


def _needs_norm(char: str) -> bool:
    return ord(char) in SECONDS or UCD.combining(char) != 0 or UCD.normalize("NFKC", char) != char


def _fold(char: str) -> str:
    """Table B.2. The standard library lowers by today's Unicode: hundreds of rows too many, left out here."""
    to = stringprep.map_table_b2(char)
    return char if any(map(stringprep.in_table_a1, char + to)) else to


def _pairs() -> dict[tuple[int, int], int]:
    """Canonical composition: (first, second) -> composite; the Hangul syllables are computed in C."""
    pairs = {}
    for code in range(LAST + 1):
        parts = UCD.decomposition(chr(code)).split()
        if len(parts) != 2 or parts[0].startswith("<"):
            continue
        first, second = (int(part, 16) for part in parts)
        if UCD.normalize("NFC", chr(first) + chr(second)) == chr(code):
            pairs[first, second] = code
    return pairs


PAIRS = _pairs()
SECONDS = {second for _, second in PAIRS} | JAMO_SECOND

# bit -> (name in C, which characters have it)
FLAGS: Sequence[tuple[str, Test]] = (
    ("SP_NOTHING", stringprep.in_table_b1),
    ("SP_FOLD", lambda char: not stringprep.in_table_b1(char) and _fold(char) != char),
    ("SP_NORM", _needs_norm),
    ("SP_UNASSIGNED", stringprep.in_table_a1),
    (
        "SP_PROHIBITED",  # in all three profiles
        _any_of(
            stringprep.in_table_c12,
            stringprep.in_table_c22,
            stringprep.in_table_c3,
            stringprep.in_table_c4,
            stringprep.in_table_c5,
            stringprep.in_table_c6,
            stringprep.in_table_c7,
            stringprep.in_table_c8,
            stringprep.in_table_c9,
        ),
    ),
    ("SP_CONTROL", stringprep.in_table_c21),
    ("SP_NODE", NODE_PROHIBITED.__contains__),
    ("SP_RANDAL", stringprep.in_table_d1),
    ("SP_L", stringprep.in_table_d2),
)


class Sequences:
    """The right sides of all mappings in one array; the top byte of each one's first word is its length."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self._at: dict[str, int] = {}

    def place(self, text: str) -> int:
        if text not in self._at:
            self._at[text] = len(self.words)
            first, *rest = map(ord, text)
            self.words += [len(text) << 24 | first, *rest]
        return self._at[text]


def _array(ctype: str, name: str, values: Iterable[int]) -> str:
    values = list(values)
    lines = (",".join(map(str, values[i : i + 24])) for i in range(0, len(values), 24))
    return f"static const {ctype} {name}[{len(values)}] = {{\n" + ",\n".join(lines) + "};\n"


def _two_level(name: str, values: list[int]) -> str:
    """`<name>_block[c >> 7]` says which 128 of `<name>_value` are c's; from <name>_END on all are 0."""
    while len(values) > BLOCK and not any(values[-BLOCK:]):
        del values[-BLOCK:]
    seen: dict[tuple[int, ...], int] = {}
    blocks = [seen.setdefault(tuple(values[i : i + BLOCK]), len(seen)) for i in range(0, len(values), BLOCK)]
    if len(seen) > 256:
        raise ValueError(f"{name}: {len(seen)} blocks do not fit into a byte")
    return (
        f"#define {name.upper()}_END {len(values):#x}u\n"
        + _array("uint8_t", f"{name}_block", blocks)
        + _array("uint16_t", f"{name}_value", [v for block in seen for v in block])
    )


def _slot(first: int, second: int) -> int:
    """The hash of jid.c's `pair()`."""
    return ((first * 0x9E3779B1 + second * 0x85EBCA6B) & 0xFFFFFFFF) >> (32 - PAIRS_BITS)


def _pair_table() -> str:
    size = 1 << PAIRS_BITS
    rows = [(0, 0, 0)] * size
    for (first, second), composite in PAIRS.items():
        at = _slot(first, second)
        while rows[at][0]:
            at = (at + 1) % size
        rows[at] = (first, second, composite)
    body = ",".join(f"{{{a},{b},{c}}}" for a, b, c in rows)  # all of them below U+10000, or C would say so
    return f"#define PAIRS_BITS {PAIRS_BITS}\nstatic const uint16_t pairs[{size}][3] = {{{body}}};\n"


def _ascii_tables() -> str:
    """For each byte of a part: what it becomes, 0 where the fast path does not know it."""
    chars = [chr(code) for code in range(0x80)]
    controls = stringprep.in_table_c21
    local = [0 if c in NODE_PROHIBITED or controls(c) else ord(_fold(c)) for c in chars]
    domain = [ord(_fold(c)) if c.isalnum() or c in "-." else 0 for c in chars]
    resource = [0 if controls(c) else 2 if c in "&<>'" else 1 for c in chars]  # 2: to be escaped in XML
    rest = [0] * 0x80
    return (
        _array("uint8_t", "local_fold", local + rest)
        + _array("uint8_t", "domain_fold", domain + rest)
        + _array("uint8_t", "resource_class", resource + rest)
    )


def tables() -> str:
    """The text of the header."""
    chars = [chr(code) for code in range(LAST + 1)]
    bits = {name: 1 << bit for bit, (name, _) in enumerate(FLAGS)}
    fold_bit, unassigned = bits["SP_FOLD"], bits["SP_UNASSIGNED"]
    flags = [
        unassigned
        if stringprep.in_table_a1(char)  # and in no other table
        else sum(bits[name] for name, test in FLAGS if test(char))
        for char in chars
    ]
    sequences = Sequences()
    fold = [sequences.place(_fold(char)) if f & fold_bit else 0 for char, f in zip(chars, flags, strict=True)]
    if sum(f & fold_bit != 0 for f in flags) != B2_ROWS:
        raise ValueError("table B.2 is not that of RFC 3454")
    norm = []
    for char, f in zip(chars, flags, strict=True):
        if f == unassigned:
            norm.append(0)
            continue
        parts = char if ord(char) in HANGUL else UCD.normalize("NFKD", char)
        # a result of N bytes has at most 3/2 N decomposed code points: SP_ROOM in jid.c counts on it
        in_result = UCD.normalize("NFKC", char) == char
        if in_result and len(parts) * 2 > len(char.encode(errors="surrogatepass")) * 3:
            raise ValueError(f"U+{ord(char):04X} decomposes into too many code points")
        norm.append(UCD.combining(char) if parts == char else CCC_LIMIT + sequences.place(parts))
    if max(norm) > 0xFFFF or max(map(ord, chars)) >> 24:
        raise ValueError("the map does not fit into 16 bits")
    return "\n".join(
        [
            f"/* Made by gen_sprep.py from Unicode {UCD.unidata_version}. Do not edit. */",
            *(f"#define {name} {bit:#x}u" for name, bit in bits.items()),
            _ascii_tables(),
            f"#define SP_CCC_LIMIT {CCC_LIMIT}u",
            _two_level("sp_flags", flags),
            _two_level("sp_fold", fold),
            _two_level("sp_norm", norm),
            _array("uint32_t", "sp_map", sequences.words),
            _pair_table(),
        ]
    )


def write(path: Path) -> None:
    """Write the header to `path`; the build calls it."""
    path.write_text(tables(), encoding="ascii")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("sprep_tables.h"))
