"""What a spectrometer makes of a plasma's light: resolution, efficiency, wavelength error, noise, saturation.

A spectrometer is one or several stitched arms, each a grating and a detector of its own. The presets are
modelled on instrument classes in use for LIBS, not on any one product; `random_spectrometer` draws from all
that a training set should hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.libs.plasma import STEP, emission_grid_nm
from alloysort_datasets.libs.wavelength import vacuum_nm
from alloysort_datasets.piece import Instrument

Floats = NDArray[np.float64]
Counts = NDArray[np.float32]
Rng = np.random.Generator

REACH: Final = 2.0  # half width of the line-spread function kept, in full widths at half maximum
MAX_WAVELENGTH_ERROR_NM: Final = 0.6
VISIBLE_NM: Final = (188.0, 997.0)  # what the emission grid leaves room for
GLOW_PARTS: Final = 24  # of the range, over which scattered light is smooth
INTENSIFIER_NOISE: Final = (
    2.0  # variance over that of photons: 1.6 to 2.6 with the tube (ICCD makers' data sheets)
)


@dataclass(frozen=True, eq=False)
class Spectrometer:
    """A spectrometer as it really is, beside what it says of itself.

    Attributes:
        instrument: the axis it reports (air nm) and its detector's ceiling.
        true_nm, width_nm: (channels,) the wavelength (air) that each channel really sees, and its resolution.
        wings, coma: share of Lorentzian wings in a narrow line's shape, and how much wider its one side is.
        efficiency: (channels,) electrons per unit of light, relative.
        dark_counts: (channels,) level of a channel without light.
        read_noise_counts: RMS noise of a channel without light.
        counts_per_electron: gain from detected photons to counts.
        excess_noise: variance of the light's noise over that of its photons; 1 without an intensifier.
        stray, glow: share of the light that reaches every channel alike, and its part of the range.
        dead: (channels,) those that always read 0.
    """

    instrument: Instrument
    true_nm: Floats
    width_nm: Floats
    wings: float
    coma: float
    efficiency: Floats
    dark_counts: Counts
    read_noise_counts: float
    counts_per_electron: float
    excess_noise: float
    stray: float
    glow: float
    dead: NDArray[np.bool_]

    def __post_init__(self) -> None:
        low, high = self.true_nm.min(), self.true_nm.max()
        if low < VISIBLE_NM[0] or high > VISIBLE_NM[1]:
            raise SpectrumError(
                f"simulated spectrometers see {VISIBLE_NM[0]:.0f}-{VISIBLE_NM[1]:.0f} nm, "
                f"{self.instrument.name!r} would see {low:.1f}-{high:.1f}"
            )

    @cached_property
    def grid_vac_nm(self) -> Floats:
        """(points,) the emission grid it looks at."""
        beside = REACH * self.width_nm.max() * (1 + abs(self.coma)) + 0.5
        low, high = self.true_nm.min() - beside, vacuum_nm(self.true_nm.max()) + beside
        return emission_grid_nm(float(np.floor(low)), float(np.ceil(high)))

    @cached_property
    def _spread(self) -> _Spread:
        return _line_spread(self.true_nm, self.width_nm, self.wings, self.coma, self.grid_vac_nm)

    def collect(self, light: NDArray[np.float32]) -> Floats:
        """(points,) radiance on `grid_vac_nm` to (channels,) relative electrons.

        Raises:
            SpectrumError: the light is not on that grid.
        """
        if light.shape != self.grid_vac_nm.shape:
            raise SpectrumError(
                f"light has shape {light.shape}, "
                f"{self.instrument.name!r} looks at a grid of {self.grid_vac_nm.shape}"
            )
        electrons: Floats = _collect(light, *self._spread, self.efficiency, self.stray, self.glow)
        return electrons

    def read(self, electrons: Floats, rng: Rng) -> Counts:
        """(channels,) expected electrons to (channels,) counts of one exposure.

        Photon noise and read noise are both normal here, so one draw serves the sum of their variances.
        """
        noise = rng.standard_normal(electrons.size, dtype=np.float32)
        counts: Counts = _read(
            electrons,
            noise,
            self.counts_per_electron,
            self.excess_noise * self.counts_per_electron,
            self.read_noise_counts**2,
            self.dark_counts,
            self.instrument.saturation_counts,
        )
        counts[self.dead] = 0.0
        return counts


# The sum over a line-spread function may be taken in any order, else it does not compile to vector code
@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _collect(light, starts, bounds, weights, efficiency, stray, glow):  # type: ignore[no-untyped-def]
    seen = np.empty(len(starts))
    for c in range(len(starts)):
        own = weights[bounds[c] : bounds[c + 1]]
        there = light[starts[c] : starts[c] + len(own)]
        total = np.float32(0)
        for k in range(len(own)):
            total += there[k] * own[k]
        seen[c] = total * efficiency[c]
    everywhere = stray * seen.mean()
    size = len(seen) // GLOW_PARTS
    parts = np.empty(GLOW_PARTS + 1)
    for p in range(GLOW_PARTS + 1):  # means around the ends of the parts
        parts[p] = seen[max(p * size - size // 2, 0) : p * size + size // 2 + 1].mean()
    lit = np.empty(len(seen))
    for c in range(len(seen)):
        p = min(c // size, GLOW_PARTS - 1)
        x = min((c - p * size) / size, 1.0)
        lit[c] = seen[c] + everywhere + glow * (parts[p] + (parts[p + 1] - parts[p]) * x)
    return lit


@njit(cache=True, nogil=True, error_model="numpy")
def _read(electrons, noise, gain, variance_per_count, read_variance, dark, ceiling):  # type: ignore[no-untyped-def]
    counts = np.empty(len(electrons), np.float32)
    for c in range(len(electrons)):
        signal = electrons[c] * gain
        value = signal + noise[c] * np.sqrt(variance_per_count * signal + read_variance) + dark[c]
        counts[c] = min(max(np.rint(value), 0.0), ceiling)
    return counts


@dataclass(frozen=True, eq=False)
class Arm:
    """One grating and detector: (channels,) reported axis in air nm, and resolution there."""

    wavelength_nm: Floats
    width_nm: Floats


def build_spectrometer(
    name: str,
    wavelength_nm: Floats,
    width_nm: Floats,
    rng: Rng,
    offset_nm: float = 0.0,
    stretch_nm: float = 0.0,
) -> Spectrometer:
    """A spectrometer of one arm of given axis and resolution; the rest is drawn as units of a class differ.

    Args:
        name: of the instrument.
        wavelength_nm: (channels,) the axis it reports, air.
        width_nm: (channels,) full width at half maximum of a narrow line.
        rng: for efficiency, noise, gain.
        offset_nm, stretch_nm: reported minus true wavelength at mid-range, and its growth to the upper end.

    Raises:
        SpectrumError: it would see light outside 188-997 nm.
    """
    arm = Arm(wavelength_nm, width_nm)
    return _assemble(name, [arm], [_true_nm(arm, offset_nm, stretch_nm)], rng)


def _true_nm(arm: Arm, offset_nm: float, stretch_nm: float, bend_nm: float = 0.0) -> Floats:
    axis = arm.wavelength_nm
    x = (axis - 0.5 * (axis[0] + axis[-1])) / (0.5 * np.ptp(axis))
    return np.asarray(axis - offset_nm - stretch_nm * x - bend_nm * (x**2 - 1 / 3))


def _assemble(
    name: str,
    arms: Sequence[Arm],
    true_nm: Sequence[Floats],
    rng: Rng,
    intensified: bool = False,
    blaze: Floats | None = None,
) -> Spectrometer:
    axis = np.concatenate([arm.wavelength_nm for arm in arms])
    width_nm = np.concatenate([arm.width_nm for arm in arms])
    true = np.concatenate(true_nm)
    # Fibres, slits and exposures differ from arm to arm: steps of up to tenfold where they meet
    steps = np.exp(rng.uniform(-0.5, 0.5, len(arms)) * np.log(10))
    throughput = np.concatenate(
        [step * _efficiency(nm, rng) for step, nm in zip(steps, true_nm, strict=True)]
    )
    throughput = throughput / throughput.max() * _ultraviolet(true, rng)
    dispersion = np.concatenate([np.gradient(arm.wavelength_nm) for arm in arms])
    saturation = float(rng.choice([4095, 16383, 65535, 65535, 65535]))
    full_well = np.exp(rng.uniform(np.log(5e3), np.log(5e4))) if intensified else rng.uniform(3e4, 3e5)
    dark = saturation * rng.uniform(0, 0.03) * float(rng.random() > 0.3)
    read_noise = saturation * np.exp(rng.uniform(np.log(1e-4), np.log(2e-3)))
    pattern = rng.normal(
        0, rng.uniform(0, 1.5) * read_noise, axis.size
    )  # of the detector, the same in every shot
    return Spectrometer(
        Instrument(name, axis, float(np.median(width_nm)), saturation),
        true_nm=true,
        width_nm=width_nm,
        wings=rng.uniform(0, 0.2),
        coma=rng.uniform(-0.15, 0.15),
        efficiency=throughput * (1 if blaze is None else blaze) * true * dispersion,
        dark_counts=np.clip(dark + pattern, 0, None).astype(np.float32),
        read_noise_counts=read_noise,
        counts_per_electron=saturation / full_well,
        excess_noise=INTENSIFIER_NOISE if intensified else 1.0,
        stray=np.exp(rng.uniform(np.log(1e-4), np.log(2e-2))),
        glow=np.exp(rng.uniform(np.log(1e-3), np.log(5e-2))),
        dead=_dead(axis.size, rng),
    )


class _Spread(NamedTuple):
    """Channel c weighs the points of the grid from starts[c] on by weights[bounds[c]:bounds[c + 1]]."""

    starts: NDArray[np.int32]
    bounds: NDArray[np.int32]
    weights: NDArray[np.float32]


def _line_spread(
    true_air_nm: Floats, width_nm: Floats, wings: float, coma: float, grid_vac_nm: Floats
) -> _Spread:
    """Every channel's weights on the emission grid, which sum to 1: a Gaussian with Lorentzian wings."""
    centre = np.log(vacuum_nm(true_air_nm) / grid_vac_nm[0]) / STEP
    full = width_nm / (true_air_nm * STEP)
    half = np.ceil(REACH * full * (1 + abs(coma))).astype(np.int32)
    starts = np.rint(centre).astype(np.int32) - half
    bounds = np.concatenate(([0], np.cumsum(2 * half + 1))).astype(np.int32)
    owner = np.repeat(np.arange(centre.size), 2 * half + 1)
    place = np.arange(bounds[-1]) - bounds[owner] + starts[owner] - centre[owner]
    x = (place / full[owner]).astype(np.float32)
    x /= 1 + np.float32(coma) * np.sign(x)
    weights = np.float32(1 - wings) * np.exp(np.float32(-4 * np.log(2)) * x**2) + np.float32(wings) / (
        1 + 4 * x**2
    )
    weights /= np.add.reduceat(weights, bounds[:-1])[owner]
    return _Spread(starts, bounds, weights.astype(np.float32))


