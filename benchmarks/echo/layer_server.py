"""An echo server on the connection layer: layer_server tls|plain CERTIFICATE KEY [python]

Prints its port, then obeys the lines of its standard input until it ends:
  gathered COUNT BYTES   write COUNT messages of BYTES bytes to every connection in one pass: one flush each
  each COUNT BYTES       the same in COUNT passes: COUNT flushes each
and answers "written". The handler is compiled (echo_handler.pyx), or a Python one with `python`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import uvloop

from benchmarks.programs import build_module
from xmppd._fast.conn import Conn, Handler, NetLoop, PyHandler
from xmppd._fast.tls import LibCtx, TLSContext


class PythonEcho(PyHandler):
    def on_data(self, conn: Conn, data: bytes) -> None:
        conn.write(data)


async def serve(mode: str, certificate: str, key: str, kind: str = "compiled") -> None:
    loop = asyncio.get_running_loop()
    compiled = Path(__file__).with_name("echo_handler.pyx")
    handler: type[Handler] = PythonEcho if kind == "python" else build_module(compiled).Echo
    context = TLSContext(LibCtx(), certs=[(certificate, f"file:{key}")])
    conns: list[Conn] = []

    def accept(conn: Conn) -> Handler:
        conns.append(conn)
        return handler()

    net = NetLoop(loop, workers=1)
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    net.listen(sock, accept, select=lambda conn, sni: context, direct_tls=mode == "tls")
    print(sock.getsockname()[1], flush=True)

    lines: asyncio.Queue[list[str]] = asyncio.Queue()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline().split()))
    while words := await lines.get():
        verb, count, message = words[0], int(words[1]), b"x" * int(words[2])
        for pass_messages in [int(count)] if verb == "gathered" else [1] * count:
            for conn in conns:
                for _ in range(pass_messages):
                    conn.write(message)
            await asyncio.sleep(0)  # the flush is due at the end of this pass
        print("written", flush=True)
    net.close()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
