"""What other bars would do, as the model itself expects from the last pieces of the run.

A calibrated probability is a forecast of being right: summed over the pieces that a bar lets in, it tells
purity and recovery before anybody has looked into a box. It knows nothing of what the model does not know.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.families import FAMILIES
from alloysort_inference.policy.recipe import Outlet, Recipe

BARS: Final = np.round(np.concatenate([np.arange(0.30, 0.90, 0.02), np.arange(0.90, 0.999, 0.005)]), 3)
Floats = NDArray[np.float64]


def forecast(
    recipe: Recipe, shares: NDArray[np.float32], sortable: NDArray[np.bool_], mass_g: Floats
) -> dict[str, list[dict[str, float]]]:
    """By outlet, what each of BARS would give; only of outlets whose bar is a confidence.

    Args:
        recipe: that decides.
        shares: (N, 19) probabilities of the last pieces.
        sortable: (N,) whether an outlet may take it: seen, of metal, not novel.
        mass_g: (N,) of each.
    """
    if not len(shares):
        return {}
    sums = np.stack([summed(shares, outlet) for outlet in recipe.outlets], axis=1)
    best = sums.argmax(axis=1)
    return {
        outlet.name: [
            _point(outlet, float(bar), sums[:, place], sortable & (best == place), mass_g) for bar in BARS
        ]
        for place, outlet in enumerate(recipe.outlets)
        if outlet.min_confidence is not None
    }


def summed(shares: NDArray[np.float32], outlet: Outlet) -> Floats:
    """(N,) summed probability of an outlet's families."""
    places = [FAMILIES.index(family) for family in outlet.families]
    total: Floats = shares[:, places].astype(np.float64).sum(axis=1)
    return np.minimum(total, 1.0)


def _point(
    outlet: Outlet, bar: float, share: Floats, open_to_it: NDArray[np.bool_], mass_g: Floats
) -> dict[str, Any]:
    taken = open_to_it & (share >= bar)
    taken_g, right_g = float(mass_g[taken].sum()), float((mass_g * share)[taken].sum())
    there_g, fed_g = float((mass_g * share).sum()), float(mass_g.sum())
    value = right_g * outlet.value_per_t - (taken_g - right_g) * outlet.wrong_costs_per_t
    return {
        "bar": bar,
        "purity": round(right_g / taken_g, 5) if taken_g > 0 else None,
        "recovery": round(right_g / there_g, 5) if there_g > 0 else None,
        "part": round(taken_g / fed_g, 5),
        "pieces": round(float(taken.mean()), 5),
        "value_per_t_fed": round(value / fed_g, 3),
    }
