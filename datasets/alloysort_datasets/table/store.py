"""The piece table: one folder of `pieces-*.parquet` and `instruments.parquet`, read and written as a stream.

Plain Parquet: pyarrow, DuckDB, Polars, Ray Data and Spark read it without this package.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError, TableError
from alloysort_datasets.families import ELEMENTS
from alloysort_datasets.piece import Instrument, Piece, Split
from alloysort_datasets.table.spread import spread

PIECES: Final = "pieces-*.parquet"
INSTRUMENTS: Final = "instruments.parquet"
ROWS_PER_FILE: Final = 10_000
ROWS_PER_BATCH: Final = 256

SCHEMA: Final = pa.schema(
    [
        ("piece_id", pa.string()),
        ("source", pa.string()),
        ("batch", pa.string()),
        ("split", pa.string()),
        ("family", pa.string()),
        ("alloy", pa.string()),
        ("composition", pa.struct([(element, pa.float32()) for element in ELEMENTS])),
        ("mass_g", pa.float32()),
        ("image", pa.binary()),
        ("spectra", pa.list_(pa.list_(pa.float32()))),
        ("instrument", pa.string()),
        ("conditions", pa.map_(pa.string(), pa.float32())),
    ]
)
INSTRUMENT_SCHEMA: Final = pa.schema(
    [
        ("name", pa.string()),
        ("wavelength_nm", pa.list_(pa.float64())),
        ("resolution_nm", pa.float32()),
        ("saturation_counts", pa.float32()),
    ]
)
REQUIRED: Final = ("piece_id", "source", "batch")
SIMULATOR: Final = b"alloysort simulator"  # key of the parquet metadata: the version that made the pieces

_GROUP_ROWS: Final = 32  # the least rows of a group that ends where the split changes
_BATCH_BYTES: Final = 32 * 2**20  # what a writer holds before it writes a row group
_WORDS: Final = [name for name in SCHEMA.names if SCHEMA.field(name).type == pa.string()]


class TableWriter:
    """Writes a new table piece by piece at constant memory; a context manager.

    Each file appears under its name only when complete. Leaving on an error discards the file in progress.

    Args:
        folder: created where missing; must not hold a table yet.
        instruments: those known so far; `add` takes more.
        rows_per_file: pieces in each `pieces-*.parquet`.

    Raises:
        TableError: the folder holds a table already or cannot be written, a piece names an instrument that
            was not added, or its spectra do not fit that instrument's axis.
    """

    def __init__(
        self, folder: Path, instruments: Iterable[Instrument] = (), rows_per_file: int = ROWS_PER_FILE
    ) -> None:
        if rows_per_file < 1:
            raise TableError(f"rows_per_file {rows_per_file} must be 1 or more")
        _make_folder(folder)
        if any(folder.glob(PIECES)) or (folder / INSTRUMENTS).exists():
            raise TableError(f"{folder}: holds a piece table already: name a new folder")
        self._folder = folder
        self._rows_per_file = rows_per_file
        self._instruments: dict[str, Instrument] = {}
        self._files = 0
        self._shard: _Shard | None = None
        for instrument in instruments:
            self.add(instrument)

    def add(self, instrument: Instrument) -> None:
        """Make an instrument known to the table."""
        known = self._instruments.setdefault(instrument.name, instrument)
        same = np.array_equal(known.wavelength_nm, instrument.wavelength_nm) and (
            (known.resolution_nm, known.saturation_counts)
            == (instrument.resolution_nm, instrument.saturation_counts)
        )
        if not same:
            raise TableError(f"{self._folder}: two instruments are called {instrument.name!r}")

    def write(self, piece: Piece) -> None:
        """Append a piece."""
        require_fit(piece, self._instruments)
        if self._shard is None:
            self._shard = _Shard(self._folder / f"pieces-{self._files:05d}.parquet")
            self._files += 1
        self._shard.write(piece)
        if self._shard.rows >= self._rows_per_file:
            self._shard.close()
            self._shard = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shard, self._shard = self._shard, None
        if kind is not None:
            if shard is not None:
                shard.discard()
            return
        if shard is not None:
            shard.close()
        write_instruments(self._folder, self._instruments.values())


def write_pieces(
    folder: Path,
    pieces: Iterable[Piece],
    instruments: Iterable[Instrument] = (),
    rows_per_file: int = ROWS_PER_FILE,
) -> int:
    """Write a new table from a stream of pieces; returns how many.

    Raises:
        TableError: see `TableWriter`.
    """
    count = 0
    with TableWriter(folder, instruments, rows_per_file) as writer:
        for count, piece in enumerate(pieces, 1):  # noqa: B007 (the count is the result)
            writer.write(piece)
    return count


def write_shard(path: Path, pieces: Iterable[Piece], simulator: int | None = None) -> int:
    """Write one `pieces-*.parquet`, complete or not at all; returns its rows. Replaces an older one.

    `simulator` is the version of what made the pieces, None where they are real.

    Raises:
        TableError: the file cannot be written.
    """
    _make_folder(path.parent)
    shard = _Shard(path, simulator)
    try:
        for piece in pieces:
            shard.write(piece)
    except BaseException:
        shard.discard()
        raise
    shard.close()
    return shard.rows


def write_instruments(folder: Path, instruments: Iterable[Instrument]) -> None:
    """Write `instruments.parquet`, complete or not at all. Replaces an older one.

    Raises:
        TableError: the file cannot be written.
    """
    known = list(instruments)
    table = pa.table(
        {
            "name": [instrument.name for instrument in known],
            "wavelength_nm": [instrument.wavelength_nm for instrument in known],
            "resolution_nm": np.array([instrument.resolution_nm for instrument in known], dtype=np.float32),
            "saturation_counts": np.array(
                [instrument.saturation_counts for instrument in known], dtype=np.float32
            ),
        },
        schema=INSTRUMENT_SCHEMA,
    )
    _make_folder(folder)
    path = folder / INSTRUMENTS
    part = part_of(path)
    try:
        pq.write_table(table, part, compression="zstd")
        part.replace(path)
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}") from None


def require_fit(piece: Piece, instruments: Mapping[str, Instrument]) -> None:
    """Refuse a piece whose spectra do not fit the axis of the instrument it names.

    Raises:
        TableError: no such instrument, or another number of channels.
    """
    if piece.spectra is None:
        return
    instrument = instruments.get(piece.instrument or "")
    if instrument is None:
        raise TableError(f"piece {piece.piece_id!r}: instrument {piece.instrument!r} is not in {INSTRUMENTS}")
    if piece.spectra.shape[1] != instrument.wavelength_nm.size:
        raise TableError(
            f"piece {piece.piece_id!r}: spectra have {piece.spectra.shape[1]} channels, instrument "
            f"{instrument.name!r} has {instrument.wavelength_nm.size}"
        )


def read_pieces(
    folders: Path | Sequence[Path],
    columns: Sequence[str] | None = None,
    split: Split | None = None,
    batch_rows: int = ROWS_PER_BATCH,
) -> Iterator[Piece]:
    """The pieces of one or several tables in file order, at constant memory.

    Args:
        folders: piece tables. Instruments are named within each: see `read_instruments`.
        columns: the columns wanted; None: all. piece_id, source, batch and split always come; what is
            not wanted is None, or empty, on the piece. `spectra` brings `instrument` along.
        split: only the pieces of this split.
        batch_rows: rows decoded at a time.

    Raises:
        TableError: a file is missing, unreadable or malformed; the file and row are named.
    """
    for folder in [folders] if isinstance(folders, Path) else folders:
        for path in piece_files(folder):
            yield from read_piece_file(path, columns, split, batch_rows)


def read_piece_file(
    path: Path,
    columns: Sequence[str] | None = None,
    split: Split | None = None,
    batch_rows: int = ROWS_PER_BATCH,
) -> Iterator[Piece]:
    """The pieces of one `pieces-*.parquet`; see `read_pieces`."""
    for first, batch in read_batches(path, _wanted(columns), batch_rows, split):
        yield from _batch_pieces(path, first, batch, split)


def read_batches(
    path: Path,
    columns: Sequence[str] | None = None,
    batch_rows: int = ROWS_PER_BATCH,
    split: Split | None = None,
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Record batches of one piece file in the table's types, each with the number of its first row.

    With a split, only those of row groups that hold it; they hold other pieces too.

    Raises:
        TableError: the file is unreadable, or a column is missing or of another type.
    """
    wanted = list(SCHEMA.names if columns is None else columns)
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in wanted if name not in file.schema_arrow.names]
            if missing:
                raise TableError(f"{path}: column {missing[0]!r} is missing")
            first = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if split is None or split in _splits_of(file, group):
                    begin = first
                    for batch in file.iter_batches(batch_rows, row_groups=[group], columns=wanted):
                        batch.validate(full=True)  # offsets and UTF-8 of a damaged file
                        yield begin, _as_declared(path, batch, wanted)
                        begin += batch.num_rows
                first += rows
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise TableError(f"{path}: unreadable: {_one_line(error)}") from None


