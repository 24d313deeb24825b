from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import FAMILIES
from alloysort_inference.policy.guarantee import Evidence, curve, shares_in


def evidence(pieces=2000, wrong=0.02, seed=0, batch_of=1, mass=None):
    """Pieces of which the surer are seldom wrong."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(0.2, 1.0, pieces)
    wanted = rng.uniform(size=pieces) > 2 * wrong * (1.2 - score)
    return Evidence(
        score,
        wanted,
        np.ones(pieces) if mass is None else rng.lognormal(3, mass, pieces),
        np.ones(pieces),
        np.arange(pieces) // batch_of,
    )


@pytest.mark.parametrize("wrong", [0, 1, 7])
def test_with_equal_masses_and_endless_batches_it_is_clopper_pearson(wrong):
    n = 400
    told = Evidence(
        np.full(n, 0.9), np.arange(n) >= wrong, np.full(n, 20.0), np.ones(n), np.arange(n, dtype=np.int64)
    )
    found = curve(told, batch_pieces=1_000_000, sure=0.95, draws=8000)
    assert len(found.bar) == 1
    assert found.reached[0] == pytest.approx(1 - beta.ppf(0.95, wrong + 1, n - wrong), abs=1.5e-3)
    assert found.purity[0] == pytest.approx(1 - wrong / n)


@pytest.mark.parametrize("mass", [None, 1.0])
def test_no_more_batches_than_were_allowed_fall_below_what_is_promised(mass):
    """Fitted on pieces of a law, asked about batches of the same law. A refused target promises nothing."""
    under = []
    for trial in range(120):
        found = curve(evidence(1500, 0.03, trial, mass=mass), 800, 0.9, draws=400, seed=trial)
        place = found.lowest(0.96)
        if place is not None:
            batch = evidence(800, 0.03, 10_000 + trial, mass=mass)
            taken = batch.mass * (batch.score >= found.bar[place])
            under.append((taken * batch.wanted).sum() / taken.sum() < 0.96)
    assert len(under) > 60
    assert sum(under) / 120 <= 0.1 + 2 * np.sqrt(0.09 / 120)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.8, 0.99), st.floats(0.8, 0.99))
def test_a_higher_target_never_raises_the_yield(seed, one, two):
    found = curve(evidence(600, 0.05, seed), 500, 0.95, draws=200)
    low, high = (found.lowest(purity) for purity in sorted((one, two)))
    if high is not None:
        assert low is not None
        assert found.part[high] <= found.part[low]
        assert found.recovery[high] <= found.recovery[low]


def test_pieces_that_are_wrong_together_promise_less():
    rng = np.random.default_rng(3)
    bad = np.repeat(rng.uniform(size=200) < 0.03, 10)
    told = [
        Evidence(np.full(2000, 0.9), ~bad, np.ones(2000), np.ones(2000), np.arange(2000) // group)
        for group in (1, 10)
    ]
    alone, together = (curve(one, 5000, 0.95).reached[0] for one in told)
    assert together < alone


def test_more_known_pieces_and_larger_batches_promise_more():
    few, many = (curve(evidence(n, 0.02, 1), 1000, 0.95).lowest(0.97) for n in (150, 5000))
    assert many is not None
    short, long = (curve(evidence(2000, 0.02, 1), n, 0.95).reached[-1] for n in (100, 10_000))
    assert short < long
    assert few is None or few >= 0


def test_the_same_pieces_and_seed_give_the_same_bars():
    one, two = (curve(evidence(), 1000, 0.95, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.reached, two.reached)


def test_a_feed_weighs_families_and_leaves_out_strangers():
    family = np.array([0, 0, 0, 1, -1])
    share = shares_in({FAMILIES[0]: 1, FAMILIES[1]: 3}, family)
    np.testing.assert_allclose(share[3] / share[:3].sum(), 3)
    assert share[4] == 0
    assert share.mean() == pytest.approx(1)
    assert (shares_in(None, family) == 1).all()
    with pytest.raises(DataError, match="none of the families"):
        shares_in({"steel": 1}, family)


def test_too_little_is_refused_with_what_it_takes():
    told = evidence(200)
    with pytest.raises(DataError, match=r"20 batches .* needs 30"):
        curve(Evidence(told.score, told.wanted, told.mass, told.share, np.arange(200) // 10), 100, 0.95)
    with pytest.raises(DataError, match=r"5 known pieces .* needs 30"):
        curve(Evidence(told.score, np.arange(200) < 5, told.mass, told.share, told.batch), 100, 0.95)
    with pytest.raises(DataError, match="whatever the bar"):
        curve(Evidence(-told.score, told.wanted, told.mass, told.share, told.batch), 100, 0.95)
