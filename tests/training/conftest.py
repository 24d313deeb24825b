"""Tiny made-up pieces: each family has lines at places of its own, and a colour."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from alloysort_datasets.families import FAMILIES
from alloysort_datasets.piece import Instrument, Piece, Split
from alloysort_datasets.readers.picture import encode_jpeg
from alloysort_datasets.table.store import write_pieces
from alloysort_models.bundle.manifest import Bundle

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # these tests are about one CPU, bit for bit

AXIS_NM = np.linspace(230.0, 720.0, 900)
INSTRUMENT = Instrument("toy", AXIS_NM, resolution_nm=1.0, saturation_counts=65535.0)
torch.set_num_threads(1)  # beside other workers, torch's threads would wait for each other

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"


def make_spectra(family: int, silicon: float, rng: np.random.Generator, shots: int = 3) -> np.ndarray:
    """(shots, channels) counts: three lines of the family, one of silicon, a floor and noise."""
    centres = 250.0 + 22.0 * family + np.array([0.0, 7.0, 230.0 - 20.0 * family % 3])
    lines = sum(np.exp(-0.5 * ((AXIS_NM - centre) / 0.8) ** 2) for centre in centres)
    lines = lines + silicon / 5.0 * np.exp(-0.5 * ((AXIS_NM - 288.158) / 0.8) ** 2)
    light = rng.uniform(500.0, 5000.0, (shots, 1)) * lines
    return (200.0 + light + rng.normal(0.0, 5.0, (shots, len(AXIS_NM)))).astype(np.float32)


def make_piece(number: int, split: Split | None, rng: np.random.Generator) -> Piece:
    """A piece; a few lack a sensor, a label or the composition."""
    family = int(rng.integers(len(FAMILIES)))
    silicon = float(rng.uniform(0.0, 10.0))
    colour = np.array([40 + 10 * family, 230 - 10 * family, 60 + 60 * (family % 3)])
    image = np.clip(colour + rng.normal(0.0, 8.0, (24, 40, 3)), 0, 255).astype(np.uint8)
    return Piece(
        piece_id=f"{split}-{number}",
        source="simulator",
        batch=f"{split}-{number // 20}",
        split=split,
        family=None if number % 17 == 0 else FAMILIES[family],
        composition=None if number % 13 == 0 else {"Si": silicon, "Al": 100.0 - silicon},
        image=None if number % 11 == 0 else encode_jpeg(image),
        spectra=None if number % 11 == 5 else make_spectra(family, silicon, rng),
        instrument=None if number % 11 == 5 else INSTRUMENT.name,
    )


def make_pieces(counts: dict[Split | None, int], seed: int = 0) -> Iterator[Piece]:
    """So many pieces of each split."""
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        for number in range(count):
            yield make_piece(number, split, rng)


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with all three splits."""
    folder = tmp_path_factory.mktemp("table")
    write_pieces(folder, make_pieces({"train": 900, "calibration": 260, "test": 260}), [INSTRUMENT])
    return folder


@pytest.fixture
def write_table(tmp_path: Path) -> Callable[..., Path]:
    """A function from pieces to a table of them."""

    def write(pieces: list[Piece], name: str = "table") -> Path:
        write_pieces(tmp_path / name, pieces, [INSTRUMENT])
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny config."""
    from alloysort_training.train import train

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(CONFIGS / "tiny.toml", [table], folder)
    return folder


@pytest.fixture(scope="session")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """That run's bundle."""
    from alloysort_training.export import export

    return export(run, tmp_path_factory.mktemp("bundles") / "toy-1")
