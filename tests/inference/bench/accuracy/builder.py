"""Judged pieces made up for a test: named rightly, accepted and each a batch unless it says otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.table.layers import LAYERS
from alloysort_inference.bench.accuracy.judge import Judged
from alloysort_models.bundle.manifest import PATTERNS


def make_judged(family: list[str | None], **told: Any) -> Judged:
    n = len(family)
    numbers = np.array([-1 if name is None else FAMILIES.index(name) for name in family])
    probabilities = np.zeros((n, len(FAMILIES)), np.float32)
    probabilities[np.arange(n), np.maximum(numbers, 0)] = 1.0
    fields: dict[str, Any] = {
        "piece_id": np.array([f"piece-{number}" for number in range(n)]),
        "batch": np.array([f"batch-{number}" for number in range(n)]),
        "instrument": np.full(n, "unit"),
        "alloy": np.full(n, "alloy"),
        "family": numbers,
        "composition": np.full((n, len(ELEMENTS)), np.nan, np.float32),
        "mass_g": np.ones(n, np.float32),
        "stranger": np.zeros(n, np.float32),
        "layer": np.full(n, LAYERS.index("bare"), np.int8),
        "shown": np.ones(n, np.float32),
        "line_over_noise": np.full(n, 200.0, np.float32),
        "sensors": np.full(n, PATTERNS.index("both"), np.int8),
        "flags": np.zeros(n, np.int32),
        "decided": np.ones(n, bool),
        "probabilities": probabilities,
        "wt_pct": np.zeros((n, len(ELEMENTS)), np.float32),
        "sigma": np.ones((n, len(ELEMENTS)), np.float32),
        "surface": np.ones(n, np.float32),
        "novelty": np.zeros(n, np.float32),
        "outlet": np.zeros(n, np.int16),
        "trusted": np.ones(n, bool),
        "accepted": np.ones(n, bool),
        "aluminium": numbers < 11,
        "novel": np.zeros(n, bool),
    }
    return Judged(**{**fields, **told})
