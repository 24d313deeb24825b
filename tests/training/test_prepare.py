from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from alloysort_datasets.errors import DataError, TrainingError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.piece import Instrument, Piece, Split
from alloysort_datasets.simulate import SIMULATOR_VERSION, Simulation, simulate
from alloysort_datasets.spectrum import Spectrum
from alloysort_datasets.table.layers import LAYERS, layer_of
from alloysort_datasets.table.store import read_instruments, read_pieces, write_pieces
from alloysort_models.bundle.inputs import Look, hit_shots, prepare_spectrum
from alloysort_models.network.sorter import condition
from alloysort_training.config import load_config
from alloysort_training.prepare import (
    prepare,
    require_splits,
    survey,
    to_half,
)
from alloysort_training.prepared import InOrder, Prepared, Resident, Shuffled, loader

pytestmark = pytest.mark.xdist_group("training")
CONFIG = load_config(Path(__file__).resolve().parents[2] / "training" / "configs" / "tiny.toml")


@pytest.fixture(scope="module")
def calibration(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare([table], "calibration", survey([table]), CONFIG, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def some_pieces(table: Path) -> list[Piece]:
    return [
        *islice(read_pieces(table, split="train"), 30),
        *islice(read_pieces(table, split="calibration"), 10),
    ]


def islice(pieces: Iterator[Piece], count: int) -> list[Piece]:
    return [piece for piece, _ in zip(pieces, range(count), strict=False)]


def test_the_survey_counts_the_splits(table: Path) -> None:
    found = survey([table])
    assert found.pieces == {"train": 900, "calibration": 260, "test": 260}
    assert found.sources == ["simulator"]
    assert sum(found.families.values()) == sum(number % 17 != 0 for number in range(900))


def test_a_batch_on_two_splits_is_refused(some_pieces: list[Piece], write_table: Callable[..., Path]) -> None:
    astray = replace(some_pieces[3], split="test")
    with pytest.raises(
        TrainingError, match=r"batch 'train-0' of source 'simulator' is on the splits train and test"
    ):
        survey([write_table([*some_pieces, replace(astray, piece_id="again")])])


def test_pieces_without_a_split_are_on_no_side(
    some_pieces: list[Piece], write_table: Callable[..., Path]
) -> None:
    loose = replace(some_pieces[3], piece_id="loose", split=None)
    found = survey([write_table([loose, *some_pieces])])
    assert found.pieces == {"train": 30, "calibration": 10, "test": 0}
    assert found.batches[loose.source, loose.batch] == 0


def test_a_piece_in_two_tables_is_refused(some_pieces: list[Piece], write_table: Callable[..., Path]) -> None:
    tables = [write_table(some_pieces, "one"), write_table(some_pieces[:1], "two")]
    with pytest.raises(TrainingError, match=r"two: piece 'train-0': a second piece .* stands in \S+one$"):
        survey(tables)


@pytest.mark.parametrize(
    ("split", "missing"), [("train", "calibration"), ("calibration", "train"), (None, "train")]
)
def test_a_missing_split_is_named(
    some_pieces: list[Piece], write_table: Callable[..., Path], split: Split | None, missing: str
) -> None:
    folder = write_table([replace(piece, split=split) for piece in some_pieces])
    with pytest.raises(TrainingError, match=f"table: no piece has the split '{missing}'"):
        require_splits(survey([folder]), [folder], "train", "calibration")


def test_no_table_at_all_is_refused() -> None:
    with pytest.raises(TrainingError, match="--data"):
        survey([])


def test_prepared_pieces_are_what_the_line_would_prepare(table: Path, calibration: Prepared) -> None:
    for row, piece in enumerate(read_pieces(table, split="calibration")):
        assert calibration.present[row].tolist() == [piece.image is not None, piece.spectra is not None]
        assert calibration.family[row] == (-1 if piece.family is None else FAMILIES.index(piece.family))
        assert np.isnan(calibration.composition[row]).all() == (piece.composition is None)
        if piece.spectra is None:
            continue
        sensed = Spectrum(np.linspace(230.0, 720.0, 900), piece.spectra)
        views, coverage = prepare_spectrum(sensed.wavelength_nm, Look.at(sensed.shots), CONFIG.grid)
        batch = calibration.take(np.array([row]), np.array([0]))
        np.testing.assert_array_equal(batch.coverage[0], coverage)
        for view, counts in enumerate(torch.from_numpy(views)):
            expected = condition(counts[None], torch.from_numpy(coverage)[None])
            found = condition(batch.spectrum[:, view], batch.coverage)
            torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def test_variants_differ_but_the_first_is_all_shots(calibration: Prepared) -> None:
    with_spectrum = calibration.present[:, 1] > 0
    first, second = calibration.spectra[with_spectrum, 0], calibration.spectra[with_spectrum, 1]
    assert 0.3 < (first != second).any(axis=(1, 2)).mean() < 1.0


def test_the_cache_is_reused_and_made_anew_after_a_kill(table: Path, tmp_path: Path) -> None:
    found = survey([table])
    made = prepare([table], "test", found, CONFIG, tmp_path)
    done = next(tmp_path.glob("*/test/done.json"))
    stamp = done.stat().st_mtime_ns
    again = prepare([table], "test", found, CONFIG, tmp_path)
    assert done.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(made.spectra, again.spectra)
    done.unlink()
    anew = prepare([table], "test", found, CONFIG, tmp_path)
    assert done.is_file()
    np.testing.assert_array_equal(anew.spectra, again.spectra)


def test_files_prepared_by_several_processes_are_the_same(
    table: Path, some_pieces: list[Piece], tmp_path: Path
) -> None:
    write_pieces(tmp_path / "many", some_pieces, read_instruments(table).values(), rows_per_file=1)
    write_pieces(tmp_path / "one", some_pieces, read_instruments(table).values())
    made = [
        prepare([tmp_path / name], "train", survey([tmp_path / name]), CONFIG, tmp_path / "cache")
        for name in ("many", "one")
    ]
    for name in ("images", "spectra", "present", "family", "shown", "line_over_noise"):
        np.testing.assert_array_equal(*(getattr(prepared, name) for prepared in made))


def test_an_accelerator_gives_the_batches_that_the_maps_give(calibration: Prepared) -> None:
    there = Resident(calibration, torch.device("cpu"))
    pieces, variants = np.array([5, 3, 200, 16]), np.array([0, 1, 1, 0])
    for found, expected in zip(there.take(pieces, variants), calibration.take(pieces, variants), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert len(there) == len(calibration)


def test_another_grid_gets_another_cache(table: Path, tmp_path: Path) -> None:
    found = survey([table])
    finer = CONFIG.model_copy(update={"grid": replace(CONFIG.grid, channels=1024)})
    assert prepare([table], "test", found, CONFIG, tmp_path).spectra.shape[3] == 512
    assert prepare([table], "test", found, finer, tmp_path).spectra.shape[3] == 1024


@pytest.mark.parametrize(
    ("axis", "bad", "complaint"),
    [
        (np.linspace(800.0, 900.0, 50), 1.0, "none of the model's 240-700 nm"),
        (np.linspace(200.0, 900.0, 50), np.nan, "must be a finite number"),
    ],
)
def test_a_spectrum_that_cannot_be_used_is_refused_by_piece(
    tmp_path: Path, axis: np.ndarray, bad: float, complaint: str
) -> None:
    spectra = np.full((2, 50), bad, dtype=np.float32)
    splits: list[Split] = ["train", "calibration"]
    pieces = [Piece(f"p-{s}", "lab", s, s, "steel", spectra=spectra, instrument="far") for s in splits]
    write_pieces(tmp_path / "table", pieces, [Instrument("far", axis, 1.0)])
    found = survey([tmp_path / "table"])
    with pytest.raises(DataError, match=f"'p-train': .*{complaint}"):
        prepare([tmp_path / "table"], "train", found, CONFIG, tmp_path / "cache")


def test_a_blank_spectrum_is_kept_as_zeros() -> None:
    assert not to_half(np.full((2, 8), 77.0, dtype=np.float32), np.ones(8, dtype=np.float32)).any()


def test_every_piece_comes_once_an_epoch_and_epochs_differ(calibration: Prepared) -> None:
    sampler = Shuffled(calibration, 20, seed=3)
    epochs = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        epochs.append(np.concatenate(list(sampler)))
    assert sorted(epochs[0] // calibration.variants) == list(range(260))
    assert (epochs[0] == epochs[2]).all()
    assert (epochs[0] != epochs[1]).any()
    assert len(set(epochs[0] % calibration.variants)) == calibration.variants


def test_processes_share_the_pieces(calibration: Prepared) -> None:
    for build in (lambda r: Shuffled(calibration, 20, 0, r, 2), lambda r: InOrder(calibration, 20, r, 2)):
        shares = [np.concatenate(list(build(rank))) // calibration.variants for rank in (0, 1)]
        assert not set(shares[0]) & set(shares[1])
        assert len(list(build(0))) == len(build(0)) == len(build(1))


def test_the_loader_gives_whole_batches(calibration: Prepared) -> None:
    batches = list(loader(calibration, InOrder(calibration, 100)))
    assert [len(batch.family) for batch in batches] == [100, 100, 60]
    assert batches[0].image.dtype == torch.uint8
    assert batches[0].spectrum.dtype == torch.float32


def test_what_the_simulator_knows_is_kept(tmp_path: Path) -> None:
    table = tmp_path / "simulated"
    list(simulate(table, Simulation(80, seed=4, images="none", preset="compact", strangers=0.3)))
    found = survey([table])
    assert found.simulator == SIMULATOR_VERSION
    prepared = prepare([table], "train", found, CONFIG, tmp_path / "cache")
    for row, piece in enumerate(read_pieces(table, split="train")):
        assert prepared.stranger[row] == piece.conditions["stranger"]
        assert LAYERS[prepared.layer[row]] == layer_of(piece.conditions)
        if piece.spectra is None:
            assert np.isnan(prepared.shown[row]).all()
            continue
        own = [piece.conditions[f"metal_share_{shot}"] for shot in range(1, 9)]
        hit = np.flatnonzero(hit_shots(piece.spectra))
        late_hits = hit[len(hit) // 2 :]
        assert prepared.shown[row, 0] == pytest.approx(np.mean([own[shot] for shot in late_hits]), abs=1e-5)
    assert {LAYERS[number] for number in prepared.layer} >= {"bare", "thin films"}


def test_a_layer_is_the_outermost_opaque_one() -> None:
    none = dict.fromkeys(("moisture_um", "dirt_um", "oil_um", "paint_um", "anodising_um", "zinc_um"), 0.0)
    assert layer_of({}) == "unknown"
    assert layer_of({**none, "oxide_um": 0.004}) == "bare"
    assert layer_of({**none, "oxide_um": 0.5}) == "thin films"
    assert layer_of({**none, "oxide_um": 0.004, "oil_um": 1.0, "paint_um": 30.0}) == "paint"
    assert layer_of({**none, "oxide_um": 0.004, "anodising_um": 10.0}) == "anodising"
    assert layer_of({**none, "oxide_um": 0.0, "paint_um": 30.0, "zinc_um": 10.0}) == "paint"
    assert layer_of({**none, "oxide_um": 0.0, "zinc_um": 10.0}) == "zinc coat"
