from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from alloysort_datasets.families import ALUMINIUM, ELEMENTS, FAMILIES
from alloysort_datasets.table.layers import LAYERS, NON_METAL
from alloysort_models.bundle.manifest import PATTERNS, Bars
from alloysort_models.network.released import UNSEEN, Released, mahalanobis
from alloysort_models.network.sorter import composition_target, composition_wt_pct
from alloysort_training.calibrate import (
    Answers,
    _Asked,
    ask,
    bar_against,
    calibrate,
    fit_shape,
    fit_sigma_scale,
    fit_strangeness,
    fit_temperature,
    lowest_bar,
    rows_with,
    surface_bar,
)
from alloysort_training.config import Acceptance
from alloysort_training.prepare import prepare, survey
from alloysort_training.prepared import Prepared
from alloysort_training.train import CACHE, load_run

pytestmark = pytest.mark.xdist_group("training")


def make_answers(pieces: int = 4000, sigma: float = 0.02, seed: int = 0) -> Answers:
    """Logits twice too sure; compositions whose true error is twice the stated one."""
    rng = np.random.default_rng(seed)
    family = rng.integers(len(FAMILIES), size=pieces)
    logits = rng.normal(0.0, 1.0, (pieces, len(FAMILIES)))
    logits[np.arange(pieces), family] += 2.0
    truth = rng.uniform(1.0, 9.0, (pieces, len(ELEMENTS)))
    truth[:, 0] *= 8.0
    truth *= 99.0 / truth.sum(axis=1, keepdims=True)
    target = composition_target(torch.tensor(truth))
    mean = target + torch.tensor(rng.normal(0.0, 2 * sigma, tuple(target.shape)))
    return Answers(
        logits=torch.tensor(logits, dtype=torch.float32),
        mean=mean.float(),
        log_sigma=torch.full(target.shape, float(np.log(sigma))),
        surface=torch.zeros(pieces),
        stranger=torch.zeros(pieces),
        features=torch.tensor(rng.normal(0.0, 1.0, (pieces, 6)), dtype=torch.float32),
        family=torch.tensor(family),
        composition=torch.tensor(truth, dtype=torch.float32),
        shown=torch.full((pieces,), torch.nan),
        strange=torch.zeros(pieces),
        layer=torch.zeros(pieces, dtype=torch.int64),
    )


@pytest.fixture(scope="module")
def splits(run: Path, table: Path) -> dict[str, Prepared]:
    _, config, _ = load_run(run)
    found = survey([table])
    return {
        "train": prepare([table], "train", found, config, run / CACHE),
        "calibration": prepare([table], "calibration", found, config, run / CACHE),
        "test": prepare([table], "test", found, config, run / CACHE),
    }


def test_temperature_undoes_a_factor() -> None:
    found = make_answers()
    right = float(fit_temperature(found.logits, found.family))
    assert float(fit_temperature(found.logits * 2.0, found.family)) == pytest.approx(2.0 * right, rel=0.03)


def test_unknown_families_and_too_few_leave_the_temperature_alone() -> None:
    found = make_answers(100)
    assert fit_temperature(found.logits * 3.0, torch.full((100,), -1)) == 1.0
    assert fit_temperature(found.logits[:20] * 3.0, found.family[:20]) == 1.0


def test_sigma_is_scaled_until_the_stated_interval_holds_of_aluminium_and_of_all_else() -> None:
    found = make_answers()
    aluminium = found.logits.argmax(dim=1) < len(ALUMINIUM)
    found.log_sigma[~aluminium] += np.log(2.0)  # so that all others are right as they are
    scale = fit_sigma_scale(found)
    assert scale[0].tolist() == pytest.approx([2.0] * len(ELEMENTS), rel=0.12)
    assert scale[1].tolist() == pytest.approx([1.0] * len(ELEMENTS), rel=0.12)
    wt_pct, sigma = composition_wt_pct(found.mean, found.log_sigma)
    scaled = sigma * torch.where(aluminium.unsqueeze(1), scale[0], scale[1])
    inside = (wt_pct - found.composition).abs() <= 1.6449 * scaled
    assert inside.float().mean(dim=0).tolist() == pytest.approx([0.9] * len(ELEMENTS), abs=0.01)


def test_an_element_nobody_knows_keeps_its_sigma() -> None:
    found = make_answers()
    found.composition[:, 3] = torch.nan
    assert fit_sigma_scale(found)[:, 3].tolist() == [1.0, 1.0]


def test_whitened_known_pieces_have_unit_covariance() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(0.0, 1.0, (6, 6))
    family = torch.tensor(rng.integers(4, size=3000))
    features = torch.tensor(rng.normal(0.0, 1.0, (3000, 6)) @ mixing + 10.0 * family[:, None].numpy()).float()
    whitening, centres = fit_shape(features, family)
    white = features @ whitening - centres[family]
    covariance = (white.T @ white / len(white)).numpy()
    assert np.diag(covariance).max() < 1.02
    assert np.median(np.diag(covariance)) > 0.8
    assert (centres[4:] == UNSEEN).all()
    one = torch.zeros(1, dtype=torch.int64)
    far = mahalanobis(features[:1] + 100.0, one, whitening[None], centres[None])
    assert far > 5.0 * mahalanobis(features[:1], one, whitening[None], centres[None])


def test_the_bar_of_confidence_gives_the_precision_asked_for() -> None:
    found = make_answers()
    confidence, told = torch.softmax(found.logits, dim=1).max(dim=1)
    right = told == found.family
    bar = lowest_bar(confidence, right, 0.9)
    assert 0.3 < bar < 0.99
    assert right[confidence >= bar].float().mean() >= 0.9


