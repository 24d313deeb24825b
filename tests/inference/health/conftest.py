"""Pieces of one simulated plant, taken the whole way by the shipped bundle, as they are and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alloysort_datasets.piece import Piece, sensed
from alloysort_datasets.readers.picture import decode_picture
from alloysort_datasets.simulate import Simulation, open_batch, simulate_batch
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.pipeline import Arrival, Classifier, Ready, Upload, open_classifier
from alloysort_inference.record import Record
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.inputs import Features

PIECES = 80
Taken = list[tuple[Record, Features]]


@dataclass(frozen=True, eq=False)
class Plant:
    """Its pieces, its instruments and the classifier that sorts them."""

    pieces: Sequence[Piece]
    instruments: dict[str, Any]
    classifier: Classifier

    @property
    def grid(self) -> Grid:
        return self.classifier.engine.bundle.grid

    def take(
        self,
        light: Callable[[Spectrum], Spectrum | None] = lambda spectrum: spectrum,
        look: Callable[[NDArray[np.uint8]], NDArray[np.uint8] | None] = lambda rgb: rgb,
    ) -> Taken:
        """Every piece once, its spectrum and its picture changed."""
        ready = []
        for piece in self.pieces:
            spectrum, image = sensed(piece, self.instruments), None
            spectrum = None if spectrum is None else light(spectrum)
            if piece.image is not None:
                rgb = look(decode_picture(piece.image, "picture").rgb)
                image = None if rgb is None else Upload("picture", _png(rgb))
            if spectrum is None and image is None:
                continue
            one = self.classifier.ready(Arrival(spectrum, image, piece.piece_id, piece.batch))
            assert isinstance(one, Ready)
            ready.append(one)
        records = self.classifier.assess(ready)
        return [(record, one.prepared.features) for record, one in zip(records, ready, strict=True)]


def _png(rgb: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))[1].tobytes()


@pytest.fixture(scope="session")
def plant() -> Plant:
    simulation = Simulation(pieces=PIECES, seed=2, units=1)
    pieces = [piece for batch in range(simulation.batches) for piece in simulate_batch(simulation, batch)]
    instrument = open_batch(simulation, 0).instrument
    return Plant(pieces, {instrument.name: instrument}, open_classifier(None, "twitch"))


@pytest.fixture(scope="session")
def well(plant: Plant) -> Taken:
    return plant.take()


def drawn(taken: Taken, count: int, seed: int) -> Iterator[tuple[Record, Features]]:
    """A stream of any length: pieces drawn again and again."""
    for at in np.random.default_rng(seed).integers(len(taken), size=count):
        yield taken[at]


@pytest.fixture(scope="session")
def draw() -> Callable[[Taken, int, int], Iterator[tuple[Record, Features]]]:
    return drawn
