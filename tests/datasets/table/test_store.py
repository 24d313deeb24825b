from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloysort_datasets.errors import TableError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.piece import SPLITS, Instrument, Piece
from alloysort_datasets.table import store
from alloysort_datasets.table.store import (
    SCHEMA,
    TableWriter,
    count_pieces,
    read_instruments,
    read_pieces,
    table_sha256,
    write_instruments,
    write_pieces,
    write_shard,
)

Pieces = Callable[..., Piece]
Instruments = Callable[..., Instrument]

floats = st.floats(width=32, allow_nan=False)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    shape = draw(st.none() | st.tuples(st.integers(1, 3), st.just(16)))
    counts = st.lists(floats, min_size=0 if shape is None else shape[0] * 16, max_size=48)
    return Piece(
        piece_id=draw(words),
        source=draw(words),
        batch=draw(words),
        split=draw(st.none() | st.sampled_from(SPLITS)),
        family=draw(st.none() | st.sampled_from(FAMILIES)),
        alloy=draw(st.none() | words),
        composition=draw(st.none() | st.dictionaries(st.sampled_from(ELEMENTS), floats)),
        mass_g=draw(st.none() | floats),
        image=draw(st.none() | st.binary(max_size=20)),
        spectra=None if shape is None else np.array(draw(counts)[: shape[0] * 16], np.float32).reshape(shape),
        instrument="sixteen",
        conditions=draw(st.dictionaries(words, floats, max_size=3)),
    )


def expect_same(piece: Piece, other: Piece) -> None:
    assert replace(piece, spectra=None) == replace(other, spectra=None) or vars_of(piece) == vars_of(other)
    assert (piece.spectra is None) == (other.spectra is None)
    if piece.spectra is not None and other.spectra is not None:
        assert other.spectra.dtype == np.float32
        np.testing.assert_array_equal(piece.spectra, other.spectra)


def vars_of(piece: Piece) -> dict[str, object]:
    return {name: value for name, value in vars(piece).items() if name != "spectra"}


@settings(max_examples=40)
@given(st.lists(pieces(), min_size=1, max_size=8), st.integers(1, 5), st.integers(1, 5))
def test_round_trip(written: list[Piece], rows_per_file: int, batch_rows: int) -> None:
    axis = Instrument("sixteen", np.linspace(200, 300, 16), 0.5)
    with tempfile.TemporaryDirectory() as folder:
        assert write_pieces(Path(folder), written, [axis], rows_per_file) == len(written)
        assert count_pieces(Path(folder)) == len(written)
        for piece, back in zip(written, read_pieces(Path(folder), batch_rows=batch_rows), strict=True):
            expect_same(piece, back)


@pytest.fixture
def table(tmp_path: Path, build_piece: Pieces, build_instrument: Instruments) -> Path:
    """Ten pieces in three files, the last four of the test split; number 3 has neither image nor spectra."""
    blank = {"image": None, "spectra": None, "instrument": None, "composition": None, "family": None}
    made = [
        build_piece(n, split="train" if n < 6 else "test", **(blank if n == 3 else {}), shots=1 + n % 3)
        for n in range(10)
    ]
    write_pieces(tmp_path / "table", made, [build_instrument()], rows_per_file=4)
    return tmp_path / "table"


def test_plain_pyarrow_reads_it(table: Path) -> None:
    assert sorted(path.name for path in table.iterdir()) == [
        "instruments.parquet",
        "pieces-00000.parquet",
        "pieces-00001.parquet",
        "pieces-00002.parquet",
    ]
    plain = pa.concat_tables(pq.read_table(path) for path in sorted(table.glob("pieces-*.parquet")))
    assert plain.schema.equals(SCHEMA)
    row = plain.slice(4, 1).to_pylist()[0]
    assert row["piece_id"] == "piece-0004"
    assert row["composition"]["Mg"] == 1.0
    assert row["composition"]["Zr"] is None
    assert [len(shot) for shot in row["spectra"]] == [64, 64]
    assert dict(row["conditions"]) == {"defocus_mm": 0.5}
    assert plain["spectra"].null_count == 1


