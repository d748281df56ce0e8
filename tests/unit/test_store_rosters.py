"""Rosters against a dictionary that does the same."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from xmppd.records import Crossing
from xmppd.store import Account, NoSuchAccount, RosterFull, RosterItem, Store, StoreSettings

MAX_ITEMS = 4
REMOVALS = 3
NAMES = ["alice", "bob", "carol"]
DOMAIN = "example.org"
CONTACTS = st.sampled_from(
    [f"{name}@{DOMAIN}" for name in NAMES]
    + [f"alice@{DOMAIN}/phone", f"alice@{DOMAIN}a", DOMAIN, "ünï@bücher.example", "x%_@y"]
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
ITEMS = st.builds(
    RosterItem,
    jid=CONTACTS,
    name=TEXTS,
    subscription=st.sampled_from(["none", "to", "from", "both"]),
    ask=st.booleans(),
    pending_in=st.none() | st.binary(max_size=8),
    approved=st.booleans(),
    groups=st.lists(TEXTS, max_size=3, unique=True).map(tuple),
    listed=st.booleans(),
)


def shown(items: dict[str, RosterItem]) -> dict[str, tuple[object, ...]]:
    """What clients see of a roster."""
    return {i.jid: (i.name, i.subscription, i.ask, i.approved, i.groups) for i in items.values() if i.listed}


class RosterMachine(RuleBasedStateMachine):
    """Accounts come and go, items too; after every step the store and the model tell the same."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.store = Store.open(self.directory, StoreSettings(roster_removals=REMOVALS))
        self.accounts: dict[str, Account] = {}
        self.model: dict[str, dict[str, RosterItem]] = {}
        self.versions: dict[str, int] = {}
        self.highest = 0
        self.seen: dict[str, dict[int, dict[str, tuple[object, ...]]]] = {}  # what was shown at each version

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    def version_after(self, name: str, before: dict[str, RosterItem], version: int) -> None:
        """A new version exactly if clients can see a difference."""
        assert (version != self.versions[name]) == (shown(before) != shown(self.model[name]))
        assert version >= self.versions[name]
        self.versions[name] = version

    @initialize()
    def begin(self) -> None:
        for name in NAMES:
            self.create(name)

    def create(self, name: str) -> None:
        self.accounts[name] = self.runner.run(self.store.accounts.create(name, DOMAIN, []))
        self.model[name] = {}
        self.seen[name] = {}
        version = self.runner.run(self.store.rosters.load(self.accounts[name].id)).version
        assert version > self.versions.get(name, 0)  # also above those of a former account of that name
        self.versions[name] = version

    @rule(name=st.sampled_from(NAMES), item=ITEMS)
    def put(self, name: str, item: RosterItem) -> None:
        if name not in self.accounts:
            return
        roster = self.model[name]
        before = dict(roster)
        call = self.store.rosters.put(self.accounts[name].id, item, max_items=MAX_ITEMS)
        if item.jid not in roster and len(roster) >= MAX_ITEMS:
            with pytest.raises(RosterFull):
                self.runner.run(call)
            return
        roster[item.jid] = item
        self.version_after(name, before, self.runner.run(call))

    @rule(name=st.sampled_from(NAMES), items=st.lists(ITEMS, max_size=4))
    def put_many(self, name: str, items: list[RosterItem]) -> None:
        if name not in self.accounts:
            return
        after = self.model[name] | {item.jid: item for item in items}
        call = self.store.rosters.put_many(self.accounts[name].id, items, max_items=MAX_ITEMS)
        if len(after) > MAX_ITEMS:
            with pytest.raises(RosterFull):
                self.runner.run(call)  # all or none
            return
        version = self.runner.run(call)
        # on the way to the same picture clients may have been shown another
        assert version > self.versions[name] or shown(self.model[name]) == shown(after)
        self.model[name], self.versions[name] = after, version

    @rule(name=st.sampled_from(NAMES), contact=CONTACTS)
    def remove(self, name: str, contact: str) -> None:
        if name not in self.accounts:
            return
        before = dict(self.model[name])
        version = self.runner.run(self.store.rosters.remove(self.accounts[name].id, contact))
        self.model[name].pop(contact, None)
        self.version_after(name, before, version)

    @rule(name=st.sampled_from(NAMES))
    def delete_or_create(self, name: str) -> None:
        if name not in self.accounts:
            self.create(name)
            return
        gone, roster = self.accounts.pop(name), self.model.pop(name)
        deleted = self.runner.run(self.store.accounts.delete(name, DOMAIN))
        assert {item.jid: item for item in deleted.roster} == roster
        expected = [(other, item) for other in sorted(self.model) for item in self.mentions(other, gone.jid)]
        assert [(h.local, h.item) for h in deleted.holders] == expected
        for other, item in expected:
            del self.model[other][item.jid]
        for other in self.model:
            version = self.runner.run(self.store.rosters.load(self.accounts[other].id)).version
            seen = any(who == other and item.listed for who, item in expected)
            assert (version > self.versions[other]) == seen
            self.versions[other] = version
        with pytest.raises(NoSuchAccount):
            self.runner.run(self.store.rosters.load(gone.id))

    def mentions(self, name: str, jid: str) -> list[RosterItem]:
        roster = self.model[name]
        return [roster[c] for c in sorted(roster, key=str.encode) if c == jid or c.startswith(f"{jid}/")]

    @precondition(lambda self: self.accounts)
    @rule(contact=CONTACTS)
    def holders(self, contact: str) -> None:
        holders = self.runner.run(self.store.rosters.holders_of(contact))
        assert [(h.local, h.item) for h in holders] == [
            (name, item) for name in sorted(self.model) for item in self.mentions(name, contact)
        ]

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self.store = Store.open(self.directory, StoreSettings(roster_removals=REMOVALS))

    @invariant()
    def the_same(self) -> None:
        for name, account in self.accounts.items():
            roster = self.runner.run(self.store.rosters.load(account.id))
            assert {item.jid: item for item in roster.items} == self.model[name]
            assert roster.version == self.versions[name]
            self.changes_lead_here(name, account.id)
        for name in NAMES:
            found = self.runner.run(self.store.rosters.find(name, DOMAIN))
            account_id = self.accounts[name].id if name in self.accounts else None
            assert (None if found is None else found.id) == account_id
            if found is not None:
                roster = self.runner.run(self.store.rosters.load(found.id))
                assert (found.version, found.items) == (roster.version, roster.items)

    def changes_lead_here(self, name: str, account_id: int) -> None:
        """From every version that clients may know the changes since lead to what is shown now (RFC 6121 2.6.3)."""
        now, version = shown(self.model[name]), self.versions[name]
        self.seen[name][version] = now
        assert self.runner.run(self.store.rosters.changes(account_id, version + 1)) is None
        for since, then in sorted(self.seen[name].items(), reverse=True):
            changes = self.runner.run(self.store.rosters.changes(account_id, since))
            if changes is None:
                assert since < version
                continue
            assert [c.version for c in changes] == sorted({c.version for c in changes}), (
                "in order, each its own"
            )
            assert all(since < c.version <= version for c in changes)
            became = dict(then)
            for change in changes:
                became.pop(change.contact, None)
                if change.item is not None:
                    became |= shown({change.contact: change.item})
            assert became == now


