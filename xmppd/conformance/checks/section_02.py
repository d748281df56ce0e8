"""2.7 TLS and STARTTLS negotiation (rows 2-1 to 2-12): the client's half."""

from __future__ import annotations

import ssl
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from xmppd.conformance import clienthello, sasl
from xmppd.conformance.check import check, expect
from xmppd.conformance.client import CLOSING_TAG, Client, describe, mechanisms, sasl_condition, stream_header
from xmppd.conformance.connection import TLSFailed
from xmppd.conformance.names import BIND, SASL, STREAMS, TLS
from xmppd.conformance.site import Site
from xmppd.conformance.verdict import CouldNotTest, NotApplicable, NotMet
from xmppd.conformance.xmlstream import Element, Header

STARTTLS = f"<starttls xmlns='{TLS}'/>"


@check("2-1.1", "2-11.1", "3-5.2", "3-23.3")
def credentials_in_the_clear_are_refused(site: Site) -> None:
    """RFC 6120 5.3.4, 6.5.4: no mechanism is offered; <auth/> gets <encryption-required/> or ends the stream."""
    account, answers = site.account(), set()
    for password in (account.password, "not the password"):
        client = site.connect()
        features = client.open()
        expect(not mechanisms(features), f"SASL is offered without TLS: {features}")
        client.send_plain(account, password)
        event = client.next_solid()
        if isinstance(event, Element) and event.is_("failure", SASL):
            found = sasl_condition(event)
            expect(found == "encryption-required", f"<auth/> without TLS gets {found}")
        else:
            expect(
                isinstance(event, Element)
                and event.is_("error", STREAMS)
                and any(name in str(event) for name in ("policy-violation", "not-authorized")),
                f"expected <encryption-required/> or a stream error, but {describe(event)}",
            )
            client.expect_closing_tag()
        answers.add(str(event))
    expect(len(answers) == 1, f"the password was looked at, for the answers differ: {answers}")


@check("2-1.1")
def nothing_but_starttls_is_processed_in_the_clear(site: Site) -> None:
    """RFC 6120 5.3.1: a stanza, or anything else, ends a stream without TLS, and is not delivered."""
    romeo = site.login(1)
    for stanza in (
        f"<message to='{romeo.jid}'/>",
        f"<presence to='{romeo.jid}'/>",
        f"<iq type='get' id='a' to='{site.domain}'><ping xmlns='urn:xmpp:ping'/></iq>",
        f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq>",
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
        "<x xmlns='urn:example:nobody-knows-this'/>",
    ):
        client = site.connect()
        client.open()
        client.send(stanza)
        client.expect_stream_error("not-authorized", "policy-violation")
    expect(not romeo.before_ping(), "a stanza sent in the clear was delivered")


@check("2-1.3")
def no_setting_allows_streams_without_tls(site: Site) -> None:
    """UC XMPP 2013 2.7: the configuration cannot switch TLS off."""
    expect(
        site.refusal(starttls_required=False) is not None,
        "the setting is taken: logins without TLS are allowed",
    )


@check("2-2.1", "2-8.1")
def starttls_works_with_a_certificate_of_the_domain(site: Site) -> None:
    """RFC 6120 5.4.3.1, 13.7.2: the certificate covers 'to' of the stream, with SNI that agrees and without SNI."""
    for name in ("", None):
        client = site.connect()
        client.open()
        client.start_tls(context_without_names(client) if name is None else None, server_name=name)
        client.expect_certificate_of_domain()
        client.open()


def context_without_names(client: Client) -> ssl.SSLContext:
    """For a handshake without SNI, where the library cannot compare names."""
    context = client.context()
    context.check_hostname = False
    return context


@check("2-3.1")
def features_come_with_the_header(site: Site) -> None:
    """RFC 6120 5.4.1: response header and features are one write, before the client says more."""
    client = site.connect()
    client.send_header()
    client.expect_header()
    client.expect_features()
    segments = client.connection.data_segments
    expect(segments in (None, 1), f"header and features came in {segments} segments")
    client.start_tls()
    client.send_header()
    before = client.reads
    client.expect_header()
    client.expect_features()
    expect(client.reads - before == 1, "header and features came in several TLS records")


