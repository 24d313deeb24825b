"""A folder of photos, spectra and labels becomes a piece table.

The convention:

- Files in one folder that share a stem are one piece: `6xxx/0017.jpg` and `6xxx/0017.csv`. Photos are JPEG or
  PNG, spectra any format of `readers.spectrum`, both known by their bytes, whatever their suffix. The piece's
  id is that path without its suffix. What is neither is left out and named with the reason.
- The nearest folder above that is named as a family gives the family; `families` may map other names to one.
- A piece right in the top folder or in a folder named as a family is a batch of its own; any other folder is
  the batch of the pieces in it, unless labels say more. Put views of one object into one such folder
  (`yard/object-7/`) or give them one `batch`, so that they never part between splits.
- `labels.csv` at the top, where there is one, lists the pieces: one row each, files it does not name are left
  out and named. Columns, in any order and case: `file`, `image` or `spectrum` (a path below the folder, or
  a bare name that occurs once), `piece_id`, `family` (or `label`), `alloy`, `batch` (or `block`), `mass_g`,
  `split`, `source`, and elements in wt% (`Si`, `Mg`, ...). An empty cell is unknown; a family that only the
  alloy tells is taken from it. A named file brings the
  file of the same stem and folder along. Other columns are left out and named in the report.
- One instrument per distinct wavelength axis, named by it. Its resolution is not in the files: it is taken as
  2.5 times the median channel spacing (a line that a spectrometer resolves spans two to three pixels); its
  saturation is unknown.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from alloysort_datasets.errors import DataError, TableError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.piece import SPLITS, Instrument, Piece, Split
from alloysort_datasets.readers.picture import decode_image, is_picture
from alloysort_datasets.readers.spectrum import SUFFIXES, read_spectrum
from alloysort_datasets.spectrum import Spectrum
from alloysort_datasets.table.check import Fault
from alloysort_datasets.table.sides import Sides
from alloysort_datasets.table.store import TableWriter

LABELS: Final = "labels.csv"
LEFT_OUT: Final = "left-out.txt"
PHOTOS: Final = frozenset({".jpg", ".jpeg", ".png"})
CHANNELS_PER_RESOLUTION: Final = 2.5

_ALIASES: Final = {"label": "family", "block": "batch"}
_KEYS: Final = (
    "piece_id", "file", "image", "spectrum", "family", "alloy", "batch", "mass_g", "split", "source"
)  # fmt: skip
_FILE_KEYS: Final = ("file", "image", "spectrum")
_ELEMENT: Final = {element.lower(): element for element in ELEMENTS}


@dataclass(frozen=True)
class LeftOut:
    """A file that is no part of any piece, and why."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: left out: {self.reason}"


@dataclass(frozen=True)
class Words:
    """What other people's words mean.

    Attributes:
        families: the family behind a foreign label or folder name.
        family_of_alloy: the family of an alloy's designation, None where nobody knows it.
        files: where they were read from; they are no pieces, should they lie among those.
    """

    families: Mapping[str, str] = field(default_factory=dict)
    family_of_alloy: Callable[[str], str | None] = lambda _: None
    files: tuple[Path, ...] = ()

    def family(self, label: str) -> str | None:
        """The family that a label means, None where nobody knows."""
        return label if label in FAMILIES else self.families.get(label)


@dataclass(frozen=True)
class ImportReport:
    """What came of an import.

    Attributes:
        pieces: written to the table; 0 where faults stopped it.
        images, spectra: how many of the written have one.
        instruments: distinct wavelength axes.
        faults: everything that could not be imported; the pieces behind them were skipped.
        left_out: files that are neither photo nor spectrum, or not named by labels.csv, with the reason.
        from_alloy: pieces whose family was taken from their alloy.
        ignored_columns: of labels.csv.
        written: whether the table exists.
    """

    pieces: int
    images: int
    spectra: int
    instruments: int
    faults: tuple[Fault, ...]
    left_out: tuple[LeftOut, ...]
    from_alloy: int
    ignored_columns: tuple[str, ...]
    written: bool