def test_strangers_do_not_raise_the_bar_of_confidence() -> None:
    found = make_answers()
    found.strange[::5] = 1.0
    confidence, told = torch.softmax(found.logits, dim=1).max(dim=1)
    right = (told == found.family) & (found.strange == 0)  # a stranger's name is never right
    ones = torch.ones(len(found))
    asked = _Asked("both", confidence, ones, ones, 0.5 * ones, right, found)
    known = found.strange == 0
    acceptance = Acceptance(accepted_precision=0.9)
    assert asked.confidence_bar(0.0, acceptance) == lowest_bar(confidence[known], right[known], 0.9)
    assert asked.confidence_bar(0.0, acceptance) < lowest_bar(confidence, right, 0.9)


def test_what_cannot_be_had_gives_the_strictest_bar() -> None:
    assert lowest_bar(torch.linspace(0, 1, 400), torch.zeros(400, dtype=torch.bool), 0.98) == 0.99


def test_the_bar_against_others_lets_so_many_of_them_pass() -> None:
    rng = np.random.default_rng(0)
    belongs = torch.arange(4000) % 2 == 0
    share = torch.tensor(rng.beta(2, 2, 4000) * 0.5 + 0.5 * belongs.numpy(), dtype=torch.float32)
    share[~belongs] += torch.tensor(0.3 * rng.random(2000), dtype=torch.float32)
    bar = bar_against(share, belongs, 2000, 0.01)
    assert 0.5 <= bar < 0.999
    assert 15 <= int((share[~belongs] >= bar).sum()) <= 20
    assert bar_against(share[belongs], belongs[belongs], 0, 0.01) == 0.5


def test_the_bar_of_surface_holds_back_hidden_pieces_that_confidence_accepts() -> None:
    found = make_answers()
    found.shown[:2000], found.shown[2000:] = 0.0, 1.0
    found.family[:2000] = torch.where(found.family[:2000] == NON_METAL, 0, found.family[:2000])
    surface = torch.cat([torch.linspace(0.0, 1.0, 2000), torch.full((2000,), 0.98)])
    ones = torch.ones(4000)
    asked = _Asked("both", ones, ones, surface, 0.5 * ones, ones > 0, found)
    bars = Bars(image=0.9, spectrum=0.9, both=0.9)
    bar = surface_bar([asked], bars, 0.02)
    assert float((surface[:2000] >= bar).float().mean()) == pytest.approx(0.02, abs=0.002)
    unsure = dataclasses.replace(asked, confidence=0.5 * ones)
    assert surface_bar([unsure], bars, 0.02) == 0.0
    found.layer[:2000] = LAYERS.index("anodising")
    assert surface_bar([asked], bars, 0.02) == 0.0
    found.shown[:] = torch.nan
    assert surface_bar([asked], bars, 0.02) == 0.0


def test_a_strangers_logit_counts_as_far_as_it_tells_strangers() -> None:
    rng = np.random.default_rng(0)
    strange = torch.arange(1000) % 4 == 0
    distance = torch.tensor(np.exp(rng.normal(0, 0.3, 1000) + 0.3 * strange.numpy()))
    logit = torch.tensor(rng.normal(0, 1.0, 1000) + 6.0 * strange.numpy())
    offset, slope = fit_strangeness(distance, logit, strange)
    novelty = distance * torch.exp(slope * (logit - offset))
    assert float(novelty[strange].median()) > float(novelty[~strange].max())
    assert fit_strangeness(distance, torch.zeros(1000), strange)[1] == pytest.approx(0.0, abs=1e-6)
    assert fit_strangeness(distance, logit, torch.zeros(1000, dtype=torch.bool))[1] == 0


@pytest.mark.parametrize("quantile", [0.75, 0.9, 0.99])
def test_the_share_called_novel_holds_for_pieces_that_did_not_set_it(
    run: Path, splits: dict[str, Prepared], quantile: float
) -> None:
    _, config, sorter = load_run(run)
    acceptance = config.acceptance.model_copy(update={"novelty_quantile": quantile})
    released, thresholds = calibrate(sorter, splits["train"], splits["calibration"], acceptance)
    assert isinstance(released, Released)
    assert thresholds.novelty == 1.0
    for number, pattern in enumerate(PATTERNS):
        found = ask(sorter, splits["test"], pattern, np.zeros(1, dtype=np.int64))
        which = torch.full((len(found),), number)
        novelty = released.novelty(found.features, found.stranger, which)
        # a limit with `above` of the n pieces that set it above: so many of others of the same kind exceed it
        setting = len(rows_with(splits["calibration"], pattern))
        above = max(round((1 - quantile) * setting), 1)
        expected = betabinom(len(found), above, setting + 1 - above)
        lowest, highest = expected.ppf(0.001), expected.ppf(0.999)
        assert lowest <= int((novelty > 1.0).sum()) <= highest, pattern


def test_only_pieces_with_the_sensors_are_asked_about(run: Path, splits: dict[str, Prepared]) -> None:
    _, _, sorter = load_run(run)
    held_out = splits["calibration"]
    counts = {pattern: len(rows_with(held_out, pattern)) for pattern in PATTERNS}
    assert counts["both"] < min(counts["image"], counts["spectrum"]) < len(held_out)
    assert len(ask(sorter, held_out, "both", np.arange(2))) == 2 * counts["both"]
    assert len(ask(sorter, held_out, "image", np.arange(2))) == counts["image"]
    assert len(ask(sorter, held_out, "spectrum", np.arange(1), most=10)) == 10
