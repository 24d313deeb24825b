"""What is wrong with a recipe between its keys; a fault names the key, the value and what would be right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from alloysort_datasets.alloys.stream import MIXES
from alloysort_datasets.errors import AlloyError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.flags import FLAGS
from alloysort_inference.policy.belt import Line, place_faults
from alloysort_inference.policy.melt import spec_of


def cross_faults(content: Mapping[str, Any]) -> list[str]:
    """The faults that lie between keys rather than in one; keys of a wrong type are passed over."""
    listed = content.get("outlets")
    tables = [table for table in listed if isinstance(table, dict)] if isinstance(listed, list) else []
    default = content.get("default")
    names = [table["name"] for table in tables if isinstance(table.get("name"), str)]
    faults = [f"outlet {name!r} is there {times} times" for name, times in _repeated(names)]
    if isinstance(default, str) and default not in names:
        faults.append(f"default {default!r} is none of the outlets {', '.join(names) or '(there are none)'}")
    for table in tables:
        faults += _outlet_faults(table, is_default=table.get("name") == default)
    faults += _feed_faults(content.get("feed")) + _doubt_faults(content.get("doubted"))
    faults += _line_faults(content.get("line"), default, tables)
    claimed = [family for table in tables for family in sorted(set(_families(table)))]
    faults += [f"family {family!r} goes to {times} outlets" for family, times in _repeated(claimed)]
    return faults


def _feed_faults(feed: object) -> list[str]:
    if isinstance(feed, str) and feed not in MIXES:
        return [f"feed {feed!r}: unknown; a mix is one of {', '.join(MIXES)}, or shares by family"]
    if not isinstance(feed, dict):
        return []
    if unknown := _unknown(feed, FAMILIES):
        return [f"feed: {fault}" for fault in unknown]
    shares = [share for share in feed.values() if isinstance(share, (int, float))]
    return [] if len(shares) < len(feed) or sum(shares) > 0 else ["feed: no family has a share over 0"]


def _doubt_faults(doubted: object) -> list[str]:
    flags = [flag for flag in doubted if isinstance(flag, str)] if isinstance(doubted, list) else []
    return [f"doubted: {fault}" for fault in _unknown(flags, FLAGS)]


def _unknown(words: Iterable[str], known: Sequence[str]) -> list[str]:
    """The words that nobody knows as one fault, or none."""
    strange = [word for word in dict.fromkeys(words) if word not in known]
    return [f"unknown {', '.join(map(repr, strange))}; known are {', '.join(known)}"] if strange else []


def _line_faults(line: object, default: object, tables: list[dict[str, Any]]) -> list[str]:
    """Rows of nozzles that cannot be, once the belt is known."""
    placed = [table for table in tables if isinstance(table.get("at_m"), (int, float))]
    if line is None:
        return [f"outlet {table.get('name')!r}: at_m {table['at_m']:g}: without a [line]" for table in placed]
    ejecting = [table for table in tables if ejects(table.get("name"), table.get("eject"), default)]
    faults = [
        f"outlet {table.get('name')!r}: at_m: missing, the metres from the camera to its row of nozzles"
        for table in ejecting
        if table.get("at_m") is None
    ]
    faults += [
        f"outlet {table.get('name')!r}: at_m {table['at_m']:g}: it ejects nothing"
        for table in placed
        if table not in ejecting
    ]
    try:
        belt = line if isinstance(line, Line) else Line.model_validate(line)
    except ValidationError:
        return faults
    return faults + place_faults(belt, [(str(table.get("name")), table["at_m"]) for table in placed])


def _melt_faults(melt: object) -> list[str]:
    """What is wrong with an alloy's name, or with limits of one's own."""
    try:
        if isinstance(melt, str):
            spec_of(melt)
    except AlloyError as error:
        return [str(error)]
    if not isinstance(melt, dict):
        return []
    faults = _unknown(melt, ELEMENTS)
    pairs = {
        element: ends
        for element, ends in melt.items()
        if isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, (int, float)) for end in ends)
    }
    faults += [
        f"{element} {ends}: the least is over the most, they exclude each other"
        for element, ends in pairs.items()
        if ends[0] > ends[1]
    ]
    least = sum(ends[0] for ends in pairs.values())
    if least > 100:
        faults.append(f"the least of its elements are {least:g} wt% together, over 100")
    return faults or ([] if melt else ["no limits"])


def ejects(name: object, eject: object, default: object) -> bool:
    """Whether an outlet's valve fires: as it says, else unless it is the default."""
    return name != default if eject is None else bool(eject)


def _outlet_faults(table: Mapping[str, Any], *, is_default: bool) -> list[str]:
    label = f"outlet {table.get('name', '(no name)')!r}"
    families = _families(table)
    faults = [f"{label}: family {family!r} is there {times} times" for family, times in _repeated(families)]
    faults += [f"{label}: families: {fault}" for fault in _unknown(families, FAMILIES)]
    if not table.get("families") and not is_default:
        faults.append(f"{label}: families: names none, and it is not the default outlet")
    barred = [key for key in ("min_confidence", "purity", "melt") if table.get(key) is not None]
    if families and not barred:
        faults.append(
            f"{label}: min_confidence: missing, must be over 0 and up to 1; or a purity target, or a melt"
        )
    if "purity" in barred and len(barred) > 1:
        faults.append(f"{label}: {' and '.join(barred)}: purity stands alone, a fit finds the bar")
    faults += [f"{label}: melt: {fault}" for fault in _melt_faults(table.get("melt"))]
    if not table.get("families"):
        faults += [f"{label}: {key} {table[key]!r}: of no use without families" for key in barred]
    return faults


def _families(table: Mapping[str, Any]) -> list[str]:
    families = table.get("families")
    return [item for item in families if isinstance(item, str)] if isinstance(families, list) else []


def _repeated(items: list[str]) -> list[tuple[str, int]]:
    return [(item, times) for item, times in Counter(items).items() if times > 1]
