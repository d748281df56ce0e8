"""slixmpp with ears: a client that keeps what it hears until somebody asks for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from slixmpp import JID, ClientXMPP
from slixmpp.exceptions import IqError
from slixmpp.stanza import StreamError
from slixmpp.xmlstream import StanzaBase

WITHIN_S: Final = 20.0


class LoginError(Exception):
    """The client could not log in; the text is the first reason it saw."""


class Talker(ClientXMPP):
    """One account on one connection.

    `ca`: the only certificates it trusts; `mechanism` and `tls`: the only SASL mechanism and the only TLS version
    it may use. Subscriptions are answered by hand, so that a test sees each step.
    """

    def __init__(
        self,
        jid: str,
        password: str,
        ca: Path,
        *,
        mechanism: str | None = None,
        tls: ssl.TLSVersion | None = None,
    ) -> None:
        context = ssl.create_default_context(cafile=str(ca))  # verifies chain and name
        if tls is not None:
            context.minimum_version = context.maximum_version = tls
        super().__init__(jid, password, sasl_mech=mechanism, ssl_context=context)
        self.enable_direct_tls = False  # on a STARTTLS port it would knock with a TLS hello first
        self.auto_authorize = self.auto_subscribe = None  # type: ignore[assignment] # None: we answer ourselves
        self.heard: list[StanzaBase] = []
        self._news = asyncio.Event()
        self._in = asyncio.get_running_loop().create_future()
        self.add_filter("in", self._hear)
        self.add_event_handler("session_start", lambda _: self._settle(None))
        for failure in (
            "failed_all_auth",
            "ssl_invalid_chain",
            "stream_error",
            "connection_failed",
            "disconnected",
        ):
            self.add_event_handler(
                failure, lambda reason, name=failure: self._settle(f"{name} {reason or ''}".strip())
            )

    def _hear(self, stanza: StanzaBase) -> StanzaBase:
        self.heard.append(stanza)
        self._news.set()
        return stanza

    def _settle(self, failure: str | None) -> None:
        if not self._in.done():
            self._in.set_result(failure)

    @property
    def mechanism(self) -> str:
        """The SASL mechanism it logged in with."""
        return str(getattr(self.plugin["feature_mechanisms"].mech, "name", ""))

    @property
    def tls_version(self) -> str:
        return str(self.transport.get_extra_info("ssl_object").version()) if self.transport else ""

    async def log_in(self, host: str, port: int, *, show: bool = True) -> None:
        """Connect, negotiate, get the roster, become available (with `show`); LoginError says why not."""
        self.connect(host, port)
        failure = await asyncio.wait_for(self._in, WITHIN_S)
        if failure:
            self.leave()
            raise LoginError(failure)
        await self.get_roster(timeout=WITHIN_S)
        if show:
            self.send_presence()

    async def hear(self, what: str, wanted: Callable[[Any], bool]) -> Any:
        """Take the first `wanted` stanza heard so far or from now on; AssertionError names `what`."""
        try:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    for stanza in self.heard:
                        if wanted(stanza):
                            self.heard.remove(stanza)
                            return stanza
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            heard = "\n  ".join(str(stanza) for stanza in self.heard)
            raise AssertionError(
                f"{self.boundjid.bare} waited {WITHIN_S} s for {what} and heard:\n  {heard}"
            ) from None

    async def message(self, sender: str, body: str) -> Any:
        return await self.hear(
            f"{body!r} from {sender}",
            lambda s: s.name == "message" and s["from"].bare == sender and s["body"] == body,
        )

    async def presence(self, sender: str, kind: str = "available") -> Any:
        """A presence of `sender`; `kind` is its type, or available, or another word of <show/>."""
        return await self.hear(
            f"presence {kind} from {sender}",
            lambda s: s.name == "presence" and s["from"].bare == sender and s["type"] == kind,
        )

    async def stream_error(self) -> str:
        """The condition of the stream error it hears."""
        error = await self.hear("a stream error", lambda s: isinstance(s, StreamError))
        return str(error["condition"])

    async def answer(self, iq: Any) -> Any:
        """Send an IQ get or set; its answer, an error as well as a result."""
        try:
            return await iq.send(timeout=WITHIN_S)
        except IqError as refused:
            return refused.iq

    def say(self, to: str, body: str) -> None:
        self.send_message(mto=JID(to), mbody=body, mtype="chat")

    def ask_for_presence(self, contact: str) -> None:
        self.send_presence(pto=contact, ptype="subscribe")

    async def approve(self, contact: str) -> None:
        """Wait until `contact` asks to see our presence, and let it."""
        await self.presence(contact, "subscribe")
        self.send_presence(pto=contact, ptype="subscribed")

    def leave(self) -> None:
        """Drop the connection, if there is one, and try no other. (slixmpp's abort fails on one that is closing.)"""
        self.cancel_connection_attempt()
        if self.transport is not None and not self.transport.is_closing():
            self.abort()

    async def log_out(self) -> None:
        """Close the stream and wait until the connection is gone."""
        if self.transport is not None and not self.transport.is_closing():
            await asyncio.wait_for(self.disconnect(), WITHIN_S)
