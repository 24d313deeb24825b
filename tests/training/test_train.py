from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alloysort_datasets.errors import TrainingError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.piece import Piece
from alloysort_datasets.table.layers import LAYERS, NON_METAL
from alloysort_datasets.table.store import read_pieces
from alloysort_models.network.unfold import folded_weights
from alloysort_training.calibrate import ask
from alloysort_training.fitting import Truth
from alloysort_training.prepare import prepare, survey
from alloysort_training.prepared import Batch
from alloysort_training.train import CHECKPOINT, METRICS, _weights, load_run, train, trained_batches

pytestmark = pytest.mark.xdist_group("training")
CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"
TINY = CONFIGS / "tiny.toml"


def read_metrics(run: Path) -> list[dict[str, str]]:
    with (run / METRICS).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_run(run)[2].state_dict()


def test_it_learns(run: Path) -> None:
    rows = read_metrics(run)
    assert [int(row["epoch"]) for row in rows] == list(range(8))
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])
    assert float(rows[-1]["calibration_macro_f1"]) > 0.9


class KilledError(Exception):
    """Stands for a kill between two epochs."""


def test_a_killed_run_goes_on_and_ends_where_an_unbroken_one_does(
    run: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alloysort_training.train import MetricsFile

    begin = MetricsFile.on_train_epoch_start

    def die_in_epoch_five(self: MetricsFile, trainer, pl_module) -> None:  # type: ignore[no-untyped-def]
        if trainer.current_epoch == 5:
            raise KilledError
        begin(self, trainer, pl_module)

    monkeypatch.setattr(MetricsFile, "on_train_epoch_start", die_in_epoch_five)
    with pytest.raises(KilledError):
        train(TINY, [table], tmp_path / "run")
    monkeypatch.setattr(MetricsFile, "on_train_epoch_start", begin)
    assert len(read_metrics(tmp_path / "run")) == 5
    train(TINY, [table], tmp_path / "run")
    assert [row["epoch"] for row in read_metrics(tmp_path / "run")] == [str(epoch) for epoch in range(8)]
    expected, found = weights(run), weights(tmp_path / "run")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_finished_run_stays_as_it_is(run: Path, table: Path) -> None:
    before = (run / METRICS).read_bytes()
    train(TINY, [table], run)
    assert (run / METRICS).read_bytes() == before


def test_a_run_with_another_config_or_other_data_is_not_overwritten(
    run: Path, table: Path, tmp_path: Path, write_table: Callable[..., Path]
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(TINY.read_text(encoding="utf-8").replace("epochs = 8", "epochs = 9"), encoding="utf-8")
    with pytest.raises(TrainingError, match="holds a run with another config"):
        train(other, [table], run)
    with pytest.raises(TrainingError, match="holds a run on other data"):
        train(TINY, [write_table(list(read_pieces(table))[5:])], run)


def test_an_absent_family_is_said(
    table: Path, tmp_path: Path, write_table: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    pieces: list[Piece] = [piece for piece in read_pieces(table) if piece.family != "zinc"]
    one = tmp_path / "one.toml"
    one.write_text(TINY.read_text(encoding="utf-8").replace("epochs = 8", "epochs = 1"), encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="alloysort"):
        train(
            one,
            [write_table(pieces[:100] + [replace(p, split="calibration") for p in pieces[-20:]])],
            tmp_path / "run",
        )
    assert "no training piece of " in caplog.text
    assert "zinc" in caplog.text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no config\.json in it"):
        load_run(tmp_path)


def test_a_run_that_finished_no_epoch_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    with pytest.raises(TrainingError, match=rf"{CHECKPOINT}: No such file or directory: train first"):
        load_run(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"config\.json: not JSON"):
        load_run(tmp_path)


def test_a_run_of_another_front_end_is_refused(run: Path, tmp_path: Path) -> None:
    told = json.loads((run / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**told, "front_end": 1}), encoding="utf-8")
    with pytest.raises(TrainingError, match="was trained on features of front end 1"):
        load_run(tmp_path)


def batch_of(**known: Any) -> Batch:
    pieces = 3
    blank = dict.fromkeys(("image", "spectrum", "coverage"), torch.zeros(pieces, 1))
    labels = {
        "present": torch.ones(pieces, 2),
        "family": torch.tensor([5, 5, NON_METAL]),
        "composition": torch.ones(pieces, 13),
        "shown": torch.tensor([1.0, 0.01, 0.8]),
        "stranger": torch.zeros(pieces),
        "layer": torch.zeros(pieces, dtype=torch.int64),
    }
    return Batch(**{**blank, **labels, **known})


def test_a_hidden_piece_is_asked_for_its_family_but_not_whether_it_is_strange() -> None:
    both = Truth.of(batch_of(), torch.ones(3, 2))
    assert both.family.tolist() == [5, 5, NON_METAL]
    assert torch.isfinite(both.composition).all()
    assert both.surface.tolist() == pytest.approx([1.0, 0.01, 0.0])
    assert torch.isnan(both.stranger).tolist() == [False, True, False]


def test_a_stranger_teaches_that_it_is_strange_and_no_family() -> None:
    truth = Truth.of(batch_of(stranger=torch.tensor([1.0, 0.0, 1.0])), torch.ones(3, 2))
    assert truth.family.tolist() == [-1, 5, -1]
    assert truth.stranger.tolist()[::2] == [1, 1]
    assert torch.isnan(truth.surface).tolist() == [False, False, True]


def test_an_anodic_film_is_neither_metal_nor_none() -> None:
    layer = torch.tensor([LAYERS.index("anodising"), LAYERS.index("paint"), 0])
    assert torch.isnan(Truth.of(batch_of(layer=layer), torch.ones(3, 2)).surface).tolist() == [
        True,
        False,
        False,
    ]


def test_a_picture_tells_nothing_of_matter_and_no_sensor_nothing_at_all() -> None:
    image = Truth.of(batch_of(), torch.tensor([[1.0, 0.0]]).expand(3, 2))
    assert image.family.tolist() == [5, 5, NON_METAL]
    assert torch.isnan(image.surface).all()
    assert torch.isnan(image.stranger).all()
    nothing = Truth.of(batch_of(), torch.zeros(3, 2))
    assert nothing.family.tolist() == [-1, -1, -1]
    assert torch.isnan(nothing.composition).all()


def test_where_nobody_knows_what_was_shown_no_surface_is_learned() -> None:
    real = Truth.of(batch_of(shown=torch.full((3,), torch.nan)), torch.ones(3, 2))
    assert real.family.tolist() == [5, 5, NON_METAL]
    assert torch.isnan(real.surface).all()
    assert real.stranger.tolist() == [0, 0, 0]


def test_a_run_may_begin_with_what_another_has_learned(
    run: Path, table: Path, write_table: Callable[..., Path], tmp_path: Path
) -> None:
    more = write_table(
        [
            replace(piece, piece_id=f"new-{piece.piece_id}", batch=f"new-{piece.batch}")
            for piece in read_pieces(table)
            if piece.split != "test"
        ]
    )
    once = tmp_path / "once.toml"
    once.write_text(TINY.read_text(encoding="utf-8").replace("epochs = 8", "epochs = 1"), encoding="utf-8")
    train(once, [more], tmp_path / "on", run)
    train(once, [more], tmp_path / "anew")
    rows = [(tmp_path / name / METRICS).read_text().splitlines()[1].split(",") for name in ("on", "anew")]
    on, anew = (float(row[4]) for row in rows)
    assert on > anew + 0.2
    begun, _, _ = load_run(tmp_path / "on")
    assert begun["started_from"] == {
        "data_sha256": survey([table]).sha256, "simulator": None, "pieces": 900, "epochs": 8,
    }  # fmt: skip
    assert trained_batches(tmp_path / "on") >= trained_batches(run) | {("simulator", "new-train-0")}
    with pytest.raises(TrainingError, match="another beginning"):
        train(once, [more], tmp_path / "on")


def test_a_run_does_not_begin_with_what_it_is_to_be_measured_on(
    run: Path, table: Path, write_table: Callable[..., Path], tmp_path: Path
) -> None:
    turned = {"train": "calibration", "calibration": "train", "test": "test", None: None}
    swapped = write_table([replace(piece, split=turned[piece.split]) for piece in read_pieces(table)])
    with pytest.raises(TrainingError, match="batches that are to be measured on here"):
        train(TINY, [swapped], tmp_path / "on", run)


def test_a_run_may_keep_some_of_what_it_began_with(
    run: Path, table: Path, write_table: Callable[..., Path], tmp_path: Path
) -> None:
    more = write_table(
        [
            replace(piece, piece_id=f"new-{piece.piece_id}", batch=f"new-{piece.batch}")
            for piece in read_pieces(table)
        ]
    )
    text = TINY.read_text(encoding="utf-8").replace("epochs = 8", "epochs = 1")
    weights = {}
    for kept in (0.0, 0.5, 0.999):
        config = tmp_path / f"{kept}.toml"
        config.write_text(text + f"kept = {kept}\n", encoding="utf-8")
        train(config, [more], tmp_path / f"on-{kept}", run)
        weights[kept] = folded_weights(load_run(tmp_path / f"on-{kept}")[2])["family.weight"]
    start = folded_weights(load_run(run)[2])["family.weight"]
    torch.testing.assert_close(weights[0.5], (weights[0.0] + start) / 2)
    torch.testing.assert_close(weights[0.999], start, rtol=1e-2, atol=1e-3)
    assert (weights[0.0] - start).abs().max() > 0.01


def few_families(table: Path, families: tuple[str, ...]) -> list[Piece]:
    return [piece for piece in read_pieces(table) if piece.split != "test" and piece.family in families]


def of_epochs(epochs: int, folder: Path, more: str = "") -> Path:
    config = folder / f"{epochs}.toml"
    text = TINY.read_text(encoding="utf-8").replace("epochs = 8", f"epochs = {epochs}")
    config.write_text(text.replace("learning_rate = 1e-2", "learning_rate = 1e-3") + more, encoding="utf-8")
    return config


def test_uneven_families_are_named_and_weighed(
    table: Path, tmp_path: Path, write_table: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    pieces = few_families(table, ("1xxx", "5xxx"))
    rare = [piece for piece in pieces if piece.family == "5xxx"][:8]
    common = [piece for piece in pieces if piece.family == "1xxx"]
    own = write_table([*common, *rare])
    with caplog.at_level(logging.WARNING, logger="alloysort"):
        train(of_epochs(1, tmp_path), [own], tmp_path / "run")
    said = r"uneven: \d+ training pieces of 1xxx, \d of 5xxx: a piece of these weighs 0\.\d+ and "
    assert re.search(said, caplog.text)


def test_a_familys_weight_is_the_root_of_how_rare_it_is() -> None:
    found = _weights({"1xxx": 90, "5xxx": 10}, 0.5)
    assert found == pytest.approx({"1xxx": (50 / 90) ** 0.5, "5xxx": (50 / 10) ** 0.5})
    assert _weights({"1xxx": 30, "5xxx": 10}, 0.5) == {"1xxx": 1.0, "5xxx": 1.0}
    assert _weights({"1xxx": 90, "5xxx": 10}, 0.0) == {"1xxx": 1.0, "5xxx": 1.0}


@pytest.mark.parametrize(("absent", "named"), [("kept", True), ("forgotten", False)])
def test_families_without_a_piece_stay_or_go_as_told(
    absent: str, named: bool, run: Path, table: Path, tmp_path: Path, write_table: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    present = ("1xxx", "5xxx", "6xxx")
    pieces = [replace(piece, batch=f"own {piece.batch}") for piece in few_families(table, present)]
    config = of_epochs(12, tmp_path, f'absent = "{absent}"\n')
    with caplog.at_level(logging.WARNING, logger="alloysort"):
        train(config, [write_table(pieces)], tmp_path / "run", run)
    said = f"they stay as {run} has them" if named else "the network will never name them"
    assert said in caplog.text
    held_out = prepare([table], "test", survey([table]), load_run(run)[1], tmp_path / "cache")
    answers = ask(load_run(tmp_path / "run")[2], held_out, "both", np.array([0]))
    others = ~torch.isin(answers.family, torch.tensor([FAMILIES.index(name) for name in present]))
    others &= answers.family >= 0
    right = (answers.logits.argmax(dim=1) == answers.family)[others].float().mean()
    assert (right > 0.7) if named else (right == 0.0)