@check("2-5.2")
def starttls_may_stand_right_behind_the_header(site: Site) -> None:
    """RFC 6120 5.4.2.1: also if both are sent at once."""
    client = site.connect()
    client.send(header_and(client, STARTTLS))
    client.expect_header()
    client.expect_features()
    client.expect("proceed", TLS)
    client.handshake()
    client.open()


def header_and(client: Client, more: str) -> str:
    """An initial header with something right behind it."""
    return stream_header(to=client.domain) + more


@check("2-6.1")
def proceed_is_the_last_word_in_the_clear(site: Site) -> None:
    """RFC 6120 5.4.2.3: <proceed/> and nothing behind it; the next byte of the server is TLS."""
    client = site.connect()
    client.open()
    client.send(STARTTLS)
    answer = client.expect("proceed", TLS)
    expect(not answer.children, f"<proceed/> is not empty: {answer}")
    client.handshake()
    client.open()


@check("2-6.2")
def clear_text_behind_starttls_is_not_taken_into_tls(site: Site) -> None:
    """RFC 6120 5.3.4 and CVE-2011-0411: what is pipelined behind <starttls/> never counts as protected."""
    account = site.account()
    for injected in (
        f"<auth xmlns='{SASL}' mechanism='PLAIN'>{sasl.plain(account.name, account.password)}</auth>",
        header_and(site.connect(), ""),
    ):
        client = site.connect()
        client.open()
        client.send(STARTTLS + injected)
        event = client.next_solid()
        if not (isinstance(event, Element) and event.is_("proceed", TLS)):
            expect(
                isinstance(event, Element) and event.is_("error", STREAMS),
                f"expected <proceed/> or a stream error, but {describe(event)}",
            )
            continue
        try:
            client.connection.start_tls(client.context(), client.domain, time.monotonic() + client.patience_s)
        except TLSFailed:
            continue  # the bytes were taken for TLS: also safe
        client.reader.restart()
        client.send_header()
        event = client.next()
        if not isinstance(event, Header):
            continue  # nothing more is served
        client.expect_features()
        answer = client.plain(account, "not the password")
        expect(answer.name == "failure", f"the injected bytes were processed: {describe(answer)}")


@check("2-7.1", "2-12.1")
def a_faulty_starttls_fails_and_ends_everything(site: Site) -> None:
    """RFC 6120 5.4.2.2: <failure/>, </stream:stream>, and the end of TCP."""
    faulty = {
        "a child": f"<starttls xmlns='{TLS}'><required/></starttls>",
        "an attribute": f"<starttls xmlns='{TLS}' version='1'/>",
        "text": f"<starttls xmlns='{TLS}'>now</starttls>",
    }
    for what, sent in faulty.items():
        site.note(f"<starttls/> with {what}")
        client = site.connect()
        client.open()
        client.send(sent)
        expect_tls_failure(client)


@check("2-7.1", "2-12.1")
def starttls_inside_tls_fails(site: Site) -> None:
    """RFC 6120 5.4.2.2: TLS is up already."""
    client = site.connect()
    client.secure()
    client.send(STARTTLS)
    expect_tls_failure(client)


def expect_tls_failure(client: Client) -> None:
    """<failure/> of STARTTLS, the closing tag, and the end of the connection."""
    client.expect("failure", TLS)
    client.expect_closing_tag()
    client.send(CLOSING_TAG)
    began = time.monotonic()
    client.expect_end()
    seconds = time.monotonic() - began
    expect(seconds < 1, f"the connection ended after {seconds:.1f} s")


# ---- 2-8: versions and suites --------------------------------------------------------------------------------


