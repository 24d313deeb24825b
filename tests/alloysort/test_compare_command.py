import subprocess
import sys

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from alloysort.data_commands import app
from alloysort_datasets.errors import AlloyError, DataError, SpectrumError
from alloysort_datasets.libs.atomic import atomic_data
from alloysort_datasets.libs.plasma import Zone, emission_grid_nm, radiance
from alloysort_datasets.libs.wavelength import air_nm


@pytest.fixture(scope="module")
def spectrum(tmp_path_factory):
    """A simulated copper spectrum as a file."""
    axis = np.linspace(230.0, 620.0, 3000)
    fractions = atomic_data().fractions({"Cu": 96, "N": 3, "O": 1})
    light = radiance(fractions, Zone(11000, 1e17, 0.02), Zone(6000, 2e16, 0.01)).astype(float)
    area = np.concatenate([[0], np.cumsum(light[1:] * np.diff(air_nm(emission_grid_nm())))])
    seen = np.gradient(np.interp(axis, air_nm(emission_grid_nm()), area))
    file = tmp_path_factory.mktemp("compare") / "rod.csv"
    counts = np.rint(40_000 * seen / seen.max())
    np.savetxt(file, np.column_stack([axis, counts]), delimiter=",", header="wavelength,counts", comments="")
    return file


def compare(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def assert_picture(file):
    picture = cv2.imread(str(file))
    assert picture is not None
    assert min(picture.shape[:2]) > 300
    assert picture.std() > 10


def test_spectra_are_ranked_and_drawn(spectrum, tmp_path):
    done = compare(spectrum, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "Cu 100" in done.output
    assert_picture(tmp_path / "rod.png")
    assert_picture(tmp_path / "summary.png")


def test_a_given_composition_is_fitted(spectrum, tmp_path):
    done = compare(spectrum, "--out", tmp_path, "--element", "Cu=60,Zn=40")
    assert done.exit_code == 0, done.output
    assert "Cu 60" in done.output
    assert_picture(tmp_path / "rod.png")


def test_what_cannot_be_compared_is_refused(spectrum, tmp_path):
    flat = tmp_path / "flat.csv"
    flat.write_text("\n".join(f"{200 + i / 10},7" for i in range(1000)))
    for arguments, error in (
        ([spectrum, "--element", "Xx"], AlloyError),
        ([spectrum, spectrum], DataError),
        ([tmp_path / "absent.csv"], SpectrumError),
        ([flat, "--element", "Cu"], SpectrumError),
        ([spectrum, "--element", "Cu", "--out", flat], DataError),
    ):
        done = compare("--out", tmp_path / "out", *arguments)
        assert isinstance(done.exception, error), arguments
        assert "\n" not in str(done.exception)


def test_without_matplotlib_the_extra_to_install_is_named(spectrum, tmp_path):
    script = (
        "import sys; sys.modules['matplotlib'] = None; sys.argv[0] = 'alloysort'\n"
        "from alloysort.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "data", "compare", str(spectrum), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'alloysort[bench]'" in done.stderr
