from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.families import ALUMINIUM, ELEMENTS, FAMILIES
from alloysort_inference.assessment import Assessment
from alloysort_inference.policy.decide import decide
from alloysort_inference.policy.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes
from alloysort_models.bundle.manifest import Bars, Thresholds

BARS = Bars(image=0.95, spectrum=0.8, both=0.8)
THRESHOLDS = Thresholds(confidence=BARS, aluminium=BARS, surface=0.2, novelty=2.0)
NOTHING = np.zeros(len(ELEMENTS), np.float32)


def assess(novelty=0.0, surface=None, sensors="both", **shares):
    probabilities = np.zeros(len(FAMILIES), np.float32)
    for family, share in shares.items():
        probabilities[FAMILIES.index(family.lstrip("_").replace("_", "-"))] = share
    return Assessment(probabilities, NOTHING, NOTHING, novelty, surface, sensors)


@pytest.fixture
def recipe():
    return load_recipe("wrought-cast")


def test_families_of_an_outlet_add_up(recipe):
    decision = decide(assess(_5xxx=0.48, _6xxx=0.47, copper=0.05), recipe, THRESHOLDS)
    assert (decision.outlet, decision.eject) == ("wrought", True)
    assert decision.family == "5xxx"
    assert decision.accepted_as_aluminium
    assert decision.reason == "confident: wrought 0.950"


def test_an_unsure_piece_goes_to_the_default(recipe):
    decision = decide(assess(_6xxx=0.6, cast_AlSi=0.4), recipe, THRESHOLDS)
    assert (decision.outlet, decision.eject) == ("rest", False)
    assert decision.accepted_as_aluminium  # which aluminium is unsure, that it is aluminium is not
    assert decision.reason == "unsure: wrought 0.600 is under 0.9"


def test_a_sure_piece_that_no_outlet_takes_goes_to_the_default_and_says_so(recipe):
    decision = decide(assess(copper=0.99, _6xxx=0.01), recipe, THRESHOLDS)
    assert (decision.outlet, decision.eject) == ("rest", False)
    assert decision.reason == "unclaimed: no outlet takes copper"


def test_a_novel_piece_goes_to_the_default(recipe):
    decision = decide(assess(novelty=2.5, _6xxx=1), recipe, THRESHOLDS)
    assert (decision.outlet, decision.novel, decision.accepted_as_aluminium) == ("rest", True, False)
    assert decision.reason == "novel: novelty 2.5 is over 2"


def test_a_recipe_overrides_the_novelty_limit(recipe):
    patient = recipe.model_copy(update={"novelty_limit": 3.0})
    assert decide(assess(novelty=2.5, _6xxx=1), patient, THRESHOLDS).outlet == "wrought"


def test_a_blind_piece_goes_to_the_default(recipe):
    decision = decide(assess(_6xxx=1), recipe, THRESHOLDS, blind=True)
    assert (decision.outlet, decision.accepted_as_aluminium) == ("rest", False)
    assert decision.reason.startswith("blind")


def test_what_shows_no_metal_goes_to_the_default_whatever_the_probabilities_say(recipe):
    decision = decide(assess(surface=0.1, _6xxx=1), recipe, THRESHOLDS)
    assert (decision.outlet, decision.accepted, decision.accepted_as_aluminium) == ("rest", False, False)
    assert decision.reason == "no metal: surface 0.10 is under 0.20"
    shown = decide(assess(surface=0.2, _6xxx=1), recipe, THRESHOLDS)
    assert (shown.outlet, shown.accepted) == ("wrought", True)


def test_every_pattern_of_sensors_has_its_bar(recipe):
    for sensors, accepted in (("image", False), ("spectrum", True), ("both", True)):
        decision = decide(assess(sensors=sensors, _6xxx=0.9, copper=0.1), recipe, THRESHOLDS)
        assert decision.accepted == decision.accepted_as_aluminium == accepted


def test_other_metals_go_where_nobody_wants_them(recipe):
    decision = decide(assess(copper=1), recipe, THRESHOLDS)
    assert (decision.outlet, decision.eject, decision.accepted_as_aluminium) == ("rest", False, False)


def test_the_default_outlet_may_want_families_itself():
    text = 'default = "a"\n[[outlets]]\nname = "a"\nfamilies = ["copper"]\nmin_confidence = 0.5\n'
    decision = decide(assess(copper=0.9), parse_recipe(text, "one"), THRESHOLDS)
    assert (decision.outlet, decision.reason) == ("a", "confident: a 0.900")


weights = st.lists(st.floats(0, 1, width=32), min_size=19, max_size=19).filter(
    lambda items: sum(items) > 0.01
)
recipes = st.sampled_from([load_recipe(name) for name in shipped_recipes()])
novelties = st.floats(0, 10, width=32)


def normalised(items):
    values = np.array(items, np.float32)
    return values / values.sum()


@given(weights, novelties, recipes, st.booleans(), st.none() | st.floats(0, 1))
def test_a_decision_keeps_the_rules(items, novelty, recipe: Recipe, blind, surface):
    assessment = Assessment(normalised(items), NOTHING, NOTHING, novelty, surface)
    hidden = surface is not None and surface < THRESHOLDS.surface
    decision = decide(assessment, recipe, THRESHOLDS, blind=blind)
    outlets = {outlet.name: outlet for outlet in recipe.outlets}
    chosen = outlets[decision.outlet]
    shares = {name: assessment.probability_of(outlet.families) for name, outlet in outlets.items()}
    assert decision.eject == recipe.ejects(chosen)
    assert decision.novel == (novelty > THRESHOLDS.novelty)
    if decision.outlet != recipe.default:
        assert not blind
        assert not hidden
        assert not decision.novel
        assert shares[decision.outlet] == max(shares.values()) >= chosen.min_confidence
    if decision.accepted_as_aluminium:
        assert decision.family in ALUMINIUM
        assert assessment.probability_of(ALUMINIUM) >= BARS.both
        assert not hidden
        assert not decision.novel
        assert not blind


@given(weights, recipes, st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_higher_bar_never_takes_more(items, recipe: Recipe, low, high):
    low, high = sorted((low, high))
    assessment = Assessment(normalised(items), NOTHING, NOTHING, 0.0)

    def at(bar):
        listed = [
            outlet.model_copy(update={"min_confidence": bar if outlet.families else None})
            for outlet in recipe.outlets
        ]
        return decide(assessment, recipe.model_copy(update={"outlets": listed}), THRESHOLDS).outlet

    if at(high) != recipe.default:
        assert at(low) == at(high)


@given(weights, novelties, recipes)
def test_more_novelty_never_brings_a_piece_back(items, novelty, recipe: Recipe):
    def outlet(value):
        return decide(Assessment(normalised(items), NOTHING, NOTHING, value), recipe, THRESHOLDS).outlet

    if outlet(novelty) == recipe.default:
        assert outlet(novelty + 1) == recipe.default
