"""The load generator finds what a server does wrong with deliveries, and measures from the time that was meant."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from benchmarks.figures import Sample, percentile
from benchmarks.load_program import Load
from benchmarks.programs import missing_tools
from benchmarks.subjects import DOMAIN, Subject
from tests.certs import make_ca, make_cert

pytestmark = pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))
MESSAGE = re.compile(rb"<message .*?</message>")
PAIRS = 4


class Faulty(Subject):
    """A floor of sorts that does something wrong with the 100th message, or sleeps."""

    name = "faulty"
    kind = "floor"
    xmpp = False

    def __init__(self, folder: Path, fault: str) -> None:
        super().__init__(folder, 2 * PAIRS, None)
        self.fault = fault
        self.seen = 0
        self.late: tuple[asyncio.StreamWriter, bytes] | None = None
        self.writers: dict[int, asyncio.StreamWriter] = {}

    def prepare(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*make_cert(make_ca(), [DOMAIN]).write(self.folder))
        self.context.set_ecdh_curve("prime256v1")

    def start(self) -> None:
        ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self.thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join(10)

    async def _serve(self, ready: threading.Event) -> None:
        self.loop, self.end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, ssl=self.context)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self.end.wait()
        server.close()
        for writer in self.writers.values():
            writer.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = int(await reader.readexactly(8))
        self.writers[number] = writer
        writer.write(b"<known/>")
        data = b""
        while chunk := await reader.read(65536):
            data += chunk
            for found in MESSAGE.finditer(data):
                self._relay(number, found[0])
            data = data[data.rfind(b"</message>") + 10 :] if b"</message>" in data else data

    def _relay(self, number: int, message: bytes) -> None:
        self.seen += 1
        to = self.writers[number ^ 1]
        match self.fault if self.seen == 100 else None:
            case "lost":
                return
            case "disordered":
                self.late = to, message
                return
            case "doubled":
                to.write(message)
            case "misrouted":
                to = self.writers[(number ^ 1) ^ 2]
            case "bounced":
                message = message.replace(b" type='chat'", b" type='error'")
            case "slow":
                threading.Event().wait(0.3)  # all that is sent meanwhile is late
        to.write(message)
        if self.late and self.late[0] is to:
            to.write(self.late[1])
            self.late = None


@contextmanager
def faulty(folder: Path, fault: str) -> Iterator[Load]:
    subject = Faulty(folder, fault)
    subject.prepare()
    subject.start()
    load = Load(subject, None)
    try:
        assert load.do("login", count=2 * PAIRS)["complete"]
        yield load
    finally:
        load.close()
        subject.stop()


def test_it_is_on_the_processor_that_it_is_given() -> None:
    cpu = max(os.sched_getaffinity(0))
    load = Load(Mock(accounts=1, port=1, xmpp=False), cpu)
    try:
        assert os.sched_getaffinity(load.pid) == {cpu}
    finally:
        load.close()


@pytest.mark.parametrize("fault", ["", "lost", "doubled", "disordered", "misrouted", "bounced"])
def test_a_wrong_delivery_is_found(tmp_path: Path, fault: str) -> None:
    with faulty(tmp_path, fault) as load:
        result = load.do("run", pairs=PAIRS, rate=1000, seconds=0.4, patience=1)
    found = Sample.of(result, "messages", 0.0)
    assert result["messages"]["sent"] >= 400
    assert bool(found.faults) == bool(fault), found.faults
    if fault:
        assert found.faults[fault] == 1


def test_late_messages_count_from_when_they_were_meant_to_be_sent(tmp_path: Path) -> None:
    with faulty(tmp_path, "slow") as load:
        sample = Sample.of(load.do("run", pairs=PAIRS, rate=1000, seconds=0.6), "messages", 0.0)
    # 300 of 600 were meant to be sent while the server slept: they waited 150 ms in the middle
    assert not sample.faults
    assert sample.operations >= 600
    assert percentile(sample.latency_us, 0.75) > 50_000
