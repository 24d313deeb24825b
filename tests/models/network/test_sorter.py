from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alloysort_datasets.families import ALUMINIUM, ELEMENTS, FAMILIES
from alloysort_models.bundle.inputs import VIEWS
from alloysort_models.bundle.manifest import PATTERNS
from alloysort_models.network.released import Calibration, Released, folded, pattern_of
from alloysort_models.network.sorter import (
    Sorter,
    composition_target,
    composition_wt_pct,
    condition,
)

CHANNELS = 256
PIECES = 5


def make_inputs(pieces: int = PIECES, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (pieces, 32, 32, 3), generator=generator).to(torch.uint8)
    spectrum = 300.0 + 5000.0 * torch.rand(pieces, VIEWS, CHANNELS, generator=generator) ** 8
    coverage = torch.ones(pieces, CHANNELS)
    coverage[:, 200:] = 0.0
    return image, spectrum * coverage.unsqueeze(1), coverage, torch.ones(pieces, 2)


def make_view() -> tuple[Tensor, Tensor]:
    """(B, C) counts of one view, and the coverage."""
    _, spectrum, coverage, _ = make_inputs()
    return spectrum[:, 0], coverage


@pytest.fixture(scope="module")
def sorter() -> Sorter:
    """Its batch norms have seen something, so that folding them is put to the test."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = Sorter(CHANNELS, 32, width=0.25)
        for seed in range(3):
            built(*make_inputs(16, seed))
    return built.eval()


@pytest.fixture(scope="module")
def released(sorter: Sorter) -> Released:
    generator = torch.Generator().manual_seed(1)
    features = sorter.family.in_features
    neutral = Calibration.neutral(features)
    calibration = Calibration(
        temperature=torch.tensor([1.0, 2.0, 3.0]),
        sigma_scale=neutral.sigma_scale * torch.tensor([[[1.0], [0.5]], [[2.0], [1.0]], [[3.0], [4.0]]]),
        whitening=neutral.whitening + 0.1 * torch.randn(3, features, features, generator=generator),
        centres=torch.randn(3, len(FAMILIES), features, generator=generator),
        radius=torch.tensor([1.0, 2.0, 4.0]),
        strangeness=torch.tensor([[0.0, 0.0], [0.5, 1.0], [-0.5, 2.0]]),
    )
    return Released(sorter, calibration).eval()


@pytest.mark.parametrize("factor", [1e-3, 0.37, 4096.0])
def test_gain_and_dark_level_do_not_matter(factor: float) -> None:
    spectrum, coverage = make_view()
    other = (spectrum * factor + 123.0 * factor) * coverage
    torch.testing.assert_close(
        condition(other, coverage), condition(spectrum, coverage), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("level", [0.0, 1000.0, 65535.0])
def test_a_flat_spectrum_is_blank_not_amplified_rounding(level: float) -> None:
    _, coverage = make_view()
    blank = condition(level * coverage, coverage)
    assert torch.isfinite(blank).all()
    assert blank.abs().max() < 0.1


def test_no_coverage_at_all_gives_zeros() -> None:
    nothing = torch.zeros(2, CHANNELS)
    assert not condition(nothing, nothing).any()


def test_uncovered_channels_do_not_matter() -> None:
    spectrum, coverage = make_view()
    noisy = torch.where(coverage > 0, spectrum, 0.0)
    for stray in (-5000.0, 9000.0):
        strayed = torch.where(coverage > 0, spectrum, stray)
        torch.testing.assert_close(condition(strayed, coverage), condition(noisy, coverage))


def test_coverage_in_scraps_still_has_a_floor() -> None:
    coverage = torch.zeros(1, CHANNELS)
    coverage[:, ::9] = 1.0
    conditioned = condition(torch.full((1, CHANNELS), 50.0) + torch.arange(CHANNELS), coverage)
    assert torch.isfinite(conditioned).all()
    assert conditioned.max() > 1.0


@pytest.mark.parametrize("present", [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_a_sensor_that_is_absent_says_nothing(sorter: Sorter, present: tuple[float, float]) -> None:
    image, spectrum, coverage, _ = make_inputs()
    mask = torch.tensor(present).expand(PIECES, 2)
    full = sorter(image, spectrum, coverage, mask)
    zeroed = sorter(image * int(present[0]), spectrum * present[1], coverage * present[1], mask)
    for one, other in zip(full, zeroed, strict=True):
        torch.testing.assert_close(one, other)
        assert torch.isfinite(one).all()


def test_where_a_line_is_matters(sorter: Sorter) -> None:
    image, spectrum, coverage, present = make_inputs()
    moved = torch.roll(spectrum[:, :, :200], 40, dims=2)
    moved = torch.cat([moved, spectrum[:, :, 200:]], dim=2)
    assert not torch.allclose(
        sorter(image, spectrum, coverage, present)[0], sorter(image, moved, coverage, present)[0]
    )


@pytest.mark.parametrize(("channels", "image_size"), [(100, 32), (256, 33)])
def test_sizes_that_do_not_divide_are_refused(channels: int, image_size: int) -> None:
    with pytest.raises(ValueError, match=f"channels {channels} must divide by 32"):
        Sorter(channels, image_size)


def test_the_shipped_size_keeps_its_budget() -> None:
    assert sum(p.numel() for p in Sorter().parameters()) < 2_000_000


WHOLE = torch.tensor(
    [[97.0, 1.0, 0.5, 0.01] + [0.0] * 9, [0.0, 0.0, 0.2, 60.0, 0.0, 0.0, 0.0, 0.1, 39.0] + [0.0] * 4]
)


def test_composition_is_the_inverse_of_its_target() -> None:
    target = composition_target(WHOLE)
    assert target.shape == (2, len(ELEMENTS) + 1)
    found, _ = composition_wt_pct(target, torch.full(target.shape, -3.0))
    torch.testing.assert_close(found, WHOLE, rtol=1e-3, atol=2e-3)


def test_composition_closes_to_100_where_it_is_least_sure() -> None:
    target = composition_target(WHOLE)
    log_sigma = torch.full(target.shape, -5.0)
    log_sigma[:, 0] = -3.0  # aluminium, linear in wt%: sigma 5 and more
    target[0, 0] -= 0.05  # far too little of it
    found, sigma = composition_wt_pct(target, log_sigma)
    torch.testing.assert_close(found[0], WHOLE[0], rtol=2e-2, atol=2e-2)
    assert sigma[0, 0] < 0.1  # all else is sure, so what is left is sure
    assert sigma[0, 1] > 0


def test_composition_stays_within_what_is_possible() -> None:
    wild = torch.tensor([[-50.0], [50.0]]).expand(2, len(ELEMENTS) + 1)
    found, sigma = composition_wt_pct(wild, torch.full(wild.shape, 2.0))
    assert ((found >= 0) & (found <= 100)).all()
    assert ((sigma >= 0) & (sigma <= 100)).all()


def test_released_outputs_have_the_bundles_shapes(released: Released) -> None:
    probabilities, wt_pct, sigma, surface, novelty = released(*make_inputs())
    assert probabilities.shape == (PIECES, len(FAMILIES))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(PIECES))
    assert wt_pct.shape == sigma.shape == (PIECES, len(ELEMENTS))
    assert novelty.shape == surface.shape == (PIECES,)
    assert (novelty >= 0).all()
    assert ((surface >= 0) & (surface <= 1)).all()


def test_patterns_are_told_apart() -> None:
    present = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    assert [PATTERNS[i] for i in pattern_of(present)] == ["image", "spectrum", "both", "image"]


def test_each_pattern_has_its_own_calibration(released: Released) -> None:
    inputs = make_inputs(3)
    present = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    together = released(*inputs[:3], present)
    logits, mean, log_sigma, _, stranger, features = released.sorter(*inputs[:3], present)
    for row, temperature in enumerate((1.0, 2.0, 3.0)):
        expected = torch.softmax(logits[row] / temperature, dim=0)
        torch.testing.assert_close(together[0][row], expected)
        white = features[row] @ released.whitening[row]
        nearest = (white - released.centres[row]).square().sum(dim=1).min().sqrt()
        offset, slope = released.strangeness[row]
        strange = torch.exp(slope * (stranger[row] - offset))
        torch.testing.assert_close(together[4][row], strange * nearest / released.radius[row])
    _, sigma = composition_wt_pct(mean, log_sigma)
    share = together[0][:, : len(ALUMINIUM)].sum(dim=1, keepdim=True)
    scale = share * torch.tensor([[1.0], [2.0], [3.0]]) + (1 - share) * torch.tensor([[0.5], [1.0], [4.0]])
    torch.testing.assert_close(together[2], (sigma * scale).clamp(max=100.0))


def test_folding_changes_nothing_but_the_graph(released: Released) -> None:
    flat = folded(released)
    assert not any(isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) for m in flat.modules())
    for one, other in zip(flat(*make_inputs()), released(*make_inputs()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
