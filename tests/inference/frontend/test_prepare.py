from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alloysort_datasets.errors import DataError, SpectrumError
from alloysort_datasets.readers.picture import Picture
from alloysort_datasets.spectrum import Spectrum, saturated, spectrum_from_arrays
from alloysort_inference import flags
from alloysort_inference.flags import FLAGS
from alloysort_inference.frontend.prepare import prepare
from alloysort_inference.frontend.quality import judge_image
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.inputs import VIEWS

GRID = Grid(200.0, 900.0, 256)
AXIS = list(range(300, 316))
COUNTS = [1.0] * 16


@pytest.fixture
def good(make_shots):
    return Spectrum(*make_shots(395.0, 327.0))


def seen(rgb):
    return None if rgb is None else Picture(rgb)


def flags_of(spectrum, rgb=None):
    return set(prepare(GRID, 32, spectrum, seen(rgb)).quality)


def grainy(level=128, size=64, grain=40):
    noise = np.random.default_rng(0).normal(0, grain, (size, size, 1))
    return np.clip(level + noise, 0, 255).astype(np.uint8).repeat(3, axis=2)


def test_a_good_piece_raises_no_flag(good):
    prepared = prepare(GRID, 32, good, seen(grainy()))
    assert prepared.quality == ()
    assert not prepared.blind
    features = prepared.features
    assert features.image.shape == (32, 32, 3)
    assert features.spectrum.shape == (VIEWS, 256)
    assert features.coverage.shape == (256,)
    assert features.present.tolist() == [1, 1]


def test_a_missing_sensor_is_zeros_and_a_flag(good):
    no_image = prepare(GRID, 32, good, None)
    assert no_image.quality == ("no_image",)
    assert no_image.features.present.tolist() == [0, 1]
    assert not no_image.features.image.any()
    no_spectrum = prepare(GRID, 32, None, seen(grainy()))
    assert no_spectrum.quality == ("no_spectrum",)
    assert no_spectrum.features.present.tolist() == [1, 0]
    assert not no_spectrum.features.spectrum.any()
    assert not no_spectrum.features.coverage.any()


def test_neither_sensor_is_an_error():
    with pytest.raises(DataError, match="neither"):
        prepare(GRID, 32, None, None)


def test_a_clipped_line_is_saturated_with_and_without_a_known_ceiling(make_shots, good):
    axis, shots = make_shots(395.0, height=900_000)
    clipped = np.minimum(shots, 65_000)
    assert "saturated" in flags_of(Spectrum(axis, clipped))
    assert "saturated" in flags_of(Spectrum(axis, clipped, saturation_counts=65_000))
    assert "saturated" not in flags_of(Spectrum(axis, shots))
    assert "saturated" not in flags_of(Spectrum(axis, shots, saturation_counts=2_000_000))


def test_a_dark_subtracted_ceiling_is_still_flat_enough():
    top = np.array([[5, 10, 64_960, 64_900, 64_940, 10, 5]], np.float32)
    assert saturated(top).any()


def test_noise_without_lines_is_weak_and_alone_blind(make_shots):
    features = prepare(GRID, 32, Spectrum(*make_shots()), None)
    assert "weak" in features.quality
    assert features.blind
    assert not prepare(GRID, 32, Spectrum(*make_shots()), seen(grainy())).blind
    assert prepare(GRID, 32, Spectrum(*make_shots()), seen(np.zeros((64, 64, 3), np.uint8))).blind


def test_zeros_are_weak_not_saturated():
    spectrum = spectrum_from_arrays(np.linspace(200, 900, 500), np.zeros(500))
    assert {"weak", "few_shots"} <= flags_of(spectrum)
    assert "saturated" not in flags_of(spectrum)


def test_a_spectrum_without_a_line_and_a_black_picture_are_not_there(make_shots, good):
    weak = prepare(GRID, 32, Spectrum(*make_shots()), seen(grainy())).features
    assert weak.present.tolist() == [1, 0]
    assert not weak.spectrum.any()
    assert not weak.coverage.any()
    dark = prepare(GRID, 32, good, seen(np.zeros((64, 64, 3), np.uint8))).features
    assert dark.present.tolist() == [0, 1]
    assert not dark.image.any()


