from __future__ import annotations

import base64
import itertools
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

import httpx
import pytest
import uvicorn

from alloysort_datasets.errors import AlloysortError, BundleError, DataError, RecipeError
from alloysort_datasets.piece import Instrument, Piece
from alloysort_inference.doors.rest.answer import make_answer
from alloysort_inference.doors.rest.app import create_app
from alloysort_inference.doors.serve import Stream, listen, serve
from alloysort_inference.doors.settings import Settings, read_settings
from alloysort_inference.log.database import open_database
from alloysort_inference.log.read import read_decisions
from alloysort_inference.pipeline import Upload
from alloysort_models.bundle.manifest import MODEL, write_bundle


@pytest.fixture(scope="module")
def log_path(tmp_path_factory):
    return str(tmp_path_factory.mktemp("log") / "decisions.sqlite")


@contextmanager
def running(app, lifespan="on") -> Iterator[httpx.Client]:
    """A client of the application behind a real server."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan=lifespan))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def client(bundle, log_path) -> Iterator[httpx.Client]:
    app = create_app(Settings(bundle=bundle.path, threads=1, log=log_path, max_body_mb=2))
    with running(app) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


def rows_of(where):
    database = open_database(str(where))
    try:
        return list(read_decisions(database))
    finally:
        database.dispose()


def wait_until(true, timeout_s=20.0):
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def problem_of(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    said = response.json()
    assert said["status"] == status
    of_a_piece = {"piece_id", "outlet", "eject"} & set(said)
    assert set(said) == {"type", "title", "status", "detail"} | of_a_piece
    assert said["detail"]
    assert "\n" not in said["detail"]
    assert "Traceback" not in response.text
    return said["detail"]


def post_json(client, **piece):
    return client.post("/v1/classify", json=piece)


def long_json(*more, channels=16, start_nm=300, step_nm=1):
    """A body of 16 wavelengths, and `channels` counts with `more` behind them."""
    axis = [start_nm + step_nm * index for index in range(16)]
    return f'{{"wavelength_nm": {axis}, "counts": [{", ".join(["1"] * channels + list(more))}]}}'


def test_a_spectrum_file_and_an_image_file(client, make_csv, make_picture):
    files = {"spectrum": ("al.csv", make_csv(395.0)), "image": ("al.png", make_picture())}
    said = client.post("/v1/classify", files=files).raise_for_status().json()
    assert (said["family"], said["outlet"], said["eject"], said["quality"]) == ("6xxx", "wrought", True, [])


def test_every_door_gives_the_same_answer(client, classifier, make_csv, make_picture, make_shots):
    axis, shots = make_shots(327.0)
    picture = make_picture()
    record = classifier.classify(Upload("cu.csv", make_csv(327.0)), Upload("cu.png", picture))
    in_process = make_answer(record)
    parts = client.post("/v1/classify", files={"spectrum": make_csv(327.0), "image": picture}).json()
    arrays = post_json(
        client,
        wavelength_nm=axis.tolist(),
        counts=shots.tolist(),
        image_base64=base64.b64encode(picture).decode(),
    ).json()
    for said in (parts, arrays):
        assert said["probabilities"] == pytest.approx(in_process.probabilities, abs=1e-4)
        assert said["outlet"] == in_process.outlet
        assert set(said) == set(type(in_process).model_fields)


def test_one_shot_may_be_a_plain_list(client, make_shots):
    axis, shots = make_shots(395.0)
    said = post_json(client, wavelength_nm=axis.tolist(), counts=shots[0].tolist()).raise_for_status().json()
    assert said["family"] == "6xxx"
    assert said["quality"] == ["few_shots", "no_image"]


def test_either_sensor_alone(client, make_csv, make_picture):
    for files, flag in (
        ({"spectrum": make_csv(395.0)}, "no_image"),
        ({"image": make_picture()}, "no_spectrum"),
    ):
        assert flag in client.post("/v1/classify", files=files).raise_for_status().json()["quality"]


def test_ids_and_batches_reach_answer_and_log(client, log_path, make_csv):
    data = {"piece_id": "p-7", "batch": "tuesday"}
    said = client.post("/v1/classify", files={"spectrum": make_csv(395.0)}, data=data).json()
    assert said["piece_id"] == "p-7"
    wait_until(lambda: any(row["batch"] == "tuesday" for row in rows_of(log_path)))
    last = rows_of(log_path)[-1]
    assert (last["piece_id"], last["batch"], last["family"]) == ("p-7", "tuesday", "6xxx")


def test_model(client):
    said = client.get("/v1/model").raise_for_status().json()
    assert said["name"] == "tiny"
    assert said["grid"] == {"start_nm": 200.0, "stop_nm": 900.0, "channels": 256}
    assert said["outlets"] == ["wrought", "cast", "rest"]
    assert len(said["families"]) == 19


def test_ready_only_once_warm(bundle, make_csv):
    app = create_app(Settings(bundle=bundle.path, threads=1))
    with running(app, lifespan="off") as cold:  # without its lifespan, nothing warms it
        assert cold.get("/healthz").json() == {"status": "alive"}
        assert problem_of(cold.get("/readyz"), 503) == "the model is warming up"
        problem_of(cold.post("/v1/classify", files={"spectrum": make_csv(395.0)}), 503)


@pytest.mark.parametrize("fault", ["empty", "truncated", "binary", "single column", "nan", "out of range"])
def test_bad_spectra(client, bad_spectra, make_picture, fault):
    part = ("bad.csv", bad_spectra[fault])
    problem_of(client.post("/v1/classify", files={"spectrum": part}), 422)
    problem_of(client.post("/v1/classify", files={"spectrum": part, "image": make_picture()}), 422)


@pytest.mark.parametrize("fault", ["empty", "no image", "one pixel", "50 megapixels", "truncated"])
def test_bad_pictures(client, bad_pictures, make_csv, fault):
    part = ("bad.png", bad_pictures[fault])
    assert "bad.png" in problem_of(client.post("/v1/classify", files={"image": part}), 422)
    problem_of(client.post("/v1/classify", files={"image": part, "spectrum": make_csv(395.0)}), 422)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("", 400, "body"),
        ("{", 400, "body"),
        ("[]", 400, "body"),
        ("{}", 400, "neither"),
        ('{"wavelength_nm": [300, 301]}', 400, "belong together"),
        ('{"counts": [300, 301]}', 400, "belong together"),
        ('{"wavelength_nm": [300, 301], "counts": [1, 2], "colour": "red"}', 400, "'colour' is not known"),
        ('{"wavelength_nm": ["300", 301], "counts": [1, 2]}', 400, r"wavelength_nm\.0"),
        ('{"wavelength_nm": [300, 301], "counts": [[1, null]]}', 400, r"counts\.0\.1"),
        ('{"wavelength_nm": [300, 301], "counts": 7}', 400, "counts"),
        ('{"wavelength_nm": [300, 301], "counts": [1, 2], "piece_id": ""}', 400, "piece_id"),
        ('{"image_base64": "%%%"}', 400, "not base64"),
        ('{"wavelength_nm": [300, 301], "counts": []}', 422, "channels"),
        ('{"wavelength_nm": [300, 301], "counts": [[1, 2], [1]]}', 422, "same many"),
        ('{"wavelength_nm": [300, 301], "counts": [1, 2]}', 422, "2 channels, a spectrum has 16 or more"),
        (long_json("1"), 422, "counts have 17 values a shot, wavelength_nm has 16"),
        (long_json(step_nm=-1), 422, "increase strictly"),
        (long_json(start_nm=95), 422, r"wavelength_nm\[0\]: wavelength 95 nm lies outside 100-12000 nm"),
        (long_json("NaN", channels=15), 422, r"counts\[0\]\[15\] is nan"),
        (long_json("-Infinity", channels=15), 422, r"is -inf"),
        (long_json("1e300", channels=15), 422, r"is inf"),
        (long_json(start_nm=2000), 422, "none of the model's 200-900 nm"),
        ('{"image_base64": "aGVsbG8="}', 422, "no JPEG or PNG"),
    ],
)
def test_bad_json(client, body, status, message):
    response = client.post("/v1/classify", content=body, headers={"content-type": "application/json"})
    detail = problem_of(response, status)
    assert re.search(message, detail), detail


MULTIPART = {"content-type": "multipart/form-data; boundary=X"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "cut off"),
        (b"--X--\r\n", "neither"),
        (b"no boundary in here", "multipart"),
        (
            b'--X\r\nContent-Disposition: form-data; name="spectrum"; filename="a.csv"\r\n\r\n300,1\r\n',
            "cut off",
        ),
        (
            b'--X\r\nContent-Disposition: form-data; name="sprectum"; filename="a"\r\n\r\n1\r\n--X--',
            "'sprectum'",
        ),
        (b'--X\r\nContent-Disposition: form-data; name="image"\r\n\r\n1\r\n--X--', "must be a file"),
        (
            b'--X\r\nContent-Disposition: form-data; name="batch"; filename="b"\r\n\r\n1\r\n--X--',
            "must be a text",
        ),
        (b'--X\r\nContent-Disposition: form-data; name="batch"\r\n\r\n\r\n--X--', "batch has 0 characters"),
        (b"--X\r\nContent-Type: text/plain\r\n\r\n1\r\n--X--", "multipart"),
    ],
)
def test_bad_multipart(client, body, message):
    assert message in problem_of(client.post("/v1/classify", content=body, headers=MULTIPART), 400)


def test_a_part_sent_twice_is_refused(client, make_csv):
    files = [("spectrum", ("a.csv", make_csv(395.0))), ("spectrum", ("b.csv", make_csv(327.0)))]
    assert "2 times" in problem_of(client.post("/v1/classify", files=files), 400)


def test_a_picture_is_not_lost_when_the_body_is_cut_off(client, make_csv, make_picture):
    files = {"spectrum": ("a.csv", make_csv(395.0)), "image": ("a.png", make_picture())}
    request = client.build_request("POST", "/v1/classify", files=files)
    cut = client.post(
        "/v1/classify",
        content=request.read()[:-200],
        headers={"content-type": request.headers["content-type"]},
    )
    assert "cut off" in problem_of(cut, 400)


@pytest.mark.parametrize("kind", ["text/csv", "application/x-www-form-urlencoded", "image/png", ""])
def test_other_content_types(client, kind):
    detail = problem_of(client.post("/v1/classify", content=b"x", headers={"content-type": kind}), 415)
    assert "multipart/form-data, application/json or application/vnd.alloysort.piece" in detail


def test_multipart_without_a_boundary(client):
    headers = {"content-type": "multipart/form-data"}
    assert "boundary" in problem_of(client.post("/v1/classify", content=b"x", headers=headers), 400)


def test_too_large_whether_it_says_so_or_not(client):
    headers = {"content-type": "application/json"}
    big = b" " * 2_000_001
    assert "over 2 MB" in problem_of(client.post("/v1/classify", content=big, headers=headers), 413)
    chunks = (b" " * 500_000 for _ in range(5))
    problem_of(client.post("/v1/classify", content=chunks, headers=headers), 413)


def test_unknown_paths_and_methods(client):
    assert "/v1/nothing" in problem_of(client.get("/v1/nothing"), 404)
    wrong = client.get("/v1/classify")
    assert "takes POST, not GET" in problem_of(wrong, 405)
    assert wrong.headers["allow"] == "POST"


def test_hostile_names_stay_on_one_line(client):
    files = {"spectrum": ("a\r\nb\x1b[31m" + "c" * 500, b"")}
    detail = problem_of(client.post("/v1/classify", files=files), 422)
    assert len(detail) < 300
    assert detail.isprintable()


def test_a_bug_is_a_problem_too(bundle, monkeypatch, make_csv):
    app = create_app(Settings(bundle=bundle.path, threads=1))

    def broken(*_, **__):
        raise RuntimeError("secret")

    with running(app) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        monkeypatch.setattr(app.state.service.classifier, "assess", broken)
        detail = problem_of(client.post("/v1/classify", files={"spectrum": make_csv(395.0)}), 500)
    assert "secret" not in detail


def test_a_model_that_does_not_run_is_never_ready(manifest, graph_bytes, tmp_path):
    broken = write_bundle(tmp_path, manifest, {MODEL: graph_bytes(scale=float("nan"))})
    with running(create_app(Settings(bundle=broken.path))) as client:
        wait_until(lambda: "not finite" in client.get("/readyz").text)
        problem_of(client.get("/readyz"), 503)


def test_the_document_says_units_and_all_ways_in(client):
    document = client.get("/openapi.json").raise_for_status().json()
    operation = document["paths"]["/v1/classify"]["post"]
    content = operation["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json", "application/vnd.alloysort.piece"}
    schemas = document["components"]["schemas"]

    def properties(kind):
        return schemas[content[kind]["schema"]["$ref"].rpartition("/")[2]]["properties"]

    assert properties("multipart/form-data").keys() == {
        "image",
        "spectrum",
        "piece_id",
        "batch",
        "saturation_counts",
        "deadline_ms",
        "mass_g",
    }
    assert "nm" in properties("application/json")["wavelength_nm"]["description"]
    assert {"200", "400", "413", "415", "422", "500", "503"} <= set(operation["responses"])
    assert "422" not in document["paths"]["/healthz"]["get"]["responses"]
    assert "wt%" in document["info"]["description"]
    assert "wt%" in schemas["Content"]["properties"]["sigma"]["description"]
    assert "Problem" in schemas
    assert client.get("/docs").status_code == 200


def test_settings_come_from_any_environment():
    settings = read_settings(
        {"ALLOYSORT_PORT": "9000", "ALLOYSORT_PROVIDERS": "A, B", "ALLOYSORT_LOG": "", "HOME": "/"},
        host="::1",
    )
    assert (settings.port, settings.host, settings.providers, settings.log) == (9000, "::1", ("A", "B"), None)
    assert read_settings({"ALLOYSORT_PORT": "9000"}, port=1).port == 1


def test_every_wrong_setting_is_named():
    with pytest.raises(DataError) as caught:
        read_settings({"ALLOYSORT_PORT": "http", "ALLOYSORT_WORKERS": "0"})
    for part in ("port 'http'", "workers '0'"):
        assert part in str(caught.value)


def test_what_cannot_be_used_is_said_before_serving(altered_bundle, bundle, tmp_path):
    with pytest.raises(BundleError, match="SHA-256"):
        create_app(Settings(bundle=altered_bundle))
    with pytest.raises(RecipeError):
        create_app(Settings(bundle=bundle.path, recipe="no-such"))
    with pytest.raises(BundleError, match="not installed"):
        create_app(Settings(bundle=bundle.path, providers=("NoSuchProvider",)))


def test_an_address_in_use_or_unknown_is_one_line():
    with (
        listen("127.0.0.1", 0) as taken,
        pytest.raises(AlloysortError, match=r"cannot listen on 127\.0\.0\.1:\d+: address already in use"),
    ):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(AlloysortError, match="cannot listen on no such host:1"):
        listen("no such host", 1)


@pytest.fixture
def start(bundle):
    started = []

    def begin(*options):
        command = [sys.executable, "-m", "alloysort", "serve", "--bundle", str(bundle.path), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_the_real_server_serves_and_ends_cleanly(start, numbers):
    process = start("--port", "0")
    port = int(process.stdout.readline().split("http://127.0.0.1:")[1].split()[0])
    wait_until(lambda: ready(port))
    with urlopen(f"http://127.0.0.1:{port}/v1/model") as response:
        assert json.load(response)["name"] == "tiny"
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.02)
    _, complaints = process.communicate(timeout=20)
    assert (process.returncode, complaints) == (0, "")


def ready(port):
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except OSError:
        return False


def test_the_demonstration_runs_beside_and_ends_before_the_log_closes(bundle, make_shots, make_csv, tmp_path):
    axis, shots = make_shots(395.0)
    instruments = {"rig": Instrument("rig", axis, resolution_nm=1.4)}
    pieces = (Piece(f"p{i}", "demo", "b", spectra=shots, instrument="rig") for i in itertools.count())
    settings = Settings(bundle=bundle.path, threads=1, port=0, log=str(tmp_path / "log"))
    said: list[str] = []
    told = threading.Timer(1.0, signal.raise_signal, (signal.SIGTERM,))
    told.start()
    try:
        serve(settings, said.append, Stream("bench", pieces, instruments, 500))
    finally:
        told.cancel()
    names = [row["piece_id"] for row in rows_of(tmp_path / "log")]
    assert names == [f"p{number}" for number in range(len(names))]
    assert names
    assert said[-1].startswith("http://127.0.0.1:")
    with pytest.raises(AlloysortError, match="real ones need another file"):
        create_app(settings)


def test_a_demonstration_that_fails_ends_the_service(bundle, make_shots):
    stranger = Piece("p", "demo", "b", spectra=make_shots(395.0)[1], instrument="other")
    with pytest.raises(AlloysortError, match="'other'"):
        serve(
            Settings(bundle=bundle.path, port=0),
            [].append,
            Stream("bench", [stranger], {}, 10),
        )


def test_a_port_in_use_ends_with_one_line(start):
    with listen("127.0.0.1", 0) as taken:
        process = start("--port", str(taken.getsockname()[1]))
        said, complaints = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said == ""
    assert complaints.startswith("alloysort: error: cannot listen on 127.0.0.1")
    assert complaints.count("\n") == 1


def test_what_a_kubernetes_service_injects_stops_nothing():
    injected = {
        "ALLOYSORT_PORT": "tcp://10.0.0.7:80",
        "ALLOYSORT_SERVICE_HOST": "10.0.0.7",
        "ALLOYSORT_PORT_80_TCP_PROTO": "tcp",
    }
    assert read_settings(injected).port == 8000


@pytest.mark.parametrize("name", ["utf-8''St%C3%BCck%207.csv", "iso-8859-1'en'St%FCck.csv"])
def test_a_file_may_be_named_in_its_own_charset(client, make_csv, name):
    body = (
        f'--x\r\nContent-Disposition: form-data; name="spectrum"; filename*={name}\r\n\r\n'.encode()
        + make_csv(395.0)
        + b"\r\n--x--\r\n"
    )
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert (
        client.post("/v1/classify", content=body, headers=headers).raise_for_status().json()["family"]
        == "6xxx"
    )
