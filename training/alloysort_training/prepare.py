"""Piece tables to batches: prepare every piece once, keep the result as memory maps, read at random.

    tables ─► survey (splits, batches) ─► prepare ─► RUN/cache/<key>/<split>/*.npy ─► Batches ─► network

The tables are streamed and the maps are paged, so neither has to fit into memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from alloysort_datasets.errors import SpectrumError, TrainingError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.piece import SPLITS, Piece, Split, sensed
from alloysort_datasets.readers.picture import decode_image
from alloysort_datasets.spectrum import Spectrum
from alloysort_datasets.table.sides import Sides
from alloysort_datasets.table.store import read_instruments, read_pieces, table_sha256
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.inputs import hit_shots, prepare_image, prepare_spectrum
from alloysort_training.config import Config

CACHE_VERSION: Final = 1  # raise it when what is kept changes
PEAK: Final = 16384.0  # counts of the brightest channel as kept: float16 then resolves 1e-8 of it
_DONE: Final = "done.json"


class Batch(NamedTuple):
    """B pieces: the bundle's four inputs and what is known of them.

    Attributes:
        image: (B, H, H, 3) uint8.
        spectrum, coverage: (B, C) float32.
        present: (B, 2) float32.
        family: (B,) int64, -1 where unknown.
        composition: (B, E) wt%, NaN where unknown.
    """

    image: Tensor
    spectrum: Tensor
    coverage: Tensor
    present: Tensor
    family: Tensor
    composition: Tensor


@dataclass(frozen=True, eq=False)
class Prepared:
    """One split of N pieces, prepared; every array is a memory map.

    Attributes:
        images: (N, H, H, 3) uint8.
        spectra: (N, K, C) float16: the mean of all shots first, then of random subsets; see `to_half`.
        axis: (N,) row of `coverage`, that of the piece's instrument.
        coverage: (instruments, C) uint8.
        present: (N, 2) float32, image there, spectrum there.
        family: (N,) int64, -1 where unknown.
        composition: (N, E) float32 wt%, NaN where unknown.
        batch: (N,) int64, the piece's batch as a number.
    """

    images: NDArray[np.uint8]
    spectra: NDArray[np.float16]
    axis: NDArray[np.int64]
    coverage: NDArray[np.uint8]
    present: NDArray[np.float32]
    family: NDArray[np.int64]
    composition: NDArray[np.float32]
    batch: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.family)

    @property
    def variants(self) -> int:
        """Spectra kept of each piece."""
        return int(self.spectra.shape[1])

    def take(self, pieces: NDArray[np.int64], variants: NDArray[np.int64]) -> Batch:
        """These pieces with these variants of their spectra, both (B,)."""
        present = self.present[pieces]
        return Batch(
            image=torch.from_numpy(self.images[pieces]),
            spectrum=torch.from_numpy(self.spectra[pieces, variants].astype(np.float32)),
            coverage=torch.from_numpy(self.coverage[self.axis[pieces]] * present[:, 1:]),
            present=torch.from_numpy(present),
            family=torch.from_numpy(self.family[pieces]),
            composition=torch.from_numpy(self.composition[pieces]),
        )

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """The maps that `prepare` left in a folder."""
        return cls(
            **{field.name: np.load(folder / f"{field.name}.npy", mmap_mode="r") for field in fields(cls)}
        )


@dataclass(frozen=True)
class Survey:
    """What the tables hold.

    Attributes:
        pieces: number of pieces of each split.
        batches: the number given to each (source, batch).
        families: number of training pieces of each family.
        instruments: number of different spectrometers.
        sha256: of all tables together.
    """

    pieces: dict[Split, int]
    batches: dict[tuple[str, str], int]
    families: dict[str, int]
    instruments: int
    sha256: str

    @property
    def sources(self) -> list[str]:
        """Where the pieces come from, each named once."""
        return sorted({source for source, _ in self.batches})


def survey(folders: Sequence[Path]) -> Survey:
    """Count the pieces and make sure that the splits keep apart.

    Raises:
        TrainingError: no table is named, a batch stands on two splits, or a piece stands twice.
        TableError: a table is malformed.
    """
    if not folders:
        raise TrainingError("no piece table to train on: name one with --data")
    pieces: dict[Split, int] = dict.fromkeys(SPLITS, 0)
    families: dict[str, int] = {}
    numbers: dict[tuple[str, str], int] = {}
    sides = Sides()
    for folder in folders:
        for piece in read_pieces(folder, columns=["family"]):
            clashes = sides.add(piece.piece_id, piece.source, piece.batch, piece.split, where=str(folder))
            if clashes:
                raise TrainingError(f"{folder}: piece {piece.piece_id!r}: {clashes[0][1]}")
            numbers.setdefault((piece.source, piece.batch), len(numbers))
            if piece.split is not None:
                pieces[piece.split] += 1
            if piece.split == "train" and piece.family is not None:
                families[piece.family] = families.get(piece.family, 0) + 1
    instruments = sum(len(read_instruments(folder)) for folder in folders)
    return Survey(pieces, numbers, families, instruments, combined_sha256(folders))


def require_splits(found: Survey, folders: Sequence[Path], *splits: Split) -> None:
    """Refuse tables that hold no piece of one of these splits.

    Raises:
        TrainingError: they do not.
    """
    for split in splits:
        if not found.pieces[split]:
            raise TrainingError(
                f"{_listed(folders)}: no piece has the split {split!r}: `alloysort data split` assigns them"
            )


def combined_sha256(folders: Sequence[Path]) -> str:
    """The table's own hash, or of several tables the hash of their hashes in order."""
    hashes = [table_sha256(folder) for folder in folders]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def prepare(folders: Sequence[Path], split: Split, found: Survey, config: Config, cache: Path) -> Prepared:
    """The pieces of a split as the network takes them, made once and then reused.

    Raises:
        TrainingError: no piece has this split.
        DataError: a piece's spectrum or picture cannot be used; the message names the piece.
    """
    require_splits(found, folders, split)
    count = found.pieces[split]
    folder = cache / _key(found, config) / split
    if not (folder / _DONE).is_file():
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed while preparing
        folder.mkdir(parents=True)
        _fill(folders, split, found, config, _blank(folder, count, found.instruments, config))
        (folder / _DONE).write_text(json.dumps({"pieces": count}) + "\n", encoding="utf-8")
    return Prepared.open(folder)


