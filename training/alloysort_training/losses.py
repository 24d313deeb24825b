"""What training minimises; pieces of unknown family or composition count only where they are known."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from alloysort_models.network.sorter import Outputs, composition_target

BETA: Final = 0.5  # 0: plain likelihood, which gives up on what is hard; 1: mean squared error


def family_loss(
    logits: Tensor, family: Tensor, label_smoothing: float, weight: Tensor | None = None
) -> Tensor:
    """Cross entropy over the (B,) known families (not -1), weighed by (F,) of each; 0 when none is known."""
    known = family >= 0
    summed = functional.cross_entropy(
        logits, family, weight, ignore_index=-1, label_smoothing=label_smoothing, reduction="sum"
    )
    if weight is None:
        return summed / known.sum().clamp(min=1)
    weights = torch.where(known, weight[family.clamp(min=0)], 0.0).sum()
    return summed / weights.clamp(min=1e-6)


def share_loss(logits: Tensor, share: Tensor) -> Tensor:
    """Cross entropy of (B,) logits with known shares from 0 to 1 (not NaN); 0 when none is known."""
    known = torch.isfinite(share)
    losses = functional.binary_cross_entropy_with_logits(
        logits, torch.where(known, share, 0.0), reduction="none"
    )
    return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)


def composition_loss(outputs: Outputs, wt_pct: Tensor) -> Tensor:
    """Beta-weighted Gaussian likelihood (Seitzer et al. 2022, arXiv 2203.09168) over the known wt%.

    Args:
        outputs: of the network.
        wt_pct: (B, E), NaN where unknown.

    Returns:
        A number, 0 when nothing is known.
    """
    known = torch.isfinite(wt_pct)
    target = composition_target(torch.where(known, wt_pct, 0.0))
    known = torch.cat([known, known.all(dim=1, keepdim=True)], dim=1)  # what is left of 100
    squared = (outputs.mean - target).square() * torch.exp(-2.0 * outputs.log_sigma)
    likelihood = 0.5 * squared + outputs.log_sigma
    weighted = likelihood * torch.exp(2.0 * BETA * outputs.log_sigma.detach())
    return torch.where(known, weighted, 0.0).sum() / known.sum().clamp(min=1)
