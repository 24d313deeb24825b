from __future__ import annotations

import numpy as np
import pytest

from alloysort_datasets.errors import DataError
from alloysort_inference.policy.feed import estimate_feed


def pieces(truth, count, seed=0):
    """Calibrated probabilities for equally frequent families, of pieces in another mix."""
    rng = np.random.default_rng(seed)
    families = len(truth)
    family = rng.choice(families, count, p=truth)
    seen = rng.normal(np.eye(families)[family] * 1.6, 1.0)  # Gaussian, so Bayes' rule is exact
    logits = 1.6 * seen
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def test_a_feed_is_found_that_counting_names_would_get_wrong():
    truth = np.array([0.6, 0.3, 0.08, 0.02, 0.0])
    shares = pieces(truth, 20_000)
    named = np.bincount(shares.argmax(axis=1), minlength=5) / len(shares)
    found, sigma = estimate_feed(shares)
    assert abs(found - truth).max() < 0.02 < abs(named - truth).max()
    assert found.sum() == pytest.approx(1)
    assert (abs(found - truth) < 5 * sigma + 0.003).all()


def test_an_even_feed_stays_even():
    found, _ = estimate_feed(pieces(np.full(5, 0.2), 20_000))
    assert abs(found - 0.2).max() < 0.02


def test_too_few_pieces_tell_nothing():
    with pytest.raises(DataError, match="10 pieces tell no feed, 200 do"):
        estimate_feed(np.full((10, 19), 1 / 19))
