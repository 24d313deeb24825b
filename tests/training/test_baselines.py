from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from alloysort_datasets.errors import TrainingError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_models.bundle.grid import Grid
from alloysort_training.baselines import (
    NAMES,
    Baseline,
    Spectra,
    condition,
    fit_baselines,
    fit_temperature,
    macro_f1,
    simpls,
    softmax,
    telling_channels,
)

GRID = Grid(240.0, 560.0, 256)
TOLD = (1, 5, 12, 16)  # places in FAMILIES
PIECES, BATCHES = 192, 12


@cache
def make_pieces(seed: int) -> tuple[Spectra, np.ndarray, np.ndarray]:
    """Spectra, families and batches: each family has three of the telling lines; one end is often unseen."""
    rng = np.random.default_rng(seed)
    batch = np.arange(PIECES) % BATCHES
    family = np.array(TOLD)[rng.integers(len(TOLD), size=PIECES)]
    gain = rng.uniform(0.7, 1.4, (BATCHES, 1))[batch] * rng.lognormal(5.0, 0.7, (PIECES, 1))
    axis = np.arange(GRID.channels)
    lines = telling_channels(GRID)
    signal = 2.0 + np.sin(axis / 40.0 + rng.uniform(0.0, 6.0, (PIECES, 1)))
    for row, one in enumerate(family):
        for element in TOLD.index(one), TOLD.index(one) + len(TOLD):
            for centre in lines[element][:3] + rng.integers(-1, 2):
                signal[row] += rng.uniform(5.0, 15.0) * np.exp(-0.5 * ((axis - centre) / 1.2) ** 2)
    counts = gain * signal + rng.normal(0.0, 20.0, signal.shape)
    seen = np.ones(signal.shape, dtype=bool)
    seen[batch % 3 == 0, :12] = False
    return Spectra(np.where(seen, counts, 0.0).astype(np.float32), seen), family, batch


@cache
def fitted(seed: int = 0, shuffled: bool = False) -> dict[str, Baseline]:
    spectra, family, batch = make_pieces(1)
    if shuffled:
        family = np.random.default_rng(5).permutation(family)
    return {one.name: one for one in fit_baselines(spectra, family, batch, GRID, seed)}


@pytest.mark.parametrize("name", NAMES)
def test_names_the_families_of_unseen_batches(name: str) -> None:
    spectra, family, _ = make_pieces(2)
    told = fitted()[name].predict(spectra)
    assert macro_f1(told, family) > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_learns_nothing_from_shuffled_families(name: str) -> None:
    spectra, family, _ = make_pieces(2)
    baseline = fitted(shuffled=True)[name]
    assert macro_f1(baseline.predict(spectra), family) < 0.45
    assert np.mean(list(baseline.tried.values())) < 0.45


@pytest.mark.parametrize("name", NAMES)
def test_gives_probabilities(name: str) -> None:
    told = fitted()[name].predict(make_pieces(2)[0])
    assert told.shape == (PIECES, len(FAMILIES))
    assert told.dtype == np.float32
    assert np.isfinite(told).all()
    assert told.min() >= 0.0
    np.testing.assert_allclose(told.sum(axis=1), 1.0, atol=1e-5)
    assert not np.delete(told, TOLD, axis=1).any()


@pytest.mark.parametrize("name", NAMES)
def test_tells_what_it_tried(name: str) -> None:
    baseline = fitted()[name]
    assert baseline.seconds > 0.0
    assert all(0.0 <= value <= 1.0 for value in baseline.tried.values())
    chosen = {key: value for key, value in baseline.tuned.items() if key != "temperature"}
    text = ", ".join(f"{key} {value}" for key, value in chosen.items())
    assert baseline.tried[text] == max(baseline.tried.values())


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_predictions(name: str) -> None:
    spectra, family, batch = make_pieces(1)
    again = next(fit_baselines(spectra, family, batch, GRID, names=[name]))
    fresh = make_pieces(2)[0]
    np.testing.assert_array_equal(again.predict(fresh), fitted()[name].predict(fresh))
    assert again.tuned == fitted()[name].tuned


@pytest.mark.parametrize("name", NAMES)
def test_counts_of_unseen_channels_do_not_matter(name: str) -> None:
    fresh = make_pieces(2)[0]
    foul = np.where(fresh.seen, fresh.counts, np.float32(1e5))
    predict = fitted()[name].predict
    np.testing.assert_array_equal(predict(Spectra(foul, fresh.seen)), predict(fresh))


