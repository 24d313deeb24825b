"""The record: all that was known of a piece when it was decided on.

Every answer at a door, every line of the decision log and every output to a machine is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.assessment import Assessment
from alloysort_inference.decision import Decision


@dataclass(frozen=True)
class Origin:
    """A bundle or a recipe, so that a decision can be traced to the very one: its name and SHA-256."""

    name: str
    sha256: str


Status = Literal["decided", "late", "refused"]


@dataclass(frozen=True)
class Timing:
    """How long each step took, in milliseconds; `total_ms` from the arrival of the piece to its decision."""

    waiting_ms: float
    decode_ms: float
    prepare_ms: float
    infer_ms: float
    decide_ms: float

    @property
    def total_ms(self) -> float:
        """Everything, waiting included."""
        return self.waiting_ms + self.decode_ms + self.prepare_ms + self.infer_ms + self.decide_ms


@dataclass(frozen=True, eq=False)
class Record:
    """A decision, and all that was known.

    Attributes:
        piece_id, batch: as given; an id is made up where none was, a batch is None.
        time: of the decision, UTC.
        bundle, recipe: what decided.
        status: decided on what the model said, or sent to the default outlet because it came too late, or
            because its data cannot be used.
        assessment: what the model said; None unless decided.
        decision: where the piece goes and why.
        quality: what is wrong with the measurement, flags of `flags.FLAGS`; empty if nothing.
        timing: of each step.
        fault: why it was refused.
    """

    piece_id: str
    batch: str | None
    time: datetime
    bundle: Origin
    recipe: Origin
    status: Status
    assessment: Assessment | None
    decision: Decision
    quality: tuple[str, ...]
    timing: Timing
    fault: AlloysortError | None = None
