import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import DataError
from alloysort_inference.line.eject import Ejection, Outline
from alloysort_inference.policy.belt import Line
from alloysort_inference.policy.recipe import load_recipe, parse_recipe

LINE = Line()  # 3 m/s, 128 nozzles of 12.5 mm, 8 ms from command to air
RECIPE = load_recipe("wrought-cast")  # wrought at 0.6 m, cast at 0.9 m, the rest passes
REJECT = parse_recipe(
    'default = "out"\n[[outlets]]\nname = "in"\nfamilies = ["6xxx"]\nmin_confidence = 0.9\neject = false\n'
    '[[outlets]]\nname = "out"\neject = true',
    "reject",
)


def ejection(line=LINE, recipe=RECIPE):
    return Ejection(line, recipe)


def box(front=0.0, left=500.0, length=60.0, width=50.0):
    return Outline(front, length, left, width)


def keys(valves):
    """Whose valves open while the belt runs on."""
    return [opening.key for tick in range(300) for opening in valves.move(tick * 0.005, 3.0)]


def test_the_nozzles_over_the_piece_open_where_it_is():
    valves = ejection()
    valves.arrive(1, box())
    assert valves.decide(1, "wrought")
    opens_m = 0.6 - 0.006 - 3.0 * 0.008
    assert not valves.move(opens_m - 1e-6, 3.0)
    (opening,) = valves.move(opens_m + 1e-6, 3.0)
    assert (opening.key, opening.outlet, opening.at_m) == (1, "wrought", 0.6)
    assert (opening.first, opening.last) == (39, 44)  # 494-556 mm of 12.5 mm each
    assert opening.open_m == pytest.approx(0.594)
    assert opening.close_m == pytest.approx(0.666)
    assert not valves.move(1.0, 3.0)


def test_a_small_piece_gets_the_shortest_pulse_there_is():
    valves = ejection(Line(least_pulse_ms=20.0))
    valves.arrive(1, box(length=10))
    valves.decide(1, "wrought")
    (opening,) = valves.move(0.6, 3.0)
    assert opening.close_m - opening.open_m == pytest.approx(0.06)
    assert (opening.close_m + opening.open_m) / 2 == pytest.approx(0.605)


def test_a_belt_that_stands_opens_nothing_and_takes_its_pieces_along():
    valves = ejection()
    valves.arrive(1, box())
    valves.decide(1, "wrought")
    for _ in range(5):
        assert not valves.move(0.58, 0.0)
    assert [opening.key for opening in valves.move(0.595, 0.5)] == [1]


def test_what_is_said_too_late_changes_nothing():
    valves = ejection()
    valves.arrive(1, box())
    valves.move(0.58, 3.0)
    assert not valves.decide(1, "wrought")
    assert valves.outlet_of(1) == "rest"
    assert valves.decide(1, "cast")  # its row is yet to come
    assert valves.missed.late == 1
    assert [opening.outlet for opening in valves.move(0.9, 3.0)] == ["cast"]
    assert not valves.decide(1, "rest")


def test_a_default_that_ejects_does_so_unless_something_is_said():
    valves = ejection(recipe=REJECT)
    valves.arrive(1, box())
    valves.arrive(2, box(front=0.3))
    assert valves.decide(2, "in")
    assert keys(valves) == [1]


def test_a_small_piece_goes_to_the_default_outlet():
    valves = ejection(Line(least_piece_mm=20.0))
    valves.arrive(1, box(width=19))
    assert valves.decide(1, "wrought")
    assert valves.outlet_of(1) == "rest"


def test_a_neighbour_that_goes_elsewhere_is_spared():
    for goes, fires in (("rest", []), ("wrought", [1, 2]), ("cast", [])):
        valves = ejection()
        valves.arrive(1, box(left=500, width=50))
        valves.arrive(2, box(front=0.01, left=510, width=60))
        valves.decide(1, "wrought")
        valves.decide(2, goes)
        assert keys(valves) == fires
    brave = ejection(Line(spare_neighbours=False))
    brave.arrive(1, box())
    brave.arrive(2, box(front=0.01))
    brave.decide(1, "wrought")
    assert keys(brave) == [1]


def test_a_position_that_leaps_over_a_window_is_counted():
    valves = ejection()
    valves.arrive(1, box())
    valves.decide(1, "wrought")
    valves.move(0.5, 3.0)
    assert not valves.move(0.7, 3.0)
    assert valves.missed.jumped == 1


def test_what_is_gone_is_forgotten():
    valves = ejection()
    for number in range(1000):
        valves.arrive(number, box(front=number * 0.1))
        valves.move(number * 0.1, 3.0)
    assert len(valves._pieces) < 40
    assert valves.outlet_of(0) is None
    assert not valves.decide(0, "cast")


def test_what_cannot_lie_on_the_belt_is_refused():
    valves = ejection()
    valves.arrive(1, box())
    with pytest.raises(DataError, match="piece 1 is on the belt already"):
        valves.arrive(1, box())
    for length in (0, -1, 1001, float("nan")):
        with pytest.raises(DataError, match=r"piece 2: .* must be over 0"):
            valves.arrive(2, box(length=length))


@given(st.integers(0, 10_000))
def test_a_decision_does_not_change_once_its_window_has_opened(seed):
    """Whatever is said, and whenever: what opened is what the piece was sent to, once."""
    rng = np.random.default_rng(seed)
    valves = ejection(recipe=RECIPE if seed % 2 else REJECT)
    names = [outlet.name for outlet in valves.recipe.outlets]
    opened, position, speed = {}, 0.0, 3.0
    for number in range(60):
        position += rng.uniform(0, 0.15)
        valves.arrive(number, box(position, rng.uniform(0, 1500), rng.uniform(10, 200), rng.uniform(10, 100)))
        for key in rng.integers(max(0, number - 15), number + 1, 4):
            before = valves.outlet_of(int(key))
            took = valves.decide(int(key), names[rng.integers(len(names))])
            if int(key) in opened or not took:
                assert valves.outlet_of(int(key)) == before
                assert not (took and int(key) in opened)
        for opening in valves.move(position, speed):
            assert opening.key not in opened
            assert opening.outlet == valves.outlet_of(opening.key)
            opened[opening.key] = opening.outlet
