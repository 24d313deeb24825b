"""From raw sensor data to a record: the way the command line, every door and the demonstration take."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Final, Protocol

import numpy as np

from alloysort_datasets.errors import AlloysortError, BundleError, DataError
from alloysort_datasets.readers.picture import decode_picture, encode_jpeg
from alloysort_datasets.readers.spectrum import read_spectrum
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.assessment import Assessment
from alloysort_inference.engine.session import WARM_UP_BATCHES, Engine
from alloysort_inference.frontend.prepare import Prepared, prepare
from alloysort_inference.policy.boxes import Boxes
from alloysort_inference.policy.decide import decide, turn_away
from alloysort_inference.policy.recipe import Recipe, load_recipe
from alloysort_inference.record import Origin, Record, Status, Timing
from alloysort_models.bundle.manifest import load_bundle, newest_released

WARM_UP_CHANNELS: Final = 2048
_PROCESS: Final = uuid.uuid4().hex[:16]
_NUMBERS: Final = count(1)


@dataclass(frozen=True)
class Upload:
    """A file as it arrived: the name it goes by in messages, and its bytes."""

    name: str
    content: bytes
    slow: bool = True

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content)

    def decode(self) -> Spectrum:
        """A spectrum file as a spectrum.

        Raises:
            SpectrumError: it cannot be read.
        """
        return read_spectrum(self.content, self.name)


class Undecoded(Protocol):
    """Numbers as they came over a wire, decoded when the piece's turn comes."""

    @property
    def slow(self) -> bool:
        """Whether that takes a millisecond or more."""

    @property
    def size(self) -> int:
        """Bytes that they hold on to."""

    def decode(self) -> Spectrum:
        """As a spectrum.

        Raises:
            SpectrumError: they make none.
        """


@dataclass(frozen=True, eq=False)
class Arrival:
    """A piece as it came in.

    Attributes:
        spectrum: a file of any common layout, or numbers; None where the laser hit nothing.
        image: a JPEG or PNG file; None where the camera saw nothing.
        piece_id: stands in the record; made up where None.
        batch: stands in the record.
        arrived_s: `time.perf_counter()` when the whole of it was there.
        mass_g: where somebody weighed or reckoned it; counts in the boxes of a melt.
    """

    spectrum: Upload | Undecoded | Spectrum | None
    image: Upload | None
    piece_id: str | None = None
    batch: str | None = None
    arrived_s: float = field(default_factory=perf_counter)
    mass_g: float | None = None

    @property
    def size(self) -> int:
        """Bytes that it holds on to."""
        spectrum = self.spectrum
        if isinstance(spectrum, Spectrum):
            numbers = spectrum.shots.nbytes
        else:
            numbers = 0 if spectrum is None else spectrum.size
        return numbers + (0 if self.image is None else self.image.size)


@dataclass(frozen=True, eq=False)
class Ready:
    """A piece ready for the engine.

    Attributes:
        arrival: as it came in.
        classifier: that prepared it, and whose engine it is for.
        prepared: the engine's inputs.
        decode_ms, prepare_ms: what that took.
    """

    arrival: Arrival
    classifier: Classifier
    prepared: Prepared
    decode_ms: float
    prepare_ms: float


