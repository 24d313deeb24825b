"""Purity, recovery and yield of a recipe's outlets, by mass, for the table's own mix and for named feeds.

Purity (grade): of the mass in an outlet, the part that is of the families it takes. Recovery: of the mass of
these families, the part that the outlet gets. Yield: of all mass, the part that the outlet gets. The default
outlet's families are those that no other takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.alloys.stream import MIXES
from alloysort_datasets.families import FAMILIES
from alloysort_inference.bench.accuracy.judge import Judged
from alloysort_inference.flags import to_bits
from alloysort_inference.policy.guarantee import shares_in
from alloysort_inference.policy.recipe import Outlet, Recipe
from alloysort_models.bundle.figures import Floats, bootstrap_weights, figure, per_batch, ratio

BARS: Final = np.concatenate([[0.0], np.linspace(0.2, 0.95, 26), 1 - np.geomspace(0.04, 1e-4, 24)])
TARGETS: Final = (0.95, 0.97, 0.99)  # purities at which the recovery is told
OWN: Final = "own mix"


def sorted_masses(judged: Judged, recipe: Recipe, seed: int = 0) -> dict[str, Any]:
    """By feed what each outlet gets; see the module.

    Args:
        judged: pieces; those of unknown family count nowhere.
        recipe: that decided them.
        seed: of the bootstrap.

    Returns:
        `weighted_by`: "mass" where every piece has one, else "pieces"; `feeds` by name: `covered`, the share
        of the feed whose families the table holds, and `outlets`.
    """
    known = judged.where(judged.family >= 0)
    if not len(known):
        return {"weighted_by": "pieces", "feeds": {}}
    mass, weighted_by = masses(known)
    feeds = {OWN: (np.ones(len(known)), 1.0)} | {name: reweighted(known, mix) for name, mix in MIXES.items()}
    return {
        "weighted_by": weighted_by,
        "feeds": {
            name: {
                "covered": round(covered, 4),
                "outlets": {
                    outlet.name: _outlet(known, recipe, outlet, mass * weight, seed)
                    for outlet in recipe.outlets
                },
            }
            for name, (weight, covered) in feeds.items()
            if covered > 0
        },
    }


def reweighted(known: Judged, mix: Mapping[str, float]) -> tuple[Floats, float]:
    """(N,) weights that give the pieces a mix's shares by number, and the share of the mix that is there."""
    wanted = np.array([mix.get(family, 0.0) for family in FAMILIES])
    there = wanted[np.unique(known.family)].sum()
    weight = shares_in(mix, known.family) if there else np.zeros(len(known))
    return weight, float(there / wanted.sum())


def families_of(outlet: Outlet, recipe: Recipe) -> NDArray[np.bool_]:
    """(F,) what an outlet is for."""
    claimed = {family for other in recipe.outlets for family in other.families}
    own = set(outlet.families) or set(FAMILIES) - claimed
    return np.array([family in own for family in FAMILIES])


def masses(known: Judged) -> tuple[Floats, str]:
    """(N,) what each piece counts for, and what that is: "mass" where every piece has one, else "pieces"."""
    if np.isfinite(known.mass_g).all():
        return known.mass_g.astype(np.float64), "mass"
    return np.ones(len(known)), "pieces"


def outlet_draws(
    known: Judged, recipe: Recipe, outlet: Outlet, mass: Floats, weights: Floats
) -> dict[str, Floats]:
    """(R,) purity, recovery and yield of an outlet.

    Args:
        known: pieces of known family.
        recipe: that decided them.
        outlet: one of the recipe's.
        mass: (N,) what each piece counts for.
        weights: (R, batches) of `bootstrap_weights`.
    """
    wanted = families_of(outlet, recipe)[known.family]
    inside = known.outlet == recipe.outlets.index(outlet)
    return mass_draws(known.batch, mass, inside, wanted, weights)


def mass_draws(
    batch: NDArray[Any],
    mass: Floats,
    inside: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    weights: Floats,
) -> dict[str, Floats]:
    """(R,) purity, recovery and yield of (N,) pieces that are inside an outlet, or wanted there."""
    columns = [mass * inside * wanted, mass * inside, mass * wanted, mass]
    hits, taken, there, fed = (weights @ per_batch(batch, columns)).T
    return {"purity": ratio(hits, taken), "recovery": ratio(hits, there), "yield": ratio(taken, fed)}


def _outlet(known: Judged, recipe: Recipe, outlet: Outlet, mass: Floats, seed: int) -> dict[str, Any]:
    weights = bootstrap_weights(known.batch, seed)
    draws = outlet_draws(known, recipe, outlet, mass, weights)
    told: dict[str, Any] = {key: figure(values) for key, values in draws.items()}
    if outlet.families:
        told |= _curve(known, recipe, outlet, mass, families_of(outlet, recipe)[known.family], weights)
    return told


def _curve(
    known: Judged, recipe: Recipe, outlet: Outlet, mass: Floats, wanted: NDArray[np.bool_], weights: Floats
) -> dict[str, Any]:
    """Purity against recovery where the outlet's bar moves, and the recovery at given purities."""
    score = scores(known, recipe, outlet)
    above = [mass * (score >= bar) for bar in BARS]
    sums = weights @ per_batch(known.batch, [*(taken * wanted for taken in above), *above])
    there = (weights @ per_batch(known.batch, [mass * wanted])).T[0]
    hits, taken = sums[:, : len(BARS)], sums[:, len(BARS) :]
    purity, recovery = ratio(hits, taken), ratio(hits, np.broadcast_to(there[:, None], hits.shape))
    at = {}
    for target in TARGETS:
        reached = np.where(purity >= target, recovery, np.nan)
        best = np.where(np.isfinite(reached).any(axis=1), np.nanmax(np.nan_to_num(reached), axis=1), 0.0)
        at[f"{target:g}"] = figure(np.where(there > 0, best, np.nan))
    points = [
        [round(float(number), 5) for number in point]
        for point in zip(BARS, purity[0], recovery[0], strict=True)
        if np.isfinite(point).all()
    ]
    return {"recovery_at_purity": at, "curve": points}


def scores(known: Judged, recipe: Recipe, outlet: Outlet) -> NDArray[np.float64]:
    """(N,) the summed probability of an outlet's families where no other has more, -1 where it cannot go."""
    shares = np.stack(
        [
            known.probabilities[:, [FAMILIES.index(family) for family in other.families]].sum(axis=1)
            for other in recipe.outlets
        ],
        axis=1,
    )
    place = recipe.outlets.index(outlet)
    best = known.trusted & (shares.argmax(axis=1) == place) & (known.flags & to_bits(recipe.doubted) == 0)
    return np.where(best, np.minimum(shares[:, place], 1.0), -1.0).astype(np.float64)
