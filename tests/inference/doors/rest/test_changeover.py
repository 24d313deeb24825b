"""Bundles and recipes change while pieces come, and no piece notices."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from alloysort_inference.doors.settings import Settings
from alloysort_models.bundle.manifest import MODEL, write_bundle

AXIS_NM = np.linspace(200.0, 900.0, 1024)
RECIPE = """
default = "{default}"
[[outlets]]
name = "light"
families = ["6xxx"]
min_confidence = 0.5
[[outlets]]
name = "{default}"
"""


def piece(nm: float = 395.0) -> dict[str, object]:
    counts = 100.0 + 20_000.0 * np.exp(-0.5 * ((AXIS_NM - nm) / 2.0) ** 2)
    counts += np.random.default_rng(0).normal(0.0, 2.0, counts.size)
    return {"wavelength_nm": AXIS_NM.tolist(), "counts": counts.tolist()}


@pytest.fixture
def other(manifest, graph_bytes, tmp_path):
    """A bundle of another name that says the same."""
    renamed = manifest.model_copy(update={"name": "other"})
    return write_bundle(tmp_path / "other", renamed, {MODEL: graph_bytes()})


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE.format(default="rest"), encoding="utf-8")
    return path


def test_load_shadow_switch_and_roll_back(bundle, other, running):
    with running(Settings(bundle=bundle.path)) as client:
        first = client.post("/v1/classify", json=piece()).json()
        state = client.post("/v1/model/load", json={"bundle": str(other.path)}).json()
        assert (state["current"]["bundle"], state["candidate"]["bundle"]) == ("tiny", "other")
        assert client.post("/v1/classify", json=piece()).json()["bundle_sha256"] == first["bundle_sha256"]
        client.post("/v1/model/shadow").raise_for_status()
        for nm in (395.0, 327.0, 510.0):
            client.post("/v1/classify", json=piece(nm)).raise_for_status()
        shadow = {"pieces": 0}
        while shadow["pieces"] < 3:
            shadow = client.get("/v1/model/state").json()["shadow"]
        assert shadow == {"pieces": 3, "families": 3, "outlets": 3, "missed": 0}
        state = client.post("/v1/model/switch").json()
        assert (state["current"]["bundle"], state["candidate"], state["shadow"]) == ("other", None, None)
        assert client.post("/v1/classify", json=piece()).json()["bundle_sha256"] == other.sha256
        assert client.get("/v1/model").json()["name"] == "other"
        client.post("/v1/model/rollback").raise_for_status()
        assert client.post("/v1/classify", json=piece()).json()["bundle_sha256"] == first["bundle_sha256"]


def test_what_cannot_be_used_changes_nothing(bundle, other, running, recipe):
    with running(Settings(bundle=bundle.path)) as client:
        for wanted, status, complaint in (
            ({"bundle": str(other.path / "nowhere")}, 422, "No such file"),
            ({"bundle": "a\0b"}, 422, "null byte"),
            ({"recipe": "a\0b"}, 422, "null byte"),
            ({"recipe": "nowhere"}, 422, "is no file and none of the shipped"),
            ({"colour": "red"}, 422, "colour"),
            ({"recipe": ""}, 422, "recipe: String should have at least 1 character"),
        ):
            response = client.post("/v1/model/load", json=wanted)
            assert (response.status_code, complaint in response.text) == (status, True), response.text
            assert response.headers["content-type"] == "application/problem+json"
        for way in ("switch", "shadow", "rollback"):
            assert client.post(f"/v1/model/{way}").status_code == 409
        (other.path / MODEL).write_bytes(b"tampered")
        assert client.post("/v1/model/load", json={"bundle": str(other.path)}).status_code == 422
        state = client.get("/v1/model/state").json()
        assert (state["current"]["bundle"], state["candidate"], state["previous"]) == ("tiny", None, None)


def test_pieces_go_on_while_bundles_are_switched(bundle, other, running):
    stop, outcomes = threading.Event(), []
    with running(Settings(bundle=bundle.path)) as client:

        def send() -> None:
            while not stop.is_set():
                answer = client.post("/v1/classify", json=piece()).json()
                outcomes.append((answer["status"], answer["family"], answer["bundle_sha256"]))

        senders = [threading.Thread(target=send) for _ in range(3)]
        for sender in senders:
            sender.start()
        for path in (other.path, bundle.path, other.path, bundle.path):
            client.post("/v1/model/load", json={"bundle": str(path)}).raise_for_status()
            client.post("/v1/model/switch").raise_for_status()
            time.sleep(0.1)
        stop.set()
        for sender in senders:
            sender.join()
    assert {outcome[:2] for outcome in outcomes} == {("decided", "6xxx")}
    assert {outcome[2] for outcome in outcomes} == {bundle.sha256, other.sha256}


def test_a_recipe_is_taken_anew_whole_or_not_at_all(bundle, running, recipe, caplog):
    with running(Settings(bundle=bundle.path, recipe=str(recipe))) as client:
        before = client.get("/v1/model").json()
        recipe.write_text(RECIPE.format(default="elsewhere"), encoding="utf-8")
        client.post("/v1/model/load", json={}).raise_for_status()
        client.post("/v1/model/switch").raise_for_status()
        after = client.get("/v1/model").json()
        assert (before["outlets"], after["outlets"]) == (["light", "rest"], ["light", "elsewhere"])
        assert before["recipe_sha256"] != after["recipe_sha256"]
        recipe.write_text("default = 'nowhere'", encoding="utf-8")
        assert client.post("/v1/model/load", json={}).status_code == 422
        assert client.get("/v1/model").json() == after
