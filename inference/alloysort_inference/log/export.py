"""A log in the forms that others read: a piece table of what it keeps, or a file of its decisions."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Engine

from alloysort_datasets.errors import DataError
from alloysort_datasets.piece import Instrument, Piece
from alloysort_datasets.table.store import TableWriter
from alloysort_inference.log.read import Kept, read_decisions, read_kept

SOURCE: Final = "decision log"
NO_BATCH: Final = "none"
ROWS: Final = 5000
JSON_COLUMNS: Final = ("probabilities", "composition", "composition_sigma")


def export_pieces(database: Engine, folder: Path, labelled: bool = False, **between: Any) -> int:
    """Write the kept pieces as a piece table; returns how many.

    What a piece is stands there only where a person said so: a model must not learn from its own guesses.

    Args:
        database: the log's.
        folder: must not hold a table yet.
        labelled: only those with a label.
        between: `since`, `until`, `batch` of `read_decisions`.

    Raises:
        LogError: the log cannot be read.
        TableError: the table cannot be written.
        DataError: there are none.
    """
    count, names = 0, dict[bytes, str]()
    kept = (one for one in read_kept(database, **between) if one.label is not None or not labelled)
    first = next(kept, None)
    if first is None:
        raise DataError("decision log: it keeps no such piece: nothing is written")
    with TableWriter(folder) as writer:
        for count, one in enumerate(chain([first], kept), 1):  # noqa: B007 (the count is the result)
            instrument = _instrument(one, names)
            if instrument is not None:
                writer.add(instrument)
            writer.write(_piece(one, instrument))
    return count


def export_decisions(database: Engine, path: Path, **between: Any) -> int:
    """Write every decision to a `.csv` or `.parquet` file; returns how many.

    Raises:
        LogError: the log cannot be read.
        DataError: another ending, there are none, or the file cannot be written.
    """
    write = {".csv": _write_csv, ".parquet": _write_parquet}.get(path.suffix.lower())
    if write is None:
        raise DataError(f"{path}: must end in .csv or .parquet, or be a folder for a piece table")
    rows = (_flat(row) for row in read_decisions(database, **between))
    first = next(rows, None)
    if first is None:
        raise DataError("decision log: it holds no such decision: nothing is written")
    try:
        return write(path, chain([first], rows))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: json.dumps(value) if key in JSON_COLUMNS and value is not None else value
        for key, value in row.items()
    }


def _write_csv(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        for count, row in enumerate(rows, 1):
            if count == 1:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow({key: _word(value) for key, value in row.items()})
    return count


def _word(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[str, pa.DataType] = dict.fromkeys(("seq",), pa.int64())
    kinds |= dict.fromkeys(("accepted", "accepted_as_aluminium", "novel", "eject"), pa.bool_())
    kinds |= {"time": pa.timestamp("us", tz="UTC")}
    count, writer = 0, None
    for some in _chunks(rows):
        if writer is None:
            numbers = {"mass_g", "confidence", "novelty", "surface"}
            schema = pa.schema(
                [
                    (
                        key,
                        kinds.get(key)
                        or (pa.float64() if key in numbers or key.endswith("_ms") else pa.string()),
                    )
                    for key in some[0]
                ]
            )
            writer = pq.ParquetWriter(path, schema, compression="zstd")
        writer.write_table(pa.Table.from_pylist(some, schema=schema))
        count += len(some)
    if writer is not None:
        writer.close()
    return count


def _chunks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    taken = iter(rows)
    while some := list(islice(taken, ROWS)):
        yield some


def _instrument(one: Kept, names: dict[bytes, str]) -> Instrument | None:
    """The spectrometer of a piece; each axis is an instrument, and the log knows no names."""
    if one.wavelength_nm is None:
        return None
    key = one.wavelength_nm.tobytes() + str(one.saturation_counts).encode()
    name = names.setdefault(key, f"line-{len(names)}")
    spacing = float(np.median(np.diff(one.wavelength_nm)))
    return Instrument(name, one.wavelength_nm, 2 * spacing, one.saturation_counts)


def _piece(one: Kept, instrument: Instrument | None) -> Piece:
    told = one.told
    known = {key: told[key] for key in ("confidence", "novelty", "surface") if told[key] is not None}
    return Piece(
        piece_id=f"{one.seq}-{told['piece_id']}",
        source=SOURCE,
        batch=told["batch"] or NO_BATCH,
        family=one.label,
        alloy=one.alloy,
        mass_g=told["mass_g"],
        image=one.image,
        spectra=one.shots,
        instrument=None if instrument is None else instrument.name,
        conditions=known,
    )
