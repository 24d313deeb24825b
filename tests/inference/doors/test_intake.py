from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from time import perf_counter

import numpy as np
import pytest

from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.doors.intake import ClosedError, Intake, Limits, QueueFullError
from alloysort_inference.engine.batcher import Batcher
from alloysort_inference.pipeline import Arrival, Classifier, Ready, Upload
from alloysort_inference.record import Record

AXIS_NM = np.linspace(200.0, 900.0, 1024)


def arrival(name: str, spectrum: Upload | None = None) -> Arrival:
    shots = np.full((1, AXIS_NM.size), 100.0, np.float32)
    shots[0, 280] = 9000.0
    return Arrival(spectrum or Spectrum(AXIS_NM, shots), None, piece_id=name)


class Held:
    """An engine that computes only when it is let go, with an intake in front of it."""

    def __init__(self, classifier: Classifier, limits: Limits | None = None) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.order: list[str] = []
        self.records: dict[str, Record] = {}

        def assess(ready: list[Ready]) -> list[Record]:
            self.begun.set()
            assert self.go.wait(5)
            self.order += [one.arrival.piece_id or "" for one in ready]
            return classifier.assess(ready)

        self.batcher: Batcher[Ready, Record] = Batcher(
            assess,  # type: ignore[arg-type]
            lambda ready: classifier.turn_away(ready.arrival),
            lambda ready, _: classifier.turn_away(ready.arrival),
            threads=1,
            most=1,
        )
        self.intake = Intake(lambda: classifier, self.batcher, lambda record, _: record, limits or Limits())

    def submit(self, piece: Arrival, due_s: float = float("inf")) -> None:
        self.intake.submit(piece, due_s, lambda record: self.records.__setitem__(record.piece_id, record))

    async def finish(self) -> None:
        self.go.set()
        await self.intake.close()
        self.batcher.close()


def run(talk: Callable[[], object]) -> None:
    asyncio.run(talk())  # type: ignore[arg-type]


def test_the_earliest_deadline_is_prepared_first(classifier: Classifier) -> None:
    async def talk() -> None:
        held = Held(classifier)
        held.submit(arrival("busy"))
        await asyncio.sleep(0.05)
        assert held.begun.is_set()
        held.submit(arrival("next"))  # as much as may be prepared ahead
        now = perf_counter()
        for name, wait_s in (("c", 30.0), ("a", 10.0), ("b", 20.0)):
            held.submit(arrival(name), now + wait_s)
        await held.finish()
        assert held.order == ["busy", "next", "a", "b", "c"] or held.order == ["busy", "a", "b", "c", "next"]

    run(talk)


def test_what_is_late_is_not_even_prepared_and_says_so(classifier: Classifier) -> None:
    async def talk() -> None:
        held = Held(classifier)
        held.submit(arrival("late"), perf_counter() - 0.001)
        await held.finish()
        record = held.records["late"]
        assert (record.status, record.assessment, held.order) == ("late", None, [])
        assert record.decision.outlet == classifier.recipe.default
        assert held.intake.counts.late == 1

    run(talk)


def test_files_are_prepared_beside_the_loop_and_bad_ones_refused(
    classifier: Classifier, make_csv: Callable[..., bytes]
) -> None:
    async def talk() -> None:
        held = Held(classifier)
        content = make_csv(395.0)
        held.submit(arrival("good", Upload("good.csv", content)))
        held.submit(arrival("bad", Upload("bad.csv", b"nonsense")))
        await held.finish()
        assert {name: record.status for name, record in held.records.items()} == {
            "good": "decided",
            "bad": "refused",
        }

    run(talk)


def test_the_queue_is_bounded_in_pieces_and_bytes(classifier: Classifier) -> None:
    async def talk() -> None:
        held = Held(classifier, Limits(pieces=2, size=10_000))
        held.submit(arrival("busy"))
        await asyncio.sleep(0.05)
        held.submit(arrival("ahead"))
        await asyncio.sleep(0.05)
        held.submit(arrival("a"))
        held.submit(arrival("b"))
        with pytest.raises(QueueFullError, match=r"2 pieces of 0\.0 MB are waiting, at most 2 of 0\.01 MB"):
            held.submit(arrival("c"))
        assert held.intake.counts.full == 1
        await held.finish()
        assert len(held.records) == 4
        with pytest.raises(ClosedError):
            held.submit(arrival("d"))

    run(talk)
    with pytest.raises(QueueFullError):
        run(lambda: _heavy(classifier))


async def _heavy(classifier: Classifier) -> None:
    held = Held(classifier, Limits(pieces=100, size=5_000))
    try:
        for name in "abcde":  # each of 4 kB; one is computed, one is ready, one waits
            held.submit(arrival(name))
            await asyncio.sleep(0.02)
    finally:
        await held.finish()