def to_half(spectrum: NDArray[np.float32], coverage: NDArray[np.float32]) -> NDArray[np.float16]:
    """Counts as kept: float16, the lowest seen channel at 0, the highest at PEAK.

    The network is blind to both (see `network.sorter.condition`), so nothing it uses is lost.
    """
    seen = coverage > 0
    lowest = float(spectrum[seen].min())
    span = float(spectrum[seen].max()) - lowest
    return np.where(seen, (spectrum - lowest) * (PEAK / span if span > 0 else 0.0), 0.0).astype(np.float16)


class Batches(Dataset[Batch]):
    """Whole batches of a prepared split; an index is piece x variants + variant."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared

    def __len__(self) -> int:
        return len(self.prepared) * self.prepared.variants

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of these indices, read in one go."""
        pieces, variants = np.divmod(np.asarray(indices, dtype=np.int64), self.prepared.variants)
        return self.prepared.take(pieces, variants)


class Shuffled(Sampler[list[int]]):
    """Each piece once an epoch, with one of its variants; the order hangs on seed and epoch alone.

    Each of `replicas` processes gets its own share of every batch's worth of pieces; the odd rest is dropped.
    """

    def __init__(
        self, prepared: Prepared, batch_size: int, seed: int, rank: int = 0, replicas: int = 1
    ) -> None:
        self.pieces, self.variants = len(prepared), prepared.variants
        self.batch_size = min(batch_size, self.pieces // replicas)
        self.seed, self.rank, self.replicas = seed, rank, replicas
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.pieces // (self.batch_size * self.replicas)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(self.pieces) * self.variants + rng.integers(self.variants, size=self.pieces)
        mine = order[self.rank :: self.replicas]
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield mine[start : start + self.batch_size].tolist()


class InOrder(Sampler[list[int]]):
    """Each piece with all its shots, in the order of the table, shared among the processes."""

    def __init__(self, prepared: Prepared, batch_size: int, rank: int = 0, replicas: int = 1) -> None:
        self.indices = range(0, len(prepared) * prepared.variants, prepared.variants)[rank::replicas]
        self.batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.indices) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.indices), self.batch_size):
            yield list(self.indices[start : start + self.batch_size])


