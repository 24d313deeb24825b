"""The shipped bundle on real spectra it never saw: pure metals of the Aalto library, unmodified."""

import json
import subprocess
import sys

import pytest

from alloysort_datasets.families import ALUMINIUM

EXPECTED = {
    "Al": ALUMINIUM,
    "Cu": ("copper",),
    "Zn": ("zinc",),
    "Mg": ("magnesium",),
    "Fe": ("steel", "stainless"),
}
OTHERS = ("Co", "Cr", "Mn", "Ni", "Pb", "Sn", "Ti", "V")


def classify(path):
    command = [sys.executable, "-m", "alloysort", "classify", "--spectrum", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def spectrum_of(shared_data, element):
    return shared_data / "libs" / "aalto_elements" / f"{element}_spectrum.csv"


@pytest.mark.parametrize("element", EXPECTED)
def test_a_metal_of_its_own_family_is_named(shared_data, element):
    assert classify(spectrum_of(shared_data, element))["family"] in EXPECTED[element]


@pytest.mark.parametrize("element", sorted({*EXPECTED, *OTHERS} - {"Al"}))
def test_no_other_metal_is_accepted_as_aluminium(shared_data, element):
    answer = classify(spectrum_of(shared_data, element))
    assert not answer["accepted_as_aluminium"]
    assert answer["family"] not in ALUMINIUM


@pytest.mark.parametrize("element", OTHERS)
def test_a_metal_without_a_family_is_other_metal(shared_data, element):
    assert classify(spectrum_of(shared_data, element))["family"] == "other-metal"
