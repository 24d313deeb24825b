"""The perturbation suite: the same pieces under one worse condition after the other, each row beside clean.

Version 1. The standard pieces are 600 simulated ones, of all families alike, each batch of ten from another
spectrometer unit; clean, they are bare, dry and in focus. A row of kind "physics" simulates them anew with
one condition changed; one of kind "data" changes what the sensors delivered. Cite a row as "alloysort suite
1, defocus 2.5 mm".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.piece import Instrument, Piece
from alloysort_datasets.readers.picture import decode_image, encode_jpeg
from alloysort_datasets.simulate import BATCH_PIECES, Simulation, open_batch, simulate_batch
from alloysort_datasets.spectrum import Spectrum
from alloysort_datasets.table.spread import spread
from alloysort_inference.bench.accuracy.gridded import Gridded
from alloysort_inference.bench.accuracy.judge import Judged, Seen, classifier_of, judge
from alloysort_inference.bench.accuracy.measure import family_draws
from alloysort_models.bundle.figures import bootstrap_weights, figure

SUITE: Final = "alloysort suite 1"
SEED: Final = 190_001  # of no training table
PIECES: Final = 600
CLEAN: Final[Mapping[str, float]] = {
    "defocus_mm": 0.0, "moisture_um": 0.0, "dirt_um": 0.0, "oil_um": 0.0, "paint_um": 0.0,
    "anodising_um": 0.0, "zinc_um": 0.0, "oxide_um": 0.004,
    "miss_rate": 0.0, "graze_rate": 0.0, "neighbour_share": 0.0,
}  # fmt: skip
SHOTS: Final = 8
SCORES: Final = ("macro_f1", "accuracy", "accepted", "accepted_right")
Change = Callable[[Seen, np.random.Generator], Seen]


@dataclass(frozen=True)
class Row:
    """One perturbation.

    Attributes:
        name: what is worse, and by how much.
        conditions: of the simulator that are other than clean.
        shots: laser pulses a piece.
        preset: of the spectrometer.
        change: of what the sensors delivered; None: nothing.
    """

    name: str
    conditions: Mapping[str, float] = field(default_factory=dict)
    shots: int = SHOTS
    preset: str = "mixed"
    change: Change | None = None

    @property
    def kind(self) -> str:
        """How it is made: "data" can be had of real pieces too."""
        return "physics" if self.change is None else "data"


def of_spectrum(change: Callable[[Spectrum, np.random.Generator], Spectrum]) -> Change:
    """A change of the spectrum, where there is one."""

    def changed(seen: Seen, rng: np.random.Generator) -> Seen:
        return seen if seen.spectrum is None else seen._replace(spectrum=change(seen.spectrum, rng))

    return changed


def of_picture(change: Callable[[NDArray[np.float32], np.random.Generator], Any]) -> Change:
    """A change of (height, width, 3) RGB of 0-255, where there is a picture."""

    def changed(seen: Seen, rng: np.random.Generator) -> Seen:
        if seen.image is None:
            return seen
        rgb = np.asarray(change(decode_image(seen.image).astype(np.float32), rng))
        return seen._replace(image=encode_jpeg(np.clip(rgb.round(), 0, 255).astype(np.uint8)))

    return changed


def drifted(nm: float) -> Change:
    """The whole axis off by so much."""
    return of_spectrum(lambda s, _: Spectrum(s.wavelength_nm + nm, s.shots, s.saturation_counts))


def overexposed(factor: float) -> Change:
    """So much more light into a detector that was full at its brightest channel."""

    def change(spectrum: Spectrum, _: np.random.Generator) -> Spectrum:
        ceiling = float(spectrum.shots.max())
        shots = np.minimum(spectrum.shots * np.float32(factor), np.float32(ceiling))
        return Spectrum(spectrum.wavelength_nm, shots, ceiling)

    return of_spectrum(change)


def dimmed_window(nm: float) -> Change:
    """A window whose film takes half the light at this wavelength, and by its fourth power more in the UV."""

    def change(spectrum: Spectrum, _: np.random.Generator) -> Spectrum:
        passed = 0.5 ** ((nm / spectrum.wavelength_nm) ** 4)
        dark = np.median(spectrum.shots, axis=1, keepdims=True)
        shots = dark + (spectrum.shots - dark) * passed
        return Spectrum(spectrum.wavelength_nm, shots.astype(np.float32), spectrum.saturation_counts)

    return of_spectrum(change)


def smeared(share: float) -> Change:
    """Motion along the belt by this share of the picture's width while the shutter is open."""

    def change(rgb: NDArray[np.float32], _: np.random.Generator) -> Any:
        size = max(2, round(share * rgb.shape[1]))
        return cv2.filter2D(
            rgb, -1, np.full((1, size), 1.0 / size, np.float32), borderType=cv2.BORDER_REFLECT
        )

    return of_picture(change)


