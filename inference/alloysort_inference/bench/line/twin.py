"""The twin: a feed runs by; the real policy decides, the real valve timing opens, simulated air blows.

Time is simulated and drawn from a seed. What an answer takes is drawn from what the stream door took.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_inference.bench.line.feed import Conditions, Feed
from alloysort_inference.bench.line.reel import Reel, Said, said_of
from alloysort_inference.line.eject import COVERED, LONGEST_M, Ejection, Opening, Outline
from alloysort_inference.policy.belt import Line
from alloysort_inference.policy.boxes import Boxes
from alloysort_inference.policy.decide import decide
from alloysort_inference.policy.recipe import Recipe
from alloysort_models.bundle.manifest import Bundle, Thresholds

ANSWER_MS: Final = ((0.0, 0.8), (0.5, 1.5), (0.99, 4.2), (0.999, 6.1), (1.0, 9.0))
"""By quantile, from a piece's arrival to its answer: `benchmarks/shift.py` at 500 pieces/s on two cores."""


@dataclass(frozen=True, eq=False)
class Run:
    """What became of N pieces.

    Attributes:
        feed: as they came.
        wanted: (N,) place of the outlet that the policy chose.
        went: (N,) place of the outlet that it left by.
        late: answers that came after the deadline or the window.
        crowded: openings withheld for a neighbour's sake.
        misfires: openings without air.
        box: (N,) the box that a melt's outlet counted it into; 0 where none did.
        policy_us: (decisions,) what the policy's step took, the melt's included, in real time.
    """

    feed: Feed
    wanted: NDArray[np.int64]
    went: NDArray[np.int64]
    late: int
    crowded: int
    misfires: int
    box: NDArray[np.int64]
    policy_us: NDArray[np.float64]


def run(
    feed: Feed, reel: Reel, bundle: Bundle, recipe: Recipe, line: Line, conditions: Conditions, seed: int
) -> Run:
    """Let a feed run by."""
    twin = _Twin(feed, reel, bundle, recipe, line, conditions, seed)
    return twin.run()


