from __future__ import annotations

import io
import itertools
import json
import threading
import time

import numpy as np
import pytest
from rich.console import Console

from alloysort_datasets.errors import DataError
from alloysort_datasets.piece import Instrument, Piece
from alloysort_inference.demo import Tally, paced, run_demo
from alloysort_inference.log.store import DecisionLog


@pytest.fixture(scope="module")
def instruments(make_shots):
    axis, _ = make_shots(395.0)
    return {"rig": Instrument("rig", axis, resolution_nm=1.4)}


@pytest.fixture(scope="module")
def pieces(make_shots, make_picture):
    al, cu = make_shots(395.0)[1], make_shots(327.0)[1]
    return [
        Piece("p1", "demo", "b", family="6xxx", spectra=al, instrument="rig", image=make_picture()),
        Piece("p2", "demo", "b", family="copper", spectra=cu, instrument="rig"),
        Piece("p3", "demo", "b", family="steel", image=make_picture((220, 60, 60))),
        Piece("p4", "demo", "b", spectra=al, instrument="rig"),
        Piece("p5", "demo", "b", family="zinc"),
        Piece("p6", "demo", "b", family="zinc", image=b"broken"),
    ]


def demo(classifier, pieces, instruments, *, terminal=False, stop=None, rate=1000.0, **options):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    tally = run_demo(classifier, pieces, instruments, rate, console, stop or threading.Event(), **options)
    return tally, out.getvalue()


def test_every_piece_is_counted_once(classifier, pieces, instruments):
    tally, _ = demo(classifier, pieces, instruments)
    assert (tally.pieces, tally.refused, tally.known, tally.right) == (6, 2, 3, 2)
    assert dict(tally.outlets) == {"wrought": 2, "rest": 4}
    assert tally.accuracy == pytest.approx(2 / 3)
    assert tally.latency_ms(50) > 0


def test_a_pipe_gets_plain_lines(classifier, pieces, instruments):
    _, said = demo(classifier, pieces, instruments)
    assert said.count("\n") == 1
    assert said.startswith("demo: 6 pieces, ")
    assert "right of these 66.7 %" in said
    assert "rest 4, wrought 2" in said
    assert "\x1b" not in said


def test_a_terminal_gets_a_table(classifier, pieces, instruments):
    _, said = demo(classifier, pieces, instruments, terminal=True, title="tiny, wrought-cast")
    for part in ("tiny, wrought-cast", "outlet", "sure", "6xxx", "p50"):
        assert part in said


def test_it_stops_between_two_pieces_when_told(classifier, pieces, instruments):
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    tally, _ = demo(classifier, itertools.cycle(pieces), instruments, stop=stop)
    assert tally.pieces > 0


def test_it_keeps_the_rate(pieces):
    start = time.monotonic()
    assert len(list(paced(itertools.islice(itertools.cycle(pieces), 11), 100, threading.Event()))) == 11
    assert time.monotonic() - start >= 0.099


def test_a_stopped_stream_gives_nothing(pieces):
    stop = threading.Event()
    stop.set()
    assert list(paced(pieces, 100, stop)) == []


def test_an_unknown_instrument_ends_it(classifier, instruments):
    stranger = Piece("p", "demo", "b", spectra=np.ones((1, 5), np.float32), instrument="other")
    with pytest.raises(DataError, match=r"instrument 'other' is none of \['rig'\]"):
        demo(classifier, [stranger], instruments)


def test_decisions_are_logged(classifier, pieces, instruments, tmp_path):
    with DecisionLog(tmp_path / "log") as log:
        demo(classifier, pieces, instruments, log=log)
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [record["piece_id"] for record in records] == ["p1", "p2", "p3", "p4"]


def test_an_empty_tally_has_figures():
    assert "0 pieces, 0.0/s, accepted unknown, right of these unknown" in Tally().line()
