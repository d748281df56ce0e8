"""2.11 Roster management (rows 6-1 to 6-31)."""

from __future__ import annotations

from typing import Final

from xmppd.conformance.check import check, expect
from xmppd.conformance.client import describe
from xmppd.conformance.names import CLIENT, ROSTER, STANZA_ERRORS
from xmppd.conformance.people import (
    STATES,
    SUBSCRIPTIONS,
    Resource,
    asks,
    bare,
    expect_refusal,
    expect_result,
    groups_of,
    is_refused,
    item_xml,
    person,
    pushed,
    reach,
    roster_set,
    settle,
    state_of,
    strangers,
    subscription_of,
)
from xmppd.conformance.site import Site
from xmppd.conformance.verdict import CouldNotTest, NotMet
from xmppd.conformance.xmlstream import Element

UNAVAILABLE: Final = f"<service-unavailable xmlns='{STANZA_ERRORS}'/>"
VERSIONING: Final = "urn:xmpp:features:rosterver"
CROWD: Final = 1000  # 6-13.1
AT_ONCE: Final = 50  # requests that are sent before their answers are read


def friend(site: Site, name: str = "friend") -> str:
    """The JID of somebody who is not there; a roster does not mind."""
    return f"{name}@{site.domain}"


def with_subscriptions(item: Element) -> None:
    """An item says one of the four subscriptions, or nothing, which is none (RFC 6121 2.1.2.5)."""
    said = item.get("subscription")
    expect(said in (None, *SUBSCRIPTIONS), f"an item has subscription={said!r}: {item}")


# ---- 6-1 to 6-9: the roster and its items --------------------------------------------------------------------


@check("6-1.1", area="im")
def all_devices_have_the_same_roster(site: Site) -> None:
    """RFC 6121 2.1: what one resource adds, changes and removes another one reads."""
    [juliet] = strangers(site, 1)
    desk, phone = juliet.connected(), juliet.connected()
    for change in ("name='One'", "name='Two'", "subscription='remove'"):
        expect_result(desk.iq("set", roster_set(f"<item jid='{friend(site)}' {change}/>")))
        mine, other = desk.roster(), phone.roster()
        expect(
            [str(item) for item in mine.values()] == [str(item) for item in other.values()],
            f"one resource reads {describe(mine.get(friend(site)))}, another {describe(other.get(friend(site)))}",
        )
        expect(bool(mine) == ("remove" not in change), f"after {change} the roster has {len(mine)} items")


@check("6-1.2", area="im")
def the_roster_is_at_the_own_bare_jid_only(site: Site) -> None:
    """RFC 6121 2.1: 'to' may be the own bare JID; the roster of somebody else is neither told nor changed."""
    juliet, romeo = strangers(site, 2)
    desk, other = juliet.connected(), romeo.interested()
    expect_result(other.set_item(friend(site), name="A friend of Romeo"))
    expect_result(
        desk.iq("set", roster_set(item_xml(friend(site), name="A friend of Juliet")), to=juliet.jid)
    )
    answer = desk.iq("get", roster_set(""), to=juliet.jid)
    query = answer.find("query", ROSTER)
    expect(query is not None and len(query.elements) == 1, f"the roster at the bare JID is {answer}")
    for kind, content in (
        ("get", ""),
        ("set", item_xml(friend(site), name="Changed")),
        ("set", item_xml(friend(site), more=" subscription='remove'")),
        ("set", item_xml(friend(site, "another"))),
    ):
        answer = desk.iq(kind, roster_set(content), to=romeo.jid)
        expect_refusal(answer, "forbidden", "service-unavailable")
        expect("A friend of Romeo" not in str(answer), f"the answer reveals the roster: {answer}")
    settle(desk, other)
    expect(
        other.item(friend(site)).get("name") == "A friend of Romeo", "the roster was changed by somebody else"
    )
    expect(len(other.roster()) == 1, "somebody else has added an item")


@check("6-2.a", area="im")
def a_new_item_has_no_subscription(site: Site) -> None:
    """RFC 6121 2.1.2.5: 'none', or the attribute is absent."""
    [juliet] = strangers(site, 1)
    desk = juliet.connected()
    expect_result(desk.set_item(friend(site)))
    said = desk.item(friend(site)).get("subscription")
    expect(said in (None, "none"), f"a new item has subscription={said!r}")


