"""The same model, piece and load behind alloysort's doors and behind what a user would pick instead.

    .venv/bin/python benchmarks/serving/run.py                     # every contestant, 5 rounds, half an hour
    .venv/bin/python benchmarks/serving/run.py --quick             # one short round
    .venv/bin/python benchmarks/serving/run.py --only mosec triton --rounds 3 --json found.json

README.md beside this file says what is measured and what makes it fair.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import resource
import sys
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

import numpy as np
import uvloop
from contestants import CONTESTANTS, Contestant
from server import FAULTS, ContestantError, Running, opened, python_of, started, version_of

from alloysort_inference.bench.load import Send, closed_loop, open_loop
from alloysort_inference.bench.speed import DEADLINE_MS, IN_FLIGHT, RATES, Load
from alloysort_inference.engine.batcher import cores

GRACE_S: Final = 30.0  # beyond what a round is to take; then the contestant hangs
MOST_FAILED: Final = 0.5  # of the saturated pieces; beyond, it does not run
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """How often and how long.

    Attributes:
        rounds: in each of which every contestant has its turn.
        warm_s, seconds, open_s: of the warm-up, of the closed loop and of each rate.
    """

    rounds: int = 5
    warm_s: float = 2.0
    seconds: float = 4.0
    open_s: float = 5.0

    @property
    def turn_s(self) -> float:
        """Of one contestant in one round, at most; a rate may take 10 s more to have its last answers."""
        return self.warm_s + self.seconds + len(RATES) * (self.open_s + 10.0) + GRACE_S


QUICK: Final = Plan(rounds=1, warm_s=1.0, seconds=2.0, open_s=2.0)


@dataclass(frozen=True)
class Rate:
    """What became of the pieces of one rate.

    Attributes:
        rate: pieces a second.
        pieces: that were meant to be sent.
        p50_ms, p99_ms: from the moment a piece was meant to be sent to its answer.
        over_deadline: answers that took longer than DEADLINE_MS.
        failed: pieces with another answer than a decision, or with none.
    """

    rate: float
    pieces: int
    p50_ms: float
    p99_ms: float
    over_deadline: int
    failed: int


@dataclass(frozen=True)
class Turn:
    """What a contestant did in one round.

    Attributes:
        saturated: decisions a second with IN_FLIGHT pieces under way.
        saturated_failed: share of those pieces that were not decided.
        rates: of the open loop.
        memory_mb: of all its processes, at the end.
        ready_s: from its start to its first decision.
    """

    saturated: float
    saturated_failed: float
    rates: tuple[Rate, ...]
    memory_mb: float
    ready_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description="alloysort's service and what a user would pick instead")
    names = [one.name for one in CONTESTANTS]
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="NAME", default=names, help=", ".join(names)
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="one short round: does everything run?")
    parser.add_argument("--json", type=Path, metavar="FILE")
    told = parser.parse_args()
    plan = QUICK if told.quick else Plan()
    if told.rounds is not None:
        plan = Plan(told.rounds, plan.warm_s, plan.seconds, plan.open_s)
    _allow_files()
    found = compare([one for one in CONTESTANTS if one.name in told.only], plan)
    print(table(found))
    if told.json is not None:
        told.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def compare(contestants: list[Contestant], plan: Plan) -> dict[str, Any]:
    """Every contestant once a round; one that fails is told with its reason and has no further turn."""
    load = Load.make()
    versions: dict[str, str] = {}
    turns: dict[str, list[Turn]] = {one.name: [] for one in contestants}
    failures: dict[str, str] = {}
    for number in range(plan.rounds):
        for one in contestants[number % len(contestants) :] + contestants[: number % len(contestants)]:
            if one.name in failures:
                continue
            _say(f"round {number + 1} of {plan.rounds}: {one.name}")
            try:
                python = python_of(one)
                versions.setdefault(one.name, version_of(one, python))
                with started(one, python, load) as server:
                    turns[one.name].append(_run(_turn(one, server, load, plan)))
            except ContestantError as error:
                failures[one.name] = f"round {number + 1}: {error}"
                _say(f"    {failures[one.name]}")
    return {
        "machine": _machine(),
        "plan": asdict(plan) | {"in_flight": IN_FLIGHT, "deadline_ms": DEADLINE_MS},
        "contestants": [
            {
                "name": one.name,
                "package": one.package,
                "version": versions.get(one.name),
                "n": len(turns[one.name]),
            }
            | (_summary(turns[one.name]) if turns[one.name] else {})
            | ({"failure": failures[one.name]} if one.name in failures else {})
            for one in contestants
        ],
    }


def table(found: dict[str, Any]) -> str:
    """As text; medians of the rounds, misses summed over them."""
    head = f"{'contestant':20}{'version':>9}{'pieces/s':>10}"
    head += "".join(f"{f'at {rate}: p50':>13}{'p99 ms':>9}{'missed':>8}" for rate in RATES) + f"{'MB':>7}"
    lines = [head]
    for one in found["contestants"]:
        line = f"{one['name']:20}{one['version'] or '':>9}"
        if "saturated" in one:
            line += f"{one['saturated']['median']:10,.0f}"
            for rate in one["rates"]:
                missed = f"{100 * rate['missed'] / rate['pieces']:.1f}%"
                line += f"{rate['p50_ms']['median']:13.2f}{rate['p99_ms']['median']:9.2f}{missed:>8}"
            line += f"{one['memory_mb']['median']:7.0f}"
        lines.append(line + (f"  FAILED in {one['failure']}" if "failure" in one else ""))
    lines.append(f"missed: no decision within {DEADLINE_MS:g} ms of when the piece was meant to be sent")
    return "\n".join(lines)


async def _turn(contestant: Contestant, server: Running, load: Load, plan: Plan) -> Turn:
    try:
        async with asyncio.timeout(plan.turn_s), opened(contestant, server.port, load) as send:
            await closed_loop(send, plan.warm_s, IN_FLIGHT)
            saturated, failed = await _saturated(send, plan.seconds)
            rates = tuple([await _at_rate(send, rate, plan.open_s) for rate in RATES])
            return Turn(saturated, failed, rates, server.family.memory_mb(), server.ready_s)
    except TimeoutError:
        raise ContestantError(f"it hangs: a turn of {plan.turn_s:g} s at most did not end") from None
    except FAULTS as error:
        raise ContestantError(f"its door does not open: {error}") from error


async def _saturated(send: Send, seconds: float) -> tuple[float, float]:
    """Decisions a second, and the share of pieces without one."""
    sent = decided = 0

    async def counting() -> bool:
        nonlocal sent, decided
        was = await send()
        sent += 1
        decided += was
        return was

    pace = await closed_loop(counting, seconds, IN_FLIGHT)
    failed = 1 - decided / sent
    if failed > MOST_FAILED:
        raise ContestantError(f"{100 * failed:.0f} % of the saturated pieces got no decision")
    return pace * (1 - failed), failed


async def _at_rate(send: Send, rate: float, seconds: float) -> Rate:
    loop = await open_loop(send, rate, seconds)
    return Rate(
        rate=rate,
        pieces=int(rate * seconds),
        p50_ms=loop.percentile(50),
        p99_ms=loop.percentile(99),
        over_deadline=int(np.count_nonzero(loop.latency_ms > DEADLINE_MS)),
        failed=loop.late + loop.lost,
    )


def _summary(turns: list[Turn]) -> dict[str, Any]:
    return {
        "saturated": _spread([turn.saturated for turn in turns]),
        "saturated_failed": max(turn.saturated_failed for turn in turns),
        "rates": [_rate_summary([turn.rates[place] for turn in turns]) for place in range(len(RATES))],
        "memory_mb": _spread([turn.memory_mb for turn in turns]),
        "ready_s": _spread([turn.ready_s for turn in turns]),
    }


def _rate_summary(rates: list[Rate]) -> dict[str, Any]:
    pieces = sum(rate.pieces for rate in rates)
    return {
        "rate": rates[0].rate,
        "pieces": pieces,
        "p50_ms": _spread([rate.p50_ms for rate in rates]),
        "p99_ms": _spread([rate.p99_ms for rate in rates]),
        "over_deadline": sum(rate.over_deadline for rate in rates),
        "failed": sum(rate.failed for rate in rates),
        "missed": min(pieces, sum(rate.over_deadline + rate.failed for rate in rates)),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(median(values), 3),
        "lowest": round(min(values), 3),
        "highest": round(max(values), 3),
    }


def _machine() -> dict[str, Any]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _allow_files() -> None:
    """As many open connections as the system lets us have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
