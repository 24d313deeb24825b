"""What scrap of each family looks like, and how often: `appearance.toml`, read and verified."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Annotated, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alloysort_datasets.errors import AlloyError, TableError
from alloysort_datasets.families import FAMILIES

TABLE: Final = "appearance.toml"
Colour = Annotated[tuple[float, float, float], Field(description="linear sRGB")]
Share = Annotated[float, Field(ge=0, le=1)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Chance(_Row):
    """One of several things a piece may be, how often, and why."""

    name: str
    weight: Annotated[float, Field(gt=0, le=1)]
    reason: Annotated[str, Field(min_length=1)]


class Metal(_Row):
    """The colour of a clean metal: reflectance at normal incidence."""

    reflectance: Colour
    source: Annotated[str, Field(min_length=1)]


class Look(_Row):
    """What a material looks like: a metal with its finishes, or a substance with its colours.

    Attributes:
        forms: the shapes it comes in.
        metal: a row of `metals`; None for what is not metal.
        finishes: of a metal.
        kinds: names of other looks, one of which it is; then all else is empty.
        also: further names it goes by, lower case.
        colours: diffuse reflectance of what is not metal.
        gloss: range of surface roughness, 0 mirror to 1 chalk.
        speckle: contrast of its grains.
        clear: how much light passes through.
    """

    forms: tuple[Chance, ...] = ()
    metal: str | None = None
    finishes: tuple[Chance, ...] = ()
    kinds: tuple[Chance, ...] = ()
    also: tuple[str, ...] = ()
    colours: tuple[Colour, ...] = ()
    gloss: tuple[Share, Share] = (0.3, 0.6)
    speckle: Share = 0.0
    clear: Share = 0.0

    @model_validator(mode="after")
    def _complete(self) -> Look:
        for key in ("forms", "finishes", "kinds"):
            total = sum(chance.weight for chance in getattr(self, key))
            if getattr(self, key) and abs(total - 1) > 1e-6:
                raise ValueError(f"the weights of {key} sum to {total:.4f}, must be 1")
        if not self.kinds and not self.forms:
            raise ValueError("needs forms or kinds")
        if not self.kinds and bool(self.metal) == bool(self.colours):
            raise ValueError("needs either a metal or colours")
        if bool(self.metal) != bool(self.finishes):
            raise ValueError("a metal needs finishes, and only a metal has them")
        return self


class Narrowed(_Row):
    """The forms of one alloy where they are fewer than its family's."""

    forms: tuple[Chance, ...]

    @model_validator(mode="after")
    def _complete(self) -> Narrowed:
        total = sum(chance.weight for chance in self.forms)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the weights of forms sum to {total:.4f}, must be 1")
        return self


class Appearance(_Row):
    """The whole table."""

    metals: Mapping[str, Metal]
    families: Mapping[str, Look]
    kinds: Mapping[str, Look]
    alloys: Mapping[str, Narrowed]

    @model_validator(mode="after")
    def _closed(self) -> Appearance:
        missing = set(FAMILIES) ^ set(self.families)
        if missing:
            raise ValueError(f"families must be those of alloysort, differs in {sorted(missing)}")
        for look in (*self.families.values(), *self.kinds.values()):
            strangers = {chance.name for chance in look.kinds} - set(self.kinds)
            strangers |= {look.metal or "iron"} - set(self.metals)
            if strangers:
                raise ValueError(f"no metal or kind is named {sorted(strangers)}")
        return self

    def look(
        self, family: str, alloy: str | None, kind: str | None, rng: np.random.Generator
    ) -> tuple[Look, tuple[Chance, ...]]:
        """What a piece is made of and the forms it may take; chance picks the kind where none is known.

        Raises:
            AlloyError: nobody knows the family.
        """
        if family not in self.families:
            raise AlloyError(f"family {family!r} is none of {', '.join(FAMILIES)}")
        look = self.families[family]
        if look.kinds:
            look = self._named(look, kind) or self._named(look, alloy) or self.kinds[draw(look.kinds, rng)]
        narrowed = self.alloys.get(alloy) if alloy else None
        return look, narrowed.forms if narrowed else look.forms

    def _named(self, family: Look, name: str | None) -> Look | None:
        """The look that goes by a name, metal in a family of metals and not in the other."""
        wanted = (name or "").strip().lower()
        metallic = self.kinds[family.kinds[0].name].metal is not None
        for key, look in self.kinds.items():
            if (wanted == key or wanted in look.also) and (look.metal is not None) == metallic:
                return look
        return None


def draw(chances: tuple[Chance, ...], rng: np.random.Generator) -> str:
    """The name of one of several alternatives."""
    target, total = rng.random(), 0.0
    for chance in chances:
        total += chance.weight
        if target < total:
            return chance.name
    return chances[-1].name


@lru_cache(maxsize=1)
def appearance() -> Appearance:
    """The table that ships with the package."""
    text = resources.files("alloysort_datasets.imagery").joinpath(TABLE).read_text(encoding="utf-8")
    return parse_appearance(text)


def parse_appearance(text: str) -> Appearance:
    """A table from its text.

    Raises:
        TableError: it is no TOML, misses a key, or its weights do not sum to 1.
    """
    try:
        return Appearance.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"{TABLE}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the table"
        raise TableError(f"{TABLE}: {where}: {first['msg']}") from None
