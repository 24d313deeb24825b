"""The front door: the `alloysort` command, and the few names a script imports.

Each name is loaded on first use, so that `import alloysort` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alloysort_datasets.errors import AlloysortError
    from alloysort_datasets.families import ELEMENTS, FAMILIES
    from alloysort_datasets.piece import Instrument, Piece
    from alloysort_datasets.readers.spectrum import read_spectrum
    from alloysort_datasets.spectrum import Spectrum
    from alloysort_datasets.table.store import read_instruments, read_pieces, write_pieces
    from alloysort_inference.pipeline import Classifier, Upload, open_classifier
    from alloysort_inference.policy.recipe import load_recipe
    from alloysort_models.bundle.manifest import load_bundle

__all__ = [
    "ELEMENTS",
    "FAMILIES",
    "AlloysortError",
    "Classifier",
    "Instrument",
    "Piece",
    "Spectrum",
    "Upload",
    "load_bundle",
    "load_recipe",
    "open_classifier",
    "read_instruments",
    "read_pieces",
    "read_spectrum",
    "write_pieces",
]

_HOME = {
    "ELEMENTS": "alloysort_datasets.families",
    "FAMILIES": "alloysort_datasets.families",
    "AlloysortError": "alloysort_datasets.errors",
    "Classifier": "alloysort_inference.pipeline",
    "Instrument": "alloysort_datasets.piece",
    "Piece": "alloysort_datasets.piece",
    "Spectrum": "alloysort_datasets.spectrum",
    "Upload": "alloysort_inference.pipeline",
    "load_bundle": "alloysort_models.bundle.manifest",
    "load_recipe": "alloysort_inference.policy.recipe",
    "open_classifier": "alloysort_inference.pipeline",
    "read_instruments": "alloysort_datasets.table.store",
    "read_pieces": "alloysort_datasets.table.store",
    "read_spectrum": "alloysort_datasets.readers.spectrum",
    "write_pieces": "alloysort_datasets.table.store",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'alloysort' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
