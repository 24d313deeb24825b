"""The layers on a piece's metal, and how much of each a pulse brings into the plasma.

Over a threshold F_th, a pulse ablates d ln(F / F_th) of a surface, so a Gaussian beam leaves a paraboloid:
the crater is y (1 - r^2 / R^2) deep at radius r, y at its middle (Liu, Opt. Lett. 7, 196 (1982)). Pulses on
one spot deepen it; what the n-th pulse brings up lies between two paraboloids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.libs.atomic import atomic_data
from alloysort_datasets.libs.conditions import Conditions

Floats = NDArray[np.float64]

METAL_MOL_CM3: Final = 0.11  # atoms in metals: 0.10 in aluminium, 0.14 in iron and copper, 0.07 in magnesium


@dataclass(frozen=True)
class Layer:
    """What a layer is.

    Attributes:
        wt_pct: composition.
        density_g_cm3: of it.
        ease: how much deeper than in metal a pulse goes into it, an estimate: polymers and films need less
            energy, and what is loose is blown away.
    """

    wt_pct: Mapping[str, float]
    density_g_cm3: float
    ease: float


LAYERS: Final[Mapping[str, Layer]] = {
    "moisture": Layer({"H": 11.2, "O": 88.8}, 1.0, 20.0),
    # Upper crust (Rudnick and Gao, Treatise on Geochemistry 3, 2003), as road dirt with organic carbon
    "dirt": Layer(
        {"O": 46, "Si": 27, "Al": 7, "Fe": 5, "Ca": 5, "Na": 2, "K": 2.3, "Mg": 1.5, "C": 4, "Ti": 0.2},
        1.8,
        4.0,
    ),
    "oil": Layer({"C": 86, "H": 14}, 0.9, 10.0),
    # Polyester binder with pigments, estimates: TiO2 and CaCO3, or carbon black, iron oxide and filler
    "white paint": Layer({"C": 38, "O": 33, "Ti": 14, "Ca": 10, "H": 5}, 1.5, 8.0),
    "dark paint": Layer({"C": 56, "O": 27, "H": 6, "Fe": 5, "Ca": 4, "Si": 1.2, "Al": 0.8}, 1.3, 8.0),
    "anodising": Layer({"Al": 51, "O": 46.5, "S": 2, "H": 0.5}, 2.9, 1.0),
    "oxide": Layer({"Al": 53, "O": 47}, 3.2, 1.0),
    "zinc": Layer({"Zn": 99.3, "Al": 0.5, "Fe": 0.2}, 7.1, 1.3),
}


# How much of an element, over aluminium, an oxide film keeps of the alloy it grew from: silicon and the
# phases of iron and manganese stay in it as particles; copper and zinc dissolve in part, magnesium too.
# After Wernick, Pinner and Sheasby, The Surface Treatment and Finishing of Aluminium and its Alloys (1987),
# which says which do; the numbers are estimates
KEPT: Final[Mapping[str, float]] = {
    "Si": 0.9, "Mn": 0.8, "Fe": 0.7, "Cr": 0.8, "Ti": 0.8, "Zr": 0.8, "V": 0.8, "Ni": 0.6, "Mg": 0.5,
    "Zn": 0.4, "Cu": 0.3, "Pb": 0.5, "Bi": 0.5, "Sn": 0.5, "Li": 0.3,
}  # fmt: skip


# From the outside in; each is `<name>_um` thick. A paint is a mixture of the white and the dark one
STACK: Final = ("moisture", "dirt", "oil", "paint", "anodising", "oxide", "zinc")
PAINT: Final = STACK.index("paint")
GROWN: Final = (STACK.index("anodising"), STACK.index("oxide"))


class _Matter(NamedTuple):
    """What the layers of `STACK` are made of, the paint being white."""

    ease: Floats  # (layers,)
    mol_cm3: Floats  # (layers,)
    fractions: Floats  # (layers, elements) number fractions


class Coat:
    """A piece's layers.

    Args:
        conditions: how thick they are.
        metal: (elements,) number fractions of what lies below, of which an oxide has grown.
    """

    def __init__(self, conditions: Conditions, metal: Floats) -> None:
        thickness = np.array([getattr(conditions, f"{name}_um") for name in STACK])
        self.bare = not thickness.any()
        matter = _matter() if thickness[PAINT] == 0 else _painted(conditions.paint_white)
        # as deep as each begins when metal were in its place
        self._bounds_um = np.concatenate(([0.0], np.cumsum(thickness / matter.ease)))
        self._atoms = np.append(matter.mol_cm3 * matter.ease, METAL_MOL_CM3)
        self._fractions = matter.fractions
        if thickness[list(GROWN)].any():
            self._fractions = _grown(matter.fractions, metal)

    def shares(self, from_um: Floats, to_um: Floats) -> Floats:
        """(shots, layers + 1) shares of the atoms between two craters' bottoms, the metal's last.

        Args:
            from_um, to_um: (shots,) depths at the middle, as the pulses would have ablated them in bare
                metal; each goes deeper than it begins.
        """
        reached = _volume_below(self._bounds_um, to_um) - _volume_below(self._bounds_um, from_um)
        reached[:, :-1] -= reached[:, 1:]
        atoms = np.maximum(reached, 0) * self._atoms
        return np.asarray(atoms / atoms.sum(axis=1, keepdims=True))

    def mix(self, metal: Floats, from_um: Floats, to_um: Floats) -> Floats:
        """(shots, elements) number fractions of what pulses ablate: of `metal`, and of what lies on it."""
        if self.bare:
            return metal
        shares = self.shares(from_um, to_um)
        return np.asarray(shares[:, -1:] * metal + shares[:, :-1] @ self._fractions)


@cache
def _matter() -> _Matter:
    layers = [LAYERS["white paint" if name == "paint" else name] for name in STACK]
    return _Matter(
        np.array([layer.ease for layer in layers]),
        np.array([_mol_cm3(layer) for layer in layers]),
        np.stack([_fractions(layer) for layer in layers]),
    )


@cache
def _dark() -> tuple[float, Floats]:
    dark = LAYERS["dark paint"]
    return _mol_cm3(dark), _fractions(dark)


def _painted(white: float) -> _Matter:
    """The same with a paint of which so much by volume is white."""
    matter = _matter()
    dark_mol_cm3, dark = _dark()
    mol_cm3, fractions = matter.mol_cm3.copy(), matter.fractions.copy()
    mol_cm3[PAINT] = white * matter.mol_cm3[PAINT] + (1 - white) * dark_mol_cm3
    share = white * matter.mol_cm3[PAINT] / mol_cm3[PAINT]
    fractions[PAINT] = share * matter.fractions[PAINT] + (1 - share) * dark
    return matter._replace(mol_cm3=mol_cm3, fractions=fractions)


def _grown(fractions: Floats, metal: Floats) -> Floats:
    """The layers' fractions with the alloy's own elements in its oxides."""
    data = atomic_data()
    aluminium = data.elements.index("Al")
    if metal[aluminium] <= 0:
        return fractions
    kept = metal * np.array([KEPT.get(element, 0.0) for element in data.elements]) / metal[aluminium]
    grown = fractions.copy()
    for layer in GROWN:
        film = fractions[layer] + fractions[layer, aluminium] * kept
        grown[layer] = film / film.sum()
    return grown


def _fractions(layer: Layer) -> Floats:
    return atomic_data().fractions(dict(layer.wt_pct))


def _mol_cm3(layer: Layer) -> float:
    return float(layer.density_g_cm3 / (_fractions(layer) @ atomic_data().mass_u))


def _volume_below(depth_um: Floats, crater_um: Floats) -> Floats:
    """(craters, depths) volume per area of paraboloid craters that lies below depths: (y - x)^2 / 2 y."""
    deep = crater_um[:, None]
    return np.asarray(np.maximum(deep - depth_um, 0) ** 2 / np.maximum(2 * deep, 1e-9))
