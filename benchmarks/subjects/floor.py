"""The floor: a C program that does with OpenSSL and epoll what cannot be left out, and nothing else."""

from __future__ import annotations

import subprocess
from typing import Final

from benchmarks.programs import ROOT, build_program
from benchmarks.subjects import ADDRESS, DOMAIN, Subject
from tests.certs import make_ca, make_cert

SOURCE: Final = ROOT / "benchmarks" / "floors" / "floor.c"


class Floor(Subject):
    name = "floor"
    kind = "floor"
    xmpp = False

    def prepare(self) -> None:
        self._files = make_cert(make_ca(), [DOMAIN]).write(self.folder)

    @property
    def version(self) -> str:
        return "a C program with epoll and OpenSSL"

    def start(self) -> None:
        words = [*self.pinned(), str(build_program(SOURCE)), ADDRESS, *map(str, self._files)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.pid = self.process.pid

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)
