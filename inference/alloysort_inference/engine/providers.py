"""Which execution provider runs the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnxruntime as ort

from alloysort_datasets.errors import BundleError

# TensorRT builds an engine for minutes before the first answer: it runs where it is asked for
PREFERRED: Final = (
    "CUDAExecutionProvider",
    "DmlExecutionProvider",
    "OpenVINOExecutionProvider",
    "CoreMLExecutionProvider",
    "CPUExecutionProvider",
)


def choose_providers(requested: Sequence[str] | None) -> list[str]:
    """The execution providers to ask onnxruntime for.

    Raises:
        BundleError: a requested one is not installed.
    """
    installed = ort.get_available_providers()
    if requested is None:
        return [name for name in PREFERRED if name in installed]
    missing = [name for name in requested if name not in installed]
    if missing or not requested:
        raise BundleError(f"providers {missing} are not installed, there are {', '.join(installed)}")
    return list(requested)
