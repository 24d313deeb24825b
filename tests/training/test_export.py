from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from alloysort_datasets.errors import TrainingError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.table.store import read_instruments, read_pieces
from alloysort_models.bundle.inputs import VIEWS
from alloysort_models.bundle.manifest import (
    CARD,
    FRONT_END_VERSION,
    INPUTS,
    OUTPUTS,
    PATTERNS,
    Bundle,
    load_bundle,
)
from alloysort_models.network.released import Calibration, Released, folded
from alloysort_training.card import Trained, write_card
from alloysort_training.config import Config, Network, load_config
from alloysort_training.evaluate import evaluate, feed, open_session
from alloysort_training.export import check_parity, export
from alloysort_training.prepare import prepare, prepare_pieces, survey
from alloysort_training.released import reopen
from alloysort_training.train import CACHE, METRICS, Earlier, load_run, train

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"

pytestmark = pytest.mark.xdist_group("training")


def test_the_graph_has_the_bundles_inputs_and_outputs(bundle: Bundle) -> None:
    session = open_session(bundle.model)
    assert tuple(value.name for value in session.get_inputs()) == INPUTS
    assert tuple(value.name for value in session.get_outputs()) == OUTPUTS
    types = [value.type for value in session.get_inputs()]
    assert types == ["tensor(uint8)", "tensor(float)", "tensor(float)", "tensor(float)"]
    shapes = [value.shape for value in session.get_outputs()]
    assert shapes == [["n", len(FAMILIES)], ["n", len(ELEMENTS)], ["n", len(ELEMENTS)], ["n"], ["n"]]


def test_norms_are_folded_and_no_trace_of_this_machine_is_left(bundle: Bundle) -> None:
    graph = onnx.load(bundle.model)
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)
    content = bundle.model.read_bytes()
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


@pytest.mark.parametrize("pieces", [1, 3, 16])
@pytest.mark.parametrize("present", [(1, 0), (0, 1), (1, 1), (0, 0)])
def test_nothing_at_all_still_gives_finite_answers(
    bundle: Bundle, pieces: int, present: tuple[int, int]
) -> None:
    size, channels = bundle.manifest.image_size, bundle.grid.channels
    inputs = {
        "image": np.zeros((pieces, size, size, 3), dtype=np.uint8),
        "spectrum": np.zeros((pieces, VIEWS, channels), dtype=np.float32),
        "coverage": np.zeros((pieces, channels), dtype=np.float32),
        "present": np.tile(np.array(present, dtype=np.float32), (pieces, 1)),
    }
    outputs = open_session(bundle.model).run(list(OUTPUTS), inputs)
    probabilities, novelty = outputs[0], outputs[-1]
    assert all(np.isfinite(output).all() for output in outputs)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    assert len(novelty) == pieces


def test_the_manifest_holds_what_was_measured(bundle: Bundle, table: Path) -> None:
    manifest = bundle.manifest
    assert manifest.name == "toy-1"
    assert manifest.training_data_sha256 == survey([table]).sha256
    assert set(manifest.metrics) == {"image", "spectrum", "both", "parity", "int8"}
    assert manifest.metrics["both"]["macro_f1"]["value"] > 0.9
    assert set(manifest.metrics["int8"]) == {"shipped", "spectrum", "both"}
    assert (manifest.simulator, manifest.front_end) == (None, FRONT_END_VERSION)
    assert manifest.metrics["parity"]["probability"] < 1e-4
    assert manifest.metrics["parity"]["pieces"] > 300


def test_the_metrics_are_those_of_the_graph_that_ships(bundle: Bundle, run: Path, table: Path) -> None:
    _, config, _ = load_run(run)
    prepared = prepare([table], "test", survey([table]), config, run / CACHE)
    deployed = {pattern: bundle.on_cpu(pattern) for pattern in PATTERNS}
    assert (bundle.quantized is not None) == bundle.manifest.metrics["int8"]["shipped"]
    again = evaluate(deployed, prepared, bundle.manifest.thresholds, config.seed)
    assert again["both"] == bundle.manifest.metrics["both"]


