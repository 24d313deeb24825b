"""The wire format byte by byte: what other languages implement must not move."""

from __future__ import annotations

import contextlib
import struct
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.assessment import Assessment
from alloysort_inference.decision import Decision
from alloysort_inference.doors.stream.wire import (
    Axis,
    Counts,
    PieceMessage,
    WireError,
    decode_answer,
    decode_axis,
    decode_piece,
    encode_answer,
    encode_axis,
    encode_piece,
    number_of,
)
from alloysort_inference.record import Origin, Record, Status, Timing

ONES = np.ones((1, 16), np.float32)
AXIS = Axis(7, np.linspace(200.0, 215.0, 16), 65535.0)


def record(status: Status = "decided") -> Record:
    said = None
    if status == "decided":
        probabilities = np.zeros(len(FAMILIES), np.float32)
        probabilities[5] = 1.0
        composition = np.arange(len(ELEMENTS), dtype=np.float32)
        said = Assessment(probabilities, composition, composition / 2, 0.5, None, "image")
    family = "6xxx" if said else None
    decision = Decision("wrought", True, family, True, True, True, False, "confident: wrought")
    timing = Timing(1.0, 0.25, 0.25, 0.25, 0.25)
    quality = ("saturated", "no_image")
    origin = Origin("b", "0" * 64)
    return Record(
        "p-1",
        None,
        datetime.now(UTC),
        origin,
        origin,
        status,
        said,
        decision,
        quality,
        timing,
    )


def test_the_axis_message() -> None:
    expected = b"ASX1" + struct.pack("<IIId", 7, 16, 0, 65535.0) + AXIS.wavelength_nm.astype("<f8").tobytes()
    assert encode_axis(AXIS) == expected
    back = decode_axis(expected)
    assert (back.number, back.saturation_counts) == (7, 65535.0)
    np.testing.assert_array_equal(back.wavelength_nm, AXIS.wavelength_nm)


@pytest.mark.parametrize(("kind", "dtype"), [(0, "<f4"), (1, "<u2")])
def test_the_piece_message(kind: int, dtype: str) -> None:
    shots = np.arange(32, dtype=dtype).reshape(2, 16)
    piece = PieceMessage(2**40, Counts(AXIS, shots), b"\xff\xd8\xff", 20.0, "p-1", "b-2", 41.5)
    head = b"ASP2" + struct.pack("<IQfIHHHHf", 7, 2**40, 20.0, 3, 2, kind, 3, 3, 41.5)
    expected = head + shots.tobytes() + b"\xff\xd8\xff" + b"p-1" + b"b-2"
    assert encode_piece(piece) == expected
    back = decode_piece(expected, {7: AXIS})
    assert (back.number, back.image, back.deadline_ms) == (2**40, b"\xff\xd8\xff", 20.0)
    assert (back.piece_id, back.batch, back.mass_g) == ("p-1", "b-2", 41.5)
    assert back.counts is not None
    np.testing.assert_array_equal(back.counts.decode().shots, shots)
    assert back.counts.decode().saturation_counts == 65535.0
    assert number_of(expected) == number_of(expected[:40]) == 2**40


def test_a_piece_may_lack_either_sensor_and_all_labels() -> None:
    alone = decode_piece(encode_piece(PieceMessage(1, None, b"jpeg")), {})
    assert (alone.counts, alone.image, alone.deadline_ms, alone.piece_id) == (None, b"jpeg", None, None)
    lit = decode_piece(encode_piece(PieceMessage(1, Counts(AXIS, ONES), None)), {7: AXIS})
    assert lit.image is None


def test_the_answer_message() -> None:
    message = encode_answer(9, record(), {"rest": 0, "wrought": 1})
    head = struct.pack("<BBBBQffff", 0, 1 | 2 | 4, 5, 1, 9, 2.0, 1.0, 0.5, float("nan"))
    assert message[:32] == b"ASA1" + head
    assert struct.unpack_from("<IHH", message, 32) == (1 << 1 | 1 << 7, 3, 18)
    assert len(message) == 40 + 4 * (19 + 13 + 13) + 3 + 18
    answer = decode_answer(message)
    assert (answer.number, answer.status, answer.eject, answer.outlet) == (9, "decided", True, 1)
    assert (answer.family, answer.accepted, answer.novel, answer.surface) == ("6xxx", True, False, None)
    assert answer.quality == ("saturated", "no_image")
    assert (answer.piece_id, answer.reason) == ("p-1", "confident: wrought")
    np.testing.assert_array_equal(answer.composition, np.arange(13))


@pytest.mark.parametrize("status", ["late", "refused"])
def test_an_answer_without_numbers_still_says_what_the_valve_does(status: Status) -> None:
    answer = decode_answer(encode_answer(9, record(status), {}))
    assert (answer.status, answer.eject, answer.family, answer.outlet) == (status, True, None, 255)
    assert np.isnan(answer.probabilities).all()


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (encode_piece(PieceMessage(1, Counts(AXIS, ONES), None))[:-1], "its head says"),
        (encode_piece(PieceMessage(1, None, b"x")) + b"y", "its head says"),
        (b"ASP2" + bytes(10), "its head alone has 36"),
        (encode_piece(PieceMessage(1, Counts(Axis(3, AXIS.wavelength_nm), ONES), None)),
         "axis 3 is not known, there are 7: send it first"),
        (b"ASP2" + struct.pack("<IQfIHHHHf", 7, 1, 0.0, 0, 0, 9, 0, 0, 0.0), "kind 9"),
        (b"ASP2" + struct.pack("<IQfIHHHHf", 7, 1, -1.0, 0, 0, 0, 0, 0, 0.0), "deadline_ms -1.0 must be"),
        (b"ASP2" + struct.pack("<IQfIHHHHf", 7, 1, 0.0, 0, 0, 0, 1, 0, 0.0) + b"\xff", "UTF-8"),
        (b"ASP2" + struct.pack("<IQfIHHHHf", 7, 1, 0.0, 0, 0, 0, 0, 0, -2.0), "mass_g -2.0 must be positive"),
    ],
)  # fmt: skip
def test_a_broken_piece_is_refused_with_a_reason(message: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        decode_piece(message, {7: AXIS})


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (encode_axis(AXIS)[:-8], "its head says"),
        (b"ASX1", "its head alone"),
        (encode_axis(Axis(1, AXIS.wavelength_nm[::-1])), "increase strictly"),
        (encode_axis(Axis(1, AXIS.wavelength_nm, -1.0)), "must be positive"),
    ],
)
def test_a_broken_axis_is_refused_with_a_reason(message: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        decode_axis(message)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(noise: bytes) -> None:
    for head in (b"", b"ASP2", b"ASX1"):
        message = head + noise
        number_of(message)
        for decode in (lambda m: decode_piece(m, {7: AXIS}), decode_axis):
            with contextlib.suppress(DataError):
                decode(message)
