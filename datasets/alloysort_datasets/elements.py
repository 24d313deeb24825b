"""The chemical elements: their symbols, and the mean atomic mass of those that have line data here."""

from __future__ import annotations

from typing import Final

SYMBOLS: Final = frozenset((
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar",
    "K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br",
    "Kr", "Rb", "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te",
    "I", "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm",
    "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Th", "U",
))  # fmt: skip

ATOMIC_MASS_U: Final = {  # IUPAC 2021 standard atomic weights, abridged
    "Ag": 107.87, "Al": 26.982, "Ar": 39.95, "B": 10.81, "Ba": 137.33, "Be": 9.0122, "Bi": 208.98,
    "C": 12.011, "Ca": 40.078, "Cd": 112.41, "Cl": 35.45, "Co": 58.933, "Cr": 51.996, "Cu": 63.546,
    "Fe": 55.845, "Ga": 69.723, "H": 1.008, "In": 114.82, "K": 39.098, "Li": 6.94, "Mg": 24.305,
    "Mn": 54.938, "Mo": 95.95, "N": 14.007, "Na": 22.99, "Ni": 58.693, "O": 15.999, "P": 30.974,
    "Pb": 207.2, "S": 32.06, "Sb": 121.76, "Si": 28.085, "Sn": 118.71, "Sr": 87.62, "Ti": 47.867,
    "V": 50.942, "W": 183.84, "Zn": 65.38, "Zr": 91.224,
}  # fmt: skip
