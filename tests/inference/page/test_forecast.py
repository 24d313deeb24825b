from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloysort_datasets.families import FAMILIES
from alloysort_inference.assessment import Assessment
from alloysort_inference.page.forecast import BARS, forecast
from alloysort_inference.policy.decide import decide
from alloysort_inference.policy.recipe import load_recipe
from alloysort_models.bundle.manifest import Bars, Thresholds

RECIPE = load_recipe("wrought-cast")


def drawn(seed, pieces=300):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(len(FAMILIES), 0.08), pieces).astype(np.float32)
    return shares, rng.random(pieces) < 0.8, rng.lognormal(3, 0.8, pieces)


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_higher_bar_takes_less_and_is_purer(seed):
    for points in forecast(RECIPE, *drawn(seed)).values():
        assert [point["bar"] for point in points] == BARS.tolist()
        parts = [point["part"] for point in points]
        assert parts == sorted(parts, reverse=True)
        for low in points:
            if low["purity"] is not None:
                assert low["purity"] >= low["bar"] - 1e-5


def test_at_the_bar_in_use_it_tells_what_the_policy_does():
    shares, sortable, mass_g = drawn(7)
    thresholds = Thresholds(
        confidence=Bars(image=0.5, spectrum=0.5, both=0.5),
        aluminium=Bars(image=0.5, spectrum=0.5, both=0.5),
        surface=0.1,
        novelty=10.0,
    )
    none = np.zeros(13, np.float32)
    decided = [
        decide(Assessment(row, none, none, 0.0, 0.9), RECIPE, thresholds, blind=not may).outlet
        for row, may in zip(shares, sortable, strict=True)
    ]
    told = forecast(RECIPE, shares, sortable, mass_g)
    for name, points in told.items():
        point = next(point for point in points if point["bar"] == pytest.approx(RECIPE.bars[name]))
        assert point["pieces"] == pytest.approx(decided.count(name) / len(decided), abs=1e-5)


def test_without_pieces_nothing_is_foretold():
    assert forecast(RECIPE, np.zeros((0, 19), np.float32), np.zeros(0, bool), np.zeros(0)) == {}
