import numpy as np
import pytest

from alloysort_datasets.elements import ATOMIC_MASS_U
from alloysort_datasets.errors import AlloyError
from alloysort_datasets.libs.atomic import atomic_data
from alloysort_datasets.libs.wavelength import air_nm, vacuum_nm

# air nm, A_ki per s, g_k (NIST ASD)
KNOWN = [
    ("Al", 1, 396.152, 9.85e7, 2),
    ("Al", 1, 394.401, 4.99e7, 2),
    ("Mg", 2, 279.553, 2.6e8, 4),
    ("Mg", 1, 285.213, 4.91e8, 3),
    ("Cu", 1, 324.754, 1.395e8, 4),
    ("Si", 1, 288.158, 2.17e8, 3),
    ("Zn", 1, 213.857, 7.14e8, 3),
    ("Mn", 2, 257.610, 2.8e8, 9),
    ("Fe", 1, 371.993, 1.62e7, 11),
]


@pytest.mark.parametrize(("element", "stage", "air", "a_ki", "g_k"), KNOWN)
def test_known_transition_probabilities_are_in_the_shipped_table(element, stage, air, a_ki, g_k):
    data = atomic_data()
    species = data.first_species[data.elements.index(element)] + stage - 1
    lines = slice(data.line_start[species], data.line_start[species + 1])
    near = abs(air_nm(data.line_vac_nm[lines]) - air) < 0.003
    assert data.line_ga[lines][near].max() / g_k == pytest.approx(a_ki, rel=0.02)


@pytest.mark.parametrize(
    ("element", "air"), [("Zn", 468.014), ("Zn", 472.215), ("Zn", 481.053), ("Pb", 220.353), ("Zr", 343.823)]
)
def test_lines_missing_from_the_main_table_come_from_the_supplement(element, air):
    data = atomic_data()
    first, end = data.first_species[data.elements.index(element) :][:2]
    lines = air_nm(data.line_vac_nm[data.line_start[first] : data.line_start[end]])
    assert abs(lines - air).min() < 0.02


def test_offsets_cover_every_line_and_level():
    data = atomic_data()
    assert data.line_start[-1] == len(data.line_vac_nm)
    assert data.level_start[-1] == len(data.level_ev)
    assert data.first_species[-1] == len(data.species_element)
    assert (np.diff(data.line_start) >= 0).all()
    assert set(data.elements) == set(ATOMIC_MASS_U)


def test_every_line_is_finite_and_has_a_width():
    data = atomic_data()
    width = data.line_stark[:, 0] + 4 * data.line_stark[:, 1] + 16 * data.line_stark[:, 2]
    assert np.isfinite(data.line_stark).all()
    assert ((width > -4.5) & (width < 2.5)).all()
    assert (data.line_ga > 0).all()


def test_fractions_are_by_number():
    data = atomic_data()
    found = data.fractions({"Al": 26.982, "Cu": 63.546})
    assert found[data.elements.index("Al")] == pytest.approx(0.5)
    assert found.sum() == pytest.approx(1)


def test_a_composition_without_known_lines_is_refused():
    with pytest.raises(AlloyError, match="none of the elements"):
        atomic_data().fractions({"Hf": 100})


def test_air_and_vacuum_wavelengths():
    assert air_nm(500.0) == pytest.approx(499.860, abs=1e-3)
    nm = np.linspace(200, 1000, 50)
    np.testing.assert_allclose(vacuum_nm(air_nm(nm)), nm, atol=1e-8)