def test_a_run_is_measured_on_tables_of_their_own(
    run: Path, table: Path, write_table: Callable[..., Path]
) -> None:
    pieces = read_pieces(table)
    other = write_table(
        [replace(piece, piece_id=f"new-{piece.piece_id}", batch=f"new-{piece.batch}") for piece in pieces]
    )
    export(run, other.parent / "elsewhere", data=[other])
    manifest = load_bundle(other.parent / "elsewhere").manifest
    assert manifest.training_data_sha256 == survey([table]).sha256
    assert manifest.measured_on_sha256 == survey([other]).sha256
    card = (other.parent / "elsewhere" / CARD).read_text(encoding="utf-8")
    assert f"`{manifest.measured_on_sha256}`" in card


def test_a_run_is_not_measured_on_what_it_learned(
    run: Path, table: Path, write_table: Callable[..., Path]
) -> None:
    learned = write_table(
        [replace(piece, split="test") if piece.batch == "train-3" else piece for piece in read_pieces(table)]
    )
    with pytest.raises(TrainingError, match=r"batch 'train-3' of source 'simulator' .* was trained on it"):
        export(run, learned.parent / "bundle", data=[learned])


def test_the_card_is_complete_and_makes_the_run_again(bundle: Bundle, tmp_path: Path, run: Path) -> None:
    card = (bundle.path / CARD).read_text(encoding="utf-8")
    assert card.startswith("# toy-1\n")
    assert "simulated" in card
    assert "$" not in card
    assert bundle.manifest.training_data_sha256 in card
    (tmp_path / "again.toml").write_text(card.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    assert load_config(tmp_path / "again.toml") == load_run(run)[1]


def test_the_card_names_every_table_and_the_run_that_was_begun_with(
    bundle: Bundle, run: Path, table: Path
) -> None:
    begun, config, _ = load_run(run)
    begun["data"] = ["one", "two"]
    begun["started_from"] = Earlier(data_sha256="0" * 64, simulator=3, pieces=900, epochs=8)
    trained = Trained(epochs=8, images=True, spectra=True)
    card = write_card(bundle.manifest, config, begun, survey([table]), trained, parameters=1, size=1)
    assert "\nalloysort train CONFIG --data DIR --data DIR --out RUN --from EARLIER\n" in card
    plain = (bundle.path / CARD).read_text(encoding="utf-8")
    assert "\nalloysort train CONFIG --data DIR --out RUN\n" in plain


def test_a_graph_that_disagrees_is_refused(bundle: Bundle, run: Path, table: Path) -> None:
    _, config, sorter = load_run(run)
    prepared = prepare([table], "calibration", survey([table]), config, run / CACHE)
    released = Released(sorter, Calibration.neutral(sorter.family.in_features)).eval()
    graph = onnx.load(bundle.model)
    with torch.no_grad():
        released.sorter.family.bias[3] += 0.5
    with pytest.raises(TrainingError, match="onnxruntime and torch disagree"):
        check_parity(released, graph.SerializeToString(), prepared)


def test_a_network_that_gives_no_numbers_is_refused(bundle: Bundle, run: Path, table: Path) -> None:
    _, config, sorter = load_run(run)
    prepared = prepare([table], "calibration", survey([table]), config, run / CACHE)
    neutral = Calibration.neutral(sorter.family.in_features)
    broken = dataclasses.replace(neutral, radius=torch.full((3,), torch.nan))
    with pytest.raises(TrainingError, match="relatively by inf"):
        check_parity(folded(Released(sorter, broken)), bundle.model.read_bytes(), prepared)


@pytest.mark.parametrize("name", ["Not A Name", "", "-x", "a/b"])
def test_a_name_that_is_no_name_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrainingError, match="a model's name is"):
        export(tmp_path / "none", tmp_path / "out", name)