def _splits_of(file: pq.ParquetFile, group: int) -> set[str | None]:
    """The splits in a row group, read without its other columns."""
    return set(pc.unique(file.read_row_group(group, ["split"])["split"]).to_pylist())


def piece_files(folder: Path) -> list[Path]:
    """The piece files of a table, in order.

    Raises:
        TableError: there are none.
    """
    files = sorted(folder.glob(PIECES))
    if not files:
        raise TableError(f"{folder}: is no piece table: it holds no {PIECES}")
    return files


def simulator_of(folder: Path) -> int | None:
    """The newest version of the simulator that made pieces of a table; None where they do not say.

    Raises:
        TableError: a file is missing or unreadable.
    """
    versions = []
    for path in piece_files(folder):
        try:
            metadata = pq.read_schema(path).metadata or {}
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise TableError(f"{path}: {_one_line(error)}") from None
        versions.append(int(metadata.get(SIMULATOR, b"0")))
    return max(versions) or None


def read_instruments(folder: Path) -> dict[str, Instrument]:
    """The instruments of a table by name.

    Raises:
        TableError: `instruments.parquet` is missing, unreadable or malformed; the row is named.
    """
    instruments: dict[str, Instrument] = {}
    for row, fields in enumerate(read_instrument_rows(folder)):
        try:
            instrument = make_instrument(fields)
        except DataError as error:
            raise TableError(f"{folder / INSTRUMENTS}: row {row}: {error}") from None
        if instrument.name in instruments:
            raise TableError(f"{folder / INSTRUMENTS}: row {row}: a second instrument {instrument.name!r}")
        instruments[instrument.name] = instrument
    return instruments


