from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from alloysort_datasets.errors import BundleError, TrainingError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.piece import Instrument, Piece
from alloysort_datasets.table.store import read_pieces, write_pieces
from alloysort_models.bundle.manifest import CALIBRATION, CARD, Bundle, load_bundle, write_bundle
from alloysort_training.adapt import adapt, references
from alloysort_training.calibrate import rows_with
from alloysort_training.change import Change
from alloysort_training.config import Config, Network, Preparation
from alloysort_training.evaluate import Predictions, open_session, predict
from alloysort_training.prepare import prepare_pieces
from alloysort_training.refit import doubting_loss, refit_temperature

pytestmark = pytest.mark.xdist_group("training")

Pieces = list[Piece]
SHIFT_NM = 5.0
NOISE = 60.0


def of_the_plant(axis: np.ndarray, piece: Piece) -> Piece:
    """As an instrument sees it that reads too much, hardly sees the ultraviolet, and is noisy; no camera."""
    spectra = piece.spectra
    if spectra is None:
        return replace(piece, split=None, image=None)
    seen = np.stack([np.interp(axis - SHIFT_NM, axis, shot) for shot in spectra])
    weak = (seen - 200.0) * np.interp(axis, [230.0, 400.0, 720.0], [0.05, 0.6, 1.0]) + 200.0
    weak = weak + np.random.default_rng(zlib.crc32(piece.piece_id.encode())).normal(0.0, NOISE, weak.shape)
    return replace(piece, split=None, image=None, spectra=weak.astype(np.float32), instrument="plant")


@pytest.fixture(scope="module")
def plant(table: Path) -> tuple[Instrument, Pieces]:
    from alloysort_datasets.table.store import read_instruments

    (toy,) = read_instruments(table).values()
    pieces = [piece for piece in read_pieces(table) if piece.split == "test" and piece.family]
    return replace(toy, name="plant"), [of_the_plant(toy.wavelength_nm, piece) for piece in pieces]


@pytest.fixture(scope="module")
def adapted(
    bundle: Bundle, plant: tuple[Instrument, Pieces], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, Change]:
    folder = tmp_path_factory.mktemp("plant")
    instrument, pieces = plant
    write_pieces(folder / "table", pieces[:80], [instrument])
    told: list[Change] = []
    written = adapt(bundle.path, [folder / "table"], folder / "plant-1", told=told.append)
    return written, told[0]


def judged(bundle: Bundle, plant: tuple[Instrument, Pieces], pattern: str = "spectrum") -> Predictions:
    instrument, pieces = plant
    network = Network(image_size=bundle.manifest.image_size)
    config = Config(grid=bundle.grid, network=network, preparation=Preparation(variants=1))
    prepared = prepare_pieces(pieces[80:], {instrument.name: instrument}, config)
    return predict(open_session(bundle.model), prepared, rows_with(prepared, pattern), pattern)


def log_score(found: Predictions) -> float:
    return float(np.log(found.probabilities[np.arange(len(found)), found.family]).mean())


def test_other_pieces_of_the_instrument_are_judged_better(
    bundle: Bundle, adapted: tuple[Bundle, Change], plant: tuple[Instrument, Pieces]
) -> None:
    before, after = judged(bundle, plant), judged(adapted[0], plant)
    assert after.right.mean() > before.right.mean()
    assert log_score(after) > log_score(before)


def test_what_it_came_to_is_told_and_kept(bundle: Bundle, adapted: tuple[Bundle, Change]) -> None:
    written, change = adapted
    assert change.sure > 0.9
    assert (change.gain["value"] or 0.0) > 0.0
    noted = written.manifest.adapted
    assert noted is not None
    assert (noted.bundle, noted.bundle_sha256, noted.instrument) == ("toy-1", bundle.sha256, "plant")
    assert written.manifest.name == "plant-1"
    assert written.manifest.thresholds == bundle.manifest.thresholds
    card = (written.path / CARD).read_text(encoding="utf-8")
    assert card.startswith("# plant-1\n")
    assert "before it was adapted" in card
    assert "## toy-1" in card
    assert change.lines()[0] in card


def test_an_adapted_bundle_can_be_adapted_again_and_answers_pictures_as_before(
    bundle: Bundle, adapted: tuple[Bundle, Change], plant: tuple[Instrument, Pieces], table: Path
) -> None:
    assert CALIBRATION in load_bundle(adapted[0].path).manifest.files
    instrument, _ = plant
    pictured = [piece for piece in read_pieces(table) if piece.split == "test" and piece.family]
    there = replace(instrument, name="toy"), pictured
    before, after = judged(bundle, there, "image"), judged(adapted[0], there, "image")
    assert np.abs(after.probabilities - before.probabilities).mean() < 0.01


