"""Every check can fail: each was seen to say "not met" of a server that breaks what the check is for."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.broken import DOMAIN, FAULTS, BrokenServer
from tests.conformance.inert import Inert
from xmppd.conformance.check import Check, registered
from xmppd.conformance.checks import section_01, section_03, section_04
from xmppd.conformance.launcher import Facts
from xmppd.conformance.requirements import select
from xmppd.conformance.runner import Runner
from xmppd.conformance.subject import Subject
from xmppd.conformance.verdict import Outcome, Verdict

CHECKS = {
    check.script.__name__: check
    for (_, area), checks in registered().items()
    for check in checks
    if area == "streams"
}
# what the tiny server, with no fault made on purpose, does not do
LACKING = (
    "restricted_xml_is_refused",
    "each_fault_of_a_client_has_its_condition",
    "approved_versions_and_suites_only",
    "each_fault_of_a_header_has_its_condition",
    "a_higher_minor_version_is_served_as_1_0",
    "a_stanza_of_jabber_server_is_refused",
    "an_unknown_first_level_element_is_refused",
    "a_wish_is_granted_or_replaced",
    "sasl_works_as_a_whole",
    "the_chain_is_sent_without_the_root",
    "plain_without_initial_response_is_challenged",
    "faulty_data_is_told_apart",
    "one_may_act_as_oneself_only",
    "an_abort_is_answered",
    "a_new_connection_starts_to_count_anew",
    "clear_text_behind_starttls_is_not_taken_into_tls",
    "a_certificate_is_asked_for_and_not_needed",
    "a_malformed_to_is_told",
    "answers_for_the_account_are_from_the_bare_jid",
    "requests_of_the_server_have_an_id",
    "an_iq_without_id_is_a_bad_request",
    "errors_keep_the_id",
    "the_language_of_the_stream_is_that_of_its_stanzas",
    "an_iq_with_a_wrong_type_is_a_bad_request",
    "a_request_has_exactly_one_child",
    "presence_to_the_bare_jid_arrives_at_all_resources",
    "a_message_to_a_resource_that_is_gone_arrives",
    "resource_binding",
    "scram_is_implemented",
    "tls_and_sasl_together",
    "stanzas",
    "streams",
    "xml",
    "other_encodings_are_refused",
    "u_feff_is_no_mark",
)
# what it does not do for an administrator, by the fault that the check needs beside that
IGNORED: dict[str | None, tuple[str, ...]] = {
    None: (
        "a_silent_client_is_dropped_by_the_idle_policy_only",
        "the_product_prints_its_dns_records",
        "the_domain_is_served_on_port_5222",
        "nothing_of_the_old_stream_outlives_a_restart",
        "a_stanza_too_large_has_its_condition",
        "too_little_memory_has_its_condition",
        "an_idle_time_out_has_its_condition",
        "a_stopping_server_says_so",
        "after_its_closing_tag_the_server_waits_as_long_as_configured",
        "what_comes_before_the_answer_to_the_closing_tag_is_processed",
        "the_answered_closing_tag_ends_the_connection_at_once",
        "each_domain_has_its_certificate",
        "chains_of_a_large_pki_are_sent_whole",
        "a_renewed_certificate_needs_no_restart",
        "the_example_of_the_row_succeeds",
        "composed_and_decomposed_characters_are_equal",
        "a_disabled_account_is_told_after_the_right_password",
        "an_expired_password_is_told_to_who_knows_it",
        "a_forbidden_mechanism_is_too_weak",
        "a_back_end_that_is_down_is_a_temporary_failure",
        "other_numbers_of_retries_are_refused",
        "too_many_failures_end_the_stream",
        "no_setting_allows_streams_without_tls",
    ),
    "the closing tag is not waited for": ("after_an_error_an_unanswered_connection_ends",),
    "the closing tag is waited for, and nothing else": ("after_an_error_an_unanswered_connection_ends",),
    "one failure ends the stream": ("as_many_retries_as_are_set_are_evaluated",),
    "nothing is answered": ("local_domains_stay_local",),
    "disabled accounts are told to all": ("a_disabled_account_is_told_to_nobody_else",),
}
# a server of another maker fails it: which of `expected`, and the part
PEERS = {
    "packets_over_ipv6_carry_the_mark": ("prosody-13.0", "13-1.2"),
}
# the rest, and why
ARGUED = {
    "ipv4_and_ipv6_are_served_alike_at_the_same_time": "the conversation of other checks, once more over IPv6",
    "a_client_with_ipv6_alone_logs_in": "the conversation of 1-1.1, over another address",
    "clients_and_administrators_are_served_on_a_host_with_ipv6_alone": (
        "needs a machine that lets it make a network namespace; a launcher that serves 127.0.0.1 alone fails there"
    ),
    "packets_over_ipv4_carry_the_mark": "needs a machine that lets it capture; the tiny server fails there",
    "a_changed_mark_is_that_of_new_connections": "needs a machine that lets it capture; any peer fails there",
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer samples than of a real server."""
    monkeypatch.setattr(section_01, "IDS", 200)
    monkeypatch.setattr(section_03, "ATTEMPTS", 2)
    monkeypatch.setattr(section_04, "BINDINGS", 10)


