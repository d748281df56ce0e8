"""People who use instant messaging, in the words of RFC 6121: their resources, rosters, subscriptions, presence.

juliet, romeo = strangers(site, 2)          # nothing is between them, their rosters are empty
desk, phone = juliet.available(), romeo.available()
reach("to", desk, phone)                    # juliet is subscribed to romeo
phone.presence("unsubscribed", juliet)
desk.push(romeo, subscription="none")       # a roster push that says this has to come
settle(desk, phone)                         # whatever was to come because of all this has come
expect(not desk.heard("presence"), "...")   # since the last forget()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape, quoteattr

from xmppd.conformance.check import expect
from xmppd.conformance.client import CLOSING_TAG, Client, describe, stanza_condition
from xmppd.conformance.names import CLIENT, DELAY, ROSTER, STANZA_ID, STREAMS, XML
from xmppd.conformance.subject import Account
from xmppd.conformance.verdict import CouldNotTest, NotMet
from xmppd.conformance.xmlstream import Element

if TYPE_CHECKING:
    from xmppd.conformance.site import Site

NOBODY_KNOWS: Final = "nobody-knows-"  # the contacts that `settle` removes, though they are in no roster
SUBSCRIPTIONS: Final = ("none", "to", "from", "both")

# RFC 6121 A.1: the nine states of a user towards a contact, and how two strangers get there
STATES: Final = {
    "none": (),
    "none + pending out": ("user asks",),
    "none + pending in": ("contact asks",),
    "none + pending out+in": ("user asks", "contact asks"),
    "to": ("user asks", "contact approves"),
    "to + pending in": ("user asks", "contact approves", "contact asks"),
    "from": ("contact asks", "user approves"),
    "from + pending out": ("contact asks", "user approves", "user asks"),
    "both": ("user asks", "contact approves", "contact asks", "user approves"),
}


def subscription_of(state: str) -> str:
    """The 'subscription' of the roster item in a state."""
    return state.partition(" ")[0]


def asks(state: str) -> bool:
    """Whether the roster item has ask='subscribe' in a state."""
    return "pending out" in state


class Resource(Client):
    """A connected resource of somebody."""

    def __init__(self, person: Person) -> None:
        super().__init__(person.site.connection(), person.site.subject, person.site.domain)
        self.person = person
        self._mark = 0
        self._taken: set[int] = set()  # ids of elements

    # ---- what came

    def forget(self) -> None:
        """`heard` is about what comes from now on."""
        self._mark = len(self.seen)

    def heard(self, name: str, **attributes: str | None) -> list[Element]:
        """The stanzas of that name since `forget`; an attribute that is None is absent from them."""
        return [each for each in self.seen[self._mark :] if each.is_(name, CLIENT) and fits(each, attributes)]

    def shown(self, jid: str) -> list[Element]:
        """The presence, available or not, of a resource that came since `forget`."""
        return [
            each for each in self.heard("presence", from_=jid) if each.get("type") in (None, "unavailable")
        ]

    def pushes(self) -> list[Element]:
        """The roster pushes since `forget`; what a server pushes because of `settle` is not counted."""
        found = [(each, pushed(each)) for each in self.heard("iq", type="set")]
        return [
            each for each, item in found if item is not None and NOBODY_KNOWS not in (item.get("jid") or "")
        ]

    def take(self, wanted: Callable[[Element], bool], words: str) -> Element:
        """A stanza that came since `forget` and was not taken yet, or else one that comes."""
        for each in self.seen[self._mark :]:
            if id(each) not in self._taken and wanted(each):
                self._taken.add(id(each))
                return each
        while True:
            event = self.next_solid()
            if not isinstance(event, Element) or event.is_("error", STREAMS):
                raise NotMet(f"waited for {words}, but {describe(event)}")
            if wanted(event):
                self._taken.add(id(event))
                return event

    def comes(self, name: str, **attributes: str | None) -> Element:
        """A stanza with these attributes."""
        words = " ".join([name, *(f"{key.rstrip('_')}={value!r}" for key, value in attributes.items())])
        return self.take(lambda each: each.is_(name, CLIENT) and fits(each, attributes), f"<{words}/>")

    def push(self, contact: Person | str, **attributes: str | None) -> Element:
        """A roster push whose item is for the contact and has these attributes; the item."""
        others: list[Element] = []

        def is_it(stanza: Element) -> bool:
            item = pushed(stanza) if stanza.is_("iq", CLIENT) else None
            if item is None or item.get("jid") != str(contact):
                return False
            others.append(item)
            return fits(item, attributes)

        try:
            self.take(is_it, "a roster push")
        except NotMet as ended:
            words = " and ".join(f"{name}={value!r}" for name, value in attributes.items())
            seen = f"the last one had {others[-1]}" if others else ended.why
            raise NotMet(f"no roster push of {contact} {words and f'with {words} '}came: {seen}") from None
        return others[-1]

    def presence_of(self, jid: str, kind: str | None = None) -> Element:
        """Presence from this address, available or of this type."""
        return self.comes("presence", from_=jid, type=kind)

    # ---- rosters

    def roster_query(self, version: str | None = None) -> Element:
        """The <query/> of the roster, asked for as at the log-in."""
        given = "" if version is None else f" ver={quoteattr(version)}"
        answer = self.iq("get", f"<query xmlns='{ROSTER}'{given}/>")
        query = answer.find("query", ROSTER)
        if answer.get("type") != "result" or query is None:
            raise NotMet(f"asked for the roster, but {describe(answer)}")
        return query

    def roster(self) -> dict[str, Element]:
        """The items of the roster by their JIDs."""
        items = self.roster_query().elements
        found = {item.get("jid") or "": item for item in items}
        expect(len(found) == len(items), f"an item is twice in the roster: {[str(item) for item in items]}")
        return found

    def item(self, contact: Person | str) -> Element:
        """The item of a contact in the roster."""
        found = self.roster().get(str(contact))
        if found is None:
            raise NotMet(f"{contact} is not in the roster")
        return found

    def set_item(
        self, contact: Person | str, *, name: str | None = None, groups: Iterable[str] = (), more: str = ""
    ) -> Element:
        """A roster set for a contact; its answer."""
        return self.iq("set", roster_set(item_xml(str(contact), name=name, groups=groups, more=more)))

    def remove_item(self, contact: Person | str) -> Element:
        """A roster set that removes a contact; its answer."""
        return self.set_item(contact, more=" subscription='remove'")

    def ask_to_remove_nobody(self) -> str:
        """Send a roster set that changes nothing; its id."""
        nobody = f"{NOBODY_KNOWS}{self.new_id()}@{self.domain}"
        return self.request("set", roster_set(item_xml(nobody, more=" subscription='remove'")))

    # ---- presence

    def presence(self, kind: str | None = None, to: Person | str | None = None, inside: str = "") -> str:
        """Send presence; its id."""
        id_ = self.new_id()
        words = f" id='{id_}'"
        if kind is not None:
            words += f" type='{kind}'"
        if to is not None:
            words += f" to={quoteattr(str(to))}"
        self.send(f"<presence{words}>{inside}</presence>" if inside else f"<presence{words}/>")
        return id_

    def leave(self) -> None:
        """Unavailable, and the stream closed; the server has dealt with it."""
        leave(self)


@dataclass(frozen=True)
class Person:
    """Somebody with an account."""

    site: Site
    account: Account

    def __str__(self) -> str:
        return self.account.jid

    @property
    def jid(self) -> str:
        """The bare JID."""
        return self.account.jid

    def connected(self, resource: str | None = None) -> Resource:
        """A resource that is bound, and no more."""
        client = Resource(self)
        client.login(self.account, resource)
        return client

    def interested(self, resource: str | None = None) -> Resource:
        """A resource that has asked for the roster, so that it gets pushes (RFC 6121 2.2)."""
        client = self.connected(resource)
        client.roster_query()
        return client

    def available(self, resource: str | None = None, inside: str = "") -> Resource:
        """A resource that has asked for the roster and has sent initial presence."""
        client = self.interested(resource)
        client.presence(inside=inside)
        client.before_ping()
        return client


def person(site: Site, number: int) -> Person:
    """Whose account has this number; the same as in `strangers`."""
    return Person(site, site.account(number))


# ---- writing and reading


def item_xml(jid: str, *, name: str | None = None, groups: Iterable[str] = (), more: str = "") -> str:
    """<item/>; `more` are further attributes as they are written."""
    given = "" if name is None else f" name={quoteattr(name)}"
    inside = "".join(f"<group>{escape(group)}</group>" for group in groups)
    return f"<item jid={quoteattr(jid)}{given}{more}>{inside}</item>"


def roster_set(items: str) -> str:
    """What is in an IQ set that changes the roster."""
    return f"<query xmlns='{ROSTER}'>{items}</query>"


def fits(element: Element, attributes: dict[str, str | None]) -> bool:
    """Whether an element has these attributes; None: it has not."""
    return all(element.get(name.rstrip("_")) == value for name, value in attributes.items())


def pushed(stanza: Element) -> Element | None:
    """The item of a roster push, or None if the stanza is none."""
    query = stanza.find("query", ROSTER)
    if stanza.get("type") != "set" or query is None:
        return None
    expect(len(query.elements) == 1, f"a roster push has {len(query.elements)} items: {stanza}")
    return query.elements[0]


def groups_of(item: Element) -> list[str]:
    """The groups of a roster item, in order of the alphabet."""
    return sorted(child.text for child in item.elements if child.is_("group", ROSTER))


def contents(stanza: Element) -> list[str]:
    """What the sender has put into a stanza, in canonical form and in the order of the alphabet.

    It does not matter if a server adds its stamp or id, or says the language that holds anyway.
    """
    lang = stanza.get("xml:lang") or "en"  # that of the stream

    def plain(child: Element) -> str:
        given = dict(child.attributes)
        if child.get("xml:lang") == lang:
            del given[f"{{{XML}}}lang"]
        return str(Element(child.namespace, child.name, given, child.children))

    own = (("delay", DELAY), ("stanza-id", STANZA_ID))
    return sorted(plain(child) for child in stanza.elements if (child.name, child.namespace) not in own)


def state_of(item: Element | None) -> tuple[str, str | None]:
    """What an item says about the subscription: 'subscription', whose default is none, and 'ask'."""
    if item is None:
        return "none", None
    return item.get("subscription") or "none", item.get("ask")


def expect_refusal(answer: Element, *conditions: str) -> None:
    """The answer is an error with one of these conditions."""
    found = stanza_condition(answer)
    expect(found in conditions, f"expected the error {' or '.join(conditions)}, but it is {found}")


def expect_result(answer: Element) -> None:
    """The answer is an empty IQ result."""
    expect(
        answer.get("type") == "result" and not answer.elements, f"expected an empty result, but {answer} came"
    )


def is_refused(client: Client) -> bool:
    """Whether the server has ended the stream because of a forged address (RFC 6120 4.9.3.9)."""
    try:
        client.before_ping()
    except NotMet:
        last = client.seen[-1] if client.seen else None
        if last is None or not last.is_("error", STREAMS) or "invalid-from" not in str(last):
            raise
        return True
    return False


# ---- what has come, and what has not


def settle(*resources: Resource) -> None:
    """Everything that was caused until now has come to these resources.

    All ask twice to remove a contact that they have not, which has to wait for every change of their rosters before
    it; the second time for what the changes of the others have caused. In the end each has a message from every
    other, which comes behind what the other sent or caused before (RFC 6120 10.1).
    """
    for _ in range(2):
        asked = [(resource, resource.ask_to_remove_nobody()) for resource in resources]
        for resource, id_ in asked:
            resource.wait_for("iq", id=id_)
    fences = {
        listener: {speaker.message(listener.jid, "fence") for speaker in resources} for listener in resources
    }
    for listener, ids in fences.items():
        while ids:
            ids.discard(listener.wait_for("message").get("id") or "")


def leave(*resources: Resource) -> None:
    """All become unavailable and close their streams; the server has dealt with it."""
    for resource in resources:
        resource.presence("unavailable")
        resource.send(CLOSING_TAG)
    for resource in resources:
        resource.expect_closed()


# ---- subscriptions


def reach(state: str, user: Resource, contact: Resource) -> None:
    """Bring two strangers, both available, so far that the user's state towards the contact is this one."""
    here, there = bare(user.jid), bare(contact.jid)
    try:
        for step in STATES[state]:
            who, does = step.split()
            one, other = (user, there) if who == "user" else (contact, here)
            two = contact if one is user else user
            one.presence("subscribe" if does == "asks" else "subscribed", other)
            two.presence_of(bare(one.jid), "subscribe" if does == "asks" else "subscribed")
        until = time.monotonic() + user.patience_s
        wanted = (subscription_of(state), "subscribe" if asks(state) else None)
        while True:
            settle(user, contact)
            found = state_of(user.roster().get(there))
            if found == wanted:
                break
            if time.monotonic() > until:
                raise NotMet(f"the roster says subscription={found[0]!r} ask={found[1]!r}")
    except NotMet as ended:
        raise CouldNotTest(f"the state {state} could not be reached: {ended.why}") from None
    user.forget()
    contact.forget()


