"""What a run is judged by, and what the report says of it."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from benchmarks.bench import bench, check_writable
from benchmarks.figures import Figure, Sample, faults_of, percentile
from benchmarks.judge import PROFILES, Goal, ProfileError, goals, profile_named, verdicts
from benchmarks.page import as_html
from benchmarks.report import Report, as_data, conclusion, headline, memory
from benchmarks.rounds import Failure, Run, _run_one, run, scenarios_of
from benchmarks.scenarios import QUICK, Bench
from benchmarks.scenarios.idle import most

SAMPLE = Sample(
    1000,
    1.0,
    0.01,
    0.5,
    latency_us={100.0: 990, 400.0: 10},
    slot_s=0.1,
    timeline=(100,) * 10,
    beside_rate=500 / 60,
)
IDLE = replace(SAMPLE, memory_kib=((1000, 16.0),))


def a_run(**faults: int) -> Run:
    """Every scenario with the same sample for us and a peer, which takes ten times the CPU and memory."""
    run = Run(versions={"xmppd": "xmppd 1", "Prosody": "Prosody 13"})
    for scenario in scenarios_of(QUICK):
        sample = replace(IDLE if scenario.name.startswith("idle") else SAMPLE, operations=1_000_000)
        peer = replace(
            sample, server_cpu_s=0.1, memory_kib=tuple((at, 10 * kib) for at, kib in sample.memory_kib)
        )
        for name in scenario.figures:
            run.figures.append(Figure(name, "xmppd", scenario, (sample,) * 3))
            run.figures.append(Figure(name, "Prosody", scenario, (peer,) * 3))
    first = run.figures[0]
    run.figures[0] = replace(first, samples=(replace(first.samples[0], faults=faults), *first.samples[1:]))
    return run


def a_report(run: Run, profile: str = "small") -> Report:
    return Report(
        run, profile_named(profile), "quick", 3, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), 60, 0
    )


@pytest.mark.parametrize(
    "profile", sorted(path.stem for path in PROFILES.glob("*.toml") if path.stem != "any")
)
def test_a_good_run_passes(profile: str) -> None:
    report = a_report(a_run(), profile)
    assert [each.threshold for each in report.verdicts if not each.met] == []
    assert headline(report) == "PASSED"
    assert conclusion(report).endswith("doubled or misrouted.")
    assert "A full one is a sign-off" in conclusion(report)
    assert report.profile.carries in conclusion(replace(report, scale="full"))


def test_one_lost_delivery_and_it_is_not_passed() -> None:
    report = a_report(a_run(lost=1))
    assert headline(report) == "NOT PASSED"
    assert "1 lost" in conclusion(report)


def test_what_was_not_measured_is_not_passed() -> None:
    run = a_run()
    run.figures = [figure for figure in run.figures if figure.name != "storm"]
    assert headline(a_report(run)) == "INCOMPLETE"


def test_a_peer_that_failed_is_missed_and_no_part_of_the_verdict() -> None:
    run = a_run()
    run.failures.append(Failure("message-1", "Prosody", "it ended"))
    assert headline(a_report(run)) == "PASSED"
    assert "Prosody did not get through message-1: the comparison with it is not whole" in conclusion(
        a_report(run)
    )
    run.figures = [figure for figure in run.figures if figure.name != "storm"]
    assert headline(a_report(run)) == "INCOMPLETE"
    run.failures.append(Failure("storm", "xmppd", "logout: {'doubled': 1}"))
    assert headline(a_report(run)) == "NOT PASSED"
    assert "doubled" not in conclusion(a_report(run)), "that nothing was is not so"


def test_what_goes_on_beside_counts_and_has_to_go_on() -> None:
    part = {
        "done": 10,
        "received": 10,
        "latency_us": {"buckets": []},
        "timeline": {"slot_s": 1, "counts": []},
    }
    answer: dict[str, Any] = {"seconds": 2.0, "generator_cpu_s": 0.5, "complete": 1}
    answer |= dict.fromkeys(("logins", "messages", "presences"), part)
    beside = answer | {"generator_cpu_s": 0.25, "presences": part | {"received": 0}}
    found = Sample.of(answer, "messages", 1.0, beside)
    assert (found.generator_cpu_s, found.beside_rate) == (0.75, 5.0)
    run = a_run()
    run.figures = [replace(each, samples=(found,)) if each.name == "churn" else each for each in run.figures]
    missed = {each.threshold.measure for each in verdicts(profile_named("small"), run) if each.met is False}
    assert "beside_rate" in missed
    assert "beside 5" in as_html(a_report(run))


def test_idle_connections_are_as_many_as_the_machine_lets_be() -> None:
    assert most(7) == (7, "what a run of this length has time for")
    held, why = most(2**40)
    assert 0 < held < 2**40
    assert "time" not in why


def test_what_grows_with_the_site_is_not_passed() -> None:
    run = a_run()
    run.figures = [
        replace(figure, samples=(replace(figure.samples[0], server_cpu_s=0.0125),) * 3)
        if (figure.name, figure.subject) == ("message-large", "xmppd")
        else figure
        for figure in run.figures
    ]
    missed = [each for each in verdicts(profile_named("small"), run) if not each.met]
    assert [each.threshold.figure for each in missed] == ["message-large"]
    assert missed[0].value == pytest.approx(1.25)


def test_goals_take_the_best_peer_that_lost_nothing() -> None:
    run = a_run()
    found = {goal.figure: goal for goal in goals(run)}
    assert found["message-1"].peer_ratio == pytest.approx(10)
    assert found["message-1"].peer_met
    assert not found["message-16"].peer_met
    assert found["idle"].peer_ratio == pytest.approx(10)
    lossy = replace(run.figures[1].samples[0], server_cpu_s=0.001, faults={"lost": 1})
    run.figures += [replace(figure, subject="lossy", samples=(lossy,)) for figure in run.figures[1::2]]
    assert {goal.figure: goal.peer for goal in goals(run)}["message-1"] == "Prosody"


def test_a_missed_goal_says_why_no_more_could_be_had() -> None:
    run = a_run()
    relay = replace(SAMPLE, operations=1_000_000, server_cpu_s=0.0099)
    message = next(figure for figure in run.figures if figure.name == "presence-50")
    run.figures.append(replace(message, subject="floor", samples=(relay,) * 3))
    dearer = {"roster": 0.04, "presence-50": 0.024}
    run.figures = [
        replace(figure, samples=(replace(figure.samples[0], server_cpu_s=dearer[figure.name]),) * 3)
        if figure.subject == "xmppd" and figure.name in dearer
        else figure
        for figure in run.figures
    ]
    missed = {goal.figure: goal.why_not for goal in goals(run) if goal.why_not}
    assert missed["roster"].startswith("the contacts are sent as they were kept")
    assert missed["presence-50"].startswith("it has been 1.1 × the floor before")
    assert "message-1" not in missed
    assert "the contacts are sent as they were kept" in as_html(replace(a_report(run), scale="full"))
    quick = {goal.figure: goal.why_not for goal in goals(run, "quick") if goal.why_not}
    assert quick["presence-50"] == "a full run says why"


def test_where_not_even_the_floor_reaches_a_goal_it_says_so() -> None:
    goal = Goal("message-1", "", "Prosody", 5.0, 10.0, 1.1, 2.0, "all that is left")
    assert goal.why_not == "not even the floor reaches it, with 5.5 ×: all that is left"
    assert not replace(goal, peer_ratio=10.0).why_not


def test_memory_over_time_is_three_numbers() -> None:
    scenario = scenarios_of(QUICK)[0]
    sizes = Figure("idle", "xmppd", scenario, (replace(SAMPLE, memory_kib=((1000, 16.0), (5000, 15.5))),))
    assert memory(sizes) == ["16 at 1,000", "15.5 at 5,000"]
    over_time = tuple((20 * n, kib) for n, kib in enumerate((1.0, 3.0, 7.0, 2.0)))
    day = Figure("mixed-day", "xmppd", scenario, (replace(SAMPLE, memory_kib=over_time),))
    assert memory(day) == ["1 at first", "7 at most", "2 at last"]


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    page = as_html(a_report(a_run(doubled=2)))
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    for plot in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + plot.split("</svg>")[0] + "</svg>")  # noqa: S314, our own
    assert page.count("<svg") > 8
    json.dumps(as_data(a_report(a_run())))


def test_percentiles_are_those_of_all_values() -> None:
    assert percentile({1.0: 98, 5.0: 1, 9.0: 1}, 0.5) == 1.0
    assert percentile({1.0: 98, 5.0: 1, 9.0: 1}, 0.99) == 5.0
    assert percentile({1.0: 98, 5.0: 1, 9.0: 1}, 1.0) == 9.0
    assert percentile({}, 0.5) == 0.0


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("figure = 'storm'\nmeasure = 'rate'", "storm: at_least or at_most is a number"),
        ("figure = 'storm'\nmeasure = 'rate'\nat_least = '5'", "storm: at_least or at_most is a number"),
        (
            "figure = 'strom'\nmeasure = 'rate'\nat_least = 5",
            "there is no figure strom; there are accounts-large",
        ),
        (
            "figure = 'storm'\nmeasure = 'speed'\nat_least = 5",
            "there is no measure speed; there are beside_rate",
        ),
        ("measure = 'rate'\nat_least = 5", "missing 1 required positional argument: 'figure'"),
    ],
)
def test_a_profile_that_asks_for_nothing_is_refused(tmp_path: Path, line: str, complaint: str) -> None:
    profile = tmp_path / "own.toml"
    profile.write_text(f"title = 'Own'\ncarries = 'some'\n[[threshold]]\nwhy = 'so'\n{line}\n")
    with pytest.raises(ProfileError, match=complaint):
        profile_named(str(profile))


PROFILE = "title = 'Own'\ncarries = 'some'\n"
THRESHOLD = "[[threshold]]\nwhy = 'so'\nfigure = 'storm'\nmeasure = 'rate'\nat_least = 5\n"


@pytest.mark.parametrize(
    "text",
    [
        "threshold = 5",
        "threshold = [5]",
        "",
        PROFILE,
        PROFILE + THRESHOLD.replace("threshold", "thresholds"),
        PROFILE + THRESHOLD + THRESHOLD.replace("threshold", "more"),
        PROFILE.replace("'Own'", "5") + THRESHOLD,
        PROFILE.replace("'some'", "5") + THRESHOLD,
        PROFILE + THRESHOLD.replace("'so'", "5"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    profile = tmp_path / "own.toml"
    profile.write_text(f"{text}\n")
    with pytest.raises(ProfileError, match=r"own.toml: "):
        profile_named(str(profile))


@pytest.mark.parametrize("measure", ["p99_ms", "kib"])
def test_what_a_figure_does_not_have_is_not_met(tmp_path: Path, measure: str) -> None:
    profile = tmp_path / "own.toml"
    profile.write_text(
        "title = 'Own'\ncarries = 'some'\n"
        f"[[threshold]]\nwhy = 'so'\nfigure = 'offline-store'\nmeasure = '{measure}'\nat_most = 5\n"
    )
    run = a_run()
    bare = [replace(each, latency_us={}, memory_kib=()) for each in run.figures[0].samples]
    run.figures = [
        replace(each, samples=tuple(bare)) if each.name == "offline-store" else each for each in run.figures
    ]
    assert verdicts(profile_named(str(profile)), run)[0].met is None


def test_faults_of_preparations_count() -> None:
    answer = {"complete": 1, "logins": {}, "messages": {"doubled": 2}, "presences": {"misrouted": 1}}
    assert faults_of(answer) == {"doubled": 2, "misrouted": 1}
    assert faults_of({**answer, "complete": 0, "messages": {}, "presences": {}}) == {"unfinished": 1}


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = CliRunner().invoke(bench, ["--output", str(tmp_path / "file" / "report")])
    assert found.exit_code == 2
    assert "the report cannot be written" in found.output
    kept, new = tmp_path / "kept.json", tmp_path / "new.html"
    kept.write_text("figures")
    check_writable([kept, new])
    assert kept.read_text() == "figures"
    assert not new.exists()


def test_the_soak_comes_beside_what_is_asked_for() -> None:
    found = [each.name for each in scenarios_of(QUICK, soak=True, only=["message-1"])]
    assert found == ["message-1", "mixed-day"]


def test_a_server_that_fails_costs_the_others_nothing(tmp_path: Path) -> None:
    class Fails:
        name, kind, accounts = "Fails", "peer", 1

        def __init__(self, *_: object) -> None:
            raise FileNotFoundError("no such server")

    def breaks(bench: Bench) -> dict[str, Sample]:
        if bench.subject.name == "xmppd":
            raise BrokenPipeError
        return {"message-1": SAMPLE}

    broken, sound = (Mock(**{"subject.kind": kind}) for kind in ("xmppd", "peer"))
    broken.subject.name, sound.subject.name = "xmppd", "Prosody"
    broken.restart.side_effect = OSError("nor again")
    scenario = replace(
        scenarios_of(QUICK, only=["message-1"])[0], set_up=Mock(), tear_down=Mock(), measure=breaks
    )
    result = Run()
    _run_one(scenario, [broken, sound], 1, Mock(), result)
    assert [(each.scenario, each.subject, each.why) for each in result.failures] == [
        ("message-1", "xmppd", "BrokenPipeError"),
        ("a restart", "xmppd", "nor again"),
    ]
    assert [each.subject for each in result.figures] == ["Prosody"]

    found = run([scenario], [Fails], folder=tmp_path, rounds=1, told=Mock())  # type: ignore[list-item]
    assert [(each.scenario, each.why) for each in found.failures] == [("its start", "no such server")]
