"""Launchers that come with the package, by the name given to `--launch`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Final

from xmppd.conformance.launcher import ChildLauncher, Launcher
from xmppd.conformance.launchers.ejabberd import Ejabberd
from xmppd.conformance.launchers.prosody import Prosody
from xmppd.conformance.launchers.xmppd import Xmppd

KNOWN: Final[Mapping[str, Callable[[], Launcher]]] = {
    "ejabberd": Ejabberd,
    "prosody": Prosody,
    "xmppd": Xmppd,
}


def launcher(name: str) -> Launcher:
    """The launcher of that name; any other word is a command that speaks the protocol of launchers."""
    return KNOWN[name]() if name in KNOWN else ChildLauncher(name)


def command(name: str) -> str:
    """The command that is this launcher as a program."""
    return shlex.join((sys.executable, "-m", __name__, name)) if name in KNOWN else name