def in_state(site: Site, state: str) -> tuple[Resource, Resource]:
    """Juliet is in this state towards Romeo."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    reach(state, desk, phone)
    return desk, phone


def reads(user: Resource, contact: str, subscription: str) -> None:
    """The roster says so."""
    said = user.item(contact).get("subscription")
    expect(said == subscription, f"the roster says subscription={said!r}, not {subscription!r}")


@check("6-2.b", "6-2.c", area="im")
def one_is_subscribed(site: Site) -> None:
    """RFC 6121 2.1.2.5: 'to' for who is subscribed, 'from' for the other."""
    desk, phone = in_state(site, "to")
    reads(desk, site.account(1).jid, "to")
    reads(phone, site.account(0).jid, "from")


@check("6-2.d", area="im")
def both_are_subscribed(site: Site) -> None:
    """RFC 6121 2.1.2.5: 'both' for both."""
    desk, phone = in_state(site, "both")
    reads(desk, site.account(1).jid, "both")
    reads(phone, site.account(0).jid, "both")


@check("6-3.1", "6-4.1", area="im")
def items_have_a_defined_subscription(site: Site) -> None:
    """RFC 6121 2.1.2.5: in results none, to, from or both; in pushes remove, too; from the first item to its end."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    for who, kind, contact in (
        (desk, "subscribe", romeo),
        (phone, "subscribed", juliet),
        (phone, "subscribe", juliet),
        (desk, "subscribed", romeo),
        (desk, "unsubscribed", romeo),
        (desk, "unsubscribe", romeo),
    ):
        who.presence(kind, contact)
        settle(desk, phone)
        for client in (desk, phone):
            for item in client.roster().values():
                with_subscriptions(item)
    for client in (desk, phone):
        for jid in client.roster():
            expect_result(client.remove_item(jid))
        for item in client.roster().values():
            with_subscriptions(item)
    settle(desk, phone)
    seen = [pushed(each) for client in (desk, phone) for each in client.pushes()]
    expect(len(seen) >= 2, "no roster pushes came")
    for pushed_item in seen:
        assert pushed_item is not None
        if pushed_item.get("subscription") != "remove":
            with_subscriptions(pushed_item)


@check("6-5.1", "6-14.b", area="im")
def a_client_cannot_say_the_subscription(site: Site) -> None:
    """RFC 6121 2.1.2.5: the set is done without error, and the subscription stays none."""
    [juliet] = strangers(site, 1)
    desk = juliet.interested()
    for number, said in enumerate(("both", "to", "from", "foo", "")):
        name = f"Friend {number}"
        expect_result(desk.set_item(friend(site), name=name, more=f" subscription='{said}'"))
        item = desk.push(friend(site), name=name)
        expect(state_of(item) == ("none", None), f"after a set with {said!r} the push says {item}")
        item = desk.item(friend(site))
        expect(item.get("name") == name, f"the set with subscription={said!r} was not done: {item}")
        expect(state_of(item) == ("none", None), f"after a set with {said!r} the roster says {item}")


