"""The tokenizer, the stanza and the tree beside expat and lxml: goals G1, G2, G8, G9, and absolute figures.

What is compared does the same: every parser sees the same bytes in the same pieces, with namespaces. The
references count elements and text (the least a parser of streams is asked for); ours makes one object a stanza.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import pytest
from lxml import etree

from benchmarks.corpus import HEADER, KINDS, mix, stanzas, tcp_chunks
from benchmarks.ratio import cost_ratio, judge
from xmppd._fast.reader import Stanza, StreamReader

Work = Callable[[], int]

ADDRESSES = (b"juliet@capulet.example/balcony", b"romeo@montague.example/orchard", b"en")


def ours(chunks: Sequence[bytes]) -> Work:
    """One object a stanza."""

    def work() -> int:
        feed = StreamReader().feed
        feed(HEADER)
        return sum(len(feed(chunk)) for chunk in chunks)

    return work


def ours_routed(chunks: Sequence[bytes]) -> Work:
    """... and asked what routing asks, and written out with other addresses."""

    def work() -> int:
        feed = StreamReader().feed
        feed(HEADER)
        size = 0
        for chunk in chunks:
            for stanza in feed(chunk):
                if stanza.kind and stanza.type_id >= 0 and stanza.to != "":  # type: ignore[union-attr]
                    size += len(stanza.render(*ADDRESSES))  # type: ignore[union-attr]
        return size

    return work


def pyexpat(chunks: Sequence[bytes]) -> Work:
    """Three handlers that count."""

    def work() -> int:
        starts = ends = texts = 0

        def start(_name: str, _attrs: dict[str, str]) -> None:
            nonlocal starts
            starts += 1

        def end(_name: str) -> None:
            nonlocal ends
            ends += 1

        def text(_text: str) -> None:
            nonlocal texts
            texts += 1

        parser = expat.ParserCreate(namespace_separator="\x01")
        parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
        parser.Parse(HEADER)
        for chunk in chunks:
            parser.Parse(chunk)
        return starts

    return work


def pull(make: Callable[..., Any], chunks: Sequence[bytes]) -> Work:
    """A pull parser that builds a tree a stanza, as XMPP libraries use it."""

    def work() -> int:
        parser = make(events=("start", "end"))
        parser.feed(HEADER)
        depth = count = 0
        root: Any = None
        for chunk in chunks:
            parser.feed(chunk)
            for event, element in parser.read_events():
                if event == "start":
                    depth += 1
                    root = element if depth == 1 else root
                else:
                    depth -= 1
                    if depth == 1:
                        count += 1
                        root.clear()
        return count

    return work


def trees(chunks: Sequence[bytes]) -> Work:
    """An Element a stanza, from stanzas that have been read."""
    reader = StreamReader()
    reader.feed(HEADER)
    read = [s for chunk in chunks for s in reader.feed(chunk) if isinstance(s, Stanza)]

    def work() -> int:
        for stanza in read:
            stanza.element()
        return len(read)

    return work


@functools.cache
def tcp() -> tuple[bytes, ...]:
    return tuple(tcp_chunks(b"".join(mix())))


# ---- goals ----


def test_g1_stanza_chunks() -> None:
    assert ours(mix())() == len(mix())
    assert judge("G1", cost_ratio(pyexpat(mix()), ours(mix()))).met


def test_g2_tcp_chunks() -> None:
    assert ours(tcp())() == len(mix())
    assert judge("G2", cost_ratio(pyexpat(tcp()), ours(tcp()))).met


def test_g8_routing() -> None:
    assert judge("G8", cost_ratio(ours_routed(mix()), ours(mix()))).met


def test_g9_tree() -> None:
    assert judge("G9", cost_ratio(pull(ElementTree.XMLPullParser, mix()), trees(mix()))).met


# ---- figures ----

PARSERS: dict[str, Callable[[Sequence[bytes]], Work]] = {
    "ours": ours,
    "ours, routed": ours_routed,
    "pyexpat": pyexpat,
    "ElementTree pull": functools.partial(pull, ElementTree.XMLPullParser),
    "lxml pull": functools.partial(pull, etree.XMLPullParser),
}
SAMPLE = 2000


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.benchmark(group="mix of 2,000 stanzas, one a chunk")
def test_mix(benchmark: Any, parser: str) -> None:
    benchmark(PARSERS[parser](mix()[:SAMPLE]))


@pytest.mark.parametrize("parser", ["ours", "pyexpat"])
@pytest.mark.parametrize("kind", KINDS)
def test_kind(benchmark: Any, kind: str, parser: str) -> None:
    benchmark.group = f"200 of {kind}"
    benchmark(PARSERS[parser](stanzas(kind, 200)))


@pytest.mark.benchmark(group="trees of 2,000 stanzas")
def test_trees(benchmark: Any) -> None:
    benchmark(trees(mix()[:SAMPLE]))


FLOODS = {
    "empty elements": b"<a/>" * 62_000,
    "elements": b"<a></a>" * 35_000,
    "references": b"&lt;" * 62_000,
    "declarations": b"<a xmlns='u'/>" * 17_000,
    "brackets in CDATA": b"<![CDATA[" + b"]]" * 124_000 + b"]]>",
    "attributes": (b"<a" + b"".join(b" a%d=''" % i for i in range(60)) + b"/>") * 580,
    "cyrillic": "Привет ".encode() * 19_000,
    "prefixes": b"<a"
    + b"".join(b" xmlns:p%d='u%d'" % (i, i) for i in range(28))
    + b">"
    + b"<p0:a/>" * 35_000
    + b"</a>",
}


@pytest.mark.parametrize("parser", ["ours", "pyexpat"])
@pytest.mark.parametrize("kind", FLOODS)
def test_hostile(benchmark: Any, kind: str, parser: str) -> None:
    """250 kB in one stanza, in TCP segments."""
    data = b"<message>" + FLOODS[kind] + b"</message>"
    benchmark.group = f"flood of {kind}"
    benchmark.pedantic(PARSERS[parser]([data[i : i + 1448] for i in range(0, len(data), 1448)]), rounds=5)