def test_a_range_without_the_elements_that_tell_alloys_apart_is_told(good):
    kept = (good.wavelength_nm > 385) & (good.wavelength_nm < 425)
    assert "few_lines" in flags_of(Spectrum(good.wavelength_nm[kept], good.shots[:, kept]))
    assert "few_lines" not in flags_of(good)


def test_missed_shots_are_told(make_shots):
    axis, shots = make_shots(395.0, shots=5)
    shots[2] = make_shots(shots=1)[1][0]
    assert flags_of(Spectrum(axis, shots), grainy()) == {"missed_shots"}


def test_a_single_shot_is_told(make_shots):
    assert flags_of(Spectrum(*make_shots(395.0, shots=1)), grainy()) == {"few_shots"}


def test_partial_range_is_told(good):
    half = good.wavelength_nm < 450
    assert "partial_range" in flags_of(Spectrum(good.wavelength_nm[half], good.shots[:, half]))


def test_no_common_range_is_an_error(make_shots):
    axis, shots = make_shots(395.0)
    with pytest.raises(SpectrumError, match="none of the model's"):
        prepare(GRID, 32, Spectrum(axis + 2000, shots), None)


@pytest.mark.parametrize(
    ("image", "flag"),
    [
        (grainy(5, grain=3), "dark_image"),
        (grainy(252, grain=3), "bright_image"),
        (cv2.GaussianBlur(grainy(), (0, 0), 5), "blurred_image"),
    ],
)
def test_a_poor_picture_is_told(image, flag):
    assert flag in judge_image(image)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_counts_that_are_not_finite_are_refused_by_place(make_shots, value):
    axis, shots = make_shots(395.0)
    counts = shots.astype(np.float64)
    counts[1, 7] = value
    with pytest.raises(SpectrumError, match=r"counts\[1\]\[7\] is .*must be a finite number"):
        spectrum_from_arrays(axis, counts)


@pytest.mark.parametrize(
    ("axis", "counts", "message"),
    [
        (AXIS[:-1], COUNTS[:-1], "15 channels, a spectrum has 16 or more"),
        (AXIS[::-1], COUNTS, r"wavelength_nm\[1\]: wavelength 314 nm after 315 nm: they must increase"),
        ([*AXIS[:-1], AXIS[-2]], COUNTS, "increase strictly"),
        ([-1, *AXIS[1:]], COUNTS, "outside 100-12000 nm"),
        ([*AXIS[:-1], float("nan")], COUNTS, "must be a finite number"),
        (AXIS, [*COUNTS, 1], "17 values a shot, wavelength_nm has 16"),
        (AXIS, [COUNTS, [1]], "same many"),
        (AXIS, ["a", *COUNTS[1:]], "must be numbers"),
        (AXIS, np.zeros((0, 16)), "1 to"),
        (AXIS, np.zeros((1, 1, 16)), "shape"),
        ([AXIS], COUNTS, "vector"),
    ],
)
def test_numbers_that_make_no_spectrum_are_refused(axis, counts, message):
    with pytest.raises(SpectrumError, match=message):
        spectrum_from_arrays(axis, counts)


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(16, 60)), elements=st.floats(width=32)))
def test_any_counts_give_features_or_a_spectrum_error(counts):
    try:
        spectrum = spectrum_from_arrays(np.linspace(195, 905, counts.shape[1]), counts)
    except SpectrumError:
        assert not np.isfinite(counts).all()
        return
    features = prepare(Grid(300.0, 700.0, 8), 16, spectrum, None)
    assert set(features.quality) <= set(FLAGS)
    assert list(features.quality) == sorted(features.quality, key=FLAGS.index)


def test_a_narrow_picture_is_told(good):
    assert prepare(GRID, 32, good, Picture(grainy(), narrow=True)).quality == ("narrow_image",)


def test_every_flag_is_a_documented_constant():
    constants = {value for name, value in vars(flags).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(FLAGS)
