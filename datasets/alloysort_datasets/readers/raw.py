"""What a format's reader hands over, and the checks that turn it into an ascending axis in air nm."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.readers.columns import other_axis, untitled_shots
from alloysort_datasets.spectrum import MIN_CHANNELS, RANGE_NM, Spectrum, require_channels, require_range

_UNITS: Final = (  # (what the header says, factor to nm)
    (re.compile(r"(?<![a-z])nm(?![a-z])|nanomet", re.I), 1.0),
    (re.compile(r"[åÅÅ]|[aå]ngstr|[\[(]\s*A\s*[\])]|_a$", re.I), 0.1),
    (re.compile(r"(?<![a-z])[uµμ]m(?![a-z])|micron|micromet", re.I), 1000.0),
)
_VACUUM: Final = re.compile(r"(?<![a-z])vac(?:uum)?(?![a-z])", re.I)


def _channel(index: int) -> str:
    return f"channel {index + 1}"


@dataclass(frozen=True, eq=False)
class Reading:
    """The numbers of a spectrum as its file holds them, not yet checked.

    Attributes:
        wavelength: (channels,) float64 in the file's unit and order.
        shots: (shots, channels) float64 counts.
        unit: the words that stand beside the wavelengths, empty where the file has none.
        place: where a channel stands in the file, for messages.
    """

    wavelength: NDArray[np.float64]
    shots: NDArray[np.float64]
    unit: str = ""
    place: Callable[[int], str] = _channel


def looks_like_axis(values: NDArray[np.float64]) -> bool:
    """Whether values could be wavelengths: enough of them, positive and running one way."""
    if values.size < MIN_CHANNELS or not np.isfinite(values).all() or values.min() <= 0:
        return False
    return _runs_one_way(values) and values.max() > RANGE_NM[0]


def from_matrix(
    matrix: NDArray[np.float64], unit: str, name: str, lines: NDArray[np.int64] | None = None
) -> Reading:
    """A table without titles whose first column, or first row, holds the wavelengths.

    The one that runs one way through plausible values wins; where both or neither do, the longer one.
    """
    rows, columns = matrix.shape
    down, across = looks_like_axis(matrix[:, 0]), looks_like_axis(matrix[0])
    if (across and not down) or (across == down and columns > rows):
        kept = untitled_shots(matrix.T, name, "row") if across else list(range(1, rows))
        return Reading(matrix[0], matrix[kept], unit, lambda index: f"cell {index + 1} of the rows")
    place = _channel if lines is None else lambda index: f"line {lines[index]}"
    kept = untitled_shots(matrix, name) if down else list(range(1, columns))
    return Reading(matrix[:, 0], matrix[:, kept].T, unit, place)


def finish(raw: Reading, name: str) -> Spectrum:
    """The spectrum in ascending air nm, equal wavelengths merged by their mean.

    Raises:
        SpectrumError: see `alloysort_datasets.readers.spectrum.read_spectrum`.
    """
    with _named(name):
        require_channels(raw.wavelength.size)
    if len(raw.shots) == 0:
        raise SpectrumError(f"{name}: wavelengths without counts: a column (or row) per shot must follow")
    _require_finite(raw, name)
    axis = raw.wavelength * _nm_per_unit(raw, name)
    with _named(name):
        require_range(axis, raw.place)
    _require_order(axis, raw, name)
    shots = raw.shots
    if axis[0] > axis[-1]:
        axis, shots = axis[::-1], shots[:, ::-1]
    axis, shots = _merge_equal(axis, shots, name)
    with np.errstate(over="ignore", under="ignore"):
        counts = np.ascontiguousarray(shots, dtype=np.float32)
    if not np.isfinite(counts).all():
        raise SpectrumError(f"{name}: counts beyond ±3.4e38 are no detector's")
    return Spectrum(np.ascontiguousarray(axis), counts)


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except SpectrumError as error:
        raise SpectrumError(f"{name}: {error}") from None


def _require_finite(raw: Reading, name: str) -> None:
    bad_axis, bad_shots = ~np.isfinite(raw.wavelength), ~np.isfinite(raw.shots)
    count = int(bad_axis.sum() + bad_shots.sum())
    if count:
        first = int(np.argmax(bad_axis | bad_shots.any(axis=0)))
        raise SpectrumError(
            f"{name}: {raw.place(first)}: the first of {count} NaN or infinite values: "
            "every cell must be a finite number"
        )


def _nm_per_unit(raw: Reading, name: str) -> float:
    kind = other_axis(raw.unit)
    if kind is not None:
        raise SpectrumError(
            f"{name}: the axis says {raw.unit.strip()[:40]!r}, it is {kind}: export wavelengths in nm or Å"
        )
    if _VACUUM.search(raw.unit):
        raise SpectrumError(f"{name}: the axis says {raw.unit[:40]!r}: export it as wavelength in air")
    for pattern, factor in _UNITS:
        if pattern.search(raw.unit):
            return factor
    low, high = float(raw.wavelength.min()), float(raw.wavelength.max())
    if low < 1000:  # in Å this would lie below 100 nm
        return 1.0
    if high > 2500:
        return 0.1
    raise SpectrumError(
        f"{name}: wavelengths {low:g}-{high:g} could be nm or Å: name the unit in the header, "
        "as in 'wavelength_nm'"
    )


def _require_order(axis: NDArray[np.float64], raw: Reading, name: str) -> None:
    if _runs_one_way(axis):
        return
    step = np.diff(axis)
    turn = step < 0 if (step > 0).sum() >= (step < 0).sum() else step > 0
    first = int(np.argmax(turn)) + 1
    raise SpectrumError(
        f"{name}: {raw.place(first)}: wavelength {axis[first]:g} nm after {axis[first - 1]:g} nm: "
        "they must ascend or descend throughout"
    )


def _runs_one_way(values: NDArray[np.float64]) -> bool:
    step = np.diff(values)
    return bool((step >= 0).all() or (step <= 0).all())


def _merge_equal(
    axis: NDArray[np.float64], shots: NDArray[np.float64], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first = np.flatnonzero(np.concatenate(([True], np.diff(axis) > 0)))
    if first.size == axis.size:
        return axis, shots
    if first.size < max(MIN_CHANNELS, axis.size / 2):
        raise SpectrumError(
            f"{name}: only {first.size} of {axis.size} wavelengths differ: is the first column "
            "the wavelength, and the cell separator another mark than the decimal one?"
        )
    size = np.diff(np.concatenate((first, [axis.size])))
    with np.errstate(over="ignore"):
        return axis[first], np.add.reduceat(shots, first, axis=1) / size
