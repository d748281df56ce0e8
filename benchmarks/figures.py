"""What a measurement gives, and what several of them come to."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from benchmarks.scenarios import Scenario

#: Everything a generator can find wrong with a delivery. One of them fails the run.
FAULTS: Final = ("lost", "doubled", "disordered", "misrouted", "bounced", "failed", "dropped")
#: CPU of the generator, as a share of a processor, above which a server that had time left was not the limit.
GENERATOR_LIMIT: Final = 0.85
IDLE_SERVER: Final = 0.95


def faults_of(*answers: Mapping[str, Any]) -> dict[str, int]:
    """What answers of generators complain of, all together."""
    faults: Counter[str] = Counter()
    for answer in answers:
        for each in ("logins", "messages", "presences"):
            faults.update({name: answer[each][name] for name in FAULTS if answer[each].get(name)})
        if not answer["complete"] and not faults:
            faults["unfinished"] = 1
    return dict(faults)


@dataclass(frozen=True)
class Sample:
    """One measurement of one subject. Latencies in microseconds: upper edge of a bucket -> count."""

    operations: int
    seconds: float
    server_cpu_s: float
    generator_cpu_s: float
    faults: Mapping[str, int] = field(default_factory=dict)
    latency_us: Mapping[float, int] = field(default_factory=dict)
    slot_s: float = 0.0
    timeline: tuple[int, ...] = ()
    memory_kib: tuple[tuple[int, float], ...] = ()  # connections or seconds, KiB of the server
    beside_rate: float = 0.0  # operations a second of what ran beside

    @classmethod
    def of(
        cls, result: Mapping[str, Any], what: str, server_cpu_s: float, *beside: Mapping[str, Any]
    ) -> Sample:
        """From an answer of the generator: `what` is "messages", "presences" or "logins".

        Faults in the answers of what ran `beside` count too, and its CPU: it is on the same processor.
        """
        part = result[what]
        return cls(
            operations=part["done"] if what == "logins" else part["received"],
            seconds=result["seconds"],
            server_cpu_s=server_cpu_s,
            generator_cpu_s=sum(each["generator_cpu_s"] for each in (result, *beside)),
            faults=faults_of(result, *beside),
            latency_us=dict(part["latency_us"]["buckets"]),
            slot_s=part["timeline"]["slot_s"],
            timeline=tuple(part["timeline"]["counts"]),
            beside_rate=sum(
                (each["logins"]["done"] + each["presences"]["received"]) / each["seconds"] for each in beside
            ),
        )

    @property
    def cpu_us(self) -> float:
        """Server CPU microseconds for each operation."""
        return self.server_cpu_s / max(self.operations, 1) * 1e6

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / max(self.seconds, 1e-9)

    @property
    def generator_share(self) -> float:
        """Of one processor."""
        return self.generator_cpu_s / max(self.seconds, 1e-9)

    @property
    def generator_was_limit(self) -> bool:
        server_share = self.server_cpu_s / max(self.seconds, 1e-9)
        return self.generator_share > GENERATOR_LIMIT and server_share < IDLE_SERVER


def percentile(latency_us: Mapping[float, int], share: float) -> float:
    """The latency that no less than `share` of the values do not exceed, microseconds; 0.0 if there are none."""
    want, seen = share * sum(latency_us.values()), 0
    for edge in sorted(latency_us):
        seen += latency_us[edge]
        if seen >= want:
            return edge
    return 0.0


def merged(histograms: Iterable[Mapping[float, int]]) -> dict[float, int]:
    """All values of several histograms in one."""
    total: Counter[float] = Counter()
    for histogram in histograms:
        total.update(histogram)
    return dict(total)


def total(samples: Sequence[Sample]) -> Sample:
    """Several measurements of one thing, one after another, as one; without their timelines."""
    return Sample(
        sum(sample.operations for sample in samples),
        sum(sample.seconds for sample in samples),
        sum(sample.server_cpu_s for sample in samples),
        sum(sample.generator_cpu_s for sample in samples),
        _faults(samples),
        merged(sample.latency_us for sample in samples),
    )


def middle(samples: Sequence[Sample]) -> Sample:
    """The one of several measurements of one thing that has the median cost, with the faults of all."""
    found = sorted(samples, key=lambda sample: sample.cpu_us)[len(samples) // 2]
    return replace(found, faults=_faults(samples))


def _faults(samples: Sequence[Sample]) -> dict[str, int]:
    faults: Counter[str] = Counter()
    for sample in samples:
        faults.update(sample.faults)
    return dict(faults)


@dataclass(frozen=True)
class Figure:
    """The medians of a subject's samples for one thing that is measured."""

    name: str
    subject: str
    scenario: Scenario
    samples: tuple[Sample, ...]

    @property
    def cpu_us(self) -> float:
        return statistics.median(sample.cpu_us for sample in self.samples)

    @property
    def rate(self) -> float:
        return statistics.median(sample.rate for sample in self.samples)

    @property
    def generator_share(self) -> float:
        return statistics.median(sample.generator_share for sample in self.samples)

    @property
    def generator_was_limit(self) -> bool:
        return sum(sample.generator_was_limit for sample in self.samples) * 2 > len(self.samples)

    @property
    def beside_rate(self) -> float:
        return statistics.median(sample.beside_rate for sample in self.samples)

    @property
    def faults(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for sample in self.samples:
            total.update(sample.faults)
        return dict(total)

    @property
    def latency_us(self) -> dict[float, int]:
        return merged(sample.latency_us for sample in self.samples)

    def latency_ms(self, share: float) -> float:
        """A percentile of each round, and the median of those: one bad moment of the machine is one round's."""
        return statistics.median(percentile(sample.latency_us, share) for sample in self.samples) / 1e3

    def each_round(self) -> list[Figure]:
        """Every sample as a figure of its own."""
        return [Figure(self.name, self.subject, self.scenario, (sample,)) for sample in self.samples]

    @property
    def operations(self) -> int:
        return sum(sample.operations for sample in self.samples)

    @property
    def kib(self) -> dict[int, float]:
        """Connections or seconds -> KiB of the server for each, medians."""
        return {
            at: statistics.median(dict(sample.memory_kib)[at] for sample in self.samples)
            for at, _ in self.samples[0].memory_kib
        }


def cost_ratio(above: Figure, below: Figure) -> float:
    """Median over the rounds of CPU of `above` / CPU of `below`: both of a round met the same machine."""
    pairs = zip(above.samples, below.samples, strict=False)
    return statistics.median(a.cpu_us / max(b.cpu_us, 1e-9) for a, b in pairs)
