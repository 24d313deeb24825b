"""Whether what comes down the belt, or what the model says of it, is another population than before.

The population stability index is that of credit scoring: N. Siddiqi, Credit Risk Scorecards, Wiley 2006, who
calls 0.1 a small shift and 0.25 a large one. It is large by chance in small windows: of one population it is
spread as chi-squared over the counts, B. Yurdakul, Statistical Properties of Population Stability Index,
Western Michigan University 2018, so a limit here is never below what chance makes of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import FAMILIES
from alloysort_inference.record import Record
from alloysort_models.bundle.health import BINS, Reference

CONFIDENCE_EDGES: Final = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
NOVELTY_EDGES: Final = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5)  # of the bundle's limit, which is 1 for most
SIZES: Final = {
    "family": len(FAMILIES),
    "confidence": len(CONFIDENCE_EDGES) + 1,
    "novelty": len(NOVELTY_EDGES) + 1,
}
WINDOW: Final = 1000
ENOUGH: Final = 300  # pieces in a window before it is compared
REFERENCE_CHANCE: Final = 1e-3  # that the reference's true rate lies above what is taken for it
SMOOTHING: Final = 0.5  # of a piece in every bin, so that an empty one costs no infinity
_PLACES: Final = {family: place for place, family in enumerate(FAMILIES)}


def psi(expected: Sequence[int], seen: Sequence[int]) -> float:
    """The population stability index of two rows of counts over the same bins.

    Raises:
        DataError: rows of different lengths, none at all, or counts below 0.
    """
    one, other = np.asarray(expected, np.float64), np.asarray(seen, np.float64)
    if one.shape != other.shape or one.ndim != 1 or not one.size:
        raise DataError(f"psi: {one.shape} and {other.shape} counts, must be two rows of the same bins")
    if min(one.min(), other.min()) < 0:
        raise DataError("psi: counts must be 0 or more")
    first, second = _shares(one), _shares(other)
    return float(((second - first) * np.log(second / first)).sum())


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    smoothed = counts + SMOOTHING
    return np.asarray(smoothed / smoothed.sum())


@lru_cache(maxsize=256)
def psi_by_chance(bins: int, expected: int, seen: int, chance: float) -> float:
    """What the index of two samples of one population exceeds no more often than `chance`.

    Args:
        bins: how many.
        expected, seen: pieces in either sample, 1 or more.
        chance: from 0 to 1.
    """
    degrees = max(bins - 1, 1)
    part = 2.0 / (9.0 * degrees)  # Wilson and Hilferty's cube
    quantile = degrees * (1 - part + NormalDist().inv_cdf(1 - chance) * sqrt(part)) ** 3
    return quantile * (1 / expected + 1 / seen)


def binomial_tail(hits: int, trials: int, rate: float) -> float:
    """The chance of `hits` or more in `trials` at a rate.

    Raises:
        DataError: hits not from 0 to trials, or a rate not from 0 to 1.
    """
    if not 0 <= hits <= trials or not 0 <= rate <= 1:
        raise DataError(f"binomial: {hits} hits of {trials} at {rate:g}: must be 0 to trials, and 0 to 1")
    if hits == 0 or rate == 1:
        return 1.0
    if rate == 0:
        return 0.0
    logs = _log_factorials(trials)
    some = np.arange(hits, trials + 1)
    terms = logs[trials] - logs[some] - logs[trials - some]
    terms += some * np.log(rate) + (trials - some) * np.log1p(-rate)
    return min(float(np.exp(terms).sum()), 1.0)


@lru_cache(maxsize=8)
def _log_factorials(most: int) -> NDArray[np.float64]:
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, most + 1)))))


@lru_cache(maxsize=64)
def upper_rate(hits: int, trials: int, chance: float) -> float:
    """The upper limit of a rate after Clopper and Pearson (1934): above it with no more than `chance`."""
    if hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if 1 - binomial_tail(hits + 1, trials, middle) > chance:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True)
class Outcome:
    """What the model said of one piece, as places of bins in the order of BINS, and whether it was novel."""

    places: tuple[int, int, int]
    novel: bool


def outcome(record: Record) -> Outcome | None:
    """Of a record; None where the model said nothing."""
    said = record.assessment
    if said is None:
        return None
    places = (
        _PLACES[said.family],
        int(np.searchsorted(CONFIDENCE_EDGES, said.confidence, side="right")),
        int(np.searchsorted(NOVELTY_EDGES, said.novelty, side="right")),
    )
    return Outcome(places, record.decision.novel)


def count(outcomes: Sequence[Outcome]) -> dict[str, tuple[int, ...]]:
    """Pieces by bin, by name of BINS."""
    return {
        name: tuple(np.bincount([one.places[at] for one in outcomes], minlength=SIZES[name]).tolist())
        for at, name in enumerate(BINS)
    }


@dataclass(frozen=True)
class Novelty:
    """Novel pieces of a window against the reference.

    Attributes:
        novel, seen: pieces.
        expected: the rate that the reference can have at most.
        chance: of as many at that rate.
    """

    novel: int
    seen: int
    expected: float
    chance: float


class Drift:
    """The last outcomes against a reference.

    Raises:
        DataError: the reference has other bins than these, or a window too small to compare.
    """

    def __init__(self, reference: Reference, window: int = WINDOW) -> None:
        for name, counts in reference.counts.items():
            if len(counts) != SIZES[name]:
                raise DataError(f"health reference: {name} has {len(counts)} bins, must be {SIZES[name]}")
        if window < ENOUGH:
            raise DataError(f"drift window {window} must be {ENOUGH} pieces or more")
        self.reference = reference
        self._last: deque[Outcome] = deque(maxlen=window)
        self._counts = {name: [0] * SIZES[name] for name in BINS}
        self._novel = 0

    def see(self, outcome: Outcome) -> None:
        """Take an outcome in, and the oldest out of a full window."""
        if len(self._last) == self._last.maxlen:
            self._add(self._last[0], -1)
        self._last.append(outcome)
        self._add(outcome, 1)

    def _add(self, outcome: Outcome, sign: int) -> None:
        for name, place in zip(BINS, outcome.places, strict=True):
            self._counts[name][place] += sign
        self._novel += sign * outcome.novel

    @property
    def seen(self) -> int:
        """Outcomes in the window."""
        return len(self._last)

    @property
    def enough(self) -> bool:
        """Whether the window holds enough to be compared."""
        return self.seen >= ENOUGH

    def psi(self, name: str) -> float | None:
        """The index of one of BINS; None with too few pieces or without a reference for it."""
        expected = self.reference.counts.get(name)
        if expected is None or not sum(expected) or not self.enough:
            return None
        return psi(expected, self._counts[name])

    def psi_limit(self, name: str) -> float:
        """From where on an index of one of BINS says something."""
        limits, expected = self.reference.limits, sum(self.reference.counts[name])
        return max(limits.psi, psi_by_chance(SIZES[name], expected, self.seen, limits.chance))

    def novelty(self) -> Novelty | None:
        """Whether more is novel than the reference; None with too few pieces or without a reference."""
        known = self.reference
        if not known.answered or not self.enough:
            return None
        expected = upper_rate(known.novel, known.answered, REFERENCE_CHANCE)
        chance = binomial_tail(self._novel, self.seen, expected)
        return Novelty(self._novel, self.seen, expected, chance)

    def figures(self) -> dict[str, float | None]:
        """Everything by name."""
        told = {f"psi_{name}": self.psi(name) for name in BINS}
        return told | {
            "novelty_rate": self._novel / self.seen if self.seen else None,
            "drift_window": float(self.seen),
        }