@check("6-5.2", area="im")
def a_client_cannot_say_ask_and_approved(site: Site) -> None:
    """RFC 6121 2.1.2.1, 2.1.2.2: they are ignored in a set: no request, no approval."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    expect_result(desk.set_item(romeo, name="Romeo", more=" ask='subscribe' approved='true'"))
    pushed_item = desk.push(romeo, name="Romeo")
    for item in (pushed_item, desk.item(romeo)):
        expect(item.get("ask") is None, f"the server took over 'ask': {item}")
        expect(item.get("approved") in (None, "false", "0"), f"the server took over 'approved': {item}")
    phone.presence("subscribe", juliet)
    settle(desk, phone)
    expect(
        not phone.heard("presence", type="subscribed"), "the request was approved because of the roster set"
    )


@check("6-6.1", area="im")
def names_come_back(site: Site) -> None:
    """RFC 6121 2.1.2.4: unchanged, whatever is in them; absent or empty if there is none."""
    [juliet] = strangers(site, 1)
    desk = juliet.connected()
    for name in ("Bob & S\u00f6hne", "<Bob>", '"Bob\'s"', "\u6f22\u5b57 \U0001f600", "a  b"):
        expect_result(desk.set_item(friend(site), name=name))
        found = desk.item(friend(site)).get("name")
        expect(found == name, f"the name {name!r} came back as {found!r}")
    for empty in (None, ""):
        expect_result(desk.set_item(friend(site), name="Bob"))
        expect_result(desk.set_item(friend(site), name=empty))
        found = desk.item(friend(site)).get("name")
        expect(not found, f"after a set with name {empty!r} it is {found!r}")


@check("6-6.2", area="im")
def a_name_can_be_too_long(site: Site) -> None:
    """RFC 6121 2.3.3: <not-acceptable/>; 9,000 letters are above any sensible limit, and below that of stanzas."""
    [juliet] = strangers(site, 1)
    desk = juliet.connected()
    expect_refusal(desk.set_item(friend(site), name="x" * 9000), "not-acceptable")
    expect(not desk.roster(), "the item was stored all the same")


@check("6-7.1", area="im")
def ask_is_there_while_a_request_is_open(site: Site) -> None:
    """RFC 6121 2.1.2.2: in the push and in the roster; gone after approval, denial and withdrawal."""
    for end in ("approved", "denied", "withdrawn"):
        desk, phone = in_state(site, "none")
        romeo, juliet = site.account(1).jid, site.account(0).jid
        desk.presence("subscribe", romeo)
        desk.push(romeo, ask="subscribe")
        expect(desk.item(romeo).get("ask") == "subscribe", "the roster has no ask='subscribe'")
        if end == "withdrawn":
            desk.presence("unsubscribe", romeo)
        else:
            phone.presence_of(juliet, "subscribe")
            phone.presence("subscribed" if end == "approved" else "unsubscribed", juliet)
        desk.push(romeo, ask=None, subscription="to" if end == "approved" else "none")
        settle(desk, phone)
        item = desk.roster().get(romeo)
        expect(state_of(item)[1] is None, f"the request was {end}, but the roster says {describe(item)}")


@check("6-8.1", area="im")
def ask_says_pending_out(site: Site) -> None:
    """RFC 6121 3.1.2, A.1: in the three states with Pending Out, and in none of the six others."""
    for state in STATES:
        juliet, romeo = strangers(site, 2)
        desk, phone = juliet.available(), romeo.available()
        expect_result(desk.set_item(romeo, name="before"))
        reach(state, desk, phone)
        expect_result(desk.set_item(romeo, name="after"))
        for item in (desk.push(romeo, name="after"), desk.item(romeo)):
            wanted = (subscription_of(state), "subscribe" if asks(state) else None)
            expect(state_of(item) == wanted, f"in the state {state} the item is {item}")


@check("6-9.1", "6-26.a", "6-26.b", area="im")
def an_item_is_as_in_the_last_set(site: Site) -> None:
    """RFC 6121 2.1.2.6, 2.4.1: groups and name are those of the last set; the subscription is not touched."""
    for state in ("to", "none + pending out"):
        desk, _ = in_state(site, state)
        romeo = site.account(1).jid
        for name, groups in (
            ("Romeo", ["Friends"]),
            ("Romeo", ["Friends", "Work"]),
            ("Romeo", ["Work"]),
            ("R", ["\u6f22\u5b57", "a & b"]),
            (None, ["Work"]),
            ("Romeo", []),
        ):
            expect_result(desk.set_item(romeo, name=name, groups=groups))
            item = desk.item(romeo)
            expect(groups_of(item) == sorted(groups), f"set were the groups {groups}, but the item is {item}")
            expect((item.get("name") or None) == name, f"set was the name {name!r}, but the item is {item}")
            wanted = (subscription_of(state), "subscribe" if asks(state) else None)
            expect(state_of(item) == wanted, f"a set changed the state {state}: {item}")


@check("6-9.2", area="im")
def groups_can_be_wrong(site: Site) -> None:
    """RFC 6121 2.3.3: the same twice is a <bad-request/>, an empty or very long one <not-acceptable/>."""
    [juliet] = strangers(site, 1)
    desk = juliet.connected()
    expect_refusal(desk.set_item(friend(site), groups=["Friends", "Work", "Friends"]), "bad-request")
    expect_refusal(desk.set_item(friend(site), groups=["Friends", ""]), "not-acceptable")
    expect_refusal(desk.set_item(friend(site), groups=["x" * 9000]), "not-acceptable")
    expect(not desk.roster(), "the item was stored all the same")


# ---- 6-10 to 6-15: get, result, set --------------------------------------------------------------------------


@check("6-10.1", area="im")
def the_roster_can_be_asked_for_at_any_time(site: Site) -> None:
    """RFC 6121 2.1.3: right after binding, with presence, without it again; the resource itself is answered."""
    [juliet] = strangers(site, 1)
    desk, other = juliet.connected("desktop client"), juliet.connected()
    for kind in (None, "unavailable", None):
        answer = desk.iq("get", roster_set(""))
        expect(answer.get("to") in (None, desk.jid), f"the roster went to {answer.get('to')!r}")
        expect(answer.find("query", ROSTER) is not None, f"asked for the roster, but {describe(answer)}")
        desk.presence(kind)
    other.before_ping()
    expect(not [each for each in other.heard("iq") if each.find("query", ROSTER)], "another resource got it")


@check("6-10.2", area="im")
def a_roster_get_has_no_items(site: Site) -> None:
    """RFC 6121 2.1.3: <bad-request/>, or the item is ignored; it is not a way to change the roster."""
    [juliet] = strangers(site, 1)
    desk = juliet.connected()
    answer = desk.iq("get", roster_set(item_xml(friend(site), name="By get")))
    if answer.get("type") == "error":
        expect_refusal(answer, "bad-request")
    expect(not desk.roster(), "a roster get changed the roster")


@check("6-11.1", area="im")
def who_asks_is_interested(site: Site) -> None:
    """RFC 6121 2.1.3, 2.2: after a roster get a resource gets pushes, though it has sent no presence."""
    [juliet] = strangers(site, 1)
    asked, sets = juliet.connected(), juliet.connected()
    asked.roster_query()
    expect_result(sets.set_item(friend(site), name="New"))
    asked.push(friend(site), name="New")


@check("6-12.1", "6-20.1", area="im")
def the_result_has_every_item_as_stored(site: Site) -> None:
    """RFC 6121 2.1.4: one result with the id of the get, one item for each contact, all that belongs to it."""
    juliet, romeo, nurse = strangers(site, 3)
    desk, phone, watch = juliet.available(), romeo.available(), nurse.available()
    expect_result(desk.set_item(romeo, name="Romeo", groups=["Friends", "Lovers"]))
    expect_result(desk.set_item(nurse, name="Nurse", groups=["Servants"]))
    expect_result(desk.set_item(friend(site), name="A & B"))
    reach("to", desk, phone)
    reach("from", desk, watch)
    desk.presence("subscribe", nurse)
    settle(desk, phone, watch)
    for client in (desk, juliet.connected()):
        found = client.roster()
        expect(set(found) == {romeo.jid, nurse.jid, friend(site)}, f"the roster has {', '.join(found)}")
        for jid, name, groups, state in (
            (romeo.jid, "Romeo", ["Friends", "Lovers"], ("to", None)),
            (nurse.jid, "Nurse", ["Servants"], ("from", "subscribe")),
            (friend(site), "A & B", [], ("none", None)),
        ):
            item = found[jid]
            expect(
                (item.get("name"), groups_of(item), state_of(item)) == (name, groups, state),
                f"stored was {name!r}, {groups}, {state}, but the item is {item}",
            )
    watch.presence("subscribed", juliet)
    desk.push(nurse, subscription="both")
    expect(
        state_of(juliet.connected().item(nurse)) == ("both", None), "the item of a mutual contact is wrong"
    )


@check("6-12.2", area="im")
def an_empty_roster_is_an_empty_query(site: Site) -> None:
    """RFC 6121 2.1.4: a result with a <query/> that has no items, not an error."""
    [juliet] = strangers(site, 1)
    query = juliet.connected().roster_query()
    expect(not query.elements, f"the roster of a stranger holds {query}")


@check("6-12.3", area="im")
def a_version_is_answered(site: Site) -> None:
    """RFC 6121 2.6: with 'ver' the answer is empty, or a whole roster with 'ver'; only if that is advertised."""
    [juliet] = strangers(site, 1)
    desk = juliet.connected()
    assert desk.features is not None
    if desk.features.find("ver", VERSIONING) is None:
        site.note("roster versioning is not advertised")
        return
    for given in ("", "no-version-of-this-server"):
        query = desk.roster_query(given)
        expect(query.get("ver") is not None, f"the roster asked for with ver={given!r} has no 'ver'")
    answer = desk.iq("get", f"<query xmlns='{ROSTER}' ver='{query.get('ver')}'/>")
    whole = answer.find("query", ROSTER)
    expect(answer.get("type") == "result", f"asked with the newest version, but {describe(answer)}")
    expect(
        whole is None or whole.get("ver") == query.get("ver"), f"asked with the newest version, but {answer}"
    )


@check("6-12.4", area="im")
def who_only_asks_is_not_in_the_roster(site: Site) -> None:
    """RFC 6121 2.1.4, A.1: a contact in the state None + Pending In is not listed."""
    desk, _ = in_state(site, "none + pending in")
    expect(not desk.roster(), f"the roster lists who only asked: {', '.join(desk.roster())}")


@check("6-13.1", area="im")
def rosters_may_be_large(site: Site) -> None:
    """RFC 6121 2.1.4: 0, 1 and 1000 items with names and groups of other scripts, in one stanza each."""
    [juliet] = strangers(site, 1)
    desk = juliet.connected()
    desk.patience_s *= 3  # a server may be slow with so many
    expect(not desk.roster(), "the empty roster is not empty")
    wanted = [
        (
            f"crowd-{number}@{site.domain}",
            f"\u6f22\u5b57 & M\u00fcller {number}",
            [f"\u0413\u0440\u0443\u043f\u043f\u0430 {number % 7}"],
        )
        for number in range(CROWD)
    ]
    jid, name, groups = wanted[0]
    expect_result(desk.set_item(jid, name=name, groups=groups))
    expect(len(desk.roster()) == 1, "a roster of one item has not one")
    try:
        refused = many(desk, [item_xml(jid, name=name, groups=groups) for jid, name, groups in wanted[1:]])
        if refused is not None:
            raise CouldNotTest(f"a roster cannot have {CROWD} items: {describe(refused)}")
        found = desk.roster()
        expect(len(found) == CROWD, f"stored were {CROWD} items, the result has {len(found)}")
        for jid, name, groups in wanted:
            item = found.get(jid)
            expect(
                item is not None and item.get("name") == name and groups_of(item) == groups,
                f"stored was {jid} {name!r} {groups}, but {describe(item)}",
            )
    finally:
        many(desk, [item_xml(jid, more=" subscription='remove'") for jid, *_ in wanted])


def many(client: Resource, items: list[str]) -> Element | None:
    """Many roster sets, some at a time; the first answer that is an error."""
    refused = None
    for start in range(0, len(items), AT_ONCE):
        ids = [client.new_id() for _ in items[start : start + AT_ONCE]]
        client.send(
            "".join(
                f"<iq type='set' id='{id_}'>{roster_set(item)}</iq>"
                for id_, item in zip(ids, items[start : start + AT_ONCE], strict=True)
            )
        )
        open_ = set(ids)
        while open_:
            answer = client.wait_for("iq")
            if (id_ := answer.get("id")) in open_ and answer.get("type") in ("result", "error"):
                open_.discard(id_ or "")
                if answer.get("type") == "error":
                    refused = refused or answer
    return refused


@check("6-14.a", area="im")
def a_set_has_one_item(site: Site) -> None:
    """RFC 6121 2.1.5: none and two are a <bad-request/>, and nothing is changed."""
    [juliet] = strangers(site, 1)
    desk = juliet.interested()
    two = item_xml(friend(site)) + item_xml(friend(site, "other"))
    for items in ("", two):
        expect_refusal(desk.iq("set", roster_set(items)), "bad-request")
    settle(desk)
    expect(not desk.roster(), "the roster was changed")
    expect(not desk.pushes(), "a push came")


@check("6-15.1", "6-22.1", "6-28.1", area="im")
def items_are_made_changed_and_removed(site: Site) -> None:
    """RFC 6121 2.1.5, 2.3.1, 2.5.1: each set has a result; what else is in a removing one is ignored."""
    [juliet] = strangers(site, 1)
    desk = juliet.connected()
    robert = f"robert@{site.domain}"
    item = f"<item jid='{robert}' name='Robert'><group>Friends</group></item>"
    desk.send(f"<iq type='set' id='ph1xaz53'>{roster_set(item)}</iq>")
    expect_result(desk.wait_for("iq", id="ph1xaz53"))
    found = desk.item(robert)
    expect(found.get("name") == "Robert" and groups_of(found) == ["Friends"], f"added, it is {found}")
    expect_result(desk.set_item(robert, name="Bob"))
    expect(desk.item(robert).get("name") == "Bob", "the item was not changed")
    expect_result(desk.set_item(robert, name="Ignored", groups=["Ignored"], more=" subscription='remove'"))
    expect(not desk.roster(), "the item was not removed")


# ---- 6-16 to 6-18: pushes ------------------------------------------------------------------------------------


def pushes_of_each_kind(site: Site) -> tuple[Resource, list[Element]]:
    """Juliet's resource, and all pushes that it got because of sets, removals and subscriptions."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    expect_result(desk.set_item(romeo, name="Romeo"))
    every: list[Element] = []
    for act in (
        lambda: desk.set_item(romeo, name="R"),
        lambda: desk.presence("subscribe", romeo),
        lambda: phone.presence("subscribed", juliet),
        lambda: desk.presence("unsubscribe", romeo),
        lambda: desk.remove_item(romeo),
    ):
        desk.forget()
        act()
        settle(desk, phone)
        expect(bool(desk.pushes()), "a change of the roster was not pushed")
        every += desk.pushes()
    return desk, every


