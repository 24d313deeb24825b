"""Which columns of a table are laser shots: judged by title, unit and shape; what is unsure is refused.

A column that is taken for a shot and is none (a dark spectrum, a standard deviation, a counter) changes the
alloy that is named, so nothing is a shot here that is not surely one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.spectrum import MIN_CHANNELS

_WAVELENGTH: Final = re.compile(r"wave(?!num)|lambda|λ|^wl\b|nanomet|[aå]ngstr|^nm$|^å$|^[wx]$", re.I)
_CORRECTED: Final = re.compile(  # a shot from which something was taken is still a shot
    r"\(?(?:dark|background|bkg|baseline|offset|nonlinearity)[\s_-]*(?:corrected|subtracted|removed)\)?", re.I
)
_SHOT: Final = """
    shot shots spectrum spectra sample samples count counts cts intensity intensities int signal emission
    scope raw pulse pulses acquisition acq scan scans measurement measured libs i s y
"""
_OTHER: Final = """
    dark darks d ref refs reference references r background backgrounds bkg bg blank baseline continuum white
    lamp std stdev stddev sd se sem dev deviation sigma error errors err uncertainty unc variance var rsd cv
    mean means avg average averaged averages median med mode min minimum max maximum sum total cumulative
    norm normalized normalised normal processed p smoothed smooth filtered fit fitted model residual
    residuals difference diff delta ratio derivative gradient log sqrt transmission transmittance absorbance
    absorption reflectance reflection irradiance radiance efficiency response calibration correction factor
    percent pct frame frames roi row rows column columns col line lines index idx number no num nr pixel
    pixels px channel channels ch time timestamp date elapsed delay gate exposure integration temperature
    temp t humidity pressure flag flags quality mask valid status saturated saturation weight weights label
    class id name note comment snr noise gain offset position pos height distance energy power trigger
    wavenumber frequency freq raman shift order peak peaks area width fwhm confidence lower upper low high
    quantile percentile speed angle voltage current resolution bin bins
