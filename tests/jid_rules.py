"""RFC 6122 in plain Python on the standard library's tables: what the compiled JID is compared with. Slow."""

from __future__ import annotations

import ipaddress
import re
import stringprep
from collections.abc import Callable
from typing import Final
from unicodedata import ucd_3_2_0

Table = Callable[[str], bool]

EVERYWHERE: Final[tuple[Table, ...]] = (
    stringprep.in_table_c12,
    stringprep.in_table_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
PROHIBITED: Final[dict[str, tuple[Table, ...]]] = {
    "nodeprep": (
        *EVERYWHERE,
        stringprep.in_table_c11,
        stringprep.in_table_c21,
        lambda char: char in "\"&'/:<>@",
    ),
    "nameprep": EVERYWHERE,
    "resourceprep": (*EVERYWHERE, stringprep.in_table_c21),
}
PART_BYTES: Final = 1023
RAW_BYTES: Final = 4 * (3 * PART_BYTES + 2)
DOTS: Final = re.compile("[.\u3002\uff0e\uff61]")
LDH: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class RefusedError(ValueError):
    """The rules do not allow it."""


def fold(char: str) -> str:
    """Table B.2 of RFC 3454, without what the standard library adds to it from today's Unicode."""
    to = stringprep.map_table_b2(char)
    return char if any(map(stringprep.in_table_a1, char + to)) else to


def nfkc(text: str) -> str:
    """NFKC of Unicode 3.2: an unassigned code point stays as and where it is, its neighbours apart."""
    runs: list[str] = [""]
    for char in text:
        if stringprep.in_table_a1(char):
            runs += [char, ""]
        else:
            runs[-1] += char
    return "".join(ucd_3_2_0.normalize("NFKC", run) for run in runs)


def prepare(profile: str, text: str) -> str:
    """RFC 3454 3 to 6; unassigned code points pass."""
    mapped = "".join(
        char if profile == "resourceprep" else fold(char) for char in text if not stringprep.in_table_b1(char)
    )
    prepared = nfkc(mapped)
    if any(table(char) for table in PROHIBITED[profile] for char in prepared):
        raise RefusedError("prohibited")
    if any(map(stringprep.in_table_d1, prepared)) and (
        any(map(stringprep.in_table_d2, prepared))
        or not stringprep.in_table_d1(prepared[0])
        or not stringprep.in_table_d1(prepared[-1])
    ):
        raise RefusedError("directions mixed")
    return prepared


def to_ascii(label: str) -> str:
    """RFC 3490 4.1 with UseSTD3ASCIIRules and AllowUnassigned."""
    if not label.isascii():
        label = prepare("nameprep", label)
    if any(char < "\x80" and char.lower() not in LDH for char in label):
        raise RefusedError("not LDH")
    if label.startswith("-") or label.endswith("-"):
        raise RefusedError("outer hyphen")
    if not label.isascii():
        if label.startswith("xn--"):
            raise RefusedError("ACE prefix")
        label = "xn--" + label.encode("punycode").decode("ascii")
    if not 1 <= len(label) <= 63:
        raise RefusedError("label length")
    return label


def to_unicode(label: str) -> str:
    """RFC 3490 4.2 of a lower-case ASCII label."""
    if not label.startswith("xn--"):
        return label
    try:
        decoded = label[4:].encode().decode("punycode")
        if "\u3002" in decoded or to_ascii(decoded).lower() != label:  # a label holds no separator
            return label
    except ValueError:
        return label
    return decoded


def domain(text: str) -> str:
    """RFC 6122 2.2."""
    if text and DOTS.fullmatch(text[-1]):
        text = text[:-1]
    if not text:
        raise RefusedError("empty")
    if text.startswith("["):
        try:
            if not text.endswith("]") or "%" in text:
                raise RefusedError("no IPv6 address")
            return f"[{_rfc5952(ipaddress.IPv6Address(text[1:-1]))}]"
        except ipaddress.AddressValueError:
            raise RefusedError("no IPv6 address") from None
    labels = []
    octets = -1
    for label in DOTS.split(text):
        octets += 1 + len(to_ascii(label))
        labels.append(to_unicode(prepare("nameprep", label)))
    if octets > 253:
        raise RefusedError("domain length")
    joined = ".".join(labels)
    if re.fullmatch("[0-9]+", labels[-1]):
        try:
            ipaddress.IPv4Address(joined)
        except ipaddress.AddressValueError:
            raise RefusedError("no IPv4 address") from None
    return joined


def _rfc5952(address: ipaddress.IPv6Address) -> str:
    """With IPv4 in dotted form where the C library writes it so."""
    high, low = divmod(int(address), 1 << 32)
    if high == 0xFFFF or (high == 0 and low >> 16):
        return ("::ffff:" if high else "::") + str(ipaddress.IPv4Address(low))
    return str(address)


def _part(prepared: str) -> str:
    try:
        size = len(prepared.encode())
    except UnicodeEncodeError:
        raise RefusedError("surrogate") from None
    if not 1 <= size <= PART_BYTES:
        raise RefusedError("size")
    return prepared


def local_part(text: str) -> str:
    return _part(prepare("nodeprep", text))


def domain_part(text: str) -> str:
    return _part(domain(text))


def resource_part(text: str) -> str:
    return _part(prepare("resourceprep", text))


def jid(text: str) -> tuple[str | None, str, str | None]:
    """Localpart, domainpart and resourcepart after preparation; raises ValueError."""
    if len(text.encode()) > RAW_BYTES:
        raise RefusedError("size")
    bare, slash, resource = text.partition("/")
    local, at, host = bare.partition("@")
    return (
        local_part(local) if at else None,
        domain_part(host if at else bare),
        resource_part(resource) if slash else None,
    )


def has_unassigned(*parts: str | None) -> bool:
    return any(stringprep.in_table_a1(char) for part in parts for char in part or "")
