from __future__ import annotations

import numpy as np
import pytest

from alloysort_datasets.alloys.stream import MIXES
from alloysort_datasets.families import FAMILIES
from alloysort_inference.bench.accuracy.outlets import OWN, families_of, reweighted, sorted_masses
from alloysort_inference.policy.recipe import load_recipe
from tests.inference.bench.accuracy.builder import make_judged

RECIPE = load_recipe("5xxx-6xxx")  # outlets 5xxx, 6xxx and rest


def told_of(judged, feed=OWN):
    return sorted_masses(judged, RECIPE)["feeds"][feed]["outlets"]


def test_purity_recovery_and_yield_are_those_counted_by_hand():
    judged = make_judged(
        ["5xxx", "5xxx", "6xxx", "copper"],
        mass_g=np.array([10.0, 30.0, 20.0, 40.0], np.float32),
        outlet=np.array([0, 2, 0, 2], np.int16),
    )
    found = told_of(judged)
    assert found["5xxx"]["purity"]["value"] == pytest.approx(10 / 30, abs=1e-5)
    assert found["5xxx"]["recovery"]["value"] == pytest.approx(10 / 40)
    assert found["5xxx"]["yield"]["value"] == pytest.approx(30 / 100)
    assert found["6xxx"]["purity"]["value"] is None  # nothing went there
    assert found["6xxx"]["recovery"]["value"] == 0
    assert found["rest"]["purity"]["value"] == pytest.approx(40 / 70, abs=1e-5)  # copper alone belongs there
    assert found["rest"]["recovery"]["value"] == 1


def test_without_a_mass_for_every_piece_pieces_are_counted():
    judged = make_judged(["5xxx", "6xxx"], mass_g=np.array([10.0, np.nan], np.float32))
    found = sorted_masses(judged, RECIPE)
    assert found["weighted_by"] == "pieces"
    assert found["feeds"][OWN]["outlets"]["5xxx"]["purity"]["value"] == 0.5


def test_pieces_of_unknown_family_count_nowhere():
    assert told_of(make_judged(["5xxx", None]))["5xxx"]["yield"]["value"] == 1.0
    assert sorted_masses(make_judged(["5xxx", None]), RECIPE)["feeds"][OWN]["covered"] == 1


def test_a_feed_has_its_own_shares_whatever_the_tables_are():
    judged = make_judged(["5xxx"] * 8 + ["6xxx"] * 2)
    weight, covered = reweighted(judged, MIXES["zorba"])
    by_family = [weight[judged.family == FAMILIES.index(family)].sum() for family in ("5xxx", "6xxx")]
    assert by_family[0] / by_family[1] == pytest.approx(8 / 15)
    assert covered == pytest.approx(23 / sum(MIXES["zorba"].values()))


def test_the_recovery_at_a_purity_is_the_best_of_all_bars_that_keep_it():
    probabilities = np.zeros((4, len(FAMILIES)), np.float32)
    five = FAMILIES.index("5xxx")
    probabilities[:, five] = (0.999, 0.99, 0.9, 0.8)  # the third is wrong
    probabilities[:, FAMILIES.index("copper")] = 1 - probabilities[:, five]
    judged = make_judged(["5xxx", "5xxx", "6xxx", "5xxx"], probabilities=probabilities)
    found = told_of(judged)["5xxx"]
    assert found["recovery_at_purity"]["0.99"]["value"] == pytest.approx(2 / 3, abs=1e-5)
    bars, purity, recovery = np.array(found["curve"]).T
    assert purity[0] == pytest.approx(3 / 4)
    assert recovery[0] == 1
    assert (np.diff(recovery) <= 0).all()
    assert (bars[:-1] < bars[1:]).all()


def test_what_is_not_trusted_goes_to_no_outlet_whatever_its_bar():
    judged = make_judged(["5xxx", "5xxx"], trusted=np.array([True, False]))
    assert np.array(told_of(judged)["5xxx"]["curve"])[:, 2].max() == 0.5


def test_the_default_outlet_is_for_what_no_other_takes():
    rest = families_of(RECIPE.default_outlet, RECIPE)
    assert [FAMILIES[place] for place in np.flatnonzero(~rest)] == ["5xxx", "6xxx"]
