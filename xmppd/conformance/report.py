"""The letter of compliance: one row per requirement, with the evidence, as JSON, Markdown or printable HTML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from xmppd.conformance.requirements import SECTION_TITLES, Requirement, catalogue
from xmppd.conformance.subject import Subject
from xmppd.conformance.verdict import Outcome, Verdict, worst

TITLE: Final = "Letter of Compliance: UC XMPP 2013"


@dataclass(frozen=True, slots=True)
class Letter:
    """All that a report says, whatever its form."""

    system: str
    version: str
    date: str  # ISO 8601, UTC
    configuration: Mapping[str, str]  # what was tested how, in words
    verdicts: Sequence[Verdict]

    @property
    def rows(self) -> list[tuple[Requirement, list[Verdict]]]:
        """The requirements that have a selected part, each with the verdicts of those parts."""
        by_part = {verdict.part: verdict for verdict in self.verdicts}
        found = []
        for requirement in catalogue().requirements:
            own = [by_part[part.name] for part in requirement.parts if part.name in by_part]
            if own:
                found.append((requirement, own))
        return found

    @property
    def counts(self) -> dict[str, Counter[Outcome]]:
        """Parts by section and outcome."""
        counted: dict[str, Counter[Outcome]] = {}
        for requirement, verdicts in self.rows:
            for verdict in verdicts:
                counted.setdefault(requirement.section, Counter())[verdict.outcome] += 1
        return counted


def letter(
    subject: Subject, areas: Iterable[str], verdicts: Sequence[Verdict], date: str, tester: str
) -> Letter:
    """The letter about a server. No password is in it."""
    where = f"[{subject.host}]" if ":" in subject.host else subject.host
    configuration = {
        "Address": f"{where} port {subject.port}",
        "Domains": ", ".join(subject.domains),
        "Started by": "a launcher" if subject.launcher is not None else "others: tested as it was found",
        "Areas": ", ".join(areas),
        "Tester": tester,
        **subject.facts,
    }
    return Letter(subject.system, subject.version, date, configuration, verdicts)


def write(path: Path, about: Letter) -> None:
    """Write the report in the form that the name of the file asks for. Raises ValueError, OSError."""
    path.write_text(form(path)(about), encoding="utf-8")


def form(path: Path) -> Any:
    """What makes a report of this file name's form. Raises ValueError."""
    forms = {".json": as_json, ".md": as_markdown, ".html": as_html}
    if path.suffix not in forms:
        raise ValueError(f"{path}: a report is written as {', '.join(forms)}")
    return forms[path.suffix]


def as_data(about: Letter) -> dict[str, Any]:
    """The letter as plain data."""
    return {
        "title": TITLE,
        "system": about.system,
        "version": about.version,
        "date": about.date,
        "configuration": dict(about.configuration),
        "counts": {
            section: {outcome.value: counter[outcome] for outcome in Outcome}
            for section, counter in about.counts.items()
        },
        "requirements": [
            {
                "id": requirement.name,
                "title": requirement.title,
                "source": requirement.source,
                "outcome": worst(verdicts).outcome.value,
                "parts": [
                    {
                        "id": verdict.part,
                        "text": catalogue().part(verdict.part).text,
                        "outcome": verdict.outcome.value,
                        "why": verdict.why,
                        "judged": list(verdict.judged),
                        "left_out": list(verdict.left_out),
                        "seconds": round(verdict.seconds, 3),
                        "evidence": list(verdict.evidence),
                    }
                    for verdict in verdicts
                ],
            }
            for requirement, verdicts in about.rows
        ],
    }


def as_json(about: Letter) -> str:
    """The letter for programs."""
    return json.dumps(as_data(about), indent=1, ensure_ascii=False) + "\n"


def _counted(counter: Mapping[Outcome, int]) -> list[str]:
    return [str(counter.get(outcome, 0)) for outcome in Outcome]