@check("6-16.a", area="im")
def a_push_has_one_item_and_an_id(site: Site) -> None:
    """RFC 6121 2.1.6: an IQ set with an id that no other push has, and exactly one item; whatever caused it."""
    _, every = pushes_of_each_kind(site)
    ids = [each.get("id") for each in every]
    expect(all(ids) and len(set(ids)) == len(ids), f"the ids of pushes are {ids}")
    for each in every:
        pushed(each)


@check("6-16.b", area="im")
def a_push_is_from_the_account(site: Site) -> None:
    """RFC 6121 2.1.6: 'from' is absent or the bare JID, 'to' the full JID of the resource; whatever caused it."""
    desk, every = pushes_of_each_kind(site)
    for each in every:
        expect(each.get("from") in (None, bare(desk.jid)), f"a push is from {each.get('from')!r}")
        expect(each.get("to") == desk.jid, f"a push is to {each.get('to')!r}")


@check("6-16.x1", area="im")
def nobody_else_can_push(site: Site) -> None:
    """RFC 6121 2.1.6: a roster set of another client to a full JID is from that client, or is refused."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    reach("both", desk, phone)
    for forged in ("", f" from='{juliet.jid}'", f" from='{site.domain}'"):
        forger = romeo.available()
        id_ = forger.new_id()
        item = item_xml("evil@example.org", more=" subscription='both'")
        forger.send(f"<iq type='set' id='{id_}' to='{desk.jid}'{forged}>{roster_set(item)}</iq>")
        settle(desk, *(() if is_refused(forger) else (forger,)))
        for each in desk.heard("iq", type="set", id=id_):
            expect(
                each.get("from") == forger.jid,
                f"a roster set of another client came from {each.get('from')!r}",
            )
    expect("evil@example.org" not in desk.roster(), "another client has changed the roster")


@check("6-17.1", area="im")
def only_interested_resources_get_pushes(site: Site) -> None:
    """RFC 6121 2.1.6: two that have asked for the roster get it, a third that has not gets none."""
    [juliet] = strangers(site, 1)
    one, two, third = juliet.interested(), juliet.interested(), juliet.connected()
    third.presence()
    expect_result(third.set_item(friend(site), name="New"))
    for client in (one, two):
        client.push(friend(site), name="New")
    third.before_ping()
    third.before_message(one)
    expect(not third.pushes(), "a resource that has not asked for the roster got a push")


@check("6-18.1", area="im")
def any_answer_to_a_push_will_do(site: Site) -> None:
    """RFC 6121 2.1.6: a result, an error or none; nothing comes back, and the next push comes."""
    [juliet] = strangers(site, 1)
    desk = juliet.interested()
    for number, answer in enumerate(
        (
            "<iq type='result' id='{id}'/>",
            f"<iq type='error' id='{{id}}'><error type='cancel'>{UNAVAILABLE}</error></iq>",
            "",
            "<iq type='result' id='{id}'/>",
        )
    ):
        name = f"Friend {number}"
        expect_result(desk.set_item(friend(site), name=name))
        desk.push(friend(site), name=name)
        id_ = desk.pushes()[-1].get("id") or ""
        desk.send(answer.replace("{id}", id_))
        desk.expect_nothing()


# ---- 6-19 to 6-21: logging in --------------------------------------------------------------------------------


@check("6-19.1", "8-6.a", area="im")
def the_roster_comes_before_presence(site: Site) -> None:
    """RFC 6121 2.2: without presence of one's own no presence of contacts comes; behind it, it does."""
    _, phone = in_state(site, "to")
    again = person(site, 0).interested()
    again.before_message(phone)
    expect(not again.heard("presence"), "presence came before initial presence was sent")
    expect(site.account(1).jid in again.roster(), "the contact is not in the roster")
    phone.presence(inside="<status>now</status>")
    again.before_message(phone)
    expect(not again.heard("presence"), "presence came before initial presence was sent")
    again.presence()
    again.presence_of(phone.jid)