def test_columns_and_split(table: Path) -> None:
    some = list(read_pieces(table, columns=["spectra"], split="test", batch_rows=3))
    assert [piece.piece_id for piece in some] == [f"piece-{n:04d}" for n in range(6, 10)]
    assert all(piece.spectra is not None and piece.instrument == "bench" for piece in some)
    assert all(piece.image is None and piece.family is None and not piece.conditions for piece in some)
    assert count_pieces(table, "test") == 4
    assert count_pieces(table, "calibration") == 0
    with pytest.raises(TableError, match="column 'spectre' is none of piece_id"):
        next(read_pieces(table, columns=["spectre"]))


def test_several_folders(table: Path) -> None:
    assert sum(1 for _ in read_pieces([table, table], columns=[])) == 20


def test_spectra_are_the_readers_own(table: Path) -> None:
    first = next(read_pieces(table))
    assert first.spectra is not None
    np.add(first.spectra, 1, out=first.spectra)  # writable, and no other piece changes
    assert not np.array_equal(first.spectra, next(read_pieces(table)).spectra)


def test_instruments_round_trip(tmp_path: Path, build_instrument: Instruments) -> None:
    first = build_instrument("first", saturation_counts=65_535.0)
    second = build_instrument("second", 100)
    write_instruments(tmp_path, [first, second])
    back = read_instruments(tmp_path)
    assert list(back) == ["first", "second"]
    np.testing.assert_array_equal(back["second"].wavelength_nm, second.wavelength_nm)
    assert back["first"].saturation_counts == 65_535
    assert back["second"].saturation_counts == float("inf")


def test_sha256_is_of_the_content(tmp_path: Path, build_piece: Pieces, build_instrument: Instruments) -> None:
    made = [build_piece(n) for n in range(6)]
    write_pieces(tmp_path / "one", made, [build_instrument()])
    write_pieces(tmp_path / "many", made, [build_instrument()], rows_per_file=1)
    assert table_sha256(tmp_path / "one") == table_sha256(tmp_path / "many")
    assert made[5].spectra is not None
    made[5].spectra[0, 0] += 1
    write_pieces(tmp_path / "other", made, [build_instrument()])
    assert table_sha256(tmp_path / "one") != table_sha256(tmp_path / "other")
    write_pieces(tmp_path / "axis", made, [build_instrument(resolution_nm=0.6)])
    assert table_sha256(tmp_path / "axis") != table_sha256(tmp_path / "other")


def test_an_interrupted_write_leaves_only_whole_files(
    tmp_path: Path, build_piece: Pieces, build_instrument: Instruments
) -> None:
    def stream() -> Iterator[Piece]:
        yield from (build_piece(n) for n in range(5))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pieces(tmp_path, stream(), [build_instrument()], rows_per_file=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "pieces-00000.parquet",
        "pieces-00001.parquet",
    ]
    assert sum(1 for _ in read_pieces(tmp_path)) == 4


def test_a_shard_is_whole_or_absent(tmp_path: Path, build_piece: Pieces) -> None:
    def stream() -> Iterator[Piece]:
        yield build_piece()
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        write_shard(tmp_path / "pieces-00007.parquet", stream())
    assert not list(tmp_path.iterdir())
    assert write_shard(tmp_path / "pieces-00007.parquet", [build_piece()]) == 1
    assert count_pieces(tmp_path) == 1


