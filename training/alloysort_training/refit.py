"""The layers that say what a spectrum means, moved towards a few pieces and held where they were.

What the convolutions see stays as it is; of the layers after them the maximum a posteriori is sought: the
loss of the pieces, summed, against a prior around the released weights. So a few pieces move them a little
and many move them more, what the pieces say nothing of stays, and a wrong label, which the network does not
believe, pulls little.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alloysort_datasets.families import FAMILIES
from alloysort_models.bundle.inputs import VIEWS
from alloysort_models.network.sorter import Outputs, Sorter, condition
from alloysort_training.calibrate import PRESENT
from alloysort_training.losses import composition_loss
from alloysort_training.prepared import Prepared

MOVED: Final = ("spectrum_branch.position.", "trunk.", "composition_trunk.", "family.", "composition.")
HOLD: Final = 300.0  # of the squared moves, beside the sum over pieces of their losses
MISLABELLED: Final = 0.5  # of a likelihood, that a label is any family's: a doubted piece pulls little
DOUBTED: Final = 0.02  # probability of its label below which a piece's composition is not believed either
COMPOSITION: Final = 0.5  # weight of the composition's loss, as in training
STEPS: Final = 25
LIT: Final = ("spectrum", "both")  # patterns of sensors that a spectrum is part of


class Looks(NamedTuple):
    """What the layers that stay make of N pieces under V variants of their shots, in N V rows.

    Attributes:
        pictured: (N V, image features); convolved: (N V, convolved features of the spectrum).
        present: (N V, 2) sensors.
        family: (N V,); composition: (N V, E) wt%, NaN where unknown.
        piece: (N V,) which of the N it is.
    """

    pictured: Tensor
    convolved: Tensor
    present: Tensor
    family: Tensor
    composition: Tensor
    piece: Tensor

    def of(self, pieces: NDArray[np.int64]) -> Looks:
        """Those of some of the pieces."""
        chosen = torch.isin(self.piece, torch.from_numpy(pieces))
        return Looks(*(column[chosen] for column in self))


@torch.no_grad()
def look(sorter: Sorter, prepared: Prepared) -> Looks:
    """All variants of all pieces, through the layers that stay."""
    rows = np.repeat(np.arange(len(prepared)), prepared.variants)
    batch = prepared.take(rows, np.tile(np.arange(prepared.variants), len(prepared)))
    views = [condition(batch.spectrum[:, view], batch.coverage) for view in range(VIEWS)]
    stacked = torch.stack([*views, batch.coverage], dim=1)
    return Looks(
        pictured=sorter.image_branch(batch.image),
        convolved=sorter.spectrum_branch.body(stacked.unsqueeze(2)).flatten(1),
        present=batch.present,
        family=batch.family,
        composition=batch.composition,
        piece=torch.from_numpy(rows),
    )


def judge(sorter: Sorter, looks: Looks, pattern: str) -> Outputs:
    """What the network says under a pattern of sensors, rows in order."""
    present = looks.present * torch.tensor(PRESENT[pattern])
    outputs: Outputs = sorter.judge(looks.pictured, sorter.spectrum_branch.position(looks.convolved), present)
    return outputs


def refit(sorter: Sorter, looks: Looks) -> Sorter:
    """A copy of a network in evaluation mode, its last layers at the maximum a posteriori of the looks."""
    moved = copy.deepcopy(sorter).eval()
    free = {name: weight for name, weight in moved.named_parameters() if name.startswith(MOVED)}
    prior = {name: weight.detach().clone() for name, weight in free.items()}
    portions = list(_portions(sorter, looks))
    search = torch.optim.LBFGS(
        list(free.values()), max_iter=STEPS, history_size=8, line_search_fn="strong_wolfe"
    )

    def evaluate() -> Tensor:
        search.zero_grad()
        away = torch.stack([(weight - prior[name]).square().sum() for name, weight in free.items()]).sum()
        loss = HOLD * away + torch.stack([portion.loss(moved) for portion in portions]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    search.step(evaluate)  # type: ignore[no-untyped-call]
    return moved


class _Portion(NamedTuple):
    """The looks that have the sensors of a pattern, and what the released network said of them."""

    pattern: str
    looks: Looks
    released: Outputs
    weight: Tensor  # of each row: a piece weighs 1 over all its variants and patterns

    def loss(self, sorter: Sorter) -> Tensor:
        said = judge(sorter, self.looks, self.pattern)
        losses = doubting_loss(said.logits, self.looks.family) + self._matter_moved(said)
        believed = _label_probability(self.released.logits, self.looks.family) >= DOUBTED
        known = torch.where(believed.unsqueeze(1), self.looks.composition, torch.nan)
        told = torch.isfinite(known)
        summed = (self.weight * (losses + self._composition_moved(said, told))).sum()
        pieces = (self.weight * told.any(dim=1)).sum()
        return summed + COMPOSITION * pieces * composition_loss(said, known)

    def _matter_moved(self, said: Outputs) -> Tensor:
        """(rows,): surface and strangeness are not asked of reference pieces, and are to stay."""
        return (said.surface - self.released.surface).square() + (
            said.stranger - self.released.stranger
        ).square()

    def _composition_moved(self, said: Outputs, told: Tensor) -> Tensor:
        """(rows,): elements that nobody told are to stay."""
        size = told.shape[1]
        sigma = self.released.log_sigma[:, :size].exp()
        moved = ((said.mean - self.released.mean)[:, :size] / sigma).square()
        moved = moved + (said.log_sigma - self.released.log_sigma)[:, :size].square()
        return COMPOSITION * torch.where(told, 0.0, moved).mean(dim=1)


def _portions(sorter: Sorter, looks: Looks) -> Iterator[_Portion]:
    there = {pattern: (looks.present >= torch.tensor(PRESENT[pattern])).all(dim=1) for pattern in LIT}
    ways = torch.stack(list(there.values())).sum(dim=0)
    variants = torch.bincount(looks.piece)[looks.piece]
    weight = 1.0 / (ways * variants).clamp(min=1)
    for pattern, chosen in there.items():
        if bool(chosen.any()):
            some = Looks(*(column[chosen] for column in looks))
            with torch.no_grad():
                yield _Portion(pattern, some, judge(sorter, some, pattern), weight[chosen])


def doubting_loss(logits: Tensor, family: Tensor) -> Tensor:
    """(B,) of a label that may be any family's: minus ln((1 - m) p + m / families)."""
    likely = torch.log_softmax(logits, dim=1).gather(1, family.unsqueeze(1)).squeeze(1)
    any_family = torch.full_like(likely, float(np.log(MISLABELLED / len(FAMILIES))))
    return -torch.logaddexp(likely + float(np.log(1.0 - MISLABELLED)), any_family)


def _label_probability(logits: Tensor, family: Tensor) -> Tensor:
    return torch.softmax(logits, dim=1).gather(1, family.unsqueeze(1)).squeeze(1)


def refit_temperature(logits: Tensor, family: Tensor, released: float, spread: float) -> float:
    """The temperature at the maximum a posteriori, its logarithm normal around the released one's."""
    grid = released * torch.linspace(-3.0 * spread, 3.0 * spread, 121).exp()
    losses = torch.stack([functional.cross_entropy(logits / t, family, reduction="sum") for t in grid])
    away = (grid / released).log() / spread
    return float(grid[(losses + 0.5 * away.square()).argmin()])
