from dataclasses import fields, replace

import numpy as np
import pytest

from alloysort_datasets.alloys.stream import sample_material
from alloysort_datasets.errors import DataError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.libs.conditions import RANGES, Conditions, draw_conditions, require_conditions

METALS = (
    {"Al": 97, "Mg": 3},
    {"Fe": 99, "C": 0.1},
    {"Fe": 70, "Cr": 18, "Ni": 8},
    {"Cu": 100},
    {"C": 80, "H": 20},
)


def drawn(composition, seed, **fixed):
    return draw_conditions(composition, np.random.default_rng(seed), fixed)


def test_every_condition_has_a_range():
    assert set(RANGES) == {field.name for field in fields(Conditions)}


@pytest.mark.parametrize("composition", METALS)
def test_what_is_drawn_lies_in_its_range(composition):
    for seed in range(150):
        for name, value in drawn(composition, seed).as_mapping().items():
            assert RANGES[name][0] <= value <= RANGES[name][1], name


@pytest.mark.parametrize(("name", "value"), [("paint_um", 60.0), ("defocus_mm", 2.5), ("miss_rate", 0.0)])
def test_a_fixed_condition_changes_no_other(name, value):
    for seed in range(20):
        assert drawn(METALS[0], seed, **{name: value}) == replace(drawn(METALS[0], seed), **{name: value})


def test_layers_suit_the_metal():
    def share(composition, name):
        return np.mean([getattr(drawn(composition, seed), name) > 0 for seed in range(300)])

    aluminium, steel, stainless, copper, rubber = METALS
    assert share(steel, "zinc_um") > 0.2
    assert share(aluminium, "anodising_um") > 0.02
    assert share(aluminium, "oxide_um") == 1
    for other in (stainless, copper, rubber):
        assert share(other, "zinc_um") == share(other, "anodising_um") == share(other, "oxide_um") == 0
    assert share({"Al": 88, "Si": 10}, "anodising_um") == 0
    assert 0.05 < share(aluminium, "paint_um") < 0.3
    assert share(rubber, "dirt_um") > 0.2
    assert share(rubber, "moisture_um") > 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_metals_may_be_oily_and_painted_and_non_metals_not(family):
    rng = np.random.default_rng(3)
    pieces = [draw_conditions(sample_material(rng, family).composition, rng, {}) for _ in range(300)]
    films = sum(piece.oil_um > 0 for piece in pieces), sum(piece.paint_um > 0 for piece in pieces)
    assert films == (0, 0) if family == "non-metal" else min(films) > 0


def test_pieces_differ_as_widely_as_lines_do():
    pieces = [drawn({"Al": 97}, seed) for seed in range(2000)]
    kelvin = [piece.plasma_temperature_k for piece in pieces]
    electrons = [piece.electron_density_cm3 for piece in pieces]
    assert np.percentile(kelvin, 6) < 7500
    assert np.percentile(kelvin, 97) > 14000
    assert np.percentile(electrons, 1) < 2.5e16
    assert np.percentile(electrons, 99) > 4e17
    painted = [piece.paint_um for piece in pieces if piece.paint_um > 0]
    assert 20 <= min(painted) < 30 < 90 < max(painted) <= 120


def test_unknown_and_impossible_conditions_are_named_all_at_once():
    with pytest.raises(DataError, match=r"conditions colour, weather are unknown; known are pulse_energy, "):
        require_conditions({"weather": 1, "colour": 2, "paint_um": 20})
    with pytest.raises(DataError, match=r"paint_um -1 is outside 0-500; defocus_mm nan is outside 0-10"):
        require_conditions({"paint_um": -1, "defocus_mm": float("nan"), "oil_um": 1})


@pytest.mark.parametrize("name", RANGES)
def test_each_condition_is_refused_outside_its_range_and_taken_at_its_ends(name):
    low, high = RANGES[name]
    for end in (low, high):
        assert getattr(drawn(METALS[0], 0, **{name: end}), name) == end
    for value in (low - 1, high * 1.01 + 1, float("inf"), float("nan")):
        with pytest.raises(DataError, match=rf"{name} .* is outside"):
            drawn(METALS[0], 0, **{name: value})
