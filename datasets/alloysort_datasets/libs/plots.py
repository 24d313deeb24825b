"""Pictures that let a person judge a simulated spectrum: laid over a measured one, lines labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError
from alloysort_datasets.libs.fit import FittedPlasma, emission_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

INK: Final = "#1a1a1a"
MEASURED: Final = "#1f3a5f"
SIMULATED: Final = "#d1495b"
FULL: Final = "#f2c14e"  # where the detector is saturated
GRID: Final = "#e4e4e4"
ZOOMS: Final = 6
ZOOM_NM: Final = 8.0
OVERVIEW_LABELS: Final = 16
ZOOM_LABELS: Final = 5
WIDE: Final = 5.0  # resolutions by which a dense plasma may shift a line
FAINT: Final = 0.05  # of the highest line drawn: fainter ones get no label


@dataclass(frozen=True, eq=False)
class Comparison:
    """A measured spectrum (channels,), in counts, and the plasma fitted to it."""

    name: str
    wavelength_nm: Floats
    counts: Floats
    fit: FittedPlasma

    @property
    def true_nm(self) -> Floats:
        """(channels,) wavelengths the channels really saw, by the fit."""
        return self.fit.true_nm(self.wavelength_nm)

    @property
    def measured(self) -> Floats:
        """(channels,) counts above the continuum."""
        return np.maximum(self.counts - self.fit.baseline_counts, 0)

    @property
    def simulated(self) -> Floats:
        """(channels,) counts above the continuum."""
        return self.fit.simulated_counts - self.fit.baseline_counts


@dataclass(frozen=True)
class _Label:
    nm: float
    height: float
    text: str


def draw_comparison(comparison: Comparison, file: Path) -> None:
    """One spectrum: mirrored over the whole range, overlaid around its strongest lines.

    Raises:
        DataError: the file cannot be written.
    """
    figure = Figure(figsize=(15, 10.5), facecolor="white", layout="constrained")
    figure.suptitle(_title(comparison), fontsize=13, color=INK, fontweight="bold")
    _add_legend(figure)
    grid = figure.add_gridspec(3, ZOOMS // 2, height_ratios=[1.25, 1, 1])
    _draw_overview(figure.add_subplot(grid[0, :]), comparison, OVERVIEW_LABELS)
    for place, centre_nm in enumerate(_strongest_groups(comparison)):
        row, column = divmod(place, ZOOMS // 2)
        _draw_zoom(figure.add_subplot(grid[1 + row, column]), comparison, centre_nm)
    _save(figure, file)


def draw_contact_sheet(comparisons: Sequence[Comparison], file: Path) -> None:
    """All spectra on one page, mirrored over the whole range.

    Raises:
        DataError: the file cannot be written.
    """
    columns = 1 if len(comparisons) == 1 else 2
    rows = -(-len(comparisons) // columns)
    figure = Figure(figsize=(9 * columns, 3.2 * rows + 0.6), facecolor="white", layout="constrained")
    figure.suptitle("Measured and simulated", fontsize=14, color=INK, fontweight="bold")
    _add_legend(figure)
    panels = np.ravel(np.asarray(figure.subplots(rows, columns)))
    for axes, comparison in zip(panels, comparisons, strict=False):
        _draw_overview(axes, comparison, 6)
        axes.set_title(_title(comparison), fontsize=10, color=INK, loc="left", fontweight="bold")
    for axes in panels[len(comparisons) :]:
        axes.remove()
    _save(figure, file)


def _add_legend(figure: Figure) -> None:
    colours = {"measured": MEASURED, "simulated": SIMULATED, "detector full, not compared": FULL}
    handles = [Patch(color=colour, label=label) for label, colour in colours.items()]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, fontsize=10, frameon=False, labelcolor=INK
    )


def _save(figure: Figure, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=110)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from None


def _title(comparison: Comparison) -> str:
    fit = comparison.fit
    target = ", ".join(
        element if amount == 100 else f"{element} {amount:g} %" for element, amount in fit.composition.items()
    )
    plume = fit.plume
    return (
        f"{comparison.name}:  {target}   T {plume.temperature_k:,.0f} K   "
        f"n$_e$ {_scientific(plume.electron_density_cm3)} cm$^{{-3}}$   "
        f"shift {plume.offset_nm:+.2f} nm   similarity {fit.similarity:.3f}"
    )


def _scientific(value: float) -> str:
    power = int(np.floor(np.log10(value)))
    return f"{value / 10**power:.1f}$\\times$10$^{{{power}}}$"


def _draw_overview(axes: Axes, comparison: Comparison, labels: int) -> None:
    """Square roots, so that faint lines show; measured upwards, simulated downwards."""
    nm = comparison.true_nm
    up, down = np.sqrt(comparison.measured), np.sqrt(comparison.simulated)
    axes.fill_between(nm, up, color=MEASURED, lw=0.4, alpha=0.9)
    axes.fill_between(nm, -down, color=SIMULATED, lw=0.4, alpha=0.9)
    top = 1.05 * max(up.max(), down.max())
    axes.set_ylim(-top, 2.2 * top)
    axes.set_xlim(nm[0], nm[-1])
    axes.axhline(0, color=INK, lw=0.6)
    span = (nm[-1] - nm[0]) / 62
    chosen = _labels(comparison, nm[0], nm[-1], labels)
    _write_labels(axes, [_Label(x.nm, np.sqrt(x.height), x.text) for x in chosen], span, 1.12 * top)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda root, _: f"{root * root:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    _dress(axes)


def _draw_zoom(axes: Axes, comparison: Comparison, centre_nm: float) -> None:
    nm = comparison.true_nm
    near = np.abs(nm - centre_nm) < ZOOM_NM / 2
    axes.fill_between(nm[near], comparison.measured[near], color=MEASURED, alpha=0.18, lw=0)
    axes.plot(nm[near], comparison.measured[near], color=MEASURED, lw=1.5)
    axes.plot(nm[near], comparison.simulated[near], color=SIMULATED, lw=1.5)
    top = max(comparison.measured[near].max(), comparison.simulated[near].max(), 1.0)
    full = near & comparison.fit.saturated
    if full.any():
        axes.fill_between(nm, 0, 1.6 * top, where=full, color=FULL, alpha=0.3, lw=0)
    axes.set_xlim(centre_nm - ZOOM_NM / 2, centre_nm + ZOOM_NM / 2)
    axes.set_ylim(0, 1.6 * top)
    chosen = _labels(comparison, centre_nm - ZOOM_NM / 2, centre_nm + ZOOM_NM / 2, ZOOM_LABELS)
    _write_labels(axes, chosen, ZOOM_NM / 16, 1.1 * top)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda counts, _: f"{counts:,.0f}"))
    _dress(axes)


def _dress(axes: Axes) -> None:
    axes.set_xlabel("wavelength in air, axis error removed (nm)", fontsize=9, color=INK)
    axes.set_ylabel("counts above continuum", fontsize=9, color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _strongest_groups(comparison: Comparison) -> list[float]:
    """Centres in nm of the strongest stretches of the spectrum, ascending, each a zoom's width apart."""
    nm = comparison.true_nm
    left = np.sqrt(np.maximum(comparison.measured, comparison.simulated))
    centres: list[float] = []
    while len(centres) < ZOOMS and left.max() > 0:
        peak = nm[int(left.argmax())]
        near = np.abs(nm - peak) < ZOOM_NM / 3
        centre = float(np.average(nm[near], weights=left[near]))
        centres.append(centre)
        left = np.where(np.abs(nm - centre) < ZOOM_NM, 0, left)
    return sorted(centres)


