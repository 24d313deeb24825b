"""FittedPlasma a simulated plasma to a measured spectrum, and rank the elements by how well theirs fits.

Only lines are compared: square roots of what stands above a running baseline, so that neither the continuum
nor a few strong lines decide, less their running mean, so that noise is like nothing. A spectrometer's
efficiency is unknown but smooth within each of its detectors, the wavelengths it reports err by an offset and
a stretch, and the plasma may have any temperature, density and thickness: all of these are fitted to the one
spectrum at hand, whatever the element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import pairwise, product
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import AlloyError, SpectrumError
from alloysort_datasets.libs.atomic import BOLTZMANN_EV_K, DRY_AIR_WT_PCT, HC_EV_NM, atomic_data
from alloysort_datasets.libs.plasma import Zone, emission_grid_nm, populations, radiance
from alloysort_datasets.libs.wavelength import air_nm
from alloysort_datasets.spectrum import gaps, require_axis, require_counts, saturated

Floats = NDArray[np.float64]
Light = NDArray[np.float32]

AXIS_STEP_NM: Final = 0.04  # of the common axis that spectra are compared on
RANGE_NM: Final = (190.0, 990.0)  # of the common axis, air
BASELINE_NM: Final = 12.0  # wider than a line, narrower than the continuum's changes
MEAN_NM: Final = 30.0  # of lines, over which their mean is taken
KNOT_NM: Final = 60.0  # between two knots of the efficiency
RIDGE: Final = 0.03  # how strongly neighbouring knots are drawn together, in mean weights of a knot
STITCH: Final = 1.25  # channels whose pitch differs by more belong to different detectors
STITCH_CHANNELS: Final = 30  # the pitch is a median over so many
MIN_CHANNELS: Final = 2 * STITCH_CHANNELS + 4
MIN_SPAN_NM: Final = 20.0
CHANNELS_A_LINE: Final = 2.5  # over its full width at half maximum, as spectrometers are laid out
FWHM_SIGMAS: Final = 2.3548  # full width at half maximum of a Gaussian
BLEEDS: Final = 11  # channels around a saturated one that its charge may reach

GASES: Final = ("Ar", "Cl", "H", "N", "O")  # never a metal's main constituent, and present in any air
CANDIDATES: Final = tuple(element for element in atomic_data().elements if element not in GASES)
MOIST_AIR_WT_PCT: Final[Mapping[str, float]] = {**DRY_AIR_WT_PCT, "H": 0.3}
SHELL_TEMPERATURE: Final = 0.6  # of the core's
SHELL_DENSITY: Final = 0.2  # of the core's

COARSE_K: Final = (6000.0, 8000.0, 10500.0, 14000.0)
COARSE_CM3: Final = (2e16, 1e17, 5e17)
COARSE_CM: Final = (1e-3, 0.1)
COARSE_SHIFTS_NM: Final = np.arange(-0.6, 0.601, 0.08)
REFINED: Final = 5  # the best of the coarse ranking are fitted
SWEEPS: Final = 10


@dataclass(frozen=True)
class Plume:
    """What is fitted: the plasma, and the errors of the spectrometer's axis.

    Attributes:
        temperature_k, electron_density_cm3, core_cm: of the core.
        shell_cm: of the cooler shell in front, which has 0.6 of the core's temperature, 0.2 of its density.
        air_share: share of the plume's atoms that come from the air.
        offset_nm, stretch_nm: reported minus true wavelength at mid-range, and its growth to the upper end.
        blur: true resolution over the given one.
    """

    temperature_k: float = 9000.0
    electron_density_cm3: float = 1e17
    core_cm: float = 0.05
    shell_cm: float = 0.02
    air_share: float = 0.12
    offset_nm: float = 0.0
    stretch_nm: float = 0.0
    blur: float = 1.0

    @property
    def core(self) -> Zone:
        """Hot and dense."""
        return Zone(self.temperature_k, self.electron_density_cm3, self.core_cm)

    @property
    def shell(self) -> Zone:
        """In front of the core."""
        kelvin = max(SHELL_TEMPERATURE * self.temperature_k, 3500.0)
        return Zone(kelvin, SHELL_DENSITY * self.electron_density_cm3, self.shell_cm)

    @property
    def plasma(self) -> Plume:
        """The plume without the axis errors: what the emitted light depends on."""
        return replace(self, offset_nm=0.0, stretch_nm=0.0, blur=1.0)


COARSE: Final = tuple(
    Plume(temperature_k, electrons, core_cm, shell_cm=core_cm / 2)
    for temperature_k, electrons, core_cm in product(COARSE_K, COARSE_CM3, COARSE_CM)
)


@dataclass(frozen=True)
class _Searched:
    """Bounds of a parameter of `Plume`, and the first step of its search: nm, or a share of itself."""

    low: float
    high: float
    step: float
    relative: bool = True

    def moved(self, plume: Plume, name: str, step: float) -> Plume:
        value: float = getattr(plume, name)
        value = value * np.exp(step) if self.relative else value + step
        return replace(plume, **{name: float(np.clip(value, self.low, self.high))})


SEARCHED: Final[Mapping[str, _Searched]] = {
    "offset_nm": _Searched(-0.7, 0.7, 0.04, relative=False),
    "stretch_nm": _Searched(-0.6, 0.6, 0.04, relative=False),
    "blur": _Searched(0.5, 2.0, 0.15),
    "temperature_k": _Searched(4500.0, 25_000.0, 0.12),
    "electron_density_cm3": _Searched(3e15, 3e18, 0.6),
    "core_cm": _Searched(1e-5, 1.0, 1.2),
    "shell_cm": _Searched(1e-6, 0.5, 1.2),
    "air_share": _Searched(0.005, 0.95, 0.6),
}


Composition = tuple[tuple[str, float], ...]
Detector = tuple[int, int, float]  # first and last + 1 point of the common axis, resolution_nm


@dataclass(frozen=True, eq=False)
class FittedPlasma:
    """A simulated plasma beside the measured spectrum it was fitted to.

    Attributes:
        composition: wt%.
        plume: the fitted plasma and axis errors.
        resolution_nm: full width at half maximum of a narrow line, median over the detectors.
        similarity: correlation of the square roots of measured and simulated lines; noise has about 0.1.
        baseline_counts: (channels,) the measured continuum.
        simulated_counts: (channels,) that continuum plus the simulated lines at the fitted efficiency.
        efficiency: (channels,) counts for the plasma's light, in units of each fit's own.
        saturated: (channels,) true where the detector was full and nothing was compared.
    """

    composition: Mapping[str, float]
    plume: Plume
    resolution_nm: float
    similarity: float
    baseline_counts: Floats
    simulated_counts: Floats
    efficiency: Floats
    saturated: NDArray[np.bool_]

    def true_nm(self, wavelength_nm: Floats) -> Floats:
        """The wavelengths that channels really saw, of the wavelengths (channels,) they report; air."""
        return wavelength_nm - _error_nm(wavelength_nm, self.plume, wavelength_nm[0], wavelength_nm[-1])


@dataclass(frozen=True)
class Rank:
    """An element, the similarity its best plasma reaches, and for the first of a ranking that plasma."""

    element: str
    similarity: float
    fit: FittedPlasma | None = None


@dataclass(frozen=True, eq=False)
class _Stretch:
    """The common axis between two knots of the efficiency.

    Attributes:
        lo, hi: first and last + 1 point.
        knot: the lower one.
        lines: (2, points) measured lines under the falling hat of the lower knot and the rising one of the
            upper.
        squares: (3, points) products of those hats: falling twice, both, rising twice.
    """

    lo: int
    hi: int
    knot: int
    lines: Light
    squares: Light


@dataclass(frozen=True, eq=False)
class _Measured:
    """A measured spectrum on the common axis.

    Attributes:
        wavelength_nm, counts: (channels,) as measured.
        lines: (points,) square root of what stands above the baseline, less its running mean; 0 where nothing
            is compared.
        detectors: stitched parts of the axis, with their resolution.
        baseline: (points,) counts.
        hats: (knots, points) hat functions of which the efficiency consists.
        stretches: parts between two knots of the efficiency.
        saturated: (channels,).
    """

    wavelength_nm: Floats
    counts: Floats
    lines: Light
    detectors: tuple[Detector, ...]
    baseline: Light
    hats: Light
    stretches: tuple[_Stretch, ...]
    saturated: NDArray[np.bool_]


def fit_plasma(
    wavelength_nm: Floats,
    counts: Floats,
    composition: Mapping[str, float],
    resolution_nm: float | None = None,
) -> FittedPlasma:
    """Find the plasma of a known composition whose lines are most like the measured ones.

    Args:
        wavelength_nm: (channels,) reported wavelengths, air, strictly ascending.
        counts: (channels,) of one shot or a mean of shots.
        composition: wt% over elements with known lines, as `{"Cu": 100}`.
        resolution_nm: full width at half maximum; 2.5 channels if absent.

    Raises:
        SpectrumError: arrays that do not match, less than 20 nm or 64 channels within 190-990 nm, no lines,
            or a resolution that is not positive.
        AlloyError: an element without known lines, or amounts that are negative, not finite or all 0.
    """
    items = _checked(composition)
    measured = _measure(wavelength_nm, counts, resolution_nm)
    return _refine(measured, items, _coarse(measured, items)[1])


def rank_elements(
    wavelength_nm: Floats,
    counts: Floats,
    resolution_nm: float | None = None,
    candidates: Sequence[str] = CANDIDATES,
) -> list[Rank]:
    """The elements a target may mainly consist of, most similar first.

    Each candidate is simulated in air over a grid of temperatures, densities and thicknesses and searched
    over wavelength offsets; the best few are then fitted as by `fit_plasma`.

    Args:
        wavelength_nm, counts, resolution_nm: as of `fit_plasma`.
        candidates: element symbols.

    Raises:
        SpectrumError, AlloyError: as of `fit_plasma`.
    """
    measured = _measure(wavelength_nm, counts, resolution_nm)
    hits = {element: _coarse(measured, _checked({element: 100.0})) for element in candidates}
    first = sorted(hits, key=lambda element: -hits[element][0])[:REFINED]
    fits = {element: _refine(measured, ((element, 100.0),), hits[element][1]) for element in first}
    ranks = [
        Rank(element, fits[element].similarity if element in fits else hits[element][0], fits.get(element))
        for element in hits
    ]
    return sorted(ranks, key=lambda rank: -rank.similarity)


def emission_lines(composition: Mapping[str, float], plume: Plume) -> tuple[list[str], Floats, Floats]:
    """What an optically thin plume of a composition would emit line by line, its air included.

    Returns:
        species as "Cu I" (lines,), air wavelengths in nm (lines,), and relative energies (lines,).

    Raises:
        AlloyError: as of `fit_plasma`.
    """
    data = atomic_data()
    densities, partition = populations(_fractions(_checked(composition), plume), plume.core, data)
    species = np.repeat(np.arange(len(partition)), np.diff(data.line_start))
    upper_ev = data.line_lower_ev + HC_EV_NM / data.line_vac_nm
    excited = (densities / partition)[species] * np.exp(-upper_ev / (BOLTZMANN_EV_K * plume.temperature_k))
    energy = excited * data.line_ga / data.line_vac_nm
    shine = energy > 0
    names = [
        f"{data.elements[element]} {'I' * int(stage)}"
        for element, stage in zip(data.species_element, data.species_stage, strict=True)
    ]
    return [names[s] for s in species[shine]], air_nm(data.line_vac_nm[shine]), energy[shine]


def parse_composition(text: str) -> dict[str, float]:
    """wt% of `Cu`, all of it, or of `Cu=60,Zn=40`.

    Raises:
        AlloyError: another form, an element without known lines, or an amount that is no number of 0 or more.
    """
    composition = {}
    for part in text.split(","):
        element, equals, amount = part.partition("=")
        try:
            composition[element.strip()] = float(amount) if equals else 100.0
        except ValueError:
            raise AlloyError(
                f"composition {text!r}: {amount!r} is no number: write Cu or Cu=60,Zn=40"
            ) from None
    _checked(composition)
    return composition


def _checked(composition: Mapping[str, float]) -> Composition:
    for element, amount in composition.items():
        if element not in atomic_data().elements:
            known = ", ".join(atomic_data().elements)
            raise AlloyError(f"element {element!r} has no known lines, these have: {known}")
        if not 0 <= amount < np.inf:
            raise AlloyError(f"{element}: {amount} wt% must be 0 or more")
    if not sum(composition.values()) > 0:
        raise AlloyError("the composition is empty")
    return tuple(sorted(composition.items()))


def _measure(wavelength_nm: Floats, counts: Floats, resolution_nm: float | None) -> _Measured:
    _require_spectrum(wavelength_nm, counts, resolution_nm)
    axis = _axis()
    detectors = _detectors(wavelength_nm, resolution_nm)
    full = _saturated(counts)
    level = np.interp(axis, wavelength_nm, counts).astype(np.float32)
    above = _above_baseline(level[None])[0]
    spans = [_knots(lo, hi) for lo, hi, _ in detectors]
    hats = np.concatenate([_hats(span, len(axis)) for span in spans])
    compared = _seen(wavelength_nm, full)
    lines = _contrast(np.sqrt(above)[None])[0] * compared
    if not (above * compared).any():
        raise SpectrumError("the spectrum has no line: nothing stands above its baseline")
    stretches = _stretches(spans, hats * compared, lines)
    baseline = level - above
    return _Measured(wavelength_nm, counts, lines, detectors, baseline, hats, stretches, full)


def _require_spectrum(wavelength_nm: Floats, counts: Floats, resolution_nm: float | None) -> None:
    if wavelength_nm.ndim != 1 or wavelength_nm.shape != counts.shape:
        raise SpectrumError(f"wavelengths {wavelength_nm.shape} and counts {counts.shape} must match")
    require_axis(wavelength_nm)
    require_counts(counts[None], wavelength_nm.size)
    inside = wavelength_nm[(wavelength_nm > RANGE_NM[0]) & (wavelength_nm < RANGE_NM[1])]
    if len(inside) < MIN_CHANNELS or np.ptp(inside) < MIN_SPAN_NM:
        raise SpectrumError(
            f"{len(inside)} channels lie within {RANGE_NM[0]:.0f}-{RANGE_NM[1]:.0f} nm: a fit needs "
            f"{MIN_CHANNELS} over {MIN_SPAN_NM:.0f} nm"
        )
    if resolution_nm is not None and not 0 < resolution_nm < MIN_SPAN_NM:
        raise SpectrumError(f"resolution {resolution_nm} nm must be more than 0, less than {MIN_SPAN_NM}")


def detector_bounds_nm(wavelength_nm: Floats) -> list[float]:
    """Where the first detector begins, where another takes over, and where the last one ends."""
    return [float(wavelength_nm[0]), *_stitches(wavelength_nm), float(wavelength_nm[-1])]


def _detectors(wavelength_nm: Floats, resolution_nm: float | None) -> tuple[Detector, ...]:
    axis = _axis()
    points = np.clip(np.searchsorted(axis, detector_bounds_nm(wavelength_nm)), 0, len(axis))
    return tuple(
        (int(lo), int(hi), resolution_nm or CHANNELS_A_LINE * _pitch(wavelength_nm, axis[lo], axis[hi - 1]))
        for lo, hi in pairwise(points)
        if hi - lo > 2
    )


def _seen(wavelength_nm: Floats, saturated: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(points,) where there is a measurement: within the ends, outside gaps, not saturated."""
    axis = _axis()
    inside = (axis >= wavelength_nm[0]) & (axis <= wavelength_nm[-1])
    below = np.clip(np.searchsorted(wavelength_nm, axis) - 1, 0, len(wavelength_nm) - 2)
    gap = gaps(wavelength_nm)[below]
    return np.asarray(inside & ~gap & (np.interp(axis, wavelength_nm, saturated) == 0))