def loader(prepared: Prepared, sampler: Sampler[list[int]]) -> DataLoader[Batch]:
    """Batches as the sampler names them, read in this process: on memory maps that is a copy, not work."""
    return DataLoader(Batches(prepared), batch_sampler=sampler, collate_fn=_as_is)


def _as_is(batch: Any) -> Any:
    return batch


def _key(found: Survey, config: Config) -> str:
    told = {
        "version": CACHE_VERSION,
        "data": found.sha256,
        "grid": asdict(config.grid),
        "image_size": config.network.image_size,
        "variants": config.preparation.variants,
        "seed": config.seed,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _blank(folder: Path, count: int, instruments: int, config: Config) -> Prepared:
    size, channels = config.network.image_size, config.grid.channels
    shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        "images": ((count, size, size, 3), np.uint8),
        "spectra": ((count, config.preparation.variants, channels), np.float16),
        "axis": ((count,), np.int64),
        "coverage": ((max(instruments, 1), channels), np.uint8),
        "present": ((count, 2), np.float32),
        "family": ((count,), np.int64),
        "composition": ((count, len(ELEMENTS)), np.float32),
        "batch": ((count,), np.int64),
    }
    return Prepared(
        **{
            name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=kind, shape=shape)
            for name, (shape, kind) in shapes.items()
        }
    )


def _fill(folders: Sequence[Path], split: Split, found: Survey, config: Config, into: Prepared) -> None:
    rng = np.random.default_rng((config.seed, SPLITS.index(split)))
    row, first_axis = 0, 0
    for folder in folders:
        instruments = read_instruments(folder)
        axes = {name: first_axis + number for number, name in enumerate(instruments)}
        for piece in read_pieces(folder, split=split):
            _fill_labels(piece, found, row, into)
            if piece.image is not None:
                rgb = decode_image(piece.image, f"piece {piece.piece_id}")
                into.images[row] = prepare_image(rgb, config.network.image_size)
            spectrum = sensed(piece, instruments)
            if spectrum is not None and piece.instrument is not None:
                axis = axes[piece.instrument]
                into.axis[row] = axis
                try:
                    variants = _variants(spectrum, config.grid, into.variants, rng)
                except SpectrumError as error:
                    raise SpectrumError(f"piece {piece.piece_id!r}: {error}") from None
                into.spectra[row], into.coverage[axis] = variants
            row += 1
        first_axis += len(instruments)
    for field in fields(into):
        getattr(into, field.name).flush()


def _fill_labels(piece: Piece, found: Survey, row: int, into: Prepared) -> None:
    composition = piece.composition or {}
    into.present[row] = (piece.image is not None, piece.spectra is not None)
    into.family[row] = -1 if piece.family is None else FAMILIES.index(piece.family)
    into.composition[row] = [composition.get(element, np.nan) for element in ELEMENTS]
    into.batch[row] = found.batches[piece.source, piece.batch]


def _variants(
    spectrum: Spectrum, grid: Grid, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """(count, C) spectra: of all shots, then of random subsets of them; and the (C,) coverage."""
    kept = np.empty((count, grid.channels), dtype=np.float16)
    for variant in range(count):
        shots = len(spectrum.shots)
        chosen = spectrum if variant == 0 else replace(spectrum, shots=spectrum.shots[_some(shots, rng)])
        counts, coverage = prepare_spectrum(chosen, hit_shots(chosen.shots), grid)
        kept[variant] = to_half(counts, coverage)
    return kept, coverage


def _some(shots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.choice(shots, size=int(rng.integers(1, shots + 1)), replace=False)


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)
