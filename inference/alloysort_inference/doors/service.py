"""What stands behind every door: a classifier, the queue in front of it, its log, and whether it is warm."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count, groupby
from pathlib import Path
from typing import Any, Final

import anyio
import numpy as np

from alloysort_datasets.errors import AlloysortError, DataError, RecipeError
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.doors.access import Access
from alloysort_inference.doors.changeover import Changeover
from alloysort_inference.doors.intake import Intake, Limits
from alloysort_inference.doors.plant import Controls, Valves
from alloysort_inference.doors.settings import Settings
from alloysort_inference.doors.stream.wire import Axis
from alloysort_inference.doors.tally import Tally
from alloysort_inference.doors.tokens import Tokens, read_tokens
from alloysort_inference.doors.watching import Watching, alarm
from alloysort_inference.engine.batcher import Batcher, spare_cores
from alloysort_inference.health.watch import Alarm
from alloysort_inference.log.audit import Entry, Trail
from alloysort_inference.log.batches import Batch, begin_batch, end_batch, open_now
from alloysort_inference.log.keep import Sample
from alloysort_inference.log.store import DecisionLog
from alloysort_inference.outputs.open import Outputs, open_outputs
from alloysort_inference.outputs.settings import read_outputs
from alloysort_inference.page.alarms import Book
from alloysort_inference.page.seen import Seen
from alloysort_inference.pipeline import Arrival, Classifier, Ready, open_classifier
from alloysort_inference.policy.recipe import Recipe, load_recipe, shipped_recipes
from alloysort_inference.record import Record
from alloysort_models.bundle.inputs import Features

MOST_AXES: Final = 256
AHEAD_MS: Final = 2.0
COLLECT_AFTER: Final = (50_000, 20, 100)
_log = logging.getLogger("alloysort")
OUTPUT: Final = "an output"  # a client of the OPC UA server
HANGUP: Final = "SIGHUP"  # who asks by that signal
WARMING: Final = "the model is warming up"
CHOOSE_S: Final = 60.0
OUTPUT_ADVICE: Final = "Look at the cable, the address in the outputs file, and the other side."
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
        self._database = None if self.log is None else self.log.database
        self.book = Book(self._database)
        self.batch: Batch | None = None if self._database is None else open_now(self._database)
        self.outputs = None if settings.outputs is None else self._outputs(settings.outputs)
        self._trail = Trail(self._database)
        self.waiting_for: str | None = WARMING
        self.closing = False
        self.batcher: Batcher[Ready, Record] = Batcher(
            self._assess, self._turn_away, self._give_up, threads=settings.workers or spare_cores()
        )
        self.tally = Tally()
        self.loop: asyncio.AbstractEventLoop
        self._tasks: set[asyncio.Task[None]] = set()
        self.axes: dict[int, Axis] = {}
        self._intake: Intake | None = None
        self.watching = Watching(lambda: self.classifier, self.book, self._alarms)
        self._truths: dict[str, str] = {}  # of made-up pieces on their way
        self._seqs = count(1)
        self._valves: tuple[Recipe, Valves] | None = None
        self._late_before = 0

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
        self.watching.begin()
        if self.outputs is not None:
            await anyio.to_thread.run_sync(self.outputs.begin)
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
        if family is not None and arrival.piece_id is not None:
            self._truths[arrival.piece_id] = family
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

    def recipes(self) -> tuple[str, ...]:
        """What an operator may choose from: the shipped recipes and the one that the service began with."""
        return tuple(dict.fromkeys([*shipped_recipes(), self.settings.recipe]))

    async def choose_recipe(self, source: str | None, bars: Mapping[str, float] | None = None) -> None:
        """Sort by another of `recipes`, or by the one in use, with other bars if any are given.

        Raises:
            RecipeError: it is none of them, or cannot be used; nothing has changed.
        """
        recipe = self.classifier.recipe
        if source is not None:  # an operator names recipes; files of the machine are an engineer's
            if source not in self.recipes():
                raise RecipeError(f"recipe {source!r} is none of {', '.join(self.recipes())}")
            recipe = await asyncio.to_thread(load_recipe, source)
        await self.changeover.load(recipe=recipe.with_bars(bars) if bars else recipe)
        self.changeover.switch()

    async def open_batch(self, name: str) -> Batch:
        """Begin a batch; the one that was open ends.

        Raises:
            DataError, LogError: it cannot be begun.
        """
        self.batch = await asyncio.to_thread(begin_batch, self._database, name)
        self.watching.board.begin(self.classifier.recipe)
        return self.batch

    async def close_batch(self) -> Batch:
        """End the open batch.

        Raises:
            DataError: none is open.
            LogError: the log cannot be written.
        """
        batch = self.batch
        if batch is None:
            raise DataError("no batch is open")
        await asyncio.to_thread(end_batch, self._database)
        self.batch = None
        return batch

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
        self.closing = True
        await self.intake.close()
        await asyncio.to_thread(self.batcher.close)
        await asyncio.to_thread(self.changeover.close)
        self.classifier.boxes.end()
        await asyncio.to_thread(self.watching.end)
        if self.outputs is not None:
            await asyncio.to_thread(self.outputs.close)
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
            records += [self._noted(record, one.arrival, one.prepared.features) for record, one in told]
        if shadow is not None:
            for one, record in zip(ready, records, strict=True):
                shadow.show(one.arrival, record)
        return records

    def _open_another(self, bundle: Path | None, recipe: str | Recipe | None) -> Classifier:
        """What is not named stays; with neither, the recipe's file is read anew."""
        settings, current = self.settings, self.classifier
        folder = current.engine.bundle.path if bundle is None else bundle
        if recipe is None:
            recipe = settings.recipe if bundle is None else current.recipe
        return open_classifier(folder, recipe, settings.providers, settings.threads)

    def _turn_away(self, ready: Ready) -> Record:
        return self._noted(ready.classifier.turn_away(ready.arrival), ready.arrival)

    def _give_up(self, ready: Ready, error: Exception) -> Record:
        del error  # the batcher has logged it; a client learns no secrets
        return self.refuse(ready.arrival, AlloysortError(INTERNAL))

    def _noted(self, record: Record, arrival: Arrival, features: Features | None = None) -> Record:
        if record.batch is None and self.batch is not None:
            record = replace(record, batch=self.batch.name)
        self.tally.note(record)
        sample, mass_g = _sample(arrival), arrival.mass_g
        seq = next(self._seqs) if self.log is None else self.log.write(record, mass_g, sample)
        truth = self._truths.pop(record.piece_id, None) if self._truths else None
        self.watching.see(Seen(seq, record, mass_g, sample, features, truth))
        if self.outputs is not None:
            self._tell_plant(self.outputs, record, arrival)
        return record

    def _outputs(self, path: Path) -> Outputs:
        def choose(name: str) -> None:
            asyncio.run_coroutine_threadsafe(self.choose_recipe(name), self.loop).result(CHOOSE_S)
            self.audit(OUTPUT, "", "choose recipe", {"recipe": name})

        controls = Controls(
            self.recipes,
            lambda: self.classifier.recipe.name,
            choose,
            self._phase,
            self.demonstration,
        )
        outlets = [outlet.name for outlet in self.classifier.recipe.outlets]
        return open_outputs(read_outputs(path), outlets, controls)

    def _phase(self) -> str:
        if self.closing:
            return "Halted"
        return "Initialized" if self.waiting_for is not None else "ContinuousExecution"

    def _tell_plant(self, outputs: Outputs, record: Record, arrival: Arrival) -> None:
        recipe = self.classifier.recipe
        outputs.tell(record, recipe.typical_piece_g if arrival.mass_g is None else arrival.mass_g)
        if not record.decision.eject:
            return
        if self._valves is None or self._valves[0] is not recipe:
            self._valves = recipe, Valves(recipe)
        window = self._valves[1].window(record.decision.outlet, arrival.arrived_s)
        if window is not None:
            outputs.fire(record.decision.outlet, *window)

    def _alarms(self) -> list[Alarm]:
        """What stands besides sensors and feed."""
        found = []
        if self.log is not None and self.log.fault is not None:
            text = f"The decision log cannot be written: {self.log.fault}; {self.log.lost} records are lost."
            found.append(alarm("log", "fault", text, "Make room on the disk, or start the database."))
        if self.outputs is not None:
            found += [
                alarm(f"output_{name}", "fault", f"No connection to {name}: {fault}.", OUTPUT_ADVICE)
                for name, fault, _ in self.outputs.states()
                if fault is not None
            ]
        late, self._late_before = self.tally.status["late"] - self._late_before, self.tally.status["late"]
        if late:
            text = f"{late} pieces of the last second came too late and went to the default outlet."
            found.append(alarm("late", "warning", text, "Slow the feed, or give the service more cores."))
        return found


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