def _stitches(wavelength_nm: Floats) -> list[float]:
    """Wavelengths where the pitch of the channels jumps: another detector begins."""
    pitch = np.lib.stride_tricks.sliding_window_view(np.log(np.diff(wavelength_nm)), STITCH_CHANNELS)
    level = np.median(pitch, axis=1)
    jump = np.abs(level[STITCH_CHANNELS:] - level[:-STITCH_CHANNELS])
    found = []
    while jump.size and jump.max() > np.log(STITCH):
        at = int(jump.argmax())
        found.append(float(wavelength_nm[at + STITCH_CHANNELS]))
        jump[max(0, at - 4 * STITCH_CHANNELS) : at + 4 * STITCH_CHANNELS] = 0
    return sorted(found)


def _pitch(wavelength_nm: Floats, start_nm: float, stop_nm: float) -> float:
    inside = wavelength_nm[(wavelength_nm >= start_nm) & (wavelength_nm <= stop_nm)]
    return float(np.median(np.diff(inside))) if len(inside) > 1 else AXIS_STEP_NM


def _saturated(counts: Floats) -> NDArray[np.bool_]:
    """(channels,) around where the detector was full."""
    full = saturated(counts[None]).astype(np.uint8)
    return np.asarray(cv2.dilate(full, np.ones((1, BLEEDS), np.uint8))[0] > 0)


