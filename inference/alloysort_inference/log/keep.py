"""Which pieces keep their picture and spectrum: those that are worth a label, and a few of all.

A line sees millions; what a model learns from are the ones it was unsure of.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.record import Record

MOST_KEPT: Final = 1000  # at 8 shots of 6,144 channels some 100 MB
PER_S: Final = 1.0  # of those worth a label
BURST: Final = 10.0
SAMPLE_EVERY: Final = 500  # of all pieces, one is kept whatever it is
UNSURE: Final = 0.8  # confidence
HALF_BARE: Final = (0.05, 0.6)  # share of metal: the model may be looking at a film
LEVEL: Final = 1  # of zlib: more costs time and saves little


@dataclass(frozen=True, eq=False)
class Sample:
    """What the sensors saw of a piece.

    Attributes:
        image: file, None where the camera saw nothing.
        spectrum: decodes it when it is called, None where the laser hit nothing.
    """

    image: bytes | None
    spectrum: Callable[[], Spectrum] | None


@dataclass
class Keeper:
    """Says which pieces are kept, no faster than a disk likes.

    Attributes:
        per_s: of those worth a label, on average; 0 keeps none.
    """

    per_s: float = PER_S
    _allowance: float = field(default=BURST, init=False)
    _time_s: float = field(default_factory=monotonic, init=False)
    _passed: int = field(default=0, init=False)

    def why(self, record: Record, now_s: float | None = None) -> tuple[str, int] | None:
        """Why to keep a piece, and its rank, 0 first; None: do not.

        `now_s` is `time.monotonic()` where nobody says otherwise.
        """
        if record.assessment is None or self.per_s <= 0:
            return None
        self._passed += 1
        found = worth(record)
        if found is None:
            return ("sample", 3) if self._passed % SAMPLE_EVERY == 1 else None
        now = monotonic() if now_s is None else now_s
        self._allowance = min(BURST, self._allowance + self.per_s * (now - self._time_s))
        self._time_s = now
        if self._allowance < 1:
            return None
        self._allowance -= 1
        return found


def worth(record: Record) -> tuple[str, int] | None:
    """Why a label for this piece would teach something, and its rank; None where it would not."""
    said, decision = record.assessment, record.decision
    if said is None:
        return None
    if decision.novel:
        return "novel", 0
    if said.surface is not None and HALF_BARE[0] <= said.surface < HALF_BARE[1]:
        return "doubtful surface", 1
    if decision.trusted and said.confidence < UNSURE:
        return "uncertain", 1
    return None


def pack(shots: NDArray[np.float32]) -> bytes:
    """(shots, channels) counts for the log; whole numbers take half the room."""
    whole = shots.astype(np.uint16) if shots.min() >= 0 and shots.max() <= 65_535 else None
    file = io.BytesIO()
    np.save(file, whole if whole is not None and np.array_equal(whole, shots) else shots)
    return zlib.compress(file.getvalue(), LEVEL)


def unpack(packed: bytes) -> NDArray[np.float32]:
    """What `pack` packed."""
    array: NDArray[np.generic] = np.load(io.BytesIO(zlib.decompress(packed)), allow_pickle=False)
    return array.astype(np.float32)
