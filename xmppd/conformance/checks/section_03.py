"""2.8 Authentication and SASL (rows 3-1 to 3-25): the client's half."""

from __future__ import annotations

import ssl
import time
import unicodedata
from dataclasses import replace
from typing import Final

from cryptography import x509

from xmppd.conformance import clienthello, sasl
from xmppd.conformance.authority import chain_of
from xmppd.conformance.check import check, expect
from xmppd.conformance.client import Client, describe, mechanisms, sasl_condition, stream_header
from xmppd.conformance.names import BIND, SASL, STREAMS, TLS
from xmppd.conformance.site import Site
from xmppd.conformance.subject import Account
from xmppd.conformance.verdict import CouldNotTest, NotMet
from xmppd.conformance.xmlstream import Element

WRONG: Final = "not the password"
NOBODY: Final = "nobody-of-that-name"
# 3-23.9: a PBKDF2 that is left out saves a millisecond or more, of an answer that takes a fraction of one without it
ATTEMPTS: Final = 9  # of each kind in one measurement
MEASUREMENTS: Final = 3
MUCH_LONGER: Final = 1.5
UNSEEN_S: Final = 0.0004


def secured(site: Site) -> Client:
    """A client whose stream is protected by TLS, and that has not authenticated."""
    client = site.connect()
    client.secure()
    return client


def expect_failure(answer: Element, *conditions: str) -> None:
    """A SASL failure with one of these conditions."""
    found = sasl_condition(answer)
    expect(found in conditions, f"expected the SASL failure {' or '.join(conditions)}, but it is {found}")


def expect_success(answer: Element) -> None:
    """SASL success."""
    expect(answer.is_("success", SASL), f"expected <success/>, but {describe(answer)}")


# ---- 3-1 to 3-4 ----------------------------------------------------------------------------------------------


@check("3-1.1")
def sasl_works_as_a_whole(site: Site) -> None:
    """RFC 6120 6.4: mechanisms, <auth/>, <challenge/>, <response/>, <abort/>, <failure/>, <success/>."""
    client, account = secured(site), site.account()
    assert client.features is not None
    offered = mechanisms(client.features)
    expect(bool(offered), "no mechanisms are offered")
    scram = next((name for name in sasl.HASHES if name in offered), None)
    mechanism = scram or "PLAIN"  # which has a challenge, too, if there is no initial response
    data = sasl.Scram(scram, account.name, account.password).first() if scram else None
    answer = client.auth(mechanism, data)
    expect(answer.is_("challenge", SASL), f"expected a challenge of {mechanism}, but {describe(answer)}")
    client.send(f"<abort xmlns='{SASL}'/>")
    expect_failure(client.sasl_answer(), "aborted")
    if scram:
        expect_success(client.scram(account, scram))
    else:
        client.auth("PLAIN", None)
        expect_success(client.respond(sasl.plain(account.name, account.password)))


