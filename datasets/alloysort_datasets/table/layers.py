"""What lies on a piece and what its shots show of it, by the conditions that a simulated table tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.families import FAMILIES

# Of several layers the outermost opaque one counts
LAYERS: Final = ("unknown", "bare", "thin films", "paint", "anodising", "zinc coat")
OPAQUE: Final = {"paint_um": "paint", "anodising_um": "anodising", "zinc_um": "zinc coat"}
THIN: Final = ("moisture_um", "dirt_um", "oil_um")
FRESH_OXIDE_UM: Final = 0.01  # what every aluminium has
HIDDEN: Final = 0.05  # of the late plumes: a piece that shows less of itself is hidden under something
MOSTLY: Final = 0.5  # of the late plumes
STRONG: Final = 100.0  # the strongest line over the noise
NON_METAL: Final = FAMILIES.index("non-metal")


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


def met_by_the_laser(
    family: NDArray[np.int64], layer: NDArray[Any], shown: NDArray[Any], line_over_noise: NDArray[Any]
) -> dict[str, NDArray[np.bool_]]:
    """Masks of (N,) pieces by what the laser met; metals unless it says otherwise.

    Args:
        family: place in FAMILIES.
        layer: place in LAYERS.
        shown: the piece's own share of the late plumes, NaN where unknown.
        line_over_noise: of the strongest line.
    """
    metal = family != NON_METAL
    bare = metal & (layer == LAYERS.index("bare"))
    anodised = layer == LAYERS.index("anodising")  # a film of the alloy's own elements shows them
    return {
        "bare metal": bare,
        "bare metal, strong lines": bare & (line_over_noise > STRONG),
        "thin films": metal & (layer == LAYERS.index("thin films")),
        **{name: metal & (layer == LAYERS.index(name)) for name in OPAQUE.values()},
        "late plumes over half metal": metal & (shown > MOSTLY),
        "late plumes without metal": metal & (shown < HIDDEN) & ~anodised,
        "non-metal": ~metal,
    }
