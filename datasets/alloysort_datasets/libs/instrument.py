"""What spectra of known pieces tell of the spectrometer that took them: wavelength error and response.

To each spectrum a plasma of its composition is fitted (see `libs.fit`); then, in stretches of each detector,
its lines are moved until they lie on the measured ones. No single line decides, and a detector that is off by
itself is seen to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.libs.fit import FittedPlasma, detector_bounds_nm, fit_plasma

Floats = NDArray[np.float64]

STRETCH_NM: Final = 50.0  # of a detector, about, whose lines are moved together
MOST_NM: Final = 0.5  # that they are moved beside the fit of the whole
STEP_NM: Final = 0.01
LEAST_SIMILAR: Final = 0.6  # correlation of measured and moved lines from which a stretch counts
LEAST_FITTED: Final = 0.6  # similarity from which a fit of the whole counts


class Stretch(NamedTuple):
    """A part of a detector.

    Attributes:
        low_nm, high_nm: as reported, air.
        errors_nm: reported minus true wavelength by each spectrum that has lines here.
        response: counts for light, relative to the most responsive stretch.
    """

    low_nm: float
    high_nm: float
    errors_nm: tuple[float, ...]
    response: float

    @property
    def middle_nm(self) -> float:
        """Halfway."""
        return 0.5 * (self.low_nm + self.high_nm)


@dataclass(frozen=True)
class Detector:
    """A spectrometer, or one of the parts that its axis is stitched from.

    Attributes:
        low_nm, high_nm: as reported, air.
        error_low_nm, error_high_nm: reported minus true wavelength at its ends.
        spread_nm: median deviation from that line of what single spectra say of single stretches.
        stretches: those with lines.
    """

    low_nm: float
    high_nm: float
    error_low_nm: float
    error_high_nm: float
    spread_nm: float
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True)
class Instrument:
    """What was found.

    Attributes:
        detectors: those with lines, ascending.
        resolution_nm: full width at half maximum, median over the spectra.
        spectra: that are like the plasma of their composition; asked: all.
    """

    detectors: tuple[Detector, ...]
    resolution_nm: float
    spectra: int
    asked: int

    def error_nm(self, wavelength_nm: Floats) -> Floats:
        """(channels,) reported minus true wavelength, NaN on detectors without lines."""
        error = np.full(len(wavelength_nm), np.nan)
        for one in self.detectors:
            on = (wavelength_nm >= one.low_nm) & (wavelength_nm <= one.high_nm)
            ends = [one.low_nm, one.high_nm], [one.error_low_nm, one.error_high_nm]
            error[on] = np.interp(wavelength_nm[on], *ends)
        return error


def look_at(
    wavelength_nm: Floats, spectra: Sequence[tuple[Floats, Mapping[str, float]]]
) -> Instrument | None:
    """Wavelength error and response of one instrument.

    Args:
        wavelength_nm: (channels,) as it reports them, air.
        spectra: (channels,) counts and wt% of pieces whose composition is known.

    Returns:
        What was found; None where no spectrum is like the plasma of its composition.

    Raises:
        AlloyError: a composition holds elements without known lines.
    """
    fits = []
    for counts, composition in spectra:
        try:
            fit = fit_plasma(wavelength_nm, counts, composition)
        except SpectrumError:  # no line stands out, or the axis is too short to fit anything to
            continue
        if fit.similarity >= LEAST_FITTED:
            fits.append(_Fitted(wavelength_nm, counts, fit))
    ends = pairwise(detector_bounds_nm(wavelength_nm))
    found = {(low, high): _stretches(fits, low, high) for low, high in ends}
    responses = [stretch.response for stretches in found.values() for stretch in stretches]
    if not responses:
        return None
    detectors = tuple(
        _detector(low, high, [one._replace(response=one.response / max(responses)) for one in stretches])
        for (low, high), stretches in found.items()
        if stretches
    )
    resolution_nm = float(np.median([one.fit.resolution_nm for one in fits]))
    return Instrument(detectors, resolution_nm, len(fits), len(spectra))


class _Fitted(NamedTuple):
    wavelength_nm: Floats
    counts: Floats
    fit: FittedPlasma


def _detector(low: float, high: float, stretches: list[Stretch]) -> Detector:
    """The line through all that was found on it by Theil and Sen: half of it may be wrong."""
    nm, error = np.array([(one.middle_nm, found) for one in stretches for found in one.errors_nm]).T
    first, second = np.triu_indices(len(nm), 1)
    apart = nm[first] != nm[second]
    slopes = (error[second] - error[first])[apart] / (nm[second] - nm[first])[apart]
    slope = float(np.median(slopes)) if len(slopes) else 0.0
    middle = float(np.median(error - slope * nm))
    spread = float(np.median(np.abs(error - slope * nm - middle)))
    return Detector(low, high, middle + slope * low, middle + slope * high, spread, tuple(stretches))


def _stretches(fits: Sequence[_Fitted], low: float, high: float) -> list[Stretch]:
    parts = max(round((high - low) / STRETCH_NM), 1)
    ends = pairwise(np.linspace(low, high, parts + 1).tolist())
    return [stretch for low, high in ends if (stretch := _stretch(fits, low, high)) is not None]


def _stretch(fits: Sequence[_Fitted], low: float, high: float) -> Stretch | None:
    errors, responses = [], []
    for one in fits:
        inside = (one.wavelength_nm >= low) & (one.wavelength_nm <= high)
        moved = _moved_nm(one, inside)
        if moved is None:
            continue
        beside = (one.wavelength_nm - one.fit.true_nm(one.wavelength_nm))[inside]
        errors.append(moved + float(beside.mean()))
        efficiency = np.maximum(one.fit.efficiency, 1e-12 * one.fit.efficiency.max())
        responses.append(float(np.log(np.median(efficiency[inside]) / np.median(efficiency))))
    if not errors:
        return None
    return Stretch(low, high, tuple(errors), float(np.exp(np.median(responses))))


def _moved_nm(one: _Fitted, inside: NDArray[np.bool_]) -> float | None:
    """How far the fitted lines are to be moved up to lie on the measured ones; None if they never do."""
    wavelength_nm, counts, fit = one
    inside = inside & ~fit.saturated
    if inside.sum() < 8:
        return None
    nm = wavelength_nm[inside]
    measured = _root(counts - fit.baseline_counts)[inside]
    simulated = _root(fit.simulated_counts - fit.baseline_counts)
    moves = np.arange(-MOST_NM, MOST_NM + STEP_NM / 2, STEP_NM)
    moved = np.array([np.interp(nm - move, wavelength_nm, simulated) for move in moves])
    scores = _correlation(moved, measured)
    best = int(scores.argmax())
    if scores[best] < LEAST_SIMILAR or best in (0, len(moves) - 1):
        return None
    return float(moves[best])


def _correlation(rows: Floats, row: Floats) -> Floats:
    rows = rows - rows.mean(axis=1, keepdims=True)
    row = row - row.mean()
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(row)
    return np.asarray(np.divide(rows @ row, norms, out=np.zeros(len(rows)), where=norms > 0))


def _root(counts: Floats) -> Floats:
    return np.sqrt(np.maximum(counts, 0.0))
