"""Builders and real data that several test modules share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from alloysort_datasets.piece import Instrument, Piece

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"

# Builders are pure functions, so hypothesis may reuse them; two shared cores make deadlines a clock test.
settings.register_profile(
    "alloysort",
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("alloysort")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real reference data; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real data (../shared/data) is absent")
    return SHARED_DATA


@pytest.fixture(scope="session")
def build_instrument() -> Callable[..., Instrument]:
    """A factory of instruments; every field can be overridden."""

    def build(name: str = "bench", channels: int = 64, **fields: Any) -> Instrument:
        axis = np.linspace(200.0, 400.0, channels)
        return Instrument(**{"name": name, "wavelength_nm": axis, "resolution_nm": 0.5, **fields})

    return build


@pytest.fixture(scope="session")
def build_picture() -> Callable[..., bytes]:
    """A factory of pictures: `build_picture(".png", height=20, width=30)` gives the bytes of a file."""

    def build(suffix: str = ".jpg", height: int = 24, width: int = 32, seed: int = 0) -> bytes:
        noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        smooth = cv2.GaussianBlur(noise, (0, 0), 3)
        return cv2.imencode(suffix, smooth)[1].tobytes()

    return build


@pytest.fixture(scope="session")
def build_piece(build_picture: Callable[..., bytes]) -> Callable[..., Piece]:
    """A factory of complete pieces seen by `build_instrument()`; every field can be overridden."""

    def build(number: int = 0, channels: int = 64, shots: int = 3, **fields: Any) -> Piece:
        rng = np.random.default_rng(number)
        return Piece(
            **{
                "piece_id": f"piece-{number:04d}",
                "source": "builder",
                "batch": f"batch-{number // 4}",
                "split": "train",
                "family": "6xxx",
                "alloy": "6061",
                "composition": {"Al": 97.5, "Mg": 1.0, "Si": 0.6},
                "mass_g": 120.0,
                "image": build_picture(),
                "spectra": rng.uniform(0, 60_000, (shots, channels)).astype(np.float32),
                "instrument": "bench",
                "conditions": {"defocus_mm": 0.5},
                **fields,
            }
        )

    return build
