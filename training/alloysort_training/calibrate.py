"""After training: what makes the network's numbers true, fitted on the calibration split.

For each pattern of sensors (image only, spectrum only, both) a temperature, a factor on each element's
sigma, and the shape of the known in feature space (from the training split) with its radius.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_models.bundle.manifest import Thresholds
from alloysort_models.network.released import PATTERNS, UNSEEN, Calibration, Released, mahalanobis
from alloysort_models.network.sorter import Sorter, composition_wt_pct
from alloysort_training.config import Acceptance
from alloysort_training.prepare import Prepared

PRESENT: Final = dict(zip(PATTERNS, ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)), strict=True))
INTERVAL: Final = 0.90  # the two-sided interval whose coverage is made true
NORMAL_QUANTILE: Final = 1.6449  # half the width of that interval in standard deviations
FEWEST: Final = 50  # pieces below which a statistic is left alone
SHRINKAGE: Final = 0.02  # of the mean variance, added to each feature's: no direction is infinitely sharp
_MOST_FITTED: Final = 20_000  # training pieces that the feature covariance is taken from
_BATCH: Final = 512


@dataclass(frozen=True, eq=False)
class Answers:
    """What the network says of N pieces under one pattern, beside what is known of them."""

    logits: Tensor
    mean: Tensor
    log_sigma: Tensor
    features: Tensor
    family: Tensor
    composition: Tensor

    def __len__(self) -> int:
        return len(self.family)


def calibrate(
    sorter: Sorter, fitted: Prepared, held_out: Prepared, acceptance: Acceptance
) -> tuple[Released, Thresholds]:
    """Fit the calibration of a trained network.

    Args:
        sorter: trained.
        fitted: the training split, for the shape of the known.
        held_out: the calibration split, for all else.
        acceptance: what share of accepted pieces is to be right, and of known pieces not novel.

    Returns:
        The network with its calibration, and the thresholds.
    """
    parts = []
    answers = {pattern: ask(sorter, held_out, pattern, np.arange(held_out.variants)) for pattern in PATTERNS}
    for pattern in PATTERNS:
        shape = ask(sorter, fitted, pattern, np.zeros(1, dtype=np.int64), most=_MOST_FITTED)
        parts.append(_calibrate_pattern(answers[pattern], shape, acceptance.novelty_quantile))
    calibration = Calibration(
        **{
            field.name: torch.stack([getattr(part, field.name) for part in parts])
            for field in fields(Calibration)
        }
    )
    best = next(pattern for pattern in reversed(PATTERNS) if len(answers[pattern]) or pattern == PATTERNS[0])
    temperature = calibration.temperature[PATTERNS.index(best)]
    confidence = confidence_threshold(answers[best], temperature, acceptance.accepted_precision)
    return Released(sorter, calibration).eval(), Thresholds(confidence=confidence, novelty=1.0)


def rows_with(prepared: Prepared, pattern: str) -> NDArray[np.int64]:
    """Pieces that have at least the sensors of this pattern."""
    return np.flatnonzero((prepared.present >= np.array(PRESENT[pattern])).all(axis=1))


@torch.no_grad()
def ask(
    sorter: Sorter, prepared: Prepared, pattern: str, variants: NDArray[np.int64], most: int | None = None
) -> Answers:
    """What the network says of pieces that have this pattern's sensors, others hidden, for each variant."""
    rows = rows_with(prepared, pattern)
    if most is not None and len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    if pattern == "image":
        variants = variants[:1]  # without the spectrum its variants are all alike
    rows, chosen = np.repeat(rows, len(variants)), np.tile(variants, len(rows))
    collected: list[tuple[Tensor, ...]] = []
    for start in range(0, len(rows), _BATCH):
        batch = prepared.take(rows[start : start + _BATCH], chosen[start : start + _BATCH])
        present = torch.tensor(PRESENT[pattern]).expand(len(batch.family), 2)
        outputs = sorter(batch.image, batch.spectrum, batch.coverage, present)
        collected.append((*outputs, batch.family, batch.composition))
    if not collected:
        return _nothing(sorter)
    return Answers(*(torch.cat(column) for column in zip(*collected, strict=True)))


