"""Packets of TCP connections as the kernel shows them: for their DS field, which no socket tells (RFC 2474).

Linux gives copies of the packets that arrive on any interface, loopback included, to a process that may capture
(CAP_NET_RAW). A filter in the kernel keeps all but those of one TCP port away, so that other traffic costs nothing.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from xmppd.conformance.verdict import CouldNotTest

TCP: Final = 6
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
SNAP_BYTES: Final = 128  # the longest IPv4 header and the longest TCP header are 60 bytes each
BUFFER_BYTES: Final = 4 << 20  # what the kernel keeps until it is read

# Linux: if_ether.h, if_packet.h, socket.h
PROTOCOLS: Final = {socket.AF_INET: 0x0800, socket.AF_INET6: 0x86DD}
SO_ATTACH_FILTER: Final = 26
SOL_PACKET, PACKET_STATISTICS = 263, 6


@dataclass(frozen=True, slots=True)
class Packet:
    """One TCP packet."""

    source: tuple[str, int]  # address, port
    destination: tuple[str, int]
    traffic_class: int  # the byte that IPv4 calls type of service
    flags: int
    payload: int  # bytes behind the TCP header

    @property
    def dscp(self) -> int:
        """The upper six bits of the DS field; the other two are ECN."""
        return self.traffic_class >> 2

    @property
    def kind(self) -> str:
        """What it is for: SYN, SYN-ACK, RST, FIN, data, or nothing but ACK."""
        if self.flags & SYN:
            return "SYN-ACK" if self.flags & ACK else "SYN"
        if self.flags & RST:
            return "RST"
        if self.flags & FIN:
            return "FIN"
        return "data" if self.payload else "ACK"


def parse(data: bytes) -> Packet | None:
    """The packet that begins with an IP header; the end may be missing. None if it is not TCP.

    IPv6 extension headers and IPv4 fragments are not looked into: Linux sends neither for TCP.
    """
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        family, begin, protocol = socket.AF_INET, (data[0] & 15) * 4, data[9]
        traffic_class, total, fragment = data[1], *struct.unpack_from("!H2xH", data, 2)
        source, destination = data[12:16], data[16:20]
        if begin < 20 or fragment & 0x1FFF:
            return None
    elif version == 6 and len(data) >= 40:
        family, begin, protocol = socket.AF_INET6, 40, data[6]
        traffic_class = struct.unpack_from("!H", data)[0] >> 4 & 0xFF
        total = 40 + struct.unpack_from("!H", data, 4)[0]
        source, destination = data[8:24], data[24:40]
    else:
        return None
    if protocol != TCP or len(data) < begin + 20:
        return None
    source_port, destination_port, offset, flags = struct.unpack_from("!HH8xBB", data, begin)
    return Packet(
        source=(socket.inet_ntop(family, source), source_port),
        destination=(socket.inet_ntop(family, destination), destination_port),
        traffic_class=traffic_class,
        flags=flags,
        payload=max(0, total - begin - (offset >> 4) * 4),
    )


def port_filter(port: int) -> bytes:
    """A classic BPF program, on packets that begin with the IP header, that lets TCP from this port pass."""
    program = (
        (0x30, 0, 0, 0),  # the first byte
        (0x54, 0, 0, 0xF0),  # its upper half: the version
        (0x15, 0, 3, 0x40),  # IPv4? else go on below
        (0x30, 0, 0, 9),  # its protocol
        (0xB1, 0, 0, 0),  # X is the length of its header
        (0x05, 0, 0, 3),  # go on at "TCP?"
        (0x15, 0, 6, 0x60),  # IPv6? else drop
        (0x30, 0, 0, 6),  # its protocol
        (0x01, 0, 0, 40),  # X is the length of its header
        (0x15, 0, 3, TCP),  # TCP? else drop
        (0x48, 0, 0, 0),  # the source port, behind X bytes
        (0x15, 0, 1, port),  # the one wanted? else drop
        (0x06, 0, 0, SNAP_BYTES),  # pass
        (0x06, 0, 0, 0),  # drop
    )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


class Capture:
    """All TCP packets of one IP version that come from a port, from now on.

    Raises CouldNotTest if this process may not capture.
    """

    def __init__(self, family: socket.AddressFamily, port: int) -> None:
        program = port_filter(port)
        kept = ctypes.create_string_buffer(program, len(program))
        try:
            # one protocol, not all: so only what arrives is seen, and each packet once
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(PROTOCOLS[family]))
        except (OSError, AttributeError) as error:
            why = getattr(error, "strerror", None) or "this system has no packet sockets"
            raise CouldNotTest(
                f"it needs to capture packets: {why}; run it as root or with CAP_NET_RAW"
            ) from None
        self._socket.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(kept))
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Capture no more."""
        self._socket.close()

    def to(self, address: tuple[str, int], deadline: float) -> Iterator[Packet]:
        """Packets to this address and port, as they come, until the deadline (time.monotonic)."""
        while True:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._socket], [], [], left)[0]:
                return
            packet = parse(self._socket.recv(SNAP_BYTES))
            if packet is not None and packet.destination == address:
                yield packet

    @property
    def lost(self) -> int:
        """How many packets the kernel had no room for since this was asked the last time."""
        return int(struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1])
