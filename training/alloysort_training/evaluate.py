"""How good a bundle's graph is on pieces it never saw: each figure with its 95 % interval.

Pieces of one batch are alike, so the interval comes from drawing whole batches anew, not pieces
(the cluster bootstrap). Every figure is a ratio of sums, so a batch is kept as its sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from alloysort_datasets.families import ALUMINIUM, ELEMENTS, FAMILIES
from alloysort_models.bundle.manifest import INPUTS, OUTPUTS
from alloysort_training.calibrate import NORMAL_QUANTILE, PRESENT, rows_with
from alloysort_training.prepare import Prepared

BINS: Final = 15  # of the expected calibration error (Guo et al. 2017)
RESAMPLES: Final = 1000
WITHOUT: Final = {"without_image": "spectrum", "without_spectrum": "image"}
_BATCH: Final = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a graph says of N pieces, beside what is known of them.

    Attributes:
        probabilities: (N, F).
        wt_pct, sigma: (N, E).
        novelty: (N,).
        family: (N,) int64, -1 where unknown.
        composition: (N, E) wt%, NaN where unknown.
        batch: (N,) int64.
    """

    probabilities: NDArray[np.float32]
    wt_pct: NDArray[np.float32]
    sigma: NDArray[np.float32]
    novelty: NDArray[np.float32]
    family: NDArray[np.int64]
    composition: NDArray[np.float32]
    batch: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.family)


