"""xmppd: an XMPP server for people who must prove what they run."""

__version__ = "0.1.0.dev0"
