"""The boxes that a line fills to melt: what is in each, kept on disk piece by piece.

The journal is a line of JSON for every piece taken and every box closed. Read from its beginning it gives the
boxes as they were; a line that a crash cut off was never answered for, and is left out.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import ELEMENTS
from alloysort_inference.assessment import Assessment
from alloysort_inference.policy.melt import Box, Floats, Melt
from alloysort_inference.policy.recipe import Recipe

DIGITS: Final = 6
_log = logging.getLogger("alloysort")


@dataclass(frozen=True)
class BoxState:
    """A box, for people.

    Attributes:
        outlet, box: of which outlet, and its number.
        pieces, mass_kg: taken; the mass that was told of each.
        full: holds what it is to hold.
        inside: keeps every limit, as surely as the recipe asks for.
        wt_pct, sigma: by element, as the model says; one standard deviation by chance.
        weighed_kg: what a scale said when it was closed; None before.
    """

    outlet: str
    box: int
    pieces: int
    mass_kg: float
    full: bool
    inside: bool
    wt_pct: dict[str, float]
    sigma: dict[str, float]
    weighed_kg: float | None = None


@dataclass
class _Filling:
    melt: Melt
    ids: set[str] = field(default_factory=set)


class Boxes:
    """The open boxes of a recipe. Safe to share between threads.

    Until `begin` nothing is counted: a piece is asked about as if its box were empty, so that warming up and
    shadows fill no box.

    Args:
        recipe: its outlets with a melt have a box each.

    Attributes:
        faults: lines in a row that the journal could not take.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._lock = threading.Lock()
        self._filling = {
            outlet.name: _Filling(recipe.melt_of(outlet))
            for outlet in recipe.outlets
            if outlet.melt is not None
        }
        self._journal: TextIO | None = None
        self._counting = False
        self.faults = 0
        self._heir: Boxes | None = None

    def __len__(self) -> int:
        return len(self._filling)

    def begin(self, journal: Path | None = None) -> None:
        """Count from now on, and go on with the boxes of a journal.

        Raises:
            DataError: it cannot be read or written; names the line.
        """
        with self._lock:
            if journal is not None and self._filling:
                for number, line in enumerate(_lines(journal), 1):
                    self._replay(line, journal, number)
                self._journal = _open(journal)
            self._counting = True

    def end(self) -> None:
        """Count no more."""
        with self._lock:
            journal, self._journal, self._counting = self._journal, None, False
            if journal is not None:
                journal.close()

    def take_over(self, other: Boxes) -> None:
        """Go on with the boxes of the recipe before: of each outlet whose limits are the same.

        Pieces that are still under way with that recipe are counted here.
        """
        if other is self:
            return
        with other._lock, self._lock:
            for name, filling in self._filling.items():
                before = other._filling.get(name)
                if before is not None and before.melt.spec.names == filling.melt.spec.names:
                    filling.melt.hold(before.melt.box)
                    filling.ids = before.ids
            self._journal, self._counting = other._journal, other._counting
            other._journal, other._counting = None, False
            other._heir, self._heir = self, None

    def offer(self, outlet: str, piece_id: str, mass_g: float, assessment: Assessment) -> bool:
        """Whether the outlet's box takes a piece; a piece that it has is not counted again."""
        if self._heir is not None and outlet in self._heir._filling:
            return self._heir.offer(outlet, piece_id, mass_g, assessment)
        filling = self._filling[outlet]
        contents = assessment.composition.astype(np.float64)
        sigma = assessment.composition_sigma.astype(np.float64)
        with self._lock:
            if not self._counting:
                return filling.melt.would_take(mass_g, contents)
            if piece_id in filling.ids:
                return True
            number = filling.melt.box.number
            if not filling.melt.offer(mass_g, contents, sigma):
                return False
            if filling.melt.box.number != number:
                filling.ids.clear()
            filling.ids.add(piece_id)
            self._write(_piece(outlet, filling.melt.box.number, piece_id, mass_g, contents, sigma))
            return True

    def close(self, outlet: str, weighed_kg: float | None = None) -> BoxState:
        """Close an outlet's box and open the next.

        Raises:
            DataError: there is no such outlet, its box is empty, or a mass is not positive.
        """
        if weighed_kg is not None and not 0 < weighed_kg < float("inf"):
            raise DataError(f"weighed_kg {weighed_kg:g} must be over 0")
        with self._lock:
            filling = self._filling.get(outlet)
            if filling is None:
                known = ", ".join(self._filling) or "none"
                raise DataError(f"outlet {outlet!r} fills no box; those that do: {known}")
            if not filling.melt.box.pieces:
                raise DataError(f"the box of outlet {outlet!r} is empty")
            state = _state(outlet, filling.melt, weighed_kg)
            self._write({"closed": outlet, "box": state.box, "weighed_kg": weighed_kg})
            self._next(outlet, state.box + 1)
            return state

    def number_of(self, outlet: str) -> int:
        """Of an outlet's box; 0 where it fills none."""
        filling = self._filling.get(outlet)
        return 0 if filling is None else filling.melt.box.number

    def states(self) -> list[BoxState]:
        """Every open box."""
        with self._lock:
            return [_state(name, filling.melt) for name, filling in self._filling.items()]

    def _replay(self, line: dict[str, Any], journal: Path, number: int) -> None:
        try:
            if "closed" in line:
                self._next(line["closed"], int(line["box"]) + 1)
            else:
                self._put(line)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{journal}: line {number}: no piece and no box closed: {error!r}") from None

    def _next(self, outlet: str, number: int) -> None:
        if outlet in self._filling:
            self._filling[outlet].melt.hold(Box(number))
            self._filling[outlet].ids.clear()

    def _put(self, line: dict[str, Any]) -> None:
        filling = self._filling.get(line["outlet"])
        if filling is None:
            return
        if line["box"] != filling.melt.box.number:
            self._next(line["outlet"], int(line["box"]))
        contents, sigma = (np.array([line[key][e] for e in ELEMENTS]) for key in ("wt_pct", "sigma"))
        if line["piece_id"] not in filling.ids:
            filling.melt.put(float(line["mass_g"]), contents, sigma)
            filling.ids.add(line["piece_id"])

    def _write(self, line: dict[str, Any]) -> None:
        if self._journal is None:
            return
        try:
            self._journal.write(json.dumps(line) + "\n")
            self._journal.flush()  # what has left the process outlives it
            self.faults = 0
        except OSError as error:  # a full disk stops no decision
            self.faults += 1
            if self.faults == 1:
                _log.error("boxes are not kept: %s: %s", self._journal.name, error.strerror)


