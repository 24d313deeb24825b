from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from alloysort_datasets.errors import DataError
from alloysort_datasets.piece import Instrument, Piece
from alloysort_inference.demo import Stream, paced, run_demo


@pytest.fixture(scope="module")
def instruments(make_shots):
    return {"rig": Instrument("rig", make_shots(395.0)[0], resolution_nm=1.4)}


@pytest.fixture(scope="module")
def pieces(make_shots, make_picture):
    shots = make_shots(395.0)[1]
    return [
        Piece("p1", "demo", "b", family="6xxx", spectra=shots, instrument="rig", image=make_picture()),
        Piece("p2", "demo", "b", spectra=shots, instrument="rig", mass_g=3.5),
        Piece("p3", "demo", "b", family="zinc"),
    ]


def test_every_piece_is_brought_once_as_a_line_would_send_it(pieces, instruments):
    brought = []
    stream = Stream("three", pieces, instruments, 1000.0)
    assert run_demo(stream, lambda *what: brought.append(what), threading.Event()) == 3
    assert [family for _, family in brought] == ["6xxx", None, "zinc"]
    first, second, third = (arrival for arrival, _ in brought)
    assert (first.piece_id, first.batch, second.mass_g) == ("p1", "b", 3.5)
    assert np.array_equal(first.spectrum.shots, pieces[0].spectra)
    assert third.spectrum is third.image is None


def test_it_stops_between_two_pieces_when_told(pieces, instruments):
    stop, brought = threading.Event(), []

    def bring(arrival, family):
        brought.append(arrival)
        if len(brought) == 5:
            stop.set()

    assert run_demo(Stream("endless", itertools.cycle(pieces), instruments, 1000.0), bring, stop) == 5


def test_it_keeps_the_rate(pieces):
    start = time.monotonic()
    assert len(list(paced(itertools.islice(itertools.cycle(pieces), 11), 100, threading.Event()))) == 11
    assert time.monotonic() - start >= 0.099


def test_a_stopped_stream_gives_nothing(pieces):
    stop = threading.Event()
    stop.set()
    assert list(paced(pieces, 100, stop)) == []


def test_an_unknown_instrument_ends_it(instruments):
    stranger = Piece("p", "demo", "b", spectra=np.ones((1, 5), np.float32), instrument="other")
    with pytest.raises(DataError, match=r"instrument 'other' is none of \['rig'\]"):
        run_demo(Stream("strangers", [stranger], instruments, 10.0), lambda *_: None, threading.Event())
