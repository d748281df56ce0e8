"""The two profiles: which settings each one fixes, and the requirement each setting is for.

A profile is data: other defaults than those in `xmppd.config`, and rules that a setting must keep. "uc-2013"
refuses to start with a setting that breaks a rule; "internet" may break them, and can be asked which (`costs`).
Requirements that no setting can break need no rule: there is no key for plaintext (2-1). Where the bounds of a key
keep a requirement in every profile (TLS below 1.2, 2-8; anonymous login, 3-3; a DSCP out of range, 13-1), its rule is
what names the requirement to who tries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from xmppd.config import Config

# 2-8.2: what NIST SP 800-52r2 approves, in the order offered
FIPS_SUITES: Final = ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256")
FIPS_CIPHERS: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
# approved too, for old peers that know no GCM; not offered by default (RFC 9325 4.2)
FIPS_CBC_CIPHERS: Final = (
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
)
FIPS_GROUPS: Final = ("P-256", "P-384", "P-521")
CHACHA_CIPHERS: Final = ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305")
# key transport by RSA, no forward secrecy: for a peer that knows nothing else (RFC 6120 13.8)
RSA_CIPHERS: Final = ("AES256-GCM-SHA384", "AES128-GCM-SHA256", "AES256-SHA", "AES128-SHA")
CIPHERS: Final = FIPS_CIPHERS + CHACHA_CIPHERS + FIPS_CBC_CIPHERS + RSA_CIPHERS

# profile -> table -> key -> default, where it is another than the one in `xmppd.config` (which is uc-2013's)
DEFAULTS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "uc-2013": {},
    "internet": {
        "tls": {
            "suites": [*FIPS_SUITES, "TLS_CHACHA20_POLY1305_SHA256"],
            "ciphers": [*FIPS_CIPHERS, *CHACHA_CIPHERS],
            "groups": ["X25519", "P-256", "P-384"],
            "client_certificates": "off",
        },
        "routing": {"delivery": "rfc-6121", "iq_needs_presence": True},
    },
}


class Finding(NamedTuple):
    """One setting that breaks one requirement of the profile."""

    requirement: str  # row of UC XMPP 2013, as "3-24"
    key: str  # as "sasl.retries"
    sentence: str

    def __str__(self) -> str:
        return f"{self.key}: {self.sentence} (UC XMPP 2013, {self.requirement})"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a profile demands of one setting; `broken` yields a sentence for each thing wrong with it."""

    requirement: str
    key: str
    demand: str
    broken: Callable[[Config], Iterable[str]]


def _others(values: Iterable[str], allowed: Iterable[str], what: str) -> Iterator[str]:
    if others := [value for value in values if value not in tuple(allowed)]:
        yield f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} not {what}"


def _tls_from(config: Config) -> Iterator[str]:
    if config.tls.min_version != "1.2":
        yield f"with TLS from {config.tls.min_version} on, TLS 1.2 is not the least that is accepted"


def _tls_to(config: Config) -> Iterator[str]:
    if config.tls.max_version < "1.3":
        yield "without TLS 1.3 clients are not offered what is preferred"


def _anonymous(config: Config) -> Iterator[str]:
    if "ANONYMOUS" in config.sasl.mechanisms:
        yield "ANONYMOUS lets in who has no account"


def _retries(config: Config) -> Iterator[str]:
    if config.sasl.retries not in (2, 3):
        yield f"{config.sasl.retries} retries are not within two to three"


def _mandatory(config: Config, *mechanisms: str) -> Iterator[str]:
    for mechanism in mechanisms:
        if mechanism not in config.sasl.mechanisms:
            yield f"the mechanism {mechanism} is missing"


def _modern_suites(config: Config) -> Iterator[str]:
    if not {*FIPS_CIPHERS} & {*config.tls.ciphers}:
        yield "without AES-GCM the suites of RFC 7590 are missing"


def _starttls(config: Config) -> Iterator[str]:
    for kind in ("c2s", "s2s"):
        served = [listener for listener in config.listeners if listener.kind == kind]
        if served and all(listener.direct_tls for listener in served):
            yield f"every {kind} listener is direct_tls, so none offers STARTTLS"


def _certificate_request(config: Config) -> Iterator[str]:
    if config.tls.client_certificates == "off":
        yield "without a CertificateRequest there is no mutual authentication"