def read_instrument_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of `instruments.parquet` as they stand, the axis as an array.

    Raises:
        TableError: the file is missing, unreadable or of other columns.
    """
    path = folder / INSTRUMENTS
    try:
        table = pq.ParquetFile(path).read()
        missing = [name for name in INSTRUMENT_SCHEMA.names if name not in table.column_names]
        if missing:
            raise TableError(f"{path}: column {missing[0]!r} is missing")
        table = table.select(INSTRUMENT_SCHEMA.names).cast(INSTRUMENT_SCHEMA)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise TableError(f"{path}: unreadable: {_one_line(error)}") from None
    scalars = table.drop_columns("wavelength_nm").to_pylist()
    axes = [axis.values for axis in table.column("wavelength_nm")]
    return [
        {**row, "wavelength_nm": None if axis is None else axis.to_numpy(zero_copy_only=False)}
        for row, axis in zip(scalars, axes, strict=True)
    ]


def make_instrument(fields: Mapping[str, Any]) -> Instrument:
    """An instrument from a row of `instruments.parquet`.

    Raises:
        TableError: a cell is null; a null saturation_counts is unknown, not wrong.
        SpectrumError: the axis, the resolution or the ceiling is impossible.
    """
    for key in ("name", "wavelength_nm", "resolution_nm"):
        if fields[key] is None:
            raise TableError(f"{key} is null")
    ceiling = fields["saturation_counts"]
    return Instrument(
        name=fields["name"],
        wavelength_nm=fields["wavelength_nm"],
        resolution_nm=fields["resolution_nm"],
        saturation_counts=float("inf") if ceiling is None else ceiling,
    )


def count_pieces(folder: Path, split: Split | None = None) -> int:
    """How many pieces a table holds, in all or in one split.

    Raises:
        TableError: a file is missing or unreadable.
    """
    return sum(count_rows(path, split) for path in piece_files(folder))


def count_rows(path: Path, split: Split | None = None) -> int:
    """How many pieces one `pieces-*.parquet` holds; see `count_pieces`."""
    total = 0
    for _, batch in read_batches(path, ["split"], batch_rows=65_536):
        total += batch.num_rows if split is None else pc.sum(pc.equal(batch["split"], split)).as_py() or 0
    return total


def table_sha256(folder: Path) -> str:
    """SHA-256 of a table's content, whatever files, row groups and compression it is stored in.

    It is of the instruments by name and of the pieces' own SHA-256 in order: so files are hashed at once.

    Raises:
        TableError: the table is missing or malformed.
    """
    digest = hashlib.sha256()
    for name, instrument in sorted(read_instruments(folder).items()):
        axis = instrument.wavelength_nm
        _feed(digest, [name, axis.size, instrument.resolution_nm, instrument.saturation_counts])
        digest.update(axis.astype("<f8").tobytes())
    for pieces in spread(_piece_hashes, piece_files(folder)):
        digest.update(pieces)
    return digest.hexdigest()


def _piece_hashes(path: Path) -> bytes:
    """The SHA-256 of each piece of a file, one after another."""
    return b"".join(_piece_hash(piece) for piece in read_piece_file(path))


def _piece_hash(piece: Piece) -> bytes:
    digest = hashlib.sha256()
    fields = [getattr(piece, name) for name in SCHEMA.names if name not in ("image", "spectra", "conditions")]
    spectra = np.zeros((0, 0), dtype=np.float32) if piece.spectra is None else piece.spectra
    image = piece.image or b""
    _feed(digest, [*fields, sorted(piece.conditions.items()), len(image), *spectra.shape])
    digest.update(image)
    digest.update(spectra.astype("<f4").tobytes())
    return digest.digest()


def spectra_shapes(column: pa.ListArray) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """A spectra column without per-number Python: where each row's shots and each shot's counts lie.

    Returns:
        shot_offsets (rows + 1,), count_offsets (shots + 1,), counts (all of them,); row i's shots are
        shot_offsets[i] to shot_offsets[i + 1]. Null counts become NaN; null rows and shots are empty.
    """
    shots = column.values
    shot_offsets = np.asarray(column.offsets, dtype=np.int64)
    count_offsets = np.asarray(shots.offsets, dtype=np.int64)
    counts = shots.values.to_numpy(zero_copy_only=False)
    return shot_offsets, count_offsets, counts


class _Shard:
    """One piece file in the making: rows gather to a row group, the file is renamed when complete."""

    def __init__(self, path: Path, simulator: int | None = None) -> None:
        self.rows = 0
        self._path = path
        self._part = part_of(path)
        self._pieces: list[Piece] = []
        self._bytes = 0
        try:
            schema = SCHEMA if simulator is None else SCHEMA.with_metadata({SIMULATOR: str(simulator)})
            self._writer = pq.ParquetWriter(
                self._part, schema, compression="zstd", use_dictionary=[*_WORDS, "conditions.key_value.key"]
            )
        except OSError as error:
            raise TableError(f"{path}: {error.strerror or error}") from None

    def write(self, piece: Piece) -> None:
        if len(self._pieces) >= _GROUP_ROWS and piece.split != self._pieces[-1].split:
            self._flush()  # so that who reads one split may skip the groups of the others
        self._pieces.append(piece)
        self.rows += 1
        self._bytes += len(piece.image or b"") + (0 if piece.spectra is None else piece.spectra.nbytes)
        if self._bytes > _BATCH_BYTES or len(self._pieces) >= 4 * ROWS_PER_BATCH:
            self._flush()

    def close(self) -> None:
        self._flush()
        try:
            self._writer.close()
            self._part.replace(self._path)
        except OSError as error:
            raise TableError(f"{self._path}: {error.strerror or error}") from None

    def discard(self) -> None:
        self._writer.close()
        self._part.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._pieces:
            return
        try:
            self._writer.write_batch(_to_batch(self._pieces))
        except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: text that is no Unicode
            raise TableError(f"{self._path}: {_one_line(error)}") from None
        self._pieces.clear()
        self._bytes = 0


def _to_batch(pieces: Sequence[Piece]) -> pa.RecordBatch:
    values: dict[str, list[Any]] = {
        name: [getattr(piece, name) for piece in pieces] for name in SCHEMA.names if name != "spectra"
    }
    values["conditions"] = [list(piece.conditions.items()) for piece in pieces]
    values["composition"] = [
        None if piece.composition is None else dict(piece.composition) for piece in pieces
    ]
    arrays = [
        _spectra_array([piece.spectra for piece in pieces])
        if field.name == "spectra"
        else pa.array(values[field.name], field.type)
        for field in SCHEMA
    ]
    return pa.record_batch(arrays, schema=SCHEMA)


def _spectra_array(spectra: Sequence[NDArray[np.float32] | None]) -> pa.ListArray:
    known = [shots for shots in spectra if shots is not None]
    counts = np.concatenate([np.ravel(shots) for shots in known]) if known else np.zeros(0, np.float32)
    channels = np.repeat([shots.shape[1] for shots in known], [len(shots) for shots in known])
    shots_of = [0 if shots is None else len(shots) for shots in spectra]
    inner = pa.ListArray.from_arrays(_offsets(channels), pa.array(counts.astype(np.float32, copy=False)))
    absent = pa.array([shots is None for shots in spectra])
    return pa.ListArray.from_arrays(_offsets(np.array(shots_of)), inner, mask=absent)


def _offsets(lengths: NDArray[np.int64]) -> pa.Array:
    return pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))


def _wanted(columns: Sequence[str] | None) -> list[str]:
    if columns is None:
        return list(SCHEMA.names)
    strangers = [name for name in columns if name not in SCHEMA.names]
    if strangers:
        raise TableError(f"column {strangers[0]!r} is none of {', '.join(SCHEMA.names)}")
    wanted = {*REQUIRED, "split", *columns} | ({"instrument"} if "spectra" in columns else set())
    return [name for name in SCHEMA.names if name in wanted]


def _as_declared(path: Path, batch: pa.RecordBatch, wanted: Sequence[str]) -> pa.RecordBatch:
    """Other writers' equivalents (large lists, dictionaries) cast to the table's types."""
    schema = pa.schema([SCHEMA.field(name) for name in wanted])
    arrays = []
    for field in schema:
        try:
            array = batch.column(field.name)
            arrays.append(array if array.type.equals(field.type) else array.cast(field.type))
        except pa.ArrowException:
            raise TableError(
                f"{path}: column {field.name!r} is {batch[field.name].type}, must be {field.type}"
            ) from None
    return pa.record_batch(arrays, schema=schema)


def _batch_pieces(path: Path, first: int, batch: pa.RecordBatch, split: Split | None) -> Iterator[Piece]:
    names = [name for name in batch.schema.names if name != "spectra"]
    columns = {name: batch.column(name) for name in names}
    spectra = spectra_shapes(batch.column("spectra")) if "spectra" in batch.schema.names else None
    known = batch.column("spectra").is_valid() if spectra is not None else None
    splits = columns["split"].to_pylist()
    for index in range(batch.num_rows):
        if split is not None and splits[index] != split:
            continue
        fields = {name: column[index].as_py() for name, column in columns.items()}
        try:
            if spectra is not None and known is not None and known[index].as_py():
                fields["spectra"] = _shots(spectra, index)
            yield _to_piece(fields)
        except DataError as error:
            raise TableError(f"{path}: row {first + index}: {error}") from None


def _shots(
    spectra: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]], row: int
) -> NDArray[np.float32]:
    """(shots, channels) of one row, a copy that holds no batch alive."""
    shot_offsets, count_offsets, counts = spectra
    edges = count_offsets[shot_offsets[row] : shot_offsets[row + 1] + 1]
    channels = np.diff(edges)
    if channels.size == 0 or (channels != channels[0]).any():
        raise TableError(f"spectra of {len(channels)} shots with {sorted(set(channels.tolist()))} channels")
    return np.array(counts[edges[0] : edges[-1]], dtype=np.float32).reshape(channels.size, channels[0])


def _to_piece(fields: dict[str, Any]) -> Piece:
    for key in REQUIRED:
        if fields[key] is None:
            raise TableError(f"{key} is null")
    fields["conditions"] = dict(fields.get("conditions") or ())
    if fields.get("composition") is not None:
        fields["composition"] = {
            element: share for element, share in fields["composition"].items() if share is not None
        }
    return Piece(**fields)


def _feed(digest: hashlib._Hash, fields: Sequence[object]) -> None:
    digest.update(json.dumps(fields, ensure_ascii=True, sort_keys=True).encode() + b"\n")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TableError(f"{folder}: {error.strerror or error}") from None


def part_of(path: Path) -> Path:
    """What a file is called until it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
