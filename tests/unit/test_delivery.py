"""RFC 6121 8.5, cell by cell, over the core: each form of address in each state of the account, for each stanza.

What is expected stands here in words of its own, written from the RFC's table 1 and UC 5-18 to 5-21, not from the
tables of the code. `keep` is O of the RFC, `error` E, `nothing` S, `desk` and the like who gets it.
"""

from __future__ import annotations

import pytest

from tests.unit.core_site import HOST, CoreSite, in_loop
from tests.xmpp_client import condition
from xmppd._fast.reader import Stanza
from xmppd.core.delivery import RFC6121, UC, Fate, Form, State

BEN = f"ben@{HOST}"
NOBODY = f"nobody@{HOST}"

# state of the account -> its resources: name -> priority, None for one that has sent no presence, LEFT for one that
# was available and has sent unavailable presence: both are connected and not available (2.2)
LEFT = "left"
STATES: dict[str, dict[str, int | str | None] | None] = {
    "no such user": None,
    "no resource": {},
    "connected without presence": {"mute": None},
    "signed off": {"off": LEFT},
    "signed off and without presence": {"off": LEFT, "mute": None},
    "negative only": {"low": -1},
    "negative and without presence": {"low": -1, "mute": None},
    "negative and signed off": {"low": -1, "off": LEFT},
    "one non-negative": {"desk": 0},
    "non-negative, negative and without presence": {"desk": 0, "low": -1, "mute": None},
    "non-negative and signed off": {"desk": 0, "off": LEFT},
    "several non-negative": {"desk": 0, "phone": 5},
}
MESSAGES = ("normal", "no type", "unknown type", "chat", "groupchat", "headline", "error")
STANZAS = {
    **{
        f"message, {name}": f"<message{{to}} id='i'{attribute}><body>x</body></message>"
        for name, attribute in zip(
            MESSAGES,
            (" type='normal'", "", " type='foo'", *(f" type='{name}'" for name in MESSAGES[3:])),
            strict=True,
        )
    },
    "presence": "<presence{to} id='i'/>",
    "presence, unavailable": "<presence{to} id='i' type='unavailable'/>",
    "presence, error": "<presence{to} id='i' type='error'/>",
    "iq, get": "<iq{to} id='i' type='get'><q xmlns='urn:nobody:knows'/></iq>",
    "iq, set": "<iq{to} id='i' type='set'><q xmlns='urn:nobody:knows'/></iq>",
    "iq, result": "<iq{to} id='i' type='result'/>",
    "iq, error": "<iq{to} id='i' type='error'><q xmlns='urn:nobody:knows'/></iq>",
}


def available(resources):
    return {name for name, priority in resources.items() if priority is not None and priority != LEFT}


def non_negative(resources):
    return {name for name in available(resources) if resources[name] >= 0}


def expected(reading, resources, form, what):
    """What RFC 6121 8.5 says, in the order of its text; `form`: bare, match (the first resource), gone."""
    kind, _, type_ = what.partition(", ")
    exists, here = resources is not None, resources or {}
    asks = type_ in ("get", "set")
    answers_itself = type_ in ("result", "error")
    if form == "match":  # 8.5.3.1
        return {next(iter(here))}
    if answers_itself:
        return "nothing"
    if kind == "iq":  # 8.5.1, 8.5.2.1.3, 8.5.3.2.3: nobody knows this namespace
        assert asks
        return "error"
    if kind == "presence":  # 8.5.1, 8.5.2.1.2, 8.5.3.2.2
        if form == "gone" and reading == "RFC":
            return "nothing"
        return available(here) or "nothing"
    if type_ == "groupchat":
        return "error"
    if type_ == "headline":
        if not exists:
            return "error" if reading == "UC" else "nothing"  # 5-18.a
        if form == "gone" and reading == "RFC":
            return "nothing"
        return non_negative(here) or "nothing"  # 9-6.e
    if not exists:
        return "error"  # 5-18.a
    if form == "gone" and reading == "RFC" and type_ != "chat":
        return "error"
    if non_negative(here):
        return non_negative(here)
    if reading == "UC" and here and not available(here):
        return set(here)  # the note of 5-19: if only connected resources without presence exist
    return "keep"  # also beside one of negative priority: 8.5.2.1.1, as if nobody were connected


