import numpy as np
import pytest

from alloysort_datasets.errors import DataError
from alloysort_datasets.libs.atomic import BOLTZMANN_EV_K, HC_EV_NM, atomic_data
from alloysort_datasets.libs.plasma import (
    STEP,
    Zone,
    emission_grid_nm,
    ionisation_lowering_ev,
    optical_depth,
    populations,
    radiance,
)
from alloysort_datasets.libs.wavelength import vacuum_nm

NO_SHELL = Zone(6000, 1e16, 0.0)
GRID = emission_grid_nm()


def fractions(**composition_wt_pct):
    return atomic_data().fractions(composition_wt_pct)


def line_nm(y, air_nm, half_nm=0.2):
    """A line's area over its surroundings, in y nm."""
    distance = abs(GRID - vacuum_nm(air_nm))
    near, edge = distance < half_nm, (distance > half_nm) & (distance < 1.1 * half_nm)
    return np.trapezoid(y[near] - np.median(y[edge]), GRID[near])


def line(element, stage, air_nm):
    data = atomic_data()
    species = data.first_species[data.elements.index(element)] + stage - 1
    lines = slice(data.line_start[species], data.line_start[species + 1])
    near = abs(data.line_vac_nm[lines] - vacuum_nm(air_nm)) < 0.02
    at = lines.start + np.argmax(near * data.line_ga[lines])
    return float(data.line_ga[at]), float(data.line_lower_ev[at])


def test_boltzmann_plot_slope_returns_the_temperature():
    thin = radiance(fractions(Cu=100), Zone(9000, 1e15, 1e-4), NO_SHELL)
    energies, logs = [], []
    for air_nm in (324.754, 327.396, 510.554, 515.324, 521.820, 578.213):
        ga, lower_ev = line("Cu", 1, air_nm)
        area = line_nm(thin, air_nm, 0.12)
        energies.append(lower_ev + HC_EV_NM / vacuum_nm(air_nm))
        logs.append(np.log(area * vacuum_nm(air_nm) / ga))
    slope = np.polyfit(energies, logs, 1)[0]
    assert -1 / (BOLTZMANN_EV_K * slope) == pytest.approx(9000, rel=0.05)


@pytest.mark.parametrize("density", [3e16, 1e17, 3e17])
def test_saha_ratio_returns_the_electron_density(density):
    data, temperature = atomic_data(), 9500.0
    densities, partition = populations(fractions(Mg=100), Zone(temperature, density, 0.1), data)
    neutral = data.first_species[data.elements.index("Mg")]
    chi = data.ionisation_ev[neutral] - ionisation_lowering_ev(temperature, density)
    thermal = 2 * 2.4146830e15 * temperature**1.5 * np.exp(-chi / (BOLTZMANN_EV_K * temperature))
    ratio = densities[neutral + 1] / densities[neutral] * partition[neutral] / partition[neutral + 1]
    assert thermal / ratio == pytest.approx(density, rel=1e-3)


def test_the_plasma_is_neutral():
    data = atomic_data()
    densities, _ = populations(fractions(Al=90, Mg=5, Cu=5), Zone(11000, 2e17, 0.1), data)
    assert densities @ (data.species_stage - 1) == pytest.approx(2e17, rel=1e-9)


def test_curve_of_growth_goes_from_slope_one_to_one_half():
    areas = {}
    for length_cm in (1e-6, 1e-5, 1e-2, 1e-1):
        light = radiance(fractions(Al=100), Zone(8000, 5e16, length_cm), NO_SHELL)
        areas[length_cm] = line_nm(light, 394.401, 0.8)
    assert np.log10(areas[1e-5] / areas[1e-6]) == pytest.approx(1.0, abs=0.03)
    assert np.log10(areas[1e-1] / areas[1e-2]) == pytest.approx(0.5, abs=0.1)


def test_a_cool_shell_reverses_resonance_lines_and_leaves_others():
    core, shell = Zone(12000, 1e17, 0.1), Zone(5500, 1e16, 0.05)
    bare = radiance(fractions(Al=100), core, NO_SHELL)
    covered = radiance(fractions(Al=100), core, shell)
    resonance = abs(GRID - vacuum_nm(396.152)) < 0.15
    dip = np.flatnonzero(resonance)[np.argmin((covered / bare)[resonance])]
    assert covered[dip] < 0.7 * bare[dip]
    assert covered[dip] < 0.7 * covered[resonance][: dip - np.flatnonzero(resonance)[0]].max()
    assert covered[dip] < 0.7 * covered[resonance][dip - np.flatnonzero(resonance)[0] :].max()
    ion = abs(GRID - vacuum_nm(466.306)) < 0.15  # Al II, lower level at 10.6 eV
    np.testing.assert_allclose(covered[ion], bare[ion], rtol=0.05)


def test_an_opaque_plasma_shines_as_a_black_body():
    zone = Zone(10000, 1e18, 50)
    depth = optical_depth(fractions(Fe=100), zone, GRID)
    light = radiance(fractions(Fe=100), zone, NO_SHELL)
    opaque = depth > 20
    planck = 1.1910430e20 * GRID**-5 / np.expm1(HC_EV_NM / (GRID * BOLTZMANN_EV_K * 10000))
    assert opaque.any()
    np.testing.assert_allclose(light[opaque], planck[opaque], rtol=1e-3)


