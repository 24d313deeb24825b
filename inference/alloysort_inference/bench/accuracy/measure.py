"""The figures of judged pieces, in the sorting industry's terms beside the usual ones.

Strangers, matter that no family describes, have figures of their own and count nowhere else. Every figure is
{value, low, high} with its 95 % interval over batches; see `bundle.figures`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.table.layers import HIDDEN, LAYERS, MOSTLY, NON_METAL, met_by_the_laser
from alloysort_inference.bench.accuracy.judge import Judged, Mask
from alloysort_inference.bench.accuracy.outlets import OWN, sorted_masses
from alloysort_inference.policy.recipe import Recipe
from alloysort_models.bundle.figures import (
    BINS,
    NORMAL_QUANTILE,
    Floats,
    accuracy,
    bootstrap_weights,
    calibration_error,
    confusion_counts,
    figure,
    macro_f1,
    per_batch,
    ratio,
    reliability_counts,
)
from alloysort_models.bundle.manifest import PATTERNS

BLANK_WT_PCT: Final = 0.02  # a piece with less of an element is a blank for it
FEWEST_BLANKS: Final = 20
RISK_POINTS: Final = 101
Figure = dict[str, float | None]


def measure(judged: Judged, recipe: Recipe, seed: int = 0) -> dict[str, Any]:
    """Every figure of a table; DESIGN names the keys of `bench accuracy --json`.

    Args:
        judged: the pieces.
        recipe: that decided them.
        seed: of the bootstrap.
    """
    ordinary = judged.where(~judged.strange)
    masses = sorted_masses(ordinary, recipe, seed)
    outlets = masses["feeds"][OWN]["outlets"] if masses["feeds"] else {}
    decided = ordinary.where(ordinary.decided)
    return {
        "n": len(judged),
        "refused": int((~judged.decided).sum()),
        **figures(decided, seed),
        **strangers(judged.where(judged.decided), seed),
        "surface_auroc": surface_auroc(decided, seed),
        "purity": {name: told["purity"] for name, told in outlets.items()},
        "recovery": {name: told["recovery"] for name, told in outlets.items()},
        "yield": {name: told["yield"] for name, told in outlets.items()},
        "sorting": masses,
        "confusion": rejecting_confusion(decided),
        "reliability": reliability(decided),
        "risk_coverage": risk_coverage(decided),
        "strata": {
            name: {
                **figures(part := decided.where(chosen), seed),
                "sorting": _pure(sorted_masses(part, recipe, seed)),
            }
            for name, chosen in strata(decided).items()
            if (chosen & (decided.family >= 0)).any()
        },
        "alloys": _by_word(decided, decided.alloy),
        "instruments": _by_word(decided, decided.instrument),
    }


def figures(found: Judged, seed: int = 0) -> dict[str, Any]:
    """Of any pieces: families, calibration, acceptance, composition.

    Composition figures are of aluminium pieces; `lod_wt_pct` is three standard deviations of what is told of
    blanks, null where there are too few.
    """
    known = found.where(found.family >= 0)
    if not len(known):
        return {"labelled": 0}
    weights = bootstrap_weights(known.batch, seed)
    return {
        "labelled": len(known),
        "batches": len(np.unique(known.batch)),
        **{key: figure(values) for key, values in family_draws(known, weights).items()},
        **{key: _by_element(values) for key, values in composition_draws(known, weights).items()},
    }


def family_draws(known: Judged, weights: Floats) -> dict[str, Floats]:
    """(R,) by figure of families, calibration and acceptance; the first of R draws each batch once.

    Args:
        known: pieces of known family.
        weights: (R, batches) of `bootstrap_weights`.
    """
    told = (known.batch, known.family, known.probabilities)
    confusion = weights @ confusion_counts(*told)
    everything = np.ones(len(known), dtype=bool)

    def share(upper: Mask, lower: Mask) -> Floats:
        return ratio(*(weights @ per_batch(known.batch, [upper & lower, lower])).T)

    return {
        "macro_f1": macro_f1(confusion),
        "accuracy": accuracy(confusion),
        "ece": calibration_error(weights @ reliability_counts(*told)),
        "accepted": share(known.accepted, everything),
        "accepted_right": share(known.right, known.accepted),
        "novel": share(known.novel, everything),
        "foreign_as_aluminium": share(known.aluminium, ~known.of_aluminium),
        "aluminium_as_aluminium": share(known.aluminium, known.of_aluminium),
    }


def composition_draws(known: Judged, weights: Floats) -> dict[str, Floats]:
    """(R, E) by figure of the composition of aluminium pieces; see `family_draws`."""
    truth = known.composition.astype(np.float64)
    there = np.isfinite(truth) & known.of_aluminium[:, None]
    error = np.where(there, known.wt_pct - truth, 0.0)
    inside = there & (np.abs(error) <= NORMAL_QUANTILE * known.sigma)
    blank = there & (truth < BLANK_WT_PCT)

    def mean(values: NDArray[Any], among: NDArray[np.bool_]) -> Floats:
        sums = weights @ per_batch(known.batch, [*(values * among).T, *among.T])
        return ratio(*np.split(sums, 2, axis=1))

    level = mean(known.wt_pct, blank)
    scatter = np.sqrt(np.maximum(mean(known.wt_pct.astype(np.float64) ** 2, blank) - level**2, 0.0))
    scatter[:, blank.sum(axis=0) < FEWEST_BLANKS] = np.nan
    return {
        "rmse_wt_pct": np.sqrt(mean(error**2, there)),
        "bias_wt_pct": mean(error, there),
        "lod_wt_pct": 3.0 * scatter,
        "covered_90": mean(inside, there),
    }


def strangers(found: Judged, seed: int = 0) -> dict[str, Any]:
    """How matter that no family describes is told from known matter; null without any."""
    shows = ~(found.shown < HIDDEN)
    strange, known = found.where(found.strange & shows), found.where(~found.strange & shows)
    if not len(strange) or not len(known):
        return {"novelty_auroc": None, "strangers": {"n": len(strange)}}
    weights = bootstrap_weights(strange.batch, seed)
    everything = np.ones(len(strange), dtype=bool)

    def mean(values: NDArray[Any]) -> Figure:
        return figure(ratio(*(weights @ per_batch(strange.batch, [values, everything])).T))

    return {
        "novelty_auroc": mean(_ranks(strange.novelty, known.novelty)),
        "strangers": {
            "n": len(strange),
            "novel": mean(strange.novel),
            "accepted": mean(strange.accepted),
            "as_aluminium": mean(strange.aluminium),
        },
    }


def surface_auroc(found: Judged, seed: int = 0) -> Figure | None:
    """Of pairs of a piece that shows over half metal and one that shows none, those told apart rightly."""
    metal = found.where((found.family != NON_METAL) & np.isfinite(found.surface))
    hidden = (metal.shown < HIDDEN) & (metal.layer != LAYERS.index("anodising"))
    shown, none = metal.where(metal.shown > MOSTLY), metal.where(hidden)
    if not len(shown) or not len(none):
        return None
    weights = bootstrap_weights(none.batch, seed)
    ranks = 1.0 - _ranks(none.surface, shown.surface)
    return figure(ratio(*(weights @ per_batch(none.batch, [ranks, np.ones(len(none))])).T))


def _ranks(values: NDArray[np.float32], among: NDArray[np.float32]) -> Floats:
    """(N,) share of the others that lie below each value, ties by half."""
    ordered = np.sort(among)
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray((below + upto) / 2 / len(ordered), np.float64)


def strata(found: Judged) -> dict[str, Mask]:
    """Parts of a table by what the sensors met; those that nobody can know are left out."""
    return {
        **met_by_the_laser(found.family, found.layer, found.shown, found.line_over_noise),
        **{f"sensors: {name}": found.sensors == place for place, name in enumerate(PATTERNS)},
    }


def rejecting_confusion(found: Judged) -> dict[str, Any]:
    """Counts of pieces, truth by row, by column the family that was accepted or, last, none."""
    known = found.where(found.family >= 0)
    told = np.where(known.accepted, known.named, len(FAMILIES))
    counts = np.zeros((len(FAMILIES), len(FAMILIES) + 1), np.int64)
    np.add.at(counts, (known.family, told), 1)
    return {"families": list(FAMILIES), "columns": [*FAMILIES, "not accepted"], "counts": counts.tolist()}


def reliability(found: Judged) -> list[dict[str, float]]:
    """By bin of confidence: how many pieces, their mean confidence and how many of them are right."""
    sums = reliability_counts(found.batch, found.family, found.probabilities).sum(axis=0)
    return [
        {"n": int(n), "confidence": round(confidence / n, 5), "right": round(right / n, 5)}
        for n, confidence, right in sums.reshape(3, BINS).T
        if n
    ]


def risk_coverage(found: Judged) -> list[list[float]]:
    """Of the surest pieces, so many of all as the first number says, the share that is wrong."""
    known = found.where(found.family >= 0)
    if not len(known):
        return []
    order = np.argsort(-known.probabilities.max(axis=1), kind="stable")
    wrong = np.cumsum(~known.right[order]) / np.arange(1, len(known) + 1)
    counts = np.unique(np.linspace(1, len(known), RISK_POINTS).round().astype(int))
    return [[round(count / len(known), 5), round(float(wrong[count - 1]), 5)] for count in counts]


def _pure(masses: dict[str, Any]) -> dict[str, Any]:
    """Outlets of the table's own mix without their curves: a stratum need not hold these."""
    outlets = masses["feeds"][OWN]["outlets"] if masses["feeds"] else {}
    return {name: {key: told[key] for key in told if key != "curve"} for name, told in outlets.items()}


def _by_word(found: Judged, words: NDArray[np.str_]) -> dict[str, dict[str, Any]]:
    """How often the pieces of each alloy or instrument are named rightly and accepted."""
    labelled = (found.family >= 0) & (words != "")
    told = {}
    for word in np.unique(words[labelled]):
        part = found.where(labelled & (words == word))
        told[str(word)] = {
            "n": len(part),
            "right": round(float(part.right.mean()), 4),
            "accepted": round(float(part.accepted.mean()), 4),
        }
    return told


def _by_element(values: Floats) -> dict[str, Figure]:
    return {element: figure(values[:, column]) for column, element in enumerate(ELEMENTS)}
