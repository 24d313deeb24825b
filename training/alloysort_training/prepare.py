"""Piece tables to prepared splits: every piece once, the result kept as memory maps.

    tables ─► survey (splits, batches) ─► prepare ─► RUN/cache/<key>/<split>/*.npy ─► Batches ─► network

The tables are streamed and the maps are paged, so neither has to fit into memory.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError, TrainingError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.piece import SPLITS, Instrument, Piece, Split, sensed
from alloysort_datasets.readers.picture import decode_image
from alloysort_datasets.table.layers import LAYERS, layer_of, own_shares
from alloysort_datasets.table.sides import Sides
from alloysort_datasets.table.spread import spread
from alloysort_datasets.table.store import (
    count_rows,
    piece_files,
    read_instruments,
    read_piece_file,
    simulator_of,
    table_sha256,
)
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.inputs import (
    LINE_SIGMAS,
    VIEWS,
    Look,
    is_dark,
    line_over_noise,
    prepare_image,
    prepare_spectrum,
    shown_late,
)
from alloysort_models.bundle.manifest import FRONT_END_VERSION
from alloysort_training.config import Config
from alloysort_training.prepared import Prepared

CACHE_VERSION: Final = 3  # raise it when what is kept changes
PEAK: Final = 16384.0  # counts of the brightest channel as kept: float16 then resolves 1e-8 of it
_DONE: Final = "done.json"


@dataclass(frozen=True)
class Survey:
    """What the tables hold.

    Attributes:
        pieces: number of pieces of each split.
        batches: the number given to each (source, batch).
        families: number of training pieces of each family.
        trained: the (source, batch) of the training split.
        sha256: of all tables together.
        simulator: newest version that made any of them, None where all are real.
    """

    pieces: dict[Split, int]
    batches: dict[tuple[str, str], int]
    families: dict[str, int]
    trained: frozenset[tuple[str, str]]
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
    trained = set()
    sides = Sides()
    for folder in folders:
        for piece in chain.from_iterable(spread(_labels, piece_files(folder))):
            clashes = sides.add(piece.piece_id, piece.source, piece.batch, piece.split, where=str(folder))
            if clashes:
                raise TrainingError(f"{folder}: piece {piece.piece_id!r}: {clashes[0][1]}")
            numbers.setdefault((piece.source, piece.batch), len(numbers))
            if piece.split is not None:
                pieces[piece.split] += 1
            if piece.split == "train":
                trained.add((piece.source, piece.batch))
                if piece.family is not None:
                    families[piece.family] = families.get(piece.family, 0) + 1
    simulator = max((simulator_of(folder) or 0 for folder in folders), default=0) or None
    return Survey(pieces, numbers, families, frozenset(trained), combined_sha256(folders), simulator)


def _labels(path: Path) -> list[Piece]:
    """The pieces of a file without what the sensors saw."""
    return list(read_piece_file(path, columns=["family"]))


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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # torchrun's processes prepare the same
        if not (folder / _DONE).is_file():
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed while preparing
            folder.mkdir()
            _make_blank(folder, count, config)
            _instruments.cache_clear()  # a table may have been written anew
            _fill(folders, split, found, config, folder)
            (folder / _DONE).write_text(json.dumps({"pieces": count}) + "\n", encoding="utf-8")
    return Prepared.open(folder)


def prepare_pieces(
    pieces: Sequence[Piece], instruments: Mapping[str, Instrument], config: Config
) -> Prepared:
    """A few pieces as the network takes them, in memory; batches are numbered as they come.

    Raises:
        DataError: a piece's spectrum or picture cannot be used; the message names the piece.
    """
    shapes = _shapes(len(pieces), config)
    into = Prepared(**{name: np.zeros(shape, kind) for name, (shape, kind) in shapes.items()})
    numbers: dict[tuple[str, str], int] = {}
    for row, piece in enumerate(pieces):
        numbers.setdefault((piece.source, piece.batch), len(numbers))
        _fill_piece(piece, instruments, numbers, config, np.random.default_rng((config.seed, row)), row, into)
    return into


def to_half(spectrum: NDArray[np.float32], coverage: NDArray[np.float32]) -> NDArray[np.float16]:
    """(K, C) counts as kept: float16, in every view the lowest seen channel at 0, the highest at PEAK.

    The network is blind to both (see `network.sorter.condition`), so nothing it uses is lost.
    """
    seen = coverage > 0
    lowest = spectrum[:, seen].min(axis=1, keepdims=True)
    span = spectrum[:, seen].max(axis=1, keepdims=True) - lowest
    scale = np.divide(PEAK, span, out=np.zeros_like(span), where=span > 0)
    return np.where(seen, (spectrum - lowest) * scale, 0.0).astype(np.float16)


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


def _make_blank(folder: Path, count: int, config: Config) -> None:
    """The maps of a split, all zero."""
    for name, (shape, kind) in _shapes(count, config).items():
        np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=kind, shape=shape)


def _shapes(count: int, config: Config) -> dict[str, tuple[tuple[int, ...], type[np.generic]]]:
    """Shape and type of each array of `Prepared`."""
    size, channels, variants = config.network.image_size, config.grid.channels, config.preparation.variants
    return {
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


class _Part(NamedTuple):
    """One file's pieces of a split and the row of the first of them."""

    path: Path
    split: Split
    first: int
    numbers: dict[tuple[str, str], int]
    config: Config
    into: Path


