"""Compositions of heats: what a piece of an alloy really contains, drawn inside what the alloy may contain.

Heats are not spread evenly over their limits. A producer aims at the middle of a range; iron and silicon,
where they are impurities, run at a fair part of their maximum, because metal with less of them costs more;
other impurities run at a small part of theirs. So an amount is drawn as low + (high - low) * Beta(a, b), with

- a range, or what `typical` says: Beta(2.5, 2.5), mode at the middle, 95 % within 0.12 to 0.88 of the range;
- a maximum of Fe or Si: Beta(4.5, 5.5), 95 % within 0.17 to 0.75 of the maximum;
- any other maximum: Beta(1.2, 5), median 0.16 of the maximum.

One amount in ten comes from the whole limit instead of the typical range, since scrap holds odd heats too.
Elements without a limit of their own follow a lognormal around `tables/residuals.csv`, parts per million.
These shapes are this project's model of practice, not a standard; the limits that bound them are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.alloys.limits import require_element
from alloysort_datasets.alloys.registry import Alloy, Limit, unique_rows
from alloysort_datasets.alloys.rows import TABLES, cell, parse_positive
from alloysort_datasets.errors import AlloyError

AIMED: Final = (2.5, 2.5)
IMPURITY: Final = (4.5, 5.5)
TRACE: Final = (1.2, 5.0)
MAIN_IMPURITIES: Final = frozenset({"Fe", "Si"})
ODD_SHARE: Final = 0.1
MOST_TRIES: Final = 1000

RESIDUAL_TABLE: Final = TABLES / "residuals.csv"
RESIDUAL_COLUMNS: Final = ("element", "median_ppm", "scatter", "reason")
_WT_PCT_PER_PPM: Final = 1e-4


@dataclass(frozen=True, eq=False)
class Scatter:
    """How the amounts of several parts scatter from heat to heat.

    Attributes:
        names: the parts.
        usual, odd: (4, parts) low end and width in wt%, a and b of the Beta distribution between.
    """

    names: tuple[str, ...]
    usual: NDArray[np.float64]
    odd: NDArray[np.float64]

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """(parts,) wt% of one heat."""
        pick = rng.random(len(self.names)) < ODD_SHARE
        low, width, a, b = np.where(pick, self.odd, self.usual)
        return np.asarray(low + width * rng.beta(a, b))


def scatter_of(limits: Mapping[str, Limit], typical: Mapping[str, Limit]) -> Scatter:
    """The scatter of parts inside `limits` and mostly inside `typical`, always so where there is no limit."""
    names = tuple({**limits, **typical})
    odd = [_beta(limits[name], name) if name in limits else _aimed(typical[name]) for name in names]
    usual = [_aimed(typical[name]) if name in typical else odd[i] for i, name in enumerate(names)]
    return Scatter(names, np.array(usual).reshape(-1, 4).T, np.array(odd).reshape(-1, 4).T)


def sample_composition(alloy: Alloy, rng: np.random.Generator) -> dict[str, float]:
    """One heat of an alloy: wt% by element, aluminium first and the balance; the sum is 100.

    Every limit, joint limit, "others" limit and the minimum of aluminium are kept: a heat that breaks one is
    drawn again.

    Raises:
        AlloyError: a thousand heats in a row broke a limit, so the limits contradict each other.
    """
    scatter, residuals = _alloy_scatter(alloy), _alloy_residuals(alloy)
    for _ in range(MOST_TRIES):
        amounts = dict(zip(scatter.names, scatter.draw(rng).tolist(), strict=True))
        amounts |= zip(residuals.names, residuals.draw(rng).tolist(), strict=True)
        composition = {"Al": 100 - sum(amounts.values()), **amounts}
        if composition["Al"] >= 0 and alloy.contains(composition):
            return composition
    raise AlloyError(f"alloy {alloy.designation!r}: no composition keeps all of its limits")


@dataclass(frozen=True, eq=False)
class Residuals:
    """Elements that nobody added: lognormal around a median.

    Attributes:
        names: the elements.
        median_wt_pct, scatter, ceiling_wt_pct: (elements,); scatter is the standard deviation of the natural
            logarithm; an amount above the ceiling is cut to it.
    """

    names: tuple[str, ...]
    median_wt_pct: NDArray[np.float64]
    scatter: NDArray[np.float64]
    ceiling_wt_pct: NDArray[np.float64]

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """(elements,) wt% of one heat."""
        amounts = self.median_wt_pct * np.exp(self.scatter * rng.standard_normal(len(self.names)))
        return np.minimum(amounts, self.ceiling_wt_pct)


@lru_cache(maxsize=1024)
def _alloy_scatter(alloy: Alloy) -> Scatter:
    named = dict.fromkeys((*alloy.limits, *(name for joint in alloy.joint_limits for name in joint.elements)))
    limits = {name: alloy.limit(name) for name in (*named, *alloy.typical) if name != "Al"}
    return scatter_of(limits, alloy.typical)


@lru_cache(maxsize=1024)
def _alloy_residuals(alloy: Alloy) -> Residuals:
    rest = {
        name: values
        for name, values in _residual_table().items()
        if alloy.is_other(name) and name not in alloy.typical
    }
    median, scatter = np.array(list(rest.values())).reshape(-1, 2).T
    ceiling = np.array([alloy.limit(name).maximum for name in rest])
    return Residuals(tuple(rest), median * _WT_PCT_PER_PPM, scatter, ceiling)


@cache
def _residual_table() -> dict[str, tuple[float, float]]:
    residuals = {}
    for name, row in unique_rows(RESIDUAL_TABLE, RESIDUAL_COLUMNS, "element").items():
        with cell(RESIDUAL_TABLE, name, "element"):
            require_element(name)
        with cell(RESIDUAL_TABLE, name, "median_ppm"):
            median_ppm = parse_positive(row["median_ppm"])
        with cell(RESIDUAL_TABLE, name, "scatter"):
            residuals[name] = median_ppm, parse_positive(row["scatter"])
    return residuals


def _beta(limit: Limit, name: str) -> tuple[float, float, float, float]:
    if limit.minimum > 0:
        return _aimed(limit)
    return (0.0, limit.maximum, *(IMPURITY if name in MAIN_IMPURITIES else TRACE))


def _aimed(limit: Limit) -> tuple[float, float, float, float]:
    return (limit.minimum, limit.maximum - limit.minimum, *AIMED)