def test_a_wrong_label_is_named(bundle: Bundle, plant: tuple[Instrument, Pieces], tmp_path: Path) -> None:
    instrument, pieces = plant
    few = [piece for piece in pieces[:80] if piece.spectra is not None]
    place = FAMILIES.index(few[5].family or "")
    few[5] = replace(few[5], family=FAMILIES[(place + 9) % len(FAMILIES)])
    write_pieces(tmp_path / "table", few, [instrument])
    told: list[Change] = []
    adapt(bundle.path, [tmp_path / "table"], tmp_path / "out", told=told.append)
    assert few[5].piece_id in [doubt.piece_id for doubt in told[0].doubts]
    line = f"look at piece {few[5].piece_id}: labelled {few[5].family}, seen as "
    assert any(said.startswith(line) for said in told[0].lines())


def test_labels_that_mean_nothing_change_nothing(
    bundle: Bundle, plant: tuple[Instrument, Pieces], tmp_path: Path
) -> None:
    instrument, pieces = plant
    rng = np.random.default_rng(2)
    shuffled = [replace(piece, family=FAMILIES[int(rng.integers(len(FAMILIES)))]) for piece in pieces[:30]]
    write_pieces(tmp_path / "table", shuffled, [instrument])
    with pytest.raises(TrainingError, match="labels are not believed"):
        adapt(bundle.path, [tmp_path / "table"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pieces: pieces[:9], "9 pieces of known family have a spectrum"),
        (lambda pieces: [replace(piece, split="test") for piece in pieces], "0 pieces of known family"),
        (lambda pieces: [replace(piece, family="6xxx") for piece in pieces], "all 20 pieces are 6xxx"),
        (
            lambda pieces: [replace(pieces[0], instrument="toy"), *pieces[1:]],
            "of 2 instruments, plant, toy: a bundle is adapted to one",
        ),
    ],
)
def test_what_cannot_be_adapted_to_is_refused_by_name(
    change: Callable[[Pieces], Pieces],
    said: str,
    plant: tuple[Instrument, Pieces],
    tmp_path: Path,
) -> None:
    instrument, pieces = plant
    lit = [piece for piece in pieces if piece.spectra is not None][:20]
    write_pieces(tmp_path / "table", change(lit), [instrument, replace(instrument, name="toy")])
    with pytest.raises(TrainingError, match=said):
        references([tmp_path / "table"])


def test_a_bundle_without_its_calibration_is_refused(
    bundle: Bundle, plant: tuple[Instrument, Pieces], tmp_path: Path
) -> None:
    instrument, pieces = plant
    files = {name: (bundle.path / name).read_bytes() for name in bundle.manifest.files if name != CALIBRATION}
    old = write_bundle(tmp_path / "old", bundle.manifest, files)
    write_pieces(tmp_path / "table", pieces[:30], [instrument])
    with pytest.raises(BundleError, match=r"holds no calibration\.npz: export its run anew"):
        adapt(old.path, [tmp_path / "table"], tmp_path / "out")


def test_a_label_the_network_does_not_believe_pulls_little() -> None:
    logits = torch.tensor([[9.0, 0.0], [9.0, 0.0]], requires_grad=True)
    wide = torch.cat([logits, torch.full((2, len(FAMILIES) - 2), -9.0)], dim=1)
    doubting_loss(wide, torch.tensor([0, 1])).sum().backward()  # type: ignore[no-untyped-call]
    plain = torch.tensor([[9.0, 0.0]], requires_grad=True)
    torch.nn.functional.cross_entropy(plain, torch.tensor([1])).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert plain.grad is not None
    assert abs(logits.grad[1, 1]) < 0.05 * abs(plain.grad[0, 1])


def test_a_temperature_moves_with_many_pieces_and_stays_with_none() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(0, 3, (2000, 5)))
    family = torch.distributions.Categorical(logits=logits / 1.4).sample()
    assert refit_temperature(logits, family, 1.0, 0.2) == pytest.approx(1.4, rel=0.1)
    assert refit_temperature(logits[:0], family[:0], 0.9, 0.2) == pytest.approx(0.9)
