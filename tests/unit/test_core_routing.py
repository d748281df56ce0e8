"""Every kind of stanza to every form of address in every state of the recipient: by the routing table and without it."""

from __future__ import annotations

import itertools
from xml.sax.saxutils import quoteattr

import pytest

from tests.unit.core_site import HOST, CoreSite, in_loop
from tests.xmpp_client import condition
from xmppd._fast.reader import Stanza

NASTY = "d'e\"s&k <\U000000e9>"
ADDRESSES = {
    "full": f"ben@{HOST}/{NASTY}",
    "full, another case": f"BEN@{HOST.upper()}/{NASTY}",
    "second": f"ben@{HOST}/2",
    "bare": f"ben@{HOST}",
    "bare, another case": f"Ben@{HOST}",
    "gone": f"ben@{HOST}/gone",
    "emoji": f"ben@{HOST}/\U0001f600",
    "nobody": f"nobody@{HOST}",
    "nobody's resource": f"nobody@{HOST}/x",
    "host": HOST,
    "host's resource": f"{HOST}/x",
    "foreign": "user@remote.example",
    "foreign host": "remote.example",
    "own full": f"ann@{HOST}/a",
    "own bare": f"ann@{HOST}",
    "none": None,
    "empty": "",
    "malformed": "@",
}
STANZAS = [
    *(f"<message{t} id='1'{{to}}><body>b</body></message>" for t in ("", *(
        f" type='{t}'" for t in ("chat", "normal", "headline", "groupchat", "error", "foo"))
    )),
    *(f"<iq type='{t}' id='1'{{to}}><q xmlns='urn:q'/></iq>" for t in ("get", "set", "result", "error", "foo")),
    "<iq type='get'{to}><q xmlns='urn:q'/></iq>",
    "<iq type='get' id=''{to}><q xmlns='urn:q'/></iq>",
    "<iq type='get' id='1'{to}/>",
    "<iq id='1'{to}><q xmlns='urn:q'/></iq>",
    *(f"<presence{t}{{to}}/>" for t in ("", " type='unavailable'", " type='probe'", " type='error'", " type='foo'")),
]  # fmt: skip
STATES = {"without presence": None, "available": "0", "negative": "-1", "lowest": "-128", "highest": "127"}


def sortable(found):
    return sorted(tuple("" if part is None else part for part in one) for one in found)


async def outcome(state: str, address: str | None, stanza: str, *, table: bool):
    async with CoreSite() as core:
        ann = await core.login("ann", "a")
        ben, second = await core.login("ben", NASTY), await core.login("ben", "2")
        for client in (ben, second):
            if (priority := STATES[state]) is not None:
                client.send(f"<presence><priority>{priority}</priority></presence>")
        await core.settle()
        for client in (ann, ben, second):
            client.raw()
        to = "" if address is None else f" to={quoteattr(address)}"
        parsed = Stanza.parse(stanza.format(to=to).encode())
        if not (table and core.site.table.relay_stanza(ann.resource, parsed)):
            core.router.route(ann.resource, parsed)
        await core.settle()
        return [
            sortable(
                (
                    e.tag.rpartition("}")[2],
                    e.get("type"),
                    e.get("from"),
                    e.get("to"),
                    e.get("id"),
                    condition(e),
                )
                for e in client.read()
            )
            for client in (ann, ben, second)
        ]


@pytest.mark.parametrize("state", STATES)
def test_the_table_decides_as_the_router_does(state):
    @in_loop
    async def compare():
        for (name, address), stanza in itertools.product(ADDRESSES.items(), STANZAS):
            with_table = await outcome(state, address, stanza, table=True)
            assert with_table == await outcome(state, address, stanza, table=False), (name, stanza)
            for client in with_table[1:]:
                for element in client:
                    assert element[2] == f"ann@{HOST}/a", (name, stanza)
                    assert element[3] == (address or ""), (name, stanza)

    compare()
