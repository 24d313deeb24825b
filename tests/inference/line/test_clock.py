import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import DataError
from alloysort_inference.line.clock import Encoder


@given(st.lists(st.integers(0, 30_000), min_size=1), st.integers(0, 65_535))
def test_a_counter_that_rolls_over_tells_the_way(steps, start):
    encoder = Encoder(counts_per_m=1000)
    encoder.read(start, 0.0)
    count, way = start, 0
    for number, step in enumerate(steps, 1):
        count, way = (count + step) % 65_536, way + step
        assert encoder.read(count, number * 1.0) == pytest.approx(way / 1000)


def test_the_speed_follows_the_belt_and_is_none_where_it_stands():
    encoder = Encoder(counts_per_m=1000)
    for tick in range(1000):
        encoder.read(3 * tick % 65_536, tick / 1000)
    assert encoder.speed_m_per_s == pytest.approx(3.0)
    for tick in range(1000, 1101):
        encoder.read(2997, tick / 1000)
    assert encoder.stands
    assert encoder.speed_m_per_s == 0
    assert encoder.position_m == pytest.approx(2.997)


def test_a_belt_that_runs_back_is_nowhere_new_until_it_is_past_there_again():
    encoder = Encoder(counts_per_m=100, bits=8)
    places = [encoder.read(count % 256, time) for time, count in enumerate((0, 90, 40, 80, 100))]
    assert places == [0.0, 0.9, 0.9, 0.9, 1.0]


def test_what_no_encoder_says_is_refused():
    for counts, bits in ((0, 16), (100, 1), (100, 65), (float("nan"), 16)):
        with pytest.raises(DataError, match="encoder"):
            Encoder(counts, bits)
    for count in (-1, 256):
        with pytest.raises(DataError, match=f"count {count} is not within 0-255"):
            Encoder(100, 8).read(count, 0.0)
