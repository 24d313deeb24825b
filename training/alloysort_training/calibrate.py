"""After training: what makes the network's numbers true, fitted on the calibration split.

For each pattern of sensors (image only, spectrum only, both) a temperature, a factor on each element's
sigma, the shape of the known in feature space (from the training split) with its radius, what the stranger's
logit adds to it, and the bars that an assessment must pass to be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alloysort_datasets.families import ALUMINIUM, ELEMENTS, FAMILIES
from alloysort_datasets.table.layers import HIDDEN, LAYERS, NON_METAL
from alloysort_models.bundle.figures import NORMAL_QUANTILE
from alloysort_models.bundle.manifest import PATTERNS, Bars, Thresholds
from alloysort_models.network.released import UNSEEN, Calibration, Released, mahalanobis
from alloysort_models.network.sorter import Sorter, composition_wt_pct
from alloysort_training.config import Acceptance
from alloysort_training.prepared import Prepared

PRESENT: Final = dict(zip(PATTERNS, ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)), strict=True))
INTERVAL: Final = 0.90  # the two-sided interval whose coverage is made true
FEWEST: Final = 50  # pieces below which a statistic is left alone
UNFITTED: Final = 1e6  # radius where too few pieces tell what is far: then nothing is novel
SHRINKAGE: Final = 0.02  # of the mean variance, added to each feature's: no direction is infinitely sharp
_NEWTON_STEPS: Final = 25
_LEAST_BY_DISTANCE: Final = 0.1  # weight of the distance in what is novel: never the trained logit alone
_MOST_FITTED: Final = 20_000  # training pieces that the feature covariance is taken from
_BATCH: Final = 512


@dataclass(frozen=True, eq=False)
class Answers:
    """What the network says of N pieces under one pattern, beside what is known of them."""

    logits: Tensor
    mean: Tensor
    log_sigma: Tensor
    surface: Tensor
    stranger: Tensor
    features: Tensor
    family: Tensor
    composition: Tensor
    shown: Tensor
    strange: Tensor
    layer: Tensor

    def __len__(self) -> int:
        return len(self.family)

    def where(self, chosen: Tensor) -> Answers:
        """Those of the chosen pieces, a (N,) mask."""
        return Answers(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @property
    def hidden(self) -> Tensor:
        """(N,) metals of which the late plumes hold nothing; an anodic film is of the alloy's elements."""
        metal = (self.family >= 0) & (self.family != NON_METAL)
        return metal & (self.shown < HIDDEN) & (self.layer != LAYERS.index("anodising"))

    @property
    def known(self) -> Tensor:
        """(N,) pieces that the model can be asked about: no strangers, and not hidden under a layer."""
        return ~(self.strange > 0.5) & ~(self.shown < HIDDEN)

    @property
    def named(self) -> Tensor:
        """(N,) known pieces of known family."""
        return self.known & (self.family >= 0)


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
    released = Released(sorter, calibration).eval()
    return released, fit_thresholds(released, answers, acceptance)


def fit_thresholds(released: Released, answers: dict[str, Answers], acceptance: Acceptance) -> Thresholds:
    """The bars on calibration pieces: known ones, strangers, and those hidden under a layer.

    The bar of surface holds back hidden pieces that confidence alone would accept, and so comes between a
    first and a last fit of the bars of confidence.
    """
    asked = {pattern: _Asked.of(released, found, pattern) for pattern, found in answers.items()}
    first = Bars(**{pattern: one.confidence_bar(0.0, acceptance) for pattern, one in asked.items()})
    surface = surface_bar([asked[p] for p in ("spectrum", "both")], first, acceptance.hidden_taken)
    return Thresholds(
        confidence=Bars(
            **{pattern: one.confidence_bar(surface, acceptance) for pattern, one in asked.items()}
        ),
        aluminium=Bars(**{pattern: one.aluminium_bar(surface, acceptance) for pattern, one in asked.items()}),
        surface=surface,
        novelty=1.0,
    )


