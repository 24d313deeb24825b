"""Spectra as NumPy arrays: `.npz` with wavelengths and shots, `.npy` with a table. Never unpickles."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.readers.raw import Reading, from_matrix

AXES: Final = ("wavelength_nm", "wavelength_angstrom", "wavelength")
SHOTS: Final = ("shots", "spectra", "counts", "intensity")
MAX_UNPACKED: Final = 512 * 2**20

_HEADER: Final = re.compile(
    rb"\{'descr': '([<>|=]?[fiu][1248])', 'fortran_order': (True|False), 'shape': \(([\d, ]{0,40})\), \}\s*"
)


def is_npy(data: bytes) -> bool:
    """Whether the bytes open as `numpy.save` writes them."""
    return data.startswith(b"\x93NUMPY")


def is_npz(data: bytes) -> bool:
    """Whether the bytes open as a zip archive, which `numpy.savez` writes."""
    return data.startswith(b"PK\x03\x04")


def read_npy(data: bytes, name: str) -> Reading:
    """A table whose first column, or first row, holds the wavelengths.

    Raises:
        SpectrumError: not a whole two-dimensional array of numbers.
    """
    table = _array(data, name)
    if table.ndim != 2 or 0 in table.shape or max(table.shape) < 2:
        raise SpectrumError(f"{name}: shape {table.shape} is no table of wavelengths and counts")
    return from_matrix(table, "", name)


def read_npz(data: bytes, name: str) -> Reading:
    """The arrays `wavelength_nm` (or `wavelength_angstrom`, `wavelength`) and `shots` (shots, channels).

    Raises:
        SpectrumError: an array is missing, damaged or of another shape.
    """
    arrays = _members(data, name)
    axis = next((key for key in AXES if key in arrays), None)
    counts = next((key for key in SHOTS if key in arrays), None)
    if axis is None or counts is None:
        raise SpectrumError(
            f"{name}: holds {sorted(arrays)}, needs one of {', '.join(AXES)} and one of {', '.join(SHOTS)}"
        )
    wavelength, shots = arrays[axis], np.atleast_2d(arrays[counts])
    if wavelength.ndim != 1 or shots.ndim != 2 or shots.shape[1] != wavelength.size:
        raise SpectrumError(
            f"{name}: {counts} {shots.shape} must be (shots, channels) of {axis} {wavelength.shape}"
        )
    return Reading(wavelength, shots, axis.partition("_")[2])


def _members(data: bytes, name: str) -> dict[str, NDArray[np.float64]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            wanted = [entry for entry in archive.infolist() if entry.filename[:-4] in AXES + SHOTS]
            if sum(entry.file_size for entry in wanted) > MAX_UNPACKED:
                raise SpectrumError(f"{name}: unpacks to more than {MAX_UNPACKED >> 20} MB")
            return {entry.filename[:-4]: _array(archive.read(entry), name) for entry in wanted}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError):
        raise SpectrumError(f"{name}: is a damaged .npz archive") from None


def _array(data: bytes, name: str) -> NDArray[np.float64]:
    # Not numpy.load: a header that claims terabytes would be allocated before anything is read.
    start = 10 if data[6:7] == b"\x01" else 12
    end = start + int.from_bytes(data[8:start], "little")
    header = _HEADER.fullmatch(data[start:end]) if is_npy(data) else None
    if header is None:
        raise SpectrumError(f"{name}: is no .npy array of plain numbers")
    kind, order, sizes = (group.decode() for group in header.groups())
    shape = tuple(int(size) for size in sizes.split(",") if size.strip())
    try:
        dtype = np.dtype(kind)
        flat = np.frombuffer(data, dtype=dtype, offset=end)
        with np.errstate(invalid="ignore"):
            return flat.reshape(shape, order="F" if order == "True" else "C").astype(np.float64)
    except (ValueError, TypeError, OverflowError):
        raise SpectrumError(
            f"{name}: the array does not fill its shape {shape}: is the file cut short?"
        ) from None
