"""From raw sensor data to an answer: the way the command line, the service and the demonstration all take."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError
from alloysort_datasets.readers.picture import decode_image
from alloysort_datasets.readers.spectrum import read_spectrum
from alloysort_inference.doors.rest.answer import Answer, Timing, make_answer
from alloysort_inference.engine.session import Engine
from alloysort_inference.frontend.prepare import Spectrum, prepare
from alloysort_inference.policy.decide import decide
from alloysort_inference.policy.recipe import Recipe, load_recipe
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

    def classify(
        self,
        spectrum: Upload | Spectrum | None,
        image: Upload | None,
        *,
        piece_id: str | None = None,
    ) -> Answer:
        """Say what a piece is and where it goes.

        Args:
            spectrum: a file of any common layout, or numbers; None where the laser hit nothing.
            image: a JPEG or PNG file; None where the camera saw nothing.
            piece_id: comes back in the answer; made up where None.

        Raises:
            SpectrumError, ImageError: a file cannot be read, or the spectrum misses the model's range.
            DataError: neither a spectrum nor an image.
            BundleError: the model does not run.
        """
        manifest = self.engine.bundle.manifest
        start = perf_counter()
        signal = decode_spectrum(spectrum)
        rgb = None if image is None else decode_image(image.content, image.name)
        decoded = perf_counter()
        features = prepare(self.engine.bundle.grid, manifest.image_size, signal, rgb)
        prepared = perf_counter()
        (assessment,) = self.engine.run([features])
        inferred = perf_counter()
        decision = decide(assessment, self.recipe, manifest.thresholds, blind=features.blind)
        decided = perf_counter()
        timing = Timing(
            decode=_ms(decoded - start),
            prepare=_ms(prepared - decoded),
            infer=_ms(inferred - prepared),
            decide=_ms(decided - inferred),
            total=_ms(decided - start),
        )
        return make_answer(piece_id or uuid.uuid4().hex, assessment, decision, features.quality, timing)


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
    read = read_spectrum(spectrum.content, spectrum.name)
    axis: NDArray[np.float64] = np.asarray(read.wavelength_nm, dtype=np.float64)
    return Spectrum(axis, read.shots)


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
    return round(seconds * 1000, 3)
