"""`python -m xmppd`."""

from xmppd.cli import main

main()