def fit_temperature(logits: Tensor, family: Tensor) -> Tensor:
    """The temperature of the likeliest probabilities, sought on a grid from 1/4 to 4."""
    known = family >= 0
    if int(known.sum()) < FEWEST:
        return torch.tensor(1.0)
    grid = torch.logspace(-2.0, 2.0, 161, base=2.0)
    losses = torch.stack([functional.cross_entropy(logits[known] / t, family[known]) for t in grid])
    return grid[losses.argmin()]


def fit_sigma_scale(answers: Answers) -> Tensor:
    """(E,) factors with which `INTERVAL` of the known wt% lie within the stated interval."""
    wt_pct, sigma = composition_wt_pct(answers.mean, answers.log_sigma)
    ratio = (wt_pct - answers.composition).abs() / sigma.clamp(min=1e-9)
    scale = torch.ones(len(ELEMENTS))
    for element in range(len(ELEMENTS)):
        known = ratio[:, element][torch.isfinite(ratio[:, element])]
        if len(known) >= FEWEST:
            scale[element] = _quantile(known, INTERVAL) / NORMAL_QUANTILE
    return scale.clamp(min=1e-3)


def fit_shape(features: Tensor, family: Tensor) -> tuple[Tensor, Tensor]:
    """Whitening (D, D) and whitened centres (F, D) of the families' features, with shared covariance."""
    size = features.shape[1]
    centres = torch.full((len(FAMILIES), size), UNSEEN)
    known = family >= 0
    if int(known.sum()) < FEWEST:
        return torch.eye(size), torch.zeros(len(FAMILIES), size)
    exact, labels = features[known].double(), family[known]
    members = functional.one_hot(labels, len(FAMILIES)).double()  # (N, F)
    means = (members.T @ exact) / members.sum(dim=0).clamp(min=1.0).unsqueeze(1)
    spread = exact - means[labels]
    covariance = spread.T @ spread / len(spread)
    covariance += torch.eye(size) * (SHRINKAGE * covariance.diagonal().mean() + 1e-12)
    whitening = torch.linalg.cholesky(torch.linalg.inv(covariance))  # W Wᵀ = covariance⁻¹
    there = members.sum(dim=0) > 0
    centres[there] = (means @ whitening)[there].float()
    return whitening.float(), centres


def confidence_threshold(answers: Answers, temperature: Tensor, precision: float) -> float:
    """The lowest confidence above which `precision` of the pieces are named rightly; 0.99 if none is."""
    known = answers.family >= 0
    confidence, told = torch.softmax(answers.logits[known] / temperature, dim=1).max(dim=1)
    right = (told == answers.family[known]).double()
    for threshold in np.arange(0.30, 0.99, 0.01):
        accepted = right[confidence >= threshold]
        if len(accepted) >= FEWEST and float(accepted.mean()) >= precision:
            return round(float(threshold), 2)
    return 0.99


def _calibrate_pattern(answers: Answers, shape: Answers, quantile: float) -> Calibration:
    whitening, centres = fit_shape(shape.features, shape.family)
    radius = torch.tensor(1.0)
    if len(answers) >= FEWEST:
        only = torch.zeros(len(answers), dtype=torch.int64)
        distance = mahalanobis(answers.features, only, whitening.unsqueeze(0), centres.unsqueeze(0))
        radius = _quantile(distance, quantile).clamp(min=1e-6)
    return Calibration(
        temperature=fit_temperature(answers.logits, answers.family),
        sigma_scale=fit_sigma_scale(answers),
        whitening=whitening,
        centres=centres,
        radius=radius,
    )


def _nothing(sorter: Sorter) -> Answers:
    hidden, elements = sorter.family.in_features, len(ELEMENTS)
    empty = {"logits": len(FAMILIES), "mean": elements, "log_sigma": elements, "features": hidden}
    blank = {name: torch.empty(0, size) for name, size in empty.items()}
    return Answers(**blank, family=torch.empty(0, dtype=torch.int64), composition=torch.empty(0, elements))


def _quantile(values: Tensor, level: float) -> Tensor:
    """torch.quantile gives up above 16 million values, NumPy does not."""
    return torch.tensor(float(np.quantile(values.numpy(), level)))
