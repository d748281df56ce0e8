"""What a running server looks at again and again, and reports to `health`."""

from __future__ import annotations

import asyncio

from xmppd.config import Config
from xmppd.ops.health import Health
from xmppd.pki import certificate


async def look_at_certificates(config: Config, health: Health) -> None:
    """The certificate files of every domain: the right names, the right key, valid, and for how long."""
    for domain in config.domains:
        errors, warnings = await asyncio.to_thread(
            certificate.faults, domain.name, domain.certificate, domain.key.path
        )
        soon = [text for text in warnings if "expires" in text]
        health.set("certificate-unusable", bool(errors), "; ".join(errors), domain.name)
        health.set("certificate-expiring", bool(soon), "; ".join(soon), domain.name)
