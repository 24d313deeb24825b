"""Other methods on the same pieces: fitted to the training split, scored where the bundle is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import TableError
from alloysort_datasets.piece import Split
from alloysort_datasets.table.layers import LAYERS
from alloysort_datasets.table.store import read_instruments, read_pieces
from alloysort_inference.bench.accuracy.gridded import Gridded
from alloysort_inference.bench.accuracy.judge import Judged, Seen, judge_tables, see
from alloysort_inference.bench.accuracy.suite import Outcome
from alloysort_models.bundle.figures import bootstrap_weights, confusion_counts, figure, macro_f1
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.manifest import load_bundle

MOST_TRAINED: Final = 6000  # pieces, whole batches spread over the table: kernel methods cost its square
OURS: Final = "alloysort, spectrum alone"
COLUMNS: Final = ("family", "spectra", "conditions")


@dataclass(frozen=True, eq=False)
class Rival:
    """A fitted method.

    Attributes:
        name: of the method.
        tuned: what was chosen for it.
        tried: each candidate with its cross-validated macro-F1.
        seconds: that it took.
        predict: from N spectra to (N, F) probabilities.
    """

    name: str
    tuned: Mapping[str, Any]
    tried: Mapping[str, float]
    seconds: float
    predict: Callable[[Gridded], NDArray[np.float32]]


Fit = Callable[[Gridded, Grid], Iterator[Rival]]


def judge_rivals(
    fit: Fit,
    folders: Sequence[Path],
    bundle: Path,
    recipe: str,
    split: Split | None,
    suite: Mapping[str, Outcome],
    seed: int = 0,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and scores of the bundle by the spectrum alone, then of each rival as soon as it is fitted.

    Raises:
        TableError: the tables have no training split, or what is judged is that.
    """
    if split in (None, "train"):
        raise TableError("baselines learn from the training split: judge another one, as --split test")
    grid = load_bundle(bundle).grid
    train = gridded(folders, grid, "train", MOST_TRAINED)
    if not len(train):
        listed = ", ".join(map(str, folders))
        raise TableError(f"{listed}: no labelled spectrum has the split 'train': baselines learn from it")
    ours = judge_tables(folders, bundle, recipe, split, picture=False)
    ours = ours.where(ours.decided & ~ours.strange & (ours.family >= 0))
    test = gridded(folders, grid, split)
    test = _like(test, ours)
    pieces = {name: _like(one.gridded, one.alone) for name, one in suite.items()}
    judged = {name: one.alone for name, one in suite.items()}
    told = _scores(ours, ours.probabilities, seed)
    rows = {name: _suite_score(one, one.probabilities, seed) for name, one in judged.items() if len(one)}
    yield OURS, {**told, "perturbations": rows}
    for rival in fit(train, grid):
        rows = {
            name: _suite_score(judged[name], rival.predict(one), seed)
            for name, one in pieces.items()
            if len(one)
        }
        yield (
            rival.name,
            {
                **_scores(ours, rival.predict(test), seed),
                "trained_on": len(train),
                "tuned": dict(rival.tuned),
                "tried": dict(rival.tried),
                "seconds": round(rival.seconds, 1),
                "perturbations": rows,
            },
        )


def gridded(folders: Sequence[Path], grid: Grid, split: Split, most: int | None = None) -> Gridded:
    """Labelled spectra of a split that show no stranger; of more than `most` an even choice of batches."""
    kept = None if most is None else _some_batches(folders, split, most)

    def pieces() -> Iterator[Seen]:
        for folder in folders:
            instruments = read_instruments(folder)
            for seen in see(read_pieces(folder, COLUMNS, split), instruments):
                if kept is None or (seen.piece.source, seen.piece.batch) in kept:
                    yield seen

    found = Gridded.of(pieces(), grid)
    return found.where((found.family >= 0) & ~found.strange)


def _some_batches(folders: Sequence[Path], split: Split, most: int) -> set[tuple[str, str]]:
    sizes: dict[tuple[str, str], int] = {}
    for piece in read_pieces(folders, ("family",), split):
        key = (piece.source, piece.batch)
        sizes[key] = sizes.get(key, 0) + 1
    step = max(1.0, sum(sizes.values()) / most)
    names = list(sizes)
    return {names[int(place)] for place in np.arange(0, len(names), step)}


def _like(pieces: Gridded, judged: Judged) -> Gridded:
    """The pieces in the order of those judged."""
    places = {name: place for place, name in enumerate(pieces.piece_id.tolist())}
    return pieces.where(np.array([places[name] for name in judged.piece_id.tolist()], np.int64))


def _scores(judged: Judged, probabilities: NDArray[np.float32], seed: int) -> dict[str, Any]:
    right = np.asarray(probabilities.argmax(axis=1) == judged.family)
    bare = judged.layer == LAYERS.index("bare")
    return {
        "n": len(judged),
        "macro_f1": figure(_macro(judged, probabilities, seed)),
        "accuracy": round(float(right.mean()), 5),
        "bare_metal": _score_of(bare, judged, probabilities, seed),
        "ahead": figure(_macro(judged, judged.probabilities, seed) - _macro(judged, probabilities, seed)),
    }


def _score_of(
    chosen: NDArray[np.bool_], judged: Judged, probabilities: NDArray[np.float32], seed: int
) -> dict[str, float | None] | None:
    return figure(_macro(judged.where(chosen), probabilities[chosen], seed)) if chosen.any() else None


def _suite_score(judged: Judged, probabilities: NDArray[np.float32], seed: int) -> dict[str, Any]:
    return {
        "macro_f1": figure(_macro(judged, probabilities, seed)),
        "ahead": figure(_macro(judged, judged.probabilities, seed) - _macro(judged, probabilities, seed)),
    }


def _macro(judged: Judged, probabilities: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    weights = bootstrap_weights(judged.batch, seed)
    return macro_f1(weights @ confusion_counts(judged.batch, judged.family, probabilities))
