"""From raw sensor data to a record: the way the command line, every door and the demonstration take."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from alloysort_datasets.errors import DataError
from alloysort_datasets.readers.picture import decode_picture
from alloysort_datasets.readers.spectrum import read_spectrum
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.engine.session import Engine
from alloysort_inference.frontend.prepare import prepare
from alloysort_inference.policy.decide import decide
from alloysort_inference.policy.recipe import Recipe, load_recipe
from alloysort_inference.record import Origin, Record, Timing
from alloysort_models.bundle.manifest import load_bundle, newest_released


@dataclass(frozen=True)
class Upload:
    """A file as it arrived: the name it goes by in messages, and its bytes."""

    name: str
    content: bytes


class Classifier:
    """An engine and a recipe. Safe to share between threads."""

    def __init__(self, engine: Engine, recipe: Recipe) -> None:
        self.engine = engine
        self.recipe = recipe
        self._bundle = Origin(engine.bundle.manifest.name, engine.bundle.sha256)
        self._recipe = Origin(recipe.name, recipe.sha256)

    def classify(
        self,
        spectrum: Upload | Spectrum | None,
        image: Upload | None,
        *,
        piece_id: str | None = None,
        batch: str | None = None,
        arrived_s: float | None = None,
    ) -> Record:
        """Say what a piece is and where it goes.

        Args:
            spectrum: a file of any common layout, or numbers; None where the laser hit nothing.
            image: a JPEG or PNG file; None where the camera saw nothing.
            piece_id: stands in the record; made up where None.
            batch: stands in the record.
            arrived_s: `time.perf_counter()` when the piece came in, where it had to wait for its turn.

        Raises:
            SpectrumError, ImageError: a file cannot be read, or the spectrum misses the model's range.
            DataError: neither a spectrum nor an image.
            BundleError: the model does not run.
        """
        manifest = self.engine.bundle.manifest
        start = perf_counter()
        signal = decode_spectrum(spectrum)
        picture = None if image is None else decode_picture(image.content, image.name)
        decoded = perf_counter()
        prepared = prepare(manifest.grid, manifest.image_size, signal, picture)
        ready = perf_counter()
        (assessment,) = self.engine.run([prepared.features])
        inferred = perf_counter()
        decision = decide(assessment, self.recipe, manifest.thresholds, blind=prepared.blind)
        decided = perf_counter()
        timing = Timing(
            waiting_ms=_ms(start - arrived_s) if arrived_s is not None else 0.0,
            decode_ms=_ms(decoded - start),
            prepare_ms=_ms(ready - decoded),
            infer_ms=_ms(inferred - ready),
            decide_ms=_ms(decided - inferred),
        )
        return Record(
            piece_id=piece_id or uuid.uuid4().hex,
            batch=batch,
            time=datetime.now(UTC),
            bundle=self._bundle,
            recipe=self._recipe,
            assessment=assessment,
            decision=decision,
            quality=prepared.quality,
            timing=timing,
        )


def open_classifier(
    bundle: Path | None,
    recipe: str,
    providers: tuple[str, ...] | None = None,
    threads: int | None = None,
) -> Classifier:
    """A classifier from what an operator names; `bundle` None is the newest released one.

    Raises:
        RecipeError: the recipe has faults.
        BundleError: the bundle cannot be trusted or run.
    """
    wanted = load_recipe(recipe)
    return Classifier(Engine(load_bundle(bundle or newest_released()), providers, threads), wanted)


def decode_spectrum(spectrum: Upload | Spectrum | None) -> Spectrum | None:
    """The numbers in a spectrum file; numbers pass through.

    Raises:
        SpectrumError: the file cannot be read.
    """
    if not isinstance(spectrum, Upload):
        return spectrum
    return read_spectrum(spectrum.content, spectrum.name)


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
