"""The audit: who changed what, and who was refused. Written by a thread of its own, off the doors' loop."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, delete, func, select

from alloysort_inference.log import schema
from alloysort_inference.log.database import LogError, plainly

MOST_WAITING: Final = 1000
MOST_REFUSALS: Final = 100_000  # kept; changes are kept for ever
TIDY_EVERY: Final = 1000
RETRY_S: Final = 1.0
_log = logging.getLogger("alloysort")


@dataclass(frozen=True)
class Entry:
    """Something that was done or refused.

    Attributes:
        time: UTC.
        who: name of a token, `this machine`, `anybody`, or a signal.
        address: where from; empty where it came over no network.
        action: what.
        details: of it, never a secret.
        refused: why; None: it was done.
    """

    time: datetime
    who: str
    address: str
    action: str
    details: Mapping[str, Any] | None = None
    refused: str | None = None


def note(database: Engine, entry: Entry) -> None:
    """Write an entry.

    Raises:
        LogError: it cannot be written.
    """
    values = {
        "time": entry.time,
        "who": entry.who,
        "address": entry.address,
        "action": entry.action.replace("\0", "?"),
        "details": None if entry.details is None else dict(entry.details),
        "refused": None if entry.refused is None else entry.refused.replace("\0", "?"),
    }
    with plainly("audit"), database.begin() as connection:
        connection.execute(schema.audit.insert().values(values))


def read_audit(database: Engine, most: int) -> list[Entry]:
    """The newest entries, newest first.

    Raises:
        LogError: the log cannot be read.
    """
    table = schema.audit
    columns = (table.c.time, table.c.who, table.c.address, table.c.action, table.c.details, table.c.refused)
    with plainly("audit"), database.connect() as connection:
        rows = connection.execute(select(*columns).order_by(table.c.id.desc()).limit(most)).all()
    return [Entry(*row) for row in rows]


def forget_refusals(database: Engine, most: int = MOST_REFUSALS) -> None:
    """Keep the newest refusals only.

    Raises:
        LogError: the log cannot be written.
    """
    table = schema.audit
    with plainly("audit"), database.begin() as connection:
        refusals = connection.scalar(
            select(func.count()).select_from(table).where(table.c.refused.is_not(None))
        )
        if (surplus := (refusals or 0) - most) > 0:
            oldest = select(table.c.id).where(table.c.refused.is_not(None)).order_by(table.c.id)
            connection.execute(delete(table).where(table.c.id.in_(oldest.limit(surplus).scalar_subquery())))


class Trail:
    """Takes entries at once and writes them by and by. Safe to share between threads.

    Args:
        database: of the log; None where there is none: entries go to the logger only.
    """

    def __init__(self, database: Engine | None) -> None:
        self._database = database
        self._waiting: queue.Queue[Entry | None] = queue.Queue(MOST_WAITING)
        self._closing = threading.Event()
        self._thread = None if database is None else threading.Thread(target=self._run, args=(database,))
        if self._thread is not None:
            self._thread.name, self._thread.daemon = "audit", True
            self._thread.start()

    def add(self, entry: Entry) -> None:
        """Tell the logger, and have it written; never waits."""
        outcome = "done" if entry.refused is None else f"refused: {entry.refused}"
        details = "" if not entry.details else f" {dict(entry.details)}"
        _log.info("audit: %s (%s): %s%s, %s", entry.who, entry.address, entry.action, details, outcome)
        if self._thread is None:
            return
        try:
            self._waiting.put_nowait(entry)
        except queue.Full:
            _log.error("audit: no room for %s of %s: the log cannot be written", entry.action, entry.who)

    def close(self) -> None:
        """Write what waits; what the database does not take now is lost."""
        if self._thread is not None:
            self._closing.set()
            try:
                self._waiting.put(None, timeout=RETRY_S)
            except queue.Full:
                return
            self._thread.join()

    def _run(self, database: Engine) -> None:
        written = 0
        while (entry := self._waiting.get()) is not None:
            self._insist(database, entry)
            if written % TIDY_EVERY == 0:
                with suppress(LogError):  # next time, then
                    forget_refusals(database)
            written += 1

    def _insist(self, database: Engine, entry: Entry) -> None:
        """Try until it is written, or the service ends."""
        complained = False
        while True:
            try:
                note(database, entry)
            except LogError as error:
                if not complained:
                    _log.error("audit: %s of %s waits: %s", entry.action, entry.who, error)
                complained = True
                if self._closing.wait(RETRY_S):
                    return
            else:
                return
