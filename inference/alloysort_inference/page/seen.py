"""A piece that was decided on, with all that a watcher may want to look at."""

from __future__ import annotations

from dataclasses import dataclass

from alloysort_inference.log.keep import Sample
from alloysort_inference.record import Record
from alloysort_models.bundle.inputs import Features


@dataclass(frozen=True, eq=False)
class Seen:
    """A piece that was decided on.

    Attributes:
        seq: its number, counted up over all runs.
        record: what was decided.
        mass_g: where somebody told it.
        sample: what the sensors saw.
        features: as prepared for the engine; None where nothing was.
        truth: its family, where it is a made-up piece that is known.
    """

    seq: int
    record: Record
    mass_g: float | None
    sample: Sample
    features: Features | None = None
    truth: str | None = None
