from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.spectrum import Spectrum
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.inputs import (
    LINE_SIGMAS,
    Look,
    hit_shots,
    is_dark,
    line_over_noise,
    prepare_image,
    prepare_spectrum,
    unread,
)
from alloysort_models.bundle.resample import resample

GRID = Grid(250.0, 500.0, 256)


@given(
    start=st.floats(150.0, 400.0),
    length=st.floats(10.0, 600.0),
    channels=st.integers(2, 3000),
    bins=st.integers(2, 3000),
    seed=st.integers(0, 2**32 - 1),
)
def test_resampling_conserves_the_integral(
    start: float, length: float, channels: int, bins: int, seed: int
) -> None:
    axis = np.linspace(start, start + length, channels)
    counts = np.random.default_rng(seed).uniform(0.0, 1000.0, channels)
    grid = Grid(axis[0], axis[-1], bins)
    (spectrum,), coverage = resample(axis, counts[None], grid)
    assert coverage.all()
    total = float((spectrum.astype(np.float64) * np.diff(grid.edges_nm)).sum())
    assert total == pytest.approx(np.trapezoid(counts, axis), rel=1e-6)


def test_resampling_a_smooth_spectrum_conserves_the_integral_to_a_millionth() -> None:
    axis = np.linspace(240.0, 510.0, 20_000)
    counts = 1000.0 * np.exp(-0.5 * ((axis - 380.0) / 10.0) ** 2)
    (spectrum,), _ = resample(axis, counts[None], GRID)
    total = float((spectrum.astype(np.float64) * np.diff(GRID.edges_nm)).sum())
    assert total == pytest.approx(1000.0 * 10.0 * np.sqrt(2.0 * np.pi), rel=1e-6)


def test_a_gap_between_stitched_channels_is_not_covered() -> None:
    axis = np.concatenate([np.linspace(240.0, 330.0, 900), np.linspace(360.0, 520.0, 1600)])
    (spectrum,), coverage = resample(axis, np.full((1, axis.size), 7.0), GRID)
    middle = GRID.wavelength_nm
    assert not coverage[(middle > 331.0) & (middle < 359.0)].any()
    assert coverage[(middle < 329.0) | (middle > 361.0)].all()
    np.testing.assert_allclose(spectrum, 7.0 * coverage, rtol=1e-6)


def test_channels_outside_the_range_are_zero_and_not_covered() -> None:
    axis = np.linspace(300.0, 400.0, 500)
    (spectrum,), coverage = resample(axis, np.ones((1, 500)), GRID)
    edges = GRID.edges_nm
    np.testing.assert_array_equal(coverage, (edges[:-1] >= 300.0) & (edges[1:] <= 400.0))
    assert not spectrum[coverage == 0].any()


def test_a_range_that_misses_the_grid_is_refused_with_both_ranges() -> None:
    with pytest.raises(SpectrumError, match=r"covers 600\.0-700\.0 nm, none of the model's 250-500 nm"):
        resample(np.linspace(600.0, 700.0, 100), np.ones((1, 100)), GRID)


@pytest.mark.parametrize(("start", "stop", "channels"), [(0.0, 10.0, 5), (5.0, 5.0, 5), (1.0, 2.0, 1)])
def test_an_empty_grid_is_refused(start: float, stop: float, channels: int) -> None:
    with pytest.raises(ValidationError, match=r"start_nm|greater than"):
        Grid(start, stop, channels)


def test_the_grid_has_constant_resolving_power() -> None:
    steps = np.diff(GRID.edges_nm) / GRID.wavelength_nm
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)


def test_shots_that_missed_do_not_dilute_the_mean() -> None:
    axis = np.linspace(240.0, 510.0, 800)
    line = 100.0 + 5000.0 * np.exp(-0.5 * ((axis - 396.15) / 0.5) ** 2)
    shots = np.stack([line, np.full(800, 100.0), line]).astype(np.float32)
    np.testing.assert_array_equal(hit_shots(shots), [True, False, True])
    alone, _ = prepare_spectrum(axis, Look.at(shots[:1]), GRID)
    together, _ = prepare_spectrum(axis, Look.at(shots), GRID)
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_if_every_shot_is_dark_all_are_kept() -> None:
    assert hit_shots(np.zeros((4, 50), dtype=np.float32)).all()


