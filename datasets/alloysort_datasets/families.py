"""The families and elements that alloysort names, in the one order used everywhere."""

from __future__ import annotations

from typing import Final

FAMILIES: Final = (
    "1xxx",
    "2xxx",
    "3xxx",
    "4xxx",
    "5xxx",
    "6xxx",
    "7xxx",
    "cast-AlSiCu",
    "cast-AlSiMg",
    "cast-AlSi",
    "cast-AlMg",
    "copper",
    "brass",
    "zinc",
    "magnesium",
    "stainless",
    "steel",
    "other-metal",
    "non-metal",
)
WROUGHT_ALUMINIUM: Final = FAMILIES[:7]
CAST_ALUMINIUM: Final = FAMILIES[7:11]
ALUMINIUM: Final = FAMILIES[:11]

ELEMENTS: Final = ("Al", "Si", "Fe", "Cu", "Mn", "Mg", "Cr", "Ni", "Zn", "Ti", "Pb", "Sn", "Zr")
