"""A box that is to melt into an alloy: what it holds, and which piece may still go in.

Limits are about the box, not about its pieces: one with too much copper may go in as long as others make up
for it. A small linear program over the pieces seen lately finds what such making-up costs: the price of each
limit, in kilograms of box. A piece goes in if it is worth more than it costs, and if the box with it is
inside its limits as surely as was asked for; while the box is young it may owe a little that the rest is to
bring.

What the model says of a box is not what is in it, and a single piece that is taken for another alloy can be a
tenth of all the copper that a box may hold. So a box keeps a margin from each limit, which
`recipe fit` measures on known pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.alloys.limits import Limit
from alloysort_datasets.alloys.registry import find_alloy
from alloysort_datasets.families import ELEMENTS

REMEMBERED: Final = 300  # candidates that prices rest on
FEWEST: Final = 150  # before, a piece must be inside by itself
REFRESH: Final = 1000  # candidates between two programs
DEBT: Final = 0.05  # of a box, one sigma of the feed: what a young box may owe
LEFT: Final = 0.25  # of a box, at least, is reckoned to be still to come
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spec:
    """K limits on the contents of a melt: `rows @ contents <= ceiling`.

    Attributes:
        names: (K,) in words, as "Cu <= 0.1".
        rows: (K, E) of ELEMENTS.
        ceiling: (K,) wt%.
    """

    names: tuple[str, ...]
    rows: Floats
    ceiling: Floats

    def broken(self, contents: Floats) -> list[str]:
        """The limits that contents, (E,) wt%, do not keep."""
        over = self.rows @ contents > self.ceiling + 1e-9
        return [name for name, there in zip(self.names, over, strict=True) if there]


def spec_of(alloy: str) -> Spec:
    """The limits of a registered alloy; elements that the model does not tell are left out.

    Raises:
        AlloyError: the registry has no such alloy; the message names close matches.
    """
    found = find_alloy(alloy)
    single = {e: found.limit(e) for e in ELEMENTS if e != "Al"}
    limits: dict[tuple[str, ...], Limit] = {(element,): limit for element, limit in single.items()}
    limits |= {j.elements: j.limit for j in found.joint_limits if set(j.elements) <= set(ELEMENTS)}
    if found.aluminium_min is not None:
        limits[("Al",)] = Limit(found.aluminium_min, 100.0)
    return _spec(limits)


def spec_from(limits: Mapping[str, Sequence[float]]) -> Spec:
    """Own limits: by element the least and the most, in wt%."""
    return _spec({(element,): Limit(*map(float, ends)) for element, ends in limits.items()})


def _spec(limits: Mapping[tuple[str, ...], Limit]) -> Spec:
    names, rows, ceiling = [], [], []
    for elements, limit in limits.items():
        row = np.array([float(element in elements) for element in ELEMENTS])
        word = "+".join(elements)
        if limit.maximum < 100:
            names.append(f"{word} <= {limit.maximum:g}")
            rows.append(row)
            ceiling.append(limit.maximum)
        if limit.minimum > 0:
            names.append(f"{word} >= {limit.minimum:g}")
            rows.append(-row)
            ceiling.append(-limit.minimum)
    return Spec(tuple(names), np.array(rows).reshape(-1, len(ELEMENTS)), np.array(ceiling))


@dataclass
class Box:
    """What a box holds, as far as is known.

    Attributes:
        number: counted up from 1.
        pieces, mass_g: taken.
        content_g_pct: (E,) mass times what the model said, summed.
        variance: (E,) mass squared times the model's variance, summed.
    """

    number: int = 1
    pieces: int = 0
    mass_g: float = 0.0
    content_g_pct: Floats = field(default_factory=lambda: np.zeros(len(ELEMENTS)))
    variance: Floats = field(default_factory=lambda: np.zeros(len(ELEMENTS)))

    def add(self, mass_g: float, contents: Floats, sigma: Floats) -> None:
        """Take a piece."""
        self.pieces += 1
        self.mass_g += mass_g
        self.content_g_pct += mass_g * contents
        self.variance += (mass_g * sigma) ** 2


class Melt:
    """Fills one box after the other.

    Args:
        spec: what each is to be inside of.
        box_g: mass of a full one.
        margins: (K,) wt%, how far from each limit what the model says of a box must stay; see `bench.melt`.
    """

    def __init__(self, spec: Spec, box_g: float, margins: Floats | None = None) -> None:
        from scipy.optimize import linprog  # half a second, that no piece is to wait for

        self._solve = linprog
        self.spec, self.box_g = spec, box_g
        self._goal = spec.ceiling - (0.0 if margins is None else margins)
        self._prices: Floats | None = None
        self._credit = np.zeros(len(spec.names))
        self._spread = np.ones(len(spec.names))
        self._seen: list[tuple[float, Floats]] = []
        self._offered = 0
        self.hold(Box())

    @property
    def contents(self) -> Floats:
        """(E,) wt% of the box, as the model says."""
        return np.asarray(self.box.content_g_pct / max(self.box.mass_g, 1e-9))

    @property
    def sigma(self) -> Floats:
        """(E,) wt%, one standard deviation of `contents` by chance."""
        return np.asarray(np.sqrt(self.box.variance) / max(self.box.mass_g, 1e-9))

    @property
    def inside(self) -> bool:
        """Whether the box is inside its limits, margins kept: as surely as was asked for."""
        return self.box.mass_g > 0 and bool((self._slack >= 0).all())

    @property
    def full(self) -> bool:
        """Whether the box holds what it is to hold."""
        return self.box.mass_g >= self.box_g

    def hold(self, box: Box) -> None:
        """Go on with a box."""
        self.box = box
        self._slack = self._goal * box.mass_g - self.spec.rows @ box.content_g_pct

    def offer(self, mass_g: float, contents: Floats, sigma: Floats) -> bool:
        """Take a piece or leave it; one that is taken after a box is full opens the next.

        Args:
            mass_g: of it.
            contents, sigma: (E,) wt%, what the model says.
        """
        drawn = self.spec.rows @ contents
        self._learn(mass_g, drawn)
        room = self._goal - drawn
        if not self._takes(mass_g, room):
            return False
        if self.full:
            self.hold(Box(self.box.number + 1))
        self._put(mass_g, contents, sigma, room)
        return True

    def would_take(self, mass_g: float, contents: Floats) -> bool:
        """Whether a piece is worth its place, and the box with it inside but for what a young one may owe."""
        return self._takes(mass_g, self._goal - self.spec.rows @ contents)

    def put(self, mass_g: float, contents: Floats, sigma: Floats) -> None:
        """Count a piece in."""
        self._put(mass_g, contents, sigma, self._goal - self.spec.rows @ contents)

    def _takes(self, mass_g: float, room: Floats) -> bool:
        if not self._is_worth_it(room):
            return False
        mass, before = (0.0, np.zeros(len(room))) if self.full else (self.box.mass_g, self._slack)
        debt = DEBT * max(0.0, self.box_g - mass - mass_g) * self._spread
        slack = before + mass_g * room
        return bool(((slack >= -debt) | (room >= 0)).all())

    def _put(self, mass_g: float, contents: Floats, sigma: Floats, room: Floats) -> None:
        self.box.add(mass_g, contents, sigma)
        self._slack = self._slack + mass_g * room

    def _is_worth_it(self, room: Floats) -> bool:
        """Whether the piece brings more than the limits' prices take."""
        if self._prices is None:
            return bool((room >= 0).all())
        return bool(self._prices @ (room + self._credit) > -1.0)

    def _learn(self, mass_g: float, drawn: Floats) -> None:
        """Keep the piece in mind; now and then, find the prices anew."""
        if len(self._seen) < REMEMBERED:
            self._seen.append((mass_g, drawn))
        else:
            self._seen[self._offered % REMEMBERED] = (mass_g, drawn)
        self._offered += 1
        if self._offered == FEWEST or self._offered % REFRESH == 0:
            self._reprice()

    def _reprice(self) -> None:
        """Prices of the limits: duals of filling the box fastest from pieces like those seen lately."""
        mass = np.array([mass for mass, _ in self._seen])
        drawn = np.array([drawn for _, drawn in self._seen])
        self._spread = np.maximum(drawn.std(axis=0), 1e-3)
        to_come = max(self.box_g - self.box.mass_g, LEFT * self.box_g)
        self._credit = np.zeros(len(self._slack)) if self.full else self._slack / to_come
        over = (drawn - self._goal - self._credit) / self._spread
        found = self._solve(-mass, A_ub=(mass[:, None] * over).T, b_ub=np.zeros(over.shape[1]), bounds=(0, 1))
        if found.status == 0:
            self._prices = np.asarray(-found.ineqlin.marginals / self._spread)
