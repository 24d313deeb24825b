"""The engine: one bundle in one onnxruntime session, batches of features in, assessments out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from alloysort_datasets.errors import BundleError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.assessment import Assessment
from alloysort_inference.engine.providers import choose_providers
from alloysort_models.bundle.inputs import VIEWS, Features
from alloysort_models.bundle.manifest import INPUTS, OUTPUTS, PATTERNS, Bundle

WARM_UP_BATCHES: Final = (1, 1, 4)  # the first run of each size allocates
SUM_TOLERANCE: Final = 1e-3  # of a piece's probabilities, which float16 graphs round

_ORT_ERRORS: Final = (  # onnxruntime has no common base for what it raises
    ort_state.EngineError,
    ort_state.EPFail,
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.ModelLoaded,
    ort_state.NoModel,
    ort_state.NoSuchFile,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)
_TENSOR_TYPES: Final = {
    "image": "tensor(uint8)",
    **dict.fromkeys((*INPUTS[1:], *OUTPUTS), "tensor(float)"),
}


class Engine:
    """A bundle ready to run. Safe to share between threads.

    On a CPU it runs the bundle's 8-bit graph where there is one, but for pieces with a picture alone: those
    are close calls, which rounding would turn.

    Args:
        bundle: verified by `load_bundle`.
        providers: onnxruntime execution providers in order of preference; None takes the best installed.
        threads: threads inside one run, which then wait for each other; a line runs several pieces at a time.

    Raises:
        BundleError: a provider is missing, onnxruntime cannot load a graph, or a graph is not what the
            manifest says.
    """

    def __init__(self, bundle: Bundle, providers: Sequence[str] | None = None, threads: int = 1) -> None:
        self.bundle = bundle
        require_known_labels(bundle)
        chosen = choose_providers(providers)
        on_cpu = chosen[0] == "CPUExecutionProvider"
        paths = {pattern: bundle.on_cpu(pattern) if on_cpu else bundle.model for pattern in PATTERNS}
        opened = {path: _Graph(path, bundle, chosen, threads) for path in set(paths.values())}
        self._graphs = {pattern: opened[path] for pattern, path in paths.items()}
        started = self.providers
        if providers is not None and started[0] != chosen[0]:
            raise BundleError(f"provider {chosen[0]!r} did not start, onnxruntime fell back to {started}")

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers the session runs on, first choice first."""
        return self._graphs["both"].providers

    def graph(self, sensors: str = "both") -> Path:
        """The graph that runs for a pattern of sensors."""
        return self._graphs[sensors].path

    def warm_up(self) -> None:
        """Run featureless pieces, so that the first real one is no slower than the next.

        Raises:
            BundleError: a graph does not run.
        """
        for pattern in {graph: pattern for pattern, graph in self._graphs.items()}.values():
            for size in WARM_UP_BATCHES:
                self.run([self._featureless(pattern)] * size)

    def run(self, batch: Sequence[Features]) -> list[Assessment]:
        """Assess a batch of pieces, in order.

        Raises:
            BundleError: onnxruntime failed, or the graph's answer is not finite or not of the right shape.
        """
        places: dict[_Graph, list[int]] = {}
        for place, features in enumerate(batch):
            places.setdefault(self._graphs[sensors_of(features)], []).append(place)
        answers: dict[int, Assessment] = {}
        for graph, mine in places.items():
            answers.update(zip(mine, graph.run([batch[place] for place in mine]), strict=True))
        return [answers[place] for place in range(len(batch))]

    def _featureless(self, sensors: str) -> Features:
        size, channels = self.bundle.manifest.image_size, self.bundle.grid.channels
        image = np.full((size, size, 3), 128, np.uint8)
        spectrum = np.ones((VIEWS, channels), np.float32)
        present = np.array([sensors != "spectrum", sensors != "image"], np.float32)
        return Features(image, spectrum, spectrum[0], present)


class _Graph:
    """One graph of a bundle in a session of its own."""

    def __init__(self, path: Path, bundle: Bundle, providers: Sequence[str], threads: int) -> None:
        self.path = path
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors come as exceptions; warnings are not the operator's
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others work here too
        with _named(path):
            self._session = ort.InferenceSession(str(path), options, providers=list(providers))
        require_graph(path, bundle, self._session)
        self._rows = _Rows(bundle.manifest.image_size, bundle.grid.channels)

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(self._session.get_providers())

    def run(self, batch: Sequence[Features]) -> list[Assessment]:
        feed = self._rows.fill(batch)
        with _named(self.path):
            outputs = self._session.run(OUTPUTS, feed)
        named = dict(zip(OUTPUTS, outputs, strict=True))
        require_answer(self.path, named, len(batch))
        novelty, surface = named["novelty"].tolist(), named["surface"].tolist()
        return [
            Assessment(
                named["probabilities"][row],
                named["composition"][row],
                named["composition_sigma"][row],
                novelty[row],
                surface[row] if features.present[1] else None,
                sensors_of(features),
            )
            for row, features in enumerate(batch)
        ]


