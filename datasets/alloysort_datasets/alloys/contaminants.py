"""What else lies among aluminium scrap: other metals and what is no metal at all, with real compositions.

Copper alloys with more than 7 wt% zinc are brass; all others are copper, bronzes and cupronickels too.
Tool steels are steel whatever their chromium; steels are stainless where their standard calls them so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from alloysort_datasets.alloys.formulas import mass_fractions, sum_elements
from alloysort_datasets.alloys.heats import Scatter, scatter_of
from alloysort_datasets.alloys.limits import Limit, parse_limits
from alloysort_datasets.alloys.registry import unique_rows
from alloysort_datasets.alloys.rows import TABLES, cell, parse_positive
from alloysort_datasets.errors import AlloyError
from alloysort_datasets.families import ALUMINIUM, FAMILIES

CONTAMINANT_TABLE: Final = TABLES / "contaminants.csv"
CONTAMINANT_COLUMNS: Final = (
    "material",
    "family",
    "kind",
    "prevalence",
    "balance",
    "limits",
    "typical",
    "source",
)
FOREIGN: Final = tuple(family for family in FAMILIES if family not in ALUMINIUM)


@dataclass(frozen=True, eq=False)
class Contaminant:
    """A material that is no aluminium alloy; amounts in wt%, parts are elements or formulas such as SiO2.

    Attributes:
        designation: "C26000", "316L", "glass soda-lime".
        family: one of the families that are not aluminium.
        kind: what sort of material within the family: "bronze", "cast iron", "lead", "glass".
        prevalence: how common in its family, relative to the others.
        balance: the part that makes up the rest.
        limits: by part, as the standard has it.
        typical: the range most of it keeps, inside the limits; may name residuals without a limit.
        source: the standard or what else the row rests on.
    """

    designation: str
    family: str
    kind: str
    prevalence: float
    balance: str
    limits: Mapping[str, Limit]
    typical: Mapping[str, Limit]
    source: str


def sample_contaminant(contaminant: Contaminant, rng: np.random.Generator) -> dict[str, float]:
    """One lot of a material: wt% by element, the sum is 100; amounts scatter as `composition` describes."""
    scatter = _scatter(contaminant)
    amounts = scatter.draw(rng).tolist()
    parts = {contaminant.balance: 100 - sum(amounts), **dict(zip(scatter.names, amounts, strict=True))}
    return sum_elements(parts)


@cache
def load_contaminants() -> Mapping[str, Contaminant]:
    """Every material of the shipped table by designation.

    Raises:
        AlloyError: the table is damaged; the message names row and column.
    """
    return read_contaminants(CONTAMINANT_TABLE)


def read_contaminants(path: Path) -> Mapping[str, Contaminant]:
    """The materials of a CSV file, in its order.

    Raises:
        AlloyError: a cell that cannot be read, a material twice, an aluminium family, parts that may leave
            nothing for the balance, or a typical range outside its limit.
    """
    rows = unique_rows(path, CONTAMINANT_COLUMNS, "material")
    return MappingProxyType({name: _contaminant(row, path) for name, row in rows.items()})


@lru_cache(maxsize=1024)
def _scatter(contaminant: Contaminant) -> Scatter:
    return scatter_of(contaminant.limits, contaminant.typical)


def _contaminant(row: Mapping[str, str], path: Path) -> Contaminant:
    name = row["material"]
    for column in ("kind", "source"):
        with cell(path, name, column):
            _filled(row[column])
    with cell(path, name, "family"):
        _foreign_family(row["family"])
    with cell(path, name, "prevalence"):
        prevalence = parse_positive(row["prevalence"])
    with cell(path, name, "limits"):
        limits = _single_limits(row["limits"])
    with cell(path, name, "typical"):
        typical = _single_limits(row["typical"])
        _inside(typical, limits)
    with cell(path, name, "balance"):
        mass_fractions(row["balance"])
        _leaves_rest(row["balance"], limits, typical)
    return Contaminant(
        name, row["family"], row["kind"], prevalence, row["balance"], limits, typical, row["source"]
    )


def _single_limits(text: str) -> Mapping[str, Limit]:
    single, joints = parse_limits(text)
    if joints:
        raise AlloyError(f"{text!r} holds a joint limit; only limits of single parts stand here")
    return MappingProxyType(single)


def _inside(typical: Mapping[str, Limit], limits: Mapping[str, Limit]) -> None:
    for part, usual in typical.items():
        allowed = limits.get(part, usual)
        if not (allowed.allows(usual.minimum) and allowed.allows(usual.maximum)):
            raise AlloyError(f"{part} {usual} is outside the limit {allowed}")


def _leaves_rest(balance: str, limits: Mapping[str, Limit], typical: Mapping[str, Limit]) -> None:
    if balance in limits or balance in typical:
        raise AlloyError(f"{balance} is the rest and can have no limit")
    most = sum(limit.maximum for limit in {**typical, **limits}.values())
    if most >= 100:
        raise AlloyError(f"the other parts may sum to {most:g} wt% and leave nothing for {balance}")


def _filled(text: str) -> None:
    if not text:
        raise AlloyError("is empty")


def _foreign_family(name: str) -> None:
    if name not in FOREIGN:
        raise AlloyError(f"{name!r} is none of {', '.join(FOREIGN)}")
