from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.spectrum import Spectrum
from alloysort_models.bundle.inputs import Grid, hit_shots, prepare_image, prepare_spectrum, resample

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
    spectrum, coverage = resample(axis, counts, grid)
    assert coverage.all()
    total = float((spectrum.astype(np.float64) * np.diff(grid.edges_nm)).sum())
    assert total == pytest.approx(np.trapezoid(counts, axis), rel=1e-6)


def test_resampling_a_smooth_spectrum_conserves_the_integral_to_a_millionth() -> None:
    axis = np.linspace(240.0, 510.0, 20_000)
    counts = 1000.0 * np.exp(-0.5 * ((axis - 380.0) / 10.0) ** 2)
    spectrum, _ = resample(axis, counts, GRID)
    total = float((spectrum.astype(np.float64) * np.diff(GRID.edges_nm)).sum())
    assert total == pytest.approx(1000.0 * 10.0 * np.sqrt(2.0 * np.pi), rel=1e-6)


def test_a_gap_between_stitched_channels_is_not_covered() -> None:
    axis = np.concatenate([np.linspace(240.0, 330.0, 900), np.linspace(360.0, 520.0, 1600)])
    spectrum, coverage = resample(axis, np.full(axis.size, 7.0), GRID)
    middle = GRID.wavelength_nm
    assert not coverage[(middle > 331.0) & (middle < 359.0)].any()
    assert coverage[(middle < 329.0) | (middle > 361.0)].all()
    np.testing.assert_allclose(spectrum, 7.0 * coverage, rtol=1e-6)


def test_channels_outside_the_range_are_zero_and_not_covered() -> None:
    axis = np.linspace(300.0, 400.0, 500)
    spectrum, coverage = resample(axis, np.ones(500), GRID)
    edges = GRID.edges_nm
    np.testing.assert_array_equal(coverage, (edges[:-1] >= 300.0) & (edges[1:] <= 400.0))
    assert not spectrum[coverage == 0].any()


def test_a_range_that_misses_the_grid_is_refused_with_both_ranges() -> None:
    with pytest.raises(SpectrumError, match=r"covers 600\.0-700\.0 nm, none of the model's 250-500 nm"):
        resample(np.linspace(600.0, 700.0, 100), np.ones(100), GRID)


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
    alone, _ = prepare_spectrum(Spectrum(axis, shots[:1]), hit_shots(shots[:1]), GRID)
    together, _ = prepare_spectrum(Spectrum(axis, shots), hit_shots(shots), GRID)
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
