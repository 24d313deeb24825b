"""Every error that alloysort raises on purpose; each message is one line a user can act on.

AlloysortError
├── DataError                 input from outside is at fault
│   ├── SpectrumError         a spectrum cannot be read or used
│   ├── ImageError            a picture cannot be read or used
│   ├── TableError            a piece table is malformed
│   └── AlloyError            an alloy, family or element nobody knows
├── BundleError               a released model cannot be trusted or run   (raised in alloysort_models)
├── RecipeError               an operator's recipe is wrong               (raised in alloysort_inference)
└── TrainingError             a training run cannot start or go on        (raised in alloysort_training)
"""

from __future__ import annotations


class AlloysortError(Exception):
    """Base of all errors raised on purpose; the command line prints its message and exits with 1."""


class DataError(AlloysortError):
    """Input from outside is at fault."""


class SpectrumError(DataError):
    """A spectrum cannot be read or used."""


class ImageError(DataError):
    """A picture cannot be read or used."""


class TableError(DataError):
    """A piece table is malformed."""


class AlloyError(DataError):
    """An alloy, family or element is unknown, or a composition is impossible."""


class BundleError(AlloysortError):
    """A released model cannot be trusted or run."""


class RecipeError(AlloysortError):
    """An operator's recipe is wrong."""


class TrainingError(AlloysortError):
    """A training run cannot start or go on."""
