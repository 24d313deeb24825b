"""What stands behind every door: a classifier, the queue in front of it, its log, and whether it is warm."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Final

import anyio

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.doors.settings import Settings
from alloysort_inference.engine.batcher import Batcher, Job, Limits
from alloysort_inference.log.store import DecisionLog
from alloysort_inference.pipeline import Arrival, Classifier, open_classifier
from alloysort_inference.record import Record

WARMING: Final = "the model is warming up"
INTERNAL: Final = "internal error; the server's own output says more"


class Service:
    """The state behind the doors.

    Raises:
        BundleError, RecipeError: the bundle or the recipe cannot be used.
        AlloysortError: the log cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.classifier: Classifier = open_classifier(
            settings.bundle, settings.recipe, settings.providers, settings.threads
        )
        self.log = None if settings.log is None else DecisionLog(settings.log)
        self.waiting_for: str | None = WARMING
        self.batcher: Batcher[Arrival, Record] = Batcher(
            self._sort,
            self._turn_away,
            self._give_up,
            threads=settings.workers or os.cpu_count() or 1,
            limits=Limits(settings.queue_pieces, settings.queue_mb * 1_000_000),
        )

    async def warm_up(self) -> None:
        """Run the engine until it is as fast as it gets; from then on the service is ready."""
        try:
            await anyio.to_thread.run_sync(self.classifier.warm_up)
        except AlloysortError as error:
            self.waiting_for = str(error)
        else:
            self.waiting_for = None

    def submit(self, arrival: Arrival, deadline_ms: float | None, done: Callable[[Record], None]) -> None:
        """Have a piece decided on; `done` gets the record on a thread of the engine.

        Args:
            arrival: the piece.
            deadline_ms: from its arrival to the answer; None takes the setting's.
            done: must not block.

        Raises:
            QueueFullError, ClosedError: it was not taken.
        """
        within_ms = self.settings.deadline_ms if deadline_ms is None else deadline_ms
        due_s = float("inf") if within_ms is None else arrival.arrived_s + within_ms / 1000
        self.batcher.submit(Job(arrival, done, due_s, arrival.size))

    async def sort(self, arrival: Arrival, deadline_ms: float | None = None) -> Record:
        """`submit` for those who can wait."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Record] = loop.create_future()

        def settle(record: Record) -> None:
            if not answered.done():  # else the client has gone
                answered.set_result(record)

        self.submit(arrival, deadline_ms, lambda record: _call(loop, settle, record))
        return await answered

    def refuse(self, arrival: Arrival, fault: AlloysortError) -> Record:
        """A piece that cannot be taken at all goes to the default outlet."""
        return self._noted(self.classifier.refuse(arrival, fault))

    def close(self) -> None:
        """Finish what waits, then close the log."""
        self.batcher.close()
        if self.log is not None:
            self.log.close()

    def _sort(self, arrivals: Sequence[Arrival]) -> list[Record]:
        return [self._noted(record) for record in self.classifier.sort(arrivals)]

    def _turn_away(self, arrival: Arrival) -> Record:
        return self._noted(self.classifier.turn_away(arrival))

    def _give_up(self, arrival: Arrival, error: Exception) -> Record:
        del error  # the batcher has logged it; a client learns no secrets
        return self.refuse(arrival, AlloysortError(INTERNAL))

    def _noted(self, record: Record) -> Record:
        if self.log is not None:
            self.log.write(record)
        return record


def _call(loop: asyncio.AbstractEventLoop, settle: Callable[[Record], None], record: Record) -> None:
    try:
        loop.call_soon_threadsafe(settle, record)
    except RuntimeError:
        if not loop.is_closed():  # else nobody waits any more
            raise
