"""Batches: a name that pieces get which bring none, from its opening to its closing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, select

from alloysort_datasets.errors import DataError
from alloysort_inference.log import schema
from alloysort_inference.log.database import plainly


@dataclass(frozen=True)
class Batch:
    """An open batch."""

    name: str
    opened: datetime

    def told(self) -> dict[str, Any]:
        """For the page."""
        return {"name": self.name, "opened": self.opened.timestamp()}


def open_now(database: Engine) -> Batch | None:
    """The batch that was open when the service ended.

    Raises:
        LogError: the log cannot be read.
    """
    batches = schema.batches
    wanted = select(batches).where(batches.c.closed.is_(None)).order_by(batches.c.opened.desc()).limit(1)
    with plainly(), database.connect() as connection:
        found = connection.execute(wanted).mappings().first()
    return None if found is None else Batch(found["name"], found["opened"])


def begin_batch(database: Engine | None, name: str) -> Batch:
    """Open a batch, and close the one that is open.

    Raises:
        DataError: there was one of that name.
        LogError: the log cannot be written.
    """
    batch = Batch(name, datetime.now(UTC))
    if database is None:
        return batch
    table = schema.batches
    with plainly(), database.begin() as connection:
        if connection.scalar(select(table.c.name).where(table.c.name == name)) is not None:
            raise DataError(f"batch {name!r}: there was one of that name: give it another")
        _close(connection)
        connection.execute(table.insert().values(name=name, opened=batch.opened))
    return batch


def end_batch(database: Engine | None) -> None:
    """Close the open batch.

    Raises:
        LogError: the log cannot be written.
    """
    if database is None:
        return
    with plainly(), database.begin() as connection:
        _close(connection)


def _close(connection: Any) -> None:
    table = schema.batches
    connection.execute(table.update().where(table.c.closed.is_(None)).values(closed=datetime.now(UTC)))
