"""Rows of the small CSV tables that the package ships."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alloysort_datasets.errors import AlloyError

TABLES: Final = Path(__file__).parent / "tables"


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Every row of a CSV file as {column: cell without outer spaces}, in the file's order.

    Raises:
        AlloyError: the file cannot be read, its header is not `columns`, it holds no row, or a row has too
            few or too many cells.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = list(csv.reader(file, strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AlloyError(f"{path.name}: cannot be read as CSV: {error}") from error
    if header != list(columns):
        raise AlloyError(f"{path.name}: header {','.join(header)!r} must be {','.join(columns)!r}")
    if not lines:
        raise AlloyError(f"{path.name}: holds no row")
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(header):
            raise AlloyError(f"{path.name} line {number}: {len(cells)} cells, must be {len(header)}")
    return [{name: cell.strip() for name, cell in zip(header, cells, strict=True)} for cells in lines]


@contextmanager
def cell(path: Path, row: str, column: str) -> Iterator[None]:
    """Names file, row and column in front of whatever error a cell raises.

    Raises:
        AlloyError: whatever the block raises, with its place.
    """
    try:
        yield
    except AlloyError as error:
        raise AlloyError(f"{path.name} row {row!r} column {column!r}: {error}") from error


def parse_positive(text: str) -> float:
    """A finite number above 0.

    Raises:
        AlloyError: anything else.
    """
    try:
        value = float(text)
    except ValueError as error:
        raise AlloyError(f"{text!r} is no number") from error
    if not 0 < value < float("inf"):
        raise AlloyError(f"{text!r} must be above 0 and finite")
    return value
