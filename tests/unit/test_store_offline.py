"""The messages that the store keeps, against a dictionary that does the same."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_store import KEYS, in_loop
from xmppd.records import Waiting
from xmppd.store import NoSuchAccount, Store

GONE = 99  # no account has this id
# for which account, of what size; then how much is removed, and in what pages the rest is read
BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from((0, 1, GONE)), st.integers(0, 300)), max_size=150), max_size=4
)


@settings(deadline=None, max_examples=40)
@given(BATCHES, st.integers(0, 200), st.integers(1, 70), st.integers(1, 2000))
def test_what_is_kept_is_read_in_order_and_in_pages(batches, dropped, messages, octets):
    async def main(folder: Path) -> None:
        async with Store.open(folder) as store:
            ids = [(await store.accounts.create(name, "example.org", KEYS)).id for name in ("a", "b")]
            wanted: dict[int, list[tuple[int, bytes]]] = {id_: [] for id_ in ids}
            place = 0
            for batch in batches:
                rows = []
                for who, size in batch:
                    place += 1
                    rows.append((ids[who] if who != GONE else GONE, place, bytes([place % 256]) * size))
                gone = await store.offline.keep(rows)
                assert gone == {id_ for id_, _, _ in rows if id_ == GONE}
                for id_, at, data in rows:
                    if id_ != GONE:
                        wanted[id_].append((at, data))
            await store.offline.drop(ids[0], dropped)
            wanted[ids[0]] = [row for row in wanted[ids[0]] if row[0] > dropped]
            for name, id_ in zip(("a", "b"), ids, strict=True):
                record = await store.rosters.find(name, "example.org")
                rows = wanted[id_]
                last = rows[-1][0] if rows else 0
                assert record.waiting == Waiting(len(rows), sum(len(data) for _, data in rows), last)
                after, found = 0, []
                while page := await store.offline.page(id_, after, messages, octets):
                    assert len(page) <= messages
                    assert len(page) == 1 or sum(len(data) for _, data in page) <= octets
                    found += page
                    after = page[-1][0]
                assert found == rows

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))


@in_loop
async def test_messages_go_with_their_account_and_no_sooner(tmp_path: Path) -> None:
    async with Store.open(tmp_path) as store:
        account = await store.accounts.create("a", "example.org", KEYS)
        await store.offline.keep([(account.id, 1, b"x")])
        await store.accounts.set_enabled("a", "example.org", False)
        await store.accounts.set_enabled("a", "example.org", True)
        assert await store.offline.page(account.id, 0, 10, 10) == [(1, b"x")]
        await store.accounts.delete("a", "example.org")
        assert await store.offline.page(account.id, 0, 10, 10) == []
        with pytest.raises(NoSuchAccount):
            await store.accounts.delete("a", "example.org")
