"""The commands on accounts: the same for a running server and for the command line without one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

import msgspec

from xmppd import clock
from xmppd.auth import LocalAuth, LocalAuthSettings
from xmppd.config import Config
from xmppd.errors import SaslFailure
from xmppd.jid import JID, JIDError, Rules, prep_local
from xmppd.ops.admin import Command, CommandError, Params, Progress
from xmppd.store import AccountExists, Deleted, NoSuchAccount, Store, StoreError, StoreSettings


class Live(Protocol):
    """What a running server does besides the store."""

    def connected(self, account: JID) -> int:
        """How many resources are connected."""

    def end(self, account: JID, failure: SaslFailure) -> int:
        """End the account's streams; how many resources there were. Who is logging in fails with `failure`."""

    async def removed(self, account: JID, deleted: Deleted) -> None:
        """The account is gone from the store: tell its contacts (RFC 6121 2.5.2)."""


class Nobody:
    """No server runs: nobody is connected."""

    def connected(self, account: JID) -> int:
        return 0

    def end(self, account: JID, failure: SaslFailure) -> int:
        return 0

    async def removed(self, account: JID, deleted: Deleted) -> None:
        return


def address(text: object) -> JID:
    """An address. CommandError says what is wrong with it."""
    try:
        return JID.parse(text if isinstance(text, str) else "")
    except ValueError as error:
        raise CommandError(f'"{text}" is no JID: {error}') from None


def account_address(text: object, domains: Collection[str]) -> JID:
    """The bare address of an account at a served domain. CommandError says what is wrong with it."""
    jid = address(text)
    if jid.local is None or not jid.is_bare:
        raise CommandError(f'"{text}" is not the address of an account: user@domain')
    if jid.domain not in domains:
        raise CommandError(_not_served(jid.domain, domains))
    return jid


def _not_served(domain: object, domains: Collection[str]) -> str:
    return f"{domain} is not served here: {', '.join(sorted(domains))}"


RULES: Final[tuple[Rules, ...]] = ("rfc6122", "rfc7622")


def new_account_address(text: object, domains: Collection[str]) -> JID:
    """As `account_address`; by either RFC it is the same account, whatever the rules are today and later."""
    jid = account_address(text, domains)
    local = jid.local or ""
    try:
        if all(prep_local(local, rules=rules) == local for rules in RULES):
            return jid
        why = "it changes"
    except JIDError as error:
        why = str(error)
    raise CommandError(f'"{text}" cannot be a new account by both RFC 6122 and RFC 7622: {why}')


def _password(given: object) -> str:
    if not isinstance(given, str):
        raise CommandError("no password is given")
    return given


