"""Materials that no family describes: metals and compounds of any element with line data, alone and mixed.

A model learns from them what it does not know. Those with an element of `HELD_OUT` are kept from training,
so that it can be asked about matter it was never shown.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from alloysort_datasets.alloys.formulas import mass_fractions, sum_elements
from alloysort_datasets.alloys.stream import Material

HELD_OUT: Final = frozenset({"Be", "In", "Li", "Sr"})
METALS: Final = (
    "Ag", "Al", "B", "Ba", "Be", "Bi", "Ca", "Cd", "Co", "Cr", "Cu", "Fe", "Ga", "In", "Li", "Mg", "Mn", "Mo",
    "Ni", "Pb", "Sb", "Si", "Sn", "Sr", "Ti", "V", "W", "Zn", "Zr",
)  # fmt: skip
# Known to a family when they are pure; so mostly are the compounds that stones are made of
PURE: Final = frozenset(("Ag", "Bi", "Cd", "Co", "Cr", "Mn", "Mo", "Pb", "Sb", "Sn", "Ti", "V", "W", "Zr"))
STONES: Final = frozenset(("SiO2", "CaCO3", "KAlSi3O8", "NaAlSi3O8", "Al2Si2O9H4"))
# Without these a mixture may be an alloy of a family
RARE: Final = tuple(metal for metal in METALS if metal not in ("Al", "Cu", "Fe", "Mg", "Ni", "Si", "Zn"))
COMPOUNDS: Final = (
    "Al2O3", "AlN", "SiO2", "SiC", "Si3N4", "B4C", "TiO2", "TiC", "TiN", "ZrO2", "MgO", "CaO", "ZnO", "CuO",
    "Cu2O", "Fe2O3", "Fe3O4", "NiO", "CoO", "Cr2O3", "MnO2", "V2O5", "MoO3", "WO3", "SnO2", "PbO", "Sb2O3",
    "Bi2O3", "CdO", "BaTiO3", "BaSO4", "BaCO3", "CaCO3", "CaSO4H4O2", "CaP2O6", "NaCl", "Na2CO3", "NaHCO3",
    "Na2SO4", "KCl", "K2SO4", "KNO3", "MgCO3", "MgSO4", "MgAl2O4", "Mg3Si4O12H2", "KAlSi3O8", "NaAlSi3O8",
    "Al2Si2O9H4", "Al6Si2O13", "ZrSiO4", "ZnS", "ZnSO4", "FeS2", "CuFeS2", "PbS", "FeTiO3", "MnCO3", "CuSO4",
    "BeO", "LiCl", "Li2CO3", "LiAlSi2O6", "In2O3", "SrCO3", "SrSO4", "SrTiO3", "Ga2O3",
)  # fmt: skip
MAIN_COMPOUNDS: Final = tuple(formula for formula in COMPOUNDS if formula not in STONES)
BINDERS: Final = ("C5H8O2", "C10H8O4", "C3H6N2O", "C8H8", "C2H3Cl")
_TRACE_WT_PCT: Final = 0.3


def sample_stranger(rng: np.random.Generator, held_out: bool) -> Material:
    """A random such material; its family is other-metal or non-metal, for those are all else.

    Args:
        rng: where the chance comes from.
        held_out: whether its main part has an element of `HELD_OUT`; if not, nothing of it has.
    """
    if rng.random() < 0.5:
        mixed = _mixture(rng, METALS, RARE, held_out)
        return Material("other-metal", None, mixed, "metal")
    composition = sum_elements(_mixture(rng, COMPOUNDS, MAIN_COMPOUNDS, held_out))
    if rng.random() < 0.3:  # a paint or a filled plastic
        share = rng.uniform(0.3, 0.8)
        binder = mass_fractions(BINDERS[int(rng.integers(len(BINDERS)))])
        composition = {
            element: 100 * share * binder.get(element, 0.0) + (1 - share) * composition.get(element, 0.0)
            for element in {**binder, **composition}
        }
    return Material("non-metal", None, composition, "compound")


def _mixture(
    rng: np.random.Generator, every: tuple[str, ...], main: tuple[str, ...], held_out: bool
) -> dict[str, float]:
    """Formula to wt%, of one to four; the first is one of `main`, and half of it or more."""
    mains = [formula for formula in main if _is_held_out(formula) == held_out]
    others = [formula for formula in every if held_out or not _is_held_out(formula)]
    chosen = [mains[int(rng.integers(len(mains)))]]
    pure = chosen[0] in PURE
    if pure or rng.random() < 0.6:
        beside = [formula for formula in others if formula != chosen[0]]
        chosen += [beside[int(rng.integers(len(beside)))] for _ in range(int(rng.integers(1, 4)))]
    rest = rng.uniform(0.2, 0.5) if pure else rng.uniform(0.0, 0.5)
    shares = [1.0]
    if len(chosen) > 1:
        shares = [1 - rest, *(rest * rng.dirichlet(np.ones(len(chosen) - 1)))]
    trace = others[int(rng.integers(len(others)))]  # nothing is pure
    amounts = dict.fromkeys((*chosen, trace), 0.0)
    for formula, share in zip(chosen, shares, strict=True):
        amounts[formula] += (100 - _TRACE_WT_PCT) * float(share)
    amounts[trace] += _TRACE_WT_PCT
    return amounts


def _is_held_out(formula: str) -> bool:
    return not HELD_OUT.isdisjoint(mass_fractions(formula))
