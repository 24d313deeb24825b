"""What has passed, counted cheaply where pieces pass."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from time import perf_counter
from typing import Final

from alloysort_inference.record import Record

BOUNDS_MS: Final = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0)
STAGES: Final = ("waiting", "decode", "prepare", "infer", "decide", "total")
LAG_EVERY_S: Final = 0.25


class Tally:
    """Counts of records; told from several threads, where a count that slips once in a million is no harm.

    Attributes:
        status, quality, outlets: records by each.
        novel, accepted: how many were.
        lag_s: how late the loop last woke.
    """

    def __init__(self) -> None:
        self.status: Counter[str] = Counter()
        self.quality: Counter[str] = Counter()
        self.outlets: Counter[str] = Counter()
        self.novel = self.accepted = 0
        self.lag_s = 0.0
        self._counts = {stage: [0] * (len(BOUNDS_MS) + 1) for stage in STAGES}
        self._sums = dict.fromkeys(STAGES, 0.0)

    def note(self, record: Record) -> None:
        """Count a record."""
        self.status[record.status] += 1
        self.outlets[record.decision.outlet] += 1
        self.quality.update(record.quality)
        self.novel += record.decision.novel
        self.accepted += record.decision.accepted
        timing = record.timing
        for stage in STAGES if record.status == "decided" else ("waiting", "total"):
            took_ms: float = getattr(timing, f"{stage}_ms")
            self._counts[stage][bisect_left(BOUNDS_MS, took_ms)] += 1
            self._sums[stage] += took_ms

    def histogram(self, stage: str) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts by upper bound in seconds, and the sum of seconds."""
        total, buckets = 0, []
        bounds = [*(f"{bound / 1000:g}" for bound in BOUNDS_MS), "+Inf"]
        for bound, count in zip(bounds, self._counts[stage], strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets, self._sums[stage] / 1000

    async def watch_the_loop(self) -> None:
        """Note again and again how late the loop wakes, until cancelled."""
        while True:
            started = perf_counter()
            await asyncio.sleep(LAG_EVERY_S)
            self.lag_s = max(0.0, perf_counter() - started - LAG_EVERY_S)
