"""The layers on a piece's metal, and how much of each a pulse brings into the plasma.

Over a threshold F_th, a pulse ablates d ln(F / F_th) of a surface, so a Gaussian beam leaves a paraboloid:
the crater is y (1 - r^2 / R^2) deep at radius r, y at its middle (Liu, Opt. Lett. 7, 196 (1982)). Pulses on
one spot deepen it; what the n-th pulse brings up lies between two paraboloids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.atomic import atomic_data
from alloysort_datasets.conditions import Conditions

Floats = NDArray[np.float64]

METAL_MOL_CM3: Final = 0.11  # atoms in metals: 0.10 in aluminium, 0.14 in iron and copper, 0.07 in magnesium


@dataclass(frozen=True)
class Layer:
    """What a layer is.

    Attributes:
        wt_pct: composition.
        density_g_cm3: of it.
        ease: how much deeper than in metal a pulse goes into it: polymers and films need less energy.
    """

    wt_pct: Mapping[str, float]
    density_g_cm3: float
    ease: float


# From the outside in; each is `<name>_um` thick
LAYERS: Final[Mapping[str, Layer]] = {
    "moisture": Layer({"H": 11.2, "O": 88.8}, 1.0, 20.0),
    # Upper crust (Rudnick and Gao, Treatise on Geochemistry 3, 2003), as road dirt with organic carbon
    "dirt": Layer(
        {"O": 46, "Si": 27, "Al": 7, "Fe": 5, "Ca": 5, "Na": 2, "K": 2.3, "Mg": 1.5, "C": 4, "Ti": 0.2},
        1.8,
        4.0,
    ),
    "oil": Layer({"C": 86, "H": 14}, 0.9, 10.0),
    # Polyester binder with pigments: TiO2 and CaCO3, or carbon black, iron oxide and filler
    "white paint": Layer({"C": 38, "O": 33, "Ti": 14, "Ca": 10, "H": 5}, 1.5, 8.0),
    "dark paint": Layer({"C": 56, "O": 27, "H": 6, "Fe": 5, "Ca": 4, "Si": 1.2, "Al": 0.8}, 1.3, 8.0),
    "anodising": Layer({"Al": 51, "O": 46.5, "S": 2, "H": 0.5}, 2.9, 1.0),
    "oxide": Layer({"Al": 53, "O": 47}, 3.2, 1.0),
    "zinc": Layer({"Zn": 99.3, "Al": 0.5, "Fe": 0.2}, 7.1, 1.3),
}


@cache
def _atoms() -> tuple[tuple[str, ...], Floats, Floats, Floats]:
    """Names, (layers,) ease, (layers,) mol/cm3, (layers, elements) number fractions."""
    data = atomic_data()
    fractions = np.stack([data.fractions(dict(layer.wt_pct)) for layer in LAYERS.values()])
    density = np.array([layer.density_g_cm3 for layer in LAYERS.values()])
    return (
        tuple(LAYERS),
        np.array([layer.ease for layer in LAYERS.values()]),
        density / (fractions @ data.mass_u),
        fractions,
    )


class Coat:
    """A piece's layers.

    Args:
        conditions: how thick they are.
    """

    def __init__(self, conditions: Conditions) -> None:
        names, ease, atoms, fractions = _atoms()
        white = conditions.paint_white
        um = conditions.as_mapping() | {
            "white paint_um": conditions.paint_um * white,
            "dark paint_um": conditions.paint_um * (1 - white),
        }
        thickness = np.array([um[f"{name}_um"] for name in names])
        self._bounds_um = np.concatenate(
            ([0.0], np.cumsum(thickness / ease))
        )  # as deep as it would be in metal
        self._atoms = np.append(atoms * ease, METAL_MOL_CM3)
        self._fractions = fractions
        self.bare = not thickness.any()

    def shares(self, from_um: float, to_um: float) -> Floats:
        """(layers + 1,) shares of the atoms between two craters' bottoms, the metal's last.

        Depths are those that the pulses would have ablated in bare metal.
        """
        reached = _volume_below(self._bounds_um, to_um) - _volume_below(self._bounds_um, from_um)
        volumes = np.append(reached[:-1] - reached[1:], reached[-1])
        atoms = np.clip(volumes, 0, None) * self._atoms
        return np.asarray(atoms / atoms.sum())

    def mix(self, metal: Floats, from_um: float, to_um: float) -> Floats:
        """(elements,) number fractions of what a pulse ablates from `metal` and what lies on it."""
        if self.bare:
            return metal
        shares = self.shares(from_um, to_um)
        return np.asarray(shares[-1] * metal + shares[:-1] @ self._fractions)


def _volume_below(depth_um: Floats, crater_um: float) -> Floats:
    """Volume per area of a paraboloid crater that lies below a depth: (y - x)^2 / 2 y."""
    return np.asarray(np.clip(crater_um - depth_um, 0, None) ** 2 / (2 * max(crater_um, 1e-9)))
