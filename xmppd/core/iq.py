"""IQ requests that the server answers itself: the route table and how an answer goes back (RFC 6120 8.2.3).

A feature is a module with plain functions and a literal `ROUTES`. The key says what is asked, of whom; the function
gets a `Request` and returns the payload of the result, or raises StanzaError. A function that waits is a coroutine;
it may return None if it has called `reply` itself, where something must come right behind the result.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeVar

from xmppd import ns
from xmppd._fast.element import Element
from xmppd._fast.reader import Stanza
from xmppd._fast.route import Resource
from xmppd.core.accounts import Account, owns
from xmppd.core.site import Site, bounce
from xmppd.core.turn import Turn
from xmppd.errors import StanzaError
from xmppd.events import fields
from xmppd.jid import JID

log = logging.getLogger("xmppd.core.iq")

T = TypeVar("T")


# to a full address it goes only for who sees its presence (XEP-0012 4): the routing table leaves it to the router
LAST_ACTIVITY: Final = (ns.LAST_ACTIVITY, "query")


class Scope(Enum):
    """Whom an IQ is addressed to, seen from its sender."""

    HOST = "host"  # a served domain
    OWN = "own"  # the sender's own account: no 'to', or its bare address
    ACCOUNT = "account"  # another local account's bare address


@dataclass(slots=True)
class Request:
    """One IQ get or set for the server: who asks, and on whose behalf the server answers (`to`)."""

    site: Site
    sender: Resource
    stanza: Stanza
    to: JID
    answered: bool = False

    @property
    def payload(self) -> Element:
        """The one child of the IQ, as a tree."""
        return next(iter(self.stanza.element()))


Answer = bytes | Awaitable[bytes | None]
Feature = Callable[[Request], Answer]
Key = tuple[Literal["get", "set"], Scope, str, str]  # type, scope, namespace and name of the payload
Routes = Mapping[Key, Feature]


class RouteConflict(Exception):
    """Two features claim the same request; found at start."""


def merge(tables: Iterable[Routes]) -> dict[Key, Feature]:
    """One table of all features. Raises RouteConflict."""
    routes: dict[Key, Feature] = {}
    for table in tables:
        for key, feature in table.items():
            if key in routes:
                raise RouteConflict(f"{key[0]} {key[1].value} {{{key[2]}}}{key[3]} has two features")
            routes[key] = feature
    return routes


def answer(routes: Routes, request: Request, scope: Scope) -> None:
    """Let the feature answer a get or set, or answer `service-unavailable` (5-10.d)."""
    stanza, sender = request.stanza, request.sender
    payload_ns, payload_name = stanza.child(0)
    key: Key = ("get" if stanza.type == "get" else "set", scope, payload_ns, payload_name)
    feature = routes.get(key)
    if feature is None:
        bounce(sender, stanza, StanzaError("service-unavailable"))
        return
    try:
        result = feature(request) if scope is not Scope.ACCOUNT else _for_account(feature, request)
    except Exception as error:
        _refuse(request, error)
        return
    if isinstance(result, bytes):
        reply(request, result)
    else:
        turn = Turn(request.sender.session, request.site.settings.answer_s)
        request.site.spawn(_answer_later(request, result, turn))


async def _for_account(feature: Feature, request: Request) -> bytes | None:
    """Answer for another account, in memory by then, unless it has blocked who asks (XEP-0191 3.3)."""
    account = await request.site.accounts.load(request.to)
    if account is not None and account.blocks(request.sender.jid):
        raise StanzaError("service-unavailable")
    result = feature(request)
    return result if isinstance(result, bytes) else await result


async def _answer_later(request: Request, result: Awaitable[bytes | None], turn: Turn) -> None:
    """Answer when the feature is done, or with an error when that takes too long.

    What it has begun goes on: a change that comes about late is told by what it brings, a roster push for instance.
    """
    late = StanzaError("internal-server-error", "no answer in time")
    timer = asyncio.get_running_loop().call_later(request.site.settings.answer_s, _refuse, request, late)
    try:
        payload = await result
        if payload is not None:
            reply(request, payload)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        _refuse(request, error)
    finally:
        timer.cancel()
        turn.over()


def reply(request: Request, payload: bytes) -> None:
    """Send the result of a request, unless it has been answered."""
    if request.answered:
        return
    # 5-4.b, 5-4.c: from the host it was sent to; for the own account without 'from'
    from_ = request.to.wire if request.to != request.sender.jid.bare else b""
    result = request.stanza.reply(payload, to=request.sender.jid.wire, from_=from_)
    if request.site.acceptance.answer(request.sender, result):
        request.answered = True
    else:
        _refuse(request, StanzaError("resource-constraint", app="queue_bytes"))


def not_yours(_request: Request) -> Answer:
    """What is its account's alone (RFC 6121 2.3.3, XEP-0054 3.2; 6-1.2, 6-25.1).

    The same for a name that is no account, where 5-18.c would have another error: the two together would tell who has
    an account.
    """
    raise StanzaError("forbidden")


async def in_turn(request: Request, work: Callable[[Account], Awaitable[T]]) -> T:
    """Do `work` with the sender's account when that account's earlier jobs are done; what it raises is raised here."""
    done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def job(account: Account | None) -> None:
        if not owns(account, request.sender):
            raise StanzaError("item-not-found")
        done.set_result(await work(account))

    request.site.accounts.perform(request.to, job, done.set_exception)
    return await done


def _refuse(request: Request, error: Exception) -> None:
    if not isinstance(error, StanzaError):
        log.error("feature failed", exc_info=error, extra=fields(account=str(request.sender.jid)))
        error = StanzaError("internal-server-error")
    if not request.answered:
        request.answered = True
        bounce(request.sender, request.stanza, error)
