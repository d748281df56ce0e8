"""This server behind a relay that spoils what passes in exactly one way: a server that is wrong about people.

A check that such a server passes is a check that cannot fail. `FAULTS` says which checks each fault breaks.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.conformance.broken import certificate, written
from xmppd.conformance.launcher import Facts, Settings
from xmppd.conformance.launchers.xmppd import Xmppd
from xmppd.conformance.names import CLIENT, DELAY, ROSTER, SASL, STANZA_ERRORS, STREAMS, TLS
from xmppd.conformance.xmlstream import Closed, Element, Header, NotWellFormed, StreamReader, Text, parse

SUBSCRIPTION_TYPES: Final = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")


@dataclass(slots=True)
class Link:
    """What a fault knows of one client's connection."""

    jid: str = ""
    held: list[Element] = field(default_factory=list)


Spoil = Callable[[Element, Link], list[Element]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to what the server says, or the client, and the checks that see it."""

    checks: tuple[str, ...]
    answers: Spoil | None = None  # what the server sends
    requests: Spoil | None = None  # what the client sends


# ---- which stanza


def is_presence(each: Element, *kinds: str | None) -> bool:
    return each.is_("presence", CLIENT) and (not kinds or each.get("type") in kinds)


def is_message(each: Element) -> bool:
    return each.is_("message", CLIENT)


def is_error(each: Element) -> bool:
    return each.namespace == CLIENT and each.get("type") == "error"


def items(each: Element) -> list[Element]:
    """The items of a roster, or of a push."""
    query = each.find("query", ROSTER)
    return query.elements if each.is_("iq", CLIENT) and query is not None else []


def is_push(each: Element) -> bool:
    return each.get("type") == "set" and bool(items(each))


def is_fence(each: Element) -> bool:
    """What the tester itself needs, to know that all has come."""
    body = each.find("body")
    return is_message(each) and body is not None and body.text == "fence"


# ---- what is done to it


def but(each: Element, **attributes: str | None) -> Element:
    """The element with other attributes; None: without it."""
    named = {**each.attributes, **{name.rstrip("_"): value for name, value in attributes.items()}}
    return replace(each, attributes={name: value for name, value in named.items() if value is not None})


def without(each: Element, unwanted: Callable[[Element], bool]) -> Element:
    """The element without some of its children."""
    kept = [child for child in each.children if isinstance(child, str) or not unwanted(child)]
    return replace(each, children=kept)


def drops(which: Callable[[Element], bool]) -> Spoil:
    """These never come."""
    return lambda each, _: [] if which(each) else [each]


def doubles(which: Callable[[Element], bool]) -> Spoil:
    """These come twice."""
    return lambda each, _: [each, each] if which(each) else [each]


def changes(which: Callable[[Element], bool], how: Callable[[Element], Element]) -> Spoil:
    """These come otherwise."""
    return lambda each, _: [how(each) if which(each) else each]


def changes_items(**attributes: str | None) -> Spoil:
    """The items of rosters and pushes have other attributes."""

    def how(each: Element) -> Element:
        query = each.find("query", ROSTER)
        assert query is not None
        others = [
            but(item, **attributes) if item.get("subscription") != "remove" else item
            for item in query.elements
        ]
        return replace(each, children=[replace(query, children=list(others))])

    return changes(lambda each: bool(items(each)), how)


def removes_nothing(each: Element) -> Element:
    """A roster set that removes is one that adds."""
    query = each.find("query", ROSTER)
    if query is None:
        return each
    return replace(
        each, children=[replace(query, children=[but(item, subscription=None) for item in query.elements])]
    )


def swaps_stanza_and_push(each: Element, link: Link) -> list[Element]:
    """A subscription stanza comes behind the push that it caused."""
    if is_presence(each, "subscribed", "unsubscribed", "unsubscribe"):
        link.held.append(each)
        return []
    if link.held and (is_push(each) or is_fence(each)):
        held, link.held = link.held, []
        return [each, *held] if is_push(each) else [*held, each]
    return [each]


def shows_everybody(each: Element, _: Link) -> list[Element]:
    """Presence that is broadcast goes to Romeo and Nurse, subscribed or not."""
    if not is_presence(each, None, "unavailable") or each.get("to") is not None:
        return [each]
    return [each, *(but(each, to=f"{name}@one.example") for name in ("romeo", "nurse"))]


def shows_who_asks(each: Element, _: Link) -> list[Element]:
    """Each subscription stanza brings presence, subscribed or not."""
    return [each, but(each, type=None)] if is_presence(each, *SUBSCRIPTION_TYPES) else [each]


def asks_for_the_roster(each: Element, _: Link) -> list[Element]:
    """Who sends presence is taken for interested."""
    ask = parse(f"<iq xmlns='{CLIENT}' type='get' id='not-asked'><query xmlns='{ROSTER}'/></iq>")
    return [each, ask] if is_presence(each, None) else [each]


def shows_who_has_a_roster(each: Element, _: Link) -> list[Element]:
    """Who asks for the roster is taken for available."""
    get = each.get("type") == "get" and each.find("query", ROSTER) is not None
    return [parse(f"<presence xmlns='{CLIENT}'/>"), each] if get else [each]


def only_text(each: Element) -> Element:
    """Without extensions."""
    return without(each, lambda child: child.namespace != CLIENT)


def error_to_result(each: Element) -> Element:
    return replace(but(each, type="result"), children=[])


def another_condition(each: Element) -> Element:
    condition = parse(f"<error xmlns='{CLIENT}' type='cancel'><gone xmlns='{STANZA_ERRORS}'/></error>")
    return replace(each, children=[condition])


def is_stranger_stanza(each: Element) -> bool:
    """What one client says to another by full JID, IQs alone."""
    return each.is_("iq", CLIENT) and "/" in (each.get("from") or "") and not is_error(each)


def removal_failed(each: Element) -> bool:
    """The answers that `settle` and the removal of nobody get."""
    return is_error(each) and any("nobody-knows" in (item.get("jid") or "") for item in items(each))


def failure(each: Element) -> bool:
    return is_error(each) and not removal_failed(each)


def with_somebody(each: Element) -> Element:
    query = each.find("query", ROSTER)
    assert query is not None
    somebody = Element(ROSTER, "item", {"jid": "somebody@one.example", "subscription": "none"}, [])
    return replace(each, children=[replace(query, children=[*query.children, somebody])])


FAULTS: Final[dict[str, Fault]] = {
    # ---- rosters
    "roster pushes do not come": Fault(
        (
            "who asks is interested",
            "a new item is pushed to all",
            "an update is pushed and answered",
            "a removal is pushed and answered",
            "any answer to a push will do",
            "a request is pushed",
            "an approval is pushed to the contact",
            "what belongs to the account is from it",
            "removing changes the contacts roster",
            "a push has one item and an id",
            "a cancellation is pushed to who cancels",
            "a cancellation is pushed to who is cancelled",
            "unsubscribing is pushed to who unsubscribes",
            "unsubscribing is pushed to the contact",
            "an approval is pushed",
            "rosters",
        ),
        drops(is_push),
    ),
    "items have no subscription": Fault(
        ("one is subscribed", "both are subscribed", "ask says pending out"),
        changes_items(subscription="none"),
    ),
    "a subscription that is none of the four": Fault(
        ("a new item has no subscription", "items have a defined subscription"),
        changes_items(subscription="maybe"),
    ),
    "the client says the subscription": Fault(
        ("a client cannot say the subscription",),
        changes_items(subscription="both"),
    ),
    "'ask' is lost": Fault(
        (
            "ask is there while a request is open",
            "rosters outlive a restart",
            "a request needs no id and no item",
        ),
        changes_items(ask=None),
    ),
    "'ask' is always there": Fault(
        (
            "a client cannot say ask and approved",
            "unsubscribing takes back a request",
            "a request to nobody does not stay open",
        ),
        changes_items(ask="subscribe"),
    ),
    "names are lost": Fault(
        (
            "names come back",
            "an item is as in the last set",
            "the result has every item as stored",
            "an answered set outlives a kill",
            "items are made changed and removed",
            "rosters may be large",
        ),
        changes_items(name=None),
    ),
    "every roster has somebody": Fault(
        (
            "an empty roster is an empty query",
            "who only asks is not in the roster",
            "a roster get has no items",
            "a set has one item",
            "a wrong set is refused",
            "a name can be too long",
            "groups can be wrong",
        ),
        changes(
            lambda each: each.get("type") == "result" and each.find("query", ROSTER) is not None,
            with_somebody,
        ),
    ),
    "errors of sets are results": Fault(
        ("what is not there cannot be removed", "a roster can be full"), changes(failure, error_to_result)
    ),
    "every error is <gone/>": Fault(
        (
            "the roster is at the own bare jid only",
            "broken storage is an error",
            "groupchat is not for people",
        ),
        changes(failure, another_condition),
    ),
    "results have something in them": Fault(
        ("the result of a set is empty",),
        changes(
            lambda each: each.is_("iq", CLIENT) and each.get("type") == "result" and not each.children,
            lambda each: replace(each, children=[parse("<x xmlns='urn:example:x'/>")]),
        ),
    ),
    "rosters have no version": Fault(
        ("a version is answered", "roster versions"),
        changes(
            lambda each: each.find("query", ROSTER) is not None,
            lambda each: replace(
                each,
                children=[but(c, ver=None) if isinstance(c, Element) else c for c in each.children],
            ),
        ),
    ),
    "no roster comes": Fault(
        (
            "all devices have the same roster",
            "the roster can be asked for at any time",
            "roster and presence work in either order",
        ),
        changes(
            lambda each: each.get("type") == "result" and each.find("query", ROSTER) is not None,
            error_to_result,
        ),
    ),
    # ---- subscriptions
    "requests do not come": Fault(
        (
            "a request is for the bare jid",
            "a request to somebody of the same server is inbound",
            "a request goes to all available resources",
            "a request waits for the contact",
            "several requests are one",
        ),
        drops(lambda each: is_presence(each, "subscribe")),
    ),
    "requests come to a full JID": Fault(
        ("a request is for the bare jid", "a request has all that a contact needs"),
        changes(
            lambda each: is_presence(each, "subscribe"), lambda each: but(each, to=f"{each.get('to')}/x")
        ),
    ),
    "requests come twice": Fault(
        (
            "several requests are one",
            "a request waits for the contact",
            "a request has all that a contact needs",
        ),
        doubles(lambda each: is_presence(each, "subscribe")),
    ),
    "requests lose their content": Fault(
        ("a request waits for the contact", "a request goes to all available resources"),
        changes(lambda each: is_presence(each, "subscribe"), lambda each: replace(each, children=[])),
    ),
    "approvals do not come": Fault(
        (
            "nobody approves but the contact",
            "an approval ends the request",
            "an approval is from the bare jid",
            "pre approval",
            "presence follows the approval",
        ),
        drops(lambda each: is_presence(each, "subscribed")),
    ),
    "approvals lose their id": Fault(
        ("an approval is from the bare jid",),
        changes(lambda each: is_presence(each, "subscribed"), lambda each: but(each, id=None)),
    ),
    "subscriptions come from a full JID": Fault(
        ("subscriptions are from the bare jid", "from is that of the session"),
        changes(
            lambda each: is_presence(each, *SUBSCRIPTION_TYPES),
            lambda each: but(each, from_=f"{each.get('from')}/x"),
        ),
    ),
    "pushes overtake stanzas": Fault(
        (
            "an approval arrives before its push",
            "a cancellation arrives before its push",
            "unsubscribing arrives before its push",
        ),
        swaps_stanza_and_push,
    ),
    "'unsubscribed' does not come": Fault(
        (
            "a denial ends the request",
            "a denial is told",
            "a cancellation is told",
            "a request to nobody is denied",
            "removing cancels",
            "removing ends both",
            "presence",
        ),
        drops(lambda each: is_presence(each, "unsubscribed")),
    ),
    "'unsubscribe' does not come": Fault(
        ("removing unsubscribes", "unsubscribing is told"),
        drops(lambda each: is_presence(each, "unsubscribe")),
    ),
    "errors of presence do not come": Fault(
        ("a request to no jid is malformed", "a request to nobody fails"),
        drops(lambda each: is_presence(each, "error")),
    ),
    # ---- presence
    "presence does not come": Fault(
        (
            "an approval brings presence",
            "initial presence makes a resource available",
            "resources of one user see each other",
            "a new resource is told who is there",
            "presence of strangers is delivered",
            "presence reaches every available resource",
            "an update is broadcast",
            "who comes back begins anew",
            "who comes is told the last presence",
            "presence without to is for subscribers",
            "the roster comes before presence",
        ),
        drops(lambda each: is_presence(each, None)),
    ),
    "unavailable presence does not come": Fault(
        (
            "who is cancelled sees the contact go",
            "who unsubscribes sees the contact go",
            "who is unavailable stays connected",
            "who ends without a word is unavailable",
            "who got directed presence hears the end",
            "own resources hear of the end",
            "a stopping server says who is gone",
            "who is silent too long is unavailable",
        ),
        lambda each, link: (
            [] if is_presence(each, "unavailable") and each.get("from") != link.jid else [each]
        ),
    ),
    "unavailable presence comes twice": Fault(
        ("who ends without a word is unavailable",), doubles(lambda each: is_presence(each, "unavailable"))
    ),
    "presence has no extensions": Fault(("extensions are sent on",), changes(is_presence, only_text)),
    "<show/> in capitals": Fault(
        ("show says the same everywhere", "no show is invented"),
        changes(
            is_presence,
            lambda each: replace(
                each,
                children=[
                    replace(c, children=[c.text.upper()])
                    if isinstance(c, Element) and c.name == "show"
                    else c
                    for c in each.children
                ],
            ),
        ),
    ),
    "everybody sees presence": Fault(
        ("who unsubscribed gets no more", "initial presence makes a resource available"),
        requests=shows_everybody,
    ),
    "subscriptions bring presence": Fault(
        (
            "a cancellation of nothing is ignored",
            "an approval of nothing stays here",
            "unsubscribing from nothing is ignored",
        ),
        requests=shows_who_asks,
    ),
    "every request begins anew": Fault(
        ("who is subscribed bothers nobody",),
        requests=lambda each, _: (
            [but(each, type="unsubscribe"), each] if is_presence(each, "subscribe") else [each]
        ),
    ),
    "'unsubscribe' is ignored": Fault(
        ("a request that is taken back is not delivered",),
        requests=drops(lambda each: is_presence(each, "unsubscribe")),
    ),
    "items are not removed": Fault(
        ("removing takes back a request",),
        requests=lambda each, _: [removes_nothing(each)],
    ),
    "who is available is interested": Fault(
        ("only interested resources get pushes",), requests=asks_for_the_roster
    ),
    "who is interested is available": Fault(
        ("presence comes after the roster",), requests=shows_who_has_a_roster
    ),
    "requests of other clients lose 'from'": Fault(
        ("nobody else can push",), changes(is_stranger_stanza, lambda each: but(each, from_=None))
    ),
    "priorities are lost": Fault(
        ("priorities are honoured",),
        requests=changes(is_presence, lambda each: without(each, lambda child: child.name == "priority")),
    ),
    "unavailable presence looks available": Fault(
        ("nobody stays online after a kill", "a probe for somebody offline"),
        changes(lambda each: is_presence(each, "unavailable"), lambda each: but(each, type=None)),
    ),
    # ---- messages
    "kept messages do not come": Fault(
        ("a stream without a resource is nobody",),
        drops(lambda each: is_message(each) and each.find("delay", DELAY) is not None),
    ),
    "threads are lost": Fault(
        ("threads pass unchanged", "messages"),
        changes(is_message, lambda each: without(each, lambda child: child.name == "thread")),
    ),
    "languages are lost": Fault(
        ("languages pass unchanged",),
        changes(is_message, lambda each: but(each, **{"{http://www.w3.org/XML/1998/namespace}lang": None})),
    ),
    "bodies are trimmed": Fault(
        ("bodies pass unchanged",),
        changes(
            is_message,
            lambda each: replace(
                each,
                children=[
                    replace(c, children=[c.text.strip()])
                    if isinstance(c, Element) and c.name == "body"
                    else c
                    for c in each.children
                ],
            ),
        ),
    ),
    "chat becomes normal": Fault(
        ("messages of a chat stay chat",),
        changes(
            lambda each: is_message(each) and each.get("type") == "chat",
            lambda each: but(each, type="normal"),
        ),
    ),
    "pushes are for nobody": Fault(
        ("a push is from the account",), changes(is_push, lambda each: but(each, to=None))
    ),
    "kept messages have no stamp": Fault(
        (
            "chat is delivered or kept",
            "normal messages are delivered or kept",
            "an unknown type is like none",
        ),
        changes(is_message, lambda each: without(each, lambda child: child.is_("delay", DELAY))),
    ),
    "messages come from the bare JID": Fault(
        (
            "a conversation locks on full jids",
            "messages go where they are addressed",
            "from is that of the session",
        ),
        changes(is_message, lambda each: but(each, from_=(each.get("from") or "").partition("/")[0])),
    ),
    "errors of other clients are lost": Fault(
        ("errors are delivered or dropped",), drops(lambda each: is_message(each) and is_error(each))
    ),
    "headlines do not come": Fault(
        ("headlines are for who is there", "messages"),
        drops(lambda each: is_message(each) and each.get("type") == "headline"),
    ),
    "large messages are cut": Fault(
        ("a body may be large",),
        changes(
            lambda each: is_message(each) and len(str(each)) > 5000,
            lambda each: without(each, lambda child: child.name == "body"),
        ),
    ),
    "requests of other clients do not come": Fault(
        ("requests pass between who see each other",), drops(is_stranger_stanza)
    ),
}


# ---- the relay


class Relay:
    """Listens beside the server, ends TLS on both sides, and passes everything on, spoiled."""

    def __init__(self, folder: Path, target: tuple[str, int], fault: Fault) -> None:
        self.pem = certificate(folder)
        self.target = target
        self.fault = fault
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self.target, 5)
        except OSError:
            client.close()
            return
        pair = Pair(self, client, server)
        with contextlib.suppress(OSError, NotWellFormed):  # either side has gone, or speaks no XML
            pair.run()
        pair.client.close()
        pair.server.close()


def read(source: socket.socket) -> bytes | None:
    """What has come; None if it was no data, but something of TLS alone."""
    source.setblocking(False)
    try:
        return source.recv(65536)
    except (ssl.SSLWantReadError, BlockingIOError):
        return None
    finally:
        source.settimeout(5)


class Pair:
    """One client's connection and ours to the server."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self.relay = relay
        self.client = client
        self.server = server
        self.link = Link()
        self.answers, self.requests = StreamReader(), StreamReader()

    def run(self) -> None:
        while True:
            sockets = (self.client, self.server)
            waiting = [each for each in sockets if isinstance(each, ssl.SSLSocket) and each.pending()]
            for source in waiting or select.select(sockets, [], [])[0]:
                data = read(source)
                if data == b"":
                    return
                if data is not None:
                    (self._from_client if source is self.client else self._from_server)(data)

    def _from_client(self, data: bytes) -> None:
        if self.relay.fault.requests is None or not self.link.jid:
            self.server.sendall(data)
            return
        self.requests.feed(data)
        while (event := self.requests.next()) is not None:
            self.server.sendall(self._text(event, self.relay.fault.requests))

    def _from_server(self, data: bytes) -> None:
        self.answers.feed(data)
        while (event := self.answers.next()) is not None:
            self.client.sendall(self._text(event, self.relay.fault.answers))
            if isinstance(event, Element):
                self._follow(event)

    def _follow(self, event: Element) -> None:
        """A new stream begins, or a resource is bound."""
        if event.is_("proceed", TLS):
            self._start_tls()
            self.answers.restart()
        elif event.is_("success", SASL):
            self.answers.restart()
        elif not self.link.jid and event.is_("iq", CLIENT) and event.elements:
            jid = next((each.text for each in event.everything() if each.name == "jid"), "")
            if jid:
                self.link.jid = jid
                self.requests.feed(f"<stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAMS}'>".encode())
                self.requests.next()

    def _start_tls(self) -> None:
        here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        here.load_cert_chain(self.relay.pem)
        there = ssl.create_default_context()
        there.check_hostname = False
        there.verify_mode = ssl.CERT_NONE
        self.server = there.wrap_socket(self.server, server_hostname="one.example")
        self.client = here.wrap_socket(self.client, server_side=True)

    def _text(self, event: object, spoil: Spoil | None) -> bytes:
        if isinstance(event, Header):
            given = "".join(
                f" {'xml:' if name[0] == '{' else ''}{name.rpartition('}')[2]}='{value}'"
                for name, value in event.element.attributes.items()
            )
            return f"<?xml version='1.0'?><stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAMS}'{given}>".encode()
        if isinstance(event, Closed):
            return b"</stream:stream>"
        if isinstance(event, Text):
            return event.text.encode()
        assert isinstance(event, Element)
        if spoil is None or event.namespace != CLIENT or is_fence(event) or not self.link.jid:
            return written(event).encode()
        return "".join(written(each) for each in spoil(event, self.link)).encode()


class Spoiled(Xmppd):
    """The launcher of this server, with a relay in front of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._relay_folder = folder
        self._relay: Relay | None = None
        self.fault = Fault(())

    def start(self, domains: list[str], settings: Settings) -> Facts:
        return self._behind(super().start(domains, settings))

    def change(self, settings: Settings) -> Facts:
        return self._behind(super().change(settings))

    def restart(self) -> Facts:
        return self._behind(super().restart())

    def break_with(self, fault: Fault) -> None:
        """From now on this is wrong."""
        self.fault = fault
        if self._relay is not None:
            self._relay.fault = fault

    def _behind(self, facts: Facts) -> Facts:
        if facts.port == getattr(self._relay, "port", None):
            return facts
        if self._relay is None:
            self._relay = Relay(self._relay_folder, (facts.host, facts.port), self.fault)
        self._relay.target = (facts.host, facts.port)
        return replace(
            facts, host="127.0.0.1", port=self._relay.port, port6=None, ca_file=str(self._relay.pem)
        )

    def close(self) -> None:
        super().close()
        if self._relay is not None:
            self._relay.close()
