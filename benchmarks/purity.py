"""Do purity targets hold? Fit on half of the known batches, sort a batch of the other half; again and again.

    alloysort data simulate one --pieces 10000 --seed 91 --strangers 0.03
    alloysort data simulate two --pieces 10000 --seed 92 --strangers 0.03
    python benchmarks/purity.py one two

Every trial parts the batches anew, fits the bar that 95 % of batches are to reach 97 % with, and sorts one
batch of 2,000 pieces of the other half with it. `oracle` knows that half: the lowest bar with which 95 % of
400 batches of it reach the target. `shifted`: half-way through the batch the feed becomes another, which
nothing is promised of.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError
from alloysort_inference.bench.accuracy.judge import Judged
from alloysort_inference.bench.purity import evidence_of, know
from alloysort_inference.policy.guarantee import Evidence, curve, shares_in
from alloysort_inference.policy.recipe import Outlet, Recipe, parse_content
from alloysort_models.bundle.manifest import load_bundle, newest_released

TRIALS: Final = 200
PURITY: Final = 0.97
SURE: Final = 0.95
BATCH: Final = 2000
ORACLE: Final = 400
WROUGHT: Final = ["1xxx", "2xxx", "3xxx", "4xxx", "5xxx", "6xxx", "7xxx"]
CAST: Final = ["cast-AlSiCu", "cast-AlSiMg", "cast-AlSi", "cast-AlMg"]
CASES: Final = (  # outlet, its families, the others', feed, feed of the shift
    ("wrought", WROUGHT, CAST, "twitch", "zorba"),
    ("cast", CAST, WROUGHT, "twitch", "zorba"),
    ("6xxx", ["6xxx"], ["5xxx"], "wrought", "zorba"),
    ("5xxx", ["5xxx"], ["6xxx"], "wrought", "zorba"),
)


def main(folders: list[Path]) -> None:
    """Print a row for each outlet."""
    bundle = load_bundle(newest_released())
    known = know(folders, bundle, "all")
    print(f"{bundle.manifest.name} on {known.data}")
    print(f"{TRIALS} trials, {PURITY:.0%} with {SURE:.0%}, batches of {BATCH}")
    columns = (
        "outlet", "feed", "refused", "under, of all trials", "of those sorted", "shifted, of those sorted",
        "lowest purity", "yield", "oracle", "difference",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name, own, others, feed, other_feed in CASES:
        outlets = [
            {"name": name, "families": own, "purity": PURITY, "sure": SURE},
            {"name": "others", "families": others, "purity": PURITY},
            {"name": "rest"},
        ]
        content = {"default": "rest", "feed": feed, "batch_pieces": BATCH, "outlets": outlets}
        recipe = parse_content(content, name)
        other = recipe.model_copy(update={"feed": other_feed})
        told = trials(known.judged, recipe, recipe.outlets[0], other)
        reached, shifted, part, best = told.T
        under, strayed = (reached < PURITY).mean(), (shifted < PURITY).mean()
        figures = (
            name, feed, f"{TRIALS - len(told)}", f"{under * len(told) / TRIALS:.1%}", f"{under:.1%}",
            f"{strayed:.1%}", f"{reached.min():.4f}", f"{part.mean():.3f}", f"{best.mean():.3f}",
            f"{100 * (best - part).mean():.1f} points",
        )  # fmt: skip
        print(f"| {' | '.join(figures)} |", flush=True)


def trials(judged: Judged, recipe: Recipe, outlet: Outlet, shifted: Recipe) -> NDArray[np.float64]:
    """(T, 4) by trial not refused: purity of a batch, of a shifted one, yield, the oracle's yield."""
    names, batch = np.unique(judged.batch, return_inverse=True)
    rows = []
    for trial in range(TRIALS):
        rng = np.random.default_rng([7, trial])
        mine = (rng.permutation(len(names)) < len(names) // 2)[batch]
        try:
            found = curve(evidence_of(judged.where(mine), recipe, outlet), BATCH, SURE, seed=trial)
        except DataError:
            continue
        place = found.lowest(PURITY)
        if place is None:
            continue
        other = judged.where(~mine)
        there = evidence_of(other, recipe, outlet)
        bar = float(found.bar[place])
        mixed = replace(there, share=0.5 * (there.share + shares_in(shifted.mix, other.family)))
        rows.append(
            (
                float(purities(there, np.array([bar]), 1, rng)[0, 0]),
                float(purities(mixed, np.array([bar]), 1, rng)[0, 0]),
                yields(there, bar),
                oracle(there, rng),
            )
        )
    return np.array(rows).reshape(-1, 4)


def purities(
    there: Evidence, bars: NDArray[np.float64], batches: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(batches, K) purity of batches drawn from known pieces."""
    held = rng.poisson(BATCH * there.share / there.share.sum(), (batches, len(there.share))) * there.mass
    taken = (there.score[:, None] >= bars).astype(np.float64)
    purity: NDArray[np.float64] = (held @ (taken * there.wanted[:, None])) / np.maximum(held @ taken, 1e-9)
    return purity


def yields(there: Evidence, bar: float) -> float:
    """Of the mass of the outlet's families, what a bar recovers."""
    fed = there.mass * there.share * there.wanted
    return float(fed[there.score >= bar].sum() / fed.sum())


def oracle(there: Evidence, rng: np.random.Generator) -> float:
    """The most that could be recovered by who knows the pieces to come."""
    bars = np.quantile(there.score[there.score > 0], np.linspace(0, 1, 200)[:-1])
    kept = (purities(there, bars, ORACLE, rng) >= PURITY).mean(axis=0) >= SURE
    return yields(there, float(bars[kept.argmax()])) if kept.any() else 0.0


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
