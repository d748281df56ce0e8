"""The commands on accounts, where the store does not play along."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.core_site import in_loop
from xmppd.auth import LocalAuth, LocalAuthSettings
from xmppd.ops.admin import CommandError
from xmppd.ops.users import Users
from xmppd.store import Deleted, Store, StoreError


@in_loop
async def test_an_account_that_cannot_be_deleted_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        auth = LocalAuth(store, LocalAuthSettings(scram_iterations=4096))
        commands = Users(store, auth, lambda: {"example.org"}).table()
        whom = {"jid": "ann@example.org"}
        await commands["user.add"]({**whom, "password": "secret"}, lambda done, of: None)

        async def full(_local: str, _domain: str) -> Deleted:
            raise StoreError("the disk is full")

        monkeypatch.setattr(store.accounts, "delete", full)
        with pytest.raises(CommandError, match="the disk is full"):
            await commands["user.del"](whom, lambda done, of: None)
        assert (await commands["user.list"]({}, lambda done, of: None))[0]["enabled"]
        await auth.close()
