"""The door over a real socket, spoken to in plain HTTP."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import zlib

import httpx
import numpy as np
import pytest

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.doors.intake import QueueFullError
from alloysort_inference.doors.oip.outputs import OUTPUTS
from alloysort_inference.doors.rest.app import create_app
from alloysort_inference.doors.rest.connection import Gate
from alloysort_inference.doors.settings import Settings
from alloysort_inference.log.database import open_database
from alloysort_inference.log.read import read_decisions

DATATYPES = {
    np.dtype("float64"): "FP64",
    np.dtype("float32"): "FP32",
    np.dtype("uint16"): "UINT16",
    np.dtype("uint8"): "UINT8",
    np.dtype("int64"): "INT64",
    np.dtype("int16"): "INT16",
}
INFER = "/v2/models/alloysort/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def log_path(tmp_path_factory):
    return str(tmp_path_factory.mktemp("log") / "decisions.sqlite")


@pytest.fixture(scope="module")
def client(running, bundle, log_path):
    with running(Settings(bundle=bundle.path, threads=1, log=log_path, max_body_mb=2)) as client:
        yield client


def datatype_of(values):
    return DATATYPES.get(values.dtype, "BYTES")


def in_json(**inputs):
    return [
        {
            "name": name,
            "shape": list(values.shape),
            "datatype": datatype_of(values),
            "data": values.ravel().tolist(),
        }
        for name, values in inputs.items()
    ]


def post_json(client, inputs, path=INFER, **more):
    return client.post(path, json={"inputs": inputs, **more})


def in_bytes(inputs, **more):
    """A body and its headers."""
    heads, behind = [], []
    for name, values in inputs.items():
        if values.dtype == object:
            content = b"".join(len(one).to_bytes(4, "little") + one for one in values.ravel())
        else:
            content = values.tobytes()
        parameters = {"binary_data_size": len(content)}
        heads.append(
            {
                "name": name,
                "shape": list(values.shape),
                "datatype": datatype_of(values),
                "parameters": parameters,
            }
        )
        behind.append(content)
    head = json.dumps({"inputs": heads, **more}).encode()
    return b"".join((head, *behind)), {LENGTH: str(len(head))}


def post_bytes(client, more=None, path=INFER, **inputs):
    body, headers = in_bytes(inputs, **(more or {}))
    return client.post(path, content=body, headers=headers)


def outputs_of(response):
    """Output name to its list, from JSON."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return {output["name"]: output["data"] for output in response.json()["outputs"]}


def fault_of(response, status=400):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    said = response.json()
    assert set(said) == {"error"}
    assert said["error"]
    assert "\n" not in said["error"]
    return said["error"]


def objects(*elements):
    values = np.empty(len(elements), object)
    values[:] = elements
    return values


def test_who_answers(client):
    said = client.get("/v2").raise_for_status().json()
    assert (said["name"], said["extensions"]) == ("alloysort", ["binary_tensor_data", "statistics"])
    for path in (
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/tiny/ready",
        "/v2/models/alloysort/versions/1/ready",
    ):
        assert client.get(path).status_code == 200, path


def test_the_model_says_what_goes_in_and_comes_out(client):
    said = client.get("/v2/models/tiny/versions/1").raise_for_status().json()
    assert (said["name"], said["versions"]) == ("tiny", ["1"])
    inputs = {one["name"]: (one["datatype"], one["shape"]) for one in said["inputs"]}
    assert inputs["counts"] == ("FP32", [-1, -1, -1])
    outputs = {one["name"]: (one["datatype"], one["shape"]) for one in said["outputs"]}
    assert outputs["probabilities"] == ("FP32", [-1, len(FAMILIES)])
    assert outputs["composition"] == ("FP32", [-1, len(ELEMENTS)])
    assert outputs["eject"] == ("BOOL", [-1])
    assert said["properties"]["families"].split(",") == list(FAMILIES)
    assert client.get("/v2/models/alloysort").json()["name"] == "alloysort"


def test_index_and_statistics(client, make_shots):
    (known,) = client.post("/v2/repository/index").raise_for_status().json()
    assert known == {"name": "tiny", "version": "1", "state": "READY", "reason": ""}
    axis, shots = make_shots(395.0)
    post_bytes(client, wavelength_nm=axis, counts=shots)
    for path in ("/v2/models/stats", "/v2/models/tiny/stats", "/v2/models/tiny/versions/1/stats"):
        (said,) = client.get(path).raise_for_status().json()["model_stats"]
        assert said["inference_count"] > 0
        assert said["inference_stats"]["success"]["ns"] > said["inference_stats"]["compute_infer"]["ns"] > 0


