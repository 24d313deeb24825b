import numpy as np
import pytest

from alloysort_datasets.alloys.formulas import mass_fractions
from alloysort_datasets.alloys.strangers import COMPOUNDS, HELD_OUT, METALS, PURE, sample_stranger
from alloysort_datasets.libs.atomic import atomic_data


def drawn(held_out, count=400):
    rng = np.random.default_rng(0)
    return [sample_stranger(rng, held_out) for _ in range(count)]


def test_every_metal_and_the_main_part_of_every_compound_has_lines():
    lit = set(atomic_data().elements)
    assert set(METALS) <= lit
    for formula in COMPOUNDS:
        assert lit & set(mass_fractions(formula))


def test_held_out_elements_stand_on_one_side():
    for material in drawn(held_out=False):
        assert HELD_OUT.isdisjoint(material.composition)
    assert all(not HELD_OUT.isdisjoint(material.composition) for material in drawn(held_out=True))


@pytest.mark.parametrize("held_out", [False, True])
def test_a_stranger_is_no_pure_metal_that_a_family_knows(held_out):
    for material in drawn(held_out):
        assert sum(material.composition.values()) == pytest.approx(100)
        if material.kind == "metal":
            element, amount = max(material.composition.items(), key=lambda part: part[1])
            assert element not in PURE or amount < 90