@check("6-19.2", area="im")
def roster_and_presence_work_in_either_order(site: Site) -> None:
    """RFC 6121 2.2: presence first, and both in one packet."""
    desk, phone = in_state(site, "to")
    get = f"<iq type='get' id='roster'>{roster_set('')}</iq>"
    for both in (f"<presence/>{get}", f"{get}<presence/>"):
        client = person(site, 0).connected()
        client.send(both)
        wanted = {"roster", phone.jid}
        while wanted:
            event = client.next_solid()
            if not isinstance(event, Element):
                raise NotMet(f"waited for the roster and presence, but {describe(event)}")
            if event.is_("iq", CLIENT) and event.get("id") == "roster":
                expect(event.find("query", ROSTER) is not None, f"the roster is {event}")
                wanted.discard("roster")
            elif event.is_("presence", CLIENT):
                wanted.discard(event.get("from") or "")
    desk.before_ping()


@check("6-21.1", "6-25.1", area="im")
def broken_storage_is_an_error(site: Site) -> None:
    """RFC 6121 2.2, 2.3.3: <internal-server-error/> with the same id, no push; the session stays and works later."""
    [juliet] = strangers(site, 1)
    desk = juliet.interested()
    desk.patience_s = 15.0  # a server may wait for its storage
    expect_result(desk.set_item(friend(site), name="Before"))
    desk.push(friend(site))
    desk.forget()
    site.change(storage_locked=True)
    desk.send(f"<iq type='get' id='broken'>{roster_set('')}</iq>")
    answer = desk.wait_for("iq", id="broken")
    if answer.get("type") == "result":  # it had no need to ask the storage
        query = answer.find("query", ROSTER)
        expect(query is not None and len(query.elements) == 1, f"the roster was read wrongly: {answer}")
    else:
        storage_error(answer)
    desk.forget()
    storage_error(desk.set_item(friend(site), name="While it is broken"))
    storage_error(desk.remove_item(friend(site)))
    desk.before_ping()
    expect(not desk.pushes(), "a push came for a change that failed")
    site.change()
    expect(desk.item(friend(site)).get("name") == "Before", "a change that was refused was made")
    expect_result(desk.set_item(friend(site), name="After"))


