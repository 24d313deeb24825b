"""From what the sensors deliver to one row of the engine's tensors, with quality flags on the way.

A flag never changes a number; it says how far the numbers can be trusted. A piece of which nothing at all
can be seen is `blind`, and the policy sends it to the default outlet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from alloysort_datasets.errors import DataError, SpectrumError
from alloysort_models.bundle.inputs import Grid, hit_shots, prepare_image, prepare_spectrum

NO_SPECTRUM: Final = "no_spectrum"  # the laser hit nothing, or nobody sent what it hit
SATURATED: Final = "saturated"  # SATURATED_RUN or more channels at the detector's ceiling
WEAK: Final = "weak"  # no line stands above the noise
MISSED_SHOTS: Final = "missed_shots"  # some shots were left out of the mean: too little light
FEW_SHOTS: Final = "few_shots"  # a single shot is all there is
PARTIAL_RANGE: Final = "partial_range"  # the instrument sees less than MIN_COVERAGE of the model's grid
NO_IMAGE: Final = "no_image"  # the camera saw nothing, or nobody sent what it saw
DARK_IMAGE: Final = "dark_image"
BRIGHT_IMAGE: Final = "bright_image"
BLURRED_IMAGE: Final = "blurred_image"
FLAGS: Final = (
    NO_SPECTRUM,
    SATURATED,
    WEAK,
    MISSED_SHOTS,
    FEW_SHOTS,
    PARTIAL_RANGE,
    NO_IMAGE,
    DARK_IMAGE,
    BRIGHT_IMAGE,
    BLURRED_IMAGE,
)

SATURATED_RUN: Final = 3  # channels side by side
FLAT_TOP: Final = 0.995  # of a shot's maximum; a true line is that flat only if over 24 channels wide
LINE_SPAN: Final = 8  # channels from a line's centre to where its background is taken
LINE_SIGMAS: Final = 8.0  # Gaussian noise on 10,000 channels stays below 5
MAD_TO_SIGMA: Final = 1.4826  # of a Gaussian
MIN_COVERAGE: Final = 0.8
DARK_LUMA: Final = 16.0  # mean grey level of 255: video black
BRIGHT_LUMA: Final = 235.0  # video white
BLUR_VARIANCE: Final = 12.0  # grey levels squared, of the Laplacian at the model's image size
MAX_CHANNELS: Final = 1_000_000
MAX_SHOTS: Final = 100_000


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What a spectrometer delivers of one piece.

    Attributes:
        wavelength_nm: (channels,) float64, air, strictly increasing.
        shots: (shots, channels) float32 detector counts, finite.
        saturation_counts: the detector's ceiling; infinity where unknown.

    Raises:
        SpectrumError: shapes disagree, wavelengths do not increase, or a number is not finite.
    """

    wavelength_nm: NDArray[np.float64]
    shots: NDArray[np.float32]
    saturation_counts: float = float("inf")

    def __post_init__(self) -> None:
        require_axis(self.wavelength_nm)
        require_counts(self.shots, self.wavelength_nm.size)


@dataclass(frozen=True, eq=False)
class Features:
    """One row of the engine's input tensors.

    Attributes:
        image: (size, size, 3) uint8 RGB, zeros where there is none.
        spectrum, coverage: (channels,) float32 on the bundle's grid, zeros where there is none.
        present: (2,) float32: image there, spectrum there.
        quality: flags, in the order of FLAGS.
        blind: no sensor saw anything: each is missing, or shows no line, or is dark.
    """

    image: NDArray[np.uint8]
    spectrum: NDArray[np.float32]
    coverage: NDArray[np.float32]
    present: NDArray[np.float32]
    quality: tuple[str, ...]
    blind: bool


def prepare(
    grid: Grid, image_size: int, spectrum: Spectrum | None, rgb: NDArray[np.uint8] | None
) -> Features:
    """Resample, resize and judge what the sensors saw of one piece.

    Args:
        grid: the bundle's wavelength axis.
        image_size: the bundle's image height and width in pixels.
        spectrum: None where the laser hit nothing.
        rgb: (height, width, 3), None where the camera saw nothing.

    Raises:
        SpectrumError: the instrument sees none of the grid.
        DataError: neither a spectrum nor an image.
    """
    if spectrum is None and rgb is None:
        raise DataError("a piece needs a spectrum, an image or both; this one has neither")
    counts = coverage = np.zeros(grid.channels, np.float32)
    image = np.zeros((image_size, image_size, 3), np.uint8)
    if spectrum is not None:
        counts, coverage = prepare_spectrum(spectrum.wavelength_nm, spectrum.shots, grid)
    if rgb is not None:
        image = prepare_image(rgb, image_size)
    flags = (
        *([NO_SPECTRUM] if spectrum is None else judge_spectrum(spectrum, coverage)),
        *([NO_IMAGE] if rgb is None else judge_image(image)),
    )
    present = np.array([rgb is not None, spectrum is not None], np.float32)
    blind = not {NO_SPECTRUM, WEAK}.isdisjoint(flags) and not {NO_IMAGE, DARK_IMAGE}.isdisjoint(flags)
    return Features(image, counts, coverage, present, flags, blind)


