"""What training and export do not do unless they are told, each told in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alloysort_datasets.errors import TrainingError
from alloysort_datasets.table.store import read_pieces
from alloysort_models.bundle.manifest import CARD
from alloysort_training.export import Allowed, export
from alloysort_training.fitting import Fitting
from alloysort_training.train import CURVES, macro_f1_of_one, train

pytestmark = pytest.mark.xdist_group("training")
TINY = "[grid]\nstart_nm = 240.0\nstop_nm = 700.0\nchannels = 64\n[network]\nwidth = 0.1\nimage_size = 16\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY + "[fit]\nepochs = 2\nbatch_size = 64\n", encoding="utf-8")
    return path


def test_what_a_training_came_to(run: Path, table: Path, config: Path, tmp_path: Path) -> None:
    learned = train(config, [table], tmp_path / "run")
    assert (learned.pieces, learned.families, learned.epochs, learned.asked) == (900, 19, 2, 2)
    assert 0.0 < learned.chance < 0.02
    assert 1 <= learned.best <= 2
    assert (tmp_path / "run" / CURVES).read_text(encoding="utf-8").startswith("<?xml")


def test_naming_all_alike_is_worth_what_scikit_learn_says() -> None:
    from sklearn.metrics import f1_score

    family = np.array([3, 3, 3, 5, 7, 7, -1])
    known = family[family >= 0]
    told = f1_score(known, np.full(6, 3), average="macro", zero_division=0)
    assert macro_f1_of_one(family, 3) == pytest.approx(told)
    assert macro_f1_of_one(np.array([-1, -1]), 3) == 0.0


@pytest.mark.parametrize(
    ("family", "complaint"),
    [
        (None, "none of the 60 training pieces has a family: there is nothing to learn"),
        ("6xxx", "all 60 labelled training pieces are 6xxx: there is nothing to tell it apart from"),
    ],
)
def test_nothing_to_tell_apart_is_said(
    table: Path, config: Path, write_table: Callable[..., Path], tmp_path: Path, family: str, complaint: str
) -> None:
    pieces = list(read_pieces(table))
    folder = write_table([replace(piece, family=family) for piece in (*pieces[:60], *pieces[900:960])])
    with pytest.raises(TrainingError, match=complaint):
        train(config, [folder], tmp_path / "run")


def test_one_piece_is_refused_in_a_line(
    table: Path, config: Path, write_table: Callable[..., Path], tmp_path: Path
) -> None:
    pieces = list(read_pieces(table))
    with pytest.raises(TrainingError, match="all 1 labelled training pieces"):
        train(config, [write_table([pieces[1], *pieces[900:960]])], tmp_path / "run")
    with pytest.raises(TrainingError, match="no piece has the split 'calibration'"):
        train(config, [write_table(pieces[1:2], "one")], tmp_path / "run")


def test_two_pieces_train_and_photographs_alone_say_so_on_the_card(
    table: Path, config: Path, write_table: Callable[..., Path], tmp_path: Path
) -> None:
    pieces = [replace(p, spectra=None, instrument=None) for p in read_pieces(table) if p.image is not None]
    by_split = {s: [p for p in pieces if p.split == s] for s in ("train", "calibration", "test")}
    two = [p for p in by_split["train"] if p.family][:2]
    assert train(config, [write_table([*two, *by_split["calibration"]])], tmp_path / "two").pieces == 2
    photos = write_table([*by_split["train"][:300], *by_split["calibration"], *by_split["test"]], "photos")
    longer = tmp_path / "longer.toml"
    longer.write_text(config.read_text(encoding="utf-8").replace("epochs = 2", "epochs = 8"), "utf-8")
    train(longer, [photos], tmp_path / "run")
    bundle = export(tmp_path / "run", tmp_path / "bundle")
    assert "No training piece had a spectrum" in (bundle.path / CARD).read_text(encoding="utf-8")
    assert set(bundle.manifest.metrics) == {"image", "parity", "int8"}


def test_devices_are_refused_by_name(table: Path, config: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="device cuda: torch sees no such GPU"):
        train(config, [table], tmp_path / "run", device="cuda")
    config.write_text(TINY + "[fit]\nprecision = 'bf16-mixed'\n", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"fit\.precision bf16-mixed is for GPUs"):
        train(config, [table], tmp_path / "run")


def test_ctrl_c_says_what_is_kept_and_the_run_goes_on(
    table: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Fitting.training_step

    def stop(self: Fitting, batch: object, number: int) -> object:
        if self.trainer.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, number)  # type: ignore[arg-type]

    monkeypatch.setattr(Fitting, "training_step", stop)
    with pytest.raises(TrainingError, match=r"interrupted: .* keeps its 1 of 2 epochs; the same command"):
        train(config, [table], tmp_path / "run")
    with pytest.raises(TrainingError, match=r"1 of its 2 epochs are done: train on, or --unfinished"):
        export(tmp_path / "run", tmp_path / "bundle")
    bundle = export(tmp_path / "run", tmp_path / "bundle", allowed=Allowed(unfinished=True))
    assert "**Unfinished**: 1 of 2 epochs" in (bundle.path / CARD).read_text(encoding="utf-8")
    monkeypatch.setattr(Fitting, "training_step", step)
    assert train(config, [table], tmp_path / "run").epochs == 2


def test_it_stops_early_where_it_is_told_to(table: Path, config: Path, tmp_path: Path) -> None:
    config.write_text(
        TINY + "[fit]\nepochs = 30\npatience = 1\nbatch_size = 64\nlearning_rate = 0.5\n", encoding="utf-8"
    )
    assert train(config, [table], tmp_path / "run").epochs < 30


def test_an_export_spoils_nothing(run: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.txt").write_text("mine")
    with pytest.raises(TrainingError, match="is not empty: name another --out, or --overwrite"):
        export(run, tmp_path / "there")
    assert (tmp_path / "there" / "thesis.txt").read_text() == "mine"
    export(run, tmp_path / "there", allowed=Allowed(overwrite=True))
    assert sorted(path.name for path in (tmp_path / "there").iterdir())[0] == CARD
    assert not list(tmp_path.glob(".*part"))


def test_few_calibration_pieces_are_refused_and_when_allowed_nothing_is_novel(
    table: Path, config: Path, write_table: Callable[..., Path], tmp_path: Path
) -> None:
    pieces = list(read_pieces(table))
    train(config, [write_table([*pieces[:900], *pieces[900:920], *pieces[-260:]])], tmp_path / "run")
    with pytest.raises(TrainingError, match=r"calibration pieces with the sensors of .*under 50.*--few"):
        export(tmp_path / "run", tmp_path / "bundle")
    metrics = export(tmp_path / "run", tmp_path / "bundle", allowed=Allowed(few=True)).manifest.metrics
    assert metrics["both"]["novel"]["value"] == 0.0


def test_what_is_no_better_than_chance_is_not_exported(
    table: Path, config: Path, write_table: Callable[..., Path], tmp_path: Path
) -> None:
    pieces = list(read_pieces(table))
    for place in range(1160, 1420):  # the test pieces' names mean nothing, and two are never right
        pieces[place] = replace(pieces[place], family=("zinc", "brass")[place % 2])
    config.write_text(TINY + "[fit]\nepochs = 1\nlearning_rate = 1e-9\nbatch_size = 64\n", encoding="utf-8")
    folder = write_table([replace(p, image=None) for p in pieces if p.spectra is not None])
    train(config, [folder], tmp_path / "run")
    with pytest.raises(TrainingError, match="no better than naming them all alike"):
        export(tmp_path / "run", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
