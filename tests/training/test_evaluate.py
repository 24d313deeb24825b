from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_models.bundle.manifest import Bars, Thresholds
from alloysort_training.evaluate import Predictions, figures, strangers, strata

BARS = Bars(image=0.9, spectrum=0.6, both=0.6)
THRESHOLDS = Thresholds(confidence=BARS, aluminium=BARS, surface=0.3, novelty=1.0)


def make_predictions(pieces: int = 600, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    family = rng.integers(len(FAMILIES), size=pieces)
    logits = rng.normal(0.0, 1.5, (pieces, len(FAMILIES)))
    logits[np.arange(pieces), family] += 3.0
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    composition = rng.uniform(0.0, 10.0, (pieces, len(ELEMENTS)))
    sigma = rng.uniform(0.1, 1.0, composition.shape)
    return Predictions(
        probabilities=probabilities.astype(np.float32),
        wt_pct=(composition + sigma * rng.normal(size=sigma.shape)).astype(np.float32),
        sigma=sigma.astype(np.float32),
        novelty=rng.uniform(0.0, 1.1, pieces).astype(np.float32),
        family=family,
        composition=composition.astype(np.float32),
        batch=np.arange(pieces) // 20 + 100,
        surface=np.ones(pieces, np.float32),
        shown=np.ones(pieces, np.float32),
        stranger=np.zeros(pieces, np.float32),
        layer=np.ones(pieces, np.int8),
        line_over_noise=np.full(pieces, 200, np.float32),
    )


def figures_of(found: Predictions) -> dict[str, Any]:
    return figures(found, THRESHOLDS, "both")


def test_figures_agree_with_an_independent_count() -> None:
    found = make_predictions()
    told = found.probabilities.argmax(axis=1)
    measured = figures_of(found)
    assert measured["n"] == 600
    assert measured["batches"] == 30
    assert measured["macro_f1"]["value"] == pytest.approx(
        f1_score(found.family, told, average="macro"), abs=1e-5
    )
    assert measured["accuracy"]["value"] == pytest.approx((told == found.family).mean(), abs=1e-5)
    aluminium = found.family < 11
    error = found.wt_pct[aluminium, 2] - found.composition[aluminium, 2]
    assert measured["rmse_wt_pct"]["Fe"]["value"] == pytest.approx(np.sqrt(np.mean(error**2)), abs=1e-4)
    assert measured["covered_90_all"]["Al"]["value"] == pytest.approx(0.9, abs=0.04)
    assert measured["novel"]["value"] == pytest.approx((found.novelty > 1.0).mean(), abs=1e-5)
    assert np.sum(measured["confusion"]) == 600


def test_the_calibration_error_is_that_of_its_definition_less_its_own_scatter() -> None:
    found = make_predictions()
    confidence, told = found.probabilities.max(axis=1), found.probabilities.argmax(axis=1)
    column = np.minimum((confidence * 15).astype(int), 14)
    gaps = []
    for b in np.unique(column):
        mine = column == b
        hits = (told == found.family)[mine].mean()
        scatter = hits * (1 - hits) / max(mine.sum() - 1, 1)
        gap = abs(confidence[mine].mean() - hits)
        drawn = np.abs(np.random.default_rng(0).normal(gap, np.sqrt(scatter), 100_000)).mean()
        gaps.append((gap - (drawn - gap)) * mine.mean())
    assert figures_of(found)["ece"]["value"] == pytest.approx(max(sum(gaps), 0.0), abs=1e-3)


def test_a_perfectly_calibrated_model_has_hardly_any_error_however_few_the_pieces() -> None:
    errors = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = make_predictions(200, seed)
        confidence = found.probabilities.max(axis=1)
        right = rng.random(200) < confidence
        told = found.probabilities.argmax(axis=1)
        truth = np.where(right, told, (told + 1) % len(FAMILIES))
        errors.append(figures_of(Predictions(**{**vars(found), "family": truth}))["ece"]["value"])
    assert np.median(errors) < 0.05  # of the uncorrected one it is 0.08


def test_accepted_are_confident_known_and_show_metal() -> None:
    found = make_predictions()
    found.surface[:100] = 0.1
    measured = figures_of(found)
    taken = (found.probabilities.max(axis=1) >= 0.6) & (found.novelty <= 1.0) & (np.arange(600) >= 100)
    assert measured["accepted"]["value"] == pytest.approx(taken.mean(), abs=1e-5)
    assert measured["accepted_right"]["value"] == pytest.approx(found.right[taken].mean(), abs=1e-5)
    foreign = found.family >= 11
    share = found.probabilities[:, :11].sum(axis=1)
    wrong = foreign & (share >= 0.6) & (found.probabilities.argmax(axis=1) < 11)
    wrong &= (found.novelty <= 1.0) & (np.arange(600) >= 100)
    assert measured["foreign_as_aluminium"]["value"] == pytest.approx(wrong.sum() / foreign.sum(), abs=1e-5)


def test_strangers_have_figures_of_their_own() -> None:
    found = make_predictions()
    found.stranger[:120] = 1.0
    found.novelty[:120] += 0.6
    measured = strangers(found, THRESHOLDS, "both")
    assert measured["n"] == 120
    pairs = found.novelty[:120, None] > found.novelty[None, 120:]
    assert measured["novelty_auroc"]["value"] == pytest.approx(pairs.mean(), abs=1e-4)
    assert strangers(make_predictions(), THRESHOLDS, "both") == {"n": 0}


def test_strata_part_pieces_by_what_the_laser_met() -> None:
    found = make_predictions()
    found.layer[:] = np.arange(600) % 4
    found.shown[:60] = 0.0
    found.line_over_noise[300:] = 20
    found.stranger[590:] = 1.0
    metal = (found.family != FAMILIES.index("non-metal")) & (np.arange(600) < 590)
    parts = strata(found, "spectrum")
    np.testing.assert_array_equal(parts["bare metal"], metal & (found.layer == 1))
    np.testing.assert_array_equal(
        parts["bare metal, strong lines"], metal & (found.layer == 1) & (np.arange(600) < 300)
    )
    np.testing.assert_array_equal(parts["late plumes without metal"], metal & (np.arange(600) < 60))
    assert strata(found, "image") == {}


def test_intervals_hold_the_value_and_shrink_with_more_batches() -> None:
    widths = []
    for pieces in (200, 5000):
        found = figures_of(make_predictions(pieces))["accuracy"]
        assert found["low"] <= found["value"] <= found["high"]
        widths.append(found["high"] - found["low"])
    assert widths[1] < 0.5 * widths[0]


def test_intervals_are_those_of_batches_not_of_pieces() -> None:
    found = make_predictions(400)
    alike = Predictions(**{**vars(found), "batch": np.zeros(400, dtype=np.int64)})
    one = figures_of(alike)["accuracy"]
    assert one["low"] == one["value"] == one["high"]


def test_unknown_labels_do_not_count() -> None:
    found = make_predictions()
    found.family[:300] = -1
    found.composition[:, 4] = np.nan
    measured = figures_of(found)
    assert np.sum(measured["confusion"]) == 300
    assert measured["rmse_wt_pct"]["Mn"] == {"value": None, "low": None, "high": None}
    json.dumps(measured, allow_nan=False)


def test_nothing_known_gives_nulls_not_a_guess() -> None:
    found = make_predictions(40)
    found.family[:] = -1
    found.composition[:] = np.nan
    measured = figures_of(found)
    json.dumps(measured, allow_nan=False)
    for name in ("macro_f1", "accuracy", "ece"):
        assert measured[name]["value"] is None
