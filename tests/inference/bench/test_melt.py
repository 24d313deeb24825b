from __future__ import annotations

import numpy as np
import pytest

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import ELEMENTS
from alloysort_inference.bench.melt import melt_margins, offer, truth
from alloysort_inference.policy.melt import Melt, spec_from
from tests.inference.bench.accuracy.builder import make_judged

SPEC = spec_from({"Cu": [0, 0.1]})
COPPER = ELEMENTS.index("Cu")


def known(pieces=3000, bias=0.02, wrong=0.01, seed=0):
    """Half lean and half rich in copper; the model says too little, and takes some bronze for lean."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.uniform(size=pieces) < 0.5, 0.02, 0.3)
    true = said + bias + np.where(rng.uniform(size=pieces) < wrong, 1.0, 0.0)
    contents, told = np.zeros((2, pieces, len(ELEMENTS)), np.float32)
    contents[:, COPPER], told[:, COPPER] = true, said
    return make_judged(
        ["6xxx"] * pieces,
        composition=contents,
        wt_pct=told,
        mass_g=rng.lognormal(3.2, 0.8, pieces).astype(np.float32),
    )


def boxes_inside(margins, box_g=10_000.0):
    inside = []
    for trial in range(40):
        other = known(2000, seed=1000 + trial)
        held = offer(Melt(SPEC, box_g, margins), other, np.arange(len(other)))
        for number in np.unique(held[:, 0]):
            box = held[held[:, 0] == number, 1]
            if other.mass_g[box].sum() >= 0.95 * box_g:
                inside.append(not SPEC.broken(truth(other, box)))
    return np.array(inside)


def test_margins_keep_what_the_model_does_not_say():
    even = np.ones(3000)
    margins = melt_margins(known(), even > 0, even, SPEC, 10_000.0, 0.95)
    assert 0.03 < margins[0] < 0.07  # 0.02 of bias and 0.01 of bronze, and what chance adds
    without, kept = boxes_inside(None), boxes_inside(margins)
    assert len(kept) > 60
    assert without.mean() < 0.5
    assert kept.mean() >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / len(kept))


def test_too_few_known_pieces_are_refused():
    few = known(300)
    lean = few.wt_pct[:, COPPER] < 0.1
    only = lean & (np.cumsum(lean) <= 60)
    with pytest.raises(DataError, match="60 known pieces would go into the melt, its fit needs 100"):
        melt_margins(few, only, np.ones(300), SPEC, 10_000.0, 0.95)
