"""The shipped bundle on pieces that the simulator makes today, through the pipeline that the line runs.

    .venv/bin/python benchmarks/fresh_pieces.py                       # about a minute
    .venv/bin/python benchmarks/fresh_pieces.py --pieces 8000 --seed 7 --images fast

Pieces of a balanced stream with one stranger in twenty; units and pieces are none of the training table's
(another seed). Without pictures unless asked: what the laser met decides the strata. Intervals are 95 %, from
1,000 draws of whole batches. `F1` is macro-F1; `accepted` is what the answer says, `right` the share of
these; `as Al` of what is no aluminium the share accepted as such; late plumes by their share of metal.
Strangers count in their own row only.

Seen with the first command, simulator and bundle of this commit:

    fourth-light, 4000 pieces, seed 20261125
    strangers             n  189 F1 0.544 (0.466-0.619) accepted 0.132 right 0.400 as Al 0.021 novel 0.720
    all                   n 3728 F1 0.908 (0.897-0.918) accepted 0.715 right 0.996 as Al 0.000 novel 0.023
    bare                  n 1084 F1 0.929 (0.912-0.947) accepted 0.850 right 0.997 as Al 0.000 novel 0.004
    late plumes over half n 3106 F1 0.930 (0.920-0.941) accepted 0.811 right 0.996 as Al 0.000 novel 0.004
    thin films            n 1890 F1 0.928 (0.915-0.940) accepted 0.790 right 0.995 as Al 0.000 novel 0.006
    paint                 n  433 F1 0.764 (0.715-0.803) accepted 0.381 right 1.000 as Al 0.000 novel 0.111
    late plumes without   n  124 F1 0.301 (0.213-0.384) accepted 0.016 right 1.000 as Al 0.000 novel 0.452
    anodising             n   71 F1 0.864 (0.778-0.928) accepted 0.577 right 1.000 as Al nan novel 0.000
    zinc coat             n   55 F1 0.991 (0.971-1.000) accepted 0.709 right 1.000 as Al 0.000 novel 0.200
    non-metal             n  195 F1 0.982 (0.966-0.995) accepted 0.026 right 1.000 as Al 0.000 novel 0.051
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
from alloysort_datasets.table.layers import HIDDEN, MOSTLY, layer_of, own_shares
from alloysort_datasets.table.store import read_instruments, read_pieces
from alloysort_inference.pipeline import Classifier, Upload, open_classifier
from alloysort_models.bundle.inputs import hit_shots, shown_late

DRAWS = 1000


class Judged(NamedTuple):
    """A piece's truth and what the answer says of it."""

    batch: str
    truth: int
    named: int
    accepted: bool
    aluminium: bool
    novel: bool


def strata_of(piece: Piece) -> list[str]:
    """Where a piece counts."""
    if piece.conditions.get("stranger"):
        return ["strangers"]
    if piece.spectra is None:
        return ["all", "no spectrum"]
    if piece.family == "non-metal":
        return ["all", "non-metal"]
    own = shown_late(own_shares(piece.conditions, len(piece.spectra)), hit_shots(piece.spectra))
    layer = layer_of(piece.conditions)
    hidden = own < HIDDEN and layer != "anodising"  # a film of the alloy's own elements shows them
    part = ["late plumes over half"] * (own > MOSTLY) + ["late plumes without"] * hidden
    return ["all", layer, *part]


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


SHARES: dict[str, Callable[[list[Judged]], float]] = {
    "accepted": share(lambda row: row.accepted, lambda _: True),
    "right": share(lambda row: row.named == row.truth, lambda row: row.accepted),
    "as Al": share(lambda row: row.aluminium, lambda row: row.truth >= 11),
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
        shares = " ".join(f"{name} {figure(rows):.3f}" for name, figure in SHARES.items())
        print(f"    {stratum:21} n {len(rows):4} F1 {with_interval(macro_f1, rows)} {shares}")


if __name__ == "__main__":
    main()
