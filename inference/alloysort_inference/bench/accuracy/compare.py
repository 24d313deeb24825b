"""Two bundles on the same pieces: what got better, what got worse, and how surely."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from alloysort_datasets.families import ELEMENTS
from alloysort_inference.bench.accuracy.judge import Judged
from alloysort_inference.bench.accuracy.measure import composition_draws, family_draws, strata
from alloysort_inference.bench.accuracy.outlets import masses, outlet_draws
from alloysort_inference.policy.recipe import Recipe
from alloysort_models.bundle.figures import bootstrap_weights, figure

HIGHER_IS_BETTER: Final = ("macro_f1", "accuracy", "accepted", "accepted_right", "aluminium_as_aluminium")
LOWER_IS_BETTER: Final = ("ece", "foreign_as_aluminium")
WORST_ALLOYS: Final = 10


def compare(new: Judged, old: Judged, recipe: Recipe, bar: float, seed: int = 0) -> dict[str, Any]:
    """Differences, new less old, each with its interval from the same batches in both.

    Args:
        new, old: the same pieces in the same order.
        recipe: that decided both.
        bar: a figure that is worse by more than this is a regression; of shares, so 0.01 is one point.
        seed: of the bootstrap.
    """
    known = (new.family >= 0) & ~new.strange & new.decided & old.decided
    new, old = new.where(known), old.where(known)
    if not len(new):
        return {"n": 0, "differences": {}, "strata": {}, "regressions": []}
    differences = {**_differences(new, old, seed), **_outlets(new, old, recipe, seed)}
    by_stratum = {
        name: _differences(new.where(chosen), old.where(chosen), seed)
        for name, chosen in strata(new).items()
        if chosen.any()
    }
    return {
        "n": len(new),
        "bar": bar,
        "newly_right": int((new.right & ~old.right).sum()),
        "newly_wrong": int((old.right & ~new.right).sum()),
        "differences": differences,
        "strata": by_stratum,
        "rmse_wt_pct": _contents(new, old, seed),
        "alloys_worse": _alloys(new, old),
        "regressions": [name for name, told in differences.items() if _worse_by(name, told) > bar],
    }


def _differences(new: Judged, old: Judged, seed: int) -> dict[str, Any]:
    weights = bootstrap_weights(new.batch, seed)
    now, before = family_draws(new, weights), family_draws(old, weights)
    return {key: figure(now[key] - before[key]) for key in (*HIGHER_IS_BETTER, *LOWER_IS_BETTER)}


def _outlets(new: Judged, old: Judged, recipe: Recipe, seed: int) -> dict[str, Any]:
    weights, (mass, _) = bootstrap_weights(new.batch, seed), masses(new)
    told = {}
    for outlet in recipe.outlets:
        now, before = (outlet_draws(found, recipe, outlet, mass, weights) for found in (new, old))
        for what in ("purity", "recovery"):
            told[f"{what} {outlet.name}"] = figure(now[what] - before[what])
    return told


def _contents(new: Judged, old: Judged, seed: int) -> dict[str, Any]:
    weights = bootstrap_weights(new.batch, seed)
    now, before = (composition_draws(found, weights)["rmse_wt_pct"] for found in (new, old))
    return {element: figure(now[:, at] - before[:, at]) for at, element in enumerate(ELEMENTS)}


def _alloys(new: Judged, old: Judged) -> dict[str, dict[str, Any]]:
    """Those that lost most pieces."""
    losses = {}
    for alloy in np.unique(new.alloy[new.alloy != ""]):
        chosen = new.alloy == alloy
        lost = int(old.right[chosen].sum()) - int(new.right[chosen].sum())
        if lost > 0:
            losses[str(alloy)] = {"n": int(chosen.sum()), "fewer_right": lost}
    ranked = sorted(losses.items(), key=lambda item: -item[1]["fewer_right"])
    return dict(ranked[:WORST_ALLOYS])


def _worse_by(name: str, told: dict[str, float | None]) -> float:
    if told["value"] is None:
        return 0.0
    return told["value"] if name in LOWER_IS_BETTER else -told["value"]