@pytest.mark.parametrize("name", NAMES)
def test_gain_and_offset_do_not_matter(name: str) -> None:
    fresh = make_pieces(2)[0]
    changed = np.where(fresh.seen, 3.0 * fresh.counts + 500.0, 0.0).astype(np.float32)
    predict = fitted()[name].predict
    np.testing.assert_allclose(predict(Spectra(changed, fresh.seen)), predict(fresh), atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_spectrum_and_no_spectrum_at_all_are_answered(name: str) -> None:
    nothing = np.zeros((2, GRID.channels), dtype=np.float32)
    seen = np.array([[True], [False]]) & (nothing == 0)
    predict = fitted()[name].predict
    np.testing.assert_allclose(predict(Spectra(nothing, seen)).sum(axis=1), 1.0, atol=1e-5)
    assert predict(Spectra(nothing[:0], seen[:0])).shape == (0, len(FAMILIES))


def test_pieces_of_unknown_family_are_left_out() -> None:
    spectra, family, batch = make_pieces(1)
    family = np.where(batch == 0, -1, family)
    known = family >= 0
    told, wanted = (
        next(fit_baselines(*some, GRID, names=["PLS-DA"])).predict(spectra)
        for some in ((spectra, family, batch), (spectra[known], family[known], batch[known]))
    )
    np.testing.assert_array_equal(told, wanted)


def test_errors_name_what_is_wrong() -> None:
    spectra, family, batch = make_pieces(1)
    with pytest.raises(TrainingError, match="2 families to tell apart, here are 1"):
        fit_baselines(spectra, np.full_like(family, 3), batch, GRID)
    with pytest.raises(TrainingError, match="need 2 of them, here are 1"):
        fit_baselines(spectra, family, np.zeros_like(batch), GRID)
    with pytest.raises(TrainingError, match="a single family is left"):
        fit_baselines(spectra, np.where(batch > 5, 1, 2), np.where(batch > 5, 1, 2), GRID)
    with pytest.raises(TrainingError, match="no baseline is called 'oracle'"):
        fit_baselines(spectra, family, batch, GRID, names=["oracle"])
    with pytest.raises(TrainingError, match="do not fit 192 pieces x 300"):
        fit_baselines(spectra, family, batch, Grid(240.0, 560.0, 300))


def test_two_batches_and_two_families_are_enough() -> None:
    spectra, family, batch = make_pieces(1)
    for baseline in fit_baselines(
        spectra, np.where(family < 10, 0, 18), batch % 2, GRID, names=["SVM", "kNN"]
    ):
        told = baseline.predict(spectra)
        assert set(np.flatnonzero(told.any(axis=0))) == {0, 18}


def test_conditioning_takes_off_the_background_and_the_gain() -> None:
    axis = np.arange(256.0)
    line = 50.0 * np.exp(-0.5 * ((axis - 100.0) / 1.2) ** 2)
    counts = np.stack([line + 30.0, 7.0 * (line + 10.0 + 0.02 * axis)]).astype(np.float32)
    light = condition(Spectra(counts, np.ones(counts.shape, dtype=bool))).light
    np.testing.assert_allclose(light.mean(axis=1), 1.0, rtol=1e-5)
    assert light[:, 100] == pytest.approx(light[0, 100], rel=0.35)
    assert light[0, 150:].max() < 1e-3


def test_pls_with_all_components_is_least_squares() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(60, 6)), rng.normal(size=(60, 3))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    np.testing.assert_allclose(simpls(x, y, 6), np.linalg.lstsq(x, y, rcond=None)[0], atol=1e-8)
    np.testing.assert_allclose(simpls(x, 0.0 * y, 6), 0.0)


def test_pls_agrees_with_scikit_learn() -> None:
    from sklearn.cross_decomposition import PLSRegression

    rng = np.random.default_rng(4)
    x = rng.normal(size=(80, 12))
    y = x[:, :1] * 2.0 + rng.normal(size=(80, 1))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    wanted = PLSRegression(3, scale=False).fit(x, y).coef_.T  # of one answer SIMPLS and NIPALS are the same
    np.testing.assert_allclose(simpls(x, y, 3), wanted, atol=1e-8)


def test_the_temperature_is_found_again() -> None:
    rng = np.random.default_rng(6)
    scores = np.full((4000, len(FAMILIES)), -np.inf)
    scores[:, :5] = rng.normal(0.0, 2.0, (4000, 5))
    family = np.array([rng.choice(len(FAMILIES), p=shares) for shares in softmax(scores)])
    assert fit_temperature(8.0 * scores, family) == pytest.approx(8.0, rel=0.15)


def test_aluminium_lines_are_where_they_belong() -> None:
    channels = telling_channels(Grid(200.0, 900.0, 2048))
    edges = Grid(200.0, 900.0, 2048).edges_nm
    aluminium, magnesium = (channels[ELEMENTS.index(one)] for one in ("Al", "Mg"))
    for nm, lines in ((396.152, aluminium), (394.401, aluminium), (279.553, magnesium), (285.213, magnesium)):
        assert any(edges[one] <= nm < edges[one + 1] for one in lines)
