"""The messages of the stream door, byte by byte; all numbers little-endian. docs/stream.md is the contract.

A line sends its axes once and names them by number afterwards:

    axis    "ASX1"  number u32  channels u32  reserved u32  saturation f64   wavelength_nm f64 x channels
    piece   "ASP2"  axis u32  id u64  deadline_ms f32  image bytes u32  shots u16  kind u16  id bytes u16
            batch bytes u16   mass_g f32   counts f32 or u16 x shots x channels   image   piece_id   batch

and gets one answer for every piece, in the order in which they are decided:

    answer  "ASA1"  status u8  flags u8  family u8  outlet u8  id u64  total_ms f32  waiting_ms f32
            novelty f32  surface f32  quality u32  id bytes u16  reason bytes u16
            probabilities f32 x families   composition f32 x elements   sigma f32 x elements
            piece_id   reason
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.spectrum import Spectrum, checked_axis
from alloysort_inference.flags import from_bits, to_bits
from alloysort_inference.record import Record, Status

AXIS: Final = b"ASX1"
PIECE: Final = b"ASP2"
ANSWER: Final = b"ASA1"
KINDS: Final = (np.dtype("<f4"), np.dtype("<u2"))  # of counts
STATUSES: Final[tuple[Status, ...]] = ("decided", "late", "refused")
NOBODY: Final = 255  # a family that nobody named, an outlet that has no number
LABEL_BYTES: Final = 800

_AXIS: Final = struct.Struct("<4sIIId")
_PIECE: Final = struct.Struct("<4sIQfIHHHHf")
_ANSWER: Final = struct.Struct("<4sBBBBQffffIHH")
_EJECT, _ACCEPTED, _ALUMINIUM, _NOVEL = 1, 2, 4, 8
_NUMBERS: Final = len(FAMILIES) + 2 * len(ELEMENTS)
_NAN: Final = float("nan")
_NOTHING: Final = np.full(_NUMBERS, np.nan, "<f4").tobytes()


class WireError(DataError):
    """A message that breaks the contract; its piece, where it has one, cannot be told."""


@dataclass(frozen=True, eq=False)
class Axis:
    """A wavelength axis that a line names by its number.

    Attributes:
        number: as the line chose it.
        wavelength_nm: (channels,) air, strictly increasing.
        saturation_counts: the detector's ceiling; infinity where unknown.
    """

    number: int
    wavelength_nm: NDArray[np.float64]
    saturation_counts: float = float("inf")


@dataclass(frozen=True, eq=False)
class Counts:
    """A piece's shots as they came, on an axis that is known; decoded when its turn comes."""

    axis: Axis
    shots: NDArray[np.generic]
    slow: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return self.shots.nbytes

    def decode(self) -> Spectrum:
        """As a spectrum.

        Raises:
            SpectrumError: a count is not finite.
        """
        axis = self.axis
        return Spectrum(axis.wavelength_nm, self.shots.astype(np.float32, copy=False), axis.saturation_counts)


@dataclass(frozen=True, eq=False)
class PieceMessage:
    """A piece as a line sends it.

    Attributes:
        number: the line's own, comes back in the answer.
        counts: None where the laser hit nothing.
        image: a JPEG or PNG file, None where the camera saw nothing.
        deadline_ms: from its arrival to the answer; None: the service's own.
        piece_id, batch: as in every door.
        mass_g: where the line knows it.
    """

    number: int
    counts: Counts | None
    image: bytes | None
    deadline_ms: float | None = None
    piece_id: str | None = None
    batch: str | None = None
    mass_g: float | None = None


