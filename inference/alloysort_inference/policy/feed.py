"""What a feed consists of, told by the model's own words of the pieces that have come."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError

FEWEST: Final = 200  # pieces
STEPS: Final = 2000
STILL: Final = 1e-7  # largest change of a share with which nothing changes any more
STEPS_AGAIN: Final = 20
SEED_SHARE: Final = 1e-6
DRAWS: Final = 40
Floats = NDArray[np.float64]


def estimate_feed(shares: NDArray[np.floating], seed: int = 0) -> tuple[Floats, Floats]:
    """The share of each family in a feed, by number.

    Counting what pieces were named would count the model's errors along. Expectation maximisation finds the
    shares that make its probabilities most likely, if these are calibrated for families that are all as
    frequent: Saerens, Latinne and Decaestecker, Neural Computation 14, 21 (2002).

    Args:
        shares: (N, F) probabilities of pieces that came, of all alike: what was not sorted, too.
        seed: of the draws.

    Returns:
        (F,) shares, and (F,) one standard deviation of each by redrawing the pieces.

    Raises:
        DataError: the pieces are too few.
    """
    if len(shares) < FEWEST:
        raise DataError(f"{len(shares)} pieces tell no feed, {FEWEST} do")
    rows = np.asarray(shares, np.float64)
    rows = rows / rows.sum(axis=1, keepdims=True)
    found = _maximise(rows, np.ones(len(rows)))
    rng = np.random.default_rng(seed)
    each = np.full(len(rows), 1 / len(rows))
    draws = [
        _maximise(rows, rng.multinomial(len(rows), each).astype(np.float64), found) for _ in range(DRAWS)
    ]
    return found, np.std(draws, axis=0)


def _maximise(rows: Floats, weight: Floats, start: Floats | None = None) -> Floats:
    share = np.full(rows.shape[1], 1 / rows.shape[1])
    if start is not None:  # a share of nothing would stay nothing
        share = (start + SEED_SHARE) / (start + SEED_SHARE).sum()
    for _ in range(STEPS if start is None else STEPS_AGAIN):
        joint = rows * share
        joint /= joint.sum(axis=1, keepdims=True)
        new: Floats = weight @ joint / weight.sum()
        moved = float(np.abs(new - share).max())
        share = new
        if moved < STILL:
            break
    return share