def test_json_and_bytes_and_the_other_door_say_the_same(client, make_shots, make_picture):
    axis, shots = make_shots(327.0)
    picture = make_picture()
    image = base64.b64encode(picture).decode()
    arrays = in_json(wavelength_nm=axis, counts=shots, image=objects(image))
    by_json = outputs_of(post_json(client, arrays, id="r"))
    by_bytes = outputs_of(post_bytes(client, wavelength_nm=axis, counts=shots[None], image=objects(picture)))
    piece = {"wavelength_nm": axis.tolist(), "counts": shots.tolist(), "image_base64": image}
    said = client.post("/v1/classify", json=piece).raise_for_status().json()
    assert set(by_json) == {output.name for output in OUTPUTS}
    for found in (by_json, by_bytes):
        assert found["probabilities"] == pytest.approx(list(said["probabilities"].values()), abs=1e-6)
        contents = said["composition"].values()
        assert found["composition"] == pytest.approx([one["wt_pct"] for one in contents], abs=1e-5)
        assert found["composition_sigma"] == pytest.approx([one["sigma"] for one in contents], abs=1e-5)
        for name in ("family", "outlet", "eject", "reason", "status", "accepted", "bundle_sha256", "novel"):
            assert found[name] == [said[name]], name
        assert found["surface"] == pytest.approx([said["surface"]])
        assert found["novelty"] == pytest.approx([said["novelty"]])


def test_the_answer_names_model_version_and_request(client, make_shots):
    axis, shots = make_shots(395.0)
    inputs = in_json(wavelength_nm=axis, counts=shots[0])
    said = post_json(client, inputs, "/v2/models/tiny/versions/1/infer", id="r-7").json()
    assert (said["model_name"], said["model_version"], said["id"]) == ("tiny", "1", "r-7")
    assert "id" not in post_json(client, inputs).json()


def test_only_the_outputs_that_are_wanted_as_they_are_wanted(client, make_shots):
    axis, shots = make_shots(395.0)
    outputs = [
        {"name": "eject", "parameters": {"binary_data": True}},
        {"name": "family"},
        {"name": "probabilities", "parameters": {"binary_data": True}},
    ]
    response = post_bytes(client, {"outputs": outputs}, wavelength_nm=axis, counts=shots)
    assert response.headers["content-type"] == "application/octet-stream"
    head_size = int(response.headers[LENGTH])
    head, behind = json.loads(response.content[:head_size]), response.content[head_size:]
    assert [one["name"] for one in head["outputs"]] == ["eject", "family", "probabilities"]
    assert head["outputs"][1]["data"] == ["6xxx"]
    assert head["outputs"][2]["shape"] == [1, len(FAMILIES)]
    assert behind[0] == 1
    assert FAMILIES[int(np.frombuffer(behind[1:], "<f4").argmax())] == "6xxx"


def test_a_batch_keeps_its_order_and_refuses_a_piece_in_its_place(client, make_shots, log_path):
    axis = make_shots()[0]
    shots = np.stack([make_shots(nm)[1] for nm in (395.0, 327.0, 510.0)])
    shots[1, 2, 7] = np.nan
    names = objects(b"a", b"", "ü".encode())
    response = post_bytes(
        client, {"parameters": {"batch": "oip-b"}}, wavelength_nm=axis, counts=shots, piece_id=names
    )
    found = outputs_of(response)
    assert found["family"] == ["6xxx", "", "cast-AlSiCu"]
    assert found["status"] == ["decided", "refused", "decided"]
    assert found["reason"][1] == "refused: counts[2][7] is nan, must be a finite number (1 of 6000 are not)"
    assert (found["piece_id"][0], found["piece_id"][2]) == ("a", "ü")
    assert found["piece_id"][1]
    assert found["outlet"][1]
    assert found["eject"][1] in (True, False)
    assert found["probabilities"][len(FAMILIES) : 2 * len(FAMILIES)] == [-1.0] * len(FAMILIES)
    wanted = {"a", "ü", found["piece_id"][1]}
    logged = set()
    for _ in range(200):
        database = open_database(log_path)
        rows = list(read_decisions(database))
        database.dispose()
        logged = {row["piece_id"] for row in rows if row["batch"] == "oip-b"}
        if logged == wanted:
            break
        asyncio.run(asyncio.sleep(0.02))
    assert logged == wanted


