"""What is expected of a line that is well: out of the bundle, or learned from the first pieces of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from alloysort_datasets.errors import DataError
from alloysort_inference.health.drift import Outcome, count
from alloysort_inference.health.sensors import Reading
from alloysort_models.bundle.health import LEVELS, PLACE, RATES, Limits, Reference

LEAST: Final = 100  # pieces to learn from
LEAST_TOLD: Final = 30  # of these, that tell a level, else it is not watched


def learned(
    readings: Sequence[Reading],
    outcomes: Sequence[Outcome],
    *,
    limits: Limits | None = None,
    learned_from: str = "since the run began",
) -> Reference:
    """A reference from pieces of a line that is well.

    Args:
        readings: of the sensors, by `sensors.read`.
        outcomes: what the model said of them, by `drift.outcome`.
        limits: of the alarms; None: the defaults.
        learned_from: clause for people, stands in the alarms.

    Raises:
        DataError: fewer than LEAST pieces.
    """
    if len(readings) < LEAST:
        raise DataError(f"health reference: {len(readings)} pieces to learn from, must be {LEAST} or more")
    levels = {}
    for name in (*LEVELS, PLACE):
        told = [value for one in readings if (value := getattr(one, name)) is not None]
        if len(told) >= LEAST_TOLD:
            levels[name] = float(np.median(told) if name == PLACE else np.mean(told))
    return Reference(
        pieces=len(readings),
        levels=levels,
        rates={name: float(np.mean([one.rate(name) for one in readings])) for name in RATES},
        counts=count(outcomes) if outcomes else {},
        novel=sum(one.novel for one in outcomes),
        answered=len(outcomes),
        learned_from=learned_from,
        limits=limits or Limits(),
    )
