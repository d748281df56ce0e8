"""What RFC 6120 and RFC 6121 call "the server": routing, accounts, connected resources, presence."""