def test_a_late_piece_still_gets_its_outlet(client, make_shots):
    axis, shots = make_shots(395.0)
    for parameters in ({"deadline_ms": 0.001}, {"timeout": 1}):
        found = outputs_of(post_bytes(client, {"parameters": parameters}, wavelength_nm=axis, counts=shots))
        assert (found["status"], found["family"], found["novelty"]) == (["late"], [""], [-1.0])
        assert found["outlet"] == ["rest"]
        assert found["reason"][0].startswith("late: ")
    wanted = [{"name": "novelty", "parameters": {"binary_data": True}}]
    more = {"parameters": {"deadline_ms": 0.001}, "outputs": wanted}
    response = post_bytes(client, more, wavelength_nm=axis, counts=shots)
    assert response.content[int(response.headers[LENGTH]) :] == b"\x00\x00\xc0\x7f"


def test_an_axis_may_be_named(client, make_shots):
    axis, shots = make_shots(395.0, height=60_000)
    told = {"wavelength_nm": axis.tolist(), "saturation_counts": 50_000}
    number = client.post("/v1/axes", json=told).raise_for_status().json()["axis"]
    counts = shots.clip(0, 65535).astype(np.uint16)
    found = outputs_of(post_bytes(client, axis=np.array([number]), counts=counts))
    assert found["family"] == ["6xxx"]
    assert "saturated" in found["quality"][0]
    ceiling = np.array([65536.0])
    found = outputs_of(post_bytes(client, axis=np.array([number]), counts=counts, saturation_counts=ceiling))
    assert "saturated" not in found["quality"][0]
    assert "axis': 99 is not known" in fault_of(post_bytes(client, axis=np.array([99]), counts=counts))


def test_pictures_as_files_or_pixels(client, make_picture):
    files = objects(make_picture((200, 100, 60)), make_picture())
    by_file = outputs_of(post_bytes(client, image=files))
    assert by_file["quality"] == ["no_spectrum", "no_spectrum"]
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    pixels[..., 1:] //= 4
    (copper,) = outputs_of(post_bytes(client, image=pixels))["family"]
    assert copper == "copper"
    several = outputs_of(post_bytes(client, image=np.stack([pixels, pixels[..., ::-1]])))
    assert several["family"][0] == "copper"
    assert several["family"][1] != "copper"