@dataclass(frozen=True, eq=False)
class _Asked:
    """What the calibrated network says of N pieces under one pattern.

    Attributes:
        pattern: of sensors.
        confidence, aluminium, surface, novelty: (N,).
        right: (N,) the likeliest family is the true one.
        truth: what is known of the pieces.
    """

    pattern: str
    confidence: Tensor
    aluminium: Tensor
    surface: Tensor
    novelty: Tensor
    right: Tensor
    truth: Answers

    @classmethod
    def of(cls, released: Released, found: Answers, pattern: str) -> _Asked:
        index = PATTERNS.index(pattern)
        probabilities = torch.softmax(found.logits / released.temperature[index], dim=1)
        told = probabilities.max(dim=1)
        surface = torch.sigmoid(found.surface)
        return cls(
            pattern=pattern,
            confidence=told.values,
            aluminium=probabilities[:, : len(ALUMINIUM)].sum(dim=1),
            surface=torch.ones_like(surface) if pattern == "image" else surface,
            novelty=released.novelty(found.features, found.stranger, torch.full((len(found),), index)),
            right=told.indices == found.family,
            truth=found,
        )

    def confidence_bar(self, surface: float, acceptance: Acceptance) -> float:
        """Strangers set no bar here: no name of theirs would be right, they are for novelty to hold back."""
        judged = self._trusted(surface) & (self.truth.family >= 0) & ~(self.truth.strange > 0.5)
        return lowest_bar(self.confidence[judged], self.right[judged], acceptance.accepted_precision)

    def aluminium_bar(self, surface: float, acceptance: Acceptance) -> float:
        trusted, family = self._trusted(surface), self.truth.family
        belongs = (family >= 0) & (family < len(ALUMINIUM))
        others = int((~belongs).sum())
        return bar_against(self.aluminium[trusted], belongs[trusted], others, acceptance.foreign_taken)

    def _trusted(self, surface: float) -> Tensor:
        return (self.novelty <= 1.0) & (self.surface >= surface)


def surface_bar(asked: Sequence[_Asked], confidence: Bars, taken: float) -> float:
    """The lowest surface at which so small a share of hidden pieces is accepted; 0 where none are known."""
    reached, hidden = [], 0
    for one in asked:
        chosen = one.truth.hidden
        hidden += int(chosen.sum())
        sure = (one.confidence >= confidence.of(one.pattern)) & (one.novelty <= 1.0)
        reached.append(one.surface[chosen & sure])
    if hidden < FEWEST:
        return 0.0
    found = np.sort(torch.cat(reached).numpy())[::-1]
    allowed = int(taken * hidden)
    return 0.0 if len(found) <= allowed else round(min(float(found[allowed]) + 5e-4, 0.99), 3)


def lowest_bar(confidence: Tensor, right: Tensor, precision: float) -> float:
    """The lowest confidence above which `precision` of the pieces are named rightly; 0.99 if none is."""
    for bar in np.arange(0.30, 0.995, 0.01):
        accepted = right[confidence >= bar].double()
        if len(accepted) >= FEWEST and float(accepted.mean()) >= precision:
            return round(float(bar), 2)
    return 0.99


def bar_against(share: Tensor, belongs: Tensor, others: int, taken: float) -> float:
    """The lowest share that at most `taken` of the `others` reach; never under one half.

    Args:
        share: (N,) of trusted pieces.
        belongs: (N,) whether they are what is sought.
        others: how many pieces are not, trusted or not.
        taken: of them.
    """
    wrong = np.sort(share[~belongs].numpy())[::-1]
    allowed = int(taken * others)
    if len(wrong) <= allowed:
        return 0.5
    return round(min(max(float(np.nextafter(wrong[allowed], np.float32(2.0))) + 5e-4, 0.5), 0.999), 3)


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
        collected.append(
            (*outputs, batch.family, batch.composition, batch.shown, batch.stranger, batch.layer)
        )
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
    """(2, E) factors with which `INTERVAL` of the known wt% lie within the stated interval.

    Of what the network takes for aluminium first, then of all else: one factor would be right for neither.
    """
    wt_pct, sigma = composition_wt_pct(answers.mean, answers.log_sigma)
    ratio = (wt_pct - answers.composition).abs() / sigma.clamp(min=1e-9)
    aluminium = answers.logits.argmax(dim=1) < len(ALUMINIUM)
    scale = torch.ones(2, len(ELEMENTS))
    for row, chosen in enumerate((aluminium, ~aluminium)):
        for element in range(len(ELEMENTS)):
            known = ratio[chosen, element][torch.isfinite(ratio[chosen, element])]
            if len(known) >= FEWEST:
                scale[row, element] = _quantile(known, INTERVAL) / NORMAL_QUANTILE
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