def bare(jid: str) -> str:
    """The bare JID of an address."""
    return jid.partition("/")[0]


# ---- strangers


def strangers(site: Site, number: int) -> list[Person]:
    """That many people whose rosters are empty, who know nothing of each other and have nobody connected.

    What the check has connected before is not any more.
    """
    site.hang_up()
    people = [person(site, each) for each in range(number)]
    try:
        cleaners = [person.available() for person in people]
        for cleaner in cleaners:
            _be_alone(cleaner)
        for cleaner in cleaners:
            _forget_everybody(cleaner)
        settle(*cleaners)
        for cleaner in cleaners:
            left = cleaner.roster()
            expect(not left, f"{', '.join(left)} cannot be removed from the roster of {bare(cleaner.jid)}")
        leave(*cleaners)
    except NotMet as ended:
        raise CouldNotTest(f"the accounts cannot be brought to a clean state: {ended.why}") from None
    return people


def _be_alone(cleaner: Resource) -> None:
    """The account's resources of earlier checks have gone."""
    cleaner.before_message(cleaner)
    own = bare(cleaner.jid)
    there: set[str] = set()
    for each in cleaner.heard("presence"):
        jid = each.get("from") or ""
        if bare(jid) == own and jid != cleaner.jid:
            (there.discard if each.get("type") == "unavailable" else there.add)(jid)
    for jid in there:
        cleaner.presence_of(jid, "unavailable")


def _forget_everybody(cleaner: Resource) -> None:
    """No contact, no request, no approval is left, whatever earlier checks did."""
    for jid in cleaner.roster():
        expect_result(cleaner.remove_item(jid))
    for account in cleaner.subject.accounts:
        if account.jid != bare(cleaner.jid):
            cleaner.presence("unsubscribed", account.jid)
            cleaner.presence("unsubscribe", account.jid)
    cleaner.before_ping()
