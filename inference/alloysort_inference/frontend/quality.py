"""How far a measurement can be trusted: flags that say it, and never change a number."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.spectrum import FLAT_TOP, Spectrum, is_saturated
from alloysort_inference.flags import (
    BLURRED_IMAGE,
    BRIGHT_IMAGE,
    DARK_IMAGE,
    FEW_LINES,
    FEW_SHOTS,
    MISSED_SHOTS,
    NARROW_IMAGE,
    PARTIAL_RANGE,
    SATURATED,
    WEAK,
)
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.inputs import DARK_LUMA, LINE_SIGMAS, Look, line_over_noise, luma, sharpness

MIN_COVERAGE: Final = 0.8
# Of the elements that tell aluminium alloys and other metals apart, air nm of strong lines (NIST ASD)
TELLING_NM: Final = {
    "Al": (308.215, 309.271, 394.401, 396.152),
    "Si": (251.611, 288.158, 390.552),
    "Mg": (279.553, 280.270, 285.213, 383.829, 518.360),
    "Cu": (324.754, 327.396, 510.554, 521.820),
    "Zn": (213.857, 334.502, 472.216, 481.053, 636.234),
    "Mn": (257.610, 259.373, 293.306, 403.076),
    "Fe": (259.940, 274.932, 371.993, 404.581, 438.354),
}
MIN_ELEMENTS: Final = 5  # with a line in the range
BRIGHT_LUMA: Final = 235.0  # video white
BLUR_VARIANCE: Final = 12.0  # grey levels squared, of the Laplacian at the model's image size


def judge_spectrum(spectrum: Spectrum, look: Look, coverage: NDArray[np.float32], grid: Grid) -> list[str]:
    """The quality flags of a spectrum.

    Args:
        spectrum: what the spectrometer delivered.
        look: at its shots.
        coverage: (grid.channels,) as prepared.
        grid: the bundle's axis.
    """
    hits = int(look.hit.sum())
    weak = line_over_noise(look.means[0]) <= LINE_SIGMAS
    flags = {
        SATURATED: not weak and _is_saturated(spectrum, look),
        WEAK: weak,
        MISSED_SHOTS: hits < len(look.hit),
        FEW_SHOTS: hits == 1,
    }
    raised = [flag for flag, up in flags.items() if up]
    return [*raised, *_range_flags(coverage.tobytes(), grid)]


def _is_saturated(spectrum: Spectrum, look: Look) -> bool:
    """As `spectrum.is_saturated` of the hits; that is only asked where enough channels are as high."""
    ceiling, tops = spectrum.saturation_counts, look.tops
    if np.isfinite(ceiling):
        return bool(tops[:, -1].max() >= ceiling)
    flat = tops[:, 0] >= FLAT_TOP * tops[:, -1]
    return bool(flat.any()) and is_saturated(spectrum.shots[look.hit])


@lru_cache(maxsize=64)
def _range_flags(coverage: bytes, grid: Grid) -> tuple[str, ...]:
    """What of the grid an instrument does not see; the same for all its pieces."""
    seen = np.frombuffer(coverage, np.float32)
    flags = {
        PARTIAL_RANGE: float(seen.mean()) < MIN_COVERAGE,
        FEW_LINES: covered_elements(seen, grid) < MIN_ELEMENTS,
    }
    return tuple(flag for flag, raised in flags.items() if raised)


def covered_elements(coverage: NDArray[np.float32], grid: Grid) -> int:
    """How many elements of TELLING_NM have a line that the instrument sees."""
    edges = grid.edges_nm

    def seen(nm: float) -> bool:
        channel = int(np.searchsorted(edges, nm)) - 1
        return 0 <= channel < grid.channels and coverage[channel] > 0

    return sum(any(map(seen, lines)) for lines in TELLING_NM.values())


def judge_image(image: NDArray[np.uint8], *, narrow: bool = False) -> list[str]:
    """The quality flags of a (size, size, 3) RGB image at the model's size; `narrow` as decoded."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    level = luma(grey)
    flags = {
        DARK_IMAGE: level < DARK_LUMA,
        BRIGHT_IMAGE: level > BRIGHT_LUMA,
        BLURRED_IMAGE: sharpness(grey) < BLUR_VARIANCE,
        NARROW_IMAGE: narrow,
    }
    return [flag for flag, raised in flags.items() if raised]
