"""A tiny real bundle whose answers can be foretold, and small builders of what sensors deliver.

The graph looks for light at 395 nm (6xxx), 327 nm (copper) and 510 nm (cast-AlSiCu) above the mean of the
spectrum, for red in the picture (copper), and calls light at 700-750 nm novel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.engine.session import Engine
from alloysort_inference.pipeline import Classifier
from alloysort_inference.policy.recipe import load_recipe
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.inputs import VIEWS
from alloysort_models.bundle.manifest import MODEL, Bars, Bundle, Manifest, Thresholds, write_bundle

GRID = Grid(start_nm=200.0, stop_nm=900.0, channels=256)
IMAGE_SIZE = 32
LOOKS_LIKE = {"6xxx": 395.0, "copper": 327.0, "cast-AlSiCu": 510.0}
NOVEL_NM = (700.0, 750.0)
BARS = Bars(image=0.9, spectrum=0.8, both=0.8)


def build_graph(
    *, channels: int = GRID.channels, rename: Mapping[str, str] | None = None, scale: float = 1.0
) -> bytes:
    """The graph; `rename` breaks its contract, `scale` its numbers."""
    centres = np.geomspace(GRID.start_nm, GRID.stop_nm, channels)
    spectral = np.zeros((channels, len(FAMILIES)), np.float32)
    for family, line_nm in LOOKS_LIKE.items():
        spectral[abs(centres - line_nm) < 6, FAMILIES.index(family)] = 0.4
    colour = np.zeros((3, len(FAMILIES)), np.float32)
    colour[:, FAMILIES.index("copper")] = (20, -10, -10)
    bias = np.zeros(len(FAMILIES), np.float32)
    bias[FAMILIES.index("other-metal")] = 1
    novel = ((centres > NOVEL_NM[0]) & (centres < NOVEL_NM[1])).astype(np.float32)[:, None]
    contents = np.zeros((len(FAMILIES), len(ELEMENTS)), np.float32)
    contents[:11, 0] = 97
    contents[FAMILIES.index("copper"), ELEMENTS.index("Cu")] = 99
    constants = {
        "spectral": spectral,
        "colour": colour,
        "bias": bias,
        "novel": novel,
        "contents": contents,
        "sigmas": np.full((len(FAMILIES), len(ELEMENTS)), 0.5, np.float32),
        "averaging": np.full((channels, 1), 1 / channels, np.float32),
        "one": np.ones(1, np.float32),
        "white": np.full(1, 255, np.float32),
        "scale": np.full(1, scale, np.float32),
        "see_image": np.array([[1], [0]], np.float32),
        "see_spectrum": np.array([[0], [1]], np.float32),
        "pixels": np.array([1, 2], np.int64),
        "last": np.array([1], np.int64),
        "views": np.array([1], np.int64),
    }
    steps = [
        ("MatMul", ["present", "see_spectrum"], "has_spectrum"),
        ("MatMul", ["present", "see_image"], "has_image"),
        ("ReduceMean", ["spectrum", "views"], "view"),
        ("Mul", ["view", "coverage"], "seen"),
        ("MatMul", ["seen", "averaging"], "mean"),
        ("Add", ["mean", "one"], "level"),
        ("Div", ["seen", "level"], "shape"),
        ("Mul", ["shape", "has_spectrum"], "shown"),
        ("MatMul", ["shown", "spectral"], "from_spectrum"),
        ("Cast", ["image"], "pixel_values"),
        ("ReduceMean", ["pixel_values", "pixels"], "rgb"),
        ("Div", ["rgb", "white"], "tone"),
        ("Mul", ["tone", "has_image"], "shade"),
        ("MatMul", ["shade", "colour"], "from_image"),
        ("Add", ["from_spectrum", "from_image"], "both"),
        ("Add", ["both", "bias"], "logits"),
        ("Softmax", ["logits"], "softmax"),
        ("Mul", ["softmax", "scale"], "probabilities"),
        ("MatMul", ["softmax", "contents"], "composition"),
        ("MatMul", ["softmax", "sigmas"], "composition_sigma"),
        ("Squeeze", ["has_spectrum", "last"], "surface"),
        ("MatMul", ["shown", "novel"], "novelty_column"),
        ("Squeeze", ["novelty_column", "last"], "novelty"),
    ]
    options: dict[str, dict[str, int]] = {"Cast": {"to": TensorProto.FLOAT}, "ReduceMean": {"keepdims": 0}}
    names = dict(rename or {})

    def named(name: str) -> str:
        return names.get(name, name)

    nodes = [
        helper.make_node(kind, [named(item) for item in inputs], [named(output)], **options.get(kind, {}))
        for kind, inputs, output in steps
    ]
    shapes = {
        "image": (TensorProto.UINT8, ["N", IMAGE_SIZE, IMAGE_SIZE, 3]),
        "spectrum": (TensorProto.FLOAT, ["N", VIEWS, channels]),
        "coverage": (TensorProto.FLOAT, ["N", channels]),
        "present": (TensorProto.FLOAT, ["N", 2]),
        "probabilities": (TensorProto.FLOAT, ["N", len(FAMILIES)]),
        "composition": (TensorProto.FLOAT, ["N", len(ELEMENTS)]),
        "composition_sigma": (TensorProto.FLOAT, ["N", len(ELEMENTS)]),
        "surface": (TensorProto.FLOAT, ["N"]),
        "novelty": (TensorProto.FLOAT, ["N"]),
    }
    infos = [helper.make_tensor_value_info(named(name), *info) for name, info in shapes.items()]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", infos[:4], infos[4:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def make_manifest() -> Manifest:
    return Manifest(
        name="tiny",
        created="2025-01-01",
        grid=GRID,
        image_size=IMAGE_SIZE,
        thresholds=Thresholds(confidence=BARS, aluminium=BARS, surface=0.1, novelty=20.0),
        training_data_sha256="0" * 64,
    )


@pytest.fixture(scope="session")
def graph_bytes() -> Callable[..., bytes]:
    return build_graph


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    return make_manifest()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundle"), make_manifest(), {MODEL: build_graph()})


@pytest.fixture(scope="session")
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle, threads=1)


@pytest.fixture(scope="session")
def classifier(engine: Engine) -> Classifier:
    return Classifier(engine, load_recipe("wrought-cast"))


def build_shots(
    *lines_nm: float, shots: int = 4, height: float = 20_000, noise: float = 5, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """An axis of 1,500 channels over 190-950 nm, and shots with a line at each wavelength."""
    rng = np.random.default_rng(seed)
    axis = np.linspace(190, 950, 1500)
    lines = sum((height * np.exp(-0.5 * ((axis - nm) / 0.6) ** 2) for nm in lines_nm), np.zeros_like(axis))
    return axis, (100 + lines + rng.normal(0, noise, (shots, axis.size))).astype(np.float32)


def build_csv(*lines_nm: float, **options: float) -> bytes:
    axis, shots = build_shots(*lines_nm, **options)  # type: ignore[arg-type]
    rows = (
        ",".join(f"{value:.3f}" for value in (nm, *counts)) for nm, counts in zip(axis, shots.T, strict=True)
    )
    return (
        "wavelength_nm," + ",".join(f"shot {i}" for i in range(len(shots))) + "\n" + "\n".join(rows)
    ).encode()


def build_picture(colour: tuple[int, int, int] = (128, 128, 128), size: int = 64, grain: float = 40) -> bytes:
    """A PNG of one RGB colour with grain."""
    noise = np.random.default_rng(0).normal(0, grain, (size, size, 1))
    rgb = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()


@pytest.fixture(scope="session")
def make_shots() -> Callable[..., tuple[NDArray[np.float64], NDArray[np.float32]]]:
    return build_shots


@pytest.fixture(scope="session")
def make_csv() -> Callable[..., bytes]:
    return build_csv


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    return build_picture


@pytest.fixture(scope="session")
def bad_spectra() -> Mapping[str, bytes]:
    """Spectrum files that nobody can use, by what is wrong with them."""
    good = build_csv(395.0).decode()
    rows = good.splitlines()
    return {
        "empty": b"",
        "truncated": good[: len(good) // 2].rsplit(",", 1)[0].encode(),
        "binary": np.random.default_rng(0).bytes(4000),
        "single column": "\n".join(row.partition(",")[0] for row in rows).encode(),
        "nan": "\n".join(
            rows[:100] + [row.partition(",")[0] + ",nan,nan,nan,nan" for row in rows[100:]]
        ).encode(),
        "out of range": "\n".join(f"{2000 + i},{i % 7}" for i in range(200)).encode(),
    }


@pytest.fixture(scope="session")
def bad_pictures() -> Mapping[str, bytes]:
    """Pictures that nobody can use, by what is wrong with them."""
    huge = cv2.imencode(".png", np.zeros((5000, 10000), np.uint8))[1].tobytes()
    return {
        "empty": b"",
        "no image": b"hello, I am no image" * 20,
        "one pixel": build_picture(size=1),
        "50 megapixels": huge,
        "truncated": build_picture(size=128)[:2000],
    }


@pytest.fixture
def altered_bundle(bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle whose graph is not the one its manifest names."""
    for found in bundle.path.iterdir():
        (tmp_path / found.name).write_bytes(found.read_bytes())
    (tmp_path / MODEL).write_bytes(bundle.model.read_bytes() + b"\0")
    return tmp_path
