"""A launcher that takes every setting and every order, and does nothing."""

from __future__ import annotations

from xmppd.conformance.launcher import Facts, Settings


class Inert:
    """As if the server behind it ignored its configuration and its administrator."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def start(self, domains: list[str], settings: Settings) -> Facts:
        return self.facts

    def change(self, settings: Settings) -> Facts:
        return self.facts

    def refusal(self, settings: Settings) -> str | None:
        return None

    def restart(self) -> Facts:
        return self.facts

    def stop(self) -> None:
        pass

    def kill(self) -> None:
        pass

    def add_account(self, jid: str, password: str) -> None:
        pass

    def disable_account(self, jid: str) -> None:
        pass

    def expire_password(self, jid: str) -> None:
        pass

    def end_session(self, jid: str) -> None:
        pass

    def renew_certificate(self, domain: str) -> None:
        pass

    def use_certificate(self, domain: str, chain: str, key: str) -> None:
        pass

    def dns_records(self, domain: str) -> str:
        return ""

    def close(self) -> None:
        pass
