"""The shipped bundle on pieces that the simulator makes today, through the pipeline that the line runs.

    .venv/bin/python benchmarks/fresh_pieces.py                       # about a minute
    .venv/bin/python benchmarks/fresh_pieces.py --pieces 8000 --seed 7

All pieces of a balanced stream, both sensors where both saw the piece; units and pieces are none of the
training table's (another seed). Intervals are 95 %, from 1,000 draws of whole batches.

Seen with the first command, simulator and bundle of this commit:

    first-light, 4000 pieces, seed 20261125
    all                      n  4000  macro-F1 0.801 (0.782-0.820)  accuracy 0.790
    spectrum, not painted    n  3505  macro-F1 0.883 (0.865-0.900)  accuracy 0.886
    spectrum, painted        n   407  macro-F1 0.173 (0.114-0.226)  accuracy 0.101
    no spectrum              n    88  macro-F1 0.189 (0.102-0.249)  accuracy 0.182
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.piece import sensed
from alloysort_datasets.simulate import Simulation, simulate
from alloysort_datasets.table.store import read_instruments, read_pieces
from alloysort_inference.pipeline import Upload, open_classifier

DRAWS = 1000


def strata_of(conditions: dict[str, float], spectrum: bool) -> list[str]:
    """Where a piece counts: all, and by the paint over it."""
    if not spectrum:
        return ["all", "no spectrum"]
    paint = conditions.get("paint_um", 0.0)
    return ["all", "spectrum, painted" if paint > 0 else "spectrum, not painted"]


def macro_f1(truth: np.ndarray, named: np.ndarray) -> float:
    scores = []
    for family in np.unique(truth):
        right = float(((truth == family) & (named == family)).sum())
        scores.append(2 * right / float((truth == family).sum() + (named == family).sum()))
    return float(np.mean(scores))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pieces", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=20_261_125)
    told = parser.parse_args()
    classifier = open_classifier(None, "wrought-cast")
    found: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "fresh")
        for _ in simulate(table, Simulation(told.pieces, told.seed), workers=2):
            pass
        instruments = read_instruments(table)
        for piece in read_pieces(table):
            image = None if piece.image is None else Upload(piece.piece_id, piece.image)
            try:
                decision = classifier.classify(sensed(piece, instruments), image).decision
            except DataError:
                continue
            row = (piece.batch, FAMILIES.index(piece.family or ""), FAMILIES.index(decision.family))
            for stratum in strata_of(dict(piece.conditions), piece.spectra is not None):
                found[stratum].append(row)
    print(f"    {classifier.engine.bundle.manifest.name}, {told.pieces} pieces, seed {told.seed}")
    rng = np.random.default_rng(0)
    for stratum, rows in found.items():
        batches, numbers = np.unique([batch for batch, _, _ in rows], return_inverse=True)
        truth, named = np.array([row[1:] for row in rows]).T
        of_batch = [np.flatnonzero(numbers == number) for number in range(len(batches))]
        drawn = []
        for _ in range(DRAWS):
            chosen = np.concatenate([of_batch[i] for i in rng.integers(len(batches), size=len(batches))])
            drawn.append(macro_f1(truth[chosen], named[chosen]))
        low, high = np.percentile(drawn, [2.5, 97.5])
        f1 = f"macro-F1 {macro_f1(truth, named):.3f} ({low:.3f}-{high:.3f})"
        print(f"    {stratum:24} n {len(rows):5}  {f1}  accuracy {(truth == named).mean():.3f}")


if __name__ == "__main__":
    main()
