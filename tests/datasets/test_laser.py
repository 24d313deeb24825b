import numpy as np
import pytest

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.laser import fire, reference_exposure
from alloysort_datasets.plasma import emission_grid_nm
from alloysort_datasets.spectrometer import PRESETS, build_spectrometer, draw_spectrometer
from alloysort_datasets.wavelength import air_nm

SHEET = {"Al": 97.0, "Mg": 1.0, "Si": 1.0, "Fe": 0.5, "Cu": 0.5}


def spectrometer(offset_nm=0.0, width_nm=0.15, seed=0):
    axis = np.linspace(220, 480, 2600)
    rng = np.random.default_rng(seed)
    return build_spectrometer("test", axis, np.full(2600, width_nm), rng, offset_nm=offset_nm)


def line_light(vac_nm):
    """A narrow line on the emission grid."""
    grid = emission_grid_nm()
    return np.exp(-0.5 * ((grid - vac_nm) / 0.005) ** 2).astype(np.float32)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("seed", range(4))
def test_every_preset_gives_a_valid_instrument_and_counts(preset, seed):
    rng = np.random.default_rng(seed)
    unit = draw_spectrometer(preset, "unit", rng)
    shots = fire(SHEET, unit, 2, reference_exposure(unit, rng), rng)
    assert shots.counts.shape == (2, unit.instrument.wavelength_nm.size)
    assert shots.counts.min() >= 0
    assert shots.counts.max() <= unit.instrument.saturation_counts
    assert np.isfinite(shots.counts).all()


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(SpectrumError, match="broadband"):
        draw_spectrometer("nobody's", "unit", np.random.default_rng(0))


@pytest.mark.parametrize("offset_nm", [-0.4, 0.0, 0.4])
def test_a_line_appears_where_the_wavelength_error_puts_it(offset_nm):
    unit = spectrometer(offset_nm)
    seen = unit.collect(line_light(350.0)) / unit.efficiency
    axis = unit.instrument.wavelength_nm
    centre = (axis * seen)[seen > 0.1 * seen.max()].sum() / seen[seen > 0.1 * seen.max()].sum()
    assert centre == pytest.approx(air_nm(350.0) + offset_nm, abs=0.01)


def test_a_narrow_line_gets_the_stated_width():
    unit = spectrometer(width_nm=0.6)
    seen = unit.collect(line_light(350.0)) / unit.efficiency
    axis = unit.instrument.wavelength_nm
    assert np.ptp(axis[seen > 0.5 * seen.max()]) == pytest.approx(0.6, abs=0.11)


def test_an_axis_outside_the_emission_grid_is_refused():
    with pytest.raises(SpectrumError, match="188-"):
        build_spectrometer("far", np.linspace(900, 1100, 100), np.full(100, 0.1), np.random.default_rng(0))


def test_the_same_stream_gives_the_same_shots():
    unit = spectrometer()
    first, second = (fire(SHEET, unit, 2, 1e-3, np.random.default_rng(7)).counts for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_more_magnesium_gives_more_magnesium_light():
    unit = spectrometer()
    exposure = reference_exposure(unit, np.random.default_rng(1))
    axis = unit.instrument.wavelength_nm
    window = abs(axis - 285.213) < 0.3
    reference = abs(axis - 266.04) < 0.3
    ratios = []
    for magnesium in (0.1, 1.0):
        shots = [
            fire(
                {"Al": 100 - magnesium, "Mg": magnesium}, unit, 1, 0.1 * exposure, np.random.default_rng(s)
            ).counts[0]
            for s in range(12)
        ]
        ratios.append(np.median([counts[window].sum() / counts[reference].sum() for counts in shots]))
    assert ratios[1] > 1.5 * ratios[0]


def test_a_blank_reads_the_dark_level_and_the_ceiling_holds():
    unit = spectrometer()
    rng = np.random.default_rng(0)
    blank = unit.read(np.zeros(2600), rng)
    assert blank.mean() == pytest.approx(unit.dark_counts, abs=3 * unit.read_noise_counts + 1)
    assert (unit.read(np.full(2600, 1e12), rng) == unit.instrument.saturation_counts).all()


def test_clean_targets_vary_from_shot_to_shot_as_real_ones_do(shared_data):
    files = sorted((shared_data / "libs" / "oreas").glob("*.txt"))
    real = []
    for path in files:
        counts = np.loadtxt(path, delimiter=",")[:, 1:]
        real.append(counts.sum(axis=0).std() / counts.sum(axis=0).mean())
    unit = spectrometer()
    totals = []
    for seed in range(12):
        shots = fire(
            SHEET, unit, 10, reference_exposure(unit, np.random.default_rng(3)), np.random.default_rng(seed)
        )
        if shots.conditions["missed_shots"] == 0 and not any(
            key.endswith("cover") for key in shots.conditions
        ):
            light = shots.counts.sum(axis=1) - unit.dark_counts * 2600
            totals.append(light.std() / light.mean())
    assert 0.5 * min(real) < np.median(totals) < 1.5 * max(real)
