"""What a piece of scrap is made of, drawn as a scrap stream has it.

First a family by the weights of a mix, then an alloy or material of the family by its prevalence, then a heat
of it. Prevalences and mixes are estimates by number of pieces; `MIXES` and the tables say what they rest on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from types import MappingProxyType
from typing import Final

import numpy as np

from alloysort_datasets.alloys.contaminants import Contaminant, load_contaminants, sample_contaminant
from alloysort_datasets.alloys.heats import sample_composition
from alloysort_datasets.alloys.limits import require_element
from alloysort_datasets.alloys.registry import Alloy, close_matches, load_alloys
from alloysort_datasets.errors import AlloyError
from alloysort_datasets.families import ELEMENTS, FAMILIES, WROUGHT_ALUMINIUM

BALANCED: Final[Mapping[str, float]] = MappingProxyType(dict.fromkeys(FAMILIES, 1.0))

ZORBA: Final[Mapping[str, float]] = MappingProxyType(
    {
        "1xxx": 4.0, "2xxx": 1.0, "3xxx": 10.0, "4xxx": 2.0, "5xxx": 8.0, "6xxx": 15.0, "7xxx": 1.0,
        "cast-AlSiCu": 22.0, "cast-AlSiMg": 5.0, "cast-AlSi": 1.5, "cast-AlMg": 0.5,
        "copper": 4.0, "brass": 4.0, "zinc": 6.0, "magnesium": 2.0, "stainless": 6.0, "steel": 1.0,
        "other-metal": 1.0, "non-metal": 6.0,
    }
)  # fmt: skip

TWITCH: Final[Mapping[str, float]] = MappingProxyType(
    {
        "1xxx": 2.0, "2xxx": 1.0, "3xxx": 6.0, "4xxx": 3.0, "5xxx": 8.0, "6xxx": 14.0, "7xxx": 1.0,
        "cast-AlSiCu": 46.0, "cast-AlSiMg": 11.0, "cast-AlSi": 3.0, "cast-AlMg": 0.5,
        "copper": 0.2, "brass": 0.2, "zinc": 1.0, "magnesium": 1.0, "stainless": 0.1, "steel": 0.2,
        "other-metal": 0.1, "non-metal": 1.7,
    }
)  # fmt: skip

WROUGHT: Final[Mapping[str, float]] = MappingProxyType(
    {
        "1xxx": 5.0, "2xxx": 1.5, "3xxx": 12.0, "4xxx": 2.5, "5xxx": 26.0, "6xxx": 42.7, "7xxx": 3.0,
        "cast-AlSiCu": 3.0, "cast-AlSiMg": 1.0, "cast-AlSi": 0.5, "cast-AlMg": 0.2,
        "copper": 0.1, "brass": 0.1, "zinc": 0.3, "magnesium": 0.3, "stainless": 0.2, "steel": 0.5,
        "other-metal": 0.1, "non-metal": 1.0,
    }
)  # fmt: skip

MIXES: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {"balanced": BALANCED, "zorba": ZORBA, "twitch": TWITCH, "wrought": WROUGHT}
)
"""Share of each family in named streams.

