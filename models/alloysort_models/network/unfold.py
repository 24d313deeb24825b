"""A released graph's weights back in the network that can be trained on.

`released.folded` put every norm into the weights before it, and that cannot be undone: what the norm was is
gone. But any norm that does nothing may stand in its place. `unfold` leaves each with the mean and variance
that its input has on some pieces, and lets it give back what it took away: the answers stay the same, and
training, whose norms go by the batch, begins where the release stood.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, cast

import torch
from torch import Tensor, nn

from alloysort_models.network.released import Calibration, Released, folded
from alloysort_models.network.sorter import Sorter

Norm = nn.BatchNorm1d | nn.BatchNorm2d
HEADS: Final = ("family", "matter", "composition")


def folded_weights(sorter: Sorter) -> dict[str, Tensor]:
    """A network's weights by name, each norm inside the weights before it."""
    graph = folded(Released(sorter, Calibration.neutral(sorter.family.in_features)))
    return {name: value.detach().clone() for name, value in graph.sorter.named_parameters()}


@torch.no_grad()
def unfold(sorter: Sorter, weights: Mapping[str, Tensor], pieces: Iterable[tuple[Tensor, ...]]) -> None:
    """Fill a network with folded weights.

    Args:
        sorter: of the same sizes; its weights are replaced.
        weights: by their name in the folded network, as `stem.0.weight`.
        pieces: batches of the network's inputs, some hundred pieces like those it will be trained on; where
            there are none it answers right, but is not fit to be trained.

    Raises:
        ValueError: a weight is missing or of another shape.
    """
    pairs = dict(_pairs(sorter))
    for name, (layer, norm) in pairs.items():
        _copy(layer.weight, weights, f"{name}.weight")
        _copy(norm.bias, weights, f"{name}.bias")
    for head in HEADS:
        linear = getattr(sorter, head)
        _copy(linear.weight, weights, f"{head}.weight")
        _copy(linear.bias, weights, f"{head}.bias")
    branch = sorter.image_branch
    stem, stem_norm = pairs["image_branch.stem.0"]
    stem.weight /= branch.scale
    stem_norm.bias.add_((stem.weight * branch.offset).flatten(1).sum(dim=1))
    _settle([norm for _, norm in pairs.values()], sorter, pieces)


def _pairs(sorter: Sorter) -> Iterator[tuple[str, tuple[nn.Conv2d | nn.Linear, Norm]]]:
    for name, block in sorter.named_modules():
        if not isinstance(block, nn.Sequential):
            continue
        for index in range(len(block) - 1):
            layer, norm = block[index], block[index + 1]
            if isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(norm, Norm):
                yield f"{name}.{index}", (layer, norm)


def _copy(into: Tensor, weights: Mapping[str, Tensor], name: str) -> None:
    if name not in weights:
        raise ValueError(f"there is no weight {name!r}")
    if weights[name].shape != into.shape:
        raise ValueError(f"{name} is {tuple(weights[name].shape)}, not {tuple(into.shape)}")
    into.copy_(weights[name])


def _settle(norms: list[Norm], sorter: Sorter, pieces: Iterable[tuple[Tensor, ...]]) -> None:
    """Each norm takes the mean and variance of its input, and gives back what it takes away."""
    for norm in norms:
        _set(norm, torch.zeros_like(norm.bias), torch.ones_like(norm.bias))
    sums: dict[nn.Module, list[Tensor]] = {
        norm: [torch.zeros(()), torch.zeros(()), torch.zeros(())] for norm in norms
    }

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found = inputs[0].transpose(0, 1).flatten(1).double()  # (filters, all else)
        seen = sums[norm]
        seen[0], seen[1] = seen[0] + found.shape[1], seen[1] + found.sum(dim=1)
        seen[2] = seen[2] + found.square().sum(dim=1)

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    sorter.eval()
    for batch in pieces:
        sorter(*batch)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        count, total, squares = sums[norm]
        if not count:
            continue
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0.0)
        _set(norm, mean, variance)
        norm.bias.add_(mean)


def _set(norm: Norm, mean: Tensor, variance: Tensor) -> None:
    cast(Tensor, norm.running_mean).copy_(mean)
    cast(Tensor, norm.running_var).copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
