from __future__ import annotations

import threading
from collections.abc import Sequence
from time import perf_counter, sleep

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloysort_inference.engine.batcher import Batcher, Costs, Job


def late(what: object) -> str:
    return f"{what} late"


def failed(what: object, error: Exception) -> str:
    return f"{what} failed: {error}"


class Bench:
    """Work that waits for a starting signal and remembers its batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.seconds = seconds
        self.batches: list[list[str]] = []
        self.done: dict[str, str] = {}

    def work(self, what: Sequence[str]) -> list[str]:
        self.begun.set()
        self.batches.append(list(what))
        assert self.go.wait(5)
        sleep(self.seconds)
        return [f"{one} done" for one in what]

    def job(self, name: str, due_s: float = float("inf")) -> Job[str, str]:
        return Job(name, lambda result: self.done.__setitem__(name, result), due_s)

    def batcher(self, threads: int = 1, most: int = 8) -> Batcher[str, str]:
        return Batcher(self.work, late, failed, threads=threads, most=most)


def test_an_idle_thread_takes_a_job_at_once_and_a_batch_forms_meanwhile() -> None:
    bench = Bench()
    batcher = bench.batcher()
    batcher.submit(bench.job("first"))
    assert bench.begun.wait(5)
    for name in "abc":
        batcher.submit(bench.job(name))
    bench.go.set()
    batcher.close()
    assert bench.batches == [["first"], ["a", "b", "c"]]
    assert bench.done == {name: f"{name} done" for name in ("first", "a", "b", "c")}
    assert batcher.counts.batches == {1: 1, 3: 1}


def test_the_earliest_deadline_goes_first_and_no_batch_is_larger_than_allowed() -> None:
    bench = Bench()
    batcher = bench.batcher(most=2)
    batcher.submit(bench.job("first"))
    assert bench.begun.wait(5)
    now = perf_counter()
    for name, wait_s in (("never", float("inf")), ("c", 30.0), ("a", 10.0), ("b", 20.0)):
        batcher.submit(bench.job(name, now + wait_s))
    bench.go.set()
    batcher.close()
    assert bench.batches == [["first"], ["a", "b"], ["c", "never"]]


def test_what_cannot_make_its_deadline_is_not_computed() -> None:
    bench = Bench()
    batcher = bench.batcher()
    batcher.submit(bench.job("first"))
    assert bench.begun.wait(5)
    batcher.submit(bench.job("too late", perf_counter() + 0.001))
    batcher.submit(bench.job("in time", perf_counter() + 30.0))
    sleep(0.005)
    bench.go.set()
    batcher.close()
    assert bench.batches == [["first"], ["in time"]]
    assert bench.done["too late"] == "too late late"
    assert (batcher.counts.computed, batcher.counts.late) == (2, 1)


def test_nobody_misses_a_deadline_for_anothers_throughput() -> None:
    bench = Bench()
    batcher = bench.batcher()
    for size in (1, 2, 3):
        batcher.costs.learn(size, size * 1.0)
    batcher.submit(bench.job("first"))
    assert bench.begun.wait(5)
    batcher.submit(bench.job("urgent", perf_counter() + 2.5))  # two together take 2 s, three take 3 s
    for name in "abc":
        batcher.submit(bench.job(name))
    bench.go.set()
    batcher.close()
    assert bench.batches[1] == ["urgent", "a"]


def test_idle_threads_share_what_waits() -> None:
    bench = Bench()
    batcher = bench.batcher(threads=2)
    batcher.submit(bench.job("a"))
    batcher.submit(bench.job("b"))
    sleep(0.05)
    bench.go.set()
    batcher.close()
    assert sorted(bench.batches) == [["a"], ["b"]]


def test_a_closed_queue_finishes_what_waits() -> None:
    bench = Bench()
    bench.go.set()
    batcher = bench.batcher()
    batcher.submit(bench.job("a"))
    batcher.close()
    assert bench.done == {"a": "a done"}


def test_a_batch_that_fails_is_answered_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    def work(what: Sequence[int]) -> list[str]:
        return [f"{1 // one}" for one in what]

    answers: list[str] = []
    batcher: Batcher[int, str] = Batcher(work, late, failed, threads=1, most=1)
    for number in (1, 0, 1):
        batcher.submit(Job(number, answers.append))
    batcher.close()
    assert answers == ["1", "0 failed: integer division or modulo by zero", "1"]
    assert "a batch of 1 failed" in caplog.text


@given(costs=st.lists(st.tuples(st.integers(1, 8), st.floats(1e-4, 1.0)), min_size=1))
def test_costs_are_known_for_every_size_that_a_smaller_one_was_measured_for(
    costs: list[tuple[int, float]],
) -> None:
    known = Costs(8)
    assert known.of(3) == 0.0
    for size, seconds in costs:
        known.learn(size, seconds)
    smallest = min(size for size, _ in costs)
    assert all(known.of(size) > 0 for size in range(smallest, 9))


@settings(max_examples=20, deadline=None)
@given(dues=st.lists(st.floats(0.0, 0.02), max_size=40), threads=st.integers(1, 3), most=st.integers(1, 5))
def test_every_job_gets_exactly_one_answer(dues: list[float], threads: int, most: int) -> None:
    answers: list[str] = []
    batcher: Batcher[int, str] = Batcher(
        lambda what: [f"{one}" for one in what], late, failed, threads=threads, most=most
    )
    now = perf_counter()
    for number, due in enumerate(dues):
        batcher.submit(Job(number, answers.append, now + due))
    batcher.close()
    assert sorted(answer.split()[0] for answer in answers) == sorted(str(n) for n in range(len(dues)))
    assert batcher.counts.computed + batcher.counts.late == len(dues)


@pytest.mark.parametrize(("seconds", "helps"), [(0.0005, True), (0.01, False), (None, False)])
def test_a_thread_that_waits_for_room_helps_where_that_is_quick(seconds: float | None, helps: bool) -> None:
    bench = Bench()
    batcher = bench.batcher()
    batcher.submit(bench.job("held"))
    assert bench.begun.wait(5)
    for name in "abcdef":
        batcher.submit(bench.job(name))
    if seconds is not None:
        batcher.costs.learn(4, seconds)
    threading.Timer(0.05, bench.go.set).start()
    assert batcher.help() is helps
    assert set(bench.done) >= (set("abcd") if helps else set())
    batcher.close()
    assert bench.done == {name: f"{name} done" for name in ("held", *"abcdef")}
