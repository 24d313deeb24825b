"""What a network to train on begins with, out of a released bundle or a run: `alloysort train --from`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from torch import Tensor

from alloysort_datasets.errors import BundleError
from alloysort_models.bundle.manifest import CALIBRATION, MANIFEST, Bundle, located
from alloysort_models.network.released import Calibration, Released
from alloysort_models.network.sorter import Sorter
from alloysort_models.network.unfold import unfold
from alloysort_training.calibrate import PRESENT
from alloysort_training.config import Config
from alloysort_training.prepared import Prepared

LOOKED_AT: Final = 2048  # pieces that the norms are set by
HIDDEN_FEATURES: Final = 128  # of a network of width 1
_BATCH: Final = 256
_PREFIX: Final = "sorter."


def is_bundle(folder: Path) -> bool:
    """Whether it is a bundle's folder, or the name of a shipped one, and not a run's."""
    return (located(folder) / MANIFEST).is_file()


def begin_with(weights: Mapping[str, Tensor], config: Config, fitted: Prepared) -> Sorter:
    """A network of these folded weights, its norms set by some of the pieces it is to be trained on.

    Raises:
        ValueError: the weights are of another size than the config's.
    """
    sorter = Sorter(config.grid.channels, config.network.image_size, config.network.width)
    unfold(sorter, weights, _looks(fitted))
    return sorter.eval()


def reopen(bundle: Bundle) -> Released:
    """The network that a bundle's graph was made of, calibrated; its norms are in the weights already.

    Raises:
        BundleError: the bundle was written before bundles carried their calibration, or is of other networks.
    """
    if CALIBRATION not in bundle.manifest.files:
        raise BundleError(f"{bundle.path}: holds no {CALIBRATION}: export its run anew")
    weights = graph_weights(bundle.model)
    try:
        calibration = Calibration.from_bytes((bundle.path / CALIBRATION).read_bytes())
        width = len(weights["trunk.0.bias"]) / HIDDEN_FEATURES
        sorter = Sorter(bundle.grid.channels, bundle.manifest.image_size, width)
        unfold(sorter, weights, ())
    except (KeyError, ValueError) as error:
        raise BundleError(f"{bundle.path}: its network is none of this version's: {error}") from None
    return Released(sorter, calibration).eval()


def graph_weights(model: Path) -> dict[str, Tensor]:
    """The weights of a graph that `export` made, by their names in the network."""
    graph = onnx.load(model).graph
    return {
        tensor.name.removeprefix(_PREFIX): torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in graph.initializer
        if tensor.name.startswith(_PREFIX)
    }


def _looks(fitted: Prepared) -> Iterator[tuple[Tensor, ...]]:
    """Pieces spread over the split, each with all it has and with either sensor alone, as in training."""
    rows = np.linspace(0, len(fitted) - 1, min(LOOKED_AT, len(fitted))).astype(np.int64)
    for start in range(0, len(rows), _BATCH):
        chosen = rows[start : start + _BATCH]
        batch = fitted.take(chosen, np.arange(len(chosen)) % fitted.variants)
        for sensors in PRESENT.values():
            yield batch.image, batch.spectrum, batch.coverage, batch.present * torch.tensor(sensors)
