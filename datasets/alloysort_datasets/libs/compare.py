"""Measured spectra beside simulated ones: the work behind `alloysort data compare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.table import Table

from alloysort_datasets.errors import DataError, SpectrumError
from alloysort_datasets.libs.fit import FittedPlasma, fit_plasma, parse_composition, rank_elements
from alloysort_datasets.libs.plots import Comparison, draw_comparison, draw_contact_sheet
from alloysort_datasets.readers.spectrum import read_spectrum
from alloysort_datasets.spectrum import Spectrum

SUMMARY: Final = "summary"


@dataclass(frozen=True, eq=False)
class _Found:
    fit: FittedPlasma
    runners_up: str


def compare_spectra(
    files: Sequence[Path], out: Path, element: str | None, advance: Callable[[], None]
) -> Table:
    """Fit and draw every spectrum, the mean of its shots, as `out/<stem>.png`, and all as `out/summary.png`.

    Args:
        files: measured spectra of any layout `read_spectrum` knows.
        out: folder of the pictures.
        element: what to fit, as `parse_composition` reads it; None: the element that fits best.
        advance: called after each spectrum.

    Returns:
        a row a spectrum.

    Raises:
        DataError: a spectrum or the composition is at fault, two pictures would have one name, or a picture
            cannot be written.
    """
    stems = [file.stem for file in files]
    for stem in (SUMMARY, *stems):
        if stems.count(stem) > (stem != SUMMARY):
            raise DataError(f"{stem}.png: more than one picture would have this name: rename a spectrum")
    composition = None if element is None else parse_composition(element)
    table = Table("spectrum", "plasma of", "similarity", "T (K)", "ne (cm-3)", "shift (nm)", "next")
    comparisons = []
    for file in files:
        spectrum = read_spectrum(file)
        found = _find(file.name, spectrum, composition)
        counts = spectrum.shots.mean(axis=0, dtype=np.float64)
        comparisons.append(Comparison(file.stem, spectrum.wavelength_nm, counts, found.fit))
        draw_comparison(comparisons[-1], out / f"{file.stem}.png")
        table.add_row(*_row(file.stem, found))
        advance()
    draw_contact_sheet(comparisons, out / f"{SUMMARY}.png")
    return table


def _find(name: str, spectrum: Spectrum, composition: dict[str, float] | None) -> _Found:
    counts = spectrum.shots.mean(axis=0, dtype=np.float64)
    try:
        if composition is not None:
            return _Found(fit_plasma(spectrum.wavelength_nm, counts, composition), "")
        ranks = rank_elements(spectrum.wavelength_nm, counts)
    except SpectrumError as error:
        raise SpectrumError(f"{name}: {error}") from None
    fit = ranks[0].fit or fit_plasma(spectrum.wavelength_nm, counts, {ranks[0].element: 100.0})
    return _Found(fit, "  ".join(f"{rank.element} {rank.similarity:.3f}" for rank in ranks[1:4]))


def _row(name: str, found: _Found) -> list[str]:
    plume = found.fit.plume
    return [
        name,
        " ".join(f"{element} {amount:g}" for element, amount in found.fit.composition.items()),
        f"{found.fit.similarity:.3f}",
        f"{plume.temperature_k:,.0f}",
        f"{plume.electron_density_cm3:.1e}",
        f"{plume.offset_nm:+.2f}",
        found.runners_up,
    ]
