"""Piece tables to batches: prepare every piece once, keep the result as memory maps, read at random.

    tables ─► survey (splits, batches) ─► prepare ─► RUN/cache/<key>/<split>/*.npy ─► Batches ─► network

The tables are streamed and the maps are paged, so neither has to fit into memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
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
from alloysort_datasets.piece import SPLITS, Instrument, Piece, Split, sensed
from alloysort_datasets.readers.picture import decode_image
from alloysort_datasets.table.sides import Sides
from alloysort_datasets.table.store import read_instruments, read_pieces, simulator_of, table_sha256
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.inputs import (
    LINE_SIGMAS,
    VIEWS,
    hit_shots,
    is_dark,
    late,
    line_over_noise,
    prepare_image,
    prepare_spectrum,
)
from alloysort_models.bundle.manifest import FRONT_END_VERSION
from alloysort_training.config import Config

CACHE_VERSION: Final = 2  # raise it when what is kept changes
PEAK: Final = 16384.0  # counts of the brightest channel as kept: float16 then resolves 1e-8 of it
HIDDEN: Final = 0.05  # of the late plumes: a piece that shows less of itself is hidden under something
NON_METAL: Final = FAMILIES.index("non-metal")
# What lies on a piece, by the simulator; of several the outermost opaque one
LAYERS: Final = ("unknown", "bare", "thin films", "paint", "anodising", "zinc coat")
OPAQUE: Final = {"paint_um": "paint", "anodising_um": "anodising", "zinc_um": "zinc coat"}
THIN: Final = ("moisture_um", "dirt_um", "oil_um")
FRESH_OXIDE_UM: Final = 0.01  # what every aluminium has
_DONE: Final = "done.json"


class Batch(NamedTuple):
    """B pieces: the bundle's four inputs and what is known of them.

    Attributes:
        image: (B, H, H, 3) uint8.
        spectrum: (B, K, C) float32.
        coverage: (B, C) float32.
        present: (B, 2) float32.
        family: (B,) int64, -1 where unknown.
        composition: (B, E) wt%, NaN where unknown.
        shown: (B,) the piece's own share of what the late hits ablated, NaN where unknown.
        stranger: (B,) 1 for matter that no family describes, else 0; NaN where unknown.
        layer: (B,) int64 in LAYERS.
    """

    image: Tensor
    spectrum: Tensor
    coverage: Tensor
    present: Tensor
    family: Tensor
    composition: Tensor
    shown: Tensor
    stranger: Tensor
    layer: Tensor


@dataclass(frozen=True, eq=False)
class Prepared:
    """One split of N pieces, prepared; every array is a memory map.

    Attributes:
        images: (N, H, H, 3) uint8.
        spectra: (N, V, K, C) float16: the views of all shots first, then of random subsets; see `to_half`.
        coverage: (N, C / 8) uint8, a bit a channel.
        present: (N, 2) float32, image there, spectrum there.
        family: (N,) int64, -1 where unknown.
        composition: (N, E) float32 wt%, NaN where unknown.
        batch: (N,) int64, the piece's batch as a number.
        shown: (N, V) float32, the piece's own share of what the late hits ablated, NaN where unknown.
        stranger: (N,) float32, 1 for matter that no family describes, NaN where unknown.
        layer: (N,) int8 in LAYERS.
        line_over_noise: (N,) float32 of the strongest line, 0 without a spectrum.
    """

    images: NDArray[np.uint8]
    spectra: NDArray[np.float16]
    coverage: NDArray[np.uint8]
    present: NDArray[np.float32]
    family: NDArray[np.int64]
    composition: NDArray[np.float32]
    batch: NDArray[np.int64]
    shown: NDArray[np.float32]
    stranger: NDArray[np.float32]
    layer: NDArray[np.int8]
    line_over_noise: NDArray[np.float32]

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
            coverage=torch.from_numpy(
                np.unpackbits(self.coverage[pieces], axis=1).astype(np.float32) * present[:, 1:]
            ),
            present=torch.from_numpy(present),
            family=torch.from_numpy(self.family[pieces]),
            composition=torch.from_numpy(self.composition[pieces]),
            shown=torch.from_numpy(self.shown[pieces, variants]),
            stranger=torch.from_numpy(self.stranger[pieces]),
            layer=torch.from_numpy(self.layer[pieces].astype(np.int64)),
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
        sha256: of all tables together.
        simulator: newest version that made any of them, None where all are real.
    """

    pieces: dict[Split, int]
    batches: dict[tuple[str, str], int]
    families: dict[str, int]
    sha256: str
    simulator: int | None

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
    simulator = max((simulator_of(folder) or 0 for folder in folders), default=0) or None
    return Survey(pieces, numbers, families, combined_sha256(folders), simulator)


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
        _fill(folders, split, found, config, _blank(folder, count, config))
        (folder / _DONE).write_text(json.dumps({"pieces": count}) + "\n", encoding="utf-8")
    return Prepared.open(folder)


