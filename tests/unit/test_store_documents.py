"""What accounts keep as XML, and when they were last seen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from xmppd.records import Seen
from xmppd.store import NoSuchAccount, Store

A, B = ("urn:a", "x"), ("urn:b", "x")


def with_store(test):
    """A test that is a coroutine, with a store of its own."""

    def run(tmp_path: Path) -> None:
        async def go() -> None:
            async with Store.open(tmp_path) as store:
                await test(store)

        asyncio.run(go())

    run.__name__ = test.__name__
    return run


@with_store
async def test_documents_are_kept_by_name_and_account(store):
    ann, ben = [(await store.accounts.create(name, "d", [])).id for name in ("ann", "ben")]
    assert await store.documents.put(ann, {A: b"<1/>", B: b"<2/>"}, max_bytes=100)
    assert await store.documents.put(ben, {A: b"<3/>"}, max_bytes=100)
    assert await store.documents.put(ann, {A: b"<4/>"}, max_bytes=100)
    found = [await store.documents.get(name, "d", of) for name in ("ann", "ben", "eve") for of in (A, B)]
    assert found == [b"<4/>", b"<2/>", b"<3/>", None, None, None]


@with_store
async def test_what_is_too_much_changes_nothing(store):
    ann = (await store.accounts.create("ann", "d", [])).id
    assert await store.documents.put(ann, {A: b"x" * 8}, max_bytes=10)
    assert not await store.documents.put(ann, {A: b"y", B: b"z" * 10}, max_bytes=10)
    assert await store.documents.get("ann", "d", A) == b"x" * 8
    assert await store.documents.get("ann", "d", B) is None
    # the limit was lowered: less is always taken
    assert await store.documents.put(ann, {B: b""}, max_bytes=1)
    assert await store.documents.put(ann, {A: b""}, max_bytes=1)
    assert await store.documents.get("ann", "d", A) is None


@with_store
async def test_a_new_account_inherits_no_document_and_was_not_seen(store):
    ann = (await store.accounts.create("ann", "d", [])).id
    await store.documents.put(ann, {A: b"<1/>"}, max_bytes=100)
    await store.documents.saw([(ann, Seen(1, "bye"))])
    assert await store.documents.seen(ann) == Seen(1, "bye")
    await store.accounts.delete("ann", "d")
    assert await store.documents.get("ann", "d", A) is None
    assert await store.documents.seen(ann) is None
    with pytest.raises(NoSuchAccount):
        await store.documents.put(ann, {A: b"<1/>"}, max_bytes=100)
    again = await store.accounts.create("ann", "d", [])
    # as one that has gone leaves behind the last of the others
    await store.documents.saw([(ann, Seen(2)), (again.id, Seen(3))])
    assert await store.documents.get("ann", "d", A) is None
    assert await store.documents.seen(again.id) == Seen(3)


@with_store
async def test_who_was_never_there_was_seen_when_made(store):
    ann = await store.accounts.create("ann", "d", [])
    assert await store.documents.seen(ann.id) == Seen(int(ann.created_at.timestamp()))
