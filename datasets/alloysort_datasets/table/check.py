"""Every fault of a piece table at once, each with its file, row and column."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError, ImageError, TableError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.piece import SPLITS, Instrument
from alloysort_datasets.readers.picture import decode_image
from alloysort_datasets.table.sides import Sides
from alloysort_datasets.table.store import (
    INSTRUMENTS,
    REQUIRED,
    SCHEMA,
    make_instrument,
    piece_files,
    read_batches,
    read_instrument_rows,
    spectra_shapes,
)

MAX_SUM_WT_PCT: Final = 101.0  # rounding of thirteen elements may pass 100, two alloys in one piece may not


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        file: path as the user knows it.
        row: counted from 0 in a Parquet file, the line in a text file; None for the file as a whole.
        key: column, empty for the row or file as a whole.
        message: what is wrong and what would be right.
    """

    file: str
    row: int | None
    key: str
    message: str

    def __str__(self) -> str:
        row = "" if self.row is None else f"row {self.row}: "
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}: {row}{key}{self.message}"


def check_tables(folders: Sequence[Path]) -> list[Fault]:
    """The faults of several tables that are meant to be trained on together; see `check_table`."""
    sides = Sides()
    return [fault for folder in folders for fault in check_table(folder, sides)]


def check_table(folder: Path, sides: Sides | None = None) -> list[Fault]:
    """Read a whole piece table and name all its faults; an empty list means none.

    Streams: only piece ids and batch names are kept.

    Args:
        folder: the table.
        sides: what tables before this one hold, and this one must not clash with.
    """
    instruments, faults = _check_instruments(folder)
    try:
        files = piece_files(folder)
    except TableError as error:
        return [*faults, Fault(str(folder), None, "", _without(folder, error))]
    sides = sides or Sides()
    for path in files:
        faults.extend(_check_file(path, instruments, sides))
    return faults


def _check_instruments(folder: Path) -> tuple[dict[str, Instrument], list[Fault]]:
    path = folder / INSTRUMENTS
    try:
        rows = read_instrument_rows(folder)
    except TableError as error:
        return {}, [Fault(str(path), None, "", _without(path, error))]
    instruments: dict[str, Instrument] = {}
    faults: list[Fault] = []
    for row, fields in enumerate(rows):
        if fields["name"] in instruments:
            faults.append(Fault(str(path), row, "name", f"a second instrument {fields['name']!r}"))
            continue
        try:
            instruments[fields["name"]] = make_instrument(fields)
        except DataError as error:
            faults.append(Fault(str(path), row, "", str(error)))
    return instruments, faults


def _check_file(path: Path, instruments: Mapping[str, Instrument], sides: Sides) -> Iterator[Fault]:
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        yield Fault(str(path), None, "", f"unreadable: {' '.join(str(error).split())[:200]}")
        return
    usable = []
    for column in SCHEMA:
        problem = _column_problem(schema, column)
        if problem:
            yield Fault(str(path), None, column.name, problem)
        else:
            usable.append(column.name)
    try:
        for first, batch in read_batches(path, usable):
            yield from _check_batch(path, first, batch, instruments, sides)
    except TableError as error:
        yield Fault(str(path), None, "", _without(path, error))


def _column_problem(schema: pa.Schema, column: pa.Field) -> str | None:
    if column.name not in schema.names:
        return f"the column is missing, must be {column.type}"
    actual = schema.field(column.name).type
    try:
        pa.array([], actual).cast(column.type)
    except pa.ArrowException:
        return f"is {actual}, must be {column.type}"
    return None


