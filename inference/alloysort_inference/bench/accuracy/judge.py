"""A table's pieces through the pipeline of the line: what is known of each beside what was said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import TableError
from alloysort_datasets.families import ALUMINIUM, ELEMENTS, FAMILIES
from alloysort_datasets.piece import Instrument, Piece, Split, sensed
from alloysort_datasets.spectrum import Spectrum
from alloysort_datasets.table.layers import LAYERS, layer_of, own_shares
from alloysort_datasets.table.spread import spread
from alloysort_datasets.table.store import count_rows, piece_files, read_instruments, read_piece_file
from alloysort_inference.engine.session import Engine
from alloysort_inference.flags import to_bits
from alloysort_inference.pipeline import Arrival, Classifier, Upload
from alloysort_inference.policy.recipe import load_recipe
from alloysort_inference.record import Record
from alloysort_models.bundle.inputs import Look, line_over_noise, shown_late
from alloysort_models.bundle.manifest import PATTERNS, load_bundle

PORTION: Final = 16  # pieces that the engine takes at once
FEWEST_FILES: Final = 4  # below, one process has done it before another has started
COLUMNS: Final = ("family", "alloy", "composition", "mass_g", "image", "spectra", "conditions")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Judged:
    """N pieces, known and judged.

    Attributes:
        piece_id, batch, instrument, alloy: (N,) words; empty where unknown. A batch carries its source.
        family: (N,) int64, -1 where unknown.
        composition: (N, E) wt%, NaN where unknown.
        mass_g: (N,) NaN where unknown.
        stranger: (N,) 1 for matter that no family describes, NaN where unknown.
        layer: (N,) in `layers.LAYERS`.
        shown: (N,) the piece's own share of the late plumes, NaN where unknown.
        line_over_noise: (N,) of the strongest line; NaN without a spectrum.
        sensors: (N,) in `manifest.PATTERNS`.
        flags: (N,) a bit for each of `flags.FLAGS`.
        decided: (N,) false where the piece was refused: then nothing was said of it.
        probabilities: (N, F).
        wt_pct, sigma: (N, E).
        surface: (N,) NaN without a spectrum.
        novelty: (N,).
        outlet: (N,) its place in the recipe.
        trusted: (N,) some sensor saw it, it shows metal and is not novel.
        accepted, aluminium, novel: (N,) as decided.
    """

    piece_id: NDArray[np.str_]
    batch: NDArray[np.str_]
    instrument: NDArray[np.str_]
    alloy: NDArray[np.str_]
    family: NDArray[np.int64]
    composition: NDArray[np.float32]
    mass_g: NDArray[np.float32]
    stranger: NDArray[np.float32]
    layer: NDArray[np.int8]
    shown: NDArray[np.float32]
    line_over_noise: NDArray[np.float32]
    sensors: NDArray[np.int8]
    flags: NDArray[np.int32]
    decided: Mask
    probabilities: NDArray[np.float32]
    wt_pct: NDArray[np.float32]
    sigma: NDArray[np.float32]
    surface: NDArray[np.float32]
    novelty: NDArray[np.float32]
    outlet: NDArray[np.int16]
    trusted: Mask
    accepted: Mask
    aluminium: Mask
    novel: Mask

    def __len__(self) -> int:
        return len(self.family)

    def where(self, chosen: Mask) -> Judged:
        """Those of the chosen pieces, a (N,) mask."""
        return Judged(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Judged]) -> Judged:
        """Several in a row."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @property
    def named(self) -> NDArray[np.int64]:
        """(N,) the likeliest family."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def right(self) -> Mask:
        """(N,) the likeliest family is the true one."""
        return np.asarray(self.named == self.family)

    @property
    def strange(self) -> Mask:
        """(N,) matter that no family describes."""
        return np.asarray(self.stranger > 0.5)

    @property
    def of_aluminium(self) -> Mask:
        """(N,) truly of an aluminium family."""
        return (self.family >= 0) & (self.family < len(ALUMINIUM))


class Seen(NamedTuple):
    """A piece and what the sensors delivered of it."""

    piece: Piece
    spectrum: Spectrum | None
    image: bytes | None


class _Job(NamedTuple):
    path: Path
    bundle: Path
    recipe: str
    split: Split | None
    picture: bool
    light: bool


def judge_tables(
    folders: Sequence[Path],
    bundle: Path,
    recipe: str,
    split: Split | None,
    progress: Callable[[int, int], None] | None = None,
    *,
    picture: bool = True,
    light: bool = True,
) -> Judged:
    """Every piece of a split, files at once in processes; the same whatever their number.

    What is kept of a piece is a few hundred bytes; spectra and pictures are streamed.

    Args:
        folders: piece tables.
        bundle: folder of the model.
        recipe: name or path.
        split: None: all pieces.
        progress: is told how many of how many pieces are done.
        picture: false: by the spectrum alone, pieces without one left out.
        light: false: by the picture alone, as if the laser had missed.

    Raises:
        TableError: a table cannot be read, or holds no piece of the split.
        BundleError, RecipeError: these cannot be used.
    """
    paths = [path for folder in folders for path in piece_files(folder)]
    jobs = [_Job(path, bundle, recipe, split, picture, light) for path in paths]
    total, parts = sum(count_rows(job.path, split) for job in jobs), []
    for part in spread(_judge_file, jobs, FEWEST_FILES):
        parts.append(part)
        if progress is not None:
            progress(sum(map(len, parts)), total)
    judged = Judged.joined(parts)
    if not len(judged):
        listed = ", ".join(map(str, folders))
        raise TableError(f"{listed}: no piece has the split {split!r}: `alloysort data split` assigns them")
    return judged


def judge(classifier: Classifier, pieces: Iterable[Seen]) -> Judged:
    """Pieces one after the other, at constant memory but for what is said of them."""
    stream, parts = iter(pieces), [_judged(classifier, [])]
    while portion := list(islice(stream, PORTION)):
        parts.append(_judged(classifier, portion))
    return Judged.joined(parts)


def see(pieces: Iterable[Piece], instruments: dict[str, Instrument]) -> Iterator[Seen]:
    """Pieces as they stand in a table.

    Raises:
        DataError: a spectrum does not fit its instrument.
    """
    return (Seen(piece, sensed(piece, instruments), piece.image) for piece in pieces)


def _judge_file(job: _Job) -> Judged:
    pieces = read_piece_file(job.path, COLUMNS, job.split)
    seen = see(pieces, _instruments(job.path.parent))
    if not job.picture:
        seen = (one._replace(image=None) for one in seen if one.spectrum is not None)
    if not job.light:
        seen = (one._replace(spectrum=None) for one in seen)
    return judge(classifier_of(job.bundle, job.recipe), seen)


@lru_cache(maxsize=1)
def classifier_of(bundle: Path, recipe: str) -> Classifier:
    """Opened once by each process that judges pieces; an outlet whose bar is yet to be found takes none."""
    return Classifier(Engine(load_bundle(bundle)), load_recipe(recipe))


@lru_cache(maxsize=1)
def _instruments(folder: Path) -> dict[str, Instrument]:
    return read_instruments(folder)


def _judged(classifier: Classifier, portion: Sequence[Seen]) -> Judged:
    images = [None if seen.image is None else Upload("image", seen.image) for seen in portion]
    arrivals = [Arrival(seen.spectrum, image) for seen, image in zip(portion, images, strict=True)]
    records = classifier.sort(arrivals)
    outlets = [outlet.name for outlet in classifier.recipe.outlets]
    said = [_said(record, outlets) for record in records]
    return Judged(**_known(portion), **{name: _array(name, [row[name] for row in said]) for name in _SAID})


def _known(portion: Sequence[Seen]) -> dict[str, NDArray[Any]]:
    pieces = [seen.piece for seen in portion]
    rows = [_light(seen) for seen in portion]
    contents = np.array([_contents(piece) for piece in pieces], np.float32)
    return {
        "piece_id": np.array([piece.piece_id for piece in pieces], np.str_),
        "batch": np.array([f"{piece.source}: {piece.batch}" for piece in pieces], np.str_),
        "instrument": np.array([piece.instrument or "" for piece in pieces], np.str_),
        "alloy": np.array([piece.alloy or "" for piece in pieces], np.str_),
        "family": np.array([FAMILIES.index(p.family) if p.family else -1 for p in pieces], np.int64),
        "composition": contents.reshape(-1, len(ELEMENTS)),
        "mass_g": np.array([np.nan if p.mass_g is None else p.mass_g for p in pieces], np.float32),
        "stranger": np.array(
            [p.conditions.get("stranger", np.nan if p.family is None else 0.0) for p in pieces], np.float32
        ),
        "layer": np.array([LAYERS.index(layer_of(piece.conditions)) for piece in pieces], np.int8),
        "shown": np.array([shown for shown, _ in rows], np.float32),
        "line_over_noise": np.array([strength for _, strength in rows], np.float32),
    }


def _contents(piece: Piece) -> list[float]:
    return [(piece.composition or {}).get(element, np.nan) for element in ELEMENTS]


def _light(seen: Seen) -> tuple[float, float]:
    """The piece's own share of the late plumes and its strongest line over the noise."""
    if seen.spectrum is None:
        return np.nan, np.nan
    shots = seen.spectrum.shots
    look = Look.at(shots)
    own = own_shares(seen.piece.conditions, len(shots))
    return shown_late(own, look.hit), line_over_noise(look.means[0])


