from __future__ import annotations

import numpy as np
import pytest

from alloysort_datasets.piece import Piece
from alloysort_datasets.readers.picture import decode_image, encode_jpeg
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.bench.accuracy import suite
from alloysort_inference.bench.accuracy.judge import Seen
from alloysort_inference.bench.accuracy.suite import ROWS, run_suite, tell_rows
from alloysort_models.bundle.manifest import newest_released

RNG = np.random.default_rng(0)


@pytest.fixture
def seen():
    axis = np.linspace(200.0, 900.0, 1000)
    shots = RNG.normal(100.0, 1.0, (4, 1000)).astype(np.float32)
    shots[:, 500] = 10_000.0
    picture = np.full((64, 64, 3), 128, np.uint8)
    picture[:, 32:] = 200
    return Seen(Piece("a", "test", "b", family="6xxx"), Spectrum(axis, shots), encode_jpeg(picture))


def test_rows_have_names_of_their_own_and_clean_comes_first():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert names[0] == "clean"
    assert not ROWS[0].conditions


def test_a_drift_moves_the_axis_and_nothing_else(seen):
    moved = suite.drifted(0.3)(seen, RNG)
    assert np.allclose(moved.spectrum.wavelength_nm, seen.spectrum.wavelength_nm + 0.3)
    assert (moved.spectrum.shots == seen.spectrum.shots).all()
    assert moved.image is seen.image


def test_a_full_detector_cuts_at_its_brightest_channel(seen):
    shots = suite.overexposed(8)(seen, RNG).spectrum.shots
    assert shots.max() == seen.spectrum.shots.max()
    assert shots[0, 0] == pytest.approx(8 * seen.spectrum.shots[0, 0])


def test_a_dirty_window_takes_the_ultraviolet(seen):
    passed = suite.dimmed_window(550.0)(seen, RNG).spectrum
    dark = np.median(seen.spectrum.shots[0])
    at = int(np.argmax(seen.spectrum.shots[0]))
    assert passed.shots[0, at] - dark == pytest.approx((10_000 - dark) / 2, rel=0.02)


def test_pictures_darken_and_blur(seen):
    before = decode_image(seen.image).astype(float)
    dim = decode_image(suite.lit(0.5)(seen, RNG).image).astype(float)
    assert dim.mean() == pytest.approx(before.mean() / 2, rel=0.05)
    uneven = decode_image(suite.lit(0.8, 0.6)(seen, RNG).image).astype(float)
    assert uneven[:, 0].mean() / before[:, 0].mean() > 3 * uneven[:, -1].mean() / before[:, -1].mean()
    blurred = decode_image(suite.smeared(0.2)(seen, RNG).image).astype(float)
    assert np.abs(np.diff(blurred[10, :, 0])).max() < np.abs(np.diff(before[10, :, 0])).max() / 3
    assert decode_image(suite.spotted(6)(seen, RNG).image).mean() < before.mean()


def test_changes_leave_a_sensor_that_is_missing(seen):
    nothing = Seen(seen.piece, None, None)
    for row in ROWS:
        if row.change is not None:
            assert row.change(nothing, RNG) == nothing


def test_every_row_judges_the_same_pieces():
    outcomes = run_suite(newest_released(), "wrought-cast", pieces=10)
    told = tell_rows(outcomes)
    assert {part["n"] for part in told.values()} == {10}
    clean = outcomes["clean"].judged
    for name, outcome in outcomes.items():
        assert outcome.judged.piece_id.tolist() == clean.piece_id.tolist(), name
        assert outcome.judged.family.tolist() == clean.family.tolist(), name
    assert told["clean"]["macro_f1_drop"]["value"] == 0
    assert told["no spectrum"]["spectrum_alone"] == {"n": 0}
    thick, thin = outcomes["paint 120 um"].judged, outcomes["clean"].judged
    assert thick.surface[np.isfinite(thick.surface)].mean() < thin.surface[np.isfinite(thin.surface)].mean()
    instruments = {name: set(outcome.judged.instrument.tolist()) for name, outcome in outcomes.items()}
    assert not instruments["clean"] & instruments["instrument: mini"] - {""}
