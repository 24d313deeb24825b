"""Open a spectrum from a file of any common layout.

A new format is one function `(data, name) -> Reading` and one row of `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.readers.arrays import is_npy, is_npz, read_npy, read_npz
from alloysort_datasets.readers.container import container
from alloysort_datasets.readers.jcamp import is_jcamp, read_jcamp
from alloysort_datasets.readers.raw import Reading, finish
from alloysort_datasets.readers.text import looks_like_text, read_text
from alloysort_datasets.spectrum import Spectrum

MAX_BYTES: Final = 64 * 2**20


@dataclass(frozen=True)
class Reader:
    """A format: how to know it by its bytes, and how to read it."""

    name: str
    suffixes: tuple[str, ...]
    sniff: Callable[[bytes], bool]
    read: Callable[[bytes, str], Reading]


READERS: Final = (
    Reader("npz", (".npz",), is_npz, read_npz),
    Reader("npy", (".npy",), is_npy, read_npy),
    Reader("jcamp", (".jdx", ".dx", ".jcm"), is_jcamp, read_jcamp),
    Reader("text", (".csv", ".tsv", ".txt", ".asc", ".dat", ".prn", ".tit"), looks_like_text, read_text),
)
SUFFIXES: Final = frozenset(suffix for reader in READERS for suffix in reader.suffixes)


def read_spectrum(source: Path | bytes, name: str | None = None) -> Spectrum:
    """Open a spectrum of any common layout; the format is known by the bytes, never by the suffix.

    Text: cells parted by tab, `;`, `,` or white space; decimal points or commas; UTF-8, UTF-16 or Latin-1;
    any line ends; comment lines (# % ; / ! " '); metadata before and after the numbers; one wavelength column
    and a column per shot, or one wavelength row and a row per shot, rows optionally opened by a label or a
    time stamp. Which columns are shots is judged by title, unit and shape, see `readers.columns`: what is
    none (dark, reference, mean, frame...) is left out, what is unsure is refused.
    JCAMP-DX: see `readers.jcamp`.
    NumPy: see `alloysort_datasets.readers.arrays`.

    Wavelengths are taken as air. Their unit is what the header says (nm, Å, µm); without a word: nm where
    they start below 1000, Å where they start at 1000 or more and pass 2500, else the file is refused as
    ambiguous. They may ascend or descend. Equal neighbours, as stitched channels leave, are merged by mean.
    Whether a channel is saturated is not guessed here.

    Args:
        source: a file, or the bytes of one.
        name: what messages call it; default: the path, or "spectrum" for bytes.

    Raises:
        SpectrumError: missing, empty, binary, larger than 64 MB or a million channels, no table of numbers,
            a single column, a row cut short, a cell that is no finite number, fewer than 16 channels,
            wavelengths outside 100-12000 nm or that turn back; the line is named where there is one.
    """
    label = " ".join((name or (str(source) if isinstance(source, Path) else "spectrum")).split())
    data = _load(source, label)
    known = container(data)
    if known is not None:
        raise SpectrumError(f"{label}: {known}")
    reader = next((reader for reader in READERS if reader.sniff(data)), None)
    if reader is None:
        raise SpectrumError(f"{label}: is binary: export the spectrum as text, such as csv")
    return finish(reader.read(data, label), label)


def _load(source: Path | bytes, name: str) -> bytes:
    try:
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if size > MAX_BYTES:
            raise SpectrumError(f"{name}: {size / 2**20:.0f} MB, at most {MAX_BYTES >> 20} MB can be read")
        data = source.read_bytes() if isinstance(source, Path) else source
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise SpectrumError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if not data:
        raise SpectrumError(f"{name}: is empty")
    return data
