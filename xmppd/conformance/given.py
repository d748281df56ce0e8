"""What a run was given is tried before any check: a mistake of who runs it is not a fault of the server.

Only what is surely such a mistake is told; everything else is for the checks to find.
"""

from __future__ import annotations

import time
import unicodedata
from contextlib import suppress
from typing import Final

from xmppd.conformance.client import describe
from xmppd.conformance.connection import Connection, TLSFailed
from xmppd.conformance.names import SASL, STREAMS, TLS
from xmppd.conformance.site import Site
from xmppd.conformance.subject import Account, Subject
from xmppd.conformance.transcript import Transcript
from xmppd.conformance.verdict import CouldNotTest, Ended, NotMet
from xmppd.conformance.xmlstream import Element

# what OpenSSL finds if the CA is not the one that issued the certificate (X509_V_ERR_*)
OTHER_ISSUER: Final = frozenset({2, 7, 18, 19, 20, 21})


def try_out(subject: Subject, *, serves_servers: bool = False) -> None:
    """Connect to every address, open a stream for every domain, log in with every account. Raises CouldNotTest.

    `serves_servers`: there has to be somebody at the port for servers, too.
    """
    site = Site(subject, Transcript())
    try:
        for host in (subject.host, *subject.more_hosts):
            Connection((host, subject.port), "", site.transcript, subject.dial).close()
            if serves_servers and subject.s2s_port is not None:
                Connection((host, subject.s2s_port), "", site.transcript, subject.dial).close()
        for domain in subject.domains:
            _is_served(site, domain)
        for account in subject.accounts:
            if said := _refusal(site, account):
                raise CouldNotTest(f"{account.jid} cannot log in with its password: {said}")
        for account in subject.disabled_accounts:
            if _refusal(site, account) == "":
                raise CouldNotTest(f"{account.jid} is not disabled: it can log in")
        for account in subject.expired_accounts:
            if _refusal(site, account) == "":
                raise CouldNotTest(f"the password of {account.jid} has not expired: it can log in")
    finally:
        site.end()


def _is_served(site: Site, domain: str) -> None:
    """A stream for the domain opens, and its certificate is of the CA."""
    client = site.connect(domain)
    where = f"{site.subject.host} port {site.subject.port}"
    client.send_header()
    try:
        header = client.expect_header()
    except NotMet as ended:
        raise CouldNotTest(f"what listens at {where} opens no XMPP stream: {ended.why}") from None
    _is_called(domain, header.get("from") or "")
    with suppress(NotMet):
        event = client.next_solid()
        if isinstance(event, Element) and event.is_("error", STREAMS) and "host-unknown" in str(event):
            raise CouldNotTest(f"{where} does not serve {domain}: {describe(event)}")
        client.send(f"<starttls xmlns='{TLS}'/>")
        client.expect("proceed", TLS)
        with suppress(TimeoutError):
            try:
                client.connection.start_tls(client.context(), domain, time.monotonic() + client.patience_s)
            except TLSFailed as failed:
                if failed.verify_code in OTHER_ISSUER:
                    raise CouldNotTest(
                        f"the certificate of {domain} is not of the CA in {site.subject.ca_file}: {failed}"
                    ) from None


def _refusal(site: Site, account: Account) -> str | None:
    """Why the account is refused; empty if it is not, None if that is not known. Raises CouldNotTest."""
    client = site.connect(account.domain)
    try:
        client.secure()
        client.authenticate(account)
    except Ended:
        last = client.seen[-1] if client.seen else None
        return describe(last) if last is not None and last.is_("failure", SASL) else None
    with suppress(NotMet):
        client.open()
        _is_called(account.jid, client.bind().partition("/")[0])
    return ""


def _is_called(given: str, by_the_server: str) -> None:
    """The server's answers are compared with what was given: so that has to be spelled as the server spells it."""
    if given != by_the_server and _prepared(given) == _prepared(by_the_server):
        raise CouldNotTest(f"{given} is {by_the_server} to the server: give it as that")


def _prepared(address: str) -> str:
    """Without what servers take for the same: case, composition of characters, two forms of a domain."""
    local, at, domain = address.rpartition("@")
    with suppress(UnicodeError):
        domain = domain.encode("idna").decode()
    return unicodedata.normalize("NFKC", f"{local}{at}{domain}").casefold()
