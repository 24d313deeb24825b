"""Chemical symbols and formulas: which elements a part of a material is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from alloysort_datasets.elements import ATOMIC_MASS_U, SYMBOLS
from alloysort_datasets.errors import AlloyError

_FORMULA: Final = re.compile(r"(?:[A-Z][a-z]?\d*)+")
_ATOMS: Final = re.compile(r"([A-Z][a-z]?)(\d*)")


@cache
def mass_fractions(formula: str) -> Mapping[str, float]:
    """The share of each element in a formula without brackets, by weight; they sum to 1.

    Args:
        formula: an element or a compound: "Cu", "SiO2", "C5H8O2".

    Raises:
        AlloyError: not a formula, or an element of a compound whose atomic mass the atomic tables lack.
    """
    if formula in SYMBOLS:
        return MappingProxyType({formula: 1.0})
    if not _FORMULA.fullmatch(formula):
        raise AlloyError(f"{formula!r} is no element and no formula like SiO2")
    masses: dict[str, float] = {}
    for symbol, count in _ATOMS.findall(formula):
        if symbol not in ATOMIC_MASS_U:
            raise AlloyError(f"formula {formula!r}: no atomic mass is known for {symbol!r}")
        masses[symbol] = masses.get(symbol, 0.0) + ATOMIC_MASS_U[symbol] * int(count or 1)
    total = sum(masses.values())
    if not total > 0:
        raise AlloyError(f"formula {formula!r} holds no atom")
    return MappingProxyType({symbol: mass / total for symbol, mass in masses.items()})


def sum_elements(wt_pct: Mapping[str, float]) -> dict[str, float]:
    """What parts of a material hold together: wt% by formula to wt% by element.

    Raises:
        AlloyError: see `mass_fractions`.
    """
    elements: dict[str, float] = {}
    for formula, amount in wt_pct.items():
        for element, fraction in mass_fractions(formula).items():
            elements[element] = elements.get(element, 0.0) + amount * fraction
    return elements
