from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from alloysort_datasets.table.store import read_pieces
from alloysort_models.bundle.manifest import CARD, OUTPUTS
from alloysort_training.calibrate import rows_with
from alloysort_training.evaluate import feed, open_session
from alloysort_training.export import Allowed, compare, export, is_as_good
from alloysort_training.prepare import prepare, survey
from alloysort_training.prepared import Prepared
from alloysort_training.quantize import branch_nodes, quantize
from alloysort_training.train import CACHE, load_run, train

pytestmark = pytest.mark.xdist_group("training")


@pytest.fixture(scope="module")
def graph(run: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("quantize") / "toy"
    export(run, folder)
    return (folder / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def calibration(run: Path, table: Path) -> Prepared:
    return prepare([table], "calibration", survey([table]), load_run(run)[1], run / CACHE)


@pytest.fixture(scope="module")
def smaller(graph: bytes, calibration: Prepared) -> bytes:
    return quantize(graph, calibration, 0)


def test_only_the_branches_behind_their_stems_are_chosen(graph: bytes) -> None:
    model = onnx.load_from_string(graph)
    kinds = [node.op_type for node in model.graph.node if node.name in set(branch_nodes(model))]
    assert kinds.count("Conv") == 7
    assert kinds.count("Gemm") == 1
    assert set(kinds) == {"Conv", "Gemm", "Relu", "Add"}


def test_every_weight_of_the_branches_is_an_8_bit_integer_of_7_bits(smaller: bytes) -> None:
    weights = [
        onnx.numpy_helper.to_array(value)
        for value in onnx.load_from_string(smaller).graph.initializer
        if value.name.endswith("weight_quantized")
    ]
    assert len(weights) == 8
    assert all(weight.dtype == np.int8 and abs(weight.astype(int)).max() <= 64 for weight in weights)


@pytest.mark.parametrize("pattern", ["both", "image", "spectrum"])
def test_answers_stay_close(graph: bytes, smaller: bytes, calibration: Prepared, pattern: str) -> None:
    inputs = feed(calibration, rows_with(calibration, pattern)[:64], pattern)
    whole, small = (open_session(model).run(list(OUTPUTS), inputs) for model in (graph, smaller))
    assert np.abs(whole[0] - small[0]).mean() < 0.02
    assert (whole[0].argmax(axis=1) == small[0].argmax(axis=1)).mean() > 0.9


def test_the_same_seed_gives_the_same_graph(graph: bytes, calibration: Prepared, smaller: bytes) -> None:
    assert quantize(graph, calibration, 0) == smaller


def test_a_graph_that_changes_too_much_does_not_ship(graph: bytes, calibration: Prepared) -> None:
    same = compare(graph, graph, calibration)
    assert same == {p: {"lost_accuracy": 0.0, "agreement": 1.0} for p in ("spectrum", "both")}
    assert is_as_good(same)
    assert not is_as_good({**same, "spectrum": {"lost_accuracy": 0.0, "agreement": 0.996}})
    assert not is_as_good({**same, "both": {"lost_accuracy": 0.004, "agreement": 1.0}})


def test_tables_without_pictures_train_and_export(
    table: Path, tmp_path: Path, write_table: Callable[..., Path]
) -> None:
    one = tmp_path / "one.toml"
    one.write_text(
        "[network]\nwidth = 0.1\nimage_size = 16\n[fit]\nepochs = 6\nbatch_size = 32\nlearning_rate = 1e-2\n",
        encoding="utf-8",
    )
    pieces = [replace(p, image=None) for p in read_pieces(table) if p.spectra is not None]
    folder = write_table([*pieces[:150], *pieces[-300:]])
    train(one, [folder], tmp_path / "run")
    bundle = export(tmp_path / "run", tmp_path / "bundle", allowed=Allowed(few=True))
    assert set(bundle.manifest.metrics) == {"spectrum", "parity", "int8"}
    assert "No training piece had a picture" in (bundle.path / CARD).read_text(encoding="utf-8")