def storage_error(answer: Element) -> None:
    """The error for what is the server's own fault (RFC 6120 8.3.3.6)."""
    expect_refusal(answer, "internal-server-error")
    error = answer.find("error")
    assert error is not None
    expect(error.get("type") in ("cancel", "wait"), f"the error has the type {error.get('type')!r}")


# ---- 6-23 to 6-27: adding and changing -----------------------------------------------------------------------


@check("6-23.1", area="im")
def an_answered_set_outlives_a_kill(site: Site) -> None:
    """RFC 6121 2.3.2: the result comes when the item is in persistent storage: kill the server at once."""
    [juliet] = strangers(site, 1)
    desk = juliet.connected()
    expect_result(desk.set_item(friend(site), name="Stored", groups=["Friends"]))
    site.kill_and_start()
    item = juliet.connected().roster().get(friend(site))
    expect(
        item is not None and item.get("name") == "Stored" and groups_of(item) == ["Friends"],
        f"after the kill {describe(item)}",
    )


@check("6-8.2", "6-27.1", "6-29.1", area="im")
def rosters_outlive_a_restart(site: Site) -> None:
    """RFC 6121 2.4.2, 2.5.2, 3.1.2: a changed item, a removed one and an open request are the same after it."""
    juliet, romeo = strangers(site, 2)
    desk = juliet.available()
    expect_result(desk.set_item(friend(site), name="Before", groups=["Friends"]))
    expect_result(desk.set_item(friend(site), name="After", groups=["Work"]))
    expect_result(desk.set_item(friend(site, "removed")))
    expect_result(desk.remove_item(friend(site, "removed")))
    desk.presence("subscribe", romeo)
    desk.push(romeo, ask="subscribe")
    site.restart()
    found = juliet.connected().roster()
    expect(set(found) == {friend(site), romeo.jid}, f"after the restart the roster has {', '.join(found)}")
    changed = found[friend(site)]
    expect(
        changed.get("name") == "After" and groups_of(changed) == ["Work"],
        f"after the restart it has {changed}",
    )
    expect(
        state_of(found[romeo.jid]) == ("none", "subscribe"), f"after the restart it has {found[romeo.jid]}"
    )


