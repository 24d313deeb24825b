"""The network as it is released: calibrated, with a novelty score, its outputs those of a bundle's graph.

What is calibrated depends on which sensors saw the piece, so every statistic is kept once per *pattern*:
image only, spectrum only, both.
"""

from __future__ import annotations

import copy
import io
from dataclasses import dataclass, fields
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from alloysort_datasets.families import ALUMINIUM, ELEMENTS, FAMILIES
from alloysort_models.bundle.manifest import PATTERNS
from alloysort_models.network.sorter import Sorter, composition_wt_pct

UNSEEN: Final = 1e4  # whitened coordinate of a family without pieces: nothing is ever near it


@dataclass(frozen=True)
class Calibration:
    """What is fitted after training, on P = 3 patterns, F families, E elements and D features.

    Attributes:
        temperature: (P,), divides the logits (Guo et al. 2017, arXiv 1706.04599).
        sigma_scale: (P, 2, E), multiplies the composition's standard deviation: of what is taken for
            aluminium, and of all else.
        whitening: (P, D, D), makes the families' shared covariance of the features the identity.
        centres: (P, F, D), whitened mean features of each family.
        radius: (P,), the Mahalanobis distance to the nearest centre (Lee et al. 2018, arXiv 1807.03888)
            that is called novelty 1 where nothing speaks for a stranger.
        strangeness: (P, 2), novelty is distance / radius x exp(s1 (stranger's logit - s0)).
    """

    temperature: Tensor
    sigma_scale: Tensor
    whitening: Tensor
    centres: Tensor
    radius: Tensor
    strangeness: Tensor

    @classmethod
    def neutral(cls, features: int) -> Calibration:
        """Changes nothing: the network's own probabilities and sigmas."""
        patterns = len(PATTERNS)
        return cls(
            temperature=torch.ones(patterns),
            sigma_scale=torch.ones(patterns, 2, len(ELEMENTS)),
            whitening=torch.eye(features).repeat(patterns, 1, 1),
            centres=torch.zeros(patterns, len(FAMILIES), features),
            radius=torch.ones(patterns),
            strangeness=torch.zeros(patterns, 2),
        )

    def to_bytes(self) -> bytes:
        """As a bundle's `calibration.npz`."""
        file = io.BytesIO()
        np.savez(file, **{field.name: getattr(self, field.name).numpy() for field in fields(self)})
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Calibration:
        """Of a bundle's `calibration.npz`.

        Raises:
            ValueError: it holds something else.
        """
        with np.load(io.BytesIO(content)) as arrays:
            names = [field.name for field in fields(cls)]
            if sorted(arrays) != sorted(names):
                raise ValueError(f"holds {', '.join(sorted(arrays))}, not {', '.join(sorted(names))}")
            return cls(**{name: torch.from_numpy(arrays[name]) for name in names})


class Released(nn.Module):
    """A trained `Sorter` and its calibration; in and out as `bundle.manifest` says."""

    temperature: Tensor
    sigma_scale: Tensor
    whitening: Tensor
    centres: Tensor
    radius: Tensor
    strangeness: Tensor

    def __init__(self, sorter: Sorter, calibration: Calibration) -> None:
        super().__init__()
        self.sorter = sorter
        for name, values in vars(calibration).items():
            self.register_buffer(name, values.to(torch.float32))

    @property
    def calibration(self) -> Calibration:
        """As it was given."""
        return Calibration(**{field.name: getattr(self, field.name).clone() for field in fields(Calibration)})

    def forward(
        self, image: Tensor, spectrum: Tensor, coverage: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Probabilities (B, F), composition and its sigma (B, E) in wt%, surface and novelty (B,)."""
        logits, mean, log_sigma, surface, stranger, features = self.sorter(image, spectrum, coverage, present)
        pattern = pattern_of(present)
        probabilities = torch.softmax(logits / self.temperature[pattern].unsqueeze(1), dim=1)
        wt_pct, sigma = composition_wt_pct(mean, log_sigma)
        aluminium = probabilities[:, : len(ALUMINIUM)].sum(dim=1, keepdim=True)
        of_aluminium, of_others = self.sigma_scale[pattern].unbind(dim=1)
        scale = of_others + (of_aluminium - of_others) * aluminium
        sigma = (sigma * scale).clamp(0.0, 100.0)
        return probabilities, wt_pct, sigma, torch.sigmoid(surface), self.novelty(features, stranger, pattern)

    def novelty(self, features: Tensor, stranger: Tensor, pattern: Tensor) -> Tensor:
        """(B,) of (B, D) features and (B,) stranger's logits under their (B,) pattern."""
        offset, slope = self.strangeness[pattern].unbind(dim=1)
        strange = (slope * (stranger - offset)).clamp(-10.0, 10.0).exp()
        return strange * self.distance(features, pattern) / self.radius[pattern]

    def distance(self, features: Tensor, pattern: Tensor) -> Tensor:
        """(B,) Mahalanobis distance of (B, D) features to the nearest family of their (B,) pattern."""
        return mahalanobis(features, pattern, self.whitening, self.centres)


def pattern_of(present: Tensor) -> Tensor:
    """(B, 2) presence of image and spectrum to the index in PATTERNS (B,); 0 where neither is there."""
    seen = (present > 0.5).to(torch.int64)
    return (seen[:, 0] + 2 * seen[:, 1] - 1).clamp(min=0)


def mahalanobis(features: Tensor, pattern: Tensor, whitening: Tensor, centres: Tensor) -> Tensor:
    """Distance to the nearest centre.

    Args:
        features: (B, D).
        pattern: (B,) index in PATTERNS.
        whitening: (P, D, D).
        centres: (P, F, D), whitened.

    Returns:
        (B,).
    """
    patterns, _, size = centres.shape
    every = features @ whitening.permute(1, 0, 2).reshape(size, patterns * size)  # (B, P D)
    chosen = torch.nn.functional.one_hot(pattern, patterns).to(features.dtype)  # (B, P)
    white = (every.reshape(-1, patterns, size) * chosen.unsqueeze(2)).sum(dim=1)  # (B, D)
    squared = (white.unsqueeze(1) - centres[pattern]).square().sum(dim=2)  # (B, F)
    return squared.amin(dim=1).sqrt()


def folded(released: Released) -> Released:
    """A copy for inference: batch norm, and the picture's scaling, inside the weights before them."""
    copied = copy.deepcopy(released).eval()
    for module in list(copied.modules()):
        if isinstance(module, nn.Sequential):
            _fold_norms(module)
    _fold_scaling(copied.sorter)
    return copied


def _fold_norms(block: nn.Sequential) -> None:
    for index in range(len(block) - 1):
        layer, norm = block[index], block[index + 1]
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            block[index] = fuse_conv_bn_eval(layer, norm)
            block[index + 1] = nn.Identity()
        elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            block[index] = fuse_linear_bn_eval(layer, norm)
            block[index + 1] = nn.Identity()


def _fold_scaling(sorter: Sorter) -> None:
    branch = sorter.image_branch
    stem = cast(nn.Conv2d, branch.stem[0])
    bias = cast(Tensor, stem.bias)
    with torch.no_grad():
        bias -= (stem.weight * branch.offset).sum(dim=(1, 2, 3))
        stem.weight *= branch.scale
    branch.scale.fill_(1.0)
    branch.offset.fill_(0.0)