def _contrast(lines: Light) -> Light:
    """(rows, points) less their running mean: no forest of lines is like noise or another forest."""
    width = round(MEAN_NM / AXIS_STEP_NM)
    return np.asarray(lines - cv2.blur(lines, (width, 1)), dtype=np.float32)


def _knots(lo: int, hi: int) -> list[int]:
    """Points of a detector's knots, its ends included."""
    count = max(round((hi - lo) * AXIS_STEP_NM / KNOT_NM), 1) + 1
    return [round(at) for at in np.linspace(lo, hi - 1, count)]


def _hats(knots: Sequence[int], points: int) -> Light:
    hats = np.zeros((len(knots), points), dtype=np.float32)
    inside = np.arange(knots[0], knots[-1] + 1)
    for row, unit in zip(hats, np.eye(len(knots)), strict=True):
        row[inside] = np.interp(inside, knots, unit)
    return hats


def _stretches(spans: Sequence[Sequence[int]], hats: Light, lines: Light) -> tuple[_Stretch, ...]:
    found, first = [], 0
    for span in spans:
        for knot, (lo, hi) in enumerate(pairwise(span), start=first):
            last = hi == span[-1]
            falling, rising = hats[knot : knot + 2, lo : hi + last]
            squares = np.stack([falling**2, falling * rising, rising**2])
            pulled = np.stack([falling, rising]) * lines[lo : hi + last]
            found.append(_Stretch(lo, hi + last, knot, pulled, squares))
        first += len(span)
    return tuple(found)