def hello(
    site: Site, version: int, suites: Iterable[int], compressions: tuple[int, ...] = (0,)
) -> clienthello.ServerHello | None:
    """Offer exactly this in a handshake; what the server chooses, or None if it refuses."""
    client = site.connect()
    client.open()
    client.send(STARTTLS)
    client.expect("proceed", TLS)
    site.note(f"ClientHello: {clienthello.VERSIONS[version]}, suites {[f'{suite:04x}' for suite in suites]}")
    client.connection.send_raw(clienthello.client_hello(version, suites, site.domain, compressions))
    try:
        data = client.connection.read(time.monotonic() + client.patience_s)
    except TimeoutError:
        raise NotMet("the server does not answer a ClientHello") from None
    chosen = clienthello.answer(data)
    if chosen is None:
        expect(b"<" not in data[7:], "the server speaks XML after a handshake that failed")
        if not client.connection.ending.is_over:
            client.connection.read_to_end(time.monotonic() + client.patience_s)
    return chosen


@check("2-8.2")
def approved_versions_and_suites_only(site: Site) -> None:
    """UCR 2013 section 4, NIST SP 800-52r2: TLS 1.2 and 1.3 with FIPS-approved suites, and no compression."""
    good, good13 = list(clienthello.APPROVED), list(clienthello.APPROVED_13)
    chosen = hello(site, clienthello.TLS12, good, (1, 0))
    if chosen is None:
        raise NotMet("TLS 1.2 is refused")
    expect(chosen.compression == 0, "the server compresses")
    chosen = hello(site, clienthello.TLS13, good13)
    if chosen is None:
        raise NotMet("TLS 1.3 is refused")
    expect(chosen.version == clienthello.TLS13, "TLS 1.3 is not spoken")
    everything = [*good, *(suite for suites in clienthello.REFUSED.values() for suite in suites), 0x2F, 0x35]
    for version in (clienthello.SSL3, clienthello.TLS10, clienthello.TLS11):
        expect(hello(site, version, everything) is None, f"{clienthello.VERSIONS[version]} is accepted")
    for family, suites in clienthello.REFUSED.items():
        expect(hello(site, clienthello.TLS12, suites) is None, f"a suite with {family} is accepted")
    expect(
        hello(site, clienthello.TLS13, clienthello.REFUSED_13) is None,
        "a suite of TLS 1.3 is accepted that FIPS does not approve",
    )


@check("2-8.2")
def renegotiation_is_refused(site: Site) -> None:
    """UCR 2013 section 4: a client cannot make the server negotiate TLS 1.2 again."""
    try:
        from OpenSSL import SSL
    except ImportError:
        raise CouldNotTest("it needs pyOpenSSL, for the standard library cannot renegotiate") from None
    client = site.connect()
    client.open()
    client.send(STARTTLS)
    client.expect("proceed", TLS)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    tls = SSL.Connection(context, None)
    tls.set_tlsext_host_name(site.domain.encode())
    tls.set_connect_state()

    def finish() -> None:
        """Do a handshake over the socket of the client. Raises SSL.Error, ConnectionError."""
        while True:
            try:
                tls.do_handshake()
                return
            except SSL.WantReadError:
                with suppress(SSL.WantReadError):  # there may be nothing to say
                    client.connection.send_raw(tls.bio_read(65536))
                data = client.connection.read(time.monotonic() + client.patience_s)
                if not data:
                    raise ConnectionError("ended") from None
                tls.bio_write(data)

    finish()
    with suppress(SSL.WantReadError):
        client.connection.send_raw(tls.bio_read(65536))
    tls.renegotiate()
    try:
        finish()
    except (SSL.Error, ConnectionError):
        return
    except TimeoutError:
        return  # ignored
    raise NotMet("the server negotiates again")


