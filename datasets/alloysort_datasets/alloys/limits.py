"""Composition limits as alloy tables print them, in wt%: `0.25`, `0.40-0.8`, `Si+Fe<=0.95`, `V 0.05-0.15`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from alloysort_datasets.alloys.formulas import mass_fractions
from alloysort_datasets.elements import SYMBOLS
from alloysort_datasets.errors import AlloyError

TOLERANCE_WT_PCT: Final = 1e-9

_NUMBER: Final = r"\d+(?:\.\d+)?"
_CELL: Final = re.compile(rf"(?:({_NUMBER})-)?({_NUMBER})")
_CLAUSE: Final = re.compile(rf"([A-Za-z0-9+]+)(?:<=({_NUMBER})| ({_NUMBER})-({_NUMBER}))(?: +|$)")


@dataclass(frozen=True)
class Limit:
    """What an element may weigh, both ends included.

    Attributes:
        minimum, maximum: wt%.

    Raises:
        AlloyError: not 0 <= minimum <= maximum <= 100.
    """

    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum <= 100:
            raise AlloyError(
                f"limit {self.minimum:g}-{self.maximum:g} must rise and stay within 0 to 100 wt%"
            )

    def allows(self, amount_wt_pct: float) -> bool:
        """Whether the amount lies between both ends, to within rounding."""
        return self.minimum - TOLERANCE_WT_PCT <= amount_wt_pct <= self.maximum + TOLERANCE_WT_PCT

    def __str__(self) -> str:
        return f"{self.minimum:g}-{self.maximum:g}" if self.minimum else f"<={self.maximum:g}"


@dataclass(frozen=True)
class JointLimit:
    """What several elements together may weigh.

    Attributes:
        elements: two or more different symbols.
        minimum, maximum: wt% of their sum.

    Raises:
        AlloyError: fewer than two elements, one twice, one unknown, or not 0 <= minimum <= maximum <= 100.
    """

    elements: tuple[str, ...]
    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        if len(set(self.elements)) != len(self.elements) or len(self.elements) < 2:
            raise AlloyError(f"joint limit of {'+'.join(self.elements)} needs two or more different elements")
        for element in self.elements:
            require_element(element)
        Limit(self.minimum, self.maximum)

    @property
    def limit(self) -> Limit:
        """The limit that the sum of the elements must keep."""
        return Limit(self.minimum, self.maximum)


def require_element(symbol: str) -> str:
    """The symbol itself.

    Raises:
        AlloyError: no element of that symbol.
    """
    if symbol not in SYMBOLS:
        raise AlloyError(f"{symbol!r} is no chemical element")
    return symbol


def parse_limit(text: str) -> Limit:
    """One cell of an alloy table: `0.25` is a maximum, `0.40-0.8` a range.

    Raises:
        AlloyError: anything else.
    """
    match = _CELL.fullmatch(text)
    if match is None:
        raise AlloyError(f"{text!r} is no limit; write 0.25 for a maximum or 0.40-0.8 for a range")
    return Limit(float(match[1] or 0), float(match[2]))


def parse_limits(text: str) -> tuple[dict[str, Limit], tuple[JointLimit, ...]]:
    """Limits in a row, apart by spaces: `Ga<=0.03 V 0.05-0.15 V+Ti<=0.02`.

    Names are elements or, where they stand alone, formulas such as SiO2.

    Returns:
        The limits by name, and the joint limits.

    Raises:
        AlloyError: part of the text is no limit, a name is no element or formula, or a name comes twice.
    """
    single: dict[str, Limit] = {}
    joint: list[JointLimit] = []
    position = 0
    while position < len(text):
        match = _CLAUSE.match(text, position)
        if match is None:
            raise AlloyError(f"{text[position:]!r} is no limit; write V<=0.05, V 0.05-0.15 or V+Ti<=0.02")
        name, low, high = match[1], float(match[3] or 0), float(match[2] or match[4])
        if "+" in name:
            joint.append(JointLimit(tuple(name.split("+")), low, high))
        elif name in single:
            raise AlloyError(f"{name} has two limits in {text!r}")
        else:
            mass_fractions(name)
            single[name] = Limit(low, high)
        position = match.end()
    return single, tuple(joint)
