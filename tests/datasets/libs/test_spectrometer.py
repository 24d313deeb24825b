import numpy as np
import pytest

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.libs.spectrometer import PRESETS, build_spectrometer, draw_spectrometer
from alloysort_datasets.libs.wavelength import air_nm
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.resample import resample


def spectrometer(offset_nm=0.0, width_nm=0.15, seed=0):
    axis = np.linspace(220, 480, 2600)
    rng = np.random.default_rng(seed)
    return build_spectrometer("test", axis, np.full(2600, width_nm), rng, offset_nm=offset_nm)


def line_light(unit, vac_nm):
    """A narrow line on the unit's emission grid."""
    return np.exp(-0.5 * ((unit.grid_vac_nm - vac_nm) / 0.005) ** 2).astype(np.float32)


def line_seen(unit, vac_nm):
    """The line alone: without the light that strays everywhere."""
    seen = unit.collect(line_light(unit, vac_nm)) / unit.efficiency
    return np.where(abs(unit.instrument.wavelength_nm - vac_nm) < 3, seen - np.median(seen), 0)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("seed", range(6))
def test_every_preset_is_a_valid_instrument_within_the_stated_bounds(preset, seed):
    unit = draw_spectrometer(preset, "unit", np.random.default_rng(seed))
    axis = unit.instrument.wavelength_nm
    assert 1000 <= axis.size <= 16384
    assert 185 < axis[0] < axis[-1] < 975
    assert abs(axis - unit.true_nm).max() <= 0.6
    counts = unit.read(unit.collect(np.ones(unit.grid_vac_nm.shape, np.float32)), np.random.default_rng(0))
    assert counts.shape == axis.shape
    assert np.isfinite(counts).all()


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(SpectrumError, match="broadband"):
        draw_spectrometer("nobody's", "unit", np.random.default_rng(0))


@pytest.mark.parametrize("offset_nm", [-0.4, 0.0, 0.4])
def test_a_line_appears_where_the_wavelength_error_puts_it(offset_nm):
    unit = spectrometer(offset_nm)
    seen, axis = line_seen(unit, 350.0), unit.instrument.wavelength_nm
    near = seen > 0.1 * seen.max()
    assert (axis * seen)[near].sum() / seen[near].sum() == pytest.approx(air_nm(350.0) + offset_nm, abs=0.015)


def test_a_narrow_line_gets_the_stated_width():
    unit = spectrometer(width_nm=0.6)
    seen = line_seen(unit, 350.0)
    assert np.ptp(unit.instrument.wavelength_nm[seen > 0.5 * seen.max()]) == pytest.approx(0.6, abs=0.11)


def test_resolution_varies_with_wavelength():
    axis = np.linspace(220, 480, 2600)
    unit = build_spectrometer("wide at the end", axis, np.linspace(0.15, 0.6, 2600), np.random.default_rng(0))
    low, high = line_seen(unit, 230.0), line_seen(unit, 470.0)
    assert (high > 0.5 * high.max()).sum() > 2.5 * (low > 0.5 * low.max()).sum()


def test_a_flat_light_is_seen_flat_but_for_efficiency_and_what_strays():
    unit = spectrometer()
    seen = unit.collect(np.ones(unit.grid_vac_nm.shape, np.float32)) / unit.efficiency
    assert (seen >= 1 - 1e-6).all()
    stray = unit.stray * unit.efficiency.mean() / unit.efficiency
    np.testing.assert_allclose(seen - stray, 1 + unit.glow, rtol=0.5 * unit.glow)


def test_a_narrow_line_keeps_its_light_wherever_it_falls_between_pixels():
    unit = spectrometer(width_nm=0.3)
    areas = []
    for shift in np.linspace(0, 0.1, 7):
        light = np.exp(-0.5 * ((unit.grid_vac_nm - 350.0 - shift) / 0.05) ** 2).astype(np.float32)
        areas.append(unit.collect(light)[1000:1700].sum() / light.sum(dtype=float))
    ripple = unit.efficiency[1299] * 1e-3
    assert np.ptp(areas) < max(2e-3 * np.mean(areas), ripple)


def test_resampling_conserves_intensity():
    rng = np.random.default_rng(0)
    axis = 245 + np.cumsum(rng.uniform(0.03, 0.1, 4000))
    counts = np.cumsum(rng.normal(0, 1, 4000)) + 200
    grid = Grid(250, 500, 1500)
    (spectrum,), coverage = resample(axis, counts[None], grid)
    edges = grid.edges_nm
    dense = np.union1d(axis[(axis > edges[0]) & (axis < edges[-1])], edges[[0, -1]])
    expected = np.trapezoid(np.interp(dense, axis, counts), dense)
    assert coverage.all()
    assert (spectrum.astype(float) * np.diff(edges)).sum() == pytest.approx(expected, rel=1e-6)


def test_stitched_arms_leave_gaps():
    axis = draw_spectrometer("three-channel", "unit", np.random.default_rng(0)).instrument.wavelength_nm
    assert (np.diff(axis) > 3).sum() == 2


def test_a_blank_reads_the_dark_level_and_the_ceiling_holds():
    unit, rng = spectrometer(), np.random.default_rng(0)
    blank = np.mean([unit.read(np.zeros(2600), rng) for _ in range(60)], axis=0)
    lit = unit.dark_counts > 5 * unit.read_noise_counts
    np.testing.assert_allclose(blank[lit], unit.dark_counts[lit], atol=unit.read_noise_counts + 0.5)
    assert (unit.read(np.full(2600, 1e12), rng) == unit.instrument.saturation_counts).all()


@pytest.mark.parametrize("preset", ["compact", "echelle"])
def test_noise_grows_as_the_root_of_the_light(preset):
    unit, rng = draw_spectrometer(preset, "unit", np.random.default_rng(3)), np.random.default_rng(0)
    electrons = 0.4 * unit.instrument.saturation_counts / unit.counts_per_electron
    counts = np.stack([unit.read(np.full(unit.true_nm.size, electrons), rng) for _ in range(50)])
    photons = counts.var(axis=0, ddof=1).mean() - unit.read_noise_counts**2
    expected = unit.excess_noise * unit.counts_per_electron**2 * electrons
    assert photons == pytest.approx(expected, rel=0.05)
    assert unit.excess_noise == (2.0 if preset == "echelle" else 1.0)


def test_an_axis_outside_the_emission_grid_is_refused():
    with pytest.raises(SpectrumError, match="188-"):
        build_spectrometer("far", np.linspace(900, 1100, 100), np.full(100, 0.1), np.random.default_rng(0))


def test_light_of_another_grid_is_refused():
    unit = spectrometer()
    with pytest.raises(SpectrumError, match="looks at a grid of"):
        unit.collect(np.ones(100, np.float32))
