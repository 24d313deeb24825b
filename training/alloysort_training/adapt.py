"""A released bundle to one plant's instrument, from a few of its own pieces: what commissioning does.

    alloysort adapt BUNDLE --data DIR --out BUNDLE2

The instrument's wavelength error and response are estimated and told; the layers that say what a spectrum
means, temperatures and the radius of the known are refitted (see `refit`). Whether that helped is judged on
pieces that were left out, fold by fold; if it did not, nothing is written. The bars stay: probabilities that
are calibrated anew mean the same to them.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alloysort_datasets.errors import TrainingError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.libs import instrument as libs
from alloysort_datasets.piece import Instrument, Piece, sensed
from alloysort_datasets.table.store import read_instruments, read_pieces
from alloysort_models.bundle.figures import bootstrap_weights, figure, per_batch, ratio
from alloysort_models.bundle.manifest import (
    CALIBRATION,
    CARD,
    MODEL,
    PATTERNS,
    Adapted,
    Bundle,
    load_bundle,
    write_bundle,
)
from alloysort_models.network.released import Calibration, Released, folded
from alloysort_models.network.sorter import Sorter
from alloysort_training.change import Change, Doubt, adapted_card
from alloysort_training.config import Config, Network, Preparation
from alloysort_training.export import Allowed, check_parity, claimed_name, to_onnx
from alloysort_training.prepare import combined_sha256, prepare_pieces
from alloysort_training.refit import DOUBTED, LIT, Looks, doubting_loss, judge, look, refit, refit_temperature
from alloysort_training.released import reopen

FEWEST: Final = 10  # reference pieces: fewer tell nothing that a fold could check
FOLDS: Final = 5
SURE: Final = 0.9  # share of draws of pieces in which the left-out ones must be judged better
TEMPERATURE_SPREAD: Final = 0.2  # of the prior of its natural logarithm
MOST_DOUBTED: Final = 0.5  # of the labels: beyond, something else is wrong than the instrument
NOVEL: Final = 0.1  # share of reference pieces that may stay novel: they may be mislabelled too
VARIANTS: Final = 4  # of each piece's shots
LOOKED_AT: Final = 40  # spectra that the wavelength error is taken from


def adapt(
    start: Path,
    data: Sequence[Path],
    out: Path,
    name: str | None = None,
    overwrite: bool = False,
    told: Callable[[Change], None] = lambda _: None,
) -> Bundle:
    """Write a bundle for the instrument that took these pieces.

    Args:
        start: a bundle.
        data: piece tables; pieces of known family with a spectrum are taken, of a split table its training
            pieces.
        out: the new bundle's folder.
        name: of the new bundle; by default the folder's.
        overwrite: replace what lies there.
        told: given what it comes to, before that is written or refused.

    Returns:
        The new bundle, as loaded back.

    Raises:
        TrainingError: too few pieces, of one family, or of several instruments; most labels are not believed;
            they are judged no better afterwards; or something lies at `out`.
        DataError: a piece cannot be used.
        BundleError: the bundle cannot be opened again.
    """
    called = claimed_name(out, name, Allowed(overwrite=overwrite))
    bundle = load_bundle(start)
    pieces, instrument = references(data)
    released = reopen(bundle)
    network = Network(image_size=bundle.manifest.image_size)
    config = Config(grid=bundle.grid, network=network, preparation=Preparation(variants=VARIANTS))
    prepared = prepare_pieces(pieces, {instrument.name: instrument}, config)
    looks = look(released.sorter, prepared)
    judged = _judged(released, looks, _folds(prepared.batch))
    change = _change(judged, pieces, prepared.batch, _look_at(pieces, instrument))
    told(change)
    if len(change.doubts) > MOST_DOUBTED * len(pieces):
        raise TrainingError(
            f"{len(change.doubts)} of {len(pieces)} labels are not believed: are the labels those of these "
            f"pieces, and the wavelengths of {instrument.name!r} right?"
        )
    if change.sure < SURE:
        raise TrainingError(
            f"these {len(pieces)} pieces make {bundle.manifest.name} no better for certain (left-out pieces "
            f"are judged better in {change.sure:.0%} of draws, {SURE:.0%} are asked): keep it as it is, or "
            "bring more pieces"
        )
    adapted = Released(refit(released.sorter, looks), judged.calibration).eval()
    graph = to_onnx(folded(adapted), config)
    check_parity(adapted, graph, prepared)
    noted = Adapted(
        bundle=bundle.manifest.name,
        bundle_sha256=bundle.sha256,
        data_sha256=combined_sha256(data),
        pieces=len(pieces),
        instrument=instrument.name,
    )
    manifest = bundle.manifest.model_copy(
        update={
            "name": called,
            "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "adapted": noted,
            "metrics": {"adapted": change.figures(), "before": bundle.manifest.metrics},
        }
    )
    before = (bundle.path / CARD).read_text(encoding="utf-8")
    card = adapted_card(before, called, noted, change, _counts(pieces))
    files = {MODEL: graph, CALIBRATION: judged.calibration.to_bytes(), CARD: card.encode()}
    return write_bundle(out, manifest, files)


def references(data: Sequence[Path]) -> tuple[list[Piece], Instrument]:
    """The pieces to adapt to, and the instrument that took them.

    Raises:
        TrainingError: they are too few, all of one family, or of several instruments.
    """
    pieces: list[Piece] = []
    instruments: dict[str, Instrument] = {}
    for folder in data:
        known = read_instruments(folder)
        for piece in read_pieces(folder):
            if piece.family is None or piece.spectra is None or piece.split not in (None, "train"):
                continue
            pieces.append(piece)
            instruments[piece.instrument or ""] = known[piece.instrument or ""]
    where = ", ".join(map(str, data))
    if len(pieces) < FEWEST:
        raise TrainingError(
            f"{where}: {len(pieces)} pieces of known family have a spectrum and are not kept for testing; "
            f"{FEWEST} are needed, 30 of ten alloys are good"
        )
    if len({piece.family for piece in pieces}) < 2:
        raise TrainingError(f"{where}: all {len(pieces)} pieces are {pieces[0].family}: bring others too")
    if len(instruments) > 1:
        raise TrainingError(
            f"{where}: the pieces are of {len(instruments)} instruments, {', '.join(sorted(instruments)[:4])}"
            f"{', ...' if len(instruments) > 4 else ''}: a bundle is adapted to one"
        )
    return pieces, next(iter(instruments.values()))


class _Said(NamedTuple):
    """Of pieces that have the sensors of a pattern, all shots together."""

    piece: Tensor
    logits: Tensor
    novelty: Tensor


@dataclass(frozen=True, eq=False)
class _Judged:
    """Before, and by networks that had not seen them; by pattern of sensors.

    Attributes:
        before, after: what is said.
        family: (N,) labels.
        released, calibration: the calibrations that `before` and `after` are read with.
    """

    before: Mapping[str, _Said]
    after: Mapping[str, _Said]
    family: Tensor
    released: Calibration
    calibration: Calibration


def _folds(batch: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) fold of each piece: whole batches where there are enough of them."""
    numbers = batch if len(np.unique(batch)) >= FOLDS else np.arange(len(batch))
    _, place = np.unique(numbers, return_inverse=True)
    shuffled = np.random.default_rng(0).permutation(place.max() + 1)
    return np.asarray(shuffled[place] % FOLDS)


