"""From what the sensors deliver to what a bundle's graph takes: resample, average, resize. No torch here.

Training and the line call these same functions, so there is no second preparation to drift; all that
follows (baseline, normalisation, compression) lives inside the exported graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.spectrum import Spectrum, gaps
from alloysort_models.bundle.grid import Grid

MISSED_SHOT: Final = 0.2  # of the median shot's light: below, the laser missed or grazed the piece


@dataclass(frozen=True, eq=False)
class Features:
    """One piece's row of the graph's input tensors.

    Attributes:
        image: (size, size, 3) uint8 RGB, zeros where there is none.
        spectrum, coverage: (channels,) float32 on the bundle's grid, zeros where there is none.
        present: (2,) float32: image there, spectrum there.
    """

    image: NDArray[np.uint8]
    spectrum: NDArray[np.float32]
    coverage: NDArray[np.float32]
    present: NDArray[np.float32]


def prepare_spectrum(
    spectrum: Spectrum, hit: NDArray[np.bool_], grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean of the shots that hit on a bundle's grid.

    Args:
        spectrum: what the spectrometer delivered.
        hit: (shots,) which of its shots to use, see `hit_shots`.
        grid: the bundle's axis.

    Returns:
        spectrum and coverage, each (grid.channels,) float32; coverage is 1 where the instrument sees the bin.

    Raises:
        SpectrumError: the instrument sees none of the grid.
    """
    mean = spectrum.shots[hit].mean(axis=0, dtype=np.float64)
    return resample(spectrum.wavelength_nm, mean, grid)


def hit_shots(shots: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(shots,) true where the light above the darkest channels is a fair part of the median shot's."""
    light = shots.mean(axis=1, dtype=np.float64) - np.percentile(shots, 5, axis=1)
    hit: NDArray[np.bool_] = light >= MISSED_SHOT * np.median(light)
    return hit if hit.any() else np.ones(len(shots), dtype=bool)


def resample(
    wavelength_nm: NDArray[np.float64], counts: NDArray[np.float64], grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean counts in each bin of the grid, conserving the integral over wavelength.

    Args:
        wavelength_nm: (channels,) air, strictly increasing.
        counts: (channels,).
        grid: the target axis.

    Returns:
        spectrum and coverage, each (grid.channels,) float32, both 0 in bins not seen whole.

    Raises:
        SpectrumError: the instrument sees none of the grid.
    """
    spacing = np.diff(wavelength_nm)
    edges = grid.edges_nm
    integral = np.concatenate(([0.0], np.cumsum(0.5 * (counts[1:] + counts[:-1]) * spacing)))
    mean = np.diff(np.interp(edges, wavelength_nm, integral)) / np.diff(edges)

    seen = (edges[:-1] >= wavelength_nm[0]) & (edges[1:] <= wavelength_nm[-1])
    for gap in np.flatnonzero(gaps(wavelength_nm)):
        seen &= (edges[1:] <= wavelength_nm[gap]) | (edges[:-1] >= wavelength_nm[gap + 1])
    if not seen.any():
        raise SpectrumError(
            f"spectrum covers {wavelength_nm[0]:.1f}-{wavelength_nm[-1]:.1f} nm, "
            f"none of the model's {grid.start_nm:.0f}-{grid.stop_nm:.0f} nm"
        )
    return np.where(seen, mean, 0.0).astype(np.float32), seen.astype(np.float32)


def prepare_image(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(height, width, 3) RGB to (size, size, 3): the longer side fits, the edge repeats."""
    height, width = rgb.shape[:2]
    scale = size / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (size - shape[1]) // 2, (size - shape[0]) // 2
    padded = cv2.copyMakeBorder(
        small, top, size - shape[1] - top, left, size - shape[0] - left, cv2.BORDER_REPLICATE
    )
    return np.asarray(padded, dtype=np.uint8)
