"""What the policy must know of the belt and its valves: a recipe's table `[line]`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

LEAST_APART_M: Final = 0.1  # two rows of nozzles: nearer, one blows into the other's pieces
FIRST_AT_M: Final = 0.6
APART_M: Final = 0.3
Positive = Annotated[float, Field(gt=0, lt=1e6)]


class Line(BaseModel):
    """A belt, and rows of nozzles across it.

    Attributes:
        speed_m_per_s: of the belt.
        width_mm: of the belt and of a row of nozzles.
        nozzles: in a row.
        valve_delay_ms: from the command to air.
        least_pulse_ms: that a valve can open for.
        margin_mm: of air around a piece, on every side.
        least_piece_mm: a piece that is shorter or narrower goes to the default outlet.
        deadline_ms: from a piece's arrival to its decision.
        spare_neighbours: hold fire where it would take a neighbour that goes elsewhere along.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    speed_m_per_s: Positive = 3.0
    width_mm: Positive = 1600.0
    nozzles: Annotated[int, Field(ge=1, le=10_000)] = 128
    valve_delay_ms: Annotated[float, Field(ge=0, le=1000)] = 8.0
    least_pulse_ms: Annotated[float, Field(ge=0, le=1000)] = 4.0
    margin_mm: Annotated[float, Field(ge=0, le=1000)] = 6.0
    least_piece_mm: Annotated[float, Field(ge=0, le=1000)] = 0.0
    deadline_ms: Annotated[float, Field(gt=0, le=60_000)] = 20.0
    spare_neighbours: bool = True

    @property
    def pitch_mm(self) -> float:
        """From nozzle to nozzle."""
        return self.width_mm / self.nozzles

    @property
    def nearest_m(self) -> float:
        """How far from the camera a row of nozzles must be, so that a decision in time is in time for it."""
        return self.speed_m_per_s * (self.deadline_ms + self.valve_delay_ms) / 1000 + self.margin_mm / 1000


def places(count: int) -> list[float]:
    """Where rows of nozzles stand behind the camera unless a recipe says."""
    return [round(FIRST_AT_M + APART_M * row, 3) for row in range(count)]


def place_faults(line: Line, places_m: Sequence[tuple[str, float]]) -> list[str]:
    """What is wrong with rows of nozzles: outlet and metres behind the camera."""
    faults = [
        f"outlet {name!r}: at_m {at:g}: too near, a decision within deadline_ms {line.deadline_ms:g} comes "
        f"too late before {line.nearest_m:.3f}"
        for name, at in places_m
        if at < line.nearest_m
    ]
    ordered = sorted(places_m, key=lambda one: one[1])
    return faults + [
        f"outlets {one!r} and {other!r}: at_m {first:g} and {second:g} overlap, rows of nozzles must be "
        f"{LEAST_APART_M:g} apart"
        for (one, first), (other, second) in pairwise(ordered)
        if second - first < LEAST_APART_M - 1e-9
    ]
