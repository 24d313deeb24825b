"""What comes along a simulated belt: which pieces of a reel, when, and how they lie.

A feeder parts the stream into lanes. Within a lane a piece follows the one before at a gap, short in a clump
and long between clumps; some lie upon the one before, and the camera then sees one piece of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError
from alloysort_inference.policy.belt import Line

DENSITY_G_PER_MM3: Final = 2.7e-3  # of aluminium; a heavy metal's piece comes out a little long
THICKNESS_MM: Final = 3.0  # of shredded sheet and castings, median; an estimate
THICKNESS_SPREAD: Final = 0.35  # sigma of its logarithm
ELONGATION_SPREAD: Final = 0.25  # sigma of the logarithm of length over width
LONGEST_MM: Final = 400.0
CLUMP_GAP_MM: Final = 15.0
SPARE: Final = 1.15
LANE_JITTER: Final = 0.1  # of a lane's width, one sigma
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Conditions:
    """How a line runs; what is not said here stands in the pieces of the reel.

    Attributes:
        rate_per_s: pieces.
        lanes: that the feeder parts the stream into.
        clumped: share of the gaps that are short.
        overlapping: share of the pieces that lie upon the one before.
        missed: share of the pieces that the laser misses altogether.
        misfires: share of the openings that bring no air.
        valve_jitter_ms: of the moment when air comes, one sigma.
        mass_error: of what is told of a piece's mass, sigma of its logarithm.
        slip: of the belt on its roller, share of the way.

    Raises:
        DataError: one that cannot be.
    """

    rate_per_s: float = 200.0
    lanes: int = 16
    clumped: float = 0.2
    overlapping: float = 0.01
    missed: float = 0.01
    misfires: float = 0.001
    valve_jitter_ms: float = 0.3
    mass_error: float = 0.1
    slip: float = 0.001

    def __post_init__(self) -> None:
        for name in ("clumped", "overlapping", "missed", "misfires"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise DataError(f"{name} {value:g} must lie in 0-1")
        for name in ("rate_per_s", "lanes"):
            if not getattr(self, name) > 0:
                raise DataError(f"{name} {getattr(self, name):g} must be over 0")


@dataclass(frozen=True, eq=False)
class Feed:
    """N pieces in the order in which their fronts pass the camera.

    Attributes:
        piece: (N,) row of the reel.
        front_m: (N,) where the belt is when its front passes the camera.
        length_mm, left_mm, width_mm: (N,) how it lies.
        seen_as: (N,) the piece that it is seen as: itself, or the one that lies upon it.
        missed: (N,) the laser missed it.
    """

    piece: NDArray[np.int64]
    front_m: Floats
    length_mm: Floats
    left_mm: Floats
    width_mm: Floats
    seen_as: NDArray[np.int64]
    missed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.piece)


def draw_feed(
    pieces: int, mass_g: Floats, share: Floats, line: Line, conditions: Conditions, seed: int
) -> Feed:
    """A stream of pieces.

    Args:
        pieces: how many.
        mass_g: (R,) of the reel's pieces.
        share: (R,) how often each comes, 1 on average.
        line: the belt.
        conditions: how it runs.
        seed: same seed, same stream.

    Raises:
        DataError: so many do not fit on the belt.
    """
    rng = np.random.default_rng(seed)
    drawn = int(SPARE * pieces) + 20 * conditions.lanes  # lanes end unevenly: what comes last is cut off
    piece = rng.choice(len(mass_g), drawn, p=share / share.sum())
    length, width = _sizes(mass_g[piece], rng)
    lane = rng.integers(0, conditions.lanes, drawn)
    upon = rng.uniform(size=drawn) < conditions.overlapping
    front, upon = _fronts(length, lane, upon, line, conditions, rng)
    lane_mm = line.width_mm / conditions.lanes
    middle = (lane + 0.5 + rng.normal(0, LANE_JITTER, drawn)) * lane_mm
    left = np.clip(middle - width / 2, 0, np.maximum(0.0, line.width_mm - width))
    seen_as = _seen_as(lane, upon)
    missed = rng.uniform(size=drawn) < conditions.missed
    whole = np.argsort(front, kind="stable")
    place = np.empty(drawn, np.int64)
    place[whole] = np.arange(drawn)
    order = whole[:pieces]
    head = place[seen_as[order]]
    head = np.where(head < pieces, head, np.arange(pieces))
    return Feed(
        piece[order], front[order] / 1000, length[order], left[order], width[order],
        head, missed[order],
    )  # fmt: skip


def _sizes(mass_g: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(N,) length and width in mm of pieces of a mass, by an assumed thickness."""
    thickness = THICKNESS_MM * rng.lognormal(0.0, THICKNESS_SPREAD, len(mass_g))
    side = np.sqrt(mass_g / (DENSITY_G_PER_MM3 * thickness))
    stretch = rng.lognormal(0.0, ELONGATION_SPREAD, len(mass_g))
    return np.clip(side * stretch, 5.0, LONGEST_MM), np.clip(side / stretch, 5.0, LONGEST_MM)


def _fronts(
    length: Floats,
    lane: NDArray[np.int64],
    upon: NDArray[np.bool_],
    line: Line,
    conditions: Conditions,
    rng: np.random.Generator,
) -> tuple[Floats, NDArray[np.bool_]]:
    """(N,) mm of belt before each front, and who really lies upon the one before in its lane."""
    room = conditions.lanes * line.speed_m_per_s * 1000 / conditions.rate_per_s  # mm a piece, in its lane
    free = room - float(length.mean()) - conditions.clumped * CLUMP_GAP_MM
    if free <= 0:
        raise DataError(
            f"rate_per_s {conditions.rate_per_s:g}: pieces of {length.mean():.0f} mm leave no room in "
            f"{conditions.lanes} lanes at {line.speed_m_per_s:g} m/s"
        )
    near = rng.uniform(size=len(length)) < conditions.clumped
    long_gap = free / max(1e-9, 1 - conditions.clumped)
    gap = rng.exponential(np.where(near, CLUMP_GAP_MM, long_gap))
    front = np.empty(len(length))
    for number in range(conditions.lanes):
        mine = np.flatnonzero(lane == number)
        if not len(mine):
            continue
        upon[mine[0]] = False
        step = np.roll(length[mine], 1) + gap[mine]
        step = np.where(upon[mine], 0.5 * np.roll(length[mine], 1), step)
        step[0] = rng.uniform(0, room)
        front[mine] = np.cumsum(step)
    return front, upon


def _seen_as(lane: NDArray[np.int64], upon: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N,) for each piece the uppermost of its heap, in the order drawn."""
    seen_as = np.arange(len(lane))
    for number in np.unique(lane):
        mine = np.flatnonzero(lane == number)
        for place in range(len(mine) - 1, 0, -1):
            if upon[mine[place]]:
                seen_as[mine[place - 1]] = seen_as[mine[place]]
    return seen_as
