"""What the model says of one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.families import FAMILIES

_PLACES: Final = {family: place for place, family in enumerate(FAMILIES)}


@dataclass(frozen=True, eq=False)
class Assessment:
    """What the model says of one piece.

    Attributes:
        probabilities: (19,) float32 per family of FAMILIES, calibrated.
        composition: (13,) float32 wt% per element of ELEMENTS.
        composition_sigma: (13,) float32 wt%, one standard deviation.
        novelty: larger, less like anything trained on.
        surface: share of metal in what the late shots ablated; None without a spectrum.
        sensors: that showed something of the piece, one of `bundle.manifest.PATTERNS`.
    """

    probabilities: NDArray[np.float32]
    composition: NDArray[np.float32]
    composition_sigma: NDArray[np.float32]
    novelty: float
    surface: float | None = None
    sensors: str = "both"
    _shares: list[float] = field(
        init=False, repr=False
    )  # plain numbers: to Python, a tenth of an array's cost

    def __post_init__(self) -> None:
        """Keep the probabilities as plain numbers too."""
        object.__setattr__(self, "_shares", self.probabilities.tolist())

    @property
    def family(self) -> str:
        """The most probable family."""
        return FAMILIES[self._likeliest]

    @property
    def confidence(self) -> float:
        """The probability of `family`."""
        return self._shares[self._likeliest]

    def probability_of(self, families: Sequence[str]) -> float:
        """The summed probability of several families."""
        shares = self._shares
        total = sum([shares[_PLACES[family]] for family in families])
        return min(total, 1.0)  # a full set of float32 can sum to a hair above

    @property
    def _likeliest(self) -> int:
        return self._shares.index(max(self._shares))
