import numpy as np
import pytest

from alloysort_datasets.errors import AlloyError, SpectrumError
from alloysort_datasets.libs.atomic import atomic_data
from alloysort_datasets.libs.fit import (
    CANDIDATES,
    GASES,
    Plume,
    emission_lines,
    fit_plasma,
    parse_composition,
    rank_elements,
)
from alloysort_datasets.libs.plasma import Zone, emission_grid_nm, radiance
from alloysort_datasets.libs.wavelength import air_nm

OFFSET_NM = 0.21
AXIS = np.linspace(215.0, 640.0, 3600)
AIR = {"N": 4, "O": 1.3}


def measure(composition, core):
    """One shot of a plain spectrometer: 0.25 nm wide, uneven efficiency, an offset, noise; counts."""
    fractions = atomic_data().fractions({**composition, **AIR})
    light = radiance(fractions, core, Zone(5500, 2e16, 0.01)).astype(float)
    fine = np.arange(200.0, 660.0, 0.01)
    kernel = np.exp(-4 * np.log(2) * (np.arange(-60, 61) * 0.01 / 0.25) ** 2)
    blurred = np.convolve(np.interp(fine, air_nm(emission_grid_nm()), light), kernel / kernel.sum(), "same")
    efficiency = np.interp(AXIS, [200, 300, 420, 550, 660], [0.1, 0.7, 1, 0.5, 0.2])
    seen = np.interp(AXIS - OFFSET_NM, fine, blurred) * efficiency
    noise = np.random.default_rng(3).normal(0, 20, len(AXIS))
    return np.rint(200 + 40_000 * seen / seen.max() + noise)


@pytest.fixture(scope="module")
def copper():
    return measure({"Cu": 95}, Zone(11000, 1e17, 0.02))


@pytest.fixture(scope="module")
def copper_fit(copper):
    return fit_plasma(AXIS, copper, {"Cu": 100})


def test_a_simulated_metal_is_fitted_with_the_offset_of_its_spectrometer(copper_fit):
    assert copper_fit.similarity > 0.9
    assert copper_fit.plume.offset_nm == pytest.approx(OFFSET_NM, abs=0.04)
    assert copper_fit.true_nm(AXIS)[1800] == pytest.approx(AXIS[1800] - OFFSET_NM, abs=0.04)


def test_a_simulated_metal_is_fitted_near_its_temperature_and_density():
    fit = fit_plasma(AXIS, measure({"Fe": 95}, Zone(9000, 1.5e17, 0.005)), {"Fe": 100})
    assert fit.plume.temperature_k == pytest.approx(9000, rel=0.15)
    assert 5e16 < fit.plume.electron_density_cm3 < 5e17


def test_the_simulated_lines_stand_where_the_measured_ones_do(copper, copper_fit):
    near = abs(AXIS - OFFSET_NM - 521.82) < 1
    assert abs(np.argmax(copper_fit.simulated_counts[near]) - np.argmax(copper[near])) <= 1
    assert (copper_fit.simulated_counts >= copper_fit.baseline_counts).all()


@pytest.mark.parametrize("element", ["Al", "Fe"])
def test_a_simulated_metal_ranks_first(element):
    ranks = rank_elements(AXIS, measure({element: 95}, Zone(10000, 1e17, 0.02)))
    assert ranks[0].element == element
    assert ranks[0].fit is not None
    assert {rank.element for rank in ranks} == set(CANDIDATES)
    assert len(ranks) == 34
    similarities = [rank.similarity for rank in ranks]
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[0] <= 1


def test_a_fit_does_not_depend_on_the_scale_of_the_counts(copper, copper_fit):
    assert fit_plasma(AXIS, copper / 7, {"Cu": 100}).similarity == pytest.approx(
        copper_fit.similarity, abs=1e-3
    )


def test_saturated_channels_are_not_compared(copper):
    clipped = np.minimum(copper, 0.3 * copper.max())
    fit = fit_plasma(AXIS, clipped, {"Cu": 100})
    assert fit.saturated[clipped == clipped.max()].mean() > 0.5
    assert fit.similarity > 0.85


def test_stitched_detectors_with_a_gap_are_fitted(copper):
    kept = (AXIS < 350) | (AXIS > 365)
    fine = np.unique(np.concatenate([AXIS[kept], 0.5 * (AXIS[kept & (AXIS < 300)] + 0.0590)]))
    counts = np.interp(fine, AXIS, copper)
    keep = fine > 215
    assert fit_plasma(fine[keep], counts[keep], {"Cu": 100}).similarity > 0.85


def test_noise_is_like_nothing():
    noise = np.random.default_rng(0).normal(1000, 30, len(AXIS))
    assert rank_elements(AXIS, noise, candidates=("Fe", "W", "Zn"))[0].similarity < 0.3


def test_gases_are_no_candidates():
    assert not set(GASES) & set(CANDIDATES)


def test_emission_lines_are_named_as_spectroscopists_do():
    names, nm, energy = emission_lines({"Cu": 100}, Plume(temperature_k=9000))
    copper = [(line, name) for name, line, value in zip(names, nm, energy, strict=True) if value > 0]
    assert any(name == "Cu I" and abs(line - 521.820) < 0.005 for line, name in copper)
    assert any(name == "O I" for name in names)


@pytest.mark.parametrize(
    ("text", "composition"), [("Cu", {"Cu": 100.0}), ("Cu=60, Zn=40", {"Cu": 60.0, "Zn": 40.0})]
)
def test_compositions_are_read(text, composition):
    assert parse_composition(text) == composition


@pytest.mark.parametrize("text", ["", "Xx", "Cu=much", "Cu=-1", "Cu=nan", "Cu=inf", "Cu=0", "Cu,", "Cu=1=2"])
def test_impossible_compositions_are_refused(text):
    with pytest.raises(AlloyError):
        parse_composition(text)


@pytest.mark.parametrize(
    ("wavelength_nm", "counts", "words"),
    [
        (AXIS, np.ones(5), "match"),
        (AXIS, np.full(len(AXIS), np.nan), "finite"),
        (AXIS[::-1], np.ones(len(AXIS)), "increase strictly"),
        (AXIS, np.zeros(len(AXIS)), "no line"),
        (AXIS, np.ones(len(AXIS)), "no line"),
        (AXIS[:40], np.ones(40), "40 channels"),
        (AXIS + 1000, np.ones(len(AXIS)), "0 channels"),
    ],
)
def test_spectra_that_cannot_be_fitted_are_refused(wavelength_nm, counts, words):
    with pytest.raises(SpectrumError, match=words):
        fit_plasma(wavelength_nm, counts, {"Cu": 100})


@pytest.mark.parametrize("resolution_nm", [0.0, -1.0, 30.0, np.nan])
def test_impossible_resolutions_are_refused(copper, resolution_nm):
    with pytest.raises(SpectrumError, match="resolution"):
        fit_plasma(AXIS, copper, {"Cu": 100}, resolution_nm)