_SAID: Final = (
    "sensors", "flags", "decided", "probabilities", "wt_pct", "sigma", "surface", "novelty", "outlet",
    "trusted", "accepted", "aluminium", "novel",
)  # fmt: skip
_NOTHING: Final = {
    "sensors": PATTERNS.index("both"),
    "probabilities": np.zeros(len(FAMILIES), np.float32),
    "wt_pct": np.full(len(ELEMENTS), np.nan, np.float32),
    "sigma": np.full(len(ELEMENTS), np.nan, np.float32),
    "surface": np.nan,
    "novelty": np.nan,
}
_KINDS: Final[dict[str, type[np.generic]]] = {
    **dict.fromkeys(("decided", "trusted", "accepted", "aluminium", "novel"), np.bool_),
    "sensors": np.int8,
    "flags": np.int32,
    "outlet": np.int16,
}
_WIDTHS: Final = {"probabilities": len(FAMILIES), "wt_pct": len(ELEMENTS), "sigma": len(ELEMENTS)}


def _array(name: str, rows: list[Any]) -> NDArray[Any]:
    array = np.array(rows, _KINDS.get(name, np.float32))
    return array.reshape(-1, _WIDTHS[name]) if name in _WIDTHS else array


def _said(record: Record, outlets: Sequence[str]) -> dict[str, Any]:
    decision, assessment = record.decision, record.assessment
    told: dict[str, Any] = {
        "flags": to_bits(record.quality),
        "decided": assessment is not None,
        "outlet": outlets.index(decision.outlet),
        "trusted": decision.trusted,
        "accepted": decision.accepted,
        "aluminium": decision.accepted_as_aluminium,
        "novel": decision.novel,
    }
    if assessment is None:
        return {**_NOTHING, **told}
    return {
        **told,
        "sensors": PATTERNS.index(assessment.sensors),
        "probabilities": assessment.probabilities,
        "wt_pct": assessment.composition,
        "sigma": assessment.composition_sigma,
        "surface": np.nan if assessment.surface is None else assessment.surface,
        "novelty": assessment.novelty,
    }
