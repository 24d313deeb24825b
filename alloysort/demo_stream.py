"""The demonstration's endless stream of simulated pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

from alloysort_datasets.piece import Instrument, Piece
from alloysort_datasets.simulate import BATCH_PIECES, Simulation, open_batch, simulate_batch

# One plant with one spectrometer; no seed a training table is likely to have.
DEMO = Simulation(pieces=BATCH_PIECES * 10**6, seed=20_261_123, preset="broadband", mix="zorba")


def open_stream() -> tuple[Iterator[Piece], Mapping[str, Instrument]]:
    """Simulated pieces without end, and the instruments behind them, which appear as the stream goes on."""
    instruments: dict[str, Instrument] = {}

    def pieces() -> Iterator[Piece]:
        for batch in count():
            instrument = open_batch(DEMO, batch).instrument
            instruments[instrument.name] = instrument
            yield from simulate_batch(DEMO, batch)

    return pieces(), instruments