def _no_clients(config: Config) -> Iterator[str]:
    if all(listener.kind != "c2s" for listener in config.listeners):
        yield "no listener is of the kind c2s, so no client is served"


def _log_level(config: Config) -> Iterator[str]:
    if config.log.level == "error":
        yield "error leaves out the warning that a back end cannot be asked"


def _sessions(config: Config) -> Iterator[str]:
    if config.limits.sessions_per_account < 2:
        yield "an account cannot have two connected resources"


def _delivery(config: Config) -> Iterator[str]:
    if config.routing.delivery != "uc-2013":
        yield "a message does not reach an account whose connected resources have sent no presence"


def _iq_for_strangers(config: Config) -> Iterator[str]:
    if config.routing.iq_needs_presence:
        yield "a request to a connected resource is not delivered from everybody"


def _marked(*marks: int | str | None) -> Iterator[str]:
    for mark in marks:
        if mark == "off":
            yield "off leaves packets without the mark of low-latency data"
        elif not isinstance(mark, str | None) and not 0 <= mark <= 63:
            yield f"{mark} is no DSCP"


MARK: Final = "a mark, which is not `off`"

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "uc-2013": (
        Rule("1-31", "listeners.kind", "a listener for clients", _no_clients),
        Rule(
            "2-2",
            "listeners.direct_tls",
            "a listener that speaks STARTTLS beside each direct TLS one",
            _starttls,
        ),
        Rule("2-8", "tls.min_version", "1.2", _tls_from),
        Rule("2-8", "tls.max_version", "1.3", _tls_to),
        Rule(
            "2-8",
            "tls.suites",
            "FIPS-approved TLS 1.3 suites only",
            lambda config: _others(config.tls.suites, FIPS_SUITES, "FIPS-approved"),
        ),
        Rule(
            "2-8",
            "tls.ciphers",
            "FIPS-approved TLS 1.2 suites with ephemeral keys only",
            lambda config: _others(config.tls.ciphers, FIPS_CIPHERS + FIPS_CBC_CIPHERS, "FIPS-approved"),
        ),
        Rule(
            "2-8",
            "tls.groups",
            "FIPS-approved groups only",
            lambda config: _others(config.tls.groups, FIPS_GROUPS, "FIPS-approved"),
        ),
        Rule(
            "2-8", "tls.client_certificates", "a CertificateRequest in every handshake", _certificate_request
        ),
        Rule("10-1", "tls.ciphers", "a TLS 1.2 suite with AES-GCM", _modern_suites),
        Rule("3-3", "sasl.mechanisms", "ANONYMOUS is not offered", _anonymous),
        Rule(
            "3-6",
            "sasl.mechanisms",
            "PLAIN is offered after STARTTLS",
            lambda config: _mandatory(config, "PLAIN"),
        ),
        Rule(
            "10-1",
            "sasl.mechanisms",
            "SCRAM-SHA-1 and SCRAM-SHA-1-PLUS are offered",
            lambda config: _mandatory(config, "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"),
        ),
        Rule("3-8", "log.level", "warnings are logged", _log_level),
        Rule("3-24", "sasl.retries", "two or three retries", _retries),
        Rule("4-5", "limits.sessions_per_account", "two resources or more", _sessions),
        Rule("5-19", "routing.delivery", "uc-2013", _delivery),
        Rule("5-21", "routing.iq_needs_presence", "false", _iq_for_strangers),
        Rule("13-1", "net.dscp", MARK, lambda config: _marked(config.net.dscp)),
        Rule(
            "13-1",
            "net.outgoing_dscp",
            MARK,
            lambda config: _marked(config.net.outgoing_dscp),
        ),
        Rule(
            "13-1",
            "listeners.dscp",
            MARK,
            lambda config: _marked(*(listener.dscp for listener in config.listeners)),
        ),
    ),
    "internet": (),
}


def findings(config: Config) -> list[Finding]:
    """What in `config` breaks a requirement of its own profile; empty if nothing does."""
    return _broken(config, RULES[config.profile])


def costs(config: Config) -> list[Finding]:
    """The requirements of UC XMPP 2013 that a configuration gives up, where its own profile allows that."""
    return _broken(config, (rule for rule in RULES["uc-2013"] if rule not in RULES[config.profile]))


def _broken(config: Config, rules: Iterable[Rule]) -> list[Finding]:
    return [
        Finding(rule.requirement, rule.key, sentence) for rule in rules for sentence in rule.broken(config)
    ]
