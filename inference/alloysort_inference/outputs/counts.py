"""What an output tells of the pieces that passed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from math import ceil
from typing import Final

from alloysort_inference.record import Record

RECENT: Final = 1000  # pieces that the latency is of


class Counts:
    """Counts of records since the output began; kept by one thread.

    Attributes:
        outlets: pieces by outlet; those of the recipe it began with first and in their order.
        pieces, late, refused: how many passed, came too late, could not be used.
        mass_g: of all of them.
        last: the newest record, None before the first.
    """

    def __init__(self, outlets: Iterable[str]) -> None:
        self.outlets: Counter[str] = Counter(dict.fromkeys(outlets, 0))
        self.pieces = self.late = self.refused = 0
        self.mass_g = 0.0
        self.last: Record | None = None
        self._recent_ms: deque[float] = deque(maxlen=RECENT)

    def note(self, record: Record, mass_g: float) -> None:
        """Count a piece."""
        self.pieces += 1
        self.outlets[record.decision.outlet] += 1
        self.late += record.status == "late"
        self.refused += record.status == "refused"
        self.mass_g += mass_g
        self.last = record
        self._recent_ms.append(record.timing.total_ms)

    def p99_ms(self) -> float | None:
        """The latency that 99 of 100 of the newest pieces kept; None before the first."""
        ordered = sorted(self._recent_ms)
        return ordered[ceil(0.99 * len(ordered)) - 1] if ordered else None
