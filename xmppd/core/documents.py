"""XML that is kept for an account: its vCard (XEP-0054), private storage (XEP-0049)."""

from __future__ import annotations

from collections.abc import Mapping

from xmppd.core.accounts import Account
from xmppd.core.site import Site
from xmppd.errors import StanzaError
from xmppd.events import limited
from xmppd.records import DocumentName


async def keep(site: Site, account: Account, documents: Mapping[DocumentName, bytes]) -> None:
    """Commit documents in the place of those of the same names. StanzaError resource-constraint: it is too much."""
    if not await site.records.put_documents(account.account_id, documents, site.settings.document_bytes):
        limited("document_bytes")
        raise StanzaError("resource-constraint", app="document_bytes")
