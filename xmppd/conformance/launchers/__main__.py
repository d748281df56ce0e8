"""A launcher that comes with the package, as a program: `python -m xmppd.conformance.launchers NAME`."""

from __future__ import annotations

import sys

from xmppd.conformance.launcher import serve
from xmppd.conformance.launchers import KNOWN

serve(KNOWN[sys.argv[1]](), sys.stdin, sys.stdout)