def judge_spectrum(spectrum: Spectrum, coverage: NDArray[np.float32]) -> list[str]:
    """The quality flags of a spectrum; `coverage` is (grid.channels,) as prepared."""
    hit = hit_shots(spectrum.shots)
    hits = spectrum.shots[hit]
    weak = not stands_out(hits.mean(axis=0, dtype=np.float64))
    flags = {
        SATURATED: not weak and is_saturated(hits, spectrum.saturation_counts),
        WEAK: weak,
        MISSED_SHOTS: not bool(hit.all()),
        FEW_SHOTS: len(hits) == 1,
        PARTIAL_RANGE: float(coverage.mean()) < MIN_COVERAGE,
    }
    return [flag for flag, raised in flags.items() if raised]


def is_saturated(shots: NDArray[np.float32], ceiling: float) -> bool:
    """True if any of (shots, channels) touches the ceiling, or is flat-topped where no ceiling is known."""
    if np.isfinite(ceiling):
        return bool((shots >= ceiling).any())
    top = shots >= FLAT_TOP * shots.max(axis=1, keepdims=True)
    run = top[:, 2:] & top[:, 1:-1] & top[:, :-2]
    return bool(run.any())


def stands_out(counts: NDArray[np.float64]) -> bool:
    """True if some channel of (channels,) counts rises LINE_SIGMAS above the noise around it."""
    if counts.size <= 2 * LINE_SPAN:
        return bool(np.ptp(counts) > 0)
    wings = 0.5 * (counts[: -2 * LINE_SPAN] + counts[2 * LINE_SPAN :])
    rise = counts[LINE_SPAN:-LINE_SPAN] - wings
    noise = MAD_TO_SIGMA * float(np.median(np.abs(rise - np.median(rise))))
    return bool(rise.max() > LINE_SIGMAS * noise)


def judge_image(image: NDArray[np.uint8]) -> list[str]:
    """The quality flags of a (size, size, 3) RGB image at the model's size."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    luma = float(grey.mean())
    sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    flags = {
        DARK_IMAGE: luma < DARK_LUMA,
        BRIGHT_IMAGE: luma > BRIGHT_LUMA,
        BLURRED_IMAGE: sharpness < BLUR_VARIANCE,
    }
    return [flag for flag, raised in flags.items() if raised]


def spectrum_from_arrays(
    wavelength_nm: ArrayLike, counts: ArrayLike, saturation_counts: float = float("inf")
) -> Spectrum:
    """A spectrum from plain numbers; `counts` is one shot (channels,) or several (shots, channels).

    Raises:
        SpectrumError: the numbers make no spectrum.
    """
    try:
        axis = np.asarray(wavelength_nm, dtype=np.float64)
        with np.errstate(over="ignore"):
            shots = np.atleast_2d(np.asarray(counts, dtype=np.float64)).astype(np.float32)
    except (ValueError, TypeError, OverflowError):
        raise SpectrumError("counts must be numbers, the same many in every shot") from None
    return Spectrum(axis, shots, saturation_counts)


def require_axis(wavelength_nm: NDArray[np.float64]) -> None:
    """Refuse a wavelength axis that is not finite, positive and strictly increasing."""
    if wavelength_nm.ndim != 1 or not 2 <= wavelength_nm.size <= MAX_CHANNELS:
        raise SpectrumError(
            f"wavelength_nm must be a vector of 2 to {MAX_CHANNELS} values, has shape {wavelength_nm.shape}"
        )
    if not np.isfinite(wavelength_nm).all():
        at = int(np.argmin(np.isfinite(wavelength_nm)))
        raise SpectrumError(f"wavelength_nm[{at}] is {wavelength_nm[at]}, must be a finite number")
    if wavelength_nm[0] <= 0:
        raise SpectrumError(f"wavelength_nm[0] is {wavelength_nm[0]}, must be positive")
    falls = np.flatnonzero(np.diff(wavelength_nm) <= 0)
    if falls.size:
        at = int(falls[0])
        raise SpectrumError(
            f"wavelength_nm must increase strictly, but [{at}] is {wavelength_nm[at]} "
            f"and [{at + 1}] is {wavelength_nm[at + 1]}"
        )


def require_counts(shots: NDArray[np.float32], channels: int) -> None:
    """Refuse shots that are not (shots, channels) finite numbers."""
    if shots.ndim != 2 or not 1 <= len(shots) <= MAX_SHOTS:
        raise SpectrumError(
            f"counts must be 1 to {MAX_SHOTS} shots of {channels} values, have shape {shots.shape}"
        )
    if shots.shape[1] != channels:
        raise SpectrumError(f"counts have {shots.shape[1]} values a shot, wavelength_nm has {channels}")
    finite = np.isfinite(shots)
    if not finite.all():
        shot, channel = (int(index) for index in np.argwhere(~finite)[0])
        raise SpectrumError(
            f"counts[{shot}][{channel}] is {shots[shot, channel]}, must be a finite number "
            f"({int((~finite).sum())} of {shots.size} are not)"
        )