def test_data_that_changed_since_is_refused(
    table: Path, tmp_path: Path, write_table: Callable[..., Path]
) -> None:
    one = tmp_path / "one.toml"
    one.write_text("[network]\nwidth = 0.1\nimage_size = 16\n[fit]\nepochs = 1\n", encoding="utf-8")
    pieces = list(read_pieces(table))
    folder = write_table([*pieces[:60], *pieces[900:960]])
    train(one, [folder], tmp_path / "run")
    for path in folder.glob("pieces-*"):
        path.unlink()
    (folder / "instruments.parquet").unlink()
    write_table([*pieces[:61], *pieces[900:960]])
    with pytest.raises(TrainingError, match="has changed since it was trained"):
        export(tmp_path / "run", tmp_path / "bundle", None)
    assert not (tmp_path / "bundle").exists()


def test_a_table_without_test_pieces_is_refused(
    table: Path, tmp_path: Path, write_table: Callable[..., Path]
) -> None:
    one = tmp_path / "one.toml"
    one.write_text("[network]\nwidth = 0.1\nimage_size = 16\n[fit]\nepochs = 1\n", encoding="utf-8")
    pieces = list(read_pieces(table))
    train(one, [write_table([*pieces[:60], *pieces[900:960]])], tmp_path / "run")
    with pytest.raises(TrainingError, match="no piece has the split 'test'"):
        export(tmp_path / "run", tmp_path / "bundle", None)


def test_the_metrics_are_plain_json(bundle: Bundle) -> None:
    json.dumps(bundle.manifest.metrics, allow_nan=False)


def test_a_run_may_begin_with_a_bundle(
    bundle: Bundle, table: Path, write_table: Callable[..., Path], tmp_path: Path
) -> None:
    more = write_table(
        [
            replace(piece, piece_id=f"new-{piece.piece_id}", batch=f"new-{piece.batch}")
            for piece in read_pieces(table)
        ]
    )
    once = tmp_path / "once.toml"
    tiny = (CONFIGS / "tiny.toml").read_text(encoding="utf-8")
    once.write_text(tiny.replace("epochs = 8", "epochs = 1").replace("1e-2", "1e-3"), encoding="utf-8")
    train(once, [more], tmp_path / "on", bundle.path)
    train(once, [more], tmp_path / "anew")
    rows = [(tmp_path / name / METRICS).read_text().splitlines()[1].split(",") for name in ("on", "anew")]
    on, anew = (float(row[4]) for row in rows)
    assert on > anew + 0.2
    begun, _, _ = load_run(tmp_path / "on")
    assert begun["started_from"] == {
        "data_sha256": survey([table]).sha256, "simulator": None, "pieces": 900, "epochs": 8,
    }  # fmt: skip
    with pytest.raises(TrainingError, match="trained or measured on this table"):
        train(once, [table], tmp_path / "again", bundle.path)
    wider = tmp_path / "wider.toml"
    wider.write_text(
        once.read_text(encoding="utf-8").replace("width = 0.25", "width = 0.5"), encoding="utf-8"
    )
    with pytest.raises(TrainingError, match="another grid or size"):
        train(wider, [more], tmp_path / "wider", bundle.path)


def test_a_bundle_opens_again_as_the_network_it_was_made_of(bundle: Bundle, table: Path) -> None:
    pieces = [piece for piece in read_pieces(table) if piece.split == "test"][:40]
    config = Config(grid=bundle.grid, network=Network(image_size=bundle.manifest.image_size))
    prepared = prepare_pieces(pieces, read_instruments(table), config)
    rows = np.flatnonzero(prepared.present.any(axis=1))
    inputs = feed(prepared, rows, "both")
    with torch.no_grad():
        again = reopen(bundle)(*map(torch.from_numpy, inputs.values()))
    for ours, theirs in zip(again, open_session(bundle.model).run(list(OUTPUTS), inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