def fit_strangeness(distance: Tensor, logit: Tensor, strange: Tensor) -> tuple[Tensor, Tensor]:
    """How much the stranger's logit adds to the logarithm of the distance: (offset, slope).

    Logistic regression of known pieces and strangers, by Newton's method; no slope without strangers.
    """
    if int(strange.sum()) < FEWEST or int((~strange).sum()) < FEWEST:
        return torch.tensor(0.0), torch.tensor(0.0)
    table = torch.stack([distance.clamp(min=1e-6).log(), logit, torch.ones_like(logit)], dim=1).double()
    weights, target = torch.zeros(3, dtype=torch.float64), strange.double()
    ridge = torch.diag(torch.tensor([1e-3, 1e-3, 0.0], dtype=torch.float64)) * len(table)
    for _ in range(_NEWTON_STEPS):
        told = torch.sigmoid(table @ weights)
        curvature = (table * (told * (1 - told)).unsqueeze(1)).T @ table + ridge
        weights -= torch.linalg.solve(curvature, table.T @ (told - target) + ridge @ weights)
    by_distance = max(float(weights[0]), _LEAST_BY_DISTANCE)
    slope = max(float(weights[1]), 0.0) / by_distance
    return logit[~strange].median(), torch.tensor(slope)


def _calibrate_pattern(answers: Answers, shape: Answers, quantile: float) -> Calibration:
    fitted = shape.where(shape.known)
    whitening, centres = fit_shape(fitted.features, fitted.family)
    radius, strangeness = torch.tensor(UNFITTED), torch.zeros(2)
    shown = answers.where(~(answers.shown < HIDDEN))
    if len(shown) >= FEWEST:
        only = torch.zeros(len(shown), dtype=torch.int64)
        distance = mahalanobis(shown.features, only, whitening.unsqueeze(0), centres.unsqueeze(0))
        strange = shown.strange > 0.5
        strangeness = torch.stack(fit_strangeness(distance, shown.stranger, strange))
        novelty = distance * (strangeness[1] * (shown.stranger - strangeness[0])).clamp(-10.0, 10.0).exp()
        radius = _quantile(novelty[~strange], quantile).clamp(min=1e-6)
    named = answers.where(answers.named)
    return Calibration(
        temperature=fit_temperature(named.logits, named.family),
        sigma_scale=fit_sigma_scale(answers.where(answers.known)),
        whitening=whitening,
        centres=centres,
        radius=radius,
        strangeness=strangeness,
    )


def _nothing(sorter: Sorter) -> Answers:
    hidden, elements = sorter.family.in_features, len(ELEMENTS) + 1
    widths = {"logits": len(FAMILIES), "mean": elements, "log_sigma": elements, "features": hidden}
    blank = {name: torch.empty(0, width) for name, width in widths.items()}
    single = {name: torch.empty(0) for name in ("surface", "stranger", "shown", "strange")}
    whole = {name: torch.empty(0, dtype=torch.int64) for name in ("family", "layer")}
    return Answers(**blank, **single, **whole, composition=torch.empty(0, len(ELEMENTS)))


def _quantile(values: Tensor, level: float) -> Tensor:
    """torch.quantile gives up above 16 million values, NumPy does not."""
    return torch.tensor(float(np.quantile(values.numpy(), level)))
