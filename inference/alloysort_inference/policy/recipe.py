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
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
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
from alloysort_inference.policy.belt import Line
from alloysort_inference.policy.faults import cross_faults, ejects
from alloysort_inference.policy.melt import Melt, spec_from, spec_of

SHIPPED: Final = Path(__file__).parent / "recipes"
DEFAULT_RECIPE: Final = "wrought-cast"
BATCH_PIECES: Final = 2000
SURE: Final = 0.95
TYPICAL_PIECE_G: Final = 25.0
BOX_KG: Final = 500.0
MELT_BAR: Final = 0.98  # of what may go into a melt, where nothing is said

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
OutletName = Annotated[str, Field(pattern=r"^\w[\w ._()+/-]{0,63}$")]
Share = Annotated[float, Field(gt=0, lt=1)]

Feed = Annotated[
    Annotated[str, Tag("mix")] | Annotated[dict[str, Annotated[FiniteFloat, Field(ge=0)]], Tag("shares")],
    Discriminator(lambda feed: "shares" if isinstance(feed, dict) else "mix"),
]

Ends = Annotated[list[Annotated[float, Field(ge=0, le=100)]], Field(min_length=2, max_length=2)]
MeltLimits = Annotated[
    Annotated[str, Tag("alloy")] | Annotated[dict[str, Ends], Tag("limits")],
    Discriminator(lambda melt: "limits" if isinstance(melt, dict) else "alloy"),
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
    melt: MeltLimits | None = Field(
        default=None, description="or: an alloy that a box is to melt into, or limits in wt% by element"
    )
    box_kg: Annotated[float, Field(gt=0, le=1e6)] = Field(default=BOX_KG, description="of a full box")
    sure: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        default=SURE,
        description="least part of the batches that reach `purity`, of the boxes that keep `melt`",
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
    bars: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict, description="least confidence by outlet"
    )
    melts: dict[str, dict[str, FiniteFloat]] = Field(
        default_factory=dict, description="by outlet and limit, wt% that a box stays away from it"
    )


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
    typical_piece_g: Annotated[float, Field(gt=0, le=1e6)] = Field(
        default=TYPICAL_PIECE_G, description="what a piece counts for in a melt where nobody tells its mass"
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
        return ejects(outlet.name, outlet.eject, self.default)

    @cached_property
    def bars(self) -> dict[str, float]:
        """By outlet, the least confidence of what it takes; an outlet that takes nothing has none."""
        found = {} if self.fitted is None else self.fitted.bars
        bars = {o.name: o.min_confidence or found.get(o.name) or _melt_bar(o) for o in self.outlets}
        return {name: bar for name, bar in bars.items() if bar is not None}

    @property
    def mix(self) -> Mapping[str, float] | None:
        """Share of each family in the feed, by number; None where the recipe does not say."""
        return MIXES[self.feed] if isinstance(self.feed, str) else self.feed

    @property
    def targets_sha256(self) -> str:
        """Of what the bars of a fit hang on."""
        asked = [
            [o.name, sorted(o.families), o.min_confidence, o.purity, o.melt, o.box_kg, o.sure]
            for o in self.outlets
        ]
        limits = (self.novelty_limit, self.surface_limit, sorted(self.doubted))
        told = json.dumps([self.default, *limits, self.feed, self.batch_pieces, asked])
        return hashlib.sha256(told.encode()).hexdigest()

    def require_fitted(self, bundle_sha256: str) -> None:
        """Refuse a purity target or a melt that is not fitted to the bundle.

        Raises:
            RecipeError: there is one.
        """
        aimed = [outlet for outlet in self.outlets if outlet.purity is not None or outlet.melt is not None]
        if not aimed:
            return
        known = {} if self.fitted is None else self.fitted.bars | self.fitted.melts
        if self.fitted is None:
            why = "is not fitted yet"
        elif self.fitted.bundle != bundle_sha256:
            why = f"is fitted to another bundle, {self.fitted.bundle[:12]}…, not {bundle_sha256[:12]}…"
        elif self.fitted.targets != self.targets_sha256 or any(o.name not in known for o in aimed):
            why = "is fitted to what the recipe said before it was changed"
        else:
            return
        target = "purity" if aimed[0].melt is None else "melt"
        raise RecipeError(
            f"recipe {self.name}: outlet {aimed[0].name!r}: its {target} {why}: "
            "alloysort recipe fit FILE --data TABLE does it"
        )

    def with_bars(self, bars: Mapping[str, float]) -> Recipe:
        """The same with other confidences, by outlet.

        Raises:
            RecipeError: an outlet that has no confidence, or a confidence that is none.
        """
        movable = [outlet.name for outlet in self.outlets if outlet.min_confidence is not None]
        strangers = [name for name in bars if name not in movable]
        if strangers:
            known = ", ".join(movable) or "none"
            raise RecipeError(
                f"recipe {self.name}: outlet {strangers[0]!r} has no min_confidence; those that do: {known}"
            )
        content = self.model_dump(exclude_none=True)
        for outlet in content["outlets"]:
            if outlet["name"] in bars:
                outlet["min_confidence"] = bars[outlet["name"]]
        return parse_content(content, self.name)

    def melt_of(self, outlet: Outlet) -> Melt:
        """The empty box of an outlet with a melt; where it is not fitted the model is taken to be right."""
        limits = outlet.melt or {}
        spec = spec_of(limits) if isinstance(limits, str) else spec_from(limits)
        told = None if self.fitted is None else self.fitted.melts.get(outlet.name)
        margins = None if told is None else np.array([told.get(name, 0.0) for name in spec.names])
        return Melt(spec, outlet.box_kg * 1000, margins)

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


def _melt_bar(outlet: Outlet) -> float | None:
    return None if outlet.melt is None else MELT_BAR


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
