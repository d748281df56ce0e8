"""`python -m xmppd.config > docs/config.md`."""

import sys

from xmppd.config.reference import reference

sys.stdout.write(reference())
