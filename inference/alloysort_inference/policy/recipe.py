"""The recipe: what the operator wants, in TOML.

default = "rest"            # where a piece goes that no outlet takes
novelty_limit = 1.5         # optional; the bundle's own where absent

[[outlets]]
name = "wrought"
families = ["5xxx", "6xxx"]
min_confidence = 0.9        # of the summed probability of its families
eject = true                # the default outlet lets pass unless it says otherwise

[[outlets]]
name = "rest"
"""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from pydantic_core import ErrorDetails

from alloysort_datasets.errors import RecipeError
from alloysort_datasets.families import FAMILIES

SHIPPED: Final = Path(__file__).parent / "recipes"
DEFAULT_RECIPE: Final = "wrought-cast"

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
OutletName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]


class Outlet(BaseModel):
    """A place a piece can go to."""

    model_config = _STRICT
    name: OutletName
    families: list[str] = Field(default_factory=list, description="families it accepts")
    min_confidence: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="least summed probability of its families"
    )
    eject: bool | None = Field(default=None, description="fire the valve; absent: yes unless the default")


class Recipe(BaseModel):
    """What goes where. Made by `parse_recipe`, which lists every fault at once."""

    model_config = _STRICT
    name: str = ""
    description: str = ""
    default: OutletName
    novelty_limit: FiniteFloat | None = None
    outlets: Annotated[list[Outlet], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        faults = cross_faults(self.model_dump())
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def ejects(self, outlet: Outlet) -> bool:
        """Whether the valve fires for a piece that goes to this outlet."""
        return outlet.name != self.default if outlet.eject is None else outlet.eject

    @property
    def sha256(self) -> str:
        """Of what it says, whatever its comments and layout."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def default_outlet(self) -> Outlet:
        """Where a piece goes that no outlet takes."""
        return next(outlet for outlet in self.outlets if outlet.name == self.default)


def load_recipe(source: str | Path) -> Recipe:
    """Open a shipped recipe by its name, or any recipe by its path.

    Raises:
        RecipeError: there is no such recipe, or it has faults; every one is listed.
    """
    path = SHIPPED / f"{source}.toml"
    if str(source) not in shipped_recipes():
        path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ", ".join(shipped_recipes())
        raise RecipeError(f"recipe {str(source)!r} is no file and none of the shipped {known}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"recipe {source}: not a text file in UTF-8") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"recipe {source}: {getattr(error, 'strerror', None) or error}") from None
    return parse_recipe(text, name=path.stem)


def shipped_recipes() -> tuple[str, ...]:
    """The names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def parse_recipe(text: str, name: str) -> Recipe:
    """A recipe from TOML text; `name` is what it is called if it does not say.

    Raises:
        RecipeError: every fault, in one line.
    """
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"recipe {name}: not TOML: {error}") from None
    return parse_content(content, name)


def parse_content(content: Mapping[str, Any], name: str) -> Recipe:
    """A recipe from the tables of a TOML text, or any mapping like it.

    Raises:
        RecipeError: every fault, in one line.
    """
    try:
        return Recipe.model_validate({"name": name, **content})
    except ValidationError as error:
        faults = [_fault(detail, content) for detail in error.errors() if detail["type"] != "value_error"]
        faults += cross_faults(content)
        raise RecipeError(f"recipe {name}: " + "; ".join(faults)) from None


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
    claimed = [family for table in tables for family in sorted(set(_families(table)))]
    faults += [f"family {family!r} goes to {times} outlets" for family, times in _repeated(claimed)]
    return faults


def _outlet_faults(table: Mapping[str, Any], *, is_default: bool) -> list[str]:
    label = f"outlet {table.get('name', '(no name)')!r}"
    families = _families(table)
    unknown = [family for family in dict.fromkeys(families) if family not in FAMILIES]
    faults = [f"{label}: family {family!r} is there {times} times" for family, times in _repeated(families)]
    if unknown:
        listed = ", ".join(map(repr, unknown))
        faults.append(f"{label}: families: unknown {listed}; known are {', '.join(FAMILIES)}")
    if not table.get("families") and not is_default:
        faults.append(f"{label}: families: names none, and it is not the default outlet")
    if families and table.get("min_confidence") is None:
        faults.append(f"{label}: min_confidence: missing, must be over 0 and up to 1")
    if "min_confidence" in table and table["min_confidence"] is not None and not table.get("families"):
        faults.append(f"{label}: min_confidence {table['min_confidence']!r}: of no use without families")
    return faults


def _families(table: Mapping[str, Any]) -> list[str]:
    families = table.get("families")
    return [item for item in families if isinstance(item, str)] if isinstance(families, list) else []


def _repeated(items: list[str]) -> list[tuple[str, int]]:
    return [(item, times) for item, times in Counter(items).items() if times > 1]


def _fault(detail: ErrorDetails, content: Mapping[str, Any]) -> str:
    where = [str(part) for part in detail["loc"]]
    if len(where) > 1 and where[0] == "outlets":
        table = content["outlets"][int(where[1])]
        name = table.get("name") if isinstance(table, dict) else None
        where[:2] = [f"outlet {name!r}" if isinstance(name, str) else f"outlets[{where[1]}]"]
    value = "" if detail["type"] == "missing" else f" {detail['input']!r}"[:80]
    return f"{': '.join(where)}{value}: {detail['msg']}"
