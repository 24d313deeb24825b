"""The house cannot slide back: no import circle anywhere, and the page draws the house as it is."""

from __future__ import annotations

import graphlib
import re
from pathlib import Path

import grimp
import pytest

PACKAGES = (
    "alloysort",
    "alloysort_training",
    "alloysort_inference",
    "alloysort_models",
    "alloysort_datasets",
)
WORDS = {"datasets/errors", "datasets/families", "datasets/elements", "datasets", "models", "inference"}
PAGE = Path(__file__).resolve().parents[1] / "docs" / "house.md"
ARROW = re.compile(r"^ +(\S+) --> (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Module to the modules of ours that it imports."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def room_of(module: str) -> str:
    """A module's room as the page names it: `datasets/libs`, or `alloysort` and `training` as one room."""
    package, *parts = module.split(".")
    name = package.removeprefix("alloysort_")
    return name if name in ("alloysort", "training") or not parts else f"{name}/{parts[0]}"


def rooms(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for module, imported in imports.items():
        room = found.setdefault(room_of(module), set())
        room |= {room_of(other) for other in imported} - {room_of(module)}
    return found


def arrows_of(imports: dict[str, set[str]]) -> list[tuple[str, str]]:
    """What the page draws: all but the words that everybody imports."""
    return sorted((room, other) for room, others in rooms(imports).items() for other in others - WORDS)


def test_no_module_imports_itself_by_a_detour(imports: dict[str, set[str]]) -> None:
    assert list(graphlib.TopologicalSorter(imports).static_order())


def test_no_room_does_either(imports: dict[str, set[str]]) -> None:
    assert list(graphlib.TopologicalSorter(rooms(imports)).static_order())


def test_the_page_draws_the_house_as_it_is(imports: dict[str, set[str]]) -> None:
    """On failure: put what is printed between the page's marks."""
    arrows = arrows_of(imports)
    drawn = ARROW.findall(PAGE.read_text(encoding="utf-8"))
    assert drawn == arrows, "\n".join(f"    {room} --> {other}" for room, other in arrows)
