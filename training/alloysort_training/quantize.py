"""A bundle's graph in 8-bit integers: the same answers within tenths of a point, in half the time on a CPU.

Static quantisation (Jacob et al. 2018, arXiv 1712.05877): activations as uint8, weights as int8 per channel,
scales from calibration pieces. Only the branches' convolutions and dense layers behind their stems, where
the time goes, are quantised; what conditions a spectrum, and what turns features into probabilities, stays as
it is.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from alloysort_training.calibrate import rows_with
from alloysort_training.evaluate import feed
from alloysort_training.prepared import Prepared

SCALED_ON: Final = ("both", "both", "image", "spectrum")  # what the scales are taken from, and how often
PIECES: Final = 256  # of each
BRANCHES: Final = ("sorter.image_branch.", "sorter.spectrum_branch.")
# The first layers stay whole: they cost little, and their inputs span what 8 bits do not
STEMS: Final = ("sorter.image_branch.stem.", "sorter.spectrum_branch.body.0.")


def quantize(graph: bytes, calibration: Prepared, seed: int) -> bytes:
    """The graph with its branches in 8-bit integers.

    Weights keep to 7 bits: on x86 processors without VNNI, sums of uint8 x int8 products overflow beyond.

    Args:
        graph: ONNX, of folded layers.
        calibration: pieces to take the activations' ranges from; the test split has no part in it.
        seed: of the choice of pieces.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        before, after = Path(folder) / "model.onnx", Path(folder) / "model.int8.onnx"
        before.write_bytes(graph)
        quantize_static(
            before,
            after,
            _Pieces(calibration, seed),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_quantize=branch_nodes(onnx.load_from_string(graph)),
            calibrate_method=_ranges(calibration),
        )
        return after.read_bytes()


def _ranges(calibration: Prepared) -> CalibrationMethod:
    """By percentile, so that one outlier does not coarsen all the rest.

    What a sensor that saw no piece feeds is constant and has no percentiles: then from least to most.
    """
    both = all(len(rows_with(calibration, pattern)) for pattern in ("image", "spectrum"))
    return CalibrationMethod.Percentile if both else CalibrationMethod.MinMax


def branch_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes between a branch's stem and its last layer of weights."""
    names, made = [], set[str]()
    for node in model.graph.node:
        weights = [name for name in node.input if name.startswith(BRANCHES) and not name.startswith(STEMS)]
        weighs = node.op_type in ("Conv", "Gemm") and bool(weights)
        follows = node.op_type in ("Relu", "Add") and made.issuperset(node.input)
        if weighs or follows:
            names.append(node.name)
            made.update(node.output)
    return names


class _Pieces(CalibrationDataReader):  # type: ignore[misc]
    """Calibration pieces in portions, with either sensor and with both."""

    def __init__(self, prepared: Prepared, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._portions: Iterator[dict[str, NDArray[Any]]] = iter(_portions(prepared, rng))

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._portions, None)


def _portions(prepared: Prepared, rng: np.random.Generator) -> Sequence[dict[str, NDArray[Any]]]:
    there = [(rows, pattern) for pattern in SCALED_ON if len(rows := rows_with(prepared, pattern))]
    size = min([PIECES, *(len(rows) for rows, _ in there)])  # the quantiser wants portions alike
    return [feed(prepared, rng.permutation(rows)[:size], pattern) for rows, pattern in there]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser's advice to run shape inference first off, and what it prints of its histograms."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
