"""Requests as belts, controllers and the networks between them send them."""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib

import pytest

from alloysort_inference.doors.settings import Settings

JSON = {"content-type": "application/json"}
MULTIPART = {"content-type": "multipart/form-data; boundary=X"}
LIMIT = 2_000_000


@pytest.fixture(scope="module")
def client(running, bundle):
    with running(Settings(bundle=bundle.path, threads=1, max_body_mb=LIMIT // 1_000_000)) as client:
        yield client


@pytest.fixture(scope="module")
def piece(make_shots):
    axis, shots = make_shots(395.0)
    return {"wavelength_nm": axis.tolist(), "counts": shots.tolist()}


def problem_of(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    return response.json()["detail"]


def send(client, body, **headers):
    return client.post("/v1/classify", content=body, headers=JSON | headers)


def test_a_load_balancer_may_ask_for_heads_only(client):
    for path in ("/healthz", "/readyz"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("OPTIONS", "/healthz", "GET, HEAD"),
        ("POST", "/readyz", "GET, HEAD"),
        ("OPTIONS", "/v1/classify", "POST"),
        ("DELETE", "/v1/model", "GET"),
        ("POST", "/docs", "GET"),
    ],
)
def test_another_method_is_told_all_that_are_taken(client, method, path, allowed):
    answer = client.request(method, path)
    assert problem_of(answer, 405) == f"{path} takes {allowed}, not {method}"
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_pages_of_the_interface_load_nothing_from_outside(client, path):
    page = client.get(path).raise_for_status().text
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+", page)
    assets = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert assets
    for asset in assets:
        assert client.get(asset).status_code == 200


@pytest.mark.parametrize(
    "mark", ["utf-8''St%C3%BCck%207.csv", "UTF-8'de'%E2%82%AC.csv", "iso-8859-1'en'St%FCck"]
)
def test_a_part_with_only_an_encoded_filename_is_a_file(client, make_csv, mark):
    head = f'--X\r\nContent-Disposition: form-data; name="spectrum"; filename*={mark}\r\n\r\n'
    body = head.encode() + make_csv(395.0) + b"\r\n--X--\r\n"
    answer = client.post("/v1/classify", content=body, headers=MULTIPART)
    assert answer.raise_for_status().json()["family"] == "6xxx"


def packed(data):
    """In gzip without the time of day, for the names of tests are made of it."""
    return gzip.compress(data, mtime=0)


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:]) + b"\0" * 9),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
        ("", bytes),
    ],
)
def test_a_packed_body_is_unpacked(client, piece, encoding, pack):
    said = send(client, pack(json.dumps(piece).encode()), **{"content-encoding": encoding})
    assert said.raise_for_status().json()["family"] == "6xxx"


def test_packed_parts_are_unpacked(client, make_csv):
    request = client.build_request("POST", "/v1/classify", files={"spectrum": make_csv(395.0)})
    headers = {"content-type": request.headers["content-type"], "content-encoding": "gzip"}
    answer = client.post("/v1/classify", content=gzip.compress(request.read()), headers=headers)
    assert answer.raise_for_status().json()["family"] == "6xxx"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the gzip body is cut off before its end"),
        (b"{}", "no sound gzip"),
        (packed(b"{}" * 999)[:-4], "cut off before its end"),
        (packed(b"{}" * 999)[:-8] + b"\1" * 8, "no sound gzip"),
        (packed(b"{}") + b"more", "no sound gzip"),
        (packed(b"") * 17, "over 16 packed streams"),
    ],
)
def test_a_damaged_packed_body_is_named(client, body, says):
    assert says in problem_of(send(client, body, **{"content-encoding": "gzip"}), 400)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", raw_deflate)])
def test_a_packed_body_counts_as_it_unpacks(client, encoding, pack):
    packed = {"content-encoding": encoding}
    detail = problem_of(send(client, pack(b" " * (LIMIT + 1)), **packed), 413)
    assert detail == "the unpacked body is over 2 MB (max_body_mb)"
    problem_of(send(client, pack(b" " * LIMIT), **packed), 400)
    bomb = gzip.compress(b" " * LIMIT) + gzip.compress(b" ")
    problem_of(send(client, bomb, **{"content-encoding": "gzip"}), 413)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
def test_another_packing_is_refused_with_those_that_are_taken(client, encoding):
    answer = send(client, b"{}", **{"content-encoding": encoding})
    detail = problem_of(answer, 415)
    assert detail == (
        f"Content-Encoding {encoding!r} is not taken: send the body plain, in gzip or in deflate"
    )
    assert answer.headers["accept-encoding"] == "gzip, deflate"


def test_json_may_begin_with_a_byte_order_mark(client, piece):
    assert send(client, json.dumps(piece).encode("utf-8-sig")).raise_for_status().json()["family"] == "6xxx"


@pytest.mark.parametrize(
    "head", ["data:image/jpeg;base64,", "data:image/png;base64,", "DATA:image/JPEG;BASE64,"]
)
def test_a_picture_may_be_a_data_url(client, make_picture, head):
    text = head + base64.b64encode(make_picture()).decode()
    assert (
        "no_spectrum" in send(client, json.dumps({"image_base64": text})).raise_for_status().json()["quality"]
    )


def test_a_data_url_of_something_else_is_refused(client):
    for head in ("data:text/plain;base64,", "data:image/jpeg,"):
        assert "not base64" in problem_of(send(client, json.dumps({"image_base64": head + "aGVsbG8="})), 400)


def test_whole_numbers_as_labels_are_their_text(client, piece):
    said = send(client, json.dumps(piece | {"piece_id": 70_000_000_000_000_000_001, "batch": 0}))
    assert said.raise_for_status().json()["piece_id"] == "70000000000000000001"


@pytest.mark.parametrize("label", ["true", "1.5", "[1]", "{}", "9" * 201])
def test_other_labels_are_refused_by_key(client, label):
    body = f'{{"image_base64": "", "piece_id": {label}}}'
    assert problem_of(send(client, body), 400).startswith("piece_id")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            b"no boundary in here",
            "does not begin with --X (the boundary that the Content-Type header names) and CR LF",
        ),
        (b"--Y\r\n\r\n", "does not begin with --X"),
        (b"--X\r\nContent Disposition\r\n\r\n", "part 1 is malformed: a part is its boundary, headers as"),
        (b"--X\r\nA: b\rc\r\n", "part 1 is malformed"),
        (b"--X\r\n: b\r\n", "part 1 is malformed"),
        (b"--X\r\n\r\n1\r\n--X--", "a part without a name in its Content-Disposition header"),
        (b"--X\nContent-Disposition: form-data\n\n1\n--X--", "and CR LF"),
    ],
)
def test_faults_of_parts_in_plain_words_and_nothing_on_stderr(client, capfd, body, says):
    detail = problem_of(client.post("/v1/classify", content=body, headers=MULTIPART), 400)
    assert detail.startswith("multipart body: ")
    assert says in detail
    assert capfd.readouterr() == ("", "")
