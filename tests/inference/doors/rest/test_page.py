"""The operator's interface over HTTP: figures, pieces, recipes, batches, alarms, labels."""

from __future__ import annotations

import time

import pytest

from alloysort_datasets.table.store import read_pieces
from alloysort_inference.doors.settings import Settings
from alloysort_inference.log.database import open_database
from alloysort_inference.log.export import export_pieces
from alloysort_inference.log.read import read_decisions
from alloysort_inference.policy.recipe import load_recipe


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log.sqlite")


@pytest.fixture
def client(running, bundle, log):
    with running(Settings(bundle=bundle.path, log=log)) as client:
        yield client


def send(client, make_csv, *lines_nm, picture=None, height=20_000, **data):
    files = {"spectrum": make_csv(*lines_nm, height=height)} | ({} if picture is None else {"image": picture})
    return client.post("/v1/classify", files=files, data=data).raise_for_status().json()


def live_when(client, ready, within_s=10.0):
    until = time.monotonic() + within_s
    while True:
        told = client.get("/v1/live").raise_for_status().json()
        if ready(told):
            return told
        assert time.monotonic() < until, told
        time.sleep(0.05)


def test_the_page_and_all_it_needs_comes_from_the_process(client):
    page = client.get("/").raise_for_status()
    assert page.headers["content-type"].startswith("text/html")
    for path in ("main.js", "page.css", "mark.svg", "vendor/uplot.js", "vendor/uplot.LICENSE"):
        client.get(f"/page/{path}").raise_for_status()
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert client.get("/page/../service.py").status_code == 404


def test_what_passes_is_on_the_page_with_picture_and_spectrum(client, make_csv, make_picture):
    picture = make_picture()
    send(client, make_csv, 395.0, picture=picture, piece_id="seen", mass_g="12.5")
    told = live_when(client, lambda told: told["pieces"] == 1)
    (piece,) = told["last"]
    assert (piece["piece_id"], piece["outlet"], piece["mass_g"], piece["truth"]) == (
        "seen",
        "wrought",
        12.5,
        None,
    )
    assert not told["simulated"]
    assert client.get(f"/v1/pieces/{piece['seq']}/image").content == picture
    spectrum = client.get(f"/v1/pieces/{piece['seq']}/spectrum").raise_for_status().json()
    assert len(spectrum["wavelength_nm"]) == len(spectrum["counts"]) == len(spectrum["late"]) == 1500
    assert (spectrum["shots"], spectrum["hits"]) == (4, 4)
    assert client.get("/v1/pieces/5/image").status_code == 404


def test_a_piece_without_a_sensor_says_so(client, make_csv):
    send(client, make_csv, 395.0)
    (piece,) = live_when(client, lambda told: told["pieces"] == 1)["last"]
    answer = client.get(f"/v1/pieces/{piece['seq']}/image")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        f"piece {piece['seq']}: the camera saw nothing",
    )


def test_another_bar_decides_from_the_next_piece_on(client, make_csv):
    before = send(client, make_csv, 395.0, height=1500)
    assert before["outlet"] == "wrought"
    live_when(client, lambda told: told["pieces"] == 1)
    forecast = client.get("/v1/recipe/forecast").raise_for_status().json()
    assert forecast["pieces"] == 1
    top = forecast["outlets"]["wrought"][-1]["bar"]
    share = before["probabilities"]["6xxx"]
    assert share < top
    chosen = client.post("/v1/recipe", json={"bars": {"wrought": top}}).raise_for_status().json()
    assert chosen["bars"]["wrought"] == top
    assert send(client, make_csv, 395.0, height=1500)["outlet"] == "rest"
    state = client.get("/v1/model/state").json()
    assert state["current"]["recipe_sha256"] == chosen["sha256"] != state["previous"]["recipe_sha256"]


