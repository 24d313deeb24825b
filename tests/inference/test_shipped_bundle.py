"""What the shipped bundle says of inputs made here, so that no change of it or of the front end goes unseen.

The answers pinned are what it says, not what is right: the inputs are drawn lines, not spectra.
Remake them with

    python tests/inference/test_shipped_bundle.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from alloysort.cli import app
from alloysort_models.bundle.manifest import load_bundle, newest_released

EXPECTED = Path(__file__).with_name("shipped_bundle.json")
LINES_NM = {  # air wavelengths, and heights
    "Al": {308.215: 0.6, 309.271: 0.9, 394.401: 0.7, 396.152: 1.0},
    "Cu": {324.754: 1.0, 327.396: 0.8, 510.554: 0.3, 515.324: 0.4, 521.820: 0.6},
    "Zn": {334.502: 0.5, 468.014: 0.5, 472.216: 0.8, 481.053: 1.0, 636.234: 0.6},
    "Mg": {279.553: 1.0, 280.270: 0.8, 285.213: 0.9, 382.935: 0.4, 383.829: 0.6, 516.732: 0.3, 518.360: 0.6},
    "Fe": {259.940: 0.6, 273.955: 0.7, 274.932: 0.8, 371.993: 1.0, 373.486: 0.9, 438.354: 0.7, 440.475: 0.5},
}
CASES = (*LINES_NM, "picture", "Al and picture")


def write_spectrum(file: Path, element: str) -> None:
    axis = np.linspace(200.0, 850.0, 4000)
    peaks = (height * np.exp(-0.5 * ((axis - nm) / 0.1) ** 2) for nm, height in LINES_NM[element].items())
    np.savetxt(file, np.column_stack([axis, np.rint(200 + 40_000 * sum(peaks))]), delimiter=",")


def write_picture(file: Path) -> None:
    down, across = np.mgrid[0:96, 0:96]
    grey = np.where((down - 48) ** 2 + (across - 48) ** 2 < 1200, 120 + across // 2 + 8 * (down % 3), 40)
    cv2.imwrite(str(file), np.dstack([grey + 6, grey, grey - 4]).astype(np.uint8))


def ask(case: str, folder: Path) -> dict[str, object]:
    command = ["classify", "--json", "--recipe", "wrought-cast"]
    if "picture" in case:
        write_picture(folder / "piece.png")
        command += ["--image", str(folder / "piece.png")]
    if case != "picture":
        write_spectrum(folder / "piece.csv", case.split()[0])
        command += ["--spectrum", str(folder / "piece.csv")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    return {key: answer[key] for key in ("family", "probabilities", "composition", "novelty")}


def test_the_answers_pinned_are_those_of_the_newest_bundle() -> None:
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    assert expected["bundle"] == load_bundle(newest_released()).manifest.name
    assert tuple(expected["answers"]) == CASES


@pytest.mark.parametrize("case", CASES)
def test_the_shipped_bundle_says_what_it_said(case: str, tmp_path: Path) -> None:
    found, expected = ask(case, tmp_path), json.loads(EXPECTED.read_text(encoding="utf-8"))["answers"][case]
    assert found["family"] == expected["family"]
    assert found["novelty"] == pytest.approx(expected["novelty"], rel=1e-3)
    assert found["probabilities"] == pytest.approx(expected["probabilities"], rel=1e-3, abs=1e-6)
    assert set(found["composition"]) == set(expected["composition"])
    for element, content in expected["composition"].items():
        assert found["composition"][element] == pytest.approx(content, rel=1e-3, abs=1e-4), element


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        answers = {case: ask(case, Path(made)) for case in CASES}
    document = {"bundle": load_bundle(newest_released()).manifest.name, "answers": answers}
    EXPECTED.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
