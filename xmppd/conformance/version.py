"""What a server that nobody launched says it is (XEP-0092), for the report."""

from __future__ import annotations

from typing import Final

from xmppd.conformance.site import Site
from xmppd.conformance.subject import Subject
from xmppd.conformance.transcript import Transcript
from xmppd.conformance.verdict import Ended

VERSION: Final = "jabber:iq:version"


def ask(subject: Subject) -> None:
    """Name the system as it names itself; it stays as it is if it does not say, or lets nobody in to ask."""
    site = Site(subject, Transcript())
    try:
        client = site.login()
        answer = client.iq("get", f"<query xmlns='{VERSION}'/>", to=site.domain)
        query = answer.find("query", VERSION)
        name = query.find("name", VERSION) if query is not None else None
        version = query.find("version", VERSION) if query is not None else None
        if name is not None and name.text:
            subject.system = name.text
            subject.version = version.text if version is not None else ""
    except Ended:
        return
    finally:
        site.end()
