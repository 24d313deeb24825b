"""JCAMP-DX spectra (McDonald and Wilks, Appl. Spectrosc. 42, 151 (1988)): one block, plain numbers."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.readers.raw import Reading
from alloysort_datasets.spectrum import MAX_CHANNELS

_RECORD: Final = re.compile(r"^[ \t]*##([^=\n]*)=([^\n]*(?:\n(?![ \t]*##)[^\n]*)*)", re.MULTILINE)
_AFFN: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SQUEEZED: Final = re.compile(r"[@A-DF-Za-df-s%]")  # of ASDF: pseudo-digits; E and e are exponents of AFFN
_FORMS: Final = re.compile(r"\(\s*(X\+\+\(Y\.\.Y\)|XY\.\.XY)\s*\)", re.I)


def is_jcamp(data: bytes) -> bool:
    """Whether the bytes open with labelled data records of JCAMP-DX."""
    head = data[:2000].lstrip(b"\xef\xbb\xbf \t\r\n").upper()
    return head.startswith(b"##") and re.search(rb"##\s*JCAMP[-_ ]?DX\s*=", head) is not None


def read_jcamp(data: bytes, name: str) -> Reading:
    """The one spectrum of a JCAMP-DX file, as AFFN in the form `(X++(Y..Y))` or `(XY..XY)`.

    Raises:
        SpectrumError: several blocks, NTUPLES, compressed numbers, no data, or fewer or other points than the
            header says.
    """
    text = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    records = _records(text, name)
    key = next((key for key in ("XYDATA", "XYPOINTS", "PEAKTABLE") if key in records), None)
    if key is None:
        raise SpectrumError(f"{name}: JCAMP-DX without ##XYDATA or ##XYPOINTS: export the spectrum as csv")
    form, _, body = records[key].partition("\n")
    known = _FORMS.search(form)
    if known is None:
        raise SpectrumError(
            f"{name}: JCAMP-DX form {form.strip()[:30]!r} is not read: export as (X++(Y..Y)), (XY..XY) or csv"
        )
    lines = [line.partition("$$")[0] for line in body.split("\n")]
    squeezed = next((line for line in lines if _SQUEEZED.search(line)), None)
    if squeezed is not None:
        raise SpectrumError(
            f"{name}: JCAMP-DX in compressed form, {squeezed.strip()[:20]!r}: export plain numbers (AFFN)"
        )
    numbers = [[float(cell) for cell in _AFFN.findall(line)] for line in lines if line.strip()]
    x_factor, y_factor = _factor(records, "XFACTOR", name), _factor(records, "YFACTOR", name)
    if known[1].upper().startswith("XY"):
        axis, counts = _pairs(numbers, name)
        axis, counts = axis * x_factor, counts * y_factor
    else:
        axis, counts = _rows(numbers, records, x_factor, name)
        counts = counts * y_factor
    promised = _number(records, "NPOINTS", name)
    if promised is not None and promised != axis.size:
        raise SpectrumError(
            f"{name}: holds {axis.size} points, ##NPOINTS promises {promised:g}: is the file cut short?"
        )
    return Reading(axis, counts[None], records.get("XUNITS", "").strip(), lambda index: f"point {index + 1}")


def _records(text: str, name: str) -> dict[str, str]:
    records: dict[str, str] = {}
    for label, value in _RECORD.findall(text):
        key = re.sub(r"[\s/_-]", "", label).upper()
        if key in ("NTUPLES", "PAGE"):
            raise SpectrumError(f"{name}: JCAMP-DX NTUPLES are not read: export one spectrum as csv")
        if key == "BLOCKS" or (key in records and key in ("XYDATA", "XYPOINTS", "TITLE")):
            raise SpectrumError(
                f"{name}: JCAMP-DX with several blocks is not read: export one spectrum a file"
            )
        records.setdefault(key, value)
    return records


def _number(records: dict[str, str], key: str, name: str) -> float | None:
    if key not in records:
        return None
    try:
        return float(records[key].partition("$$")[0].strip().replace(",", "."))
    except ValueError:
        raise SpectrumError(f"{name}: ##{key}= {records[key].strip()[:30]!r} is not a number") from None


def _factor(records: dict[str, str], key: str, name: str) -> float:
    factor = _number(records, key, name)
    return 1.0 if factor is None else factor


def _pairs(numbers: list[list[float]], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if any(len(row) % 2 for row in numbers) or not numbers:
        raise SpectrumError(f"{name}: JCAMP-DX (XY..XY): a line holds a wavelength without its count")
    flat = np.array([cell for row in numbers for cell in row]).reshape(-1, 2)
    return flat[:, 0], flat[:, 1]


def _rows(
    numbers: list[list[float]], records: dict[str, str], x_factor: float, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ordinates of `(X++(Y..Y))`, evenly spaced; the X that opens a line is a check."""
    counts = np.array([cell for row in numbers for cell in row[1:]])
    if not 2 <= counts.size <= MAX_CHANNELS:
        raise SpectrumError(f"{name}: JCAMP-DX holds {counts.size} points, must be 2 to {MAX_CHANNELS}")
    first, last = _number(records, "FIRSTX", name), _number(records, "LASTX", name)
    step = _number(records, "DELTAX", name)
    if first is None:
        first = numbers[0][0] * x_factor
    promised = _number(records, "NPOINTS", name) or counts.size
    if last is not None and promised > 1:
        step = (last - first) / (promised - 1)
    if step is None or step == 0:
        raise SpectrumError(f"{name}: JCAMP-DX needs ##LASTX with ##NPOINTS, or ##DELTAX")
    axis = np.asarray(first + step * np.arange(counts.size), dtype=np.float64)
    at = 0
    for row in numbers:
        said = row[0] * x_factor
        if abs(said - axis[min(at, axis.size - 1)]) > abs(step):
            raise SpectrumError(
                f"{name}: JCAMP-DX line at X {said:g} should begin at {axis[min(at, axis.size - 1)]:g}: "
                "a line is lost or cut short"
            )
        at += len(row) - 1
    return axis, counts
