"""The simulator on real spectra of pure metals, Aalto library: each ranks first of 34 elements."""

import numpy as np
import pytest

from alloysort_datasets.libs.fit import rank_elements
from alloysort_datasets.readers.spectrum import read_spectrum

METALS = ("Al", "Co", "Cr", "Cu", "Fe", "Mg", "Mn", "Ni", "Pb", "Sn", "Ti", "V", "Zn")


# one worker, so that all metals share the simulated candidates
@pytest.mark.xdist_group("aalto")
@pytest.mark.parametrize("element", METALS)
def test_a_metal_ranks_first_of_34_elements(shared_data, element):
    spectrum = read_spectrum(shared_data / "libs" / "aalto_elements" / f"{element}_spectrum.csv")
    ranks = rank_elements(spectrum.wavelength_nm, spectrum.shots.mean(axis=0, dtype=np.float64))
    assert len(ranks) == 34
    first, second = ranks[:2]
    assert first.element == element
    assert first.similarity > 0.55
    assert first.similarity > second.similarity + 0.1