def as_markdown(about: Letter) -> str:
    """The letter for a repository or a wiki."""

    def cell(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")

    def row(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    facts = {"System": f"{about.system} {about.version}".strip(), "Date": about.date, **about.configuration}
    lines = [f"# {TITLE}", "", *(f"* {name}: {cell(value)}" for name, value in facts.items()), ""]
    lines += [row(["Section", *(outcome.value for outcome in Outcome)]), row(["---"] * 5)]
    lines += [
        row([f"{section} {SECTION_TITLES[section]}", *_counted(counter)])
        for section, counter in about.counts.items()
    ]
    lines += ["", row(["Part", "Requirement", "Verdict", "Why, or evidence"]), row(["---"] * 4)]
    for requirement, verdicts in about.rows:
        for verdict in verdicts:
            why = verdict.why or (f"`{cell(verdict.evidence[-1])}`" if verdict.evidence else "")
            scope = f" ({verdict.scope})" if verdict.scope else ""
            lines.append(
                row(
                    [
                        verdict.part,
                        cell(requirement.title),
                        verdict.outcome.value,
                        why if why.startswith("`") else cell(why) + scope,
                    ]
                )
            )
    return "\n".join(lines) + "\n"


STYLE: Final = """
@page { margin: 16mm 14mm; @bottom-right { content: counter(page) " / " counter(pages); } }
* { box-sizing: border-box; }
body { font: 10pt/1.4 "Source Sans 3", "Segoe UI", Helvetica, Arial, sans-serif; color: #1b1f24;
       max-width: 190mm; margin: 12mm auto; padding: 0 4mm; }
h1 { font-size: 18pt; margin: 0 0 2mm; } h2 { font-size: 13pt; margin: 9mm 0 2mm; break-after: avoid; }
p.lead { margin: 0 0 5mm; color: #4a525b; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 1.2mm 2mm; border-bottom: .3pt solid #c8ced4; }
th { font-weight: 600; border-bottom: .8pt solid #1b1f24; } thead { display: table-header-group; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; width: 24mm; }
dl { display: grid; grid-template-columns: 32mm 1fr; margin: 0 0 5mm; } dt { color: #4a525b; } dd { margin: 0; }
section.row { margin: 0 0 4mm; border-top: .8pt solid #1b1f24; padding-top: 1.5mm; }
section.row > h3 { font-size: 10.5pt; margin: 0; break-after: avoid; }
section.row > p { margin: .5mm 0 1.5mm; color: #4a525b; font-size: 9pt; break-after: avoid; }
.part { display: grid; grid-template-columns: 20mm 1fr 28mm; gap: 2mm; padding: 1mm 0;
        border-top: .3pt solid #dde1e5; break-inside: avoid; }
.part p { margin: 0; } .why { font-weight: 600; } .scope { color: #4a525b; font-style: italic; }
.verdict { font-weight: 600; text-align: right; }
.met { color: #14602b; } .not-met { color: #a3120d; } .could-not-test { color: #8a5300; }
.not-applicable { color: #5b646d; }
pre { font: 7.5pt/1.35 "Source Code Pro", Menlo, Consolas, monospace; background: #f3f5f7; margin: 1mm 0 0;
      padding: 1.5mm 2mm; white-space: pre-wrap; overflow-wrap: anywhere; grid-column: 2 / 4; }
footer { margin-top: 14mm; display: grid; grid-template-columns: 1fr 1fr; gap: 14mm; break-inside: avoid; }
footer div { border-top: .6pt solid #1b1f24; padding-top: 1mm; color: #4a525b; font-size: 9pt; }
@media print { body { margin: 0; max-width: none; padding: 0; } }
"""


def as_html(about: Letter) -> str:
    """The letter for people: one file, no script, prints on A4 and Letter."""
    outcomes = list(Outcome)
    facts = {"System": f"{about.system} {about.version}".strip(), "Date": about.date, **about.configuration}
    total: Counter[Outcome] = Counter()
    for counter in about.counts.values():
        total.update(counter)
    out = [
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(TITLE)}</title>',
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{escape(TITLE)}</h1>",
        f'<p class="lead">What {escape(about.system)} does, part by part, as seen on the wire.</p>',
        "<dl>",
        *(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()),
        "</dl>",
        "<table><thead><tr><th>Section</th>",
        *(f'<th class="n">{escape(outcome.value)}</th>' for outcome in outcomes),
        "</tr></thead><tbody>",
    ]
    for section, counter in about.counts.items():
        numbers = "".join(f'<td class="n">{number}</td>' for number in _counted(counter))
        out.append(f"<tr><td>{section} {escape(SECTION_TITLES[section])}</td>{numbers}</tr>")
    numbers = "".join(f'<th class="n">{number}</th>' for number in _counted(total))
    out.append(f"<tr><th>Sum</th>{numbers}</tr></tbody></table>")
    section = ""
    for requirement, verdicts in about.rows:
        if requirement.section != section:
            section = requirement.section
            out.append(f"<h2>{section} {escape(SECTION_TITLES[section])}</h2>")
        out.append(_html_row(requirement, verdicts))
    out.append("<footer><div>Tested by</div><div>Date and signature</div></footer></body></html>\n")
    return "\n".join(out)


def _html_row(requirement: Requirement, verdicts: Sequence[Verdict]) -> str:
    number = f" · {escape(requirement.number)}" if requirement.number else ""
    out = [
        f'<section class="row"><h3>{escape(requirement.name)} {escape(requirement.title)}</h3>',
        f"<p>{escape(requirement.source)}{number}</p>",
    ]
    for verdict in verdicts:
        kind = verdict.outcome.value.replace(" ", "-")
        why = f'<p class="why">{escape(verdict.why)}</p>' if verdict.why else ""
        scope = f'<p class="scope">{escape(verdict.scope)}</p>' if verdict.scope else ""
        evidence = f"<pre>{escape(chr(10).join(verdict.evidence))}</pre>" if verdict.evidence else ""
        out.append(
            f'<div class="part"><div>{escape(verdict.part)}</div>'
            f"<div><p>{escape(catalogue().part(verdict.part).text)}</p>{why}{scope}</div>"
            f'<div class="verdict {kind}">{escape(verdict.outcome.value)}</div>{evidence}</div>'
        )
    out.append("</section>")
    return "".join(out)