def spotted(spots: int) -> Change:
    """Dust on the lens: soft dark spots."""

    def change(rgb: NDArray[np.float32], rng: np.random.Generator) -> Any:
        height, width = rgb.shape[:2]
        rows, columns = np.mgrid[:height, :width]
        passed = np.ones((height, width))
        for _ in range(spots):
            radius = rng.uniform(0.05, 0.15) * width
            at = (rows - rng.uniform(0, height)) ** 2 + (columns - rng.uniform(0, width)) ** 2
            passed *= 1 - 0.8 * np.exp(-at / (2 * radius**2))
        return rgb * passed[..., None]

    return of_picture(change)


def lit(level: float, slope: float = 0.0) -> Change:
    """So much of the light, less towards one side by the slope."""

    def change(rgb: NDArray[np.float32], _: np.random.Generator) -> Any:
        across = np.linspace(1 + slope, 1 - slope, rgb.shape[1])
        return rgb * (level * across)[None, :, None]

    return of_picture(change)


OTHER_PRESETS: Final = ("compact", "three-channel", "echelle", "mini")
ROWS: Final = (
    Row("clean"),
    *(Row(f"defocus {mm:g} mm", {"defocus_mm": mm}) for mm in (0.5, 1.0, 2.5)),
    *(Row(f"paint {um:g} um", {"paint_um": um}) for um in (20.0, 40.0, 80.0, 120.0)),
    *(Row(f"dirt {um:g} um", {"dirt_um": um}) for um in (1.0, 5.0, 20.0)),
    *(Row(f"oil {um:g} um", {"oil_um": um}) for um in (1.0, 10.0)),
    *(Row(f"shots missed {rate:.0%}", {"miss_rate": rate}) for rate in (0.3, 0.6)),
    *(Row(f"{shots} shot{'s' * (shots > 1)}", shots=shots) for shots in (1, 3, 10)),
    *(
        Row(f"plasma at {kelvin:g} K, a gate that drifted", {"plasma_temperature_k": kelvin})
        for kelvin in (7500.0, 14000.0)
    ),
    Row("ageing laser, 60 % of its energy, 15 % RSD", {"pulse_energy": 0.6, "energy_rsd": 0.15}),
    *(
        Row(f"instrument: {preset}", preset=preset)
        for preset in ("compact", "three-channel", "echelle", "mini")
    ),
    *(Row(f"wavelength drift {nm:+g} nm", change=drifted(nm)) for nm in (0.1, 0.3)),
    *(
        Row(f"detector full at 1/{factor:g} of its light", change=overexposed(factor))
        for factor in (2.0, 8.0)
    ),
    Row("dirty window, half the light at 300 nm", change=dimmed_window(300.0)),
    Row("motion blur, a tenth of the picture", change=smeared(0.1)),
    Row("dust on the lens", change=spotted(6)),
    Row("dim light, a third", change=lit(0.33)),
    Row("uneven light", change=lit(0.8, 0.6)),
    Row("no picture", change=lambda seen, _: seen._replace(image=None)),
    Row("no spectrum", change=lambda seen, _: seen._replace(spectrum=None)),
)


class Outcome(NamedTuple):
    """What became of the standard pieces in one row.

    Attributes:
        judged: with both sensors; alone: by the spectrum alone; gridded: what other methods take.
    """

    judged: Judged
    alone: Judged
    gridded: Gridded


class _Job(NamedTuple):
    batch: int
    bundle: Path
    recipe: str
    pieces: int