@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_every_picture_becomes_a_square(height: int, width: int) -> None:
    assert prepare_image(np.full((height, width, 3), 9, dtype=np.uint8), 64).shape == (64, 64, 3)


def test_a_picture_keeps_its_aspect_and_its_edge_repeats() -> None:
    wide = np.zeros((50, 200, 3), dtype=np.uint8)
    wide[:, 100:] = 200
    square = prepare_image(wide, 64)
    assert (square[:, :31] == 0).all()
    assert (square[:, 33:] == 200).all()
    disc = np.zeros((100, 200, 3), dtype=np.uint8)
    disc[25:75, 75:125] = 255
    bright = prepare_image(disc, 64)[..., 0] > 127
    assert abs(bright.any(axis=0).sum() - bright.any(axis=1).sum()) <= 1


def line_at(nm: float, height: float, axis: np.ndarray) -> np.ndarray:
    return 100.0 + height * np.exp(-0.5 * ((axis - nm) / 0.5) ** 2)


def test_the_second_view_is_of_the_later_hits() -> None:
    axis = np.linspace(240.0, 510.0, 800)
    paint, metal, missed = line_at(300.0, 5e3, axis), line_at(396.0, 5e3, axis), np.full(800, 100.0)
    shots = np.stack([paint, paint, missed, metal, metal]).astype(np.float32)
    hit = hit_shots(shots)
    assert hit.tolist() == [True, True, False, True, True]
    (whole, late), _ = prepare_spectrum(axis, Look.at(shots), GRID)
    at = [int(np.argmin(abs(GRID.wavelength_nm - nm))) for nm in (300.0, 396.0)]
    assert whole[at].min() > 1000
    assert late[at[1]] > 1000 > 101 > late[at[0]]


def test_one_shot_is_both_views() -> None:
    axis = np.linspace(240.0, 510.0, 800)
    spectrum = Spectrum(axis, line_at(300.0, 5e3, axis)[None].astype(np.float32))
    views, _ = prepare_spectrum(spectrum.wavelength_nm, Look.at(spectrum.shots), GRID)
    np.testing.assert_array_equal(views[0], views[1])


@pytest.mark.parametrize("missed", [1, 2])
def test_one_of_three_missed_shots_is_found_and_so_are_two(missed: int) -> None:
    axis = np.linspace(240.0, 510.0, 4000)
    rng = np.random.default_rng(0)
    heights = [5e3] * (3 - missed) + [0.15 * 5e3] * missed
    shots = np.stack([line_at(396.0, height, axis) for height in heights])
    noisy = (shots + rng.normal(0.0, 5.0, shots.shape)).astype(np.float32)
    assert hit_shots(noisy).sum() == 3 - missed


def test_a_stretch_that_reads_0_is_not_covered_and_a_cut_background_is() -> None:
    axis = np.linspace(240.0, 510.0, 2000)
    counts = np.stack([line_at(396.0, 5e3, axis)] * 3).astype(np.float32)
    counts[:, (axis > 300.0) & (axis < 330.0)] = 0.0
    counts[:, 5] = 0.0  # one pixel is a reading
    _, coverage = prepare_spectrum(axis, Look.at(counts), GRID)
    middle = GRID.wavelength_nm
    assert not coverage[(middle > 300.0) & (middle < 330.0)].any()
    assert coverage[(middle < 298.0) | (middle > 332.0)].all()
    assert not unread((counts - 100.0).clip(min=0.0)).any()


@given(st.integers(0, 10_000))
def test_pure_noise_shows_no_line(seed: int) -> None:
    assert line_over_noise(np.random.default_rng(seed).normal(1000, 30, 4000)) < LINE_SIGMAS


def test_a_line_is_as_high_as_it_stands_over_the_noise() -> None:
    axis = np.linspace(240.0, 510.0, 1000)
    noisy = line_at(396.0, 3000.0, axis) + np.random.default_rng(0).normal(0.0, 10.0, 1000)
    # the wings' mean adds half a variance to the noise of the rise
    assert line_over_noise(noisy) == pytest.approx(3000.0 / (10.0 * np.sqrt(1.5)), rel=0.15)
    assert line_over_noise(np.full(100, 7.0)) == 0.0


def test_black_is_dark() -> None:
    assert is_dark(np.full((8, 8, 3), 10, np.uint8))
    assert not is_dark(np.full((8, 8, 3), 30, np.uint8))
