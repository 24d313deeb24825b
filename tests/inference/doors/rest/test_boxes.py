"""A line that fills boxes to melt: counted at every door, closed, weighed, gone on with."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alloysort_datasets.families import FAMILIES
from alloysort_inference.doors.settings import Settings
from alloysort_inference.policy.recipe import parse_recipe

AXIS_NM = np.linspace(200.0, 900.0, 1024)
RECIPE = f"""
default = "rest"
[[outlets]]
name = "melt"
families = {json.dumps(FAMILIES)}
min_confidence = 0.1
melt = {{ Cu = [0, 99] }}
box_kg = 1
[[outlets]]
name = "rest"
"""


def piece(number: int, **told: object) -> dict[str, object]:
    counts = 100.0 + 20_000.0 * np.exp(-0.5 * ((AXIS_NM - 395.0) / 2.0) ** 2)
    counts += np.random.default_rng(number).normal(0.0, 2.0, counts.size)
    return {
        "piece_id": f"p-{number}",
        "wavelength_nm": AXIS_NM.tolist(),
        "counts": counts.tolist(),
        **told,
    }


@pytest.fixture
def settings(bundle, tmp_path):
    fitted = {
        "bundle": bundle.sha256,
        "targets": parse_recipe(RECIPE, "melt").targets_sha256,
        "data": "none: a test",
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in fitted.items()]
    path = tmp_path / "melt.toml"
    path.write_text("\n".join([RECIPE, "[fitted]", *lines, '[fitted.melts."melt"]', '"Cu <= 99" = 0.5']))
    return Settings(bundle=bundle.path, recipe=str(path), boxes=tmp_path / "boxes.jsonl")


def test_pieces_are_counted_and_boxes_outlive_a_restart(settings, running):
    with running(settings) as client:
        assert client.get("/v1/boxes").json()[0]["pieces"] == 0  # warming up fills no box
        for number in (1, 2, 2, 3):
            answer = client.post("/v1/classify", json=piece(number, mass_g=100.0)).json()
            assert answer["outlet"] == "melt"
        parts = {"piece_id": (None, "p-4"), "mass_g": (None, "50")}
        spectrum = "\n".join(
            f"{nm},{counts}" for nm, counts in zip(*list(piece(4).values())[1:3], strict=True)
        )
        client.post("/v1/classify", files={**parts, "spectrum": ("s.csv", spectrum)}).raise_for_status()
        (box,) = client.get("/v1/boxes").json()
        assert (box["pieces"], box["mass_kg"], box["inside"], box["full"]) == (4, 0.35, True, False)
    with running(settings) as client:
        assert client.get("/v1/boxes").json() == [box]
        closed = client.post("/v1/boxes/melt/close", json={"weighed_kg": 0.36}).json()
        assert closed == {**box, "weighed_kg": 0.36}
        assert [(b["box"], b["pieces"]) for b in client.get("/v1/boxes").json()] == [(2, 0)]
        assert client.post("/v1/boxes/rest/close", json={}).status_code == 409
        assert client.post("/v1/boxes/melt/close", json={"weighed_kg": 0}).status_code == 422


def test_a_switch_takes_the_boxes_along_and_a_shadow_fills_none(settings, running):
    with running(settings) as client:
        client.post("/v1/classify", json=piece(1)).raise_for_status()
        client.post("/v1/model/load", json={"recipe": settings.recipe}).raise_for_status()
        client.post("/v1/model/shadow").raise_for_status()
        client.post("/v1/classify", json=piece(2)).raise_for_status()
        while client.get("/v1/model/state").json()["shadow"]["pieces"] < 1:
            pass
        client.post("/v1/model/switch").raise_for_status()
        client.post("/v1/classify", json=piece(3)).raise_for_status()
        assert client.get("/v1/boxes").json()[0]["pieces"] == 3
        client.post("/v1/model/rollback").raise_for_status()
        client.post("/v1/classify", json=piece(4)).raise_for_status()
        assert client.get("/v1/boxes").json()[0]["pieces"] == 4


def test_a_mass_that_is_none_is_refused(settings, running):
    with running(settings) as client:
        for mass in (0, -1, "heavy"):
            answer = client.post("/v1/classify", json=piece(1, mass_g=mass))
            assert answer.status_code == 400
            assert "mass_g" in answer.json()["detail"]
