"""The letter of compliance in all its forms."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.conformance import report
from xmppd.conformance.requirements import catalogue
from xmppd.conformance.subject import Subject
from xmppd.conformance.verdict import Evidence, Outcome, Verdict

SEEN = Evidence("RFC 6120 4.2: what it shows.", ("  0.100 c1 ← <a|b>",), 3)
VERDICTS = (
    Verdict("1-7.1", Outcome.MET, "", (SEEN,), ("streams",), ("federation",)),
    Verdict("1-7.2", Outcome.NOT_MET, "<nothing> came", (), ("streams",)),
    Verdict("1-8.2", Outcome.NOT_APPLICABLE, "area federation"),
    Verdict("3-25.1", Outcome.COULD_NOT_TEST, "why not", (), ("streams",)),
)


def letter(*verdicts: Verdict, configuration: str = "") -> report.Letter:
    subject = Subject("::1", 5222, ("one.example",), system="a <server>", version="1.2")
    subject.configuration = configuration
    return report.letter(subject, ["streams"], verdicts, "2030-01-02T03:04:05+00:00", "tester 1")


def everything(outcome: Outcome) -> report.Letter:
    return letter(*(Verdict(part.name, outcome, "", (SEEN,), part.needs) for part in catalogue().parts))


def root(about: report.Letter) -> ElementTree.Element:
    return ElementTree.fromstring(report.as_html(about).removeprefix("<!DOCTYPE html>\n"))  # noqa: S314 (our own)


def texts(element: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in element]


@pytest.mark.parametrize(
    ("verdicts", "conclusion"),
    [
        (VERDICTS[:1], "Met: all applicable parts (1)."),
        (VERDICTS, "Met: 1 of 3 applicable parts; 1 not met, 1 could not be tested."),
        (VERDICTS[2:3], "No part that was selected is applicable."),
        ((), "No part that was selected is applicable."),
    ],
)
def test_the_conclusion(verdicts: tuple[Verdict, ...], conclusion: str) -> None:
    about = letter(*verdicts)
    assert about.conclusion == conclusion
    assert conclusion in "".join(root(about).itertext())
    assert conclusion in report.as_markdown(about)


def test_all_addresses_are_named() -> None:
    subject = Subject("127.0.0.1", 5222, ("one.example",), more_hosts=("::1",))
    facts = report.letter(subject, ["streams"], (), "2026-01-02T03:04:05+00:00", "the tester").facts
    assert facts["Address"] == "127.0.0.1 port 5222, [::1] port 5222"
    launched = Subject("127.0.0.1", 40000, ("one.example",), port6=40001)
    facts = report.letter(launched, ["streams"], (), "2026-01-02T03:04:05+00:00", "the tester").facts
    assert facts["Address"] == "127.0.0.1 port 40000, [::1] port 40001"


def test_json() -> None:
    data = json.loads(report.as_json(letter(*VERDICTS, configuration="key = 1\n")))
    assert data["counts"]["1"] == {"met": 1, "not met": 1, "could not test": 0, "not applicable": 1}
    assert [row["id"] for row in data["requirements"]] == ["1-7", "1-8", "3-25"]
    assert [row["outcome"] for row in data["requirements"]] == ["not met", "not applicable", "could not test"]
    assert data["facts"]["Address"] == "[::1] port 5222"
    assert data["configuration"] == "key = 1\n"
    assert data["requirements"][0]["parts"][0]["evidence"] == [
        {"check": SEEN.check, "lines": list(SEEN.lines), "before": 3}
    ]
    assert report.faults(data) == []


def test_a_letter_that_does_not_add_up() -> None:
    data = report.as_data(letter(*VERDICTS))
    part = data["requirements"][0]["parts"][1]
    part["outcome"] = "met"
    assert report.faults(data) == [
        "section 1: the sums are not those of the parts",
        "1-7.2: met without evidence",
    ]
    data = report.as_data(letter(*VERDICTS))
    data["requirements"][0]["parts"][0]["text"] = "Given nothing, then nothing."
    assert report.faults(data) == ["1-7.1: the words are not those of the requirement"]
    data["requirements"].pop()
    assert "section 3: the sums are not those of the parts" in report.faults(data)
    for other in ({}, [], None, {"requirements": [{}]}, {"requirements": [], "counts": {"1": 1}}):
        assert report.faults(other) == ["it is not the data of a letter of compliance"]


def test_markdown() -> None:
    markdown = report.as_markdown(letter(*VERDICTS))
    assert "| 1-7.2 |" in markdown
    assert all(line.count(" | ") == 3 for line in markdown.splitlines() if line.startswith("| 1-"))


def test_html_has_a_countable_row_for_each_requirement() -> None:
    page = root(everything(Outcome.MET))
    [matrix] = page.iterfind(".//table[@class='matrix']")
    rows = [texts(row) for row in matrix.iterfind("tbody/tr") if len(row) > 1]
    assert [row[0] for row in rows] == [each.name for each in catalogue().requirements]
    assert all(row[-1] == "met" for row in rows)
    assert rows[0][4] == f"{len(catalogue().requirements[0].parts)}/{len(catalogue().requirements[0].parts)}"
    [sums] = page.iterfind(".//table[@class='sums']")
    numbers = [int(row[2]) for row in map(texts, sums.iterfind("tbody/tr"))]
    assert sum(numbers) == len(catalogue().parts)
    [total] = map(texts, sums.iterfind("tfoot/tr"))
    assert total == ["Sum", str(len(catalogue().requirements)), str(len(catalogue().parts)), "–", "–", "–"]
    kinds = Counter(
        each.get("class") for each in page.iterfind(".//div[@class='head']/div") if each.get("class")
    )
    assert kinds == {"verdict met": len(catalogue().parts)}


def test_html_tells_first_what_is_wrong() -> None:
    about = letter(*VERDICTS)
    html = report.as_html(about)
    assert "&lt;nothing&gt; came" in html
    assert "a &lt;server&gt; 1.2" in html
    assert "<nothing>" not in html
    findings, _ = root(about).iterfind(".//table[@class='matrix']")
    assert [row[:2] for row in map(texts, findings.iterfind("tbody/tr"))] == [
        ["1-7.2", "not met"],
        ["3-25.1", "could not test"],
    ]
    assert not [
        each for each in root(letter(*VERDICTS[:1])).iter("h2") if (each.text or "").startswith("What")
    ]


def test_html_is_self_contained() -> None:
    about = everything(Outcome.NOT_MET)
    page = root(about)
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "div",
        "strong",
    }
    allowed |= {"dl", "dt", "dd", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "section", "a", "pre"}
    assert {each.tag for each in page.iter()} <= allowed
    assert {name for each in page.iter() for name in each.attrib} <= {
        "lang", "charset", "http-equiv", "name", "content", "class", "id", "href", "colspan",
    }  # fmt: skip
    ids = [each.get("id") for each in page.iter() if each.get("id")]
    assert len(ids) == len(set(ids))
    targets = {each.get("href", "") for each in page.iter("a")}
    assert targets
    assert targets <= {f"#{name}" for name in ids}
    [style] = page.iter("style")
    assert not re.search(r"url\(|@import|@font-face|//", style.text or "")
    [policy] = (each.get("content") for each in page.iter("meta") if each.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


@given(st.text(), st.text())
def test_whatever_a_server_says_the_html_is_well_formed(why: str, line: str) -> None:
    seen = Evidence("RFC 6120.", (line,))
    verdict = Verdict("1-7.1", Outcome.NOT_MET, why, (seen,), ("streams",))
    assert root(letter(verdict, configuration=why)).tag == "html"


def test_the_name_of_the_file_says_the_form(tmp_path: Path) -> None:
    for name, begin in (("x.html", "<!DOCTYPE html>"), ("x.md", "# Letter"), ("x.json", "{")):
        report.write(tmp_path / name, letter(*VERDICTS))
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(begin)
    with pytest.raises(ValueError, match="the name of a report ends in"):
        report.write(tmp_path / "x.pdf", letter(*VERDICTS))