def _check_batch(
    path: Path, first: int, batch: pa.RecordBatch, instruments: Mapping[str, Instrument], sides: Sides
) -> Iterator[Fault]:
    cells = {
        name: batch[name].to_pylist()
        for name in batch.schema.names
        if name not in ("image", "spectra", "conditions")
    }
    images = batch["image"] if "image" in batch.schema.names else None
    spectra = _Spectra(batch["spectra"]) if "spectra" in batch.schema.names else None
    for index in range(batch.num_rows):
        row = {name: values[index] for name, values in cells.items()}
        piece_id, source, batch_name, split = map(row.get, ("piece_id", "source", "batch", "split"))
        clashes = sides.add(piece_id, source, batch_name, split, f"row {first + index} of {path}")
        problems = [*_words(row), *clashes, *_composition(row), *_mass(row)]
        if images is not None:
            problems += _image(images[index].as_py())
        if spectra is not None:
            problems += spectra.problems(index, row.get("instrument"), instruments)
        for key, message in problems:
            yield Fault(str(path), first + index, key, message)


def _words(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in REQUIRED:
        if key in row and not row[key]:
            yield key, "is empty"
    for key, known in (("family", FAMILIES), ("split", SPLITS)):
        if row.get(key) is not None and row[key] not in known:
            yield key, f"{row[key]!r} is none of {', '.join(known)}"


def _composition(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    shares = {
        element: share for element, share in (row.get("composition") or {}).items() if share is not None
    }
    for element, share in shares.items():
        if not 0 <= share <= 100:
            yield "composition", f"{element} is {share:g} wt%, must lie in 0-100"
    total = math.fsum(share for share in shares.values() if math.isfinite(share))
    if total > MAX_SUM_WT_PCT:
        yield "composition", f"sums to {total:.2f} wt%, at most {MAX_SUM_WT_PCT:g} is possible"


def _mass(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    mass = row.get("mass_g")
    if mass is not None and not 0 < mass < math.inf:
        yield "mass_g", f"{mass:g} must be a positive number"


def _image(data: bytes | None) -> Iterator[tuple[str, str]]:
    if data is None:
        return
    try:
        decode_image(data, "picture")
    except ImageError as error:
        yield "image", str(error)


class _Spectra:
    """A batch's spectra, looked at row by row."""

    def __init__(self, column: pa.ListArray) -> None:
        self._known = column.is_valid().to_numpy(zero_copy_only=False)
        self._shots, self._edges, self._counts = spectra_shapes(column)

    def problems(
        self, row: int, name: str | None, instruments: Mapping[str, Instrument]
    ) -> Iterator[tuple[str, str]]:
        if not self._known[row]:
            return
        if name is None:
            yield "instrument", f"is null, must name a row of {INSTRUMENTS} as the piece has spectra"
        elif name not in instruments:
            yield "instrument", f"{name!r} is no usable row of {INSTRUMENTS}"
        edges = self._edges[self._shots[row] : self._shots[row + 1] + 1]
        channels = np.diff(edges)
        if channels.size == 0 or 0 in channels:
            yield "spectra", "a shot without counts: null means that the laser hit nothing"
            return
        yield from self._wrong_channels(channels, instruments.get(name or ""))
        bad = np.flatnonzero(~np.isfinite(self._counts[edges[0] : edges[-1]]))
        if bad.size:
            shot = int(np.searchsorted(edges - edges[0], bad[0], side="right")) - 1
            channel = int(bad[0] - (edges[shot] - edges[0]))
            yield "spectra", f"{bad.size} counts are not finite, the first in shot {shot}, channel {channel}"

    def _wrong_channels(
        self, channels: NDArray[np.int64], instrument: Instrument | None
    ) -> Iterator[tuple[str, str]]:
        right = int(channels[0]) if instrument is None else instrument.wavelength_nm.size
        wrong = np.flatnonzero(channels != right)
        if wrong.size:
            axis = "the first shot" if instrument is None else f"instrument {instrument.name!r}"
            yield "spectra", f"shot {wrong[0]} has {channels[wrong[0]]} channels, {axis} has {right}"


def _without(path: Path, error: DataError) -> str:
    return str(error).removeprefix(f"{path}: ")
