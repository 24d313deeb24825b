"""The spectrum: a wavelength axis, the shots taken on it, and the one set of rules that both must keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alloysort_datasets.errors import SpectrumError

MIN_CHANNELS: Final = 16
MAX_CHANNELS: Final = 1_000_000
MAX_SHOTS: Final = 100_000
RANGE_NM: Final = (100.0, 12_000.0)  # vacuum ultraviolet to thermal infrared

GAP: Final = 8.0  # a spacing this many times those beside it is a gap between stitched channels
_BESIDE: Final = 5  # spacings on either side whose median counts
FLAT_TOP: Final = 0.995  # of a shot's maximum; a true line is that flat only if over 24 channels wide
SATURATED_RUN: Final = 3  # channels side by side

Place = Callable[[int], str]
_checked: Final = WeakValueDictionary[int, NDArray[np.float64]]()  # axes that need no second look, by id


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What a spectrometer delivers of one piece: checked here once, used from reader to front end.

    Attributes:
        wavelength_nm: (channels,) float64, air, strictly increasing within 100-12000 nm.
        shots: (shots, channels) float32 detector counts, finite, in the order fired.
        saturation_counts: the detector's ceiling; infinity where unknown.

    Raises:
        SpectrumError: shapes disagree, fewer than 16 channels, wavelengths out of range or not increasing, a
            number that is not finite, or a ceiling that is not positive.
    """

    wavelength_nm: NDArray[np.float64]
    shots: NDArray[np.float32]
    saturation_counts: float = float("inf")

    def __post_init__(self) -> None:
        if _checked.get(id(self.wavelength_nm)) is not self.wavelength_nm:
            require_axis(self.wavelength_nm)
        require_counts(self.shots, self.wavelength_nm.size)
        if not self.saturation_counts > 0:
            raise SpectrumError(f"saturation_counts {self.saturation_counts} must be positive")


