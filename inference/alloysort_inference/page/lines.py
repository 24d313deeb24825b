"""Whose line a peak of a spectrum may be, by what the piece is said to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.libs.atomic import BOLTZMANN_EV_K, HC_EV_NM, atomic_data
from alloysort_datasets.libs.wavelength import air_nm

SOIL: Final = {"Ca": 0.3, "Na": 0.2, "K": 0.2, "C": 0.3, "H": 0.02}  # wt% that dirt and air put on any piece
ELEMENTS: Final = ("Al", "Mg", "Si", "Cu", "Zn", "Mn", "Fe", "Cr", "Ni", "Ti", "Pb", "Sn", "Zr", *SOIL)
PLASMA_K: Final = 9000.0
ELECTRONS_CM3: Final = 1e17
STATES_CM3: Final = 2 * 2.4146830e15  # 2 (2 pi m k / h2)^1.5, per cm3 and K^1.5, CODATA 2018
STRONGEST: Final = 60  # lines of each species
LEAST: Final = 3e-4  # of the strongest line of the piece, to be named
TRACE_WT: Final = 0.003  # of what the piece is said not to hold
PEAKS: Final = 60  # of a spectrum that may get a name
LABELS: Final = 16
NEAR_CHANNELS: Final = 1.5
RISE: Final = 12.0  # of a peak over the noise beside it


@dataclass(frozen=True, eq=False)
class Lines:
    """L lines, rising.

    Attributes:
        nm: (L,) air.
        element: (L,) place in ELEMENTS.
        strength: (L,) for as many atoms of each element.
    """

    nm: NDArray[np.float64]
    element: NDArray[np.intp]
    strength: NDArray[np.float64]


@cache
def strong_lines() -> Lines:
    """The strongest lines of each element in a plasma of scrap.

    Strength is g A exp(-E / kT) / wavelength of the upper level E in local thermal equilibrium; ions as many
    as Saha's equation gives at PLASMA_K and ELECTRONS_CM3, all partition functions taken alike.
    """
    data, kt_ev = atomic_data(), BOLTZMANN_EV_K * PLASMA_K
    found: list[tuple[float, int, float]] = []
    for species, element in enumerate(data.species_element):
        name = data.elements[element]
        if name not in ELEMENTS or data.species_stage[species] > 2:
            continue
        first = int(data.first_species[element])
        ions = STATES_CM3 * PLASMA_K**1.5 / ELECTRONS_CM3 * np.exp(-float(data.ionisation_ev[first]) / kt_ev)
        part = (1.0 if data.species_stage[species] == 1 else ions) / (1 + ions)
        span = slice(int(data.line_start[species]), int(data.line_start[species + 1]))
        nm = data.line_vac_nm[span]
        upper_ev = data.line_lower_ev[span] + HC_EV_NM / nm
        light = part * data.line_ga[span] * np.exp(-upper_ev / kt_ev) / nm / data.mass_u[element]
        strongest = np.argsort(-light)[:STRONGEST]
        found += [(float(nm[one]), ELEMENTS.index(name), float(light[one])) for one in strongest]
    found.sort()
    nm_vac, elements, light_of = (np.array(column) for column in zip(*found, strict=True))
    return Lines(air_nm(nm_vac), elements.astype(np.intp), light_of)


def label(
    wavelength_nm: NDArray[np.float64],
    counts: NDArray[np.float64],
    composition: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """The highest peaks of a spectrum that stand where a line is that the piece can show.

    Args:
        wavelength_nm: (channels,) air.
        counts: (channels,).
        composition: wt% by element, as the piece is said to hold; None: all alike.
    """
    lines = strong_lines()
    held = SOIL | dict(composition) if composition is not None else dict.fromkeys(ELEMENTS, 1.0)
    weight = np.array([max(held.get(name, 0.0), TRACE_WT) for name in ELEMENTS])
    light = lines.strength * weight[lines.element]
    least = LEAST * float(light.max())
    spacing = np.gradient(wavelength_nm)
    found: list[dict[str, Any]] = []
    for peak in _peaks(counts):
        off = np.abs(lines.nm - wavelength_nm[peak])
        near = np.flatnonzero((off <= NEAR_CHANNELS * spacing[peak]) & (light >= least))
        if near.size:
            line = near[np.argmax(light[near])]
            found.append(
                {
                    "nm": round(float(wavelength_nm[peak]), 3),
                    "counts": float(counts[peak]),
                    "element": ELEMENTS[lines.element[line]],
                    "line_nm": round(float(lines.nm[line]), 3),
                }
            )
        if len(found) == LABELS:
            break
    return found


def _peaks(counts: NDArray[np.float64]) -> NDArray[np.intp]:
    """Channels that are higher than their neighbours and stand out of the noise, the highest first."""
    inside = counts[1:-1]
    top = np.flatnonzero((inside >= counts[:-2]) & (inside > counts[2:])) + 1
    noise = 1.4826 * float(np.median(np.abs(np.diff(counts)))) / 2**0.5
    level = float(np.median(counts))
    top = top[counts[top] - level > RISE * max(noise, 1e-9)]
    return top[np.argsort(-counts[top])][:PEAKS]
