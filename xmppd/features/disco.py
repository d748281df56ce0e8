"""Service Discovery (XEP-0030): what the server and its accounts are and can do."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import quoteattr

from xmppd import ns
from xmppd.core.iq import Feature, Key, Request, Routes, Scope
from xmppd.errors import StanzaError

FEATURES = (ns.DISCO_INFO, ns.DISCO_ITEMS)

SERVER_IDENTITY = "<identity category='server' type='im' name='xmppd'/>"
ACCOUNT_IDENTITY = "<identity category='account' type='registered'/>"


def routes(features: Iterable[str], account_features: Iterable[str] = ()) -> Routes:
    """The routes of a server that supports `features` (namespaces, of all modules), some for its accounts."""
    host = _info(SERVER_IDENTITY, features)
    account = _info(ACCOUNT_IDENTITY, (*FEATURES, *account_features))

    def host_info(request: Request) -> bytes:
        return _without_node(request, host)

    def account_info(request: Request) -> bytes:
        # XEP-0030 8: only who sees the account's presence learns that it is there
        if request.to != request.sender.jid.bare and not _sees(request):
            raise StanzaError("service-unavailable")
        return _without_node(request, account)

    def host_items(request: Request) -> bytes:
        return _without_node(request, f"<query xmlns='{ns.DISCO_ITEMS}'/>".encode())

    def account_items(request: Request) -> bytes:
        """The account's available resources (XEP-0030 4.2), for itself and for who sees its presence."""
        if request.to != request.sender.jid.bare and not _sees(request):
            raise StanzaError("service-unavailable")
        connected = request.site.table.bare(request.to.norm)
        items = "".join(
            f"<item jid={quoteattr(str(resource.jid))}/>"
            for resource in (connected.resources if connected is not None else ())
            if resource.available
        )
        return _without_node(request, f"<query xmlns='{ns.DISCO_ITEMS}'>{items}</query>".encode())

    by_scope: dict[tuple[Scope, str], Feature] = {
        (Scope.HOST, ns.DISCO_INFO): host_info,
        (Scope.HOST, ns.DISCO_ITEMS): host_items,
        (Scope.OWN, ns.DISCO_INFO): account_info,
        (Scope.OWN, ns.DISCO_ITEMS): account_items,
        (Scope.ACCOUNT, ns.DISCO_INFO): account_info,
        (Scope.ACCOUNT, ns.DISCO_ITEMS): account_items,
    }
    table: dict[Key, Feature] = {
        ("get", scope, namespace, "query"): feature for (scope, namespace), feature in by_scope.items()
    }
    return table


def _info(identity: str, features: Iterable[str]) -> bytes:
    listed = "".join(f"<feature var={quoteattr(feature)}/>" for feature in sorted(set(features)))
    return f"<query xmlns='{ns.DISCO_INFO}'>{identity}{listed}</query>".encode()


def _without_node(request: Request, answer: bytes) -> bytes:
    if request.payload.get("node"):
        raise StanzaError("item-not-found")  # XEP-0030 7: no such node
    return answer


def _sees(request: Request) -> bool:
    account = request.site.accounts.get(request.to)
    return account is not None and account.shows_to(request.sender.jid.bare)