"""
_UNITS: Final = "% nm s ms us µs μs ns min h °c c k mm cm m px pixel hz khz mj j v od db deg"
_SHOT_WORDS: Final = frozenset(_SHOT.split())
_OTHER_WORDS: Final = frozenset(_OTHER.split())
_OTHER_UNITS: Final = frozenset(_UNITS.split())
INVERSE_CM: Final = re.compile(
    r"cm\s*\^?\(?\s*[-−⁻]\s*[1¹]|1\s*/\s*cm|per[\s_]*cm|wave\s*_?numb|kayser", re.I
)
_WORD: Final = r"(?<![a-z])(?:{})(?![a-z])"  # not inside another word
_AXIS_NAMES: Final = (  # what an axis may be instead of a wavelength, and how to know it
    ("in 1/cm", INVERSE_CM),
    ("a Raman shift", re.compile("raman|" + _WORD.format("shift"), re.I)),
    ("an energy", re.compile(r"electron\s*volt|energy|" + _WORD.format("[kmg]?ev|k?j"), re.I)),
    ("a frequency", re.compile("hertz|frequen|" + _WORD.format("[ptgmk]?hz"), re.I)),
    ("in pixels", re.compile("pixel|" + _WORD.format("px"), re.I)),
    (
        "in channels",
        re.compile("channel|" + _WORD.format("index|idx|bins?|steps?|points?|number|chan"), re.I),
    ),
    ("a time", re.compile(_WORD.format("time|seconds?|m?sec|[mnuµμ]s|minutes?|delay|date"), re.I)),
    ("m/z", re.compile(r"m\s*/\s*z|mass|" + _WORD.format("amu|da"), re.I)),
    ("an angle", re.compile("theta|θ|angle|degree|" + _WORD.format("deg"), re.I)),
    ("a distance", re.compile("distance|position|depth|" + _WORD.format("mm"), re.I)),
    ("a temperature", re.compile(r"temperature|kelvin|°\s*c", re.I)),
)
_IS_WAVELENGTH: Final = re.compile(r"wave\s*_?length|lambda|λ|nanomet|[aå]ngstr", re.I)
_HUGE: Final = 1e100  # what no detector counts, reported where counts are checked
_CLOSE: Final = 2e-3  # of a column's span: how near a rounded mean lies to the true one


class _Kind(Enum):
    SHOT, OTHER, UNKNOWN = range(3)


@dataclass(frozen=True)
class Title:
    """What stands above a column.

    Attributes:
        words: without the unit.
        unit: what stands in brackets, or in the line below.
    """

    words: str
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> Title:
        """A title such as 'Sample [counts]' or 'Transmission (%)'."""
        text = _CORRECTED.sub(" shot ", text)
        units = re.findall(r"[\[(]([^\])]*)[\])]", text)
        return cls(re.sub(r"[\[(][^\])]*[\])]", " ", text).strip(), " ".join(units).strip())


def other_axis(text: str) -> str | None:
    """What an axis is by its name or unit, if that is no wavelength; None if nothing says so."""
    if _IS_WAVELENGTH.search(text) and not INVERSE_CM.search(text):
        return None
    return next((name for name, pattern in _AXIS_NAMES if pattern.search(text)), None)


def is_wavelength(title: str) -> bool:
    """Whether a title names wavelengths."""
    return bool(_WAVELENGTH.search(title.strip()))


def is_other_label(label: str) -> bool:
    """Whether the label of a row says that it is no shot."""
    return _by_title(Title.parse(label)) is _Kind.OTHER


def choose_columns(titles: Sequence[str], matrix: NDArray[np.float64], name: str) -> tuple[int, list[int]]:
    """The wavelength column and the shot columns of a table with titles.

    Args:
        titles: one a column, with units; not all empty.
        matrix: (rows, columns).
        name: what messages call the file.

    Raises:
        SpectrumError: no wavelengths, an axis of another kind, several, or columns that may be shots or not.
    """
    axis = _choose_axis(titles, matrix, name)
    rest = [column for column in range(len(titles)) if column != axis and not _equal(matrix, column, axis)]
    parsed = [Title.parse(title) for title in titles]
    kinds = {column: _by_title(parsed[column]) for column in rest}
    _settle_unknown(kinds, parsed, matrix, axis)
    unsure = [column for column in rest if kinds[column] is _Kind.UNKNOWN]
    shots = [column for column in rest if kinds[column] is _Kind.SHOT]
    if unsure or (rest and not shots):
        listed = ", ".join(repr(titles[column].strip()) for column in (unsure or rest)[:6])
        raise SpectrumError(
            f"{name}: column{'s' if len(unsure or rest) > 1 else ''} {listed}: "
            f"{'may be' if unsure else 'are'} no laser shots, wavelengths without counts are left: "
            "title each shot 'shot 1', 'shot 2'... and leave out what is none"
        )
    return axis, shots


def untitled_shots(matrix: NDArray[np.float64], name: str, what: str = "column") -> list[int]:
    """The shot columns of a table without titles whose first column holds the wavelengths.

    Raises:
        SpectrumError: a column's shape says that it may be no shot.
    """
    rest = [column for column in range(1, matrix.shape[1]) if not _equal(matrix, column, 0)]
    if len(rest) < 2:
        return rest or list(range(1, matrix.shape[1]))
    for column in rest:
        shape = _odd_shape(matrix, column, [other for other in rest if other != column])
        if shape is not None:
            raise SpectrumError(
                f"{name}: {what} {column + 1} {shape} and has no title: no laser shot looks like that: "
                f"leave it out, or title the {what}s, as 'wavelength_nm, shot 1, shot 2'"
            )
    return rest


def _choose_axis(titles: Sequence[str], matrix: NDArray[np.float64], name: str) -> int:
    axes = [column for column, title in enumerate(titles) if is_wavelength(title)]
    twins = [column for column in axes[1:] if _equal(matrix, column, axes[0])]
    if len(axes) - len(twins) > 1:
        listed = ", ".join(titles)[:60]
        raise SpectrumError(f"{name}: {len(axes)} wavelength columns ({listed}): keep one")
    axis = axes[0] if axes else 0
    kind = other_axis(titles[axis])
    if kind is not None:
        raise SpectrumError(
            f"{name}: the axis {titles[axis].strip()!r} is {kind}: export it as wavelength in nm or Å"
        )
    if not axes and titles[0].strip() and not re.fullmatch(r"[\W\d_]*", titles[0]):
        raise SpectrumError(
            f"{name}: column {titles[0].strip()!r} names no wavelengths: title that column 'wavelength_nm'"
        )
    return axis


def _by_title(title: Title) -> _Kind:
    units = set(re.findall(r"[%°a-zµμ]+", title.unit.lower()))
    if units & _OTHER_UNITS or any(len(word) > 1 and word in _OTHER_WORDS for word in units):
        return _Kind.OTHER
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", title.words)
    words = re.findall(r"%|[a-zµα-ωσ]+", text.lower().replace("_", " "))
    if "%" in words or "σ" in words or "±" in text or not _OTHER_WORDS.isdisjoint(words):
        return _Kind.OTHER
    if len(words) > 1:  # a letter names a column only where it stands alone
        words = [word for word in words if len(word) > 1]
    if not _SHOT_WORDS.isdisjoint(words) or re.fullmatch(r"\s*#?\s*\d+\s*", text):
        return _Kind.SHOT
    return _Kind.UNKNOWN


def _settle_unknown(
    kinds: dict[int, _Kind], titles: Sequence[Title], matrix: NDArray[np.float64], axis: int
) -> None:
    """Columns in a series (a, b, c; s1, s2, s3) are shots if no other says it is one; odd shapes are not."""
    unknown = [column for column, kind in kinds.items() if kind is _Kind.UNKNOWN]
    plain = [column for column in unknown if titles[column].words]
    for column in unknown:
        others = [other for other in kinds if other != column and kinds[other] is not _Kind.OTHER]
        before = column < axis and not titles[column].words
        if _odd_shape(matrix, column, others) is not None and (before or titles[column].words):
            kinds[column] = _Kind.OTHER
            plain = [other for other in plain if other != column]
    if not any(kind is _Kind.SHOT for kind in kinds.values()) and _is_series(
        [titles[column].words for column in plain]
    ):
        kinds.update(dict.fromkeys(plain, _Kind.SHOT))


def _is_series(words: Sequence[str]) -> bool:
    lower = [word.strip().lower() for word in words]
    if lower == [chr(ord("a") + index) for index in range(len(lower))] and len(lower) > 1:
        return True
    parts = [re.fullmatch(r"(.*?)[\s_#-]*(\d+)", word) for word in lower]
    series = {(part[1], int(part[2])) for part in parts if part is not None}
    return len(lower) > 1 and len(series) == len(lower) and len({stem for stem, _ in series}) == 1


def _odd_shape(matrix: NDArray[np.float64], column: int, others: Sequence[int]) -> str | None:
    """What a column looks like that no shot looks like."""
    values = matrix[:, column]
    if len(values) < MIN_CHANNELS or not np.isfinite(values).all():
        return None
    step = np.diff(values)
    if not step.any():
        return "is constant"
    whole = bool((values == np.round(values)).all())
    if np.allclose(step, step[0], rtol=1e-3, atol=0) or (whole and (step >= 0).all()):
        return "counts up" if step.max() > 0 else "counts down"
    if len(others) > 1:
        beside = np.clip(matrix[:, list(others)], -_HUGE, _HUGE)
        for word, figure in (
            ("mean", beside.mean(axis=1)),
            ("median", np.median(beside, axis=1)),
            ("sum", beside.sum(axis=1)),
            ("standard deviation", beside.std(axis=1)),
            ("standard deviation", beside.std(axis=1, ddof=1)),
        ):
            if np.abs(np.clip(values, -_HUGE, _HUGE) - figure).max() <= _CLOSE * np.ptp(figure):
                return f"is the {word} of the others"
    return None


def _equal(matrix: NDArray[np.float64], column: int, axis: int) -> bool:
    """Whether a column repeats the wavelengths, to their rounding."""
    values, wavelengths = matrix[:, column], matrix[:, axis]
    if not np.isfinite(values).all() or not np.isfinite(wavelengths).all():
        return False
    near = float(np.median(np.abs(np.diff(wavelengths)))) / 2 if len(wavelengths) > 1 else 0.0
    return bool(np.abs(values - wavelengths).max() <= near)