def _state(outlet: str, melt: Melt, weighed_kg: float | None = None) -> BoxState:
    empty = not melt.box.pieces
    return BoxState(
        outlet=outlet,
        box=melt.box.number,
        pieces=melt.box.pieces,
        mass_kg=round(melt.box.mass_g / 1000, 3),
        full=melt.full,
        inside=melt.inside,
        wt_pct={} if empty else _by_element(melt.contents),
        sigma={} if empty else _by_element(melt.sigma),
        weighed_kg=weighed_kg,
    )


def _piece(
    outlet: str, box: int, piece_id: str, mass_g: float, contents: Floats, sigma: Floats
) -> dict[str, Any]:
    return {
        "outlet": outlet,
        "box": box,
        "piece_id": piece_id,
        "mass_g": mass_g,
        "wt_pct": _by_element(contents),
        "sigma": _by_element(sigma),
    }


def _by_element(values: Floats) -> dict[str, float]:
    return {e: round(float(value), DIGITS) for e, value in zip(ELEMENTS, values, strict=True)}


def _lines(journal: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal; it need not be there."""
    try:
        text = journal.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{journal}: {getattr(error, 'strerror', None) or 'not text in UTF-8'}") from None
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            return
        try:
            told = json.loads(line)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise DataError(f"{journal}: line {number}: not a JSON object")
        yield told


def _open(journal: Path) -> TextIO:
    """For appending; a line that was cut off goes first."""
    try:
        if journal.exists():
            whole = journal.read_bytes()
            kept = whole[: whole.rfind(b"\n") + 1]
            if len(kept) < len(whole):
                journal.write_bytes(kept)
        return journal.open("a", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{journal}: {error.strerror}") from None