def _labels(comparison: Comparison, start_nm: float, stop_nm: float, count: int) -> list[_Label]:
    """The simulated peaks that stand highest in a range, each named after its strongest line."""
    nm, height = comparison.true_nm, comparison.simulated
    inside = (nm > start_nm) & (nm < stop_nm)
    inner = (height[1:-1] > height[:-2]) & (height[1:-1] >= height[2:])
    peaks = np.flatnonzero(inner & inside[1:-1]) + 1
    faint = FAINT * max(height[inside].max(), comparison.measured[inside].max())
    names, line_nm, energy = emission_lines(comparison.fit.composition, comparison.fit.plume)
    found: list[_Label] = []
    for peak in peaks[np.argsort(-height[peaks], kind="stable")]:
        if len(found) == count or height[peak] < faint:
            break
        reach = max(comparison.fit.resolution_nm, 2 * (nm[peak + 1] - nm[peak]))
        away = np.abs(line_nm - nm[peak]) / reach
        near = np.flatnonzero(away < WIDE)
        if near.size:
            at = int(near[(energy[near] / (1 + away[near] ** 4)).argmax()])
            label = _Label(float(nm[peak]), float(height[peak]), f"{names[at]} {line_nm[at]:.2f}")
            if label.text not in {other.text for other in found}:
                found.append(label)
    return found


def _write_labels(axes: Axes, labels: Sequence[_Label], apart_nm: float, level: float) -> None:
    """Upright text above the lines, moved aside where two would overlap."""
    ordered = sorted(labels, key=lambda label: label.nm)
    low, high = axes.get_xlim()
    places = _kept_apart([label.nm for label in ordered], apart_nm, low + apart_nm / 2, high - apart_nm / 2)
    for label, place in zip(ordered, places, strict=True):
        axes.annotate(
            label.text,
            xy=(label.nm, label.height),
            xytext=(place, level),
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=8,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": "#9a9a9a", "lw": 0.6, "shrinkA": 0, "shrinkB": 1},
        )


def _kept_apart(wanted: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Ascending places at least `apart` from each other, near the wanted ones."""
    places = list(wanted)
    for _ in range(200):
        moved = False
        for i in range(1, len(places)):
            lack = apart - (places[i] - places[i - 1])
            if lack > 1e-9:
                places[i - 1] -= lack / 2
                places[i] += lack / 2
                moved = True
        places = [min(max(place, low), high) for place in places]
        if not moved:
            break
    return places