def test_line_opacity_agrees_with_the_emission_coefficient():
    """Kirchhoff: opacity times Planck is h nu A n_k / 4 pi, computed here from level populations."""
    data, zone = atomic_data(), Zone(10000, 1e17, 1e-4)
    densities, partition = populations(fractions(Al=100), zone, data)
    neutral = data.first_species[data.elements.index("Al")]
    ga, lower_ev = line("Al", 1, 396.152)
    vac_nm = vacuum_nm(396.152)
    upper = np.exp(-(lower_ev + HC_EV_NM / vac_nm) / (BOLTZMANN_EV_K * zone.temperature_k))
    emitted = HC_EV_NM / vac_nm * 1.602177e-19 * ga * densities[neutral] / partition[neutral] * upper * 1e6
    expected = emitted / (4 * np.pi) * zone.length_cm * 1e-2  # W m-2 sr-1
    found = line_nm(radiance(fractions(Al=100), zone, NO_SHELL), 396.152, 1.0)
    assert found == pytest.approx(expected, rel=0.03)


def test_a_part_of_the_grid_shows_the_same_light():
    steel = fractions(Fe=97, Mn=1.2, Cr=0.2, N=5, H=0.1)
    core, shell = Zone(10500, 1e17, 0.1), Zone(6500, 2e16, 0.05)
    part = emission_grid_nm(GRID[24000], 420)
    inside = slice(24000, 24000 + len(part))
    np.testing.assert_allclose(part, GRID[inside], rtol=1e-12)
    np.testing.assert_allclose(
        radiance(steel, core, shell, part), radiance(steel, core, shell)[inside], rtol=0.02
    )


def test_levels_above_the_lowered_ionisation_limit_send_no_light():
    """Sodium's last Rydberg lines merge into the continuum as the density grows (Inglis and Teller 1939)."""
    data = atomic_data()
    neutral = data.first_species[data.elements.index("Na")]
    lines = slice(data.line_start[neutral], data.line_start[neutral + 1])
    upper_ev = data.line_lower_ev[lines] + HC_EV_NM / data.line_vac_nm[lines]
    binding = data.ionisation_ev[neutral] - upper_ev
    seen = data.line_lower_ev[lines] < 0.01
    vac_nm = data.line_vac_nm[lines][seen & (binding > 0.05) & (binding < 0.12)].min()

    def stands_out(density):
        depth = optical_depth(fractions(Na=100), Zone(7000, density, 1.0), GRID)
        near, beside = abs(GRID / vac_nm - 1) < 4e-5, abs(abs(GRID / vac_nm - 1) - 1.5e-3) < 4e-5
        return depth[near].max() / depth[beside].mean()

    assert ionisation_lowering_ev(7000, 1e14) < 0.05 < 0.12 < ionisation_lowering_ev(7000, 3e17)
    assert stands_out(1e14) > 3
    assert stands_out(3e17) < 1.05


def test_the_grid_is_geometric_and_covers_every_instrument():
    assert GRID[0] == pytest.approx(185)
    assert GRID[-1] >= 1000
    np.testing.assert_allclose(np.diff(np.log(GRID)), STEP, rtol=1e-6)


@pytest.mark.parametrize("values", [(500, 1e17, 0.1), (10000, 1e22, 0.1), (10000, 1e17, -1)])
def test_impossible_zones_are_refused(values):
    with pytest.raises(DataError):
        Zone(*values)


def test_aluminium_agrees_with_an_independent_simulator():
    import libskit

    temperature, density, length_cm = 10000.0, 1e17, 1e-4
    model = libskit.LTEModel({"Al": 1.0}, temperature, density * 1e6, length_cm * 1e-2)
    axis = np.arange(205.0, 460.0, 0.005)
    theirs = np.asarray(model.calculate_irradiance(axis))
    ours = np.interp(axis, GRID, radiance(fractions(Al=100), Zone(temperature, density, length_cm), NO_SHELL))
    ratios = []
    for air_nm in (396.152, 394.401, 309.271, 308.215, 266.039, 265.248, 281.618, 237.312, 236.705, 358.656):
        near = abs(axis - vacuum_nm(air_nm)) < 0.2
        edge = (abs(axis - vacuum_nm(air_nm)) > 0.2) & (abs(axis - vacuum_nm(air_nm)) < 0.22)
        areas = [np.trapezoid(y[near] - np.median(y[edge]), axis[near]) for y in (ours, theirs)]
        ratios.append(areas[0] / areas[1])
    np.testing.assert_allclose(np.array(ratios) / np.median(ratios), 1, atol=0.1)


@pytest.mark.parametrize("density", [1e14, 1e16, 7e17, 5e18])
@pytest.mark.parametrize("element", ["Na", "K", "H", "Ca", "Al", "Fe"])
def test_no_plasma_gives_light_that_is_not_finite(element, density):
    for temperature in (3500, 9100, 18000):
        zone = Zone(temperature, density, 0.03)
        light = radiance(fractions(**{element: 100}), zone, Zone(3500, density / 4, 0.05))
        assert np.isfinite(light).all()
        assert (light >= 0).all()
