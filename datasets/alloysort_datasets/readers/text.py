"""Spectra as text: csv, tsv, `;`, white space, decimal commas, vendors' headers around a table of numbers."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.readers.columns import INVERSE_CM, choose_columns, is_other_label, is_wavelength
from alloysort_datasets.readers.raw import (
    Reading,
    from_matrix,
    looks_like_axis,
)
from alloysort_datasets.spectrum import MAX_CHANNELS, MIN_CHANNELS

SEPARATORS: Final = ("\t", ";", ",", None)  # None: white space; in order of preference where several fit
COMMENT: Final = tuple("#%;/!\"'")

_NUMBER: Final = re.compile(
    r"\s*[+-]?(?:(?:\d+(?:[.,]\d+)?|\d+\.|[.,]\d+)(?:e[+-]?\d+)?|nan|inf|infinity)\s*", re.I | re.ASCII
)
_STARTS_AS_ROW: Final = re.compile(r"\s*[+-]?(?:[.,]?\d|nan\b|inf\b)", re.I | re.ASCII)
_BEGIN: Final = re.compile(r"\W*begin\b.*\bdata\b\W*", re.I)  # Ocean Optics: >>>>>Begin Spectral Data<<<<<
_END: Final = re.compile(r"\W*end\b.*\bdata\b\W*", re.I)
_LASER: Final = re.compile(r"laser|excitation|pump", re.I)
_UNIT_LINE: Final = re.compile(  # 'Wavelength [nm]  Intensity', 'XUNITS= 1/CM', 'XAxis mode: Wavelengths'
    r"\W*(?:wave|lambda|λ|wl\b|raman|x[-_ ]?(?:axis|units?|label)|axis|abscissa|units?\b).*", re.I
)
_DIGIT_IN_UNIT: Final = re.compile(r"2\s*theta|" + INVERSE_CM.pattern, re.I)
_QUOTED: Final = re.compile(r'"([^"]*)"')
_QUOTED_NUMBER: Final = re.compile(r"\s*[+-]?[\d.]*,[\d.,]*\d(?:e[+-]?\d+)?\s*", re.I)
_THOUSANDS: Final = re.compile(r"\s*[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?\s*")
_STAMP: Final = re.compile(  # a date with a time, or a time, and what parts it from the counts
    r"\s*(?:\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}[T\s,;]+)?\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s*[AP]M)?\s*[\s;,]\s*",
    re.I,
)
_PIXELS: Final = re.compile(r"\W*number of pixels[^\d]*(\d{1,9})\W*", re.I)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x19\x1b-\x1f]")
_PLAIN: Final = re.compile(r"[0-9eE+\-.,;\t\n]*")
_PLAIN_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)
_HEADER_LINES: Final = 64
_MANY_ROWS: Final = 128  # enough numbers to know how a file writes its decimals
_RARE: Final = 0.01  # share of them that is as short by chance
_LOOK: Final = 24  # cells of a line that tell what it is


@dataclass
class _Block:
    """The lines of a text that hold numbers, and what stands before them."""

    sep: str | None
    columns: int
    labelled: bool
    header: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def read_text(data: bytes, name: str) -> Reading:
    """The table of numbers in a text.

    Raises:
        SpectrumError: binary, no table of numbers, a row that is cut short or holds anything but numbers, or
            columns that may be no shots.
    """
    text = _text(data, name)
    block = _plain_block(text)
    if block is None:
        lines = _lines(text, name)
        block = _collect(lines, *_sniff(lines, name), name)
    _refuse_cut(block, ends=not text.rpartition("\n")[2].strip(), name=name)
    matrix = _numbers(block, name)
    if block.labelled:
        labels = [row.split(block.sep, 1)[0] for row in block.rows]
        kept = [row for row in range(1, len(labels)) if not is_other_label(labels[row])]
        if not kept and len(labels) > 1:
            raise SpectrumError(
                f"{name}: rows {', '.join(labels[1:6])!r} are no laser shots: label each 'shot 1'..."
            )
        unit = " ".join([labels[0], _unit_lines(block.header)])
        return Reading(matrix[0], matrix[kept], unit, lambda index: f"cell {index + 2} of the rows")
    names, above = _column_names(block)
    if not any(names):
        return from_matrix(matrix, _unit_lines(above), name, np.asarray(block.lines))
    axis, kept = choose_columns(names, matrix, name)
    unit = " ".join([names[axis], _unit_lines(above)])
    place = np.asarray(block.lines)
    return Reading(matrix[:, axis], matrix[:, kept].T, unit, lambda index: f"line {place[index]}")


def looks_like_text(data: bytes) -> bool:
    """Whether the bytes decode to text without control characters."""
    return not _CONTROL.search(_without_padding(_decode(data[:4096])))


def _decode(data: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig")):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    if data[1:2] == b"\0" or data[:1] == b"\0":  # UTF-16 without its mark: every other byte of ASCII is 0
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _text(data: bytes, name: str) -> str:
    text = _without_padding(_decode(data))
    if _CONTROL.search(text):
        raise SpectrumError(f"{name}: is binary: export the spectrum as text, such as csv")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _plain_block(text: str) -> _Block | None:
    """All of a plain table: a short header, then equally long rows of numbers; None if it is not one.

    Most files are plain; then no line need be looked at by itself, which takes most of the time.
    """
    if '"' in text or not text.endswith("\n"):
        return None
    start, header = 0, []
    for line in text.split("\n", _HEADER_LINES)[:_HEADER_LINES]:
        sep = next((sep for sep in "\t;," if sep in line and _is_plain_row(line, sep)), None)
        if sep is not None:
            break
        if _STARTS_AS_ROW.match(line):
            return None
        header.append(line)
        start += len(line) + 1
    else:
        return None
    body = text[start:]
    if not _PLAIN.fullmatch(body):
        return None
    raw = np.frombuffer(body.encode("ascii"), dtype=np.uint8)
    marks = np.flatnonzero((raw == ord(sep)) | (raw == ord("\n")))
    seps = np.diff(np.flatnonzero(raw[marks] == ord("\n")), prepend=-1) - 1
    empty_cell = (np.diff(marks, prepend=-1) == 1).any()
    if empty_cell or not MIN_CHANNELS <= len(seps) <= MAX_CHANNELS or (seps != seps[0]).any():
        return None
    cleaned = [_clean(line, sep) for line in header]
    lines = range(len(header) + 1, len(header) + 1 + len(seps))
    return _Block(
        sep, int(seps[0]) + 1, False, [line for line in cleaned if line], body[:-1].split("\n"), list(lines)
    )


def _is_plain_row(line: str, sep: str) -> bool:
    return all(map(_PLAIN_NUMBER.fullmatch, line.split(sep)))


def _lines(text: str, name: str) -> list[str]:
    lines = text.split("\n")
    if len(lines) > 2 * MAX_CHANNELS:
        raise SpectrumError(f"{name}: {len(lines)} lines, at most {MAX_CHANNELS} channels can be read")
    return _without_stamps(_unquoted(lines, name) if '"' in text else lines)


def _without_padding(text: str) -> str:
    """Vendors pad names in their headers with NUL to a fixed width."""
    return text.replace("\0", "") if "\0" in text else text


def _without_stamps(lines: list[str]) -> list[str]:
    """Time series: each row of counts opens with a time stamp, the row of wavelengths above them does not."""
    stamped = {number: match.end() for number, line in enumerate(lines) if (match := _STAMP.match(line))}
    if not stamped:
        return lines
    first = min(stamped)
    cells = len(lines[first][stamped[first] :].split())
    axis = next((line for line in reversed(lines[:first]) if line.strip()), "")
    if cells < MIN_CHANNELS or len(axis.split()) != cells or not _STARTS_AS_ROW.match(axis):
        return lines
    return [line[stamped.get(number, 0) :] for number, line in enumerate(lines)]


def _unquoted(lines: list[str], name: str) -> list[str]:
    """Quotes taken away after what they hold: a decimal comma becomes a point, a separator a blank.

    Raises:
        SpectrumError: quoted numbers with a thousands mark, or that may have one.
    """
    marked = [
        (number, cell)
        for number, line in enumerate(lines, 1)
        if '"' in line and not _is_remark(line)
        for cell in _QUOTED.findall(line)
        if _QUOTED_NUMBER.fullmatch(cell)
    ]
    thousands = [(number, cell) for number, cell in marked if _THOUSANDS.fullmatch(cell)]
    certain = [place for place in thousands if place[1].count(",") > 1 or "." in place[1]]
    if certain or (thousands and len(thousands) == len(marked)):
        number, cell = (certain or thousands)[0]
        raise SpectrumError(
            f"{name}: line {number}: {cell.strip()!r} {'has' if certain else 'may have'} a thousands mark: "
            "export numbers without it"
        )

    def plain(match: re.Match[str]) -> str:
        cell = match[1]
        return cell.replace(",", ".") if _QUOTED_NUMBER.fullmatch(cell) else re.sub(r"[,;\t]", " ", cell)

    return [
        _QUOTED.sub(plain, line).replace('"', "") if '"' in line and not _is_remark(line) else line
        for line in lines
    ]


def _is_remark(line: str) -> bool:
    return line.startswith(COMMENT) and not _STARTS_AS_ROW.match(line.lstrip('"'))


def _clean(line: str, sep: str | None) -> str:
    return line.strip() if sep is None else line.strip(" ").rstrip(sep + " \t")


def _count(line: str, sep: str | None) -> int:
    return len(line.split(None, MAX_CHANNELS + 1)) if sep is None else line.count(sep) + 1


def _kinds(line: str, sep: str | None) -> list[bool]:
    """Whether each of the first cells is a number."""
    return [_NUMBER.fullmatch(cell) is not None for cell in line.split(sep, _LOOK)[:_LOOK]]


def _is_row(kinds: Sequence[bool]) -> bool:
    return len(kinds) > 1 and all(kinds)


def _is_labelled_axis(line: str, sep: str | None, kinds: Sequence[bool]) -> bool:
    """A text, then wavelengths: the first of rows that each hold one shot."""
    if len(kinds) <= MIN_CHANNELS or kinds[0] or not all(kinds[1:]):
        return False
    cells = [cell.replace(",", ".") for cell in line.split(sep)[1:]]
    return all(map(_NUMBER.fullmatch, cells)) and looks_like_axis(np.array(cells, dtype=np.float64))


def _sniff(lines: list[str], name: str) -> tuple[str | None, int, bool]:
    """The separator, the number of cells in a row, and whether rows open with a label."""
    filled = [line for line in lines if line and not line.isspace()]
    if not filled:
        raise SpectrumError(f"{name}: is empty")
    sample = [*filled[:: 1 + len(filled) // 64], *heapq.nlargest(8, filled, key=len)]
    scores = [_score(sample, sep) for sep in SEPARATORS]
    best = max(scores, key=lambda score: score[0])
    if best[0]:
        return SEPARATORS[scores.index(best)], best[1], best[2]
    if sum(_NUMBER.fullmatch(line) is not None for line in sample) * 2 > len(sample):
        raise SpectrumError(f"{name}: has a single column: wavelength and counts must stand side by side")
    raise SpectrumError(f"{name}: no rows of numbers found: each row must hold a wavelength and its counts")


def _score(sample: list[str], sep: str | None) -> tuple[int, int, bool]:
    counts: Counter[int] = Counter()
    labelled: set[int] = set()
    for raw in sample:
        line = _clean(raw, sep)
        kinds = _kinds(line, sep)
        if _is_row(kinds):
            counts[_count(line, sep)] += 1
        elif _is_labelled_axis(line, sep, kinds):
            labelled.add(_count(line, sep))
            counts[_count(line, sep)] += len(sample)  # every other row has a label that may be anything
    if not counts:
        return 0, 0, False
    columns, score = counts.most_common(1)[0]
    return score, columns, columns in labelled


def _collect(lines: list[str], sep: str | None, columns: int, labelled: bool, name: str) -> _Block:
    block = _Block(sep, columns, labelled)
    stray = 0
    for number, raw in enumerate(lines, 1):
        line = _clean(raw, sep)
        if not line:
            continue
        if not block.rows and not _starts_block(block, line, number, name):
            block.header.append(line)
            continue
        if _END.fullmatch(line):
            break
        if _count(line, sep) == columns and (labelled or _STARTS_AS_ROW.match(line)):
            if stray:
                raise SpectrumError(
                    f"{name}: line {stray}: text between the rows of numbers: mark it with '#'"
                )
            block.rows.append(line)
            block.lines.append(number)
        elif _STARTS_AS_ROW.match(line):
            _refuse_count(block, line, number, name, last=not any(rest.strip() for rest in lines[number:]))
        elif not raw.startswith(COMMENT):
            stray = stray or number
    return block


def _starts_block(block: _Block, line: str, number: int, name: str) -> bool:
    """Whether a line is the first row; what precedes it is a header, unless it is a broken row."""
    kinds = _kinds(line, block.sep)
    fits = _count(line, block.sep) == block.columns
    if block.labelled:
        return fits and _is_labelled_axis(line, block.sep, kinds)
    if all(kinds) and fits:
        return True
    if all(kinds):
        _refuse_count(block, line, number, name)
    if fits and any(kinds) and _STARTS_AS_ROW.match(line):
        _refuse_cell(block, line, number, name)
    return False


def _refuse_count(block: _Block, line: str, number: int, name: str, *, last: bool = False) -> None:
    count = _count(line, block.sep)
    raise SpectrumError(
        f"{name}: line {number}: {count} cell{'s' if count > 1 else ''} where the other rows have "
        f"{block.columns}{': is the file cut short?' if last else ''}"
    )


def _refuse_cut(block: _Block, ends: bool, name: str) -> None:
    """What gives away a file cut short between rows or inside its last number.

    That is a header that promises more pixels, or a last line without its end whose last number has fewer
    decimals than nearly all above it. A file cut right behind a row cannot be told from a whole one.
    """
    promised = next((match for match in map(_PIXELS.fullmatch, block.header) if match), None)
    if promised and not block.labelled and len(block.rows) < int(promised[1]) != block.columns:
        raise SpectrumError(
            f"{name}: line {block.lines[-1]}: the numbers end after {len(block.rows)} rows, "
            f"the header promises {promised[1]}: is the file cut short?"
        )
    if not ends and _last_number_is_short(block):
        raise SpectrumError(
            f"{name}: line {block.lines[-1]}: the last number has fewer decimals than those above, and no "
            "line end: is the file cut short?"
        )


def _last_number_is_short(block: _Block) -> bool:
    last = block.rows[-1].rsplit(block.sep, 1)[-1]
    if len(block.rows) < _MANY_ROWS:  # a row per shot, or too few rows to tell
        above = block.rows[-1].split(block.sep)[:-1]
    else:
        above = [row.rsplit(block.sep, 1)[-1] for row in block.rows[:-1]]
    fractions = [_fraction(cell) for cell in above]
    fraction = _fraction(last)
    if fraction.strip("0"):  # zeros and other whole numbers are often written short
        fractions = [other for other in fractions if other.strip("0")]
    as_short = sum(len(other) <= len(fraction) for other in fractions)
    return len(fractions) >= _MANY_ROWS and as_short < _RARE * len(fractions)


def _fraction(cell: str) -> str:
    return cell.replace(",", ".").partition(".")[2]


def _refuse_cell(block: _Block, line: str, number: int, name: str) -> None:
    cells = line.split(block.sep)[1 if block.labelled else 0 :]
    bad = next((cell for cell in cells if not _NUMBER.fullmatch(cell)), line)
    raise SpectrumError(f"{name}: line {number}: {bad.strip()[:40]!r} is not a number")


def _numbers(block: _Block, name: str) -> NDArray[np.float64]:
    """(rows, columns) float64, labels left out."""
    rows = [row.split(block.sep, 1)[1] for row in block.rows] if block.labelled else block.rows
    if block.sep != ",":
        rows = _with_decimal_points(rows, block, name)
    try:
        return np.loadtxt(rows, delimiter=block.sep, comments=None, ndmin=2, dtype=np.float64)
    except ValueError:
        for row, line, number in zip(rows, block.rows, block.lines, strict=True):
            if not all(map(_NUMBER.fullmatch, row.split(block.sep))):
                _refuse_cell(block, line, number, name)
        raise SpectrumError(f"{name}: the rows of numbers cannot be read") from None


def _with_decimal_points(rows: list[str], block: _Block, name: str) -> list[str]:
    text = "\n".join(rows)
    if "," not in text:
        return rows
    if "." in text:
        mark = "." if text.find(",") < text.find(".") else ","
        number = next(line for row, line in zip(rows, block.lines, strict=True) if mark in row)
        raise SpectrumError(f"{name}: line {number}: numbers with both '.' and ',': keep one decimal mark")
    return text.replace(",", ".").split("\n")


def _column_names(block: _Block) -> tuple[list[str], list[str]]:
    """The words over each column, from the one or two lines above the numbers, and the header above those."""
    names: list[str] = []
    above = list(block.header)
    for line in reversed(block.header[-2:]):
        cells = [cell.strip() for cell in line.lstrip("".join(COMMENT) + " ").split(block.sep)]
        titles = not any(map(_NUMBER.fullmatch, cells)) or is_wavelength(cells[0])
        if len(cells) != block.columns or not titles or _LASER.search(cells[0]):
            break
        names = [
            f"{cell} {name}".strip() for cell, name in zip(cells, names or [""] * len(cells), strict=True)
        ]
        above.pop()
    return names, above


def _unit_lines(header: Sequence[str]) -> str:
    """Header lines such as 'Wavelength [nm]  Intensity' or 'XUNITS= ANGSTROM' that name axis and unit."""
    found = [line for line in header if _UNIT_LINE.fullmatch(line) and not _LASER.search(line)]
    return " ".join(line for line in found if not re.search(r"\d", _DIGIT_IN_UNIT.sub("", line)))[:200]
