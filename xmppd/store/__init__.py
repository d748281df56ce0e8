"""What survives: accounts and rosters in SQLite, written by one thread, acknowledged after COMMIT.

SQL lives only in this room.
"""

from xmppd.records import RosterItem, Subscription
from xmppd.store.accounts import Account, Accounts, Deleted, NewAccount, ScramKeys
from xmppd.store.errors import (
    AccountExists,
    NoSuchAccount,
    RosterFull,
    SchemaTooNew,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreInUse,
    StoreTimeout,
)
from xmppd.store.lock import holder
from xmppd.store.rosters import Holder, Roster, Rosters
from xmppd.store.store import Store, StoreHealth, StoreSettings, StoreStats, examine

__all__ = [
    "Account",
    "AccountExists",
    "Accounts",
    "Deleted",
    "Holder",
    "NewAccount",
    "NoSuchAccount",
    "Roster",
    "RosterFull",
    "RosterItem",
    "Rosters",
    "SchemaTooNew",
    "ScramKeys",
    "Store",
    "StoreClosed",
    "StoreError",
    "StoreFull",
    "StoreHealth",
    "StoreInUse",
    "StoreSettings",
    "StoreStats",
    "StoreTimeout",
    "Subscription",
    "examine",
    "holder",
]
