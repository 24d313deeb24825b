"""The demonstration: pieces, brought to the service at a steady rate as a line would bring them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter

from alloysort_datasets.piece import Instrument, Piece, instrument_of, sensed
from alloysort_inference.pipeline import Arrival, Upload

Bring = Callable[[Arrival, str | None], None]


@dataclass(frozen=True)
class Stream:
    """What a demonstration sorts.

    Attributes:
        name: what the pieces are.
        pieces: may be endless.
        instruments: by name, as the pieces name them.
        rate_per_s: pieces a second.
    """

    name: str
    pieces: Iterable[Piece]
    instruments: Mapping[str, Instrument]
    rate_per_s: float


def run_demo(stream: Stream, bring: Bring, stop: threading.Event) -> int:
    """Bring pieces at a steady rate until they end or `stop` is set; returns how many.

    Args:
        stream: the pieces; one that takes long to come slows the demonstration, it is never skipped.
        bring: gets each piece, and its family where that is known; must not take long.
        stop: ends the demonstration between two pieces.

    Raises:
        DataError: a piece names an instrument that is not given, or does not fit it.
    """
    count = 0
    for piece in paced(stream.pieces, stream.rate_per_s, stop):
        bring(arrival_of(piece, stream.instruments), piece.family)
        count += 1
    return count


def arrival_of(piece: Piece, instruments: Mapping[str, Instrument]) -> Arrival:
    """A piece as a line would send it.

    Raises:
        DataError: it names an instrument that is not given, or does not fit it.
    """
    instrument_of(piece, instruments)
    image = None if piece.image is None else Upload(f"image of {piece.piece_id}", piece.image)
    spectrum = sensed(piece, instruments)
    return Arrival(spectrum, image, piece.piece_id, piece.batch, mass_g=piece.mass_g)


def paced(pieces: Iterable[Piece], rate_per_s: float, stop: threading.Event) -> Iterator[Piece]:
    """The pieces, no faster than the rate; a late one does not make the next hurry."""
    due_s = perf_counter()
    for piece in pieces:
        if stop.wait(max(0.0, due_s - perf_counter())):
            return
        yield piece
        due_s = max(due_s + 1 / rate_per_s, perf_counter())
