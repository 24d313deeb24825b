from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloysort_datasets.errors import TableError
from alloysort_datasets.piece import SPLITS, Instrument, Piece
from alloysort_datasets.table.check import check_table
from alloysort_datasets.table.split import Shares, split_tables
from alloysort_datasets.table.store import read_pieces, write_pieces

Write = Callable[..., Path]


@pytest.fixture
def write(
    tmp_path: Path, build_piece: Callable[..., Piece], build_instrument: Callable[..., Instrument]
) -> Write:
    """A function from (batch, family) rows to a table of pieces without a split."""

    def write(rows: list[tuple[str, str | None]], name: str = "table", **fields: Any) -> Path:
        pieces = [
            build_piece(n, 16, **({"split": None, "batch": batch, "family": family, "image": None} | fields))
            for n, (batch, family) in enumerate(rows)
        ]
        write_pieces(tmp_path / name, pieces, [build_instrument(channels=16)], rows_per_file=7)
        return tmp_path / name

    return write


def sides(folder: Path) -> list[str | None]:
    return [piece.split for piece in read_pieces(folder, columns=[])]


def test_shares_are_kept_by_family_and_all_else_stays(write: Write) -> None:
    rows: list[tuple[str, str | None]] = [(f"{f}-{n}", f) for f in ("brass", "zinc") for n in range(20)]
    folder = write(rows)
    before = [pq.read_table(path).drop_columns("split") for path in sorted(folder.glob("pieces-*"))]
    counts = split_tables([folder], seed=1)
    assert counts == {
        (family, split): number
        for family in ("brass", "zinc")
        for split, number in zip(SPLITS, (16, 2, 2), strict=True)
    }
    after = [pq.read_table(path).drop_columns("split") for path in sorted(folder.glob("pieces-*"))]
    assert all(old.equals(new) for old, new in zip(before, after, strict=True))
    assert check_table(folder) == []
    assert not list(folder.glob(".*"))


def test_seeds_decide(write: Write) -> None:
    rows: list[tuple[str, str | None]] = [(f"b{n}", "brass") for n in range(20)]
    one, same, other = (write(rows, name) for name in ("one", "same", "other"))
    split_tables([one], seed=1)
    split_tables([same], seed=1)
    split_tables([other], seed=2)
    assert sides(one) == sides(same) != sides(other)


def test_too_few_batches_are_named_and_allowed(write: Write) -> None:
    folder = write([*((f"b{n}", "brass") for n in range(3)), ("z", "zinc"), ("z2", "zinc"), ("y", None)])
    with pytest.raises(TableError, match=r"train, calibration, test: zinc has 2: give .* --allow-absent"):
        split_tables([folder])
    assert set(sides(folder)) == {None}
    counts = split_tables([folder], allow_absent=True)
    assert sum(counts.values()) == 6
    assert all(counts["brass", split] == 1 for split in SPLITS)


def test_pieces_with_a_split_are_left_unless_again(write: Write) -> None:
    folder = write([(f"b{n}", "brass") for n in range(6)], split="test")
    with pytest.raises(TableError, match="6 pieces have a split already: --again"):
        split_tables([folder])
    split_tables([folder], again=True)
    assert set(sides(folder)) == set(SPLITS)


def test_a_piece_in_two_tables_is_a_fault(write: Write) -> None:
    rows: list[tuple[str, str | None]] = [(f"b{n}", "brass") for n in range(6)]
    with pytest.raises(TableError, match="two: a second piece 'piece-0000'"):
        split_tables([write(rows, "one"), write(rows, "two")])


def test_a_kill_while_writing_leaves_the_old_table(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write([(f"b{n}", "brass") for n in range(20)])
    write_batch = pq.ParquetWriter.write_batch
    calls = []

    def stop(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write_batch(*arguments)

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", stop)
    with pytest.raises(KeyboardInterrupt):
        split_tables([folder])
    assert sides(folder) == [None] * 20


@pytest.mark.parametrize(
    "parts", [(80.0, 20.0), (0.0, 50.0, 50.0), (80.0, -1.0, 10.0), (1.0, 1.0, float("nan"))]
)
def test_impossible_shares(parts: tuple[float, ...]) -> None:
    with pytest.raises(TableError, match="must be three numbers"):
        Shares(parts)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["brass", "zinc", None])), min_size=1))
def test_no_batch_is_ever_parted(
    build_piece: Callable[..., Piece],
    build_instrument: Callable[..., Instrument],
    rows: list[tuple[str, str | None]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        pieces = [
            build_piece(n, 16, split=None, batch=batch, family=family, image=None)
            for n, (batch, family) in enumerate(rows)
        ]
        write_pieces(Path(name), pieces, [build_instrument(channels=16)], rows_per_file=5)
        split_tables([Path(name)], allow_absent=True)
        assert check_table(Path(name)) == []
        assert None not in sides(Path(name))
