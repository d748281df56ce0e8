"""Who may log in."""

from xmppd.auth.local import (
    Credentials,
    ImportFailure,
    ImportReport,
    LocalAuth,
    LocalAuthSettings,
    Verdict,
    examine_secret,
)

__all__ = [
    "Credentials",
    "ImportFailure",
    "ImportReport",
    "LocalAuth",
    "LocalAuthSettings",
    "Verdict",
    "examine_secret",
]
