"""From what the sensors deliver to what a bundle's graph takes: resample, average, resize. No torch here.

Training and the line call these same functions, so there is no second preparation to drift; all that
follows (baseline, normalisation, compression) lives inside the exported graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from alloysort_datasets.spectrum import SATURATED_RUN
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.resample import resample

VIEWS: Final = 2  # of the shots: all that hit, and the later half of them, which see more of the metal

MISSED_SHOT: Final = 0.25  # of the largest shot's light: below, the laser missed or grazed the piece
BRIGHTEST: Final = 0.995  # quantile of a shot's channels, over their median: its light
UNREAD: Final = 32  # channels side by side that read 0 in every shot: nobody looks there
TOPS: Final = SATURATED_RUN  # of a shot's counts that are remembered
LINE_SPAN: Final = 8  # channels from a line's centre to where its background is taken
LINE_SIGMAS: Final = 8.0  # Gaussian noise on 10,000 channels stays below 5
MAD_TO_SIGMA: Final = 1.4826  # of a Gaussian
DARK_LUMA: Final = 16.0  # mean grey level of 255: video black


@dataclass(frozen=True, eq=False)
class Features:
    """One piece's row of the graph's input tensors; all are contiguous.

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


@dataclass(frozen=True, eq=False)
class Look:
    """What a piece's shots come to, on the instrument's axis.

    Attributes:
        hit: (shots,) which of them hit, see `hit_shots`.
        means: (VIEWS, channels) mean of all hits and of the late ones.
        hidden: (channels,) those that nobody reads, see `unread`; None where all are read.
        tops: (hits, TOPS) the highest counts of each hit, ascending.
    """

    hit: NDArray[np.bool_]
    means: NDArray[np.float64]
    hidden: NDArray[np.bool_] | None
    tops: NDArray[np.float32]

    @classmethod
    def at(cls, shots: NDArray[np.float32]) -> Look:
        """Average (shots, channels) counts."""
        ranked = np.sort(shots, axis=1)
        hit = _hit(ranked)
        hits = shots if hit.all() else shots[hit]
        first = late(len(hits))
        later = np.add.reduce(hits[first:], axis=0, dtype=np.float64)
        means = np.empty((VIEWS, shots.shape[1]))
        whole = later if first == 0 else later + np.add.reduce(hits[:first], axis=0, dtype=np.float64)
        np.multiply(whole, 1.0 / len(hits), out=means[0])
        np.multiply(later, 1.0 / (len(hits) - first), out=means[1])
        silent = np.count_nonzero(means[0]) + UNREAD <= means.shape[1]  # else nothing can be unread
        hidden = unread(shots) if silent else None
        tops = ranked[hit, -TOPS:]
        return cls(hit, means, hidden if hidden is not None and hidden.any() else None, tops)


def prepare_spectrum(
    wavelength_nm: NDArray[np.float64], look: Look, grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The views of the shots that hit on a bundle's grid.

    Args:
        wavelength_nm: (channels,) of the instrument.
        look: at its shots.
        grid: the bundle's axis.

    Returns:
        (VIEWS, grid.channels) mean of all hits and of the late ones, and (grid.channels,) coverage, 1 where
        the instrument sees the bin; both float32.

    Raises:
        SpectrumError: the instrument sees none of the grid.
    """
    return resample(wavelength_nm, look.means, grid, look.hidden)


def late(hits: int) -> int:
    """The first of the late hits, by its place among the hits: the later half, at least one."""
    return hits // 2


def shown_late(own: NDArray[np.float64], hit: NDArray[np.bool_]) -> float:
    """The mean of (shots,) own shares over the late ones of those that hit."""
    return float(own[hit][late(int(hit.sum())) :].mean())


def hit_shots(shots: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(shots,) true where the light of the lines is a fair part of the brightest shot's."""
    return _hit(np.sort(shots, axis=1))


def _hit(ranked: NDArray[np.float32]) -> NDArray[np.bool_]:
    light = _quantile(ranked, BRIGHTEST) - _quantile(ranked, 0.5)
    hit: NDArray[np.bool_] = light >= MISSED_SHOT * light.max()
    return hit


def _quantile(ranked: NDArray[np.floating], part: float) -> NDArray[np.floating]:
    """(rows,) of (rows, n) sorted numbers, by linear interpolation: a tenth of numpy's own cost."""
    place = part * (ranked.shape[1] - 1)
    below = int(place)
    low, high = ranked[:, below], ranked[:, min(below + 1, ranked.shape[1] - 1)]
    quantile: NDArray[np.floating] = low + (place - below) * (high - low)
    return quantile


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


def line_over_noise(counts: NDArray[np.floating]) -> float:
    """How far the strongest line of (channels,) counts rises above the noise around it, in its sigmas.

    Infinite where there is no noise, 0 where there is nothing at all.
    """
    if counts.size <= 2 * LINE_SPAN:
        return float("inf") if np.ptp(counts) > 0 else 0.0
    around = counts[: -2 * LINE_SPAN] + counts[2 * LINE_SPAN :]
    around *= -0.5
    around += counts[LINE_SPAN:-LINE_SPAN]
    rise = around.astype(np.float32)  # half of what sorting float64 costs
    rise.sort()
    highest = max(float(rise[-1]), 0.0)
    rise -= _quantile(rise[None], 0.5)
    np.abs(rise, out=rise)
    rise.sort()
    noise = MAD_TO_SIGMA * float(_quantile(rise[None], 0.5)[0])
    if noise > 0:
        return highest / noise
    return float("inf") if highest > 0 else 0.0


def is_dark(image: NDArray[np.uint8]) -> bool:
    """True if a (height, width, 3) RGB picture is black all over."""
    return luma(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) < DARK_LUMA


def luma(grey: MatLike) -> float:
    """The mean of (height, width) grey levels, 0-255."""
    return float(cv2.mean(grey)[0])


def sharpness(grey: MatLike) -> float:
    """The variance of the Laplacian of (height, width) grey levels, squared: little in a blurred picture."""
    edges = cv2.Laplacian(grey, cv2.CV_16S)
    return float(cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - cv2.mean(edges)[0] ** 2)


def prepare_image(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(height, width, 3) RGB to (size, size, 3): the longer side fits, the edge repeats."""
    height, width = rgb.shape[:2]
    if height == width == size:
        return rgb
    scale = size / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (size - shape[1]) // 2, (size - shape[0]) // 2
    padded = cv2.copyMakeBorder(
        small, top, size - shape[1] - top, left, size - shape[0] - left, cv2.BORDER_REPLICATE
    )
    return np.asarray(padded, dtype=np.uint8)
