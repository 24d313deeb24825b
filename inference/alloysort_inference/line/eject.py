"""When which nozzles open: by where the belt is, for the piece as it lies on it.

A piece is on its way to the default outlet from the moment it is seen, so one that nothing is said of in
time has its place. What is said of it changes that, until the first of its valves has opened; then nothing
does.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

from alloysort_datasets.errors import DataError
from alloysort_inference.policy.belt import Line, places
from alloysort_inference.policy.recipe import Recipe

COVERED: Final = 0.5  # of a piece, at least: then the air takes it along
LONGEST_M: Final = 1.0  # a piece


@dataclass(frozen=True)
class Outline:
    """The box around a piece, on the belt.

    Attributes:
        front_m: where the belt was when its front passed the camera.
        length_mm: along the belt.
        left_mm: from the belt's left edge.
        width_mm: across the belt.
    """

    front_m: float
    length_mm: float
    left_mm: float
    width_mm: float

    def covered(self, front_m: float, back_m: float, left_mm: float, right_mm: float) -> float:
        """Share of it that lies in a rectangle of the belt, told from where fronts are told from."""
        along = min(back_m, self.front_m + self.length_mm / 1000) - max(front_m, self.front_m)
        across = min(right_mm, self.left_mm + self.width_mm) - max(left_mm, self.left_mm)
        if along <= 0 or across <= 0:
            return 0.0
        return along * 1000 / self.length_mm * across / self.width_mm


@dataclass(frozen=True)
class Opening:
    """Nozzles that open for a piece.

    Attributes:
        key: the piece's.
        outlet: that the row belongs to.
        first, last: nozzles, counted from the belt's left edge.
        at_m: of the row, behind the camera.
        open_m, close_m: belt positions between which air is to flow.
    """

    key: Hashable
    outlet: str
    first: int
    last: int
    at_m: float
    open_m: float
    close_m: float


@dataclass
class _Piece:
    outline: Outline
    outlet: str
    number: int
    version: int = 0
    done: bool = False


@dataclass
class Missed:
    """Pieces that went to the passing outlet though they were to be ejected.

    Attributes:
        late: decided after the window had opened, or gone by.
        crowded: a neighbour would have gone along.
        jumped: the belt's position leapt over their window.
    """

    late: int = 0
    crowded: int = 0
    jumped: int = 0


@dataclass
class Ejection:
    """The valves of a line, for one recipe.

    Attributes:
        line: belt and valves.
        recipe: its outlets; one that ejects has a row of nozzles.

    Raises:
        DataError: pieces or positions that do not fit the line.
    """

    line: Line
    recipe: Recipe
    missed: Missed = field(default_factory=Missed)
    _pieces: dict[Hashable, _Piece] = field(default_factory=dict, init=False)
    _order: list[tuple[float, int, Hashable]] = field(default_factory=list, init=False)
    _due: list[tuple[float, int, int, Hashable]] = field(default_factory=list, init=False)
    _position_m: float = field(default=0.0, init=False)
    _number: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        ejecting = [outlet for outlet in self.recipe.outlets if self.recipe.ejects(outlet)]
        self.rows = {
            outlet.name: at if outlet.at_m is None else outlet.at_m
            for outlet, at in zip(ejecting, places(len(ejecting)), strict=True)
        }
        self._last_m = max(self.rows.values(), default=0.0)
        passing = [outlet.name for outlet in self.recipe.outlets if not self.recipe.ejects(outlet)]
        default_outlet = self.recipe.default
        self.passes = default_outlet if default_outlet in passing or not passing else passing[0]

    def arrive(self, key: Hashable, outline: Outline) -> None:
        """A piece was seen: it goes to the default outlet unless `decide` says otherwise in time."""
        if key in self._pieces:
            raise DataError(f"piece {key!r} is on the belt already")
        if not (0 < outline.length_mm <= LONGEST_M * 1000 and outline.width_mm > 0):
            raise DataError(
                f"piece {key!r}: {outline.length_mm:g} x {outline.width_mm:g} mm, must be over 0 and at most "
                f"{LONGEST_M * 1000:g} long"
            )
        self._number += 1
        piece = _Piece(outline, self.recipe.default, self._number)
        self._pieces[key] = piece
        entry = (outline.front_m, self._number, key)
        if self._order and entry < self._order[-1]:
            self._order.insert(bisect_left(self._order, entry), entry)
        else:
            self._order.append(entry)
        self._schedule(key, piece)

    def decide(self, key: Hashable, outlet: str) -> bool:
        """Send a piece elsewhere; False where it is too late for that: it stays where it was to go."""
        piece = self._pieces.get(key)
        if piece is None or piece.done:
            self.missed.late += 1
            return False
        small = min(piece.outline.length_mm, piece.outline.width_mm) < self.line.least_piece_mm
        wanted = self.recipe.default if small else outlet
        if wanted != piece.outlet:
            if not self._in_time(piece, wanted):
                self.missed.late += 1
                return False
            piece.outlet = wanted
            piece.version += 1
            self._schedule(key, piece)
        return True

    def outlet_of(self, key: Hashable) -> str | None:
        """Where a piece on the belt is to go; None once it has gone by."""
        piece = self._pieces.get(key)
        return None if piece is None else piece.outlet

    def next_m(self, speed_m_per_s: float) -> float:
        """The belt's position at which a valve may be to open next; infinity where none is."""
        return self._due[0][0] - self._lead_m(speed_m_per_s) if self._due else float("inf")

    def move(self, position_m: float, speed_m_per_s: float) -> list[Opening]:
        """The belt is here: the valves that are to open now, soonest first.

        A valve is slow, so its command comes as much earlier as the belt runs meanwhile.
        """
        self._position_m = max(self._position_m, position_m)
        lead_m = self._lead_m(speed_m_per_s)
        openings = []
        while self._due and self._due[0][0] - lead_m <= self._position_m:
            _, _, version, key = heapq.heappop(self._due)
            piece = self._pieces.get(key)
            if piece is None or piece.done or piece.version != version:
                continue
            piece.done = True
            opening = self._opening(key, piece)
            if opening.close_m <= self._position_m:
                self.missed.jumped += 1
            elif self.line.spare_neighbours and self._takes_neighbours(opening, piece):
                self.missed.crowded += 1
            else:
                openings.append(opening)
                continue
            piece.outlet = self.passes
        self._forget()
        return openings

    def _lead_m(self, speed_m_per_s: float) -> float:
        return speed_m_per_s * self.line.valve_delay_ms / 1000

    def _in_time(self, piece: _Piece, outlet: str) -> bool:
        """Whether a piece can still be sent there: the window of the row it would go to is ahead."""
        at = self.rows.get(outlet)
        start_m = piece.outline.front_m - self.line.margin_mm / 1000
        if at is None:
            return self._position_m < piece.outline.front_m + self._last_m
        return self._position_m + self._lead_m(self.line.speed_m_per_s) <= start_m + at

    def _schedule(self, key: Hashable, piece: _Piece) -> None:
        if piece.outlet in self.rows:
            open_m = self._opening(key, piece).open_m
            heapq.heappush(self._due, (open_m, piece.number, piece.version, key))

    def _opening(self, key: Hashable, piece: _Piece) -> Opening:
        """The row's nozzles above the piece and its margin, for as long as it is under them."""
        line, outline, at = self.line, piece.outline, self.rows[piece.outlet]
        least_mm = line.least_pulse_ms * line.speed_m_per_s
        around = max(line.margin_mm, (least_mm - outline.length_mm) / 2) / 1000
        last, right_mm = line.nozzles - 1, outline.left_mm + outline.width_mm
        return Opening(
            key=key,
            outlet=piece.outlet,
            first=max(0, min(last, int((outline.left_mm - line.margin_mm) // line.pitch_mm))),
            last=max(0, min(last, int((right_mm + line.margin_mm) // line.pitch_mm))),
            at_m=at,
            open_m=outline.front_m + at - around,
            close_m=outline.front_m + outline.length_mm / 1000 + at + around,
        )

    def _takes_neighbours(self, opening: Opening, piece: _Piece) -> bool:
        """Whether a piece that goes elsewhere would be blown out too."""
        front, back = opening.open_m - opening.at_m, opening.close_m - opening.at_m
        left, right = opening.first * self.line.pitch_mm, (opening.last + 1) * self.line.pitch_mm
        start = bisect_left(self._order, (front - LONGEST_M,))
        for place in range(start, len(self._order)):
            front_m, _, key = self._order[place]
            if front_m >= back:
                break
            other = self._pieces[key]
            if other is piece or other.outlet == piece.outlet or self._is_out_before(other, opening.at_m):
                continue
            if other.outline.covered(front, back, left, right) >= COVERED:
                return True
        return False

    def _is_out_before(self, piece: _Piece, at_m: float) -> bool:
        return piece.outlet in self.rows and self.rows[piece.outlet] < at_m

    def _forget(self) -> None:
        """Pieces that are behind the last row."""
        gone = bisect_left(self._order, (self._position_m - self._last_m - LONGEST_M,))
        for _, _, key in self._order[:gone]:
            del self._pieces[key]
        del self._order[:gone]
