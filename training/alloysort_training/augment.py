"""What training does to a batch, so that other instruments, other light and a missing sensor are not news.

Everything works on whole batches on their device, and draws from one generator: same seed, same batch.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Generator, Tensor
from torch.nn import functional

from alloysort_training.config import Augmentation
from alloysort_training.prepared import Batch

_KNOTS: Final = 8  # of the smooth efficiency curve over the range


def augment(batch: Batch, how: Augmentation, generator: Generator) -> Batch:
    """A batch as another instrument might have seen it; labels stay."""
    coverage = cut_range(batch.coverage, how, generator)
    spectrum = shift(batch.spectrum, how.shift_channels, generator)
    spectrum = disturb(spectrum, batch.coverage, how, generator) * coverage.unsqueeze(1)
    return batch._replace(
        image=repaint(turn(batch.image, generator), how, generator),
        spectrum=spectrum,
        coverage=coverage,
    )


def cut_range(coverage: Tensor, how: Augmentation, generator: Generator) -> Tensor:
    """(B, C): some spectra lose their ends or get a gap; none loses everything it had."""
    count, channels = coverage.shape
    where = (torch.arange(channels, device=coverage.device) + 0.5) / channels  # (C,)
    draw = _uniform((7, count, 1), coverage, generator)
    low = draw[0] * how.crop_part * (draw[1] < how.crop)
    high = 1.0 - draw[2] * how.crop_part * (draw[3] < how.crop)
    wide = draw[4] * how.gap_part * (draw[5] < how.gap)
    in_gap = (where >= draw[6]) & (where < draw[6] + wide)
    cut = coverage * ((where >= low) & (where <= high) & ~in_gap)
    return torch.where(
        cut.sum(dim=1, keepdim=True) >= 0.25 * coverage.sum(dim=1, keepdim=True), cut, coverage
    )


def shift(spectrum: Tensor, most: float, generator: Generator) -> Tensor:
    """(B, K, C) moved by up to `most` channels either way, a fraction by linear interpolation."""
    count, views, channels = spectrum.shape
    move = (2.0 * _uniform((count, 1, 1), spectrum, generator) - 1.0) * most
    position = torch.arange(channels, device=spectrum.device) - move  # (B, 1, C)
    below = position.floor()
    part = position - below
    index = below.to(torch.int64).expand(count, views, channels)
    left = spectrum.gather(2, index.clamp(0, channels - 1))
    right = spectrum.gather(2, (index + 1).clamp(0, channels - 1))
    return torch.lerp(left, right, part)


def disturb(spectrum: Tensor, coverage: Tensor, how: Augmentation, generator: Generator) -> Tensor:
    """(B, K, C) under another efficiency curve, with more noise; the curve is the same for all views."""
    count, _, channels = spectrum.shape
    knots = _normal((count, 1, _KNOTS), spectrum, generator) * how.gain
    curve = functional.interpolate(knots, size=channels, mode="linear", align_corners=True).exp()
    seen = coverage.sum(dim=1).clamp(min=1.0)[:, None, None]
    mean = (spectrum * coverage.unsqueeze(1)).sum(dim=2, keepdim=True) / seen  # (B, K, 1)
    noise = mean * how.noise * _uniform((count, 1, 1), spectrum, generator)
    return spectrum * curve + noise * _normal(tuple(spectrum.shape), spectrum, generator)


def turn(image: Tensor, generator: Generator) -> Tensor:
    """(B, H, H, 3): each picture in one of its eight orientations, for scrap lies as it fell."""
    which = torch.randint(8, (len(image),), device=image.device, generator=generator)
    turned = image.clone()
    for orientation in range(1, 8):
        chosen = which == orientation
        pictures = torch.rot90(image[chosen], orientation % 4, dims=(1, 2))
        turned[chosen] = pictures.flip(1) if orientation >= 4 else pictures
    return turned


def repaint(image: Tensor, how: Augmentation, generator: Generator) -> Tensor:
    """(B, H, H, 3) uint8 to float 0-255 in another light."""
    light = _normal((len(image), 1, 1, 1), image, generator) * how.brightness
    colour = _normal((len(image), 1, 1, 3), image, generator) * how.colour
    return (image.to(torch.float32) * torch.exp(light + colour)).clamp(0.0, 255.0)


def _uniform(shape: tuple[int, ...], like: Tensor, generator: Generator) -> Tensor:
    return torch.rand(shape, device=like.device, generator=generator)


def _normal(shape: tuple[int, ...], like: Tensor, generator: Generator) -> Tensor:
    return torch.randn(shape, device=like.device, generator=generator)
