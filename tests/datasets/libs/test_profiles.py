import numpy as np
import pytest
from scipy.special import voigt_profile

from alloysort_datasets.libs.profiles import add_voigts, assemble, empty_levels, exp_minus

POINTS = 65 * 256 + 1
FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


def drawn(lorentz, centre, floor=1e-9, gauss=1.5, area=1.0, points=POINTS):
    levels = empty_levels(points)
    one = np.ones(1, np.float32)
    add_voigts(
        *levels,
        one * np.float32(area),
        np.float32(gauss),
        one * np.float32(lorentz),
        np.array([centre]),
        one * floor,
    )
    depth = np.zeros(points, np.float32)
    assemble(*levels, depth)
    return depth


@pytest.mark.parametrize("gauss", [1.5, 4.0])
@pytest.mark.parametrize("lorentz", [0.5, 2, 8, 20, 39, 41, 90, 159, 161, 600])
def test_a_line_is_a_voigt_profile(lorentz, gauss):
    centre = 8000.37
    found = drawn(lorentz, centre, gauss=gauss).astype(float)
    true = voigt_profile(np.arange(POINTS) - centre, gauss / FWHM_PER_SIGMA, lorentz / 2)
    assert abs(found - true).max() < 0.025 * true.max()
    assert found.sum() == pytest.approx(true.sum(), rel=0.01)


@pytest.mark.parametrize("lorentz", [3.0, 60.0, 300.0])
def test_wings_fall_without_steps_where_the_grids_meet(lorentz):
    wing = drawn(lorentz, 8000.0)[8005:12000].astype(float)
    assert (np.diff(wing) < 0).all()
    lorentzian = 1 / (1 + (2 * np.arange(5, 4000) / lorentz) ** 2)
    ratio = wing[20:] / lorentzian[20:]
    assert np.ptp(ratio) < 0.06 * ratio.mean()


def test_a_line_is_left_out_only_below_the_floor():
    full, cut = drawn(5.0, 8000.0), drawn(5.0, 8000.0, floor=1e-5)
    assert abs(full - cut).max() < 2e-5


def test_a_line_beside_the_grid_reaches_into_it():
    points = 16 * 256 + 1
    whole = drawn(30.0, 8000.0)
    part = drawn(30.0, 8000.0 - 8300, points=points)
    np.testing.assert_allclose(part[:4000], whole[8300:12300], rtol=0.05)


@pytest.mark.parametrize("centre", [-3000.0, -64.2, -0.4, 0.0, 4095.7, 4096.0, 4160.0, 9000.0])
@pytest.mark.parametrize("lorentz", [0.1, 10, 100, 5000])
def test_no_line_writes_outside_the_grid(centre, lorentz):
    found = drawn(lorentz, centre, points=16 * 256 + 1)
    assert np.isfinite(found).all()
    assert found.sum() <= 1.01


def test_fast_exponential_is_close():
    y = np.linspace(0, 64, 2001).astype(np.float32)
    np.testing.assert_allclose([exp_minus(v) for v in y], np.exp(-y.astype(float)), rtol=4e-4)
