"""The ways in beside multipart and a lone JSON piece: axes named once, piece messages, batches, deadlines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from alloysort_inference.doors.settings import Settings
from alloysort_inference.doors.stream.wire import Axis, Counts, PieceMessage, encode_axis, encode_piece

AXIS_NM = np.linspace(200.0, 900.0, 1024)
PIECE = {"content-type": "application/vnd.alloysort.piece"}
PIECES = {"content-type": "application/vnd.alloysort.pieces"}
AXIS = {"content-type": "application/vnd.alloysort.axis"}


@pytest.fixture(scope="module")
def client(bundle, running) -> Iterator[httpx.Client]:
    with running(Settings(bundle=bundle.path)) as client:
        yield client


@pytest.fixture(scope="module")
def axis(client: httpx.Client) -> Axis:
    told = client.post("/v1/axes", json={"wavelength_nm": AXIS_NM.tolist(), "saturation_counts": 60_000})
    assert told.json() == {"axis": 1, "channels": 1024}
    return Axis(told.json()["axis"], AXIS_NM)


def shots_at(nm: float, height: float = 20_000.0) -> np.ndarray:
    noise = np.random.default_rng(0).normal(100.0, 2.0, (2, AXIS_NM.size))
    return (noise + height * np.exp(-0.5 * ((AXIS_NM - nm) / 2.0) ** 2)).astype(np.float32)


def ok(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def test_the_same_axis_gets_the_same_number_in_either_form(client: httpx.Client, axis: Axis) -> None:
    again = ok(client.post("/v1/axes", content=encode_axis(Axis(0, AXIS_NM, 60_000.0)), headers=AXIS))
    assert again["axis"] == axis.number
    other = ok(client.post("/v1/axes", json={"wavelength_nm": (AXIS_NM + 1).tolist()}))
    assert other["axis"] != axis.number
    wrong = client.post("/v1/axes", json={"wavelength_nm": AXIS_NM[::-1].tolist()})
    assert (wrong.status_code, "increase strictly" in wrong.text) == (422, True)


def test_a_piece_message_on_a_registered_axis(client: httpx.Client, axis: Axis) -> None:
    message = encode_piece(
        PieceMessage(1, Counts(axis, shots_at(395.0)), None, piece_id="p", deadline_ms=5000.0)
    )
    answer = ok(client.post("/v1/classify", content=message, headers=PIECE))
    assert (answer["piece_id"], answer["family"], answer["status"]) == ("p", "6xxx", "decided")
    full = encode_piece(PieceMessage(1, Counts(axis, shots_at(395.0, 70_000.0)), None))
    assert "saturated" in ok(client.post("/v1/classify", content=full, headers=PIECE))["quality"]
    strange = encode_piece(PieceMessage(1, Counts(Axis(77, AXIS_NM), shots_at(395.0)), None))
    refused = client.post("/v1/classify", content=strange, headers=PIECE)
    assert (refused.status_code, "axis 77 is not known" in refused.text) == (400, True)


def test_json_names_an_axis_a_ceiling_and_a_deadline(client: httpx.Client, axis: Axis) -> None:
    counts = shots_at(395.0).tolist()
    assert ok(client.post("/v1/classify", json={"axis": axis.number, "counts": counts}))["family"] == "6xxx"
    low = {"axis": axis.number, "counts": counts, "saturation_counts": 15_000}
    assert "saturated" in ok(client.post("/v1/classify", json=low))["quality"]
    late = ok(client.post("/v1/classify", json={"axis": axis.number, "counts": counts, "deadline_ms": 0.001}))
    assert (late["status"], late["family"], late["probabilities"]) == ("late", None, {})
    assert late["reason"].startswith("late: ")
    assert (
        ok(client.post("/v1/classify?deadline_ms=0.001", json={"axis": 1, "counts": counts}))["status"]
        == "late"
    )
    wrong = client.post("/v1/classify?deadline_ms=-1", json={"axis": 1, "counts": counts})
    assert (wrong.status_code, "deadline_ms: " in wrong.json()["detail"]) == (422, True)
    both = client.post("/v1/classify", json={"axis": 1, "wavelength_nm": AXIS_NM.tolist(), "counts": counts})
    assert both.status_code == 400


def test_multipart_takes_a_ceiling_and_a_deadline(client: httpx.Client, make_csv) -> None:
    files = {"spectrum": ("a.csv", make_csv(395.0))}
    low = ok(
        client.post("/v1/classify", files=files, data={"saturation_counts": "500", "deadline_ms": "9000"})
    )
    assert "saturated" in low["quality"]
    wrong = client.post("/v1/classify", files=files, data={"deadline_ms": "soon"})
    assert (wrong.status_code, "deadline_ms 'soon' must be a positive number" in wrong.text) == (400, True)


def test_a_refused_piece_still_says_what_the_valve_does(client: httpx.Client, axis: Axis) -> None:
    broken = shots_at(395.0)
    broken[1, 3] = np.inf
    message = encode_piece(PieceMessage(1, Counts(axis, broken), None, piece_id="p"))
    response = client.post("/v1/classify", content=message, headers=PIECE)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    said = response.json()
    assert (said["piece_id"], said["eject"]) == ("p", False)
    assert said["outlet"]
    assert "counts[1][3] is inf" in said["detail"]


@pytest.mark.parametrize("binary", [False, True])
def test_many_pieces_at_once(client: httpx.Client, axis: Axis, binary: bool) -> None:
    kinds = [(395.0, "6xxx"), (327.0, "copper"), (510.0, "cast-AlSiCu")] * 3
    if binary:
        messages = [encode_piece(PieceMessage(1, Counts(axis, shots_at(nm)), None)) for nm, _ in kinds]
        messages.insert(2, encode_piece(PieceMessage(1, None, b"no picture")))
        body = b"".join(len(message).to_bytes(4, "little") + message for message in messages)
        response = client.post("/v1/classify/batch", content=body, headers=PIECES)
    else:
        pieces: list[dict[str, Any]] = [{"axis": 1, "counts": shots_at(nm).tolist()} for nm, _ in kinds]
        pieces.insert(2, {"image_base64": "aGVsbG8="})
        response = client.post("/v1/classify/batch", json={"pieces": pieces})
    answers = ok(response)["answers"]
    refused = answers.pop(2)
    assert (refused["status"], refused["family"]) == ("refused", None)
    assert [answer["family"] for answer in answers] == [family for _, family in kinds]


@pytest.mark.parametrize(
    ("body", "headers", "complaint"),
    [
        (b"", PIECES, "0 pieces, must be 1 to 256"),
        ((99).to_bytes(4, "little") + b"ASP2", PIECES, "message 0 of 99 bytes is cut off"),
        (json.dumps({"pieces": []}).encode(), {"content-type": "application/json"}, "pieces"),
        (json.dumps({"pieces": [{"axis": 9, "counts": [1]}]}).encode(), {"content-type": "application/json"},
         "pieces.0: axis 9"),
        (json.dumps({"pieces": [{"colour": 9}]}).encode(), {"content-type": "application/json"},
         "there are wavelength_nm"),
    ],
)  # fmt: skip
def test_bad_batches(client: httpx.Client, body: bytes, headers: dict[str, str], complaint: str) -> None:
    response = client.post("/v1/classify/batch", content=body, headers=headers)
    assert (response.status_code, complaint in response.json()["detail"]) == (400, True), response.text
