from __future__ import annotations

import numpy as np
import pytest

from alloysort_inference.doors.oip.pieces import read_pieces
from alloysort_inference.doors.oip.tensors import InferRequest, Tensor
from alloysort_inference.doors.stream.wire import Axis

AXES = {3: Axis(3, np.linspace(200.0, 900.0, 16), 4095.0)}


def request_of(*tensors, **parameters):
    return InferRequest(None, parameters, {tensor.name: tensor for tensor in tensors}, None, False)


def image():
    return Tensor("image", "BYTES", np.array([b"file"], object))


@pytest.mark.parametrize(
    ("parameters", "deadline_ms"),
    [
        ({}, None),
        ({"deadline_ms": 25}, 25.0),
        ({"timeout": 2500}, 2.5),
        ({"deadline_ms": 25, "timeout": 9}, 25.0),
    ],
)
def test_a_deadline_is_in_milliseconds_and_a_timeout_in_microseconds(parameters, deadline_ms):
    assert read_pieces(request_of(image(), **parameters), {}, 0.0).deadline_ms == deadline_ms


def test_the_clock_of_every_piece_starts_when_the_body_was_there():
    files = Tensor("image", "BYTES", np.array([b"a", b"b"], object))
    pieces = read_pieces(request_of(files), {}, 12.5)
    assert [arrival.arrived_s for arrival in pieces.arrivals] == [12.5, 12.5]


def test_a_named_axis_brings_its_ceiling():
    counts = Tensor("counts", "UINT16", np.arange(96, dtype=np.uint16).reshape(2, 3, 16))
    axis = Tensor("axis", "INT64", np.array([3]))
    ceilings = Tensor("saturation_counts", "FP64", np.array([100.0, np.inf]))
    for tensors, expected in (
        ((counts, axis), [4095.0, 4095.0]),
        ((counts, axis, ceilings), [100.0, np.inf]),
    ):
        spectra = [one.spectrum.decode() for one in read_pieces(request_of(*tensors), AXES, 0.0).arrivals]
        assert [spectrum.saturation_counts for spectrum in spectra] == expected
        assert spectra[1].shots.tolist() == counts.values[1].tolist()


@pytest.mark.parametrize(("told", "masses_g"), [([25.0], [25.0, 25.0]), ([0.0, 7.5], [None, 7.5])])
def test_a_mass_is_one_for_all_or_one_each_and_zero_is_unknown(told, masses_g):
    files = Tensor("image", "BYTES", np.array([b"a", b"b"], object))
    pieces = read_pieces(request_of(files, Tensor("mass_g", "FP64", np.array(told))), {}, 0.0)
    assert [arrival.mass_g for arrival in pieces.arrivals] == masses_g


def test_counts_beyond_float32_are_left_to_the_rules_of_a_spectrum():
    counts = Tensor("counts", "FP64", np.full(16, 1e300))
    (arrival,) = read_pieces(request_of(counts, Tensor("axis", "INT64", np.array([3]))), AXES, 0.0).arrivals
    with pytest.raises(Exception, match=r"counts\[0\]\[0\] is inf, must be a finite number"):
        arrival.spectrum.decode()
