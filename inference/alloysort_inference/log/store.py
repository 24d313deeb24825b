"""The decision log: one JSON object a line, appended, never rewritten, by a thread of its own.

A disk that is full or gone stops no decision: records wait in memory and are tried again, an alarm is raised
once, and what finds no room even there is counted as lost.
"""

from __future__ import annotations

import heapq
import json
import logging
import threading
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Final

from alloysort_datasets.errors import AlloysortError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.assessment import Assessment
from alloysort_inference.record import Record

TOP: Final = 3  # families a record keeps
MOST_WAITING: Final = 100_000  # records: at 200 pieces a second, eight minutes of a full disk
RETRY_S: Final = 1.0
LINGER_S: Final = 0.02  # records of this long go to the disk together
_log = logging.getLogger("alloysort")


class DecisionLog:
    """An open log file. Safe to share between threads.

    Attributes:
        path: of the file.
        fault: why it cannot be written just now; None while it can.
        lost: records that found no room while it could not.

    Raises:
        AlloysortError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault: str | None = None
        self.lost = 0
        self._waiting: deque[Record] = deque()
        self._unwritten = b""  # of lines that the disk took a part of
        self._wake, self._closing = threading.Event(), False
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise AlloysortError(f"decision log {path}: {error.strerror or error}") from None
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, record: Record) -> None:
        """Append one decision; returns at once."""
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
        else:
            self._waiting.append(record)
            if not self._wake.is_set():
                self._wake.set()

    def close(self) -> None:
        """Write what waits and close the file; what the disk does not take now is lost."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        self._file.close()
        if self.lost:
            _log.error("decision log %s: %d records are lost", self.path, self.lost)

    def __enter__(self) -> DecisionLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closing or self._waiting or self._unwritten:
            self._wake.wait()
            self._wake.clear()
            if not self._closing:
                threading.Event().wait(LINGER_S)
            while self._waiting or self._unwritten:
                if self._write_some():
                    continue
                if self._closing:
                    self.lost += len(self._waiting) + self._unwritten.count(b"\n")
                    return
                self._wake.wait(RETRY_S)
                self._wake.clear()

    def _write_some(self) -> bool:
        """Write what waits; false if the disk does not take it."""
        some = [self._waiting.popleft() for _ in range(min(len(self._waiting), 1000))]
        self._unwritten += b"".join(
            json.dumps(line_of(record), separators=(",", ":")).encode() + b"\n" for record in some
        )
        try:
            written = self._file.write(self._unwritten)
        except (OSError, ValueError) as error:
            self._alarm(getattr(error, "strerror", None) or str(error))
            return False
        self._unwritten = self._unwritten[written:]
        if self._unwritten:
            self._alarm("it takes no more")
            return False
        if self.fault is not None:
            _log.warning("decision log %s: can be written again", self.path)
            self.fault = None
        return True

    def _alarm(self, fault: str) -> None:
        if self.fault is None:
            _log.error("decision log %s: %s; decisions go on, records wait in memory", self.path, fault)
        self.fault = fault


def line_of(record: Record) -> dict[str, object]:
    """What the log keeps of a record; composition in wt%, time in UTC."""
    said, decision = record.assessment, record.decision
    return {
        "piece_id": record.piece_id,
        "time": record.time.isoformat(timespec="milliseconds"),
        "batch": record.batch,
        "bundle": {"name": record.bundle.name, "sha256": record.bundle.sha256},
        "recipe": {"name": record.recipe.name, "sha256": record.recipe.sha256},
        "status": record.status,
        "family": decision.family,
        "accepted": decision.accepted,
        "accepted_as_aluminium": decision.accepted_as_aluminium,
        **_told(said),
        "novel": decision.novel,
        "quality": list(record.quality),
        "outlet": decision.outlet,
        "eject": decision.eject,
        "reason": decision.reason,
        "total_ms": round(record.timing.total_ms, 3),
        "waiting_ms": round(record.timing.waiting_ms, 3),
    }


def _told(said: Assessment | None) -> dict[str, object]:
    """What the model said, nulls where it was not asked."""
    if said is None:
        return dict.fromkeys(("probabilities", "composition", "surface", "novelty"))
    shares = zip(FAMILIES, said.probabilities.tolist(), strict=True)
    likely = heapq.nlargest(TOP, shares, key=lambda item: item[1])
    contents = zip(ELEMENTS, said.composition.tolist(), strict=True)
    return {
        "probabilities": {family: round(share, 6) for family, share in likely},
        "composition": {element: round(wt_pct, 4) for element, wt_pct in contents},
        "surface": said.surface,
        "novelty": said.novelty,
    }