def _efficiency(nm: Floats, rng: Rng) -> Floats:
    """A blazed grating's bell over the arm's range, with some to tens of per cent of ripple."""
    x = np.linspace(0, 1, len(nm))
    bell = np.exp(-0.5 * ((x - rng.uniform(0.25, 0.75)) / rng.uniform(0.3, 1.2)) ** 2)
    knots = np.linspace(0, 1, int(rng.integers(3, 9)))
    ripple = np.exp(np.interp(x, knots, rng.normal(0, rng.uniform(0.05, 0.5), len(knots))))
    return np.asarray(bell * ripple)


def _dead(channels: int, rng: Rng) -> NDArray[np.bool_]:
    """Of one unit in twelve a part that reads 0: masked pixels, an arm's unlit end."""
    there, share, place = rng.random(3)
    wide = int(channels * 0.12 * share)
    start = int((channels - wide) * place)
    dead = np.zeros(channels, dtype=bool)
    dead[start : start + wide] = there < 1 / 12
    return dead


def _ultraviolet(nm: Floats, rng: Rng) -> Floats:
    """What optics, fibre and air let through in the ultraviolet, and silicon still detects in the red.

    The cut-off is as wide as real spectra's: aluminium's lines from 226 to 266 nm are faint, beside 309 nm,
    in most that we could compare with.
    """
    cut = 1 / (1 + np.exp(-(nm - rng.uniform(185, 290)) / rng.uniform(4, 20)))
    red = 1 / (1 + np.exp((nm - rng.uniform(880, 1000)) / rng.uniform(25, 50)))
    return np.asarray(np.clip(cut * red, 1e-3, None))


