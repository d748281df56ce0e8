"""The load generator as seen from here: commands in, results out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from benchmarks.programs import Program, build_program
from benchmarks.subjects import ADDRESS, DOMAIN, PASSWORD, Subject

HERE: Final = Path(__file__).resolve().parent
SOURCES: Final = ("load", "conn", "login", "traffic", "scram", "xml", "histogram")


def build_load() -> Path:
    """Compile the generator; the path of the program."""
    return build_program(*(HERE / "load" / f"{name}.c" for name in SOURCES))


class Load(Program):
    """A running generator, connected to nothing yet. Its accounts are those of the subject.

    One that is `behind` gives way when another generator on its processor has something to do.
    """

    def __init__(self, subject: Subject, cpu: int | None, *, behind: bool = False) -> None:
        self.cpu = cpu
        words = {
            "domain": DOMAIN,
            "password": PASSWORD,
            "accounts": subject.accounts,
            "raw": int(not subject.xmpp),
        }
        arguments = [f"{key}={value}" for key, value in words.items()]
        super().__init__([build_load(), ADDRESS, str(subject.port), *arguments], cpu=cpu)
        if behind:
            os.sched_setscheduler(self.pid, os.SCHED_IDLE, os.sched_param(0))

    def begin(self, verb: str, **parameters: float | str) -> None:
        """One command of load.c; `result` waits for what came of it."""
        words = [
            f"{key}={value if isinstance(value, str) else f'{value:.10g}'}"
            for key, value in parameters.items()
        ]
        self.tell(" ".join([verb, *words]))

    def result(self) -> dict[str, Any]:
        """What came of the command that was begun; RuntimeError if the generator has ended."""
        found: dict[str, Any] = json.loads(self.line())
        return found

    def do(self, verb: str, **parameters: float | str) -> dict[str, Any]:
        """One command of load.c, and its result."""
        self.begin(verb, **parameters)
        return self.result()