@check("2-8.4")
def a_certificate_is_asked_for_and_not_needed(site: Site) -> None:
    """RFC 5246 7.4.4, RFC 8446 4.3.2: CertificateRequest in TLS 1.2 and 1.3; a client without one logs in."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client = site.connect()
        client.open()
        context = client.context()
        context.minimum_version = context.maximum_version = version
        client.start_tls(context)
        if not client.connection.handshake:
            raise CouldNotTest("this Python does not show the messages of a handshake")
        site.note(f"the server's messages in {version.name}: {', '.join(client.connection.handshake)}")
        expect(
            "CertificateRequest" in client.connection.handshake, f"no CertificateRequest in {version.name}"
        )
        client.open()
        client.authenticate(site.account())


# ---- 2-9, 2-10: after the handshake --------------------------------------------------------------------------


@check("2-9.d")
def a_closing_tag_instead_of_the_new_header_ends_in_order(site: Site) -> None:
    """RFC 6120 5.4.3.3: the initiator must not close the old stream; the server closes in order all the same."""
    client = site.connect()
    client.open()
    client.start_tls()
    client.send(CLOSING_TAG)
    ending = client.connection.ending
    try:
        data = client.connection.read_to_end(time.monotonic() + client.patience_s)
    except TimeoutError:
        raise NotMet("the server does not end the connection") from None
    expect(data.endswith(CLOSING_TAG.encode()), f"the server ended without a closing tag, with {data!r}")
    expect(ending.close_notify and ending.fin, "the server ended without close_notify and FIN")


@check("2-10.1")
def a_failed_handshake_ends_tcp(site: Site) -> None:
    """RFC 6120 5.4.3.2: garbage, or a ClientHello that is not acceptable: no XML, and the end of TCP."""
    unacceptable = clienthello.client_hello(clienthello.TLS12, clienthello.REFUSED["NULL"], site.domain)
    for sent in (b"this is not a ClientHello" * 4, unacceptable):
        client = site.connect()
        client.open()
        client.send(STARTTLS)
        client.expect("proceed", TLS)
        client.connection.send_raw(sent)
        try:
            data = client.connection.read_to_end(time.monotonic() + client.patience_s)
        except TimeoutError:
            raise NotMet("the server does not end the connection") from None
        expect(b"<" not in data, f"the server speaks XML after a handshake that failed: {data!r}")


@check("2-10.2")
def a_refused_client_certificate_ends_tcp(site: Site) -> None:
    """RFC 6120 5.4.3.2: if a certificate is refused, for its age or its curve, TCP ends, without XML in the clear.

    The curve is secp256k1, which NIST SP 800-186 approves for no signature of a government; only TLS 1.2 binds
    certificates to the curves that were negotiated. A server may wait with the other one until SASL EXTERNAL.
    """
    refused = 0
    for what, curve, version in (
        ("expired, signed by itself", ec.SECP256R1(), ssl.TLSVersion.TLSv1_3),
        ("of a curve that is not approved", ec.SECP256K1(), ssl.TLSVersion.TLSv1_2),
    ):
        site.note(f"a certificate that is {what}, in {version.name}")
        client = site.connect()
        client.open()
        client.send(STARTTLS)
        client.expect("proceed", TLS)
        context = client.context()
        context.minimum_version = context.maximum_version = version
        with tempfile.TemporaryDirectory() as folder:
            context.load_cert_chain(expired(Path(folder), curve))
        refused += is_refused(client, context)
    if not refused:
        raise NotApplicable("the server refuses no certificate of a client in the handshake")


def is_refused(client: Client, context: ssl.SSLContext) -> bool:
    """Whether the handshake fails; and if it does, that TCP ends without XML."""
    deadline = time.monotonic() + client.patience_s
    try:
        client.connection.start_tls(context, client.domain, deadline)
        client.send_header()
        answer = client.connection.read(deadline)  # in TLS 1.3 the server's alert comes behind the handshake
    except (TLSFailed, NotMet):
        answer = b""
    except TimeoutError:
        raise NotMet("the server neither goes on nor ends the connection") from None
    if answer:
        return False
    try:
        data = client.connection.read_to_end(deadline)
    except NotMet:  # the alert once more
        data = b""
    except TimeoutError:
        raise NotMet("the server does not end TCP after the handshake failed") from None
    expect(b"<" not in data, f"the server speaks XML after a handshake that failed: {data!r}")
    return True


def expired(folder: Path, curve: ec.EllipticCurve) -> Path:
    """A PEM file with a new key and a certificate of yesterday, which nobody but itself has signed."""
    key = ec.generate_private_key(curve)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "client.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