def _arm(start_nm: float, stop_nm: float, channels: int, width_nm: float, rng: Rng, bend: float = 0.0) -> Arm:
    """Pixels of a grating spectrometer.

    Args:
        start_nm, stop_nm, channels: of the detector.
        width_nm: resolution at its best, which is somewhere inside the range; it blurs towards the ends.
        rng: for focus.
        bend: change of dispersion over the range, of its mean.
    """
    x = np.linspace(0, 1, channels)
    axis = start_nm + (stop_nm - start_nm) * (x + 0.5 * bend * x * (1 - x))
    widths = width_nm * (1 + rng.uniform(0, 1.2) * (x - rng.uniform(0.3, 0.7)) ** 2)
    return Arm(axis, np.maximum(widths, 1.2 * np.gradient(axis)))


def _stitch(
    name: str, arms: Sequence[Arm], rng: Rng, error: float, intensified: bool = False
) -> Spectrometer:
    """Arms to a spectrometer; `error` scales its wavelength error, partly each arm's own."""
    limit = MAX_WAVELENGTH_ERROR_NM
    common = rng.normal(0, 0.22 * error)
    true = []
    for arm in arms:
        offset = np.clip(common + rng.normal(0, 0.08 * error), -0.7 * limit, 0.7 * limit)
        stretch, bend = np.clip(rng.normal(0, [0.08 * error, 0.03 * error]), -0.2 * limit, 0.2 * limit)
        true.append(_true_nm(arm, float(offset), float(stretch), float(bend)))
    return _assemble(name, arms, true, rng, intensified)


def _compact(name: str, rng: Rng) -> Spectrometer:
    """One crossed Czerny-Turner arm on a linear CCD, ultraviolet to violet."""
    start, stop = 198 + rng.normal(0, 1), 422 + rng.normal(0, 2)
    return _stitch(name, [_arm(start, stop, 2048, rng.uniform(0.11, 0.18), rng, 0.08)], rng, 0.3)


def _three_channel(name: str, rng: Rng) -> Spectrometer:
    """Three such arms: ultraviolet, violet and visible, with gaps of some nm between them."""
    sharp = rng.uniform(0.85, 1.2)
    parts = ((190, 316, 0.085, 0.06), (320, 462, 0.1, 0.06), (466, 785, 0.2, 0.08))
    arms = [_arm(start, stop, 2048, sharp * width, rng, bend) for start, stop, width, bend in parts]
    return _stitch(name, arms, rng, 0.25)


def _broadband(name: str, rng: Rng) -> Spectrometer:
    """Four arms stitched without a gap to some 8,000 channels from the ultraviolet to the near infrared."""
    edges = (191, 336, 464, 668, 968)
    sharp = rng.uniform(0.08, 0.13)
    arms = [
        _arm(low, high - 0.1, 2048, sharp * (high - low) / 140, rng, 0.05) for low, high in pairwise(edges)
    ]
    return _stitch(name, arms, rng, 0.8)


