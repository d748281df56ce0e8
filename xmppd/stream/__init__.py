"""RFC 6120 sections 4 to 7 without I/O: events in, actions out. No socket, no clock, no await, no store."""