class _Twin:
    def __init__(
        self,
        feed: Feed,
        reel: Reel,
        bundle: Bundle,
        recipe: Recipe,
        line: Line,
        conditions: Conditions,
        seed: int,
    ) -> None:
        self.feed, self.recipe, self.line, self.conditions = feed, recipe, line, conditions
        self.thresholds: Thresholds = bundle.manifest.thresholds
        self.said = (said_of(reel.seen, bundle), said_of(reel.missed, bundle))
        self.ejection = Ejection(line, recipe)
        self.rng = np.random.default_rng([seed, 1])
        self.names = [outlet.name for outlet in recipe.outlets]
        self.wanted = np.full(len(feed), self.names.index(recipe.default))
        self.went = np.full(len(feed), -1)
        self.fronts = feed.front_m.tolist()
        self.box = np.zeros(len(feed), np.int64)
        self.boxes = Boxes(recipe)
        self.boxes.begin()
        error = self.rng.lognormal(0.0, conditions.mass_error, len(feed))
        self.told_g = reel.seen.mass_g[feed.piece] * error
        self.policy_s: list[float] = []
        self.late = self.misfires = 0

    def run(self) -> Run:
        heads, firsts, outlines = _heaps(self.feed)
        speed = self.line.speed_m_per_s
        quantiles, took = np.array(ANSWER_MS).T
        answer_ms = np.interp(self.rng.uniform(size=len(heads)), quantiles, took)
        seen_m = np.array([box.front_m + box.length_mm / 1000 for box in outlines])
        answered_m = seen_m + speed * answer_ms / 1000
        late = answer_ms > self.line.deadline_ms
        self.late = int(late.sum())
        position = np.concatenate([seen_m, answered_m])
        for event in np.argsort(position, kind="stable").tolist():
            self._roll(float(position[event]))
            heap = event % len(heads)
            if event < len(heads):
                self.ejection.arrive(heap, outlines[heap])
            elif not late[heap]:
                self._decide(heap, int(heads[heap]), firsts[heap])
        self._roll(float(position.max()) + LONGEST_M + 100.0)
        self.went[self.went < 0] = self.names.index(self.ejection.passes)
        missed = self.ejection.missed
        return Run(
            self.feed,
            self.wanted,
            self.went,
            self.late + missed.late,
            missed.crowded,
            self.misfires,
            self.box,
            np.array(self.policy_s) * 1e6,
        )

    def _decide(self, heap: int, head: int, members: NDArray[np.int64]) -> None:
        said: Said = self.said[int(self.feed.missed[head])][int(self.feed.piece[head])]
        if said.assessment is None:
            return  # refused: on its way to the default outlet already
        assessment, mass_g = said.assessment, float(self.told_g[members].sum())
        started = perf_counter()
        decision = decide(
            assessment,
            self.recipe,
            self.thresholds,
            blind=said.blind,
            quality=said.quality,
            offer=lambda outlet: self.boxes.offer(outlet, str(heap), mass_g, assessment),
        )
        self.policy_s.append(perf_counter() - started)
        self.box[members] = self.boxes.number_of(decision.outlet)
        if self.ejection.decide(heap, decision.outlet):
            self.wanted[members] = self.names.index(self.ejection.outlet_of(heap) or decision.outlet)

    def _roll(self, position_m: float) -> None:
        """The belt runs on: valves open on the way."""
        speed = self.line.speed_m_per_s
        while (due := self.ejection.next_m(speed)) <= position_m:
            for opening in self.ejection.move(due, speed):
                self._blow(opening)
        self.ejection.move(position_m, speed)

    def _blow(self, opening: Opening) -> None:
        """Air takes along what lies in it, as far as that is still on the belt."""
        if self.rng.uniform() < self.conditions.misfires:
            self.misfires += 1
            return
        jitter_m = self.rng.normal(0.0, self.conditions.valve_jitter_ms) * self.line.speed_m_per_s / 1000
        off_m = opening.at_m * (1 - self.conditions.slip) - jitter_m
        front, back = opening.open_m - off_m, opening.close_m - off_m
        left, right = opening.first * self.line.pitch_mm, (opening.last + 1) * self.line.pitch_mm
        feed, start, stop = (
            self.feed,
            bisect_left(self.fronts, front - LONGEST_M),
            bisect_left(self.fronts, back),
        )
        near = slice(start, stop)
        along = np.minimum(back, feed.front_m[near] + feed.length_mm[near] / 1000)
        along = (along - np.maximum(front, feed.front_m[near])) * 1000 / feed.length_mm[near]
        across = np.minimum(right, feed.left_mm[near] + feed.width_mm[near])
        across = (across - np.maximum(left, feed.left_mm[near])) / feed.width_mm[near]
        hit = (along > 0) & (across > 0) & (along * across >= COVERED) & (self.went[near] < 0)
        self.went[near][hit] = self.names.index(opening.outlet)


def _heaps(feed: Feed) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], list[Outline]]:
    """Pieces that are seen as one: the uppermost, all of them, and the box around them."""
    order = np.argsort(feed.seen_as, kind="stable")
    heads, starts = np.unique(feed.seen_as[order], return_index=True)
    members = np.split(order, starts[1:])
    front = np.minimum.reduceat(feed.front_m[order], starts)
    back = np.maximum.reduceat((feed.front_m + feed.length_mm / 1000)[order], starts)
    left = np.minimum.reduceat(feed.left_mm[order], starts)
    right = np.maximum.reduceat((feed.left_mm + feed.width_mm)[order], starts)
    length = np.minimum((back - front) * 1000, LONGEST_M * 1000)
    boxes: Any = zip(front.tolist(), length.tolist(), left.tolist(), (right - left).tolist(), strict=True)
    return heads, members, [Outline(*box) for box in boxes]
