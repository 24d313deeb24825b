import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.assessment import Assessment
from alloysort_inference.policy.boxes import Boxes
from alloysort_inference.policy.recipe import parse_recipe

RECIPE = """
default = "rest"
[[outlets]]
name = "melt"
families = ["6xxx"]
melt = { Si = [0.2, 0.6], Cu = [0.0, 0.1] }
box_kg = 1
[[outlets]]
name = "rest"
"""


def recipe(text=RECIPE):
    return parse_recipe(text, "mine")


def said(silicon=0.4, copper=0.05):
    probabilities = np.zeros(len(FAMILIES), np.float32)
    probabilities[FAMILIES.index("6xxx")] = 1
    contents = np.zeros(len(ELEMENTS), np.float32)
    contents[ELEMENTS.index("Si")], contents[ELEMENTS.index("Cu")] = silicon, copper
    return Assessment(probabilities, contents, np.full(len(ELEMENTS), 0.01, np.float32), 0.0, 1.0)


def opened(journal=None, text=RECIPE):
    boxes = Boxes(recipe(text))
    boxes.begin(journal)
    return boxes


def kept(journal):
    """What a restart would begin with."""
    boxes = opened(journal)
    boxes.end()
    return boxes.states()


def test_nothing_is_counted_before_it_begins():
    boxes = Boxes(recipe())
    assert boxes.offer("melt", "1", 20.0, said())
    assert boxes.states()[0].pieces == 0
    boxes.begin()
    assert boxes.offer("melt", "1", 20.0, said())
    assert boxes.states()[0].pieces == 1


def test_a_piece_that_comes_twice_is_counted_once():
    boxes = opened()
    for _ in range(3):
        assert boxes.offer("melt", "same", 20.0, said())
    assert boxes.states()[0].mass_kg == 0.02


def test_a_box_that_is_full_is_followed_by_the_next(tmp_path):
    boxes = opened(tmp_path / "boxes.jsonl")
    for number in range(60):
        boxes.offer("melt", str(number), 25.0, said())
    (state,) = boxes.states()
    assert (state.box, state.pieces, state.full, state.inside) == (2, 20, False, True)
    assert state.wt_pct["Si"] == pytest.approx(0.4, abs=1e-6)
    boxes.end()
    assert kept(tmp_path / "boxes.jsonl") == [state]


@given(st.data())
def test_a_restart_at_any_byte_loses_nothing_and_counts_nothing_twice(tmp_path_factory, data):
    """Cut off wherever: what was answered for is there, once, and the line goes on as if nothing had been."""
    journal = tmp_path_factory.mktemp("boxes") / "boxes.jsonl"
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    pieces = [
        (str(n), float(rng.uniform(5, 60)), said(copper=float(rng.uniform(0, 0.15)))) for n in range(90)
    ]
    whole, cut = opened(), opened(journal)
    stop = data.draw(st.integers(1, len(pieces) - 1))
    for piece in pieces[:stop]:
        assert whole.offer("melt", *piece) == cut.offer("melt", *piece)
    before = cut.states()
    cut.end()
    with journal.open("ab") as file:
        file.write(b'{"outlet": "melt", "box": 1, "piece_id": "torn')
    again = opened(journal)
    states = again.states()
    assert [(s.box, s.pieces) for s in states] == [(s.box, s.pieces) for s in before]
    assert states[0].mass_kg == pytest.approx(before[0].mass_kg, abs=1e-6)
    for element, content in before[0].wt_pct.items():
        assert states[0].wt_pct[element] == pytest.approx(content, abs=1e-5)
    for piece in pieces[max(0, stop - 3) : stop]:
        again.offer("melt", *piece)  # the line sends again what it had no answer for
    assert again.states()[0].pieces - before[0].pieces in (0, 1, 2, 3)
    again.end()
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    here = [line["piece_id"] for line in lines if line.get("box") == again.states()[0].box]
    assert len(here) == len(set(here)) == again.states()[0].pieces


def test_boxes_are_closed_and_weighed(tmp_path):
    journal = tmp_path / "boxes.jsonl"
    boxes = opened(journal)
    boxes.offer("melt", "1", 25.0, said())
    state = boxes.close("melt", 0.027)
    assert (state.box, state.pieces, state.mass_kg, state.weighed_kg) == (1, 1, 0.025, 0.027)
    assert [(s.box, s.pieces) for s in boxes.states()] == [(2, 0)]
    boxes.end()
    assert [(s.box, s.pieces) for s in kept(journal)] == [(2, 0)]


def test_what_cannot_be_closed_is_refused():
    boxes = opened()
    with pytest.raises(DataError, match="outlet 'rest' fills no box; those that do: melt"):
        boxes.close("rest")
    with pytest.raises(DataError, match="is empty"):
        boxes.close("melt")
    boxes.offer("melt", "1", 25.0, said())
    with pytest.raises(DataError, match="weighed_kg -1 must be over 0"):
        boxes.close("melt", -1)


def test_a_new_recipe_goes_on_with_the_boxes_whose_limits_are_the_same(tmp_path):
    journal = tmp_path / "boxes.jsonl"
    before = opened(journal)
    before.offer("melt", "1", 25.0, said())
    same, other = Boxes(recipe(RECIPE + "# again")), Boxes(recipe(RECIPE.replace("0.6", "0.7")))
    same.take_over(before)
    assert same.states()[0].pieces == 1
    assert same.offer("melt", "2", 25.0, said())
    assert kept(journal)[0].pieces == 2
    other.take_over(same)
    other.end()
    assert other.states()[0].pieces == 0


def test_a_journal_that_is_none_is_refused(tmp_path):
    journal = tmp_path / "boxes.jsonl"
    for text, message in (
        ("[1]\n", "line 1: not a JSON object"),
        ('{"closed": "melt", "box": 1}\n{"outlet": "melt"}\n', "line 2: no piece and no box closed"),
    ):
        journal.write_text(text)
        with pytest.raises(DataError, match=message):
            opened(journal)
    with pytest.raises(DataError, match=r"boxes\.jsonl"):
        opened(tmp_path / "nowhere" / "boxes.jsonl")
