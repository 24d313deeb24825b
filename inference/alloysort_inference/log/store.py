"""The decision log: one JSON object a line, appended, never rewritten."""

from __future__ import annotations

import heapq
import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Final

from alloysort_datasets.errors import AlloysortError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.assessment import Assessment
from alloysort_inference.record import Record

TOP: Final = 3  # families a record keeps


class DecisionLog:
    """An open log file. Safe to share between threads; each record is on disk's way when `write` returns.

    Raises:
        AlloysortError: the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise AlloysortError(f"decision log {path}: {error.strerror or error}") from None

    def write(self, record: Record) -> None:
        """Append one decision."""
        line = json.dumps(line_of(record), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                written = self._file.write(line)
            except (OSError, ValueError) as error:
                raise AlloysortError(f"decision log {self.path}: {error}") from None
        if written != len(line):
            raise AlloysortError(f"decision log {self.path}: disk full, a record is cut short")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> DecisionLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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
