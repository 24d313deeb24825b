"""Counts on an instrument's axis to means in the bins of a bundle's grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.spectrum import gaps
from alloysort_models.bundle.grid import Grid

AXES: Final = 64  # whose resamplings are kept: a line has one or a few


@dataclass(frozen=True, eq=False)
class Resampling:
    """All of the way from an axis to a grid that hangs on the two alone.

    Attributes:
        wavelength_nm: (channels,) of the axis.
        grid: the target.
        below, part: (edges,) each bin's edge as a channel and the part of the way to the next one.
        half_nm: (channels - 1,) half the spacing.
        per_nm: (bins,) one over the width.
        blocked: (channels - 1,) nothing was seen between a channel and the next.
        seen: (bins,) bins that are seen whole.
    """

    wavelength_nm: NDArray[np.float64]
    grid: Grid
    below: NDArray[np.intp]
    part: NDArray[np.float64]
    half_nm: NDArray[np.float64]
    per_nm: NDArray[np.float64]
    blocked: NDArray[np.bool_]
    seen: NDArray[np.bool_]

    @classmethod
    def of(cls, wavelength_nm: NDArray[np.float64], grid: Grid) -> Resampling:
        """That of an axis, kept for the next spectrum on it."""
        return _resampling(wavelength_nm.tobytes(), grid)

    def means(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """(views, channels) to (views, bins) mean counts, conserving the integral over wavelength."""
        steps = counts[:, 1:] + counts[:, :-1]
        steps *= self.half_nm
        at_edges = steps.take(self.below, axis=1)
        at_edges *= self.part
        for view, row in zip(steps, at_edges, strict=True):
            integral = cv2.integral(view[None], sdepth=cv2.CV_64F)[1]  # a third of the cost of np.cumsum
            row += integral.take(self.below)
        means: NDArray[np.float64] = at_edges[:, 1:] - at_edges[:, :-1]
        means *= self.per_nm
        return means


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
    way = Resampling.of(wavelength_nm, grid)
    seen = way.seen if hidden is None else _seen_without(way, hidden.tobytes())
    if not seen.any():
        raise SpectrumError(
            f"spectrum covers {wavelength_nm[0]:.1f}-{wavelength_nm[-1]:.1f} nm, "
            f"none of the model's {grid.start_nm:.0f}-{grid.stop_nm:.0f} nm"
        )
    coverage = seen.astype(np.float32)
    means = way.means(counts)
    means *= coverage
    return means.astype(np.float32), coverage


@lru_cache(maxsize=AXES)
def _resampling(axis: bytes, grid: Grid) -> Resampling:
    wavelength_nm = np.frombuffer(axis, dtype=np.float64)
    edges, spacing = grid.edges_nm, np.diff(wavelength_nm)
    below = np.clip(np.searchsorted(wavelength_nm, edges, side="right") - 1, 0, len(spacing) - 1)
    part = np.clip((edges - wavelength_nm[below]) / spacing[below], 0.0, 1.0)
    blocked = gaps(wavelength_nm)
    seen = _seen(wavelength_nm, grid, blocked)
    return Resampling(wavelength_nm, grid, below, part, 0.5 * spacing, 1.0 / np.diff(edges), blocked, seen)


@lru_cache(maxsize=AXES)
def _seen_without(way: Resampling, hidden: bytes) -> NDArray[np.bool_]:
    """(bins,) seen whole where some channels are hidden; a detector's are mostly the same ones."""
    blind = np.frombuffer(hidden, np.bool_)
    return _seen(way.wavelength_nm, way.grid, way.blocked | blind[1:] | blind[:-1])


def _seen(wavelength_nm: NDArray[np.float64], grid: Grid, blocked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(bins,) within the axis and clear of what is blocked."""
    edges = grid.edges_nm
    seen: NDArray[np.bool_] = (edges[:-1] >= wavelength_nm[0]) & (edges[1:] <= wavelength_nm[-1])
    bounds = np.flatnonzero(np.diff(blocked, prepend=False, append=False))
    for low, high in bounds.reshape(-1, 2):
        seen &= (edges[1:] <= wavelength_nm[low]) | (edges[:-1] >= wavelength_nm[high])
    return seen
