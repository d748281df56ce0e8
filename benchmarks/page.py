"""The page for those who approve an installation: it needs nothing else, and prints well."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, percentile
from benchmarks.judge import FLOOR, OURS, Goal
from benchmarks.plots import Axis, Bar, bars, lines
from benchmarks.report import (
    NINES,
    Report,
    commit,
    conclusion,
    headline,
    machine,
    memory,
    number,
    rates,
    verdict_word,
    wanted,
)
from benchmarks.rounds import Run
from benchmarks.scenarios.growth import NAMES

STYLE: Final = Path(__file__).with_name("page.css")


def as_html(report: Report) -> str:
    """A page that needs nothing else."""
    word, kind = headline(report), "pass" if report.passed else "fail"
    rounds = f"{report.rounds} round{'s' if report.rounds > 1 else ''}"
    facts = {
        "Measured": f"{report.began:%d %B %Y, %H:%M} UTC, {report.seconds / 60:.0f} minutes, {rounds}, "
        f"scale “{report.scale}”",
        **machine(),
        "Servers": "; ".join(report.run.versions.values())
        + (f" (source {source})" if (source := commit()) else ""),
        "Connections": "TLS 1.3, AES-256-GCM, P-256 key exchange, ECDSA P-256 certificate; "
        "server and load generator on one processor each, over the loopback interface",
    }
    style = STYLE.read_text(encoding="utf-8")
    parts = [
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>xmppd: throughput sign-off</title>",
        f"<meta name='viewport' content='width=device-width'><style>{style}</style></head><body>",
        "<h1>Throughput sign-off</h1>",
        f"<p class='soft'>xmppd held against the profile “{escape(report.profile.title)}”.</p>",
        f"<div class='verdict {kind}'><b>{word}</b>{escape(conclusion(report))}</div>",
        "<table>"
        + "".join(f"<tr><th>{k}</th><td>{escape(v)}</td></tr>" for k, v in facts.items())
        + "</table>",
        "<h2>What the profile asks for</h2>",
        _thresholds(report),
        _goals(report),
        "<h2>Over time, and as it grows</h2>",
        f"<div class='plots'>{''.join(_plots(report.run))}</div>",
        "<h2>Everything that was measured</h2>",
        _figures(report.run),
        _failures(report),
        READING,
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part)


def _cell(met: bool | None) -> str:
    kind = "soft" if met is None else "met" if met else "not"
    return f"<td class='{kind}'>{verdict_word(met)}</td>"


def _thresholds(report: Report) -> str:
    rows = "".join(
        f"<tr><td>{escape(each.threshold.why)}<br><span class='soft'>{escape(each.title)}</span></td>"
        f"<td class='n'>{number(each.value) if each.value is not None else '–'}</td>"
        f"<td>{escape(wanted(each))}{'; ' + escape(each.remark) if each.remark else ''}</td>{_cell(each.met)}</tr>"
        for each in report.verdicts
    )
    return (
        f"<table><tr><th>Because</th><th class='n'>Found</th><th>Threshold</th><th></th></tr>{rows}</table>"
    )


def _goals(report: Report) -> str:
    if not report.goals:
        return ""
    bar_list = [
        Bar(
            each.figure,
            each.peer_ratio,
            each.peer_goal,
            bool(each.peer_met),
            f"{number(each.peer_ratio)} × {each.peer}",
        )
        for each in report.goals
        if each.peer_ratio is not None and each.peer_goal is not None
    ]
    rows = "".join(_goal_row(each) for each in report.goals)
    return (
        "<h2>Beside other servers and beside the floor</h2>"
        "<p>How many times as much CPU (memory, for idle connections) the better of the other servers takes for the "
        "same operation, and how many times the floor this server takes. The floor is a bare C program that does "
        "with OpenSSL what cannot be left out. These are the project's own goals; a site's sign-off does not depend "
        "on them.</p>"
        f"<div class='plots'>{bars('Best other server ÷ xmppd; the black mark is the goal', bar_list)}</div>"
        "<table><tr><th>Scenario</th><th class='n'>Best other ÷ ours</th><th class='n'>Goal ≥</th><th></th>"
        f"<th class='n'>Ours ÷ floor</th><th class='n'>Goal ≤</th><th></th></tr>{rows}</table>"
    )


def _goal_row(goal: Goal) -> str:
    sides = (
        (goal.peer_ratio, goal.peer or "", goal.peer_goal, goal.peer_met),
        (goal.floor_ratio, "", goal.floor_goal, goal.floor_met),
    )
    cells = [
        f"<td class='n'>{_times(found)} {name}</td><td class='n'>{_times(wanted)}</td>{_cell(met)}"
        if found
        else "<td></td><td></td><td></td>"
        for found, name, wanted, met in sides
    ]
    why = f"<br><span class='soft'>Not met: {escape(goal.why_not)}.</span>" if goal.why_not else ""
    title = f"{escape(goal.title)} <span class='soft'>({goal.figure})</span>{why}"
    return f"<tr><td>{title}</td>{''.join(cells)}</tr>"


def _times(value: float | None) -> str:
    return "" if value is None else f"{number(value)} ×"


def _figures(run: Run) -> str:
    rows, before = [], None
    for figure in run.figures:
        if figure.name != before:
            title = f"{escape(figure.scenario.title)} <span class='soft'>({figure.name})</span>"
            rows.append(f"<tr class='first'><td colspan='9'>{title}</td></tr>")
        before = figure.name
        cells = [
            f"{figure.operations:,}",
            "<br>".join(rates(figure)),
            number(figure.cpu_us / 1e3),
            *(number(figure.latency_ms(share)) if figure.latency_us else "" for share in (0.5, 0.99)),
            "<br>".join(memory(figure)),
            f"{figure.generator_share:.0%}{' (was the limit)' if figure.generator_was_limit else ''}",
            "<br>".join(f"{count:,} {fault}" for fault, count in figure.faults.items()) or "0",
        ]
        ours = " class='ours'" if figure.subject == OURS else ""
        rows.append(
            f"<tr{ours}><td>{escape(figure.subject)}</td>"
            + "".join(f"<td class='n'>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    heads = [
        "Operations",
        "Rate /s",
        "Server CPU s per 1,000",
        "p50 ms",
        "p99 ms",
        "KiB each",
        "Generator's CPU",
        "Faults",
    ]
    return (
        "<table><tr><th>Server</th>"
        + "".join(f"<th class='n'>{head}</th>" for head in heads)
        + f"</tr>{''.join(rows)}"
        "<caption>Medians over the rounds (of idle connections, accounts and a mixed day there is one); "
        "operations and faults are those of all rounds.</caption></table>"
    )


def _failures(report: Report) -> str:
    if not report.run.failures:
        return ""
    rows = "".join(
        f"<tr><td>{escape(each.scenario)}</td><td>{escape(each.subject)}</td><td>{escape(each.why)}</td></tr>"
        for each in report.run.failures
    )
    return f"<h2>What did not get through</h2><table>{rows}</table>"


def _plots(run: Run) -> list[str]:
    found = []
    for name in ("message-1", "message-16", "login-scram", "storm"):
        found.append(
            lines(
                f"Throughput: {_title(run, name)}",
                {figure.subject: _throughput(figure) for figure in _of(run, name)},
                Axis("seconds", low=0),
                Axis("operations a second", log=True),
            )
        )
    for name in ("rate-1000", "rate-5000"):
        found.append(
            _latency(f"Latency: {_title(run, name)}", {figure.subject: figure for figure in _of(run, name)})
        )
    beside = {
        "alone": ("steady", OURS),
        "beside log-ins": ("churn", OURS),
        "alone, all online": ("beside-nothing", OURS),
        "beside a crowd": ("beside-crowd", OURS),
    }
    picked = {label: run.figure(*which) for label, which in beside.items()}
    found.append(
        _latency(
            "Latency of messages beside other work",
            {label: figure for label, figure in picked.items() if figure},
        )
    )
    found.append(
        lines(
            "Memory of an idle connection",
            {figure.subject: sorted(figure.kib.items()) for figure in _of(run, "idle")},
            Axis("connections", low=0),
            Axis("KiB of server memory each", low=0),
        )
    )
    growth = {}
    for label, prefix in (
        ("message", "message"),
        ("log-in", "login"),
        ("log-in, by accounts", "accounts"),
        ("message stored", "stored"),
    ):
        steps = [step for size in NAMES if (step := run.figure(f"{prefix}-{size}", OURS))]
        if len(steps) == len(NAMES):
            growth[label] = [(n, step.cpu_us / steps[0].cpu_us) for n, step in enumerate(steps)]
    found.append(
        lines(
            "Cost of one operation as the site grows",
            growth,
            Axis("of the site", ticks=tuple(enumerate(NAMES))),
            Axis("CPU, smallest = 1", low=0),
        )
    )
    day = run.figure("mixed-day", OURS)
    if day:
        found.append(
            lines(
                "Memory of the server over the mixed day",
                {OURS: [(at, kib / 1024) for at, kib in day.kib.items()]},
                Axis("seconds", low=0),
                Axis("MiB", low=0),
            )
        )
    return [plot for plot in found if plot]


def _of(run: Run, name: str) -> list[Figure]:
    return [figure for figure in run.figures if figure.name == name]


def _title(run: Run, name: str) -> str:
    return next((figure.scenario.title for figure in _of(run, name)), name)


def _throughput(figure: Figure) -> list[tuple[float, float]]:
    sample = figure.samples[len(figure.samples) // 2]
    whole = (
        sample.timeline[:-1] if len(sample.timeline) > 1 else sample.timeline
    )  # the last slot is not a full one
    # nothing at all is at the bottom of a logarithmic axis, as if it were one
    return [(n * sample.slot_s, max(count, 1) / sample.slot_s) for n, count in enumerate(whole)]


def _latency(title: str, figures: dict[str, Figure]) -> str:
    """Percentiles, with more room the rarer they are."""
    series = {
        name: [(n, percentile(figure.latency_us, share) / 1e3) for n, share in enumerate(NINES) if share]
        for name, figure in figures.items()
        if figure.latency_us
    }
    ticks = [(n, f"{share * 100:g} %") for n, share in enumerate(NINES) if share]
    return lines(title, series, Axis("of the messages are no slower", ticks=ticks), Axis("ms", log=True))


READING: Final = f"""<h2>How to read this</h2>
<p>Every message and every delivery of presence carries a mark by which the client that gets it tells whether it was
lost, doubled, out of order or meant for somebody else. One such fault and the run is not passed.</p>
<p><b>Server CPU</b> is user and system time of all the server's processes, from idle to idle; it is the figure that
holds on a machine that others use too. Of messages beside something else it is that of
both. <b>Rates</b> and <b>latencies</b> are what this machine gave at that moment.
Latency of a fixed rate counts from the time a message was meant to be sent at, so that a server that holds up its
senders is not measured as if nothing had been sent. <b>Generator's CPU</b> is what the clients took of their own
processor: where it “was the limit”, the server had time left, and its rate is higher than what is shown.</p>
<p>Thresholds “times” compare two figures of this run. “{FLOOR}” is a program that keeps only what encryption and the
network cost, and knows nothing of XMPP.</p>"""
