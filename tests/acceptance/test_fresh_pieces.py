"""What the shipped bundle's card claims, on pieces that the simulator of this commit makes."""

from __future__ import annotations

import numpy as np
import pytest

from alloysort_datasets.simulate import SIMULATOR_VERSION, Simulation, simulate
from alloysort_models.bundle.manifest import load_bundle, newest_released
from alloysort_training.config import Config, Network
from alloysort_training.evaluate import evaluate
from alloysort_training.prepare import prepare, survey

SEED = 20_261_126  # of no training table
SIGMAS = 3.0  # by which chance may part so few pieces from what the card says


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(newest_released())


@pytest.fixture(scope="module")
def fresh(bundle, tmp_path_factory):
    """The figures by the spectrum alone, of the graph that a CPU runs."""
    folder = tmp_path_factory.mktemp("fresh")
    for _ in simulate(folder / "table", Simulation(700, SEED, images="none", strangers=0.1)):
        pass
    tables = [folder / "table"]
    config = Config(grid=bundle.grid, network=Network(image_size=bundle.manifest.image_size))
    config = config.model_copy(update={"preparation": config.preparation.model_copy(update={"variants": 1})})
    prepared = prepare(tables, "train", survey(tables), config, folder / "cache")
    graphs = {"spectrum": bundle.on_cpu("spectrum")}
    return evaluate(graphs, prepared, bundle.manifest.thresholds)["spectrum"]


def worst(claim, n):
    """The lowest share that n pieces may show of a claim: batches are alike, so n counts for half."""
    value = claim["value"]
    return claim["low"] - SIGMAS * np.sqrt(value * (1 - value) / max(n / 2, 1))


def test_the_bundle_has_learned_from_the_simulator_of_this_commit(bundle):
    assert bundle.manifest.simulator == SIMULATOR_VERSION


@pytest.mark.parametrize(
    "stratum", ["bare metal", "bare metal, strong lines", "thin films", "late plumes over half metal"]
)
def test_families_are_named_as_often_as_the_card_claims(bundle, fresh, stratum):
    claim, found = bundle.manifest.metrics["spectrum"]["strata"][stratum], fresh["strata"][stratum]
    assert found["n"] > 60
    assert found["accuracy"]["value"] >= worst(claim["accuracy"], found["n"])
    assert found["accepted"]["value"] >= worst(claim["accepted"], found["n"])


def test_what_is_accepted_is_right_as_often_as_the_card_claims(bundle, fresh):
    claim = bundle.manifest.metrics["spectrum"]["accepted_right"]
    taken = fresh["n"] * fresh["accepted"]["value"]
    assert taken > 200
    assert fresh["accepted_right"]["value"] >= worst(claim, taken)


def test_pieces_that_show_no_metal_are_not_accepted(fresh):
    hidden = fresh["strata"]["late plumes without metal"]
    assert hidden["n"] >= 10
    assert hidden["accepted"]["value"] * hidden["n"] <= 2


def test_strangers_are_novel_and_no_aluminium(fresh):
    assert fresh["strangers"]["n"] > 30
    assert fresh["strangers"]["novelty_auroc"]["value"] > 0.9
    assert fresh["strangers"]["as_aluminium"]["value"] <= 0.05
