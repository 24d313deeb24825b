"""What a user of the library writes once and puts behind any server: message in, answer out.

The wavelength axis is the line's own and known here from the start: no peer reads it piece by piece.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from alloysort_datasets.spectrum import checked_axis
from alloysort_inference.doors.stream.wire import Axis, decode_piece
from alloysort_inference.pipeline import Arrival, Classifier, Upload, open_classifier
from alloysort_inference.policy.recipe import DEFAULT_RECIPE
from alloysort_inference.record import Record

AXIS: Final = Axis(1, checked_axis(np.linspace(200.0, 900.0, 2048)))
WORKERS: Final = 2  # processes, or threads, that compute
MOST: Final = 8  # pieces in a batch, where the server makes batches
WAIT_S: Final = 0.001  # for a batch to fill


def open_warm() -> Classifier:
    """The newest released model, warm; one thread inside a run, no spinning."""
    classifier = open_classifier(None, DEFAULT_RECIPE)
    classifier.warm_up()
    return classifier


def arrival_of(message: bytes) -> Arrival:
    """A piece message as a piece."""
    piece = decode_piece(message, {AXIS.number: AXIS})
    return Arrival(piece.counts, None if piece.image is None else Upload("image", piece.image))


def answer_of(record: Record) -> dict[str, Any]:
    """What the line is told."""
    said, decision = record.assessment, record.decision
    return {
        "status": record.status,
        "family": decision.family,
        "accepted": decision.accepted,
        "outlet": decision.outlet,
        "eject": decision.eject,
        "probabilities": [] if said is None else said.probabilities.tolist(),
        "composition": [] if said is None else said.composition.tolist(),
    }


def decide(classifier: Classifier, messages: Sequence[bytes]) -> list[dict[str, Any]]:
    """Piece messages as answers, computed as one batch."""
    return [answer_of(record) for record in classifier.sort([arrival_of(one) for one in messages])]


def decide_json(classifier: Classifier, messages: Sequence[bytes]) -> list[bytes]:
    """As `decide`, in JSON."""
    return [json.dumps(answer).encode() for answer in decide(classifier, messages)]


def port() -> int:
    """To listen on, from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    found: int = parser.parse_args().port
    return found