def open_session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """A graph on one thread of the CPU: onnxruntime's spinning threads and torch's would fight for cores."""
    source = model if isinstance(model, bytes) else str(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def predict(
    session: onnxruntime.InferenceSession, prepared: Prepared, rows: NDArray[np.int64], pattern: str
) -> Predictions:
    """The graph's answers to these pieces with all their shots, sensors outside the pattern hidden."""
    collected = []
    for start in range(0, len(rows), _BATCH):
        chosen = rows[start : start + _BATCH]
        collected.append(session.run(list(OUTPUTS), feed(prepared, chosen, pattern)))
    probabilities, wt_pct, sigma, novelty = (np.concatenate(c) for c in zip(*collected, strict=True))
    labels = prepared.family[rows], prepared.composition[rows], prepared.batch[rows]
    return Predictions(probabilities, wt_pct, sigma, novelty, *labels)


def feed(prepared: Prepared, rows: NDArray[np.int64], pattern: str) -> dict[str, NDArray[Any]]:
    """The graph's inputs for these pieces; a sensor that is hidden gives zeros, as on the line."""
    batch = prepared.take(rows, np.zeros(len(rows), dtype=np.int64))
    image, spectrum = PRESENT[pattern]
    present = np.tile(np.array([image, spectrum], dtype=np.float32), (len(rows), 1))
    values = (
        batch.image.numpy() * np.uint8(image),
        batch.spectrum.numpy() * np.float32(spectrum),
        batch.coverage.numpy() * np.float32(spectrum),
        present,
    )
    return dict(zip(INPUTS, values, strict=True))


def evaluate(model: Path | bytes, prepared: Prepared, seed: int = 0) -> dict[str, Any]:
    """Every figure of `figures` on pieces that have both sensors, and again with either sensor hidden.

    Args:
        model: an ONNX graph, a file or its bytes.
        prepared: the pieces, labelled.
        seed: of the bootstrap.

    Returns:
        The figures with both sensors; `perturbations` holds those with one. Pieces without a sensor count
        only where it is not asked for; a setting that no piece allows is left out.
    """
    session = open_session(model)
    settings = {"both": "both", **WITHOUT}
    results = {}
    for name, pattern in settings.items():
        rows = rows_with(prepared, pattern)
        if len(rows):
            results[name] = figures(predict(session, prepared, rows, pattern), seed)
    return {**results.pop("both", {}), "perturbations": results}


def figures(found: Predictions, seed: int = 0) -> dict[str, Any]:
    """Macro-F1, accuracy, calibration error, composition errors and interval coverage.

    `rmse_wt_pct` and `covered_90` (the share of truths within the stated 90 % interval) are taken over
    pieces of aluminium families, `rmse_wt_pct_all` and `covered_90_all` over all.
    """
    weights = _bootstrap_weights(found.batch, seed)
    known = found.family >= 0
    aluminium = known & (found.family < len(ALUMINIUM))
    everything = np.ones(len(found), dtype=bool)
    confusion = _confusion(found)
    return {
        "n": len(found),
        "batches": len(np.unique(found.batch)),
        "macro_f1": _figure(macro_f1(weights @ confusion)),
        "accuracy": _figure(accuracy(weights @ confusion)),
        "ece": _figure(calibration_error(weights @ _reliability(found))),
        "novel": _figure(_ratio(*(weights @ _per_batch(found, [found.novelty > 1.0, everything])).T)),
        "rmse_wt_pct": _by_element(rmse(weights, found, aluminium)),
        "rmse_wt_pct_all": _by_element(rmse(weights, found, everything)),
        "covered_90": _by_element(covered(weights, found, aluminium)),
        "covered_90_all": _by_element(covered(weights, found, everything)),
        "families": list(FAMILIES),
        "confusion": confusion.sum(axis=0).reshape(len(FAMILIES), -1).astype(int).tolist(),
    }


def macro_f1(confusion: Floats) -> Floats:
    """(R, F F) confusion counts, truth by row, to (R,): the mean over families that occur."""
    square = confusion.reshape(len(confusion), len(FAMILIES), len(FAMILIES))
    right = np.diagonal(square, axis1=1, axis2=2)
    there, told = square.sum(axis=2), square.sum(axis=1)
    f1 = np.where(there > 0, 2.0 * right / np.maximum(there + told, 1.0), 0.0)
    return _ratio(f1.sum(axis=1), (there > 0).sum(axis=1))


def accuracy(confusion: Floats) -> Floats:
    """(R, F F) confusion counts to (R,)."""
    square = confusion.reshape(len(confusion), len(FAMILIES), len(FAMILIES))
    return _ratio(np.trace(square, axis1=1, axis2=2), confusion.sum(axis=1))


def calibration_error(reliability: Floats) -> Floats:
    """(R, 3 BINS) counts, summed confidence and hits to (R,) expected calibration error."""
    count, confidence, right = np.split(reliability, 3, axis=1)
    return _ratio(np.abs(confidence - right).sum(axis=1), count.sum(axis=1))


def rmse(weights: Floats, found: Predictions, chosen: NDArray[np.bool_]) -> Floats:
    """(R, E) root mean square error in wt% over the chosen pieces of known composition."""
    known = np.isfinite(found.composition) & chosen[:, None]
    error = np.where(known, found.wt_pct - found.composition, 0.0).astype(np.float64)
    root: Floats = np.sqrt(_by_batch(weights, found, error**2, known))
    return root


def covered(weights: Floats, found: Predictions, chosen: NDArray[np.bool_]) -> Floats:
    """(R, E) share of the chosen pieces whose wt% lies within the stated 90 % interval."""
    known = np.isfinite(found.composition) & chosen[:, None]
    inside = np.abs(found.wt_pct - found.composition) <= NORMAL_QUANTILE * found.sigma
    return _by_batch(weights, found, known & inside, known)


def _by_batch(weights: Floats, found: Predictions, upper: NDArray[Any], lower: NDArray[Any]) -> Floats:
    sums = weights @ _per_batch(found, [*upper.T, *lower.T])
    return _ratio(sums[:, : len(ELEMENTS)], sums[:, len(ELEMENTS) :])


def _ratio(upper: Floats, lower: Floats) -> Floats:
    """Not a number where nothing was counted."""
    ratio: Floats = np.divide(upper, lower, out=np.full(upper.shape, np.nan), where=lower > 0)
    return ratio


def _per_batch(found: Predictions, columns: list[NDArray[Any]]) -> Floats:
    """(batches, columns) sums over each batch's pieces."""
    _, place = np.unique(found.batch, return_inverse=True)
    return np.stack([np.bincount(place, weights=column) for column in columns], axis=1)


def _confusion(found: Predictions) -> Floats:
    """(batches, F F) counts of pieces of known family, truth by row."""
    _, place = np.unique(found.batch, return_inverse=True)
    counts = np.zeros((place.max() + 1, len(FAMILIES), len(FAMILIES)))
    known = found.family >= 0
    np.add.at(counts, (place[known], found.family[known], found.probabilities[known].argmax(axis=1)), 1.0)
    return counts.reshape(len(counts), -1)


def _reliability(found: Predictions) -> Floats:
    """(batches, 3 BINS): how many pieces, their confidence and their hits, by bin of confidence."""
    known = found.family >= 0
    confidence = found.probabilities.max(axis=1).astype(np.float64)
    right = (found.probabilities.argmax(axis=1) == found.family) & known
    column = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    member = (column[:, None] == np.arange(BINS)) & known[:, None]  # (N, BINS)
    return _per_batch(found, [*member.T, *(member * confidence[:, None]).T, *(member & right[:, None]).T])


def _bootstrap_weights(batch: NDArray[np.int64], seed: int) -> Floats:
    """(1 + RESAMPLES, batches): how often each batch is drawn; the first row draws each once."""
    batches = len(np.unique(batch))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(batches, np.full(batches, 1.0 / batches), size=RESAMPLES)
    return np.concatenate([np.ones((1, batches)), drawn]).astype(np.float64)


def _figure(values: Floats) -> dict[str, float | None]:
    """The first value and the interval that 95 % of the others lie in; null where nothing is known."""
    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(drawn):
        return {"value": None, "low": None, "high": None}
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": _rounded(values[0]), "low": _rounded(low), "high": _rounded(high)}


def _by_element(values: Floats) -> dict[str, dict[str, float | None]]:
    return {element: _figure(values[:, column]) for column, element in enumerate(ELEMENTS)}


def _rounded(value: float) -> float:
    return round(float(value), 5)