def _judged(released: Released, looks: Looks, fold: NDArray[np.int64]) -> _Judged:
    whole = _first_variants(looks)
    before = {pattern: _say(released, released.sorter, whole, pattern) for pattern in LIT}
    parts: dict[str, list[_Said]] = {pattern: [] for pattern in LIT}
    for number in np.unique(fold):
        moved = refit(released.sorter, looks.of(np.flatnonzero(fold != number)))
        left_out = whole.of(np.flatnonzero(fold == number))
        for pattern in LIT:
            parts[pattern].append(_say(released, moved, left_out, pattern))
    after = {
        pattern: _Said(*(torch.cat(column) for column in zip(*said, strict=True)))
        for pattern, said in parts.items()
    }
    calibration = _recalibrated(released.calibration, after, whole.family)
    return _Judged(before, after, whole.family, released.calibration, calibration)


def _first_variants(looks: Looks) -> Looks:
    """Of each piece that of all its shots."""
    first = torch.cat([torch.tensor([True]), looks.piece[1:] != looks.piece[:-1]])
    return Looks(*(column[first] for column in looks))


@torch.no_grad()
def _say(released: Released, sorter: Sorter, looks: Looks, pattern: str) -> _Said:
    """`released` for its shape of the known, `sorter` for what is said."""
    index = PATTERNS.index(pattern)
    sensors = 2 if pattern == "both" else 1
    seen = looks.present[:, -sensors:].min(dim=1).values > 0.5
    chosen = Looks(*(column[seen] for column in looks))
    said = judge(sorter, chosen, pattern)
    novelty = released.novelty(said.features, said.stranger, torch.full((len(chosen.piece),), index))
    return _Said(chosen.piece, said.logits, novelty)


