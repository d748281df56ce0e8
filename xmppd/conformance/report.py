"""The letter of compliance: one row per requirement, with the evidence, as JSON, Markdown or printable HTML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from xmppd.conformance.printed import as_html
from xmppd.conformance.requirements import SECTION_TITLES, Requirement, catalogue
from xmppd.conformance.subject import Subject
from xmppd.conformance.verdict import Outcome, Verdict, overall


@dataclass(frozen=True, slots=True)
class Row:
    """A requirement, with the verdicts on those of its parts that were selected."""

    requirement: Requirement
    verdicts: tuple[Verdict, ...]  # never empty

    @property
    def outcome(self) -> Outcome:
        """The worst of its parts that are applicable."""
        return overall(self.verdicts)

    @property
    def is_judged(self) -> bool:
        """Whether any part was looked at in any area."""
        return any(verdict.judged for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class Letter:
    """All that a report says, whatever its form."""

    title: ClassVar[str] = "Letter of Compliance: UC XMPP 2013"

    system: str
    version: str
    date: str  # ISO 8601, UTC
    facts: Mapping[str, str]  # what was tested how, in words
    configuration: str  # what the system was set up with, if that is known
    verdicts: Sequence[Verdict]

    @property
    def name(self) -> str:
        """System and version."""
        return f"{self.system} {self.version}".strip()

    @property
    def rows(self) -> list[Row]:
        """The requirements that have a selected part."""
        by_part = {verdict.part: verdict for verdict in self.verdicts}
        found = []
        for requirement in catalogue().requirements:
            own = tuple(by_part[part.name] for part in requirement.parts if part.name in by_part)
            if own:
                found.append(Row(requirement, own))
        return found

    @property
    def total(self) -> Counter[Outcome]:
        """Parts by outcome."""
        return Counter(verdict.outcome for verdict in self.verdicts)

    @property
    def counts(self) -> dict[str, Counter[Outcome]]:
        """Parts by section and outcome."""
        counted: dict[str, Counter[Outcome]] = {}
        for row in self.rows:
            counts = counted.setdefault(row.requirement.section, Counter())
            counts.update(verdict.outcome for verdict in row.verdicts)
        return counted

    @property
    def conclusion(self) -> str:
        """All in one sentence."""
        total = self.total
        applicable = sum(total.values()) - total[Outcome.NOT_APPLICABLE]
        if not applicable:
            return "No part that was selected is applicable."
        if total[Outcome.MET] == applicable:
            return f"Met: all applicable parts ({applicable})."
        bad = [
            f"{total[outcome]} {words}"
            for outcome, words in (
                (Outcome.NOT_MET, "not met"),
                (Outcome.COULD_NOT_TEST, "could not be tested"),
            )
            if total[outcome]
        ]
        return f"Met: {total[Outcome.MET]} of {applicable} applicable parts; {', '.join(bad)}."


def letter(
    subject: Subject, areas: Iterable[str], verdicts: Sequence[Verdict], date: str, tester: str
) -> Letter:
    """The letter about a server. No password is in it."""
    chosen = sorted(areas)
    left_out = sorted(catalogue().areas.keys() - chosen)
    facts = {
        "Address": ", ".join(
            f"{f'[{host}]' if ':' in host else host} port {port}" for host, port in subject.addresses
        ),
        "Domains": ", ".join(subject.domains),
        "Set up by": f"the launcher {subject.launch}"
        if subject.launcher
        else "others; tested as it was found",
        "Areas judged": ", ".join(chosen),
        "Areas left out": ", ".join(left_out) or "none",
        "Tester": tester,
    }
    return Letter(subject.system, subject.version, date, facts, subject.configuration, verdicts)


def write(path: Path, about: Letter) -> None:
    """Write the report in the form that the name of the file asks for. Raises ValueError, OSError."""
    path.write_text(form(path)(about), encoding="utf-8")


def form(path: Path) -> Callable[[Letter], str]:
    """What makes a report of this file name's form. Raises ValueError."""
    forms = {".json": as_json, ".md": as_markdown, ".html": as_html}
    if path.suffix not in forms:
        raise ValueError(f"{path}: the name of a report ends in {', '.join(forms)}")
    return forms[path.suffix]