def verdict(
    server: BrokenServer, check: Check, *, subject: Subject | None = None, with_launcher: bool = False
) -> Verdict:
    """What one check, of its own, says of the server, or of what is known of it."""
    subject = subject or server.subject
    if with_launcher:
        subject.domains = (DOMAIN, "two.example")
        subject.launcher = Inert(Facts("broken", "", subject.host, subject.port, subject.ca_file))
    part = check.parts[0]
    only = {(part, "streams"): (Check(check.parts, check.area, check.script),)}
    [said] = Runner(subject, select(["streams"], [part]), checks=only).run()
    return said


def seen(said: Verdict) -> str | None:
    """None if it is not met, with a reason and evidence; else what was said."""
    return None if said.outcome is Outcome.NOT_MET and said.why and said.evidence else str(said)


def test_without_a_fault_all_is_met(tmp_path: Path) -> None:
    names = {name for names in FAULTS.values() for name in names}
    with BrokenServer(tmp_path) as server:
        found = [verdict(server, CHECKS[name]) for name in names]
    wrong = [str(said) for said in found if said.outcome not in (Outcome.MET, Outcome.NOT_APPLICABLE)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_is_seen(fault: str, tmp_path: Path) -> None:
    with BrokenServer(tmp_path, fault) as server:
        for name in FAULTS[fault]:
            assert seen(verdict(server, CHECKS[name])) is None, name


def test_a_certificate_that_nobody_verified_is_not_met_or_not_tested(tmp_path: Path) -> None:
    names = (
        "the_service_domain_is_served_whatever_the_host_is_called",
        "starttls_works_with_a_certificate_of_the_domain",
    )
    for fault, outcome in (
        ("certificate of another domain", Outcome.NOT_MET),
        (None, Outcome.COULD_NOT_TEST),
    ):
        with BrokenServer(tmp_path, fault) as server:
            for name in names:
                subject = replace(server.subject, ca_file=None)
                assert verdict(server, CHECKS[name], subject=subject).outcome is outcome, name


def test_chains_that_were_not_seen_are_not_met(tmp_path: Path) -> None:
    with BrokenServer(tmp_path) as server:
        said = verdict(server, CHECKS["chains_of_a_large_pki_are_sent_whole"])
    assert str(said).startswith("3-4.1 could not test: it needs a launcher to renew a certificate")


def test_who_waits_as_long_as_configured_meets_it(tmp_path: Path) -> None:
    with BrokenServer(tmp_path) as server:
        check = CHECKS["after_an_error_an_unanswered_connection_ends"]
        assert verdict(server, check, with_launcher=True).outcome is Outcome.MET


def test_what_a_server_lacks_is_seen(tmp_path: Path) -> None:
    with BrokenServer(tmp_path) as server:
        for name in LACKING:
            assert seen(verdict(server, CHECKS[name])) is None, name


@pytest.mark.parametrize("fault", IGNORED)
def test_an_administrator_who_is_ignored_is_seen(fault: str | None, tmp_path: Path) -> None:
    with BrokenServer(tmp_path, fault) as server:
        for name in IGNORED[fault]:
            assert seen(verdict(server, CHECKS[name], with_launcher=True)) is None, name


@pytest.mark.parametrize(("name", "where"), PEERS.items())
def test_servers_of_other_makers_fail_the_rest(name: str, where: tuple[str, str]) -> None:
    path = Path(__file__).with_name("expected") / f"{where[0]}.toml"
    assert where[1] in CHECKS[name].parts
    assert where[1] in tomllib.loads(path.read_text(encoding="utf-8"))[Outcome.NOT_MET]


def test_every_check_can_fail() -> None:
    shown = {name for names in (*FAULTS.values(), *IGNORED.values()) for name in names}
    assert CHECKS.keys() - shown - set(LACKING) - PEERS.keys() - ARGUED.keys() == set()
    assert not ARGUED.keys() & (shown | set(LACKING)), "no argument is needed for what was shown"