def _fill(folders: Sequence[Path], split: Split, found: Survey, config: Config, into: Path) -> None:
    """Prepare every file's pieces, files at once."""
    parts, row = [], 0
    for folder in folders:
        for path in piece_files(folder):
            parts.append(_Part(path, split, row, found.batches, config, into))
            row += count_rows(path, split)
    for _ in spread(_fill_part, parts):
        pass


def _fill_part(part: _Part) -> None:
    into = Prepared.open(part.into, mode="r+")
    instruments = _instruments(part.path.parent)
    for row, piece in enumerate(read_piece_file(part.path, split=part.split), part.first):
        rng = np.random.default_rng((part.config.seed, SPLITS.index(part.split), row))
        _fill_piece(piece, instruments, part.numbers, part.config, rng, row, into)
    for field in fields(into):
        getattr(into, field.name).flush()


@lru_cache(maxsize=1)
def _instruments(folder: Path) -> dict[str, Instrument]:
    """Read once by each process that prepares the files of a folder."""
    return read_instruments(folder)


def _fill_piece(
    piece: Piece, instruments: Mapping[str, Instrument], numbers: Mapping[tuple[str, str], int],
    config: Config, rng: np.random.Generator, row: int, into: Prepared,
) -> None:  # fmt: skip
    _fill_labels(piece, numbers, row, into)
    _fill_image(piece, config.network.image_size, row, into)
    try:
        _fill_spectrum(piece, instruments, config.grid, rng, row, into)
    except SpectrumError as error:
        raise SpectrumError(f"piece {piece.piece_id!r}: {error}") from None


def _fill_labels(piece: Piece, numbers: Mapping[tuple[str, str], int], row: int, into: Prepared) -> None:
    composition = piece.composition or {}
    into.family[row] = -1 if piece.family is None else FAMILIES.index(piece.family)
    into.composition[row] = [composition.get(element, np.nan) for element in ELEMENTS]
    into.batch[row] = numbers[piece.source, piece.batch]
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
        look = Look.at(spectrum.shots[chosen])
        views, coverage = prepare_spectrum(spectrum.wavelength_nm, look, grid)
        into.spectra[row, variant] = to_half(views, coverage)
        into.shown[row, variant] = shown_late(own[chosen], look.hit)
        if variant == 0:
            strongest = line_over_noise(look.means[0])
            into.line_over_noise[row] = strongest
            into.present[row, 1] = strongest > LINE_SIGMAS
            into.coverage[row] = np.packbits(coverage > 0)


def _some(shots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One to all of them, in the order fired."""
    return np.sort(rng.choice(shots, size=int(rng.integers(1, shots + 1)), replace=False))


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)
