import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import AlloyError
from alloysort_datasets.families import ELEMENTS
from alloysort_inference.policy.melt import Melt, spec_from, spec_of

NONE = np.zeros(len(ELEMENTS))
LEAN, RICH = {"Si": 0.4, "Cu": 0.02}, {"Si": 0.4, "Cu": 0.3}
LIMITS = {"Si": [0.2, 0.6], "Cu": [0.0, 0.1]}


def wt_pct(**contents):
    return np.array([contents.get(element, 0.0) for element in ELEMENTS])


def feed(pieces=4000, rich=0.5, seed=0):
    """Some pieces with far too much copper among lean ones."""
    rng = np.random.default_rng(seed)
    for is_rich in rng.uniform(size=pieces) < rich:
        contents = wt_pct(**(RICH if is_rich else LEAN)) * rng.normal(1.0, 0.05)
        yield float(rng.lognormal(3.2, 0.8)), contents, 0.05 * contents


def fill(melt, pieces):
    return [(mass, contents) for mass, contents, sigma in pieces if melt.offer(mass, contents, sigma)]


def test_limits_of_a_registered_alloy_are_those_of_the_registry():
    spec = spec_of("6063")
    assert "Cu <= 0.1" in spec.names
    assert "Si >= 0.2" in spec.names
    assert "Sn <= 0.05" in spec.names  # of "others, each"
    assert spec.broken(wt_pct(Si=0.4, Mg=0.6)) == []
    assert spec.broken(wt_pct(Si=0.7, Mg=0.4, Cu=0.1)) == ["Si <= 0.6", "Mg >= 0.45"]
    with pytest.raises(AlloyError, match="6o63"):
        spec_of("6o63")


def test_a_box_takes_more_than_the_pieces_that_are_inside_by_themselves():
    melt = Melt(spec_from(LIMITS), 20_000.0)
    taken = fill(melt, feed())
    masses, contents = (np.array(part) for part in zip(*taken, strict=True))
    rich = contents[:, ELEMENTS.index("Cu")] > 0.1
    share = masses[rich].sum() / masses.sum()
    best = (0.1 - 0.02) / (0.3 - 0.02)  # where the copper of the mixture is at its limit
    assert share == pytest.approx(best, abs=0.04)
    assert spec_from(LIMITS).broken(masses @ contents / masses.sum()) == []


def test_margins_are_kept():
    spec = spec_from(LIMITS)
    margins = np.where(np.array(spec.names) == "Cu <= 0.1", 0.04, 0.0)
    melt = Melt(spec, 20_000.0, margins)
    taken = fill(melt, feed())
    masses, contents = (np.array(part) for part in zip(*taken, strict=True))
    copper = masses @ contents[:, ELEMENTS.index("Cu")] / masses.sum()
    assert copper == pytest.approx(0.06, abs=0.005)


@given(st.integers(0, 10_000), st.floats(0.05, 0.95), st.floats(1000, 30_000))
def test_a_full_box_is_inside_whatever_comes(seed, rich, box_g):
    melt, spec = Melt(spec_from(LIMITS), box_g), spec_from(LIMITS)
    for mass, contents, sigma in feed(1500, rich, seed):
        number = melt.box.number
        before = melt.box.mass_g, melt.inside, melt.full
        if melt.offer(mass, contents, sigma):
            if melt.box.number != number:
                assert before[2]
            assert melt.box.mass_g > 0
        if melt.full:
            assert melt.inside
            assert spec.broken(melt.contents) == []


def test_what_was_counted_in_is_what_the_box_holds():
    melt = Melt(spec_from(LIMITS), 1e9)
    taken = fill(melt, feed(500))
    masses, contents = (np.array(part) for part in zip(*taken, strict=True))
    assert melt.box.pieces == len(taken)
    assert melt.box.mass_g == pytest.approx(masses.sum())
    np.testing.assert_allclose(melt.contents, masses @ contents / masses.sum())
    np.testing.assert_allclose(
        melt.sigma, 0.05 * np.sqrt(((masses[:, None] * contents) ** 2).sum(axis=0)) / masses.sum()
    )


def test_before_it_knows_the_feed_a_piece_must_be_inside_by_itself():
    melt = Melt(spec_from(LIMITS), 1000.0)
    assert not melt.offer(20.0, wt_pct(**RICH), NONE)
    assert melt.offer(20.0, wt_pct(**LEAN), NONE)
