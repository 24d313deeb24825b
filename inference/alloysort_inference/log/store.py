"""The decision log: one JSON object a line, appended, never rewritten."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.doors.rest.answer import Answer

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

    def write(self, answer: Answer, batch: str | None) -> None:
        """Append one decision."""
        line = json.dumps(record(answer, batch), separators=(",", ":")).encode() + b"\n"
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


def record(answer: Answer, batch: str | None) -> dict[str, object]:
    """What the log keeps of a decision; composition in wt%, time in UTC."""
    likely = sorted(answer.probabilities.items(), key=lambda item: -item[1])[:TOP]
    return {
        "piece_id": answer.piece_id,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "batch": batch,
        "family": answer.family,
        "probabilities": {family: round(share, 6) for family, share in likely},
        "composition": {name: round(content.wt_pct, 4) for name, content in answer.composition.items()},
        "novelty": answer.novelty,
        "outlet": answer.outlet,
        "eject": answer.eject,
    }
