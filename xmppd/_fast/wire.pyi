from typing import Any

from xmppd._fast.conn import Conn, Handler
from xmppd._fast.reader import StreamReader
from xmppd._fast.route import Resource, RouteTable

def tick(now: int) -> None: ...
def heaviest(connections: list[Conn]) -> Any: ...

class Allowance:
    partial_bytes_total: int
    def __init__(
        self,
        *,
        bytes_per_s: int,
        stanzas_per_s: int,
        burst_s: float,
        ticks_per_s: int,
        partial_bytes_total: int,
    ) -> None: ...

class Deadline:
    due: int
    slot: int
    def expire(self) -> None: ...

class Wire(Handler):
    conn: Conn
    reader: StreamReader
    session: Any
    table: RouteTable
    resource: Resource | None
    allowance: Allowance | None
    last_in: int
    def __init__(
        self, conn: Conn, reader: StreamReader, table: RouteTable, session: Any, allowance: Allowance | None
    ) -> None: ...
    def hold(self) -> None: ...
    def release(self) -> None: ...
    def give_up(self) -> None: ...
    def deafen(self) -> None: ...
    def attach_resource(self, resource: Resource) -> None: ...
    def detach_resource(self) -> None: ...
    @property
    def held(self) -> bool: ...
    @property
    def idle_ticks(self) -> int: ...
