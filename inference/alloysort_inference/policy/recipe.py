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

Instead of a confidence an outlet may have a purity target, `purity = 0.97` with `sure = 0.95`. `alloysort
recipe fit` finds the bar that keeps it and writes it below, as `[fitted]`; until then such a recipe does not
sort. `[line]` tells belt and valves, see `policy.belt.Line`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from alloysort_datasets.alloys.stream import MIXES
from alloysort_datasets.errors import RecipeError
from alloysort_datasets.families import FAMILIES
from alloysort_inference.flags import FLAGS
from alloysort_inference.policy.belt import Line, place_faults

SHIPPED: Final = Path(__file__).parent / "recipes"
DEFAULT_RECIPE: Final = "wrought-cast"
BATCH_PIECES: Final = 2000
SURE: Final = 0.95

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
OutletName = Annotated[str, Field(pattern=r"^\w[\w ._()+/-]{0,63}$")]
Share = Annotated[float, Field(gt=0, lt=1)]

Feed = Annotated[
    Annotated[str, Tag("mix")] | Annotated[dict[str, Annotated[FiniteFloat, Field(ge=0)]], Tag("shares")],
    Discriminator(lambda feed: "shares" if isinstance(feed, dict) else "mix"),
]


class FaultyRecipeError(RecipeError):
    """A recipe's faults, all of them.

    Attributes:
        faults: each names the key, the value and what would be right.
    """

    def __init__(self, name: str, faults: list[str]) -> None:
        super().__init__(f"recipe {name}: " + "; ".join(faults))
        self.faults = faults


class Outlet(BaseModel):
    """A place a piece can go to."""

    model_config = _STRICT
    name: OutletName
    families: list[str] = Field(default_factory=list, description="families it accepts")
    min_confidence: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="least summed probability of its families"
    )
    purity: Share | None = Field(
        default=None, description="instead: least part of its mass in a batch that is of its families"
    )
    sure: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        default=SURE, description="least part of the batches that reach `purity`"
    )
    value_per_t: FiniteFloat = Field(default=0.0, description="what a tonne of its families brings here")
    wrong_costs_per_t: FiniteFloat = Field(default=0.0, description="what a tonne of others costs here")
    eject: bool | None = Field(default=None, description="fire the valve; absent: yes unless the default")
    at_m: Annotated[float, Field(gt=0, le=100)] | None = Field(
        default=None, description="of its row of nozzles, from the camera on"
    )


class Fitted(BaseModel):
    """What `alloysort recipe fit` found, and for what: another bundle, or other targets, need another fit."""

    model_config = _STRICT
    bundle: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the bundle")]
    targets: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of what was asked")]
    data: str = Field(description="the pieces that the bars rest on, in words")
    bars: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(description="least confidence by outlet")


class Recipe(BaseModel):
    """What goes where. Made by `parse_recipe`, which lists every fault at once."""

    model_config = _STRICT
    name: str = ""
    description: str = ""
    default: OutletName
    novelty_limit: FiniteFloat | None = None
    surface_limit: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="least share of metal in the late shots; absent: the bundle's"
    )
    doubted: list[str] = Field(
        default_factory=list, description="quality flags with which a piece goes to the default outlet"
    )
    feed: Feed | None = Field(
        default=None, description="share of each family by number, or a mix's name; absent: as the data"
    )
    batch_pieces: Annotated[int, Field(ge=50, le=1_000_000)] = Field(
        default=BATCH_PIECES, description="pieces of a batch, fed: purity is promised batch by batch"
    )
    line: Line | None = Field(default=None, description="belt and valves")
    outlets: Annotated[list[Outlet], Field(min_length=1)]
    fitted: Fitted | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        faults = cross_faults(self.model_dump())
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def ejects(self, outlet: Outlet) -> bool:
        """Whether the valve fires for a piece that goes to this outlet."""
        return outlet.name != self.default if outlet.eject is None else outlet.eject

    @cached_property
    def bars(self) -> dict[str, float]:
        """By outlet, the least confidence of what it takes; an outlet that takes nothing has none."""
        found = {} if self.fitted is None else self.fitted.bars
        bars = {outlet.name: outlet.min_confidence or found.get(outlet.name) for outlet in self.outlets}
        return {name: bar for name, bar in bars.items() if bar is not None}

    @property
    def mix(self) -> Mapping[str, float] | None:
        """Share of each family in the feed, by number; None where the recipe does not say."""
        return MIXES[self.feed] if isinstance(self.feed, str) else self.feed

    @property
    def targets_sha256(self) -> str:
        """Of what the bars of a fit hang on."""
        asked = [[o.name, sorted(o.families), o.min_confidence, o.purity, o.sure] for o in self.outlets]
        limits = (self.novelty_limit, self.surface_limit, sorted(self.doubted))
        told = json.dumps([self.default, *limits, self.feed, self.batch_pieces, asked])
        return hashlib.sha256(told.encode()).hexdigest()

    def require_fitted(self, bundle_sha256: str) -> None:
        """Refuse a purity target without a bar that was found for it and for this bundle.

        Raises:
            RecipeError: there is one.
        """
        aimed = [outlet for outlet in self.outlets if outlet.purity is not None]
        if not aimed:
            return
        if self.fitted is None:
            why = "has no bar yet"
        elif self.fitted.bundle != bundle_sha256:
            why = f"has a bar for another bundle, {self.fitted.bundle[:12]}…, not {bundle_sha256[:12]}…"
        elif self.fitted.targets != self.targets_sha256 or any(o.name not in self.bars for o in aimed):
            why = "has a bar for what the recipe said before it was changed"
        else:
            return
        raise RecipeError(
            f"recipe {self.name}: outlet {aimed[0].name!r}: purity {aimed[0].purity:g} {why}: "
            "alloysort recipe fit FILE --data TABLE finds it"
        )

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
    path = recipe_path(source)
    return parse_recipe(read_recipe(path), name=path.stem)


