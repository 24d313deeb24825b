from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.table.layers import LAYERS
from alloysort_inference.bench.accuracy.measure import measure
from alloysort_inference.policy.recipe import load_recipe
from tests.inference.bench.accuracy.builder import make_judged

RECIPE = load_recipe("wrought-cast")


def make_noisy(pieces: int = 600, seed: int = 0, **told):
    rng = np.random.default_rng(seed)
    family = rng.integers(len(FAMILIES), size=pieces)
    logits = rng.normal(0.0, 1.5, (pieces, len(FAMILIES)))
    logits[np.arange(pieces), family] += 3.0
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    composition = rng.uniform(0.0, 10.0, (pieces, len(ELEMENTS)))
    sigma = rng.uniform(0.1, 1.0, composition.shape)
    fields = {
        "probabilities": probabilities.astype(np.float32),
        "composition": composition.astype(np.float32),
        "sigma": sigma.astype(np.float32),
        "wt_pct": (composition + sigma * rng.normal(size=sigma.shape)).astype(np.float32),
        "accepted": probabilities.max(axis=1) > 0.6,
        "batch": np.array([f"batch-{number // 20}" for number in range(pieces)]),
        **told,
    }
    return make_judged([FAMILIES[number] for number in family], **fields)


def test_what_scikit_learn_counts_too_is_the_same():
    judged = make_noisy()
    found = measure(judged, RECIPE)
    assert found["macro_f1"]["value"] == pytest.approx(
        f1_score(judged.family, judged.named, average="macro"), abs=1e-5
    )
    assert found["accuracy"]["value"] == pytest.approx((judged.named == judged.family).mean(), abs=1e-5)
    taken = judged.where(judged.accepted)
    counted = np.array(found["confusion"]["counts"])
    assert (counted[:, :-1] == confusion_matrix(taken.family, taken.named, labels=range(len(FAMILIES)))).all()
    assert counted[:, -1].sum() == (~judged.accepted).sum()
    assert found["macro_f1"]["low"] < found["macro_f1"]["value"] < found["macro_f1"]["high"]


def test_novelty_and_surface_are_ranked_as_scikit_learn_ranks_them():
    rng = np.random.default_rng(1)
    strange = rng.random(600) < 0.2
    hidden = (rng.random(600) < 0.3) & ~strange
    judged = make_noisy(
        novelty=(rng.normal(size=600) + strange).astype(np.float32).round(1),
        stranger=strange.astype(np.float32),
        surface=(rng.random(600) * 0.6 + 0.4 * ~hidden).astype(np.float32),
        shown=np.where(hidden, 0.0, 1.0).astype(np.float32),
    )
    found = measure(judged, RECIPE)
    seen = ~hidden
    assert found["novelty_auroc"]["value"] == pytest.approx(
        roc_auc_score(strange[seen], judged.novelty[seen]), abs=1e-5
    )
    metal = ~strange & (judged.family != FAMILIES.index("non-metal"))
    assert found["surface_auroc"]["value"] == pytest.approx(
        roc_auc_score(~hidden[metal], judged.surface[metal]), abs=1e-5
    )
    assert found["strangers"]["n"] == (strange & seen).sum()
    assert found["labelled"] == (~strange).sum()


def test_composition_is_told_of_aluminium_by_error_bias_blanks_and_intervals():
    fe, si = ELEMENTS.index("Fe"), ELEMENTS.index("Si")
    composition = np.full((40, len(ELEMENTS)), np.nan, np.float32)
    composition[:, fe] = 1.0
    composition[:, si] = 0.0  # a blank for silicon
    wt_pct = np.zeros_like(composition)
    wt_pct[:, fe] = 1.5
    wt_pct[:, si] = np.tile([0.1, 0.3], 20)
    sigma = np.full_like(composition, 0.2)
    pieces = make_judged(["6xxx"] * 40, composition=composition, wt_pct=wt_pct, sigma=sigma)
    found = measure(pieces, RECIPE)
    assert found["rmse_wt_pct"]["Fe"]["value"] == pytest.approx(0.5)
    assert found["bias_wt_pct"]["Fe"]["value"] == pytest.approx(0.5)
    assert found["covered_90"]["Fe"]["value"] == 0  # off by 2.5 sigma
    assert found["covered_90"]["Si"]["value"] == 1
    assert found["lod_wt_pct"]["Si"]["value"] == pytest.approx(0.3, abs=1e-5)  # three times 0.1
    assert found["lod_wt_pct"]["Fe"]["value"] is None
    assert found["rmse_wt_pct"]["Cu"]["value"] is None


def test_strata_say_what_the_laser_met():
    layer = np.full(600, LAYERS.index("paint"), np.int8)
    layer[:300] = LAYERS.index("bare")
    found = measure(make_noisy(layer=layer), RECIPE)["strata"]
    assert (
        found["bare metal"]["labelled"] + found["paint"]["labelled"] + found["non-metal"]["labelled"] >= 600
    )
    assert "thin films" not in found


def test_shuffled_labels_score_at_chance():
    judged = make_noisy(4000)
    rng = np.random.default_rng(2)
    shuffled = make_judged(
        [FAMILIES[number] for number in rng.permutation(judged.family)],
        probabilities=judged.probabilities,
        batch=judged.batch,
    )
    found = measure(shuffled, RECIPE)
    assert found["accuracy"]["low"] < 1 / len(FAMILIES) < found["accuracy"]["high"]


def test_the_surest_pieces_come_first_on_the_risk_curve():
    judged = make_noisy()
    curve = np.array(measure(judged, RECIPE)["risk_coverage"])
    assert curve[-1, 0] == 1
    assert curve[-1, 1] == pytest.approx((judged.named != judged.family).mean(), abs=1e-5)
    assert curve[: len(curve) // 2, 1].mean() < curve[-1, 1]


def test_a_table_without_labels_has_no_figures_of_right_and_wrong():
    found = measure(make_judged([None, None]), RECIPE)
    assert found["labelled"] == 0
    assert found["n"] == 2
