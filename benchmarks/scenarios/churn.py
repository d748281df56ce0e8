"""What steady messages feel of what goes on beside them: 500 log-ins and log-outs a minute, and an account with very
many subscribers that changes its presence."""

from __future__ import annotations

from functools import partial

from benchmarks.figures import Sample
from benchmarks.scenarios import Bench, Scale, Scenario
from benchmarks.scenarios.fanout import BYSTANDERS

PAIRS = 50
MESSAGES_PER_S = 1000
LOGINS_PER_S = 500 / 60
CHURNING = 100
PRESENCES_PER_S = 1.0


def messages(bench: Bench, seconds: float, **beside: float) -> Sample:
    """Steady messages, and what the second generator does meanwhile, if anything."""
    others = {**beside, "seconds": seconds} if beside else None
    return bench.timed("messages", "run", pairs=PAIRS, rate=MESSAGES_PER_S, seconds=seconds, beside=others)


def set_up_churn(bench: Bench) -> None:
    bench.do("login", count=2 * PAIRS)
    bench.beside.do("login", first=2 * PAIRS, count=CHURNING)
    bench.beside.do("logout", first=2 * PAIRS, count=CHURNING)


def measure_churn(bench: Bench, seconds: float) -> dict[str, Sample]:
    return {
        "steady": messages(bench, seconds),
        "churn": messages(
            bench, seconds, churn_first=2 * PAIRS, churn_count=CHURNING, churn_rate=LOGINS_PER_S
        ),
    }


def tear_down_churn(bench: Bench) -> None:
    bench.do("logout", count=2 * PAIRS)


def set_up_crowd(bench: Bench, crowd: int) -> None:
    star = 2 * PAIRS
    bench.do("login", count=star)
    bench.beside.do("login", first=star, count=1 + crowd + BYSTANDERS)
    bench.beside.subscribe(star, star + 1, crowd)


def measure_crowd(bench: Bench, crowd: int, seconds: float) -> dict[str, Sample]:
    star = 2 * PAIRS
    beside = {
        "presence_from": star,
        "presence_first": star + 1,
        "presence_count": crowd,
        "presence_rate": PRESENCES_PER_S,
    }
    return {"beside-nothing": messages(bench, seconds), "beside-crowd": messages(bench, seconds, **beside)}


def tear_down_crowd(bench: Bench, crowd: int) -> None:
    bench.do("logout", count=2 * PAIRS)
    bench.beside.do("logout", first=2 * PAIRS, count=1 + crowd + BYSTANDERS, together=500)


def scenarios(scale: Scale) -> list[Scenario]:
    crowd = scale.crowd
    seconds = 2 * scale.seconds
    return [
        Scenario(
            name="churn",
            title=f"{MESSAGES_PER_S:,} messages a second beside 500 log-ins a minute",
            operation="message",
            figures=("steady", "churn"),
            set_up=set_up_churn,
            measure=partial(measure_churn, seconds=seconds),
            tear_down=tear_down_churn,
            accounts=2 * PAIRS + CHURNING,
            subjects=frozenset({"xmppd", "peer"}),
            set_up_s=3,
            measure_s=2 * seconds + 1,
        ),
        Scenario(
            name="crowd",
            title=f"{MESSAGES_PER_S:,} messages a second beside presence changes that go to {crowd:,} subscribers",
            operation="message",
            figures=("beside-nothing", "beside-crowd"),
            set_up=partial(set_up_crowd, crowd=crowd),
            measure=partial(measure_crowd, crowd=crowd, seconds=seconds),
            tear_down=partial(tear_down_crowd, crowd=crowd),
            accounts=2 * PAIRS + 1 + crowd + BYSTANDERS,
            subjects=frozenset({"xmppd"}),
            set_up_s=5 + crowd / 150,
            measure_s=2 * seconds + 1,
            alone=True,
        ),
    ]
