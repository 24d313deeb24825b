"""How far a measurement can be trusted: flags that say it, and never change a number."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.spectrum import Spectrum, saturated

NO_SPECTRUM: Final = "no_spectrum"  # the laser hit nothing, or nobody sent what it hit
SATURATED: Final = "saturated"  # the detector was full
WEAK: Final = "weak"  # no line stands above the noise
MISSED_SHOTS: Final = "missed_shots"  # some shots were left out of the mean: too little light
FEW_SHOTS: Final = "few_shots"  # a single shot is all there is
PARTIAL_RANGE: Final = "partial_range"  # the instrument sees less than MIN_COVERAGE of the model's grid
NO_IMAGE: Final = "no_image"  # the camera saw nothing, or nobody sent what it saw
DARK_IMAGE: Final = "dark_image"
BRIGHT_IMAGE: Final = "bright_image"
BLURRED_IMAGE: Final = "blurred_image"
NARROW_IMAGE: Final = "narrow_image"  # 16-bit file of 14 bits or fewer: perhaps darker than the piece
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
    NARROW_IMAGE,
)

LINE_SPAN: Final = 8  # channels from a line's centre to where its background is taken
LINE_SIGMAS: Final = 8.0  # Gaussian noise on 10,000 channels stays below 5
MAD_TO_SIGMA: Final = 1.4826  # of a Gaussian
MIN_COVERAGE: Final = 0.8
DARK_LUMA: Final = 16.0  # mean grey level of 255: video black
BRIGHT_LUMA: Final = 235.0  # video white
BLUR_VARIANCE: Final = 12.0  # grey levels squared, of the Laplacian at the model's image size


def judge_spectrum(spectrum: Spectrum, hit: NDArray[np.bool_], coverage: NDArray[np.float32]) -> list[str]:
    """The quality flags of a spectrum.

    Args:
        spectrum: what the spectrometer delivered.
        hit: (shots,) which shots were used.
        coverage: (grid.channels,) as prepared.
    """
    hits = spectrum.shots[hit]
    weak = not stands_out(hits.mean(axis=0, dtype=np.float64))
    flags = {
        SATURATED: not weak and bool(saturated(hits, spectrum.saturation_counts).any()),
        WEAK: weak,
        MISSED_SHOTS: not bool(hit.all()),
        FEW_SHOTS: len(hits) == 1,
        PARTIAL_RANGE: float(coverage.mean()) < MIN_COVERAGE,
    }
    return [flag for flag, raised in flags.items() if raised]


def stands_out(counts: NDArray[np.float64]) -> bool:
    """True if some channel of (channels,) counts rises LINE_SIGMAS above the noise around it."""
    if counts.size <= 2 * LINE_SPAN:
        return bool(np.ptp(counts) > 0)
    wings = 0.5 * (counts[: -2 * LINE_SPAN] + counts[2 * LINE_SPAN :])
    rise = counts[LINE_SPAN:-LINE_SPAN] - wings
    noise = MAD_TO_SIGMA * float(np.median(np.abs(rise - np.median(rise))))
    return bool(rise.max() > LINE_SIGMAS * noise)


def judge_image(image: NDArray[np.uint8], *, narrow: bool = False) -> list[str]:
    """The quality flags of a (size, size, 3) RGB image at the model's size; `narrow` as decoded."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    luma = float(grey.mean())
    sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    flags = {
        DARK_IMAGE: luma < DARK_LUMA,
        BRIGHT_IMAGE: luma > BRIGHT_LUMA,
        BLURRED_IMAGE: sharpness < BLUR_VARIANCE,
        NARROW_IMAGE: narrow,
    }
    return [flag for flag, raised in flags.items() if raised]
