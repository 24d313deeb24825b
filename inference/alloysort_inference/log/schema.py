"""The tables of the decision log, the same in SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """A moment in UTC; SQLite, which knows no time zones, keeps it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """For the database."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def _piece() -> Column[Any]:
    """Of which piece a row is; gone when that is."""
    piece = ForeignKey("pieces.seq", ondelete="CASCADE")
    return Column("seq", _Number, piece, primary_key=True, autoincrement=False)


metadata: Final = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")
_Json = JSON().with_variant(JSONB, "postgresql")


def _required(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=False)


origins: Final = Table(
    "origins",
    metadata,
    Column("id", Integer, primary_key=True),
    _required("name", Text),
    Column("sha256", Text, nullable=False, unique=True),
    comment="bundles and recipes that decided",
)
pieces: Final = Table(
    "pieces",
    metadata,
    Column("seq", _Number, primary_key=True, autoincrement=False, comment="µs since 1970, counted on"),
    _required("piece_id", Text),
    _required("time", Moment),
    Column("batch", Text),
    _required("status", Text),
    Column("mass_g", Float, comment="where somebody told it"),
    Column("family", Text),
    Column("confidence", Float),
    _required("accepted", Boolean),
    _required("accepted_as_aluminium", Boolean),
    _required("novel", Boolean),
    Column("novelty", Float),
    Column("surface", Float),
    _required("quality", Text),
    _required("outlet", Text),
    _required("eject", Boolean),
    _required("reason", Text),
    _required("total_ms", Float),
    _required("waiting_ms", Float),
    _required("decode_ms", Float),
    _required("prepare_ms", Float),
    _required("infer_ms", Float),
    _required("decide_ms", Float),
    Column("bundle", Integer, ForeignKey("origins.id"), nullable=False),
    Column("recipe", Integer, ForeignKey("origins.id"), nullable=False),
    Column("probabilities", _Json, comment="by family, those of a thousandth or more"),
    Column("composition", _Json, comment="wt% by element"),
    Column("composition_sigma", _Json, comment="wt% by element"),
)
Index("pieces_by_batch", pieces.c.batch)
Index("pieces_by_id", pieces.c.piece_id)

instruments: Final = Table(
    "instruments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("wavelength_nm", LargeBinary, nullable=False, comment="float64, little endian"),
    Column("saturation_counts", Float, comment="null: unknown"),
)
kept: Final = Table(
    "kept",
    metadata,
    _piece(),
    _required("why", Text),
    _required("rank", Integer),
    Column("image", LargeBinary),
    Column("shots", LargeBinary, comment="float32 or uint16 in an .npy file, packed by zlib"),
    Column("instrument", Integer, ForeignKey("instruments.id")),
    comment="pieces whose picture and spectrum are kept, for labelling",
)
labels: Final = Table(
    "labels",
    metadata,
    _piece(),
    _required("family", Text),
    Column("alloy", Text),
    _required("time", Moment),
    _required("who", Text),
)
batches: Final = Table(
    "batches",
    metadata,
    Column("name", Text, primary_key=True),
    _required("opened", Moment),
    Column("closed", Moment),
)
alarms: Final = Table(
    "alarms",
    metadata,
    Column("id", Integer, primary_key=True),
    _required("key", Text),
    _required("severity", Text),
    _required("text", Text),
    _required("advice", Text),
    _required("since", Moment),
    Column("until", Moment),
    Column("acknowledged", Moment),
    Column("who", Text, comment="that acknowledged it"),
)
audit: Final = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    _required("time", Moment),
    _required("who", Text),
    _required("address", Text),
    _required("action", Text),
    Column("details", _Json),
    Column("refused", Text, comment="why; null: it was done"),
)
about: Final = Table(
    "about",
    metadata,
    Column("key", Text, primary_key=True),
    _required("value", Text),
)
