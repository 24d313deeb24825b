"""How good a bundle's graph is on pieces it never saw: each figure with its 95 % interval.

Pieces of one batch are alike, so the interval comes from drawing whole batches anew, not pieces
(the cluster bootstrap). Every figure is a ratio of sums, so a batch is kept as its sums. What a figure is
about is said by its stratum; strangers have figures of their own, and count nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from alloysort_datasets.families import ALUMINIUM, ELEMENTS, FAMILIES
from alloysort_datasets.table.layers import HIDDEN, met_by_the_laser
from alloysort_models.bundle.figures import (
    NORMAL_QUANTILE,
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
from alloysort_models.bundle.manifest import INPUTS, OUTPUTS, Thresholds
from alloysort_training.calibrate import PRESENT, rows_with
from alloysort_training.prepared import Prepared

_BATCH: Final = 64

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a graph says of N pieces, beside what is known of them.

    Attributes:
        probabilities: (N, F).
        wt_pct, sigma: (N, E).
        surface, novelty: (N,).
        family: (N,) int64, -1 where unknown.
        composition: (N, E) wt%, NaN where unknown.
        batch: (N,) int64.
        shown: (N,) the piece's own share of the late plumes, NaN where unknown.
        stranger: (N,) 1 for matter that no family describes, NaN where unknown.
        layer: (N,) in `prepare.LAYERS`.
        line_over_noise: (N,).
    """

    probabilities: NDArray[np.float32]
    wt_pct: NDArray[np.float32]
    sigma: NDArray[np.float32]
    surface: NDArray[np.float32]
    novelty: NDArray[np.float32]
    family: NDArray[np.int64]
    composition: NDArray[np.float32]
    batch: NDArray[np.int64]
    shown: NDArray[np.float32]
    stranger: NDArray[np.float32]
    layer: NDArray[np.int8]
    line_over_noise: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.family)

    def where(self, chosen: Mask) -> Predictions:
        """Those of the chosen pieces, a (N,) mask."""
        return Predictions(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @property
    def strange(self) -> Mask:
        """(N,) matter that no family describes."""
        return np.asarray(self.stranger > 0.5)

    @property
    def right(self) -> Mask:
        """(N,) the likeliest family is the true one."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.family)

    @property
    def aluminium(self) -> Mask:
        """(N,) of an aluminium family."""
        return (self.family >= 0) & (self.family < len(ALUMINIUM))


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
    probabilities, wt_pct, sigma, surface, novelty = (np.concatenate(c) for c in zip(*collected, strict=True))
    names = ("family", "composition", "batch", "stranger", "layer", "line_over_noise")
    labels = {name: getattr(prepared, name)[rows] for name in names}
    return Predictions(
        probabilities, wt_pct, sigma, surface, novelty, shown=prepared.shown[rows, 0], **labels
    )


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


def evaluate(
    graphs: Mapping[str, Path | bytes], prepared: Prepared, thresholds: Thresholds, seed: int = 0
) -> dict[str, Any]:
    """Every figure of `figures` for each pattern of sensors, over pieces that have at least these.

    Args:
        graphs: by pattern the ONNX graph that runs, a file or its bytes.
        prepared: the pieces, labelled.
        thresholds: what is accepted.
        seed: of the bootstrap.

    Returns:
        By pattern; one that no piece allows is left out. Each has `strata`, the same figures of parts.
    """
    results: dict[str, Any] = {}
    for pattern, graph in graphs.items():
        rows = rows_with(prepared, pattern)
        if not len(rows):
            continue
        found = predict(open_session(graph), prepared, rows, pattern)
        results[pattern] = figures(found.where(~found.strange), thresholds, pattern, seed)
        results[pattern]["strangers"] = strangers(found, thresholds, pattern, seed)
        results[pattern]["strata"] = {
            name: _without_tables(figures(found.where(chosen), thresholds, pattern, seed))
            for name, chosen in strata(found, pattern).items()
            if chosen.any()
        }
    return results


def _without_tables(found: dict[str, Any]) -> dict[str, Any]:
    """What a stratum tells: a bundle's manifest need not hold its confusion too."""
    left_out = ("families", "confusion", "rmse_wt_pct_all", "covered_90_all")
    return {key: value for key, value in found.items() if key not in left_out}


def strata(found: Predictions, pattern: str) -> dict[str, Mask]:
    """Parts of what is no stranger; those by what the laser met make sense where there is a spectrum."""
    if pattern == "image":
        return {}
    parts = met_by_the_laser(found.family, found.layer, found.shown, found.line_over_noise)
    parts = {name: chosen & ~found.strange for name, chosen in parts.items()}
    non_metal = parts.pop("non-metal")
    return {**parts, "bare aluminium": parts["bare metal"] & found.aluminium, "non-metal": non_metal}


def accepted(found: Predictions, thresholds: Thresholds, pattern: str) -> Mask:
    """(N,) pieces whose family is to be trusted."""
    sure = found.probabilities.max(axis=1) >= thresholds.confidence.of(pattern)
    return np.asarray(sure & _trusted(found, thresholds, pattern))


def taken_for_aluminium(found: Predictions, thresholds: Thresholds, pattern: str) -> Mask:
    """(N,) pieces that are accepted as aluminium."""
    share = found.probabilities[:, : len(ALUMINIUM)].sum(axis=1)
    top = found.probabilities.argmax(axis=1) < len(ALUMINIUM)
    return np.asarray(
        top & (share >= thresholds.aluminium.of(pattern)) & _trusted(found, thresholds, pattern)
    )


def _trusted(found: Predictions, thresholds: Thresholds, pattern: str) -> Mask:
    shown = np.ones(len(found), dtype=bool) if pattern == "image" else found.surface >= thresholds.surface
    return np.asarray(shown & (found.novelty <= thresholds.novelty))


def figures(found: Predictions, thresholds: Thresholds, pattern: str, seed: int = 0) -> dict[str, Any]:
    """Macro-F1, accuracy, calibration error, what is accepted, composition errors and interval coverage.

    `rmse_wt_pct` and `covered_90` (the share of truths within the stated 90 % interval) are taken over
    pieces of aluminium families, `rmse_wt_pct_all` and `covered_90_all` over all.
    """
    weights = bootstrap_weights(found.batch, seed)
    everything = np.ones(len(found), dtype=bool)
    told = (found.batch, found.family, found.probabilities)
    confusion, reliability = confusion_counts(*told), reliability_counts(*told)
    taken = accepted(found, thresholds, pattern)
    foreign = (found.family >= 0) & ~found.aluminium

    def share(upper: Mask, lower: Mask) -> dict[str, float | None]:
        return figure(ratio(*(weights @ per_batch(found.batch, [upper & lower, lower])).T))

    return {
        "n": len(found),
        "batches": len(np.unique(found.batch)),
        "macro_f1": figure(macro_f1(weights @ confusion)),
        "accuracy": figure(accuracy(weights @ confusion)),
        "ece": figure(calibration_error(weights @ reliability)),
        "novel": share(found.novelty > thresholds.novelty, everything),
        "accepted": share(taken, everything),
        "accepted_right": share(found.right, taken & (found.family >= 0)),
        "foreign_as_aluminium": share(taken_for_aluminium(found, thresholds, pattern), foreign),
        "aluminium_as_aluminium": share(taken_for_aluminium(found, thresholds, pattern), found.aluminium),
        "rmse_wt_pct": _by_element(rmse(weights, found, found.aluminium)),
        "rmse_wt_pct_all": _by_element(rmse(weights, found, everything)),
        "covered_90": _by_element(covered(weights, found, found.aluminium)),
        "covered_90_all": _by_element(covered(weights, found, everything)),
        "families": list(FAMILIES),
        "confusion": confusion.sum(axis=0).reshape(len(FAMILIES), -1).astype(int).tolist(),
    }


def strangers(found: Predictions, thresholds: Thresholds, pattern: str, seed: int = 0) -> dict[str, Any]:
    """How matter that no family describes is told from known matter, and what of it passes."""
    strange = found.where(found.strange & ~(found.shown < HIDDEN))
    if not len(strange):
        return {"n": 0}
    known = found.where(~found.strange & ~(found.shown < HIDDEN))
    weights = bootstrap_weights(strange.batch, seed)

    def share(chosen: Mask) -> dict[str, float | None]:
        everything = np.ones(len(strange), dtype=bool)
        return figure(ratio(*(weights @ per_batch(strange.batch, [chosen, everything])).T))

    # of all pairs of a stranger and a known piece, those in which the stranger is the more novel
    ranks = np.searchsorted(np.sort(known.novelty), strange.novelty) / max(len(known), 1)
    everything = np.ones(len(strange), dtype=bool)
    return {
        "n": len(strange),
        "novelty_auroc": figure(ratio(*(weights @ per_batch(strange.batch, [ranks, everything])).T)),
        "novel": share(strange.novelty > thresholds.novelty),
        "accepted": share(accepted(strange, thresholds, pattern)),
        "as_aluminium": share(taken_for_aluminium(strange, thresholds, pattern)),
    }


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
    sums = weights @ per_batch(found.batch, [*upper.T, *lower.T])
    return ratio(sums[:, : len(ELEMENTS)], sums[:, len(ELEMENTS) :])


def _by_element(values: Floats) -> dict[str, dict[str, float | None]]:
    return {element: figure(values[:, column]) for column, element in enumerate(ELEMENTS)}
