"""How figures are counted: ratios of sums over batches, each with the interval of batches drawn anew.

Pieces of one batch are alike, so an interval comes from drawing whole batches, not pieces (the cluster
bootstrap). Every figure is a ratio of sums, so a batch is kept as its sums: `weights @ sums` is a figure's
value in its first row and its draws in the others. No torch here.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.families import FAMILIES

BINS: Final = 15  # of the expected calibration error (Guo et al. 2017)
RESAMPLES: Final = 1000
NORMAL_QUANTILE: Final = 1.6449  # half the width of a 90 % interval in standard deviations
_erf: Final = np.frompyfunc(math.erf, 1, 1)

Floats = NDArray[np.float64]


def macro_f1(confusion: Floats) -> Floats:
    """(R, F F) confusion counts, truth by row, to (R,): the mean over families that occur."""
    square = confusion.reshape(len(confusion), len(FAMILIES), len(FAMILIES))
    right = np.diagonal(square, axis1=1, axis2=2)
    there, told = square.sum(axis=2), square.sum(axis=1)
    f1 = np.where(there > 0, 2.0 * right / np.maximum(there + told, 1.0), 0.0)
    return ratio(f1.sum(axis=1), (there > 0).sum(axis=1))


def accuracy(confusion: Floats) -> Floats:
    """(R, F F) confusion counts to (R,)."""
    square = confusion.reshape(len(confusion), len(FAMILIES), len(FAMILIES))
    return ratio(np.trace(square, axis1=1, axis2=2), confusion.sum(axis=1))


def calibration_error(reliability: Floats) -> Floats:
    """(R, 3 BINS) counts, summed confidence and hits to (R,) expected calibration error (Guo et al. 2017).

    The few hits of a bin scatter about its confidence even if the model is perfect. What that adds to the
    mean of a gap's size, were the gap normal about what was seen, is taken off (the debiased estimator of
    Kumar et al. 2019, arXiv 1909.10155), so that small strata do not look worse than they are.
    """
    count, confidence, right = np.split(reliability, 3, axis=1)
    hits = ratio(right, count)
    gap = np.abs(ratio(confidence, count) - hits)
    scatter = np.sqrt(hits * (1 - hits) / np.maximum(count - 1, 1))
    unbiased = np.nan_to_num(count * (2 * gap - _mean_size(gap, scatter)))
    return np.maximum(ratio(unbiased.sum(axis=1), count.sum(axis=1)), 0)


def _mean_size(mean: Floats, sigma: Floats) -> Floats:
    """The mean of |x| for x normal about `mean`: the folded normal distribution's."""
    z = np.divide(mean, sigma, out=np.full(mean.shape, np.inf), where=sigma > 0)
    inside = np.asarray(_erf(z / np.sqrt(2)), np.float64)
    size: Floats = sigma * np.sqrt(2 / np.pi) * np.exp(-0.5 * z**2) + mean * inside
    return size


def ratio(upper: Floats, lower: Floats) -> Floats:
    """Not a number where nothing was counted."""
    share: Floats = np.divide(upper, lower, out=np.full(upper.shape, np.nan), where=lower > 0)
    return share


def per_batch(batch: NDArray[Any], columns: list[NDArray[Any]]) -> Floats:
    """(batches, columns) sums over each batch's pieces."""
    _, place = np.unique(batch, return_inverse=True)
    return np.stack([np.bincount(place, weights=column) for column in columns], axis=1)


def confusion_counts(
    batch: NDArray[Any], family: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> Floats:
    """(batches, F F) counts of pieces of known family, truth by row."""
    _, place = np.unique(batch, return_inverse=True)
    counts = np.zeros((place.max() + 1, len(FAMILIES), len(FAMILIES)))
    known = family >= 0
    np.add.at(counts, (place[known], family[known], probabilities[known].argmax(axis=1)), 1.0)
    return counts.reshape(len(counts), -1)


def reliability_counts(
    batch: NDArray[Any], family: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> Floats:
    """(batches, 3 BINS): how many pieces, their confidence and their hits, by bin of confidence."""
    known = family >= 0
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == family) & known
    column = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    member = (column[:, None] == np.arange(BINS)) & known[:, None]  # (N, BINS)
    return per_batch(batch, [*member.T, *(member * confidence[:, None]).T, *(member & right[:, None]).T])


def bootstrap_weights(batch: NDArray[Any], seed: int) -> Floats:
    """(1 + RESAMPLES, batches): how often each batch is drawn; the first row draws each once."""
    return _draws(len(np.unique(batch)), seed)


@lru_cache(maxsize=64)
def _draws(batches: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(batches, np.full(batches, 1.0 / batches), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, batches)), drawn]).astype(np.float64)
    weights.flags.writeable = False
    return weights


def figure(values: Floats) -> dict[str, float | None]:
    """The first value and the interval that 95 % of the others lie in; null where nothing is known."""
    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(drawn):
        return {"value": None, "low": None, "high": None}
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": _rounded(values[0]), "low": _rounded(low), "high": _rounded(high)}


def _rounded(value: float) -> float:
    return round(float(value), 5)
