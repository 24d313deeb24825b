"""Who is computed next, with whom, and who no longer: a queue that knows deadlines.

While a thread is idle a piece runs at once; while all are busy a batch forms. The earliest deadline goes
first. A batch grows only while the measured cost of its size keeps the deadlines of all in it, and what
cannot make its deadline alone is not computed at all.
"""

from __future__ import annotations

import heapq
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, Generic, TypeVar

_log = logging.getLogger("alloysort")
MOST: Final = 8  # jobs in a batch; beyond, a batch of this network costs as much a piece
FEW: Final = 4  # that a thread computes which has other work to do,
QUICK_S: Final = 0.003  # if they take no longer than this
AHEAD: Final = 2  # batches that may wait for each thread
MARGIN_S: Final = 0.0005  # from a decision to its answer on the wire
LEARN: Final = 0.1  # weight of the newest cost
DEVIATIONS: Final = 2.0  # above the mean that a batch is reckoned to cost
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Job(Generic[T, R]):
    """Something to be computed.

    Attributes:
        what: is computed.
        done: gets the result, on the thread that computed it; must not block.
        due_s: `time.perf_counter()` by which `done` is to be called; infinity where there is no hurry.
    """

    what: T
    done: Callable[[R], None]
    due_s: float = float("inf")


@dataclass
class Counts:
    """What a batcher has done since it began.

    Attributes:
        computed, late: jobs that were computed, and that came too late for it.
        batches: number of batches of each size.
    """

    computed: int = 0
    late: int = 0
    batches: dict[int, int] = field(default_factory=dict)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spare_cores() -> int:
    """All but the one of the loop that reads, prepares and answers, and at least one."""
    return max(1, cores() - 1)


class Costs:
    """How long a batch of each size takes: a running mean and how far single ones stray from it."""

    def __init__(self, most: int) -> None:
        self._mean: list[float | None] = [None] * (most + 1)
        self._stray: list[float] = [0.0] * (most + 1)

    def learn(self, size: int, seconds: float) -> None:
        """Take note of a batch."""
        mean = self._mean[size]
        if mean is None:
            self._mean[size] = seconds
        else:
            self._mean[size] = mean + LEARN * (seconds - mean)
            self._stray[size] += LEARN * (abs(seconds - mean) - self._stray[size])

    def of(self, size: int) -> float:
        """Seconds that a batch of this size is reckoned to take; where unknown, from a smaller one's."""
        for known in range(size, 0, -1):
            mean = self._mean[known]
            if mean is not None:
                return (mean + DEVIATIONS * self._stray[known]) * size / known
        return 0.0


class Batcher(Generic[T, R]):
    """Threads that compute jobs in batches.

    Args:
        work: results of a batch, in order; called by several threads at once.
        turn_away: the result of a job that comes too late.
        give_up: the result of a job whose batch made `work` raise.
        threads: that compute.
        most: jobs in a batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Sequence[R]],
        turn_away: Callable[[T], R],
        give_up: Callable[[T, Exception], R],
        *,
        threads: int,
        most: int = MOST,
    ) -> None:
        self.counts = Counts()
        self.costs = Costs(most)
        self._work, self._turn_away, self._give_up, self._most = work, turn_away, give_up, most
        self._heap: list[tuple[float, int, Job[T, R]]] = []
        self._number, self._idle, self._busy_with = 0, 0, 0
        self._known_faults: set[str] = set()
        self._open = True
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, name=f"engine-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def has_room(self) -> bool:
        """Whether another job would soon be taken: more only grow old in here."""
        return len(self._heap) < AHEAD * self._most * len(self._threads)

    def expected_s(self) -> float:
        """From now to the answer of a job that is submitted next."""
        before, rest = divmod(len(self._heap) + 1, self._most)
        mine = before / len(self._threads) * self.costs.of(self._most) + self.costs.of(rest)
        return mine if self._idle else mine + self.costs.of(max(1, min(self._busy_with, self._most)))

    def help(self) -> bool:
        """Compute a few jobs on the calling thread, which would otherwise wait for room; if that is quick.

        Returns:
            whether it did.
        """
        few = min(FEW, self._most)
        if not 0 < self.costs.of(few) <= QUICK_S:
            return False
        with self._changed:
            batch, late = self._take(few)
        self._compute(batch, late)
        return True

    def submit(self, job: Job[T, R]) -> None:
        """Have a job computed."""
        with self._changed:
            self._number += 1
            heapq.heappush(self._heap, (job.due_s, self._number, job))
            if self._idle:
                self._changed.notify()

    def close(self) -> None:
        """Compute what waits, then stop."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            batch, late = self._next()
            if not (batch or late):
                return
            self._compute(batch, late)

    def _compute(self, batch: list[Job[T, R]], late: list[Job[T, R]]) -> None:
        for job in late:
            job.done(self._turn_away(job.what))
        if batch:
            started = perf_counter()
            results = self._results([job.what for job in batch])
            self.costs.learn(len(batch), perf_counter() - started)
            for job, result in zip(batch, results, strict=True):
                job.done(result)

    def _results(self, what: list[T]) -> Sequence[R]:
        """Of a batch: no fault of one costs another its answer, or the thread its life."""
        try:
            return self._work(what)
        except Exception as error:  # noqa: BLE001 (whatever it is, the pieces need an answer)
            self._complain(error, len(what))
            return [self._give_up(one, error) for one in what]

    def _complain(self, error: Exception, pieces: int) -> None:
        """With a traceback the first time; a fault of every batch is not to fill the disk."""
        if repr(error) in self._known_faults:
            return
        self._known_faults.add(repr(error))
        _log.exception("a batch of %d failed; said once for each kind of fault", pieces)

    def _next(self) -> tuple[list[Job[T, R]], list[Job[T, R]]]:
        """The next batch, and those that came too late; neither once the queue is closed and empty."""
        with self._changed:
            while not self._heap and self._open:
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            share = -(-len(self._heap) // (1 + self._idle))  # the others' shares are theirs
            batch, late = self._take(min(self._most, share))
            self._busy_with = len(batch)
            return batch, late

    def _take(self, most: int) -> tuple[list[Job[T, R]], list[Job[T, R]]]:
        """The most urgent that are computed in time together, and those that are late; under the lock."""
        batch: list[Job[T, R]] = []
        late: list[Job[T, R]] = []
        now = perf_counter() + MARGIN_S
        while self._heap and len(batch) < most:
            first = batch[0].due_s if batch else self._heap[0][0]
            if now + self.costs.of(len(batch) + 1) > first:
                if batch:
                    break
                late.append(self._pop())
                continue
            batch.append(self._pop())
        self.counts.late += len(late)
        self.counts.computed += len(batch)
        if batch:
            self.counts.batches[len(batch)] = self.counts.batches.get(len(batch), 0) + 1
        return batch, late

    def _pop(self) -> Job[T, R]:
        return heapq.heappop(self._heap)[2]
