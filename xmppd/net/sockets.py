"""Listening sockets and their options, set once: accepted sockets inherit them (no system call per accept)."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from xmppd._fast.conn import Conn

MARKED_AT_ONCE: Final = 500  # connections: about 5 ms


def set_dscp(sock: socket.socket, dscp: int | None) -> None:
    """Mark what `sock` sends with `dscp` (0-63; None: no mark), on the wire as DSCP << 2 (UC 13-1)."""
    value = (dscp or 0) << 2
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, value)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, value)


async def remark(connections: Iterable[Conn], dscp: int | None) -> None:
    """Mark what established connections send from now on, not too many in one turn of the loop (13-1.4)."""
    for number, conn in enumerate(connections, 1):
        if conn.fileno() >= 0:  # it may have ended meanwhile
            sock = socket.socket(fileno=conn.fileno())
            try:
                set_dscp(sock, dscp)
            finally:
                sock.detach()  # it is the connection's
        if number % MARKED_AT_ONCE == 0:
            await asyncio.sleep(0)


# what an address that another machine has, or a family that is switched off here, ends with
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What every listener has besides its place; `dscp` as in `set_dscp`, `backlog` in connections."""

    dscp: int | None
    backlog: int
    keepalive_idle_s: int
    keepalive_interval_s: int
    keepalive_probes: int
    user_timeout_ms: int


def listener_sockets(host: str, port: int, options: Options) -> list[socket.socket]:
    """A listening socket for every address that `host` has, as an address or a name; all on one port, also if it is 0.

    Of a name, what this machine has not is left out if there is another. Raises OSError; none is open then.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    try:
        for family, _, protocol, _, address in dict.fromkeys(found):
            at = (address[0], port or (opened[0].getsockname()[1] if opened else 0), *address[2:])
            try:
                opened.append(_listening(family, protocol, at, options))
            except OSError as error:
                if error.errno not in _NOT_HERE or len(found) == 1:
                    raise
                missing = error
        if not opened:
            raise missing
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return opened


def _listening(
    family: socket.AddressFamily, protocol: int, address: tuple[Any, ...], options: Options
) -> socket.socket:
    """A non-blocking listening socket of one family: an IPv6 address never takes IPv4 peers. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, options.keepalive_idle_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, options.keepalive_interval_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, options.keepalive_probes)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, options.user_timeout_ms)
        set_dscp(sock, options.dscp)  # before listen: the SYN-ACK is marked too (13-1)
        sock.bind(address)
        sock.listen(options.backlog)
    except BaseException:
        sock.close()
        raise
    return sock