@check("6-23.2", area="im")
def the_result_of_a_set_is_empty(site: Site) -> None:
    """RFC 6121 2.1.5: an IQ result without children, with the id of the set, once."""
    [juliet] = strangers(site, 1)
    desk = juliet.connected()
    answer = desk.set_item(friend(site))
    expect_result(answer)
    desk.before_ping()
    same = [each for each in desk.heard("iq") if each.get("id") == answer.get("id")]
    expect(len(same) == 1, f"{len(same)} results came")


@check("6-24.1", area="im")
def a_new_item_is_pushed_to_all(site: Site) -> None:
    """RFC 6121 2.3.2: to each interested resource, the one that has sent the set, too; with 'ver' if there is one."""
    [juliet] = strangers(site, 1)
    desk, phone = juliet.interested(), juliet.interested()
    assert desk.features is not None
    versions = desk.features.find("ver", VERSIONING) is not None
    expect_result(desk.set_item(friend(site), name="New", groups=["Friends"]))
    for client in (desk, phone):
        item = client.push(friend(site), name="New")
        expect(state_of(item) == ("none", None) and groups_of(item) == ["Friends"], f"the push has {item}")
        query = client.pushes()[-1].find("query", ROSTER)
        expect(not versions or bool(query and query.get("ver")), "the push has no 'ver'")


@check("6-25.1", area="im")
def a_wrong_set_is_refused(site: Site) -> None:
    """RFC 6121 2.3.3: each fault its error; nothing is stored and nothing pushed."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.interested(), romeo.interested()
    two = item_xml(friend(site)) + item_xml(friend(site, "other"))
    for to, items, conditions in (
        (romeo.jid, item_xml(friend(site)), ("forbidden", "service-unavailable")),
        (None, two, ("bad-request",)),
        (None, item_xml(friend(site), groups=["A", "A"]), ("bad-request",)),
        (None, item_xml(friend(site), groups=[""]), ("not-acceptable",)),
        (None, item_xml(friend(site), groups=["x" * 9000]), ("not-acceptable",)),
        (None, item_xml(friend(site), name="x" * 9000), ("not-acceptable",)),
        (None, item_xml("not a@jid@at all"), ("jid-malformed", "bad-request")),
        (None, "<item name='No JID'/>", ("jid-malformed", "bad-request")),
    ):
        expect_refusal(desk.iq("set", roster_set(items), to=to), *conditions)
    settle(desk, phone)
    for client in (desk, phone):
        expect(not client.pushes(), "a set that was refused was pushed")
        expect(not client.roster(), "a set that was refused was stored")


@check("6-25.2", area="im")
def a_roster_can_be_full(site: Site) -> None:
    """RFC 6121 2.3.3: <resource-constraint/> or <not-allowed/> beyond the configured size, and no change."""
    [juliet] = strangers(site, 1)
    site.change(roster_items=3)
    desk = juliet.connected()
    for number in range(3):
        expect_result(desk.set_item(friend(site, f"friend{number}")))
    expect_refusal(desk.set_item(friend(site, "one-too-many")), "resource-constraint", "not-allowed")
    expect(len(desk.roster()) == 3, f"the roster has {len(desk.roster())} items")
    expect_result(desk.set_item(friend(site, "friend0"), name="Items may still change"))


@check("6-27.1", area="im")
def an_update_is_pushed_and_answered(site: Site) -> None:
    """RFC 6121 2.4.2: the whole new item to all interested resources, a result to the sender."""
    [juliet] = strangers(site, 1)
    desk, phone = juliet.interested(), juliet.interested()
    expect_result(desk.set_item(friend(site), name="Before", groups=["Friends"]))
    for client in (desk, phone):
        client.push(friend(site), name="Before")
    expect_result(phone.set_item(friend(site), name="After", groups=["Friends", "Work"]))
    for client in (desk, phone):
        item = client.push(friend(site), name="After")
        expect(groups_of(item) == ["Friends", "Work"], f"the push has {item}")


# ---- 6-29 to 6-31: removing ----------------------------------------------------------------------------------


@check("6-29.1", area="im")
def a_removal_is_pushed_and_answered(site: Site) -> None:
    """RFC 6121 2.5.2: subscription='remove' to all interested resources, a result, and the item is gone."""
    [juliet] = strangers(site, 1)
    desk, phone = juliet.interested(), juliet.interested()
    expect_result(desk.set_item(friend(site), name="Before"))
    expect_result(desk.remove_item(friend(site)))
    for client in (desk, phone):
        client.push(friend(site), subscription="remove")
        expect(not client.roster(), "the item is still in the roster")


def removed(site: Site, state: str) -> tuple[Resource, Resource, Resource]:
    """Juliet, with two resources, has removed Romeo, towards whom she was in this state: desk, phone, Romeo's."""
    juliet, romeo = strangers(site, 2)
    desk, phone, other = juliet.available(), juliet.available(), romeo.available()
    reach(state, desk, other)
    settle(desk, phone, other)
    other.forget()
    expect_result(desk.remove_item(romeo))
    settle(desk, other)
    return desk, phone, other