def test_where_the_camera_saw_nothing(client, make_shots, make_picture):
    axis, shots = make_shots(395.0)
    both = np.stack([shots, shots])
    found = outputs_of(
        post_bytes(client, wavelength_nm=axis, counts=both, image=objects(make_picture(), b""))
    )
    assert found["quality"] == ["", "no_image"]
    found = outputs_of(post_bytes(client, image=objects(make_picture(), b"")))
    assert found["status"] == ["decided", "refused"]


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_packed_requests_and_answers(client, make_shots, encoding, pack):
    axis, shots = make_shots(395.0)
    counts = np.repeat(shots[None], 8, axis=0)
    body, headers = in_bytes(
        {"wavelength_nm": axis, "counts": counts}, parameters={"binary_data_output": True}
    )
    headers |= {"Content-Encoding": encoding, "Accept-Encoding": f"br, {encoding};q=0.5"}
    response = client.post(INFER, content=pack(body), headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-encoding"] == encoding
    head_size = int(response.headers[LENGTH])
    head = json.loads(response.content[:head_size])
    sizes = [one["parameters"]["binary_data_size"] for one in head["outputs"]]
    assert head_size + sum(sizes) == len(response.content)
    headers["Accept-Encoding"] = f"{encoding};q=0"
    assert "content-encoding" not in client.post(INFER, content=pack(body), headers=headers).headers
    assert "no sound" in fault_of(client.post(INFER, content=b"\x1f\x8bnonsense", headers=headers))


AXIS = np.linspace(200.0, 900.0, 32)
COUNTS = np.ones((2, 32), np.float32)
FILE = objects(b"file")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"spectrum": COUNTS}, "input 'spectrum' is not known, there are wavelength_nm, axis, counts"),
        ({"wavelength_nm": AXIS}, "send counts with wavelength_nm or axis, image, or both"),
        ({"counts": COUNTS}, "counts need wavelength_nm or axis, one of them"),
        (
            {"counts": COUNTS, "wavelength_nm": AXIS, "axis": np.array([1])},
            "counts need wavelength_nm or axis, one of them",
        ),
        ({"image": FILE, "wavelength_nm": AXIS}, "input 'wavelength_nm' belongs to counts"),
        ({"counts": COUNTS.astype(np.int16), "wavelength_nm": AXIS}, "datatype INT16 must be FP32 or FP64"),
        (
            {"counts": COUNTS[:, :31], "wavelength_nm": AXIS},
            "input 'counts': shape [2, 31] has 31 channels, their axis has 32",
        ),
        (
            {"counts": COUNTS[None, None], "wavelength_nm": AXIS},
            "shape [1, 1, 2, 32] must be [channels], [shots, channels] or [pieces, shots, channels]",
        ),
        ({"counts": COUNTS, "wavelength_nm": AXIS[None]}, "input 'wavelength_nm': shape [1, 32] must be"),
        ({"counts": COUNTS, "wavelength_nm": AXIS[::-1]}, "input 'wavelength_nm': wavelength_nm[1]:"),
        ({"counts": COUNTS, "wavelength_nm": AXIS * np.nan}, "wavelength nan must be a finite number"),
        (
            {"counts": COUNTS, "wavelength_nm": AXIS, "image": objects(b"a", b"b")},
            "1 in counts and 2 in image",
        ),
        (
            {"counts": COUNTS, "wavelength_nm": AXIS, "saturation_counts": np.array([np.nan])},
            "input 'saturation_counts': nan must be positive",
        ),
        (
            {"counts": COUNTS, "wavelength_nm": AXIS, "saturation_counts": np.ones(2)},
            "input 'saturation_counts': shape [2] must be [1]",
        ),
        ({"image": FILE, "mass_g": np.array([-1.0])}, "input 'mass_g': -1.0 must be positive, or 0"),
        ({"image": FILE, "piece_id": objects(b"a", b"b")}, "input 'piece_id': shape [2] must be [1]"),
        ({"image": FILE, "piece_id": objects(b"\xff")}, "input 'piece_id': b'\\xff' must be text in UTF-8"),
        ({"image": FILE, "piece_id": objects(b"x" * 201)}, "201 characters, must be at most 200"),
        ({"image": np.ones((4, 4), np.uint8)}, "input 'image': shape [4, 4] must be [height, width, 3]"),
        ({"image": objects(*[b""] * 257)}, "257 pieces, must be 1 to 256"),
    ],
)
def test_inputs_that_are_wrong_are_named(client, inputs, words):
    assert words in fault_of(post_bytes(client, **inputs))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"parameters": {"deadline": 5}},
            "parameter 'deadline' is not known, there are deadline_ms",
        ),
        ({"parameters": {"deadline_ms": 10**400}}, "must be a positive number"),
        ({"parameters": {"deadline_ms": 0}}, "parameter deadline_ms 0 must be a positive number"),
        ({"parameters": {"deadline_ms": "5"}}, "parameter deadline_ms '5' must be a positive number"),
        ({"parameters": {"timeout": True}}, "parameter timeout True must be a positive number"),
        ({"parameters": {"batch": 5}}, "parameter batch 5 must be a text of 1 to 200 characters"),
        ({"outputs": [{"name": "class"}]}, "output 'class' is not known, there are piece_id, status"),
    ],
)
def test_wishes_that_cannot_be_met_are_named(client, more, words):
    assert words in fault_of(post_bytes(client, more, image=FILE))


def test_images_in_json_are_base64(client):
    inputs = in_json(image=objects("no base64!"))
    assert "in JSON its elements must be base64" in fault_of(post_json(client, inputs))


