"""What stands behind every door: a classifier, the queue in front of it, its log, and whether it is warm."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import anyio
import numpy as np

from alloysort_datasets.errors import AlloysortError, DataError
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.doors.access import Access
from alloysort_inference.doors.changeover import Changeover
from alloysort_inference.doors.intake import Intake, Limits
from alloysort_inference.doors.settings import Settings
from alloysort_inference.doors.stream.wire import Axis
from alloysort_inference.doors.tally import Tally
from alloysort_inference.doors.tokens import Tokens, read_tokens
from alloysort_inference.engine.batcher import Batcher, spare_cores
from alloysort_inference.log.audit import Entry, Trail
from alloysort_inference.log.keep import Sample
from alloysort_inference.log.store import DecisionLog
from alloysort_inference.pipeline import Arrival, Classifier, Ready, open_classifier
from alloysort_inference.record import Record

MOST_AXES: Final = 256
AHEAD_MS: Final = 2.0
COLLECT_AFTER: Final = (50_000, 20, 100)
_log = logging.getLogger("alloysort")
HANGUP: Final = "SIGHUP"  # who asks by that signal
WARMING: Final = "the model is warming up"
INTERNAL: Final = "internal error; the server's own output says more"


class Service:
    """The state behind the doors.

    Raises:
        BundleError, RecipeError: the bundle or the recipe cannot be used.
        TokensError: nor can the tokens.
        AlloysortError: the log cannot be opened.
    """

    def __init__(self, settings: Settings, *, demonstration: bool = False) -> None:
        self.settings, self.demonstration = settings, demonstration
        self.access = Access(Tokens() if settings.tokens is None else read_tokens(settings.tokens))
        first = open_classifier(settings.bundle, settings.recipe, settings.providers, settings.threads)
        self.changeover = Changeover(first, self._open_another)
        self.log = (
            None
            if settings.log is None
            else DecisionLog(settings.log, demonstration=demonstration, days=settings.log_days)
        )
        self._trail = Trail(None if self.log is None else self.log.database)
        self.waiting_for: str | None = WARMING
        self.batcher: Batcher[Ready, Record] = Batcher(
            self._assess, self._turn_away, self._give_up, threads=settings.workers or spare_cores()
        )
        self.tally = Tally()
        self.loop: asyncio.AbstractEventLoop
        self._tasks: set[asyncio.Task[None]] = set()
        self.axes: dict[int, Axis] = {}
        self._intake: Intake | None = None

    @property
    def classifier(self) -> Classifier:
        """The one that decides."""
        return self.changeover.current

    @property
    def intake(self) -> Intake:
        """The queue; begun by whoever asks first, on the loop that runs."""
        if self._intake is None:
            limits = Limits(self.settings.queue_pieces, self.settings.queue_mb * 1_000_000)
            self._intake = Intake(lambda: self.classifier, self.batcher, self._noted, limits)
        return self._intake

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done on the loop while it runs."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def warm_up(self) -> None:
        """Run the engine until it is as fast as it gets; from then on the service is ready."""
        self.loop = asyncio.get_running_loop()
        try:
            await anyio.to_thread.run_sync(self._warm_up)
            settle_memory()
        except AlloysortError as error:
            self.waiting_for = str(error)
        else:
            self.waiting_for = None

    def _warm_up(self) -> None:
        self.classifier.warm_up()
        self.classifier.boxes.begin(self.settings.boxes)
        if len(self.classifier.boxes) and self.settings.boxes is None:
            _log.warning("boxes are not kept over a restart: no journal is set")

    def register(self, axis: Axis) -> Axis:
        """Keep an axis that pieces at any door may name; the same one gets the same number.

        Raises:
            DataError: there are too many.
        """
        for known in self.axes.values():
            if known.saturation_counts == axis.saturation_counts and np.array_equal(
                known.wavelength_nm, axis.wavelength_nm
            ):
                return known
        if len(self.axes) >= MOST_AXES:
            raise DataError(f"{MOST_AXES} axes are registered already: name one of them")
        kept = replace(axis, number=len(self.axes) + 1)
        self.axes[kept.number] = kept
        return kept

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
        due_s = float("inf") if within_ms is None else arrival.arrived_s + _aim_s(within_ms)
        self.intake.submit(arrival, due_s, done)

    async def sort(self, arrival: Arrival, deadline_ms: float | None = None) -> Record:
        """`submit` for those who can wait."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Record] = loop.create_future()

        def settle(record: Record) -> None:
            if not answered.done():  # else the client has gone
                answered.set_result(record)

        self.submit(arrival, deadline_ms, lambda record: _call(loop, settle, record))
        try:
            return await answered
        except asyncio.CancelledError:
            self.intake.forget(arrival)
            raise

    def bring(self, arrival: Arrival, family: str | None) -> None:
        """A piece of a demonstration, whose family may be known; one that finds no room is refused."""
        del family
        try:
            self.submit(arrival, None, lambda _: None)
        except AlloysortError as fault:
            self.refuse(arrival, fault)

    def refuse(self, arrival: Arrival, fault: AlloysortError) -> Record:
        """A piece that cannot be taken at all goes to the default outlet."""
        return self._noted(self.classifier.refuse(arrival, fault), arrival)

    def audit(
        self,
        who: str,
        address: str,
        action: str,
        details: Mapping[str, Any] | None = None,
        refused: str | None = None,
    ) -> None:
        """Note who did what, or why they were refused; never waits.

        Args:
            who, address: as `Who` has them.
            action: in few words.
            details: of it, as JSON takes them; never a secret.
            refused: why; None: it was done.
        """
        self._trail.add(Entry(datetime.now(UTC), who, address, action, details, refused))

    def begin_reload(self) -> None:
        """Take the files of tokens and recipe anew, on the loop."""
        self.begin(self.reload_tokens())
        self.begin(self.reload_recipe())

    async def reload_recipe(self) -> None:
        """Take the recipe's file as it stands, whole; with a fault in it nothing changes but the log."""
        try:
            await self.changeover.load()
        except AlloysortError as error:
            _log.error("the recipe stays as it was: %s", error)
            self.audit(HANGUP, "", "reload recipe", refused=str(error))
        else:
            self.changeover.switch()
            recipe = self.classifier.recipe_origin
            self.audit(HANGUP, "", "reload recipe", {"recipe": recipe.name, "recipe_sha256": recipe.sha256})
            _log.warning("recipe %s taken anew, SHA-256 %s", recipe.name, recipe.sha256[:12])

    async def reload_tokens(self) -> None:
        """Take the tokens' file as it stands, if there is one; with a fault in it those before stay."""
        if self.settings.tokens is None:
            return
        try:
            tokens = await asyncio.to_thread(read_tokens, self.settings.tokens)
        except AlloysortError as error:
            _log.error("the tokens stay as they were: %s", error)
            self.audit(HANGUP, "", "reload tokens", refused=str(error))
        else:
            self.access.tokens = tokens
            self.audit(HANGUP, "", "reload tokens", {"names": [one.name for one in tokens.known]})

    async def close(self) -> None:
        """Answer what waits, then close the log."""
        await self.intake.close()
        await asyncio.to_thread(self.batcher.close)
        await asyncio.to_thread(self.changeover.close)
        self.classifier.boxes.end()
        await asyncio.to_thread(self._trail.close)
        if self.log is not None:
            await asyncio.to_thread(self.log.close)

    def _assess(self, ready: Sequence[Ready]) -> list[Record]:
        """Each by the classifier that prepared it: they are two while one takes over from another."""
        records: list[Record] = []
        shadow = self.changeover.shadow
        for classifier, group in groupby(ready, key=lambda one: one.classifier):
            some = list(group)
            told = zip(classifier.assess(some), some, strict=True)
            records += [self._noted(record, one.arrival) for record, one in told]
        if shadow is not None:
            for one, record in zip(ready, records, strict=True):
                shadow.show(one.arrival, record)
        return records

    def _open_another(self, bundle: Path | None, recipe: str | None) -> Classifier:
        settings, current = self.settings, self.classifier
        folder = current.engine.bundle.path if bundle is None else bundle
        return open_classifier(
            folder, settings.recipe if recipe is None else recipe, settings.providers, settings.threads
        )

    def _turn_away(self, ready: Ready) -> Record:
        return self._noted(ready.classifier.turn_away(ready.arrival), ready.arrival)

    def _give_up(self, ready: Ready, error: Exception) -> Record:
        del error  # the batcher has logged it; a client learns no secrets
        return self.refuse(ready.arrival, AlloysortError(INTERNAL))

    def _noted(self, record: Record, arrival: Arrival) -> Record:
        self.tally.note(record)
        if self.log is not None:
            self.log.write(record, arrival.mass_g, _sample(arrival))
        return record


def _sample(arrival: Arrival) -> Sample:
    """What the sensors saw, decoded once more only if the log keeps it."""
    image, signal = arrival.image, arrival.spectrum
    decode = None if signal is None else (lambda: signal) if isinstance(signal, Spectrum) else signal.decode
    return Sample(None if image is None else image.content, decode)


def _aim_s(within_ms: float) -> float:
    """When to be done in order to be in time: a little before, for a busy machine gives cores late."""
    return (within_ms - min(AHEAD_MS, within_ms / 8)) / 1000


def settle_memory() -> None:
    """What is loaded stays: the garbage collector need not look at it again in the middle of a piece."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _call(loop: asyncio.AbstractEventLoop, settle: Callable[[Record], None], record: Record) -> None:
    try:
        loop.call_soon_threadsafe(settle, record)
    except RuntimeError:
        if not loop.is_closed():  # else nobody waits any more
            raise
