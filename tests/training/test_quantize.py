from pathlib import Path

import numpy as np
import onnx
import pytest

from alloysort_models.bundle.manifest import OUTPUTS
from alloysort_training.calibrate import rows_with
from alloysort_training.evaluate import feed, open_session
from alloysort_training.export import export, lost_by
from alloysort_training.prepare import Prepared, prepare, survey
from alloysort_training.quantize import branch_nodes, quantize
from alloysort_training.train import CACHE, load_run

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


def test_only_the_branches_are_chosen(graph: bytes) -> None:
    model = onnx.load_from_string(graph)
    kinds = [node.op_type for node in model.graph.node if node.name in set(branch_nodes(model))]
    assert kinds.count("Conv") == 9
    assert kinds.count("Gemm") == 1
    assert set(kinds) == {"Conv", "Gemm", "Relu", "Add"}


def test_every_weight_of_the_branches_is_an_8_bit_integer_of_7_bits(smaller: bytes) -> None:
    weights = [
        onnx.numpy_helper.to_array(value)
        for value in onnx.load_from_string(smaller).graph.initializer
        if value.name.endswith("weight_quantized")
    ]
    assert len(weights) == 10
    assert all(weight.dtype == np.int8 and abs(weight.astype(int)).max() <= 64 for weight in weights)


@pytest.mark.parametrize("pattern", ["both", "image", "spectrum"])
def test_answers_stay_close(graph: bytes, smaller: bytes, calibration: Prepared, pattern: str) -> None:
    inputs = feed(calibration, rows_with(calibration, pattern)[:64], pattern)
    whole, small = (open_session(model).run(list(OUTPUTS), inputs) for model in (graph, smaller))
    assert np.abs(whole[0] - small[0]).mean() < 0.02
    assert (whole[0].argmax(axis=1) == small[0].argmax(axis=1)).mean() > 0.9


def test_the_same_seed_gives_the_same_graph(graph: bytes, calibration: Prepared, smaller: bytes) -> None:
    assert quantize(graph, calibration, 0) == smaller


def test_a_graph_that_loses_too_much_does_not_ship() -> None:
    def measured(both: float, alone: float) -> dict[str, object]:
        return {
            "macro_f1": {"value": both},
            "perturbations": {"without_image": {"macro_f1": {"value": alone}}, "without_spectrum": {}},
        }

    kept = lost_by(measured(0.968, 0.95), measured(0.97, 0.951))
    assert kept == {"lost_macro_f1": {"both": 0.002, "without_image": 0.001}, "shipped": True}
    assert not lost_by(measured(0.97, 0.94), measured(0.97, 0.951))["shipped"]
