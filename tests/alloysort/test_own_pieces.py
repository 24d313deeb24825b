"""From a folder of own photos and spectra to an answer, through the command line."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from alloysort.cli import app
from alloysort_datasets.errors import TableError
from alloysort_datasets.table.store import read_instruments, read_pieces

SPECTRUM = "\n".join(f"{200 + index / 2},{index}" for index in range(20))
LOTS = 5
CONFIG = """
[grid]
start_nm = 200.0
stop_nm = 420.0
channels = 256
[network]
image_size = 32
width = 0.25
[preparation]
variants = 1
[fit]
epochs = 1
batch_size = 16
learning_rate = 1e-2
"""


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def write_plant(table: Path, plant: Path) -> Counter[str]:
    """Files and labels of a table's commoner families, each spread over the same five lots."""
    pieces = [piece for piece in read_pieces(table) if piece.spectra is not None and piece.image is not None]
    common = Counter(piece.family for piece in pieces)
    axes = {name: instrument.wavelength_nm for name, instrument in read_instruments(table).items()}
    seen: Counter[str] = Counter()
    rows = [["file", "family", "batch"]]
    for piece in pieces:
        if piece.family is None or common[piece.family] < LOTS or piece.spectra is None:
            continue
        assert piece.image is not None
        assert piece.instrument is not None
        stem = plant / piece.family / f"{seen[piece.family]:03}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".jpg").write_bytes(piece.image)
        np.savetxt(
            stem.with_suffix(".csv"),
            np.column_stack([axes[piece.instrument], piece.spectra.T]),
            fmt="%.6g",
            delimiter=",",
        )
        rows.append([f"{piece.family}/{stem.name}.csv", piece.family, f"lot-{seen[piece.family] % LOTS}"])
        seen[piece.family] += 1
    with (plant / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return seen


def test_a_folder_becomes_a_model_that_answers(tmp_path: Path) -> None:
    sim, plant, own, work, bundle = (tmp_path / name for name in ("sim", "plant", "own", "run", "bundle"))
    run("data", "simulate", sim, "--pieces", 80, "--seed", 11, "--preset", "compact", "--workers", 1)
    families = write_plant(sim, plant)
    count = families.total()
    assert len(families) >= 3

    said = run("data", "import", plant, own)
    assert f"{count} pieces, {count} with a picture, {count} with spectra of" in said
    run("data", "split", own, "--shares", "60,20,20")
    assert run("data", "check", own) == f"{own}: {count} pieces, no faults\n"
    pieces = list(read_pieces(own))
    assert Counter(piece.family for piece in pieces) == families
    sides = {(piece.batch, piece.split) for piece in pieces}
    assert len(sides) == LOTS  # no lot on two sides
    assert {(piece.family, piece.split) for piece in pieces} == {
        (family, split) for family in families for split in ("train", "calibration", "test")
    }

    (tmp_path / "own.toml").write_text(CONFIG)
    run("train", tmp_path / "own.toml", "--data", own, "--out", work)
    run("export", work, "--out", bundle, "--few")
    from alloysort_training.prepare import survey

    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["training_data_sha256"] == survey([own]).sha256

    stem = plant / str(pieces[0].piece_id)
    answer = run(
        "classify", "--bundle", bundle, "--json",
        "--spectrum", stem.with_suffix(".csv"), "--image", stem.with_suffix(".jpg"),
    )  # fmt: skip
    assert sum(json.loads(answer)["probabilities"].values()) == pytest.approx(1, abs=1e-3)


def small_table(folder: Path, batches: int) -> Path:
    """Nine pieces of a family in so many batches."""
    plant = folder / "plant"
    (plant / "6xxx").mkdir(parents=True)
    rows = ["file,batch"]
    for index in range(9):
        (plant / "6xxx" / f"{index}.csv").write_text(SPECTRUM.replace(",1\n", f",{index + 1}\n"))
        rows.append(f"6xxx/{index}.csv,{index % batches}")
    (plant / "labels.csv").write_text("\n".join(rows))
    run("data", "import", plant, folder / "own")
    return folder / "own"


def test_too_few_batches_are_refused_with_the_remedy(tmp_path: Path) -> None:
    own = small_table(tmp_path, 2)
    with pytest.raises(TableError, match=r"(?s)6xxx.*--allow-absent"):
        run("data", "split", own)
    assert {piece.split for piece in read_pieces(own)} == {None}
    run("data", "split", own, "--allow-absent")
    assert len({(piece.batch, piece.split) for piece in read_pieces(own)}) == 2


def test_a_split_is_drawn_anew_only_on_demand(tmp_path: Path) -> None:
    own = small_table(tmp_path, 9)
    run("data", "split", own)
    first = {piece.piece_id: piece.split for piece in read_pieces(own)}
    with pytest.raises(TableError, match="9 pieces have a split already: --again draws all anew"):
        run("data", "split", own, "--seed", 1)
    assert {piece.piece_id: piece.split for piece in read_pieces(own)} == first
    run("data", "split", own, "--again", "--seed", 1)
    second = {piece.piece_id: piece.split for piece in read_pieces(own)}
    assert second != first
    assert None not in second.values()