def run_suite(
    bundle: Path, recipe: str, pieces: int = PIECES, progress: Callable[[int, int], None] | None = None
) -> dict[str, Outcome]:
    """By row's name what is said of the standard pieces; batches at once in processes."""
    jobs = [_Job(batch, bundle, recipe, pieces) for batch in range(-(-pieces // BATCH_PIECES))]
    parts: dict[str, list[Outcome]] = {row.name: [] for row in ROWS}
    for done, part in enumerate(spread(_run_batch, jobs, fewest=4), 1):
        for name, outcome in part.items():
            parts[name].append(outcome)
        if progress is not None:
            progress(min(done * BATCH_PIECES, pieces), pieces)
    return {name: _joined(outcomes) for name, outcomes in parts.items()}


def _joined(parts: list[Outcome]) -> Outcome:
    judged, alone, gridded = zip(*parts, strict=True)
    return Outcome(Judged.joined(judged), Judged.joined(alone), Gridded.joined(gridded))


def _run_batch(job: _Job) -> dict[str, Outcome]:
    """Every row of one batch's pieces: they are painted once."""
    simulation = Simulation(job.pieces, SEED, "fast", shots=SHOTS, conditions=CLEAN)
    clean = list(_pieces(simulation, job.batch, {}))
    images = {seen.piece.piece_id: seen.image for seen in clean}
    classifier = classifier_of(job.bundle, job.recipe)
    grid = classifier.engine.bundle.grid
    outcomes = {}
    for number, row in enumerate(ROWS):
        pieces = clean
        if row != ROWS[0]:
            pieces = list(_perturbed(row, clean, simulation, job.batch, images, number))
        alone = [seen._replace(image=None) for seen in pieces if seen.spectrum is not None]
        both, by_spectrum = judge(classifier, pieces), judge(classifier, alone)
        outcomes[row.name] = Outcome(both, by_spectrum, Gridded.of(alone, grid))
    return outcomes


def _perturbed(
    row: Row,
    clean: list[Seen],
    simulation: Simulation,
    batch: int,
    images: Mapping[str, bytes | None],
    number: int,
) -> Iterator[Seen]:
    if row.change is None:
        changed = replace(
            simulation,
            images="none",
            shots=row.shots,
            preset=row.preset,
            conditions={**CLEAN, **row.conditions},
        )
        yield from _pieces(changed, batch, images)
        return
    for place, seen in enumerate(clean):
        yield row.change(seen, np.random.default_rng((SEED, batch, place, number)))


def _pieces(simulation: Simulation, batch: int, images: Mapping[str, bytes | None]) -> Iterator[Seen]:
    instrument = open_batch(simulation, batch).instrument
    for piece in simulate_batch(simulation, batch):
        image = piece.image if simulation.images == "fast" else images[piece.piece_id]
        yield Seen(_of_one_source(piece), _spectrum(piece, instrument), image)


def _of_one_source(piece: Piece) -> Piece:
    """A batch is the same in every row, whatever its spectrometer is called."""
    return replace(piece, source=SUITE)


def _spectrum(piece: Piece, instrument: Instrument) -> Spectrum | None:
    if piece.spectra is None:
        return None
    return Spectrum(instrument.wavelength_nm, piece.spectra, instrument.saturation_counts)


def tell_rows(outcomes: Mapping[str, Outcome], seed: int = 0) -> dict[str, Any]:
    """By row its figures and the drop from clean, whose interval is of the same batches in both."""
    clean = outcomes[ROWS[0].name].judged
    told = {}
    for row in ROWS:
        outcome = outcomes[row.name]
        told[row.name] = {
            "kind": row.kind,
            "pieces_are": "simulated",
            **_scores(outcome.judged, seed),
            "macro_f1_drop": figure(_macro(clean, seed) - _macro(outcome.judged, seed)),
            "spectrum_alone": _scores(outcome.alone, seed),
        }
    return told


def _macro(found: Judged, seed: int) -> NDArray[np.float64]:
    return family_draws(found, bootstrap_weights(found.batch, seed))["macro_f1"]


def _scores(found: Judged, seed: int) -> dict[str, Any]:
    if not len(found):
        return {"n": 0}
    draws = family_draws(found, bootstrap_weights(found.batch, seed))
    return {"n": len(found), **{key: figure(draws[key]) for key in SCORES}}