@check("3-2.1")
def a_stanza_before_sasl_ends_the_stream(site: Site) -> None:
    """RFC 6120 6.3.1: messages, bind and session requests alike; nothing is delivered."""
    romeo = site.login(1)
    for stanza in (
        f"<message to='{romeo.jid}'/>",
        f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq>",
        "<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    ):
        client = secured(site)
        client.send(stanza)
        client.expect_stream_error("not-authorized")
    expect(not romeo.before_ping(), "the stanza was delivered")


@check("3-3.1")
def anonymous_is_not_offered(site: Site) -> None:
    """Instant Messaging STIG: neither before nor after TLS."""
    client = site.connect()
    offered = mechanisms(client.open())
    client.start_tls()
    offered += mechanisms(client.open())
    expect("ANONYMOUS" not in offered, f"offered are {', '.join(offered)}")


@check("3-3.2")
def anonymous_is_refused(site: Site) -> None:
    """RFC 6120 6.5.7: ANONYMOUS is an invalid mechanism; no session results."""
    client = secured(site)
    expect_failure(client.auth("ANONYMOUS", None), "invalid-mechanism")
    client.send(f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq>")
    event = client.next_solid()
    expect(
        isinstance(event, Element) and (event.is_("error", STREAMS) or event.get("type") == "error"),
        f"a session may have resulted: {describe(event)}",
    )


@check("3-3.3")
def legacy_authentication_and_registration_are_refused(site: Site) -> None:
    """XEP-0078 and XEP-0077 are neither advertised nor served before authentication."""
    client = secured(site)
    assert client.features is not None
    for feature in client.features.elements:
        expect(
            feature.namespace
            not in ("http://jabber.org/features/iq-auth", "http://jabber.org/features/iq-register"),
            f"advertised: {feature}",
        )
    for namespace in ("jabber:iq:auth", "jabber:iq:register"):
        for kind in ("get", "set"):
            client = secured(site)
            client.send(
                f"<iq type='{kind}' id='legacy'><query xmlns='{namespace}'>"
                "<username>x</username><password>x</password></query></iq>"
            )
            event = client.next_solid()
            expect(
                isinstance(event, Element) and (event.is_("error", STREAMS) or event.get("type") == "error"),
                f"{namespace} is served: {describe(event)}",
            )


@check("3-4.1")
def the_chain_is_sent_without_the_root(site: Site) -> None:
    """RFC 5246 7.4.2, RFC 6120 13.7: a client that trusts only the root accepts it for the domain."""
    if site.subject.ca_file is None:
        raise CouldNotTest("the root is not known; give --ca")
    secured(site)  # verifies with the root alone
    expect_no_root(site)


@check("3-4.1")
def chains_of_a_large_pki_are_sent_whole(site: Site) -> None:
    """RFC 5246 7.4.2, UCR 2013 section 4: root, intermediate CA and certificate, with RSA and with ECDSA keys."""
    site.renew_certificate(site.domain)  # for who cannot do this is left with the last one
    for kind in ("RSA", "ECDSA"):
        root, chain, key = chain_of(site.domain, kind)
        site.use_certificate(site.domain, chain, key)
        try:
            client = site.connect()
            client.open()
            client.start_tls(ssl.create_default_context(cadata=root))  # verifies the chain and the name
            client.open()
            sent = expect_no_root(site)
            expect(sent == 2, f"of a certificate and its authority {sent} are sent")
        finally:
            site.renew_certificate(site.domain)


def expect_no_root(site: Site) -> int:
    """No root is among the certificates that the server sends; how many it sends."""
    client = site.connect()
    client.open()
    client.send(f"<starttls xmlns='{TLS}'/>")
    client.expect("proceed", TLS)
    client.connection.send_raw(clienthello.client_hello(clienthello.TLS12, clienthello.APPROVED, site.domain))
    deadline, data = time.monotonic() + client.patience_s, b""
    while (chain := clienthello.certificates(data)) is None:
        more = client.connection.read(deadline)
        expect(bool(more), "the server sends no certificates")
        data += more
    expect(bool(chain), "the server sends no certificates")
    for der in chain:
        certificate = x509.load_der_x509_certificate(der)
        site.note(f"certificate sent: {certificate.subject.rfc4514_string()}")
        expect(certificate.issuer != certificate.subject, "the root is among the certificates sent")
    return len(chain)


@check("3-4.2")
def each_domain_has_its_certificate(site: Site) -> None:
    """RFC 6120 13.7.2.1: 'to' of the header, or SNI, decides which certificate is presented."""
    for domain in (site.domain, site.second_domain()):
        client = site.connect(domain)
        client.secure()  # SNI; verifies the name
        client = site.connect(domain)
        client.open()
        context = client.context()
        context.check_hostname = False
        client.start_tls(context, server_name=None)
        client.expect_certificate_of_domain()


@check("3-4.3")
def a_renewed_certificate_needs_no_restart(site: Site) -> None:
    """UCR 2013 section 4: new connections get it, and a session that is up stays up."""
    session = site.login()
    before = session.certificate()
    site.renew_certificate(site.domain)
    client = secured(site)
    expect(client.certificate() != before, "a new connection gets the old certificate")
    session.before_ping()


# ---- 3-5 to 3-7: PLAIN ---------------------------------------------------------------------------------------


@check("3-5.1", "3-6.2", "3-7.1", "3-10.1")
def plain_with_the_right_password_succeeds(site: Site) -> None:
    """RFC 4616 2, RFC 6120 6.4.6: NUL, name, NUL, password in base64 gets one <success/> without data."""
    client, account = secured(site), site.account()
    answer = client.plain(account)
    expect_success(answer)
    expect(not answer.children, f"<success/> of PLAIN has data: {answer}")
    client.open()
    client.bind()


@check("3-7.1")
def the_example_of_the_row_succeeds(site: Site) -> None:
    """RFC 4616 4: juliet, r0m30myr0m30, letter for letter; in the second domain, where the name is free."""
    if not site.has_launcher:
        return  # shown with the accounts that were given
    domain = site.second_domain()
    site.new_account_once("juliet", "r0m30myr0m30", domain)
    client = site.connect(domain)
    client.secure()
    expect_success(client.auth("PLAIN", "AGp1bGlldAByMG0zMG15cjBtMzA="))


@check("3-6.1")
def plain_is_offered_once(site: Site) -> None:
    """RFC 6120 6.4.1: exactly one <mechanism>PLAIN</mechanism> after TLS."""
    client = secured(site)
    assert client.features is not None
    offered = mechanisms(client.features)
    expect(offered.count("PLAIN") == 1, f"offered are {', '.join(offered)}")


@check("3-7.2")
def plain_without_initial_response_is_challenged(site: Site) -> None:
    """RFC 6120 6.4.2: an empty <challenge/>, then the data in <response/>."""
    client, account = secured(site), site.account()
    answer = client.auth("PLAIN", None)
    expect(
        answer.is_("challenge", SASL) and answer.text in ("", "="),
        f"expected an empty challenge, but {describe(answer)}",
    )
    expect_success(client.respond(sasl.plain(account.name, account.password)))


@check("3-7.3", "3-23.4", "3-23.7")
def faulty_data_is_told_apart(site: Site) -> None:
    """RFC 6120 6.5.5, 6.5.8: not base64 is incorrect-encoding; not the mechanism's syntax is malformed-request."""
    faults = {
        "!!!!": "incorrect-encoding",
        "AGp1bGlldA=": "incorrect-encoding",
        sasl.encoded(b"no NUL at all"): "malformed-request",
        sasl.encoded(b"\0only one"): "malformed-request",
        sasl.encoded(b"\0\xff\xfe\0\xff"): "malformed-request",
    }
    for data, condition in faults.items():
        expect_failure(secured(site).auth("PLAIN", data), condition)
    client = secured(site)
    assert client.features is not None
    for mechanism in [name for name in sasl.HASHES if name in mechanisms(client.features)]:
        for broken in (b"no commas at all", b"x,,n=user,r=nonce", b"n,,n=user", b"n,,r=nonce,n=user"):
            expect_failure(secured(site).auth(mechanism, sasl.encoded(broken)), "malformed-request")
    client.auth("PLAIN", None)
    expect_failure(client.respond("!!!!"), "incorrect-encoding")
    client = secured(site)
    expect_failure(client.respond(sasl.encoded(b"\0x\0y")), "malformed-request")


@check("3-7.4", "3-23.5")
def one_may_act_as_oneself_only(site: Site) -> None:
    """RFC 6120 6.3.8, 6.5.6: the own bare JID is accepted; another one, or nonsense, is <invalid-authzid/>."""
    juliet, romeo = site.account(0), site.account(1)
    expect_success(secured(site).plain(juliet, authorize_as=juliet.jid))
    for authorize_as in (romeo.jid, "@@not a jid@@"):
        expect_failure(secured(site).plain(juliet, authorize_as=authorize_as), "invalid-authzid")


@check("3-7.5")
def composed_and_decomposed_characters_are_equal(site: Site) -> None:
    """RFC 4013 2.2: names and passwords are compared after preparation."""
    account = site.new_account_once("zo\u00eb", "p\u00e4ssw\u00f6rd")
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, account.name)
        password = unicodedata.normalize(form, account.password)
        expect_success(secured(site).auth("PLAIN", sasl.plain(name, password)))


# ---- 3-11: the restart ---------------------------------------------------------------------------------------


@check("3-11.1")
def a_new_stream_follows_success(site: Site) -> None:
    """RFC 6120 6.4.6: on the same TCP and TLS connection."""
    client = secured(site)
    tls = client.connection.tls
    client.authenticate(site.account())
    client.open()
    expect(client.connection.tls is tls, "TLS has changed")
    client.bind()


@check("3-11.2")
def a_stanza_behind_success_ends_the_stream(site: Site) -> None:
    """RFC 6120 6.4.6: without a new header nothing is processed."""
    client = secured(site)
    client.authenticate(site.account())
    client.send(f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq>")
    client.expect_stream_error(with_header=True)


@check("3-11.3")
def a_header_may_stand_right_behind_auth(site: Site) -> None:
    """RFC 6120 6.4.6: it is handled after <success/>."""
    client, account = secured(site), site.account()
    data = sasl.plain(account.name, account.password)
    client.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{data}</auth>{stream_header(to=site.domain)}")
    expect_success(client.sasl_answer())
    client.expect_header()
    client.expect_features()
    client.bind()


# ---- 3-22, 3-23: failures ------------------------------------------------------------------------------------


@check("3-22.1")
def a_failure_has_one_condition_and_leaves_the_stream_open(site: Site) -> None:
    """RFC 6120 6.4.5: after a wrong password the right one succeeds on the same stream."""
    client, account = secured(site), site.account()
    sasl_condition(client.plain(account, WRONG))
    expect_success(client.plain(account))


@check("3-23.1")
def an_abort_is_answered(site: Site) -> None:
    """RFC 6120 6.5.1: in the middle of a handshake, and without one."""
    client = secured(site)
    client.auth("PLAIN", None)
    client.send(f"<abort xmlns='{SASL}'/>")
    expect_failure(client.sasl_answer(), "aborted")
    client = secured(site)
    client.send(f"<abort xmlns='{SASL}'/>")
    expect_failure(client.sasl_answer(), "aborted")


@check("3-23.2")
def a_disabled_account_is_told_after_the_right_password(site: Site) -> None:
    """RFC 6120 6.5.2: <account-disabled/> for the right password."""
    expect_failure(secured(site).plain(site.disabled_account()), "account-disabled")


@check("3-23.2")
def an_expired_password_is_told_to_who_knows_it(site: Site) -> None:
    """RFC 6120 6.5.3: <credentials-expired/> for the right password, and <not-authorized/> for a wrong one."""
    account = site.expired_account()
    expect_failure(secured(site).plain(account), "credentials-expired")
    expect_failure(secured(site).plain(account, WRONG), "not-authorized")


@check("3-23.9")
def a_disabled_account_is_told_to_nobody_else(site: Site) -> None:
    """RFC 6120 6.5.10, 13.11: <not-authorized/> for a wrong password, as with any other account."""
    expect_failure(secured(site).plain(site.disabled_account(), WRONG), "not-authorized")


@check("3-23.6")
def an_unknown_mechanism_is_refused(site: Site) -> None:
    """RFC 6120 6.5.7: unknown, not offered, or missing."""
    client = secured(site)
    assert client.features is not None
    for name in {"UNKNOWN", "EXTERNAL", ""}.difference(mechanisms(client.features)):
        expect_failure(secured(site).auth(name, "="), "invalid-mechanism")
    client.send(f"<auth xmlns='{SASL}'/>")
    expect_failure(client.sasl_answer(), "invalid-mechanism")


@check("3-23.8")
def a_forbidden_mechanism_is_too_weak(site: Site) -> None:
    """RFC 6120 6.5.9: a mechanism that policy forbids for the account."""
    site.change(mechanisms_too_weak=["PLAIN"])
    expect_failure(secured(site).plain(site.account()), "mechanism-too-weak")


@check("3-23.9")
def unknown_users_look_like_wrong_passwords(site: Site) -> None:
    """RFC 6120 6.5.10, 13.11: the same content and about the same time, with PLAIN and with SCRAM.

    Of each kind the least time counts, for a busy machine only adds; a difference has to be seen each time.
    """
    known, unknown = replace(site.account(), password=WRONG), Account(NOBODY, site.domain, WRONG)
    for mechanism in among_offered(site, "PLAIN", *sasl.HASHES):
        for _ in range(MEASUREMENTS):
            slow = slower(least_seconds(site, mechanism, known, unknown))
            if slow is None:
                break
        expect(slow is None, f"{mechanism}: an answer about {slow}")


def among_offered(site: Site, *wanted: str) -> list[str]:
    """Those of the mechanisms that the server offers."""
    client = secured(site)
    assert client.features is not None
    return [name for name in wanted if name in mechanisms(client.features)]


def least_seconds(site: Site, mechanism: str, known: Account, unknown: Account) -> list[tuple[float, float]]:
    """How long each answer takes at least, if the password is wrong and if there is no such user, tried in turns."""
    seconds: dict[Account, list[list[float]]] = {known: [], unknown: []}
    answers = set()
    for _ in range(ATTEMPTS):
        for account in (known, unknown):
            client = secured(site)
            answer = client.plain(account) if mechanism == "PLAIN" else client.scram(account, mechanism)
            expect_failure(answer, "not-authorized")
            answers.add((str(answer), len(client.sasl_seconds)))
            seconds[account].append(client.sasl_seconds)
    expect(len(answers) == 1, f"{mechanism}: the answers differ: {answers}")
    a, b = ([min(step) for step in zip(*each, strict=True)] for each in seconds.values())
    for number, (wrong, nobody) in enumerate(zip(a, b, strict=True), 1):
        site.note(f"{mechanism}, answer {number}: {in_words(wrong, nobody)}")
    return list(zip(a, b, strict=True))


def slower(seconds: list[tuple[float, float]]) -> str | None:
    """For whom an answer takes so much longer that it can be told; None if for nobody."""
    for wrong, nobody in seconds:
        if max(wrong, nobody) > MUCH_LONGER * min(wrong, nobody) + UNSEEN_S:
            return f"{'known' if wrong > nobody else 'unknown'} users takes longer: {in_words(wrong, nobody)}"
    return None


def in_words(wrong: float, nobody: float) -> str:
    """Two times."""
    return f"{wrong * 1000:.2f} ms for a wrong password, {nobody * 1000:.2f} ms for an unknown user"


@check("3-23.9")
def unknown_users_have_a_salt_that_stays(site: Site) -> None:
    """RFC 5802 5.1: salt and iterations of unknown users do not give them away, nor that they have one in common."""
    for mechanism in among_offered(site, *sasl.HASHES):
        seen = []
        for name in (site.account().name, NOBODY, NOBODY, f"another-{NOBODY}"):
            answer = secured(site).auth(mechanism, sasl.Scram(mechanism, name, "").first())
            expect(answer.is_("challenge", SASL), f"{mechanism} for {name}: {describe(answer)}")
            first = sasl.read(sasl.FIRST, answer.text)
            seen.append((first["salt"], first["iterations"]))
        expect(seen[1] == seen[2], f"{mechanism}: the salt of an unknown user changes")
        expect(seen[1][0] != seen[3][0], f"{mechanism}: all unknown users have the same salt")
        expect(
            len({count for _, count in seen}) == 1, f"{mechanism}: the iterations of an unknown user differ"
        )
        expect(
            len({len(salt) for salt, _ in seen}) == 1,
            f"{mechanism}: the salt of an unknown user has another length",
        )


@check("3-23.10")
def a_back_end_that_is_down_is_a_temporary_failure(site: Site) -> None:
    """RFC 6120 6.5.11: credentials that cannot be checked get <temporary-auth-failure/>."""
    site.change(accounts_unreachable=True)
    expect_failure(secured(site).plain(site.account()), "temporary-auth-failure")


# ---- 3-24, 3-25: retries -------------------------------------------------------------------------------------


@check("3-24.1", "3-24.2")
def as_many_retries_as_are_set_are_evaluated(site: Site) -> None:
    """RFC 6120 6.4.5: with 2 retries the third attempt can succeed, with 3 the fourth."""
    account = site.account()
    for retries in (2, 3):
        site.change(sasl_retries=retries)
        client = secured(site)
        for _ in range(retries):
            expect_failure(client.plain(account, WRONG), "not-authorized")
        expect_success(client.plain(account))


@check("3-24.3")
def other_numbers_of_retries_are_refused(site: Site) -> None:
    """Instant Messaging STIG: 1 and 4 are refused with a message, 2 and 3 are taken, and the default is one of them."""
    for retries in (0, 1, 4, 5):
        said = site.refusal(sasl_retries=retries)
        expect(bool(said), f"{retries} retries are taken")
    for retries in (2, 3):
        said = site.refusal(sasl_retries=retries)
        expect(said is None, f"{retries} retries are refused: {said}")
    failures = failures_until_the_end(site)
    expect(failures in (3, 4), f"by default {failures} attempts are evaluated on one stream")


def failures_until_the_end(site: Site) -> int:
    """How many wrong passwords are evaluated before the stream ends."""
    client = secured(site)
    for number in range(20):
        client.send_plain(site.account(), WRONG)
        event = client.next_solid()
        if not (isinstance(event, Element) and event.is_("failure", SASL)):
            return number
    raise NotMet("20 wrong passwords are evaluated on one stream")


@check("3-25.1")
def too_many_failures_end_the_stream(site: Site) -> None:
    """RFC 6120 4.9.3.14, 6.4.5: no later than the next attempt; its password, though right, is not evaluated."""
    account = site.account()
    for retries in (2, 3):
        site.change(sasl_retries=retries)
        client = secured(site)
        for _ in range(retries + 1):
            expect_failure(client.plain(account, WRONG), "not-authorized")
        client.send_plain(account)
        client.expect_stream_error("policy-violation", "not-authorized")


@check("3-25.2")
def a_new_connection_starts_to_count_anew(site: Site) -> None:
    """RFC 6120 6.4.5: the limit is one of the stream."""
    failures_until_the_end(site)
    client, account = secured(site), site.account()
    expect_failure(client.plain(account, WRONG), "not-authorized")
    expect_success(client.plain(account))
