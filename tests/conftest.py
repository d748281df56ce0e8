"""What holds for all tests."""

from __future__ import annotations

import resource
import signal

# Whoever runs the tests in the background has them ignore Ctrl-C, and every child would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Some tests hold more connections than an ordinary user's session has descriptors; the server, too, takes what there is.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
