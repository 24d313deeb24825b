"""What lies on a piece and what its shots show of it, by the conditions that a simulated table tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Of several layers the outermost opaque one counts
LAYERS: Final = ("unknown", "bare", "thin films", "paint", "anodising", "zinc coat")
OPAQUE: Final = {"paint_um": "paint", "anodising_um": "anodising", "zinc_um": "zinc coat"}
THIN: Final = ("moisture_um", "dirt_um", "oil_um")
FRESH_OXIDE_UM: Final = 0.01  # what every aluminium has
HIDDEN: Final = 0.05  # of the late plumes: a piece that shows less of itself is hidden under something
MOSTLY: Final = 0.5  # of the late plumes


def own_shares(conditions: Mapping[str, float], shots: int) -> NDArray[np.float64]:
    """(shots,) a piece's own share of what each ablated, NaN where nobody knows."""
    return np.array([conditions.get(f"metal_share_{shot}", np.nan) for shot in range(1, shots + 1)])


def layer_of(conditions: Mapping[str, float]) -> str:
    """One of LAYERS, by what the simulator laid on a piece."""
    if "oxide_um" not in conditions:
        return "unknown"
    for name, layer in OPAQUE.items():
        if conditions[name] > 0:
            return layer
    thin = any(conditions[name] > 0 for name in THIN) or conditions["oxide_um"] > FRESH_OXIDE_UM
    return "thin films" if thin else "bare"