@dataclass(frozen=True, eq=False)
class StreamAnswer:
    """What the service says of a piece.

    Attributes:
        number: the line's own of the piece.
        status: decided, late or refused; a piece that is not decided goes to the default outlet.
        eject, outlet: what the valve does; `outlet` counts those of the greeting, NOBODY: unknown.
        family: the most probable, None unless decided.
        accepted, accepted_as_aluminium, novel, novelty, surface, quality, reason: as in every door.
        probabilities, composition, composition_sigma: (families,), (elements,), (elements,); NaN unless
            decided.
        total_ms, waiting_ms: from the arrival of the whole message to the decision, and what was waiting.
    """

    number: int
    status: Status
    eject: bool
    outlet: int
    family: str | None
    accepted: bool
    accepted_as_aluminium: bool
    novel: bool
    novelty: float
    surface: float | None
    quality: tuple[str, ...]
    piece_id: str
    reason: str
    total_ms: float
    waiting_ms: float
    probabilities: NDArray[np.float32]
    composition: NDArray[np.float32]
    composition_sigma: NDArray[np.float32]


def encode_axis(axis: Axis) -> bytes:
    """An axis as a message."""
    wavelength_nm = np.ascontiguousarray(axis.wavelength_nm, "<f8")
    head = _AXIS.pack(AXIS, axis.number, wavelength_nm.size, 0, axis.saturation_counts)
    return head + wavelength_nm.tobytes()


def decode_axis(message: bytes) -> Axis:
    """A message as an axis.

    Raises:
        WireError: its length is not what it says.
        SpectrumError: the wavelengths are no axis.
    """
    if len(message) < _AXIS.size:
        raise WireError(f"an axis message of {len(message)} bytes, its head alone has {_AXIS.size}")
    _, number, channels, _, ceiling = _AXIS.unpack_from(message)
    _require_length("an axis", message, _AXIS.size + 8 * channels)
    wavelength_nm = checked_axis(np.frombuffer(message, "<f8", offset=_AXIS.size).astype(np.float64))
    if not ceiling > 0:
        raise WireError(f"axis {number}: saturation {ceiling} must be positive, infinity where it is unknown")
    return Axis(number, wavelength_nm, ceiling)


def encode_piece(piece: PieceMessage) -> bytes:
    """A piece as a message.

    Raises:
        WireError: a label is too long, or there are over 65,535 shots.
    """
    labels = [(label or "").encode() for label in (piece.piece_id, piece.batch)]
    counts, image = piece.counts, piece.image or b""
    shots = 0 if counts is None else len(counts.shots)
    if max(map(len, labels)) > LABEL_BYTES or shots > 0xFFFF:
        raise WireError(f"piece {piece.number}: at most {LABEL_BYTES} bytes a label and 65,535 shots")
    kind = 1 if counts is not None and counts.shots.dtype == np.uint16 else 0
    number = 0 if counts is None else counts.axis.number
    sizes = (len(image), shots, kind, len(labels[0]), len(labels[1]))
    head = _PIECE.pack(PIECE, number, piece.number, piece.deadline_ms or 0.0, *sizes, piece.mass_g or 0.0)
    body = b"" if counts is None else np.ascontiguousarray(counts.shots, KINDS[kind]).tobytes()
    return b"".join((head, body, image, *labels))


def decode_piece(message: bytes, axes: Mapping[int, Axis]) -> PieceMessage:
    """A message as a piece; its counts stay where they are.

    Raises:
        WireError: its length is not what it says, or its axis is not known.
    """
    if len(message) < _PIECE.size:
        raise WireError(f"a piece message of {len(message)} bytes, its head alone has {_PIECE.size}")
    _, axis_number, number, deadline_ms, *sizes, mass_g = _PIECE.unpack_from(message)
    image_bytes, shots, kind, id_bytes, batch_bytes = sizes
    axis = axes.get(axis_number)
    if shots and axis is None:
        known = ", ".join(map(str, axes)) or "none"
        raise WireError(f"axis {axis_number} is not known, there are {known}: send it first")
    if kind >= len(KINDS):
        raise WireError(f"counts of kind {kind}, must be 0 (float32) or 1 (uint16)")
    channels = axis.wavelength_nm.size if axis is not None and shots else 0
    counted = shots * channels * KINDS[kind].itemsize
    _require_length("a piece", message, _PIECE.size + counted + image_bytes + id_bytes + batch_bytes)
    counts = None
    if axis is not None and shots:
        flat = np.frombuffer(message, KINDS[kind], shots * channels, _PIECE.size)
        counts = Counts(axis, flat.reshape(shots, channels))
    at = _PIECE.size + counted
    image = message[at : at + image_bytes] if image_bytes else None
    at += image_bytes
    try:
        piece_id, batch = message[at : at + id_bytes].decode(), message[at + id_bytes :].decode()
    except UnicodeDecodeError:
        raise WireError("piece_id and batch must be text in UTF-8") from None
    if not 0 <= deadline_ms < float("inf"):
        raise WireError(f"deadline_ms {deadline_ms} must be positive, or 0 for the service's own")
    if not 0 <= mass_g < float("inf"):
        raise WireError(f"mass_g {mass_g} must be positive, or 0 where it is unknown")
    return PieceMessage(
        number, counts, image, deadline_ms or None, piece_id or None, batch or None, mass_g or None
    )


