import numpy as np

from alloysort_datasets.spectrum import gaps


def test_a_coarse_arm_beside_a_fine_one_is_no_row_of_gaps():
    fine, coarse = np.arange(200.0, 300.0, 0.02), np.arange(300.0, 700.0, 0.5)
    assert not gaps(np.concatenate((fine, coarse))).any()
    assert not gaps(np.concatenate((np.arange(200.0, 300.0, 0.5), np.arange(300.0, 340.0, 0.02)))).any()


def test_a_gap_between_arms_is_found_beside_either():
    axis = np.concatenate((np.arange(200.0, 300.0, 0.02), np.arange(310.0, 700.0, 0.5)))
    assert np.flatnonzero(gaps(axis)).tolist() == [np.flatnonzero(axis < 305)[-1]]
    assert gaps(np.array([200.0, 200.1, 200.2, 210.0, 210.1])).tolist() == [False, False, True, False]
