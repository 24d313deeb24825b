from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import DataError
from alloysort_inference.health.drift import Drift, Outcome, binomial_tail, psi, psi_by_chance, upper_rate
from alloysort_models.bundle.health import Reference

rows = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), min_size=1, max_size=30)


@given(rows)
def test_the_index_is_never_negative_and_the_same_either_way(pairs):
    one, other = zip(*pairs, strict=True)
    assert psi(one, other) >= -1e-12
    assert psi(one, other) == pytest.approx(psi(other, one))


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_the_index_of_equal_rows_is_zero(row):
    assert psi(row, row) == 0


@given(st.integers(10, 1000), st.integers(1, 9))
def test_the_index_grows_with_the_shift(each, tenths):
    def moved(part):
        return [each * (10 - part), each * (10 + part)]

    even = moved(0)
    assert psi(even, moved(tenths)) > psi(even, moved(tenths - 1))


@pytest.mark.parametrize(("one", "other"), [([1, 2], [1]), ([], []), ([-1, 2], [1, 2])])
def test_rows_that_cannot_be_compared_are_refused(one, other):
    with pytest.raises(DataError, match="psi"):
        psi(one, other)


def test_by_chance_the_index_stays_below_what_chance_makes_of_it():
    """2,000 windows of an unchanged feed: at a chance of 1 in 100, no more than 2 in 100."""
    rng, shares = np.random.default_rng(0), np.full(7, 1 / 7)
    most = psi_by_chance(7, 500, 1000, 0.01)
    over = [
        psi(rng.multinomial(500, shares).tolist(), rng.multinomial(1000, shares).tolist()) > most
        for _ in range(2000)
    ]
    assert 0.002 < np.mean(over) < 0.02


@given(st.integers(0, 200), st.integers(1, 200), st.floats(0, 1))
def test_a_binomial_tail_is_a_chance_and_falls_with_the_hits(hits, trials, rate):
    hits = min(hits, trials)
    tail = binomial_tail(hits, trials, rate)
    assert 0 <= tail <= 1
    assert binomial_tail(0, trials, rate) == 1
    if hits:
        assert tail <= binomial_tail(hits - 1, trials, rate) + 1e-12


def test_tail_and_upper_rate_are_those_of_the_books():
    assert binomial_tail(8, 10, 0.5) == pytest.approx(56 / 1024)
    assert upper_rate(0, 100, 0.05) == pytest.approx(1 - 0.05 ** (1 / 100), abs=1e-9)  # the rule of three
    assert upper_rate(5, 100, 0.025) == pytest.approx(0.11283, abs=1e-4)
    assert upper_rate(3, 3, 0.05) == 1


@pytest.mark.parametrize(("hits", "trials", "rate"), [(-1, 3, 0.5), (4, 3, 0.5), (1, 3, 1.5)])
def test_a_tail_of_nonsense_is_refused(hits, trials, rate):
    with pytest.raises(DataError, match="binomial"):
        binomial_tail(hits, trials, rate)


def test_no_more_than_one_window_in_a_thousand_of_an_unchanged_feed_is_called_novel():
    rng = np.random.default_rng(1)
    for _ in range(300):
        known = Reference(pieces=500, novel=int(rng.binomial(500, 0.02)), answered=500)
        drift = Drift(known)
        for novel in rng.random(1000) < 0.02:
            drift.see(Outcome((0, 0, 0), bool(novel)))
        assert drift.novelty().chance > known.limits.chance


def test_old_pieces_leave_the_window():
    drift = Drift(Reference(pieces=500, novel=5, answered=500), window=300)
    for novel in (True, False):
        for _ in range(300):
            drift.see(Outcome((0, 0, 0), novel))
    assert drift.figures()["novelty_rate"] == 0
    assert drift.seen == 300


def test_bins_of_another_model_are_refused():
    with pytest.raises(DataError, match="family has 3 bins"):
        Drift(Reference(pieces=500, counts={"family": (1, 2, 3)}))


def test_too_small_a_window_is_refused():
    with pytest.raises(DataError, match="300 pieces or more"):
        Drift(Reference(pieces=500), window=10)
