"""The flame graph of samples as perf prints them."""

from __future__ import annotations

import re

from benchmarks.flame import Box, add, drawn, part_of, short, stacks

SAMPLES = """
\tffffffff82 tcp_sendmsg ([kernel.kallsyms])
\tffffffff81 entry_SYSCALL_64_after_hwframe ([kernel.kallsyms])
\t          9c __pyx_f_5xmppd_5_fast_4conn_7NetLoop_flush (/x/xmppd/_fast/conn.cpython-311-x86_64-linux-gnu.so)
\t          9b main (/usr/bin/python3.11)

\t          7a EVP_DecryptUpdate (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)
\t          9c __pyx_f_5xmppd_5_fast_4conn_7NetLoop_flush (/x/xmppd/_fast/conn.cpython-311-x86_64-linux-gnu.so)
\t          9b main (/usr/bin/python3.11)
"""


def test_a_picture_of_two_samples() -> None:
    whole = Box("all", "#fff")
    for stack in stacks(SAMPLES):
        add(whole, stack)
    [flush] = whole.calls.values()
    assert (whole.samples, flush.name, flush.samples) == (2, "conn.NetLoop_flush", 2)
    assert {name: box.samples for name, box in flush.calls.items()} == {
        "tcp_sendmsg": 1,
        "EVP_DecryptUpdate": 1,
    }
    colours = {flush.colour, *(box.colour for box in flush.calls.values())}
    assert len(colours) == 3
    titles = re.findall("<title>(.*?)</title>", drawn(whole, "two"))
    assert titles == [
        "all: 100.0%",
        "conn.NetLoop_flush: 100.0%",
        "tcp_sendmsg: 50.0%",
        "EVP_DecryptUpdate: 50.0%",
    ]


def test_parts_are_told_by_the_file() -> None:
    assert part_of(
        "/venv/lib/python3.11/site-packages/uvloop/loop.cpython-311-x86_64-linux-gnu.so"
    ) == part_of("loop.so")
    assert (
        part_of("/usr/lib/libssl.so.3") == part_of("/usr/lib/libcrypto.so.3") != part_of("/usr/lib/libc.so.6")
    )
    assert short("SSL_read_ex") == "SSL_read_ex"
