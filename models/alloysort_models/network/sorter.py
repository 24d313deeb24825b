"""The network: one branch for the picture, one for the spectrum, either of them may be missing.

    image    (B, H, H, 3) ─► ImageBranch    ─► (B, 128) ─┐             ┌─► trunk ─► family, surface, stranger
    spectrum (B, K, C) ─┐                                ├─► x present ┤
    coverage (B, C) ────┴──► SpectrumBranch ─► (B, 256) ─┘             └─► trunk ─► composition, log sigma

Dense convolutions, ReLU and batch norm only: after folding, what onnxruntime runs fast, in int8 too.
All that follows resampling and resizing is inside, so nothing has to be done alike in two places.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_models.bundle.inputs import VIEWS

FLOOR_WINDOW: Final = 8  # channels averaged before the floor is sought, so that one noisy channel is not it
BLANK: Final = 1e-5  # of the mean counts: light below this above the floor is rounding, not a spectrum
COMPRESSION: Final = 10.0  # log1p(10 x): noise (x < 0.1) stays linear, lines (x up to 300) become comparable
SCALE_WT_PCT: Final = {"Al": 100.0}  # below, the composition head is linear in wt%; above, logarithmic
OTHER_SCALE_WT_PCT: Final = 0.1
LOG_SIGMA: Final = (-6.0, 2.0)  # of asinh(wt% / scale): a relative error of 0.2 % up to "no idea"
_TINY: Final = 1e-30
_MID_GREY: Final = 127.5


class Outputs(NamedTuple):
    """What the network says of B pieces.

    Attributes:
        logits: (B, families).
        mean: (B, elements + 1), asinh(wt% / scale), see `scale_wt_pct`; the last is of all other elements.
        log_sigma: (B, elements + 1), natural logarithm of the standard deviation of `mean`.
        surface: (B,), logit of the share of metal in what the late shots ablated.
        stranger: (B,), logit of being matter that no family describes.
        features: (B, 128), what the logits are linear functions of.
    """

    logits: Tensor
    mean: Tensor
    log_sigma: Tensor
    surface: Tensor
    stranger: Tensor
    features: Tensor


class Sorter(nn.Module):
    """Picture and spectrum to family logits and composition.

    Args:
        channels: of the wavelength grid, a multiple of 32.
        image_size: pixels along an edge, a multiple of 16.
        width: factor on the number of filters.

    Raises:
        ValueError: the sizes are not such multiples.
    """

    def __init__(self, channels: int = 2048, image_size: int = 96, width: float = 1.0) -> None:
        super().__init__()
        if channels % 32 or image_size % 16:
            raise ValueError(f"channels {channels} must divide by 32 and image_size {image_size} by 16")
        image_features, spectrum_features, hidden = (_filters(n, width) for n in (128, 256, 128))
        self.image_branch = ImageBranch(image_features, width)
        self.spectrum_branch = SpectrumBranch(channels, spectrum_features, width)
        fused = image_features + spectrum_features + 2
        self.trunk = _dense(fused, hidden)
        self.composition_trunk = _dense(fused, hidden)
        self.family = nn.Linear(hidden, len(FAMILIES))
        self.matter = nn.Linear(hidden, 2)  # surface, stranger
        self.composition = nn.Linear(hidden, 2 * (len(ELEMENTS) + 1))

    def forward(self, image: Tensor, spectrum: Tensor, coverage: Tensor, present: Tensor) -> Outputs:
        """The bundle's inputs (see `bundle.manifest`) to logits, composition and features."""
        return self.judge(self.image_branch(image), self.spectrum_branch(spectrum, coverage), present)

    def judge(self, pictured: Tensor, lit: Tensor, present: Tensor) -> Outputs:
        """The branches' vectors to what the network says; a branch that is not present says nothing.

        Training judges one look at a piece three times: with both sensors and with either one.
        """
        seen = (present > 0.5).to(pictured.dtype)  # (B, 2)
        fused = torch.cat([pictured * seen[:, :1], lit * seen[:, 1:], seen], dim=1)
        features = self.trunk(fused)
        mean, log_sigma = self.composition(self.composition_trunk(fused)).chunk(2, dim=1)
        surface, stranger = self.matter(features).unbind(dim=1)
        return Outputs(self.family(features), mean, log_sigma.clamp(*LOG_SIGMA), surface, stranger, features)


