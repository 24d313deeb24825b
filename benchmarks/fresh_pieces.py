"""The shipped bundle on pieces that the simulator makes today, through the pipeline that the line runs.

    .venv/bin/python benchmarks/fresh_pieces.py                       # about a minute
    .venv/bin/python benchmarks/fresh_pieces.py --pieces 8000 --seed 7 --images fast

Pieces of a balanced stream with one stranger in twenty; units and pieces are none of the training table's
(another seed). Without pictures unless asked: what the laser met decides the strata. Intervals are 95 %, from
1,000 draws of whole batches. `accepted` is what the answer says; strangers count in their own row only.

Seen with the first command, simulator and bundle of this commit:

SEEN
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.piece import Piece, sensed
from alloysort_datasets.simulate import Simulation, simulate
from alloysort_datasets.table.store import read_instruments, read_pieces
from alloysort_inference.pipeline import Classifier, Upload, open_classifier
from alloysort_models.bundle.inputs import hit_shots, late
from alloysort_training.prepare import layer_of

DRAWS = 1000


class Judged(NamedTuple):
    """A piece's truth and what the answer says of it."""

    batch: str
    truth: int
    named: int
    accepted: bool
    aluminium: bool
    novel: bool


def shown(piece: Piece) -> float:
    """The piece's own share of what the late hits ablated."""
    if piece.spectra is None:
        return float("nan")
    own = np.array([piece.conditions[f"metal_share_{shot}"] for shot in range(1, len(piece.spectra) + 1)])
    hit = hit_shots(piece.spectra)
    return float(own[hit][late(int(hit.sum())) :].mean())


def strata_of(piece: Piece) -> list[str]:
    """Where a piece counts."""
    if piece.conditions.get("stranger"):
        return ["strangers"]
    if piece.spectra is None:
        return ["all", "no spectrum"]
    if piece.family == "non-metal":
        return ["all", "non-metal"]
    own = shown(piece)
    part = ["late plumes over half metal"] * (own > 0.5) + ["late plumes without metal"] * (own < 0.05)
    return ["all", layer_of(piece.conditions), *part]


def judge(classifier: Classifier, pieces: int, seed: int, images: str) -> dict[str, list[Judged]]:
    """Fresh pieces by stratum."""
    found: dict[str, list[Judged]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "fresh")
        for _ in simulate(table, Simulation(pieces, seed, images, strangers=0.05), workers=2):  # type: ignore[arg-type]
            pass
        instruments = read_instruments(table)
        for piece in read_pieces(table):
            image = None if piece.image is None else Upload(piece.piece_id, piece.image)
            try:
                decision = classifier.classify(sensed(piece, instruments), image).decision
            except DataError:  # neither sensor saw it
                continue
            row = Judged(
                piece.batch,
                FAMILIES.index(piece.family or ""),
                FAMILIES.index(decision.family),
                decision.accepted,
                decision.accepted_as_aluminium,
                decision.novel,
            )
            for stratum in strata_of(piece):
                found[stratum].append(row)
    return found


def macro_f1(rows: list[Judged]) -> float:
    truth, named = np.array([(row.truth, row.named) for row in rows]).T
    scores = []
    for family in np.unique(truth):
        right = float(((truth == family) & (named == family)).sum())
        scores.append(2 * right / float((truth == family).sum() + (named == family).sum()))
    return float(np.mean(scores))


def share(of: Callable[[Judged], bool], among: Callable[[Judged], bool]) -> Callable[[list[Judged]], float]:
    def count(rows: list[Judged]) -> float:
        chosen = [of(row) for row in rows if among(row)]
        return float(np.mean(chosen)) if chosen else float("nan")

    return count


FIGURES: dict[str, Callable[[list[Judged]], float]] = {
    "macro-F1": macro_f1,
    "accepted": share(lambda row: row.accepted, lambda _: True),
    "right of these": share(lambda row: row.named == row.truth, lambda row: row.accepted),
    "others as aluminium": share(lambda row: row.aluminium, lambda row: row.truth >= 11),
    "novel": share(lambda row: row.novel, lambda _: True),
}


def with_interval(figure: Callable[[list[Judged]], float], rows: list[Judged]) -> str:
    """The figure and its 95 % interval from whole batches drawn anew."""
    rng = np.random.default_rng(0)
    batches: dict[str, list[Judged]] = defaultdict(list)
    for row in rows:
        batches[row.batch].append(row)
    parts = list(batches.values())
    drawn = [
        figure([row for at in rng.integers(len(parts), size=len(parts)) for row in parts[at]])
        for _ in range(DRAWS)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return f"{figure(rows):.3f} ({low:.3f}-{high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pieces", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=20_261_125)
    parser.add_argument("--images", choices=("none", "fast"), default="none")
    told = parser.parse_args()
    classifier = open_classifier(None, "wrought-cast")
    found = judge(classifier, told.pieces, told.seed, told.images)
    print(f"    {classifier.engine.bundle.manifest.name}, {told.pieces} pieces, seed {told.seed}")
    for stratum, rows in found.items():
        figures = "  ".join(
            f"{name} {with_interval(figure, rows)}"
            for name, figure in FIGURES.items()
            if not (name == "others as aluminium" and all(row.truth < 11 for row in rows))
        )
        print(f"    {stratum:28} n {len(rows):5}  {figures}")


if __name__ == "__main__":
    main()
