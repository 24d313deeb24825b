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

VIEWS: Final = 2  # of the shots: all that hit, and the later half of them, which see more of the metal

MISSED_SHOT: Final = 0.25  # of the largest shot's light: below, the laser missed or grazed the piece
BRIGHTEST: Final = 99.5  # percentile of a shot's channels, over their median: its light
UNREAD: Final = 32  # channels side by side that read 0 in every shot: nobody looks there
LINE_SPAN: Final = 8  # channels from a line's centre to where its background is taken
LINE_SIGMAS: Final = 8.0  # Gaussian noise on 10,000 channels stays below 5
MAD_TO_SIGMA: Final = 1.4826  # of a Gaussian
DARK_LUMA: Final = 16.0  # mean grey level of 255: video black


@dataclass(frozen=True, eq=False)
class Features:
    """One piece's row of the graph's input tensors.

    Attributes:
        image: (size, size, 3) uint8 RGB, zeros where there is none.
        spectrum: (VIEWS, channels) float32 on the bundle's grid, zeros where there is none.
        coverage: (channels,) float32, 1 where the instrument sees the channel.
        present: (2,) float32: whether image and spectrum show anything.
    """

    image: NDArray[np.uint8]
    spectrum: NDArray[np.float32]
    coverage: NDArray[np.float32]
    present: NDArray[np.float32]


def prepare_spectrum(
    spectrum: Spectrum, hit: NDArray[np.bool_], grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The views of the shots that hit on a bundle's grid.

    Args:
        spectrum: what the spectrometer delivered.
        hit: (shots,) which of its shots to use, see `hit_shots`.
        grid: the bundle's axis.

    Returns:
        (VIEWS, grid.channels) mean of all hits and of the late ones, and (grid.channels,) coverage, 1 where
        the instrument sees the bin; both float32.

    Raises:
        SpectrumError: the instrument sees none of the grid.
    """
    hits = spectrum.shots[hit]
    views = np.stack([some.mean(axis=0, dtype=np.float64) for some in (hits, hits[late(len(hits)) :])])
    return resample(spectrum.wavelength_nm, views, grid, unread(spectrum.shots))


def late(hits: int) -> int:
    """The first of the late hits, by its place among the hits: the later half, at least one."""
    return hits // 2


def hit_shots(shots: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(shots,) true where the light of the lines is a fair part of the brightest shot's."""
    low, high = np.percentile(shots, (50.0, BRIGHTEST), axis=1)
    light = high - low
    hit: NDArray[np.bool_] = light >= MISSED_SHOT * light.max()
    return hit


def unread(shots: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(channels,) true in long stretches that read 0 in every shot: masked pixels, an arm's unlit end.

    A spectrum that is mostly 0 has had its background cut off; there 0 is a reading.
    """
    zero: NDArray[np.bool_] = np.logical_not(shots.any(axis=0))
    if zero.sum() < UNREAD or zero.mean() > 0.5:
        return np.zeros_like(zero)
    bounds = np.flatnonzero(np.diff(zero, prepend=False, append=False))
    for start, stop in bounds.reshape(-1, 2):
        zero[start:stop] = stop - start >= UNREAD
    return zero


def resample(
    wavelength_nm: NDArray[np.float64],
    counts: NDArray[np.float64],
    grid: Grid,
    hidden: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean counts in each bin of the grid, conserving the integral over wavelength.

    Args:
        wavelength_nm: (channels,) air, strictly increasing.
        counts: (views, channels).
        grid: the target axis.
        hidden: (channels,) those that see nothing; None where all see.

    Returns:
        (views, grid.channels) spectrum and (grid.channels,) coverage, float32, both 0 in bins not seen whole.

    Raises:
        SpectrumError: the instrument sees none of the grid.
    """
    spacing = np.diff(wavelength_nm)
    edges = grid.edges_nm
    steps = 0.5 * (counts[:, 1:] + counts[:, :-1]) * spacing
    integral = np.concatenate((np.zeros((len(counts), 1)), np.cumsum(steps, axis=1)), axis=1)
    mean = np.diff(np.stack([np.interp(edges, wavelength_nm, row) for row in integral])) / np.diff(edges)

    seen = (edges[:-1] >= wavelength_nm[0]) & (edges[1:] <= wavelength_nm[-1])
    blocked = gaps(wavelength_nm)
    if hidden is not None:
        blocked |= hidden[1:] | hidden[:-1]
    bounds = np.flatnonzero(np.diff(blocked, prepend=False, append=False))
    for low, high in bounds.reshape(-1, 2):
        seen &= (edges[1:] <= wavelength_nm[low]) | (edges[:-1] >= wavelength_nm[high])
    if not seen.any():
        raise SpectrumError(
            f"spectrum covers {wavelength_nm[0]:.1f}-{wavelength_nm[-1]:.1f} nm, "
            f"none of the model's {grid.start_nm:.0f}-{grid.stop_nm:.0f} nm"
        )
    return np.where(seen, mean, 0.0).astype(np.float32), seen.astype(np.float32)


def line_over_noise(counts: NDArray[np.floating]) -> float:
    """How far the strongest line of (channels,) counts rises above the noise around it, in its sigmas.

    Infinite where there is no noise, 0 where there is nothing at all.
    """
    if counts.size <= 2 * LINE_SPAN:
        return float("inf") if np.ptp(counts) > 0 else 0.0
    wings = 0.5 * (counts[: -2 * LINE_SPAN] + counts[2 * LINE_SPAN :])
    rise = counts[LINE_SPAN:-LINE_SPAN] - wings
    noise = MAD_TO_SIGMA * float(np.median(np.abs(rise - np.median(rise))))
    highest = max(float(rise.max()), 0.0)
    if noise > 0:
        return highest / noise
    return float("inf") if highest > 0 else 0.0


def shows_a_line(counts: NDArray[np.floating]) -> bool:
    """True if some channel of (channels,) counts rises LINE_SIGMAS above the noise around it."""
    return line_over_noise(counts) > LINE_SIGMAS


def is_dark(image: NDArray[np.uint8]) -> bool:
    """True if a (height, width, 3) RGB picture is black all over."""
    return float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()) < DARK_LUMA


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
