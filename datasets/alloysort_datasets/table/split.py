"""Which batch is learned from, which calibrates, which tests: drawn by family, and never a batch parted.

Of a number of random draws the one is kept that leaves fewest families out of a split, and of those the one
that comes nearest to the shares. The same tables and seed give the same splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from alloysort_datasets.errors import TableError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.piece import SPLITS, Split
from alloysort_datasets.table.sides import Sides
from alloysort_datasets.table.store import ROWS_PER_BATCH, part_of, piece_files, read_pieces

SHARES: Final = (80.0, 10.0, 10.0)
UNLABELLED: Final = "unlabelled"

_DRAWS: Final = 20
_STRATA: Final = (*FAMILIES, UNLABELLED)

Batch = tuple[str, str]


@dataclass(frozen=True)
class Shares:
    """How much goes to train, calibration and test; need not sum to 100.

    Raises:
        TableError: not three numbers of 0 or more, or nothing to train on.
    """

    parts: tuple[float, ...] = SHARES

    def __post_init__(self) -> None:
        fits = len(self.parts) == len(SPLITS) and all(0 <= part < np.inf for part in self.parts)
        if not fits or self.parts[0] <= 0:
            raise TableError(
                f"shares {', '.join(f'{part:g}' for part in self.parts)} must be three numbers of 0 or more "
                f"for {', '.join(SPLITS)}, as 80,10,10, the first over 0"
            )


def split_tables(
    folders: Sequence[Path],
    seed: int = 0,
    shares: Shares | None = None,
    again: bool = False,
    allow_absent: bool = False,
) -> Counter[tuple[str, Split]]:
    """Give every piece of some tables its split.

    All files are written beside the old ones before the first takes its place, each at once.

    Args:
        folders: the tables that will be used together.
        seed: of the draw.
        shares: of the pieces of each family.
        again: draw anew where pieces have a split already.
        allow_absent: go on where a family cannot stand in every split.

    Returns:
        pieces by family (or "unlabelled") and split.

    Raises:
        TableError: a table is malformed, a piece stands twice, pieces have a split already, or a family has
            too few batches.
    """
    parts = (shares or Shares()).parts
    batches = _survey(folders, again)
    drawn = _draw(batches, seed, np.array(parts) / sum(parts))
    if not allow_absent:
        _require_presence(folders, batches, drawn, parts)
    _rewrite([path for folder in folders for path in piece_files(folder)], drawn)
    counts: Counter[tuple[str, Split]] = Counter()
    for batch, families in batches.items():
        for family, pieces in families.items():
            counts[family, drawn[batch]] += pieces
    return counts


def _survey(folders: Sequence[Path], again: bool) -> dict[Batch, Counter[str]]:
    """Pieces of each family in each batch."""
    sides, taken = Sides(), 0
    batches: dict[Batch, Counter[str]] = {}
    for folder in folders:
        for piece in read_pieces(folder, columns=["family"]):
            clashes = sides.add(piece.piece_id, piece.source, piece.batch, None, where=str(folder))
            if clashes:
                raise TableError(f"{folder}: {clashes[0][1]}")
            batches.setdefault((piece.source, piece.batch), Counter())[piece.family or UNLABELLED] += 1
            taken += piece.split is not None
    if taken and not again:
        listed = ", ".join(str(folder) for folder in folders)
        raise TableError(f"{listed}: {taken} pieces have a split already: --again draws all anew")
    return batches


def _draw(
    batches: Mapping[Batch, Counter[str]], seed: int, shares: NDArray[np.float64]
) -> dict[Batch, Split]:
    names = sorted(batches)
    counts = np.array([[batches[name][family] for family in _STRATA] for name in names])
    best, best_score = np.zeros(len(names), dtype=np.int64), (np.inf, np.inf)
    for draw in range(_DRAWS):
        sides = _deal(counts, shares, np.random.default_rng((seed, draw)))
        score = _score(counts, sides, shares)
        if score < best_score:
            best, best_score = sides, score
    return {name: SPLITS[side] for name, side in zip(names, best, strict=True)}


def _deal(
    counts: NDArray[np.int64], shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """(batches,) sides of (batches, families) counts: the rarest family first, to the split most short of it.

    When no more batches of a family are left than splits that lack it, these get them.
    """
    sides = np.full(len(counts), -1)
    missing = shares[:, None] * counts.sum(axis=0)  # (splits, families)
    held = np.zeros(missing.shape, dtype=bool)
    order = rng.permutation(len(counts))
    for family in np.argsort((counts > 0).sum(axis=0), kind="stable"):
        left = [batch for batch in order if sides[batch] < 0 and counts[batch, family]]
        for place, batch in enumerate(left):
            lacking = (shares > 0) & ~held[:, family]
            forced = lacking.any() and len(left) - place <= lacking.sum()
            want = np.where(lacking if forced else shares > 0, missing[:, family], -np.inf)
            side = int(np.argmax(want))
            sides[batch] = side
            missing[side] -= counts[batch]
            held[side] |= counts[batch] > 0
    return sides


def _score(
    counts: NDArray[np.int64], sides: NDArray[np.int64], shares: NDArray[np.float64]
) -> tuple[float, float]:
    """Labelled families that a split lacks; and how far the pieces are from the shares."""
    dealt = np.array([counts[sides == side].sum(axis=0) for side in range(len(shares))])
    labelled = counts[:, :-1].sum(axis=0) > 0
    lacking = (dealt[shares > 0, :-1] == 0) & labelled
    return float(lacking.sum()), float(np.abs(dealt - shares[:, None] * counts.sum(axis=0)).sum())


def _require_presence(
    folders: Sequence[Path],
    batches: Mapping[Batch, Counter[str]],
    drawn: Mapping[Batch, Split],
    parts: Sequence[float],
) -> None:
    wanted = [split for split, part in zip(SPLITS, parts, strict=True) if part > 0]
    short = []
    for family in FAMILIES:
        holding = [batch for batch, families in batches.items() if families[family]]
        if holding and {drawn[batch] for batch in holding} != set(wanted):
            short.append(f"{family} has {len(holding)}")
    if short:
        listed = ", ".join(str(folder) for folder in folders)
        raise TableError(
            f"{listed}: too few batches to stand in {', '.join(wanted)}: {', '.join(short)}: "
            "give the pieces batches (heap, day, object) by a `batch` column in labels.csv and import again, "
            "or go on with --allow-absent"
        )


def _rewrite(paths: Sequence[Path], drawn: Mapping[Batch, Split]) -> None:
    parts = {path: part_of(path) for path in paths}
    try:
        for path, part in parts.items():
            _write_part(path, part, drawn)
        for path, part in parts.items():
            part.replace(path)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise TableError(f"{path}: {' '.join(str(error).split())[:200]}") from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _write_part(path: Path, part: Path, drawn: Mapping[Batch, Split]) -> None:
    """The same file with other splits; all else, columns of others included, as it stands."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        at = schema.get_field_index("split")
        schema = schema.set(at, pa.field("split", pa.string()))
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for batch in _row_groups(file):
                keys = zip(batch["source"].to_pylist(), batch["batch"].to_pylist(), strict=True)
                splits = pa.array([drawn[key] for key in keys], pa.string())
                columns = [splits if i == at else column for i, column in enumerate(batch.columns)]
                writer.write_batch(pa.record_batch(columns, schema=schema))


def _row_groups(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    for group in range(file.num_row_groups):
        yield from file.iter_batches(4 * ROWS_PER_BATCH, row_groups=[group])