class _Rows(threading.local):
    """Every thread's own input tensors, allocated once and written anew for each batch.

    They are written as bytes: numpy would let go of the interpreter for each of these copies, and wait long
    for its return where another thread prepares pieces.
    """

    def __init__(self, image_size: int, channels: int) -> None:
        self._shapes = {
            "image": (image_size, image_size, 3),
            "spectrum": (VIEWS, channels),
            "coverage": (channels,),
            "present": (2,),
        }
        self._held: dict[str, NDArray[Any]] = {}
        self._bytes: dict[str, memoryview] = {}

    def fill(self, batch: Sequence[Features]) -> dict[str, NDArray[Any]]:
        """The inputs of a batch; they hold until the next."""
        if not self._held or len(batch) > len(self._held["image"]):
            self._held = {
                name: np.empty((len(batch), *shape), np.uint8 if name == "image" else np.float32)
                for name, shape in self._shapes.items()
            }
            self._bytes = {name: held.data.cast("B") for name, held in self._held.items()}
        for name, held in self._bytes.items():
            at = 0
            for features in batch:
                row = getattr(features, name).data.cast("B")
                held[at : at + row.nbytes] = row
                at += row.nbytes
        return {name: held[: len(batch)] for name, held in self._held.items()}


def sensors_of(features: Features) -> str:
    """The pattern of what is present; where nothing is, the network answers as to a picture."""
    image, spectrum = features.present.tolist()
    return PATTERNS[2] if image and spectrum else PATTERNS[1] if spectrum else PATTERNS[0]


def require_known_labels(bundle: Bundle) -> None:
    """Refuse a bundle whose families or elements are not those of this code, in this order."""
    manifest = bundle.manifest
    for key, found, known in (
        ("families", manifest.families, FAMILIES),
        ("elements", manifest.elements, ELEMENTS),
    ):
        if found != known:
            raise BundleError(
                f"{bundle.path}: {key} are {', '.join(found)}; known here are {', '.join(known)}"
            )


def require_graph(graph: Path, bundle: Bundle, session: Any) -> None:
    """Refuse a graph whose inputs or outputs are not what the manifest says."""
    size, channels = bundle.manifest.image_size, bundle.manifest.grid.channels
    families, elements = len(FAMILIES), len(ELEMENTS)
    inputs = {
        "image": (size, size, 3),
        "spectrum": (VIEWS, channels),
        "coverage": (channels,),
        "present": (2,),
    }
    outputs = {
        "probabilities": (families,),
        "composition": (elements,),
        "composition_sigma": (elements,),
        "surface": (),
        "novelty": (),
    }
    for kind, expected, found in (
        ("input", inputs, session.get_inputs()),
        ("output", outputs, session.get_outputs()),
    ):
        names = {tensor.name: tensor for tensor in found}
        if set(names) != set(expected):
            raise BundleError(f"{graph}: {kind}s are {sorted(names)}, must be {sorted(expected)}")
        for name, shape in expected.items():
            _require_tensor(graph, kind, names[name], shape)


def require_answer(graph: Path, named: dict[str, NDArray[np.float32]], size: int) -> None:
    """Refuse an answer of the wrong shape, not finite, or with probabilities that are none."""
    widths = {"probabilities": (len(FAMILIES),), "surface": (), "novelty": ()}
    for name, values in named.items():
        shape = (size, *widths.get(name, (len(ELEMENTS),)))
        if values.shape != shape:
            raise BundleError(f"{graph}: output {name} has shape {values.shape}, must be {shape}")
        if not np.isfinite(values).all():
            raise BundleError(f"{graph}: output {name} is not finite")
    probabilities = named["probabilities"]
    if (probabilities < 0).any() or (abs(probabilities.sum(axis=1) - 1) > SUM_TOLERANCE).any():
        raise BundleError(f"{graph}: output probabilities is negative or does not sum to 1")


def _require_tensor(graph: Path, kind: str, tensor: Any, shape: tuple[int, ...]) -> None:
    if tensor.type != _TENSOR_TYPES[tensor.name]:
        raise BundleError(
            f"{graph}: {kind} {tensor.name} is {tensor.type}, must be {_TENSOR_TYPES[tensor.name]}"
        )
    batch, *rest = tensor.shape or (1,)
    fits = len(rest) == len(shape) and all(
        not isinstance(found, int) or found == expected for found, expected in zip(rest, shape, strict=True)
    )
    if isinstance(batch, int) or not fits:
        raise BundleError(f"{graph}: {kind} {tensor.name} has shape {tensor.shape}, must be {['N', *shape]}")


@contextmanager
def _named(graph: Path) -> Iterator[None]:
    try:
        yield
    except _ORT_ERRORS as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BundleError(f"{graph}: onnxruntime: {first}") from error