def number_of(message: bytes) -> int | None:
    """The line's number of a piece in a message that may be broken; None where it cannot be told."""
    if message[:4] != PIECE or len(message) < _PIECE.size:
        return None
    number: int = _PIECE.unpack_from(message)[2]
    return number


def encode_answer(number: int, record: Record, outlets: dict[str, int]) -> bytes:
    """A record as a message; `outlets` numbers those of the greeting."""
    said, decision = record.assessment, record.decision
    flags = (
        _EJECT * decision.eject
        | _ACCEPTED * decision.accepted
        | _ALUMINIUM * decision.accepted_as_aluminium
        | _NOVEL * decision.novel
    )
    family = NOBODY if decision.family is None else FAMILIES.index(decision.family)
    surface = None if said is None else said.surface
    piece_id, reason = record.piece_id.encode()[:LABEL_BYTES], decision.reason.encode()[:LABEL_BYTES]
    head = _ANSWER.pack(
        ANSWER,
        STATUSES.index(record.status),
        flags,
        family,
        outlets.get(decision.outlet, NOBODY),
        number,
        record.timing.total_ms,
        record.timing.waiting_ms,
        _NAN if said is None else said.novelty,
        _NAN if surface is None else surface,
        to_bits(record.quality),
        len(piece_id),
        len(reason),
    )
    numbers = _NOTHING
    if said is not None:
        numbers = b"".join(
            part.astype("<f4", copy=False).tobytes()
            for part in (said.probabilities, said.composition, said.composition_sigma)
        )
    return b"".join((head, numbers, piece_id, reason))


def decode_answer(message: bytes) -> StreamAnswer:
    """A message as an answer.

    Raises:
        WireError: it is none.
    """
    if message[:4] != ANSWER or len(message) < _ANSWER.size + 4 * _NUMBERS:
        raise WireError(f"{message[:4]!r} with {len(message)} bytes is no answer")
    (
        _,
        status,
        flags,
        family,
        outlet,
        number,
        total_ms,
        waiting_ms,
        novelty,
        surface,
        quality,
        id_bytes,
        _,
    ) = _ANSWER.unpack_from(message)
    numbers = np.frombuffer(message, "<f4", _NUMBERS, _ANSWER.size)
    families, elements = len(FAMILIES), len(ELEMENTS)
    text = message[_ANSWER.size + 4 * _NUMBERS :]
    return StreamAnswer(
        number=number,
        status=STATUSES[status],
        eject=bool(flags & _EJECT),
        outlet=outlet,
        family=None if family == NOBODY else FAMILIES[family],
        accepted=bool(flags & _ACCEPTED),
        accepted_as_aluminium=bool(flags & _ALUMINIUM),
        novel=bool(flags & _NOVEL),
        novelty=novelty,
        surface=None if surface != surface else surface,
        quality=from_bits(quality),
        piece_id=text[:id_bytes].decode(errors="replace"),
        reason=text[id_bytes:].decode(errors="replace"),
        total_ms=total_ms,
        waiting_ms=waiting_ms,
        probabilities=numbers[:families],
        composition=numbers[families : families + elements],
        composition_sigma=numbers[families + elements :],
    )


def _require_length(what: str, message: bytes, expected: int) -> None:
    if len(message) != expected:
        raise WireError(f"{what} message of {len(message)} bytes, its head says {expected}")
