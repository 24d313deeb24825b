from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_training.evaluate import Predictions, figures


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
    )


def test_figures_agree_with_an_independent_count() -> None:
    found = make_predictions()
    told = found.probabilities.argmax(axis=1)
    measured = figures(found)
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


def test_the_calibration_error_is_that_of_its_definition() -> None:
    found = make_predictions()
    confidence, told = found.probabilities.max(axis=1), found.probabilities.argmax(axis=1)
    column = np.minimum((confidence * 15).astype(int), 14)
    gaps = [
        abs(confidence[column == b].mean() - (told == found.family)[column == b].mean())
        * (column == b).mean()
        for b in range(15)
        if (column == b).any()
    ]
    assert figures(found)["ece"]["value"] == pytest.approx(sum(gaps), abs=1e-4)


def test_intervals_hold_the_value_and_shrink_with_more_batches() -> None:
    widths = []
    for pieces in (200, 5000):
        found = figures(make_predictions(pieces))["accuracy"]
        assert found["low"] <= found["value"] <= found["high"]
        widths.append(found["high"] - found["low"])
    assert widths[1] < 0.5 * widths[0]


def test_intervals_are_those_of_batches_not_of_pieces() -> None:
    found = make_predictions(400)
    alike = Predictions(**{**vars(found), "batch": np.zeros(400, dtype=np.int64)})
    one = figures(alike)["accuracy"]
    assert one["low"] == one["value"] == one["high"]


def test_unknown_labels_do_not_count() -> None:
    found = make_predictions()
    found.family[:300] = -1
    found.composition[:, 4] = np.nan
    measured = figures(found)
    assert np.sum(measured["confusion"]) == 300
    assert measured["rmse_wt_pct"]["Mn"] == {"value": None, "low": None, "high": None}
    json.dumps(measured, allow_nan=False)


def test_nothing_known_gives_nulls_not_a_guess() -> None:
    found = make_predictions(40)
    found.family[:] = -1
    found.composition[:] = np.nan
    measured = figures(found)
    json.dumps(measured, allow_nan=False)
    for name in ("macro_f1", "accuracy", "ece"):
        assert measured[name]["value"] is None
