from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alloysort_datasets.errors import (
    BundleError,
    DataError,
    ImageError,
    RecipeError,
    SpectrumError,
)
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.doors.rest.answer import make_answer
from alloysort_inference.pipeline import Classifier, Upload, open_classifier, read_upload

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def answered(classifier, *sensors, **options):
    return make_answer(classifier.classify(*sensors, **options))


def test_files_and_numbers_give_the_same_answer(classifier, make_csv, make_shots):
    from_file = answered(classifier, Upload("al.csv", make_csv(395.0)), None)
    from_numbers = answered(classifier, Spectrum(*make_shots(395.0)), None)
    assert from_file.family == from_numbers.family == "6xxx"
    assert list(from_file.probabilities.values()) == pytest.approx(
        list(from_numbers.probabilities.values()), abs=1e-4
    )


def test_the_answer_has_the_keys_that_scripts_rely_on(classifier, make_csv, make_picture):
    answer = answered(classifier, Upload("al.csv", make_csv(395.0)), Upload("al.png", make_picture()))
    said = json.loads(answer.model_dump_json())
    assert set(said) >= {
        "family", "accepted_as_aluminium", "probabilities", "composition", "novelty", "novel", "quality",
        "outlet", "eject", "timing_ms",
    }  # fmt: skip
    assert tuple(said["probabilities"]) == FAMILIES
    assert sum(said["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert tuple(said["composition"]) == ELEMENTS
    assert set(said["composition"]["Al"]) == {"wt_pct", "sigma"}
    assert set(said["timing_ms"]) == {"waiting", "decode", "prepare", "infer", "decide", "total"}
    assert said["quality"] == []
    assert (said["family"], said["outlet"], said["eject"]) == ("6xxx", "wrought", True)
    assert said["accepted_as_aluminium"]
    assert not said["novel"]


def test_steps_add_up_to_the_total(classifier, make_csv):
    timing = answered(classifier, Upload("al.csv", make_csv(395.0)), None).timing_ms
    assert timing.waiting + timing.decode + timing.prepare + timing.infer + timing.decide == pytest.approx(
        timing.total, abs=0.01
    )


def test_a_picture_alone_is_enough(classifier, make_picture):
    answer = answered(classifier, None, Upload("cu.png", make_picture((200, 90, 60))))
    assert answer.family == "copper"
    assert answer.quality == ["no_spectrum"]
    assert not answer.accepted_as_aluminium


def test_a_novel_piece_is_not_accepted(classifier, make_csv):
    answer = answered(classifier, Upload("odd.csv", make_csv(395.0, 705.0, 720.0, 735.0, 745.0)), None)
    assert answer.novel
    assert not answer.accepted_as_aluminium
    assert answer.outlet == "rest"


def test_noise_is_blind_and_not_accepted(classifier, make_csv):
    answer = answered(classifier, Upload("dark.csv", make_csv()), None)
    assert "weak" in answer.quality
    assert answer.reason.startswith("blind")
    assert not answer.accepted_as_aluminium


def test_a_piece_without_sensors_is_refused(classifier):
    with pytest.raises(DataError, match="neither"):
        answered(classifier, None, None)


@pytest.mark.parametrize("fault", ["empty", "truncated", "binary", "single column", "nan", "out of range"])
def test_bad_spectra_are_refused_even_beside_a_good_picture(classifier, bad_spectra, make_picture, fault):
    for image in (None, Upload("good.png", make_picture())):
        with pytest.raises(SpectrumError) as caught:
            answered(classifier, Upload("bad.csv", bad_spectra[fault]), image)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", ["empty", "no image", "one pixel", "50 megapixels", "truncated"])
def test_bad_pictures_are_refused_even_beside_a_good_spectrum(classifier, bad_pictures, make_csv, fault):
    for spectrum in (None, Upload("good.csv", make_csv(395.0))):
        with pytest.raises(ImageError, match=r"bad\.png"):
            answered(classifier, spectrum, Upload("bad.png", bad_pictures[fault]))


def test_opening_names_what_is_at_fault(bundle, altered_bundle, tmp_path):
    assert isinstance(open_classifier(bundle.path, "twitch"), Classifier)
    with pytest.raises(BundleError, match="SHA-256"):
        open_classifier(altered_bundle, "twitch")
    with pytest.raises(BundleError, match=r"bundle\.json: No such file"):
        open_classifier(tmp_path / "nowhere", "twitch")
    with pytest.raises(RecipeError, match="no file"):
        open_classifier(bundle.path, "no-such-recipe")


def test_files_that_cannot_be_opened_are_named(tmp_path):
    with pytest.raises(SpectrumError, match=r"nothing\.csv: No such file"):
        read_upload(tmp_path / "nothing.csv", SpectrumError)
    with pytest.raises(ImageError, match="directory"):
        read_upload(tmp_path, ImageError)
    with pytest.raises(ImageError, match="null"):
        read_upload(Path("a\0b"), ImageError)


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/data is not here")
def test_real_saturation_is_seen_and_clean_lines_are_not_called_saturated(classifier):
    folder = REAL / "libs" / "aalto_elements"
    quality = {
        metal: answered(
            classifier, read_upload(folder / f"{metal}_spectrum.csv", SpectrumError), None
        ).quality
        for metal in ("Al", "Cu", "Mg", "Zn")
    }
    assert "saturated" in quality["Mg"]
    assert "saturated" in quality["Zn"]
    assert "saturated" not in quality["Al"]
    assert not any("weak" in flags for flags in quality.values())


def test_made_up_ids_differ(classifier, make_shots):
    spectrum = Spectrum(*make_shots(395.0))
    assert answered(classifier, spectrum, None).piece_id != answered(classifier, spectrum, None).piece_id
    assert np.isfinite(answered(classifier, spectrum, None).novelty)
