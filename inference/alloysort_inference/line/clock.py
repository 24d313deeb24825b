"""Where the belt is: an encoder's counter, which rolls over, as metres."""

from __future__ import annotations

from dataclasses import dataclass, field

from alloysort_datasets.errors import DataError

STILL_S = 0.1  # without a count, the belt stands
SMOOTHING_S = 0.05


@dataclass
class Encoder:
    """A counter on the belt's roller.

    Time is used for the speed alone: a valve opens where the belt is, not when, so a belt that stops, creeps
    or hurries takes its pieces along. A belt that runs back is where it was farthest until it passes there
    again.

    Attributes:
        counts_per_m: of the belt.
        bits: of the counter; it may roll over between two readings, but not by half its range or more.

    Raises:
        DataError: a number that no encoder has, or a reading that the counter cannot show.
    """

    counts_per_m: float
    bits: int = 16
    _last: int | None = field(default=None, init=False)
    _counts: int = field(default=0, init=False)
    _farthest: int = field(default=0, init=False)
    _time_s: float = field(default=0.0, init=False)
    _moved_s: float = field(default=0.0, init=False)
    _speed: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if not self.counts_per_m > 0 or not 1 < self.bits <= 64:
            raise DataError(
                f"encoder: counts_per_m {self.counts_per_m} must be positive and bits {self.bits} within 2-64"
            )

    def read(self, count: int, time_s: float) -> float:
        """Take a reading of the counter; returns metres from the first one on, never less than before."""
        span = 1 << self.bits
        if not 0 <= count < span:
            raise DataError(f"encoder: count {count} is not within 0-{span - 1}, of {self.bits} bits")
        if self._last is None:
            self._last, self._time_s, self._moved_s = count, time_s, time_s
            return 0.0
        moved = (count - self._last + span // 2) % span - span // 2
        self._last, self._counts = count, self._counts + moved
        passed_s, self._time_s = time_s - self._time_s, time_s
        if moved:
            self._moved_s = time_s
        if passed_s > 0:
            share = min(1.0, passed_s / SMOOTHING_S)
            self._speed += share * (moved / self.counts_per_m / passed_s - self._speed)
        self._farthest = max(self._farthest, self._counts)
        return self.position_m

    @property
    def position_m(self) -> float:
        """Of the belt, from the first reading on."""
        return self._farthest / self.counts_per_m

    @property
    def speed_m_per_s(self) -> float:
        """Of the belt; nothing while it stands or runs back."""
        return 0.0 if self.stands else max(0.0, self._speed)

    @property
    def stands(self) -> bool:
        """Whether the counter has not moved for STILL_S."""
        return self._time_s - self._moved_s >= STILL_S
