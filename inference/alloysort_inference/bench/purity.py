"""From known pieces to the bars of a recipe's purity targets, and to what other bars would give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np

from alloysort_datasets.errors import DataError, RecipeError, TableError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.piece import SPLITS, Split
from alloysort_datasets.table.store import count_pieces, table_sha256
from alloysort_inference.bench.accuracy.judge import Judged, judge_tables
from alloysort_inference.bench.accuracy.outlets import masses, scores
from alloysort_inference.bench.accuracy.run import ALL
from alloysort_inference.bench.melt import melt_margins
from alloysort_inference.policy.guarantee import Curve, Evidence, curve, shares_in
from alloysort_inference.policy.recipe import DEFAULT_RECIPE, Fitted, Outlet, Recipe
from alloysort_models.bundle.manifest import Bundle

FITTED_BOX_G: Final = 50_000.0  # of a trial box: several are filled from what is known
STEPS: Final = (0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)  # purities that a table of a curve shows


@dataclass(frozen=True, eq=False)
class Known:
    """Judged pieces, and where they are from.

    Attributes:
        judged: with what is known of each.
        data: in words, for people.
    """

    judged: Judged
    data: str


def know(
    folders: Sequence[Path],
    bundle: Bundle,
    asked: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Known:
    """Judge tables.

    Args:
        folders: piece tables.
        bundle: the model.
        asked: one of SPLITS or "all"; None: calibration where the tables have such pieces, else all.
        progress: is told how many of how many pieces are done.

    Raises:
        TableError: they cannot be read, or the bundle has learned from them.
        BundleError: it cannot be used.
    """
    if asked not in (None, ALL, *SPLITS):
        raise TableError(f"split {asked!r} is none of {', '.join(SPLITS)}, {ALL}")
    if asked is None:
        asked = "calibration" if sum(count_pieces(folder, "calibration") for folder in folders) else ALL
    split = None if asked == ALL else cast(Split, asked)
    trained = bundle.manifest.training_data_sha256
    if split in (None, "train") and any(table_sha256(folder) == trained for folder in folders):
        raise TableError(f"{bundle.path}: has learned from this table: its purity there says nothing")
    judged = judge_tables(folders, bundle.path, DEFAULT_RECIPE, split, progress)
    batches = len(np.unique(judged.batch))
    names = ", ".join(folder.name for folder in folders)
    return Known(judged, f"{len(judged)} pieces of {batches} batches: {names}, split {asked}")


def evidence_of(judged: Judged, recipe: Recipe, outlet: Outlet) -> Evidence:
    """Known pieces, seen from an outlet; those of no family are of none of its families.

    Raises:
        DataError: the feed holds none of them.
    """
    if recipe.novelty_limit is not None or recipe.surface_limit is not None:
        why = "novelty_limit or surface_limit and purity: a fit rests on the bundle's own limits"
        raise RecipeError(f"recipe {recipe.name}: {why}")
    wanted = np.isin(judged.family, [FAMILIES.index(family) for family in outlet.families])
    mass, _ = masses(judged)
    _, batch = np.unique(judged.batch, return_inverse=True)
    share = shares_in(recipe.mix, judged.family)
    return Evidence(scores(judged, recipe, outlet), wanted, mass, share, batch.astype(np.int64))


def curve_of(judged: Judged, recipe: Recipe, outlet: Outlet, seed: int = 0) -> Curve:
    """What an outlet's bars would give in the recipe's feed.

    Raises:
        DataError: the known pieces are too few.
    """
    try:
        return curve(evidence_of(judged, recipe, outlet), recipe.batch_pieces, outlet.sure, seed=seed)
    except DataError as error:
        raise DataError(f"recipe {recipe.name}: outlet {outlet.name!r}: {error}") from None


def fit(recipe: Recipe, bundle: Bundle, known: Known, seed: int = 0) -> tuple[Fitted, dict[str, Curve]]:
    """The lowest bars that keep the purity targets, with the curve of each such outlet; margins of melts.

    Raises:
        RecipeError: there is no target, or one cannot be met; says what can be.
        DataError: the known pieces are too few.
    """
    aimed = {outlet.name: outlet for outlet in recipe.outlets if outlet.purity is not None}
    melts = [outlet for outlet in recipe.outlets if outlet.melt is not None]
    if not aimed and not melts:
        raise RecipeError(
            f"recipe {recipe.name}: no outlet has a purity target or a melt, there is nothing to fit"
        )
    curves = {name: curve_of(known.judged, recipe, outlet, seed) for name, outlet in aimed.items()}
    bars, short = {}, []
    for name, outlet in aimed.items():
        place = curves[name].lowest(outlet.purity or 0.0)
        if place is None:
            short.append(_best(recipe, outlet, curves[name]))
        else:
            bars[name] = min(1.0, float(curves[name].bar[place]))
    if short:
        raise RecipeError(f"recipe {recipe.name}: " + "; ".join(short))
    margins = {outlet.name: _melt_margins(recipe, outlet, known.judged, seed) for outlet in melts}
    fitted = Fitted(
        bundle=bundle.sha256,
        targets=recipe.targets_sha256,
        data=known.data,
        bars=bars,
        melts=margins,
    )
    return fitted, curves


def _melt_margins(recipe: Recipe, outlet: Outlet, judged: Judged, seed: int) -> dict[str, float]:
    """How far from each limit an outlet's boxes stay, in the recipe's feed."""
    seen = evidence_of(judged, recipe, outlet)
    candidate = seen.score >= recipe.bars[outlet.name]
    melt = recipe.melt_of(outlet)
    try:
        margins = melt_margins(
            judged, candidate, seen.share, melt.spec, min(melt.box_g, FITTED_BOX_G), outlet.sure, seed
        )
    except DataError as fault:
        raise DataError(f"recipe {recipe.name}: outlet {outlet.name!r}: {fault}") from None
    return {name: round(float(margin), 6) for name, margin in zip(melt.spec.names, margins, strict=True)}


def points(found: Curve, outlet: Outlet) -> list[dict[str, float | None]]:
    """A curve at a few purities that its batches reach: bar, expected purity, recovery, part, value."""
    rows: list[dict[str, float | None]] = []
    for purity in STEPS:
        place = found.lowest(purity)
        if place is None:
            rows.append({"reached": purity, "bar": None})
        else:
            rows.append({**at(found, outlet, place), "reached": purity})
    return rows


def every(found: Curve, outlet: Outlet) -> list[dict[str, float]]:
    """A curve at all its bars."""
    return [at(found, outlet, place) for place in range(len(found.bar))]


def at(found: Curve, outlet: Outlet, place: int) -> dict[str, float]:
    """What one bar gives; the value is of a tonne fed, in the recipe's money."""
    purity, part = float(found.purity[place]), float(found.part[place])
    value = part * (purity * outlet.value_per_t - (1 - purity) * outlet.wrong_costs_per_t)
    return {
        "bar": float(found.bar[place]),
        "reached": float(found.reached[place]),
        "purity": purity,
        "recovery": float(found.recovery[place]),
        "part": part,
        "value_per_t_fed": value,
    }


def _best(recipe: Recipe, outlet: Outlet, found: Curve) -> str:
    best = int(found.reached.argmax())
    return (
        f"outlet {outlet.name!r}: purity {outlet.purity:g} is out of reach in batches of "
        f"{recipe.batch_pieces} pieces; the best that {outlet.sure:.0%} of them reach is "
        f"{np.floor(found.reached[best] * 1e4) / 1e4:.4f}, with {found.recovery[best]:.0%} recovered"
    )