class ImageBranch(nn.Module):
    """uint8 (or float 0-255) NHWC pictures to one vector each; a small residual network."""

    scale: Tensor
    offset: Tensor

    def __init__(self, features: int, width: float) -> None:
        super().__init__()
        narrow, middle, wide = (_filters(n, width) for n in (32, 48, 96))
        self.register_buffer("scale", torch.tensor(4.0 / 255.0))
        self.register_buffer("offset", torch.tensor(_MID_GREY * 4.0 / 255.0))
        self.stem = nn.Sequential(
            nn.Conv2d(3, narrow, 4, stride=4, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()
        )
        self.body = nn.Sequential(
            _conv(narrow, middle, (3, 3), (2, 2)),
            Residual(middle),
            _conv(middle, wide, (3, 3), (2, 2)),
            _conv(wide, features, (3, 3), (2, 2)),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, H, H, 3) to (B, features)."""
        pixels = image.to(torch.float32).permute(0, 3, 1, 2) * self.scale - self.offset  # (B, 3, H, H)
        pooled: Tensor = self.body(self.stem(pixels)).mean(dim=(2, 3))
        return pooled


class SpectrumBranch(nn.Module):
    """A spectrum's views as a 1 x C picture to one vector; never pooled over C: where a line is says what."""

    def __init__(self, channels: int, features: int, width: float) -> None:
        super().__init__()
        narrow, middle, wide = (_filters(n, width) for n in (32, 48, 64))
        self.body = nn.Sequential(
            _conv(VIEWS + 1, narrow, (1, 8), (1, 4)),
            _conv(narrow, middle, (1, 5), (1, 2)),
            _conv(middle, wide, (1, 5), (1, 2)),
            _conv(wide, wide, (1, 3), (1, 2)),
        )
        self.position = _dense(wide * channels // 32, features)

    def forward(self, spectrum: Tensor, coverage: Tensor) -> Tensor:
        """(B, K, C) counts and (B, C) coverage to (B, features)."""
        views = [condition(spectrum[:, view], coverage) for view in range(VIEWS)]
        stacked = torch.stack([*views, coverage], dim=1)  # (B, K + 1, C)
        vector: Tensor = self.position(self.body(stacked.unsqueeze(2)).flatten(1))
        return vector


class Residual(nn.Module):
    """A dense 3 x 3 convolution beside the identity."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(filters, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, filters, h, w) to the same."""
        out: Tensor = functional.relu(x + self.conv(x))
        return out


def condition(spectrum: Tensor, coverage: Tensor) -> Tensor:
    """Counts to what the network looks at: floor off, scaled to the mean of the seen channels, compressed.

    Neither the instrument's gain nor its dark level changes the result; a blank spectrum gives zeros.

    Args:
        spectrum: (B, C) counts.
        coverage: (B, C), 1 where seen.

    Returns:
        (B, C), 0 where not seen.
    """
    seen = coverage.sum(dim=1, keepdim=True).clamp(min=1.0)
    level = (spectrum.abs() * coverage).sum(dim=1, keepdim=True) / seen
    light = ((spectrum - _floor(spectrum, coverage)) * coverage).clamp(min=0.0)
    mean = light.sum(dim=1, keepdim=True) / seen
    scale = torch.maximum(mean, BLANK * level).clamp(min=_TINY)
    return torch.log1p(COMPRESSION * (light / scale))


def composition_wt_pct(mean: Tensor, log_sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The composition head's output in wt%, closed to 100, and its standard deviation by the delta method.

    What is missing from 100, or too much, goes to the elements by their variance, as the least squares under
    this one constraint have it: in aluminium, to aluminium.

    Args:
        mean, log_sigma: (B, elements + 1), see `Outputs`.

    Returns:
        wt% and its standard deviation, each (B, elements), within 0-100; other elements' part is left out.
    """
    scale = scale_wt_pct(mean)
    growth = torch.exp(mean.clamp(-10.0, 10.0))
    wt_pct = scale * 0.5 * (growth - 1.0 / growth)  # sinh, out of what every runtime knows
    slope = scale * 0.5 * (growth + 1.0 / growth)  # cosh
    variance = (slope * torch.exp(log_sigma)).clamp(1e-4, 100.0).square()
    wt_pct = wt_pct.clamp(0.0, 100.0)
    total = variance.sum(dim=1, keepdim=True)
    closed = wt_pct + variance / total * (100.0 - wt_pct.sum(dim=1, keepdim=True))
    # of all others, summed and not subtracted from the total: float32 would lose what is small
    others = variance @ (1.0 - torch.eye(variance.shape[1], device=variance.device))
    sigma = (variance * others / total).clamp(min=1e-8).sqrt()
    return closed[:, :-1].clamp(0.0, 100.0), sigma[:, :-1].clamp(0.0, 100.0)


def composition_target(wt_pct: Tensor) -> Tensor:
    """(B, elements) wt% to (B, elements + 1) of the head's space; the last is of what is left of 100."""
    whole = torch.cat([wt_pct, (100.0 - wt_pct.sum(dim=1, keepdim=True)).clamp(min=0.0)], dim=1)
    return torch.asinh(whole / scale_wt_pct(whole))


def scale_wt_pct(like: Tensor) -> Tensor:
    """(elements + 1,): traces matter of all but aluminium, of which a piece is made or not."""
    elements = (*ELEMENTS, "others")
    return like.new_tensor([SCALE_WT_PCT.get(element, OTHER_SCALE_WT_PCT) for element in elements])


def _floor(spectrum: Tensor, coverage: Tensor) -> Tensor:
    """(B, 1): the lowest short average among windows that are seen whole, else the lowest seen channel."""
    stacked = torch.stack([spectrum, 1.0 - coverage], dim=1)  # (B, 2, C)
    averaged = functional.avg_pool1d(stacked, FLOOR_WINDOW)
    average, hidden = averaged[:, 0], averaged[:, 1]
    highest = spectrum.abs().amax(dim=1, keepdim=True) + 1.0
    lowest = torch.where(hidden > 0, highest, average).amin(dim=1, keepdim=True)
    lowest_channel = torch.where(coverage > 0.5, spectrum, highest).amin(dim=1, keepdim=True)
    return torch.where(hidden.amin(dim=1, keepdim=True) > 0, lowest_channel, lowest)


def _filters(count: int, width: float) -> int:
    return max(8, round(count * width / 8.0) * 8)


def _conv(entering: int, leaving: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.Sequential:
    """Convolution that leaves size / stride, norm, ReLU."""
    padding = (_padding(kernel[0], stride[0]), _padding(kernel[1], stride[1]))
    return nn.Sequential(
        nn.Conv2d(entering, leaving, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(leaving),
        nn.ReLU(),
    )


def _padding(kernel: int, stride: int) -> int:
    return kernel // 2 if kernel % 2 else (kernel - stride) // 2


def _dense(entering: int, leaving: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(entering, leaving, bias=False), nn.BatchNorm1d(leaving), nn.ReLU())
