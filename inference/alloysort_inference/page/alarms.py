"""The book of alarms: which stand, since when, and who has seen them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from alloysort_datasets.errors import DataError
from alloysort_inference.health.watch import Alarm
from alloysort_inference.log import schema
from alloysort_inference.log.database import first_line

REMEMBERED: Final = 200  # that are over, in memory
_log = logging.getLogger("alloysort")


@dataclass(frozen=True)
class Entry:
    """An alarm in the book.

    Attributes:
        number: counted up from 1.
        alarm: as it was raised, its words as they were last.
        until: when it was over; None while it stands.
        acknowledged: when somebody said to have seen it.
        who: did.
    """

    number: int
    alarm: Alarm
    until: datetime | None = None
    acknowledged: datetime | None = None
    who: str | None = None

    def told(self) -> dict[str, Any]:
        """For the page."""
        alarm = self.alarm
        return {
            "id": self.number,
            "key": alarm.key,
            "severity": alarm.severity,
            "text": alarm.text,
            "advice": alarm.advice,
            "since": alarm.since.timestamp(),
            "until": None if self.until is None else self.until.timestamp(),
            "acknowledged": None if self.acknowledged is None else self.acknowledged.timestamp(),
            "who": self.who,
        }


class Book:
    """The alarms of a service; safe to share between threads.

    Args:
        database: of the decision log, which keeps them; None: they are forgotten with the process.
    """

    def __init__(self, database: Engine | None) -> None:
        self._database, self._lock = database, threading.Lock()
        self._standing: dict[str, Entry] = {}
        self._over: list[Entry] = []
        self._number = self._last_number()

    def update(self, alarms: Iterable[Alarm]) -> None:
        """These stand now; all others are over."""
        now, changed = datetime.now(UTC), []
        with self._lock:
            found = {alarm.key: alarm for alarm in alarms}
            for key, alarm in found.items():
                known = self._standing.get(key)
                if known is None:
                    self._number += 1
                    known = Entry(self._number, alarm)
                    _log.warning("alarm %s: %s", key, alarm.text)
                    changed.append(known)
                self._standing[key] = replace(known, alarm=replace(alarm, since=known.alarm.since))
            for key in [key for key in self._standing if key not in found]:
                over = replace(self._standing.pop(key), until=now)
                self._over = [*self._over[-REMEMBERED:], over]
                _log.warning("alarm %s is over", key)
                changed.append(over)
        for entry in changed:
            self._keep(entry)

    def acknowledge(self, number: int, who: str) -> Entry:
        """Say to have seen an alarm; the first who says so stands in the book.

        Raises:
            DataError: there is no such alarm.
        """
        with self._lock:
            for key, entry in self._standing.items():
                if entry.number == number:
                    if entry.acknowledged is None:
                        entry = replace(entry, acknowledged=datetime.now(UTC), who=who)
                        self._standing[key] = entry
                    break
            else:
                standing = ", ".join(str(one.number) for one in self._standing.values()) or "none"
                raise DataError(f"alarm {number}: does not stand; those that do: {standing}")
        self._keep(entry)
        return entry

    def standing(self) -> list[Entry]:
        """Those that stand, the gravest and then the newest first."""
        order = {"fault": 0, "warning": 1, "notice": 2}
        with self._lock:
            entries = list(self._standing.values())
        return sorted(entries, key=lambda one: (order[one.alarm.severity], -one.number))

    def over(self) -> list[Entry]:
        """Those that are over, the newest first."""
        with self._lock:
            return self._over[::-1]

    def _last_number(self) -> int:
        if self._database is None:
            return 0
        try:
            with self._database.connect() as connection:
                return connection.scalar(select(func.max(schema.alarms.c.id))) or 0
        except SQLAlchemyError as error:
            _log.error("alarms of before cannot be read: %s", first_line(error))
            return 0

    def _keep(self, entry: Entry) -> None:
        """A log that cannot be written has an alarm of its own; this one is in the process's own words."""
        if self._database is None:
            return
        alarm = entry.alarm
        row = {
            "key": alarm.key,
            "severity": alarm.severity,
            "text": alarm.text,
            "advice": alarm.advice,
            "since": alarm.since,
            "until": entry.until,
            "acknowledged": entry.acknowledged,
            "who": entry.who,
        }
        table = schema.alarms
        try:
            with self._database.begin() as connection:
                connection.execute(table.delete().where(table.c.id == entry.number))
                connection.execute(table.insert().values(id=entry.number, **row))
        except SQLAlchemyError as error:
            _log.error("alarm %s is not kept: %s", alarm.key, first_line(error))
