"""Lines, levels and ionisation energies of 39 elements, ions I to III, from NIST ASD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.elements import ATOMIC_MASS_U
from alloysort_datasets.errors import AlloyError

ATOMIC_FILE: Final = Path(__file__).parent / "atomic.npz"

# CODATA 2018
HC_EV_NM: Final = 1239.841984
BOLTZMANN_EV_K: Final = 8.617333262e-5

DRY_AIR_WT_PCT: Final[Mapping[str, float]] = {"N": 75.5, "O": 23.2, "Ar": 1.3}


@dataclass(frozen=True, eq=False)
class AtomicData:
    """Everything the plasma model reads, as flat arrays.

    Attributes:
        elements: element symbols; their index is what `species_element` holds.
        mass_u: (elements,) atomic mass.
        first_species: (elements + 1,) offsets: element e has species first_species[e]:first_species[e+1],
            neutral first.
        species_element, species_stage: (species,) element index; 1 is neutral, 2 singly ionised.
        species_hydrogen: (species,) true for neutral hydrogen, which broadens by the linear Stark effect.
        ionisation_ev: (species,).
        level_start: (species + 1,) offsets into level_g, level_ev (ascending within a species).
        line_start: (species + 1,) offsets into the line arrays.
        line_vac_nm: (lines,) vacuum wavelength.
        line_ga: (lines,) statistical weight of the upper level times A_ki, per second.
        line_lower_ev: (lines,) energy of the lower level.
        line_stark: (lines, 6) full width w = 10^(a0 + a1 log T + a2 log^2 T) Angstrom at 1e17 electrons per
            cm3 and shift d = w (b0 + b1 log T + b2 log^2 T), log to base 10, T in kelvin: the fit of
            Sahal-Brechot et al., Balt. Astron. 20, 523 (2011), as STARK-B tabulates it.
    """

    elements: tuple[str, ...]
    mass_u: NDArray[np.float64]
    first_species: NDArray[np.int32]
    species_element: NDArray[np.int32]
    species_stage: NDArray[np.int8]
    species_hydrogen: NDArray[np.bool_]
    ionisation_ev: NDArray[np.float64]
    level_start: NDArray[np.int32]
    level_g: NDArray[np.float32]
    level_ev: NDArray[np.float32]
    line_start: NDArray[np.int32]
    line_vac_nm: NDArray[np.float64]
    line_ga: NDArray[np.float32]
    line_lower_ev: NDArray[np.float64]
    line_stark: NDArray[np.float32]

    def fractions(self, composition_wt_pct: dict[str, float]) -> NDArray[np.float64]:
        """(elements,) number fractions of a composition by weight, summing to 1.

        Raises:
            AlloyError: nothing in the composition has lines here.
        """
        amounts = [composition_wt_pct.get(element, 0.0) for element in self.elements]
        moles = np.asarray(amounts, dtype=np.float64) / self.mass_u
        total = moles.sum()
        if not total > 0:
            raise AlloyError(f"composition {composition_wt_pct} has none of the elements with known lines")
        return np.asarray(moles / total)


@cache
def atomic_data() -> AtomicData:
    """The shipped tables."""
    with np.load(ATOMIC_FILE) as file:
        raw = {name: file[name] for name in file.files}
    names = [str(name) for name in raw["species_element"]]
    elements = tuple(dict.fromkeys(names))
    index = np.array([elements.index(name) for name in names], dtype=np.int32)
    return AtomicData(
        elements=elements,
        mass_u=np.array([ATOMIC_MASS_U[element] for element in elements]),
        first_species=np.searchsorted(index, np.arange(len(elements) + 1)).astype(np.int32),
        species_element=index,
        species_stage=raw["species_stage"],
        species_hydrogen=np.array([name == "H" for name in names]) & (raw["species_stage"] == 1),
        ionisation_ev=raw["ionisation_ev"],
        level_start=raw["level_start"],
        level_g=raw["level_g"],
        level_ev=raw["level_ev"].astype(np.float32),
        line_start=np.searchsorted(raw["line_species"], np.arange(len(names) + 1)).astype(np.int32),
        line_vac_nm=raw["line_vac_nm"],
        line_ga=raw["line_ga"],
        line_lower_ev=raw["line_lower_ev"],
        line_stark=raw["line_stark"],
    )
