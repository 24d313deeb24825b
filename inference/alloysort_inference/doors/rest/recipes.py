"""Recipes to choose from, and what other bars would do before they are set."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from alloysort_datasets.errors import BundleError, RecipeError
from alloysort_inference.doors.rest.guard import who_asks
from alloysort_inference.doors.rest.problem import describe
from alloysort_inference.doors.service import Service
from alloysort_inference.page.forecast import forecast
from alloysort_inference.policy.recipe import load_recipe

Bar = Annotated[float, Field(gt=0, le=1)]


class Known(BaseModel):
    """A recipe that can be chosen."""

    name: str
    description: str
    outlets: list[str]
    current: bool
    usable: str | None = Field(description="why it cannot be used with this bundle; null: it can")


class Forecast(BaseModel):
    """What other bars would do, as the model expects from the last pieces."""

    pieces: int = Field(description="that it rests on")
    outlets: dict[str, list[dict[str, float | None]]] = Field(
        description="by outlet, for each bar: purity, recovery, part of the mass fed, share of the pieces, "
        "value per tonne fed"
    )


class Choice(BaseModel):
    """A recipe, or other bars for the one in use."""

    model_config = ConfigDict(extra="forbid")
    recipe: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="one of `/v1/recipes`; null: the one in use"
    )
    bars: dict[str, Bar] = Field(default_factory=dict, description="least confidence by outlet")


class Chosen(BaseModel):
    """What decides from the next piece on."""

    recipe: str
    sha256: str
    bars: dict[str, float]


def add_recipes(app: FastAPI, service: Service) -> None:
    """The routes under `/v1/recipe`."""

    @app.get("/v1/recipes", summary="Recipes to choose from")
    async def recipes() -> list[Known]:
        return await anyio.to_thread.run_sync(_known, service)

    @app.get("/v1/recipe/forecast", summary="What other bars would do")
    async def foreseen() -> Forecast:
        return Forecast(**await anyio.to_thread.run_sync(_forecast, service))

    @app.post("/v1/recipe", summary="Sort by another recipe or bars", responses=describe(400, 403, 422))
    async def choose(request: Request, choice: Choice) -> Chosen:
        who = who_asks(request)
        try:
            await service.choose_recipe(choice.recipe, choice.bars)
        except (BundleError, RecipeError) as fault:
            raise HTTPException(422, str(fault)) from None
        recipe = service.classifier.recipe
        told = {"recipe": recipe.name, "recipe_sha256": recipe.sha256, "bars": recipe.bars}
        service.audit(who.name, who.address, "choose recipe", told)
        return Chosen(recipe=recipe.name, sha256=recipe.sha256, bars=recipe.bars)


def _known(service: Service) -> list[Known]:
    current = service.classifier.recipe
    return [_one(name, service, current.name) for name in service.recipes()]


def _one(name: str, service: Service, current: str) -> Known:
    try:
        recipe = load_recipe(name)
    except RecipeError as fault:
        return Known(name=name, description="", outlets=[], current=False, usable=str(fault))
    usable = None
    try:
        recipe.require_fitted(service.classifier.bundle.sha256)
    except RecipeError as fault:
        usable = str(fault)
    return Known(
        name=name,
        description=recipe.description,
        outlets=[outlet.name for outlet in recipe.outlets],
        current=recipe.name == current,
        usable=usable,
    )


def _forecast(service: Service) -> dict[str, Any]:
    board = service.watching.board
    shares, sortable, mass_g = board.pieces()
    return {"pieces": len(shares), "outlets": forecast(board.recipe, shares, sortable, mass_g)}