@dataclass(frozen=True)
class _Plan:
    """A piece to be: its files and what is said of it."""

    piece_id: str
    batch: str
    file: str
    row: int | None = None
    image: Path | None = None
    spectrum: Path | None = None
    source: str = ""
    family: str | None = None
    alloy: str | None = None
    split: Split | None = None
    mass_g: float | None = None
    composition: Mapping[str, float] | None = None
    from_alloy: bool = False


@dataclass
class _Tree:
    """The files below a folder."""

    root: Path
    groups: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    by_name: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    photos: set[Path] = field(default_factory=set)
    left_out: list[LeftOut] = field(default_factory=list)
    claimed: set[Path] = field(default_factory=set)
    words: Words = field(default_factory=Words)

    def folder(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def key(self, path: Path) -> str:
        return path.relative_to(self.root).with_suffix("").as_posix()

    def family(self, folder: Path) -> str | None:
        """That of the nearest folder above that is named as one."""
        parts = reversed(folder.relative_to(self.root).parts)
        return next(filter(None, map(self.words.family, parts)), None)


def import_pieces(
    source: Path,
    out: Path,
    skip_faulty: bool = False,
    progress: Callable[[int, int], None] | None = None,
    words: Words | None = None,
) -> ImportReport:
    """Turn a folder, by the convention above, into a piece table.

    The table appears only when complete. With any fault nothing is written, unless `skip_faulty`.

    Args:
        source: the folder.
        out: the table to be; must not exist, or be empty.
        skip_faulty: leave out the pieces that have a fault, and write the rest.
        progress: called with pieces done and pieces in all.
        words: what foreign labels and alloys mean.

    Raises:
        TableError: the folder is missing or holds nothing to import, labels.csv cannot be read, or `out`
            cannot be written.
    """
    if not source.is_dir():
        raise TableError(f"{source}: is no folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TableError(f"{out}: exists already: name a new folder")
    tree = _scan(source, words or Words())
    labels = source / LABELS
    ignored: tuple[str, ...] = ()
    if labels.exists():
        rows, ignored = _read_labels(labels)
        plans, faults = _plan_rows(tree, labels, rows)
        tree.left_out += [
            LeftOut(str(path), f"{LABELS} does not name it")
            for path in sorted({path for paths in tree.groups.values() for path in paths} - tree.claimed)
        ]
    else:
        plans, faults = _plan_tree(tree)
    if not plans and not faults:
        raise TableError(f"{source}: holds no photo ({', '.join(sorted(PHOTOS))}) and no spectrum")
    return _write(plans, faults, out, skip_faulty, progress, tuple(tree.left_out), ignored)


def read_families(path: Path) -> dict[str, str]:
    """A CSV of foreign labels and their families, one pair a row, with or without a row of titles.

    Raises:
        TableError: it cannot be read, a row is no pair, a family is unknown, or a label has two.
    """
    families: dict[str, str] = {}
    for line, cells in _csv_rows(path):
        if len(cells) != 2:
            raise TableError(f"{path}: line {line}: {len(cells)} cells, must be a label and its family")
        label, family = (cell.strip() for cell in cells)
        if line == 1 and family.lower() == "family":
            continue
        if family not in FAMILIES:
            raise TableError(f"{path}: line {line}: {family!r} is none of {', '.join(FAMILIES)}")
        if families.setdefault(label, family) != family:
            raise TableError(f"{path}: line {line}: {label!r} is {families[label]} already")
    return families


def _csv_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, each with its line; cells parted as in the first line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TableError(f"{path}: must be UTF-8 text") from None
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise TableError(f"{path}: line {reader.line_num}: {error}") from None


def _scan(source: Path, words: Words) -> _Tree:
    tree = _Tree(source, words=words)
    try:
        paths = sorted(path for path in source.rglob("*") if path.is_file())
    except OSError as error:
        raise TableError(f"{source}: {error.strerror or error}") from None
    aside = {path.resolve() for path in (source / LABELS, *words.files)}
    for path in paths:
        if path.resolve() in aside:
            continue
        hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
        reason = "is hidden" if hidden else _reason_to_leave(tree, path)
        if reason is None:
            tree.groups[tree.key(path)].append(path)
            tree.by_name[path.name].append(path)
        else:
            tree.left_out.append(LeftOut(str(path), reason))
    return tree


def _reason_to_leave(tree: _Tree, path: Path) -> str | None:
    """None for a photo or spectrum: by its bytes or, so that its fault is named later, by its suffix."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        return error.strerror or str(error)
    suffix = path.suffix.lower()
    if is_picture(start) or suffix in PHOTOS:
        tree.photos.add(path)
        return None
    if suffix in SUFFIXES:
        return None
    try:
        read_spectrum(path)
    except DataError as error:
        return f"neither photo nor spectrum: {_without(path, error)}"
    return None


def _plan_tree(tree: _Tree) -> tuple[list[_Plan], list[Fault]]:
    plans, faults = [], []
    for key, paths in tree.groups.items():
        try:
            plans.append(_plan(tree, key, paths))
        except TableError as error:
            faults.append(Fault(str(paths[0]), None, "", str(error)))
    return plans, faults


def _plan(tree: _Tree, key: str, paths: Sequence[Path], **chosen: Path) -> _Plan:
    """The piece of one stem; `chosen` settles which of several files is its image or spectrum."""
    folder = paths[0].parent
    photos = [path for path in paths if path in tree.photos]
    spectra = [path for path in paths if path not in tree.photos]
    return _Plan(
        piece_id=key,
        batch=key if folder == tree.root or tree.words.family(folder.name) else tree.folder(folder),
        file=str(paths[0]),
        image=chosen.get("image") or _only(photos, "photos"),
        spectrum=chosen.get("spectrum") or _only(spectra, "spectra"),
        source=tree.root.resolve().name,
        family=tree.family(folder),
    )


def _only(paths: Sequence[Path], what: str) -> Path | None:
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise TableError(f"{len(paths)} {what} share a stem ({names}): keep one, or name it in {LABELS}")
    return paths[0] if paths else None


def _read_labels(path: Path) -> tuple[list[tuple[int, dict[str, str]]], tuple[str, ...]]:
    """Rows of labels.csv with their line, keys in lower case; and the columns nobody knows."""
    (_, header), *rows = _csv_rows(path) or [(1, [])]
    keys = [_key(title) for title in header]
    doubles = [key for key, count in Counter(keys).items() if count > 1 and key]
    if doubles:
        raise TableError(f"{path}: line 1: two columns mean {doubles[0]!r}")
    if not {"piece_id", *_FILE_KEYS} & set(keys):
        raise TableError(f"{path}: line 1: needs a column piece_id, {', '.join(_FILE_KEYS)}")
    ignored = tuple(key for key in keys if key and key not in _KEYS and key not in ELEMENTS)
    return [(line, _cells(path, line, keys, cells)) for line, cells in rows], ignored


def _key(title: str) -> str:
    word = title.strip().lower()
    return _ELEMENT.get(word, _ALIASES.get(word, word))


def _cells(path: Path, line: int, keys: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    if len(cells) > len(keys):
        raise TableError(f"{path}: line {line}: {len(cells)} cells under {len(keys)} titles")
    return {key: cell.strip() for key, cell in zip(keys, cells, strict=False) if cell.strip()}


def _plan_rows(
    tree: _Tree, labels: Path, rows: Iterable[tuple[int, dict[str, str]]]
) -> tuple[list[_Plan], list[Fault]]:
    """The pieces of the rows, and what is wrong with rows; the files of faulty ones are claimed too."""
    plans: list[_Plan] = []
    faults: list[Fault] = []
    strangers: dict[str, list[int]] = defaultdict(list)
    sides = Sides()
    for line, cells in rows:
        problems: list[tuple[str, str]] = []
        plan = _plan_row(tree, str(labels), line, cells, problems)
        if "family" in cells and tree.words.family(cells["family"]) is None:
            strangers[cells["family"]].append(line)
        if plan is not None:
            tree.claimed |= {path for path in (plan.image, plan.spectrum) if path is not None}
            problems += sides.add(plan.piece_id, plan.source, plan.batch, plan.split, f"row {line}")
        faults += [Fault(str(labels), line, key, message) for key, message in problems]
        if plan is not None and not problems and cells.get("family") not in strangers:
            plans.append(plan)
    return plans, [*_unknown_families(str(labels), strangers), *faults]


def _unknown_families(file: str, strangers: Mapping[str, Sequence[int]]) -> Iterator[Fault]:
    """Each unknown label once, with how many rows have it; the known families once."""
    known = f"none of {', '.join(FAMILIES)}: map it, see --map"
    for label, rows in strangers.items():
        count = f" (in {len(rows)} rows)" if len(rows) > 1 else ""
        yield Fault(file, rows[0], "family", f"{label!r}{count} is {known}")
        known = "no family either"


def _plan_row(
    tree: _Tree, file: str, line: int, cells: Mapping[str, str], problems: list[tuple[str, str]]
) -> _Plan | None:
    """The piece of one row; what is wrong with the row goes to `problems`."""
    try:
        plan = _files_of_row(tree, cells)
    except TableError as error:
        key = next((key for key in ("file", "image", "spectrum", "piece_id") if key in cells), "")
        problems.append((key, str(error)))
        plan = None
    said: dict[str, Any] = {
        key: cells[key] for key in ("piece_id", "batch", "source", "alloy") if key in cells
    }
    if "family" in cells:
        said["family"] = tree.words.family(cells["family"])
    if "split" in cells:
        said["split"] = cells["split"]
        if cells["split"] not in SPLITS:
            problems.append(("split", f"{cells['split']!r} is none of {', '.join(SPLITS)}"))
    numbers = {key: _number(key, cells[key], problems) for key in ("mass_g", *ELEMENTS) if key in cells}
    shares = {element: share for element, share in numbers.items() if element != "mass_g"}
    if sum(shares.values()) > 101:
        problems.append(("composition", f"sums to {sum(shares.values()):.2f} wt%, at most 101 is possible"))
    if plan is None:
        return None
    plan = replace(
        plan, file=file, row=line, mass_g=numbers.get("mass_g"), composition=shares or None, **said
    )
    return _with_family_of_alloy(plan, tree.words, problems)


def _with_family_of_alloy(plan: _Plan, words: Words, problems: list[tuple[str, str]]) -> _Plan:
    family = None if plan.alloy is None else words.family_of_alloy(plan.alloy)
    if family is None or family == plan.family:
        return plan
    if plan.family is not None:
        problems.append(("alloy", f"{plan.alloy!r} is {family}, yet the family is {plan.family}"))
        return plan
    return replace(plan, family=family, from_alloy=True)


def _files_of_row(tree: _Tree, cells: Mapping[str, str]) -> _Plan:
    for key in _FILE_KEYS:
        if key in cells:
            tree.claimed.update(_candidates(tree, cells[key]))
    named = {key: _find(tree, cells[key]) for key in _FILE_KEYS if key in cells}
    if not named:
        key = cells.get("piece_id", "")
        if key not in tree.groups:
            raise TableError(f"{key!r} is no photo's or spectrum's path without its suffix: name its file")
        return _plan_claimed(tree, key)
    chosen = {key: path for key, path in named.items() if key != "file"}
    if "file" in named:
        kind = "image" if named["file"] in tree.photos else "spectrum"
        chosen.setdefault(kind, named["file"])
    for key, path in chosen.items():
        if (path in tree.photos) != (key == "image"):
            raise TableError(
                f"{path.name!r} is no {key} but {'a picture' if key == 'spectrum' else 'a spectrum'}"
            )
    key = tree.key(next(iter(named.values())))
    return _plan_claimed(tree, key, **chosen)


def _plan_claimed(tree: _Tree, key: str, **chosen: Path) -> _Plan:
    """The piece of a stem; where its files clash, the row that named it has claimed them all."""
    try:
        return _plan(tree, key, tree.groups[key], **chosen)
    except TableError:
        tree.claimed.update(tree.groups[key])
        raise


def _candidates(tree: _Tree, name: str) -> list[Path]:
    """The files that a name may mean: a path below the folder, or a bare name."""
    relative = name.replace("\\", "/").removeprefix("./")
    candidates = tree.by_name.get(relative.rpartition("/")[2], [])
    exact = [path for path in candidates if path.relative_to(tree.root).as_posix() == relative]
    return exact or ([] if "/" in relative else candidates)


def _find(tree: _Tree, name: str) -> Path:
    found = _candidates(tree, name)
    if len(found) > 1:
        raise TableError(f"{name!r} is {len(found)} files: write the path below {tree.root}")
    if not found:
        raise TableError(f"{name!r} is no photo or spectrum below {tree.root}")
    return found[0]


def _number(key: str, cell: str, problems: list[tuple[str, str]]) -> float:
    low, high = (0.0, math.inf) if key == "mass_g" else (-1e-9, 100.0)
    try:
        number = float(cell.replace(",", "."))
    except ValueError:
        number = math.nan
    if not (low < number <= high and math.isfinite(number)):
        problems.append((key, f"{cell!r} must be {'a positive number' if key == 'mass_g' else '0-100 wt%'}"))
        return 0.0
    return max(number, 0.0)


def _write(
    plans: Sequence[_Plan],
    faults: list[Fault],
    out: Path,
    skip_faulty: bool,
    progress: Callable[[int, int], None] | None,
    left_out: tuple[LeftOut, ...],
    ignored: tuple[str, ...],
) -> ImportReport:
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    counts: Counter[str] = Counter()
    instruments: dict[str, Instrument] = {}
    try:
        with TableWriter(part) as writer:
            for done, plan in enumerate(plans, 1):
                piece = _load(plan, instruments, faults)
                if piece is not None:
                    if piece.instrument is not None:
                        writer.add(instruments[piece.instrument])
                    writer.write(piece)
                    counts.update(
                        pieces=1,
                        images=int(piece.image is not None),
                        spectra=int(piece.spectra is not None),
                        from_alloy=int(plan.from_alloy),
                    )
                if progress is not None:
                    progress(done, len(plans))
        written = counts["pieces"] > 0 and (skip_faulty or not faults)
        if written:
            if left_out:
                (part / LEFT_OUT).write_text("".join(f"{file}\n" for file in left_out), encoding="utf-8")
            _publish(part, out)
        else:
            counts.clear()
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return ImportReport(
        pieces=counts["pieces"],
        images=counts["images"],
        spectra=counts["spectra"],
        instruments=len(instruments),
        faults=tuple(faults),
        left_out=left_out,
        from_alloy=counts["from_alloy"],
        ignored_columns=ignored,
        written=written,
    )


def _publish(part: Path, out: Path) -> None:
    try:
        part.replace(out)
    except OSError as error:
        raise TableError(f"{out}: {error.strerror or error}") from None


def _load(plan: _Plan, instruments: dict[str, Instrument], faults: list[Fault]) -> Piece | None:
    """The piece with its files read; None, and a fault for each file, where one cannot be."""
    image, spectrum = None, None
    before = len(faults)
    try:
        image = None if plan.image is None else _read_photo(plan.image)
    except DataError as error:
        faults.append(_file_fault(cast("Path", plan.image), error))
    try:
        spectrum = None if plan.spectrum is None else read_spectrum(plan.spectrum)
    except DataError as error:
        faults.append(_file_fault(cast("Path", plan.spectrum), error))
    if len(faults) > before:
        return None
    instrument = None if spectrum is None else _instrument(spectrum)
    if instrument is not None:
        instruments.setdefault(instrument.name, instrument)
    return Piece(
        piece_id=plan.piece_id,
        source=plan.source,
        batch=plan.batch,
        split=plan.split,
        family=plan.family,
        alloy=plan.alloy,
        composition=plan.composition,
        mass_g=plan.mass_g,
        image=image,
        spectra=None if spectrum is None else spectrum.shots,
        instrument=None if instrument is None else instrument.name,
    )


def _read_photo(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}") from None
    decode_image(data, str(path))
    return data


def _file_fault(path: Path, error: DataError) -> Fault:
    return Fault(str(path), None, "", _without(path, error))


def _without(path: Path, error: DataError) -> str:
    return str(error).removeprefix(f"{' '.join(str(path).split())}: ")


def _instrument(spectrum: Spectrum) -> Instrument:
    """The same axis gives the same name in every import."""
    axis = spectrum.wavelength_nm
    digest = hashlib.sha256(axis.astype("<f8").tobytes()).hexdigest()[:8]
    return Instrument(
        name=f"{axis.size}ch-{axis[0]:.0f}-{axis[-1]:.0f}nm-{digest}",
        wavelength_nm=axis,
        resolution_nm=CHANNELS_PER_RESOLUTION * float(np.median(np.diff(axis))),
    )
