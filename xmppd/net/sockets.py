"""Listening sockets and their options, set once: accepted sockets inherit them (no system call per accept)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Final

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


def listener_socket(
    host: str,
    port: int,
    *,
    dscp: int | None,
    backlog: int,
    keepalive_idle_s: int,
    keepalive_interval_s: int,
    keepalive_probes: int,
    user_timeout_ms: int,
) -> socket.socket:
    """A non-blocking listening socket of one family: an IPv6 address never takes IPv4 peers. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive_idle_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, keepalive_interval_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, keepalive_probes)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms)
        set_dscp(sock, dscp)  # before listen: the SYN-ACK is marked too (13-1)
        sock.bind(address)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock
