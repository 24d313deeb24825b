"""What a spectrometer makes of a plasma's light: resolution, efficiency, wavelength error, noise, saturation.

The presets are modelled on instrument classes in use for LIBS, not on any one product; `random_spectrometer`
draws from all a training set should hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.piece import Instrument
from alloysort_datasets.plasma import STEP, emission_grid_nm
from alloysort_datasets.wavelength import vacuum_nm

Floats = NDArray[np.float64]
Rng = np.random.Generator

KERNEL: Final = 1.3  # half width of the line-spread function kept, in FWHM: 3 sigma of a Gaussian
MAX_WAVELENGTH_ERROR_NM: Final = 0.6


@dataclass(frozen=True, eq=False)
class Spectrometer:
    """A spectrometer as it really is, beside what it says of itself.

    Attributes:
        instrument: the axis it reports (air nm) and its detector's ceiling.
        efficiency: (channels,) electrons per unit of light, relative.
        starts, weights: (channels,) and (channels, taps): each channel's line-spread function on the emission
            grid, at the wavelength the channel really sees.
        dark_counts, read_noise_counts: level and RMS noise of a channel without light.
        counts_per_electron: detector gain.
        stray: share of the mean light that reaches every channel.
    """

    instrument: Instrument
    efficiency: Floats
    starts: NDArray[np.int32]
    weights: NDArray[np.float32]
    dark_counts: float
    read_noise_counts: float
    counts_per_electron: float
    stray: float

    def collect(self, light: NDArray[np.float32]) -> Floats:
        """(points,) radiance on the emission grid to (channels,) relative electrons."""
        seen = _gather(light, self.starts, self.weights).astype(np.float64) * self.efficiency
        return np.asarray(seen + self.stray * seen.mean())

    def read(self, electrons: Floats, rng: Rng) -> NDArray[np.float32]:
        """(channels,) expected electrons to (channels,) counts of one exposure."""
        shot_noise = np.sqrt(electrons) * rng.standard_normal(electrons.shape)
        counts = (electrons + shot_noise) * self.counts_per_electron + self.dark_counts
        counts += self.read_noise_counts * rng.standard_normal(electrons.shape)
        return np.clip(np.rint(counts), 0, self.instrument.saturation_counts).astype(np.float32)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _gather(light, starts, weights):  # type: ignore[no-untyped-def]
    out = np.empty(len(starts), dtype=np.float32)
    taps = weights.shape[1]
    for c in range(len(starts)):
        total = np.float32(0)
        for k in range(taps):
            total += light[starts[c] + k] * weights[c, k]
        out[c] = total
    return out


def build_spectrometer(
    name: str,
    wavelength_nm: Floats,
    width_nm: Floats,
    rng: Rng,
    offset_nm: float = 0.0,
    stretch_nm: float = 0.0,
) -> Spectrometer:
    """A spectrometer of the given axis and resolution; the rest is drawn as units of a class differ.

    Args:
        name: of the instrument.
        wavelength_nm: (channels,) the axis it reports, air.
        width_nm: (channels,) full width at half maximum of a narrow line.
        rng: for efficiency, noise, gain.
        offset_nm, stretch_nm: reported minus true wavelength at mid-range, and its growth to the upper end.
    """
    middle, half = 0.5 * (wavelength_nm[0] + wavelength_nm[-1]), 0.5 * np.ptp(wavelength_nm)
    true_nm = wavelength_nm - offset_nm - stretch_nm * (wavelength_nm - middle) / half
    starts, weights = _line_spread(true_nm, width_nm)
    saturation = float(rng.choice([4095, 16383, 65535, 65535, 65535]))
    counts_per_electron = saturation / rng.uniform(3e4, 3e5)
    return Spectrometer(
        Instrument(name, wavelength_nm, float(np.median(width_nm)), saturation),
        _efficiency(true_nm, rng) * true_nm * np.gradient(wavelength_nm),
        starts,
        weights,
        dark_counts=saturation * rng.uniform(0, 0.03) * float(rng.random() > 0.3),
        read_noise_counts=saturation * np.exp(rng.uniform(np.log(1e-4), np.log(2e-3))),
        counts_per_electron=counts_per_electron,
        stray=np.exp(rng.uniform(np.log(1e-4), np.log(2e-2))),
    )


def _line_spread(true_air_nm: Floats, width_nm: Floats) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    grid = emission_grid_nm()
    if true_air_nm[0] < grid[0] + 3 or true_air_nm[-1] > grid[-1] - 3:
        raise SpectrumError(
            f"simulated spectrometers see {grid[0] + 3:.0f}-{grid[-1] - 3:.0f} nm, "
            f"this one would see {true_air_nm[0]:.1f}-{true_air_nm[-1]:.1f}"
        )
    centre = np.log(vacuum_nm(true_air_nm) / grid[0]) / STEP
    full = width_nm / (true_air_nm * STEP)
    taps = int(np.ceil(2 * KERNEL * full.max())) + 1
    starts = np.rint(centre - taps / 2).astype(np.int32)
    x = (starts[:, None] + np.arange(taps) - centre[:, None]) / full[:, None]
    weights = np.exp(-4 * np.log(2) * x**2)
    return starts, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _efficiency(nm: Floats, rng: Rng) -> Floats:
    """A bell over the range with some to tens of per cent of ripple, weaker in the far ultraviolet."""
    x = np.linspace(0, 1, len(nm))
    bell = np.exp(-0.5 * ((x - rng.uniform(0.25, 0.75)) / rng.uniform(0.3, 1.2)) ** 2)
    knots = np.linspace(0, 1, int(rng.integers(3, 9)))
    ripple = np.exp(np.interp(x, knots, rng.normal(0, rng.uniform(0.05, 0.5), len(knots))))
    cut = 1 / (1 + np.exp(-(nm - rng.uniform(180, 225)) / rng.uniform(4, 12)))
    return np.asarray(np.clip(bell * ripple * cut, 1e-3, None))


def _axis(start_nm: float, stop_nm: float, channels: int, bend: float = 0.0) -> Floats:
    """Pixels of a grating spectrometer: dispersion changes by `bend` of its mean over the range."""
    x = np.linspace(0, 1, channels)
    return start_nm + (stop_nm - start_nm) * (x + 0.5 * bend * x * (1 - x))


def _errors(rng: Rng, scale: float) -> dict[str, float]:
    limit = MAX_WAVELENGTH_ERROR_NM
    offset = float(np.clip(rng.normal(0, 0.25 * scale), -limit, limit))
    return {"offset_nm": offset, "stretch_nm": float(np.clip(rng.normal(0, 0.08 * scale), -0.2, 0.2))}


def _compact(name: str, rng: Rng) -> Spectrometer:
    axis = _axis(198 + rng.normal(0, 1), 422 + rng.normal(0, 2), 2048, 0.08)
    return build_spectrometer(name, axis, np.full(2048, rng.uniform(0.12, 0.2)), rng, **_errors(rng, 0.3))


def _three_channel(name: str, rng: Rng) -> Spectrometer:
    parts = [_axis(190, 316, 2048, 0.06), _axis(320, 462, 2048, 0.06), _axis(466, 785, 2048, 0.08)]
    widths = np.repeat(np.array([0.09, 0.11, 0.22]) * rng.uniform(0.85, 1.2), 2048)
    return build_spectrometer(name, np.concatenate(parts), widths, rng, **_errors(rng, 0.25))


def _broadband(name: str, rng: Rng) -> Spectrometer:
    axis = _axis(191, 968, 8192, -0.15)
    widths = rng.uniform(0.1, 0.16) * np.linspace(1, rng.uniform(1.2, 2), 8192)
    return build_spectrometer(name, axis, widths, rng, **_errors(rng, 0.8))


def _echelle(name: str, rng: Rng) -> Spectrometer:
    axis = np.geomspace(200, 900, 16384)
    return build_spectrometer(name, axis, axis / rng.uniform(6000, 10000), rng, **_errors(rng, 0.1))


def _mini(name: str, rng: Rng) -> Spectrometer:
    axis = _axis(215 + rng.normal(0, 3), 640 + rng.normal(0, 5), 1024, 0.1)
    return build_spectrometer(name, axis, np.full(1024, rng.uniform(0.7, 1.1)), rng, **_errors(rng, 0.8))


def random_spectrometer(name: str, rng: Rng) -> Spectrometer:
    """Any range, channels, gaps, resolution and wavelength error that a LIBS spectrometer may have."""
    channels = int(np.exp(rng.uniform(np.log(1024), np.log(8192))))
    start = rng.uniform(190, 250)
    stop = rng.uniform(max(start + 150, 405), 965)
    axis = _axis(start, stop, channels, rng.uniform(-0.2, 0.2))
    sampled = (stop - start) / channels
    width = np.exp(rng.uniform(np.log(0.06), np.log(0.8)))
    widths = np.maximum(width, 1.2 * sampled) * np.linspace(1, rng.uniform(0.8, 2), channels)
    if rng.random() < 0.3:
        gap = rng.uniform(start + 40, stop - 40)
        kept = (axis < gap) | (axis > gap + rng.uniform(1, 25))
        axis, widths = axis[kept], widths[kept]
    return build_spectrometer(name, axis, widths, rng, **_errors(rng, 1.0))


def _mixed(name: str, rng: Rng) -> Spectrometer:
    choice = rng.random()
    if choice < 0.6:
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