def test_a_table_is_not_overwritten(table: Path) -> None:
    with pytest.raises(TableError, match="holds a piece table already"):
        TableWriter(table)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"instrument": "other"}, "instrument 'other' is not in instruments.parquet"),
        ({"channels": 63}, "spectra have 63 channels, instrument 'bench' has 64"),
        ({"alloy": "\ud800"}, "pieces-00000.parquet: "),
    ],
)
def test_refuses_to_write(
    tmp_path: Path, build_piece: Pieces, build_instrument: Instruments, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(TableError, match=says):
        write_pieces(tmp_path, [build_piece(**changes)], [build_instrument()])


@pytest.mark.parametrize("other", [{"channels": 65}, {"resolution_nm": 0.6}, {"saturation_counts": 9.0}])
def test_one_name_is_one_instrument(
    tmp_path: Path, build_instrument: Instruments, other: dict[str, float]
) -> None:
    TableWriter(tmp_path, [build_instrument(), build_instrument()])
    with pytest.raises(TableError, match="two instruments are called 'bench'"):
        TableWriter(tmp_path, [build_instrument(), build_instrument(**other)])


def rewrite(table: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    path = table / "pieces-00001.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def swap(name: str, values: list[object], kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        where = SCHEMA.get_field_index(name)
        return rows.set_column(where, name, pa.array(values, kind or SCHEMA.field(name).type))

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            swap("family", ["6xxx", "6xxx", "tin", None]),
            r"row 2: piece 'piece-0006': family 'tin' is none of",
        ),
        (swap("piece_id", ["a", None, "b", "c"]), "row 1: piece_id is null"),
        (swap("spectra", [None, None, [], None]), "row 2: spectra of 0 shots"),
        (
            swap("spectra", [None, [[1.0], [1.0, 2.0]], None, None]),
            r"row 1: spectra of 2 shots with \[1, 2\]",
        ),
        (swap("mass_g", ["a", "b", "c", "d"], pa.string()), "column 'mass_g' is string, must be float"),
        (lambda rows: rows.drop_columns("image"), "column 'image' is missing"),
    ],
)
def test_malformed_rows_are_named(table: Path, change: Callable[[pa.Table], pa.Table], says: str) -> None:
    rewrite(table, change)
    with pytest.raises(TableError, match=rf"pieces-00001\.parquet: {says}"):
        list(read_pieces(table, batch_rows=2))


def test_other_writers_types_are_taken(table: Path) -> None:
    before = [piece.piece_id for piece in read_pieces(table)]
    rewrite(table, lambda rows: rows.cast(large(rows.schema)))
    assert [piece.piece_id for piece in read_pieces(table)] == before


def large(schema: pa.Schema) -> pa.Schema:
    kinds = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    fields = [field.with_type(kinds.get(field.type, field.type)) for field in schema]
    spectra = schema.get_field_index("spectra")
    fields[spectra] = pa.field("spectra", pa.large_list(pa.large_list(pa.float32())))
    return pa.schema(fields)


def test_unreadable_files_are_named(table: Path, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"is no piece table: it holds no pieces-\*\.parquet"):
        list(read_pieces(tmp_path))
    with pytest.raises(TableError, match=r"instruments\.parquet: unreadable"):
        read_instruments(tmp_path)
    path = table / "pieces-00002.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TableError, match=r"pieces-00002\.parquet: unreadable: "):
        list(read_pieces(table))


@settings(max_examples=30)
@given(data=st.data())
def test_damaged_files_raise_only_table_errors(
    data: st.DataObject, build_piece: Pieces, build_instrument: Instruments
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_pieces(Path(folder), [build_piece(channels=16)], [build_instrument(channels=16)])
        path = Path(folder) / data.draw(st.sampled_from(["pieces-00000.parquet", "instruments.parquet"]))
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        path.write_bytes(bytes(content))
        try:
            list(read_pieces(Path(folder)))
            read_instruments(Path(folder))
        except TableError as error:
            assert "\n" not in str(error)  # noqa: PT017 (most damage goes unnoticed, no error is fine)


def test_who_reads_one_split_does_not_read_the_groups_of_the_others(
    tmp_path: Path, build_piece: Pieces, build_instrument: Instruments, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = [build_piece(n, split="test" if 40 <= n < 80 else "train") for n in range(120)]
    write_pieces(tmp_path, pieces, [build_instrument()])
    seen: list[tuple[int, int]] = []
    read = store.read_batches

    def watched(*arguments: Any, **options: Any) -> Iterator[tuple[int, pa.RecordBatch]]:
        for first, batch in read(*arguments, **options):
            seen.append((first, batch.num_rows))
            yield first, batch

    monkeypatch.setattr(store, "read_batches", watched)
    assert [piece.piece_id for piece in read_pieces(tmp_path, split="test")] == [
        f"piece-{n:04d}" for n in range(40, 80)
    ]
    assert seen == [(40, 40)]