def recipe_path(source: str | Path) -> Path:
    """Where a recipe stands: a shipped one by its name, any other by its path."""
    return SHIPPED / f"{source}.toml" if str(source) in shipped_recipes() else Path(source)


def read_recipe(source: Path) -> str:
    """The text of a recipe's file.

    Raises:
        RecipeError: it cannot be read.
    """
    try:
        return source.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ", ".join(shipped_recipes())
        raise RecipeError(f"recipe {str(source)!r} is no file and none of the shipped {known}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"recipe {source}: not a text file in UTF-8") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"recipe {source}: {getattr(error, 'strerror', None) or error}") from None


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
        raise FaultyRecipeError(name, faults) from None


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
    unknown = [family for family in feed if family not in FAMILIES]
    if unknown:
        listed = ", ".join(map(repr, unknown))
        return [f"feed: unknown {listed}; known are {', '.join(FAMILIES)}"]
    shares = [share for share in feed.values() if isinstance(share, (int, float))]
    return [] if len(shares) < len(feed) or sum(shares) > 0 else ["feed: no family has a share over 0"]


def _doubt_faults(doubted: object) -> list[str]:
    flags = doubted if isinstance(doubted, list) else []
    unknown = [flag for flag in flags if isinstance(flag, str) and flag not in FLAGS]
    return (
        [f"doubted: unknown {', '.join(map(repr, unknown))}; known are {', '.join(FLAGS)}"] if unknown else []
    )


def _line_faults(line: object, default: object, tables: list[dict[str, Any]]) -> list[str]:
    """Rows of nozzles that cannot be, once the belt is known."""
    placed = [table for table in tables if isinstance(table.get("at_m"), (int, float))]
    if line is None:
        return [f"outlet {table.get('name')!r}: at_m {table['at_m']:g}: without a [line]" for table in placed]
    ejecting = [table for table in tables if _ejects(table, default)]
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


def _ejects(table: Mapping[str, Any], default: object) -> bool:
    eject = table.get("eject")
    return table.get("name") != default if eject is None else bool(eject)


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
    barred = [key for key in ("min_confidence", "purity") if table.get(key) is not None]
    if families and not barred:
        faults.append(f"{label}: min_confidence: missing, must be over 0 and up to 1; or a purity target")
    if len(barred) > 1:
        faults.append(f"{label}: min_confidence and purity: one or the other, a fit finds the bar")
    if not table.get("families"):
        faults += [f"{label}: {key} {table[key]!r}: of no use without families" for key in barred]
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
    return f"{': '.join(where)}{value}: {detail['msg']}{_known_keys(detail)}"


def _known_keys(detail: ErrorDetails) -> str:
    """What a key that nobody knows may have been meant to be."""
    if detail["type"] != "extra_forbidden":
        return ""
    models: dict[int, type[BaseModel]] = {1: Recipe, 2: Line if detail["loc"][0] == "line" else Fitted}
    known = list(models.get(len(detail["loc"]), Outlet).model_fields)
    near = get_close_matches(str(detail["loc"][-1]), known, 1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
