"""The demonstration's endless stream of simulated pieces, made in a process of its own.

A line's camera and laser do not compute on the cores that decide; beside the service, the simulator would.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from itertools import count
from multiprocessing.queues import Queue
from queue import Empty
from typing import Final

from alloysort_datasets.errors import DataError
from alloysort_datasets.piece import Instrument, Piece
from alloysort_datasets.simulate import BATCH_PIECES, Simulation, open_batch, simulate_batch

# One plant with one spectrometer; no seed a training table is likely to have.
DEMO: Final = Simulation(
    pieces=BATCH_PIECES * 10**6, seed=20_261_123, preset="broadband", mix="zorba", units=1
)
AHEAD: Final = 40  # pieces
NICE: Final = 10
WAIT_S: Final = 1.0


def open_stream() -> tuple[Iterator[Piece], Mapping[str, Instrument]]:
    """Simulated pieces without end, and the instruments behind them."""
    instrument = open_batch(DEMO, 0).instrument
    return _pieces(), {instrument.name: instrument}


def _pieces() -> Iterator[Piece]:
    context = multiprocessing.get_context("spawn")
    made: Queue[Piece] = context.Queue(AHEAD)
    maker = context.Process(target=_make, args=(made,), name="simulator", daemon=True)
    maker.start()
    try:
        while True:
            try:
                yield made.get(timeout=WAIT_S)
            except Empty:
                if not maker.is_alive():
                    raise DataError("the simulator has ended") from None
    finally:
        maker.terminate()
        maker.join()


def _make(made: Queue[Piece]) -> None:
    if hasattr(os, "nice"):
        os.nice(NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service ends it
    for batch in count():
        for piece in simulate_batch(DEMO, batch):
            made.put(piece)