balanced: every family alike, for training. zorba: what eddy currents lift from shredded cars and
appliances; 70 % aluminium, the low end of the 70-90 % that dealers state, the rest the metals that the ISRI
specification names, split by estimate. twitch: zorba after a float-sink plant; the ISRI specification
allows 1 % free zinc, 1 % free magnesium and 2 % non-metal; two thirds of the aluminium are castings, an
estimate for car shred. wrought: sheet and profiles of cars and buildings after dismantling, 5xxx and 6xxx
before all; the castings and what else slips in are an estimate.
"""


@dataclass(frozen=True, eq=False)
class Material:
    """What one piece is made of.

    Attributes:
        family: one of families.FAMILIES.
        alloy: designation of the alloy or of the material, None where nobody knows.
        composition: wt% of every element, not only of families.ELEMENTS; the sum is 100.
        kind: "wrought" or "cast" for aluminium, else the sort of material: "bronze", "lead", "glass".

    Raises:
        AlloyError: an unknown family or element, a negative or missing amount, or a sum that is not 100.
    """

    family: str
    alloy: str | None
    composition: Mapping[str, float]
    kind: str

    def __post_init__(self) -> None:
        _require_family(self.family)
        for element, amount in self.composition.items():
            if not amount >= 0:
                raise AlloyError(f"material {self.alloy!r}: {element} {amount} wt% must be 0 or more")
            require_element(element)
        total = sum(self.composition.values())
        if not abs(total - 100) < 1e-6:
            raise AlloyError(f"material {self.alloy!r}: composition sums to {total} wt%, must be 100")


def sample_material(
    rng: np.random.Generator,
    family: str | None = None,
    alloy: str | None = None,
    mix: Mapping[str, float] = BALANCED,
) -> Material:
    """What a random piece of a scrap stream is made of.

    Args:
        rng: where the chance comes from; the same state gives the same material.
        family: draw within this family; `mix` is not looked at.
        alloy: draw a heat of this alloy or material; `mix` is not looked at.
        mix: weight of each family; one that is missing has none. Named ones are in MIXES.

    Raises:
        AlloyError: an unknown family or alloy, an alloy that is not of the family, or weights that are
            negative, not finite or all 0.
    """
    if alloy is not None:
        known = _designations()
        if alloy not in known:
            raise AlloyError(f"alloy {alloy!r} is unknown; {close_matches(alloy, known)}")
        source = known[alloy]
        if family not in (None, source.family):
            raise AlloyError(f"alloy {alloy!r} is of family {source.family}, not {family}")
    else:
        source = _draw_source(rng, _draw_family(rng, mix) if family is None else _require_family(family))
    return _material(source, rng)


def to_elements(composition: Mapping[str, float]) -> dict[str, float]:
    """The piece table's columns: wt% of each of families.ELEMENTS, 0 where the composition has none of it."""
    return {element: float(composition.get(element, 0.0)) for element in ELEMENTS}


def _material(source: Alloy | Contaminant, rng: np.random.Generator) -> Material:
    if isinstance(source, Contaminant):
        return Material(source.family, source.designation, sample_contaminant(source, rng), source.kind)
    kind = "wrought" if source.family in WROUGHT_ALUMINIUM else "cast"
    return Material(source.family, source.designation, sample_composition(source, rng), kind)


@cache
def _designations() -> Mapping[str, Alloy | Contaminant]:
    alloys, contaminants = load_alloys(), load_contaminants()
    if twice := sorted(set(alloys) & set(contaminants)):
        raise AlloyError(f"{twice} stand in the table of alloys and in that of contaminants")
    return {**alloys, **contaminants}


@cache
def _members(family: str) -> tuple[tuple[Alloy | Contaminant, ...], tuple[float, ...]]:
    """The alloys or materials of a family and their running total of prevalence."""
    members = tuple(source for source in _designations().values() if source.family == family)
    return members, tuple(accumulate(source.prevalence for source in members))


def _draw_source(rng: np.random.Generator, family: str) -> Alloy | Contaminant:
    members, totals = _members(family)
    return members[_draw_index(rng, totals)]


def _draw_family(rng: np.random.Generator, mix: Mapping[str, float]) -> str:
    for family, weight in mix.items():
        if not 0 <= weight < float("inf"):
            raise AlloyError(
                f"mix: weight {weight} of {_require_family(family)} must be 0 or more and finite"
            )
    names = [_require_family(family) for family in mix if mix[family] > 0 or family not in FAMILIES]
    totals = tuple(accumulate(mix[name] for name in names))
    if not totals or totals[-1] == float("inf"):
        raise AlloyError("mix: the weights must sum to something above 0 and finite")
    return names[_draw_index(rng, totals)]


def _draw_index(rng: np.random.Generator, totals: Sequence[float]) -> int:
    return min(bisect_right(totals, rng.random() * totals[-1]), len(totals) - 1)


def _require_family(name: str) -> str:
    if name not in FAMILIES:
        raise AlloyError(f"family {name!r} is none of {', '.join(FAMILIES)}")
    return name
