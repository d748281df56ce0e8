"""The letter of compliance for people: one HTML file, without script or anything from elsewhere, that prints well.

First the conclusion, what was tested, and the place for signatures; then the sums and what is not met, a table with
one row per requirement, the configuration, and the evidence part by part. It is well-formed XML, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Final

from xmppd.conformance.requirements import SECTION_TITLES, Requirement, catalogue
from xmppd.conformance.transcript import printable
from xmppd.conformance.verdict import Evidence, Outcome, Verdict

if TYPE_CHECKING:
    from xmppd.conformance.report import Letter, Row

LEGEND: Final = {
    Outcome.MET: "The check ran to its end: the system did all that the part asks for.",
    Outcome.NOT_MET: "The system did something else, which is told.",
    Outcome.COULD_NOT_TEST: "Nothing is known: something that the check needs was missing, which is told.",
    Outcome.NOT_APPLICABLE: "The part does not concern this system, or only areas that were not selected.",
}
# the browser itself sees to it that nothing is loaded
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
DOCUMENT: Final = re.compile(r"(RFC \d+|XEP-\d+) ")


def as_html(about: Letter) -> str:
    """The letter, as a file of its own."""
    style = (resources.files(__package__) / "data" / "letter.css").read_text(encoding="utf-8")
    body = [
        *_front(about),
        *_sums(about),
        *_findings(about),
        *_matrix(about),
        *_configuration(about),
        *_evidence(about),
    ]
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>',
            f'<meta http-equiv="Content-Security-Policy" content="{_text(POLICY)}"/>',
            '<meta name="viewport" content="width=device-width"/>',
            f"<title>{_text(about.title)}: {_text(about.name)}</title>",
            f"<style>\n{style}</style></head><body>",
            *body,
            "</body></html>\n",
        )
    )


def _text(text: str) -> str:
    """For between tags and in quotes; without what no XML may hold."""
    return escape("\n".join(map(printable, text.split("\n"))))


def _kind(outcome: Outcome) -> str:
    return outcome.value.replace(" ", "-")


def _heading(section: str) -> str:
    return f"{section} {_text(SECTION_TITLES[section])}"


# ---- what stands in front


def _front(about: Letter) -> Iterator[str]:
    whole = catalogue()
    yield f"<header><h1>{_text(about.title)}</h1><p>{_text(about.name)}</p></header>"
    total = about.total
    worst = next(
        (each for each in (Outcome.NOT_MET, Outcome.COULD_NOT_TEST, Outcome.MET) if total[each]), None
    )
    yield f'<div class="conclusion {_kind(worst or Outcome.NOT_APPLICABLE)}">'
    yield f"<strong>{_text(about.conclusion)}</strong>"
    yield f"<p>{_of_all(about)}</p></div>"
    facts = {
        "System": about.name,
        "Date": about.date.replace("T", " ").replace("+00:00", " UTC"),
        "Requirements": f"UC XMPP 2013: {len(whole.requirements)} requirements in {len(whole.parts)} testable parts",
        **about.facts,
    }
    yield from _list("facts", facts.items())
    yield from _list("legend", ((outcome.value, meaning) for outcome, meaning in LEGEND.items()), kinds=True)
    yield '<div class="signatures">'
    yield from (
        f"<div>{each}</div>" for each in ("Tested by", "Date, signature", "Approved by", "Date, signature")
    )
    yield "</div>"


def _of_all(about: Letter) -> str:
    total, everything = about.total, len(catalogue().parts)
    said = [f"{sum(total.values())} of {everything} parts were selected."]
    if number := total[Outcome.NOT_APPLICABLE]:
        outside = sum(not verdict.judged for verdict in about.verdicts)
        said.append(f"{number} are not applicable; {outside} of these belong to areas that were left out.")
    if halves := sum(bool(verdict.scope) for verdict in about.verdicts):
        said.append(f"{halves} were judged in some of their areas only, which each of them says.")
    return " ".join(said)


def _list(name: str, rows: Iterable[tuple[str, str]], *, kinds: bool = False) -> Iterator[str]:
    yield f'<dl class="{name}">'
    for term, meaning in rows:
        kind = f' class="verdict {term.replace(" ", "-")}"' if kinds else ""
        yield f"<dt{kind}>{_text(term)}</dt><dd>{_text(meaning)}</dd>"
    yield "</dl>"


def _sums(about: Letter) -> Iterator[str]:
    def cells(tag: str, numbers: Iterable[int]) -> str:
        return "".join(
            f'<{tag} class="n{"" if number else " zero"}">{number or "–"}</{tag}>' for number in numbers
        )

    rows = about.rows
    yield '<section class="annex"><h2>Parts by section</h2>'
    yield '<table class="sums"><thead><tr><th>Section</th><th class="n">requirements</th>'
    yield from (f'<th class="n">{outcome}</th>' for outcome in LEGEND)
    yield "</tr></thead><tbody>"
    for section, counts in about.counts.items():
        number = sum(row.requirement.section == section for row in rows)
        numbers = (number, *(counts[outcome] for outcome in LEGEND))
        yield f"<tr><td>{_heading(section)}</td>{cells('td', numbers)}</tr>"
    numbers = (len(rows), *(about.total[outcome] for outcome in LEGEND))
    yield f"</tbody><tfoot><tr><th>Sum</th>{cells('th', numbers)}</tr></tfoot></table></section>"


def _findings(about: Letter) -> Iterator[str]:
    """What keeps the letter from being clean, all in one place."""
    bad = [verdict for verdict in about.verdicts if not verdict.is_good]
    if not bad:
        return
    yield "<section><h2>What is not met, or could not be tested</h2>"
    yield '<table class="matrix"><thead><tr><th class="id">Part</th><th class="verdict">Verdict</th><th>Why</th></tr>'
    yield "</thead><tbody>"
    for verdict in sorted(bad, key=lambda each: each.outcome is not Outcome.NOT_MET):
        yield f'<tr><td><a href="#{verdict.part}">{verdict.part}</a></td>'
        yield f'<td class="verdict {_kind(verdict.outcome)}">{verdict.outcome}</td><td>{_text(verdict.why)}</td></tr>'
    yield "</tbody></table></section>"


# ---- one row per requirement


def _matrix(about: Letter) -> Iterator[str]:
    yield '<section class="annex"><h2>Requirements</h2><table class="matrix"><thead><tr><th class="id">Row</th>'
    yield '<th class="im">Number</th><th>Requirement</th><th class="source">Source</th>'
    yield '<th class="parts">Met</th><th class="verdict">Verdict</th></tr></thead>'
    section = ""
    for row in about.rows:
        if row.requirement.section != section:
            if section:
                yield "</tbody>"
            section = row.requirement.section
            yield f'<tbody><tr class="section"><th colspan="6">{_heading(section)}</th></tr>'
        yield _matrix_row(row)
    yield "</tbody></table></section>" if section else "</table></section>"


def _matrix_row(row: Row) -> str:
    requirement = row.requirement
    name = f'<a href="#{requirement.name}">{requirement.name}</a>' if row.is_judged else requirement.name
    met = sum(verdict.outcome is Outcome.MET for verdict in row.verdicts)
    applicable = sum(verdict.outcome is not Outcome.NOT_APPLICABLE for verdict in row.verdicts)
    ratio = f"{met}/{applicable}" if applicable else "–"
    return (
        f"<tr><td>{name}</td><td>{_text(requirement.number) or '–'}</td><td>{_text(requirement.title)}</td>"
        f'<td>{_text(_short(requirement.source))}</td><td class="parts">{ratio}</td>'
        f'<td class="verdict {_kind(row.outcome)}">{row.outcome}</td></tr>'
    )


def _short(source: str) -> str:
    """Sections of one document behind each other: its name once."""
    document, found = "", []
    for each in source.split("; "):
        name = DOCUMENT.match(each)
        found.append(each.removeprefix(document) if name and name[0] == document else each)
        document = name[0] if name else ""
    return "; ".join(found)


# ---- annexes


def _configuration(about: Letter) -> Iterator[str]:
    if about.configuration:
        yield '<section class="annex"><h2>Configuration</h2>'
        yield f"<pre>{_text(about.configuration.strip().expandtabs())}</pre></section>"


def _evidence(about: Letter) -> Iterator[str]:
    judged = [row for row in about.rows if row.is_judged]
    if not judged:
        return
    yield '<section class="annex"><h2>Evidence</h2>'
    yield "<p>What was sent (→) and received (←), with seconds since the check began and the connection. The last"
    yield " lines of each conversation are shown; long ones are shortened (…), passwords are left out.</p>"
    section = ""
    for row in judged:
        if row.requirement.section != section:
            section = row.requirement.section
            yield f"<h2>{_heading(section)}</h2>"
        yield from _requirement(row.requirement, row.verdicts)
    yield "</section>"


def _requirement(requirement: Requirement, verdicts: Iterable[Verdict]) -> Iterator[str]:
    number = f" · {_text(requirement.number)}" if requirement.number else ""
    yield f'<div class="requirement" id="{requirement.name}">'
    yield f'<div class="top"><h3>{requirement.name} {_text(requirement.title)}</h3>'
    yield f'<p class="source-line">{_text(requirement.source)}{number}</p>'
    yield f'<p class="statement">{_text(requirement.text)}</p></div>'
    for verdict in verdicts:
        yield f'<div class="part" id="{verdict.part}"><div class="head"><div>{verdict.part}</div>'
        yield f"<div><p>{_text(catalogue().part(verdict.part).text)}</p>"
        yield from (
            f'<p class="{name}">{_text(said)}</p>'
            for name, said in (("why", verdict.why), ("scope", verdict.scope))
            if said
        )
        yield f'</div><div class="verdict {_kind(verdict.outcome)}">{verdict.outcome}</div></div>'
        for each in verdict.evidence:
            yield from _seen(each)
        yield "</div>"
    yield "</div>"


def _seen(evidence: Evidence) -> Iterator[str]:
    yield f'<p class="shown">{_text(evidence.check)}</p><div class="wire">'
    if evidence.before:
        yield f'<p class="before">after {evidence.before} earlier lines</p>'
    yield from (f"<p>{_text(line)}</p>" for line in evidence.lines)
    yield "</div>"
