from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from alloysort.cli import app
from alloysort_datasets.errors import TableError
from alloysort_datasets.piece import sensed
from alloysort_datasets.simulate import Simulation, simulate
from alloysort_datasets.table.store import read_instruments, read_pieces
from alloysort_inference.bench.accuracy.judge import judge_tables
from alloysort_inference.bench.accuracy.run import FaultyTableError, Question, bench_accuracy
from alloysort_inference.pipeline import Upload, open_classifier
from alloysort_models.bundle.manifest import newest_released


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("accuracy") / "table"
    for _ in simulate(folder, Simulation(100, 40_004, strangers=0.1)):
        pass
    return folder


@pytest.fixture(scope="module")
def told(table):
    return bench_accuracy(Question((table,), split="all")).told


def test_pieces_are_judged_as_the_line_judges_them(table):
    judged = judge_tables([table], newest_released(), "wrought-cast", None)
    classifier, instruments = open_classifier(None, "wrought-cast"), read_instruments(table)
    names = [outlet.name for outlet in classifier.recipe.outlets]
    for row, piece in enumerate(read_pieces(table)):
        if not judged.decided[row]:
            continue
        image = None if piece.image is None else Upload("image", piece.image)
        record = classifier.classify(sensed(piece, instruments), image)
        assert judged.piece_id[row] == piece.piece_id
        assert np.allclose(judged.probabilities[row], record.assessment.probabilities, atol=1e-4)
        assert names[judged.outlet[row]] == record.decision.outlet
        assert judged.accepted[row] == record.decision.accepted


def test_the_answer_says_what_it_is_of_and_holds_the_keys_that_scripts_rely_on(told):
    assert told["pieces_are"] == "simulated"
    assert told["n"] == 100
    for key in ("macro_f1", "accuracy", "ece", "novelty_auroc"):
        assert set(told[key]) == {"value", "low", "high"}
    assert set(told["purity"]) == set(told["recovery"]) == {"wrought", "cast", "rest"}
    assert told["rmse_wt_pct"]["Si"]["value"] > 0
    assert told["strata"]["bare metal"]["macro_f1"]["value"] > 0.6
    json.dumps(told, allow_nan=False)


def test_the_same_table_gives_the_same_answer(table, told):
    assert bench_accuracy(Question((table,), split="all")).told == told


def test_the_test_split_is_judged_where_there_is_one(table):
    assert bench_accuracy(Question((table,))).told["split"] == "test"
    with pytest.raises(TableError, match="split 'exam' is none of train, calibration, test, all"):
        Question((table,), split="exam")


def test_a_batch_on_two_sides_is_refused(table, tmp_path):
    leaky = tmp_path / "leaky"
    leaky.mkdir()
    for file in table.glob("*.parquet"):
        (leaky / file.name).write_bytes(file.read_bytes())
    path = leaky / "pieces-00000.parquet"
    pieces = pq.read_table(path)
    sides = pieces["split"].to_pylist()
    sides[3] = "test"
    pq.write_table(pieces.set_column(pieces.schema.get_field_index("split"), "split", [sides]), path)
    with pytest.raises(FaultyTableError) as caught:
        bench_accuracy(Question((leaky,)))
    assert any("is on the splits train and test" in fault for fault in caught.value.faults)


def test_every_fault_of_a_table_is_named_and_nothing_is_measured(table, tmp_path):
    faulty = tmp_path / "faulty"
    faulty.mkdir()
    for file in table.glob("*.parquet"):
        (faulty / file.name).write_bytes(file.read_bytes())
    path = faulty / "pieces-00000.parquet"
    pieces = pq.read_table(path)
    families, images = pieces["family"].to_pylist(), pieces["image"].to_pylist()
    families[5], images[8] = "6xyz", b"no picture"
    for name, column in (("family", families), ("image", images)):
        pieces = pieces.set_column(pieces.schema.get_field_index(name), name, [column])
    pq.write_table(pieces, path)
    answer = CliRunner().invoke(app, ["bench", "accuracy", "--data", str(faulty)])
    assert "row 5: family: '6xyz' is none of" in answer.stderr
    assert "row 8: image:" in answer.stderr
    assert isinstance(answer.exception, FaultyTableError)
    assert answer.stdout == ""


def test_the_command_shows_and_writes_the_figures(table, tmp_path):
    out = tmp_path / "figures.json"
    answer = CliRunner().invoke(
        app, ["bench", "accuracy", "--data", str(table), "--split", "all", "--json", str(out)]
    )
    assert answer.exit_code == 0, answer.output
    assert "simulated pieces" in answer.stdout
    assert "bare metal" in answer.stdout
    assert json.loads(out.read_text())["n"] == 100
