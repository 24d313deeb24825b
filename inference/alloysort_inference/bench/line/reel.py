"""A reel: pieces judged once by front end and engine, with the laser's light and without, to be replayed.

The same bytes give the same assessment, so a piece that comes along a hundred times is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alloysort_datasets.errors import TableError
from alloysort_datasets.piece import Split
from alloysort_inference.assessment import Assessment
from alloysort_inference.bench.accuracy.judge import Judged, judge_tables
from alloysort_inference.flags import from_bits
from alloysort_inference.policy.recipe import DEFAULT_RECIPE
from alloysort_models.bundle.manifest import PATTERNS, Bundle


@dataclass(frozen=True, eq=False)
class Reel:
    """R pieces.

    Attributes:
        seen, missed: with the laser's light and without it.
    """

    seen: Judged
    missed: Judged

    def __len__(self) -> int:
        return len(self.seen)


@dataclass(frozen=True, eq=False)
class Said:
    """What is said of a piece; `assessment` is None where it was refused."""

    assessment: Assessment | None
    blind: bool
    quality: tuple[str, ...]


def judge_reel(
    folders: Sequence[Path],
    bundle: Bundle,
    split: Split | None,
    progress: Callable[[int, int], None] | None = None,
) -> Reel:
    """Judge the pieces of tables.

    Raises:
        TableError: they cannot be read, or a piece's mass is unknown.
        BundleError: it cannot be used.
    """

    def halves(part: int) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, of: progress(part * of + done, 2 * of)

    seen = judge_tables(folders, bundle.path, DEFAULT_RECIPE, split, halves(0))
    missed = judge_tables(folders, bundle.path, DEFAULT_RECIPE, split, halves(1), light=False)
    if not np.isfinite(seen.mass_g).all():
        unknown = int((~np.isfinite(seen.mass_g)).sum())
        raise TableError(
            f"{', '.join(map(str, folders))}: mass_g of {unknown} pieces is unknown: a belt needs it"
        )
    return Reel(seen, missed)


def said_of(judged: Judged, bundle: Bundle) -> list[Said]:
    """What the policy is told of each piece."""
    thresholds = bundle.manifest.thresholds
    shown = ~(judged.surface < thresholds.surface)  # true where nobody knows
    blind = judged.decided & ~judged.trusted & shown & ~judged.novel
    return [_said(judged, row, bool(blind[row])) for row in range(len(judged))]


def _said(judged: Judged, row: int, blind: bool) -> Said:
    quality = from_bits(int(judged.flags[row]))
    if not judged.decided[row]:
        return Said(None, blind, quality)
    surface = float(judged.surface[row])
    assessment = Assessment(
        judged.probabilities[row],
        judged.wt_pct[row],
        judged.sigma[row],
        float(judged.novelty[row]),
        None if np.isnan(surface) else surface,
        PATTERNS[judged.sensors[row]],
    )
    return Said(assessment, blind, quality)
