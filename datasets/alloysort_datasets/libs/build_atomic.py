"""Compact the NIST tables of atomic data into the one file the package ships.

    python -m alloysort_datasets.libs.build_atomic PATH_TO_ATOMIC_CSVS

reads `lines.csv`, `lines_supplement.csv`, `levels.csv`, `ionization_energies.csv` and `stark.csv` and writes
`atomic.npz`. A line of the supplement is used only where `lines.csv` has none of the same ion within
0.02 nm from the same lower level.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.libs.atomic import ATOMIC_FILE, HC_EV_NM
from alloysort_datasets.libs.wavelength import vacuum_nm

Row = dict[str, str]
Floats = NDArray[np.float64]

SAME_LINE_NM: Final = 0.02
SAME_LEVEL_EV: Final = 0.005
ROMAN: Final = {"I": 1, "II": 2, "III": 3, "IV": 4}
PROTON: Final = ("H", 2)  # no levels in the tables, yet hydrogen ionises
RYDBERG_EV: Final = 13.605693


def main(folder: Path) -> None:
    """Read the CSV files in `folder`, write the compact file, say what is in it."""
    ionisation = {
        _species(row["species"]): float(row["ionization_eV"])
        for row in _rows(folder / "ionization_energies.csv")
    }
    levels = _read_levels(folder / "levels.csv") | {PROTON: np.array([[1.0, 0.0]])}
    ionisation[PROTON] = np.inf
    lines = _read_lines(folder / "lines.csv")
    lines += _missing_lines(lines, folder / "lines_supplement.csv")
    species = sorted(key for key in levels if key in ionisation and key[1] <= 3)
    lines = sorted(line for line in lines if line[:2] in species)

    index = {key: i for i, key in enumerate(species)}
    numbers = np.array([line[2:] for line in lines])  # wavelength_vac_nm, gA, Ei
    at = np.array([index[line[:2]] for line in lines], dtype=np.int16)
    stark = _match_stark(lines, folder / "stark.csv")
    chi = np.array([ionisation[key] for key in species])
    stark, spread = _fill_stark(stark, numbers, at, species, chi)

    np.savez_compressed(
        ATOMIC_FILE,
        species_element=np.array([element for element, _ in species]),
        species_stage=np.array([stage for _, stage in species], dtype=np.int8),
        ionisation_ev=chi,
        level_start=np.cumsum([0, *(len(levels[key]) for key in species)]).astype(np.int32),
        level_g=np.concatenate([levels[key][:, 0] for key in species]).astype(np.float32),
        level_ev=np.concatenate([levels[key][:, 1] for key in species]),
        line_species=at,
        line_vac_nm=numbers[:, 0],
        line_ga=numbers[:, 1].astype(np.float32),
        line_lower_ev=numbers[:, 2],
        line_stark=stark.astype(np.float32),
    )
    print(  # noqa: T201
        f"{len(lines)} lines of {len(species)} species; Stark width known for {spread[0]}, else fitted "
        f"with a scatter of {spread[1]:.2f} dex; {ATOMIC_FILE.stat().st_size / 1e6:.1f} MB"
    )


def _rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _species(name: str) -> tuple[str, int]:
    element, stage = name.split()
    return element, ROMAN.get(stage, 99)


def _read_levels(path: Path) -> dict[tuple[str, int], Floats]:
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for row in _rows(path):
        found.setdefault(_species(row["species"]), []).append((float(row["g"]), float(row["level_eV"])))
    return {key: np.array(sorted(pairs, key=lambda pair: pair[1])) for key, pairs in found.items()}


Line = tuple[str, int, float, float, float]  # element, stage, vacuum nm, gA per s, lower level eV


def _read_lines(path: Path) -> list[Line]:
    return [
        (
            row["element"],
            int(row["ion"]),
            float(row["wavelength_vac_nm"]),
            float(row["gk"]) * float(row["Aki_per_s"]),
            float(row["Ei_eV"]),
        )
        for row in _rows(path)
    ]


def _missing_lines(known: list[Line], path: Path) -> list[Line]:
    by_ion: dict[tuple[str, int], Floats] = {}
    for key in {line[:2] for line in known}:
        by_ion[key] = np.array([(line[2], line[4]) for line in known if line[:2] == key])
    missing = []
    for row in _rows(path):
        key = (row["element"], int(row["ion"]))
        line = (
            *key,
            vacuum_nm(float(row["wavelength_air_nm"])),
            float(row["gk_Aki_per_s"]),
            float(row["Ei_eV"]),
        )
        there = by_ion.get(key, np.empty((0, 2)))
        same = (abs(there[:, 0] - line[2]) < SAME_LINE_NM) & (abs(there[:, 1] - line[4]) < SAME_LEVEL_EV)
        if not same.any():
            missing.append(line)
    return missing


def _match_stark(lines: list[Line], path: Path) -> Floats:
    """(lines, 6): a0, a1, a2, b0, b1, b2 at 1e17 per cm3, NaN where the table has no such line."""
    found: dict[tuple[str, int], list[list[float]]] = {}
    for row in _rows(path):
        fit = [float(row[f"electron {name}"] or 0) for name in ("a0", "a1", "a2", "b0", "b1", "b2")]
        fit[0] -= np.log10(float(row["N (cm-3)"]) / 1e17)  # width is proportional to the electron density
        entry = [float(row["ritz_wl_vac(nm)"]), float(row["Ei(eV)"]), *fit]
        found.setdefault((row["element"], int(row["sp_num"])), []).append(entry)
    tables = {key: np.array(entries) for key, entries in found.items()}
    result = np.full((len(lines), 6), np.nan)
    for i, line in enumerate(lines):
        table = tables.get(line[:2])
        if table is None:
            continue
        match = (abs(table[:, 0] - line[2]) < SAME_LINE_NM) & (abs(table[:, 1] - line[4]) < SAME_LEVEL_EV)
        if match.any():
            result[i] = table[np.argmax(match), 2:]
    return result


def _fill_stark(
    stark: Floats, numbers: Floats, at: NDArray[np.int16], species: list[tuple[str, int]], chi: Floats
) -> tuple[Floats, tuple[int, float]]:
    """Give lines without data the width of those with data at like wavelength and upper-level binding.

    log10(width / Angstrom) = c0 + c1 log10(wavelength^2) + c2 log10(n*^2), one fit per ion stage, with the
    effective quantum number n* = z sqrt(13.6 eV / (ionisation energy - upper level)), at 10,000 K.
    """
    stage = np.array([stage for _, stage in species])[at]
    upper_ev = numbers[:, 2] + HC_EV_NM / numbers[:, 0]
    binding = np.clip(chi[at] - upper_ev, 0.2, None)
    n_eff = stage * np.sqrt(RYDBERG_EV / binding)
    design = np.stack([np.ones(len(at)), 2 * np.log10(numbers[:, 0]), 2 * np.log10(n_eff)], axis=1)
    width = stark[:, 0] + 4 * stark[:, 1] + 16 * stark[:, 2]
    known = np.isfinite(width) & (width > -4) & (width < 2)
    filled = stark.copy()
    residuals = []
    for z in (1, 2, 3):
        of_stage = stage == z
        use = known & of_stage
        coefficients, *_ = np.linalg.lstsq(design[use], width[use], rcond=None)
        residuals.append(width[use] - design[use] @ coefficients)
        fill = of_stage & ~known
        filled[fill] = 0.0
        filled[fill, 0] = np.clip(design[fill] @ coefficients, -3, 1)
    return filled, (int(known.sum()), float(np.std(np.concatenate(residuals))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
