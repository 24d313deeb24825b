from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alloysort_datasets.piece import Instrument, Piece
from alloysort_datasets.table.check import Fault, check_table, check_tables
from alloysort_datasets.table.store import INSTRUMENT_SCHEMA, INSTRUMENTS, SCHEMA, write_pieces


@pytest.fixture
def table(
    tmp_path: Path, build_piece: Callable[..., Piece], build_instrument: Callable[..., Instrument]
) -> Path:
    """Eight pieces of two batches in two files, without fault."""
    write_pieces(
        tmp_path, [build_piece(n, channels=16) for n in range(8)], [build_instrument(channels=16)], 4
    )
    return tmp_path


def spoil(table: Path, changes: dict[str, dict[int, Any]], file: str = "pieces-00001.parquet") -> None:
    """Put wrong values into cells of a file, as another program might have."""
    schema = INSTRUMENT_SCHEMA if file == INSTRUMENTS else SCHEMA
    rows = pq.read_table(table / file).to_pylist()
    for key, values in changes.items():
        for row, value in values.items():
            rows[row][key] = value
    pq.write_table(pa.Table.from_pylist(rows, schema), table / file)


def said(faults: list[Fault]) -> list[tuple[int | None, str, str]]:
    return [(fault.row, fault.key, fault.message) for fault in faults]


def test_a_sound_table_has_no_fault(table: Path) -> None:
    assert check_table(table) == []


def test_every_fault_is_named_at_once(table: Path, build_picture: Callable[..., bytes]) -> None:
    nan, inf = float("nan"), float("inf")
    shares = {"Al": 97.0, "Mg": 120.0, "Si": -1.0}
    spoil(
        table,
        {
            "family": {0: "tin"},
            "split": {1: "val"},
            "piece_id": {3: "piece-0000"},
            "composition": {0: shares, 1: {"Al": 60.0, "Cu": 45.0}},
            "mass_g": {0: -4.0},
            "image": {1: b"no picture", 2: build_picture()[:-40]},
            "instrument": {0: "other", 1: None},
            "spectra": {
                0: [[1.0, 2.0, 3.0, 4.0], [1.0, nan, -inf, 4.0]],
                2: [[1.0, 2.0, 3.0]],
                3: [],
            },
            "source": {2: None},
        },
    )
    faults = check_table(table)
    assert {fault.file for fault in faults} == {str(table / "pieces-00001.parquet")}
    expected = [
        (0, "family", "'tin' is none of 1xxx"),
        (0, "composition", "Si is -1 wt%"),
        (0, "composition", "Mg is 120 wt%, must lie in 0-100"),
        (0, "composition", "sums to 216.00 wt%"),
        (0, "mass_g", "-4 must be a positive number"),
        (0, "instrument", "'other' is no usable row of instruments.parquet"),
        (0, "spectra", "2 counts are not finite, the first in shot 1, channel 1"),
        (1, "split", "'val' is none of train"),
        (1, "split", "batch 'batch-1' of source 'builder' is on the splits train and val"),
        (1, "composition", "sums to 105.00 wt%"),
        (1, "image", "picture: is no JPEG or PNG"),
        (1, "instrument", "is null"),
        (2, "source", "is empty"),
        (2, "image", "picture: is a JPEG cut short"),
        (2, "spectra", "shot 0 has 3 channels, instrument 'bench' has 16"),
        (3, "piece_id", "a second piece 'piece-0000'"),
        (3, "spectra", "a shot without counts"),
    ]
    assert len(faults) == len(expected)
    for (row, key, message), (want_row, want_key, start) in zip(said(faults), expected, strict=True):
        assert (row, key) == (want_row, want_key)
        assert message.startswith(start)


def test_a_piece_on_two_splits(table: Path) -> None:
    spoil(table, {"piece_id": {0: "piece-0001"}, "split": dict.fromkeys(range(4), "test")})
    [(row, key, message)] = said(check_table(table))
    assert (row, key) == (0, "piece_id")
    assert message.startswith(
        "a second piece 'piece-0001', on the splits train and test: the first stands in"
    )
    assert message.endswith("row 1 of " + str(table / "pieces-00000.parquet"))


def test_a_batch_is_of_its_source_and_null_is_no_side(table: Path) -> None:
    spoil(
        table,
        {
            "batch": dict.fromkeys(range(4), "batch-0"),
            "source": {0: "other", 1: "other"},
            "split": {0: "test", 1: "test", 2: None},
        },
    )
    assert check_table(table) == []


def test_a_piece_in_two_tables(table: Path) -> None:
    faults = check_tables([table, table])
    assert [fault.key for fault in faults] == ["piece_id"] * 8


def test_instruments_are_checked(table: Path) -> None:
    rows = pq.read_table(table / INSTRUMENTS).to_pylist()
    rows += [
        rows[0],
        rows[0] | {"name": "down", "wavelength_nm": [*range(300, 315), 2]},
        rows[0] | {"name": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows, INSTRUMENT_SCHEMA), table / INSTRUMENTS)
    assert said(check_table(table)) == [
        (1, "name", "a second instrument 'bench'"),
        (2, "", "instrument 'down': wavelength_nm[15]: wavelength 2 nm lies outside 100-12000 nm"),
        (3, "", "name is null"),
    ]


def test_missing_instruments_and_unreadable_pieces(table: Path) -> None:
    (table / INSTRUMENTS).unlink()
    (table / "pieces-00000.parquet").write_bytes(b"PAR1")
    faults = check_table(table)
    assert [fault.message.split(":")[0] for fault in faults[:2]] == ["unreadable", "unreadable"]
    assert [fault.row for fault in faults] == [None, None, 0, 1, 2, 3]


def test_columns_of_the_wrong_type_do_not_hide_the_rest(table: Path) -> None:
    path = table / "pieces-00000.parquet"
    rows = pq.read_table(path).drop_columns("mass_g")
    rows = rows.set_column(0, "piece_id", pa.array([[1]] * 4))
    pq.write_table(rows, path)
    spoil(table, {"family": {3: "tin"}})
    assert [(fault.row, fault.key) for fault in check_table(table)] == [
        (None, "piece_id"),
        (None, "mass_g"),
        (3, "family"),
    ]


def test_an_empty_folder(tmp_path: Path) -> None:
    assert [fault.message[:10] for fault in check_table(tmp_path)] == ["unreadable", "is no piec"]


def test_a_fault_reads_as_one_line() -> None:
    assert str(Fault("a.parquet", 3, "family", "is wrong")) == "a.parquet: row 3: family: is wrong"
    assert str(Fault("a.parquet", None, "", "unreadable")) == "a.parquet: unreadable"
