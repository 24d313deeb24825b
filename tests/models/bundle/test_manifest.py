from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alloysort_datasets.errors import BundleError
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.health import Reference
from alloysort_models.bundle.manifest import (
    CARD,
    MANIFEST,
    MODEL,
    Bars,
    Manifest,
    Thresholds,
    load_bundle,
    newest_released,
    write_bundle,
)

BARS = Bars(image=0.9, spectrum=0.6, both=0.5)
MANIFEST_OF_TEST = Manifest(
    name="toy-1",
    created="2026-01-02",
    grid=Grid(start_nm=200.0, stop_nm=900.0, channels=64),
    image_size=32,
    thresholds=Thresholds(confidence=BARS, aluminium=BARS, surface=0.1, novelty=1.0),
    training_data_sha256="0" * 64,
    metrics={"macro_f1": {"value": 0.9}},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "toy-1", MANIFEST_OF_TEST, {MODEL: b"graph", CARD: b"# toy-1"})
    return tmp_path / "toy-1"


def rewrite(folder: Path, **changes: Any) -> None:
    told = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) | changes
    (folder / MANIFEST).write_text(json.dumps(told), encoding="utf-8")


def test_what_is_written_is_read_back(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.manifest.model_copy(update={"files": {}}) == MANIFEST_OF_TEST
    assert set(bundle.manifest.files) == {MODEL, CARD}
    assert bundle.model.read_bytes() == b"graph"
    assert bundle.grid.channels == 64


@pytest.mark.parametrize("name", [MODEL, CARD])
def test_an_altered_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"altered")
    with pytest.raises(BundleError, match=rf"{name}: SHA-256 is .* says"):
        load_bundle(folder)


@pytest.mark.parametrize("name", [MODEL, MANIFEST])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: No such file"):
        load_bundle(folder)


@pytest.mark.parametrize(("version", "advice"), [(3, "upgrade"), (1, "export the model anew")])
def test_another_schema_is_refused_before_anything_else(folder: Path, version: int, advice: str) -> None:
    rewrite(folder, schema_version=version, something_new={"a": 1})
    with pytest.raises(BundleError, match=rf"schema_version {version}, known here is 2: {advice}"):
        load_bundle(folder)


def test_a_bundle_of_another_front_end_is_refused(folder: Path) -> None:
    rewrite(folder, front_end=1)
    with pytest.raises(BundleError, match="front_end 1: the model was trained on features"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"image_size": "big"}, "image_size"),
        ({"grid": {"start_nm": 200.0, "stop_nm": 900.0}}, r"grid\.channels"),
        (
            {"thresholds": {"confidence": {"image": 2.0, "spectrum": 0.5, "both": 0.5}}},
            r"thresholds\.confidence\.image",
        ),
        ({"name": "Not A Name"}, "name"),
        ({"stranger": 1}, "stranger"),
        ({"files": {}}, "files names no model.onnx"),
    ],
)
def test_a_malformed_manifest_is_refused_by_key(
    folder: Path, changes: dict[str, Any], complaint: str
) -> None:
    rewrite(folder, **changes)
    with pytest.raises(BundleError, match=complaint) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_manifest_that_is_no_json_object_is_refused(folder: Path, text: bytes) -> None:
    (folder / MANIFEST).write_bytes(text)
    with pytest.raises(BundleError, match=MANIFEST):
        load_bundle(folder)


def test_the_newest_bundle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alloysort_models.bundle.manifest.RELEASED", (tmp_path,))
    with pytest.raises(BundleError, match="ships no bundle"):
        newest_released()
    for name, created in (("old", "2025-01-01"), ("new", "2026-01-01")):
        manifest = MANIFEST_OF_TEST.model_copy(update={"name": name, "created": created})
        write_bundle(tmp_path / name, manifest, {MODEL: b"graph"})
    assert newest_released() == tmp_path / "new"


def test_a_shipped_bundle_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = newest_released()
    assert load_bundle(Path(shipped.name)).path == shipped
    with pytest.raises(BundleError, match="no-such-light"):
        load_bundle(Path("no-such-light"))


def test_a_bundle_without_a_health_reference_reads_and_writes_as_before(folder: Path) -> None:
    assert "health" not in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert load_bundle(folder).manifest.health is None


def test_a_health_reference_is_kept_in_the_manifest(tmp_path: Path) -> None:
    known = Reference(pieces=500, levels={"luma": 104.0}, rates={"saturated": 0.2}, novel=3, answered=490)
    manifest = MANIFEST_OF_TEST.model_copy(update={"health": known})
    assert write_bundle(tmp_path / "toy-2", manifest, {MODEL: b"graph"}).manifest.health == known


def test_a_health_reference_with_a_strange_name_is_refused(folder: Path) -> None:
    rewrite(folder, health={"pieces": 1, "levels": {"lumen": 3.0}})
    with pytest.raises(BundleError, match=r"health.*lumen.*known are"):
        load_bundle(folder)