TestRosterMachine = RosterMachine.TestCase
TestRosterMachine.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


def test_a_roster_forgets_what_was_removed_long_ago(tmp_path: Path) -> None:
    async def main() -> None:
        async with Store.open(tmp_path, StoreSettings(roster_removals=2)) as store:
            account = await store.accounts.create("alice", DOMAIN, [])
            versions = [await store.rosters.put(account.id, RosterItem(f"c{n}@x")) for n in range(4)]
            for n in range(3):
                versions.append(await store.rosters.remove(account.id, f"c{n}@x"))
            whole = [await store.rosters.changes(account.id, version) for version in versions]
            assert whole[:4] == [None] * 4
            assert [[(c.contact, c.item) for c in changes] for changes in whole[4:]] == [
                [("c1@x", None), ("c2@x", None)],
                [("c2@x", None)],
                [],
            ]

    asyncio.run(main())


def test_what_crosses_is_kept_with_one_change_and_goes_with_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with Store.open(tmp_path) as store:
            rosters = store.rosters
            names = ("alice", "bob", "cay")
            alice, bob, _ = [await store.accounts.create(name, DOMAIN, []) for name in names]
            a, b, c = (f"{name}@{DOMAIN}" for name in names)
            ask, end, other = (
                Crossing(1, b, a, "subscribe", b"<presence/>", "id"),
                Crossing(2, b, a, "unsubscribe", b""),
                Crossing(3, c, a, "subscribe", b""),
            )
            await rosters.put(alice.id, RosterItem(b, ask=True), crossing=[other, ask])
            await rosters.remove(alice.id, b, crossing=[end])
            assert await rosters.crossings() == [ask, end, other]
            await rosters.put(bob.id, RosterItem(a, pending_in=b"<presence/>"), crossed=1)
            await rosters.remove(bob.id, a, crossed=2)
            assert await rosters.crossings() == [other]
            with pytest.raises(NoSuchAccount):  # the one not without the other
                await rosters.put(99, RosterItem(a), crossing=[ask], crossed=3)
            assert await rosters.crossings() == [other]
            await store.accounts.delete("alice", DOMAIN)
            assert await rosters.crossings() == []
            for change in (
                rosters.put(bob.id, RosterItem(a, ask=True), crossed=3),
                rosters.remove(bob.id, a, crossed=3),
            ):
                with pytest.raises(NoSuchAccount):  # it is from an account that is no more
                    await change
            assert (await rosters.load(bob.id)).items == []
            await rosters.crossed(3)

    asyncio.run(main())
