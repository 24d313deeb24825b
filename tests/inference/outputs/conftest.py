"""Records as they come from a line, the controls of a service, and waiting for what must happen."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from time import monotonic, sleep

import numpy as np
import pytest

from alloysort_datasets.errors import AlloysortError, RecipeError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.assessment import Assessment
from alloysort_inference.decision import Decision
from alloysort_inference.outputs.output import Output
from alloysort_inference.record import Origin, Record, Status, Timing

OUTLETS = ("wrought", "cast", "rest")
DEADLINE_S = 15.0


def make_record(
    outlet: str = "wrought", piece_id: str = "p-1", status: Status = "decided", total_ms: float = 4.0
) -> Record:
    shares = np.zeros(len(FAMILIES), np.float32)
    shares[FAMILIES.index("6xxx")] = 0.875
    contents = np.zeros(len(ELEMENTS), np.float32)
    said = Assessment(shares, contents, contents, novelty=0.5, surface=0.9)
    return Record(
        piece_id=piece_id,
        batch="b-7",
        time=datetime(2025, 1, 1, tzinfo=UTC),
        bundle=Origin("tiny", "0" * 64),
        recipe=Origin("wrought-cast", "1" * 64),
        status=status,
        assessment=said if status == "decided" else None,
        decision=Decision(
            outlet, outlet != "rest", "6xxx", True, True, True, False, "6xxx at 0.88 reaches 0.80"
        ),
        quality=(),
        timing=Timing(total_ms, 0.0, 0.0, 0.0, 0.0),
        fault=AlloysortError("no light") if status == "refused" else None,
    )


def wait_until(condition: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
    end = monotonic() + within_s
    while not condition():
        if monotonic() > end:
            raise AssertionError(f"did not happen within {within_s:g} s")
        sleep(0.01)


def find_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Desk:
    """The controls of a service with two recipes, one of which cannot be used."""

    def __init__(self) -> None:
        self.chosen, self.at = "wrought-cast", "ContinuousExecution"

    def recipes(self) -> Sequence[str]:
        return ("wrought-cast", "broken", "zorba")

    def recipe(self) -> str:
        return self.chosen

    def choose_recipe(self, name: str) -> None:
        if name not in ("wrought-cast", "zorba"):
            raise RecipeError(f"recipe {name!r} is not fitted")
        self.chosen = name

    def state(self) -> str:
        return self.at

    def simulated(self) -> bool:
        return True


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(scope="session")
def make_desk() -> Callable[[], Desk]:
    return Desk


@pytest.fixture(scope="session")
def outlets() -> tuple[str, ...]:
    return OUTLETS


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    return make_record


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    return find_port


@pytest.fixture
def running() -> Iterator[Callable[[Output], Output]]:
    """Begins an output, and closes it after the test."""
    begun: list[Output] = []

    def begin(output: Output) -> Output:
        begun.append(output)
        output.begin()
        return output

    yield begin
    for output in begun:
        output.close()