def cells():
    for reading in ("UC", "RFC"):
        for state, resources in STATES.items():
            for form in ("bare", "match", "gone"):
                if form == "match" and not resources:
                    continue
                for what in STANZAS:
                    name = f"{reading}: {what} to {form}: {state}"
                    yield pytest.param(reading, resources, form, what, id=name)


@pytest.mark.req("5-18.a", "5-18.b", "5-18.c", "5-18.x1", "5-19.a", "5-19.b", "5-19.c", "5-19.d", "5-20.1", "5-20.2",
                 "5-20.3", "5-21.1", "5-21.2", "9-6.a", "9-6.b", "9-6.c", "9-6.d", "9-6.e", "9-7.1")  # fmt: skip
@pytest.mark.parametrize(("reading", "resources", "form", "what"), list(cells()))
def test_delivery(reading, resources, form, what):
    @in_loop
    async def run():
        async with CoreSite(delivery=UC if reading == "UC" else RFC6121) as core:
            ann = await core.login("ann", "a")
            clients = {}
            for name, priority in (resources or {}).items():
                clients[name] = await core.login("ben", name)
                if priority == LEFT:
                    clients[name].send("<presence/>", "<presence type='unavailable'/>")
                elif priority is not None:
                    clients[name].send(f"<presence><priority>{priority}</priority></presence>")
            await core.settle()
            for client in clients.values():
                client.raw()
            account = BEN if resources is not None else NOBODY
            resource = {"bare": "", "match": f"/{next(iter(clients), '')}", "gone": "/gone"}[form]
            to = account + resource
            stanza = Stanza.parse(STANZAS[what].format(to=f" to='{to}'").encode())
            if not core.site.table.relay_stanza(ann.resource, stanza):
                core.router.route(ann.resource, stanza)
            await core.settle()

            got = {name: client.read() for name, client in clients.items()}
            answers = ann.read()
            kept = core.records.kept[core.records.ids[BEN]]
            seen = {name for name, stanzas in got.items() if stanzas}
            for stanzas in got.values():
                for element in stanzas:  # once, from its sender, with 'to' as it was written
                    assert (element.get("from"), element.get("to"), len(stanzas)) == (ann.jid, to, 1)
            wanted = expected(reading, resources, form, what)
            if wanted == "error":
                [answer] = answers
                assert (answer.get("type"), answer.get("from"), answer.get("id")) == ("error", to, "i")
                assert condition(answer) == "service-unavailable"
            else:
                assert answers == []
            assert seen == (wanted if isinstance(wanted, set) else set())
            assert len(kept) == (wanted == "keep")

    run()


@pytest.mark.req("5-17.3")
@pytest.mark.parametrize("what", list(STANZAS))
@pytest.mark.parametrize("to", [HOST, f"{HOST}/any"], ids=["domain", "domain with a resource"])
def test_delivery_to_the_server_itself(to, what):
    """It answers for itself, keeps nothing, and gives nothing to anybody."""

    @in_loop
    async def run():
        async with CoreSite() as core:
            ann, ben = await core.login("ann", "a"), await core.login("ben", "any")
            ben.send("<presence/>")
            await core.settle()
            ben.raw()
            ann.send(STANZAS[what].format(to=f" to='{to}'"))
            await core.settle()
            answers = [(e.get("from"), e.get("id"), condition(e)) for e in ann.read()]
            kind, _, type_ = what.partition(", ")
            refused = kind != "presence" and type_ not in ("error", "result")
            assert answers == [(to, "i", "service-unavailable")] * refused
            assert ben.raw() == b""
            assert not any(core.records.kept.values())

    run()


@pytest.mark.parametrize("reading", [UC, RFC6121], ids=["UC", "RFC"])
def test_the_tables_are_complete(reading):
    whats = {what for what, _, _ in reading}
    assert len(reading) == len(whats) * len(Form) * len(State)
    assert {what.partition(" ")[0] for what in whats} == {"message", "presence", "iq"}
    # 8.5.2.1.1: nothing is ever kept, or kept back, for an account that does not exist
    assert all(reading[what, form, State.ABSENT] is not Fate.STORE for what in whats for form in Form)
