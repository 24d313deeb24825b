from __future__ import annotations

from dataclasses import replace

import pytest

from alloysort_inference.page.board import LAST, Board
from alloysort_inference.policy.recipe import load_recipe


@pytest.fixture
def board():
    return Board(load_recipe("wrought-cast"))


def outlets_of(board):
    return {outlet["name"]: outlet for outlet in board.told()["outlets"]}


def test_an_outlet_holds_what_was_sent_there(board, seen):
    board.take([seen(395.0), seen(395.0, mass_g=30.0), seen(327.0)])
    told = outlets_of(board)
    assert (told["wrought"]["pieces"], told["wrought"]["mass_kg"]) == (2, 0.04)
    assert (told["cast"]["pieces"], told["rest"]["pieces"]) == (0, 1)
    assert told["wrought"]["composition"]["Al"][0] == pytest.approx(97, abs=1)
    assert told["cast"]["composition"] == {}


def test_purity_is_what_the_probabilities_make_expect_by_mass(board, seen):
    light, heavy = seen(395.0, mass_g=1.0), seen(395.0, mass_g=99.0, height=3000)
    shares = [
        one.record.assessment.probability_of(board.recipe.outlets[0].families) for one in (light, heavy)
    ]
    board.take([light, heavy])
    purity = outlets_of(board)["wrought"]["purity"]
    assert purity["value"] == pytest.approx(0.01 * shares[0] + 0.99 * shares[1], abs=1e-4)
    assert 0 <= purity["low"] <= purity["value"] <= purity["high"] <= 1


def test_a_piece_without_a_mass_counts_as_the_recipe_says(board, seen):
    board.take([seen(395.0, mass_g=None)])
    assert outlets_of(board)["wrought"]["mass_kg"] == board.recipe.typical_piece_g / 1000


def test_the_last_ones_are_shown_the_newest_first_and_found_by_number(board, seen):
    one = seen(395.0)
    some = [replace(one, seq=number) for number in range(100, 150)]
    board.take(some)
    told = board.told()
    assert [piece["seq"] for piece in told["last"]] == list(range(149, 149 - LAST, -1))
    assert board.find(149) is some[-1]
    assert board.find(100) is None
    assert told["pieces"] == 50
    assert told["latency_ms"]["p50"] == pytest.approx(one.record.timing.total_ms, abs=0.01)


def test_what_was_accepted_is_compared_with_the_truth_where_that_is_known(board, seen):
    board.take([seen(395.0, truth="6xxx"), seen(395.0, truth="zinc"), seen(395.0)])
    assert (board.told()["known"], board.told()["right"]) == (2, 1)


def test_a_batch_that_begins_empties_the_outlets_but_forgets_no_piece(board, seen):
    board.take([seen(395.0)])
    board.begin(load_recipe("twitch"))
    assert all(outlet["pieces"] == 0 for outlet in board.told()["outlets"])
    assert board.told()["pieces"] == 1
    board.take([seen(395.0)])  # of the recipe before: its outlet is not there any more
    assert sum(outlet["pieces"] for outlet in board.told()["outlets"]) == 0


def test_refused_and_late_pieces_count(board, classifier):
    from alloysort_inference.log.keep import Sample
    from alloysort_inference.page.seen import Seen
    from alloysort_inference.pipeline import Arrival, Upload

    arrival = Arrival(None, Upload("x", b"no picture"))
    records = [*classifier.sort([arrival]), classifier.turn_away(arrival)]
    board.take([Seen(number, record, None, Sample(None, None)) for number, record in enumerate(records)])
    told = board.told()
    assert (told["refused"], told["late"]) == (1, 1)
    assert outlets_of(board)["rest"]["purity"] is None
