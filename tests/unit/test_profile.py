"""The profiles: what uc-2013 refuses, and that internet refuses none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from xmppd import config, profile

FILE = Path("/etc/xmppd/xmppd.toml")
DOMAIN = '[[domains]]\nname = "example.mil"\n'
GCM = "ECDHE-RSA-AES128-GCM-SHA256"

# setting, requirement it breaks, key the finding names
BREAKS = [
    ("[sasl]\nretries = 4", "3-24", "sasl.retries"),
    ("[sasl]\nretries = 5", "3-24", "sasl.retries"),
    (
        '[sasl]\nmechanisms = ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "SCRAM-SHA-256"]',
        "3-6",
        "sasl.mechanisms",
    ),
    ('[sasl]\nmechanisms = ["SCRAM-SHA-1", "PLAIN"]', "10-1", "sasl.mechanisms"),
    ('[sasl]\nmechanisms = ["SCRAM-SHA-1-PLUS", "PLAIN"]', "10-1", "sasl.mechanisms"),
    ('[tls]\nmin_version = "1.3"', "2-8", "tls.min_version"),
    ('[tls]\nmax_version = "1.2"', "2-8", "tls.max_version"),
    ('[tls]\nsuites = ["TLS_CHACHA20_POLY1305_SHA256"]', "2-8", "tls.suites"),
    (f'[tls]\nciphers = ["{GCM}", "ECDHE-RSA-CHACHA20-POLY1305"]', "2-8", "tls.ciphers"),
    (f'[tls]\nciphers = ["{GCM}", "AES128-SHA"]', "2-8", "tls.ciphers"),
    ('[tls]\ngroups = ["P-256", "X25519"]', "2-8", "tls.groups"),
    ('[tls]\nclient_certificates = "off"', "2-8", "tls.client_certificates"),
    ('[[listeners]]\naddress = "[::]:5223"\ndirect_tls = true', "2-2", "listeners.direct_tls"),
    ('[[listeners]]\naddress = "[::]:5269"\nkind = "s2s"', "1-31", "listeners.kind"),
    ('[log]\nlevel = "error"', "3-8", "log.level"),
    ("[limits]\nsessions_per_account = 1", "4-5", "limits.sessions_per_account"),
    ("[routing]\ndelivery = 'rfc-6121'", "5-19", "routing.delivery"),
    ("[routing]\niq_needs_presence = true", "5-21", "routing.iq_needs_presence"),
    ('[net]\ndscp = "off"', "13-1", "net.dscp"),
    ('[net]\noutgoing_dscp = "off"', "13-1", "net.outgoing_dscp"),
    ('[[listeners]]\naddress = "[::]:5222"\ndscp = "off"', "13-1", "listeners.dscp"),
]


@pytest.mark.req("2-8.2", "3-24.3")
@pytest.mark.parametrize(("setting", "requirement", "key"), BREAKS)
def test_uc_2013_names_the_requirement(setting: str, requirement: str, key: str) -> None:
    text = f"{DOMAIN}{setting}\n"
    found = profile.findings(config.parse(text, FILE, enforce=False))
    assert [(finding.requirement, finding.key) for finding in found] == [(requirement, key)]
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text, FILE)
    assert key in str(caught.value)
    assert requirement in str(caught.value)


@pytest.mark.parametrize(("setting", "requirement", "key"), BREAKS)
def test_internet_allows_it(setting: str, requirement: str, key: str) -> None:
    plain = config.parse(f'profile = "internet"\n{DOMAIN}', FILE)
    loaded = config.parse(f'profile = "internet"\n{DOMAIN}{setting}\n', FILE)
    costs = [(finding.requirement, finding.key) for finding in profile.costs(loaded)]
    assert (requirement, key) in costs
    assert {*costs} == {(requirement, key), *((each.requirement, each.key) for each in profile.costs(plain))}


def test_everything_that_breaks_is_found_at_once() -> None:
    text = f"""{DOMAIN}[sasl]\nretries = 4\n[log]\nlevel = "error"\n[net]\ndscp = "off"\n"""
    found = profile.findings(config.parse(text, FILE, enforce=False))
    assert {finding.requirement for finding in found} == {"3-8", "3-24", "13-1"}
    with pytest.raises(config.ConfigError, match=r"log.level: .*3-8.*; and 2 more, see xmppd check"):
        config.parse(text, FILE)


def test_uc_2013_costs_nothing() -> None:
    assert profile.costs(config.parse(DOMAIN, FILE)) == []


def test_the_defaults_of_internet_cost_what_they_change() -> None:
    costs = profile.costs(config.parse(f'profile = "internet"\n{DOMAIN}', FILE))
    changed = {f"{table}.{key}" for table, keys in profile.DEFAULTS["internet"].items() for key in keys}
    assert {finding.key for finding in costs} == changed


@pytest.mark.req("3-24.3")
@pytest.mark.parametrize("retries", [0, 1, 6])
def test_no_profile_has_fewer_retries_or_more_than_rfc_6120(retries: int) -> None:
    with pytest.raises(config.ConfigError, match=r"sasl.retries = \d: must be a whole number from 2 to 5"):
        config.parse(f'profile = "internet"\n{DOMAIN}[sasl]\nretries = {retries}\n', FILE)


@pytest.mark.parametrize("name", profile.RULES)
def test_the_defaults_of_a_profile_keep_it(name: str) -> None:
    loaded = config.parse(f'profile = "{name}"\n{DOMAIN}', FILE)
    assert profile.findings(loaded) == []


@pytest.mark.req("2-8.2", "2-8.4", "3-24.3")
def test_defaults_of_uc_2013() -> None:
    loaded = config.parse(DOMAIN, FILE)
    assert loaded.tls.suites == ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256")
    assert loaded.tls.groups == ("P-256", "P-384")
    assert (loaded.tls.min_version, loaded.tls.max_version) == ("1.2", "1.3")
    assert all(cipher.startswith("ECDHE-") and "-AES" in cipher for cipher in loaded.tls.ciphers)
    assert loaded.tls.client_certificates == "request"
    assert loaded.sasl.retries in (2, 3)
    assert "PLAIN" in loaded.sasl.mechanisms


@pytest.mark.req("2-8.2")
def test_old_peers_may_have_approved_cbc_suites() -> None:
    config.parse(f'{DOMAIN}[tls]\nciphers = ["{GCM}", "ECDHE-RSA-AES128-SHA256"]\n', FILE)


@pytest.mark.req("10-1.security-mti-confidentiality")
def test_but_not_these_alone() -> None:
    text = f'{DOMAIN}[tls]\nciphers = ["ECDHE-RSA-AES128-SHA256"]\n'
    [found] = profile.findings(config.parse(text, FILE, enforce=False))
    assert (found.requirement, found.key) == ("10-1", "tls.ciphers")


def test_what_the_file_says_goes_before_the_profile() -> None:
    loaded = config.parse(f'profile = "internet"\n{DOMAIN}[tls]\ngroups = ["P-384"]\n', FILE)
    assert loaded.tls.groups == ("P-384",)
    assert "TLS_CHACHA20_POLY1305_SHA256" in loaded.tls.suites


@pytest.mark.req("2-1.3", "3-3.1")
def test_no_key_allows_plaintext_or_anonymous_login() -> None:
    assert "ANONYMOUS" not in config.keys_of("sasl")["mechanisms"].allowed
    assert config.keys_of("tls")["min_version"].allowed == '"1.2" or "1.3"'
    for table in ("", *config.tables()):
        for known in config.keys_of(table).values():
            assert "plaintext" not in known.help.lower()


@pytest.mark.req("13-1.4")
@pytest.mark.parametrize("mark", ["0", "46", "63"])
def test_any_legal_mark_may_be_set(mark: str) -> None:
    config.parse(f"{DOMAIN}[net]\ndscp = {mark}\n", FILE)