def test_an_image_that_is_none_is_refused_with_an_outlet(client):
    found = outputs_of(post_bytes(client, image=FILE))
    assert found["status"] == ["refused"]
    assert found["reason"] == ["refused: image: is no JPEG or PNG picture"]
    assert found["outlet"] == ["rest"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/models/nope", "model 'nope' is not known, there is 'tiny' or 'alloysort'"),
        ("/v2/models/nope/ready", "model 'nope' is not known"),
        ("/v2/models/nope/stats", "model 'nope' is not known"),
        ("/v2/models/tiny/versions/2", "model 'tiny' has version 1, not '2'"),
        ("/v2/models/tiny/versions/2/ready", "model 'tiny' has version 1, not '2'"),
        ("/v2/models/tiny/config", "nothing at /v2/models/tiny/config"),
    ],
)
def test_what_is_not_there(client, path, words):
    assert words in fault_of(client.get(path), 404)


def test_infer_of_a_model_that_is_not_there(client):
    assert "'nope'" in fault_of(post_bytes(client, path="/v2/models/nope/infer", image=FILE), 404)
    assert "'9'" in fault_of(post_bytes(client, path="/v2/models/tiny/versions/9/infer", image=FILE), 404)


def test_other_methods_and_packings(client):
    response = client.get(INFER)
    assert fault_of(response, 405) == f"{INFER} takes POST, not GET"
    response = client.post(INFER, content=b"x", headers={"Content-Encoding": "br"})
    assert "'br' is not taken" in fault_of(response, 415)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(client):
    address = (client.base_url.host, client.base_url.port)
    with socket.create_connection(address, 5) as line:
        line.sendall(
            b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n"
        )
        said = line.recv(10_000)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert said.endswith(b'{"error":"the body is over 2 MB (max_body_mb)"}')


def test_nothing_is_read_while_the_model_warms_or_the_queue_is_full(bundle, monkeypatch):
    app = create_app(Settings(bundle=bundle.path, threads=1))  # nobody warms it

    def full(size=0):
        raise QueueFullError("512 pieces are waiting: send them slower")

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
                assert fault_of(await client.get(path), 503) == "the model is warming up"
            assert (await client.get("/v2/health/live")).status_code == 200
            (known,) = (await client.post("/v2/repository/index")).json()
            assert (known["state"], known["reason"]) == ("UNAVAILABLE", "the model is warming up")
            response = await client.post(INFER, content=b"no JSON")
            assert fault_of(response, 503) == "the model is warming up"
            assert response.headers["retry-after"] == "1"
            app.state.service.waiting_for = None
            monkeypatch.setattr(app.state.service.intake, "require_room", full)
            response = await client.post(INFER, content=b"no JSON")
            assert "send them slower" in fault_of(response, 503)
            assert response.headers["retry-after"] == "1"
        await app.state.service.close()

    asyncio.run(ask())


def test_a_piece_that_finds_no_room_once_read_is_refused_with_an_outlet(
    running, bundle, monkeypatch, make_shots
):
    axis, shots = make_shots(395.0)

    async def full(self, arrival, deadline_ms=None):
        raise QueueFullError("512 pieces are waiting: send them slower")

    with running(Settings(bundle=bundle.path, threads=1)) as client:
        monkeypatch.setattr("alloysort_inference.doors.service.Service.sort", full)
        found = outputs_of(post_bytes(client, wavelength_nm=axis, counts=shots, piece_id=objects(b"p")))
    assert (found["status"], found["piece_id"], found["outlet"]) == (["refused"], ["p"], ["rest"])
    assert "send them slower" in found["reason"][0]


def test_a_bug_tells_no_secrets(bundle, monkeypatch):
    app = create_app(Settings(bundle=bundle.path, threads=1))
    app.state.service.waiting_for = None

    def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr("alloysort_inference.doors.oip.routes.decode_request", broken)

    async def ask():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            response = await client.post(INFER, content=b"{}")
        await app.state.service.close()
        return response

    assert fault_of(asyncio.run(ask()), 500) == "internal error; the server's own output says more"


def test_a_service_that_stops_says_so_in_the_protocols_words():
    async def app(scope, receive, send):
        raise AssertionError("nobody gets here")

    gate = Gate(app)
    gate.shut()

    async def ask():
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(gate), base_url="http://localhost"
        ) as client:
            return await client.post(INFER, content=b"{}"), await client.get("/v2"), await client.get("/v22")

    *ours, other = asyncio.run(ask())
    for response in ours:
        assert fault_of(response, 503) == "the service is stopping: ask again"
    assert other.headers["content-type"] == "application/problem+json"


def test_the_openapi_document_leaves_the_protocol_to_itself(client):
    assert not [path for path in client.get("/openapi.json").json()["paths"] if path.startswith("/v2")]