def _above_baseline(rows: Light) -> Light:
    """(rows, points) counts above a running minimum, smoothed."""
    width = round(BASELINE_NM / AXIS_STEP_NM) | 1
    opened = _running(np.maximum, _running(np.minimum, rows, width), width)
    smooth = cv2.blur(opened, (width // 4, 1))
    return np.asarray(np.maximum(rows - smooth, 0), dtype=np.float32)


def _running(extreme: Callable[[Light, Light], Light], rows: Light, width: int) -> Light:
    """The extreme over a window of odd width, by doubling: a pass for each power of two."""
    out, span = np.pad(rows, ((0, 0), (width // 2, width // 2)), mode="edge"), 1
    while 2 * span <= width:
        out = extreme(out[:, :-span], out[:, span:])
        span *= 2
    return extreme(out[:, : out.shape[1] - (width - span)], out[:, width - span :])


@cache
def _axis() -> Floats:
    """(points,) the common axis, air nm."""
    return np.arange(RANGE_NM[0], RANGE_NM[1], AXIS_STEP_NM)


@cache
def _emission_air_nm() -> Floats:
    return np.asarray(air_nm(emission_grid_nm()))


def _fractions(composition: Composition, plume: Plume) -> Floats:
    """(elements,) number fractions, with air."""
    data = atomic_data()
    air, target = data.fractions(dict(MOIST_AIR_WT_PCT)), data.fractions(dict(composition))
    return np.asarray((1 - plume.air_share) * target + plume.air_share * air)


@lru_cache(maxsize=1024)
def _light(composition: Composition, plasma: Plume) -> Light:
    """(points,) mean radiance around each point of the common axis."""
    light = radiance(_fractions(composition, plasma), plasma.core, plasma.shell)
    nm = _emission_air_nm()
    area = np.concatenate([[0.0], np.cumsum(0.5 * (light[1:] + light[:-1]) * np.diff(nm))])
    edges = RANGE_NM[0] + AXIS_STEP_NM * (np.arange(len(_axis()) + 1) - 0.5)
    return np.asarray(np.diff(np.interp(edges, nm, area)) / AXIS_STEP_NM, dtype=np.float32)


def _lines(lights: Light, detectors: tuple[Detector, ...], blur: float = 1.0) -> Light:
    """(rows, points) square roots of the lines of (rows, points) lights, as the detectors resolve them."""
    blurred = lights.copy()
    for lo, hi, width_nm in detectors:
        sigma = blur * width_nm / AXIS_STEP_NM / FWHM_SIGMAS
        seen = cv2.GaussianBlur(lights[:, lo:hi], (2 * int(3 * sigma) + 3, 1), sigma)
        blurred[:, lo:hi] = np.asarray(seen, dtype=np.float32).reshape(-1, hi - lo)
    return np.asarray(np.sqrt(_above_baseline(blurred)))


@lru_cache(maxsize=len(CANDIDATES))
def _coarse_lines(composition: Composition, detectors: tuple[Detector, ...]) -> Light:
    """(plumes, points) lines of a composition over the coarse grid of plasmas."""
    lights = np.stack([_light(composition, plume.plasma) for plume in COARSE])
    return _contrast(_lines(lights, detectors))


def _coarse(measured: _Measured, composition: Composition) -> tuple[float, Plume]:
    """The best of the coarse grid: its similarity and its plume."""
    steps = [(lo, hi, 2 ** (round(2 * np.log2(nm)) / 2)) for lo, hi, nm in measured.detectors]
    lines = _coarse_lines(composition, tuple(steps))
    best, plume = -1.0, COARSE[0]
    for shift_nm in COARSE_SHIFTS_NM:
        scores, _ = _similarities(measured, lines, round(shift_nm / AXIS_STEP_NM))
        at = int(scores.argmax())
        if scores[at] > best:
            best, plume = float(scores[at]), replace(COARSE[at], offset_nm=float(shift_nm))
    return best, plume


def _moments(measured: _Measured, lines: Light, shift: int) -> tuple[Floats, Floats]:
    """Inner products of rows of lines with the measured ones, and with themselves.

    Returns:
        (rows, knots) with the measured lines under every hat, and (rows, knots, knots) under every two hats.
    """
    count = len(measured.hats)
    with_measured = np.zeros((len(lines), count))
    with_itself = np.zeros((len(lines), count, count))
    for stretch in measured.stretches:
        lo, hi = max(stretch.lo, shift), min(stretch.hi, lines.shape[1] + shift)
        part, row = slice(lo - stretch.lo, hi - stretch.lo), lines[:, lo - shift : hi - shift]
        k = stretch.knot
        with_measured[:, k : k + 2] += (stretch.lines[:, part] @ row.T).T
        lower, both, upper = stretch.squares[:, part] @ (row * row).T
        with_itself[:, k, k] += lower
        with_itself[:, k, k + 1] += both
        with_itself[:, k + 1, k] += both
        with_itself[:, k + 1, k + 1] += upper
    return with_measured, with_itself


def _similarities(measured: _Measured, lines: Light, shift: int = 0) -> tuple[Floats, Floats]:
    """(rows,) cosines of measured and simulated lines, and (rows, knots) square roots of the efficiency.

    The efficiency is the least-squares one, smoothed by `RIDGE`, never negative; `shift` is measured minus
    true wavelength in points.
    """
    projections, weights = _moments(measured, lines, shift)
    mean = np.maximum(np.trace(weights, axis1=1, axis2=2) / weights.shape[1], 1e-30)[:, None, None]
    smooth = weights + mean * (RIDGE * _differences(weights.shape[1]) + 1e-9 * np.eye(weights.shape[1]))
    gains = np.maximum(np.linalg.solve(smooth, projections[..., None])[..., 0], 0)
    norms = np.einsum("mi,mij,mj->m", gains, weights, gains)
    scores = (projections * gains).sum(axis=1) / np.sqrt(np.maximum(norms, 1e-30))
    return scores / np.linalg.norm(measured.lines), gains


@cache
def _differences(count: int) -> Floats:
    """(count, count) matrix of the sum of squared differences between neighbours."""
    step = np.diff(np.eye(count), axis=0)
    return np.asarray(step.T @ step)


def _refine(measured: _Measured, composition: Composition, start: Plume) -> FittedPlasma:
    plume = _search(lambda plume: _evaluate(measured, composition, plume)[0], start)
    similarity, gains, lines = _evaluate(measured, composition, plume)
    axis, nm = _axis(), measured.wavelength_nm
    response = gains @ measured.hats
    light = np.interp(nm, axis, (response * lines) ** 2)
    baseline = np.interp(nm, axis, measured.baseline)
    return FittedPlasma(
        dict(composition),
        plume,
        float(np.median([plume.blur * width_nm for _, _, width_nm in measured.detectors])),
        similarity,
        baseline,
        baseline + light,
        np.interp(nm, axis, response**2),
        measured.saturated,
    )


def _evaluate(measured: _Measured, composition: Composition, plume: Plume) -> tuple[float, Floats, Light]:
    """Similarity, square roots of the efficiency at the knots, and square roots of the simulated lines."""
    nm = measured.wavelength_nm
    true_nm = _axis() - _error_nm(_axis(), plume, nm[0], nm[-1])
    light = np.interp(true_nm, _axis(), _light(composition, plume.plasma)).astype(np.float32)
    lines = _lines(light[None], measured.detectors, plume.blur)
    scores, gains = _similarities(measured, _contrast(lines))
    return float(scores[0]), gains[0], lines[0]


def _error_nm(reported_nm: Floats, plume: Plume, first_nm: float, last_nm: float) -> Floats:
    middle, half = (first_nm + last_nm) / 2, (last_nm - first_nm) / 2
    return np.asarray(plume.offset_nm + plume.stretch_nm * (reported_nm - middle) / half)


def _search(score: Callable[[Plume], float], start: Plume) -> Plume:
    """Climb one parameter at a time; a step that helps grows, one that does not shrinks."""
    best, steps = score(start), {name: bounds.step for name, bounds in SEARCHED.items()}
    for _ in range(SWEEPS):
        for name, bounds in SEARCHED.items():
            tries = [bounds.moved(start, name, sign * steps[name]) for sign in (1, -1)]
            scores = [score(plume) if plume != start else -1.0 for plume in tries]
            if max(scores) > best:
                best, start = max(scores), tries[int(np.argmax(scores))]
                steps[name] *= 1.4
            else:
                steps[name] *= 0.5
    return start