class Users:
    """The commands `user.*`. `domains` are those served now; `live` is the running server, if any."""

    def __init__(
        self, store: Store, auth: LocalAuth, domains: Callable[[], Collection[str]], live: Live | None = None
    ) -> None:
        self._store = store
        self._auth = auth
        self._domains = domains
        self._live: Live = live or Nobody()

    def table(self) -> dict[str, Command]:
        """Name -> command; the faults of the store and of the input are CommandErrors."""
        commands: dict[str, Command] = {
            "user.add": self.add,
            "user.import": self.import_,
            "user.passwd": self.passwd,
            "user.expire": self.expire,
            "user.enable": self.enable,
            "user.disable": self.disable,
            "user.del": self.delete,
            "user.list": self.list,
        }
        return {name: _told(command) for name, command in commands.items()}

    def _named(self, params: Params) -> tuple[JID, str, str]:
        jid = account_address(params.get("jid"), self._domains())
        return jid, jid.local or "", jid.domain

    async def add(self, params: Params, _progress: Progress) -> Any:
        jid = new_account_address(params.get("jid"), self._domains())
        await self._auth.create_account(jid.local or "", jid.domain, _password(params.get("password")))
        return {"jid": str(jid)}

    async def passwd(self, params: Params, _progress: Progress) -> Any:
        jid, local, domain = self._named(params)
        await self._auth.set_password(local, domain, _password(params.get("password")))
        return {"jid": str(jid)}

    async def expire(self, params: Params, _progress: Progress) -> Any:
        """The password lets nobody in any more; sessions go on."""
        jid, local, domain = self._named(params)
        await self._store.accounts.expire_password(local, domain)
        return {"jid": str(jid), "expired": True}

    async def enable(self, params: Params, _progress: Progress) -> Any:
        jid, local, domain = self._named(params)
        await self._store.accounts.set_enabled(local, domain, True)
        return {"jid": str(jid), "enabled": True}

    async def disable(self, params: Params, _progress: Progress) -> Any:
        """A disabled account's sessions end."""
        jid, local, domain = self._named(params)
        await self._store.accounts.set_enabled(local, domain, False)
        ended = self._live.end(jid, SaslFailure("account-disabled"))  # 3-23.2
        return {"jid": str(jid), "enabled": False, "sessions_ended": ended}

    async def delete(self, params: Params, _progress: Progress) -> Any:
        """Sessions end, contacts are told, everything of the account goes."""
        jid, local, domain = self._named(params)
        # first, and in one transaction: if the store cannot do it, nothing has changed
        deleted = await self._store.accounts.delete(local, domain)
        ended = self._live.end(jid, SaslFailure("not-authorized"))
        await self._live.removed(jid, deleted)
        contacts = (JID.kept(item.jid) for item in deleted.roster if item.listed)
        return {
            "jid": str(jid),
            "sessions_ended": ended,
            "taken_from_rosters": len(deleted.holders),
            "contacts_elsewhere": sorted(str(c) for c in contacts if c.domain not in self._domains()),
        }

    async def import_(self, params: Params, progress: Progress) -> Any:
        """`rows`: [JID, password] each. What could not be made stands in `failures`: [index, JID, why]."""
        given = params.get("rows")
        if not isinstance(given, list):
            raise CommandError("no rows are given")
        rows: list[tuple[str, str, str]] = []
        places: list[int] = []
        failures: list[tuple[int, str, str]] = []
        served = self._domains()
        for index, row in enumerate(given):
            text = ""
            try:
                text, password = row
                jid = new_account_address(text, served)
                rows.append((jid.local or "", jid.domain, _password(password)))
                places.append(index)
            except CommandError as error:
                failures.append((index, str(text), str(error)))
            except (TypeError, ValueError):
                failures.append((index, "", "it is not a JID and a password"))
        done_before = len(failures)
        report = await self._auth.import_accounts(rows, lambda done: progress(done_before + done, len(given)))
        failures += [(places[failed.index], failed.jid, failed.why) for failed in report.failures]
        return {"created": report.created, "failures": sorted(failures)}

    # last in the class: below this line `list` names this method
    async def list(self, params: Params, _progress: Progress) -> Any:
        domain = params.get("domain")
        accounts = await self._store.accounts.list(domain)
        # what is left of a domain that is served no more can be seen; a name mistyped is told
        if domain and not accounts and domain not in self._domains():
            raise CommandError(_not_served(domain, self._domains()))
        return [
            {
                "jid": account.jid,
                "enabled": account.enabled,
                "expired": account.expired,
                "created_at": clock.xep0082(account.created_at),
                "sessions": self._live.connected(JID(account.local, account.domain)),
            }
            for account in accounts
        ]


def _told(command: Command) -> Command:
    async def told(params: Params, progress: Progress) -> Any:
        try:
            return await command(params, progress)
        except (AccountExists, NoSuchAccount, StoreError) as error:
            raise CommandError(str(error)) from error
        except ValueError as error:  # of the password; its text holds no piece of it
            raise CommandError(f"{params.get('jid')}: {error}") from error

    return told


def store_settings(config: Config) -> StoreSettings:
    """The settings of the store; `[store]` has its words."""
    return StoreSettings(**_without(config.store, "path"))


def auth_settings(config: Config) -> LocalAuthSettings:
    """The settings of local log-ins; `[sasl]` has their words."""
    return LocalAuthSettings(
        **_without(config.sasl, "mechanisms", "strong_accounts", "strong_mechanisms", "retries", "required")
    )


def _without(struct: msgspec.Struct, *names: str) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(struct).items() if name not in names}
