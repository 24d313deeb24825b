"""A melt's limits kept piece by piece, beside what one would do without: how much of a mixed feed goes in?

    alloysort data simulate sheet --pieces 20000 --seed 304 --units 1 --mix wrought
    alloysort data simulate cars --pieces 10000 --seed 303 --units 1 --mix twitch
    python benchmarks/melt.py wrought=sheet twitch=cars

Every trial parts the known batches of one plant anew: on one half the melt's margins are fitted, the pieces
of the other half run by once, in any order, and fill boxes of 20 kg. A box complies if what is truly in it
keeps every limit of the alloy. Three ways, each at 99 % of the boxes or more: `melt` asks for that and is not
tuned; `confidence` takes pieces of the alloy's family above a bar; `by piece` takes those of which each limit
is kept by what the model says, with a margin. Bar and margin are the best ones on the very boxes that are
counted, a help that the melt does not get.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.alloys.registry import find_alloy
from alloysort_datasets.errors import DataError
from alloysort_datasets.families import FAMILIES
from alloysort_inference.bench.accuracy.judge import Judged
from alloysort_inference.bench.melt import melt_margins, offer, truth
from alloysort_inference.bench.purity import know
from alloysort_inference.policy.melt import Melt, Spec, spec_of
from alloysort_inference.policy.recipe import MELT_BAR
from alloysort_models.bundle.manifest import load_bundle, newest_released

TRIALS: Final = 40
BOX_G: Final = 20_000.0
SURE: Final = 0.99
NEARLY: Final = 0.95  # full
BARS: Final = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)
MARGINS: Final = (-4.0, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0)  # of the model's sigma
SHEET: Final = ("1xxx", "3xxx", "5xxx", "6xxx")
CASES: Final = (
    ("6063", "wrought", SHEET),
    ("3104", "wrought", SHEET),
    ("A356.0", "twitch", ("cast-AlSiMg", "cast-AlSi", "4xxx", *SHEET)),
    ("6063", "twitch", SHEET),
)


@dataclass
class Count:
    """Boxes of one way, and how much went in."""

    boxes: int = 0
    inside: int = 0
    mass_g: float = 0.0

    @property
    def complies(self) -> bool:
        """Whether 99 % of the boxes are inside every limit."""
        return self.boxes > 0 and self.inside >= SURE * self.boxes


def main(tables: dict[str, list[Path]]) -> None:
    """Print a row for each alloy."""
    bundle = load_bundle(newest_released())
    known = {feed: know(folders, bundle, "all") for feed, folders in tables.items()}
    for feed, one in known.items():
        print(f"{feed}: {bundle.manifest.name} on {one.data}; {TRIALS} trials, boxes of {BOX_G / 1000:g} kg")
    columns = ("alloy", "feed", "melt: boxes inside", "of the feed", "confidence", "by piece", "melt refused")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)
    for alloy, feed, families in CASES:
        if feed in known:
            print(f"| {' | '.join(row(known[feed].judged, alloy, feed, families))} |", flush=True)


def row(judged: Judged, alloy: str, feed: str, families: tuple[str, ...]) -> list[str]:
    """What each way took, of the mass fed."""
    spec, family = spec_of(alloy), FAMILIES.index(find_alloy(alloy).family)
    names, batch = np.unique(judged.batch, return_inverse=True)
    melt, bars, margins = Count(), [Count() for _ in BARS], [Count() for _ in MARGINS]
    fed_g, refused = 0.0, 0
    for trial in range(TRIALS):
        rng = np.random.default_rng([11, trial])
        mine = (rng.permutation(len(names)) < len(names) // 2)[batch]
        known, other = judged.where(mine), judged.where(~mine)
        fed, may = rng.permutation(len(other)), gate(other, families)
        fed_g += float(other.mass_g.sum())
        try:
            even = np.ones(len(known))
            kept = melt_margins(known, gate(known, families), even, spec, BOX_G, SURE, trial)
            count(melt, other, spec, offer(Melt(spec, BOX_G, kept), other, fed[may[fed]]))
        except DataError:
            refused += 1
        for bar, one in zip(BARS, bars, strict=True):
            takes = other.trusted & (other.probabilities[:, family] >= bar)
            count(one, other, spec, packed(other, fed[takes[fed]]))
        drawn = other.wt_pct @ spec.rows.T
        sigma = np.sqrt((other.sigma**2) @ np.abs(spec.rows).T)
        for margin, one in zip(MARGINS, margins, strict=True):
            takes = may & (drawn + margin * sigma <= spec.ceiling).all(axis=1)
            count(one, other, spec, packed(other, fed[takes[fed]]))
    inside = f"{melt.inside} of {melt.boxes}"
    return [
        alloy, feed, inside, part(melt, fed_g), best(bars, fed_g), best(margins, fed_g), str(refused)
    ]  # fmt: skip


def gate(judged: Judged, families: tuple[str, ...]) -> NDArray[np.bool_]:
    """(N,) what may go in at all."""
    sure = judged.probabilities[:, [FAMILIES.index(family) for family in families]].sum(axis=1) >= MELT_BAR
    return np.asarray(judged.trusted & sure)


def packed(judged: Judged, taken: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, 2) number of the box and piece, boxes filled in order."""
    number = np.floor(np.cumsum(judged.mass_g[taken].astype(np.float64)) / BOX_G).astype(np.int64)
    return np.column_stack([number, taken])


def count(into: Count, judged: Judged, spec: Spec, held: NDArray[np.int64]) -> None:
    """Add to a count: full boxes, and all the mass that went in."""
    into.mass_g += float(judged.mass_g[held[:, 1]].sum())
    for number in np.unique(held[:, 0]):
        box = held[held[:, 0] == number, 1]
        if judged.mass_g[box].sum() >= NEARLY * BOX_G:
            into.boxes += 1
            into.inside += not spec.broken(truth(judged, box))


def best(ways: list[Count], fed_g: float) -> str:
    """Of those that comply, the one that takes most."""
    good = [one for one in ways if one.complies]
    if good:
        return part(max(good, key=lambda one: one.mass_g), fed_g)
    nearest = max((one for one in ways if one.boxes), key=lambda one: one.inside / one.boxes, default=None)
    return "none complies" + (f" (at best {nearest.inside / nearest.boxes:.0%})" if nearest else "")


def part(one: Count, fed_g: float) -> str:
    """Of the mass fed."""
    return f"{one.mass_g / fed_g:.3f}"


if __name__ == "__main__":
    tables: dict[str, list[Path]] = {}
    for argument in sys.argv[1:]:
        feed, _, folder = argument.partition("=")
        tables.setdefault(feed, []).append(Path(folder))
    main(tables)