def ends(user: Resource, contact: Resource, *kinds: str) -> None:
    """The contact got these and no other subscription stanzas of the user, each once, from the bare JID."""
    found = [each for each in contact.heard("presence") if "subscribe" in (each.get("type") or "")]
    got = sorted(each.get("type") or "" for each in found)
    expect(got == sorted(kinds), f"the contact got {got or 'nothing'}, not {sorted(kinds)}")
    for each in found:
        expect(each.get("from") == bare(user.jid), f"it is from {each.get('from')!r}")


@check("6-30.a", area="im")
def removing_unsubscribes(site: Site) -> None:
    """RFC 6121 2.5.2: state 'to': the contact gets 'unsubscribe' from the user's bare JID."""
    desk, _, other = removed(site, "to")
    ends(desk, other, "unsubscribe")


@check("6-30.b", area="im")
def removing_cancels(site: Site) -> None:
    """RFC 6121 2.5.2, 3.2.2: state 'from': unavailable presence of each resource, then 'unsubscribed'."""
    desk, phone, other = removed(site, "from")
    ends(desk, other, "unsubscribed")
    goodbyes_before_the_end(desk, phone, other)


def goodbyes_before_the_end(desk: Resource, phone: Resource, other: Resource) -> None:
    """Unavailable presence of both resources came, and before 'unsubscribed'."""
    order = [(each.get("type"), each.get("from")) for each in other.heard("presence")]
    end = next(number for number, (kind, _) in enumerate(order) if kind == "unsubscribed")
    for resource in (desk, phone):
        expect(("unavailable", resource.jid) in order, f"no unavailable presence of {resource.jid} came")
        expect(
            order.index(("unavailable", resource.jid)) < end,
            "unavailable presence came behind 'unsubscribed'",
        )


@check("6-30.c", area="im")
def removing_ends_both(site: Site) -> None:
    """RFC 6121 2.5.2: state 'both': the contact gets 'unsubscribe' and 'unsubscribed'."""
    desk, _, other = removed(site, "both")
    ends(desk, other, "unsubscribe", "unsubscribed")


@check("6-30.x1", area="im")
def removing_takes_back_a_request(site: Site) -> None:
    """RFC 6121 A.2.2: the request that was open is not shown to the contact at its next log-in."""
    removed(site, "none + pending out")
    later = person(site, 1).available()
    settle(later)
    expect(not later.heard("presence", type="subscribe"), "the request is still open at the contact")


@check("6-30.x2", area="im")
def removing_changes_the_contacts_roster(site: Site) -> None:
    """RFC 6121 2.5.2, 3.2.3, 3.3.3: to and from become none, both becomes none; pushed and stored."""
    for state in ("to", "from", "both"):
        desk, _, other = removed(site, state)
        juliet = bare(desk.jid)
        items = [pushed(each) for each in other.pushes()]
        expect(bool(items), f"state {state}: the contact's roster was not pushed")
        last = items[-1]
        expect(state_of(last) == ("none", None), f"state {state}: the last push to the contact has {last}")
        found = other.roster().get(juliet)
        expect(state_of(found) == ("none", None), f"state {state}: the contact's roster has {found}")


@check("6-31.1", "6-31.2", area="im")
def what_is_not_there_cannot_be_removed(site: Site) -> None:
    """RFC 6121 2.5.3: <item-not-found/>, no push, no presence; a second removal of one item, too."""
    juliet, romeo = strangers(site, 2)
    desk, phone = juliet.available(), romeo.available()
    settle(desk, phone)
    for client in (desk, phone):
        client.forget()
    expect_refusal(desk.remove_item(f"nobody@{site.domain}"), "item-not-found")
    expect_refusal(desk.remove_item(romeo), "item-not-found")
    settle(desk, phone)
    expect(not desk.pushes(), "a push came")
    for each in phone.heard("presence"):
        raise NotMet(f"at the contact {describe(each)}")
    expect_result(desk.set_item(friend(site)))
    expect_result(desk.remove_item(friend(site)))
    expect_refusal(desk.remove_item(friend(site)), "item-not-found")
