from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from alloysort_datasets.errors import BundleError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.readers.picture import Picture
from alloysort_inference.engine.session import Engine, choose_providers
from alloysort_inference.frontend.prepare import Spectrum, prepare
from alloysort_models.bundle.manifest import MODEL, PATTERNS, QUANTIZED, load_bundle, write_bundle


@pytest.fixture
def features(bundle, make_shots):
    def make(*lines_nm):
        spectrum = Spectrum(*make_shots(*lines_nm))
        return prepare(bundle.grid, bundle.manifest.image_size, spectrum, None).features

    return make


def test_the_answer_follows_the_spectrum(engine, features):
    for family, line_nm in {"6xxx": 395.0, "copper": 327.0, "cast-AlSiCu": 510.0}.items():
        (assessment,) = engine.run([features(line_nm)])
        assert assessment.family == family
        assert assessment.confidence > 0.9
        assert assessment.probabilities.shape == (19,)
        assert assessment.composition.shape == assessment.composition_sigma.shape == (13,)


def test_light_where_none_should_be_is_novel(engine, features):
    known, novel = engine.run([features(395.0), features(395.0, 720.0, 730.0)])
    assert novel.novelty > 5 * known.novelty


def test_a_batch_answers_in_order_and_like_single_pieces(engine, features):
    batch = [features(line_nm) for line_nm in (395.0, 327.0, 510.0, 600.0)]
    together = engine.run(batch)
    for alone, beside in zip((engine.run([piece])[0] for piece in batch), together, strict=True):
        np.testing.assert_allclose(alone.probabilities, beside.probabilities, atol=1e-6)
        assert alone.novelty == pytest.approx(beside.novelty)


def test_no_pieces_no_assessments(engine):
    assert engine.run([]) == []


def test_probability_of_several_families(engine, features):
    (assessment,) = engine.run([features(395.0)])
    assert assessment.probability_of(FAMILIES) == pytest.approx(1)
    assert assessment.probability_of(()) == 0


def test_it_runs_on_what_is_installed_and_warms_up(engine):
    engine.warm_up()
    assert engine.providers[-1] == "CPUExecutionProvider"
    assert choose_providers(["CPUExecutionProvider"]) == ["CPUExecutionProvider"]


def test_a_missing_provider_is_refused_with_those_there_are(bundle):
    with pytest.raises(BundleError, match=r"'NoSuchProvider'.* not installed, there are .*CPUExecution"):
        Engine(bundle, providers=["NoSuchProvider"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rename": {"novelty": "oddity"}}, "outputs are .*oddity.*must be"),
        ({"rename": {"coverage": "mask"}}, "inputs are .*mask.*must be"),
        ({"channels": 128}, r"input spectrum has shape \['N', 2, 128\], must be \['N', 2, 256\]"),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says_is_refused(
    manifest, graph_bytes, tmp_path, change, message
):
    bundle = write_bundle(tmp_path, manifest, {MODEL: graph_bytes(**change)})
    with pytest.raises(BundleError, match=message):
        Engine(bundle)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 2.0, -1.0])
def test_an_answer_that_is_none_is_refused(manifest, graph_bytes, tmp_path, features, scale):
    engine = Engine(write_bundle(tmp_path, manifest, {MODEL: graph_bytes(scale=scale)}))
    with pytest.raises(BundleError, match="output probabilities is"):
        engine.run([features(395.0)])


def test_a_file_that_is_no_graph_is_refused_in_one_line(manifest, tmp_path):
    with pytest.raises(BundleError, match="onnxruntime: ") as caught:
        Engine(write_bundle(tmp_path, manifest, {MODEL: b"no graph at all"}))
    assert "\n" not in str(caught.value)


def test_other_families_are_refused(manifest, graph_bytes, tmp_path):
    swapped = manifest.model_copy(update={"families": FAMILIES[::-1]})
    with pytest.raises(BundleError, match="families are non-metal"):
        Engine(write_bundle(tmp_path, swapped, {MODEL: graph_bytes()}))


def test_a_cpu_runs_the_8_bit_graph_where_there_is_one(manifest, graph_bytes, tmp_path):
    graphs = {MODEL: graph_bytes(), QUANTIZED: graph_bytes()}
    with_both = Engine(write_bundle(tmp_path / "both", manifest, graphs), ["CPUExecutionProvider"])
    with_one = Engine(write_bundle(tmp_path / "one", manifest, {MODEL: graph_bytes()}))
    assert [with_both.graph(sensors).name for sensors in PATTERNS] == [MODEL, QUANTIZED, QUANTIZED]
    assert {with_one.graph(sensors).name for sensors in PATTERNS} == {MODEL}


def test_pieces_of_either_graph_come_back_in_order(manifest, graph_bytes, tmp_path, features, make_picture):
    graphs = {MODEL: graph_bytes(), QUANTIZED: graph_bytes()}
    engine = Engine(write_bundle(tmp_path, manifest, graphs), ["CPUExecutionProvider"])
    picture = Picture(np.full((40, 40, 3), (220, 60, 60), np.uint8))
    red = prepare(manifest.grid, manifest.image_size, None, picture).features
    found = engine.run([features(395.0), red, features(510.0), red])
    assert [answer.family for answer in found] == ["6xxx", "copper", "cast-AlSiCu", "copper"]
    assert [answer.sensors for answer in found] == ["spectrum", "image", "spectrum", "image"]
    assert [answer.surface is None for answer in found] == [False, True, False, True]


def test_a_fault_of_the_8_bit_graph_names_its_file(manifest, graph_bytes, tmp_path):
    graphs = {MODEL: graph_bytes(), QUANTIZED: graph_bytes(channels=128)}
    with pytest.raises(BundleError, match=r"model\.int8\.onnx: input spectrum has shape"):
        Engine(write_bundle(tmp_path, manifest, graphs), ["CPUExecutionProvider"])


def test_an_altered_graph_is_refused(altered_bundle):
    with pytest.raises(BundleError, match="SHA-256"):
        load_bundle(altered_bundle)


def test_neither_training_nor_the_simulator_is_imported():
    code = (
        "import alloysort_inference.doors.serve, alloysort_inference.doors.rest.app, sys;"
        "heavy = {'torch', 'torchvision', 'lightning', 'onnx', 'onnxscript', 'sklearn', 'numba', 'pyarrow'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