def _recalibrated(old: Calibration, said: Mapping[str, _Said], family: Tensor) -> Calibration:
    """Temperatures and radii for what was said of left-out pieces; of pictures alone they stay."""
    temperature, radius = old.temperature.clone(), old.radius.clone()
    for pattern, one in said.items():
        if not len(one.piece):
            continue
        index = PATTERNS.index(pattern)
        released = float(old.temperature[index])
        temperature[index] = refit_temperature(one.logits, family[one.piece], released, TEMPERATURE_SPREAD)
        ranked = one.novelty.sort(descending=True).values
        radius[index] *= max(1.0, float(ranked[int(NOVEL * len(ranked))]))
    return replace(old, temperature=temperature, radius=radius)


class _Best(NamedTuple):
    """What is said of N pieces with all the sensors that each has."""

    logits: Tensor
    novelty: Tensor


def _best(said: Mapping[str, _Said], read: Calibration, written: Calibration, pieces: int) -> _Best:
    """Read with a calibration's temperatures; novelty, told with `written`'s radii, by `read`'s."""
    logits, novelty = torch.full((pieces, len(FAMILIES)), torch.nan), torch.zeros(pieces)
    for pattern in LIT:  # both after spectrum
        index, one = PATTERNS.index(pattern), said[pattern]
        logits[one.piece] = one.logits / read.temperature[index]
        novelty[one.piece] = one.novelty * written.radius[index] / read.radius[index]
    return _Best(logits, novelty)


def _change(
    judged: _Judged, pieces: Sequence[Piece], batch: NDArray[np.int64], seen: libs.Instrument | None
) -> Change:
    count, old, new = len(pieces), judged.released, judged.calibration
    before = _best(judged.before, old, old, count)
    after = _best(judged.after, new, old, count)
    there = torch.isfinite(before.logits).all(dim=1).numpy()
    family = judged.family
    scores = [-doubting_loss(one.logits, family).numpy() for one in (before, after)]
    right = [(one.logits.argmax(dim=1) == family).numpy() for one in (before, after)]
    groups = batch if len(np.unique(batch)) >= FOLDS else np.arange(count)
    columns = [there, right[0], right[1], scores[1] - scores[0]]
    sums = per_batch(groups[there], [column[there].astype(np.float64) for column in columns])
    counted, was, now, gain = (bootstrap_weights(groups[there], 0) @ sums).T
    return Change(
        pieces=count,
        before=figure(ratio(was, counted)),
        after=figure(ratio(now, counted)),
        gain=figure(ratio(gain, counted)),
        sure=float((gain[1:] > 0).mean()),
        novel_before=float((before.novelty[there] > 1).float().mean()),
        novel_after=float((after.novelty[there] > 1).float().mean()),
        doubts=tuple(_doubts(after.logits, family, there, pieces)),
        instrument=seen,
    )


def _doubts(logits: Tensor, family: Tensor, there: NDArray[np.bool_], pieces: Sequence[Piece]) -> list[Doubt]:
    told = torch.softmax(logits, dim=1)
    label = told.gather(1, family.unsqueeze(1)).squeeze(1).numpy()
    found = np.flatnonzero(there & (label < DOUBTED))
    return [
        Doubt(pieces[row].piece_id, FAMILIES[int(family[row])], FAMILIES[int(told[row].argmax())])
        for row in found[np.argsort(label[found])]
    ]


def _look_at(pieces: Sequence[Piece], instrument: Instrument) -> libs.Instrument | None:
    """Of pieces of known composition, spread over all of them."""
    known = [piece for piece in pieces if piece.composition]
    chosen = np.linspace(0, len(known) - 1, min(len(known), LOOKED_AT)).astype(int)
    spectra = []
    for piece in (known[place] for place in np.unique(chosen)):
        spectrum = sensed(piece, {instrument.name: instrument})
        composition = {name: part for name, part in (piece.composition or {}).items() if part and part > 0}
        if spectrum is not None and composition:
            spectra.append((spectrum.shots.mean(axis=0, dtype=np.float64), composition))
    return libs.look_at(instrument.wavelength_nm, spectra) if spectra else None


def _counts(pieces: Sequence[Piece]) -> dict[str, int]:
    """Pieces of each family."""
    present = [piece.family for piece in pieces]
    return {family: present.count(family) for family in FAMILIES if family in present}