def to_half(spectrum: NDArray[np.float32], coverage: NDArray[np.float32]) -> NDArray[np.float16]:
    """(K, C) counts as kept: float16, in every view the lowest seen channel at 0, the highest at PEAK.

    The network is blind to both (see `network.sorter.condition`), so nothing it uses is lost.
    """
    seen = coverage > 0
    lowest = spectrum[:, seen].min(axis=1, keepdims=True)
    span = spectrum[:, seen].max(axis=1, keepdims=True) - lowest
    scale = np.divide(PEAK, span, out=np.zeros_like(span), where=span > 0)
    return np.where(seen, (spectrum - lowest) * scale, 0.0).astype(np.float16)


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
        "front_end": FRONT_END_VERSION,
        "data": found.sha256,
        "grid": asdict(config.grid),
        "image_size": config.network.image_size,
        "variants": config.preparation.variants,
        "seed": config.seed,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _blank(folder: Path, count: int, config: Config) -> Prepared:
    size, channels, variants = config.network.image_size, config.grid.channels, config.preparation.variants
    shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        "images": ((count, size, size, 3), np.uint8),
        "spectra": ((count, variants, VIEWS, channels), np.float16),
        "coverage": ((count, channels // 8), np.uint8),
        "present": ((count, 2), np.float32),
        "family": ((count,), np.int64),
        "composition": ((count, len(ELEMENTS)), np.float32),
        "batch": ((count,), np.int64),
        "shown": ((count, variants), np.float32),
        "stranger": ((count,), np.float32),
        "layer": ((count,), np.int8),
        "line_over_noise": ((count,), np.float32),
    }
    return Prepared(
        **{
            name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=kind, shape=shape)
            for name, (shape, kind) in shapes.items()
        }
    )


def _fill(folders: Sequence[Path], split: Split, found: Survey, config: Config, into: Prepared) -> None:
    rng = np.random.default_rng((config.seed, SPLITS.index(split)))
    row = 0
    for folder in folders:
        instruments = read_instruments(folder)
        for piece in read_pieces(folder, split=split):
            _fill_labels(piece, found, row, into)
            _fill_image(piece, config.network.image_size, row, into)
            try:
                _fill_spectrum(piece, instruments, config.grid, rng, row, into)
            except SpectrumError as error:
                raise SpectrumError(f"piece {piece.piece_id!r}: {error}") from None
            row += 1
    for field in fields(into):
        getattr(into, field.name).flush()


def _fill_labels(piece: Piece, found: Survey, row: int, into: Prepared) -> None:
    composition = piece.composition or {}
    into.family[row] = -1 if piece.family is None else FAMILIES.index(piece.family)
    into.composition[row] = [composition.get(element, np.nan) for element in ELEMENTS]
    into.batch[row] = found.batches[piece.source, piece.batch]
    into.stranger[row] = piece.conditions.get("stranger", np.nan if piece.family is None else 0.0)
    into.layer[row] = LAYERS.index(layer_of(piece.conditions))


def _fill_image(piece: Piece, size: int, row: int, into: Prepared) -> None:
    """A black picture shows nothing: it is not there, as on the line."""
    if piece.image is None:
        return
    image = prepare_image(decode_image(piece.image, f"piece {piece.piece_id}"), size)
    if not is_dark(image):
        into.images[row], into.present[row, 0] = image, 1.0


def _fill_spectrum(
    piece: Piece, instruments: Mapping[str, Instrument], grid: Grid, rng: np.random.Generator, row: int,
    into: Prepared,
) -> None:  # fmt: skip
    """Views of all shots, then of random subsets of them; a spectrum without a line is not there."""
    into.shown[row] = np.nan
    spectrum = sensed(piece, instruments)
    if spectrum is None:
        return
    shots = len(spectrum.shots)
    own = own_shares(piece.conditions, shots)
    for variant in range(into.variants):
        chosen = np.arange(shots) if variant == 0 else _some(shots, rng)
        some = replace(spectrum, shots=spectrum.shots[chosen])
        hit = hit_shots(some.shots)
        views, coverage = prepare_spectrum(some, hit, grid)
        into.spectra[row, variant] = to_half(views, coverage)
        into.shown[row, variant] = shown_late(own[chosen], hit)
        if variant == 0:
            strongest = line_over_noise(some.shots[hit].mean(axis=0, dtype=np.float64))
            into.line_over_noise[row] = strongest
            into.present[row, 1] = strongest > LINE_SIGMAS
            into.coverage[row] = np.packbits(coverage > 0)


def own_shares(conditions: Mapping[str, float], shots: int) -> NDArray[np.float64]:
    """(shots,) a piece's own share of what each ablated, NaN where nobody knows."""
    return np.array([conditions.get(f"metal_share_{shot}", np.nan) for shot in range(1, shots + 1)])


def shown_late(own: NDArray[np.float64], hit: NDArray[np.bool_]) -> float:
    """The mean of (shots,) own shares over the late ones of those that hit."""
    return float(own[hit][late(int(hit.sum())) :].mean())


def layer_of(conditions: Mapping[str, float]) -> str:
    """One of LAYERS, by what the simulator laid on a piece."""
    if "oxide_um" not in conditions:
        return "unknown"
    for name, layer in OPAQUE.items():
        if conditions[name] > 0:
            return layer
    thin = any(conditions[name] > 0 for name in THIN) or conditions["oxide_um"] > FRESH_OXIDE_UM
    return "thin films" if thin else "bare"


def _some(shots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One to all of them, in the order fired."""
    return np.sort(rng.choice(shots, size=int(rng.integers(1, shots + 1)), replace=False))


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)
