"""The decision log: every record in a database, by a thread of its own, off the way of a piece.

A disk that is full or a database that is gone stops no decision: records wait in memory and are tried again,
an alarm is raised once, and what finds no room even there is counted as lost.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.assessment import Assessment
from alloysort_inference.log import schema
from alloysort_inference.log.database import LogError, first_line, open_database
from alloysort_inference.log.keep import MOST_KEPT, Keeper, Sample, pack
from alloysort_inference.record import Origin, Record

MOST_WAITING: Final = 100_000  # records: at 200 pieces a second, eight minutes of a lost database
MOST_SAMPLES: Final = 100  # of these that wait with picture and spectrum
RETRY_S: Final = 1.0
LINGER_S: Final = 0.1  # records of this long are written together; what a killed process can lose
TOGETHER: Final = 1000
TIDY_S: Final = 60.0
TIDY_ROWS: Final = 5000  # forgotten at a time
PLACES: Final = 4
LEAST_SHARE: Final = 0.001  # of a family that is written down
DEMONSTRATION: Final = "demonstration"
_log = logging.getLogger("alloysort")


@dataclass(frozen=True, eq=False)
class Entry:
    """A record with what else is known of its piece."""

    seq: int
    record: Record
    mass_g: float | None
    kept: tuple[str, int, Sample] | None


class DecisionLog:
    """An open log. Safe to share between threads.

    Args:
        where: path of an SQLite file, or postgresql://user:password@host/database.
        demonstration: whether its pieces are made up: such never enter a plant's log.
        days: how long a decision is kept; None: for ever.
        keep_per_s: pieces a second whose picture and spectrum are kept, on average.
        most_kept: of them, in all.

    Attributes:
        fault: why it cannot be written just now; None while it can.
        lost: records that found no room while it could not.

    Raises:
        LogError: it cannot be opened, or it is a plant's and these are made up, or the other way round.
    """

    def __init__(
        self,
        where: str,
        *,
        demonstration: bool = False,
        days: float | None = None,
        keep_per_s: float = 1.0,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self.database = open_database(where)
        self.name = self.database.url.render_as_string(hide_password=True)
        self.fault: str | None = None
        self.lost = 0
        self._days, self._most_kept = days, most_kept
        self._keeper = Keeper(keep_per_s)
        self._waiting: deque[Entry] = deque()
        self._unwritten: list[Entry] = []  # taken from those, and not written yet
        self._samples = 0
        self._seq, self._numbering = 0, threading.Lock()
        self._known: dict[tuple[str, str], int] = {}  # ids by table and hash
        self._tidied_s = 0.0
        self._wake, self._closing = threading.Event(), False
        self._claim(demonstration)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, record: Record, mass_g: float | None = None, sample: Sample | None = None) -> int:
        """Append one decision; returns its number at once.

        Args:
            record: of the decision.
            mass_g: where somebody told it.
            sample: what the sensors saw; kept where a label for it would teach something.
        """
        with self._numbering:
            seq = self._seq = max(self._seq + 1, time.time_ns() // 1000)
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
            return seq
        why = None if sample is None or self._samples >= MOST_SAMPLES else self._keeper.why(record)
        kept = None if why is None or sample is None else (*why, sample)
        self._samples += kept is not None
        self._waiting.append(Entry(seq, record, mass_g, kept))
        if not self._wake.is_set():
            self._wake.set()
        return seq

    def close(self) -> None:
        """Write what waits and close; what the database does not take now is lost."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        self.database.dispose()
        if self.lost:
            _log.error("decision log %s: %d records are lost", self.name, self.lost)

    def __enter__(self) -> DecisionLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _claim(self, demonstration: bool) -> None:
        """A log is a plant's or a demonstration's from its first day on."""
        wanted = "yes" if demonstration else "no"
        try:
            with self.database.begin() as connection:
                where = schema.about.c.key == DEMONSTRATION
                found = connection.scalar(select(schema.about.c.value).where(where))
                if found is None:
                    connection.execute(schema.about.insert().values(key=DEMONSTRATION, value=wanted))
                self._seq = connection.scalar(select(func.max(schema.pieces.c.seq))) or 0
        except SQLAlchemyError as error:
            raise LogError(f"decision log {self.name}: {first_line(error)}") from None
        if found not in (None, wanted):
            owner, pieces = ("a plant", "made-up ones") if demonstration else ("a demonstration", "real ones")
            raise LogError(
                f"decision log {self.name}: holds the pieces of {owner}: {pieces} need another file"
            )

    def _run(self) -> None:
        while not self._closing or self._waiting or self._unwritten:
            self._wake.wait(TIDY_S)
            self._wake.clear()
            if not self._closing:
                threading.Event().wait(LINGER_S)
            while self._waiting or self._unwritten:
                if self._write_some():
                    continue
                if self._closing:
                    self.lost += len(self._waiting) + len(self._unwritten)
                    return
                self._wake.wait(RETRY_S)
                self._wake.clear()
            self._tidy()

    def _write_some(self) -> bool:
        """Write what waits; false if the database does not take it."""
        while self._waiting and len(self._unwritten) < TOGETHER:
            self._unwritten.append(self._waiting.popleft())
        try:
            self._insert(self._unwritten)
        except SQLAlchemyError as error:
            self._known.clear()  # what it gave ids to is rolled back
            gone = isinstance(error, DBAPIError) and error.connection_invalidated
            if gone or isinstance(error, OperationalError | InterfaceError):
                self._alarm(first_line(error))
                return False
            self._insert_each()
        self._samples -= sum(entry.kept is not None for entry in self._unwritten)
        self._unwritten = []
        if self.fault is not None:
            _log.warning("decision log %s: can be written again", self.name)
            self.fault = None
        return True

    def _insert_each(self) -> None:
        """One row that the database refuses must not hold up the others."""
        for entry in self._unwritten:
            try:
                self._insert([entry])
            except SQLAlchemyError as error:
                self.lost += 1
                self._known.clear()
                piece_id, why = entry.record.piece_id, first_line(error)
                _log.error("decision log %s: piece %r: %s", self.name, piece_id, why)

    def _insert(self, entries: Sequence[Entry]) -> None:
        with self.database.begin() as connection:
            put(connection, schema.pieces, [self._row(connection, entry) for entry in entries])
            kept = [self._kept(connection, one.seq, *one.kept) for one in entries if one.kept is not None]
            put(connection, schema.kept, [row for row in kept if row is not None])

    def _row(self, connection: Connection, entry: Entry) -> dict[str, object]:
        record = entry.record
        decision, timing = record.decision, record.timing
        return {
            "seq": entry.seq,
            "piece_id": record.piece_id.replace("\0", "?"),
            "time": record.time,
            "batch": None if record.batch is None else record.batch.replace("\0", "?"),
            "status": record.status,
            "mass_g": entry.mass_g,
            "family": decision.family,
            **told(record.assessment),
            "accepted": decision.accepted,
            "accepted_as_aluminium": decision.accepted_as_aluminium,
            "novel": decision.novel,
            "quality": ",".join(record.quality),
            "outlet": decision.outlet,
            "eject": decision.eject,
            "reason": decision.reason.replace("\0", "?"),
            "total_ms": round(timing.total_ms, 3),
            "waiting_ms": round(timing.waiting_ms, 3),
            "decode_ms": round(timing.decode_ms, 3),
            "prepare_ms": round(timing.prepare_ms, 3),
            "infer_ms": round(timing.infer_ms, 3),
            "decide_ms": round(timing.decide_ms, 3),
            "bundle": self._origin(connection, record.bundle),
            "recipe": self._origin(connection, record.recipe),
        }

    def _origin(self, connection: Connection, origin: Origin) -> int:
        return self._id(connection, schema.origins, origin.sha256, {"name": origin.name})

    def _kept(
        self, connection: Connection, seq: int, why: str, rank: int, sample: Sample
    ) -> dict[str, object] | None:
        """The row of a kept piece; none where its spectrum turns out to be none."""
        try:
            spectrum = None if sample.spectrum is None else sample.spectrum()
        except DataError:
            return None
        return {
            "seq": seq,
            "why": why,
            "rank": rank,
            "image": sample.image,
            "shots": None if spectrum is None else pack(spectrum.shots),
            "instrument": None if spectrum is None else self._instrument(connection, spectrum),
        }

    def _instrument(self, connection: Connection, spectrum: Spectrum) -> int:
        axis, ceiling = spectrum.wavelength_nm.astype("<f8").tobytes(), spectrum.saturation_counts
        values = {"wavelength_nm": axis, "saturation_counts": ceiling if np.isfinite(ceiling) else None}
        sha256 = hashlib.sha256(axis + str(ceiling).encode()).hexdigest()
        return self._id(connection, schema.instruments, sha256, values)

    def _id(self, connection: Connection, table: Table, sha256: str, values: Mapping[str, object]) -> int:
        """Of the row with a hash, which is put there if it is not yet."""
        if (table.name, sha256) not in self._known:
            put(connection, table, [{"sha256": sha256, **values}])
            found = connection.scalar(select(table.c.id).where(table.c.sha256 == sha256))
            self._known[table.name, sha256] = int(found or 0)
        return self._known[table.name, sha256]

    def _tidy(self) -> None:
        """Forget what is too old, and of the kept pieces those that teach least."""
        if self._closing or time.monotonic() - self._tidied_s < TIDY_S:
            return
        self._tidied_s = time.monotonic()
        try:
            with self.database.begin() as connection:
                tidy(connection, self._days, self._most_kept)
        except SQLAlchemyError as error:
            self._alarm(first_line(error))

    def _alarm(self, fault: str) -> None:
        if self.fault is None:
            _log.error("decision log %s: %s; decisions go on, records wait in memory", self.name, fault)
        self.fault = fault


