"""The data, the selection, verdicts, transcripts and reports."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest

from xmppd.conformance.check import Check, registered
from xmppd.conformance.requirements import DONE, UnknownName, catalogue, select, words
from xmppd.conformance.runner import Runner
from xmppd.conformance.site import Site
from xmppd.conformance.subject import IPV4, IPV6, Account, Subject
from xmppd.conformance.transcript import EVIDENCE_LINES, RECEIVED, SENT, Transcript
from xmppd.conformance.verdict import CouldNotTest, NotApplicable, NotMet, Outcome, Verdict, overall, worst


def test_all_requirements_are_there() -> None:
    data = resources.files("xmppd.conformance") / "data/uc-xmpp-2013.toml"
    meta = tomllib.loads(data.read_text(encoding="utf-8"))["meta"]
    assert len(catalogue().requirements) == meta["requirements"] == 203
    assert len({part.name for part in catalogue().parts}) == meta["parts"] == 510


def test_areas_have_as_many_parts_as_was_counted() -> None:
    counts = {area: sum(area in part.needs for part in catalogue().parts) for area in catalogue().areas}
    assert counts == {
        "streams": 193,
        "im": 164,
        "federation": 197,
        "rooms": 62,
        "trust": 19,
        "extensions": 7,
        "appliance": 1,
    }


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (["1-7.1"], ["1-7.1"]),
        (["3-25"], ["3-25.1", "3-25.2"]),
        (["13-*"], ["13-1.1", "13-1.2", "13-1.3", "13-1.4"]),
        (["14", "3-24.[12]"], ["3-24.1", "3-24.2", "14-1.1", "14-1.2", "14-1.3"]),
        (["7-22.a.*"], ["7-22.a.i", "7-22.a.ii", "7-22.a.iii"]),
    ],
)
def test_patterns(only: list[str], names: list[str]) -> None:
    assert [part.name for part in select(only=only).parts] == names


def test_what_names_nothing_is_refused() -> None:
    with pytest.raises(UnknownName, match='no requirement matches "99-1"'):
        select(only=["99-1"])
    with pytest.raises(UnknownName, match='there is no area "stream"'):
        select(["stream"])


def test_a_selection_of_areas_splits_parts() -> None:
    selection = select(["streams"])
    part = catalogue().part("1-33.1")
    assert selection.judged(part) == ("streams",)
    assert selection.left_out(part) == ("federation", "rooms")
    assert select().left_out(part) == ()
    assert words(" streams,im\nrooms ") == ["streams", "im", "rooms"]


@pytest.mark.parametrize("done", DONE)
def test_every_part_of_a_done_area_has_a_check(done: str) -> None:
    wanted = {part.name for part in catalogue().parts if done in part.needs}
    assert not wanted - {part for part, area in registered() if area == done}


def test_what_a_check_sums_up_exists_and_sums_up_nothing_itself() -> None:
    for checks in registered().values():
        for pattern in (pattern for check in checks for pattern in check.rows):
            for part in select(only=[pattern]).parts:
                assert not any(each.rows for each in registered().get((part.name, "streams"), ()))


def test_every_check_says_what_it_shows() -> None:
    for checks in registered().values():
        for check in checks:
            assert check.doc.endswith("."), check.name
            assert any(source in check.doc for source in ("RFC", "UC", "STIG", "XEP", "XML")), check.name


def met(site: Site) -> None:
    site.note("seen")


def not_met(site: Site) -> None:
    raise NotMet("it did something else")


def untested(site: Site) -> None:
    raise CouldNotTest("something is missing")


def inapplicable(site: Site) -> None:
    raise NotApplicable("it has none")


def faulty(site: Site) -> None:
    raise KeyError("oops")


@pytest.mark.parametrize(
    ("scripts", "line"),
    [
        ([met], "1-7.1 met (judged for streams only, not for federation)"),
        ([met, not_met, untested], "1-7.1 not met: it did something else (judged"),
        ([met, untested], "1-7.1 could not test: something is missing (judged"),
        ([inapplicable], "1-7.1 not applicable: it has none (judged"),
        ([faulty], "1-7.1 could not test: the check itself failed: KeyError: 'oops' (judged"),
        ([], "1-7.1 could not test: no check yet for streams (judged"),
    ],
)
def test_the_line_of_a_part(scripts: list[object], line: str) -> None:
    checks = tuple(Check(("1-7.1",), "streams", script) for script in scripts)  # type: ignore[arg-type]
    subject = Subject("127.0.0.1", 1, ("one.example",))
    runner = Runner(subject, select(["streams"], ["1-7.1"]), checks={("1-7.1", "streams"): checks})
    [verdict] = runner.run()
    assert str(verdict).startswith(line)


def test_a_check_that_looked_at_nothing_is_no_evidence() -> None:
    checks = tuple(Check(("1-7.2",), "streams", script) for script in (met, lambda site: None))
    runner = Runner(
        Subject("h", 1, ("d",)), select(["streams"], ["1-7.2"]), checks={("1-7.2", "streams"): checks}
    )
    [verdict] = runner.run()
    assert verdict.outcome is Outcome.MET
    assert [each.lines[0].endswith("seen") for each in verdict.evidence] == [True]


def test_the_rows_that_a_check_sums_up_count_too() -> None:
    checks = {
        ("10-1.xml", "streams"): (Check(("10-1.xml",), "streams", met, rows=("1-30",)),),
        ("1-30.1", "streams"): (Check(("1-30.1",), "streams", not_met),),
    }
    selection = select(["streams"], ["10-1.xml"])
    [verdict] = Runner(Subject("h", 1, ("d",)), selection, checks=checks).run()
    assert str(verdict) == "10-1.xml not met: 1-30.1: it did something else"


def test_a_part_of_other_areas_is_not_applicable() -> None:
    [verdict] = Runner(Subject("h", 1, ("d",)), select(["streams"], ["1-4.a"])).run()
    assert str(verdict) == "1-4.a not applicable: area federation"


def test_both_halves_must_be_met() -> None:
    checks = {("1-7.1", "streams"): (Check(("1-7.1",), "streams", met),)}
    [verdict] = Runner(Subject("h", 1, ("d",)), select(only=["1-7.1"]), checks=checks).run()
    assert str(verdict) == "1-7.1 could not test: no check yet for federation"


def test_the_worst_verdict_counts() -> None:
    outcomes = [Outcome.MET, Outcome.NOT_APPLICABLE, Outcome.COULD_NOT_TEST, Outcome.NOT_MET]
    for number, outcome in enumerate(outcomes, 1):
        assert worst(Verdict("x", each) for each in outcomes[:number]).outcome is outcome


def test_a_requirement_is_as_good_as_its_applicable_parts() -> None:
    met, inapplicable, untested = (
        Verdict("x", each) for each in (Outcome.MET, Outcome.NOT_APPLICABLE, Outcome.COULD_NOT_TEST)
    )
    assert overall([met, inapplicable]) is Outcome.MET
    assert overall([inapplicable]) is Outcome.NOT_APPLICABLE
    assert overall([met, untested, inapplicable]) is Outcome.COULD_NOT_TEST


def test_secrets_are_not_kept() -> None:
    transcript = Transcript()
    transcript.add("c1", SENT, "<auth xmlns='urn:s' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>")
    transcript.add("c1", SENT, b"<response xmlns='urn:s'>AGFsaWNlAHNlY3JldA==</response>")
    transcript.add("c1", RECEIVED, b"\xff\x00<a/>")
    seen = transcript.evidence("what it shows")
    text = "\n".join(seen.lines)
    assert "AGFsa" not in text
    assert text.count("(not shown)") == 2
    assert "\\xff\\x00<a/>" in text
    assert (seen.check, seen.before) == ("what it shows", 0)


def test_evidence_is_the_end_of_a_transcript() -> None:
    transcript = Transcript()
    for number in range(EVIDENCE_LINES + 7):
        transcript.add("c1", SENT, f"<a n='{number}'/>{'x' * 1000}")
    seen = transcript.evidence("")
    assert len(seen.lines) == EVIDENCE_LINES
    assert seen.before == 7
    assert "n='7'" in seen.lines[0]
    assert all("…" in line and len(line) < 400 for line in seen.lines)


def test_accounts_are_parsed() -> None:
    assert Account.parse("a@b:c:d") == Account("a", "b", "c:d")
    for wrong in ("a@b", "a:b", "a@b/c:d", "@b:c", "a@b:"):
        with pytest.raises(ValueError, match="JID:PASSWORD"):
            Account.parse(wrong)


def test_addresses_by_version_of_ip() -> None:
    subject = Subject("127.0.0.9", 5222, ("one.example",))
    with pytest.raises(CouldNotTest, match="has no address in IPv6; give a --host that has one"):
        subject.address(IPV6)
    subject.more_hosts = ("::1",)
    assert subject.address() == subject.address(IPV4) == ("127.0.0.9", 5222)
    assert subject.address(IPV6) == ("::1", 5222)
    subject.port6 = 40000
    assert subject.address(IPV6) == ("::1", 40000)
