"""What a log holds: decisions, and the pieces that it keeps for labelling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, Select, func, select

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import FAMILIES
from alloysort_inference.log import schema
from alloysort_inference.log.database import plainly
from alloysort_inference.log.keep import unpack

ROWS: Final = 500  # fetched at a time
_ORIGIN: Final = schema.origins.alias("bundles"), schema.origins.alias("recipes")


@dataclass(frozen=True, eq=False)
class Kept:
    """A piece whose picture and spectrum the log keeps.

    Attributes:
        seq: its number in the log.
        told: its decision, by column of `schema.pieces`.
        why: it is kept.
        label: the family that a person named; None where nobody did.
        alloy: likewise.
        image: file, None where the camera saw nothing.
        wavelength_nm, shots: (channels,) and (shots, channels); None where the laser hit nothing.
        saturation_counts: infinity where unknown.
    """

    seq: int
    told: Mapping[str, Any]
    why: str
    label: str | None
    alloy: str | None
    image: bytes | None
    wavelength_nm: NDArray[np.float64] | None
    shots: NDArray[np.float32] | None
    saturation_counts: float


def read_decisions(
    database: Engine, since: datetime | None = None, until: datetime | None = None, batch: str | None = None
) -> Iterator[dict[str, Any]]:
    """Decisions in order, each by column, bundle and recipe by name and hash, at constant memory.

    Raises:
        LogError: the log cannot be read.
    """
    bundle, recipe = _ORIGIN
    columns = [column for column in schema.pieces.c if column.name not in ("bundle", "recipe")]
    wanted = (
        select(
            *columns,
            bundle.c.name.label("bundle"),
            bundle.c.sha256.label("bundle_sha256"),
            recipe.c.name.label("recipe"),
            recipe.c.sha256.label("recipe_sha256"),
            schema.labels.c.family.label("label"),
        )
        .join(bundle, bundle.c.id == schema.pieces.c.bundle)
        .join(recipe, recipe.c.id == schema.pieces.c.recipe)
        .outerjoin(schema.labels, schema.labels.c.seq == schema.pieces.c.seq)
        .order_by(schema.pieces.c.seq)
    )
    yield from _rows(database, _between(wanted, since, until, batch))


def read_shares(
    database: Engine, since: datetime | None = None, until: datetime | None = None, batch: str | None = None
) -> NDArray[np.float64]:
    """(N, 19) probabilities of the decided pieces.

    Raises:
        LogError: the log cannot be read.
    """
    wanted = select(schema.pieces.c.probabilities).where(schema.pieces.c.status == "decided")
    told = [row["probabilities"] for row in _rows(database, _between(wanted, since, until, batch))]
    rows = [[one.get(family, 0.0) for family in FAMILIES] for one in told]
    return np.array(rows).reshape(-1, len(FAMILIES))


def read_kept(
    database: Engine,
    since: datetime | None = None,
    until: datetime | None = None,
    batch: str | None = None,
    *,
    seq: int | None = None,
) -> Iterator[Kept]:
    """The kept pieces in order, or the one of a number.

    Raises:
        LogError: the log cannot be read.
    """
    kept, labels, instruments = schema.kept, schema.labels, schema.instruments
    wanted = (
        select(
            schema.pieces,
            kept.c.why,
            kept.c.image,
            kept.c.shots,
            labels.c.family.label("label"),
            labels.c.alloy,
            instruments.c.wavelength_nm,
            instruments.c.saturation_counts,
        )
        .join(kept, kept.c.seq == schema.pieces.c.seq)
        .outerjoin(labels, labels.c.seq == schema.pieces.c.seq)
        .outerjoin(instruments, instruments.c.id == kept.c.instrument)
        .order_by(schema.pieces.c.seq)
    )
    if seq is not None:
        wanted = wanted.where(schema.pieces.c.seq == seq)
    for row in _rows(database, _between(wanted, since, until, batch)):
        yield _kept(row)


def list_kept(database: Engine, most: int, *, unlabelled: bool) -> list[dict[str, Any]]:
    """Kept pieces without their bytes: those that teach most first, of these the newest.

    Raises:
        LogError: the log cannot be read.
    """
    kept, labels, pieces = schema.kept, schema.labels, schema.pieces
    wanted = (
        select(
            pieces.c.seq,
            pieces.c.piece_id,
            pieces.c.time,
            pieces.c.family,
            pieces.c.confidence,
            pieces.c.probabilities,
            pieces.c.outlet,
            pieces.c.reason,
            kept.c.why,
            kept.c.image.is_not(None).label("image"),
            kept.c.shots.is_not(None).label("spectrum"),
            labels.c.family.label("label"),
        )
        .join(kept, kept.c.seq == pieces.c.seq)
        .outerjoin(labels, labels.c.seq == pieces.c.seq)
        .order_by(kept.c.rank, pieces.c.seq.desc())
        .limit(most)
    )
    if unlabelled:
        wanted = wanted.where(labels.c.seq.is_(None))
    return list(_rows(database, wanted))


def count_kept(database: Engine) -> tuple[int, int]:
    """How many pieces are kept, and how many of them have a label.

    Raises:
        LogError: the log cannot be read.
    """
    with plainly(), database.connect() as connection:
        kept = connection.scalar(select(func.count()).select_from(schema.kept)) or 0
        return kept, connection.scalar(select(func.count()).select_from(schema.labels)) or 0


def label_piece(database: Engine, seq: int, family: str | None, who: str, alloy: str | None = None) -> None:
    """Say what a kept piece is; None takes a label back.

    Raises:
        DataError: no such family, or no piece of that number is kept.
        LogError: the log cannot be written.
    """
    if family is not None and family not in FAMILIES:
        raise DataError(f"label {family!r} is none of {', '.join(FAMILIES)}")
    labels = schema.labels
    row = {"seq": seq, "family": family, "alloy": alloy, "time": datetime.now(UTC), "who": who}
    with plainly(), database.begin() as connection:
        if connection.scalar(select(schema.kept.c.seq).where(schema.kept.c.seq == seq)) is None:
            raise DataError(f"piece {seq}: is not kept: see the list of those that are")
        connection.execute(labels.delete().where(labels.c.seq == seq))
        if family is not None:
            connection.execute(labels.insert().values(row))


def _between(
    wanted: Select[Any], since: datetime | None, until: datetime | None, batch: str | None
) -> Select[Any]:
    time = schema.pieces.c.time
    if since is not None:
        wanted = wanted.where(time >= since)
    if until is not None:
        wanted = wanted.where(time < until)
    return wanted if batch is None else wanted.where(schema.pieces.c.batch == batch)


def _rows(database: Engine, wanted: Select[Any]) -> Iterator[dict[str, Any]]:
    with (
        plainly(),
        database.connect().execution_options(yield_per=ROWS) as connection,
        connection.execute(wanted) as found,
    ):
        for row in found.mappings():
            yield dict(row)


def _kept(row: Mapping[str, Any]) -> Kept:
    axis, shots, ceiling = row["wavelength_nm"], row["shots"], row["saturation_counts"]
    return Kept(
        seq=row["seq"],
        told={column.name: row[column.name] for column in schema.pieces.c},
        why=row["why"],
        label=row["label"],
        alloy=row["alloy"],
        image=row["image"],
        wavelength_nm=None if axis is None else np.frombuffer(axis, "<f8"),
        shots=None if shots is None else unpack(shots),
        saturation_counts=float("inf") if ceiling is None else ceiling,
    )