def test_another_recipe_is_chosen_by_name(client):
    known = {recipe["name"]: recipe for recipe in client.get("/v1/recipes").json()}
    assert known["wrought-cast"]["current"]
    assert (
        client.post("/v1/recipe", json={"recipe": "twitch"}).raise_for_status().json()["recipe"] == "twitch"
    )
    assert {recipe["name"] for recipe in client.get("/v1/recipes").json() if recipe["current"]} == {"twitch"}
    live_when(
        client,
        lambda told: {o["name"] for o in told["outlets"]} == {o.name for o in load_recipe("twitch").outlets},
    )


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"recipe": "nothing"}, "is none of 5xxx-6xxx, can-stock"),
        ({"bars": {"rest": 0.5}}, "outlet 'rest' has no min_confidence; those that do: wrought, cast"),
        ({"bars": {"wrought": 1.5}}, "less than or equal to 1"),
        ({"bar": {}}, "Extra inputs"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_and_changes_nothing(client, choice, words):
    before = client.get("/v1/model/state").json()
    answer = client.post("/v1/recipe", json=choice)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert client.get("/v1/model/state").json() == before


def test_a_batch_names_the_pieces_that_bring_no_name_and_outlives_a_restart(running, bundle, log, make_csv):
    with running(Settings(bundle=bundle.path, log=log)) as client:
        client.post("/v1/batches", json={"name": "monday"}).raise_for_status()
        send(client, make_csv, 395.0, piece_id="a")
        send(client, make_csv, 395.0, piece_id="b", batch="own")
        again = client.post("/v1/batches", json={"name": "monday"})
        assert (again.status_code, "there was one of that name" in again.json()["detail"]) == (409, True)
    with running(Settings(bundle=bundle.path, log=log)) as client:
        assert client.get("/v1/batches").json()["name"] == "monday"
        send(client, make_csv, 395.0, piece_id="c")
        assert client.post("/v1/batches/close").raise_for_status().json()["name"] == "monday"
        assert client.post("/v1/batches/close").status_code == 409
        send(client, make_csv, 395.0, piece_id="d")
    database = open_database(log)
    rows = {row["piece_id"]: row["batch"] for row in read_decisions(database)}
    database.dispose()
    assert rows == {"a": "monday", "b": "own", "c": "monday", "d": None}


def test_a_lost_counterpart_is_an_alarm_that_can_be_acknowledged(running, bundle, tmp_path):
    outputs = tmp_path / "outputs.toml"
    outputs.write_text(
        '[modbus]\nhost = "127.0.0.1"\nport = 1\nheartbeat_register = 0\ncoils = {wrought = 1}\n'
    )
    with running(Settings(bundle=bundle.path, outputs=outputs)) as client:
        (alarm,) = live_when(client, lambda told: told["alarms"])["alarms"]
        assert (alarm["key"], alarm["severity"]) == ("output_modbus", "fault")
        told = client.post(f"/v1/alarms/{alarm['id']}/acknowledge").raise_for_status().json()
        assert told["who"]
        assert client.get("/v1/alarms").json()[0]["acknowledged"] is not None
        assert client.post("/v1/alarms/77/acknowledge").status_code == 409


def test_a_label_given_here_is_in_the_export(client, log, make_csv, make_picture, tmp_path):
    send(client, make_csv, 395.0, 725.0, picture=make_picture(), piece_id="odd")
    live_when(client, lambda told: told["kept"] == {"pieces": 1, "labelled": 0})
    (kept,) = client.get("/v1/kept").raise_for_status().json()
    assert (kept["piece_id"], kept["why"], kept["label"]) == ("odd", "novel", None)
    client.post(f"/v1/kept/{kept['seq']}/label", json={"family": "brass"}).raise_for_status()
    assert client.get("/v1/kept").json() == []
    wrong = client.post(f"/v1/kept/{kept['seq']}/label", json={"family": "gold"})
    assert (wrong.status_code, "label 'gold' is none of" in wrong.json()["detail"]) == (422, True)
    database = open_database(log)
    export_pieces(database, tmp_path / "table")
    database.dispose()
    assert [piece.family for piece in read_pieces(tmp_path / "table")] == ["brass"]


def test_without_a_log_labels_have_no_place(running, bundle):
    with running(Settings(bundle=bundle.path)) as client:
        answer = client.get("/v1/kept")
        assert (answer.status_code, answer.json()["detail"][:24]) == (409, "there is no decision log")
        assert client.get("/v1/live").json()["kept"] is None
