"""What spectra of known metals tell of their spectrometer, simulated and real."""

import numpy as np
import pytest

from alloysort_datasets.libs.atomic import atomic_data
from alloysort_datasets.libs.instrument import look_at
from alloysort_datasets.libs.plasma import Zone, emission_grid_nm, radiance
from alloysort_datasets.libs.wavelength import air_nm
from alloysort_datasets.readers.spectrum import read_spectrum

# Two detectors: the second has fewer channels to the nm and an error of its own
AXIS = np.concatenate([np.linspace(220.0, 400.0, 2400), np.linspace(400.1, 640.0, 2000)])
ERRORS_NM = np.where(AXIS < 400.05, 0.2, -0.1)
# Lines that stand alone in the Aalto spectra of their metal, air nm: NIST Atomic Spectra Database
ALONE = {
    "Cu": (324.754, 327.396, 510.554, 521.820, 578.213),
    "Sn": (283.999, 286.332, 303.412, 317.505, 326.234),
    "Pb": (280.199, 357.273, 363.957, 368.346, 405.781),
    "Ni": (341.476, 349.296, 352.454, 361.939),
}


def measure(composition, core):
    fractions = atomic_data().fractions({**composition, "N": 4, "O": 1.3})
    light = radiance(fractions, core, Zone(5500, 2e16, 0.01)).astype(float)
    fine = np.arange(200.0, 660.0, 0.01)
    kernel = np.exp(-4 * np.log(2) * (np.arange(-60, 61) * 0.01 / 0.2) ** 2)
    blurred = np.convolve(np.interp(fine, air_nm(emission_grid_nm()), light), kernel / kernel.sum(), "same")
    seen = np.interp(AXIS - ERRORS_NM, fine, blurred) * np.interp(AXIS, [220, 450, 640], [0.1, 1.0, 0.4])
    noise = np.random.default_rng(3).normal(0, 20, len(AXIS))
    return np.rint(200 + 40_000 * seen / seen.max() + noise)


@pytest.fixture(scope="module")
def found():
    metals = {"Fe": Zone(9000, 1.5e17, 0.005), "Cu": Zone(11000, 1e17, 0.02), "Ti": Zone(9500, 1e17, 0.005)}
    return look_at(AXIS, [(measure({metal: 95.0}, core), {metal: 100.0}) for metal, core in metals.items()])


def test_each_detector_has_its_own_error(found):
    assert len(found.detectors) == 2
    at = np.array([260.0, 300.0, 350.0, 450.0, 520.0, 600.0])
    assert found.error_nm(at) == pytest.approx([0.2, 0.2, 0.2, -0.1, -0.1, -0.1], abs=0.03)


def test_the_response_is_least_where_the_instrument_sees_least(found):
    told = {one.middle_nm: one.response for part in found.detectors for one in part.stretches}
    assert max(told.values()) == 1.0
    assert min(told, key=told.__getitem__) < 280


def test_a_spectrum_unlike_its_composition_tells_nothing():
    noise = np.random.default_rng(1).normal(200, 20, len(AXIS))
    assert look_at(AXIS, [(noise, {"Cu": 100.0})]) is None


def test_the_error_of_a_real_instrument_is_that_of_its_own_lines(shared_data):
    spectra = {
        metal: read_spectrum(shared_data / "libs" / "aalto_elements" / f"{metal}_spectrum.csv")
        for metal in ("Al", "Cr", "Cu", "Fe", "Mn", "Ni", "Pb", "Sn")
    }
    counts = {metal: one.shots.mean(axis=0, dtype=np.float64) for metal, one in spectra.items()}
    axis = spectra["Cu"].wavelength_nm
    instrument = look_at(axis, [(counts[metal], {metal: 100.0}) for metal in counts])
    missed = [
        instrument.error_nm(np.array([line]))[0] - (peak_nm(axis, counts[metal], line) - line)
        for metal, lines in ALONE.items()
        for line in lines
    ]
    assert abs(np.median(missed)) < 0.05
    assert np.quantile(np.abs(missed), 0.9) < 0.05


def peak_nm(axis, counts, line):
    """Where a line's top stands, by the parabola through its three highest channels' logarithms."""
    near = np.flatnonzero(np.abs(axis - line) < 0.45)
    top = near[counts[near].argmax()]
    background = np.median(counts[np.abs(axis - line) < 4])
    low, mid, high = np.log(np.maximum(counts[top - 1 : top + 2] - background, 1.0))
    return axis[top] + 0.5 * (low - high) / (low - 2 * mid + high) * (axis[top + 1] - axis[top - 1]) / 2
