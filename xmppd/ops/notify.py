"""What a service supervisor wants to know (sd_notify(3)): one datagram to the socket it named."""

from __future__ import annotations

import os
import socket
import time


class Supervisor:
    """Tells systemd how the server is; does nothing where no supervisor asked (NOTIFY_SOCKET is not set)."""

    def __init__(self, environ: dict[str, str] | None = None) -> None:
        environ = dict(os.environ) if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        # an abstract socket is written with @, meant is a NUL
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_usec = 0
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            self._watchdog_usec = int(environ.get("WATCHDOG_USEC") or 0)

    @property
    def watchdog_interval_s(self) -> float | None:
        """How often `alive` should be called, half of what the supervisor allows; None: never."""
        return self._watchdog_usec / 2e6 if self._address and self._watchdog_usec else None

    def tell(self, *assignments: str) -> bool:
        """Send `NAME=value` lines; whether somebody was there. Never raises, never blocks."""
        if not self._address:
            return False
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            ) as s:
                s.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            return False
        return True

    def ready(self, status: str) -> bool:
        """Listeners are open (after a reload: the new configuration is in force)."""
        return self.tell("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def reloading(self) -> bool:
        """A reload has begun; `ready` ends it."""
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self.tell("RELOADING=1", f"MONOTONIC_USEC={now_usec}", "STATUS=reloading")

    def stopping(self, status: str = "stopping") -> bool:
        """An orderly stop has begun."""
        return self.tell("STOPPING=1", f"STATUS={status}")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self.tell(f"STATUS={text}")

    def alive(self) -> bool:
        """The loop turns."""
        return self.tell("WATCHDOG=1")
