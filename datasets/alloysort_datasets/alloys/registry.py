"""The registry of aluminium alloys: what each may contain, and what heats of it usually contain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from alloysort_datasets.alloys.limits import (
    JointLimit,
    Limit,
    parse_limit,
    parse_limits,
    require_element,
)
from alloysort_datasets.alloys.rows import TABLES, cell, parse_positive, read_rows
from alloysort_datasets.errors import AlloyError
from alloysort_datasets.families import ALUMINIUM

__all__ = ["OTHERS_EACH", "OTHERS_TOTAL", "Alloy", "JointLimit", "Limit", "find_alloy", "load_alloys"]

# Aluminum Association, International Alloy Designations ("Teal Sheets"): "others" unless a row says otherwise
OTHERS_EACH: Final = Limit(0.0, 0.05)
OTHERS_TOTAL: Final = Limit(0.0, 0.15)

ALLOY_TABLE: Final = TABLES / "alloys.csv"
PRACTICE_TABLE: Final = TABLES / "alloy_practice.csv"
LIMIT_COLUMNS: Final = ("Si", "Fe", "Cu", "Mn", "Mg", "Cr", "Ni", "Zn", "Ti", "Pb", "Bi", "Sn", "Zr")
ALLOY_COLUMNS: Final = ("alloy", "family", *LIMIT_COLUMNS, "Al_min", "extra_limits", "remark", "basis")
PRACTICE_COLUMNS: Final = ("alloy", "prevalence", "typical", "reason")


@dataclass(frozen=True, eq=False)
class Alloy:
    """An aluminium alloy; all amounts in wt%.

    Attributes:
        designation: "6061", "A380.0", "EN AC-46000".
        family: one of families.ALUMINIUM.
        limits: by element. An element in neither `limits` nor `joint_limits` falls under "others".
        joint_limits: limits on sums.
        aluminium_min: None where aluminium is simply the remainder.
        note: remarks in prose that came with the row.
        basis: where the row comes from.
        typical: the range most heats keep, inside the limits; may name elements under "others".
        prevalence: how common among the scrap of its family, relative to the other alloys.
    """

    designation: str
    family: str
    limits: Mapping[str, Limit]
    joint_limits: tuple[JointLimit, ...] = ()
    aluminium_min: float | None = None
    note: str = ""
    basis: str = ""
    typical: Mapping[str, Limit] = field(default_factory=dict)
    prevalence: float = 1.0

    def limit(self, element: str) -> Limit:
        """What one element may weigh by itself: its own limit, else that of its sums, else "others"."""
        if element in self.limits:
            return self.limits[element]
        ceilings = [joint.maximum for joint in self.joint_limits if element in joint.elements]
        return Limit(0.0, min(ceilings)) if ceilings else OTHERS_EACH

    def is_other(self, element: str) -> bool:
        """Whether an element falls under "others"."""
        named = element in self.limits or any(element in joint.elements for joint in self.joint_limits)
        return element != "Al" and not named

    def violations(self, composition: Mapping[str, float]) -> tuple[str, ...]:
        """The limits a composition breaks, one line each; none where it is within all of them.

        Args:
            composition: wt% by element; one that is missing counts as 0, aluminium as the remainder.

        Raises:
            AlloyError: an unknown element, or an amount that is not within 0 to 100.
        """
        amounts = {require_element(name): _amount(name, value) for name, value in composition.items()}
        aluminium = amounts.pop("Al", 100 - sum(amounts.values()))
        others = {name: value for name, value in amounts.items() if self.is_other(name)}
        checks = [(name, amounts.get(name, 0.0), limit) for name, limit in self.limits.items()]
        checks += [
            ("+".join(joint.elements), sum(amounts.get(name, 0.0) for name in joint.elements), joint.limit)
            for joint in self.joint_limits
        ]
        checks += [(f"{name} (others, each)", value, OTHERS_EACH) for name, value in others.items()]
        checks += [("others, total", sum(others.values()), OTHERS_TOTAL)]
        if self.aluminium_min is not None:
            checks += [("Al", aluminium, Limit(self.aluminium_min, 100))]
        return tuple(
            f"{name} {value:.4g}, allowed {limit}" for name, value, limit in checks if not limit.allows(value)
        )

    def contains(self, composition: Mapping[str, float]) -> bool:
        """Whether a composition keeps every limit; see `violations`."""
        return not self.violations(composition)


@cache
def load_alloys() -> Mapping[str, Alloy]:
    """Every alloy of the shipped registry by designation.

    Raises:
        AlloyError: a shipped table is damaged; the message names row and column.
    """
    return read_alloys(ALLOY_TABLE, PRACTICE_TABLE)


def find_alloy(designation: str) -> Alloy:
    """One alloy of the shipped registry.

    Raises:
        AlloyError: the registry has no such alloy; the message names close matches.
    """
    alloys = load_alloys()
    if designation not in alloys:
        raise AlloyError(f"alloy {designation!r} is unknown; {close_matches(designation, alloys)}")
    return alloys[designation]


def close_matches(name: str, known: Mapping[str, object]) -> str:
    """What somebody who wrote `name` may have meant, as the end of a message."""
    matches = get_close_matches(name.upper(), known, n=4, cutoff=0.5)
    return f"close to it: {', '.join(matches)}" if matches else f"known are: {', '.join(known)}"


def read_alloys(alloy_table: Path, practice_table: Path) -> Mapping[str, Alloy]:
    """A registry from its two CSV files, in the order of the first.

    Raises:
        AlloyError: a cell that cannot be read, an alloy twice or in one file only, or a typical range outside
            its limit.
    """
    practice = unique_rows(practice_table, PRACTICE_COLUMNS, "alloy")
    rows = unique_rows(alloy_table, ALLOY_COLUMNS, "alloy")
    if set(rows) != set(practice):
        strangers = sorted(set(rows) ^ set(practice))
        raise AlloyError(
            f"{alloy_table.name} and {practice_table.name} must name the same alloys, not {strangers}"
        )
    return MappingProxyType(
        {name: _alloy(row, practice[name], alloy_table, practice_table) for name, row in rows.items()}
    )


def unique_rows(path: Path, columns: tuple[str, ...], key: str) -> dict[str, dict[str, str]]:
    """The rows of a CSV file by the cell that names them.

    Raises:
        AlloyError: see `read_rows`; or a name is empty or comes twice.
    """
    rows: dict[str, dict[str, str]] = {}
    for row in read_rows(path, columns):
        if not row[key] or row[key] in rows:
            raise AlloyError(f"{path.name}: {key} {row[key]!r} is empty or comes twice")
        rows[row[key]] = row
    return rows


def _alloy(row: Mapping[str, str], practice: Mapping[str, str], table: Path, practice_table: Path) -> Alloy:
    name = row["alloy"]
    with cell(table, name, "family"):
        family = _aluminium_family(row["family"])
    limits, joint_limits = _limits(row, table)
    with cell(table, name, "Al_min"):
        aluminium_min = _minimum(row["Al_min"])
    with cell(table, name, "remark"):
        note = _prose(row["remark"])
    with cell(practice_table, name, "prevalence"):
        prevalence = parse_positive(practice["prevalence"])
    alloy = Alloy(
        name, family, limits, joint_limits, aluminium_min, note, row["basis"], prevalence=prevalence
    )
    with cell(practice_table, name, "typical"):
        typical = _typical(practice["typical"], alloy)
    return Alloy(name, family, limits, joint_limits, aluminium_min, note, row["basis"], typical, prevalence)


def _limits(row: Mapping[str, str], table: Path) -> tuple[Mapping[str, Limit], tuple[JointLimit, ...]]:
    limits: dict[str, Limit] = {}
    joints: dict[JointLimit, list[str]] = {}
    for element in LIMIT_COLUMNS:
        with cell(table, row["alloy"], element):
            if "+" in row[element]:
                joints.setdefault(_joint(row[element], element), []).append(element)
            elif row[element]:
                limits[element] = parse_limit(row[element])
    for joint, columns in joints.items():
        with cell(table, row["alloy"], columns[0]):
            if sorted(columns) != sorted(joint.elements):
                raise AlloyError(
                    f"joint limit must stand in the columns of {joint.elements}, is in {columns}"
                )
    with cell(table, row["alloy"], "extra_limits"):
        extra, extra_joints = parse_limits(row["extra_limits"])
        for element in extra:
            require_element(element)
        if twice := sorted(set(extra) & set(LIMIT_COLUMNS)):
            raise AlloyError(f"{twice} have columns of their own")
    return MappingProxyType(limits | extra), (*joints, *extra_joints)


def _joint(text: str, column: str) -> JointLimit:
    single, joints = parse_limits(text)
    if single or len(joints) != 1 or column not in joints[0].elements:
        raise AlloyError(f"{text!r} is no joint limit that names {column}, like Si+Fe<=0.95")
    return joints[0]


def _typical(text: str, alloy: Alloy) -> Mapping[str, Limit]:
    typical, joints = parse_limits(text)
    if joints:
        raise AlloyError(f"{text!r} holds a joint limit; typical ranges are of single elements")
    for element, usual in typical.items():
        allowed = alloy.limit(require_element(element))
        if element == "Al" or not (allowed.allows(usual.minimum) and allowed.allows(usual.maximum)):
            raise AlloyError(f"{element} {usual} is outside the limit {allowed}")
    return MappingProxyType(typical)


def _prose(text: str) -> str:
    """A remark as it stands, unless it holds a limit that belongs where it is obeyed."""
    first = " ".join(text.split()[:2])
    for start in {first, first.partition(" ")[0]} - {""}:
        try:
            parse_limits(start)
        except AlloyError:
            continue
        raise AlloyError(f"{text!r} begins with a limit, which belongs in column 'extra_limits'")
    if "<=" in text:
        raise AlloyError(f"{text!r} holds a limit, which belongs in column 'extra_limits'")
    return text


def _aluminium_family(name: str) -> str:
    if name not in ALUMINIUM:
        raise AlloyError(f"{name!r} is none of {', '.join(ALUMINIUM)}")
    return name


def _minimum(text: str) -> float | None:
    return Limit(parse_positive(text), 100).minimum if text else None


def _amount(element: str, value: float) -> float:
    if not 0 <= value <= 100:
        raise AlloyError(f"{element} {value} wt% is not within 0 to 100")
    return float(value)
