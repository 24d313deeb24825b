"""Where pieces wait as they came, until the engine is about to be free.

The loop that reads from the network also prepares them, one between two looks at its sockets: with a thread
of their own, the two would spend their time handing the interpreter to each other. What takes long, like a
file of text, is prepared in a thread all the same.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.engine.batcher import MARGIN_S, Batcher, Costs, Job
from alloysort_inference.pipeline import Arrival, Classifier, Ready
from alloysort_inference.record import Record

TURN_S: Final = 0.001  # spent on pieces between two looks at the sockets
INLINE_BYTES: Final = 500_000  # larger pieces are prepared in a thread
FORGOTTEN: Final = "nobody waits for the answer any more"
Done = Callable[[Record], None]


class QueueFullError(AlloysortError):
    """There is no room for another piece."""


class ForgottenError(AlloysortError):
    """Nobody waits for the answer any more."""


class ClosedError(AlloysortError):
    """Nothing is taken any more."""


@dataclass(frozen=True)
class Limits:
    """What may wait.

    Attributes:
        pieces: of the queue.
        size: bytes that they hold on to; a lone piece may be of any size.
    """

    pieces: int = 512
    size: int = 256_000_000


@dataclass
class Counts:
    """What became of the pieces since the service began.

    Attributes:
        taken, late, full: that came in, that came too late to be prepared, that found no room.
    """

    taken: int = 0
    late: int = 0
    full: int = 0


class Intake:
    """The queue in front of the engine. All but `done` happens on the loop it was made on.

    Args:
        classifier: the one in use, asked for every piece.
        batcher: computes what is prepared.
        keep: is told every record that was made without it.
        limits: of what may wait.
    """

    def __init__(
        self,
        classifier: Callable[[], Classifier],
        batcher: Batcher[Ready, Record],
        keep: Callable[[Record, Arrival], Record],
        limits: Limits,
    ) -> None:
        self.limits, self.counts = limits, Counts()
        self._classifier, self._batcher, self._keep = classifier, batcher, keep
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Arrival, Done]] = []
        self._size, self._number, self._unanswered = 0, 0, 0
        self._costs = Costs(1)
        self._open, self._kicked = True, False
        self._forgotten: set[int] = set()
        self._threads = ThreadPoolExecutor(1, "prepare")

    def __len__(self) -> int:
        return len(self._heap)

    def require_room(self, size: int = 0) -> None:
        """Refuse what would not fit, before it is even read.

        Raises:
            QueueFullError: there is no room.
            ClosedError: nothing is taken any more.
        """
        if not self._open:
            raise ClosedError("the service is stopping")
        waiting = len(self._heap)
        if waiting and (waiting >= self.limits.pieces or self._size + size > self.limits.size):
            self.counts.full += 1
            raise QueueFullError(
                f"{waiting} pieces of {self._size / 1e6:.1f} MB are waiting, at most {self.limits.pieces} "
                f"of {self.limits.size / 1e6:g} MB may: send them slower"
            )

    def submit(self, arrival: Arrival, due_s: float, done: Done) -> None:
        """Have a piece decided on.

        Args:
            arrival: the piece.
            due_s: `time.perf_counter()` by which it is to be answered; infinity where there is no hurry.
            done: gets the record, here or on a thread of the engine; must not block.

        Raises:
            QueueFullError, ClosedError: it was not taken.
        """
        self.require_room(arrival.size)
        self.counts.taken += 1
        self._number += 1
        self._unanswered += 1
        self._size += arrival.size
        heapq.heappush(self._heap, (due_s, self._number, arrival, done))
        self._kick()

    def forget(self, arrival: Arrival) -> None:
        """Compute a piece no more whose answer nobody waits for."""
        self._forgotten.add(id(arrival))

    async def close(self) -> None:
        """Take nothing more, and return once all that was taken is answered."""
        self._open = False
        while self._unanswered:
            await asyncio.sleep(0.005)
        self._threads.shutdown()

    def _kick(self) -> None:
        if not self._kicked and self._heap:
            self._kicked = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        """Answer all that is late, prepare some, then let the loop look at its sockets."""
        self._kicked = False
        until_s = perf_counter() + TURN_S
        while self._heap and perf_counter() < until_s:
            due_s, _, arrival, _ = self._heap[0]
            if id(arrival) in self._forgotten:
                self._turn_away(lambda classifier, piece: classifier.refuse(piece, ForgottenError(FORGOTTEN)))
            elif perf_counter() + self._needed_s() > due_s:
                self.counts.late += 1
                self._turn_away(lambda classifier, piece: classifier.turn_away(piece))
            elif self._batcher.has_room:
                self._prepare_next()
            elif not self._batcher.help():
                return  # the engine kicks when it has answered
        self._kick()

    def _needed_s(self) -> float:
        """From now to the answer of a piece that is prepared next."""
        return self._costs.of(1) + self._batcher.expected_s() + MARGIN_S

    def _pop(self) -> tuple[float, Arrival, Done]:
        due_s, _, arrival, done = heapq.heappop(self._heap)
        self._size -= arrival.size
        return due_s, arrival, done

    def _turn_away(self, record_of: Callable[[Classifier, Arrival], Record]) -> None:
        _, arrival, done = self._pop()
        self._answer(self._keep(record_of(self._classifier(), arrival), arrival), done)

    def _prepare_next(self) -> None:
        due_s, arrival, done = self._pop()
        classifier = self._classifier()
        if getattr(arrival.spectrum, "slow", False) or arrival.size > INLINE_BYTES:
            ready = self._loop.run_in_executor(self._threads, classifier.ready, arrival)
            ready.add_done_callback(lambda future: self._pass_on(future.result(), arrival, due_s, done))
        else:
            started = perf_counter()
            prepared = classifier.ready(arrival)
            self._costs.learn(1, perf_counter() - started)
            self._pass_on(prepared, arrival, due_s, done)

    def _pass_on(self, prepared: Ready | Record, arrival: Arrival, due_s: float, done: Done) -> None:
        if isinstance(prepared, Record):
            self._answer(self._keep(prepared, arrival), done)
        else:
            self._batcher.submit(Job(prepared, lambda record: self._computed(record, done), due_s))

    def _computed(self, record: Record, done: Done) -> None:
        """On a thread of the engine."""
        done(record)
        try:
            self._loop.call_soon_threadsafe(self._settled)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _answer(self, record: Record, done: Done) -> None:
        done(record)
        self._settled()

    def _settled(self) -> None:
        self._unanswered -= 1
        if not self._unanswered:
            self._forgotten.clear()
        self._kick()