class Classifier:
    """An engine and a recipe. Safe to share between threads."""

    def __init__(self, engine: Engine, recipe: Recipe) -> None:
        self.engine = engine
        self.recipe = recipe
        self.bundle = Origin(engine.bundle.manifest.name, engine.bundle.sha256)
        self.recipe_origin = Origin(recipe.name, recipe.sha256)
        self.boxes = Boxes(recipe)

    def classify(
        self,
        spectrum: Upload | Spectrum | None,
        image: Upload | None,
        *,
        piece_id: str | None = None,
        batch: str | None = None,
    ) -> Record:
        """Say what one piece is and where it goes; see `Arrival`.

        Raises:
            SpectrumError, ImageError: a file cannot be read, or the spectrum misses the model's range.
            DataError: neither a spectrum nor an image.
            BundleError: the model does not run.
        """
        (record,) = self.sort([Arrival(spectrum, image, piece_id, batch)])
        if record.fault is not None:
            raise record.fault
        return record

    def sort(self, arrivals: Sequence[Arrival]) -> list[Record]:
        """Say what pieces are and where each goes, in order; what cannot be used is refused, not raised."""
        readied = [self.ready(arrival) for arrival in arrivals]
        ready = [one for one in readied if isinstance(one, Ready)]
        records = iter(self.assess(ready))
        return [next(records) if isinstance(one, Ready) else one for one in readied]

    def ready(self, arrival: Arrival) -> Ready | Record:
        """A piece prepared for the engine, or refused."""
        manifest = self.engine.bundle.manifest
        start = perf_counter()
        try:
            signal = arrival.spectrum
            if signal is not None and not isinstance(signal, Spectrum):
                signal = signal.decode()
            image = arrival.image
            picture = None if image is None else decode_picture(image.content, image.name)
            decoded = perf_counter()
            prepared = prepare(manifest.grid, manifest.image_size, signal, picture)
        except DataError as fault:
            return self.refuse(arrival, fault)
        return Ready(arrival, self, prepared, _ms(decoded - start), _ms(perf_counter() - decoded))

    def assess(self, ready: Sequence[Ready]) -> list[Record]:
        """Say what pieces are and where each goes, in order; those that this classifier prepared."""
        if not ready:
            return []
        started = perf_counter()
        try:
            assessments = self.engine.run([one.prepared.features for one in ready])
        except BundleError as fault:
            return [self.refuse(one.arrival, fault) for one in ready]
        infer_ms = _ms(perf_counter() - started)
        return [self._decide(one, said, infer_ms) for one, said in zip(ready, assessments, strict=True)]

    def warm_up(self) -> None:
        """Take pieces the whole way, decoding included: the first real one is then as fast as the next.

        Raises:
            BundleError: the model does not run.
        """
        self.engine.warm_up()
        grid = self.engine.bundle.grid
        axis = np.linspace(grid.start_nm, grid.stop_nm, WARM_UP_CHANNELS)
        shots = np.random.default_rng(0).normal(1000.0, 10.0, (3, axis.size)).astype(np.float32)
        shots[:, axis.size // 2] += 10_000.0
        image = Upload("warm-up", encode_jpeg(np.full((96, 96, 3), 128, np.uint8)))
        for size in WARM_UP_BATCHES:
            records = self.sort([Arrival(Spectrum(axis, shots), image)] * size)
            if records[0].fault is not None:
                raise records[0].fault

    def turn_away(self, arrival: Arrival) -> Record:
        """Send a piece that would be late to the default outlet."""
        waited_ms = _ms(perf_counter() - arrival.arrived_s)
        return self._turned_away(arrival, "late", f"late: not computed after {waited_ms:.1f} ms of waiting")

    def _decide(self, ready: Ready, assessment: Assessment, infer_ms: float) -> Record:
        started, arrival = perf_counter(), ready.arrival
        piece_id = arrival.piece_id or unused_id()
        mass_g = self.recipe.typical_piece_g if arrival.mass_g is None else arrival.mass_g
        thresholds = self.engine.bundle.manifest.thresholds
        decision = decide(
            assessment,
            self.recipe,
            thresholds,
            blind=ready.prepared.blind,
            quality=ready.prepared.quality,
            offer=lambda outlet: self.boxes.offer(outlet, piece_id, mass_g, assessment),
        )
        decided = perf_counter()
        steps = (ready.decode_ms, ready.prepare_ms, infer_ms, _ms(decided - started))
        waiting_ms = max(0.0, _ms(decided - arrival.arrived_s) - sum(steps))
        return Record(
            piece_id=piece_id,
            batch=arrival.batch,
            time=datetime.now(UTC),
            bundle=self.bundle,
            recipe=self.recipe_origin,
            status="decided",
            assessment=assessment,
            decision=decision,
            quality=ready.prepared.quality,
            timing=Timing(waiting_ms, *steps),
        )

    def refuse(self, arrival: Arrival, fault: AlloysortError) -> Record:
        """Send a piece that cannot be used to the default outlet."""
        return self._turned_away(arrival, "refused", f"refused: {fault}", fault)

    def _turned_away(
        self, arrival: Arrival, status: Status, reason: str, fault: AlloysortError | None = None
    ) -> Record:
        return Record(
            piece_id=arrival.piece_id or unused_id(),
            batch=arrival.batch,
            time=datetime.now(UTC),
            bundle=self.bundle,
            recipe=self.recipe_origin,
            status=status,
            assessment=None,
            decision=turn_away(self.recipe, reason),
            quality=(),
            timing=Timing(_ms(perf_counter() - arrival.arrived_s), 0.0, 0.0, 0.0, 0.0),
            fault=fault,
        )


def unused_id() -> str:
    """An id for a piece without one: of this process, counted up; a random one takes ten times as long."""
    return f"{_PROCESS}-{next(_NUMBERS):x}"


def open_classifier(
    bundle: Path | None,
    recipe: str | Recipe,
    providers: tuple[str, ...] | None = None,
    threads: int = 1,
) -> Classifier:
    """A classifier from what an operator names; `bundle` None is the newest released one.

    Raises:
        RecipeError: the recipe has faults, or a purity target that is not fitted to the bundle.
        BundleError: the bundle cannot be trusted or run.
    """
    wanted = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    opened = load_bundle(bundle or newest_released())
    wanted.require_fitted(opened.sha256)
    return Classifier(Engine(opened, providers, threads), wanted)


def read_upload(path: Path, error: type[DataError]) -> Upload:
    """A file from disk.

    Raises:
        DataError: it cannot be opened; of the kind given as `error`.
    """
    try:
        return Upload(str(path), path.read_bytes())
    except (OSError, ValueError) as fault:
        raise error(f"{path}: {getattr(fault, 'strerror', None) or fault}") from None


def _ms(seconds: float) -> float:
    return seconds * 1000