# ---- JSON


def as_data(about: Letter) -> dict[str, Any]:
    """The letter as plain data."""
    return {
        "title": about.title,
        "system": about.system,
        "version": about.version,
        "date": about.date,
        "conclusion": about.conclusion,
        "facts": dict(about.facts),
        "configuration": about.configuration,
        "counts": {
            section: {outcome.value: counter[outcome] for outcome in Outcome}
            for section, counter in about.counts.items()
        },
        "requirements": [
            {
                "id": row.requirement.name,
                "number": row.requirement.number,
                "title": row.requirement.title,
                "source": row.requirement.source,
                "outcome": row.outcome.value,
                "parts": [_part(verdict) for verdict in row.verdicts],
            }
            for row in about.rows
        ],
    }


def _part(verdict: Verdict) -> dict[str, Any]:
    return {
        "id": verdict.part,
        "text": catalogue().part(verdict.part).text,
        "outcome": verdict.outcome.value,
        "why": verdict.why,
        "judged": list(verdict.judged),
        "left_out": list(verdict.left_out),
        "seconds": round(verdict.seconds, 3),
        "evidence": [
            {"check": each.check, "lines": list(each.lines), "before": each.before}
            for each in verdict.evidence
        ],
    }


def as_json(about: Letter) -> str:
    """The letter for programs."""
    return json.dumps(as_data(about), indent=1, ensure_ascii=False) + "\n"


def faults(data: Any) -> list[str]:
    """What is wrong with the data of a letter: numbers that do not add up, words that are not the catalogue's."""
    try:
        rows = data["requirements"]
        parts = [part for row in rows for part in row["parts"]]
        counted: dict[str, Counter[str]] = {}
        for row in rows:
            counts = counted.setdefault(row["id"].partition("-")[0], Counter())
            counts.update(part["outcome"] for part in row["parts"])
        found = [
            f"section {section}: the sums are not those of the parts"
            for section in sorted(counted.keys() | data["counts"].keys())
            if Counter(data["counts"].get(section, {})) != counted.get(section, Counter())
        ]
        for part in parts:
            if part["text"] != catalogue().part(part["id"]).text:
                found.append(f"{part['id']}: the words are not those of the requirement")
            if part["outcome"] == Outcome.MET and not part["evidence"]:
                found.append(f"{part['id']}: met without evidence")
    except (KeyError, TypeError, AttributeError):
        return ["it is not the data of a letter of compliance"]
    return found


# ---- Markdown


def as_markdown(about: Letter) -> str:
    """The letter for a repository or a wiki."""

    def cell(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")

    def row(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    facts = {"System": about.name, "Date": about.date, **about.facts}
    lines = [
        f"# {about.title}",
        "",
        about.conclusion,
        "",
        *(f"* {name}: {cell(value)}" for name, value in facts.items()),
    ]
    lines += ["", row(["Section", *(outcome.value for outcome in Outcome)]), row(["---"] * 5)]
    lines += [
        row([f"{section} {SECTION_TITLES[section]}", *(str(counter[outcome]) for outcome in Outcome)])
        for section, counter in about.counts.items()
    ]
    lines += ["", row(["Part", "Requirement", "Verdict", "Why, or evidence"]), row(["---"] * 4)]
    for requirement, verdicts in ((each.requirement, each.verdicts) for each in about.rows):
        for verdict in verdicts:
            why = cell(verdict.why)
            if not why and (seen := [line for each in verdict.evidence for line in each.lines]):
                why = f"`{cell(seen[-1])}`"
            scope = f" ({verdict.scope})" if verdict.scope else ""
            lines.append(row([verdict.part, cell(requirement.title), verdict.outcome.value, why + scope]))
    return "\n".join(lines) + "\n"
