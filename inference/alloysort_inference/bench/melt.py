"""How far from its limits a melt must stay: measured on known pieces, for `recipe fit`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError
from alloysort_inference.bench.accuracy.judge import Judged
from alloysort_inference.bench.accuracy.outlets import masses
from alloysort_inference.policy.melt import Floats, Melt, Spec

ROUNDS: Final = 4  # what is taken hangs on the margins, and they on what is taken
FED: Final = 12_000
DRAWS: Final = 4000
FEWEST: Final = 100


def melt_margins(
    known: Judged,
    candidate: NDArray[np.bool_],
    share: Floats,
    spec: Spec,
    box_g: float,
    sure: float,
    seed: int = 0,
) -> Floats:
    """(K,) wt%: how far a full box may be over what the model says of it, limit by limit.

    Pieces that look as if they fitted are partly pieces that the model is wrong about, so what counts is the
    error of those that are taken. Boxes are drawn from them as batches are in `policy.guarantee`: the known
    batches weighed anew, one error more than was seen, as large as what an error is usually part of, and a
    box's pieces by chance. The limits that could break share what may go wrong.

    Args:
        known: judged pieces.
        candidate: (N,) may go in at all.
        share: (N,) how often the feed holds each.
        spec, box_g: of the melt.
        sure: part of the boxes that keep every limit.
        seed: of the draws.

    Raises:
        DataError: too few pieces are taken.
    """
    margins, every = np.zeros(len(spec.names)), np.array([], np.int64)
    for turn in range(ROUNDS):
        rng = np.random.default_rng([seed, turn])
        fed = rng.choice(len(known), FED, p=share / share.sum())
        taken = offer(Melt(spec, box_g, margins), known, fed[candidate[fed]])[:, 1]
        if turn == 0 and len(np.unique(taken)) < FEWEST:
            raise DataError(
                f"{len(np.unique(taken))} known pieces would go into the melt, its fit needs {FEWEST}"
            )
        every = np.concatenate([every, taken])
        margins = _margins(known, every, spec, box_g, sure, rng)
    return margins


def offer(melt: Melt, known: Judged, fed: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, 2) what a melt takes of the pieces it is offered in order: the box's number and the piece."""
    mass, _ = masses(known)
    contents, sigma = known.wt_pct.astype(np.float64), known.sigma.astype(np.float64)
    took = [
        (melt.box.number, int(row)) for row in fed if melt.offer(float(mass[row]), contents[row], sigma[row])
    ]
    return np.array(took, np.int64).reshape(-1, 2)


def truth(known: Judged, taken: NDArray[np.int64]) -> Floats:
    """(E,) wt% of what was taken; an element that nobody knows of a piece counts as none."""
    mass, _ = masses(known)
    held = np.nan_to_num(known.composition[taken].astype(np.float64))
    return np.asarray(mass[taken] @ held / mass[taken].sum())


def _margins(
    known: Judged, taken: NDArray[np.int64], spec: Spec, box_g: float, sure: float, rng: np.random.Generator
) -> Floats:
    piece, times = np.unique(taken, return_counts=True)
    mass = masses(known)[0][piece]
    off = np.nan_to_num(known.composition[piece].astype(np.float64)) - known.wt_pct[piece]
    over = mass[:, None] * (off @ spec.rows.T)  # (N, K) g wt%
    _, batch = np.unique(known.batch[piece], return_inverse=True)
    often = rng.standard_exponential((DRAWS, batch.max() + 1))[:, batch] * times
    boxful = box_g / (often @ mass)
    held = rng.poisson(often * boxful[:, None]).astype(np.float64)
    size = np.maximum((times @ over**2) / np.maximum(times @ np.abs(over), 1e-12), 0.0)
    unseen = rng.poisson(rng.standard_exponential(DRAWS) * times.mean() * boxful)
    drawn = (held @ over + unseen[:, None] * size) / np.maximum(held @ mass, mass.min())[:, None]
    said = spec.rows @ (times * mass @ known.wt_pct[piece] / (times @ mass))
    near = said + drawn.max(axis=0) > spec.ceiling  # they share what may go wrong; the others are far off,
    each = (1 - sure) / max(1, int(near.sum()))  # but a box may come to lean on them when these give way
    kept = np.where(near, np.quantile(drawn, 1 - each, axis=0), np.quantile(drawn, sure, axis=0))
    return np.asarray(np.maximum(kept, 0.0), np.float64)
