from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alloysort_inference.log.keep import BURST, SAMPLE_EVERY, Keeper, pack, unpack, worth


def test_what_is_novel_or_doubtful_is_worth_a_label_before_what_is_sure(decided):
    assert worth(decided(395.0, 725.0)[0]) == ("novel", 0)
    assert worth(decided(395.0)[0]) is None


def test_no_more_are_kept_than_the_disk_likes(decided):
    novel, keeper = decided(395.0, 725.0)[0], Keeper(per_s=2.0)
    start_s = keeper._time_s
    first = sum(keeper.why(novel, start_s) is not None for _ in range(100))
    later = sum(keeper.why(novel, start_s + 10 * step / 1000) is not None for step in range(1000))
    assert first == BURST
    assert later == pytest.approx(20, abs=1)


def test_a_few_of_all_are_kept_whatever_they_are(record):
    keeper = Keeper()
    kept = [keeper.why(record) for _ in range(2 * SAMPLE_EVERY)]
    assert [place for place, why in enumerate(kept) if why] == [0, SAMPLE_EVERY]


def test_nothing_is_kept_where_nothing_shall_be(decided):
    assert Keeper(per_s=0.0).why(decided(395.0, 725.0)[0]) is None


@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 4), st.integers(16, 40)), elements=st.floats(-1e6, 1e6, width=32)
    )
)
def test_packed_counts_come_back_as_they_were(shots):
    assert np.array_equal(unpack(pack(shots)), shots)


def test_whole_counts_take_half_the_room():
    shots = np.random.default_rng(0).integers(0, 65_536, (8, 2048)).astype(np.float32)
    assert len(pack(shots)) < 0.55 * shots.nbytes
    assert np.array_equal(unpack(pack(shots)), shots)
