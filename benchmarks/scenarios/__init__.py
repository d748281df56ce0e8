"""What is measured, a file each. A scenario is plain functions and a literal table of its parameters.

A module has `scenarios(scale)`. For each subject a scenario is set up once, measured in every round, and torn down;
the subjects take turns within a round, so that they meet the same machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Sample, faults_of
from benchmarks.load_program import Load
from benchmarks.subjects import Subject, processors

MODULES: Final = (
    "login",
    "storm",
    "idle",
    "messages",
    "open_loop",
    "fanout",
    "offline",
    "roster",
    "churn",
    "growth",
    "accounts",
)
SOAK: Final = ("mixed_day",)


@dataclass(frozen=True)
class Scale:
    """How long and how large."""

    name: str
    seconds: float  # of one measurement
    connections: int  # the most that are held idle by all
    most: int  # that are held idle where the machine lets that be
    beside: int  # the most that are held while others work
    subscribers: tuple[int, ...]
    crowd: int  # subscribers of the account that has very many
    logins: int  # in one measurement
    items: int  # of a large roster
    soak_s: float


SMOKE: Final = Scale(
    "smoke",
    0.2,
    connections=50,
    most=60,
    beside=50,
    subscribers=(5, 20),
    crowd=40,
    logins=20,
    items=30,
    soak_s=2,
)
QUICK: Final = Scale(
    "quick",
    1.0,
    connections=1000,
    most=1500,
    beside=1000,
    subscribers=(50, 150, 500),
    crowd=800,
    logins=200,
    items=1000,
    soak_s=60,
)
FULL: Final = Scale(
    "full",
    5.0,
    connections=10_000,
    most=50_000,
    beside=5000,
    subscribers=(50, 150, 500),
    crowd=10_000,
    logins=1000,
    items=1000,
    soak_s=3600,
)


@dataclass
class Bench:
    """One subject, running, and the generator that talks to it."""

    subject: Subject
    load: Load
    subscriptions: set[tuple[int, int]] = field(default_factory=set)
    _beside: Bench | None = None

    @property
    def beside(self) -> Bench:
        """The same subject and a second generator, whose work does not delay what the first measures."""
        if self._beside is None:
            load = Load(self.subject, self.load.cpu, behind=True)
            self._beside = Bench(self.subject, load, self.subscriptions)
        return self._beside

    def do(self, verb: str, **parameters: float | str) -> dict[str, Any]:
        """A command that prepares or ends something: RuntimeError if it is not done in full, or anything came wrong."""
        result = self.load.do(verb, **parameters)
        if faults := faults_of(result):
            raise RuntimeError(f"{self.subject.name}: {verb} {parameters}: {faults}, {_short(result)}")
        return result

    def subscribe(self, to: int, first: int, count: int) -> None:
        """Let accounts be subscribed to the presence of u<to>; what they were before stays."""
        missing = [n for n in range(first, first + count) if (n, to) not in self.subscriptions]
        if missing and self.subject.xmpp:
            self.do("subscribe", to=to, first=missing[0], count=missing[-1] - missing[0] + 1)
        self.subscriptions.update((n, to) for n in missing)

    def timed(
        self, what: str, verb: str, *, beside: Mapping[str, float] | None = None, **parameters: float | str
    ) -> Sample:
        """A command that is measured, from an idle server to an idle server: what it is left to do counts too.

        `beside` are parameters of what the second generator runs at the same time.
        """
        self.subject.settle()
        before = self.subject.cpu_s()
        if beside:
            self.beside.load.begin("run", **beside)
        result = self.load.do(verb, **parameters)
        others = [self.beside.load.result()] if beside else []
        self.subject.settle()
        return Sample.of(result, what, self.subject.cpu_s() - before, *others)

    def close(self) -> None:
        """End the generators."""
        self.load.close()
        if self._beside is not None:
            self._beside.close()
            self._beside = None

    def restart(self) -> None:
        """The server anew, and a generator that is not connected."""
        self.close()
        self.subject.stop()
        self.subject.start()
        self.load = Load(self.subject, self.load.cpu)


@contextmanager
def running(kind: type[Subject], folder: Path, accounts: int) -> Iterator[Bench]:
    """A subject in a new folder, with its generator; both end with the context."""
    server_cpu, load_cpu = processors()
    home = folder / kind.name.lower()
    home.mkdir(parents=True)
    subject = kind(home, accounts, server_cpu)
    subject.prepare()
    subject.start()
    with ExitStack() as at_end:
        at_end.callback(subject.stop)
        bench = Bench(subject, Load(subject, load_cpu))
        at_end.callback(bench.close)
        yield bench


def _short(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        part: {name: value for name, value in result[part].items() if isinstance(value, int) and value}
        for part in ("logins", "messages", "presences")
    }


def nothing(_bench: Bench) -> None:
    """No set-up or tear-down is needed."""


@dataclass(frozen=True)
class Scenario:
    """`measure` gives a sample for each of `figures`."""

    name: str
    title: str
    operation: str
    figures: tuple[str, ...]
    measure: Callable[[Bench], dict[str, Sample]]
    set_up: Callable[[Bench], None] = nothing
    tear_down: Callable[[Bench], None] = nothing
    accounts: int = 0  # u0 to u<accounts - 1> are used
    subjects: frozenset[str] = frozenset({"xmppd", "peer", "floor"})
    set_up_s: float = 1.0  # about, for the time that is left
    measure_s: float = 2.0
    rounds: int | None = None  # not given: as many as the run has
    alone: bool = False  # on a server of its own: what it leaves behind in rosters would burden others
