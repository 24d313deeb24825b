"""The bar that keeps a purity target: how pure batches would be that are sorted with each bar.

A batch's purity is the part of an outlet's mass that is of the families it takes. Two things make it vary:
the pieces that are known are few, and so are those of a batch. Both are drawn, many times over. Each draw
weighs the known batches anew (the Bayesian bootstrap: Rubin, Annals of Statistics 9, 130, 1981) and then
fills a batch from them (Poisson). One wrong piece more than was seen is always among them, as heavy as the
piece that a wrong gram is usually part of; with equal masses and batches without end the lowest 5 % of the
draws end where Clopper and Pearson's bound lies (Biometrika 26, 404, 1934).

What is promised is promised for batches like the known pieces, in the feed that was named. Another feed, or
an instrument that sees otherwise, is another promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import FAMILIES

DRAWS: Final = 1000
FEWEST_BATCHES: Final = 30
FEWEST_WANTED: Final = 30
STRETCH: Final = 0.05
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evidence:
    """N known pieces, seen from one outlet.

    Attributes:
        score: (N,) summed probability of the outlet's families; negative where the piece cannot go there.
        wanted: (N,) truly of the outlet's families.
        mass: (N,) what each counts for, in grams.
        share: (N,) how many such pieces the feed holds, of one that is drawn; 1 on average.
        batch: (N,) pieces of one batch are wrong together.
    """

    score: Floats
    wanted: NDArray[np.bool_]
    mass: Floats
    share: Floats
    batch: NDArray[np.int64]

    def require_enough(self) -> None:
        """Refuse what says too little.

        Raises:
            DataError: there are too few batches, or too few pieces of the outlet's families.
        """
        batches, wanted = len(np.unique(self.batch)), int((self.wanted & (self.share > 0)).sum())
        if batches < FEWEST_BATCHES:
            raise DataError(f"{batches} batches of known pieces, a purity target needs {FEWEST_BATCHES}")
        if wanted < FEWEST_WANTED:
            raise DataError(
                f"{wanted} known pieces of the outlet's families in this feed, a purity target needs "
                f"{FEWEST_WANTED}"
            )


@dataclass(frozen=True, eq=False)
class Curve:
    """What K bars, falling, would give.

    Attributes:
        bar: (K,) least summed probability.
        purity: (K,) expected.
        reached: (K,) what so many batches reach as were asked for.
        recovery: (K,) of the mass of the outlet's families in the feed.
        part: (K,) of the feed's mass.
    """

    bar: Floats
    purity: Floats
    reached: Floats
    recovery: Floats
    part: Floats

    def lowest(self, purity: float) -> int | None:
        """The place of the bar with the most mass whose batches reach a purity; None if none does.

        The last twentieth of that mass must have reached it too: among very many bars a few reach by luck.
        """
        reach = self.reached >= purity
        missed = np.maximum.accumulate(np.where(reach, -1, np.arange(len(reach))))
        sound = np.where(missed < 0, 0.0, self.part[missed]) <= (1 - STRETCH) * self.part
        places = np.flatnonzero(reach & sound)
        return int(places[-1]) if len(places) else None


def shares_in(feed: Mapping[str, float] | None, family: NDArray[np.int64]) -> Floats:
    """(N,) how often a feed holds a piece like each, 1 on average; (N,) family is -1 where unknown.

    A feed says nothing of pieces of no family: they are left out of it. Without one all count alike.

    Raises:
        DataError: the feed holds none of the families that are there.
    """
    if feed is None:
        return np.ones(len(family))
    counts = np.bincount(family[family >= 0], minlength=len(FAMILIES))
    wanted = np.array([feed.get(name, 0.0) for name in FAMILIES])
    each = np.divide(wanted, counts, out=np.zeros(len(FAMILIES)), where=counts > 0)
    share = np.where(family >= 0, each[family], 0.0)
    if not share.any():
        raise DataError("the feed holds none of the families of the known pieces")
    return np.asarray(share * (len(share) / share.sum()))


def curve(evidence: Evidence, batch_pieces: int, sure: float, draws: int = DRAWS, seed: int = 0) -> Curve:
    """Purity and recovery at every bar where something changes.

    Args:
        evidence: known pieces.
        batch_pieces: fed in a batch.
        sure: part of the batches that reach what `reached` says.
        draws: of batches.
        seed: of the draws.

    Raises:
        DataError: the known pieces are too few.
    """
    evidence.require_enough()
    order = np.argsort(-evidence.score, kind="stable")
    order = order[(evidence.score[order] > 0) & (evidence.share[order] > 0)]
    if not len(order):
        raise DataError("no known piece would go to the outlet, whatever the bar")
    score, wanted = evidence.score[order], evidence.wanted[order]
    right, taken = _drawn(evidence, order, batch_pieces, draws, seed)
    last = np.flatnonzero(np.append(score[1:] < score[:-1], True))  # of pieces that score alike
    worst = np.partition(right[:, last] / taken[:, last], _rank(draws, sure), axis=0)[_rank(draws, sure)]
    fed = evidence.mass * evidence.share
    hits, all_taken = np.cumsum(fed[order] * wanted)[last], np.cumsum(fed[order])[last]
    return Curve(
        bar=score[last],
        purity=hits / all_taken,
        reached=worst.astype(np.float64),
        recovery=hits / fed[evidence.wanted].sum(),
        part=all_taken / fed.sum(),
    )


def _rank(draws: int, sure: float) -> int:
    """The place, from below, of the draw that a part `sure` of all is not under."""
    return max(0, int((1 - sure) * draws) - 1)


def _drawn(
    evidence: Evidence, order: NDArray[np.int64], batch_pieces: int, draws: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(draws, K) mass of right pieces, and of all, that batches hold down to each of the ordered pieces."""
    rng = np.random.default_rng(seed)
    _, batch = np.unique(evidence.batch, return_inverse=True)
    weight = rng.standard_exponential((draws, batch.max() + 1))
    fed = weight @ np.bincount(batch, weights=evidence.share)
    wrong = ~evidence.wanted
    odds, mass = evidence.share * wrong, evidence.mass
    usual = float((odds * evidence.share).sum() / odds.sum()) if odds.any() else 1.0
    heavy = float((odds @ mass**2) / (odds @ mass) if odds.any() else (mass @ mass) / mass.sum())
    unseen = rng.standard_exponential(draws) * usual
    scale = batch_pieces / (fed + unseen)
    expected = weight[:, batch[order]] * evidence.share[order]
    expected *= scale[:, None]
    held = rng.poisson(expected).astype(np.float32)
    held *= mass[order].astype(np.float32)
    stray = (rng.poisson(unseen * scale) * heavy).astype(np.float32)
    taken = np.cumsum(held, axis=1)
    right = np.cumsum(held * evidence.wanted[order], axis=1)
    taken += stray[:, None]
    np.maximum(taken, np.float32(1e-9), out=taken)  # a batch of which nothing is taken counts as impure
    return right, taken