def _echelle(name: str, rng: Rng) -> Spectrometer:
    """Constant resolving power on an intensified camera; every order brings a blaze of its own."""
    axis = np.geomspace(200, 900, 16384)
    arm = Arm(axis, axis / rng.uniform(6000, 10000))
    constant = rng.uniform(2.2e4, 3.2e4)  # order times its central wavelength, nm
    order = constant / axis
    blaze = np.sinc(0.8 * (order - np.rint(order))) ** 2
    offset, stretch = np.clip(rng.normal(0, [0.02, 0.01]), -0.05, 0.05)
    true = _true_nm(arm, float(offset), float(stretch))
    return _assemble(name, [arm], [true], rng, intensified=True, blaze=blaze)


def _mini(name: str, rng: Rng) -> Spectrometer:
    """The cheapest: one arm of 1,024 pixels over all of the ultraviolet and visible."""
    start, stop = 215 + rng.normal(0, 3), 640 + rng.normal(0, 5)
    return _stitch(name, [_arm(start, stop, 1024, rng.uniform(0.65, 1.0), rng, 0.1)], rng, 0.8)


def random_spectrometer(name: str, rng: Rng) -> Spectrometer:
    """Any range, channels, arms, gaps, resolution and wavelength error that a LIBS spectrometer may have."""
    channels = int(np.exp(rng.uniform(np.log(1024), np.log(16384))))
    start = rng.uniform(190, 250)
    stop = rng.uniform(max(start + 150, 405), 950)
    count = int(rng.integers(1, 5)) if channels >= 4096 else int(rng.integers(1, 3))
    inner = np.sort(rng.uniform(start + 25, stop - 25, count - 1))
    edges = np.concatenate(([start], inner, [stop]))
    width = np.exp(rng.uniform(np.log(0.05), np.log(0.8)))
    fineness = np.exp(rng.uniform(-0.5, 0.5, count) * np.log(10))  # of an arm's pixels: up to 10:1
    bend = rng.uniform(-0.2, 0.2)
    arms = []
    for (low, high), fine in zip(pairwise(edges), fineness, strict=True):
        touching = rng.random() < 0.5
        gap = 0.05 if touching else rng.uniform(0.5, 25)
        low += gap if touching and gap < high - low else min(gap, 0.5 * (high - low))
        pixels = max(int(channels * fine / fineness.sum()), 128)
        arms.append(_arm(low, high, pixels, width / fine**0.7 * rng.uniform(0.8, 1.25), rng, bend))
    return _stitch(name, arms, rng, 1.0, intensified=bool(rng.random() < 0.15))


def _mixed(name: str, rng: Rng) -> Spectrometer:
    if rng.random() < 0.6:
        return random_spectrometer(name, rng)
    kinds = (_compact, _three_channel, _broadband, _echelle, _mini)
    return kinds[int(rng.integers(len(kinds)))](name, rng)


PRESETS: Final[Mapping[str, Callable[[str, Rng], Spectrometer]]] = {
    "mixed": _mixed,
    "random": random_spectrometer,
    "compact": _compact,
    "three-channel": _three_channel,
    "broadband": _broadband,
    "echelle": _echelle,
    "mini": _mini,
}


def draw_spectrometer(preset: str, name: str, rng: Rng) -> Spectrometer:
    """A unit of a preset; units of one preset differ in axis, efficiency, noise and wavelength error.

    Raises:
        SpectrumError: nobody knows the preset.
    """
    if preset not in PRESETS:
        raise SpectrumError(f"preset {preset!r} is none of {', '.join(PRESETS)}")
    return PRESETS[preset](name, rng)