def put(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows; one that is there already, of a try that broke off, stays as it is."""
    if rows:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


def tidy(connection: Connection, days: float | None, most_kept: int) -> None:
    """Forget decisions older than `days`, some at a time, and kept pieces beyond `most_kept`.

    Of the kept ones those go first that teach least, then the oldest; one with a label stays.
    """
    pieces, kept, labels = schema.pieces, schema.kept, schema.labels
    if days is not None:
        before = datetime.now(UTC) - timedelta(days=days)
        old = select(pieces.c.seq).where(pieces.c.seq < before.timestamp() * 1e6).limit(TIDY_ROWS)
        connection.execute(delete(pieces).where(pieces.c.seq.in_(old.scalar_subquery())))
    surplus = (connection.scalar(select(func.count()).select_from(kept)) or 0) - most_kept
    if surplus > 0:
        unlabelled = select(kept.c.seq).where(kept.c.seq.not_in(select(labels.c.seq)))
        least = unlabelled.order_by(kept.c.rank.desc(), kept.c.seq).limit(surplus)
        connection.execute(delete(kept).where(kept.c.seq.in_(least.scalar_subquery())))


def told(said: Assessment | None) -> dict[str, Any]:
    """What the model said, nulls where it was not asked."""
    if said is None:
        columns = ("confidence", "novelty", "surface", "probabilities", "composition", "composition_sigma")
        return dict.fromkeys(columns)
    shares = zip(FAMILIES, _rounded(said.probabilities), strict=True)
    return {
        "confidence": round(said.confidence, 6),
        "novelty": said.novelty,
        "surface": said.surface,
        "probabilities": {family: share for family, share in shares if share >= LEAST_SHARE},
        "composition": dict(zip(ELEMENTS, _rounded(said.composition), strict=True)),
        "composition_sigma": dict(zip(ELEMENTS, _rounded(said.composition_sigma), strict=True)),
    }


def _rounded(numbers: NDArray[np.float32]) -> list[float]:
    rounded: list[float] = numbers.astype(np.float64).round(PLACES).tolist()
    return rounded
