"""Spectra as other methods take them: the mean of the hits on the bundle's grid, from the same front end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.families import FAMILIES
from alloysort_inference.bench.accuracy.judge import Seen
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.inputs import Look, prepare_spectrum


@dataclass(frozen=True, eq=False)
class Gridded:
    """N pieces' spectra.

    Attributes:
        counts: (N, C) float32, 0 where the instrument sees nothing.
        seen: (N, C) the instrument sees the channel.
        family: (N,) int64, -1 where unknown.
        batch, piece_id: (N,) words.
        strange: (N,) matter that no family describes.
    """

    counts: NDArray[np.float32]
    seen: NDArray[np.bool_]
    family: NDArray[np.int64]
    batch: NDArray[np.str_]
    piece_id: NDArray[np.str_]
    strange: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.family)

    @classmethod
    def of(cls, pieces: Iterable[Seen], grid: Grid) -> Gridded:
        """Pieces that have a spectrum within the grid; the others are left out."""
        counts, seen, labels = [], [], []
        for one in pieces:
            if one.spectrum is None:
                continue
            try:
                look = Look.at(one.spectrum.shots)
                views, coverage = prepare_spectrum(one.spectrum.wavelength_nm, look, grid)
            except SpectrumError:
                continue
            counts.append(views[0])
            seen.append(coverage > 0)
            labels.append(one.piece)
        return cls(
            np.array(counts, np.float32).reshape(-1, grid.channels),
            np.array(seen, np.bool_).reshape(-1, grid.channels),
            np.array([FAMILIES.index(piece.family) if piece.family else -1 for piece in labels], np.int64),
            np.array([f"{piece.source}: {piece.batch}" for piece in labels], np.str_),
            np.array([piece.piece_id for piece in labels], np.str_),
            np.array([piece.conditions.get("stranger", 0.0) > 0.5 for piece in labels], np.bool_),
        )

    @classmethod
    def joined(cls, parts: Sequence[Gridded]) -> Gridded:
        """Several in a row."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def where(self, chosen: NDArray[np.bool_]) -> Gridded:
        """Those of the chosen pieces, a (N,) mask."""
        return Gridded(*(getattr(self, field.name)[chosen] for field in fields(self)))