def checked_axis(wavelength_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """A copy of an axis, checked once for all the spectra that are taken on it, and never to be written to.

    Raises:
        SpectrumError: it is no axis, see `require_axis`.
    """
    require_axis(wavelength_nm)
    axis = wavelength_nm.copy()
    axis.flags.writeable = False
    _checked[id(axis)] = axis
    return axis


def spectrum_from_arrays(
    wavelength_nm: ArrayLike, counts: ArrayLike, saturation_counts: float = float("inf")
) -> Spectrum:
    """A spectrum from plain numbers; `counts` is one shot (channels,) or several (shots, channels).

    Raises:
        SpectrumError: the numbers make no spectrum.
    """
    try:
        axis = np.asarray(wavelength_nm, dtype=np.float64)
        with np.errstate(over="ignore"):
            shots = np.atleast_2d(np.asarray(counts, dtype=np.float64)).astype(np.float32)
    except (ValueError, TypeError, OverflowError):
        raise SpectrumError("counts must be numbers, the same many in every shot") from None
    return Spectrum(axis, shots, saturation_counts)


def require_axis(wavelength_nm: NDArray[np.float64], place: Place = "wavelength_nm[{}]".format) -> None:
    """Refuse an axis that is not finite, within 100-12000 nm and strictly increasing.

    Args:
        wavelength_nm: (channels,) air.
        place: where a channel stands, for messages.

    Raises:
        SpectrumError: it is not.
    """
    if wavelength_nm.ndim != 1:
        raise SpectrumError(f"wavelength_nm must be a vector, has shape {wavelength_nm.shape}")
    require_channels(wavelength_nm.size)
    finite = np.isfinite(wavelength_nm)
    if not finite.all():
        at = int(np.argmin(finite))
        raise SpectrumError(f"{place(at)}: wavelength {wavelength_nm[at]} must be a finite number")
    require_range(wavelength_nm, place)
    falls = np.flatnonzero(np.diff(wavelength_nm) <= 0)
    if falls.size:
        at = int(falls[0])
        raise SpectrumError(
            f"{place(at + 1)}: wavelength {wavelength_nm[at + 1]:g} nm after {wavelength_nm[at]:g} nm: "
            "they must increase strictly"
        )


def require_channels(channels: int) -> None:
    """Refuse what has too few or too many channels for a spectrum.

    Raises:
        SpectrumError: it has.
    """
    if not MIN_CHANNELS <= channels <= MAX_CHANNELS:
        bound = f"{MIN_CHANNELS} or more" if channels < MIN_CHANNELS else f"at most {MAX_CHANNELS}"
        raise SpectrumError(f"{channels} channels, a spectrum has {bound}")


def require_range(wavelength_nm: NDArray[np.float64], place: Place) -> None:
    """Refuse (channels,) wavelengths outside 100-12000 nm, in whatever order.

    Raises:
        SpectrumError: one lies outside.
    """
    low, high = RANGE_NM
    outside = (wavelength_nm < low) | (wavelength_nm > high)
    if outside.any():
        at = int(np.argmax(outside))
        raise SpectrumError(
            f"{place(at)}: wavelength {wavelength_nm[at]:g} nm lies outside {low:g}-{high:g} nm"
        )


def require_counts(shots: NDArray[np.floating[Any]], channels: int) -> None:
    """Refuse shots that are not (shots, channels) finite numbers.

    Raises:
        SpectrumError: they are not.
    """
    if shots.ndim != 2 or not 1 <= len(shots) <= MAX_SHOTS:
        raise SpectrumError(
            f"counts must be 1 to {MAX_SHOTS} shots of {channels} values, have shape {shots.shape}"
        )
    if shots.shape[1] != channels:
        raise SpectrumError(f"counts have {shots.shape[1]} values a shot, wavelength_nm has {channels}")
    finite = np.isfinite(shots)
    if not finite.all():
        shot, channel = (int(index) for index in np.argwhere(~finite)[0])
        raise SpectrumError(
            f"counts[{shot}][{channel}] is {shots[shot, channel]}, must be a finite number "
            f"({int((~finite).sum())} of {shots.size} are not)"
        )


def gaps(wavelength_nm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(channels - 1,) true where two neighbours are so far apart that nothing was seen between them."""
    spacing = np.diff(wavelength_nm)
    before = np.concatenate((spacing[1:2], spacing[:-1]))
    after = np.concatenate((spacing[1:], spacing[-2:-1]))
    wide: NDArray[np.bool_] = spacing > GAP * np.minimum(before, after)
    for at in np.flatnonzero(wide):  # beside a fine arm, a coarse one's own spacing is none
        beside = (spacing[max(at - _BESIDE, 0) : at], spacing[at + 1 : at + 1 + _BESIDE])
        wide[at] = spacing[at] > GAP * max(float(np.median(some)) for some in beside if some.size)
    return wide


def saturated(shots: NDArray[np.floating[Any]], ceiling: float = float("inf")) -> NDArray[np.bool_]:
    """(shots, channels) true where the detector was full.

    That is at its ceiling or, where no ceiling is known, on a flat top: SATURATED_RUN channels or more side
    by side at a shot's maximum.
    """
    if np.isfinite(ceiling):
        return np.asarray(shots >= ceiling)
    full = np.zeros(shots.shape, dtype=np.bool_)
    run = _flat_tops(shots)
    for shift in range(SATURATED_RUN):
        full[:, shift : shift + run.shape[1]] |= run
    return full


def is_saturated(shots: NDArray[np.floating[Any]], ceiling: float = float("inf")) -> bool:
    """True if the detector was full in some channel of some shot, see `saturated`."""
    if np.isfinite(ceiling):
        return bool(shots.max() >= ceiling)
    return bool(_flat_tops(shots).any())


def _flat_tops(shots: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """(shots, channels - SATURATED_RUN + 1) true where a run at the shot's maximum begins."""
    top = shots >= FLAT_TOP * shots.max(axis=1, keepdims=True)
    starts = shots.shape[1] - SATURATED_RUN + 1
    runs: NDArray[np.bool_] = np.logical_and.reduce(
        [top[:, shift : starts + shift] for shift in range(SATURATED_RUN)]
    )
    return runs
